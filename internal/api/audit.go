package api

import (
	"context"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/facade"
)

type auditInput struct {
	PageParams
	RangeParams
	SyntheticParam
	EventType     string `query:"event_type"`
	EntityType    string `query:"entity_type" enum:"POLICY_RULE,POLICY_PROPOSAL,LIMIT,INCIDENT,SIGNAL,LOG,IDENTITY,EXPORT,RETENTION,RBAC"`
	EntityID      string `query:"entity_id"`
	ActorType     string `query:"actor_type" enum:"HUMAN,AGENT,SYSTEM"`
	ActorID       string `query:"actor_id" doc:"a person's is sealed and needs logs.read_content"`
	RunID         string `query:"run_id" doc:"entries of the run and about it"`
	CorrelationID string `query:"correlation_id"`
}

func (in *auditInput) filter() (facade.AuditFilter, error) {
	w, err := in.window()
	return facade.AuditFilter{
		EventType: in.EventType, EntityType: in.EntityType, EntityID: in.EntityID, ActorType: in.ActorType, ActorID: in.ActorID,
		RunID: in.RunID, CorrelationID: in.CorrelationID, IsSynthetic: in.value(), Window: w,
	}, err
}

type exportsInput struct {
	PageParams
	RangeParams
	RunID string `query:"run_id" doc:"exports of this run"`
}

const auditLogs = "/api/v1/logs/audit"

// auditList registers a list of audit entries.
func auditList[O any](a *API, rt route, ask func(context.Context, facade.Reader, facade.AuditFilter, facade.Paging) (*O, error), count func(*O) int) {
	get(a, rt, func(ctx context.Context, r facade.Reader, v *access.View, in *auditInput) (*O, error) {
		q, err := in.filter()
		if err != nil {
			return nil, err
		}
		out, err := ask(ctx, r, q, in.paging())
		if err == nil {
			v.Records = int64(count(out))
		}
		return out, err
	})
}

func (a *API) audit() {
	f, tag := a.cfg.Facade, "AUDIT"
	auditList(a, route{id: "list-audit", path: auditLogs, tag: tag, summary: "What entries exist?"}, f.Audit,
		func(o *answer.AuditList) int { return len(o.Items) })
	auditList(a, route{id: "audit-identity", path: auditLogs + "/identity", tag: tag, summary: "Who logged in, when, how?"}, f.Identity,
		func(o *answer.AuditIdentity) int { return len(o.Entries) })
	auditList(a, route{id: "audit-authorization", path: auditLogs + "/authorization", tag: tag, summary: "What access was allowed or denied?"}, f.Authorization,
		func(o *answer.AuditAuthorization) int { return len(o.Decisions) })
	auditList(a, route{id: "audit-access", path: auditLogs + "/access", tag: tag, summary: "Who viewed or exported logs?"}, f.Access,
		func(o *answer.AuditAccess) int { return len(o.AccessEvents) })
	get(a, route{id: "audit-integrity", path: auditLogs + "/integrity", tag: tag, summary: "Was anything tampered with?"},
		func(ctx context.Context, r facade.Reader, _ *access.View, _ *struct{}) (*answer.AuditIntegrity, error) {
			return f.Integrity(ctx, r)
		})
	get(a, route{id: "audit-exports", path: auditLogs + "/exports", tag: tag, summary: "What exports exist?"},
		func(ctx context.Context, r facade.Reader, v *access.View, in *exportsInput) (*answer.AuditExports, error) {
			w, err := in.window()
			if err != nil {
				return nil, err
			}
			out, err := f.Exports(ctx, r, facade.AuditFilter{RunID: in.RunID, Window: w}, in.paging())
			if err == nil {
				v.Records = int64(len(out.Exports))
			}
			return out, err
		})
}
