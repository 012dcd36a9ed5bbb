package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/verify"
)

// signed is a checkpoint whose signature was checked.
type signed struct {
	c2sp.Checkpoint
	note []byte
}

// logCopy is the copy of one log. It is for one goroutine.
type logCopy struct {
	*Mirror
	key  c2sp.VKey
	name string // 12 hex: its directory
	// before is what leaf 0 must say of the log before; "" where nothing is known of one.
	before string

	kept  signed // all of it is in the directory; note nil: nothing is
	seen  signed // the newest that was seen: at least kept
	state leaves // of kept, or ahead of it by bundles that belong to seen
	// least is the smallest t of the leaves that are copied now, by what saw says.
	least evidence.Micros
	saw   string
	// broken: memory and directory are not the same any more.
	broken error
}

// Names of files of a log.
const (
	fileCheckpoint = "checkpoint"
	fileSeen       = "checkpoint.seen"
	fileKey        = "key"
)

// openLog opens the copy of a log, which may be empty.
func (m *Mirror) openLog(key c2sp.VKey) (*logCopy, error) {
	_, name, ok := strings.Cut(key.Name, "/")
	if !ok || !evidence.ValidOrigin(key.Name) {
		return nil, fmt.Errorf("key %s: %w: its name is not the origin of a log", key.Name, evidence.ErrInvalid)
	}
	l := &logCopy{Mirror: m, key: key, name: name, state: newLeaves(key)}
	empty := signed{Checkpoint: c2sp.Checkpoint{Origin: key.Name, Root: c2sp.EmptyRoot}}
	l.kept, l.seen = empty, empty
	for file, to := range map[string]*signed{fileCheckpoint: &l.kept, fileSeen: &l.seen} {
		note, err := m.dir.read(l.path(file), maxNote)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := c2sp.Verify(note, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(m.dir.root, l.path(file)), err)
		}
		*to = signed{c.Checkpoint, note}
	}
	if l.seen.Size < l.kept.Size {
		l.seen = l.kept
	}
	if err := l.replay(); err != nil {
		return nil, err
	}
	return l, nil
}

// fetch gets a file of the log from its server.
func (l *logCopy) fetch(ctx context.Context, path string, most int64) ([]byte, error) {
	return l.get.get(ctx, l.base+"/"+l.name+"/"+path, most)
}

// sync brings the copy to the newest checkpoint that the server shows.
func (l *logCopy) sync(ctx context.Context) error {
	if l.broken != nil {
		return l.broken
	}
	c, cosigned, err := l.newest(ctx)
	if err != nil {
		return err
	}
	tree := l.signedTree(ctx, c)
	if err := l.extends(c, tree); err != nil {
		return err
	}
	if !l.met(cosigned) {
		return &Failure{
			Code: verify.EQuorum, Log: l.key.Name, From: 0, To: c.Size,
			Message: fmt.Sprintf("%d witnesses of the policy have cosigned the checkpoint of %d leaves, which is no quorum", len(cosigned), c.Size),
		}
	}
	if c.Size == l.kept.Size && l.kept.note != nil {
		return l.again(c, cosigned)
	}
	if err := l.copyTo(ctx, c, tree); err != nil {
		return err
	}
	if err := l.times(c, cosigned); err != nil {
		return err
	}
	return l.commit(c)
}

// newest returns the checkpoint that the server shows, signed by the log.
func (l *logCopy) newest(ctx context.Context) (signed, []c2sp.Cosigned, error) {
	note, err := l.fetch(ctx, "checkpoint", maxNote)
	if err != nil {
		return signed{}, nil, fmt.Errorf("checkpoint of %s: %w", l.key.Name, err)
	}
	c, err := c2sp.Verify(note, append([]c2sp.VKey{l.key}, l.witnesses...)...)
	if err == nil && c.Origin != l.key.Name {
		err = fmt.Errorf("it is of the log %s", c.Origin)
	}
	if err != nil {
		return signed{}, nil, &Failure{Code: verify.ELogSig, Log: l.key.Name, Message: err.Error()}
	}
	return signed{c.Checkpoint, note}, c.Cosignatures, nil
}

