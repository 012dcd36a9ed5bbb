package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

func TestEnd(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	r := openRig(t, dir)
	r.tenant(t, "acme")
	check := func(want store.Position) {
		t.Helper()
		if got, err := r.End(ctx, "acme"); err != nil || got != want {
			t.Errorf("end %+v, %v; want %+v", got, err, want)
		}
	}
	check(store.Position{LogNo: 1, Seq: 1})
	r.append(t, "acme", step(1, 1, ""), step(1, 2, ""))
	check(store.Position{LogNo: 1, Seq: 3})
	if _, err := r.Rollover(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	check(store.Position{LogNo: 2, Seq: 1})
	r.append(t, "acme", step(1, 3, ""))
	r.close()
	r = openRig(t, dir)
	check(store.Position{LogNo: 2, Seq: 2})
	for _, nobody := range []string{"nobody", "", "No Tenant"} {
		if _, err := r.End(ctx, nobody); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("end of %q: %v", nobody, err)
		}
	}
}

// TestFilterName: the text that it gives is the one that stands in the leaf.
func TestFilterName(t *testing.T) {
	ctx := context.Background()
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	r.tenant(t, "globex")
	long := strings.Repeat("x", 129)
	for i, name := range []string{"gpt-5", "naïve ★", long, "a\tb", "h:0123456789abcdef", "h:0123", "x y:/@-"} {
		r.append(t, "acme", step(1, i+1, `,"model":`+string(evidence.QuoteJSON(name))))
		leaf := r.fetch(t, "acme", r.foundOf(t, "acme", fmt.Sprintf("%032x", 1)), false)[i].Leaf
		got, err := r.FilterName(ctx, "acme", "model", name)
		if err != nil {
			t.Fatal(err)
		}
		stands := leaf.Text("model")
		if evidence.IsReplacement(name) { // a producer's own: taken as one that was given out
			if got != name || stands == name {
				t.Errorf("%q: filter %q, leaf %q", name, got, stands)
			}
			continue
		}
		if got != stands || evidence.FitName(name) != (got == name) {
			t.Errorf("%q: filter %q, leaf %q", name, got, stands)
		}
		if again, err := r.FilterName(ctx, "acme", "model", stands); err != nil || again != stands {
			t.Errorf("the replacement %q is filtered as %q, %v", stands, again, err)
		}
		if other, err := r.FilterName(ctx, "globex", "model", name); err != nil || (other == got) != evidence.FitName(name) {
			t.Errorf("%q: another tenant has %q, %v", name, other, err)
		}
		if other, err := r.FilterName(ctx, "acme", "provider", name); err != nil || (other == got) != evidence.FitName(name) {
			t.Errorf("%q: another field has %q, %v", name, other, err)
		}
	}
}

