package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/tsp"
)

const (
	// stampLate is how late an answer may come, and how far the authority's clock may
	// be off: a time is worth something only if it is that of the newest head.
	stampLate = 4 * time.Minute
	// stampWait is how long an authority is left alone after a failure, at least.
	stampWait = time.Minute
)

// StampConfig says who stamps.
type StampConfig struct {
	URL  string
	Name string // of the authority, in records. Default: the subject of its certificate
	// Roots are those that its certificate must lead to. Nil: any, which an auditor
	// who trusts some can still check.
	Roots   *x509.CertPool
	Logger  *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: none
	Now     func() time.Time      // default time.Now
	HTTP    *http.Client          // default: one that follows no redirects
	// Every is the least time between two stamps of a log. Default 10 minutes. Look is
	// how often logs are looked at. Default 10 s.
	Every, Look time.Duration
	Timeout     time.Duration // of an exchange. Default 30 s
	// Lease makes this process, for a time, the one that has a log stamped, unless
	// another is. Default: there is no other.
	Lease func(ctx context.Context, name string, ttl time.Duration) (bool, error)
}

// Stamper asks a time-stamping authority (RFC 3161) for the newest checkpoint of each
// log that changed.
type Stamper struct {
	cfg    StampConfig
	log    *slog.Logger
	ledger *ledger.Ledger
	asked  *prometheus.CounterVec

	mu   sync.Mutex
	logs map[logID]*stampState
	wait time.Time // the authority is left alone before
	bad  int       // failures in a row
}

// stampState is what is known of one log.
type stampState struct {
	busy   sync.Mutex // held while it is stamped
	loaded bool
	size   int64     // up to here there is nothing but what is stamped, and records of that
	at     time.Time // of the last stamp
}

// NewStamper returns a stamper over a ledger.
func NewStamper(l *ledger.Ledger, cfg StampConfig) (*Stamper, error) {
	if _, err := parseURL(cfg.URL); err != nil {
		return nil, fmt.Errorf("time-stamping authority: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.HTTP == nil {
		cfg.HTTP = plainClient()
	}
	if cfg.Lease == nil {
		cfg.Lease = func(_ context.Context, _ string, ttl time.Duration) (bool, error) { return ttl > 0, nil }
	}
	for _, d := range []struct {
		to    *time.Duration
		value time.Duration
	}{{&cfg.Every, 10 * time.Minute}, {&cfg.Look, 10 * time.Second}, {&cfg.Timeout, 30 * time.Second}} {
		if *d.to <= 0 {
			*d.to = d.value
		}
	}
	s := &Stamper{cfg: cfg, log: cfg.Logger, ledger: l, logs: map[logID]*stampState{}}
	s.asked = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "runledger_timestamp_requests_total", Help: "Requests to the time-stamping authority, by outcome.",
	}, []string{"outcome"})
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(s.asked)
	}
	return s, nil
}

