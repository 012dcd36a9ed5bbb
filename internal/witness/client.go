package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/verify"
)

// ClientConfig says whom a log's server asks.
type ClientConfig struct {
	// Policy names the witnesses with their URLs, and the quorum.
	Policy  *verify.Policy
	Logger  *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: none
	Now     func() time.Time      // default time.Now
	// HTTP asks. Default: one that follows no redirects.
	HTTP *http.Client
	// Every is how often logs are looked at. Default 1 s.
	Every time.Duration
	// Timeout bounds one exchange with a witness. Default 5 s.
	Timeout time.Duration
}

// Client asks witnesses for cosignatures. Make it before the ledger is opened, whose
// Config.Witnesses is [Client.AtStart]; then let it [Client.Run].
type Client struct {
	cfg     ClientConfig
	log     *slog.Logger
	peers   []*peer
	metrics *clientMetrics
	room    chan struct{} // rounds at the same time
	ready   chan struct{} // closed once ledger is set
	ledger  *ledger.Ledger

	mu     sync.Mutex
	logs   map[logID]*logState
	loaded bool // loadAll has come to its end
}

const maxRounds = 16

// NewClient returns a client. The error wraps evidence.ErrInvalid where the policy
// names no witness with a URL.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.HTTP == nil {
		cfg.HTTP = plainClient()
	}
	c := &Client{
		cfg: cfg, log: cfg.Logger, room: make(chan struct{}, maxRounds), ready: make(chan struct{}), logs: map[logID]*logState{},
	}
	for _, w := range cfg.Policy.Witnesses {
		if w.URL == "" {
			c.log.Warn("a witness of the policy has no URL: it cannot be asked", "witness", w.Name)
			continue
		}
		p, err := newPeer(w.Name, w.Key, w.URL, cfg.HTTP)
		if err != nil {
			return nil, err
		}
		if !p.secure {
			c.log.Warn("a witness is asked without TLS: what it says against a log counts only where it shows the log's signature", "witness", w.Name)
		}
		c.peers = append(c.peers, p)
	}
	if len(c.peers) == 0 {
		return nil, fmt.Errorf("witness policy: %w: no witness has a URL", evidence.ErrInvalid)
	}
	c.metrics = newClientMetrics(cfg.Metrics, c)
	return c, nil
}

// plainClient follows no redirects: an answer counts as that of whom was asked.
func plainClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = maxRounds
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// logID names a log.
type logID struct {
	tenant string
	no     int
}

// logState is what the client knows of one log.
type logState struct {
	round sync.Mutex // held while the log is asked about: one checkpoint at a time

	mu      sync.Mutex
	loaded  bool
	signed  map[*peer]signature
	refused map[*peer]refusal
	unmet   time.Time // since when there is no quorum; zero: there is
	stopped bool      // contradicted: it is not shown any more
}

type signature struct {
	size int64
	at   time.Time
}

type refusal struct {
	why   string
	until time.Time
}

func (c *Client) of(ref logID) *logState {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.logs[ref]
	if l == nil {
		l = &logState{signed: map[*peer]signature{}, refused: map[*peer]refusal{}}
		c.logs[ref] = l
	}
	return l
}

// Use tells the client the ledger, once.
func (c *Client) Use(l *ledger.Ledger) { c.ledger = l; close(c.ready) }

// Run asks until ctx is done.
func (c *Client) Run(ctx context.Context) {
	select {
	case <-c.ready:
	case <-ctx.Done():
		return
	}
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { c.loadAll(ctx) })
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, h := range c.ledger.Published() {
			l := c.of(logID{h.Tenant, h.No})
			if !c.due(l, h) || !l.round.TryLock() {
				continue
			}
			select {
			case c.room <- struct{}{}:
			default: // the next tick
				l.round.Unlock()
				continue
			}
			working.Go(func() {
				defer func() { <-c.room; l.round.Unlock() }()
				c.ask(ctx, l, h, routine)
			})
		}
	}
}

