package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/problem"
)

// Lifecycle is what the routes of administration ask: a lifecycle.Service.
type Lifecycle interface {
	Policies(ctx context.Context, tenant string) (lifecycle.PolicyList, error)
	SetPolicy(ctx context.Context, tenant string, c lifecycle.PolicyChange, by lifecycle.Actor) (lifecycle.Policy, error)
	Preview(ctx context.Context, tenant string, at time.Time) (lifecycle.Preview, error)
	Expire(ctx context.Context, tenant string, r lifecycle.RunRequest, by lifecycle.Actor) (lifecycle.RunResult, error)
	PlaceHold(ctx context.Context, tenant string, r lifecycle.HoldRequest, by lifecycle.Actor) (lifecycle.HoldInfo, error)
	Holds(ctx context.Context, tenant string, all bool) (lifecycle.HoldList, error)
	ReleaseHold(ctx context.Context, tenant, id, reason string, by lifecycle.Actor) (lifecycle.HoldInfo, error)
	Archive(ctx context.Context, tenant string, r lifecycle.ArchiveRequest, by lifecycle.Actor) (lifecycle.ArchiveList, error)
	Archives(ctx context.Context, tenant string) (lifecycle.ArchiveList, error)
	Erase(ctx context.Context, tenant string, r lifecycle.ErasureRequest, by lifecycle.Actor) (lifecycle.ErasureAnswer, error)
	Erasures(ctx context.Context, tenant string, q lifecycle.ErasureQuery) (lifecycle.ErasureList, error)
	Certificate(ctx context.Context, tenant, id string) ([]byte, error)
	Show(ctx context.Context, tenant string, r lifecycle.ShowRequest) (lifecycle.ShowAnswer, error)
}

const (
	retentionPath = "/api/v1/retention"
	holdsPath     = "/api/v1/holds"
	archivesPath  = "/api/v1/archives"
	erasuresPath  = "/api/v1/erasures"
)

type previewInput struct {
	At string `query:"at" format:"date-time" doc:"what would be done at this time. Default: now"`
}

type classInput struct {
	Class   string `path:"class" enum:"llm_runs,system_logs,audit,log_exports,synthetic"`
	RawBody []byte
}

type holdsInput struct {
	All string `query:"all" enum:"true,false" doc:"also those that were released"`
}

type holdInput struct {
	HoldID  string `path:"hold_id" maxLength:"128"`
	RawBody []byte
}

type erasuresInput struct {
	Before string `query:"before" maxLength:"128" doc:"the last erasure_id of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"erasures of a page"`
}

type recordsInput struct {
	RunID string `query:"run_id" required:"true" maxLength:"512" doc:"the run, by the id that its records have"`
}

// PolicyBody is the body of a change of policy. What is left out stays as it is.
type PolicyBody struct {
	Days    *int   `json:"days,omitempty" doc:"how long records of the class are kept, in whole days"`
	Archive *bool  `json:"archive,omitempty" doc:"records stand in an archive before they expire; without an archive they do not expire"`
	Reason  string `json:"reason" doc:"why; it is recorded"`
}

// ReleaseBody is the body of the release of a hold.
type ReleaseBody struct {
	Reason string `json:"reason" doc:"why; it is recorded"`
}

// Erasure is what an erasure did, or with dry_run would do.
type Erasure struct {
	TenantID  string   `json:"tenant_id"`
	DryRun    bool     `json:"dry_run"`
	ErasureID string   `json:"erasure_id,omitempty"`
	Records   int      `json:"records" doc:"that lose content"`
	Fields    int      `json:"fields"`
	Runs      int      `json:"runs"`
	Destroyed int      `json:"keys_destroyed"`
	Retire    int      `json:"keys_to_retire" doc:"keys of the day that are destroyed in the background, after the rest under them was sealed anew"`
	HeldBy    []string `json:"held_by" doc:"legal holds that forbid it; of a dry run only"`
	// Copies as in lifecycle.ErasureAnswer.
	Copies         []lifecycle.CopyInfo `json:"copies" doc:"where the same text stands as well, in other fields of the records, of their runs, and of what was said about these; the first hundred records, of record_ids only. With copies it goes there, too, else it stays"`
	CopyCount      int                  `json:"copy_count" doc:"how many records have such copies"`
	Beside         int                  `json:"records_beside" doc:"how many other records of the runs that are about the subject keep content, since they name nobody or somebody else; of a dry run, in the first thousand runs"`
	ScrubPending   bool                 `json:"scrub_pending" doc:"a reader holds an older state of the database's files; they are freed of what was erased as soon as it lets go"`
	CertificateURL string               `json:"certificate_url,omitempty" doc:"for 30 days"`
}

