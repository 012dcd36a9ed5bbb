package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// writer appends to a tenant, a batch for each that it is told to.
type writer struct {
	r    *reads
	key  string
	n    int
	done chan error // of the batch under way; nil: none
}

// begin starts a batch beside what the test does: a new run, a new revision of an
// old one, a late step of the long one, system records and audit entries. Reads add
// access records too.
func (w *writer) begin(t *testing.T) {
	w.n++
	r, n := w.r, w.n
	lines := []string{
		r.line("llm_run", 600, object{"run_id": fmt.Sprintf("new-%d", n)}),
		r.line("llm_run", 2, object{"run_id": fmt.Sprintf("run-%d", n%pagedRuns), "revision": 2 + n/pagedRuns, "outcome": "failure"}),
		r.line("trace_step", 100.5, object{"run_id": "long", "trace_id": longTrace, "span_id": fmt.Sprintf("%016x", 10_000+n)}),
		r.line("system", 600, nil), r.line("system", 101, object{"run_id": "long"}),
		r.line("audit", 600, nil), r.line("audit", 3, nil),
	}
	w.done = make(chan error, 1)
	go func() {
		status, body := r.tryPut(t, w.key, lines...)
		if status != http.StatusOK {
			w.done <- fmt.Errorf("writer: %d %s", status, body)
			return
		}
		w.done <- nil
	}()
}

// end waits until the batch is durable.
func (w *writer) end(t *testing.T) {
	t.Helper()
	if err := <-w.done; err != nil {
		t.Fatal(err)
	}
}

const (
	pagedRuns = 11
	longTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
)

// TestReadPaging pages through every list while records arrive: what was there
// at the first page comes once, in order, and nothing else.
func TestReadPaging(t *testing.T) {
	t.Parallel()
	r := newReads(t, nil)
	producer := r.newKey(t, own)
	auditor := r.roleKey(t, own, "auditor")
	r.used(t, producer, auditor)
	runs, systems, audits, spans, bound := []string{"long"}, []string(nil), []string(nil), []string(nil), []string(nil)
	var lines []string
	add := func(ids *[]string, id string, line string) { *ids, lines = append(*ids, id), append(lines, line) }
	id := func(n int) string { return fmt.Sprintf("018f0000-0000-4000-8000-%012x", n) }
	for n := range pagedRuns {
		run := fmt.Sprintf("run-%d", n)
		add(&runs, run, r.line("llm_run", float64(n), object{"run_id": run}))
		add(&systems, id(n), r.line("system", float64(n), object{"id": id(n)}))
		add(&audits, id(1000+n), r.line("audit", float64(n), object{"id": id(1000 + n)}))
	}
	for n := range 20 {
		span := fmt.Sprintf("%016x", n+1)
		add(&spans, span, r.line("trace_step", 100+float64(n/2), object{"run_id": "long", "trace_id": longTrace, "span_id": span, "params": "given"}))
		if n < 5 {
			add(&bound, id(2000+n), r.line("system", 100+float64(n/2), object{"id": id(2000 + n), "run_id": "long"}))
		}
	}
	lines = append(lines, r.line("llm_run", 100, object{"run_id": "long", "completed_at": r.time(140)}))
	r.put(t, producer, lines...)
	w := &writer{r: r, key: producer}
	for _, list := range []struct {
		path, items, id, order string
		known                  []string // among others
		least                  int
	}{
		{"/llm-runs?limit=5", "items", "run_id", "metadata.leaf_index", runs, 0},
		{"/llm-runs?limit=3&outcome=success", "items", "run_id", "metadata.leaf_index", []string{"long", "run-10", "run-9"}, 0},
		{"/system?limit=11", "items", "id", "created_at", systems, 0},
		{"/system/audit?limit=13", "entries", "id", "created_at", systems, 0},
		{"/audit?limit=23", "items", "id", "leaf_index", audits, 0},
		{"/audit?limit=17&event_type=PolicyEvaluated&actor_type=SYSTEM", "items", "id", "leaf_index", audits, 0},
		{"/audit/access?limit=7", "access_events", "id", "leaf_index", nil, 12},
		{"/audit/authorization?limit=8", "decisions", "leaf_index", "leaf_index", nil, 12},
		{"/llm-runs/long/trace?limit=7", "steps", "span_id", "", spans, 0},
		{"/system/long/events?limit=7", "events", "id", "", bound, 0},
	} {
		t.Run(list.path, func(t *testing.T) {
			p := &paging{r: r, w: w, t: t, key: auditor, path: "/api/v1/logs" + list.path, items: list.items, id: list.id, order: list.order}
			p.pages()
			if len(p.ids) < list.least {
				t.Errorf("%d items, at least %d were there", len(p.ids), list.least)
			}
			for _, id := range list.known {
				if !slices.Contains(p.ids, id) {
					t.Errorf("%s was there and is not shown", id)
				}
			}
		})
	}
}

// paging is the reading of a list to its end.
type paging struct {
	r                           *reads
	w                           *writer
	t                           *testing.T
	key, path, items, id, order string

	ids   []string
	total string
	last  any // of the order
	when  string
	leaf  float64
}

func (p *paging) pages() {
	t := p.t
	t.Helper()
	for cursor, n := "", 0; ; n++ {
		target := p.path
		if cursor != "" {
			target += "&cursor=" + url.QueryEscape(cursor)
		}
		p.w.begin(t)
		page := p.r.ask(t, p.key, target, http.StatusOK)
		p.w.end(t)
		p.page(page, n == 0)
		next, _ := at(t, page, "next_cursor").(string)
		if more := at(t, page, "has_more"); more != (next != "") {
			t.Fatalf("page %d: has_more %v, next_cursor %q", n, more, next)
		}
		if cursor = next; cursor == "" {
			break
		}
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
	if when < p.when || when == p.when && name == "timestamp" && leaf <= p.leaf {
		p.t.Errorf("%s of leaf %v stands behind %s of leaf %v", when, leaf, p.when, p.leaf)
	}
	p.when, p.leaf = when, leaf
}
