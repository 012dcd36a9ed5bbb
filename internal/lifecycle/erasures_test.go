package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/verify"
)

// noCertificates is a store that keeps none while it fails, with an error that says little.
type noCertificates struct {
	store.Store
	fails atomic.Bool
}

func (s *noCertificates) SetSetting(ctx context.Context, name, value string) error {
	if s.fails.Load() && strings.HasPrefix(name, settingCertificate) && value != "" {
		return fmt.Errorf("what it takes: %w", evidence.ErrNotFound)
	}
	return s.Store.SetSetting(ctx, name, value)
}

// TestErasures: what was erased is listed by pages, as the log states it; and a certificate that
// could not be kept is made again, on demand or in the next round, and is the same.
func TestErasures(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	failing := &noCertificates{}
	r := newRig(t, func(c *Config) { failing.Store, c.Store = c.Store, failing })
	list := func(q ErasureQuery) []string {
		t.Helper()
		l, err := r.Erasures(ctx, tenant, q)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range l.Erasures {
			out = append(out, e.ID)
		}
		if l.More {
			out = append(out, "more")
		}
		return out
	}
	if got := list(ErasureQuery{}); len(got) != 0 {
		t.Errorf("before any: %v", got)
	}
	failing.fails.Store(true)
	var ids []string
	want := map[string]ErasureAnswer{}
	for _, run := range []string{"run-010", "run-011", "late"} {
		done, err := r.Erase(ctx, tenant, ErasureRequest{Run: run, Reason: "asked for " + run}, Actor{Human: "ada"})
		if err != nil || done.ID == "" {
			t.Fatalf("%+v %v", done, err)
		}
		ids = append([]string{done.ID}, ids...)
		want[done.ID] = done
	}
	for _, c := range []struct {
		q    ErasureQuery
		want []string
	}{
		{ErasureQuery{}, ids},
		{ErasureQuery{Limit: 2}, []string{ids[0], ids[1], "more"}},
		{ErasureQuery{Limit: 2, Before: ids[1]}, ids[2:]},
		{ErasureQuery{Limit: 3}, ids},
	} {
		if diff := cmp.Diff(c.want, list(c.q)); diff != "" {
			t.Errorf("%+v: %s", c.q, diff)
		}
	}
	all, err := r.Erasures(ctx, tenant, ErasureQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	done := want[ids[0]]
	if e := all.Erasures[0]; e.Records != int64(done.Records) || e.Fields != int64(done.Fields) || e.Runs != 1 || e.OrderedBy != "ada" ||
		e.Reason != "asked for late" || e.Orders != 1 || e.Until != stamp(today.Add(certificatesFor)) {
		t.Errorf("%+v", e)
	}
	if _, err := r.Erasures(ctx, tenant, ErasureQuery{Before: "erasure-000000000000"}); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("before one that is not there: %v", err)
	}
	_, err = r.Erasures(ctx, tenant, ErasureQuery{Limit: MaxErasures + 1})
	isFieldError(t, err, "limit")

	idle := func(context.Context, []string) bool { return false }
	r.round(ctx, idle)                                                                          // it fails still, which is not for ever
	if err := r.db.SetSetting(ctx, ledger.SettingErasure+tenant+"/erasure-0", ""); err != nil { // it died before it was executed
		t.Fatal(err)
	}
	failing.fails.Store(false)
	r.round(ctx, idle)
	if value, err := r.db.Setting(ctx, settingCertificate+tenant+"/erasure-0"); err != nil || value != "" {
		t.Errorf("of what was not executed: %q %v", value, err)
	}
	for _, id := range ids {
		if value, err := r.db.Setting(ctx, settingCertificate+tenant+"/"+id); err != nil || value == "" {
			t.Errorf("%s is not made in the next round: %v", id, err)
		}
		r.certified(id, int64(want[id].Records))
	}
	r.clock.move(31 * 24 * time.Hour)
	r.round(ctx, idle)
	if _, err := r.Certificate(ctx, tenant, ids[0]); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("after a month: %v", err)
	}
	if all, err := r.Erasures(ctx, tenant, ErasureQuery{Limit: 1}); err != nil || all.Erasures[0].Until != "" {
		t.Errorf("%+v %v", all, err)
	}
}

