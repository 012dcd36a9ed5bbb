package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// retire destroys the keys of days all of whose content is gone: of runs and of system
// logs, for what is left under them is sealed anew.
func (e *expiry) retire(ctx context.Context) error {
	if e.req.Class != "" {
		return nil
	}
	through := e.at
	for _, class := range []string{evidence.ClassLLMRuns, evidence.ClassSystemLogs} {
		c := e.found[class]
		if e.blocked[class].reason != "" && c.rows > 0 {
			return nil
		}
		through = min(through, c.before)
	}
	done, err := e.s.cfg.Ledger.RetireKeys(ctx, e.tenant, (through - day).Time().Format(time.DateOnly))
	// And what outlived its day's key and has gone now takes its key along.
	more, also := e.s.finishErasures(ctx, e.tenant)
	e.out.Retired += done.Keys + more.Keys
	e.removed += int64(done.Keys + done.Segments + more.Keys + more.Segments)
	if err = errors.Join(err, also); err != nil {
		return fmt.Errorf("retire keys: %w", err)
	}
	return nil
}

func (e *expiry) moveBefore() evidence.Micros {
	return startOfDay(e.at - evidence.Micros(e.s.cfg.MoveAfter.Microseconds()))
}

// moveLeaves lets the leaf segments of old units leave the database. They are read from
// the archive since.
func (e *expiry) moveLeaves(ctx context.Context) error {
	s := e.s
	if s.cfg.MoveAfter == 0 || s.cfg.Archive == nil || e.req.Class != "" {
		return nil
	}
	moved := map[int]int64{}
	err := s.cfg.Store.Expiries(ctx, e.tenant, func(x store.Expiry) error {
		if x.Table == store.TableLeaves {
			moved[x.LogNo] = max(moved[x.LogNo], x.To)
		}
		return nil
	})
	if err != nil {
		return err
	}
	logs, err := s.cfg.Store.Logs(ctx, e.tenant)
	if err != nil {
		return err
	}
	before := e.moveBefore()
	for _, lg := range logs {
		units, err := s.units(ctx, lg.LogRef)
		if err != nil {
			return err
		}
		for _, u := range units {
			if u.From != moved[lg.No] || u.LastAt >= before {
				continue
			}
			if err := e.archive.check(ctx, lg, u); err != nil {
				return err
			}
			o := ledger.ExpiryOrder{
				LogNo: lg.No, Table: store.TableLeaves, Ranges: []evidence.TargetRange{{From: u.From, To: u.To}}, From: u.FirstAt, Before: before,
				Class: classLeaves, Days: int(s.cfg.MoveAfter / (24 * time.Hour)), Rows: u.To - u.From, Archive: []store.ArchiveUnit{u},
				Reason: "these leaves are read from the archive since", By: e.by.Human,
			}
			had := e.removed
			if err := e.place(ctx, []ledger.ExpiryOrder{o}); err != nil {
				return err
			}
			if err := e.steps(ctx); err != nil {
				return err
			}
			moved[lg.No] = u.To
			e.out.Segments += e.removed - had
		}
	}
	return nil
}

// clean gives back what belongs to nobody any more.
func (s *Service) clean(ctx context.Context) ([]string, error) {
	names, err := s.cfg.Store.DropExpired(ctx)
	if err != nil {
		return names, fmt.Errorf("drop what is empty: %w", err)
	}
	if _, err := s.cfg.Ledger.Scrub(ctx); err != nil {
		return names, fmt.Errorf("scrub: %w", err)
	}
	return names, nil
}
