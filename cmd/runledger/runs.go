package main

import (
	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/client"
)

type runsCmd struct {
	readFlags
	listFlags
	RunID          string `help:"The run of this id or alias." placeholder:"ID"`
	TraceID        string `help:"Of this trace." placeholder:"ID"`
	Provider       string `help:"Of this provider of models." placeholder:"NAME"`
	Model          string `help:"With this model." placeholder:"NAME"`
	Status         string `help:"SUCCEEDED, FAILED, ABORTED, TIMEOUT, or RUNNING." placeholder:"STATUS"`
	Outcome        string `help:"success, failure, near_threshold, terminated." placeholder:"OUTCOME"`
	AgentID        string `help:"Of this agent." placeholder:"ID"`
	HumanActorID   string `help:"Of this person." placeholder:"ID"`
	CorrelationID  string `help:"With this correlation id." placeholder:"ID"`
	ConversationID string `help:"Of this conversation." placeholder:"ID"`
	IsSynthetic    *bool  `help:"Synthetic runs only, or none." negatable:""`
	windowFlags
}

// Help implements kong.HelpProvider.
func (runsCmd) Help() string {
	return `The newest first. That you looked is recorded in the log of the tenant.

    runledger runs
    runledger runs --outcome failure --occurred-after 24h
    runledger runs --url https://ledger.example:8080 --json`
}

// runsAppear is for who has just sent spans and sees no run. The time is the default of
// runs.Config.RootQuiet.
const runsAppear = "runs appear once they have ended: by default 2 seconds after their root span"

// Run lists runs.
func (c *runsCmd) Run(e *env) error {
	filter := client.RunFilter{
		RunID: c.RunID, TraceID: c.TraceID, Provider: c.Provider, Model: c.Model, Status: c.Status, Outcome: c.Outcome,
		AgentID: c.AgentID, HumanActorID: c.HumanActorID, CorrelationID: c.CorrelationID, ConversationID: c.ConversationID,
		IsSynthetic: c.IsSynthetic, Window: c.window(),
	}
	return c.with(e, func(r *readAPI) error {
		lists, err := take(r, c.want(), func(p client.Paging) (*answer.RunList, error) { return r.Runs(e.ctx, filter, p) },
			func(l *answer.RunList) turn { return turn{len(l.Items), l.HasMore, l.NextCursor} })
		if err != nil || e.JSON {
			return err
		}
		var runs []answer.RunEnvelope
		for _, l := range lists {
			runs = append(runs, l.Items...)
		}
		e.screen(false).runs(runs)
		last := lists[len(lists)-1]
		r.listed("runs", len(runs), last.HasMore, last.Total, last.TotalIsExact, last.FiltersApplied)
		if len(runs) == 0 {
			e.notef("%s\n", runsAppear)
		}
		return nil
	})
}

type runCmd struct {
	Show       runShowCmd       `cmd:"" help:"The canonical record of a run."`
	Trace      runTraceCmd      `cmd:"" help:"How it executed, step by step."`
	Governance runGovernanceCmd `cmd:"" help:"How policy and thresholds acted on it."`
	Replay     runReplayCmd     `cmd:"" help:"What happened around its turning point."`
}

type runShowCmd struct {
	readFlags
	runFlags
	Content bool `help:"Show prompt and response in full."`
}

// Help implements kong.HelpProvider.
func (runShowCmd) Help() string {
	return `The newest revision of the run's record, with where it stands in the log.

    runledger run show 4bf92f3577b34da6a3ce929d0e0e4736`
}

// Run shows a run.
func (c *runShowCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		run, err := r.Client.Run(e.ctx, c.RunID)
		if err != nil {
			return err
		}
		return r.show(func() { e.screen(c.Content).run(run) })
	})
}

type runTraceCmd struct {
	readFlags
	runPageFlags
	Content bool `help:"Show prompts, responses and parameters in full."`
}

