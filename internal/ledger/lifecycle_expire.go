package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// expireLeaves is how many leaves that expiries name one step goes through while somebody appends.
// It is a transaction about as long as a commit of as many records, so that appends wait
// for no more. Tests have smaller steps.
var expireLeaves int64 = 2048

const (
	// expireAlone is how many times as many that are while nobody does: fewer commits, each of
	// which empties the caches of those that read.
	expireAlone = 2
	// expireShared is how many times as many where no append waits for another one's transaction: fewer
	// of what each step asks before it begins.
	expireShared = 4
	// expireList is how many expiries one step is about.
	expireList = 512
	// expireSlack is how far a step looks for a place that cuts no sealed segment in two.
	expireSlack = 1024
	// expireSegments is how many leaf segments one step removes.
	expireSegments = 256
	// expireTries is how often a step is tried while others seal anew what it removes.
	expireTries = 5
)

// expiryPass goes through the rows of one log that a list of expiries names, once, from the
// front.
type expiryPass struct {
	log  store.Log
	list []store.Expiry // by From
	next int64          // where the next step begins
	// kept: rows of it stay, since holds are in force on them.
	kept map[store.Expiry]bool
}

// ExpireStep goes on with the expiries of a tenant that were ordered and are not done, by
// one small transaction, so that appends wait for milliseconds. Who calls it until
// More is false has done all of them, be it after a crash. An expiry some of whose rows are held,
// or wait for a drop that is planned, stays undone; the next round looks at it again.
func (l *Ledger) ExpireStep(ctx context.Context, tenant string) (ExpiryStep, error) {
	ctx = store.NoLag(ctx)
	step, turn, err := l.expireStep(ctx, tenant)
	if errors.Is(err, store.ErrSync) {
		l.halt(err)
	}
	if turn && err == nil && step.More {
		select { // others have a turn, who place a hold
		case <-time.After(lifePause):
		case <-ctx.Done():
		}
	}
	return step, err
}

// expireStep also says that it is time to let others have a turn, where there are others.
func (l *Ledger) expireStep(ctx context.Context, tenant string) (step ExpiryStep, turn bool, err error) {
	life, ctx, unlock, err := l.lifeAlone(ctx, tenant)
	if err != nil {
		return ExpiryStep{}, false, err
	}
	defer unlock()
	if step, err = l.nextStep(ctx, tenant, life); l.shared && time.Since(life.turn) >= lifeTurn {
		turn, life.turn = true, time.Now().Add(lifePause)
	}
	return step, turn, err
}

func (l *Ledger) nextStep(ctx context.Context, tenant string, life *tenantLife) (ExpiryStep, error) {
	if err := l.running(); err != nil {
		return ExpiryStep{}, err
	}
	holds, mark, err := l.holdsNow(ctx, tenant, life)
	if err != nil {
		return ExpiryStep{}, err
	}
	if life.pass == nil {
		if err := l.nextPass(ctx, tenant, life); err != nil {
			return ExpiryStep{}, err
		}
	}
	switch {
	case life.pass == nil:
		life.skip = nil
		return ExpiryStep{}, nil
	case life.pass.list[0].Table == store.TableLeaves:
		return l.expireLeafSegments(ctx, tenant, life)
	}
	for tries := 1; ; tries++ {
		step, err := l.expireRows(ctx, tenant, life, holds, mark)
		if errors.Is(err, evidence.ErrConflict) && !errors.Is(err, store.ErrHeld) && tries < expireTries {
			// A segment was sealed anew meanwhile, or another process placed a hold.
			if holds, mark, err = l.holdsNow(ctx, tenant, life); err == nil {
				continue
			}
		}
		if err != nil {
			life.pass, life.skip = nil, nil // found anew from what is there
			return step, fmt.Errorf("expire: %w", err)
		}
		return step, nil
	}
}