// TestFindByIndexTerm: each name finds what was sealed under it.
func TestFindByIndexTerm(t *testing.T) {
	ctx := context.Background()
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	const odd = `"ada\" ★`
	run := fmt.Sprintf("%032x", 1)
	receipts := r.append(t, "acme",
		step(1, 1, `,"human_actor_id":`+string(evidence.QuoteJSON(odd))+`,"subject":"sub","flags":["fit","not fit ★","nor ☆"],"outcome_code":"naïve"`),
		fmt.Sprintf(`{"kind":"trace","occurred_at":"2026-11-23T15:00:00Z","run_id":"%s","trace_id":"%s","source_domain":"ACTIVITY","source_component":"T",`+
			`"root_hash":"sha256:00","plan_hash":{"a": 1}}`, run, run),
		fmt.Sprintf(`{"kind":"audit","id":"%s","occurred_at":"2026-11-23T15:00:00Z","event_type":"MemberAdded","entity_type":"IDENTITY","entity_id":"carol",`+
			`"actor_type":"SYSTEM","source_domain":"LOGS","source_component":"AuditLedgerWriter"}`, fixedID("identity")))
	find := func(name, text string) []store.IndexEntry {
		t.Helper()
		term, err := r.IndexTerm(ctx, "acme", name, text)
		if err != nil || term.Name != name {
			t.Fatalf("%s: %+v, %v", name, term, err)
		}
		entries, err := r.db.FindIndex(ctx, "acme", term.Name, term.MAC, 10)
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	for _, c := range []struct {
		name, text string
		at         int
	}{
		{"actor", odd, 0},
		{"subject", "sub", 0},
		{"flags", "not fit ★", 0},
		{"flags", "nor ☆", 0},
		{"outcome_code", "naïve", 0},
		{"root_hash", "sha256:00", 1},
		{"plan_hash", `{"a": 1}`, 1},
		{"entity_id", "carol", 2},
	} {
		if got := find(c.name, c.text); len(got) != 1 || got[0].Seq != receipts[c.at].LeafIndex {
			t.Errorf("%s %q is found at %+v, stands at %d", c.name, c.text, got, receipts[c.at].LeafIndex)
		}
	}
	for _, c := range [][2]string{{"flags", "fit"}, {"actor", "ada"}, {"actor", ""}, {"subject", odd}, {"model", "naïve"}} {
		if got := find(c[0], c[1]); len(got) != 0 {
			t.Errorf("%s %q is found at %+v", c[0], c[1], got)
		}
	}
	for _, name := range []string{"", "prompt", "/actor", "human_actor_id", "trace_id", "status", "content"} {
		if _, err := r.IndexTerm(ctx, "acme", name, "x"); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// TestFindTermsAreKnown: all names that a deployment of every kind has in its
// index can be asked for.
func TestFindTermsAreKnown(t *testing.T) {
	d := copyOf(t)
	r := openRig(t, d.dir)
	names := map[string]bool{}
	if err := r.db.Index(context.Background(), "acme", func(e store.IndexEntry) error { names[e.Name] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for name := range names {
		if _, err := r.IndexTerm(context.Background(), "acme", name, "x"); err != nil {
			t.Error(err)
		}
	}
	if len(names) < 6 {
		t.Errorf("only %d names", len(names))
	}
}

// TestFind goes through the ledger: found, fetched, and the conditions that
// FilterName and IndexTerm make.
func TestFind(t *testing.T) {
	ctx := context.Background()
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	r.append(t, "acme", endOf("run-1", "", `,"model":"naïve ★","human_actor_id":"ada"`), endOf("run-2", "", `,"model":"gpt-5"`))
	if _, err := r.Rollover(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	r.append(t, "acme", endOf("run-3", "", `,"model":"naïve ★"`))
	model, err := r.FilterName(ctx, "acme", "model", "naïve ★")
	if err != nil {
		t.Fatal(err)
	}
	ada, err := r.IndexTerm(ctx, "acme", "actor", "ada")
	if err != nil {
		t.Fatal(err)
	}
	end, err := r.End(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		where []store.Condition
		want  []string
	}{
		{nil, []string{"run-3", "run-2", "run-1"}},
		{[]store.Condition{{Field: "model", Values: []string{model}}}, []string{"run-3", "run-1"}},
		{[]store.Condition{{Index: &ada}}, []string{"run-1"}},
		{[]store.Condition{{Index: &ada}, {Field: "model", Values: []string{"gpt-5"}}}, nil},
	} {
		found, err := r.Find(ctx, store.Query{Tenant: "acme", Kind: evidence.KindLLMRun, Where: c.where, Below: end, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range r.fetch(t, "acme", found, true) {
			got = append(got, f.Leaf.Run)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.where, got, c.want)
		}
	}
}

// endOf is a native llm_run record.
func endOf(run, alias, more string) string {
	if alias != "" {
		more += `,"run_alias":` + string(evidence.QuoteJSON(alias))
	}
	return fmt.Sprintf(`{"kind":"llm_run","occurred_at":"2026-11-23T15:00:00Z","run_id":"%s","execution_status":"SUCCEEDED",`+
		`"source_domain":"ACTIVITY","source_component":"TraceStore"%s}`, run, more)
}

func traceOf(run, trace, alias string) string {
	more := ""
	if alias != "" {
		more = `,"run_alias":` + string(evidence.QuoteJSON(alias))
	}
	return fmt.Sprintf(`{"kind":"trace","occurred_at":"2026-11-23T15:00:00Z","run_id":"%s","trace_id":"%s",`+
		`"source_domain":"ACTIVITY","source_component":"TraceStore"%s}`, run, trace, more)
}

func TestResolveRun(t *testing.T) {
	ctx := context.Background()
	c := &counting{}
	r := openRig(t, filepath.Join(t.TempDir(), "data"), func(cfg *ledger.Config) { c.Store = cfg.Store; cfg.Store = c })
	r.tenant(t, "acme")
	r.tenant(t, "globex")
	trace := func(n int) string { return fmt.Sprintf("%032x", n) }
	const unfit, sealedToo = "Lauf Nr. 7 ★", "h:0123456789abcdef"
	r.append(t, "acme",
		traceOf("run-1", trace(1), "alias-1"), traceOf("run-2", trace(2), unfit), endOf("run-3", "alias-3", ""),
		traceOf("run-4", trace(4), "run-1"), endOf("run-5", sealedToo, ""),
		traceOf(trace(6), trace(6), ""), traceOf("run-7", trace(7), trace(6)),
		`{"kind":"audit","id":"`+fixedID("look").String()+`","occurred_at":"2026-11-23T15:00:00Z","event_type":"Looked","entity_type":"LOG","entity_id":"x",`+
			`"about_run":"only-looked-at","actor_type":"SYSTEM","source_domain":"LOGS","source_component":"A"}`)
	r.append(t, "globex", traceOf("run-9", trace(9), "alias-9"), endOf("run-10", "nur bei globex ★", ""))
	if _, err := r.Rollover(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	r.append(t, "acme", endOf("run-8", unfit, ""), traceOf("run-11", trace(11), "alias-11 ★"), endOf("run-11", "alias-11 ★", ""))
	replaced, err := r.FilterName(ctx, "acme", "run_alias", "alias-11 ★")
	if err != nil {
		t.Fatal(err)
	}
	check := func(id, want string) {
		t.Helper()
		got, err := r.ResolveRun(ctx, "acme", id)
		if want == "" {
			if !errors.Is(err, evidence.ErrNotFound) || got != "" {
				t.Errorf("%q: %q, %v", id, got, err)
			}
			return
		}
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", id, got, err, want)
		}
	}
	for _, v := range [][2]string{
		{"run-1", "run-1"}, // before run-4, whose alias it is
		{"alias-1", "run-1"},
		{trace(1), "run-1"},
		{trace(6), trace(6)}, // before run-7, whose alias it is
		{unfit, "run-8"},     // of two the newest
		{trace(2), "run-2"},
		{"alias-3", "run-3"},
		{sealedToo, "run-5"},
		{"alias-11 ★", "run-11"},
		{replaced, "run-11"},
	} {
		check(v[0], v[1])
	}

	// What another tenant has, what is only spoken of, and what nobody has: the
	// same answer after the same queries.
	var want []string
	for _, id := range []string{"nobody's", "run-9", "alias-9", "run-10", "nur bei globex ★", "only-looked-at", "h:fedcba9876543210"} {
		c.reset()
		check(id, "")
		got := c.reset()
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) || len(got) < 3 {
			t.Errorf("%q: queries %q, want %q", id, got, want)
		}
	}
	for _, id := range []string{trace(9), trace(99)} {
		c.reset()
		check(id, "")
		if got := c.reset(); !slices.Equal(got, append(slices.Clone(want), "RunOfTrace")) {
			t.Errorf("%q: queries %q", id, got)
		}
	}
	_, unknown := r.ResolveRun(ctx, "acme", trace(99))
	_, foreign := r.ResolveRun(ctx, "acme", trace(9))
	if unknown.Error() != foreign.Error() {
		t.Errorf("%q and %q", unknown, foreign)
	}
	c.reset()
	for _, id := range []string{"", strings.Repeat("x", 129), "a\nb", "a\x00", "a\u0085", "a\xff", "\x7f"} {
		check(id, "")
	}
	if got := c.reset(); got != nil {
		t.Errorf("for ids that no run can have: %q", got)
	}
	if _, err := r.ResolveRun(ctx, "nobody", "run-1"); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("of an unknown tenant: %v", err)
	}

	// An erased alias leads nowhere; what stands for it in public still does.
	for _, f := range r.everyRecord(t, "acme") {
		if f.LogNo == 2 && f.Kind == evidence.KindLLMRun || f.Kind == evidence.KindTrace {
			if rec := r.record(t, "acme", f.LogNo, f.Seq); rec.Open["/run_alias"].JSON == `"alias-11 ★"` {
				r.erase(t, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: f.Position, Paths: []string{"/run_alias"}}}, Reason: "asked", By: "op"})
			}
		}
	}
	check("alias-11 ★", "")
	check(replaced, "run-11")
	check(unfit, "run-8")
}

// TestResolveRunTampered: an index entry that leads to a record without that
// alias is noticed.
func TestResolveRunTampered(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	r := openRig(t, dir)
	r.tenant(t, "acme")
	r.append(t, "acme", endOf("run-1", "eins ★", ""), endOf("run-2", "zwei ★", ""))
	r.close()
	(&deployment{dir: dir}).tamper(t, func(e *evil) {
		e.change(2, storerig.Pick(`UPDATE sealed_index SET row = row + 1 - 2 * (row = (SELECT max(row) FROM sealed_index))`,
			`UPDATE sealed_index SET leaf_index = leaf_index + CASE WHEN leaf_index = (SELECT max(leaf_index) FROM sealed_index) THEN -1 ELSE 1 END`))
	})
	r = openRig(t, dir)
	for _, alias := range []string{"eins ★", "zwei ★"} {
		if run, err := r.ResolveRun(ctx, "acme", alias); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %q, %v", alias, run, err)
		}
	}
}

// TestRunRecordsOfALongRun is read in several parts.
func TestRunRecordsOfALongRun(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	var lines []string
	for i := range 1200 {
		lines = append(lines, step(1, i+1, fmt.Sprintf(`,"params":%d`, i)))
		if i%5 == 0 {
			lines = append(lines, step(2, i+1, ""))
		}
	}
	r.append(t, "acme", lines...)
	list := r.runRecords(t, "acme", fmt.Sprintf("%032x", 1))
	if len(list) != 1200 {
		t.Fatalf("%d records", len(list))
	}
	for i, rr := range list {
		if rr.Leaf.N != int64(i) || rr.Open["/params"].JSON != fmt.Sprint(i) {
			t.Fatalf("record %d is number %d with params %s", i, rr.Leaf.N, rr.Open["/params"].JSON)
		}
	}
}
