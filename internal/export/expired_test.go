package export_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/verify"
)

// keep appends the tenant's policy about a class.
func (r *rig) keep(class, days string) {
	r.t.Helper()
	rec := &evidence.Record{Kind: evidence.KindAudit, ID: ledger.NewID(r.now()), OccurredAt: r.now()}
	for name, v := range map[string]string{
		"source_domain": "LOGS", "source_component": "AuditLedgerWriter", "event_type": "RetentionPolicyChanged", "entity_type": "RETENTION",
		"entity_id": class, "limit_value": days, "limit_unit": "days", "actor_type": "SYSTEM", "system_id": "ledger",
	} {
		rec.SetText(name, v)
	}
	err := rec.Complete()
	if err == nil {
		_, err = r.Append(context.Background(), "acme", []*evidence.Record{rec}, ledger.AppendOptions{})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// expire removes the rows of those kinds, of the leaves from <= seq < to, which are over a
// day old; classes must be kept for one.
func (r *rig) expire(from, to int64, kinds ...evidence.Kind) {
	r.t.Helper()
	ctx := context.Background()
	var orders []ledger.ExpiryOrder
	for _, k := range kinds {
		orders = append(orders, ledger.ExpiryOrder{
			LogNo: 1, Table: k.Table(), Ranges: []evidence.TargetRange{{From: from, To: to}}, From: 1,
			Before: evidence.MicrosOf(time.Now().Add(-25 * time.Hour)), Class: k.Class(), Days: 1, Reason: "retention",
		})
	}
	_, _, err := r.OrderExpiry(ctx, "acme", orders)
	for more := err == nil; more && err == nil; {
		var s ledger.ExpiryStep
		s, err = r.ExpireStep(ctx, "acme")
		more = s.More
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestExpired: what has expired is said to have, by the records that ordered it, in every
// profile; a run that has is not found.
func TestExpired(t *testing.T) {
	r := newRigBehind(t, 48*time.Hour)
	from := r.now()
	r.keep(evidence.ClassLLMRuns, "1")
	r.keep(evidence.ClassSystemLogs, "1")
	r.steps(1, 0, 3)
	second := r.append("acme", end("run-1", 1, ""))[0].LeafIndex + 1
	r.steps(2, 0, 2)
	r.append("acme", fmt.Sprintf(`{"kind":"system","id":"%s","occurred_at":"2026-11-23T15:00:00Z","run_id":"run-2","component":"worker","event_type":"ERROR",`+
		`"severity":"WARN","summary":"the worker is slow","source_domain":"SYSTEM","source_component":"test"}`, ledger.NewID(evidence.MicrosOf(time.Now()))), policy(1, ""))
	r.append("acme", end("run-2", 1, ""))
	r.systems("acme", "tenant", 2)
	until := r.now()
	r.append("acme", policy(2, ""))
	if _, err := r.Erase(context.Background(), "acme", ledger.Erasure{Person: "operator-1@example.com", Reason: "asked for", By: "operator"}); err != nil {
		t.Fatal(err)
	}
	size := r.append("acme", policy(3, ""))[0].LeafIndex
	r.behind.Store(0)
	r.expire(1, second, evidence.KindTraceStep, evidence.KindLLMRun)
	r.expire(1, size, evidence.KindSystem)

	counts := func(rep *verify.Report) string {
		return fmt.Sprint(rep.Counts["withheld_erased"], " erased, ", rep.Counts["withheld_expired"], " expired")
	}
	// Of run 1 three steps of three fields, of which one was erased before, and an end of
	// two; three system records of two.
	rep := r.good(zipOf(t, r.export(export.Request{})), verify.Options{})
	if got := counts(rep); got != "1 erased, 17 expired" {
		t.Errorf("log: %s", got)
	}
	z := zipOf(t, r.exportRun(export.Request{Run: "run-2"}))
	if got := counts(r.good(z, verify.Options{})); got != "1 erased, 2 expired" || strings.Contains(string(z), "the worker is slow") {
		t.Errorf("run: %s", got)
	}
	// Far behind the period, with leaves between.
	b := r.period(export.Request{Scope: export.ScopeSystem, From: from, Until: until})
	z = zipOf(t, b)
	if got := counts(r.good(z, verify.Options{})); got != "0 erased, 6 expired" {
		t.Errorf("period: %s", got)
	}
	seqs := seqsOf(t, z, "logs/0")
	if last := seqs[len(seqs)-1]; last < size || slices.Contains(seqs, size) {
		t.Errorf("the period has leaves %v, and not the record of its expiry alone behind them", seqs)
	}

	before := len(r.exportRecords())
	for _, format := range []string{export.FormatZIP, export.FormatPDF} {
		_, err := r.exporter.Export(context.Background(), export.Request{
			Tenant: "acme", Profile: verify.ProfileRun, Run: "run-1", Format: format, By: export.Requester{Name: "cli:operator", Human: true},
		})
		if !errors.Is(err, evidence.ErrNotFound) || !errors.Is(err, ledger.ErrExpired) {
			t.Errorf("%s of a run that has expired: %v", format, err)
		}
	}
	if after := len(r.exportRecords()); after != before {
		t.Errorf("%d records of exports, %d before", after, before)
	}
}

// TestExportWhileExpiring: an export that is made between the order of an expiry and its end is not kept for longer than that.
func TestExportWhileExpiring(t *testing.T) {
	r := newRigBehind(t, 48*time.Hour)
	ctx := context.Background()
	from := r.now()
	r.keep(evidence.ClassLLMRuns, "1")
	r.steps(1, 0, 3)
	last := r.append("acme", end("run-1", 1, ""))[0].LeafIndex
	r.behind.Store(0)
	x, _ := r.exports(0)
	var orders []ledger.ExpiryOrder
	for _, k := range []evidence.Kind{evidence.KindTraceStep, evidence.KindLLMRun} {
		orders = append(orders, ledger.ExpiryOrder{
			LogNo: 1, Table: k.Table(), Ranges: []evidence.TargetRange{{From: last - 3, To: last + 1}}, From: from,
			Before: evidence.MicrosOf(time.Now().Add(-25 * time.Hour)), Class: k.Class(), Days: 1, Reason: "retention",
		})
	}
	if _, _, err := r.OrderExpiry(ctx, "acme", orders); err != nil {
		t.Fatal(err)
	}
	during := open(t, x, runRequest("run-1"), "")
	if !bytes.Contains(content(t, x, during.ExportID), []byte("order A-17")) {
		t.Fatal("the export lacks what it is about")
	}
	for more := true; more; {
		s, err := r.ExpireStep(ctx, "acme")
		if err != nil {
			t.Fatal(err)
		}
		more = s.More
	}
	if _, err := x.Content(ctx, "acme", during.ExportID); !errors.Is(err, problem.ErrGone) {
		t.Errorf("after the expiry: %v", err)
	}
}
