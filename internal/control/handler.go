package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// Config says what the handler serves. Ledger and Exporter are required.
type Config struct {
	Ledger   *ledger.Ledger
	Exporter *export.Exporter
	Access   *access.Gate // nil: credentials are not managed here
	Read     ReadFunc     // nil: nothing is read here
	// Producers lists producers (ProducersPath) as Read reads. nil: not here.
	Producers ReadFunc
	// Lifecycle changes the life of evidence. nil: it is not managed here.
	Lifecycle Lifecycle
	// Created is told of a tenant that was made. Default: nobody is told.
	Created func(ctx context.Context, tenant string)
	// Stamp has a log's newest checkpoint stamped, and returns which that is. nil: no
	// authority is known here.
	Stamp   func(ctx context.Context, tenant string, logNo int) (note []byte, stamp Stamp, err error)
	Version string
	Server  bool         // a server, not a command by itself
	Logger  *slog.Logger // default: none
	// Observe is told of records that have become durable; the receipt of one
	// that was refused is zero. Default: nobody is told.
	Observe func(tenant string, records []*evidence.Record, receipts []ledger.Receipt)
}

type handler struct {
	cfg Config
}

// Handler returns the control API. The caller of each request must be in its
// context, see [WithCaller].
func Handler(cfg Config) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{cfg}
	mux := http.NewServeMux()
	for pattern, f := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v1/version":                       h.version,
		"GET /v1/tenants":                       h.tenants,
		"POST /v1/tenants":                      h.createTenant,
		"POST /v1/tenants/{tenant}/records":     h.append,
		"GET /v1/tenants/{tenant}/checkpoint":   h.checkpoint,
		"POST /v1/tenants/{tenant}/stamp":       h.stamp,
		"GET /v1/tenants/{tenant}/proof":        h.proof,
		"POST /v1/tenants/{tenant}/exports":     h.export,
		"GET /v1/tenants/{tenant}/integrity":    h.integrity,
		"POST /v1/tenants/{tenant}/read":        h.read,
		"POST /v1/tenants/{tenant}/producers":   h.producers,
		"GET /v1/keys":                          h.keys,
		"POST /v1/tenants/{tenant}/keys/rotate": h.rotate,
		"GET /v1/apikeys":                       h.apiKeys,
		"POST /v1/apikeys":                      h.createAPIKey,
		"DELETE /v1/apikeys/{id}":               h.revokeAPIKey,
		"POST /v1/clock/confirm":                h.confirmClock,
		"/":                                     h.unknown,
	} {
		mux.Handle(pattern, handle(cfg.Logger, f))
	}
	for pattern, f := range h.lifecycleRoutes() {
		mux.Handle(pattern, handle(cfg.Logger, f))
	}
	return mux
}

func (h *handler) unknown(_ http.ResponseWriter, r *http.Request) error {
	return fmt.Errorf("%s %s: %w: this runledger has no such control route", r.Method, r.URL.Path, evidence.ErrNotFound)
}

func (h *handler) version(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, Version{Version: h.cfg.Version, PID: os.Getpid(), Server: h.cfg.Server})
}

func (h *handler) tenants(w http.ResponseWriter, r *http.Request) error {
	list, err := h.cfg.Ledger.Tenants(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, TenantList{append([]ledger.LogInfo{}, list...)})
}

func (h *handler) createTenant(w http.ResponseWriter, r *http.Request) error {
	var req NewTenant
	if err := decode(w, r, &req); err != nil {
		return err
	}
	info, err := h.cfg.Ledger.CreateTenant(r.Context(), req.TenantID)
	if err != nil {
		return err
	}
	if h.cfg.Created != nil {
		h.cfg.Created(r.Context(), info.Tenant)
	}
	return answer(w, http.StatusCreated, info)
}

// maxRequest bounds JSON requests in bytes.
const maxRequest = 1 << 20

func decode(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("request: %w: %w", evidence.ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("request: %w: text after the JSON object", evidence.ErrInvalid)
	}
	return nil
}

func (h *handler) checkpoint(w http.ResponseWriter, r *http.Request) error {
	info, err := h.newest(r.Context(), r.PathValue("tenant"))
	if err != nil {
		return err
	}
	// At once, so that it covers whatever the operator has just appended.
	c, note, err := h.cfg.Ledger.PublishNow(r.Context(), info.Tenant, info.No)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, Checkpoint{
		Log: info.Origin, LogNo: info.No, Size: c.Size, Root: c.Root.String(), Checkpoint: string(note), VKey: info.VKey,
	})
}

// stamp answers the checkpoint that was stamped.
func (h *handler) stamp(w http.ResponseWriter, r *http.Request) error {
	if h.cfg.Stamp == nil {
		return fmt.Errorf("stamp: %w: no time-stamping authority is configured: runledger serve --timestamp-url", evidence.ErrForbidden)
	}
	info, err := h.newest(r.Context(), r.PathValue("tenant"))
	if err != nil {
		return err
	}
	note, stamp, err := h.cfg.Stamp(r.Context(), info.Tenant, info.No)
	if err != nil {
		return err
	}
	c, _, err := c2sp.ParseNote(note)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, Checkpoint{
		Log: info.Origin, LogNo: info.No, Size: c.Size, Root: c.Root.String(), Checkpoint: string(note), VKey: info.VKey, Stamp: &stamp,
	})
}

