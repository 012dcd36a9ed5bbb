package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
)

// ExportParams say what a bundle holds and in which form.
type ExportParams struct {
	Format         string `query:"format" enum:"zip,json,csv,pdf" default:"zip" doc:"zip is the form that an auditor verifies; the others are views of it"`
	Disclose       string `query:"disclose" doc:"sealed paths that are disclosed, comma between; * stands for any part. Default: all that may be"`
	Withhold       string `query:"withhold" doc:"sealed paths that are not, whatever disclose says"`
	SinceSize      int64  `query:"since_size" minimum:"0" doc:"adds the proof that the log extends its tree of this size"`
	IdempotencyKey string `header:"Idempotency-Key" doc:"the same key gives the same export"`
}

type exportInput struct {
	RunPath
	ExportParams
}

type guardExportInput struct {
	RunID string `query:"run_id" required:"true" maxLength:"512"`
	ExportParams
}

func (a *API) exports() {
	get(a, route{
		id: "run-export", path: llmRuns + "/{run_id}/export", tag: "LLM_RUNS", summary: "The audit-grade bundle.",
		description: "Each call makes an export, which is itself evidence; the same credential, run and parameters within a minute, or the same Idempotency-Key, give the same one. The answer describes it; the bytes are at download_url.",
		errors:      exportErrors,
	}, func(ctx context.Context, r facade.Reader, v *access.View, in *exportInput) (*answer.EvidenceBundle, error) {
		return a.export(ctx, r, v, in.RunID, &in.ExportParams)
	})
	get(a, route{id: "guard-export", path: "/guard/logs/export", tag: "guard", summary: "The bundle of a run.", errors: exportErrors},
		func(ctx context.Context, r facade.Reader, v *access.View, in *guardExportInput) (*answer.EvidenceBundle, error) {
			return a.export(ctx, r, v, in.RunID, &in.ExportParams)
		})
	a.periodExports()
	a.mux.HandleFunc("GET "+contentPath, func(w http.ResponseWriter, r *http.Request) {
		if err := a.content(w, r); err != nil {
			a.write(w, r, err)
		}
	})
}

// exportErrors: an Idempotency-Key of another export; more than a bundle holds.
var exportErrors = []int{http.StatusConflict, http.StatusRequestEntityTooLarge}

const contentPath = "/api/v1/exports/{export_id}/content"

func (a *API) export(ctx context.Context, r facade.Reader, v *access.View, id string, in *ExportParams) (*answer.EvidenceBundle, error) {
	run, err := a.cfg.Facade.RunID(ctx, r, id)
	if err != nil {
		return nil, err
	}
	v.Run = run
	by := requester(access.GrantOf(ctx).Principal)
	s, err := a.cfg.Exports.Open(ctx, export.Request{
		Tenant: r.Tenant, Profile: export.ProfileRun, Run: run, Format: in.Format, By: by,
		Disclose: words(in.Disclose), Withhold: words(in.Withhold), NotPermitted: !r.Content, Synthetic: shown(r),
		NoAudit: !access.GrantOf(ctx).Permissions.Has(access.AuditRead), SinceSize: in.SinceSize, Unrecorded: true,
	}, export.IdempotencyKey(in.IdempotencyKey))
	if err != nil {
		return nil, err
	}
	v.EntityType, v.EntityID = "EXPORT", s.ExportID
	v.Records, v.Digest, v.Bytes = s.Records, s.Digest, s.Bytes
	out, err := a.cfg.Exports.Answer(s, by.Credential)
	return &out, err
}

// requester says who exports.
func requester(p access.Principal) export.Requester {
	if p.Person != "" {
		return export.Requester{Name: p.Person, Human: true, Credential: p.Credential}
	}
	return export.Requester{Name: p.Credential, Human: p.ActorKind == access.Human, Credential: p.Credential}
}

// shown says which records the rules show to a reader: synthetic ones only, only
// others, or (nil) both.
func shown(r facade.Reader) *bool {
	if r.IncludeSynthetic && !r.SyntheticOnly {
		return nil
	}
	return &r.SyntheticOnly
}

// words splits a list at its commas.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// Link returns who makes a request for the bytes of an export by its signed link;
// ok is false for every other request. The link is taken out of the request, so that
// it stands in no record.
func (a *API) Link(r *http.Request) (p access.Principal, ok bool, err error) {
	id, found := strings.CutPrefix(r.URL.Path, "/api/v1/exports/")
	id, content := strings.CutSuffix(id, "/content")
	q := r.URL.Query()
	token := q.Get(export.LinkParameter)
	if !found || !content || token == "" {
		return p, false, nil
	}
	q.Del(export.LinkParameter)
	r.URL.RawQuery = q.Encode()
	l, err := a.cfg.Exports.OpenLink(token)
	if err == nil && l.ExportID != id {
		err = fmt.Errorf("link: %w: it is of another export", problem.ErrUnauthenticated)
	}
	return access.Principal{
		Tenant: l.Tenant, Credential: l.Credential, Role: roleLink, ActorKind: access.System,
		Permissions: access.Set(access.LogsExport | access.LogsRead | access.LogsReadContent),
	}, true, err
}
