package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// finishErasures goes on with erasures that were interrupted. Those whose statement it
// writes are counted here: nobody lived to do it.
func (s *Service) finishErasures(ctx context.Context, tenant string) (ledger.Retired, error) {
	done, err := s.cfg.Ledger.FinishErasures(ctx, tenant)
	s.metrics.erasures.WithLabelValues(resultExecuted).Add(float64(done.Erasures))
	if done.Keys > 0 {
		s.cfg.Logger.Info("keys that opened what was erased are destroyed", "tenant", tenant, "keys", done.Keys, "sealed_anew", done.Segments)
	}
	if err != nil {
		return done, fmt.Errorf("finish erasures: %w", err)
	}
	return done, nil
}

// resume carries out what was ordered, by this go, one that failed or a process that died, and
// counts what is done by that. It returns how many rows went.
func (s *Service) resume(ctx context.Context, tenant string) (rows int64, err error) {
	err = s.counting(ctx, tenant, func() (err error) {
		rows, err = s.steps(ctx, tenant)
		return err
	})
	return rows, err
}

// counting does something that may end what was ordered, and counts that: an order whose end comes
// meanwhile. Who does it has the tenant (begin), so of all processes one counts an order, whoever
// ordered it.
func (s *Service) counting(ctx context.Context, tenant string, do func() error) error {
	before, err := s.pendingOrders(ctx, tenant)
	if err != nil {
		return err
	}
	err = do()
	if len(before) == 0 || ctx.Err() != nil {
		return err
	}
	return errors.Join(err, s.countRecovered(ctx, tenant, before))
}

// pendingOrders are the RetentionApplied records of which something is left to do.
func (s *Service) pendingOrders(ctx context.Context, tenant string) (map[store.Position]bool, error) {
	out := map[store.Position]bool{}
	err := s.cfg.Store.Expiries(ctx, tenant, func(e store.Expiry) error {
		if !e.Done {
			out[e.By] = true
		}
		return nil
	})
	return out, err
}

// countRecovered counts what the orders that are done by now say: each is counted once, when the
// last of it is gone.
func (s *Service) countRecovered(ctx context.Context, tenant string, orders map[store.Position]bool) error {
	left, err := s.pendingOrders(ctx, tenant)
	if err != nil {
		return err
	}
	var at []store.Found
	for by := range orders {
		if !left[by] {
			at = append(at, store.Found{Kind: evidence.KindAudit, Position: by, Segment: store.NoSegment, ActorSegment: store.NoSegment})
		}
	}
	records, err := s.cfg.Ledger.Fetch(ctx, tenant, at, false)
	if err != nil {
		return err
	}
	for i := range records {
		l := records[i].Leaf
		n, _ := l.Int("record_count")
		switch class := l.Text("rule_id"); {
		case l.Text("entity_id") == store.TableLeaves:
			s.metrics.moved.Add(float64(n))
		case evidence.RetentionDays(class) != 0:
			s.metrics.removed.WithLabelValues(class).Add(float64(n))
		}
	}
	return nil
}
