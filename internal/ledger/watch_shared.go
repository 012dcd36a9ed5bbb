package ledger

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// Where several processes serve one database each tenant is verified by one of them at a
// time, the one whose turn it is, and what it finds is told to all (ADR 036). A turn is asked for by
// who has something to verify: so it is with the process that writes the tenant, and goes
// to another one that writes it when that has nothing more to do.

// watchShared checks new leaves as they become durable. Also where nothing wakes it, it
// looks from time to time at what others said and wrote.
func (l *Ledger) watchShared(ctx context.Context, wake <-chan struct{}) {
	w := &sharedWatch{l: l, tails: map[store.LogRef]*tail{}, quiet: map[string]*quietSince{}}
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
			w.end(ctx)
			return
		}
		select {
		case <-time.After(max(followEvery, (scrubShare-1)*took)):
		case <-ctx.Done():
			w.end(ctx)
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
	quiet map[string]*quietSince
	mute  time.Time // until when nothing is told, since it could not be
}

// end tells what was not told yet.
func (w *sharedWatch) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshWait)
	defer cancel()
	w.settle(ctx)
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
		if _, _, err := l.latestLog(ctx, tenant); err != nil {
			w.unread(ctx, tenant, err)
		}
	}
	for _, ref := range w.left(ctx) {
		o, err := l.logByNo(ctx, ref.Tenant, ref.No)
		if err == nil {
			_, err = l.latest(ctx, o)
		}
		if err != nil {
			w.unread(ctx, ref.Tenant, err)
		}
	}
}

func (w *sharedWatch) unread(ctx context.Context, tenant string, err error) {
	if ctx.Err() == nil {
		w.l.log.Warn("look at a log that other processes write", "tenant", tenant, "err", err)
	}
}

// round checks what the logs got, of the tenants whose turn is here or can be had, or whose
// turn somebody has who does nothing with it.
func (w *sharedWatch) round(ctx context.Context) {
	l := w.l
	for _, o := range l.openLogs() {
		t := w.tails[o.LogRef]
		if t == nil {
			t = l.tailFromTold(o)
			w.tails[o.LogRef] = t
		}
		st := o.state()
		known, told := l.state.tail(o.LogRef)
		t.skip = max(t.skip, min(known, st.tree.size()))
		if max(t.tree.size(), t.skip) >= st.tree.size() {
			t.waits = time.Time{}
			continue
		}
		if !l.turns.take(ctx, o.Tenant) && !t.waited(told, patience*l.turns.lease) {
			continue
		}
		t.waits = time.Time{}
		err := l.resume(ctx, o, t)
		if err == nil {
			err = l.follow(ctx, o, t)
		}
		if err == nil {
			l.turns.use(o.Tenant)
		} else if ctx.Err() == nil {
			l.log.Error("verify new leaves", "log", o.Origin, "err", err)
			l.turns.refuse(ctx, o.Tenant) // perhaps another one can
		}
	}
	w.tell(ctx, l.state.untold())
}

// waited reports whether there were leaves to look at for so long while others came no
// further.
func (t *tail) waited(told int64, patience time.Duration) bool {
	if t.waits.IsZero() || told > t.heard {
		t.waits, t.heard = time.Now(), told
	}
	return time.Since(t.waits) > patience
}

// settle tells what was verified and found, and gives up the turns that were not used.
func (w *sharedWatch) settle(ctx context.Context) {
	l := w.l
	w.mute = time.Time{}
	moved := map[string]bool{}
	for ref, t := range w.tails {
		if _, told := l.state.tail(ref); t.toTell(told) {
			moved[ref.Tenant] = true
		}
	}
	for _, tenant := range l.state.untold() {
		moved[tenant] = true
	}
	w.tell(ctx, slices.Collect(maps.Keys(moved)))
	_, idle := l.turns.held()
	for _, tenant := range idle {
		l.turns.give(ctx, tenant)
	}
}

// toTell reports whether a tail has come farther than was told. Where it began behind that,
// nobody may have looked at what is between; it is not told then.
func (t *tail) toTell(told int64) bool { return t.from <= told && t.tree.size() > told }

func (w *sharedWatch) tell(ctx context.Context, tenants []string) {
	l := w.l
	for _, tenant := range tenants {
		if time.Now().Before(w.mute) {
			return
		}
		tails := map[int]int64{}
		for ref, t := range w.tails {
			if _, told := l.state.tail(ref); ref.Tenant == tenant && t.toTell(told) {
				tails[ref.No] = t.tree.size()
			}
		}
		if err := l.tell(ctx, tenant, tails, false); err != nil && ctx.Err() == nil {
			l.log.Warn("tell other processes what was verified", "tenant", tenant, "err", err)
			w.mute = time.Now().Add(l.turns.every() / 2)
		}
	}
}

// mostAhead is how many leaves behind a full verification a tail begins at most.
const mostAhead = 1 << 20

// tailFromTold begins where the others have ended: what a process wrote that died is
// looked at by who opens the log next; of one that it had just begun, all. What nobody said
// of a tenant is the full verification's.
func (l *Ledger) tailFromTold(o *openLog) *tail {
	t := l.newTail(o)
	known, _ := l.state.tail(o.LogRef)
	if (known > 0 || l.state.follows(o.LogRef)) && known < t.tree.size() && t.tree.size()-known < mostAhead {
		t = &tail{skip: known, from: known}
	}
	return t
}

// resume brings a tail to where others have looked.
func (l *Ledger) resume(ctx context.Context, o *openLog, t *tail) (err error) {
	if t.skip <= t.tree.size() {
		return nil
	}
	tree, err := loadTree(ctx, l.store, o.LogRef, t.skip)
	if err != nil {
		return err
	}
	t.tree, t.lastT, t.from = tree, 0, t.skip
	return nil
}
