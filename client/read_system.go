package client

import (
	"context"
	"iter"

	"github.com/runledger/runledger/answer"
)

const systemLogs = "/system"

// System lists system records, the newest first: a page of them.
func (c *Client) System(ctx context.Context, f SystemFilter, p Paging) (*answer.SystemList, error) {
	return get[answer.SystemList](ctx, c, systemLogs, f.query(p))
}

// AllSystem lists all system records that the filter lets through.
func (c *Client) AllSystem(ctx context.Context, f SystemFilter) iter.Seq2[*answer.SystemEvent, error] {
	return each(pages(Paging{},
		func(p Paging) (*answer.SystemList, error) { return c.System(ctx, f, p) },
		func(l *answer.SystemList) (bool, *string) { return nextOf(&l.Page) },
	), func(l *answer.SystemList) []answer.SystemEvent { return l.Items })
}

// Snapshot returns the environment at the start of a run.
func (c *Client) Snapshot(ctx context.Context, run string) (*answer.SystemSnapshot, error) {
	return ofRun[answer.SystemSnapshot](ctx, c, systemLogs, run, "/snapshot", &query{})
}

// Telemetry returns what the infrastructure measured during a run, or that
// nothing was collected.
func (c *Client) Telemetry(ctx context.Context, run string, p Paging) (*answer.SystemTelemetry, error) {
	return ofRun[answer.SystemTelemetry](ctx, c, systemLogs, run, "/telemetry", pageQuery(p))
}

// Events returns the infrastructure events that touched a run: a page of them.
func (c *Client) Events(ctx context.Context, run string, p Paging) (*answer.SystemEvents, error) {
	return ofRun[answer.SystemEvents](ctx, c, systemLogs, run, "/events", pageQuery(p))
}

// AllEvents returns all infrastructure events that touched a run, by time.
func (c *Client) AllEvents(ctx context.Context, run string) iter.Seq2[*answer.SystemEvent, error] {
	return each(c.EventPages(ctx, run, Paging{}), func(e *answer.SystemEvents) []answer.SystemEvent { return e.Events })
}

// EventPages returns the pages of the events that touched a run, from p on.
func (c *Client) EventPages(ctx context.Context, run string, p Paging) iter.Seq2[*answer.SystemEvents, error] {
	return pages(p,
		func(p Paging) (*answer.SystemEvents, error) { return c.Events(ctx, run, p) },
		func(e *answer.SystemEvents) (bool, *string) { return e.HasMore, e.NextCursor })
}

// SystemReplay is Replay with the events of the infrastructure only.
func (c *Client) SystemReplay(ctx context.Context, run string, o ReplayOptions, p Paging) (*answer.ReplayWindow, error) {
	return ofRun[answer.ReplayWindow](ctx, c, systemLogs, run, "/replay", o.query(p))
}

// SystemReplayPages returns the pages of a SystemReplay, from p on.
func (c *Client) SystemReplayPages(ctx context.Context, run string, o ReplayOptions, p Paging) iter.Seq2[*answer.ReplayWindow, error] {
	return replayPages(p, func(p Paging) (*answer.ReplayWindow, error) { return c.SystemReplay(ctx, run, o, p) })
}

// SystemAudit returns who or what is responsible for infrastructure events: a
// page of them, with the counts.
func (c *Client) SystemAudit(ctx context.Context, f SystemFilter, p Paging) (*answer.SystemAudit, error) {
	return get[answer.SystemAudit](ctx, c, systemLogs+"/audit", f.query(p))
}
