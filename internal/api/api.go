package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/sync/semaphore"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/replay"
)

// Config says what the API answers from.
type Config struct {
	Facade  *facade.Facade
	Exports *export.Exports
	// Replay answers /api/v1/traces; nil: those routes are not there.
	Replay *replay.Replay
	// Lifecycle answers what administers the life of evidence; nil: those routes are not
	// there. Permit lets a principal change something, and has recorded that when it
	// returns nil; without it nothing is changed.
	Lifecycle Lifecycle
	Permit    func(ctx context.Context, p access.Principal, permission access.Permission, route, resource string) error
	// Lag lets reads under ctx be answered by a read replica of the database, one that
	// has what atLeast names, the header AtLeast; more: the request is for a further
	// page. Nil: there are none.
	Lag     func(ctx context.Context, tenant, atLeast string, more bool) (context.Context, error)
	Logger  *slog.Logger // default: none
	Version string
}

// API is the routes and their document.
type API struct {
	cfg  Config
	mux  *http.ServeMux
	huma huma.API
	// bodies has the room of request bodies that are worked on, in bytes.
	bodies *semaphore.Weighted
}

// New puts the routes on a mux.
func New(mux *http.ServeMux, cfg Config) *API {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, mux: mux, bodies: semaphore.NewWeighted(maxTraceBodies)}
	a.huma = humago.New(mux, humaConfig(cfg.Version))
	a.huma.OpenAPI().Components.Schemas.RegisterTypeAlias(reflect.TypeFor[answer.Content](), reflect.TypeFor[contentSchema]())
	a.huma.UseMiddleware(a.knownParameters)
	a.runs()
	a.system()
	a.audit()
	a.guardLogs()
	a.exports()
	if cfg.Replay != nil {
		a.traces()
	}
	if cfg.Lifecycle != nil {
		a.administer()
	}
	a.documentOthers()
	a.document()
	return a
}

func humaConfig(version string) huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "runledger", Version: version, Description: introduction,
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"key": {Type: "http", Scheme: "bearer", Description: "An API key (rl_…) or a token of a configured identity provider. A key is also taken from x-api-key."},
				},
			},
			Security: []map[string][]string{{"key": {}}},
			Tags:     tags,
		},
		Formats:          map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:    "application/json",
		NoFormatFallback: false,
	}
}

var tags = []*huma.Tag{
	{Name: "LLM_RUNS", Description: "What one run did."},
	{Name: "SYSTEM_LOGS", Description: "What the environment did."},
	{Name: "AUDIT", Description: "Who did, decided, looked, exported; is it intact."},
	{Name: "exports", Description: "The bytes of exports."},
	{Name: "traces", Description: "Replay verification, for SDKs. It has no authority over logs."},
	{Name: "guard", Description: "What a console shows: the same answers, and nothing more."},
	{Name: "ingest", Description: "The way in, append-only."},
	{Name: "transparency", Description: "The log as those see it who watch it from outside."},
	{Name: "administration", Description: "Credentials, tenants, and the life of evidence: keep, hold, archive, expire, erase."},
	{Name: "operation", Description: "Health, metrics, schema."},
}

const introduction = `Evidence of what AI agents, policies and systems did. Everything under /api/v1/logs is read only: there is
no route that changes a record. Every answer and every item carries the metadata of its evidence, and every read is itself recorded.

Sealed content (prompts, responses, parameters, people) is shown to who may read it, and in its withheld form to all others.`

// Problem is answer.Problem as an error of huma.
type Problem struct {
	answer.Problem
	kind problem.Kind
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{"Cache-Control": {"no-store"}}
	if p.kind.Retry > 0 {
		h.Set("Retry-After", "5")
	}
	return h
}

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func init() {
	// Arrays of the contract are never null.
	huma.DefaultArrayNullable = false
	// What huma itself refuses has the form of all our errors. It does so for
	// malformed and invalid parameters and bodies only.
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		p := &Problem{Problem: answer.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: codeOf(status), Detail: msg}}
		for _, err := range errs {
			var d *huma.ErrorDetail
			if errors.As(err, &d) {
				_, p.Field, _ = strings.Cut(d.Location, ".")
				p.Detail = p.Field + ": " + d.Message
				break
			}
			if err != nil {
				p.Detail = msg + ": " + err.Error()
			}
		}
		return p
	}
}

func codeOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "malformed"
	case http.StatusUnprocessableEntity:
		return "invalid"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusRequestTimeout:
		return "timeout"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	}
	return "internal"
}

// fail turns an error into an answer.
func (a *API) fail(ctx context.Context, route string, err error) error {
	k, p := problem.Answer(err)
	if k.Status >= http.StatusInternalServerError {
		a.cfg.Logger.ErrorContext(ctx, "request", "route", route, "err", err)
	}
	return &Problem{Problem: p, kind: k}
}

// write answers a plain handler's error.
func (a *API) write(w http.ResponseWriter, r *http.Request, err error) {
	if k := problem.Write(w, err); k.Status >= http.StatusInternalServerError {
		a.cfg.Logger.ErrorContext(r.Context(), "request", "route", r.Pattern, "err", err)
	}
}

// knownParameters refuses query parameters that the operation does not have.
func (a *API) knownParameters(ctx huma.Context, next func(huma.Context)) {
	u := ctx.URL()
	if err := checkParameters(ctx.Operation(), u.RawQuery); err != nil {
		a.refuse(ctx, err)
		return
	}
	next(ctx)
}

// refuse answers with an error before the operation is asked.
func (a *API) refuse(ctx huma.Context, err error) {
	k, p := problem.Answer(err)
	ctx.SetHeader("Content-Type", problemType)
	ctx.SetHeader("Cache-Control", "no-store")
	if k.Retry > 0 {
		ctx.SetHeader("Retry-After", strconv.Itoa(k.Retry))
	}
	ctx.SetStatus(k.Status)
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(p) // a client that is gone needs no answer
}

func checkParameters(op *huma.Operation, query string) error {
	if query == "" {
		return nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return problem.Malformed("query", "cannot be read")
	}
	for name, v := range values {
		known, many := false, false
		for _, p := range op.Parameters {
			if p.In == "query" && p.Name == name {
				known, many = true, p.Schema != nil && p.Schema.Type == huma.TypeArray
			}
		}
		if !known {
			return problem.Malformed(name, "is not a parameter of this route")
		}
		if len(v) > 1 && !many {
			return problem.Malformed(name, "is given twice")
		}
	}
	return nil
}

// output is the answer of an operation.
type output[T any] struct {
	Body *T
}

// route is what an operation is, apart from its shapes.
type route struct {
	id, path, tag, summary string
	description            string
	errors                 []int // statuses beside readErrors
}

// get registers a route that reads. f gets for whom and says what was
// disclosed by the view.
func get[I, O any](a *API, rt route, f func(ctx context.Context, r facade.Reader, v *access.View, in *I) (*O, error)) {
	huma.Register(a.huma, huma.Operation{
		OperationID: rt.id, Method: http.MethodGet, Path: rt.path, Tags: []string{rt.tag},
		Summary: rt.summary, Description: rt.description, Errors: slices.Concat(readErrors, rt.errors),
		Parameters: []*huma.Param{atLeast}, Middlewares: huma.Middlewares{a.lag},
	}, func(ctx context.Context, in *I) (*output[O], error) {
		grant := access.GrantOf(ctx)
		out, err := f(ctx, readerOf(grant), access.ViewOf(ctx), in)
		if err != nil {
			return nil, a.fail(ctx, rt.path, err)
		}
		return &output[O]{out}, nil
	})
}

var readErrors = []int{
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
	http.StatusUnprocessableEntity, http.StatusServiceUnavailable,
}

func readerOf(g access.Grant) facade.Reader {
	return facade.Reader{
		Tenant: g.Tenant, Content: g.Content(), IncludeSynthetic: g.IncludeSynthetic, SyntheticOnly: g.SyntheticOnly,
		MaxRows: g.MaxRows, MaxRange: g.MaxRange,
	}
}

// timeParam reads a time of a request. Any offset and precision is taken.
func timeParam(name, value string) (*evidence.Micros, error) {
	if value == "" {
		return nil, nil
	}
	m, err := parseTime(value)
	if err != nil {
		return nil, problem.Invalid(name, "must be a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z")
	}
	return &m, nil
}