// certified asks for a certificate and verifies it.
func (r *rig) certified(id string, records int64) {
	r.t.Helper()
	ctx := context.Background()
	text, err := r.Certificate(ctx, tenant, id)
	if err != nil {
		r.t.Fatal(err)
	}
	logs, err := r.ledger.Logs(ctx, tenant)
	if err != nil {
		r.t.Fatal(err)
	}
	rep, err := verify.Certificate(ctx, text, verify.Options{Keys: []string{logs[0].VKey}})
	if err != nil || rep.Erasure == nil || rep.Erasure.ErasureID != id || rep.Erasure.Records != records {
		r.t.Errorf("%s: %+v %v", id, rep, err)
	}
}

// TestCertificateOnDemand: of erasures with several orders, one upon the other.
func TestCertificateOnDemand(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "what is read is the same")
	ctx := context.Background()
	failing := &noCertificates{}
	failing.fails.Store(true)
	r := newRig(t, func(c *Config) { failing.Store, c.Store = c.Store, failing })
	var records []string
	for d := 20; d < 23; d++ {
		for _, rec := range r.add(audit(today, 2000+d, fmt.Sprintf(`,"run_id":"run-%03d","subject":"kim"`, d)), audit(today, 3000+d, fmt.Sprintf(`,"run_id":"run-%03d","subject":"lee"`, d))) {
			records = append(records, rec.ID.String())
		}
	}
	n := map[string]int64{}
	for _, q := range []ErasureRequest{{Subject: "kim", Reason: "r"}, {Records: records[1:2], Reason: "r"}, {Subject: "lee", Reason: "r"}} {
		done, err := r.Erase(ctx, tenant, q, Actor{})
		if err != nil {
			t.Fatal(err)
		}
		n[done.ID] = int64(done.Records)
	}
	failing.fails.Store(false)
	for id, records := range n {
		r.certified(id, records)
	}
	if _, err := r.Certificate(ctx, tenant, "erasure-ffffffffffff"); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
}

// TestArchiveRecorded: an archive that somebody asks for is on record, with the units; one that
// finds nothing to do is not.
func TestArchiveRecorded(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "the records are the same")
	ctx := context.Background()
	r := newRig(t, nil)
	until := stamp(ago(50))
	first, err := r.Archive(ctx, tenant, ArchiveRequest{Until: until}, Actor{Human: "ada"})
	if err != nil || len(first.Units) == 0 {
		t.Fatalf("%+v %v", first, err)
	}
	if again, err := r.Archive(ctx, tenant, ArchiveRequest{Until: until}, Actor{Human: "bob"}); err != nil || len(again.Units) != 0 {
		t.Fatalf("%+v %v", again, err)
	}
	list := r.audits(eventArchived)
	if len(list) != 1 {
		t.Fatalf("%d records", len(list))
	}
	u := first.Units[0]
	got := list[0]
	leaves, _ := got.Leaf.Int("record_count")
	bytes, _ := got.Leaf.Int("byte_count")
	if leaves != u.To || bytes != u.Bytes || evidence.ActorOf([]byte(got.Open["/actor"].JSON)) != "ada" || !evidence.ServerOnly(got.Leaf.Kind, eventArchived) {
		t.Errorf("%s", got.Raw)
	}
	if text := got.Open["/after_state"].JSON; !strings.Contains(text, u.Name) || !strings.Contains(text, u.Manifest) {
		t.Errorf("%s", text)
	}
	r.sound()
}

