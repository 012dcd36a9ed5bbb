package facade

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Trace answers O2 of LLM_RUNS: the steps of a run by time, each with its
// events. Steps that contradict another are among them, flagged by conflict_of.
// A page ends early where its steps have very many events.
func (f *Facade) Trace(ctx context.Context, r Reader, run string, p Paging) (*answer.RunTrace, error) {
	t, err := f.run(ctx, r, run)
	if err != nil {
		return nil, err
	}
	limit, err := r.limit(p.Limit, r.MaxRows)
	if err != nil {
		return nil, err
	}
	s, err := f.timeline(ctx, r, digest("trace", t.id, r.where()), p.Cursor, false)
	if err != nil {
		return nil, err
	}
	b := &traceBuilder{f: f, r: r, t: t, pin: s.own}
	lane := s.lane(store.Query{Tenant: r.Tenant, Kind: evidence.KindTraceStep, Where: r.where(ofRun(t.id)...)})
	var steps, events []record
	var more bool
	// What does not need the steps is read beside them.
	beside, within := errgroup.WithContext(ctx)
	beside.Go(func() error { return b.trace(within) })
	if p.Cursor == "" {
		beside.Go(func() (err error) {
			events, err = b.find(within, evidence.KindTraceEvent, maxEvents+1, true)
			return err
		})
	}
	steps, more, err = s.read(ctx, limit, lane)
	if err := errors.Join(err, beside.Wait()); err != nil {
		return nil, err
	}
	b.steps = steps
	if err := b.events(ctx, p.Cursor == "", events); err != nil {
		return nil, err
	}
	if len(b.steps) < len(steps) { // their events took the room of the rest
		more = true
		s.back(lane, b.steps)
	}
	if err := b.parents(ctx); err != nil {
		return nil, err
	}
	out := b.answer()
	if out.HasMore = more; more {
		out.NextCursor = s.next()
	}
	if out.TotalDurationMS, err = b.duration(ctx, p.Cursor == "" && !more); err != nil {
		return nil, err
	}
	return out, nil
}

// span names a step within a run.
type span struct{ trace, span string }

// traceBuilder makes a page of a trace.
type traceBuilder struct {
	f     *Facade
	r     Reader
	t     *theRun
	pin   store.Position // what came later is not of this answer
	steps []record
	// bySpan are the events of spans, loose those of no step of the run.
	bySpan     map[span][]record
	loose      []record
	looseMore  bool           // there may be more of them
	spanMore   bool           // the one step of this page has more
	indexes    map[span]int64 // step_index by span
	traceFacts *record        // the run's trace record; nil where it has none
}

const (
	// maxEvents is how many events the steps of one page may have together,
	// unless it is one step.
	maxEvents = 1000
	// lastEndSteps bounds how many steps are read for the duration of a run that
	// still runs and takes several pages.
	lastEndSteps = 10_000
)

