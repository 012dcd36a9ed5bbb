package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// writer appends to a tenant without end.
type writer struct {
	batches atomic.Int64
	stop    func()
}

// keepWriting starts a writer: new runs, new revisions of old ones, late steps of
// the long one, system records and audit entries. Reads add access records too.
func (r *reads) keepWriting(t *testing.T, key string) *writer {
	t.Helper()
	w := &writer{}
	quit, done := make(chan struct{}), make(chan struct{})
	w.stop = sync.OnceFunc(func() { close(quit); <-done })
	t.Cleanup(w.stop)
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			select {
			case <-quit:
				return
			default:
			}
			status, body := r.tryPut(t, key,
				r.line("llm_run", 600, object{"run_id": fmt.Sprintf("new-%d", n)}),
				r.line("llm_run", 2, object{"run_id": fmt.Sprintf("run-%d", n%pagedRuns), "revision": 2 + n/pagedRuns, "outcome": "failure"}),
				r.line("trace_step", 100.5, object{"run_id": "long", "trace_id": longTrace, "span_id": fmt.Sprintf("%016x", 10_000+n)}),
				r.line("system", 600, nil), r.line("system", 3, nil),
				r.line("audit", 600, nil), r.line("audit", 3, nil))
			if status != http.StatusOK {
				t.Errorf("writer: %d %s", status, body)
				return
			}
			w.batches.Add(1)
		}
	}()
	return w
}

// wait returns when something was appended after it was called.
func (w *writer) wait(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for n := w.batches.Load() + 2; w.batches.Load() < n; {
		if t.Failed() || time.Now().After(deadline) {
			t.Fatal("nothing is written")
		}
		time.Sleep(time.Millisecond)
	}
}

const (
	pagedRuns = 23
	longTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
)

// TestReadPaging pages through every list while records arrive: what was there
// at the first page comes once, in order, and nothing else.
func TestReadPaging(t *testing.T) {
	r := newReads(t, nil)
	producer := r.newKey(t, own)
	auditor := r.roleKey(t, own, "auditor")
	r.used(t, producer, auditor)
	var lines []string
	for n := range pagedRuns {
		lines = append(lines, r.line("llm_run", float64(n), object{"run_id": fmt.Sprintf("run-%d", n)}), r.line("system", float64(n), nil), r.line("audit", float64(n), nil))
	}
	for n := range 40 {
		lines = append(lines, r.line("trace_step", 100+float64(n/2), object{
			"run_id": "long", "trace_id": longTrace, "span_id": fmt.Sprintf("%016x", n+1), "params": "what was given",
		}))
	}
	lines = append(lines, r.line("llm_run", 100, object{"run_id": "long", "completed_at": r.time(140)}))
	r.put(t, producer, lines...)
	w := r.keepWriting(t, producer)
	for _, list := range []struct {
		path, items, id, order string
		least                  int
	}{
		{"/llm-runs?limit=4", "items", "run_id", "metadata.leaf_index", pagedRuns + 1},
		{"/llm-runs?limit=7&outcome=success", "items", "run_id", "metadata.leaf_index", 2},
		{"/system?limit=6", "items", "id", "created_at", pagedRuns},
		{"/system/audit?limit=6", "entries", "id", "created_at", pagedRuns},
		{"/audit?limit=9", "items", "id", "leaf_index", pagedRuns},
		{"/audit?limit=3&event_type=PolicyEvaluated&actor_type=SYSTEM", "items", "id", "leaf_index", pagedRuns},
		{"/audit/access?limit=2", "access_events", "id", "leaf_index", 8},
		{"/audit/authorization?limit=5", "decisions", "leaf_index", "leaf_index", 8},
		{"/llm-runs/long/trace?limit=7", "steps", "span_id", "", 40},
		{"/system/long/events?limit=5", "events", "id", "", 0},
	} {
		t.Run(list.path, func(t *testing.T) {
			p := &paging{r: r, w: w, t: t, key: auditor, path: "/api/v1/logs" + list.path, items: list.items, id: list.id, order: list.order}
			p.pages()
			if len(p.ids) < list.least {
				t.Errorf("%d items, at least %d were there", len(p.ids), list.least)
			}
		})
	}
}

// paging is the reading of a list to its end.
type paging struct {
	r                            *reads
	w                            *writer
	t                            *testing.T
	key, path, items, id, order  string
	ids, leaves                  []string
	total                        string
	last                         any // of the order
	firstLeaf                    float64
	timestamp                    string
	timestampLeaf                float64
	haveTimestamp, haveFirstLeaf bool
}

func (p *paging) pages() {
	t := p.t
	t.Helper()
	for cursor, n := "", 0; ; n++ {
		target := p.path
		if cursor != "" {
			target += "&cursor=" + url.QueryEscape(cursor)
		}
		page := p.r.ask(t, p.key, target, http.StatusOK)
		p.page(page, n == 0)
		next, _ := at(t, page, "next_cursor").(string)
		if more := at(t, page, "has_more"); more != (next != "") {
			t.Fatalf("page %d: has_more %v, next_cursor %q", n, more, next)
		}
		if cursor = next; cursor == "" {
			break
		}
		p.w.wait(t)
	}
	if p.total != "" && p.total != fmt.Sprint(len(p.ids)) {
		t.Errorf("%d items on all pages, total %s", len(p.ids), p.total)
	}
	sorted := slices.Sorted(slices.Values(p.ids))
	if len(slices.Compact(slices.Clone(sorted))) != len(p.ids) {
		t.Errorf("an item stands twice: %q", sorted)
	}
}

func (p *paging) page(page object, first bool) {
	t := p.t
	t.Helper()
	if total, ok := page["total"]; ok && p.items != "steps" {
		if !first && fmt.Sprint(total) != p.total {
			t.Errorf("total is %v, was %v", total, p.total)
		}
		p.total = fmt.Sprint(total)
	}
	for _, item := range listOf(t, page, p.items) {
		p.ids = append(p.ids, fmt.Sprint(at(t, item, p.id)))
		if p.order != "" {
			p.inOrder(at(t, item, p.order))
			continue
		}
		p.byTime(item)
	}
}

// inOrder: newest first.
func (p *paging) inOrder(v any) {
	p.t.Helper()
	later := false
	switch v := v.(type) {
	case float64:
		last, ok := p.last.(float64)
		later = ok && v >= last
	case string:
		last, ok := p.last.(string)
		later = ok && v > last
	}
	if later {
		p.t.Errorf("%v stands behind %v", v, p.last)
	}
	p.last = v
}

// byTime: by time, ties by leaf.
func (p *paging) byTime(item any) {
	p.t.Helper()
	name := "timestamp"
	if strings.Contains(p.path, "/events") {
		name = "occurred_at"
	}
	when, leaf := at(p.t, item, name).(string), at(p.t, item, "leaf_index").(float64)
	if p.haveTimestamp && (when < p.timestamp || when == p.timestamp && name == "timestamp" && leaf <= p.timestampLeaf) {
		p.t.Errorf("%s of leaf %v stands behind %s of leaf %v", when, leaf, p.timestamp, p.timestampLeaf)
	}
	p.timestamp, p.timestampLeaf, p.haveTimestamp = when, leaf, true
}
