package api

import (
	"cmp"
	"context"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/replay"
)

const tracesPath = "/api/v1/traces"

// maxTraceBody bounds a trace that is stored, in bytes; maxTraceBodies all bodies of
// requests that are worked on. Larger traces go in through the ingest API.
const (
	maxTraceBody   = 16 << 20
	maxTraceBodies = 4 * maxTraceBody
)

type rootHashInput struct {
	RootHash string `path:"root_hash" maxLength:"256"`
	PageParams
}

type compareInput struct {
	RunID      string `query:"run_id" required:"true" maxLength:"512" doc:"the run"`
	OtherRunID string `query:"other_run_id" required:"true" maxLength:"512" doc:"the other, mostly its replay"`
}

type mismatchesInput struct {
	PageParams
	RangeParams
	RunID  string `query:"run_id" maxLength:"512"`
	Status string `query:"status" enum:"open,resolved"`
}

type mismatchInput struct {
	ID string `path:"id" maxLength:"128"`
}

// body is a request body. It is read from its bytes, strictly and no further than
// to the first error: what a schema allows or not is only said once all of it was
// taken apart, of which a hostile one has much.
type body struct{ RawBody []byte }

type resolveInput struct {
	ID      string `path:"id" maxLength:"128"`
	RawBody []byte
}

func (a *API) traces() {
	rp, tag := a.cfg.Replay, "traces"
	get(a, route{id: "get-trace", path: tracesPath + "/{run_id}", tag: tag, summary: "The trace of a run."},
		func(ctx context.Context, r facade.Reader, v *access.View, in *runPageInput) (*answer.StoredTrace, error) {
			return seenTrace(v)(rp.ByRun(ctx, r, in.RunID, in.paging()))
		})
	get(a, route{id: "trace-by-root-hash", path: tracesPath + "/by-root-hash/{root_hash}", tag: tag, summary: "The newest trace with a root hash. Needs logs.read_content: the hash is sealed."},
		func(ctx context.Context, r facade.Reader, v *access.View, in *rootHashInput) (*answer.StoredTrace, error) {
			return seenTrace(v)(rp.ByRootHash(ctx, r, in.RootHash, in.paging()))
		})
	get(a, route{id: "compare-traces", path: tracesPath + "/compare", tag: tag, summary: "Did two runs take the same steps? Parity, the first divergent step, and why.", errors: []int{http.StatusRequestEntityTooLarge}},
		func(ctx context.Context, r facade.Reader, v *access.View, in *compareInput) (*answer.Comparison, error) {
			out, err := rp.Compare(ctx, r, in.RunID, in.OtherRunID)
			if err == nil {
				v.Run, v.Records = out.RunID, 2*out.Compared
			}
			return out, err
		})
	get(a, route{id: "list-mismatches", path: tracesPath + "/mismatches", tag: tag, summary: "Reported mismatches, each in its newest state."},
		func(ctx context.Context, r facade.Reader, v *access.View, in *mismatchesInput) (*answer.MismatchList, error) {
			w, err := in.window()
			if err != nil {
				return nil, err
			}
			out, err := rp.Mismatches(ctx, r, replay.MismatchFilter{RunID: in.RunID, Status: in.Status, Window: w}, in.paging())
			if err == nil {
				v.Records = int64(len(out.Items))
			}
			return out, err
		})
	get(a, route{id: "get-mismatch", path: tracesPath + "/mismatches/{id}", tag: tag, summary: "One mismatch."},
		func(ctx context.Context, r facade.Reader, v *access.View, in *mismatchInput) (*answer.Mismatch, error) {
			out, err := rp.Mismatch(ctx, r, in.ID)
			if err == nil {
				v.Run, v.Records = out.RunID, 1
			}
			return out, err
		})
	a.storeTraces()
}

