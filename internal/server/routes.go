package server

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// routes is every route of the API. All that is served over TCP is named
// here, and nowhere else.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "not_found", "Not found", "there is no such route")
	})
	return mux
}

// healthz answers while the process lives.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
}

// readyz answers 200 while evidence can be made durable.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.d.Ledger.Writable(); err != nil {
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusServiceUnavailable, "unavailable", "Evidence cannot be made durable now", err.Error())
		return
	}
	reply(w, http.StatusOK, "application/json", map[string]string{"status": "ready"})
}

// problem answers with an RFC 9457 problem.
func problem(w http.ResponseWriter, status int, code, title, detail string) {
	reply(w, status, "application/problem+json", map[string]any{
		"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail,
	})
}

func reply(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
