package facade

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/problem"
)

func (r *rig) replay(rd Reader, run string, q ReplayParams) *answer.ReplayWindow {
	r.t.Helper()
	w, err := r.Replay(r.ctx, rd, run, q)
	r.must(err)
	return w
}

// system is a system record named by its event type.
func (r *rig) system(at time.Duration, event string, more ...fields) *evidence.Record {
	return r.native("system", after(at), append([]fields{{"component": "worker", "event_type": event}}, more...)...)
}

func actions(events []answer.ReplayEvent) string {
	var out []string
	for _, e := range events {
		out = append(out, e.Action)
	}
	return strings.Join(out, ", ")
}

// TestReplayEdges: exactly half the window on either side belongs to it, a
// microsecond more does not.
func TestReplayEdges(t *testing.T) {
	r := newRig(t)
	center := 10 * time.Minute
	edge, us := 30*time.Second, time.Microsecond
	offsets := []time.Duration{-edge - us, -edge, 0, edge, edge + us}
	var records, wide []*evidence.Record
	for i, d := range offsets {
		records = append(
			records, r.step(1, i+1, 0, "tool", center+d, center+d), r.system(center+d, d.String()),
			r.entry(0, center+d, d.String(), "LIMIT", "x"),
		)
		wide = append(wide, r.system(center+d, "wide "+d.String(), fields{"visibility": "shared"}), r.system(center+d, "hidden"))
	}
	r.add("acme", records...)
	r.add(evidence.SystemTenant, wide...)
	r.add("other", r.system(center, "of another tenant"), r.entry(0, center, "of another tenant", "LIMIT", "x"))
	r.settle()
	at := after(center)
	w := r.replay(r.reader(), traceID(1), ReplayParams{Center: &at})
	want(t, "source", w.CenterSource, "request")
	want(t, "window", w.WindowStart.String()+" "+w.WindowEnd.String(), after(center-edge).String()+" "+after(center+edge).String())
	want(t, "steps", actions(w.LLMEvents), "tool step 2, tool step 3, tool step 4")
	// Ties by leaf index, whichever log that is of.
	want(t, "system", actions(w.SystemEvents), "wide -30s, -30s, wide 0s, 0s, wide 30s, 30s")
	want(t, "policy", actions(w.PolicyEvents), "-30s, 0s, 30s")
	want(t, "offset", fmt.Sprint(w.LLMEvents[0].OffsetMS, w.LLMEvents[1].OffsetMS, w.PolicyEvents[2].OffsetMS), "-30000 0 30000")
	want(t, "step", said(w.LLMEvents[0].StepIndex)+said(w.SystemEvents[0].StepIndex), "1null")
	want(t, "tenant", w.SystemEvents[0].Metadata.TenantID, "system")
	want(t, "outcomes", w.LLMEvents[0].Outcome+" "+w.SystemEvents[0].Outcome+" "+w.PolicyEvents[0].Outcome, "success INFO ")
	want(t, "more", w.HasMore, false)

	odd := r.replay(r.reader(), traceID(1), ReplayParams{Center: &at, WindowSeconds: 61})
	want(t, "steps of 61 seconds", len(odd.LLMEvents), 5)
	want(t, "start of 61 seconds", odd.WindowStart.String(), after(center-30500*time.Millisecond).String())

	only, err := r.SystemReplay(r.ctx, r.reader(), traceID(1), ReplayParams{Center: &at})
	r.must(err)
	want(t, "system only", actions(only.SystemEvents), actions(w.SystemEvents))
	if only.LLMEvents == nil || len(only.LLMEvents)+len(only.PolicyEvents) != 0 {
		t.Errorf("other events: %v %v", only.LLMEvents, only.PolicyEvents)
	}
}

func TestReplayCenter(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0)...)
	r.add("acme", r.simpleRun(2, 0)...)
	r.add("acme", r.step(2, 9, 1, "tool", 500*time.Millisecond, 700*time.Millisecond, fields{"status": "failure"}))
	r.settle()
	r.add("acme", r.simpleRun(3, 0)[1:]...)
	r.add("acme", r.doneRun(4, time.Minute, fields{"completed_at": nil}))
	for run, c := range map[int]string{
		1: "completed_at " + after(900*time.Millisecond).String(),
		2: "inflection_at " + after(700*time.Millisecond).String(),
		3: "started_at " + after(100*time.Millisecond).String(),
		4: "started_at " + after(time.Minute).String(),
	} {
		w := r.replay(r.reader(), traceID(run), ReplayParams{})
		want(t, "center", w.CenterSource+" "+w.CenterTimestamp.String(), c)
	}
	for _, q := range []ReplayParams{{WindowSeconds: 1}, {WindowSeconds: 3601}, {WindowSeconds: -1}, {Paging: Paging{Limit: 1000}}} {
		if _, err := r.Replay(r.ctx, r.reader(), traceID(1), q); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	last, _ := evidence.ParseMicros("9999-12-31T23:59:59.000000Z")
	w := r.replay(r.reader(), traceID(1), ReplayParams{Center: &last})
	want(t, "the end of times", w.WindowEnd.InRange(), true)
	if d := cmp.Diff(after(0).String(), w.Metadata.OccurredAt.String()); d != "" { // of the run: nothing is in the window
		t.Error(d)
	}
}