// extends sees to it that a checkpoint extends what was seen, and remembers it then.
func (l *logCopy) extends(c signed, tree *signedTree) error {
	switch {
	case c.Size < l.seen.Size:
		return l.forked(verify.EFork, l.seen, c, fmt.Sprintf("it shows a tree of %d leaves, and had signed one of %d: it was cut, or put back from a backup", c.Size, l.seen.Size))
	case c.Size == l.seen.Size && c.Root != l.seen.Root:
		return l.forked(verify.EFork, l.seen, c, fmt.Sprintf("it signed two trees of %d leaves", c.Size))
	case c.Size == l.seen.Size && l.seen.note != nil:
		return nil
	}
	was, err := tree.rootAt(l.seen.Size)
	switch {
	case errors.Is(err, errWrongTiles):
		return l.forked(verify.EInclusion, l.seen, c, fmt.Sprintf("that the tree of %d leaves extends the one of %d cannot be seen: %v", c.Size, l.seen.Size, err))
	case err != nil:
		return err
	case was != l.seen.Root:
		return l.forked(verify.EFork, l.seen, c, fmt.Sprintf("the tree of %d leaves does not extend the one of %d that it had signed", c.Size, l.seen.Size))
	}
	if l.seen.note == nil {
		// The first of all: the key is written down for who looks into the directory.
		if err := l.dir.write(l.path(fileKey), []byte(l.key.String()+"\n")); err != nil {
			return err
		}
	}
	if err := l.dir.commit(l.path(fileSeen), c.note); err != nil {
		return err
	}
	l.seen = c
	return nil
}

// again takes what came to a checkpoint that is kept: cosignatures.
func (l *logCopy) again(c signed, cosigned []c2sp.Cosigned) error {
	if err := l.times(c, cosigned); err != nil {
		return err
	}
	if string(c.note) == string(l.kept.note) {
		return nil
	}
	if old, err := c2sp.Verify(l.kept.note, append([]c2sp.VKey{l.key}, l.witnesses...)...); err == nil && len(old.Cosignatures) >= len(cosigned) {
		return nil
	}
	if err := l.dir.commit(l.path(fileCheckpoint), c.note); err != nil {
		return err
	}
	l.kept = c
	return nil
}

// maxSkew is how far clocks may be apart, as package verify has it.
const maxSkew = 5 * time.Minute

// times sees to it that no witness signed before a leaf was there.
func (l *logCopy) times(c signed, cosigned []c2sp.Cosigned) error {
	for _, s := range cosigned {
		if at := time.Unix(s.Time, 0).Add(maxSkew); c.Size > 0 && evidence.MicrosOf(at) < l.state.last {
			return &Failure{
				Code: verify.ETime, Log: l.key.Name, From: c.Size - 1, To: c.Size,
				Message: fmt.Sprintf("the witness %s signed at %s what was recorded at %s", s.Witness.Name, time.Unix(s.Time, 0).UTC().Format(time.RFC3339), l.state.last),
			}
		}
	}
	return nil
}

// notBefore is the smallest t that leaves after the kept checkpoint may have: witnesses
// have seen the log without them.
func (l *logCopy) notBefore() (least evidence.Micros, who string) {
	if l.kept.note == nil {
		return 0, ""
	}
	v, err := c2sp.Verify(l.kept.note, append([]c2sp.VKey{l.key}, l.witnesses...)...)
	if err != nil {
		return 0, "" // of a policy that was another then; the log's signature was checked
	}
	for _, s := range v.Cosignatures {
		if at := evidence.MicrosOf(time.Unix(s.Time, 0).Add(-maxSkew)); at > least {
			least, who = at, s.Witness.Name
		}
	}
	return least, who
}

// copyTo reads the leaves up to a checkpoint that was seen.
func (l *logCopy) copyTo(ctx context.Context, c signed, tree *signedTree) error {
	l.least, l.saw = l.notBefore()
	for l.state.size() < c.Size {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := l.state.size() / c2sp.TileWidth
		bundle, entries, err := l.bundle(ctx, n, width(n, c.Size), tree)
		if err != nil {
			return err
		}
		if err := l.take(n, bundle, entries, c); err != nil {
			l.broken = err
			return err
		}
		l.report(Progress{Log: l.key.Name, Size: l.state.size(), Of: c.Size})
	}
	if root := l.state.tree.Root(); root != c.Root {
		l.broken = &Failure{Code: verify.EInclusion, Log: l.key.Name, From: 0, To: c.Size, Message: fmt.Sprintf("the leaves make the root %s, and the log signed %s", root, c.Root)}
		return l.broken
	}
	return nil
}

