package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// personSegments is how many segments of a person are asked for at once.
const personSegments = 256

// person marks all that stands under a person's own keys. No other segment is read.
func (w *eraser) person(ctx context.Context) error {
	keys, err := w.l.sealer.PersonKeys(ctx, w.tenant, w.ask.Person)
	if err != nil {
		return err
	}
	var fresh []*erasedSegment
	for _, k := range keys {
		w.keys = append(w.keys, k.ID)
		err := w.l.eachUnder(ctx, w.tenant, k.ID, store.SegmentRef{}, personSegments, func(o *openLog, s store.SealedSegment) error {
			seg, known := w.segment(o.Log, s, true)
			if !known {
				fresh = append(fresh, seg)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(fresh, func(a, b *erasedSegment) int { return compareSegments(a.stored.SegmentRef, b.stored.SegmentRef) })
	for len(fresh) > 0 {
		n := 1
		for n < len(fresh) && fresh[n].log.No == fresh[0].log.No {
			n++
		}
		if err := w.fill(ctx, fresh[:n]); err != nil {
			return err
		}
		fresh = fresh[n:]
	}
	return nil
}

// eachUnder calls fn for the sealed segments that stand under a key, in order, behind one of them. fn may
// call the store.
func (l *Ledger) eachUnder(ctx context.Context, tenant string, key store.KeyID, after store.SegmentRef, chunk int, fn func(o *openLog, s store.SealedSegment) error) error {
	for {
		var list []store.SealedSegment
		err := l.store.SealedUnder(ctx, tenant, key, after, chunk, func(s store.SealedSegment) error {
			s.Data = slices.Clone(s.Data)
			list = append(list, s)
			return nil
		})
		if err != nil {
			return err
		}
		for _, s := range list {
			o, err := l.logByNo(ctx, tenant, s.LogNo)
			if err != nil {
				return err
			}
			if err := fn(o, s); err != nil {
				return err
			}
			after = s.SegmentRef
		}
		if len(list) < chunk {
			return nil
		}
	}
}

// fill finds the records of segments that go as a whole, of one log and by number.
func (w *eraser) fill(ctx context.Context, segs []*erasedSegment) error {
	list, open := make([]store.SealedSegment, len(segs)), make([]map[evidence.ID]*seal.Opening, len(segs))
	for i, seg := range segs {
		list[i] = seg.stored
	}
	lg := segs[0].log
	return w.l.eachSealed(ctx, lg, list, func(i int) (ids []evidence.ID, err error) {
		open[i], err = w.l.sealer.Open(ctx, w.l.store, w.tenant, lg.Origin, list[i])
		return slices.Collect(maps.Keys(open[i])), err
	}, func(i int, leaf *evidence.Leaf) error {
		o := open[i][leaf.ID]
		delete(open[i], leaf.ID)
		var paths []string
		for _, f := range o.Fields {
			paths = append(paths, f.Path)
		}
		return w.hit(ctx, segs[i], leaf, o, paths)
	})
}

// eachSealed calls found for the records that segments have content of. The segments are of one log,
// by number; ids opens one of them. Records stand at or after the leaf that a segment is numbered
// by, not far from it: together they came in one request. Content of no record is passed over.
func (l *Ledger) eachSealed(ctx context.Context, lg store.Log, segs []store.SealedSegment, ids func(i int) ([]evidence.ID, error), found func(i int, leaf *evidence.Leaf) error) error {
	head, err := l.store.Head(ctx, lg.LogRef)
	if err != nil {
		return err
	}
	wanted := map[evidence.ID][]int{} // by segments
	for next := 0; next < len(segs); {
		from := segs[next].No >> store.SegmentBits
		if from >= head.Size {
			next++
			continue
		}
		last := from
		err := eachLeaf(ctx, l.store, lg.LogRef, from, head.Size, func(seq int64, raw []byte) error {
			for ; next < len(segs) && segs[next].No>>store.SegmentBits <= seq; next++ {
				list, err := ids(next)
				if err != nil {
					return err
				}
				for _, id := range list {
					wanted[id] = append(wanted[id], next)
				}
				last = seq
			}
			if len(wanted) == 0 || seq > last+MaxAppend {
				return errFound
			}
			id, ok := idOfLeaf(raw)
			if !ok || wanted[id] == nil {
				return nil
			}
			leaf, err := evidence.ParseLeaf(bytes.Clone(raw))
			if err != nil {
				return fmt.Errorf("leaf %d of %s: %w: %w", seq, lg.Origin, evidence.ErrTampered, err)
			}
			for _, i := range wanted[id] {
				if err := found(i, leaf); err != nil {
					return err
				}
			}
			delete(wanted, id)
			return nil
		})
		if err != nil && !errors.Is(err, errFound) {
			return err
		}
		clear(wanted)
	}
	return nil
}
