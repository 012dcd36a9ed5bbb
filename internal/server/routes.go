package server

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
)

// routes is every route of the API. All that is served over TCP is named
// here, or in the package that is given the mux here.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}))
	s.in.ingest.Routes(mux, s.cfg.Prefixes)
	for _, r := range s.d.gate.Routes() {
		mux.HandleFunc(r.Pattern, s.handle(r.Handle))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "not_found", "Not found", "there is no such route", "")
	})
	return limitBodies(mux, bodyTime)
}

// bodyTime is how long the body of a request may take. Routes that take large
// ones in move the deadline on as bytes come.
const bodyTime = 10 * time.Second

// limitBodies keeps a client that announces a body and does not send it from
// holding a connection: also where nobody reads the body, the server itself
// reads what is left of it before it can answer.
func limitBodies(next http.Handler, d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// Not supported only by writers of tests.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d))
		}
		next.ServeHTTP(w, r)
	})
}

// failures is how errors of handlers are answered; the first that matches
// counts.
var failures = []struct {
	err    error
	status int
	code   string
	title  string
}{
	{access.ErrUnauthenticated, http.StatusUnauthorized, "unauthenticated", "No valid credential"},
	{evidence.ErrForbidden, http.StatusForbidden, "forbidden", "Not permitted"},
	{evidence.ErrNotFound, http.StatusNotFound, "not_found", "Not found"},
	{evidence.ErrConflict, http.StatusConflict, "conflict", "Conflict"},
	{evidence.ErrTooLarge, http.StatusRequestEntityTooLarge, "too_large", "Too large"},
	{evidence.ErrInvalid, http.StatusUnprocessableEntity, "invalid", "Invalid value"},
	{evidence.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", "Evidence cannot be made durable now"},
}

// handle answers what a handler returns as an error. What is in no row is
// internal, and its text is for the log only.
func (s *server) handle(f func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := f(w, r)
		if err == nil {
			return
		}
		field := ""
		if fe := (*evidence.FieldError)(nil); errors.As(err, &fe) {
			field = fe.Field
		}
		for _, k := range failures {
			if !errors.Is(err, k.err) {
				continue
			}
			switch k.status {
			case http.StatusUnauthorized:
				w.Header().Set("WWW-Authenticate", `Bearer realm="runledger"`)
			case http.StatusServiceUnavailable:
				w.Header().Set("Retry-After", "5")
				s.log.WarnContext(r.Context(), "request", "route", r.Pattern, "err", err)
			}
			problem(w, k.status, k.code, k.title, err.Error(), field)
			return
		}
		s.log.ErrorContext(r.Context(), "request", "route", r.Pattern, "err", err)
		problem(w, http.StatusInternalServerError, "internal", "Internal error", "internal error", "")
	}
}

// healthz answers while the process lives.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
}

// readyz answers 200 while evidence can be made durable.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ready(); err != nil {
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusServiceUnavailable, "unavailable", "Evidence cannot be made durable now", err.Error(), "")
		return
	}
	reply(w, http.StatusOK, "application/json", map[string]string{"status": "ready"})
}

// problem answers with an RFC 9457 problem.
func problem(w http.ResponseWriter, status int, code, title, detail, field string) {
	p := map[string]any{"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
	if field != "" {
		p["field"] = field
	}
	reply(w, status, "application/problem+json", p)
}

func reply(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
