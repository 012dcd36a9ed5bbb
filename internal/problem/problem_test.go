package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

func TestWrite(t *testing.T) {
	secret := errors.New("no such table: r_audit")
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   string
		field  string
		retry  string
		detail string // part of it
	}{
		{"unknown", secret, 500, "internal", "", "", "Internal error"},
		{"tampered, whatever else", fmt.Errorf("%w: %w", evidence.ErrNotFound, evidence.ErrTampered), 500, "tampered", "", "", "does not match"},
		{"a parameter", problem.Malformed("limt", "is not a parameter"), 400, "malformed", "limt", "", "limt"},
		{"a value", problem.Invalid("limit", "must be at least 1"), 422, "invalid", "limit", "", "at least 1"},
		{"no credential", fmt.Errorf("x: %w", problem.ErrUnauthenticated), 401, "unauthenticated", "", "", ""},
		{"forbidden", &evidence.FieldError{Field: "actor_id", Reason: "is sealed", Err: evidence.ErrForbidden}, 403, "forbidden", "actor_id", "", "sealed"},
		{"not there", evidence.ErrNotFound, 404, "not_found", "", "", ""},
		{"gone", problem.ErrGone, 410, "gone", "", "", ""},
		{"busy", problem.ErrTooMany, 429, "too_many_requests", "", "1", ""},
		{"not durable", fmt.Errorf("append: %w", evidence.ErrUnavailable), 503, "unavailable", "", "5", "append"},
	} {
		w := httptest.NewRecorder()
		k := problem.Write(w, c.err)
		var p answer.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if w.Code != c.status || k.Status != c.status || p.Status != c.status || p.Code != c.code || p.Field != c.field || p.Title == "" || p.Type != "about:blank" {
			t.Errorf("%s: %d %+v", c.name, w.Code, p)
		}
		if got := w.Header().Get("Retry-After"); got != c.retry {
			t.Errorf("%s: Retry-After %q", c.name, got)
		}
		if !strings.Contains(p.Detail, c.detail) || strings.Contains(p.Detail, "r_audit") {
			t.Errorf("%s: detail %q", c.name, p.Detail)
		}
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: %s", c.name, got)
		}
		if challenge := w.Header().Get("Www-Authenticate") != ""; challenge != (c.status == 401) {
			t.Errorf("%s: challenge %v", c.name, challenge)
		}
	}
}
