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

// eraser carries out one erasure. collect may be called again: it reads what is there by
// then, and opens only what it has not opened before.
type eraser struct {
	l      *Ledger
	tenant string
	ask    Erasure

	keys     []store.KeyID // destroyed
	segments map[store.SegmentRef]*erasedSegment
	order    []*erasedSegment
	// opened are the segments that were looked into, those of this round or one before.
	opened map[store.SegmentRef]*erasedSegment
}

// erasedSegment is a segment that loses content.
type erasedSegment struct {
	stored store.SealedSegment
	log    store.Log
	whole  bool // its key is destroyed
	drop   map[evidence.ID][]string
	hits   []erasedRecord
	// left is what is put in its place, once rewritten; nil where nothing is left.
	left      *store.SealedSegment
	rewritten bool
}

// erasedRecord is a record that loses fields of one segment.
type erasedRecord struct {
	id                 evidence.ID
	at                 store.Position
	run, trace         string // run: see erasedRun
	own                string // the run that it is a record of
	occurred, recorded evidence.Micros
	paths              []string
	index              []seal.IndexTerm
}

func newEraser(l *Ledger, tenant string, e Erasure) *eraser {
	return &eraser{l: l, tenant: tenant, ask: e, opened: map[store.SegmentRef]*erasedSegment{}}
}

func (w *eraser) collect(ctx context.Context) error {
	w.keys, w.order, w.segments = nil, nil, map[store.SegmentRef]*erasedSegment{}
	if err := w.fields(ctx); err != nil {
		return err
	}
	if w.ask.Run != "" {
		if err := w.run(ctx); err != nil {
			return err
		}
		if err := w.quotes(ctx, []string{w.ask.Run}); err != nil {
			return err
		}
	}
	if w.ask.Person != "" {
		if err := w.person(ctx); err != nil {
			return err
		}
		return w.quotes(ctx, w.subjectRuns())
	}
	return nil
}

// segment returns what is noted of a segment, known whether it was of an earlier round.
func (w *eraser) segment(lg store.Log, s store.SealedSegment, whole bool) (seg *erasedSegment, known bool) {
	if have := w.segments[s.SegmentRef]; have != nil && have.whole == whole {
		return have, true
	}
	if have := w.opened[s.SegmentRef]; have != nil && have.stored.ID == s.ID && have.whole == whole {
		seg, known = have, true
	} else {
		seg = &erasedSegment{stored: s, log: lg, whole: whole, drop: map[evidence.ID][]string{}}
		w.opened[s.SegmentRef] = seg
	}
	if old := w.segments[s.SegmentRef]; old != nil { // single fields of it, and now all
		w.order = slices.DeleteFunc(w.order, func(x *erasedSegment) bool { return x == old })
	}
	w.segments[s.SegmentRef] = seg
	w.order = append(w.order, seg)
	return seg, known
}

// fieldsAt are fields of one record to be erased: all where paths is empty.
type fieldsAt struct {
	leaf  *evidence.Leaf
	paths []string
}

// fields marks fields of single records. Each segment is opened once.
func (w *eraser) fields(ctx context.Context) error {
	bySegment := map[store.SegmentRef][]fieldsAt{}
	for _, f := range w.ask.Fields {
		o, err := w.l.logByNo(ctx, w.tenant, f.LogNo)
		if err != nil {
			return err
		}
		_, leaf, err := readLeaf(ctx, w.l.store, o.Log, f.Seq)
		if err != nil {
			return err
		}
		if namesTargets(leaf) {
			return fmt.Errorf("leaf %d: %w: the record of an erasure or expiry is never erased itself", f.Seq, evidence.ErrForbidden)
		}
		if leaf.Text("event_type") == eventPolicy && (len(f.Paths) == 0 || slices.Contains(f.Paths, "/after_state")) {
			return fmt.Errorf("leaf %d: %w: what a policy says (/after_state) is not erased, for it would say something else then; name other paths", f.Seq, evidence.ErrForbidden)
		}
		row, err := w.l.store.Row(ctx, o.LogRef, leaf.Kind, leaf.Seq)
		if errors.Is(err, evidence.ErrNotFound) {
			continue // it has expired
		}
		if err != nil {
			return err
		}
		for _, no := range []int64{row.Segment, row.ActorSegment} {
			if no != store.NoSegment {
				ref := store.SegmentRef{LogNo: o.No, No: no}
				bySegment[ref] = append(bySegment[ref], fieldsAt{leaf, f.Paths})
			}
		}
	}
	return w.parts(ctx, bySegment)
}

