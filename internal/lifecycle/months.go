package lifecycle

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/evidence"
)

// Whole months: where most of an ended month's partition is to go, content goes first, of all
// tenants, and then the partition with its rows (store.Lifecycle, PlanDrop). A store without
// partitions plans none, and rows go with their content.

// leaseMonths is had by who plans and drops, of all processes: a drop before its time gives
// the plan of another one up.
const leaseMonths = "lifecycle_months"

// monthsAlone makes this call the only one that plans and drops, unless another one does.
func (s *Service) monthsAlone(ctx context.Context) (free func(), held bool, err error) {
	if !s.dropping.TryLock() { // the lease is that of the process
		return nil, false, nil
	}
	end, held, err := s.lease(ctx, leaseMonths)
	if err != nil || !held {
		s.dropping.Unlock()
		return nil, false, err
	}
	return func() {
		end()
		s.dropping.Unlock()
	}, true, nil
}

// wholeMonths has the store plan what can be dropped as a whole, carries out what was ordered,
// and drops. What carry leaves undone stays: the plan is given up then, or the rows are moved.
// While somebody else is at it, it does nothing: what he has planned waits for his drop, all
// else goes row by row.
func (s *Service) wholeMonths(ctx context.Context, carry func(ctx context.Context) error) (dropped []string, err error) {
	free, held, err := s.monthsAlone(ctx)
	if err != nil || !held {
		return nil, err
	}
	defer free()
	planned, err := s.cfg.Store.PlanDrop(ctx)
	if err != nil || len(planned) == 0 {
		return nil, err
	}
	if b, err := s.guards(ctx); err != nil || b.text != "" {
		return nil, err // who goes on says so
	}
	if err := carry(ctx); err != nil {
		return nil, err
	}
	dropped, _, err = s.cfg.Store.DropPlanned(ctx)
	return dropped, err
}

// wholeMonths does so for one tenant. Partitions are of all, but of others' nothing goes by
// that: a plan needs orders for half of a month, and those of others are carried out where
// the scheduler plans. What others have in a month that goes is moved; where that is most of it,
// no plan is made, and the rows of this tenant go by themselves.
func (e *expiry) wholeMonths(ctx context.Context) error {
	names, err := e.s.wholeMonths(ctx, e.steps)
	e.dropped(names)
	return err
}

// settle carries out what was ordered before and drops what was planned, so that nothing
// waits: what is there then and is due was not ordered, or is held.
func (e *expiry) settle(ctx context.Context) error {
	n, names, err := e.s.settle(ctx, e.tenant)
	e.removed += n
	e.dropped(names)
	return err
}

func (s *Service) settle(ctx context.Context, tenant string) (removed int64, dropped []string, err error) {
	if b, err := s.guards(ctx); err != nil || b.text != "" {
		if err == nil {
			s.setBlocked(tenant, b)
			err = fmt.Errorf("carry out an expiry: %w: %s", evidence.ErrUnavailable, b.text)
		}
		return 0, nil, err
	}
	err = s.counting(ctx, tenant, func() error {
		removed, err = s.steps(ctx, tenant)
		if err != nil {
			return err
		}
		free, held, err := s.monthsAlone(ctx)
		if err != nil {
			return err
		}
		if !held {
			return s.waits(ctx, tenant)
		}
		defer free()
		var left []string
		dropped, left, err = s.cfg.Store.DropPlanned(ctx)
		if err != nil || len(dropped)+len(left) == 0 {
			return err
		}
		n, err := s.steps(ctx, tenant)
		removed += n
		return err
	})
	return removed, dropped, err
}

// waits is an error where something that was ordered may wait for a drop that another one has
// planned: it must not be ordered again.
func (s *Service) waits(ctx context.Context, tenant string) error {
	orders, err := s.pendingOrders(ctx, tenant)
	if err == nil && len(orders) > 0 {
		err = busy(tenant)
	}
	return err
}

func (e *expiry) dropped(names []string) {
	e.out.Dropped = append(e.out.Dropped, names...)
	e.removed += int64(len(names))
}