// administer registers the routes of the life of evidence.
func (a *API) administer() {
	l, tag := a.cfg.Lifecycle, "administration"
	look(a, route{id: "get-retention", path: retentionPath, tag: tag, summary: "How long evidence is kept, by class."},
		func(ctx context.Context, tenant string, v *access.View, _ *struct{}) (lifecycle.PolicyList, error) {
			out, err := l.Policies(ctx, tenant)
			v.EntityType, v.EntityID, v.Records = "RETENTION", "policies", int64(len(out.Policies))
			return out, err
		})
	look(a, route{id: "preview-retention", path: retentionPath + "/preview", tag: tag, summary: "What would expire, when, and why not what would not."},
		func(ctx context.Context, tenant string, v *access.View, in *previewInput) (lifecycle.Preview, error) {
			v.EntityType, v.EntityID = "RETENTION", "preview"
			var at time.Time
			m, err := timeParam("at", in.At)
			if err != nil {
				return lifecycle.Preview{}, err
			}
			if m != nil {
				at = m.Time()
			}
			return l.Preview(ctx, tenant, at)
		})
	change[PolicyBody](a, http.MethodPut, route{id: "set-retention", path: retentionPath + "/{class}", tag: tag, summary: "Keep a class for another time."}, http.StatusOK,
		func(in *classInput) (string, []byte) { return "retention:" + in.Class, in.RawBody },
		func(ctx context.Context, tenant string, by lifecycle.Actor, in *classInput, b *PolicyBody) (lifecycle.Policy, error) {
			return l.SetPolicy(ctx, tenant, lifecycle.PolicyChange{
				Class: in.Class, Days: b.Days, Archive: b.Archive, Reason: b.Reason,
			}, by)
		})
	change[lifecycle.RunRequest](a, http.MethodPost, route{
		id: "run-retention", path: retentionPath + "/run", tag: tag, summary: "Archive and expire now what is due.",
		description: "The answer comes when it is done, which may take long; who breaks off loses nothing, it goes on with the next one. confirm_clock says that the clock is right: needed where the server was off for two days, or the clock was set. It holds for all tenants and takes a key of the platform.",
	}, http.StatusOK,
		func(in *body) (string, []byte) { return "retention", in.RawBody },
		func(ctx context.Context, tenant string, by lifecycle.Actor, _ *body, b *lifecycle.RunRequest) (lifecycle.RunResult, error) {
			if b.ConfirmClock && !access.GrantOf(ctx).Platform {
				return lifecycle.RunResult{}, &evidence.FieldError{Field: "confirm_clock", Reason: "holds for all tenants, and takes a key of the platform", Err: evidence.ErrForbidden}
			}
			out, err := l.Expire(ctx, tenant, *b, by)
			return out, out.Partly(err)
		})
	a.administerHolds(tag)
	a.administerArchives(tag)
	a.administerErasures(tag)
}

func (a *API) administerHolds(tag string) {
	l := a.cfg.Lifecycle
	look(a, route{id: "list-holds", path: holdsPath, tag: tag, summary: "Legal holds, the newest first. Who placed one and why is shown to who may read content."},
		func(ctx context.Context, tenant string, v *access.View, in *holdsInput) (lifecycle.HoldList, error) {
			out, err := l.Holds(ctx, tenant, in.All == "true")
			for i := range out.Holds {
				withholdHold(ctx, &out.Holds[i])
			}
			v.EntityType, v.EntityID, v.Records = "RETENTION", "holds", int64(len(out.Holds))
			return out, err
		})
	change[lifecycle.HoldRequest](a, http.MethodPost, route{
		id: "place-hold", path: holdsPath, tag: tag, summary: "Place a legal hold: what it covers neither expires nor is erased.",
		description: "On exactly one of: a run, a subject (the runs that name a person, and their records without a run), a time from which until which records occurred or were recorded, or all of the tenant.",
	}, http.StatusCreated,
		func(in *body) (string, []byte) { return "hold", in.RawBody },
		func(ctx context.Context, tenant string, by lifecycle.Actor, _ *body, b *lifecycle.HoldRequest) (lifecycle.HoldInfo, error) {
			out, err := l.PlaceHold(ctx, tenant, *b, by)
			withholdHold(ctx, &out)
			return out, err
		})
	change[ReleaseBody](a, http.MethodPost, route{id: "release-hold", path: holdsPath + "/{hold_id}/release", tag: tag, summary: "End a legal hold."}, http.StatusOK,
		func(in *holdInput) (string, []byte) { return "hold:" + in.HoldID, in.RawBody },
		func(ctx context.Context, tenant string, by lifecycle.Actor, in *holdInput, b *ReleaseBody) (lifecycle.HoldInfo, error) {
			out, err := l.ReleaseHold(ctx, tenant, in.HoldID, b.Reason, by)
			withholdHold(ctx, &out)
			return out, err
		})
}