// storeTraces registers what is written: through ingest, and nothing else.
func (a *API) storeTraces() {
	rp := a.cfg.Replay
	post[replay.TraceRequest](a, route{id: "store-trace", path: tracesPath, tag: "traces", summary: "Store a trace with its steps. A repeat is harmless."}, http.StatusCreated,
		func(ctx context.Context, w replay.Writer, in *body) (*answer.TraceReceipt, error) {
			q, err := replay.ParseTrace(in.RawBody)
			if err != nil {
				return nil, err
			}
			return rp.StoreTrace(ctx, w, q)
		})
	post[replay.MismatchRequest](a, route{id: "report-mismatch", path: tracesPath + "/mismatches", tag: "traces", summary: "Report that a replay did not do what a run did."}, http.StatusCreated,
		func(ctx context.Context, w replay.Writer, in *body) (*answer.Mismatch, error) {
			q, err := replay.ParseMismatch(in.RawBody)
			if err != nil {
				return nil, err
			}
			return rp.ReportMismatch(ctx, w, q)
		})
	post[replay.ResolutionRequest](a, route{id: "resolve-mismatch", path: tracesPath + "/mismatches/{id}/resolve", tag: "traces", summary: "Say that a mismatch is resolved: another record, nothing is changed."}, http.StatusOK,
		func(ctx context.Context, w replay.Writer, in *resolveInput) (*answer.Mismatch, error) {
			q, err := replay.ParseResolution(in.RawBody)
			if err != nil {
				return nil, err
			}
			return rp.ResolveMismatch(ctx, w, in.ID, q)
		})
}

// post registers a route that writes through ingest. Its body is a B; status is that
// of a good answer.
func post[B, I, O any](a *API, rt route, status int, f func(ctx context.Context, w replay.Writer, in *I) (*O, error)) {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), true, "")
	huma.Register(a.huma, huma.Operation{
		OperationID: rt.id, Method: http.MethodPost, Path: rt.path, Tags: []string{rt.tag}, Summary: rt.summary,
		DefaultStatus: status, MaxBodyBytes: maxTraceBody, BodyReadTimeout: bodyTime, SkipValidateBody: true,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: schema}}},
		Middlewares: huma.Middlewares{a.takeBody},
		Errors:      append([]int{http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests}, readErrors...),
	}, func(ctx context.Context, in *I) (*output[O], error) {
		grant := access.GrantOf(ctx)
		w := replay.Writer{Reader: readerOf(grant), Credential: grant.Credential, Person: grant.ActorKind == access.Human}
		out, err := f(ctx, w, in)
		if err != nil {
			return nil, a.fail(ctx, rt.path, err)
		}
		return &output[O]{out}, nil
	})
}

// bodyTime is how long a body may take to come.
const bodyTime = 5 * time.Second

// takeBody lets a body in if it is JSON, as it says, and there is room for it.
func (a *API) takeBody(ctx huma.Context, next func(huma.Context)) {
	if media, _, err := mime.ParseMediaType(cmp.Or(ctx.Header("Content-Type"), jsonType)); err != nil || media != jsonType {
		_ = huma.WriteErr(a.huma, ctx, http.StatusUnsupportedMediaType, "the body must be "+jsonType)
		return
	}
	size := int64(maxTraceBody)
	if n, err := strconv.ParseInt(ctx.Header("Content-Length"), 10, 64); err == nil && n >= 0 {
		size = min(size, n)
	}
	if !a.bodies.TryAcquire(size) {
		a.refuse(ctx, fmt.Errorf("body: %w: other requests take all the room", problem.ErrTooMany))
		return
	}
	defer a.bodies.Release(size)
	next(ctx)
}

// seenTrace says in a view what a trace discloses.
func seenTrace(v *access.View) func(*answer.StoredTrace, error) (*answer.StoredTrace, error) {
	return func(out *answer.StoredTrace, err error) (*answer.StoredTrace, error) {
		if err == nil {
			v.Run, v.Records = out.Trace.RunID, int64(len(out.Trace.Steps))
		}
		return out, err
	}
}
