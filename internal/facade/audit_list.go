package facade

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// Which fields of AuditFilter each answer takes:
//
//	Audit, Identity, Authorization, Access   all; an event_type that is not among the
//	                                         topic's own is 422
//	Exports                                  run_id, correlation_id, is_synthetic, the range
//	Integrity                                none

const (
	eventDecision = "ACCESS_DECISION"
	eventView     = "LOG_VIEW"
	eventExport   = "LOG_EXPORT"
)

var (
	identityEvents = []string{"LOGIN", "LOGOUT", "LOGIN_FAILED", "API_KEY_CREATED", "API_KEY_REVOKED", "API_KEY_USED_FIRST"}
	// A permitted read is recorded once, as a view with its decision.
	authorizationEvents = []string{eventDecision, eventView, eventExport}
	accessEvents        = []string{eventView, eventExport}
)

const entityIdentity = "IDENTITY"

// Audit is the list of AUDIT.
func (f *Facade) Audit(ctx context.Context, r Reader, q AuditFilter, p Paging) (*answer.AuditList, error) {
	l, err := f.audit(ctx, r, q, p, nil)
	if err != nil {
		return nil, err
	}
	return &answer.AuditList{Items: auditEntriesOf(l.records), Page: l.Page}, nil
}

// Identity is O1 of AUDIT: who logged in, when, how, and the life of keys.
func (f *Facade) Identity(ctx context.Context, r Reader, q AuditFilter, p Paging) (*answer.AuditIdentity, error) {
	l, err := f.audit(ctx, r, q, p, identityEvents)
	if err != nil {
		return nil, err
	}
	return &answer.AuditIdentity{Entries: auditEntriesOf(l.records), Page: l.Page}, nil
}

// Authorization is O2 of AUDIT: what access was allowed or denied.
func (f *Facade) Authorization(ctx context.Context, r Reader, q AuditFilter, p Paging) (*answer.AuditAuthorization, error) {
	l, err := f.audit(ctx, r, q, p, authorizationEvents)
	if err != nil {
		return nil, err
	}
	a := &answer.AuditAuthorization{Decisions: make([]answer.AuthorizationDecision, len(l.records)), Page: l.Page}
	for i, rec := range l.records {
		a.Decisions[i] = decisionOf(rec)
	}
	return a, nil
}

// Access is O3 of AUDIT: who viewed or exported logs.
func (f *Facade) Access(ctx context.Context, r Reader, q AuditFilter, p Paging) (*answer.AuditAccess, error) {
	l, err := f.audit(ctx, r, q, p, accessEvents)
	if err != nil {
		return nil, err
	}
	return &answer.AuditAccess{AccessEvents: auditEntriesOf(l.records), Page: l.Page}, nil
}

// audit lists the entries of a filter; topic, where not nil, are the event types
// that the answer is about.
func (f *Facade) audit(ctx context.Context, r Reader, q AuditFilter, p Paging, topic []string) (*listing, error) {
	if topic != nil && q.EventType != "" && !slices.Contains(topic, q.EventType) {
		return nil, problem.Invalid("event_type", fmt.Sprintf("must be one of %v here", topic))
	}
	c := f.filters(ctx, r)
	if topic != nil && q.EventType == "" {
		c.where = append(c.where, store.Condition{Field: "event_type", Values: topic})
	}
	c.name("event_type", "event_type", q.EventType)
	c.enum("entity_type", "entity_type", q.EntityType, enumOf(evidence.KindAudit, "entity_type"))
	c.entity(q.EntityType, q.EntityID)
	c.enum("actor_type", "actor_type", q.ActorType, enumOf(evidence.KindAudit, "actor_type"))
	c.actor(q.ActorType, q.ActorID)
	c.runOrAbout(q.RunID)
	c.name("correlation_id", "correlation_id", q.CorrelationID)
	c.synthetic(q.IsSynthetic)
	if c.err != nil {
		return nil, c.err
	}
	return f.list(ctx, r, store.Query{Tenant: r.Tenant, Kind: evidence.KindAudit, Where: c.where}, q.Window, p, c.applied)
}

// entity filters by entity_id. That of an IDENTITY is a person's and sealed, fit
// to be a name or not: it is found through the sealed index, by who may read it.
// Who may not finds no person by guessing: either the type says that persons are
// not meant, or they are left out. What stands in a person's place in answers can
// be asked for by all: it tells no more than the answers.
func (q *filters) entity(entityType, id string) {
	if id == "" || q.err != nil {
		return
	}
	switch {
	case evidence.IsReplacement(id):
		q.exact("entity_id", "entity_id", id)
	case entityType == entityIdentity:
		q.sealed("entity_id", "entity_id", id)
	case entityType != "":
		q.name("entity_id", "entity_id", id)
	case q.r.Content:
		q.either("entity_id", id, []string{"entity_id"}, "entity_id")
	default:
		q.name("entity_id", "entity_id", id)
		others := slices.DeleteFunc(slices.Clone(enumOf(evidence.KindAudit, "entity_type")), func(t string) bool { return t == entityIdentity })
		q.where = append(q.where, store.Condition{Field: "entity_type", Values: others})
	}
}

// actor filters by who acted. Where no type says what it is the id of, it is any
// of a system, an agent and, for who may read that, a person.
func (q *filters) actor(actorType, id string) {
	if id == "" || q.err != nil {
		return
	}
	switch {
	case actorType == "HUMAN":
		q.sealed("actor_id", "actor", id)
	case actorType == "AGENT":
		q.name("actor_id", "agent_id", id)
	case actorType == "SYSTEM":
		q.name("actor_id", "system_id", id)
	case q.r.Content:
		q.either("actor_id", id, []string{"system_id", "agent_id"}, "actor")
	default:
		q.either("actor_id", id, []string{"system_id", "agent_id"}, "")
	}
}

// either filters a name that one of several fields, or the sealed index, has.
func (q *filters) either(param, value string, fields []string, index string) {
	var any []store.Condition
	for _, field := range fields {
		text, err := q.f.cfg.Ledger.AskedName(q.ctx, q.r.Tenant, field, value)
		if err != nil {
			q.err = err
			return
		}
		any = append(any, store.Condition{Field: field, Values: []string{text}})
	}
	if index != "" {
		term, err := q.f.cfg.Ledger.IndexTerm(q.ctx, q.r.Tenant, index, value)
		if err != nil {
			q.err = err
			return
		}
		any = append(any, store.Condition{Index: &term})
	}
	q.equal(param, value, store.Condition{Any: any})
}

// runOrAbout filters by a run, named by any of its ids: what is of it, and what
// only speaks of it.
func (q *filters) runOrAbout(id string) {
	if run := q.resolved(id); run != "" {
		q.equal("run_id", id, store.Condition{Any: []store.Condition{
			{Field: "run", Values: []string{run}}, {Field: "about_run", Values: []string{run}},
		}})
	}
}

// aboutRun filters by the run that a record speaks of.
func (q *filters) aboutRun(id string) {
	if run := q.resolved(id); run != "" {
		q.equal("run_id", id, store.Condition{Field: "about_run", Values: []string{run}})
	}
}

// resolved returns the run that an id names. One that the tenant does not have
// is taken as it is and finds nothing.
func (q *filters) resolved(id string) string {
	if id == "" || q.err != nil {
		return ""
	}
	run, err := q.f.cfg.Ledger.ResolveRun(q.ctx, q.r.Tenant, id)
	if errors.Is(err, evidence.ErrNotFound) {
		return id
	}
	q.err = err
	return run
}
