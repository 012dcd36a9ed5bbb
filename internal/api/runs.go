package api

import (
	"context"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/facade"
)

type runsInput struct {
	PageParams
	RangeParams
	SyntheticParam
	RunID          string `query:"run_id"`
	TraceID        string `query:"trace_id" pattern:"^[0-9a-f]{32}$"`
	Provider       string `query:"provider"`
	Model          string `query:"model"`
	Status         string `query:"status" enum:"SUCCEEDED,FAILED,ABORTED,TIMEOUT,RUNNING" doc:"RUNNING lists the runs whose end has not been seen, by started_at"`
	Outcome        string `query:"outcome" enum:"success,failure,near_threshold,terminated"`
	AgentID        string `query:"agent_id"`
	HumanActorID   string `query:"human_actor_id" doc:"sealed: needs logs.read_content"`
	CorrelationID  string `query:"correlation_id"`
	ConversationID string `query:"conversation_id"`
}

type runInput struct{ RunPath }

type runPageInput struct {
	RunPath
	PageParams
}

type replayInput struct {
	RunPath
	PageParams
	Center        string `query:"center" format:"date-time" doc:"the moment; default: the turning point of the run, else its end, else its start"`
	WindowSeconds int    `query:"window_seconds" minimum:"2" maximum:"3600" doc:"width of the window; default 60"`
}

func (in *replayInput) params() (facade.ReplayParams, error) {
	center, err := timeParam("center", in.Center)
	return facade.ReplayParams{Center: center, WindowSeconds: in.WindowSeconds, Paging: in.paging()}, err
}

const llmRuns = "/api/v1/logs/llm-runs"

func (a *API) runs() {
	f, tag := a.cfg.Facade, "LLM_RUNS"
	get(a, route{id: "list-runs", path: llmRuns, tag: tag, summary: "What runs exist?"}, a.listRuns)
	get(a, route{id: "run-envelope", path: llmRuns + "/{run_id}/envelope", tag: tag, summary: "What is the canonical run record?"}, a.envelope)
	get(a, route{id: "run-trace", path: llmRuns + "/{run_id}/trace", tag: tag, summary: "How did it execute, step by step?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *runPageInput) (*answer.RunTrace, error) {
			out, err := f.Trace(ctx, r, in.RunID, in.paging())
			if err == nil {
				v.Run, v.Records = out.RunID, int64(len(out.Steps)+len(out.Events))
			}
			return out, err
		})
	get(a, route{id: "run-governance", path: llmRuns + "/{run_id}/governance", tag: tag, summary: "How did policy and thresholds act on it?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *runPageInput) (*answer.RunGovernance, error) {
			out, err := f.Governance(ctx, r, in.RunID, in.paging())
			if err == nil {
				v.Run, v.Records = out.RunID, int64(len(out.ThresholdChecks)+len(out.PolicyEvaluations)+len(out.Overrides))
			}
			return out, err
		})
	get(a, route{id: "run-replay", path: llmRuns + "/{run_id}/replay", tag: tag, summary: "What happened around the turning point?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *replayInput) (*answer.ReplayWindow, error) {
			return replayWindow(ctx, r, v, in, f.Replay)
		})
}

func (a *API) listRuns(ctx context.Context, r facade.Reader, v *access.View, in *runsInput) (*answer.RunList, error) {
	w, err := in.window()
	if err != nil {
		return nil, err
	}
	out, err := a.cfg.Facade.Runs(ctx, r, facade.RunFilter{
		RunID: in.RunID, TraceID: in.TraceID, Provider: in.Provider, Model: in.Model, Status: in.Status, Outcome: in.Outcome,
		AgentID: in.AgentID, HumanActorID: in.HumanActorID, CorrelationID: in.CorrelationID, ConversationID: in.ConversationID,
		IsSynthetic: in.value(), Window: w,
	}, in.paging())
	if err == nil {
		v.Records = int64(len(out.Items))
	}
	return out, err
}

func (a *API) envelope(ctx context.Context, r facade.Reader, v *access.View, in *runInput) (*answer.RunEnvelope, error) {
	out, err := a.cfg.Facade.Envelope(ctx, r, in.RunID)
	if err == nil {
		v.Run, v.Records = out.RunID, 1
	}
	return out, err
}

type replayFunc func(context.Context, facade.Reader, string, facade.ReplayParams) (*answer.ReplayWindow, error)

func replayWindow(ctx context.Context, r facade.Reader, v *access.View, in *replayInput, f replayFunc) (*answer.ReplayWindow, error) {
	q, err := in.params()
	if err != nil {
		return nil, err
	}
	out, err := f(ctx, r, in.RunID, q)
	if err == nil {
		v.Run, v.Records = out.RunID, int64(len(out.LLMEvents)+len(out.SystemEvents)+len(out.PolicyEvents))
	}
	return out, err
}
