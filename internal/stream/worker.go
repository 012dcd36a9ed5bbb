package stream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// worker runs one stream. All but status is for its one goroutine.
type worker struct {
	cfg     *Config
	stream  *Stream
	sink    sink
	enc     encoder
	pos     positions
	log     *slog.Logger
	metrics *metrics
	turn    *turn

	active  bool // it is this process's turn, and what follows is of it
	tenants map[string]*tenantState
	order   []string
	listed  time.Time // when tenants were listed
	begun   bool
	down    backoff // of the sink as a whole

	mu     sync.Mutex
	status status
}

// tenantState is how far a stream has come with a tenant.
type tenantState struct {
	at, saved store.Position
	end       store.Position // of the log, when it was last looked at
	savedAt   time.Time
	delivered bool // since it was saved
	limit     int  // events of the next batch: fewer after a refusal
	wait      backoff
	reason    string // of wait
}

// status is what alarms look at.
type status struct {
	blocked map[string]blockage // by tenant
	down    *blockage
}

type blockage struct {
	since   time.Time
	why     string
	refused bool // the sink answers, and will not have anything
}

func newWorker(cfg *Config, s *Stream, out sink, m *metrics) *worker {
	m.show(s.Name)
	w := &worker{
		cfg: cfg, stream: s, sink: out, metrics: m, log: cfg.Logger.With("stream", s.Name),
		enc: encoder{format: s.Format, disclose: s.Disclose, version: cfg.Version, instance: cfg.Ledger.Instance()},
		pos: positions{store: cfg.Store, of: s.Name},
	}
	w.turn = newTurn(cfg, "stream/"+s.Name, func(err error) { w.log.Warn("the lease of a stream", "err", err) })
	w.reset()
	return w
}

// reset forgets how far the stream has come: the store knows.
func (w *worker) reset() {
	w.tenants, w.order, w.listed, w.begun = map[string]*tenantState{}, nil, time.Time{}, false
	w.down = backoff{first: w.cfg.tempo.pause}
}

func (w *worker) run(ctx context.Context) {
	for more := true; ; {
		if !more && !pause(ctx, w.cfg.tempo.poll) {
			break
		}
		more = w.takesTurn() && w.pass(ctx)
		w.report()
		if ctx.Err() != nil {
			break
		}
	}
	// What was delivered and not saved yet would be delivered again.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if !w.turn.mine() {
		return
	}
	for tenant, t := range w.tenants {
		w.save(last, tenant, t)
	}
}

// takesTurn reports whether this process runs the stream. Where that has changed it
// begins at what is stored, or lets go of the sink.
func (w *worker) takesTurn() bool {
	mine := w.turn.mine()
	if mine == w.active {
		return mine
	}
	w.active = mine
	w.reset()
	if mine {
		w.log.Info("this process runs the stream")
	} else if err := w.sink.Close(); err != nil {
		w.log.Warn("close a sink", "err", err)
	}
	return mine
}

// pass gives each tenant one batch, and returns whether there is more to deliver now.
func (w *worker) pass(ctx context.Context) (more bool) {
	now := time.Now()
	if w.down.waits(now) {
		return false
	}
	if now.Sub(w.listed) >= w.cfg.tempo.refresh || w.listed.IsZero() {
		if err := w.list(ctx); err != nil {
			if ctx.Err() == nil {
				w.log.Warn("streaming waits: tenants cannot be listed", "err", err)
			}
			return false
		}
		w.listed = now
	}
	for _, tenant := range w.order {
		t := w.tenants[tenant]
		if t.wait.waits(now) {
			continue
		}
		again, err := w.step(ctx, tenant, t)
		if ctx.Err() != nil {
			return false
		}
		more = w.judge(tenant, t, again, err) || more
		if w.down.waits(time.Now()) {
			return false
		}
	}
	return more
}