// holdsNow brings holds up to date and returns those in force, where none is of the tenant, with
// the mark of before: what changes them later, changes it.
func (l *Ledger) holdsNow(ctx context.Context, tenant string, life *tenantLife) ([]store.Hold, store.HoldsMark, error) {
	for {
		mark, err := l.store.HoldsMark(ctx, tenant)
		if err != nil {
			return nil, mark, err
		}
		holds, err := l.refreshHolds(ctx, tenant, life)
		if err != nil {
			return nil, mark, err
		}
		var held []string
		for i := range holds {
			if holds[i].Scope == store.HoldTenant {
				held = append(held, holds[i].ID)
			}
		}
		if len(held) > 0 {
			return nil, mark, fmt.Errorf("expire: %w", &HeldError{held})
		}
		again, err := l.store.HoldsMark(ctx, tenant)
		if err != nil || again == mark {
			return holds, mark, err
		}
		if err := ctx.Err(); err != nil {
			return nil, mark, err
		}
	}
}

// nextPass chooses the expiries that come next: those of topic rows of the first log
// that has some, then those of leaf segments.
func (l *Ledger) nextPass(ctx context.Context, tenant string, life *tenantLife) error {
	var rows, leaves []store.Expiry
	err := l.store.Expiries(ctx, tenant, func(e store.Expiry) error {
		if e.Done || life.skip[e] {
			return nil
		}
		list := &rows
		if e.Table == store.TableLeaves {
			list = &leaves
		}
		if len(*list) > 0 && (*list)[0].LogNo > e.LogNo {
			*list = (*list)[:0]
		}
		if len(*list) == 0 || (*list)[0].LogNo == e.LogNo {
			*list = append(*list, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		rows = leaves
	}
	if len(rows) == 0 {
		return nil
	}
	o, err := l.logByNo(ctx, tenant, rows[0].LogNo)
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(a, b store.Expiry) int { return int(a.From - b.From) })
	life.pass = &expiryPass{log: o.Log, list: rows, next: rows[0].From, kept: map[store.Expiry]bool{}}
	return nil
}

// window returns the expiries that the next step is about, and its leaves from <= seq < to.
// It spans what no expiry names, and has at most room leaves that one does.
func (p *expiryPass) window(room int64) (list []store.Expiry, from, to int64) {
	for i := range p.list {
		e := &p.list[i]
		if e.To <= p.next {
			continue
		}
		begin := max(p.next, e.From)
		if len(list) == 0 {
			from, to = begin, begin
		}
		if begin >= to && room == 0 {
			break
		}
		if len(list) >= expireList && begin > from {
			to = min(to, begin) // it comes with the next step
			break
		}
		if more := max(0, min(e.To-max(to, begin), room)); more > 0 {
			to, room = max(to, begin)+more, room-more
		}
		list = append(list, *e)
	}
	return list, from, to
}

// end returns where the pass ends.
func (p *expiryPass) end() (end int64) {
	for i := range p.list {
		end = max(end, p.list[i].To)
	}
	return end
}

// finishPass marks what the pass has done, all of it but for what is kept. The store may know
// of rows that go later, with their partition; so none has another pass in this round.
func (l *Ledger) finishPass(ctx context.Context, tenant string, life *tenantLife) error {
	p := life.pass
	var done []store.Expiry
	for _, e := range p.list {
		if !p.kept[e] {
			done = append(done, e)
		}
	}
	for part := range slices.Chunk(done, expireList) {
		if _, err := l.store.Expire(ctx, tenant, part, 0, 0, true, nil); err != nil {
			return err
		}
	}
	if life.skip == nil {
		life.skip = map[store.Expiry]bool{}
	}
	for _, e := range p.list {
		life.skip[e] = true
	}
	life.pass = nil
	return nil
}

func (l *Ledger) expireLeafSegments(ctx context.Context, tenant string, life *tenantLife) (ExpiryStep, error) {
	ref := life.pass.log.LogRef
	before, err := l.store.ExpireLeaves(ctx, ref, 0)
	if err != nil {
		return ExpiryStep{}, fmt.Errorf("expire leaves: %w", err)
	}
	left := before
	if before > 0 {
		if left, err = l.store.ExpireLeaves(ctx, ref, expireSegments); err != nil {
			return ExpiryStep{}, fmt.Errorf("expire leaves: %w", err)
		}
	}
	if left == 0 { // the store has marked them
		life.pass = nil
	}
	return ExpiryStep{Rows: before - left, More: true}, nil
}
