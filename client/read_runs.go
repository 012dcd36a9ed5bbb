package client

import (
	"context"
	"iter"

	"github.com/runledger/runledger/answer"
)

const llmRuns = "/llm-runs"

// Runs lists runs, the newest first: a page of them.
func (c *Client) Runs(ctx context.Context, f RunFilter, p Paging) (*answer.RunList, error) {
	return get[answer.RunList](ctx, c, llmRuns, f.query(p))
}

// AllRuns lists all runs that the filter lets through, page by page as they are
// taken. An error ends it.
func (c *Client) AllRuns(ctx context.Context, f RunFilter) iter.Seq2[*answer.RunEnvelope, error] {
	return each(pages(Paging{},
		func(p Paging) (*answer.RunList, error) { return c.Runs(ctx, f, p) },
		func(l *answer.RunList) (bool, *string) { return nextOf(&l.Page) },
	), func(l *answer.RunList) []answer.RunEnvelope { return l.Items })
}

// Run returns the canonical record of a run: its envelope. A run is named by its
// id, its run_alias or its trace id. An unknown one is evidence.ErrNotFound.
func (c *Client) Run(ctx context.Context, run string) (*answer.RunEnvelope, error) {
	return ofRun[answer.RunEnvelope](ctx, c, llmRuns, run, "/envelope", &query{})
}

// Trace returns how a run executed: a page of its steps.
func (c *Client) Trace(ctx context.Context, run string, p Paging) (*answer.RunTrace, error) {
	return ofRun[answer.RunTrace](ctx, c, llmRuns, run, "/trace", pageQuery(p))
}

// TracePages returns the pages of a run's trace, from p on.
func (c *Client) TracePages(ctx context.Context, run string, p Paging) iter.Seq2[*answer.RunTrace, error] {
	return pages(p,
		func(p Paging) (*answer.RunTrace, error) { return c.Trace(ctx, run, p) },
		func(t *answer.RunTrace) (bool, *string) { return t.HasMore, t.NextCursor })
}

// AllSteps returns the steps of a run in their order.
func (c *Client) AllSteps(ctx context.Context, run string) iter.Seq2[*answer.Step, error] {
	return each(c.TracePages(ctx, run, Paging{}), func(t *answer.RunTrace) []answer.Step { return t.Steps })
}

// Governance returns how policy and thresholds acted on a run: a page of it.
func (c *Client) Governance(ctx context.Context, run string, p Paging) (*answer.RunGovernance, error) {
	return ofRun[answer.RunGovernance](ctx, c, llmRuns, run, "/governance", pageQuery(p))
}

// GovernancePages returns the pages of a run's governance, from p on.
func (c *Client) GovernancePages(ctx context.Context, run string, p Paging) iter.Seq2[*answer.RunGovernance, error] {
	return pages(p,
		func(p Paging) (*answer.RunGovernance, error) { return c.Governance(ctx, run, p) },
		func(g *answer.RunGovernance) (bool, *string) { return g.HasMore, g.NextCursor })
}

// Replay returns what happened around the turning point of a run: a page of it.
func (c *Client) Replay(ctx context.Context, run string, o ReplayOptions, p Paging) (*answer.ReplayWindow, error) {
	return ofRun[answer.ReplayWindow](ctx, c, llmRuns, run, "/replay", o.query(p))
}

// ReplayPages returns the pages of a replay, from p on.
func (c *Client) ReplayPages(ctx context.Context, run string, o ReplayOptions, p Paging) iter.Seq2[*answer.ReplayWindow, error] {
	return replayPages(p, func(p Paging) (*answer.ReplayWindow, error) { return c.Replay(ctx, run, o, p) })
}

func replayPages(p Paging, ask func(Paging) (*answer.ReplayWindow, error)) iter.Seq2[*answer.ReplayWindow, error] {
	return pages(p, ask, func(w *answer.ReplayWindow) (bool, *string) { return w.HasMore, w.NextCursor })
}
