package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// erasureCounts are what an erasure is about.
type erasureCounts struct{ records, fields, runs int }

func (w *eraser) counts() (n erasureCounts) {
	records, runs := map[store.Position]bool{}, map[string]bool{}
	for _, seg := range w.order {
		for _, h := range seg.hits {
			records[h.at] = true
			if h.run != "" {
				runs[h.run] = true
			}
			n.fields += len(h.paths)
		}
	}
	n.records, n.runs = len(records), len(runs)
	return n
}

// toRetire returns the keys that stay for now and open what is erased, in copies of it.
func (w *eraser) toRetire() []store.KeyID {
	var out []store.KeyID
	for _, seg := range w.order {
		if !seg.whole && !slices.Contains(out, seg.stored.Key) {
			out = append(out, seg.stored.Key)
		}
	}
	return out
}

// rewrite seals anew what is left of segments that lose only some content.
func (w *eraser) rewrite(ctx context.Context) (err error) {
	for _, seg := range w.order {
		if seg.whole || seg.rewritten {
			continue
		}
		drop := func(id evidence.ID, path string) bool { return slices.Contains(seg.drop[id], path) }
		seg.left, err = w.l.sealer.Without(ctx, w.tenant, seg.log.Origin, seg.stored, drop, true)
		if err != nil {
			return err
		}
		seg.rewritten = true
	}
	return nil
}

// removal returns what is taken away, and the keys that what is left is sealed under and that
// are not stored yet.
func (w *eraser) removal() (*store.Removal, []store.DataKey) {
	r := &store.Removal{Keys: w.keys}
	var fresh []store.DataKey
	for _, seg := range w.order {
		r.Segments = append(r.Segments, seg.stored.SegmentRef)
		r.IDs = append(r.IDs, seg.stored.ID)
		for _, h := range seg.hits {
			for _, t := range h.index {
				r.Index = append(r.Index, store.IndexEntry{Name: t.Name, MAC: t.MAC, Position: h.at, Trace: h.trace})
			}
		}
		if seg.left == nil {
			continue
		}
		r.Replace = append(r.Replace, *seg.left)
		if k, isNew := w.l.sealer.NewKey(seg.left.Key); isNew {
			fresh = mergeKeys(fresh, []store.DataKey{k})
		}
	}
	return r, fresh
}

// execute appends the records of the erasure and removes, in one transaction.
func (w *eraser) execute(ctx context.Context, c *committer, o *openLog) (Erased, *erasureNote, error) {
	l := w.l
	removal, newKeys := w.removal()
	records := w.records(o)
	note := w.note(records)
	p := c.newPlan()
	removal.By = store.Position{LogNo: o.No, Seq: o.next.tree.size()}
	receipts, err := l.planOwn(ctx, p, o, records...)
	if err != nil {
		p.restore(l)
		return Erased{}, nil, err
	}
	if err := l.keepErasureNote(ctx, w.tenant, note); err != nil {
		p.restore(l)
		return Erased{}, nil, err
	}
	lp := p.logPlan(o)
	for i := range lp.commit.Sealed {
		if slices.Contains(w.keys, lp.commit.Sealed[i].Key) {
			p.restore(l)
			return Erased{}, nil, fmt.Errorf("erase: %w: what orders it would be sealed under a key that it destroys", evidence.ErrConflict)
		}
	}
	lp.commit.Removal = removal
	lp.commit.Keys = mergeKeys(lp.commit.Keys, newKeys)
	err = c.commitNow(ctx, p)
	// Forgotten also where the outcome is unknown: nothing may be sealed
	// under a key that could be gone.
	l.sealer.Destroyed(w.keys)
	if err != nil {
		return Erased{}, nil, fmt.Errorf("erase: %w", err)
	}
	return Erased{
		Records: int(note.Records), Fields: int(note.Fields), Keys: int(note.Keys), Runs: int(note.Runs),
		Receipts: receipts, ID: note.ID, At: note.At,
	}, note, nil
}

// records makes one ErasureExecuted for each run and log, naming only that
// run's records: one list of all records of a person would link them again.
func (w *eraser) records(o *openLog) []*evidence.Record {
	type key struct {
		run string
		no  int
	}
	ranges := map[key][]evidence.TargetRange{}
	origins := map[int]string{}
	var order []key
	for _, seg := range w.order {
		origins[seg.log.No] = seg.log.Origin
		for _, h := range seg.hits {
			k := key{h.run, h.at.LogNo}
			if ranges[k] == nil {
				order = append(order, k)
			}
			ranges[k] = append(ranges[k], evidence.TargetRange{From: h.at.Seq, To: h.at.Seq + 1, Paths: h.paths})
		}
	}
	now := evidence.MicrosOf(w.l.clock.Now())
	var out []*evidence.Record
	for _, k := range order {
		rs := ranges[k]
		slices.SortStableFunc(rs, func(a, b evidence.TargetRange) int { return int(a.From - b.From) })
		for part := range slices.Chunk(mergeRanges(rs), erasureRanges) {
			t := evidence.Targets{Ranges: part}
			if k.no != o.No {
				t.Log = origins[k.no]
			}
			id := NewID(now)
			r := w.l.auditRecord(now, eventErased, "RETENTION", id.String())
			r.ID, r.Run = id, k.run
			if by := w.ask.orderedBy(); by != "" {
				r.SetHumanActor(by)
			}
			r.SetSealed("/targets", t.JSON())
			if w.ask.Reason != "" {
				r.SetSealed("/action_reason", evidence.QuoteJSON(w.ask.Reason))
			}
			out = append(out, r)
		}
	}
	return out
}

// erasureRanges bounds the /targets of one record: ranges with their paths.
const erasureRanges = 4000

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