// bundle returns a bundle that belongs to the signed tree, from the directory where
// an earlier try left it, or from the server.
func (l *logCopy) bundle(ctx context.Context, n int64, w int, tree *signedTree) ([]byte, [][]byte, error) {
	path := c2sp.EntriesPath(n, w)
	if w == c2sp.TileWidth {
		if b, err := l.dir.read(l.path(path), maxEntries); err == nil {
			if entries, ok, err := l.belongs(n, w, b, tree); err != nil || ok {
				return b, entries, err
			}
		}
	}
	b, err := l.fetch(ctx, path, maxEntries)
	if errors.Is(err, evidence.ErrNotFound) && w < c2sp.TileWidth {
		// Full meanwhile, so the partial one may be gone.
		if b, err = l.fetch(ctx, c2sp.EntriesPath(n, c2sp.TileWidth), maxEntries); err == nil {
			b = firstEntries(b, w)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s of %s: %w", path, l.key.Name, err)
	}
	entries, ok, err := l.belongs(n, w, b, tree)
	if err == nil && !ok {
		err = &Failure{
			Code: verify.EInclusion, Log: l.key.Name, From: n * c2sp.TileWidth, To: n*c2sp.TileWidth + int64(w),
			Message: "the entries that are served are not those of the signed tree",
		}
	}
	return b, entries, err
}

// firstEntries cuts a bundle after so many leaves.
func firstEntries(b []byte, w int) []byte {
	rest := b
	for range w {
		var err error
		if _, rest, err = c2sp.NextEntry(rest); err != nil {
			return b // it is looked at again
		}
	}
	return b[:len(b)-len(rest)]
}

// belongs reports whether a bundle is the signed tree's.
func (l *logCopy) belongs(n int64, w int, b []byte, tree *signedTree) ([][]byte, bool, error) {
	entries, err := c2sp.SplitEntries(b, w)
	if err != nil {
		return nil, false, nil
	}
	hashes := make([]evidence.Hash, w)
	for i, raw := range entries {
		hashes[i] = evidence.LeafHash(raw)
	}
	ok, err := tree.holds(n, hashes)
	if errors.Is(err, errWrongTiles) {
		err = &Failure{Code: verify.EInclusion, Log: l.key.Name, From: n * c2sp.TileWidth, To: n*c2sp.TileWidth + int64(w), Message: err.Error()}
	}
	return entries, ok, err
}

// take checks the new leaves of a bundle and keeps it.
func (l *logCopy) take(n int64, bundle []byte, entries [][]byte, c signed) error {
	skip := int(l.state.size() - n*c2sp.TileWidth)
	for i, raw := range entries[skip:] {
		at := l.state.size()
		wrong, err := l.state.add(raw, func(id evidence.ID) (bool, error) { return l.hasID(id, n, entries[:skip+i]) })
		if err != nil {
			return err
		}
		if wrong == "" && at == 0 && l.before != "" && l.state.first.Text("predecessor_log") != l.before {
			wrong = "it does not name the last tree of the log that named it as its successor"
		}
		if wrong != "" {
			return l.rejected(verify.ELeaf, at, c, bundle, wrong)
		}
		if l.state.last < l.least {
			return l.rejected(verify.ETime, at, c, bundle, fmt.Sprintf("it says it was recorded at %s, and %s saw the log without it later than that", l.state.last, l.saw))
		}
	}
	if err := l.dir.write(l.path(c2sp.EntriesPath(n, len(entries))), bundle); err != nil {
		return err
	}
	return l.writeTiles()
}

// commit makes a checkpoint the one that is kept.
func (l *logCopy) commit(c signed) error {
	err := l.writeEdge()
	if err == nil {
		err = l.dir.commit(l.path(fileCheckpoint), c.note)
	}
	if err != nil {
		l.broken = err
		return err
	}
	old := l.kept
	l.kept = c
	l.report(Progress{Log: l.key.Name, Size: c.Size, Of: c.Size, Checkpoint: string(c.note), Kept: true})
	return l.dropPartial(old.Size, c.Size)
}

// dropPartial removes the partial tiles and bundles of the checkpoint before.
func (l *logCopy) dropPartial(old, size int64) error {
	var errs []error
	drop := func(path string) {
		full := filepath.Join(l.dir.root, l.path(path))
		if err := os.Remove(full); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		_ = os.Remove(filepath.Dir(full)) // where nothing is left in it
	}
	for level := range maxLevels {
		w := old >> (level * tileHeight) & (c2sp.TileWidth - 1)
		n := old >> ((level + 1) * tileHeight)
		if w == 0 || w == size>>(level*tileHeight)-n*c2sp.TileWidth {
			continue
		}
		drop(c2sp.TilePath(level, n, int(w)))
		if level == 0 {
			drop(c2sp.EntriesPath(n, int(w)))
		}
	}
	return errors.Join(errs...)
}
