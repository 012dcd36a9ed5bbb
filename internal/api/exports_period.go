package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
)

const exportsPath = "/api/v1/exports"

// ExportRequest is the body of a request for an export of a period.
type ExportRequest struct {
	Scope          string   `json:"scope" enum:"system,audit,compliance" doc:"which records are disclosed: system and metric; audit and export; or both with runs and traces, mapped to the clauses of frameworks. Of all others there are public facts only."`
	From           string   `json:"from" format:"date-time" doc:"recorded_at of the first records"`
	Until          string   `json:"until" format:"date-time" doc:"recorded_at that all are before"`
	Format         string   `json:"format,omitzero" enum:"zip,json,csv,pdf" default:"zip" doc:"zip is the form that an auditor verifies; the others are views of it"`
	ComplianceTags []string `json:"compliance_tags,omitzero" maxItems:"16" doc:"names that the export's records carry, such as SOC2"`
	Disclose       []string `json:"disclose,omitzero" maxItems:"64" doc:"sealed paths that are disclosed; * stands for any part. Default: all that may be"`
	Withhold       []string `json:"withhold,omitzero" maxItems:"64" doc:"sealed paths that are not, whatever disclose says"`
	SinceSize      int64    `json:"since_size,omitzero" minimum:"0" doc:"adds the proof that the log extends its tree of this size"`
}

// maxExportBody bounds the body of such a request.
const maxExportBody = 64 << 10

// maxPatterns bounds its lists of sealed paths.
const maxPatterns = 64

type startInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"the same key gives the same export"`
	RawBody        []byte
}

type startOutput struct {
	Location   string `header:"Location" doc:"path of its state"`
	RetryAfter int    `header:"Retry-After" doc:"seconds"`
	Body       *answer.ExportStatus
}

type exportPath struct {
	ExportID string `path:"export_id" maxLength:"128"`
}

func (a *API) periodExports() {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[ExportRequest](), true, "")
	huma.Register(a.huma, huma.Operation{
		OperationID: "start-export", Method: http.MethodPost, Path: exportsPath, Tags: []string{"exports"},
		Summary: "Export all that was recorded in a period.",
		Description: "The export is made in the background: ask for its state at status_url. The same credential and parameters within a minute, or the same Idempotency-Key, give the same export; one that failed is begun anew. " +
			"Its leaves are consecutive, so that nothing can be left out unnoticed, and show the public facts of every record of the period: so it is for who may export, read audit, and see synthetic records too.",
		DefaultStatus: http.StatusAccepted, MaxBodyBytes: maxExportBody, BodyReadTimeout: bodyTime, SkipValidateBody: true,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: schema}}},
		Middlewares: huma.Middlewares{a.takeBody},
		Errors:      append([]int{http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests}, readErrors...),
	}, func(ctx context.Context, in *startInput) (*startOutput, error) {
		out, err := a.start(ctx, in)
		if err != nil {
			return nil, a.fail(ctx, exportsPath, err)
		}
		return &startOutput{out.StatusURL, 1, out}, nil
	})
	get(a, route{
		id: "export-status", path: exportsPath + "/{export_id}", tag: "exports", summary: "The state of an export.",
		description: "From its own records; progress and the reason of a failure as long as the server remembers them.",
	}, func(ctx context.Context, r facade.Reader, v *access.View, in *exportPath) (*answer.ExportStatus, error) {
		s, err := a.cfg.Exports.State(ctx, r.Tenant, in.ExportID)
		if err != nil {
			return nil, err
		}
		if err := a.maySee(ctx, s); err != nil {
			return nil, err
		}
		v.Run, v.EntityType, v.EntityID, v.Records = s.Leaf.Text("about_run"), "EXPORT", in.ExportID, 1
		return a.status(ctx, s)
	})
}

// start begins an export of a period.
func (a *API) start(ctx context.Context, in *startInput) (*answer.ExportStatus, error) {
	grant := access.GrantOf(ctx)
	r := readerOf(grant)
	if err := mayExportPeriod(grant); err != nil {
		return nil, err
	}
	req, err := parseExport(in.RawBody)
	if err != nil {
		return nil, err
	}
	if span := req.Until.Time().Sub(req.From.Time()); r.MaxRange > 0 && span > r.MaxRange {
		return nil, problem.Invalid("until", fmt.Sprintf("is more than %d days after from, which is what the rule allows", r.MaxRange/(24*time.Hour)))
	}
	req.Tenant, req.By, req.NotPermitted, req.Unrecorded = r.Tenant, requester(grant.Principal), !r.Content, true
	s, err := a.cfg.Exports.Start(ctx, *req, export.IdempotencyKey(in.IdempotencyKey))
	if err != nil {
		return nil, err
	}
	v := access.ViewOf(ctx)
	v.EntityType, v.EntityID = "EXPORT", s.Leaf.Text("export_id")
	return a.status(ctx, s)
}

var errPeriod = fmt.Errorf("%w: an export of a period shows the public facts of every record, which needs audit.read", problem.ErrDenied)

// mayExportPeriod: the leaves of a period are consecutive, so there are those of audit
// entries and of synthetic records among them.
func mayExportPeriod(grant access.Grant) error {
	if !grant.Permissions.Has(access.AuditRead) {
		return errPeriod
	}
	if shown(readerOf(grant)) != nil {
		return fmt.Errorf("%w: an export of a period has synthetic records and others, and the rule does not show both", problem.ErrDenied)
	}
	return nil
}

// maySee says whether somebody may know of an export: of one of a run, who may see the
// run; of any other, who may read audit.
func (a *API) maySee(ctx context.Context, s *export.State) error {
	grant := access.GrantOf(ctx)
	if run := s.Leaf.Text("about_run"); run != "" {
		_, err := a.cfg.Facade.RunID(ctx, readerOf(grant), run)
		return err
	}
	if !grant.Permissions.Has(access.AuditRead) {
		return errPeriod
	}
	return nil
}

// status describes an export to who asks.
func (a *API) status(ctx context.Context, s *export.State) (*answer.ExportStatus, error) {
	grant := access.GrantOf(ctx)
	may := s.Stored != nil
	if may {
		err := a.mayRead(ctx, grant, s.Stored)
		if err != nil && !errors.Is(err, problem.ErrDenied) {
			return nil, err
		}
		may = err == nil
	}
	return a.cfg.Exports.Status(s, requester(grant.Principal).Credential, may)
}

// parseExport reads a request for an export of a period, strictly.
func parseExport(body []byte) (*export.Request, error) {
	if k := jsontext.Value(body).Kind(); k != '{' {
		return nil, problem.Malformed("body", "must be a JSON object")
	}
	var in ExportRequest
	if err := jsonv2.Unmarshal(body, &in, jsonv2.RejectUnknownMembers(true)); err != nil {
		return nil, bodyError(err)
	}
	if in.SinceSize < 0 {
		return nil, problem.Invalid("since_size", "must not be negative")
	}
	out := &export.Request{
		Profile: export.ProfilePeriod, Scope: in.Scope, Format: cmp.Or(in.Format, export.FormatZIP), Tags: in.ComplianceTags,
		Disclose: in.Disclose, Withhold: in.Withhold, SinceSize: in.SinceSize,
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"disclose", in.Disclose}, {"withhold", in.Withhold}} {
		if len(list.values) > maxPatterns {
			return nil, problem.Invalid(list.name, fmt.Sprintf("has more than %d members", maxPatterns))
		}
	}
	from, err := timeParam("from", in.From)
	if err != nil {
		return nil, err
	}
	until, err := timeParam("until", in.Until)
	if err != nil {
		return nil, err
	}
	if from != nil {
		out.From = *from
	}
	if until != nil {
		out.Until = *until
	}
	return out, nil
}

// bodyError says what is wrong with a body, as far as that can be said.
func bodyError(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		if name := syntax.JSONPointer.LastToken(); errors.Is(syntax.Err, jsontext.ErrDuplicateName) && name != "" {
			return problem.Invalid(shownName(name), "stands twice")
		}
		return problem.Malformed("body", "is not complete and valid JSON")
	}
	var semantic *jsonv2.SemanticError
	if !errors.As(err, &semantic) || semantic.JSONPointer == "" {
		return problem.Malformed("body", "is not complete and valid JSON")
	}
	field := shownName(semantic.JSONPointer.LastToken())
	if errors.Is(semantic.Err, jsonv2.ErrUnknownName) {
		return problem.Invalid(field, "is not a field of this request")
	}
	return problem.Invalid(field, "has a value of another type")
}

// shownName returns a name of a request as a problem shows it.
func shownName(name string) string {
	if evidence.FitName(name) {
		return name
	}
	return strconv.Quote(name)
}