func (b *traceBuilder) find(ctx context.Context, kind evidence.Kind, limit int, content bool, where ...store.Condition) ([]record, error) {
	found, err := b.f.cfg.Ledger.Find(ctx, store.Query{
		Tenant: b.r.Tenant, Kind: kind, Where: b.r.where(append(ofRun(b.t.id), where...)...),
		Below: b.pin, Order: store.ByTime, Limit: limit,
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	r := b.r
	r.Content = r.Content && content
	return b.f.fetch(ctx, r, r.Tenant, found)
}

func anyOf(field string, values []string) store.Condition {
	return store.Condition{Field: field, Values: values}
}

// events reads the events of the page's steps, and takes of the first page's,
// all, those that belong to no step. Where there are too many it drops steps
// from the page.
func (b *traceBuilder) events(ctx context.Context, first bool, all []record) error {
	b.bySpan = map[span][]record{}
	if first {
		b.looseMore = len(all) > maxEvents
		all = all[:min(len(all), maxEvents)]
		if err := b.sortOut(ctx, all); err != nil {
			return err
		}
		if !b.looseMore {
			return nil
		}
		b.bySpan = map[span][]record{}
	}
	for {
		ids := spanIDs(b.steps, "span_id")
		if len(ids) == 0 {
			return nil
		}
		events, err := b.find(ctx, evidence.KindTraceEvent, maxEvents+1, true, anyOf("span_id", ids))
		if err != nil {
			return err
		}
		if len(events) > maxEvents && len(b.steps) > 1 {
			b.steps = b.steps[:len(b.steps)/2]
			continue
		}
		b.spanMore = len(events) > maxEvents
		for _, e := range events[:min(len(events), maxEvents)] {
			k := spanOf(e, "span_id")
			b.bySpan[k] = append(b.bySpan[k], e)
		}
		return nil
	}
}

// sortOut tells events of steps from those of none.
func (b *traceBuilder) sortOut(ctx context.Context, events []record) error {
	known := map[span]bool{}
	for _, s := range b.steps {
		known[spanOf(s, "span_id")] = true
	}
	var elsewhere []record
	for _, e := range events {
		if k := spanOf(e, "span_id"); k.span != "" && !known[k] {
			elsewhere = append(elsewhere, e)
		}
	}
	if ids := spanIDs(elsewhere, "span_id"); len(ids) > 0 {
		steps, err := b.find(ctx, evidence.KindTraceStep, 2*len(ids), false, anyOf("span_id", ids))
		if err != nil {
			return err
		}
		for _, s := range steps {
			known[spanOf(s, "span_id")] = true
		}
	}
	for _, e := range events {
		if k := spanOf(e, "span_id"); k.span != "" && known[k] {
			b.bySpan[k] = append(b.bySpan[k], e)
		} else {
			b.loose = append(b.loose, e)
		}
	}
	return nil
}

// parents finds the step_index of each step and of its parent, which may stand
// on another page.
func (b *traceBuilder) parents(ctx context.Context) error {
	b.indexes = map[span]int64{}
	note := func(s record) {
		if s.conflictOf() == nil {
			b.indexes[spanOf(s, "span_id")] = s.number("step_index")
		}
	}
	for _, s := range b.steps {
		note(s)
	}
	var missing []record
	for _, s := range b.steps {
		if _, ok := b.indexes[spanOf(s, "parent_span_id")]; !ok {
			missing = append(missing, s)
		}
	}
	ids := spanIDs(missing, "parent_span_id")
	if len(ids) == 0 {
		return nil
	}
	// A span has one step; conflicts of it and other traces of the run take the
	// rest.
	parents, err := b.find(ctx, evidence.KindTraceStep, 4*len(ids), false, anyOf("span_id", ids))
	for _, s := range parents {
		note(s)
	}
	return err
}

// trace finds the record of the run's trace.
func (b *traceBuilder) trace(ctx context.Context) error {
	var where []store.Condition
	if id := b.t.traceID(); id != "" {
		where = append(where, anyOf("trace_id", []string{id}))
	}
	for _, content := range []bool{false, b.r.Content} {
		traces, err := b.find(ctx, evidence.KindTrace, 10, content, where...)
		if err != nil {
			return err
		}
		b.traceFacts = nil
		for i := range traces {
			if traces[i].conflictOf() == nil {
				b.traceFacts = &traces[i]
				break
			}
		}
		if b.traceFacts == nil || !b.traceFacts.hasPlan() {
			break // there is nothing to open, as with all of OpenTelemetry
		}
	}
	return nil
}

// hasPlan reports whether a trace record has sealed fields that the answer shows.
func (r record) hasPlan() bool {
	for _, path := range []string{"/plan", "/plan_hash", "/root_hash"} {
		if _, ok := r.Leaf.Commitment(path); ok {
			return true
		}
	}
	return false
}

// duration is the time from the run's first start to its last end. The run's
// record says it; of a run that still runs it is that of the steps so far.
func (b *traceBuilder) duration(ctx context.Context, whole bool) (float64, error) {
	start := b.t.startedAt()
	if b.t.newest != nil {
		end := b.t.completedAt()
		if end == nil {
			return 0, nil
		}
		return milliseconds(int64(*end - start)), nil
	}
	steps := b.steps
	if !whole {
		var err error
		if steps, err = b.find(ctx, evidence.KindTraceStep, lastEndSteps, false); err != nil {
			return 0, err
		}
	}
	end := start
	for _, s := range steps {
		if s.conflictOf() == nil {
			end = max(end, s.Leaf.OccurredAt+evidence.Micros(s.number("duration_us")))
		}
	}
	return milliseconds(int64(end - start)), nil
}

func spanOf(rec record, field string) span {
	return span{rec.Leaf.Text("trace_id"), rec.Leaf.Text(field)}
}

// spanIDs returns the distinct ids in a field, without their traces.
func spanIDs(records []record, field string) (ids []string) {
	seen := map[string]bool{"": true}
	for _, rec := range records {
		if id := rec.Leaf.Text(field); !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

func (b *traceBuilder) answer() *answer.RunTrace {
	out := &answer.RunTrace{
		RunID: b.t.id, Steps: []answer.Step{}, Events: []answer.StepEvent{}, TotalSteps: b.t.state.NextStep,
		TraceID: optional(b.t.traceID()), EventsTruncated: b.looseMore,
	}
	in, inKnown := b.t.number("input_tokens")
	gone, outKnown := b.t.number("output_tokens")
	if total := in + gone; inKnown && outKnown {
		out.TotalTokens = &total
	}
	var parts []evidence.Metadata
	if rec := b.traceFacts; rec != nil {
		out.Plan, out.RootHash, out.PlanHash = rec.content("/plan"), rec.content("/root_hash"), rec.content("/plan_hash")
		out.Seed, out.FrozenTimestamp, out.SchemaVersion = rec.maybe("seed"), rec.maybeTime("frozen_timestamp"), rec.maybe("schema_version")
		out.TraceID = rec.maybe("trace_id")
		parts = append(parts, rec.metadata())
	}
	for _, s := range b.steps {
		step := b.step(s)
		out.Steps = append(out.Steps, step)
		parts = append(parts, step.Metadata)
		for i := range step.Events {
			parts = append(parts, step.Events[i].Metadata)
		}
	}
	for _, e := range b.loose {
		event := eventOf(e)
		out.Events = append(out.Events, event)
		parts = append(parts, event.Metadata)
	}
	if parts == nil {
		parts = b.t.metadata()
	}
	out.Metadata = b.f.union(b.r, b.t.id, parts)
	if out.Metadata.TraceID == nil { // of several traces the run's
		out.Metadata.TraceID = out.TraceID
	}
	return out
}
