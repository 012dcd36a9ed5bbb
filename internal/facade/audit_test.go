package facade

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// own makes an audit record of the server itself and returns its id.
func (r *rig) own(tenant, event, entityType, entityID string, at evidence.Micros, set func(*evidence.Record)) string {
	r.t.Helper()
	rec := &evidence.Record{Kind: evidence.KindAudit, ID: ledger.NewID(r.now()), OccurredAt: at}
	rec.SetText("source_domain", "LOGS")
	rec.SetText("source_component", "AuditLedgerWriter")
	rec.SetText("event_type", event)
	rec.SetText("entity_type", entityType)
	rec.SetText("entity_id", entityID)
	rec.SetText("actor_type", "SYSTEM")
	if set != nil {
		set(rec)
	}
	r.addOwn(tenant, rec)
	return rec.ID.String()
}

func texts(pairs ...string) func(*evidence.Record) {
	return func(r *evidence.Record) {
		for i := 0; i < len(pairs); i += 2 {
			r.SetText(pairs[i], pairs[i+1])
		}
	}
}

func person(id string, pairs ...string) func(*evidence.Record) {
	return func(r *evidence.Record) {
		texts(pairs...)(r)
		r.SetText("actor_type", "HUMAN")
		r.SetHumanActor(id)
	}
}

func entryIDs(entries []answer.AuditEntry) []string {
	ids := []string{}
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}

const (
	alice   = "alice@example.com"
	unfitly = "bob+x@example.com" // no name
)

