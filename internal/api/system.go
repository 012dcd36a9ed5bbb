package api

import (
	"context"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/facade"
)

type systemInput struct {
	PageParams
	RangeParams
	SyntheticParam
	Component     string `query:"component"`
	EventType     string `query:"event_type"`
	Severity      string `query:"severity" enum:"INFO,WARN,CRITICAL"`
	CausedBy      string `query:"caused_by" enum:"SYSTEM,HUMAN,AUTOMATION"`
	CorrelationID string `query:"correlation_id"`
}

func (in *systemInput) filter() (facade.SystemFilter, error) {
	w, err := in.window()
	return facade.SystemFilter{
		Component: in.Component, EventType: in.EventType, Severity: in.Severity, CausedBy: in.CausedBy,
		CorrelationID: in.CorrelationID, IsSynthetic: in.value(), Window: w,
	}, err
}

const systemLogs = "/api/v1/logs/system"

func (a *API) system() {
	f, tag := a.cfg.Facade, "SYSTEM_LOGS"
	get(a, route{id: "list-system", path: systemLogs, tag: tag, summary: "What system events exist?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *systemInput) (*answer.SystemList, error) {
			q, err := in.filter()
			if err != nil {
				return nil, err
			}
			out, err := f.System(ctx, r, q, in.paging())
			if err == nil {
				v.Records = int64(len(out.Items))
			}
			return out, err
		})
	get(a, route{id: "system-snapshot", path: systemLogs + "/{run_id}/snapshot", tag: tag, summary: "What was the environment at run start?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *runInput) (*answer.SystemSnapshot, error) {
			out, err := f.Snapshot(ctx, r, in.RunID)
			if err == nil {
				v.Run, v.Records = out.RunID, int64(len(out.Baseline))
			}
			return out, err
		})
	get(a, route{id: "system-telemetry", path: systemLogs + "/{run_id}/telemetry", tag: tag, summary: "What did the infrastructure measure during it?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *runPageInput) (*answer.SystemTelemetry, error) {
			out, err := f.Telemetry(ctx, r, in.RunID, in.paging())
			if err == nil {
				v.Run, v.Records = out.RunID, int64(len(out.Series))
			}
			return out, err
		})
	get(a, route{id: "system-events", path: systemLogs + "/{run_id}/events", tag: tag, summary: "What infrastructure events touched it?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *runPageInput) (*answer.SystemEvents, error) {
			out, err := f.Events(ctx, r, in.RunID, in.paging())
			if err == nil {
				v.Run, v.Records = out.RunID, int64(len(out.Events))
			}
			return out, err
		})
	get(a, route{id: "system-replay", path: systemLogs + "/{run_id}/replay", tag: tag, summary: "What happened around the turning point, infrastructure only?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *replayInput) (*answer.ReplayWindow, error) {
			return replayWindow(ctx, r, v, in, f.SystemReplay)
		})
	get(a, route{id: "system-audit", path: systemLogs + "/audit", tag: tag, summary: "Who or what is responsible for infrastructure events?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *systemInput) (*answer.SystemAudit, error) {
			q, err := in.filter()
			if err != nil {
				return nil, err
			}
			out, err := f.SystemAudit(ctx, r, q, in.paging())
			if err == nil {
				v.Records = int64(len(out.Entries))
			}
			return out, err
		})
}
