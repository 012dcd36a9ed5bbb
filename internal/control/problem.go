package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Codes of problems. They are stable.
const (
	CodeInvalid     = "invalid"
	CodeNotFound    = "not_found"
	CodeConflict    = "conflict"
	CodeHeld        = "held"
	CodeForbidden   = "forbidden"
	CodeTooLarge    = "too_large"
	CodeUnavailable = "unavailable"
	CodeTampered    = "tampered"
	CodeInternal    = "internal"

	codeMalformed = "malformed" // of the read API
)

// kinds is the table of errors, statuses and codes. The first that matches
// counts: what was tampered with says so, whatever else is wrong.
var kinds = []struct {
	err    error
	status int
	code   string
	title  string
}{
	{evidence.ErrTampered, http.StatusInternalServerError, CodeTampered, "Stored evidence does not match what was signed"},
	{evidence.ErrInvalid, http.StatusUnprocessableEntity, CodeInvalid, "Invalid value"},
	{evidence.ErrNotFound, http.StatusNotFound, CodeNotFound, "Not found"},
	{store.ErrHeld, http.StatusConflict, CodeHeld, "A legal hold is in force"},
	{evidence.ErrConflict, http.StatusConflict, CodeConflict, "Conflict"},
	{evidence.ErrForbidden, http.StatusUnprocessableEntity, CodeForbidden, "Not allowed"},
	{evidence.ErrTooLarge, http.StatusRequestEntityTooLarge, CodeTooLarge, "Too large"},
	{evidence.ErrUnavailable, http.StatusServiceUnavailable, CodeUnavailable, "Evidence cannot be made durable now"},
	{context.Canceled, http.StatusServiceUnavailable, CodeUnavailable, "Canceled"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, CodeUnavailable, "Took too long"},
}

// RecordProblem is what is wrong with one record of a batch.
type RecordProblem struct {
	Line   int    `json:"line"` // of the request, from 1
	Field  string `json:"field,omitempty"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Problem is an error answer (RFC 9457). As a Go error it wraps the sentinel
// of package evidence that its code stands for.
type Problem struct {
	Type   string          `json:"type"`
	Title  string          `json:"title"`
	Status int             `json:"status,omitempty"` // 0 where no HTTP was spoken
	Code   string          `json:"code"`
	Detail string          `json:"detail"`
	Field  string          `json:"field,omitempty"`
	Errors []RecordProblem `json:"errors,omitempty"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// Unwrap returns the sentinel, or nil.
func (p *Problem) Unwrap() error {
	if p.Code == codeMalformed {
		return evidence.ErrInvalid
	}
	for _, k := range kinds {
		if k.code == p.Code {
			return k.err
		}
	}
	return nil
}

// problemOf describes an error. What is no known kind of error is internal,
// and its text stays in the log.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	p = &Problem{Type: "about:blank", Title: "Internal error", Status: http.StatusInternalServerError, Code: CodeInternal, Detail: "internal error; the log says more"}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			p.Title, p.Status, p.Code, p.Detail = k.title, k.status, k.code, err.Error()
			break
		}
	}
	var f *evidence.FieldError
	if errors.As(err, &f) && p.Code != CodeInternal {
		p.Field = f.Field
	}
	return p
}

// recordProblem describes an error at one record.
func recordProblem(line int, err error) RecordProblem {
	p := problemOf(err)
	rp := RecordProblem{Line: line, Field: p.Field, Code: p.Code, Detail: p.Detail}
	var f *evidence.FieldError
	if errors.As(err, &f) {
		rp.Detail = f.Reason
	}
	return rp
}

// String returns one line for people.
func (p RecordProblem) String() string {
	if p.Field == "" {
		return fmt.Sprintf("line %d: %s", p.Line, p.Detail)
	}
	return fmt.Sprintf("line %d: %s: %s", p.Line, p.Field, p.Detail)
}

// handle makes an http.Handler of a function that returns its error.
func handle(log *slog.Logger, f func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := f(w, r)
		if err == nil {
			return
		}
		p := problemOf(err)
		if p.Code == CodeInternal || p.Code == CodeTampered {
			log.ErrorContext(r.Context(), "control request", "route", r.Pattern, "err", err)
		}
		if p.Status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p) // a client that is gone needs no answer
	})
}

func answer(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
	return nil
}

func invalid(field, format string, args ...any) error {
	return &evidence.FieldError{Field: field, Reason: fmt.Sprintf(format, args...), Err: evidence.ErrInvalid}
}
