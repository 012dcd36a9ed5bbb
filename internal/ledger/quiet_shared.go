package ledger

import (
	"context"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// quietSince is since when nothing new was told of a tenant.
type quietSince struct {
	text   string
	since  time.Time
	looked time.Time
}

const (
	// looks is at how many tenants that have become quiet a process looks at a time.
	looks = 64
	// looksAgain is after how many leases it looks again at one that is still quiet: who wrote
	// more may have died before it told of any of it.
	looksAgain = 20
)

// left are logs that have more than was told of them, of tenants of which nothing more is
// told: who wrote them has died. Who writes them next tells, or finds the rest, unless it dies too
// soon.
func (w *sharedWatch) left(ctx context.Context) (list []store.LogRef) {
	l := w.l
	looked := 0
	for tenant, text := range l.state.toldTexts(l.holder) {
		q := w.quiet[tenant]
		if q == nil || q.text != text {
			w.quiet[tenant] = &quietSince{text: text, since: time.Now()}
			continue
		}
		if time.Since(q.since) < 2*l.turns.lease || time.Since(q.looked) < looksAgain*l.turns.lease || looked == looks {
			continue
		}
		looked++
		more, err := l.moreThanTold(ctx, tenant)
		if err != nil {
			w.unread(ctx, tenant, err)
			continue
		}
		q.looked = time.Now()
		list = append(list, more...)
	}
	return list
}

// moreThanTold are logs of a tenant that have more than was told: its newest, and where that
// came by a rollover of which nothing was told, the one before.
func (l *Ledger) moreThanTold(ctx context.Context, tenant string) (list []store.LogRef, err error) {
	ctx = store.NoLag(ctx)
	logs, err := l.store.Logs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	for i := len(logs) - 1; i >= 0; i-- {
		ref := logs[i].LogRef
		head, err := l.store.Head(ctx, ref)
		if err != nil {
			return nil, err
		}
		known, _ := l.state.tail(ref)
		if head.Size > known {
			list = append(list, ref)
		}
		if known > 0 || !l.state.follows(ref) {
			break
		}
	}
	return list, nil
}

// follows reports whether something is known of a log of the tenant before this one. Then
// nobody but who opened it has seen a log of which nothing is: a full verification tells of all.
func (s *integrityState) follows(ref store.LogRef) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(ref.Tenant)
	for _, through := range []map[int]int64{t.told.Through, t.told.Tail, t.through} {
		for no, n := range through {
			if no < ref.No && n > 0 {
				return true
			}
		}
	}
	return false
}

// toldTexts are what others said last, by tenant.
func (s *integrityState) toldTexts(but string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := map[string]string{}
	for tenant, t := range s.tenants {
		if t.toldText != "" && t.told.By != but {
			texts[tenant] = t.toldText
		}
	}
	return texts
}