// TestReplayPages: one cursor goes on with all three lists; each event comes
// once, in order, though records arrive meanwhile and the run ends.
func TestReplayPages(t *testing.T) {
	r := newRig(t)
	ms := time.Millisecond
	var records, wide []*evidence.Record
	const n = 20
	for i := range n {
		at := time.Duration(i/2) * ms // two and two at one moment
		records = append(records, r.step(1, i+1, 99, "tool", at, at), r.system(at, fmt.Sprintf("own %d", i)))
		if i%2 == 0 {
			wide = append(wide, r.system(at, fmt.Sprintf("wide %d", i), fields{"visibility": "shared"}))
		}
		if i < 3 {
			records = append(records, r.entry(1, at, fmt.Sprintf("policy %d", i), "LIMIT", "x"))
		}
	}
	r.add("acme", records...)
	r.add(evidence.SystemTenant, wide...)
	all := r.replay(r.reader(), traceID(1), ReplayParams{})
	want(t, "counts", fmt.Sprint(len(all.LLMEvents), len(all.SystemEvents), len(all.PolicyEvents)), "20 30 3")
	for _, list := range [][]answer.ReplayEvent{all.LLMEvents, all.SystemEvents, all.PolicyEvents} {
		for i := 1; i < len(list); i++ {
			a, b := list[i-1], list[i]
			if a.Timestamp > b.Timestamp || a.Timestamp == b.Timestamp && a.LeafIndex > b.LeafIndex {
				t.Errorf("%s before %s", a.Action, b.Action)
			}
		}
	}
	q := ReplayParams{Paging: Paging{Limit: 7}}
	page := r.replay(r.reader(), traceID(1), q)
	var more []*evidence.Record
	for i := range 100 {
		at := time.Duration(i/10) * ms
		more = append(more, r.step(1, 1000+i, 99, "llm", at, at+time.Second), r.system(at, "new"), r.entry(1, at, "new", "LIMIT", "x"))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, rec := range more {
			if _, err := r.tryItems("acme", "test", []otlp.Item{{Record: rec}}); err != nil {
				t.Error(err)
			}
		}
	})
	defer wg.Wait()
	var got [3][]answer.ReplayEvent
	for pages := 1; ; pages++ {
		for i, list := range [][]answer.ReplayEvent{page.LLMEvents, page.SystemEvents, page.PolicyEvents} {
			got[i] = append(got[i], list...)
			if len(list) > 7 {
				t.Errorf("list %d has %d events", i, len(list))
			}
		}
		want(t, "center", page.CenterSource+page.CenterTimestamp.String(), "started_at"+after(0).String())
		if !page.HasMore {
			want(t, "pages", pages, 5)
			break
		}
		if pages == 1 {
			wg.Wait()
			r.settle() // the center is not that of the run any more
		}
		q.Cursor = *page.NextCursor
		page = r.replay(r.reader(), traceID(1), q)
	}
	for i, list := range [][]answer.ReplayEvent{all.LLMEvents, all.SystemEvents, all.PolicyEvents} {
		if d := cmp.Diff(actions(list), actions(got[i])); d != "" {
			t.Errorf("list %d: %s", i, d)
		}
	}
}

// TestReplaySynthetic: the rule holds in all lists.
func TestReplaySynthetic(t *testing.T) {
	r := newRig(t)
	synthetic := fields{"is_synthetic": true}
	r.add("acme", r.simpleRun(1, 0)...)
	r.add("acme", r.simpleRun(2, 0, synthetic)...)
	r.add("acme", r.system(0, "real"), r.system(0, "synthetic", synthetic), r.entry(0, 0, "real", "LIMIT", "x"), r.entry(0, 0, "synthetic", "LIMIT", "x", synthetic))
	r.add(evidence.SystemTenant, r.system(0, "wide", fields{"visibility": "shared"}), r.system(0, "wide synthetic", fields{"visibility": "shared"}, synthetic))
	r.settle()
	for _, c := range []struct {
		include, only  bool
		run            int
		system, policy string
	}{
		{false, false, 1, "real, wide", "real"},
		{true, false, 1, "real, wide, synthetic, wide synthetic", "real, synthetic"},
		{true, true, 2, "synthetic, wide synthetic", "synthetic"},
	} {
		rd := r.reader()
		rd.IncludeSynthetic, rd.SyntheticOnly = c.include, c.only
		w := r.replay(rd, traceID(c.run), ReplayParams{})
		got := strings.Split(actions(w.SystemEvents), ", ")
		if d := cmp.Diff(sorted(strings.Split(c.system, ", ")), sorted(got)); d != "" {
			t.Error(d)
		}
		want(t, "policy", actions(w.PolicyEvents), c.policy)
		want(t, "steps", len(w.LLMEvents), 3)
	}
}

func TestReplayCursor(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0)...)
	r.settle()
	q := ReplayParams{Paging: Paging{Limit: 1}}
	q.Cursor = *r.replay(r.reader(), traceID(1), q).NextCursor
	if len(q.Cursor) > maxCursor {
		t.Errorf("a cursor of %d bytes", len(q.Cursor))
	}
	c, err := parseCursor(q.Cursor, digest("replay", traceID(1), false, (*evidence.Micros)(nil), 60, r.reader().where()))
	r.must(err)
	for _, extra := range []string{"", "x", `{"c":9999999999999999999}`, `{"c":999999999999999999,"o":"x"}`} {
		c.Extra = extra
		bad := q
		bad.Cursor = *c.encode()
		if _, err := r.Replay(r.ctx, r.reader(), traceID(1), bad); !errors.Is(err, problem.ErrMalformed) {
			t.Errorf("%q: %v", extra, err)
		}
	}
	q.WindowSeconds = 10
	if _, err := r.Replay(r.ctx, r.reader(), traceID(1), q); !errors.Is(err, problem.ErrMalformed) {
		t.Errorf("another window: %v", err)
	}
	if _, err := r.SystemReplay(r.ctx, r.reader(), traceID(1), ReplayParams{Paging: Paging{Cursor: q.Cursor}}); !errors.Is(err, problem.ErrMalformed) {
		t.Errorf("another answer: %v", err)
	}
}
