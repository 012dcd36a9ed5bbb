// Package anchor keeps the newest signed note of each log outside the database, in a
// directory or in a bucket of an S3-compatible object storage. It is what makes a
// restored backup visible, so it must not live, or be restored, together with the
// database (see [ledger.Anchor]).
//
// Several processes may share one anchor. What holds then:
//
//   - Write never goes back. A note of a smaller tree than the anchored one is not
//     written, and that is no error: another process has been faster. Whether the
//     larger tree extends the smaller one, and whether the note is signed by the log,
//     is not judged here but by the ledger, which has keys and tiles.
//   - Two roots at one size are evidence.ErrTampered, and nothing is written.
//   - Only Accept goes back: an operator has accepted a rollback.
//   - What Accept and KeepFork put aside is not overwritten.
//
// In a directory a lock makes reading, comparing and writing one step. In a bucket the
// service does, by conditional writes; see [S3.Problems] for one that has none.
//
// # Layout
//
// The same in both, so that files may be copied from one to the other:
//
//	INSTANCE/HEX.note          the anchored note of the log INSTANCE/HEX
//	INSTANCE/HEX.lost-N        put aside by Accept
//	INSTANCE/HEX.fork-N.ours   two notes that contradict each other, by KeepFork
//	INSTANCE/HEX.fork-N.seen
//	lock                       of a directory
//	conditional-writes         of a bucket: shows what the service can do
//
// N is a number in a directory. In a bucket it is the start of a hash of what is kept,
// so that two processes that keep the same keep it once.
package anchor

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
)

// Open opens the anchor that a specification names, as [Parse] reads it. A directory is
// made where there is none. Of a bucket nothing is asked yet but credentials: one that
// cannot be reached shows with the first Read.
func Open(spec string) (ledger.Anchor, error) {
	s, err := Parse(spec)
	if err != nil {
		return nil, err
	}
	if s.S3 != nil {
		return NewS3(*s.S3)
	}
	return NewDir(s.Dir)
}

// forward judges whether a note may take the place of the one that is anchored. It
// returns false where that one stays: it is the same, or of a larger tree. anchored is
// nil where there is none.
func forward(origin string, anchored, next []byte) (bool, error) {
	n, _, err := c2sp.ParseNote(next)
	if err == nil && n.Origin != origin {
		err = fmt.Errorf("it is of log %s: %w", n.Origin, evidence.ErrInvalid)
	}
	if err != nil {
		return false, fmt.Errorf("note to anchor: %w", err)
	}
	if anchored == nil {
		return true, nil
	}
	if bytes.Equal(anchored, next) {
		return false, nil
	}
	a, _, err := c2sp.ParseNote(anchored)
	if err == nil && a.Origin != origin {
		err = fmt.Errorf("it is of log %s", a.Origin)
	}
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: what is anchored is not a note of this log: %w", evidence.ErrTampered, err)
	case a.Size == n.Size && a.Root != n.Root:
		return false, fmt.Errorf("%w: the anchor has another root at size %d", evidence.ErrTampered, n.Size)
	}
	return a.Size < n.Size, nil
}

// maxForks bounds the pairs of notes that are kept of one log, as in a directory: two
// are a proof.
const maxForks = 64

// checkOrigin keeps what is no origin out of paths and keys.
func checkOrigin(origin string) error {
	if !evidence.ValidOrigin(origin) {
		return fmt.Errorf("anchor: %w: origin %q", evidence.ErrInvalid, origin)
	}
	return nil
}

// of adds to an error whose anchor it is about; nil stays nil.
func of(origin string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrAbsent) {
		err = evidence.ErrNotFound
	}
	return fmt.Errorf("anchor of %s: %w", origin, err)
}