// TestArchiveQuiet: where only records of archiving are new there is nothing to archive, however often; they
// come with what is new next.
func TestArchiveQuiet(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "the records are the same")
	r := newRig(t, nil)
	archive := func() []UnitInfo {
		t.Helper()
		list, err := r.Archive(t.Context(), tenant, ArchiveRequest{}, Actor{Human: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		return list.Units
	}
	first := archive()
	if len(first) == 0 {
		t.Fatal("nothing is archived")
	}
	for range 3 {
		if again := archive(); len(again) != 0 {
			t.Fatalf("a unit of its own record: %+v", again)
		}
	}
	if n := len(r.audits(eventArchived)); n != 1 {
		t.Errorf("%d records", n)
	}
	r.run("new", r.now().Time(), "")
	next := archive()
	if end := first[len(first)-1].To; len(next) != 1 || next[0].From != end || next[0].To != end+4 {
		t.Errorf("after leaf %d: %+v", end, next)
	}
	r.sound()
}

// audits returns the audit entries of an event, opened, the oldest first.
func (r *rig) audits(event string) []ledger.Fetched {
	r.t.Helper()
	ctx := context.Background()
	found, err := r.ledger.Find(ctx, store.Query{
		Tenant: tenant, Kind: evidence.KindAudit, Limit: 100, Where: []store.Condition{{Field: "event_type", Values: []string{event}}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	list, err := r.ledger.Fetch(ctx, tenant, found, true)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// TestAllHoldsNamed: a refusal names every hold that forbids, up to ten.
func TestAllHoldsNamed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t, nil)
	var ids []string
	place := func(q HoldRequest) {
		t.Helper()
		q.Reason = "a case"
		h, err := r.PlaceHold(ctx, tenant, q, Actor{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, h.ID)
	}
	q := ErasureRequest{Run: "run-010", Reason: "r"}
	held := func() (ErasureAnswer, error) {
		t.Helper()
		dry := q
		dry.DryRun = true
		plan, err := r.Erase(ctx, tenant, dry, Actor{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Erase(ctx, tenant, q, Actor{Human: "bob"})
		if !errors.Is(err, store.ErrHeld) {
			t.Fatal(err)
		}
		return plan, err
	}
	place(HoldRequest{Run: "run-011"})
	ids = nil // it has no part in it
	place(HoldRequest{Run: "run-010"})
	place(HoldRequest{Run: "run-010"})
	place(HoldRequest{Subject: "sue-run-010"})
	place(HoldRequest{From: stamp(ago(11)), Until: stamp(ago(9))})
	place(HoldRequest{All: true})
	plan, err := held()
	want := slices.Sorted(slices.Values(ids))
	if diff := cmp.Diff(want, plan.Held); diff != "" {
		t.Error(diff)
	}
	if text := err.Error(); text != "nothing is erased: legal holds are in force on it: "+strings.Join(want, ", ") {
		t.Error(text)
	}
	if list := r.audits(eventRefused); len(list) != 1 || list[0].Open["/after_state"].JSON != `{"held_by":["`+strings.Join(want, `","`)+`"]}` {
		t.Errorf("%+v", list)
	}
	place(HoldRequest{All: true})
	p, err := r.Preview(ctx, tenant, time.Time{})
	if err != nil || !strings.Contains(p.Blocked, ids[4]) || !strings.Contains(p.Blocked, ids[5]) {
		t.Errorf("%q %v", p.Blocked, err)
	}
	for range 6 {
		place(HoldRequest{Run: "run-010"})
	}
	if _, err := held(); !strings.HasSuffix(err.Error(), " and 2 more") || strings.Count(err.Error(), "hold-") != 10 {
		t.Error(err)
	}
}

// orderTwo orders that two steps go, as a process does that dies right after.
func (r *rig) orderTwo() {
	r.t.Helper()
	ctx := context.Background()
	state, err := r.ledger.RunState(ctx, tenant, "run-095")
	if err != nil {
		r.t.Fatal(err)
	}
	seq := state.Last.Seq - 2
	order := ledger.ExpiryOrder{
		LogNo: 1, Table: evidence.KindTraceStep.Table(), Ranges: []evidence.TargetRange{{From: seq, To: seq + 2}}, From: 1,
		Before: cutoff(r.now(), llmDays), Class: evidence.ClassLLMRuns, Days: llmDays, Rows: 2, Reason: "r",
	}
	if _, _, err := r.ledger.OrderExpiry(ctx, tenant, []ledger.ExpiryOrder{order}); err != nil {
		r.t.Fatal(err)
	}
}

// TestUnreadableStatement: an erasure whose statement does not open is listed, and hides no other.
func TestUnreadableStatement(t *testing.T) {
	r := &Service{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	leaf := &evidence.Leaf{Log: "a.example/000000000000", Kind: evidence.KindAudit, RecordedAt: 1}
	leaf.SetFact(evidence.Fact{Field: evidence.PublicField(evidence.KindAudit, "entity_id"), Str: "erasure-0123456789ab"})
	for _, body := range []string{"", "{}", `{"erasure_id":7}`} {
		f := &ledger.Fetched{Leaf: leaf}
		if body != "" {
			f.Open = map[string]ledger.Opened{pathAfter: {JSON: body}}
		}
		if got := r.erasureInfo(f); !got.Unreadable || got.ID != "erasure-0123456789ab" || got.Record != leaf.ID.String() || got.ExecutedAt != "" {
			t.Errorf("%q: %+v", body, got)
		}
	}
}

// TestResumeCounted: what a process left undone that died is counted by the one that does it.
func TestResumeCounted(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	reg := prometheus.NewRegistry()
	r := newRig(t, func(c *Config) { c.Metrics = reg })
	r.orderTwo()
	for range 2 { // counted once
		r.finishAll(ctx, []string{tenant})
	}
	if got := removedRuns(t, reg); got != 2 {
		t.Errorf("%v records are counted", got)
	}
}

// removedRuns is what is counted of records of runs.
func removedRuns(t *testing.T, reg *prometheus.Registry) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "runledger_lifecycle_removed_records_total" && m.GetLabel()[0].GetValue() == evidence.ClassLLMRuns {
				n = m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestTwoProcessesCountOnce: what one process ordered and another one carried out is counted by the
// other one alone.
func TestTwoProcessesCountOnce(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	mine, others := prometheus.NewRegistry(), prometheus.NewRegistry()
	r := newRig(t, func(c *Config) { c.Metrics = mine })
	cfg := r.cfg
	cfg.Metrics = others
	other, err := New(cfg) // it knows nothing of what the first has in mind
	if err != nil {
		t.Fatal(err)
	}
	e := r.newExpiry(tenant, RunRequest{}, Actor{})
	e.do(t.Context(), e.order)
	if _, err := other.Expire(t.Context(), tenant, RunRequest{}, Actor{Human: "op"}); err != nil {
		t.Fatal(err)
	}
	e.do(t.Context(), e.finish)
	ordered := e.done[evidence.ClassLLMRuns].Removed
	if a, b := removedRuns(t, mine), removedRuns(t, others); e.err != nil || ordered == 0 || a != 0 || b != float64(ordered) {
		t.Errorf("%v; %v and %v are counted of %d", e.err, a, b, ordered)
	}
}

// TestCountedOnce: what the scheduler ordered, and somebody's run carried out before it came to that
// itself, is counted by one of them.
func TestCountedOnce(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	reg := prometheus.NewRegistry()
	r := newRig(t, func(c *Config) { c.Metrics = reg })
	e := r.newExpiry(tenant, RunRequest{}, Actor{})
	e.do(t.Context(), e.order)
	if n := removedRuns(t, reg); e.err != nil || n != 0 {
		t.Fatalf("%v; %v are counted when they are ordered", e.err, n)
	}
	if n := r.class(r.expire(RunRequest{}), evidence.ClassLLMRuns).Removed; n != 0 {
		t.Errorf("%d are ordered once more", n)
	}
	e.do(t.Context(), e.finish)
	ordered := e.done[evidence.ClassLLMRuns].Removed
	if n := removedRuns(t, reg); e.err != nil || ordered == 0 || n != float64(ordered) {
		t.Errorf("%v; %v are counted of %d", e.err, n, ordered)
	}
	if r.expire(RunRequest{}); removedRuns(t, reg) != float64(ordered) {
		t.Error("they are counted again")
	}
}

// TestErasedOrderer: who ordered an erasure and is erased themselves, is in no certificate either that was made before.
func TestErasedOrderer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t, nil)
	const grace = "grace@example.com"
	first, err := r.Erase(ctx, tenant, ErasureRequest{Run: "run-050", Reason: "asked for"}, Actor{grace})
	if err != nil || !bytes.Contains(first.Certificate, []byte(grace)) {
		t.Fatalf("%s, %v", first.Certificate, err)
	}
	kept, err := r.Certificate(ctx, tenant, first.ID)
	if err != nil || !bytes.Equal(kept, first.Certificate) {
		t.Errorf("%s, %v", kept, err)
	}
	if bare, err := WithoutActor(kept); err != nil || bytes.Contains(bare, []byte(grace)) || !bytes.Contains(bare, []byte(`"/after_state"`)) {
		t.Errorf("%s, %v", bare, err)
	}
	if _, err := r.Erase(ctx, tenant, ErasureRequest{Subject: grace, Reason: "she left"}, Actor{"op"}); err != nil {
		t.Fatal(err)
	}
	kept, err = r.Certificate(ctx, tenant, first.ID)
	if err != nil || bytes.Contains(kept, []byte(grace)) {
		t.Fatalf("%s, %v", kept, err)
	}
	logs, err := r.ledger.Logs(ctx, tenant)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := verify.Certificate(ctx, kept, verify.Options{Keys: []string{logs[0].VKey}})
	if err != nil || rep.Verdict != verify.VerifiedWithLimits || rep.Erasure.OrderedBy != "" || rep.Erasure.Records == 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestEraseCopies: where else the erased text stands is said, and it goes there, too, where that is asked for.
func TestEraseCopies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t, nil)
	list := r.add(step("talk", today, 1, ""), step("talk", today, 2, ""), completion("talk", today, ""), step("other", today, 1, ""))
	q := ErasureRequest{Records: []string{list[0].ID.String()}, Paths: []string{"/prompt"}, Reason: "a secret", DryRun: true}
	out, err := r.Erase(ctx, tenant, q, Actor{"op"})
	want := []CopyInfo{
		{list[1].ID.String(), "trace_step", list[1].Log, list[1].LeafIndex, []string{"/prompt"}},
		{list[2].ID.String(), "llm_run", list[2].Log, list[2].LeafIndex, []string{"/prompt"}},
	}
	if err != nil || out.Records != 1 || out.CopyCount != 2 || !cmp.Equal(out.Copies, want) {
		t.Errorf("%+v, %v", out, err)
	}
	q.Text = "secret of somebody else"
	if out, err = r.Erase(ctx, tenant, q, Actor{"op"}); err != nil || out.CopyCount != 0 {
		t.Errorf("another text: %+v, %v", out, err)
	}
	q.Copies, q.Text = true, "of talk"
	if out, err = r.Erase(ctx, tenant, q, Actor{"op"}); err != nil || out.Records != 3 || out.Fields != 3 || !cmp.Equal(out.Copies, want) {
		t.Errorf("%+v, %v", out, err)
	}
	q.DryRun = false
	if out, err = r.Erase(ctx, tenant, q, Actor{"op"}); err != nil || out.Records != 3 || out.CopyCount != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	err = r.ledger.RunRecords(ctx, tenant, "talk", func(x ledger.RunRecord) error {
		if o, ok := x.Open["/prompt"]; ok {
			t.Errorf("leaf %d: %s", x.Seq, o.JSON)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	r.sound()
}
