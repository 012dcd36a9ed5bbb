package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/runledger/runledger/evidence"
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
	mux.HandleFunc("GET /verify", verifyPage)
	s.in.ingest.Routes(mux, nil)
	for _, r := range s.d.gate.Routes() {
		mux.HandleFunc(r.Pattern, s.handle(r.Handle))
	}
	s.transparency(mux)
	read := api.New(mux, s.out.cfg)
	for _, prefix := range unrouted {
		mux.HandleFunc(prefix, s.unrouted(mux))
	}
	guarded := s.admitLinks(read, s.d.gate.Guard(mux))
	return limitBodies(withPrefixes(s.cfg.Prefixes, guarded), bodyTime)
}

// unrouted are the paths below which rules of access let requests in that no route
// may have. Without a handler the mux would answer them in a form of its own.
var unrouted = []string{
	"/api/v1/logs/llm-runs/", "/api/v1/logs/system/", "/api/v1/logs/audit/", "/guard/logs/", "/api/v1/traces/", "/api/v1/exports/",
	"/api/v1/ingest/", "/api/v1/receipts/", "/api/v1/transparency/", "/api/v1/apikeys/", "/api/v1/tenants/", "/api/v1/retention/", "/api/v1/holds/", "/api/v1/archives/", "/api/v1/erasures/", "/schemas/", "/v1/traces/", "/v1/logs/", "/v1/metrics/",
}

// unrouted answers 405 where the path has a route with another method, else 404.
func (s *server) unrouted(mux *http.ServeMux) http.HandlerFunc {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		var allow []string
		for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodPost, http.MethodPut} {
			other := *r
			other.Method = method
			if _, pattern := mux.Handler(&other); pattern != "" && pattern != r.Pattern {
				allow = append(allow, method)
			}
		}
		if allow == nil {
			return fmt.Errorf("there is no such route: %w", evidence.ErrNotFound)
		}
		w.Header().Set("Allow", strings.Join(allow, ", "))
		return fmt.Errorf("%w: it has %s", problem.ErrMethod, strings.Join(allow, ", "))
	})
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

// readyz answers 200 while evidence can be made durable, with the reasons for which the
// server is degraded all the same, and what it has observed of itself where it does so.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ready(); err != nil {
		problem.Write(w, err)
		return
	}
	answer := map[string]any{"status": "ready"}
	if reasons := s.reasons(); len(reasons) > 0 {
		var codes []string
		for _, r := range reasons {
			codes = append(codes, r.Code)
		}
		answer["status"], answer["reasons"] = "degraded", codes
	}
	if s.observing != nil {
		answer["observation"] = s.observing.seen.state() // null before the first round
	}
	reply(w, http.StatusOK, "application/json", answer)
}

func reply(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
