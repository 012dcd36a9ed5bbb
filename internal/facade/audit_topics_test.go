package facade

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
)

func TestAuditTopics(t *testing.T) {
	r := newRig(t)
	r.endedRun("acme", "run-1", rigStart, time.Second)
	r.own("acme", "RBACChanged", "RBAC", "rules", rigStart, nil)
	created := r.own("acme", "API_KEY_CREATED", "IDENTITY", "key-1", rigStart, texts("credential_id", "key-1", "system_id", "cli"))
	used := r.own("acme", "API_KEY_USED_FIRST", "IDENTITY", "key-1", rigStart+1, func(rec *evidence.Record) {
		texts("credential_id", "key-1", "system_id", "key-1")(rec)
		rec.SetSealed("/client", []byte(`{"address":"192.0.2.1"}`))
	})
	out := r.own("acme", "LOGOUT", "IDENTITY", alice, rigStart+2, person(alice))
	r.own("acme", "ACCESS_DECISION", "RBAC", "llm_runs", rigStart+3, func(rec *evidence.Record) {
		texts("decision", "DENIED", "rule_id", "role:producer", "route", "GET /api/v1/logs/llm-runs", "credential_id", "key-2", "system_id", "key-2")(rec)
		rec.SetNames("roles", []string{"producer"})
		rec.SetInt("status_code", 403)
		rec.SetSealed("/action_reason", []byte(`"needs logs.read"`))
	})
	view := r.own("acme", "LOG_VIEW", "LOG", "llm_runs", rigStart+4, func(rec *evidence.Record) {
		person(alice, "decision", "ALLOWED", "rule_id", "logs", "route", "GET /api/v1/logs/llm-runs/:run_id/envelope", "about_run", "run-1", "credential_id", "session-1")(rec)
		rec.SetInt("record_count", 3)
		rec.SetInt("byte_count", 512)
		rec.SetSealed("/view_digest", []byte(`"sha256:abcd"`))
		rec.SetSealed("/query", []byte(`"limit=3"`))
	})
	export := r.own("acme", "LOG_EXPORT", "EXPORT", "e-1", rigStart+5, texts("credential_id", "cli:op", "system_id", "cli:op"))
	r.own("other", "LOG_VIEW", "LOG", "audit", rigStart+4, nil)

	id, err := r.Identity(r.ctx, r.reader(), AuditFilter{}, Paging{})
	r.must(err)
	wantIDs(t, "identity", entryIDs(id.Entries), []string{out, used, created})
	if id.Total != 3 || !evidence.IsReplacement(id.Entries[1].EntityID) || *id.Entries[1].CredentialID != "key-1" || id.Entries[1].Client.Withheld == nil {
		t.Errorf("%+v", id)
	}
	id, err = r.Identity(r.ctx, r.privileged(), AuditFilter{EventType: "API_KEY_USED_FIRST"}, Paging{})
	r.must(err)
	if len(id.Entries) != 1 || id.Entries[0].EntityID != "key-1" || string(id.Entries[0].Client.Value) != `{"address":"192.0.2.1"}` {
		t.Errorf("%+v", id)
	}

	access, err := r.Access(r.ctx, r.privileged(), AuditFilter{}, Paging{})
	r.must(err)
	wantIDs(t, "access", entryIDs(access.AccessEvents), []string{export, view})
	if e := access.AccessEvents[1]; e.ViewDigest.Text() != "sha256:abcd" || *e.AboutRun != "run-1" || *e.RecordCount != 3 || *e.ByteCount != 512 ||
		e.Query.Text() != "limit=3" || *e.ActorID != alice || e.Metadata.RunID != nil {
		t.Errorf("view: %+v", e)
	}
	access, err = r.Access(r.ctx, r.reader(), AuditFilter{RunID: "run-1"}, Paging{})
	r.must(err)
	wantIDs(t, "looks at a run", entryIDs(access.AccessEvents), []string{view})
	if w := access.AccessEvents[0].ViewDigest.Withheld; w == nil || w.Reason != answer.NotPermitted || w.Commitment == nil {
		t.Errorf("digest without permission: %+v", access.AccessEvents[0])
	}

	type row struct{ Event, Subject, Action, Resource, Decision, Reason string }
	for _, tt := range []struct {
		rd   Reader
		want []row
	}{
		{r.privileged(), []row{
			{"LOG_EXPORT", "cli:op", "LOG_EXPORT", "e-1", "ALLOWED", ""},
			{"LOG_VIEW", alice, "GET /api/v1/logs/llm-runs/:run_id/envelope", "run-1", "ALLOWED", ""},
			{"ACCESS_DECISION", "key-2", "GET /api/v1/logs/llm-runs", "llm_runs", "DENIED", "needs logs.read"},
		}},
		{r.reader(), []row{
			{"LOG_EXPORT", "cli:op", "LOG_EXPORT", "e-1", "ALLOWED", ""},
			{"LOG_VIEW", "", "GET /api/v1/logs/llm-runs/:run_id/envelope", "run-1", "ALLOWED", ""},
			{"ACCESS_DECISION", "key-2", "GET /api/v1/logs/llm-runs", "llm_runs", "DENIED", ""},
		}},
	} {
		a, err := r.Authorization(r.ctx, tt.rd, AuditFilter{}, Paging{})
		r.must(err)
		var got []row
		for _, d := range a.Decisions {
			subject := ""
			if d.Subject != nil {
				subject = *d.Subject
			}
			got = append(got, row{d.EventType, subject, d.Action, d.Resource, d.Decision, d.Reason.Text()})
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("decisions (-want +got):\n%s", diff)
		}
		if d := a.Decisions[2]; *d.RuleID != "role:producer" || !slices.Equal(d.Roles, []string{"producer"}) || d.Timestamp != rigStart+3 || *d.Metadata.LeafIndex != d.LeafIndex {
			t.Errorf("%+v", d)
		}
	}
	a, err := r.Authorization(r.ctx, r.reader(), AuditFilter{EventType: "ACCESS_DECISION"}, Paging{})
	r.must(err)
	if len(a.Decisions) != 1 || a.Total != 1 {
		t.Errorf("%+v", a)
	}

	for name, err := range map[string]error{
		"identity":      second(r.Identity(r.ctx, r.reader(), AuditFilter{EventType: "LOG_VIEW"}, Paging{})),
		"authorization": second(r.Authorization(r.ctx, r.reader(), AuditFilter{EventType: "LOGIN"}, Paging{})),
		"access":        second(r.Access(r.ctx, r.reader(), AuditFilter{EventType: "ACCESS_DECISION"}, Paging{})),
	} {
		if !isField(err, evidence.ErrInvalid, "event_type") {
			t.Errorf("%s: %v", name, err)
		}
	}

	nobody := readerOf("empty")
	list, err := r.Audit(r.ctx, nobody, AuditFilter{}, Paging{})
	r.must(err)
	noNulls(t, list, "items")
	id, err = r.Identity(r.ctx, nobody, AuditFilter{}, Paging{})
	r.must(err)
	noNulls(t, id, "entries")
	a, err = r.Authorization(r.ctx, nobody, AuditFilter{}, Paging{})
	r.must(err)
	noNulls(t, a, "decisions")
	access, err = r.Access(r.ctx, nobody, AuditFilter{}, Paging{})
	r.must(err)
	noNulls(t, access, "access_events")
	exports, err := r.Exports(r.ctx, nobody, AuditFilter{}, Paging{})
	r.must(err)
	noNulls(t, exports, "exports")
}

