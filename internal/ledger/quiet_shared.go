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

// left are tenants of which nothing more is told and whose newest log has more than that: who
// wrote it has died. Who writes it next tells, or finds the rest, unless it dies too soon.
func (w *sharedWatch) left(ctx context.Context) (list []string) {
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
			if ctx.Err() == nil {
				l.log.Warn("look at a log that other processes write", "tenant", tenant, "err", err)
			}
			continue
		}
		if q.looked = time.Now(); more {
			list = append(list, tenant)
		}
	}
	return list
}

func (l *Ledger) moreThanTold(ctx context.Context, tenant string) (bool, error) {
	ctx = store.NoLag(ctx)
	logs, err := l.store.Logs(ctx, tenant)
	if err != nil || len(logs) == 0 {
		return false, err
	}
	ref := logs[len(logs)-1].LogRef
	head, err := l.store.Head(ctx, ref)
	known, _ := l.state.tail(ref)
	return err == nil && head.Size > known, err
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
