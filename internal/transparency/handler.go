package transparency

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
)

// Prefix is the path below which everything is served.
const Prefix = "/api/v1/transparency"

// Ledger is what is served: a ledger.Ledger.
type Ledger interface {
	Logs(ctx context.Context, tenant string) ([]ledger.LogInfo, error)
	Serve(ctx context.Context, tenant string, logNo int) (*ledger.Served, error)
	Cosigned(ctx context.Context, tenant string, logNo int, note []byte) ([]byte, error)
	Cosignatures(ctx context.Context, tenant string, logNo int, from int64) ([]ledger.Attestation, error)
}

// Config says what is served. Ledger and Deny are required.
type Config struct {
	Ledger Ledger
	// Deny records that a request is refused and returns the error to answer with.
	Deny func(r *http.Request, resource, reason string) error
	// Quorum reports whether these cosignatures, all of one checkpoint, are as many
	// as the operator's policy asks for. nil: there is no policy, and every
	// published checkpoint is served.
	Quorum func(cosignatures []ledger.Attestation) bool
	// Shared: other processes serve the same logs.
	Shared bool
	// Every is the least time between two checkpoints of a log. Default 1 s. With
	// Shared there is none but that of publishing: who asks one process and then
	// another must not see an older checkpoint than before.
	Every time.Duration
	// MaxRequests is how many requests are worked on at a time, MaxPerTenant how many
	// of those are about one tenant's logs. Default 64 and 16.
	MaxRequests, MaxPerTenant int
	// Grant returns what let a request in. Default: access.GrantOf.
	Grant  func(ctx context.Context) access.Grant
	Logger *slog.Logger     // default: none
	Now    func() time.Time // default: time.Now
}

// Handler serves the logs. It may be used from several goroutines.
type Handler struct {
	cfg   Config
	heads heads
	room  room
}

// New returns a handler.
func New(cfg Config) *Handler {
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.MaxRequests <= 0 {
		cfg.MaxRequests = 64
	}
	if cfg.MaxPerTenant <= 0 {
		cfg.MaxPerTenant = 16
	}
	if cfg.Grant == nil {
		cfg.Grant = access.GrantOf
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Handler{cfg: cfg, heads: heads{of: map[logID]*head{}}}
	h.room = room{most: cfg.MaxRequests, mostOfOne: cfg.MaxPerTenant, of: map[string]int{}}
	return h
}

// Routes puts the routes on a mux.
func (h *Handler) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Prefix+"/logs", h.bounded(h.logs))
	for _, prefix := range []string{Prefix, Prefix + "/log/{log}"} {
		mux.HandleFunc("GET "+prefix+"/checkpoint", h.ofLog(h.checkpoint))
		mux.HandleFunc("GET "+prefix+"/key", h.ofLog(h.key))
		mux.HandleFunc("GET "+prefix+"/tile/{tile...}", h.ofLog(h.tile))
		mux.HandleFunc("GET "+prefix+"/proof/inclusion", h.ofLog(h.inclusion))
		mux.HandleFunc("GET "+prefix+"/proof/consistency", h.ofLog(h.consistency))
	}
}

// question is a request about one log.
type question struct {
	w     http.ResponseWriter
	r     *http.Request
	grant access.Grant
	log   *ledger.Served
	// fixed: the path names the log, so it means the same for ever. Without that it
	// is the newest, which a rollover replaces.
	fixed bool
}

// ofLog answers requests about one log.
func (h *Handler) ofLog(answer func(*question) error) http.HandlerFunc {
	return h.bounded(func(w http.ResponseWriter, r *http.Request) error {
		q := &question{w: w, r: r, grant: h.cfg.Grant(r.Context()), fixed: r.PathValue("log") != ""}
		info, err := h.find(r.Context(), q.grant.Tenant, r.PathValue("log"))
		if err != nil {
			return err
		}
		if q.log, err = h.cfg.Ledger.Serve(r.Context(), info.Tenant, info.No); err != nil {
			return err
		}
		return answer(q)
	})
}

// bounded answers while there is room, and answers errors.
func (h *Handler) bounded(answer func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := func() error {
			// A path has one form only: no rule of access reads it otherwise.
			if r.URL.RawPath != "" {
				return fmt.Errorf("there is no such route: %w", evidence.ErrNotFound)
			}
			done, err := h.room.enter(h.cfg.Grant(r.Context()).Tenant)
			if err != nil {
				return err
			}
			defer done()
			defer patience(w)()
			return answer(w, r)
		}()
		if err == nil {
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		switch k := problem.Write(w, err); {
		case k.Status == http.StatusServiceUnavailable:
			h.cfg.Logger.WarnContext(r.Context(), "request", "route", access.RouteName(r.Pattern), "err", err)
		case k.Status >= http.StatusInternalServerError:
			h.cfg.Logger.ErrorContext(r.Context(), "request", "route", access.RouteName(r.Pattern), "err", err)
		}
	}
}

// writeTime is how long an answer may take to be read: a client that does not read it
// must not hold its place for ever.
const writeTime = time.Minute

// patience bounds the writing of an answer, until what it returns is called.
func patience(w http.ResponseWriter) func() {
	c := http.NewResponseController(w)
	// Not supported only by writers of tests.
	_ = c.SetWriteDeadline(time.Now().Add(writeTime))
	return func() { _ = c.SetWriteDeadline(time.Time{}) }
}

// hexLen is the length of what names a log within its instance.
const hexLen = 12

// Name returns what names a log in paths: the end of its origin.
func Name(origin string) string {
	_, name, _ := strings.Cut(origin, "/")
	return name
}

// find returns the tenant's newest log, or the one of that name, which may be the
// system's too. Another tenant's is not there.
func (h *Handler) find(ctx context.Context, tenant, name string) (ledger.LogInfo, error) {
	logs, err := h.visible(ctx, tenant)
	if err != nil {
		return ledger.LogInfo{}, err
	}
	var newest ledger.LogInfo
	for _, info := range logs {
		if name != "" && len(name) == hexLen && Name(info.Origin) == name {
			return info, nil
		}
		if info.Tenant == tenant {
			newest = info
		}
	}
	if name != "" || newest.Origin == "" {
		return ledger.LogInfo{}, fmt.Errorf("log %q: %w", name, evidence.ErrNotFound)
	}
	return newest, nil
}

// visible returns the logs that a tenant may ask for: its own, oldest first, and
// those of the system.
func (h *Handler) visible(ctx context.Context, tenant string) ([]ledger.LogInfo, error) {
	if tenant == "" {
		return nil, fmt.Errorf("logs of no tenant: %w", evidence.ErrForbidden)
	}
	logs, err := h.cfg.Ledger.Logs(ctx, tenant)
	if err != nil || tenant == evidence.SystemTenant {
		return logs, err
	}
	system, err := h.cfg.Ledger.Logs(ctx, evidence.SystemTenant)
	return append(logs, system...), err
}
