package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/api"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/replay"
)

// reading is the way out: what the API answers from.
type reading struct {
	cfg     api.Config
	exports *export.Exports
}

// newReading reads from a deployment; runs knows its open runs.
// in, where it is not nil, takes what the replay API writes.
func (d *Deployment) newReading(runs facade.Runs, in replay.Ingest, cfg *Config) (*reading, error) {
	exports := export.NewExports(export.ExportsConfig{Exporter: d.exporter, Links: d.master})
	d.recoverExports(exports, cfg)
	r := &reading{exports: exports, cfg: api.Config{
		Facade: facade.New(facade.Config{Ledger: d.Ledger, Runs: runs, Witnesses: d.outside.status()}), Exports: exports,
		Logger: cfg.Logger, Version: cfg.Version, Lag: d.mayLag(len(cfg.Pool.Replicas) > 0),
		Lifecycle: d.Lifecycle, Permit: d.gate.Allow,
	}}
	if in != nil {
		var err error
		if r.cfg.Replay, err = replay.New(replay.Config{Facade: r.cfg.Facade, Ingest: in}); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	api.New(mux, r.cfg)
	d.operator.Store(mux)
	return r, nil
}

// recoverWithin bounds how long the start waits for what it has to say of exports that
// were being made when the process before ended. What is left is said at the next start.
const recoverWithin = 30 * time.Second

// recoverExports records which exports a process that died has left undone. Nothing else
// depends on it, so it keeps no server from starting.
func (d *Deployment) recoverExports(exports *export.Exports, cfg *Config) {
	ctx, cancel := context.WithTimeout(context.Background(), recoverWithin)
	defer cancel()
	if err := exports.Recover(ctx); err != nil {
		cfg.Logger.Warn("exports that were not finished are not recorded as failed", "err", err)
	}
}

// readAs is control.ReadFunc: the operator reads what the API answers.
func (d *Deployment) readAs(ctx context.Context, tenant string, by access.Actor, pathAndQuery string) (int, string, []byte, error) {
	mux := d.operator.Load()
	if mux == nil {
		return 0, "", nil, fmt.Errorf("read: %w: the server is starting", evidence.ErrUnavailable)
	}
	return d.answerTo(ctx, mux, tenant, by, pathAndQuery)
}

// answerTo lets the operator ask a mux about a tenant, and records that.
func (d *Deployment) answerTo(ctx context.Context, mux *http.ServeMux, tenant string, by access.Actor, pathAndQuery string) (int, string, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, pathAndQuery, nil)
	if err != nil {
		return 0, "", nil, &evidence.FieldError{Field: "path", Reason: "is none", Err: evidence.ErrInvalid}
	}
	w := &answerWriter{header: http.Header{}}
	d.gate.Operator(mux, tenant, by).ServeHTTP(w, req)
	return w.status, w.header.Get("Content-Type"), w.body.Bytes(), nil
}

// answerWriter keeps an answer.
type answerWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answerWriter) Header() http.Header { return w.header }

func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *answerWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

func (r *reading) close() error { return r.exports.Close() }

// admitLinks lets requests in that carry the signed link of an export in place
// of a credential.
func (s *server) admitLinks(a *api.API, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok, err := a.Link(r)
		switch {
		case !ok:
			next.ServeHTTP(w, r)
		case err != nil:
			s.d.fail(s.log)(w, r, err)
		default:
			next.ServeHTTP(w, r.WithContext(access.With(r.Context(), p)))
		}
	})
}