func (h *handler) newest(ctx context.Context, tenant string) (ledger.LogInfo, error) {
	logs, err := h.cfg.Ledger.Logs(ctx, tenant)
	if err != nil {
		return ledger.LogInfo{}, err
	}
	return logs[len(logs)-1], nil
}

// proofWait is how long a proof waits for a checkpoint that covers its record.
const proofWait = 10 * time.Second

func (h *handler) proof(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), proofWait)
	defer cancel()
	tenant := r.PathValue("tenant")
	pos, err := h.locate(ctx, tenant, r)
	if err != nil {
		return err
	}
	p, err := h.cfg.Ledger.ProveSeq(ctx, tenant, pos.LogNo, pos.Seq)
	if errors.Is(err, ledger.ErrNotPublished) {
		if _, err := h.cfg.Ledger.WaitPublished(ctx, tenant, pos.LogNo, pos.Seq+1); err != nil {
			return err
		}
		p, err = h.cfg.Ledger.ProveSeq(ctx, tenant, pos.LogNo, pos.Seq)
	}
	if err != nil {
		return err
	}
	logs, err := h.cfg.Ledger.Logs(ctx, tenant)
	if err != nil {
		return err
	}
	info := logs[pos.LogNo-1] // logs are numbered from 1 without gaps
	return answer(w, http.StatusOK, Proof{
		Log: info.Origin, LogNo: info.No, LeafIndex: pos.Seq, LeafHash: evidence.LeafHash(p.Leaf).String(),
		Leaf: string(p.Leaf), Proof: string(p.Marshal()), VKey: info.VKey,
	})
}

// locate finds the record that the query names.
func (h *handler) locate(ctx context.Context, tenant string, r *http.Request) (store.Position, error) {
	q := r.URL.Query()
	named := 0
	for _, name := range []string{"id", "seq", "span"} {
		if q.Has(name) {
			named++
		}
	}
	if named != 1 {
		return store.Position{}, invalid("id", "name the record by one of id, seq and span")
	}
	switch {
	case q.Has("id"):
		id, ok := evidence.ParseID(q.Get("id"))
		if !ok {
			return store.Position{}, invalid("id", "is not a UUID in lower case")
		}
		return h.cfg.Ledger.Locate(ctx, tenant, id)
	case q.Has("span"):
		trace, span, ok := strings.Cut(q.Get("span"), ":")
		if !ok || len(trace) != 32 || len(span) != 16 {
			return store.Position{}, invalid("span", "must be <trace id>:<span id>, 32 and 16 lower-case hex digits")
		}
		return h.cfg.Ledger.LocateSpan(ctx, tenant, store.Span{TraceID: trace, SpanID: span})
	}
	seq, err := strconv.ParseInt(q.Get("seq"), 10, 64)
	if err != nil || seq < 0 {
		return store.Position{}, invalid("seq", "is not a leaf index")
	}
	info, err := h.newest(ctx, tenant)
	if err != nil {
		return store.Position{}, err
	}
	no := info.No
	if q.Has("log_no") {
		if no, err = strconv.Atoi(q.Get("log_no")); err != nil || no < 1 || no > info.No {
			return store.Position{}, invalid("log_no", "is not the number of a log of this tenant, 1 to %d", info.No)
		}
	}
	return store.Position{LogNo: no, Seq: seq}, nil
}

func (h *handler) keys(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	tenants := []string{r.URL.Query().Get("tenant")}
	if tenants[0] == "" {
		tenants = nil
		list, err := h.cfg.Ledger.Tenants(ctx)
		if err != nil {
			return err
		}
		for _, info := range list {
			tenants = append(tenants, info.Tenant)
		}
	}
	out := KeyList{Keys: []Key{}}
	for _, tenant := range tenants {
		logs, err := h.cfg.Ledger.Logs(ctx, tenant)
		if err != nil {
			return err
		}
		for i, info := range logs {
			out.Keys = append(out.Keys, Key{LogInfo: info, Current: i == len(logs)-1})
		}
	}
	return answer(w, http.StatusOK, out)
}

func (h *handler) rotate(w http.ResponseWriter, r *http.Request) error {
	info, err := h.cfg.Ledger.Rollover(r.Context(), r.PathValue("tenant"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, Key{LogInfo: info, Current: true})
}

func (h *handler) integrity(w http.ResponseWriter, r *http.Request) error {
	tenant := r.PathValue("tenant")
	// Also brings the log into memory, where its state is read from.
	if _, err := h.cfg.Ledger.Checkpoint(r.Context(), tenant); err != nil {
		return err
	}
	return answer(w, http.StatusOK, h.cfg.Ledger.Integrity(tenant))
}

func (h *handler) confirmClock(w http.ResponseWriter, _ *http.Request) error {
	h.cfg.Ledger.ConfirmClock()
	w.WriteHeader(http.StatusNoContent)
	return nil
}
