package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/runs"
)

// Permissions that are asked for (contract section 8).
const (
	permIngest = "ingest.write"
	permRead   = "logs.read"
)

// Caller is who makes a request.
type Caller struct {
	Tenant     string // whose log its records go to; "": none, which is refused
	Credential string // public id; becomes the records' `producer`
	// Has reports whether it has a permission, without recording anything.
	// nil: none.
	Has func(permission string) bool
	// Principal is the gate's own, for its Require.
	Principal any
}

func (c Caller) has(permission string) bool { return c.Has != nil && c.Has(permission) }

// Gate says who may come in. Its methods are called before a body is read.
type Gate interface {
	// Authenticate returns who makes an HTTP request. The error wraps
	// ErrUnauthenticated, evidence.ErrForbidden where the credential may not
	// speak for the tenant that is named, or evidence.ErrUnavailable where that
	// cannot be found out now.
	Authenticate(r *http.Request) (Caller, error)
	// AuthenticateRPC is the same for gRPC. header returns the values of a
	// metadata key in lower case; peer may be nil.
	AuthenticateRPC(ctx context.Context, peer net.Addr, header func(key string) []string) (Caller, error)
	// Require returns nil where the caller has a permission. Else the error
	// wraps evidence.ErrForbidden, and the gate has recorded the denial. route
	// is the pattern of the mux, method included, or the gRPC method.
	Require(ctx context.Context, c Caller, permission, route string) error
}

// Observer is told of records that have become durable; a [runs.Tracker].
type Observer interface {
	Observe(tenant string, records []runs.Observed)
}

// Config says what comes in and how much of it. Ledger, Mapper and Gate are
// required.
type Config struct {
	Ledger *ledger.Ledger
	Mapper *otlp.Mapper
	Runs   Observer // default: nobody is told
	Gate   Gate
	// MaxBody bounds a body after decompression, in bytes. Default 64 MiB; at
	// most MaxInFlight.
	MaxBody int64
	// MaxInFlight bounds the bodies of all requests together, in bytes.
	// Default 256 MiB.
	MaxInFlight int64
	// MaxRecords bounds the records of all requests that wait for the ledger.
	// Default 20000, as much as the ledger queues.
	MaxRecords int64
	// QueueWait is how long a request waits for room before it is refused.
	// Default 5 s.
	QueueWait time.Duration
	// AppendTimeout is how long an answer waits for records to become
	// durable. Default 30 s.
	AppendTimeout time.Duration
	// MinRate is the slowest that a body may come, in bytes a second, after
	// ReadGrace. Default 32 KiB/s after 10 s.
	MinRate   int64
	ReadGrace time.Duration
	// ReceiveTimeout is how long the message of a gRPC call may take. Default
	// 1 min.
	ReceiveTimeout time.Duration
	// CheckpointWait is how long ?wait=checkpoint waits. Default 10 s.
	CheckpointWait time.Duration
	// Paused returns why nothing is taken now, an error that wraps
	// evidence.ErrUnavailable. Default: never.
	Paused  func() error
	Logger  *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: none
}

func (c *Config) complete() error {
	if c.Ledger == nil || c.Mapper == nil || c.Gate == nil {
		return errors.New("ingest: Ledger, Mapper and Gate are required")
	}
	if c.Runs == nil {
		c.Runs = nobody{}
	}
	if c.Paused == nil {
		c.Paused = func() error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.MaxBody, 64<<20)
	setDefault(&c.MaxInFlight, 256<<20)
	setDefault(&c.MaxRecords, 20_000)
	setDefault(&c.QueueWait, 5*time.Second)
	setDefault(&c.AppendTimeout, 30*time.Second)
	setDefault(&c.MinRate, 32<<10)
	setDefault(&c.ReadGrace, 10*time.Second)
	setDefault(&c.ReceiveTimeout, time.Minute)
	setDefault(&c.CheckpointWait, 10*time.Second)
	c.MaxBody = min(c.MaxBody, c.MaxInFlight)
	return nil
}

func setDefault[T int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

type nobody struct{}

func (nobody) Observe(string, []runs.Observed) {}

// Handler takes evidence in. Its methods may be called from several
// goroutines.
type Handler struct {
	cfg     Config
	metrics *metrics
	signals []*signal
	traces  *traceCache
	bytes   *semaphore.Weighted // MaxInFlight
	records *semaphore.Weighted // MaxRecords
	scans   *semaphore.Weighted // look-ups that may read a whole log

	mu      sync.Mutex
	closed  bool           // guarded by mu: no further append begins
	appends sync.WaitGroup // added to under mu
}

// New returns a handler.
func New(cfg Config) (*Handler, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	h := &Handler{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), traces: newTraceCache(traceCacheSize),
		bytes: semaphore.NewWeighted(cfg.MaxInFlight), records: semaphore.NewWeighted(cfg.MaxRecords),
		scans: semaphore.NewWeighted(maxScans),
	}
	h.signals = h.otlpSignals()
	return h, nil
}

// Close refuses further appends and waits for those that still run, also of
// clients that are gone. Close it before the tracker and the ledger.
func (h *Handler) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		h.appends.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
