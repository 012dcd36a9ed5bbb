package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// Fetched is one record for a reader: its leaf as stored, and what of its
// sealed content was opened.
type Fetched struct {
	Tenant string // whose log it stands in
	store.Position
	Kind evidence.Kind
	Raw  []byte // the leaf, verbatim
	Hash evidence.Hash
	Leaf *evidence.Leaf
	// Open holds what was opened, by path. Each value opens the commitment of the
	// leaf. What the leaf commits to and is not here is erased, where content was asked
	// for, or has expired.
	Open    map[string]Opened
	Expired bool
}

// Fetch reads the leaves of records that were found, in the order given, and
// where content is true opens their sealed content. The positions may be in any
// order, of several logs, and repeat. Each segment is read once.
//
// A leaf is given out only if the signed tree has it at its place. One that is
// not there, is not the one that the database says, or content that does not
// open its commitment, is evidence.ErrTampered.
func (l *Ledger) Fetch(ctx context.Context, tenant string, at []store.Found, content bool) ([]Fetched, error) {
	out := make([]Fetched, len(at))
	order := make([]int, len(at))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(at[a].LogNo, at[b].LogNo), cmp.Compare(at[a].Seq, at[b].Seq))
	})
	for rest := order; len(rest) > 0; {
		n := 1
		for n < len(rest) && at[rest[n]].LogNo == at[rest[0]].LogNo {
			n++
		}
		if err := l.fetchLog(ctx, tenant, at, rest[:n], out); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if content {
		if err := l.openFetched(ctx, tenant, at, order, out); err != nil {
			return nil, err
		}
		if err := l.markExpired(ctx, tenant, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fetchLog reads and proves leaves of one log. order has their places, by leaf
// index.
func (l *Ledger) fetchLog(ctx context.Context, tenant string, at []store.Found, order []int, out []Fetched) error {
	o, err := l.logByNo(ctx, tenant, at[order[0]].LogNo)
	if err != nil {
		return err
	}
	seqs := make([]int64, len(order))
	for i, place := range order {
		seqs[i] = at[place].Seq
	}
	if seqs[0] < 0 {
		return fmt.Errorf("log %s: %w: a record is said to stand at %d", o.Origin, evidence.ErrTampered, seqs[0])
	}
	st, err := l.stateWith(ctx, o, seqs[len(seqs)-1])
	if err != nil {
		return err
	}
	err = l.leavesAt(ctx, o.LogRef, seqs, func(i int, b []byte) error {
		f := &out[order[i]]
		*f = Fetched{Tenant: tenant, Position: at[order[i]].Position, Raw: slices.Clone(b), Hash: evidence.LeafHash(b)}
		return f.parse(o, at[order[i]].Kind)
	})
	if err != nil {
		return err
	}
	for _, place := range order {
		if err := l.proveLeaf(ctx, o, &st.tree, out[place].Seq, out[place].Hash); err != nil {
			return err
		}
	}
	return nil
}

// factsRoom and pathsRoom are what the leaf of a usual step has.
const factsRoom, pathsRoom = 32, 8

// parse reads the leaf, which must say that it stands where it was found. Kind 0
// stands for any.
func (f *Fetched) parse(o *openLog, kind evidence.Kind) error {
	f.Leaf = &evidence.Leaf{Pub: make([]evidence.Fact, 0, factsRoom), H: make([]evidence.Commitment, 0, pathsRoom)}
	if err := f.Leaf.Parse(f.Raw); err != nil {
		return fmt.Errorf("leaf %d of %s: %w: %w", f.Seq, o.Origin, evidence.ErrTampered, err)
	}
	f.Kind = f.Leaf.Kind
	if f.Leaf.Seq != f.Seq || f.Leaf.Log != o.Origin {
		return fmt.Errorf("leaf %d of %s: %w: it is leaf %d of %s", f.Seq, o.Origin, evidence.ErrTampered, f.Leaf.Seq, f.Leaf.Log)
	}
	if kind != 0 && f.Kind != kind {
		return fmt.Errorf("leaf %d of %s: %w: it is a record of kind %s, and was found as %s", f.Seq, o.Origin, evidence.ErrTampered, f.Kind, kind)
	}
	return nil
}

// openFetched opens the content of fetched records. order has them by position:
// so each segment is asked for its records as they were sealed.
func (l *Ledger) openFetched(ctx context.Context, tenant string, at []store.Found, order []int, out []Fetched) error {
	type part struct {
		store.SegmentRef
		place int
	}
	parts := make([]part, 0, 2*len(order))
	for _, place := range order {
		f := &out[place]
		f.Open = make(map[string]Opened, len(f.Leaf.H))
		for _, no := range [2]int64{at[place].Segment, at[place].ActorSegment} {
			if no != store.NoSegment {
				parts = append(parts, part{store.SegmentRef{LogNo: f.LogNo, No: no}, place})
			}
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.LogNo, b.LogNo), cmp.Compare(a.No, b.No))
	})
	var ids []evidence.ID
	for len(parts) > 0 {
		n := 0
		ids = ids[:0]
		for ; n < len(parts) && parts[n].SegmentRef == parts[0].SegmentRef; n++ {
			ids = append(ids, out[parts[n].place].Leaf.ID)
		}
		openings, err := l.openRecords(ctx, tenant, out[parts[0].place].Leaf.Log, parts[0].SegmentRef, ids)
		if err != nil {
			return err
		}
		for i, o := range openings {
			if err := out[parts[i].place].open(o); err != nil {
				return err
			}
		}
		parts = parts[n:]
	}
	return nil
}

// openRecords returns the openings of some records of a sealed segment; none
// where the segment or its key is gone.
func (l *Ledger) openRecords(ctx context.Context, tenant, origin string, ref store.SegmentRef, ids []evidence.ID) ([]*seal.Opening, error) {
	// Never from a replica, which may still have what is erased.
	stored, err := l.store.SealedSegment(store.NoLag(ctx), tenant, ref)
	if err == nil {
		var openings []*seal.Opening
		if openings, err = l.sealer.OpenRecords(ctx, l.store, tenant, origin, stored, ids); err == nil {
			return openings, nil
		}
	}
	if errors.Is(err, evidence.ErrNotFound) {
		return nil, nil
	}
	return nil, fmt.Errorf("content of log %s: %w", origin, err)
}

// open takes what a segment has of the record, which may be nothing.
func (f *Fetched) open(o *seal.Opening) error {
	if o == nil {
		return nil
	}
	for _, field := range o.Fields {
		salt := o.Salt(field.Path)
		want, ok := f.Leaf.Commitment(field.Path)
		if !ok || evidence.Commit(field.Path, salt, []byte(field.JSON)) != want {
			return fmt.Errorf("leaf %d of %s: %w: %s does not open its commitment", f.Seq, f.Leaf.Log, evidence.ErrTampered, field.Path)
		}
		f.Open[field.Path] = Opened{JSON: field.JSON, Salt: salt}
	}
	return nil
}