// Run stamps until ctx is done: each log that changed, at most once in Every.
func (s *Stamper) Run(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Look)
	defer tick.Stop()
	for {
		for _, h := range s.ledger.Published() {
			if ctx.Err() != nil || s.resting() {
				break
			}
			if err := s.stampIfDue(ctx, h); err != nil && ctx.Err() == nil {
				s.log.Warn("no time stamp", "log", h.Origin, "size", h.Size, "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stampIfDue has a log stamped if it is time, and no other process is at it.
func (s *Stamper) stampIfDue(ctx context.Context, h ledger.SignedHead) error {
	due, err := s.due(ctx, h)
	if err != nil || !due {
		return err
	}
	name := "stamp/" + h.Origin
	held, err := s.cfg.Lease(ctx, name, 2*s.cfg.Timeout)
	if err != nil || !held {
		return err
	}
	defer func() {
		if _, err := s.cfg.Lease(context.WithoutCancel(ctx), name, 0); err != nil {
			s.log.Warn("give up the lease of a time stamp", "log", h.Origin, "err", err)
		}
	}()
	s.forget(h) // before the lease another process may have had it stamped
	if due, err = s.due(ctx, h); err != nil || !due {
		return err
	}
	_, _, err = s.Stamp(ctx, h.Tenant, h.No)
	return err
}

// forget has the stamps of a log read anew.
func (s *Stamper) forget(h ledger.SignedHead) {
	st := s.of(logID{h.Tenant, h.No})
	st.busy.Lock()
	defer st.busy.Unlock()
	st.loaded = false
}

func (s *Stamper) resting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Now().Before(s.wait)
}

func (s *Stamper) of(id logID) *stampState {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.logs[id]
	if st == nil {
		st = &stampState{}
		s.logs[id] = st
	}
	return st
}

// due reports whether a log has changed since its last stamp, beyond the record of
// that, and whether that is long enough ago.
func (s *Stamper) due(ctx context.Context, h ledger.SignedHead) (bool, error) {
	st := s.of(logID{h.Tenant, h.No})
	st.busy.Lock()
	defer st.busy.Unlock()
	if !st.loaded {
		last, err := s.ledger.Stamps(ctx, h.Tenant, h.No, 0, math.MaxInt64, true, 1)
		if err != nil {
			return false, err
		}
		if len(last) > 0 && last[0].Size > st.size {
			st.size, st.at = last[0].Size, last[0].At.Time()
		}
		st.loaded = true
	}
	if h.Size <= st.size || s.cfg.Now().Sub(st.at) < s.cfg.Every {
		return false, nil
	}
	same, err := s.ledger.OnlyAnchors(ctx, h.Tenant, h.No, st.size, h.Size)
	if same {
		st.size = h.Size
	}
	return !same && err == nil, err
}

// Stamp has the newest head of a log stamped now, keeps the stamp, and records it. note
// is the checkpoint that was stamped.
func (s *Stamper) Stamp(ctx context.Context, tenant string, logNo int) (note []byte, stamp *tsp.Stamp, err error) {
	st := s.of(logID{tenant, logNo})
	st.busy.Lock()
	defer st.busy.Unlock()
	start := s.cfg.Now()
	c, note, err := s.ledger.PublishNow(ctx, tenant, logNo)
	if err != nil {
		return nil, nil, err
	}
	response, stamp, err := s.ask(ctx, note)
	s.answered(err)
	if err != nil {
		return nil, nil, fmt.Errorf("time stamp of %s, %d records: %w", c.Origin, c.Size, err)
	}
	by := s.cfg.Name
	if by == "" {
		by = stamp.Authority
	}
	_, err = s.ledger.Stamped(context.WithoutCancel(ctx), tenant, logNo, ledger.Attestation{
		Size: c.Size, By: by, At: evidence.MicrosOf(stamp.Time), Note: note, Data: response,
	}, stamp.Serial.String())
	if err != nil {
		return nil, nil, err
	}
	st.size, st.at, st.loaded = c.Size, start, true
	return note, stamp, nil
}

func (s *Stamper) answered(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.bad, s.wait = 0, time.Time{}
		s.asked.WithLabelValues("stamped").Inc()
		return
	}
	s.wait = s.cfg.Now().Add(min(stampWait<<min(s.bad, 8), backoffMost*2))
	s.bad++
	s.asked.WithLabelValues("failed").Inc()
}

// ask asks for a stamp over a note and checks it.
func (s *Stamper) ask(ctx context.Context, note []byte) ([]byte, *tsp.Stamp, error) {
	if _, sigs, err := c2sp.ParseNote(note); err != nil || len(sigs) != 1 {
		return nil, nil, fmt.Errorf("%w: not a checkpoint with the log's signature alone", evidence.ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	start := s.cfg.Now()
	raw := make([]byte, 16)
	rand.Read(raw)
	raw[0] |= 1 // greater than 0
	nonce := new(big.Int).SetBytes(raw)
	query, err := tsp.Request(note, nonce)
	if err != nil {
		return nil, nil, err
	}
	response, err := s.post(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	var stamp *tsp.Stamp
	if s.cfg.Roots != nil {
		stamp, err = tsp.Verify(response, note, s.cfg.Roots)
	} else {
		stamp, err = tsp.Inspect(response, note)
	}
	if err != nil {
		return nil, nil, err
	}
	now := s.cfg.Now()
	switch {
	case stamp.Nonce.Cmp(nonce) != 0:
		return nil, nil, fmt.Errorf("%w: the nonce is not the one that was sent", evidence.ErrTampered)
	case now.Sub(start) > stampLate:
		return nil, nil, fmt.Errorf("the answer came after %s: discarded", now.Sub(start).Round(time.Second))
	case stamp.Time.Sub(now).Abs() > stampLate:
		return nil, nil, fmt.Errorf("the authority's clock is %s off ours: discarded", stamp.Time.Sub(now).Round(time.Second))
	}
	return response, stamp, nil
}

func (s *Stamper) post(ctx context.Context, query []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	req.Header.Set("Accept", "application/timestamp-reply")
	resp, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the authority answered with status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, tsp.MaxResponse+1))
	if err == nil && len(body) > tsp.MaxResponse {
		err = errors.New("the authority's answer is too large")
	}
	return body, err
}
