package move

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// segmentBits are the low bits of a sealed segment's number: above them is the leaf
// index of the record that it begins with (package ledger). A segment goes into the
// transaction of that record.
const segmentBits = 4

// maxSeen bounds how many runs are remembered to have their state.
const maxSeen = 1 << 17

// errEnough ends an iteration.
var errEnough = errors.New("enough")

// leaves copies the leaves from have to want. The next stretch is read while one is
// written.
func (t *tenantCopier) leaves(ctx context.Context, lg store.Log, have, want int64) error {
	clear(t.seen)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stretches, failed := make(chan *store.LogCommit), make(chan error, 1)
	go func() {
		defer close(stretches)
		for at := have; at < want; {
			c, err := t.stretch(ctx, lg, at, want)
			if err != nil {
				failed <- err
				return
			}
			select {
			case stretches <- c:
				at = c.Next.Size
			case <-ctx.Done():
				failed <- context.Cause(ctx)
				return
			}
		}
	}()
	var err error
	for c := range stretches {
		if err != nil {
			continue // until it has seen that this ended
		}
		if err = t.extend(ctx, lg.LogRef, *c); err != nil {
			stop()
			continue
		}
		t.report.Copied += int64(len(c.Entries))
		t.copied(int64(len(c.Entries)))
	}
	if err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// stretch reads leaves from a size on, as many as make a transaction, with all that
// stands with them.
func (t *tenantCopier) stretch(ctx context.Context, lg store.Log, from, want int64) (*store.LogCommit, error) {
	c := &store.LogCommit{}
	to, err := t.segments(ctx, lg.LogRef, c, from, want)
	if err != nil {
		return nil, err
	}
	if to, err = t.sealed(ctx, lg.LogRef, c, from, to); err != nil {
		return nil, fmt.Errorf("sealed segments from leaf %d on: %w", from, err)
	}
	if err := t.entries(ctx, lg, c, from, to); err != nil {
		return nil, err
	}
	if err := t.tiles(ctx, lg.LogRef, c, from, to); err != nil {
		return nil, err
	}
	if err := t.runStates(ctx, lg.LogRef, c); err != nil {
		return nil, fmt.Errorf("run states from leaf %d on: %w", from, err)
	}
	c.Next = underWay(&lg, to, want)
	return c, nil
}

// segments reads leaf segments and returns where they end.
func (t *tenantCopier) segments(ctx context.Context, ref store.LogRef, c *store.LogCommit, from, want int64) (to int64, err error) {
	to, size := from, 0
	err = t.cfg.From.Segments(ctx, ref, from, want, func(s store.LeafSegment) error {
		switch {
		case s.First != to || s.First+int64(s.Count) > want:
			return fmt.Errorf("%w: leaf segment %d+%d stands where leaf %d of %d is to be", evidence.ErrTampered, s.First, s.Count, to, want)
		case len(c.Segments) > 0 && (to-from >= int64(t.cfg.ChunkLeaves) || size >= t.cfg.ChunkBytes):
			return errEnough
		}
		s.Data = slices.Clone(s.Data)
		c.Segments = append(c.Segments, s)
		to, size = to+int64(s.Count), size+len(s.Data)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return 0, err
	}
	if to == from {
		return 0, fmt.Errorf("%w: leaf %d of %d is missing", evidence.ErrTampered, from, want)
	}
	return to, nil
}

// sealed reads the sealed segments that begin with leaves from <= seq < to. Where
// they are too large it takes fewer leaves, down to one leaf segment, and returns
// where those end.
func (t *tenantCopier) sealed(ctx context.Context, ref store.LogRef, c *store.LogCommit, from, to int64) (int64, error) {
	size := 0
	err := t.cfg.From.SealedRange(ctx, ref, from<<segmentBits, to<<segmentBits, func(s store.SealedSegment) error {
		if size >= t.cfg.ChunkBytes {
			// The leaf segment that this one begins in does not go with it any more.
			i := slices.IndexFunc(c.Segments, func(l store.LeafSegment) bool { return l.First+int64(l.Count) > s.No>>segmentBits })
			if i > 0 {
				to = c.Segments[i].First
				c.Segments = c.Segments[:i]
				return errEnough
			}
		}
		s.Data = slices.Clone(s.Data)
		c.Sealed = append(c.Sealed, s)
		size += len(s.Data)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return 0, err
	}
	c.Sealed = slices.DeleteFunc(c.Sealed, func(s store.SealedSegment) bool { return s.No>>segmentBits >= to })
	return to, nil
}

// entries makes the records of the leaf segments. Which sealed segments are theirs
// stands in their rows alone; one whose row expired has none any more.
func (t *tenantCopier) entries(ctx context.Context, lg store.Log, c *store.LogCommit, from, to int64) error {
	c.Entries = make([]store.Entry, 0, to-from)
	for _, s := range c.Segments {
		data, err := seal.DecompressLeaves(s.Data)
		if err != nil {
			return fmt.Errorf("leaf segment %d: %w: %w", s.First, evidence.ErrTampered, err)
		}
		leaves, err := c2sp.SplitEntries(data, s.Count)
		if err != nil {
			return fmt.Errorf("leaf segment %d: %w: %w", s.First, evidence.ErrTampered, err)
		}
		for i, raw := range leaves {
			leaf, err := evidence.ParseLeaf(raw)
			if err != nil {
				return fmt.Errorf("leaf %d: %w: %w", s.First+int64(i), evidence.ErrTampered, err)
			}
			if leaf.Seq != s.First+int64(i) || leaf.Log != lg.Origin {
				return fmt.Errorf("leaf %d: %w: it is leaf %d of %s", s.First+int64(i), evidence.ErrTampered, leaf.Seq, leaf.Log)
			}
			c.Entries = append(c.Entries, store.Entry{Leaf: leaf, Segment: store.NoSegment, ActorSegment: store.NoSegment})
		}
	}
	there := make([]bool, len(c.Entries))
	for _, k := range evidence.Kinds() {
		err := t.cfg.From.Rows(ctx, lg.LogRef, k, from, to, func(r *store.Row) error {
			e := &c.Entries[r.Seq-from]
			if e.Leaf.Kind != k {
				return fmt.Errorf("%w: leaf %d has a row of another kind, %s", evidence.ErrTampered, r.Seq, k)
			}
			e.Segment, e.ActorSegment = r.Segment, r.ActorSegment
			there[r.Seq-from] = true
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i := range there {
		leaf := c.Entries[i].Leaf
		if there[i] {
			continue
		}
		synthetic, _ := leaf.Int("is_synthetic")
		of := rowsOf{lg.No, leaf.Kind.Table()}
		if !t.left.expired(of, rowMark{leaf.Seq, leaf.RecordedAt, synthetic == 1}) {
			return fmt.Errorf("%w: leaf %d has no row, and none of %s may be absent there", evidence.ErrTampered, leaf.Seq, of.table)
		}
	}
	return nil
}

// tiles reads the tiles that become full with the leaves from <= seq < to.
func (t *tenantCopier) tiles(ctx context.Context, ref store.LogRef, c *store.LogCommit, from, to int64) error {
	before, after := from, to
	for level := 0; ; level++ {
		before, after = before/c2sp.TileWidth, after/c2sp.TileWidth
		if after == 0 {
			return nil
		}
		for n := before; n < after; n++ {
			data, err := t.cfg.From.Tile(ctx, ref, level, n)
			if err != nil {
				return fmt.Errorf("tile %d/%d: %w", level, n, err)
			}
			c.Tiles = append(c.Tiles, store.Tile{Level: level, N: n, Data: data})
		}
	}
}

// runStates reads the states of the runs that are met for the first time in a log, in
// the order in which they are: it is the order of lists of open runs. They are those
// of the end of the copy. A run that goes on in a log that is not there yet stands at
// its last record here until that one is.
func (t *tenantCopier) runStates(ctx context.Context, ref store.LogRef, c *store.LogCommit) error {
	if len(t.seen) > maxSeen {
		clear(t.seen)
	}
	var runs []string
	last := map[string]int64{}
	for i := range c.Entries {
		run := c.Entries[i].Leaf.Run
		if run != "" && !t.seen[run] {
			t.seen[run] = true
			runs = append(runs, run)
		}
		last[run] = c.Entries[i].Leaf.Seq
	}
	if runs == nil {
		return nil
	}
	states, err := t.cfg.From.Runs(ctx, t.tenant, runs)
	if err != nil {
		return err
	}
	for _, run := range runs {
		s, ok := states[run]
		if !ok {
			continue
		}
		if s.Last.LogNo > ref.No {
			s.Last = store.Position{LogNo: ref.No, Seq: last[run]}
		}
		c.Runs = append(c.Runs, s)
	}
	return nil
}
