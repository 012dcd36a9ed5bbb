package lifecycle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

func TestCutoff(t *testing.T) {
	t.Parallel()
	at := func(s string) evidence.Micros {
		m, ok := evidence.ParseMicros(s)
		if !ok {
			t.Fatal(s)
		}
		return m
	}
	for _, c := range []struct {
		now  string
		days int
		want string
	}{
		{"2026-11-23T00:00:00.000000Z", 1, "2026-11-22T00:00:00.000000Z"},
		{"2026-11-23T23:59:59.999999Z", 1, "2026-11-22T00:00:00.000000Z"},
		{"2026-03-01T12:00:00.000000Z", 1, "2026-02-28T00:00:00.000000Z"},
		{"1969-12-31T12:00:00.000000Z", 1, "1969-12-30T00:00:00.000000Z"},
	} {
		if got := cutoff(at(c.now), c.days); got != at(c.want) {
			t.Errorf("%s less %d days: %s", c.now, c.days, got)
		}
	}
	// A record is due from dueAt on, and not a moment before.
	for _, rec := range []string{"2026-11-23T00:00:00.000000Z", "2026-11-23T12:00:00.000001Z", "2026-11-23T23:59:59.999999Z"} {
		when := dueAt(at(rec), 7)
		if at(rec) >= cutoff(when, 7) || at(rec) < cutoff(when-1, 7) {
			t.Errorf("%s is due at %s", rec, when)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, nil)
	ctx := context.Background()
	got, err := r.Policies(ctx, tenant)
	if err != nil {
		t.Fatal(err)
	}
	want := []Policy{
		{Class: "llm_runs", Days: 90, Archive: true, Default: true},
		{Class: "system_logs", Days: 30, Default: true},
		{Class: "audit", Days: 2557, Never: true, Default: true},
		{Class: "log_exports", Days: 365, Archive: true, Default: true},
		{Class: "synthetic", Days: 7, Default: true},
	}
	if d := cmp.Diff(want, got.Policies); d != "" {
		t.Error(d)
	}
	p, err := r.SetPolicy(ctx, tenant, PolicyChange{Class: "llm_runs", Days: ptr(120), Reason: "longer"}, Actor{Human: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err = r.Policies(ctx, tenant); err != nil {
		t.Fatal(err)
	}
	if now := got.Policies[0]; now.Days != 120 || !now.Archive || now.Default || now.Record != p.Record || now.Since == "" {
		t.Errorf("%+v", now)
	}
	if _, err := r.SetPolicy(ctx, tenant, PolicyChange{Class: "llm_runs", Archive: ptr(false), Reason: "no"}, Actor{}); err != nil {
		t.Fatal(err)
	}
	if got, err = r.Policies(ctx, tenant); err != nil || got.Policies[0].Days != 120 || got.Policies[0].Archive {
		t.Errorf("%+v %v", got.Policies[0], err)
	}
	// The record says who, why, and what was before.
	found, err := r.ledger.Find(ctx, store.Query{Tenant: tenant, Kind: evidence.KindAudit, Limit: 9, Where: []store.Condition{{Field: "event_type", Values: []string{eventPolicy}}}})
	if err != nil || len(found) != 2 {
		t.Fatal(found, err)
	}
	records, err := r.ledger.Fetch(ctx, tenant, found, true)
	if err != nil {
		t.Fatal(err)
	}
	if f := records[1]; textOf(&f, "/action_reason") != "longer" || f.Open["/actor"].JSON != `{"human_actor_id":"ada"}` ||
		!strings.Contains(f.Open["/before_state"].JSON, `"days":90`) || f.Leaf.Text("limit_unit") != "days" {
		t.Errorf("%+v", f)
	}
	r.sound()
}

func TestPolicyBounds(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, func(c *Config) { c.FloorDays, c.CeilingDays = 10, 4000 })
	for _, c := range []struct {
		PolicyChange
		field string // "": it is good
	}{
		{PolicyChange{Class: "nonsense", Days: ptr(20), Reason: "x"}, "class"},
		{PolicyChange{Days: ptr(20), Reason: "x"}, "class"},
		{PolicyChange{Class: "llm_runs", Days: ptr(20)}, "reason"},
		{PolicyChange{Class: "llm_runs", Days: ptr(20), Reason: " \n"}, "reason"},
		{PolicyChange{Class: "llm_runs", Days: ptr(20), Reason: strings.Repeat("x", maxReason+1)}, "reason"},
		{PolicyChange{Class: "llm_runs", Reason: "x"}, "days"},
		{PolicyChange{Class: "llm_runs", Days: ptr(9), Reason: "x"}, "days"},
		{PolicyChange{Class: "llm_runs", Days: ptr(-1), Reason: "x"}, "days"},
		{PolicyChange{Class: "llm_runs", Days: ptr(4001), Reason: "x"}, "days"},
		{PolicyChange{Class: "synthetic", Days: ptr(0), Reason: "x"}, "days"},
		{PolicyChange{Class: "synthetic", Days: ptr(91), Reason: "x"}, "days"},
		{PolicyChange{Class: "synthetic", Archive: ptr(true), Reason: "x"}, "archive"},
		{PolicyChange{Class: "audit", Archive: ptr(true), Reason: "x"}, "archive"},
		{PolicyChange{Class: "llm_runs", Days: ptr(10), Reason: "x"}, ""},
		{PolicyChange{Class: "llm_runs", Days: ptr(4000), Reason: "x"}, ""},
		{PolicyChange{Class: "synthetic", Days: ptr(1), Reason: "x"}, ""},
		{PolicyChange{Class: "audit", Days: ptr(3000), Reason: "x"}, ""},
		{PolicyChange{Class: "system_logs", Archive: ptr(true), Reason: "x"}, ""},
	} {
		_, err := r.SetPolicy(context.Background(), tenant, c.PolicyChange, Actor{})
		if c.field != "" {
			isFieldError(t, err, c.field)
		} else if err != nil {
			t.Errorf("%+v: %v", c.PolicyChange, err)
		}
	}
	if _, err := r.SetPolicy(context.Background(), "nobody", PolicyChange{Class: "audit", Days: ptr(20), Reason: "x"}, Actor{}); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}
}

func TestAcknowledge(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, nil)
	ctx := context.Background()
	for range 3 {
		again, err := New(r.cfg) // as another process
		if err == nil {
			err = errors.Join(again.Acknowledge(ctx, tenant), again.Acknowledge(ctx, tenant))
		}
		if err != nil {
			t.Fatal(err)
		}
		r.clock.move(time.Minute)
	}
	found, err := r.ledger.Find(ctx, store.Query{Tenant: tenant, Kind: evidence.KindSystem, Limit: 9, Where: []store.Condition{{Field: "event_type", Values: []string{eventAcknowledged}}}})
	if err != nil || len(found) != 1 {
		t.Errorf("%d records: %v", len(found), err)
	}
	records, err := r.ledger.Fetch(ctx, tenant, found, true)
	if err != nil || !strings.Contains(records[0].Open["/details"].JSON, `"llm_runs"`) {
		t.Errorf("%v %+v", err, records)
	}
}

