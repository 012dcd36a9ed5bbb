package lifecycle

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// cutAll finds, for each log and class, the first leaf that is not old enough.
func (w *selection) cutAll(ctx context.Context) error {
	for _, lg := range w.logs {
		for class := range w.policies {
			at, err := w.s.firstAfter(ctx, lg, w.before(class))
			if err != nil {
				return err
			}
			w.cuts[cutKey{lg.No, class}] = at
		}
		at, err := w.s.firstAfter(ctx, lg, cutoff(w.at, w.s.cfg.HighRiskFloor))
		if err != nil {
			return err
		}
		w.cuts[cutKey{lg.No, ""}] = at
	}
	return nil
}

// firstAfter returns the index of the first leaf of a log that was recorded at or after a
// time, or the size of the log. The times are those of leaves that the signed tree has.
func (s *Service) firstAfter(ctx context.Context, lg store.Log, t evidence.Micros) (int64, error) {
	head, err := s.cfg.Store.Head(ctx, lg.LogRef)
	if err != nil {
		return 0, fmt.Errorf("head of %s: %w", lg.Origin, err)
	}
	low, high := int64(0), head.Size
	// Units of the archive say of most of a log where it is, without reading the archive.
	err = s.cfg.Store.Archives(ctx, lg.LogRef, func(u store.ArchiveUnit) error {
		if u.LastAt < t {
			low = max(low, u.To)
		}
		if u.FirstAt >= t {
			high = min(high, u.From)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for low < high {
		mid := low + (high-low)/2
		at, err := s.recordedAt(ctx, lg, mid)
		if err != nil {
			return 0, err
		}
		if at < t {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, nil
}

func (s *Service) recordedAt(ctx context.Context, lg store.Log, seq int64) (evidence.Micros, error) {
	at := store.Found{Position: store.Position{LogNo: lg.No, Seq: seq}, Segment: store.NoSegment, ActorSegment: store.NoSegment}
	records, err := s.cfg.Ledger.Fetch(ctx, lg.Tenant, []store.Found{at}, false)
	if err != nil {
		return 0, err
	}
	return records[0].Leaf.RecordedAt, nil
}