func TestAuditFilters(t *testing.T) {
	r := newRig(t)
	r.endedRun("acme", "run-1", rigStart, time.Second, fields{"run_alias": "my run"})
	limit := r.native("audit", rigStart, fields{
		"event_type": "LimitBreached", "entity_type": "LIMIT", "entity_id": "l-1", "run_id": "run-1", "system_id": "guard",
		"limit_id": "l-1", "limit_value": "100", "observed_value": "120.5", "limit_unit": "USD", "decision": "BREACHED",
		"action_reason": "too much", "before_state": fields{"v": 1}, "valid_from": after(0).String(), "policy_id": "p-1", "rule_id": "r-1",
		"policy_ids": []string{"p-1"}, "correlation_id": "req-1",
	})
	r.add("acme", limit)
	breach := limit.ID.String()
	agent := r.native("audit", after(time.Second), fields{
		"event_type": "SignalEscalated", "entity_type": "SIGNAL", "entity_id": "größer", "actor_type": "AGENT", "agent_id": "planner", "system_id": "x",
	})
	r.add("acme", agent)
	signal := agent.ID.String()
	login := r.own("acme", "LOGIN", "IDENTITY", alice, after(2*time.Second), person(alice))
	failed := r.own("acme", "LOGIN_FAILED", "IDENTITY", unfitly, after(3*time.Second), texts("system_id", "auth"))
	view := r.own("acme", "LOG_VIEW", "LOG", "llm_runs", after(4*time.Second), texts("system_id", "key-1", "about_run", "run-1"))
	synthetic := r.native("audit", after(5*time.Second), fields{
		"event_type": "LimitChecked", "entity_type": "LIMIT", "entity_id": "l-1", "is_synthetic": true,
	})
	r.add("acme", synthetic)
	r.add("other", r.native("audit", rigStart, fields{"event_type": "LimitBreached", "entity_type": "LIMIT", "entity_id": "l-1"}))
	r.own("system", "LOGIN", "IDENTITY", alice, rigStart, person(alice))

	at := func(d time.Duration) *evidence.Micros { m := after(d); return &m }
	open, closed := r.privileged(), r.reader()
	for _, tt := range []struct {
		name string
		rd   Reader
		q    AuditFilter
		want []string
	}{
		{"all", closed, AuditFilter{}, []string{view, failed, login, signal, breach}},
		{"event_type", closed, AuditFilter{EventType: "LOGIN"}, []string{login}},
		{"entity_type", closed, AuditFilter{EntityType: "IDENTITY"}, []string{failed, login}},
		{"entity_id", closed, AuditFilter{EntityID: "l-1"}, []string{breach}},
		{"entity_id with its type", closed, AuditFilter{EntityType: "LIMIT", EntityID: "l-1"}, []string{breach}},
		{"entity_id that is not fit", closed, AuditFilter{EntityID: "größer"}, []string{signal}},
		{"entity_id of a person, guessed", closed, AuditFilter{EntityID: alice}, []string{}},
		{"entity_id of a person, guessed, not fit", closed, AuditFilter{EntityID: unfitly}, []string{}},
		{"entity_id of a person", open, AuditFilter{EntityID: alice}, []string{login}},
		{"entity_id of a person, not fit", open, AuditFilter{EntityID: unfitly}, []string{failed}},
		{"entity_id of a person, not fit, by type", open, AuditFilter{EntityType: "IDENTITY", EntityID: unfitly}, []string{failed}},
		{"entity_id of a person as another type", open, AuditFilter{EntityType: "LIMIT", EntityID: alice}, []string{}},
		{"entity_id with content", open, AuditFilter{EntityID: "l-1"}, []string{breach}},
		{"actor_type", closed, AuditFilter{ActorType: "AGENT"}, []string{signal}},
		{"actor_id of a system", closed, AuditFilter{ActorType: "SYSTEM", ActorID: "guard"}, []string{breach}},
		{"actor_id of an agent", closed, AuditFilter{ActorType: "AGENT", ActorID: "planner"}, []string{signal}},
		{"actor_id of a person", open, AuditFilter{ActorType: "HUMAN", ActorID: alice}, []string{login}},
		{"actor_id", closed, AuditFilter{ActorID: "planner"}, []string{signal}},
		{"actor_id, any", open, AuditFilter{ActorID: alice}, []string{login}},
		{"actor_id of a person, guessed", closed, AuditFilter{ActorID: alice}, []string{}},
		{"run_id, of it and about it", closed, AuditFilter{RunID: "run-1"}, []string{view, breach}},
		{"run_id by alias", closed, AuditFilter{RunID: "my run"}, []string{view, breach}},
		{"run_id that is not there", closed, AuditFilter{RunID: "run-9"}, []string{}},
		{"correlation_id", closed, AuditFilter{CorrelationID: "req-1"}, []string{breach}},
		{"from, included", closed, AuditFilter{Window: Window{After: at(4 * time.Second)}}, []string{view}},
		{"until, excluded", closed, AuditFilter{Window: Window{Before: at(time.Second)}}, []string{breach}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := r.Audit(r.ctx, tt.rd, tt.q, Paging{})
			r.must(err)
			wantIDs(t, "found", entryIDs(l.Items), tt.want)
			if l.Total != int64(len(tt.want)) || l.Metadata.TenantID != "acme" {
				t.Errorf("%+v", l.Page)
			}
		})
	}

	l, err := r.Audit(r.ctx, closed, AuditFilter{EntityType: "IDENTITY"}, Paging{})
	r.must(err)
	stands := l.Items[1].EntityID
	again, err := r.Audit(r.ctx, closed, AuditFilter{EntityID: stands}, Paging{})
	r.must(err)
	wantIDs(t, "what stands for a person", entryIDs(again.Items), []string{login})
	if !evidence.IsReplacement(stands) || l.Items[1].ActorID != nil || l.Items[1].Metadata.HumanActorID != nil {
		t.Errorf("a person is shown: %+v", l.Items[1])
	}
	l, err = r.Audit(r.ctx, open, AuditFilter{EntityType: "IDENTITY"}, Paging{})
	r.must(err)
	if l.Items[1].EntityID != alice || *l.Items[1].ActorID != alice || *l.Items[1].Metadata.HumanActorID != alice || l.Items[0].EntityID != unfitly {
		t.Errorf("a person is not shown: %+v", l.Items)
	}

	observer := closed
	observer.SyntheticOnly = true
	l, err = r.Audit(r.ctx, observer, AuditFilter{}, Paging{})
	r.must(err)
	wantIDs(t, "an observer", entryIDs(l.Items), []string{synthetic.ID.String()})

	for _, tt := range []struct {
		field string
		err   error
		q     AuditFilter
	}{
		{"entity_id", evidence.ErrForbidden, AuditFilter{EntityType: "IDENTITY", EntityID: alice}},
		{"actor_id", evidence.ErrForbidden, AuditFilter{ActorType: "HUMAN", ActorID: alice}},
		{"entity_type", evidence.ErrInvalid, AuditFilter{EntityType: "PERSON"}},
		{"actor_type", evidence.ErrInvalid, AuditFilter{ActorType: "ROBOT"}},
	} {
		if _, err := r.Audit(r.ctx, closed, tt.q, Paging{}); !isField(err, tt.err, tt.field) {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
}

func TestAuditEntry(t *testing.T) {
	r := newRig(t)
	rec := r.native("audit", rigStart, fields{
		"event_type": "LimitOverrideGranted", "entity_type": "LIMIT", "entity_id": "l-1", "run_id": "run-1",
		"actor_type": "HUMAN", "human_actor_id": alice, "agent_id": "planner", "limit_id": "l-1", "limit_value": "100", "observed_value": "120.5",
		"limit_unit": "USD", "decision": "ALLOWED", "action_reason": "end of quarter", "before_state": fields{"v": 1}, "after_state": fields{"v": 2},
		"valid_from": after(0).String(), "valid_until": after(time.Hour).String(), "policy_id": "p-1", "rule_id": "r-1", "policy_ids": []string{"p-1"},
	})
	receipt := r.add("acme", rec)[0]
	l, err := r.Audit(r.ctx, r.privileged(), AuditFilter{}, Paging{})
	r.must(err)
	text := func(s string) *string { return &s }
	from, until := rigStart, after(time.Hour)
	got := l.Items[0]
	want := answer.AuditEntry{
		ID: rec.ID.String(), EventType: "LimitOverrideGranted", EntityType: "LIMIT", EntityID: "l-1", ActorType: "HUMAN", ActorID: text(alice),
		RuleID: text("r-1"), PolicyID: text("p-1"), Decision: text("ALLOWED"), LimitID: text("l-1"), LimitValue: text("100"),
		ObservedValue: text("120.5"), LimitUnit: text("USD"), ValidFrom: &from, ValidUntil: &until, Roles: []string{},
		ActionReason: answer.Shown([]byte(`"end of quarter"`)), BeforeState: answer.Shown([]byte(`{"v":1}`)), AfterState: answer.Shown([]byte(`{"v":2}`)),
		ViewDigest: answer.WithheldFor(answer.NotCaptured, ""), Client: answer.WithheldFor(answer.NotCaptured, ""), Query: answer.WithheldFor(answer.NotCaptured, ""),
		OccurredAt: from, CreatedAt: r.now(), LeafIndex: receipt.LeafIndex, Metadata: got.Metadata,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m := got.Metadata; *m.Checksum != evidence.Checksum(receipt.LeafHash) || *m.RunID != "run-1" || m.Origin != "HUMAN" || m.PolicyIDs[0] != "p-1" {
		t.Errorf("metadata %+v", m)
	}

	_, err = r.ledger.Erase(r.ctx, "acme", ledger.Erasure{Person: alice, Reason: "asked", By: "cli:root"})
	r.must(err)
	l, err = r.Audit(r.ctx, r.privileged(), AuditFilter{EntityID: "l-1"}, Paging{})
	r.must(err)
	if e := l.Items[0]; e.ActorID != nil || e.ActorType != "HUMAN" || e.Metadata.HumanActorID != nil {
		t.Errorf("an erased person: %+v", e)
	}
	l, err = r.Audit(r.ctx, r.privileged(), AuditFilter{ActorType: "HUMAN", ActorID: alice}, Paging{})
	r.must(err)
	wantIDs(t, "an erased person is not found", entryIDs(l.Items), []string{})
}

// An id of another tenant is as good as one that nobody has: the same answer, and
// the same questions to the store.
func TestAuditForeignRun(t *testing.T) {
	r := newRig(t)
	r.endedRun("other", "run-1", rigStart, time.Second, fields{"run_alias": "mine"})
	r.own("other", "LOG_VIEW", "LOG", "llm_runs", rigStart, texts("about_run", "run-1"))
	asks := map[string]func(run string) (any, error){
		"audit":     func(run string) (any, error) { return r.Audit(r.ctx, r.reader(), AuditFilter{RunID: run}, Paging{}) },
		"exports":   func(run string) (any, error) { return r.Exports(r.ctx, r.reader(), AuditFilter{RunID: run}, Paging{}) },
		"events":    func(run string) (any, error) { return r.Events(r.ctx, r.reader(), run, Paging{}) },
		"snapshot":  func(run string) (any, error) { return r.Snapshot(r.ctx, r.reader(), run) },
		"telemetry": func(run string) (any, error) { return r.Telemetry(r.ctx, r.reader(), run, Paging{}) },
	}
	for name, ask := range asks {
		r.asked.take()
		foreign, err1 := ask("run-1")
		calls := r.asked.take()
		unknown, err2 := ask("run-2")
		if diff := cmp.Diff(calls, r.asked.take()); diff != "" {
			t.Errorf("%s: queries (-foreign +unknown):\n%s", name, diff)
		}
		if (err1 == nil) != (err2 == nil) || err1 != nil && (err1.Error() != err2.Error() || !errors.Is(err1, evidence.ErrNotFound)) {
			t.Errorf("%s: %v and %v", name, err1, err2)
		}
		a, err := json.Marshal(foreign)
		r.must(err)
		b, err := json.Marshal(unknown)
		r.must(err)
		if name == "audit" || name == "exports" { // they tell the filter
			continue
		}
		if string(a) != string(b) {
			t.Errorf("%s: %s and %s", name, a, b)
		}
	}
}
