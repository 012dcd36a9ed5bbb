package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/runledger/runledger/internal/api"
	"github.com/runledger/runledger/internal/problem"
)

// routes is every route of the API. All that is served over TCP is named
// here, or in the package that is given the mux here.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.metrics())
	s.in.ingest.Routes(mux, nil)
	for _, r := range s.d.gate.Routes() {
		mux.HandleFunc(r.Pattern, s.handle(r.Handle))
	}
	read := api.New(mux, s.out.cfg)
	guarded := s.admitLinks(read, s.d.gate.Guard(mux))
	return limitBodies(withPrefixes(s.cfg.Prefixes, guarded), bodyTime)
}

// withPrefixes has OTLP/HTTP under further prefixes: the rules of access and the
// routes know it by its own paths.
func withPrefixes(prefixes []string, next http.Handler) http.Handler {
	if len(prefixes) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, prefix := range prefixes {
			prefix = "/" + strings.Trim(prefix, "/")
			rest, ok := strings.CutPrefix(r.URL.Path, prefix)
			if !ok || !slices.Contains(otlpPaths, rest) {
				continue
			}
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = rest, ""
			break
		}
		next.ServeHTTP(w, r)
	})
}

var otlpPaths = []string{"/v1/traces", "/v1/logs", "/v1/metrics"}

func (s *server) metrics() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)})
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

// handle answers what a handler returns as an error.
func (s *server) handle(f func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			s.d.fail(s.log)(w, r, err)
		}
	}
}

// healthz answers while the process lives.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
}

// readyz answers 200 while evidence can be made durable.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ready(); err != nil {
		problem.Write(w, err)
		return
	}
	reply(w, http.StatusOK, "application/json", map[string]string{"status": "ready"})
}

func reply(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
