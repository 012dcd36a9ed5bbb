package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/problem"
)

// expires counts expiries.
type expires struct {
	Lifecycle
	n int
}

func (e *expires) Expire(_ context.Context, tenant string, _ lifecycle.RunRequest, _ lifecycle.Actor) (lifecycle.RunResult, error) {
	e.n++
	return lifecycle.RunResult{TenantID: tenant, Classes: []lifecycle.ClassResult{}, Archived: []lifecycle.UnitInfo{}, Dropped: []string{}}, nil
}

// TestNothingUnrecorded: a change that nobody records is not made.
func TestNothingUnrecorded(t *testing.T) {
	permit := func(err error) func(context.Context, access.Principal, access.Permission, string, string) error {
		return func(_ context.Context, _ access.Principal, p access.Permission, route, resource string) error {
			if p != access.TenantAdmin || route != "POST /api/v1/retention/run" || resource != "retention" {
				t.Errorf("%s %s %s", p, route, resource)
			}
			return err
		}
	}
	for _, tt := range []struct {
		name   string
		permit func(context.Context, access.Principal, access.Permission, string, string) error
		body   string
		status int
		done   int
	}{
		{"nobody records", nil, "{}", http.StatusServiceUnavailable, 0},
		{"refused", permit(problem.ErrDenied), "{}", http.StatusForbidden, 0},
		{"recorded", permit(nil), "{}", http.StatusOK, 1},
		{"the clock of all, by one tenant's key", permit(nil), `{"confirm_clock":true}`, http.StatusForbidden, 0},
	} {
		life := &expires{}
		mux := http.NewServeMux()
		New(mux, Config{Facade: &facade.Facade{}, Exports: &export.Exports{}, Lifecycle: life, Permit: tt.permit})
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v1/retention/run", strings.NewReader(tt.body)))
		if w.Code != tt.status || life.n != tt.done {
			t.Errorf("%s: %d, done %d times: %s", tt.name, w.Code, life.n, w.Body)
		}
	}
}