// TestAcknowledgedFirst: by what evidence is kept is on record before a policy changes it, and before
// anything goes by it: who made the tenant may have failed to say so.
func TestAcknowledgedFirst(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	ctx := context.Background()
	for name, do := range map[string]func(r *rig){
		eventPolicy: func(r *rig) {
			if _, err := r.SetPolicy(ctx, tenant, PolicyChange{Class: evidence.ClassLLMRuns, Days: ptr(30), Reason: "r"}, Actor{}); err != nil {
				t.Fatal(err)
			}
		},
		"RetentionApplied": func(r *rig) { r.expire(RunRequest{}) },
	} {
		r := newRig(t, nil)
		do(r)
		at := map[string]int64{}
		end, err := r.ledger.End(ctx, tenant)
		if err != nil {
			t.Fatal(err)
		}
		err = r.ledger.Leaves(ctx, tenant, 1, 0, end.Seq, func(seq int64, raw []byte) error {
			leaf, err := evidence.ParseLeaf(raw)
			if event := leaf.Text("event_type"); err == nil && at[event] == 0 {
				at[event] = seq
			}
			return err
		})
		if err != nil || at[eventAcknowledged] == 0 || at[name] < at[eventAcknowledged] {
			t.Errorf("%s: leaf %d, acknowledged by leaf %d: %v", name, at[name], at[eventAcknowledged], err)
		}
	}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ctx := context.Background()
	for field, req := range map[string]HoldRequest{
		"run_id": {Reason: "x"},
		"until":  {From: "2026-01-02", Until: "2026-01-02", Reason: "x"},
		"from":   {From: "yesterday", Until: "2026-01-02", Reason: "x"},
		"reason": {All: true},
	} {
		_, err := r.PlaceHold(ctx, tenant, req, Actor{})
		isFieldError(t, err, field)
	}
	_, err := r.PlaceHold(ctx, tenant, HoldRequest{Run: "run-100", All: true, Reason: "x"}, Actor{})
	isFieldError(t, err, "run_id")
	if _, err := r.PlaceHold(ctx, tenant, HoldRequest{Run: "no such run", Reason: "x"}, Actor{}); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}
	if _, err := r.ReleaseHold(ctx, tenant, "hold-000000000000", "x", Actor{}); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}

	place := func(req HoldRequest) HoldInfo {
		t.Helper()
		req.Reason = "case 7"
		h, err := r.PlaceHold(ctx, tenant, req, Actor{Human: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	subject := place(HoldRequest{Subject: "sue-run-100"})
	times := place(HoldRequest{From: ago(96).Format(time.DateOnly), Until: ago(95).Format(time.DateOnly)})
	if subject.Runs != 1 || subject.PlacedBy != "ada" || subject.Reason != "case 7" || !subject.InForce || subject.Run != "" {
		t.Errorf("%+v", subject)
	}
	c := r.class(r.expire(RunRequest{}), evidence.ClassLLMRuns)
	if c.Removed != 24 || keptOf(c.Kept)[whyHold] != 6 {
		t.Errorf("%+v", c)
	}
	runs, _ := r.rows()
	for name, n := range map[string]int{"run-100": 3, "run-096": 3, "run-095": 0, "run-097": 0} {
		if runs[name] != n {
			t.Errorf("%s has %d rows", name, runs[name])
		}
	}
	all := place(HoldRequest{All: true})
	for _, h := range []HoldInfo{subject, times} {
		if _, err := r.ReleaseHold(ctx, tenant, h.ID, "over", Actor{Human: "bob"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.ReleaseHold(ctx, tenant, times.ID, "over", Actor{}); !errors.Is(err, evidence.ErrConflict) {
		t.Error(err)
	}
	res := r.expire(RunRequest{})
	if c := r.class(res, evidence.ClassLLMRuns); c.Removed != 0 || !strings.Contains(c.Blocked, all.ID) || r.Blocked() != "" {
		t.Errorf("%+v; %q", c, r.Blocked())
	}
	list, err := r.Holds(ctx, tenant, false)
	if err != nil || len(list.Holds) != 1 || list.Holds[0].ID != all.ID {
		t.Errorf("%+v %v", list, err)
	}
	if list, err = r.Holds(ctx, tenant, true); err != nil || len(list.Holds) != 3 || list.Holds[1].ReleasedBy != "bob" || list.Holds[1].InForce {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := r.ReleaseHold(ctx, tenant, all.ID, "over", Actor{}); err != nil {
		t.Fatal(err)
	}
	if c := r.class(r.expire(RunRequest{}), evidence.ClassLLMRuns); c.Removed != 6 {
		t.Errorf("%+v", c)
	}
	r.sound()
}

func TestPreviewLater(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, nil)
	p, err := r.Preview(context.Background(), tenant, today.AddDate(0, 0, 10))
	if err != nil {
		t.Fatal(err)
	}
	c := p.Classes[0]
	if c.Due != 60 || c.NextAt != micros(dueAt(evidence.MicrosOf(ago(80)), 90)) {
		t.Errorf("%+v", c)
	}
	if d := cmp.Diff([]TablePreview{{"llm_run_records", 20}, {"aos_trace_steps", 40}}, c.Tables); d != "" {
		t.Error(d)
	}
	if p, err = r.Preview(context.Background(), tenant, today.AddDate(8, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if c := p.Classes[2]; c.Due != 0 || keptOf(c.Kept)[whyNever] < historyDays {
		t.Errorf("%+v", c)
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ctx := context.Background()
	for field, req := range map[string]ErasureRequest{
		"subject":    {Reason: "x"},
		"paths":      {Run: "run-010", Paths: []string{"/prompt"}, Reason: "x"},
		"copies":     {Run: "run-010", Copies: true, Reason: "x"},
		"record_ids": {Records: []string{"nonsense"}, Reason: "x"},
		"reason":     {Run: "run-010"},
	} {
		_, err := r.Erase(ctx, tenant, req, Actor{})
		isFieldError(t, err, field)
	}
	_, err := r.Erase(ctx, tenant, ErasureRequest{Records: []string{ledger.NewID(0).String()}, Paths: []string{"/nonsense"}, Reason: "x"}, Actor{})
	isFieldError(t, err, "paths")
	if _, err := r.Erase(ctx, tenant, ErasureRequest{Records: []string{ledger.NewID(0).String()}, Reason: "x"}, Actor{}); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}

	dry, err := r.Erase(ctx, tenant, ErasureRequest{Subject: "sue-run-010", DryRun: true, Reason: "asked"}, Actor{})
	if err != nil || dry.Records != 2 || dry.Runs != 1 || dry.Keys != 1 || dry.ID != "" || dry.Certificate != nil {
		t.Fatalf("%+v %v", dry, err)
	}
	hold, err := r.PlaceHold(ctx, tenant, HoldRequest{Run: "run-010", Reason: "x"}, Actor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Erase(ctx, tenant, ErasureRequest{Subject: "sue-run-010", Reason: "asked"}, Actor{}); !errors.Is(err, ErrHeld) || err.Error() != "nothing is erased: a legal hold is in force on it: "+hold.ID {
		t.Errorf("held: %v", err)
	}
	if dry, err := r.Erase(ctx, tenant, ErasureRequest{Subject: "sue-run-010", DryRun: true, Reason: "asked"}, Actor{}); err != nil || len(dry.Held) != 1 || dry.Held[0] != hold.ID {
		t.Errorf("%+v %v", dry, err)
	}
	if _, err := r.ReleaseHold(ctx, tenant, hold.ID, "x", Actor{}); err != nil {
		t.Fatal(err)
	}
	done, err := r.Erase(ctx, tenant, ErasureRequest{Subject: "sue-run-010", Reason: "asked"}, Actor{Human: "ada"})
	if err != nil || done.Records != 2 || done.ID == "" || len(done.Certificate) == 0 {
		t.Fatalf("%+v %v", done, err)
	}
	again, err := r.Certificate(ctx, tenant, done.ID)
	if err != nil || string(again) != string(done.Certificate) {
		t.Errorf("%v %s", err, again)
	}
	if _, err := r.Certificate(ctx, "other", done.ID); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}
	// A record by its natural key, one field of it.
	one, err := r.Erase(ctx, tenant, ErasureRequest{Run: "run-011", Reason: "asked"}, Actor{})
	if err != nil || one.Records != 3 {
		t.Errorf("%+v %v", one, err)
	}
	r.sound()
	r.clock.move(31 * 24 * time.Hour)
	r.forgetCertificates(ctx)
	if _, err := r.Certificate(ctx, tenant, done.ID); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, func(c *Config) {
		c.Lease = func(context.Context, string, time.Duration) (bool, error) { return false, nil }
	})
	if _, err := r.Expire(context.Background(), tenant, RunRequest{}, Actor{}); !errors.Is(err, evidence.ErrUnavailable) {
		t.Error(err)
	}
	// The scheduler leaves it to the other.
	if r.expireAll(context.Background(), []string{tenant}) || r.finishAll(context.Background(), []string{tenant}) {
		t.Error("something is said to be removed")
	}
	r.round(context.Background(), r.expireAll)
	if runs, _ := r.rows(); runs["run-100"] != 3 {
		t.Error("it has gone")
	}
}

func TestScheduler(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "no rule of a database is in it")
	r := newRig(t, func(c *Config) { c.Every = 10 * time.Millisecond })
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, ready)
	}()
	time.Sleep(20 * time.Millisecond)
	if runs, _ := r.rows(); runs["run-100"] != 3 {
		t.Error("it began before it was time")
	}
	close(ready)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if runs, _ := r.rows(); runs["run-100"] == 0 && runs["made-up"] == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing went")
		}
	}
	cancel()
	<-ended
	r.sound()
}
