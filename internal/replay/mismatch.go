package replay

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
)

// Audit events of the life of a mismatch.
const (
	eventReported = "ReplayMismatchReported"
	eventResolved = "ReplayMismatchResolved"
	entitySignal  = "SIGNAL"
)

// ReportMismatch records that a replay did not do what a run did. The run must
// be one that the writer may see (else evidence.ErrNotFound). With an id of the
// client's own it can be repeated; the same id with other content is
// evidence.ErrConflict.
func (a *Replay) ReportMismatch(ctx context.Context, w Writer, q *MismatchRequest) (*answer.Mismatch, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	run, err := a.cfg.Facade.Envelope(ctx, byID(w.Reader), q.RunID)
	if err != nil {
		return nil, err
	}
	id, at := q.ID, q.OccurredAt
	if id == "" {
		id = newID()
	} else if at == "" {
		// A repeat that says no time means the one it was given before.
		before, err := a.entry(ctx, w.Reader, mismatchEvents(eventReported, id), id)
		if err == nil {
			at = before.OccurredAt.String()
		} else if !errors.Is(err, evidence.ErrNotFound) {
			return nil, err
		}
	}
	if at == "" {
		at = a.now().String()
	}
	l := newLine(evidence.KindAudit)
	l.str("id", id)
	l.str("occurred_at", at)
	mismatchLine(l, eventReported, id, run.RunID, run.IsSynthetic)
	l.str("synthetic_scenario_id", textOf(run.SyntheticScenarioID))
	w.actor(l, q.AgentID, q.HumanActorID)
	l.str("action_reason", q.Reason)
	l.raw("before_state", q.expectation())
	l.raw("after_state", q.finding())
	if _, err := a.cfg.Ingest.AppendNative(ctx, w.Tenant, w.Credential, [][]byte{l.done()}); err != nil {
		return nil, fmt.Errorf("report mismatch: %w", lineError(err, sameField))
	}
	return a.Mismatch(ctx, w.Reader, id)
}

func (q *MismatchRequest) check() error {
	switch {
	case q.RunID == "":
		return problem.Invalid("run_id", "is required")
	case q.Reason == "":
		return problem.Invalid("reason", "is required")
	case len(q.Reason) > maxReason:
		return tooLong("reason", maxReason)
	case len(q.Field) > maxField:
		return tooLong("field", maxField)
	case len(q.OtherRunID) > evidence.MaxRun:
		return tooLong("other_run_id", evidence.MaxRun)
	case q.StepIndex != nil && *q.StepIndex < 0:
		return problem.Invalid("step_index", "must not be negative")
	}
	return nil
}

// expectation is what the run did, finding what its replay did.
func (q *MismatchRequest) expectation() []byte {
	l := &line{text: []byte{'{'}}
	l.num("step_index", q.StepIndex)
	l.str("field", q.Field)
	l.raw("value", q.Expected)
	return l.done()
}

func (q *MismatchRequest) finding() []byte {
	l := &line{text: []byte{'{'}}
	l.str("other_run_id", q.OtherRunID)
	l.raw("value", q.Found)
	return l.done()
}

// mismatchLine writes what both records of a mismatch have.
func mismatchLine(l *line, event, id, run string, synthetic bool) {
	l.str("event_type", event)
	l.str("entity_type", entitySignal)
	l.str("entity_id", id)
	l.str("about_run", run)
	l.flag("is_synthetic", synthetic)
	l.str("source_domain", "LOGS")
	l.str("source_component", "AuditLedgerWriter")
}

// actor writes who acts: the person whose credential it is; else whom the
// request names; else the credential itself.
func (w Writer) actor(l *line, agent, human string) {
	if w.Person {
		human = w.Credential
	}
	l.str("human_actor_id", human)
	l.str("agent_id", agent)
	switch {
	case human != "":
		l.str("actor_type", "HUMAN")
	case agent != "":
		l.str("actor_type", "AGENT")
	default:
		l.str("actor_type", "SYSTEM")
		l.str("system_id", w.Credential)
	}
}

// ResolveMismatch records that a mismatch counts as resolved. A mismatch that
// is resolved already is evidence.ErrConflict.
func (a *Replay) ResolveMismatch(ctx context.Context, w Writer, id string, q *ResolutionRequest) (*answer.Mismatch, error) {
	switch {
	case q.Resolution == "":
		return nil, problem.Invalid("resolution", "is required")
	case len(q.Resolution) > maxReason:
		return nil, tooLong("resolution", maxReason)
	}
	m, err := a.Mismatch(ctx, w.Reader, id)
	if err != nil {
		return nil, err
	}
	resolved := fmt.Errorf("mismatch %s: %w: it is resolved already", id, evidence.ErrConflict)
	if m.Status == answer.MismatchResolved {
		return nil, resolved
	}
	synthetic, err := a.isSynthetic(ctx, w.Reader, id)
	if err != nil {
		return nil, err
	}
	l := newLine(evidence.KindAudit)
	l.str("id", resolutionID(id))
	l.str("occurred_at", orElse(q.OccurredAt, a.now().String()))
	mismatchLine(l, eventResolved, id, m.RunID, synthetic)
	w.actor(l, q.AgentID, q.HumanActorID)
	l.str("action_reason", q.Resolution)
	_, err = a.cfg.Ingest.AppendNative(ctx, w.Tenant, w.Credential, [][]byte{l.done()})
	if errors.Is(err, evidence.ErrConflict) {
		return nil, resolved // another was quicker
	} else if err != nil {
		return nil, fmt.Errorf("resolve mismatch: %w", lineError(err, sameField))
	}
	return a.Mismatch(ctx, w.Reader, id)
}