func second[T any](_ T, err error) error { return err }

// state makes the next state of an export.
func (r *rig) state(tenant, export, status string, at evidence.Micros, set func(*evidence.Record)) {
	r.t.Helper()
	rec := &evidence.Record{Kind: evidence.KindExport, ID: ledger.NewID(r.now()), OccurredAt: at}
	texts("source_domain", "LOGS", "source_component", "LogExportService", "export_id", export, "scope", "llm_run", "format", "zip",
		"status", status, "system_id", "key-1")(rec)
	rec.SetSealed("/requested_by", evidence.QuoteJSON("key-1"))
	if set != nil {
		set(rec)
	}
	r.addOwn(tenant, rec)
}

func TestExports(t *testing.T) {
	r := newRig(t)
	r.endedRun("acme", "run-1", rigStart, time.Second, fields{"run_alias": "mine"})
	r.state("acme", "e-1", "pending", rigStart, texts("about_run", "run-1"))
	r.state("acme", "e-2", "pending", rigStart+1, nil)
	r.state("other", "e-3", "completed", rigStart+1, nil)
	r.state("acme", "e-1", "completed", rigStart+2, func(rec *evidence.Record) {
		texts("about_run", "run-1", "checksum", "sha256:aa", "manifest", "bb", "retention_class", "standard")(rec)
		rec.SetInt("size_bytes", 100)
		rec.SetInt("record_count", 7)
		rec.SetInt("from", int64(rigStart))
		rec.SetInt("delivered_at", int64(rigStart+3))
		rec.SetNames("compliance_tags", []string{"SOC2"})
	})
	states := func(rd Reader, q AuditFilter) (out []string) {
		t.Helper()
		e, err := r.Exports(r.ctx, rd, q, Paging{})
		r.must(err)
		for _, x := range e.Exports {
			out = append(out, x.ExportID+" "+x.Status)
		}
		if e.Total != int64(len(out)) {
			t.Errorf("total %d of %v", e.Total, out)
		}
		return out
	}
	bound := func(m evidence.Micros) *evidence.Micros { m += rigStart; return &m }
	for _, tt := range []struct {
		name string
		q    AuditFilter
		want []string
	}{
		{"all", AuditFilter{}, []string{"e-1 completed", "e-2 pending"}},
		{"run", AuditFilter{RunID: "run-1"}, []string{"e-1 completed"}},
		{"run by alias", AuditFilter{RunID: "mine"}, []string{"e-1 completed"}},
		{"unknown run", AuditFilter{RunID: "run-2"}, nil},
		{"range", AuditFilter{Window: Window{After: bound(1), Before: bound(2)}}, []string{"e-2 pending"}},
	} {
		if got := states(r.reader(), tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	e, err := r.Exports(r.ctx, r.privileged(), AuditFilter{}, Paging{Limit: 1})
	r.must(err)
	x := e.Exports[0]
	if *x.AboutRun != "run-1" || *x.Checksum != "sha256:aa" || *x.Manifest != "bb" || *x.SizeBytes != 100 || *x.RecordCount != 7 ||
		*x.From != rigStart || x.Until != nil || *x.DeliveredAt != rigStart+3 || *x.RetentionClass != "standard" ||
		!slices.Equal(x.ComplianceTags, []string{"SOC2"}) || x.RequestedBy.Text() != "key-1" || x.Scope != "llm_run" || x.Format != "zip" ||
		*x.Metadata.ExportID != "e-1" || *x.Metadata.LeafIndex != x.LeafIndex || !e.HasMore {
		t.Errorf("%+v", x)
	}
	// A new state of what the next page shows does not move it there or away.
	r.state("acme", "e-2", "failed", rigStart+4, nil)
	next, err := r.Exports(r.ctx, r.reader(), AuditFilter{}, Paging{Limit: 1, Cursor: *e.NextCursor})
	r.must(err)
	if len(next.Exports) != 1 || next.Exports[0].Status != "pending" || next.HasMore {
		t.Errorf("%+v", next)
	}
	if w := next.Exports[0].RequestedBy.Withheld; w == nil || w.Reason != answer.NotPermitted {
		t.Errorf("%+v", next.Exports[0])
	}
	if got := states(r.reader(), AuditFilter{}); !slices.Equal(got, []string{"e-2 failed", "e-1 completed"}) {
		t.Errorf("anew: %v", got)
	}
	for field, q := range map[string]AuditFilter{
		"event_type": {EventType: "x"}, "entity_type": {EntityType: "x"}, "entity_id": {EntityID: "x"},
		"actor_type": {ActorType: "x"}, "actor_id": {ActorID: "x"},
	} {
		if _, err := r.Exports(r.ctx, r.reader(), q, Paging{}); !isField(err, problem.ErrMalformed, field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// damaged is a ledger of which verification has found something.
type damaged struct{ Ledger }

func (d damaged) Integrity(tenant string) ledger.Integrity {
	i := d.Ledger.Integrity(tenant)
	i.Status = ledger.StatusCompromised
	i.Anomalies = []ledger.Anomaly{
		{Finding: ledger.Finding{
			Code: ledger.CodeColumn, Tenant: tenant, Log: "l", Table: "audit_ledger", Column: "event_type", From: 3, To: 4,
			Expected: "LOGIN", Found: "LOGOUT", Message: "differs",
		}, FirstSeen: rigStart},
		{Finding: ledger.Finding{Code: ledger.CodeHead, Table: "heads", Message: "moved"}, FirstSeen: rigStart + 1},
	}
	i.Why = "writing stopped"
	return i
}

func TestIntegrity(t *testing.T) {
	r := newRig(t)
	i, err := r.Integrity(r.ctx, readerOf("empty"))
	r.must(err)
	noNulls(t, i, "anomalies", "witnesses", "timestamps")
	if i.IntegrityStatus != "unknown" || i.LastVerified != nil || i.TreeSize != 1 || len(i.RootHash) != 64 || i.VerifiedThrough != 0 {
		t.Errorf("%+v", i)
	}
	if m := i.Metadata; m.TenantID != "empty" || m.OccurredAt != r.now() || m.RecordedAt != r.now() || m.Checksum != nil || m.SourceDomain != "LOGS" {
		t.Errorf("metadata %+v", m)
	}
	if _, err := r.Integrity(r.ctx, readerOf("nobody")); err != nil {
		t.Error(err)
	}

	r.event("acme", rigStart)
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan struct{})
	go func() { defer close(done); r.ledger.Watch(ctx, ledger.WatchConfig{ScrubRate: -1}) }()
	deadline := time.Now().Add(30 * time.Second)
	for {
		i, err = r.Integrity(r.ctx, r.reader())
		r.must(err)
		if i.IntegrityStatus == "verified" && i.VerifiedThrough == 2 && i.Checkpoint != "" || time.Now().After(deadline) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-done
	if i.IntegrityStatus != "verified" || i.LastVerified == nil || i.TreeSize != 2 || i.VerifiedThrough != 2 || i.Why != nil {
		t.Errorf("%+v", i)
	}

	w, err := c2sp.NewCosigner("w.example", make([]byte, 32))
	r.must(err)
	head, note, err := r.ledger.PublishNow(r.ctx, "acme", 1)
	r.must(err)
	sig, err := w.Cosign(head, time.Now().Unix())
	r.must(err)
	r.must(r.ledger.Attest(r.ctx, "acme", 1, []ledger.Attestation{{
		Size: head.Size, Kind: ledger.AttestCosignature, By: "w.example", Key: fmt.Sprintf("%08x", w.VKey().ID()), At: r.now(), Note: note, Data: sig.AppendLine(nil),
	}}))
	i, err = r.Integrity(r.ctx, r.reader())
	r.must(err)
	if want := string(sig.AppendLine(note)); i.Checkpoint != want {
		t.Errorf("checkpoint %q, want %q", i.Checkpoint, want)
	}

	f := New(Config{Ledger: damaged{r.ledger}, Runs: r.tracker, Now: r.clock.Now})
	i, err = f.Integrity(r.ctx, r.reader())
	r.must(err)
	b, err := json.Marshal(i.Anomalies)
	r.must(err)
	want := `[{"code":"E_COLUMN","table":"audit_ledger","column":"event_type","log":"l","leaf_from":3,"leaf_until":4,"expected":"LOGIN","found":"LOGOUT",` +
		`"message":"differs","first_seen":"2026-11-23T15:00:00.000000Z"},` +
		`{"code":"E_HEAD","table":"heads","column":null,"log":null,"leaf_from":0,"leaf_until":0,"expected":null,"found":null,` +
		`"message":"moved","first_seen":"2026-11-23T15:00:00.000001Z"}]`
	if diff := cmp.Diff(want, string(b)); diff != "" || i.IntegrityStatus != "compromised" || *i.Why != "writing stopped" {
		t.Errorf("%+v (-want +got):\n%s", i, diff)
	}
}
