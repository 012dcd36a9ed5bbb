package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// Erasure says what to erase: sealed fields of single records, or all that
// stands under a person's own keys. Leaves are never touched: the log stays
// as verifiable as it was.
type Erasure struct {
	Fields []ErasedField
	// Person is a human actor or data subject: their /actor in every record,
	// and everything sealed in the records that name them as data subject.
	Person string
	Reason string
	// By is the operator who orders it; it stands sealed in the record.
	By string
}

// ErasedField is one record's sealed fields.
type ErasedField struct {
	store.Position
	Paths []string // empty: all
}

// Erased is what an erasure did.
type Erased struct {
	Records  int // records that lost content
	Fields   int // sealed fields that are gone
	Keys     int // data keys that were destroyed
	Receipts []Receipt
}

// Erase makes sealed content unreadable for good. In one transaction it
// appends ErasureExecuted, one record for each run concerned, and removes
// or rewrites the sealed segments, the index entries, and the keys whose
// whole scope goes. It runs alone: appends wait meanwhile.
//
// Content under a tenant's key of the day is sealed anew under a later key;
// the old key still opens copies of the old segments in backups until the
// day's other segments have been sealed anew too and the key is destroyed.
func (l *Ledger) Erase(ctx context.Context, tenant string, e Erasure) (Erased, error) {
	var out Erased
	err := l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		o, err := c.newest(tenant)
		if err != nil {
			return err
		}
		w := &eraser{l: l, c: c, o: o, by: e.By, reason: e.Reason, segments: map[store.SegmentRef]*erasedSegment{}}
		if err := w.collect(ctx, e); err != nil {
			return err
		}
		if len(w.segments) == 0 {
			return fmt.Errorf("erase: nothing of it is sealed here: %w", evidence.ErrNotFound)
		}
		out, err = w.execute(ctx)
		return err
	})
	if err != nil {
		return Erased{}, err
	}
	err = l.store.Scrub(ctx)
	if errors.Is(err, store.ErrSync) {
		l.halt(err)
	}
	return out, err
}

// eraser carries out one erasure.
type eraser struct {
	l          *Ledger
	c          *committer
	o          *openLog
	by, reason string
	keys       []store.KeyID // destroyed
	segments   map[store.SegmentRef]*erasedSegment
	order      []store.SegmentRef
}

// erasedSegment is a segment that loses content.
type erasedSegment struct {
	stored store.SealedSegment
	log    store.Log
	whole  bool // its key is destroyed
	drop   map[evidence.ID][]string
	hits   []erasedRecord
}

type erasedRecord struct {
	leaf  *evidence.Leaf
	logNo int
	paths []string
	index []seal.IndexTerm
}

