package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"google.golang.org/grpc/codes"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// ErrUnauthenticated says that there is no credential, or none that is valid.
var ErrUnauthenticated = problem.ErrUnauthenticated

// Refusals that package evidence has no name for.
var (
	errDenied    = errors.New("not permitted")
	errMalformed = errors.New("malformed")
	errMediaType = errors.New("unsupported")
	errFull      = errors.New("too much at once")
	errTooSlow   = errors.New("the body came too slowly")
)

// Seconds of Retry-After.
const (
	retryFull        = 1
	retryUnavailable = 5
)

// kind is how an error is answered: over HTTP, over gRPC, and over OTLP/HTTP
// where that is another status.
type kind struct {
	err    error
	status int
	code   string
	title  string
	rpc    codes.Code
	otlp   int // status of OTLP/HTTP; 0: status
	retry  int // seconds of Retry-After; 0: none
}

// kinds is the table of errors. The first that matches counts. OTLP has only
// four statuses that an exporter retries (429, 502, 503, 504), so what is not
// the producer's fault is one of these.
var kinds = []kind{
	{err: ErrUnauthenticated, status: 401, code: "unauthenticated", title: "No valid credential", rpc: codes.Unauthenticated},
	{err: errDenied, status: 403, code: "forbidden", title: "Not permitted", rpc: codes.PermissionDenied},
	{err: errFull, status: 429, code: "too_many_requests", title: "Too much at once", rpc: codes.ResourceExhausted, retry: retryFull},
	{err: errTooSlow, status: 408, code: "timeout", title: "The body came too slowly", rpc: codes.Unavailable, otlp: 503, retry: retryFull},
	{err: errMediaType, status: 415, code: "unsupported_media_type", title: "Unsupported media type", rpc: codes.InvalidArgument},
	{err: errMalformed, status: 400, code: "malformed", title: "Malformed request", rpc: codes.InvalidArgument},
	{err: evidence.ErrTampered, status: 500, code: "tampered", title: "Stored evidence does not match what was signed", rpc: codes.Unavailable, otlp: 503, retry: retryUnavailable},
	{err: evidence.ErrInvalid, status: 422, code: "invalid", title: "Invalid value", rpc: codes.InvalidArgument, otlp: 400},
	{err: evidence.ErrNotFound, status: 404, code: "not_found", title: "Not found", rpc: codes.PermissionDenied, otlp: 403},
	{err: evidence.ErrConflict, status: 409, code: "conflict", title: "Conflict", rpc: codes.InvalidArgument, otlp: 400},
	{err: evidence.ErrForbidden, status: 422, code: "forbidden", title: "Not allowed", rpc: codes.InvalidArgument, otlp: 400},
	{err: evidence.ErrTooLarge, status: 413, code: "too_large", title: "Too large", rpc: codes.ResourceExhausted},
	{err: evidence.ErrUnavailable, status: 503, code: "unavailable", title: "Evidence cannot be made durable now", rpc: codes.Unavailable, retry: retryUnavailable},
	{err: context.Canceled, status: 503, code: "unavailable", title: "Canceled", rpc: codes.Unavailable, retry: retryUnavailable},
	{err: context.DeadlineExceeded, status: 503, code: "unavailable", title: "Took too long", rpc: codes.Unavailable, retry: retryUnavailable},
}

// internal is what no row of the table knows: its text stays in the log.
var internal = kind{status: 500, code: "internal", title: "Internal error", rpc: codes.Unavailable, otlp: 503, retry: retryUnavailable}

const internalDetail = "internal error"

func kindOf(err error) *kind {
	for i := range kinds {
		if errors.Is(err, kinds[i].err) {
			return &kinds[i]
		}
	}
	return &internal
}

// secret reports whether an error's text is for the log only.
func (k *kind) secret() bool { return k.status == http.StatusInternalServerError }

func (k *kind) detail(err error) string {
	if k.secret() {
		return internalDetail
	}
	return err.Error()
}

// Problem is an error answer (RFC 9457).
type Problem struct {
	Type   string          `json:"type"`
	Title  string          `json:"title"`
	Status int             `json:"status"`
	Code   string          `json:"code"`
	Detail string          `json:"detail"`
	Field  string          `json:"field,omitempty"`
	Errors []RecordProblem `json:"errors,omitempty"`
}

// RecordProblem is what is wrong with one record of a request.
type RecordProblem struct {
	Index  int    `json:"index"` // of the records of the request, from 0
	Field  string `json:"field,omitempty"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	k := kindOf(err)
	p = &Problem{Type: "about:blank", Title: k.title, Status: k.status, Code: k.code, Detail: k.detail(err)}
	if f := (*evidence.FieldError)(nil); errors.As(err, &f) && !k.secret() {
		p.Field = f.Field
	}
	return p
}

func recordProblem(index int, err error) RecordProblem {
	p := problemOf(err)
	out := RecordProblem{Index: index, Field: p.Field, Code: p.Code, Detail: p.Detail}
	if f := (*evidence.FieldError)(nil); errors.As(err, &f) && f.Field == p.Field {
		out.Detail = f.Reason
	}
	return out
}

// maxProblems is how many bad records an error names.
const maxProblems = 100

// refused is the error where nothing of a batch was written. Its kind is that
// of the first bad record.
func refused(bad []RecordProblem) error {
	first := bad[0]
	p := &Problem{Type: "about:blank", Code: first.Code, Field: first.Field, Errors: bad[:min(len(bad), maxProblems)]}
	for _, k := range kinds {
		if k.code == first.Code && k.status != http.StatusForbidden { // a record is no caller
			p.Status, p.Title = k.status, k.title
			break
		}
	}
	if p.Status == 0 {
		p.Status, p.Title = internal.status, internal.title
	}
	p.Detail = fmt.Sprintf("record %d: %s", first.Index, first.Detail)
	if first.Field != "" {
		p.Detail = fmt.Sprintf("record %d: %s: %s", first.Index, first.Field, first.Detail)
	}
	if n := len(bad) - 1; n > 0 {
		p.Detail += fmt.Sprintf(" (and %d more)", n)
	}
	return p
}

// fail answers with a problem and returns its status.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) int {
	p := problemOf(err)
	if p.Status >= 500 {
		h.log(r.Context(), r.Pattern, err)
	}
	dropBody(w, r)
	setRefusalHeaders(w.Header(), p.Status, kindOf(err))
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that is gone needs no answer
	return p.Status
}

// setRefusalHeaders sets the headers that belong to a status.
func setRefusalHeaders(header http.Header, status int, k *kind) {
	switch status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="runledger"`)
	case http.StatusUnsupportedMediaType:
		header.Set("Accept-Encoding", "gzip, identity")
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(k.retry))
	}
}

// log writes down what a client is not told, and what an operator must know.
func (h *Handler) log(ctx context.Context, route string, err error) {
	if k := kindOf(err); k.secret() {
		h.cfg.Logger.ErrorContext(ctx, "ingest", "route", route, "err", err)
		return
	}
	h.cfg.Logger.WarnContext(ctx, "ingest", "route", route, "err", err)
}
