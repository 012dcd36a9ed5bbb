package api

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// TestHostileTrace: what a body costs follows from its size, and not from what a
// schema or a list could make of it.
func TestHostileTrace(t *testing.T) {
	_, mux := newAPI(t)
	const begin = `{"run_id":"r","trace_id":"0123456789abcdef0123456789abcdef","occurred_at":"2026-11-23T15:00:00Z","steps":[`
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		want                    string
	}{
		{"steps of another type", "application/json", begin + strings.Repeat("[],", 1<<22) + "[]]}", 422, "steps[0]"},
		{"empty steps", "application/json; charset=utf-8", begin + strings.Repeat("{},", 1<<22) + "{}]}", 413, "more than 10000"},
		{"too large", "", begin + strings.Repeat(" ", maxTraceBody), 413, "too_large"},
		{"no JSON", "text/plain", "{}", 415, "unsupported_media_type"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tracesPath, strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		runtime.ReadMemStats(&after)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || w.Header().Get("Content-Type") != problemType {
			t.Errorf("%s: %d %.300s", tt.name, w.Code, w.Body)
		}
		if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 200 {
			t.Errorf("%s: took %d MiB", tt.name, used)
		}
	}
}

// TestBodyRoom: bodies of all requests together have a bound.
func TestBodyRoom(t *testing.T) {
	a, mux := newAPI(t)
	if !a.bodies.TryAcquire(maxTraceBodies - 1) {
		t.Fatal("no room")
	}
	post := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tracesPath, strings.NewReader("[]"))
		mux.ServeHTTP(w, r)
		return w
	}
	if w := post(); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("full: %d %s", w.Code, w.Body)
	}
	a.bodies.Release(maxTraceBodies - 1)
	for range 2 { // it is given back
		if w := post(); w.Code != http.StatusBadRequest {
			t.Errorf("room: %d %s", w.Code, w.Body)
		}
	}
	if !a.bodies.TryAcquire(maxTraceBodies) {
		t.Error("the room was not given back")
	}
}