func (w *eraser) collect(ctx context.Context, e Erasure) error {
	for _, f := range e.Fields {
		if err := w.field(ctx, f); err != nil {
			return err
		}
	}
	if e.Person == "" {
		return nil
	}
	keys, err := w.l.sealer.PersonKeys(ctx, w.o.Tenant, e.Person)
	if err != nil {
		return err
	}
	for _, k := range keys {
		w.keys = append(w.keys, k.ID)
	}
	logs, err := w.l.store.Logs(ctx, w.o.Tenant)
	if err != nil {
		return err
	}
	for _, lg := range logs {
		var hit []store.SealedSegment
		err := w.l.store.SealedSegments(ctx, lg.LogRef, func(s store.SealedSegment) error {
			if slices.Contains(w.keys, s.Key) {
				s.Data = slices.Clone(s.Data)
				hit = append(hit, s)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, s := range hit {
			seg := w.segment(lg, s)
			seg.whole = true
		}
	}
	return w.fill(ctx)
}

func (w *eraser) segment(lg store.Log, s store.SealedSegment) *erasedSegment {
	ref := store.SegmentRef{LogNo: lg.No, No: s.No}
	if have := w.segments[ref]; have != nil {
		return have
	}
	seg := &erasedSegment{stored: s, log: lg, drop: map[evidence.ID][]string{}}
	w.segments[ref] = seg
	w.order = append(w.order, ref)
	return seg
}

// field marks fields of one record.
func (w *eraser) field(ctx context.Context, f ErasedField) error {
	o, err := w.l.logByNo(ctx, w.o.Tenant, f.LogNo)
	if err != nil {
		return err
	}
	_, leaf, err := readLeaf(ctx, w.l.store, o.Log, f.Seq)
	if err != nil {
		return err
	}
	if ServerErasure(leaf) {
		return fmt.Errorf("leaf %d: %w: the record of an erasure is never erased itself", f.Seq, evidence.ErrForbidden)
	}
	row, err := w.l.store.Row(ctx, o.LogRef, leaf.Kind, leaf.Seq)
	if err != nil {
		return err
	}
	for _, no := range []int64{row.Segment, row.ActorSegment} {
		if no == store.NoSegment {
			continue
		}
		s, err := w.l.store.SealedSegment(ctx, w.o.Tenant, store.SegmentRef{LogNo: o.No, No: no})
		if errors.Is(err, evidence.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		openings, err := w.l.sealer.Open(ctx, w.l.store, w.o.Tenant, o.Origin, s)
		if errors.Is(err, evidence.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		opening := openings[leaf.ID]
		if opening == nil {
			continue
		}
		var paths []string
		for _, sealed := range opening.Fields {
			if len(f.Paths) == 0 || slices.Contains(f.Paths, sealed.Path) {
				paths = append(paths, sealed.Path)
			}
		}
		if paths != nil {
			w.hit(w.segment(o.Log, s), leaf, o.No, opening, paths)
		}
	}
	return nil
}

// ServerErasure reports whether a leaf is the record of an erasure.
func ServerErasure(leaf *evidence.Leaf) bool {
	return leaf.Kind == evidence.KindAudit && leaf.Text("event_type") == eventErased
}

func (w *eraser) hit(seg *erasedSegment, leaf *evidence.Leaf, logNo int, o *seal.Opening, paths []string) {
	seg.drop[leaf.ID] = append(seg.drop[leaf.ID], paths...)
	r := erasedRecord{leaf: leaf, logNo: logNo, paths: paths}
	if k, err := w.l.sealer.IndexKey(context.Background(), w.l.store, w.o.Tenant); err == nil {
		r.index = seal.IndexTerms(k, leaf.Kind, paths, func(p string) string {
			text, _ := o.Field(p)
			return text
		})
	}
	seg.hits = append(seg.hits, r)
}

// fill finds the records of the segments that go as a whole. They stand at
// or after the leaf that the segment is numbered by.
func (w *eraser) fill(ctx context.Context) error {
	for _, ref := range w.order {
		seg := w.segments[ref]
		if !seg.whole {
			continue
		}
		openings, err := w.l.sealer.Open(ctx, w.l.store, w.o.Tenant, seg.log.Origin, seg.stored)
		if err != nil {
			return err
		}
		head, err := w.l.store.Head(ctx, seg.log.LogRef)
		if err != nil {
			return err
		}
		left := len(openings)
		seg.hits, seg.drop = nil, map[evidence.ID][]string{}
		err = eachLeaf(ctx, w.l.store, seg.log.LogRef, ref.No>>4, head.Size, func(_ int64, b []byte) error {
			leaf, err := evidence.ParseLeaf(b)
			if err != nil {
				return fmt.Errorf("%w: %w", evidence.ErrTampered, err)
			}
			o := openings[leaf.ID]
			if o == nil {
				return nil
			}
			var paths []string
			for _, f := range o.Fields {
				paths = append(paths, f.Path)
			}
			w.hit(seg, leaf, ref.LogNo, o, paths)
			if left--; left == 0 {
				return errFound
			}
			return nil
		})
		if err != nil && !errors.Is(err, errFound) {
			return err
		}
	}
	return nil
}

// execute appends the records of the erasure and removes, in one
// transaction.
func (w *eraser) execute(ctx context.Context) (Erased, error) {
	out := Erased{Keys: len(w.keys)}
	removal := &store.Removal{Keys: w.keys}
	now := w.l.clock.Now()
	var newKeys []store.DataKey
	seen := map[evidence.ID]bool{}
	for _, ref := range w.order {
		seg := w.segments[ref]
		removal.Segments = append(removal.Segments, ref)
		for _, h := range seg.hits {
			if !seen[h.leaf.ID] {
				seen[h.leaf.ID] = true
				out.Records++
			}
			out.Fields += len(h.paths)
			for _, t := range h.index {
				removal.Index = append(removal.Index, store.IndexEntry{
					Name: t.Name, MAC: t.MAC, Position: store.Position{LogNo: h.logNo, Seq: h.leaf.Seq}, Trace: traceScope(h.leaf),
				})
			}
		}
		if seg.whole {
			continue
		}
		scope, _, err := w.l.sealer.KeyScope(ctx, w.l.store, w.o.Tenant, seg.stored.Key)
		if err != nil {
			return out, err
		}
		drop := func(id evidence.ID, path string) bool { return slices.Contains(seg.drop[id], path) }
		left, err := w.l.sealer.Without(ctx, w.o.Tenant, seg.log.Origin, seg.stored, drop, scope == store.ScopeDay, now)
		if err != nil {
			return out, err
		}
		if left != nil {
			left.SegmentRef = ref
			removal.Replace = append(removal.Replace, *left)
			if k, fresh := w.l.sealer.NewKey(left.Key); fresh {
				newKeys = mergeKeys(newKeys, []store.DataKey{k})
			}
		}
	}
	p := w.c.newPlan()
	records := w.records()
	first := w.o.next.tree.size()
	if err := w.l.addOwn(ctx, p, w.o, records...); err != nil {
		p.restore(w.l)
		return out, err
	}
	lp := p.logPlan(w.o)
	removal.By = store.Position{LogNo: w.o.No, Seq: first}
	lp.commit.Removal = removal
	lp.commit.Keys = mergeKeys(lp.commit.Keys, newKeys)
	err := w.c.commitNow(ctx, p)
	// Forgotten also where the outcome is unknown: nothing may be sealed
	// under a key that could be gone.
	w.l.sealer.Destroyed(w.keys)
	if err != nil {
		return out, err
	}
	for _, e := range lp.commit.Entries {
		out.Receipts = append(out.Receipts, Receipt{ID: e.Leaf.ID, Log: w.o.Origin, LogNo: w.o.No, LeafIndex: e.Leaf.Seq})
	}
	return out, nil
}

// records makes one ErasureExecuted for each run and log, naming only that
// run's records: one list of all records of a person would link them again.
func (w *eraser) records() []*evidence.Record {
	type key struct {
		run string
		no  int
	}
	ranges := map[key][]evidence.TargetRange{}
	var order []key
	for _, ref := range w.order {
		for _, h := range w.segments[ref].hits {
			k := key{h.leaf.Run, h.logNo}
			if ranges[k] == nil {
				order = append(order, k)
			}
			ranges[k] = append(ranges[k], evidence.TargetRange{From: h.leaf.Seq, To: h.leaf.Seq + 1, Paths: h.paths})
		}
	}
	now := evidence.MicrosOf(w.l.clock.Now())
	var out []*evidence.Record
	for _, k := range order {
		rs := ranges[k]
		slices.SortFunc(rs, func(a, b evidence.TargetRange) int { return int(a.From - b.From) })
		t := evidence.Targets{Ranges: mergeRanges(rs)}
		if k.no != w.o.No {
			t.Log = w.segments[w.order[0]].log.Origin
			for _, ref := range w.order {
				if ref.LogNo == k.no {
					t.Log = w.segments[ref].log.Origin
				}
			}
		}
		id := NewID(now)
		r := w.l.auditRecord(now, eventErased, "RETENTION", id.String())
		r.ID, r.Run = id, k.run
		if w.by != "" {
			r.SetHumanActor(w.by)
		}
		r.SetSealed("/targets", t.JSON())
		if w.reason != "" {
			r.SetSealed("/action_reason", evidence.QuoteJSON(w.reason))
		}
		out = append(out, r)
	}
	return out
}

// mergeRanges joins ranges that stand side by side with the same paths.
func mergeRanges(in []evidence.TargetRange) []evidence.TargetRange {
	var out []evidence.TargetRange
	for _, r := range in {
		if n := len(out); n > 0 && out[n-1].To == r.From && strings.Join(out[n-1].Paths, " ") == strings.Join(r.Paths, " ") {
			out[n-1].To = r.To
			continue
		}
		out = append(out, r)
	}
	return out
}