// run marks everything that is sealed in the records of a run that still have rows, but for
// the records of erasures.
func (w *eraser) run(ctx context.Context) error {
	var rows []store.RunRecord
	err := w.l.store.RunRecords(ctx, w.tenant, w.ask.Run, func(r store.RunRecord) error {
		if r.Segment != store.NoSegment || r.ActorSegment != store.NoSegment {
			rows = append(rows, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(rows, func(a, b store.RunRecord) int { return comparePositions(a.Position, b.Position) })
	bySegment := map[store.SegmentRef][]fieldsAt{}
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].LogNo == rows[0].LogNo {
			n++
		}
		seqs := make([]int64, n)
		for i := range seqs {
			seqs[i] = rows[i].Seq
		}
		err := w.l.leavesAt(ctx, store.LogRef{Tenant: w.tenant, No: rows[0].LogNo}, seqs, func(i int, raw []byte) error {
			leaf, err := evidence.ParseLeaf(slices.Clone(raw))
			if err != nil {
				return fmt.Errorf("leaf %d: %w: %w", seqs[i], evidence.ErrTampered, err)
			}
			if leaf.Run != w.ask.Run {
				return fmt.Errorf("leaf %d: %w: it is not of run %q", seqs[i], evidence.ErrTampered, w.ask.Run)
			}
			if namesTargets(leaf) {
				return nil
			}
			for _, no := range []int64{rows[i].Segment, rows[i].ActorSegment} {
				if no != store.NoSegment {
					ref := store.SegmentRef{LogNo: rows[i].LogNo, No: no}
					bySegment[ref] = append(bySegment[ref], fieldsAt{leaf, nil})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		rows = rows[n:]
	}
	return w.parts(ctx, bySegment)
}

// parts marks fields of segments.
func (w *eraser) parts(ctx context.Context, bySegment map[store.SegmentRef][]fieldsAt) error {
	refs := make([]store.SegmentRef, 0, len(bySegment))
	for ref := range bySegment {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, compareSegments)
	for _, ref := range refs {
		if seg := w.segments[ref]; seg != nil && seg.whole {
			continue // all of it goes
		}
		o, err := w.l.logByNo(ctx, w.tenant, ref.LogNo)
		if err != nil {
			return err
		}
		s, err := w.l.store.SealedSegment(ctx, w.tenant, ref)
		if errors.Is(err, evidence.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if seg := w.opened[ref]; seg != nil && seg.stored.ID == s.ID && !seg.whole && w.segments[ref] == nil {
			w.segment(o.Log, s, false) // as in the round before
			continue
		}
		openings, err := w.l.sealer.Open(ctx, w.l.store, w.tenant, o.Origin, s)
		if errors.Is(err, evidence.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, f := range bySegment[ref] {
			opening := openings[f.leaf.ID]
			if opening == nil {
				continue
			}
			var paths []string
			for _, sealed := range opening.Fields {
				if len(f.paths) == 0 || slices.Contains(f.paths, sealed.Path) {
					paths = append(paths, sealed.Path)
				}
			}
			if paths == nil {
				continue
			}
			seg, _ := w.segment(o.Log, s, false)
			if err := w.hit(ctx, seg, f.leaf, opening, paths); err != nil {
				return err
			}
		}
	}
	return nil
}

func compareSegments(a, b store.SegmentRef) int {
	return cmp.Or(cmp.Compare(a.LogNo, b.LogNo), cmp.Compare(a.No, b.No))
}

// hit notes that a record loses fields of a segment. Those of an earlier hit are not
// counted twice.
func (w *eraser) hit(ctx context.Context, seg *erasedSegment, leaf *evidence.Leaf, o *seal.Opening, paths []string) error {
	have := seg.drop[leaf.ID]
	paths = slices.DeleteFunc(paths, func(p string) bool { return slices.Contains(have, p) })
	if len(paths) == 0 {
		return nil
	}
	seg.drop[leaf.ID] = append(have, paths...)
	k, err := w.l.sealer.IndexKey(ctx, w.l.store, w.tenant)
	if err != nil {
		return err
	}
	seg.rewritten = false
	seg.hits = append(seg.hits, erasedRecord{
		id: leaf.ID, at: store.Position{LogNo: seg.log.No, Seq: leaf.Seq}, run: erasedRun(leaf), own: leaf.Run, trace: traceScope(leaf),
		occurred: leaf.OccurredAt, recorded: leaf.RecordedAt, paths: paths,
		index: seal.IndexTerms(k, leaf.Kind, paths, func(p string) string {
			text, _ := o.Field(p)
			return text
		}),
	})
	return nil
}
