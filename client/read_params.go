package client

import (
	"net/url"
	"strconv"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// Paging says which page of a list is wanted. The zero value is the first, of
// the length that the server likes best.
type Paging struct {
	Cursor string // next_cursor of the page before, with the same filters
	Limit  int    // entries; what the rules of access do not allow is an error
}

// Window is a range of time. A zero time is no bound.
type Window struct {
	After  time.Time // this time and later
	Before time.Time // before this time
}

// RunFilter narrows the list of runs. Zero fields filter nothing.
type RunFilter struct {
	RunID, TraceID, Provider, Model string
	Status                          string // SUCCEEDED, FAILED, ABORTED, TIMEOUT, RUNNING
	Outcome                         string // success, failure, near_threshold, terminated
	AgentID                         string
	HumanActorID                    string // sealed: needs logs.read_content
	CorrelationID, ConversationID   string
	IsSynthetic                     *bool
	Window
}

func (f *RunFilter) query(p Paging) *query {
	q := pageQuery(p)
	q.text("run_id", f.RunID)
	q.text("trace_id", f.TraceID)
	q.text("provider", f.Provider)
	q.text("model", f.Model)
	q.text("status", f.Status)
	q.text("outcome", f.Outcome)
	q.text("agent_id", f.AgentID)
	q.text("human_actor_id", f.HumanActorID)
	q.text("correlation_id", f.CorrelationID)
	q.text("conversation_id", f.ConversationID)
	q.flag("is_synthetic", f.IsSynthetic)
	q.window(f.Window)
	return q
}

// SystemFilter narrows the lists of system records. Zero fields filter nothing.
type SystemFilter struct {
	Component, EventType string
	Severity             string // INFO, WARN, CRITICAL
	CausedBy             string // SYSTEM, HUMAN, AUTOMATION
	CorrelationID        string
	IsSynthetic          *bool
	Window
}

func (f *SystemFilter) query(p Paging) *query {
	q := pageQuery(p)
	q.text("component", f.Component)
	q.text("event_type", f.EventType)
	q.text("severity", f.Severity)
	q.text("caused_by", f.CausedBy)
	q.text("correlation_id", f.CorrelationID)
	q.flag("is_synthetic", f.IsSynthetic)
	q.window(f.Window)
	return q
}

// AuditFilter narrows the lists of audit entries. Zero fields filter nothing.
type AuditFilter struct {
	EventType, EntityType, EntityID string
	ActorType                       string // HUMAN, AGENT, SYSTEM
	ActorID                         string // of a person: sealed, needs logs.read_content
	RunID, CorrelationID            string
	IsSynthetic                     *bool
	Window
}

func (f *AuditFilter) query(p Paging) *query {
	q := pageQuery(p)
	q.text("event_type", f.EventType)
	q.text("entity_type", f.EntityType)
	q.text("entity_id", f.EntityID)
	q.text("actor_type", f.ActorType)
	q.text("actor_id", f.ActorID)
	q.text("run_id", f.RunID)
	q.text("correlation_id", f.CorrelationID)
	q.flag("is_synthetic", f.IsSynthetic)
	q.window(f.Window)
	return q
}

// ExportFilter narrows the list of exports. Zero fields filter nothing.
type ExportFilter struct {
	RunID string // exports of this run
	Window
}

func (f *ExportFilter) query(p Paging) *query {
	q := pageQuery(p)
	q.text("run_id", f.RunID)
	q.window(f.Window)
	return q
}

// ReplayOptions choose the window of a replay.
type ReplayOptions struct {
	Center        time.Time // zero: the turning point of the run, else its end, else its start
	WindowSeconds int       // whole width, 2 to 3600; 0: the server's 60
}

func (o *ReplayOptions) query(p Paging) *query {
	q := pageQuery(p)
	q.time("center", o.Center)
	q.int("window_seconds", int64(o.WindowSeconds))
	return q
}

// query collects parameters. A zero value is not sent.
type query struct {
	values url.Values
	err    error // the first parameter that cannot be sent
}

func pageQuery(p Paging) *query {
	q := &query{values: url.Values{}}
	q.text("cursor", p.Cursor)
	q.int("limit", int64(p.Limit))
	return q
}

func (q *query) text(name, v string) {
	if v != "" {
		q.values.Add(name, v)
	}
}

func (q *query) int(name string, n int64) {
	switch {
	case n < 0 && q.err == nil:
		q.err = parameterError(name, "must not be negative")
	case n > 0:
		q.values.Set(name, strconv.FormatInt(n, 10))
	}
}

func (q *query) flag(name string, v *bool) {
	if v != nil {
		q.values.Set(name, strconv.FormatBool(*v))
	}
}

func (q *query) time(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	if m := evidence.MicrosOf(t); m.InRange() {
		q.values.Set(name, m.String())
	} else if q.err == nil {
		q.err = parameterError(name, "must be in the years 0001 to 9999")
	}
}

func (q *query) window(w Window) {
	q.time("occurred_after", w.After)
	q.time("occurred_before", w.Before)
}

// more and its cursor, of a list.
func nextOf(p *answer.Page) (bool, *string) { return p.HasMore, p.NextCursor }