// isSynthetic reports whether a mismatch is about a synthetic run. Its record
// says so, but the entry shown of it does not.
func (a *Replay) isSynthetic(ctx context.Context, r facade.Reader, id string) (bool, error) {
	if r.SyntheticOnly || !r.IncludeSynthetic {
		return r.SyntheticOnly, nil
	}
	q := mismatchEvents(eventReported, id)
	yes := true
	q.IsSynthetic = &yes
	_, err := a.entry(ctx, r, q, id)
	if errors.Is(err, evidence.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// sameField names a field of the record as the request does.
func sameField(_ int, field string) string {
	switch field {
	case "action_reason":
		return "reason"
	case "before_state":
		return "expected"
	case "after_state":
		return "found"
	}
	return field
}

// Mismatch returns a mismatch in its newest state. An id that this tenant does
// not have is evidence.ErrNotFound.
func (a *Replay) Mismatch(ctx context.Context, r facade.Reader, id string) (*answer.Mismatch, error) {
	if _, ok := evidence.ParseID(id); !ok {
		return nil, problem.Malformed("id", "must be a UUID in lower case")
	}
	report, err := a.entry(ctx, r, mismatchEvents(eventReported, id), id)
	if err != nil {
		return nil, err
	}
	return a.state(ctx, r, report)
}

// state adds the resolution, if there is one, to a report.
func (a *Replay) state(ctx context.Context, r facade.Reader, report *answer.AuditEntry) (*answer.Mismatch, error) {
	m := mismatchOf(report)
	parts := []evidence.Metadata{report.Metadata}
	end, err := a.entry(ctx, r, mismatchEvents(eventResolved, report.ID), resolutionID(report.ID))
	switch {
	case err == nil:
		m.Status, m.Resolution = answer.MismatchResolved, end.ActionReason
		m.ResolvedAt, m.ResolvedBy = &end.OccurredAt, end.ActorID
		parts = append(parts, end.Metadata)
	case !errors.Is(err, evidence.ErrNotFound):
		return nil, err
	}
	m.Metadata = a.union(r.Tenant, &m.RunID, parts...)
	return m, nil
}

// maxLook is how many pages are looked through for an entry among others about
// the same mismatch, which anybody with ingest.write may send.
const maxLook = 10

// mismatchEvents are the audit entries of a mismatch.
func mismatchEvents(event, id string) facade.AuditFilter {
	return facade.AuditFilter{EventType: event, EntityType: entitySignal, EntityID: id}
}

// entry returns the audit entry with this id among others.
func (a *Replay) entry(ctx context.Context, r facade.Reader, q facade.AuditFilter, id string) (*answer.AuditEntry, error) {
	p := facade.Paging{}
	for range maxLook {
		list, err := a.cfg.Facade.Audit(ctx, byID(r), q, p)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if list.Items[i].ID == id {
				return &list.Items[i], nil
			}
		}
		if !list.HasMore || list.NextCursor == nil {
			break
		}
		p.Cursor = *list.NextCursor
	}
	return nil, fmt.Errorf("mismatch: %w in this tenant", evidence.ErrNotFound)
}

func mismatchOf(e *answer.AuditEntry) *answer.Mismatch {
	m := &answer.Mismatch{
		ID: e.ID, RunID: textOf(e.AboutRun), Status: answer.MismatchOpen, Reason: e.ActionReason,
		ReportedAt: e.OccurredAt, ReportedBy: e.ActorID, Metadata: e.Metadata,
	}
	m.Expected = said(e.BeforeState, func(s *state) { m.StepIndex, m.Field = s.StepIndex, s.Field })
	m.Found = said(e.AfterState, func(s *state) { m.OtherRunID = s.OtherRunID })
	return m
}

// state is what before_state and after_state of a report hold.
type state struct {
	StepIndex  *int64          `json:"step_index"`
	Field      *string         `json:"field"`
	OtherRunID *string         `json:"other_run_id"`
	Value      json.RawMessage `json:"value"`
}

// said returns the value in a state, and hands the state on. A state that another
// producer wrote in its own way is the value itself.
func said(c answer.Content, take func(*state)) answer.Content {
	if c.Value == nil {
		return c
	}
	d := json.NewDecoder(bytes.NewReader(c.Value))
	d.DisallowUnknownFields()
	var s state
	if err := d.Decode(&s); err != nil {
		return c
	}
	take(&s)
	if s.Value == nil {
		return answer.WithheldFor(answer.NotCaptured, "")
	}
	return answer.Shown(s.Value)
}

// newID returns a random UUID.
func newID() string {
	var id evidence.ID
	_, _ = rand.Read(id[:]) // never fails
	return withVersion(id, 4)
}

// resolutionID is the id of a mismatch's resolution: a UUID of version 5 (RFC
// 9562) with the mismatch as its name space. Version 8 is for natural keys.
func resolutionID(mismatch string) string {
	space, _ := evidence.ParseID(mismatch)
	sum := sha1.Sum(append(space[:], eventResolved...)) // names, and keeps no secret
	return withVersion(evidence.ID(sum[:16]), 5)
}

func withVersion(id evidence.ID, version byte) string {
	id[6] = id[6]&0x0f | version<<4
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
