// Package problem says how errors are answered: the one table of errors,
// statuses and stable codes, and the form of RFC 9457.
//
// What no row knows is internal: its text is for the log only.
package problem

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// Errors of requests that package evidence has no name for.
var (
	// ErrMalformed: the request cannot be read: 400.
	ErrMalformed = errors.New("malformed")
	// ErrUnauthenticated: no credential, or none that is valid: 401.
	ErrUnauthenticated = errors.New("no or bad credential")
	// ErrDenied: the credential may not do this: 403. evidence.ErrForbidden is
	// answered the same.
	ErrDenied = errors.New("not permitted")
	// ErrMethod: the route has no such method: 405.
	ErrMethod = errors.New("method not allowed")
	// ErrGone: what was there is there no more: 410.
	ErrGone = errors.New("gone")
	// ErrRange: the range that is asked for is not there: 416.
	ErrRange = errors.New("range not satisfiable")
	// ErrHeld: a legal hold is in force on what was to be removed: 409, with a code of
	// its own.
	ErrHeld = errors.New("a legal hold is in force")
	// ErrTooMany: too much at once: 429.
	ErrTooMany = errors.New("too much at once")
)

// Kind is how an error is answered.
type Kind struct {
	Err    error
	Status int
	Code   string
	Title  string
	Retry  int // seconds of Retry-After; 0: none
}

const retryUnavailable = 5

// kinds is the table. The first that matches counts: what was tampered with
// says so, whatever else is wrong.
var kinds = []Kind{
	{evidence.ErrTampered, http.StatusInternalServerError, "tampered", "Stored evidence does not match what was signed", 0},
	{ErrUnauthenticated, http.StatusUnauthorized, "unauthenticated", "No valid credential", 0},
	{ErrDenied, http.StatusForbidden, "forbidden", "Not permitted", 0},
	{evidence.ErrForbidden, http.StatusForbidden, "forbidden", "Not permitted", 0},
	{ErrMethod, http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed", 0},
	{ErrGone, http.StatusGone, "gone", "No longer there", 0},
	{ErrRange, http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable", "No such range", 0},
	{ErrTooMany, http.StatusTooManyRequests, "too_many_requests", "Too much at once", 1},
	{ErrMalformed, http.StatusBadRequest, "malformed", "Malformed request", 0},
	{evidence.ErrNotFound, http.StatusNotFound, "not_found", "Not found", 0},
	{ErrHeld, http.StatusConflict, "held", "A legal hold is in force", 0},
	{evidence.ErrConflict, http.StatusConflict, "conflict", "Conflict", 0},
	{evidence.ErrTooLarge, http.StatusRequestEntityTooLarge, "too_large", "Too large", 0},
	{evidence.ErrInvalid, http.StatusUnprocessableEntity, "invalid", "Invalid value", 0},
	{evidence.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", "Evidence cannot be made durable now", retryUnavailable},
	{context.Canceled, http.StatusServiceUnavailable, "unavailable", "Canceled", retryUnavailable},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "unavailable", "Took too long", retryUnavailable},
}

// internal is what no row knows.
var internal = Kind{Status: http.StatusInternalServerError, Code: "internal", Title: "Internal error"}

// Of returns how an error is answered.
func Of(err error) Kind {
	for _, k := range kinds {
		if errors.Is(err, k.Err) {
			return k
		}
	}
	return internal
}

// Answer returns the answer to an error.
func Answer(err error) (Kind, answer.Problem) {
	k := Of(err)
	p := answer.Problem{Type: "about:blank", Title: k.Title, Status: k.Status, Code: k.Code, Detail: err.Error()}
	if k.Status == http.StatusInternalServerError {
		p.Detail = k.Title // what is wrong inside is for the log
	}
	// The text of some errors names what clients need not know: addresses, roles.
	if c := (interface{ ForClients() string })(nil); errors.As(err, &c) && k.Status == http.StatusServiceUnavailable {
		p.Detail = c.ForClients()
	}
	if fe := (*evidence.FieldError)(nil); errors.As(err, &fe) {
		p.Field = fe.Field
	}
	return k, p
}

// Write answers with an error. Who calls logs those of status 500 and above.
func Write(w http.ResponseWriter, err error) Kind {
	k, p := Answer(err)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if k.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="runledger"`)
	}
	if k.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(k.Retry))
	}
	w.WriteHeader(k.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that is gone needs no answer
	return k
}

// Malformed returns an error of a parameter that cannot be read, or is not known.
func Malformed(field, reason string) error {
	return &evidence.FieldError{Field: field, Reason: reason, Err: ErrMalformed}
}

// Invalid returns an error of a parameter whose value may not be.
func Invalid(field, reason string) error {
	return &evidence.FieldError{Field: field, Reason: reason, Err: evidence.ErrInvalid}
}
