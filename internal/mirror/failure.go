package mirror

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/verify"
)

// Failure is what a log or its server did that may not be. It wraps
// evidence.ErrTampered.
type Failure struct {
	Code verify.Code `json:"code"`
	Log  string      `json:"log"`
	// From and To are the leaves it is about, From <= leaf < To; both 0 where it is
	// about none.
	From    int64  `json:"from"`
	To      int64  `json:"to"`
	Message string `json:"message"`
	// Kept is the directory of what proves it; "" where there is nothing to keep.
	Kept string `json:"kept,omitempty"`
}

// Error implements error.
func (f *Failure) Error() string {
	s := fmt.Sprintf("%s log %s: %s", f.Code, f.Log, f.Message)
	if f.Kept != "" {
		s += " (kept in " + f.Kept + ")"
	}
	return s
}

// Unwrap returns evidence.ErrTampered.
func (f *Failure) Unwrap() error { return evidence.ErrTampered }

// proof is what is kept of a failure, by file name.
type proof map[string][]byte

// keep writes what proves a failure below a directory, durably and once: what is
// there is never overwritten.
func (d *dir) keep(kind, name string, p proof) (string, error) {
	path := filepath.Join(kind, name)
	for file, data := range p {
		at := filepath.Join(path, file)
		old, err := d.read(at, maxKept)
		if err == nil && bytes.Equal(old, data) {
			continue
		}
		if err == nil {
			return "", fmt.Errorf("%s is there already with other content: %w", at, evidence.ErrConflict)
		}
		if !os.IsNotExist(err) {
			return "", err
		}
		if err := d.write(at, data); err != nil {
			return "", err
		}
	}
	return filepath.Join(d.root, path), d.sync()
}

// maxKept is the greatest size of what is kept, that of an entry bundle.
const maxKept = maxEntries

// forked is the failure of two checkpoints that cannot both be of one log. Both are
// kept: with the log's key they convince everyone.
func (l *logCopy) forked(code verify.Code, kept, shown signed, message string) error {
	f := &Failure{Code: code, Log: l.key.Name, Message: message, From: min(kept.Size, shown.Size), To: max(kept.Size, shown.Size)}
	name := l.name + "-" + strconv.FormatInt(kept.Size, 10) + "-" + strconv.FormatInt(shown.Size, 10) + "-" + hex.EncodeToString(shown.Root[:4])
	var err error
	if f.Kept, err = l.dir.keep("forks", name, proof{"kept.note": kept.note, "shown.note": shown.note}); err != nil {
		return fmt.Errorf("%w (and the proof could not be kept: %w)", f, err)
	}
	return f
}

// rejected is the failure of leaves that belong to a signed tree and may not be in
// any. They are kept with the checkpoint.
func (l *logCopy) rejected(code verify.Code, at int64, c signed, bundle []byte, message string) error {
	f := &Failure{Code: code, Log: l.key.Name, From: at, To: at + 1, Message: message}
	n := at / c2sp.TileWidth
	var err error
	f.Kept, err = l.dir.keep("rejected", fmt.Sprintf("%s-%d-%d", l.name, c.Size, at), proof{
		"checkpoint": c.note, fmt.Sprintf("entries-%d", n): bundle,
	})
	if err != nil {
		return fmt.Errorf("%w (and the proof could not be kept: %w)", f, err)
	}
	return f
}
