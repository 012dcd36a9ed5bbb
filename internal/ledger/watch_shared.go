package ledger

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Where several processes serve one database each tenant is verified by one of them at a
// time, the one whose turn it is, and what it finds is told to all (ADR 036). A turn is asked for by
// who has something to verify: so it is with the process that writes the tenant, and goes
// to another one that writes it when that has nothing more to do.

// scrubShared verifies the tenants whose last full verification is long ago, whoever
// made it.
func (l *Ledger) scrubShared(ctx context.Context, cfg WatchConfig) {
	anchors, began := time.Time{}, evidence.MicrosOf(l.clock.Now())
	for ctx.Err() == nil {
		if time.Since(anchors) >= cfg.ScrubEvery {
			l.scrubAnchors(ctx)
			anchors = time.Now()
		}
		l.scrubDueTenants(ctx, cfg, began)
		select {
		case <-time.After(min(cfg.ScrubEvery, l.turns.every())):
		case <-ctx.Done():
		}
	}
}

func (l *Ledger) scrubDueTenants(ctx context.Context, cfg WatchConfig, began evidence.Micros) {
	tenants, err := l.Tenants(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.log.Error("verify", "err", err)
		}
		return
	}
	first := rand.IntN(max(len(tenants), 1)) // so that processes share the work
	for i := range tenants {
		tenant := tenants[(first+i)%len(tenants)].Tenant
		if !l.scrubDueFor(tenant, began, cfg.ScrubEvery) || !l.turns.take(ctx, tenant) {
			continue
		}
		// Who had the turn before may have just done it.
		if err := l.hearOf(ctx, tenant); err != nil || !l.scrubDueFor(tenant, began, cfg.ScrubEvery) {
			continue
		}
		stop := l.turns.keep(ctx, tenant)
		whole := l.scrubTenant(ctx, cfg, tenant)
		stop()
		if ctx.Err() != nil {
			return
		}
		if err := l.tell(ctx, tenant, nil, whole); err != nil && ctx.Err() == nil {
			l.log.Warn("tell other processes what was verified", "tenant", tenant, "err", err)
		}
	}
	oldest := evidence.MicrosOf(l.clock.Now())
	for _, info := range tenants {
		at, _ := l.state.verifiedAt(info.Tenant, l.holder)
		oldest = min(oldest, at)
	}
	l.metrics.scrubbedAt.Set(float64(oldest) / 1e6)
}

// scrubDueFor reports whether a tenant is to be verified: if nobody did so since this
// process began, for much can happen while one is down, or not for long. Who did so last
// leaves the others the first go: behind a process that says what is not true comes another.
func (l *Ledger) scrubDueFor(tenant string, began evidence.Micros, every time.Duration) bool {
	at, mine := l.state.verifiedAt(tenant, l.holder)
	if mine {
		every += every / 8
	}
	return at < began || l.clock.Now().Sub(at.Time()) >= every
}

// watchShared checks new leaves as they become durable. Also where nothing wakes it, it
// looks from time to time at what others said and wrote.
func (l *Ledger) watchShared(ctx context.Context, wake <-chan struct{}) {
	w := &sharedWatch{l: l, tails: map[store.LogRef]*tail{}}
	tick := time.NewTicker(l.turns.every())
	defer tick.Stop()
	var took time.Duration
	for {
		ticked := false
		select {
		case <-wake:
		case <-tick.C:
			ticked = true
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(max(followEvery, (scrubShare-1)*took)):
		case <-ctx.Done():
			return
		}
		began := time.Now()
		if ticked {
			w.listen(ctx)
		}
		w.round(ctx)
		if ticked {
			w.settle(ctx)
		}
		took = time.Since(began)
	}
}

type sharedWatch struct {
	l     *Ledger
	tails map[store.LogRef]*tail
}

// listen takes what others said, and looks at what they wrote to the tenants whose turn is
// here.
func (w *sharedWatch) listen(ctx context.Context) {
	l := w.l
	if err := l.hear(ctx); err != nil && ctx.Err() == nil {
		l.log.Warn("what other processes verified is not known", "err", err)
	}
	held, _ := l.turns.held()
	for _, tenant := range held {
		if _, _, err := l.latestLog(ctx, tenant); err != nil && ctx.Err() == nil {
			l.log.Warn("look at a log that other processes write", "tenant", tenant, "err", err)
		}
	}
}

// round checks what the logs got, of the tenants whose turn is here or can be had.
func (w *sharedWatch) round(ctx context.Context) {
	l := w.l
	l.mu.Lock()
	logs := make([]*openLog, 0, len(l.logs))
	for _, o := range l.logs {
		logs = append(logs, o)
	}
	l.mu.Unlock()
	for _, o := range logs {
		t := w.tails[o.LogRef]
		if t == nil {
			t = l.tailFromTold(o)
			w.tails[o.LogRef] = t
		}
		st := o.state()
		t.skip = max(t.skip, min(l.state.tail(o.LogRef), st.tree.size()))
		if max(t.tree.size(), t.skip) >= st.tree.size() || !l.turns.take(ctx, o.Tenant) {
			continue
		}
		err := l.resume(ctx, o, t)
		if err == nil {
			err = l.follow(ctx, o, t)
		}
		if err != nil && ctx.Err() == nil {
			l.log.Error("verify new leaves", "log", o.Origin, "err", err)
		}
		l.turns.use(o.Tenant)
	}
}

// settle tells what was verified and found, and gives up the turns that were not used.
func (w *sharedWatch) settle(ctx context.Context) {
	l := w.l
	held, idle := l.turns.held()
	for _, tenant := range append(held, l.state.untold()...) {
		tails := map[int]int64{}
		moved := false
		for ref, t := range w.tails {
			if ref.Tenant == tenant && t.tree.size() > 0 {
				tails[ref.No] = t.tree.size()
				moved = moved || t.tree.size() > l.state.tail(ref)
			}
		}
		if !moved && !l.state.isUntold(tenant) {
			continue
		}
		if err := l.tell(ctx, tenant, tails, false); err != nil && ctx.Err() == nil {
			l.log.Warn("tell other processes what was verified", "tenant", tenant, "err", err)
		}
	}
	for _, tenant := range idle {
		l.turns.give(ctx, tenant)
	}
}

// mostAhead is how many leaves behind a full verification a tail begins at most.
const mostAhead = 1 << 20

// tailFromTold begins where the others have ended: what a process wrote that died is
// looked at by who opens the log next. What nobody said is the full verification's.
func (l *Ledger) tailFromTold(o *openLog) *tail {
	t := l.newTail(o)
	if told := l.state.tail(o.LogRef); told > 0 && told < t.tree.size() && t.tree.size()-told < mostAhead {
		t = &tail{skip: told}
	}
	return t
}

// resume brings a tail to where others have looked.
func (l *Ledger) resume(ctx context.Context, o *openLog, t *tail) (err error) {
	if t.skip <= t.tree.size() {
		return nil
	}
	t.tree, err = loadTree(ctx, l.store, o.LogRef, t.skip)
	t.lastT = 0
	return err
}