// withholdHold takes out of a hold what is sealed in its record.
func withholdHold(ctx context.Context, h *lifecycle.HoldInfo) {
	if !access.GrantOf(ctx).Content() {
		h.PlacedBy, h.Reason, h.ReleasedBy = "", "", ""
	}
}

func (a *API) administerArchives(tag string) {
	l := a.cfg.Lifecycle
	look(a, route{id: "list-archives", path: archivesPath, tag: tag, summary: "The units of the archive that are on record."},
		func(ctx context.Context, tenant string, v *access.View, _ *struct{}) (lifecycle.ArchiveList, error) {
			out, err := l.Archives(ctx, tenant)
			v.EntityType, v.EntityID, v.Records = "RETENTION", "archives", int64(len(out.Units))
			return out, err
		})
	change[lifecycle.ArchiveRequest](a, http.MethodPost, route{id: "run-archive", path: archivesPath, tag: tag, summary: "Archive what is not archived yet, be it due or not. Nothing is removed."}, http.StatusOK,
		func(in *body) (string, []byte) { return "archives", in.RawBody },
		func(ctx context.Context, tenant string, by lifecycle.Actor, _ *body, b *lifecycle.ArchiveRequest) (lifecycle.ArchiveList, error) {
			return l.Archive(ctx, tenant, *b, by)
		})
	look(a, route{
		id: "archived-records", path: archivesPath + "/records", tag: tag, summary: "The records of a run from the archive, checked against the signed tree.",
		description: "Leaves as they stand in the log, of all kinds, with those of runs that have long expired. Synthetic ones only where the rules of access show them.",
	}, func(ctx context.Context, tenant string, v *access.View, in *recordsInput) (lifecycle.ShowAnswer, error) {
		grant := access.GrantOf(ctx)
		out, err := l.Show(ctx, tenant, lifecycle.ShowRequest{Run: in.RunID})
		if err != nil {
			if errors.Is(err, evidence.ErrNotFound) {
				err = errNotArchived
			}
			return out, err
		}
		if out.Records, err = shownRecords(grant, out.Records); err != nil {
			return out, err
		}
		if len(out.Records) == 0 {
			return out, errNotArchived
		}
		v.Run, v.Records = out.Run, int64(len(out.Records))
		return out, nil
	})
}

// errNotArchived is the same whether there is no such run or the rules do not show it.
var errNotArchived = fmt.Errorf("run: %w: the archive has nothing of it", evidence.ErrNotFound)

// shownRecords leaves out what the rules do not show: synthetic records, or all others.
func shownRecords(grant access.Grant, list []lifecycle.ShownRecord) ([]lifecycle.ShownRecord, error) {
	only := shown(readerOf(grant))
	if only == nil {
		return list, nil
	}
	out := []lifecycle.ShownRecord{}
	for _, r := range list {
		leaf, err := evidence.ParseLeaf([]byte(r.Leaf))
		if err != nil {
			return nil, fmt.Errorf("archived leaf: %w", err)
		}
		synthetic, _ := leaf.Int("is_synthetic")
		if (synthetic == 1) == *only {
			out = append(out, r)
		}
	}
	return out, nil
}

func (a *API) administerErasures(tag string) {
	l := a.cfg.Lifecycle
	look(a, route{
		id: "list-erasures", path: erasuresPath, tag: tag, summary: "What was erased, as the log states it, the newest first. Who ordered it and why is shown to who may read content.",
		description: "Erasures of before there were statements have none and are not listed. keys_to_retire is what was left to be destroyed when it was executed.",
	}, func(ctx context.Context, tenant string, v *access.View, in *erasuresInput) (lifecycle.ErasureList, error) {
		out, err := l.Erasures(ctx, tenant, lifecycle.ErasureQuery{Before: in.Before, Limit: in.Limit})
		if !access.GrantOf(ctx).Content() {
			for i := range out.Erasures {
				out.Erasures[i].OrderedBy, out.Erasures[i].Reason = "", ""
			}
		}
		v.EntityType, v.EntityID, v.Records = "RETENTION", "erasures", int64(len(out.Erasures))
		return out, err
	})
	change[lifecycle.ErasureRequest](a, http.MethodPost, route{
		id: "erase", path: erasuresPath, tag: tag, summary: "Erase sealed content: of a person, a run, or single fields. With dry_run only count it.",
		description: "Exactly one of subject, run_id and record_ids; paths narrows record_ids to some of their fields, and copies widens it to all fields of their runs in which the same text stands, or the one that text says; the answer names those. Try it with dry_run: what was erased once is not looked for any more. What is erased can be read nowhere any more, and every proof stays valid. Where a legal hold covers it nothing is erased: 409 with the code held.",
	}, http.StatusOK,
		func(in *body) (string, []byte) { return "erasure", in.RawBody },
		func(ctx context.Context, tenant string, by lifecycle.Actor, _ *body, b *lifecycle.ErasureRequest) (Erasure, error) {
			e, err := l.Erase(ctx, tenant, *b, by)
			out := Erasure{
				TenantID: e.TenantID, DryRun: e.DryRun, ErasureID: e.ID, Records: e.Records, Fields: e.Fields, Runs: e.Runs,
				Destroyed: e.Keys, Retire: e.Retire, HeldBy: append([]string{}, e.Held...), Copies: append([]lifecycle.CopyInfo{}, e.Copies...), CopyCount: e.CopyCount, Beside: e.Beside, ScrubPending: e.ScrubLater,
			}
			if len(e.Certificate) > 0 {
				out.CertificateURL = erasuresPath + "/" + e.ID + "/certificate"
			}
			return out, err
		})
	a.certificates(tag)
}

