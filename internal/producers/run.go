package producers

import (
	"context"
	"errors"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// leaseName is that of the process that follows the logs.
const leaseName = "producers"

// turn says whether this process follows the logs. It is no lock: two that do both
// find the same, and state it under the same id.
type turn struct {
	held  bool
	asked time.Time // when it was last given
}

// Run follows all logs at a bounded rate, and states which producers are silent, until
// ctx is done. It is for servers: only who listens can say that nothing came. ready
// returns why producers cannot be listened to now, or nil.
func (t *Tracker) Run(ctx context.Context, ready func() error) {
	t.begin(ready)
	for more := true; ; {
		if !more && !pause(ctx, t.cfg.tempo.pass) {
			break
		}
		more = t.pass(ctx)
		if ctx.Err() != nil {
			break
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	t.forget(last, t.turn.held)
	if t.cfg.Lease != nil && t.turn.held {
		if _, err := t.cfg.Lease(last, leaseName, 0); err != nil {
			t.log.Warn("the lease of producers is not given up", "err", err)
		}
	}
}

// begin is when listening begins.
func (t *Tracker) begin(ready func() error) {
	t.ready, t.since, t.looked = ready, t.now(), t.wall()
}

// wall is the time of the wall clock, which records have: the other one stands still
// while a machine sleeps, and does not show that the clock was set.
func (t *Tracker) wall() time.Time { return t.cfg.Now().Round(0) }

// listen notes where nobody listened: ingest took nothing, the process stood still, or
// the clock was set. It reports whether somebody does now.
func (t *Tracker) listen() bool {
	now := t.wall()
	ready := t.ready() == nil
	if gone := now.Sub(t.looked); !ready || gone < 0 || gone > t.cfg.tempo.stall {
		t.since = evidence.MicrosOf(now)
	}
	t.looked = now
	return ready
}

// mine reports whether it is this process's turn.
func (t *Tracker) mine(ctx context.Context) bool {
	if t.cfg.Lease == nil {
		return true
	}
	ttl := t.cfg.tempo.lease
	at := time.Now()
	if t.turn.held && at.Sub(t.turn.asked) < ttl/3 {
		return true
	}
	asking, cancel := context.WithTimeout(ctx, ttl/3)
	defer cancel()
	held, err := t.cfg.Lease(asking, leaseName, ttl)
	if err != nil {
		if ctx.Err() == nil {
			t.log.Warn("the lease of producers", "err", err)
		}
		held = t.turn.held && at.Sub(t.turn.asked) < ttl
		if held {
			return true
		}
	}
	if t.turn.held && !held {
		t.forget(ctx, false)
	}
	t.turn = turn{held, at}
	return held
}

// forget lets all books go, stored before where they are this process's to keep.
func (t *Tracker) forget(ctx context.Context, save bool) {
	t.mu.Lock()
	all := t.tenants
	t.tenants = map[string]*entry{}
	t.mu.Unlock()
	for _, e := range all {
		e.mu.Lock()
		if save {
			t.save(ctx, e)
		}
		e.mu.Unlock()
	}
	t.metrics.show(nil, 0)
}

// pass looks at all logs, and returns whether there is more to read now.
func (t *Tracker) pass(ctx context.Context) (more bool) {
	t.listen()
	if !t.mine(ctx) {
		return false
	}
	tenants, err := t.cfg.Ledger.Tenants(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.log.Warn("producers wait: tenants cannot be listed", "err", err)
		}
		return false
	}
	silent, behind, held := map[string]int{}, int64(0), 0
	for _, info := range tenants {
		f := t.follow(ctx, info.Tenant, held > t.cfg.tempo.held)
		if ctx.Err() != nil {
			return false
		}
		t.failed(info.Tenant, f.err)
		if f.silent > 0 {
			silent[info.Tenant] = f.silent
		}
		behind += f.behind
		held += f.held
		more = more || f.err == nil && f.behind > 0
		if !t.mine(ctx) {
			return false
		}
	}
	t.metrics.show(silent, behind)
	return more
}

// failed says what is wrong with a tenant, once.
func (t *Tracker) failed(tenant string, err error) {
	if err == nil {
		delete(t.failures, tenant)
		return
	}
	if t.failures[tenant] == err.Error() {
		return
	}
	t.failures[tenant] = err.Error()
	if errors.Is(err, evidence.ErrUnavailable) {
		t.log.Warn("producers of a tenant wait: the store cannot be used now", "tenant", tenant, "err", err)
		return
	}
	t.log.Error("producers of a tenant are not followed", "tenant", tenant, "err", err)
}

// followed is what a look at a tenant found.
type followed struct {
	behind int64 // leaves of its newest log that are still to be read
	silent int   // producers
	held   int   // producers that are kept in memory
	err    error
}

// follow reads what is new of a tenant, and once at the end looks for silence. letGo
// says that there is no room to keep what it knows in memory.
func (t *Tracker) follow(ctx context.Context, tenant string, letGo bool) (f followed) {
	now := t.now() // before the end: what comes later is no silence
	began := time.Now()
	end, err := t.cfg.Ledger.End(ctx, tenant)
	t.pace(ctx, lookCost, time.Since(began))
	if err != nil {
		return followed{err: err}
	}
	e := t.entry(tenant)
	for done, more := int64(0), true; more && done < maxTurn; {
		var n int64
		began = time.Now()
		n, more, err = t.advance(ctx, e, tenant, end)
		t.pace(ctx, n, time.Since(began))
		done += n
		if err != nil || ctx.Err() != nil {
			return followed{err: err}
		}
		t.listen()
		if more && !t.mine(ctx) {
			return followed{}
		}
	}
	began = time.Now()
	f = t.look(ctx, e, end, now, letGo)
	t.pace(ctx, 0, time.Since(began))
	return f
}

// advance counts some leaves of a tenant, and returns whether there are more.
func (t *Tracker) advance(ctx context.Context, e *entry, tenant string, end store.Position) (n int64, more bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.book == nil && e.left == end {
		return 0, false, nil
	}
	if err := t.open(ctx, e, tenant, end); err != nil {
		return 0, false, err
	}
	if !before(e.book.at, end) {
		return 0, false, nil
	}
	n, err = t.step(ctx, e.book, end, min(maxStep, int64(max(t.cfg.tempo.rate/5, 1))))
	return n, before(e.book.at, end), err
}

// look states what is silent, where all has been read, and stores what is due.
func (t *Tracker) look(ctx context.Context, e *entry, end store.Position, now evidence.Micros, letGo bool) (f followed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.book
	if b == nil {
		return f
	}
	f.held = len(b.list)
	if before(b.at, end) {
		f.behind = end.Seq
		if b.at.LogNo == end.LogNo {
			f.behind -= b.at.Seq
		}
	} else if t.listen() {
		f.err = t.tell(ctx, b, now)
	}
	expecting := false
	for _, p := range b.list {
		expecting = expecting || p.Heart.expected()
		if p.silent() {
			f.silent++
		}
	}
	t.saveWhenDue(ctx, e)
	if letGo && !expecting && f.behind == 0 {
		if t.save(ctx, e); e.saved == b.at {
			e.book, e.left, f.held = nil, b.at, 0
		}
	}
	return f
}

// saveWhenDue stores the book now and then. A large one is stored less often, and few
// of all tenants at a time, so that ingest does not wait for it.
func (t *Tracker) saveWhenDue(ctx context.Context, e *entry) {
	now := t.cfg.Now()
	wait := max(t.cfg.tempo.save, time.Duration(e.size)*time.Second/saveBytes)
	if e.book.at == e.saved || now.Sub(e.savedAt) < wait || now.Sub(t.savedAt) < t.cfg.tempo.saves {
		return
	}
	t.savedAt = now
	t.save(ctx, e)
}

// pace waits as long as reading so many leaves may take, and idle times as long as it
// took: on a machine or a database that is busy, the walk is what waits. Time that was
// lost so is not made up for.
func (t *Tracker) pace(ctx context.Context, leaves int64, took time.Duration) {
	due := time.Duration(leaves) * time.Second / time.Duration(t.cfg.tempo.rate)
	pause(ctx, max(due, time.Duration(t.cfg.tempo.idle)*took))
}

// pause waits, and returns false when ctx is done.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
