package ledger

import (
	"context"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// guardFindings are what is missing of the database's own protection.
func guardFindings(ctx context.Context, r store.Reader) ([]Finding, error) {
	guards, err := r.Guards(ctx)
	var list []Finding
	for _, g := range guards {
		list = append(list, Finding{Code: CodeGuard, Table: "schema", Message: "the database's own protection is incomplete: " + g})
	}
	return list, err
}

// guardsAgain is how soon guards that were found broken are looked at again.
const guardsAgain = time.Minute

// watchGuards looks at the guards again and again. A broken one raises the alarm until it
// is mended, and the log goes on: what it guards is signed, and who may drop a trigger must
// not be able to stop evidence from being kept by it. A start is refused.
func (l *Ledger) watchGuards(ctx context.Context, every time.Duration) {
	since := l.recording.from.Load() // where the system log ended at the last look
	for {
		next := every
		end := l.systemEnd(ctx) // before: what is recorded of it stands behind
		found, err := guardFindings(ctx, l.store)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.log.Warn("look at the guards of the database", "err", err)
			l.state.unseen()
			next = min(every, guardsAgain)
		default:
			l.guarded(ctx, found, since)
			since = end
			if len(found) > 0 {
				next = min(every, guardsAgain)
			}
		}
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
	}
}

// guarded makes known how the guards are. since is where the system log ended when they were
// looked at before: what is new has a record of it since, where another process has seen it.
func (l *Ledger) guarded(ctx context.Context, found []Finding, since *store.Position) {
	now := evidence.MicrosOf(l.clock.Now())
	was := l.state.guard(found, now)
	var fresh []Finding
	for i := range found {
		if !was[found[i].String()] {
			fresh = append(fresh, found[i])
		}
		delete(was, found[i].String())
	}
	for f := range was {
		l.log.Info("a guard of the database is whole again", "was", f)
	}
	l.metrics.guards.Set(float64(len(found)))
	l.report(ctx, fresh, since, now)
}

// guard notes how the guards are, and returns what was wrong with them before.
func (s *integrityState) guard(found []Finding, now evidence.Micros) (was map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was = map[string]bool{}
	since := map[string]evidence.Micros{}
	for _, a := range s.guards {
		was[a.String()], since[a.String()] = true, a.FirstSeen
	}
	s.guards, s.blind = nil, 0
	for _, f := range found[:min(len(found), maxAnomalies)] {
		a := Anomaly{f, now}
		if at, ok := since[f.String()]; ok {
			a.FirstSeen = at
		}
		s.guards = append(s.guards, a)
	}
	return was
}

// mostBlind is how often in a row a look at the guards may fail. Who breaks one may as well
// see to it that nobody can look.
const mostBlind = 3

func (s *integrityState) unseen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blind++
}

// Unguarded says which guards of the database were broken when they were last looked at;
// "" for none.
func (l *Ledger) Unguarded() string {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	const named = 3
	var list []string
	if l.state.blind >= mostBlind {
		list = append(list, "the guards of the database could not be looked at")
	}
	for i, a := range l.state.guards {
		if i == named {
			list = append(list, "and more")
			break
		}
		list = append(list, a.Message)
	}
	return strings.Join(list, "; ")
}
