package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
		err := w.l.eachUnder(ctx, w.tenant, k.ID, personSegments, func(o *openLog, s store.SealedSegment) error {
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

// eachUnder calls fn for the sealed segments that stand under a key, in order. fn may call
// the store.
func (l *Ledger) eachUnder(ctx context.Context, tenant string, key store.KeyID, chunk int, fn func(o *openLog, s store.SealedSegment) error) error {
	var after store.SegmentRef
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

// wantedOpening is an opening of a segment whose record is still to be found.
type wantedOpening struct {
	seg *erasedSegment
	o   *seal.Opening
}

// fill finds the records of segments that go as a whole, of one log and by number. They stand
// at or after the leaf that a segment is numbered by, not far from it: together they
// came in one request.
func (w *eraser) fill(ctx context.Context, segs []*erasedSegment) error {
	lg := segs[0].log
	head, err := w.l.store.Head(ctx, lg.LogRef)
	if err != nil {
		return err
	}
	wanted := map[evidence.ID][]wantedOpening{}
	for len(segs) > 0 {
		from := segs[0].stored.No >> store.SegmentBits
		if from >= head.Size {
			segs = segs[1:] // content of no record goes, too
			continue
		}
		last := from
		err := eachLeaf(ctx, w.l.store, lg.LogRef, from, head.Size, func(seq int64, raw []byte) error {
			for len(segs) > 0 && segs[0].stored.No>>store.SegmentBits <= seq {
				if err := w.want(ctx, segs[0], wanted); err != nil {
					return err
				}
				segs, last = segs[1:], seq
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
			for _, x := range wanted[id] {
				var paths []string
				for _, f := range x.o.Fields {
					paths = append(paths, f.Path)
				}
				if err := w.hit(ctx, x.seg, leaf, x.o, paths); err != nil {
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

func (w *eraser) want(ctx context.Context, seg *erasedSegment, wanted map[evidence.ID][]wantedOpening) error {
	openings, err := w.l.sealer.Open(ctx, w.l.store, w.tenant, seg.log.Origin, seg.stored)
	if err != nil {
		return err
	}
	for id, o := range openings {
		wanted[id] = append(wanted[id], wantedOpening{seg, o})
	}
	return nil
}
