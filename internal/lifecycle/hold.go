package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// holds are a tenant's holds in force, as far as a selection must know them.
type holds struct {
	tenant []string     // holds of the whole tenant
	times  []store.Hold // of scope time
	some   bool         // there are holds of runs or subjects: the store knows which
	runs   map[string]string
}

// holdsOf reads them, after what has come since was added to those of subjects.
func (s *Service) holdsOf(ctx context.Context, tenant string) (holds, error) {
	h := holds{runs: map[string]string{}}
	subjects := false
	err := s.cfg.Store.Holds(ctx, tenant, func(x store.Hold) error {
		if x.Released.LogNo != 0 {
			return nil
		}
		switch x.Scope {
		case store.HoldTenant:
			h.tenant = append(h.tenant, x.ID)
		case store.HoldTime:
			h.times = append(h.times, x)
		default:
			h.some = true
			subjects = subjects || x.Scope == store.HoldSubject
		}
		return nil
	})
	if err == nil && subjects {
		err = s.cfg.Ledger.RefreshHolds(ctx, tenant)
	}
	if err != nil {
		return h, fmt.Errorf("holds of %s: %w", tenant, err)
	}
	return h, nil
}

// atTime returns the hold of a time that covers a record.
func (h *holds) atTime(m *store.RowMark) string {
	for _, x := range h.times {
		if within(m.RecordedAt, x) || within(m.OccurredAt, x) {
			return x.ID
		}
	}
	return ""
}

func within(t evidence.Micros, h store.Hold) bool { return h.From <= t && t < h.Until }