// look registers a route that reads and that no replica answers. f gets the tenant, and
// says what was disclosed by the view.
func look[I, O any](a *API, rt route, f func(ctx context.Context, tenant string, v *access.View, in *I) (O, error)) {
	huma.Register(a.huma, huma.Operation{
		OperationID: rt.id, Method: http.MethodGet, Path: rt.path, Tags: []string{rt.tag},
		Summary: rt.summary, Description: rt.description, Errors: slices.Concat(readErrors, rt.errors),
	}, func(ctx context.Context, in *I) (*output[O], error) {
		out, err := f(ctx, access.GrantOf(ctx).Tenant, access.ViewOf(ctx), in)
		if err != nil {
			return nil, a.fail(ctx, rt.path, held(err))
		}
		return &output[O]{&out}, nil
	})
}

// maxAdminBody bounds the body of a request of administration.
const maxAdminBody = 1 << 20

// change registers a route that changes something. Its body is a B, and status that of
// a good answer. of returns what the request is about, a name, and its body. That it was
// asked for is on record before f is called.
func change[B, I, O any](a *API, method string, rt route, status int, of func(in *I) (resource string, body []byte), f func(ctx context.Context, tenant string, by lifecycle.Actor, in *I, b *B) (O, error)) {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), true, "")
	huma.Register(a.huma, huma.Operation{
		OperationID: rt.id, Method: method, Path: rt.path, Tags: []string{rt.tag}, Summary: rt.summary, Description: rt.description,
		DefaultStatus: status, MaxBodyBytes: maxAdminBody, BodyReadTimeout: bodyTime, SkipValidateBody: true,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: schema}}},
		Middlewares: huma.Middlewares{a.takeBody},
		Errors:      append([]int{http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests}, readErrors...),
	}, func(ctx context.Context, in *I) (*output[O], error) {
		resource, text := of(in)
		out, err := func() (out O, err error) {
			b, err := parseBody[B](text)
			if err != nil {
				return out, err
			}
			grant := access.GrantOf(ctx)
			if err := a.permit(ctx, grant.Principal, method+" "+rt.path, resource); err != nil {
				return out, err
			}
			return f(ctx, grant.Tenant, lifecycle.Actor{Human: cmp.Or(grant.Person, grant.Credential)}, in, b)
		}()
		if err != nil {
			return nil, a.fail(ctx, rt.path, held(err))
		}
		return &output[O]{&out}, nil
	})
}

// permit records that a change is asked for. Without who records it, none is made.
func (a *API) permit(ctx context.Context, p access.Principal, route, resource string) error {
	if a.cfg.Permit == nil {
		return fmt.Errorf("%w: nothing records what is changed", evidence.ErrUnavailable)
	}
	if !evidence.FitName(resource) {
		resource = "unknown"
	}
	return a.cfg.Permit(ctx, p, access.TenantAdmin, route, resource)
}

// held gives an error of a legal hold its own code.
func held(err error) error {
	if errors.Is(err, lifecycle.ErrHeld) {
		return heldError{err}
	}
	return err
}

type heldError struct{ error }

// Unwrap lets the table of errors know both.
func (e heldError) Unwrap() []error { return []error{problem.ErrHeld, e.error} }

// parseBody reads a body, strictly.
func parseBody[B any](text []byte) (*B, error) {
	if jsontext.Value(text).Kind() != '{' {
		return nil, problem.Malformed("body", "must be a JSON object")
	}
	b := new(B)
	if err := jsonv2.Unmarshal(text, b, jsonv2.RejectUnknownMembers(true)); err != nil {
		return nil, bodyError(err)
	}
	return b, nil
}
