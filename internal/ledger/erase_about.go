package ledger

import (
	"context"
	"maps"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	// aboutRuns is how many runs are asked for at once, aboutPage how many records are read at once.
	aboutRuns, aboutPage = 64, 512
)

// quoting reports whether a leaf may quote what a run did without being one of its records: an audit
// entry about it that a producer sent, such as the report of a mismatch. What this program says of a run
// quotes nothing.
func quoting(leaf *evidence.Leaf) bool {
	return leaf.Kind == evidence.KindAudit && leaf.Run == "" && leaf.Text("about_run") != "" && leaf.Text("producer") != "" && !namesTargets(leaf)
}

// erasedRun is the run that a record loses content for: its own, or the one that it quotes.
func erasedRun(leaf *evidence.Leaf) string {
	if quoting(leaf) {
		return leaf.Text("about_run")
	}
	return leaf.Run
}

// subjectRuns are the runs of which records go because they are about the person: not those in which the
// person has only acted, nor those that an entry about the person only speaks of.
func (w *eraser) subjectRuns() []string {
	runs := map[string]bool{}
	for _, seg := range w.order {
		for _, h := range seg.hits {
			if h.own != "" && seg.whole && slices.ContainsFunc(h.paths, func(p string) bool { return p != "/actor" }) {
				runs[h.own] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(runs))
}

// quotes marks what is said about runs in entries that are not theirs, but not who said it.
func (w *eraser) quotes(ctx context.Context, runs []string) error {
	bySegment := map[store.SegmentRef][]fieldsAt{}
	for some := range slices.Chunk(runs, aboutRuns) {
		q := store.Query{
			Tenant: w.tenant, Kind: evidence.KindAudit, Limit: aboutPage,
			Where: []store.Condition{{Field: "about_run", Values: some}},
		}
		for {
			found, err := w.l.Find(ctx, q)
			if err != nil {
				return err
			}
			if err := w.quotesAmong(ctx, found, bySegment); err != nil {
				return err
			}
			if len(found) < q.Limit {
				break
			}
			q.After = &found[len(found)-1].Position
		}
	}
	return w.parts(ctx, bySegment)
}

func (w *eraser) quotesAmong(ctx context.Context, found []store.Found, bySegment map[store.SegmentRef][]fieldsAt) error {
	found = slices.DeleteFunc(found, func(f store.Found) bool { return f.Segment == store.NoSegment })
	records, err := w.l.Fetch(ctx, w.tenant, found, false)
	if err != nil {
		return err
	}
	for i := range records {
		leaf := records[i].Leaf
		if !quoting(leaf) {
			continue
		}
		var paths []string
		for _, f := range evidence.SealedFields(leaf.Kind) {
			if f.Path != "/actor" {
				paths = append(paths, f.Path)
			}
		}
		ref := store.SegmentRef{LogNo: found[i].LogNo, No: found[i].Segment}
		bySegment[ref] = append(bySegment[ref], fieldsAt{leaf, paths})
	}
	return nil
}

// maxBeside bounds the runs that beside looks through.
const maxBeside = 1000

// beside counts the records of the runs that are about the person which keep content, other than who acted.
func (w *eraser) beside(ctx context.Context) (n int, err error) {
	runs := w.subjectRuns()
	for _, run := range runs[:min(len(runs), maxBeside)] {
		err := w.l.store.RunRecords(ctx, w.tenant, run, func(r store.RunRecord) error {
			if r.Segment == store.NoSegment {
				return nil
			}
			if seg := w.segments[store.SegmentRef{LogNo: r.LogNo, No: r.Segment}]; seg == nil || !seg.whole {
				n++
			}
			return nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