// list takes up the tenants that are there now.
func (w *worker) list(ctx context.Context) error {
	if !w.begun {
		_, err := w.cfg.Store.Setting(ctx, w.pos.begun())
		if err != nil && !errors.Is(err, evidence.ErrNotFound) {
			return err
		}
		w.begun = err == nil
	}
	tenants, err := w.cfg.Ledger.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, info := range tenants {
		if w.tenants[info.Tenant] != nil || !w.stream.takes(info.Tenant) {
			continue
		}
		at, err := w.pos.start(ctx, w.cfg.Ledger, info.Tenant, w.stream.From, w.begun)
		if err != nil {
			return err
		}
		w.tenants[info.Tenant] = &tenantState{
			at: at, saved: at, savedAt: time.Now(), limit: maxBatchEvents, wait: backoff{first: w.cfg.tempo.pause},
		}
	}
	w.order = slices.Sorted(maps.Keys(w.tenants))
	if !w.begun {
		if err := w.cfg.Store.SetSetting(ctx, w.pos.begun(), evidence.MicrosOf(time.Now()).String()); err != nil {
			return err
		}
		w.begun = true
	}
	return nil
}

// readError is a failure before the sink was asked.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// step delivers a tenant's next batch. Everything is read anew each time.
func (w *worker) step(ctx context.Context, tenant string, t *tenantState) (more bool, err error) {
	end, err := w.cfg.Ledger.End(ctx, tenant)
	if err != nil {
		return false, &readError{err}
	}
	t.end = end
	if before(t.at, end) {
		b, next, err := w.read(ctx, tenant, t, end)
		if err != nil {
			return false, &readError{err}
		}
		if len(b.events) > 0 {
			if err := w.sink.deliver(ctx, b); err != nil {
				return false, err
			}
			w.metrics.delivered.WithLabelValues(w.stream.Name).Add(float64(len(b.events)))
			t.delivered = true
			t.limit = min(2*t.limit, maxBatchEvents)
		}
		t.at = next
	}
	more = before(t.at, end)
	w.saveWhenDue(ctx, tenant, t, more)
	return more, nil
}

// read makes a tenant's next batch, and says where the one behind it begins. The
// batch may be empty.
func (w *worker) read(ctx context.Context, tenant string, t *tenantState, end store.Position) (*batch, store.Position, error) {
	found, next, err := scan(ctx, w.cfg.Store, tenant, t.at, end, w.stream.Kinds, t.limit)
	if err != nil || len(found) == 0 {
		return &batch{}, next, err
	}
	fetched, err := w.cfg.Ledger.Fetch(ctx, tenant, found, len(w.stream.Disclose) > 0)
	if err != nil {
		return nil, next, err
	}
	b := &batch{stream: w.stream.Name, format: w.stream.Format}
	size := 0
	for i := range fetched {
		f := &fetched[i]
		if !w.stream.selected(f.Leaf) {
			continue
		}
		ev, err := w.enc.record(f, nil)
		if err != nil {
			return nil, next, fmt.Errorf("event of leaf %d of %s: %w", f.Seq, f.Leaf.Log, err)
		}
		if size += len(ev.Body); size > maxBatchBytes && len(b.events) > 0 {
			next = f.Position
			break
		}
		b.events = append(b.events, ev)
	}
	b.id = batchID(b)
	return b, next, nil
}

// batchID is the same for the same events of a stream.
func batchID(b *batch) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\x00", b.stream)
	for i := range b.events {
		_, _ = fmt.Fprintf(h, "%s\x00", b.events[i].ID)
	}
	return "msg_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// judge draws the consequences of a step, and returns whether there is more to do now.
