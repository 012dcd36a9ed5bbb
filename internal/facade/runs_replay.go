package facade

import (
	"context"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

const (
	defaultWindow = 60 // seconds, of a replay
	minWindow     = 2
	maxWindow     = 3600
)

// Where the center of a replay comes from.
const (
	byRequest    = "request"
	byInflection = "inflection_at"
	byCompletion = "completed_at"
	byStart      = "started_at"
)

// Replay answers O4 of LLM_RUNS: what happened around the turning point of a run.
// Both ends belong to the window. A step is in it where it starts; one that
// began before and is still going on is not. Policy events are those of the whole
// tenant. The limit is one of each list, and one cursor goes on with all three.
func (f *Facade) Replay(ctx context.Context, r Reader, run string, q ReplayParams) (*answer.ReplayWindow, error) {
	return f.replay(ctx, r, run, q, false)
}

// SystemReplay answers O4 of SYSTEM_LOGS: the same window with system events
// only.
func (f *Facade) SystemReplay(ctx context.Context, r Reader, run string, q ReplayParams) (*answer.ReplayWindow, error) {
	return f.replay(ctx, r, run, q, true)
}

func (f *Facade) replay(ctx context.Context, r Reader, run string, q ReplayParams, systemOnly bool) (*answer.ReplayWindow, error) {
	if q.WindowSeconds == 0 {
		q.WindowSeconds = defaultWindow
	}
	if q.WindowSeconds < minWindow || q.WindowSeconds > maxWindow {
		return nil, problem.Invalid("window_seconds", "must be 2 to 3600")
	}
	if q.Center != nil && !q.Center.InRange() {
		return nil, problem.Invalid("center", "is outside the years 0001 to 9999")
	}
	t, err := f.run(ctx, r, run)
	if err != nil {
		return nil, err
	}
	limit, err := r.limit(q.Limit, r.MaxRows)
	if err != nil {
		return nil, err
	}
	l, err := f.timeline(ctx, r, digest("replay", t.id, systemOnly, q.Center, q.WindowSeconds, r.where()), q.Cursor, true)
	if err != nil {
		return nil, err
	}
	center, source := t.center(q.Center)
	switch l.CenterSource {
	case "":
		l.Center, l.CenterSource = int64(center), source
	case byRequest, byInflection, byCompletion, byStart:
	default:
		return nil, badCursor()
	}
	w := replayOf(l, q.WindowSeconds)
	w.RunID = t.id
	b := replayBuilder{l: l, out: w, limit: limit}
	if !systemOnly {
		b.list(ctx, &w.LLMEvents, stepEvent, b.lane(evidence.KindTraceStep, ofRun(t.id)...))
	}
	b.list(ctx, &w.SystemEvents, systemEvent, b.systemLanes()...)
	if !systemOnly {
		b.list(ctx, &w.PolicyEvents, policyEvent, b.lane(evidence.KindAudit, about(entityLimit, "POLICY_RULE")))
	}
	if b.err != nil {
		return nil, b.err
	}
	if w.HasMore {
		w.NextCursor = l.next()
	}
	if b.parts == nil {
		b.parts = t.metadata()
	}
	w.Metadata = f.union(r, t.id, b.parts)
	return w, nil
}

// center is the moment of a run that a replay is about, and where it comes from.
func (t *theRun) center(asked *evidence.Micros) (evidence.Micros, string) {
	if asked != nil {
		return *asked, byRequest
	}
	if at, ok := t.number("inflection_at"); ok {
		return evidence.Micros(at), byInflection
	}
	if at := t.completedAt(); at != nil {
		return *at, byCompletion
	}
	return t.startedAt(), byStart
}

// replayOf returns the empty window of a timeline. It ends where times do.
func replayOf(l *timeline, seconds int) *answer.ReplayWindow {
	half := evidence.Micros(seconds) * 500_000
	w := &answer.ReplayWindow{
		CenterTimestamp: evidence.Micros(l.Center), CenterSource: l.CenterSource,
		LLMEvents: []answer.ReplayEvent{}, SystemEvents: []answer.ReplayEvent{}, PolicyEvents: []answer.ReplayEvent{},
	}
	w.WindowStart, w.WindowEnd = w.CenterTimestamp-half, w.CenterTimestamp+half
	if !w.WindowStart.InRange() {
		w.WindowStart = w.CenterTimestamp
	}
	if !w.WindowEnd.InRange() {
		w.WindowEnd = w.CenterTimestamp
	}
	return w
}

// replayBuilder fills the lists of a window.
type replayBuilder struct {
	l     *timeline
	out   *answer.ReplayWindow
	limit int
	parts []evidence.Metadata
	err   error
}

// lane is what happened in the window, of the reader's tenant.
func (b *replayBuilder) lane(kind evidence.Kind, where ...store.Condition) int {
	return b.laneOf(b.l.r.Tenant, kind, where...)
}

func (b *replayBuilder) laneOf(tenant string, kind evidence.Kind, where ...store.Condition) int {
	return b.l.lane(store.Query{
		Tenant: tenant, Kind: kind, Where: b.l.r.where(where...), From: &b.out.WindowStart, Until: &b.out.WindowEnd,
	})
}

// systemLanes are the tenant's system records and the system-wide ones that are
// shared.
func (b *replayBuilder) systemLanes() []int {
	lanes := []int{b.lane(evidence.KindSystem)}
	if b.l.r.Tenant != evidence.SystemTenant {
		lanes = append(lanes, b.laneOf(evidence.SystemTenant, evidence.KindSystem, sharedOnly))
	}
	return lanes
}

// list fills one list of the window from its lanes.
func (b *replayBuilder) list(ctx context.Context, to *[]answer.ReplayEvent, describe func(record, *answer.ReplayEvent), lanes ...int) {
	if b.err != nil {
		return
	}
	records, more, err := b.l.read(ctx, b.limit, lanes...)
	if err != nil {
		b.err = err
		return
	}
	b.out.HasMore = b.out.HasMore || more
	for _, rec := range records {
		e := answer.ReplayEvent{
			Timestamp: rec.Leaf.OccurredAt, OffsetMS: milliseconds(int64(rec.Leaf.OccurredAt - b.out.CenterTimestamp)),
			ConflictOf: rec.conflictOf(), LeafIndex: rec.Leaf.Seq, Metadata: rec.metadata(),
		}
		describe(rec, &e)
		*to = append(*to, e)
		b.parts = append(b.parts, e.Metadata)
	}
}

func stepEvent(rec record, e *answer.ReplayEvent) {
	e.Source, e.StepIndex = "llm", rec.maybeNumber("step_index")
	e.Action, e.Outcome = rec.text("step_kind")+" "+rec.text("skill_name"), rec.text("status")
}

func systemEvent(rec record, e *answer.ReplayEvent) {
	e.Source, e.Action, e.Outcome = "system", rec.text("event_type"), rec.text("severity")
}

func policyEvent(rec record, e *answer.ReplayEvent) {
	e.Source, e.Action, e.Outcome = "policy", rec.text("event_type"), rec.text("decision")
}