// loadAll has all logs published, those too that nobody has written to since the
// start: a witness may not have seen their last records.
func (c *Client) loadAll(ctx context.Context) {
	tenants, err := c.ledger.Tenants(ctx)
	if err != nil {
		c.log.Error("list logs for witnesses", "err", err)
		return
	}
	for _, t := range tenants {
		if ctx.Err() != nil {
			return // AtStop goes on
		}
		if _, err := c.ledger.Checkpoint(ctx, t.Tenant); err != nil && ctx.Err() == nil {
			c.log.Warn("publish for witnesses", "log", t.Origin, "err", err)
		}
		logs, err := c.ledger.Logs(ctx, t.Tenant)
		if err != nil {
			continue
		}
		for _, lg := range logs[:len(logs)-1] {
			if _, _, err := c.ledger.PublishNow(ctx, lg.Tenant, lg.No); err != nil && ctx.Err() == nil {
				c.log.Warn("publish for witnesses", "log", lg.Origin, "err", err)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded = ctx.Err() == nil
}

// due reports whether a witness that may be asked has not signed a head.
func (c *Client) due(l *logState, h ledger.SignedHead) bool {
	return len(c.waiting(l, h, c.cfg.Now(), routine)) > 0
}

// urgency is whom a round asks.
type urgency int

const (
	routine urgency = iota // who neither failed nor refused lately
	hurried                // also who refused
	urgent                 // everybody: without them there is no quorum
)

// waiting returns the witnesses to ask about a head.
func (c *Client) waiting(l *logState, h ledger.SignedHead, now time.Time, how urgency) []*peer {
	var out []*peer
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return nil
	}
	for _, p := range c.peers {
		if l.loaded && l.signed[p].size >= h.Size || how < urgent && p.resting(now) || how < hurried && now.Before(l.refused[p].until) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// load reads what is kept of a log: nobody is asked again after a restart, nor for a tree
// that is behind one that another process has shown them. Behind the first time only
// what was signed of this head or a larger one matters.
func (c *Client) load(ctx context.Context, l *logState, h ledger.SignedHead) error {
	l.mu.Lock()
	loaded := l.loaded
	l.mu.Unlock()
	var list []ledger.Attestation
	var err error
	if loaded {
		list, err = c.ledger.Cosignatures(ctx, h.Tenant, h.No, h.Size)
	} else {
		list, err = c.ledger.Newest(ctx, h.Tenant, h.No)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range list {
		for _, p := range c.peers {
			if a.Kind == ledger.AttestCosignature && a.By == p.vkey.Name && a.Key == fmt.Sprintf("%08x", p.vkey.ID()) && a.Size > l.signed[p].size {
				l.signed[p] = signature{a.Size, a.At.Time()}
				p.setSize(h.Origin, a.Size)
			}
		}
	}
	l.loaded = true
	return nil
}

// result is what one witness said.
type result struct {
	p    *peer
	c    cosigned
	seen *ledger.Seen
	err  error
}

// ask shows one checkpoint to all witnesses that have not signed it, at the same
// time. l.round is locked.
func (c *Client) ask(ctx context.Context, l *logState, h ledger.SignedHead, how urgency) {
	if err := c.load(ctx, l, h); err != nil {
		c.log.Error("read cosignatures", "log", h.Origin, "err", err)
		return
	}
	peers := c.waiting(l, h, c.cfg.Now(), how)
	results := make(chan result, len(peers))
	for _, p := range peers {
		go func() { results <- c.exchange(ctx, p, h, c.prover(h)) }()
	}
	var list []ledger.Attestation
	for range peers {
		r := <-results
		c.note(l, h, &r)
		switch {
		case r.seen != nil:
			c.contradicted(ctx, l, h, *r.seen)
		case r.err == nil && r.c.line != nil:
			list = append(list, ledger.Attestation{
				Size: h.Size, Kind: ledger.AttestCosignature, By: r.p.vkey.Name, Key: fmt.Sprintf("%08x", r.p.vkey.ID()),
				At: evidence.MicrosOf(r.c.at), Note: h.Note, Data: r.c.line,
			})
		}
	}
	// What was signed is kept although the server stops: it has been said.
	if err := c.ledger.Attest(context.WithoutCancel(ctx), h.Tenant, h.No, list); err != nil {
		c.log.Error("keep cosignatures", "log", h.Origin, "size", h.Size, "err", err)
		return
	}
	if len(list) < len(peers) { // another process may have shown them a newer one
		if err := c.load(ctx, l, h); err != nil && ctx.Err() == nil {
			c.log.Warn("read cosignatures", "log", h.Origin, "err", err)
		}
	}
	c.count(l, h, list)
}

func (c *Client) prover(h ledger.SignedHead) proveFunc {
	return func(ctx context.Context, old int64) ([]evidence.Hash, error) {
		return c.ledger.Consistency(ctx, h.Tenant, h.No, old, h.Size)
	}
}

// exchange asks one witness, and asks it for its proof where it contradicts.
func (c *Client) exchange(asker context.Context, p *peer, h ledger.SignedHead, prove proveFunc) result {
	ctx, cancel := context.WithTimeout(asker, c.cfg.Timeout)
	defer cancel()
	r := result{p: p}
	r.c, r.seen, r.err = p.ask(ctx, h, prove, c.cfg.Now)
	if r.seen != nil {
		if r.seen.Note = p.show(ctx, h); r.seen.Note == nil && !p.secure {
			r.err = fmt.Errorf("%w without showing why, and anybody could have answered in its place: %s", errRefused, r.seen.Says)
			r.seen = nil
		}
	}
	if r.err == nil || asker.Err() == nil { // that we hung up is no fault of the witness
		p.answered(r.err, c.cfg.Now())
	}
	c.metrics.asked(&r)
	return r
}

// note keeps what /audit/integrity and the next round need.
func (c *Client) note(l *logState, h ledger.SignedHead, r *result) {
	l.mu.Lock()
	was := l.refused[r.p].why
	delete(l.refused, r.p)
	switch {
	case r.err == nil:
	case errors.Is(r.err, errUnknownLog), errors.Is(r.err, errRefused):
		l.refused[r.p] = refusal{r.err.Error(), c.cfg.Now().Add(refusalBackoff)}
	default:
		l.refused[r.p] = refusal{why: r.err.Error()}
	}
	l.mu.Unlock()
	if r.err != nil && r.err.Error() != was {
		c.log.Warn("no cosignature", "witness", r.p.name, "log", h.Origin, "size", h.Size, "err", r.err)
	}
}

// count notes signatures that are kept, and whether they are a quorum.
func (c *Client) count(l *logState, h ledger.SignedHead, list []ledger.Attestation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range list {
		for _, p := range c.peers {
			if a.By == p.vkey.Name && a.Key == fmt.Sprintf("%08x", p.vkey.ID()) && a.Size > l.signed[p].size {
				l.signed[p] = signature{a.Size, a.At.Time()}
			}
		}
	}
	switch {
	case c.met(l, h.Size):
		l.unmet = time.Time{}
	case l.unmet.IsZero():
		l.unmet = c.cfg.Now()
	}
}

// met reports whether a quorum has signed the tree of a size, or a larger one: another
// process may have been first. l.mu is locked.
func (c *Client) met(l *logState, size int64) bool {
	of := map[int64][]string{}
	for p, s := range l.signed {
		if s.size >= size {
			of[s.size] = append(of[s.size], p.key)
		}
	}
	for _, keys := range of {
		if c.cfg.Policy.Met(keys) {
			return true
		}
	}
	return false
}