// Help implements kong.HelpProvider.
func (runTraceCmd) Help() string {
	return `The steps on a line of time, each under the one that called it.

    runledger run trace 4bf92f3577b34da6a3ce929d0e0e4736 --content`
}

// Run shows a trace.
func (c *runTraceCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		traces, err := take(r, c.Limit, func(p client.Paging) (*answer.RunTrace, error) { return r.Trace(e.ctx, c.RunID, p) },
			func(t *answer.RunTrace) turn { return turn{len(t.Steps), t.HasMore, t.NextCursor} })
		if err != nil || e.JSON {
			return err
		}
		first := *traces[0]
		for _, t := range traces[1:] {
			first.Steps = append(first.Steps, t.Steps...)
		}
		e.screen(c.Content).trace(&first)
		r.cutOff(traces[len(traces)-1].HasMore)
		return nil
	})
}

type runGovernanceCmd struct {
	readFlags
	runPageFlags
}

// Help implements kong.HelpProvider.
func (runGovernanceCmd) Help() string {
	return `Threshold checks, evaluations of policies, and overrides.

    runledger run governance 4bf92f3577b34da6a3ce929d0e0e4736`
}

// Run shows the governance of a run.
func (c *runGovernanceCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		pages, err := take(r, c.Limit, func(p client.Paging) (*answer.RunGovernance, error) { return r.Governance(e.ctx, c.RunID, p) },
			func(g *answer.RunGovernance) turn {
				return turn{len(g.ThresholdChecks) + len(g.PolicyEvaluations) + len(g.Overrides), g.HasMore, g.NextCursor}
			})
		if err != nil || e.JSON {
			return err
		}
		all := *pages[0]
		for _, g := range pages[1:] {
			all.ThresholdChecks = append(all.ThresholdChecks, g.ThresholdChecks...)
			all.PolicyEvaluations = append(all.PolicyEvaluations, g.PolicyEvaluations...)
			all.Overrides = append(all.Overrides, g.Overrides...)
		}
		e.screen(false).governance(&all)
		r.cutOff(pages[len(pages)-1].HasMore)
		return nil
	})
}

// replayFlags choose a window.
type replayFlags struct {
	Center        instant `help:"The moment. Default: the turning point of the run." placeholder:"TIME"`
	WindowSeconds int     `help:"Width of the window, 2 to 3600 seconds. Default: 60." placeholder:"N"`
}

func (f *replayFlags) options() client.ReplayOptions {
	return client.ReplayOptions{Center: f.Center.Time, WindowSeconds: f.WindowSeconds}
}

type runReplayCmd struct {
	readFlags
	runPageFlags
	replayFlags
}

// Help implements kong.HelpProvider.
func (runReplayCmd) Help() string {
	return `Steps of the run, decisions of policies, and events of the infrastructure, by their distance from the moment.

    runledger run replay 4bf92f3577b34da6a3ce929d0e0e4736 --window-seconds 10`
}

// Run shows a replay.
func (c *runReplayCmd) Run(e *env) error {
	return c.with(e, func(r *readAPI) error {
		return r.replay(c.Limit, func(p client.Paging) (*answer.ReplayWindow, error) { return r.Replay(e.ctx, c.RunID, c.options(), p) })
	})
}

func (r *readAPI) replay(limit int, ask func(client.Paging) (*answer.ReplayWindow, error)) error {
	pages, err := take(r, limit, ask, func(w *answer.ReplayWindow) turn {
		return turn{len(w.LLMEvents) + len(w.SystemEvents) + len(w.PolicyEvents), w.HasMore, w.NextCursor}
	})
	if err != nil || r.e.JSON {
		return err
	}
	all := *pages[0]
	for _, w := range pages[1:] {
		all.LLMEvents = append(all.LLMEvents, w.LLMEvents...)
		all.SystemEvents = append(all.SystemEvents, w.SystemEvents...)
		all.PolicyEvents = append(all.PolicyEvents, w.PolicyEvents...)
	}
	r.e.screen(false).replay(&all)
	r.cutOff(pages[len(pages)-1].HasMore)
	return nil
}
