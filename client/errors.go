package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// ErrClosed says that the writer is closed.
var ErrClosed = errors.New("the writer is closed")

// Error is what the server has against a request. It wraps the sentinel of
// package evidence that fits, or none for an internal error of the server.
type Error struct {
	Status int    // HTTP status; 0 where nothing was sent
	Code   string // stable, such as "invalid" or "conflict"
	Detail string // for people
	Field  string // the field at fault, or empty
	// Records says what is wrong with which record of the request. The server
	// names at most 100 of them.
	Records []RecordError
	// RetryAfter is how long the server asks to wait; 0: it does not say.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Status != 0 {
		fmt.Fprintf(&b, "status %d", e.Status)
	}
	for _, part := range []string{e.Code, e.Field, e.Detail} {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(part)
	}
	return b.String()
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return sentinel(e.Code, e.Status) }

// RecordError is what the server has against one record.
type RecordError struct {
	Index  int    `json:"index"` // of the record in the call, from 0
	Field  string `json:"field"` // the field at fault, or empty
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error implements error.
func (e *RecordError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("record %d: %s: %s", e.Index, e.Code, e.Detail)
	}
	return fmt.Sprintf("record %d: %s: %s: %s", e.Index, e.Code, e.Field, e.Detail)
}

// Unwrap returns the sentinel.
func (e *RecordError) Unwrap() error { return sentinel(e.Code, 0) }

// byCode holds the codes of the server that say more than the status does.
var byCode = map[string]error{
	"invalid":           evidence.ErrInvalid,
	"malformed":         evidence.ErrInvalid,
	"conflict":          evidence.ErrConflict,
	"forbidden":         evidence.ErrForbidden,
	"unauthenticated":   evidence.ErrForbidden,
	"not_found":         evidence.ErrNotFound,
	"too_large":         evidence.ErrTooLarge,
	"too_many_requests": evidence.ErrUnavailable,
	"unavailable":       evidence.ErrUnavailable,
	"timeout":           evidence.ErrUnavailable,
	"tampered":          evidence.ErrTampered,
}

var byStatus = map[int]error{
	http.StatusBadRequest:            evidence.ErrInvalid,
	http.StatusUnauthorized:          evidence.ErrForbidden,
	http.StatusForbidden:             evidence.ErrForbidden,
	http.StatusNotFound:              evidence.ErrNotFound,
	http.StatusRequestTimeout:        evidence.ErrUnavailable,
	http.StatusConflict:              evidence.ErrConflict,
	http.StatusRequestEntityTooLarge: evidence.ErrTooLarge,
	http.StatusUnprocessableEntity:   evidence.ErrInvalid,
	http.StatusTooManyRequests:       evidence.ErrUnavailable,
	http.StatusBadGateway:            evidence.ErrUnavailable,
	http.StatusServiceUnavailable:    evidence.ErrUnavailable,
	http.StatusGatewayTimeout:        evidence.ErrUnavailable,
}

// sentinel returns nil for a code and status that it does not know.
func sentinel(code string, status int) error {
	if err := byCode[code]; err != nil {
		return err
	}
	return byStatus[status]
}