// timeHolds notes the runs of which a hold of a time covers a record: they stay as a whole.
func (w *selection) timeHolds(ctx context.Context) error {
	if len(w.holds.times) == 0 {
		return nil
	}
	for _, lg := range w.logs {
		for _, k := range kindsOf(evidence.ClassLLMRuns) {
			end, from := int64(0), int64(math.MaxInt64)
			for _, class := range []string{evidence.ClassLLMRuns, evidence.ClassSynthetic} {
				end = max(end, w.cuts[cutKey{lg.No, class}])
				from = min(from, w.s.lowest(lowKey{lg.LogRef, k, class}))
			}
			for from < end {
				began := time.Now()
				marks, err := w.marks(ctx, lg.LogRef, k, from, end)
				if err != nil {
					return err
				}
				if len(marks) == 0 {
					break
				}
				for i := range marks {
					if hold := w.holds.atTime(&marks[i]); hold != "" && marks[i].Run != "" {
						w.holds.runs[marks[i].Run] = hold
					}
				}
				from = marks[len(marks)-1].Seq + 1
				if err := w.pause(ctx, time.Since(began)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// PlaceHold places a legal hold.
func (s *Service) PlaceHold(ctx context.Context, tenant string, r HoldRequest, by Actor) (HoldInfo, error) {
	o, err := s.holdOrder(r)
	if err != nil {
		return HoldInfo{}, err
	}
	if err := s.known(ctx, tenant); err != nil {
		return HoldInfo{}, err
	}
	if o.Scope == store.HoldRun {
		if o.Run, err = s.cfg.Ledger.ResolveRun(ctx, tenant, o.Run); err != nil {
			return HoldInfo{}, err
		}
	}
	o.By = by.Human
	h, _, err := s.cfg.Ledger.PlaceHold(ctx, tenant, o)
	if err != nil {
		return HoldInfo{}, err
	}
	s.countHolds(ctx)
	return s.holdInfo(ctx, tenant, h)
}

func (s *Service) holdOrder(r HoldRequest) (ledger.HoldOrder, error) {
	o := ledger.HoldOrder{Run: r.Run, Subject: r.Subject, Reason: r.Reason}
	n := 0
	for _, given := range []struct {
		scope string
		is    bool
	}{
		{store.HoldRun, r.Run != ""}, {store.HoldSubject, r.Subject != ""}, {store.HoldTenant, r.All}, {store.HoldTime, r.From != "" || r.Until != ""},
	} {
		if given.is {
			o.Scope = given.scope
			n++
		}
	}
	if n != 1 {
		return o, invalid("run_id", "give exactly one of run_id, subject, all, and from with until")
	}
	if o.Scope == store.HoldTime {
		var err error
		if o.From, err = parseTime("from", r.From); err != nil {
			return o, err
		}
		if o.Until, err = parseTime("until", r.Until); err != nil {
			return o, err
		}
		if o.From >= o.Until {
			return o, invalid("until", "must be after from")
		}
	}
	return o, checkReason(r.Reason)
}

// parseTime reads RFC 3339, or a day as its beginning in UTC.
func parseTime(field, text string) (evidence.Micros, error) {
	if text == "" {
		return 0, invalid(field, "is required")
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			if m := evidence.MicrosOf(t); m.InRange() {
				return m, nil
			}
		}
	}
	return 0, invalid(field, "must be a time in RFC 3339 form, or a day, e.g. 2026-11-23")
}

// Holds lists a tenant's holds, the newest first; with all also those that were released.
func (s *Service) Holds(ctx context.Context, tenant string, all bool) (HoldList, error) {
	out := HoldList{TenantID: tenant, Holds: []HoldInfo{}}
	if err := s.known(ctx, tenant); err != nil {
		return out, err
	}
	var list []store.Hold
	err := s.cfg.Store.Holds(ctx, tenant, func(h store.Hold) error {
		if all || h.Released.LogNo == 0 {
			list = append(list, h)
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	slices.Reverse(list)
	for _, h := range list {
		info, err := s.holdInfo(ctx, tenant, h)
		if err != nil {
			return out, err
		}
		out.Holds = append(out.Holds, info)
	}
	return out, nil
}

// ReleaseHold ends a hold.
func (s *Service) ReleaseHold(ctx context.Context, tenant, id, reason string, by Actor) (HoldInfo, error) {
	if err := checkReason(reason); err != nil {
		return HoldInfo{}, err
	}
	if err := s.known(ctx, tenant); err != nil {
		return HoldInfo{}, err
	}
	h, _, err := s.cfg.Ledger.ReleaseHold(ctx, tenant, id, reason, by.Human)
	if err != nil {
		return HoldInfo{}, err
	}
	s.countHolds(ctx)
	return s.holdInfo(ctx, tenant, h)
}

// holdInfo describes a hold by its records, which the signed tree has.
func (s *Service) holdInfo(ctx context.Context, tenant string, h store.Hold) (HoldInfo, error) {
	info := HoldInfo{ID: h.ID, Scope: h.Scope, Runs: max(h.NRuns, int64(len(h.Runs))), Records: max(h.NRecord, int64(len(h.Records))), InForce: h.Released.LogNo == 0}
	if h.Scope == store.HoldSubject && info.Records > 0 {
		info.Records-- // that which placed it names the person, too
	}
	if h.Scope == store.HoldTime {
		info.From, info.Until = micros(h.From), micros(h.Until)
	}
	placed, err := s.auditOf(ctx, tenant, h.Placed)
	if err != nil {
		return info, fmt.Errorf("hold %s: %w", h.ID, err)
	}
	if placed.Leaf.Text("entity_id") != h.ID {
		return info, fmt.Errorf("hold %s: %w: leaf %d of %s does not place it", h.ID, evidence.ErrTampered, placed.Seq, placed.Leaf.Log)
	}
	info.Record, info.PlacedAt = placed.Leaf.ID.String(), micros(placed.Leaf.RecordedAt)
	info.Run = placed.Leaf.Text("about_run")
	info.Reason, info.PlacedBy = textOf(placed, "/action_reason"), evidence.ActorOf([]byte(placed.Open["/actor"].JSON))
	if info.InForce {
		return info, nil
	}
	released, err := s.auditOf(ctx, tenant, h.Released)
	if err != nil {
		return info, fmt.Errorf("hold %s: %w", h.ID, err)
	}
	info.ReleasedAt, info.ReleasedBy = micros(released.Leaf.RecordedAt), evidence.ActorOf([]byte(released.Open["/actor"].JSON))
	return info, nil
}

// auditOf reads one audit record with its content.
func (s *Service) auditOf(ctx context.Context, tenant string, at store.Position) (*ledger.Fetched, error) {
	row, err := s.cfg.Store.Row(ctx, store.LogRef{Tenant: tenant, No: at.LogNo}, evidence.KindAudit, at.Seq)
	if errors.Is(err, evidence.ErrNotFound) {
		err = fmt.Errorf("%w: audit record %d of log %d is missing", evidence.ErrTampered, at.Seq, at.LogNo)
	}
	if err != nil {
		return nil, err
	}
	found := store.Found{Kind: evidence.KindAudit, Position: at, Segment: row.Segment, ActorSegment: row.ActorSegment}
	records, err := s.cfg.Ledger.Fetch(ctx, tenant, []store.Found{found}, true)
	if err != nil {
		return nil, err
	}
	return &records[0], nil
}

// textOf returns a sealed text that was opened, or "".
func textOf(f *ledger.Fetched, path string) string {
	if o, ok := f.Open[path]; ok {
		return evidence.IndexText([]byte(o.JSON))
	}
	return ""
}