func (w *worker) judge(tenant string, t *tenantState, more bool, err error) bool {
	now := time.Now()
	var refused *refusedError
	var unread *readError
	switch {
	case err == nil:
		if t.wait.failures > 0 {
			w.log.Info("streaming goes on", "tenant", tenant, "was", t.reason)
		}
		if w.down.failures > 0 {
			w.log.Info("the sink takes events again", "for", now.Sub(w.down.since).Round(time.Second).String())
		}
		t.wait.worked()
		w.down.worked()
		return more
	case errors.As(err, &unread) && errors.Is(err, evidence.ErrUnavailable):
		w.metrics.failures.WithLabelValues(w.stream.Name, reasonUnavailable).Inc()
		t.reason = reasonUnavailable
		t.wait.failed(now, err)
		w.log.Warn("streaming of a tenant waits: the store cannot be read now", "tenant", tenant, "err", why(err))
	case errors.As(err, &unread), errors.As(err, &refused) && refused.split:
		reason := reasonRefused
		if unread != nil {
			reason = reasonUnreadable
		}
		w.metrics.failures.WithLabelValues(w.stream.Name, reason).Inc()
		if t.limit > 1 {
			// Perhaps it is one record: those before it are to get through.
			t.limit /= 2
			return true
		}
		t.reason = reason
		t.wait.failed(now, err)
		w.log.Error("streaming of a tenant is blocked: nothing is skipped", "tenant", tenant, "reason", reason, "log_no", t.at.LogNo,
			"leaf_index", t.at.Seq, "err", why(err), "again_in", t.wait.until.Sub(now).Round(time.Millisecond).String())
	case refused != nil:
		w.metrics.failures.WithLabelValues(w.stream.Name, reasonRefused).Inc()
		w.down.failed(now, err)
		w.log.Error("the sink refuses events", "err", why(err), "again_in", w.down.until.Sub(now).Round(time.Millisecond).String())
	default:
		w.metrics.failures.WithLabelValues(w.stream.Name, reasonUnavailable).Inc()
		w.down.failed(now, err)
		w.log.Warn("the sink does not take events", "err", why(err), "again_in", w.down.until.Sub(now).Round(time.Millisecond).String())
	}
	return false
}

// saveWhenDue stores a position once all is delivered, else now and then.
func (w *worker) saveWhenDue(ctx context.Context, tenant string, t *tenantState, more bool) {
	since := time.Since(t.savedAt)
	if t.delivered && (!more || since >= w.cfg.tempo.save) || since >= w.cfg.tempo.idle {
		w.save(ctx, tenant, t)
	}
}

func (w *worker) save(ctx context.Context, tenant string, t *tenantState) {
	if t.at == t.saved {
		return
	}
	t.savedAt = time.Now()
	if err := w.pos.save(ctx, tenant, t.at); err != nil {
		w.metrics.unsaved.WithLabelValues(w.stream.Name).Inc()
		w.log.Warn("a position is not stored: after a crash events are delivered again", "tenant", tenant, "err", err)
		return
	}
	t.saved, t.delivered = t.at, false
}

// report publishes what metrics and alarms show.
func (w *worker) report() {
	now := time.Now()
	st := status{blocked: map[string]blockage{}}
	var behind int64
	for tenant, t := range w.tenants {
		if t.wait.failures > 0 && t.reason != reasonUnavailable {
			st.blocked[tenant] = blockage{since: t.wait.since, why: t.reason + ": " + why(t.wait.err)}
		}
		if t.end.LogNo == t.at.LogNo {
			behind += max(t.end.Seq-t.at.Seq, 0)
		} else {
			behind += t.end.Seq // of the logs in between it is not known without reading
		}
	}
	waiting := 0.0
	if w.down.failures > 0 {
		var refused *refusedError
		st.down = &blockage{w.down.since, why(w.down.err), errors.As(w.down.err, &refused)}
		waiting = now.Sub(w.down.since).Seconds()
	}
	w.metrics.blocked.WithLabelValues(w.stream.Name).Set(float64(len(st.blocked)))
	w.metrics.behind.WithLabelValues(w.stream.Name).Set(float64(behind))
	w.metrics.waiting.WithLabelValues(w.stream.Name).Set(waiting)
	w.mu.Lock()
	w.status = st
	w.mu.Unlock()
}

// conditions are those of the stream: what is blocked, and a sink that is down.
func (w *worker) conditions(now time.Time, down time.Duration) (out []*condition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.status.blocked) > 0 {
		c := &condition{Name: condBlocked, Subject: w.stream.Name}
		for _, tenant := range slices.Sorted(maps.Keys(w.status.blocked)) {
			if c.Why == "" {
				c.Why = w.status.blocked[tenant].why
			}
			c.add(tenant)
		}
		out = append(out, c)
	}
	switch d := w.status.down; {
	case d == nil:
	case d.refused && len(out) == 0:
		out = append(out, &condition{Name: condBlocked, Subject: w.stream.Name, Why: d.why})
	case !d.refused && now.Sub(d.since) >= down:
		out = append(out, &condition{Name: condDown, Subject: w.stream.Name, Why: d.why})
	}
	return out
}

var _ Ledger = (*ledger.Ledger)(nil)
