package facade

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// What SystemTelemetry says where nothing was collected (contract section 3).
const (
	telemetryCollected    = "collected"
	telemetryNotCollected = "telemetry_not_collected"
	noTelemetryEver       = "infrastructure_telemetry_producer_not_implemented"
	noTelemetryInWindow   = "no_telemetry_in_run_window"
	telemetryMilestone    = "M-TBD"
)

// Which metric records are of a run's time. The store finds them by `from` and by
// where they stand, not by `until`, so two bounds decide what is looked at.
const (
	// telemetrySlack belongs to the run's time: what a run records of its last call,
	// it records a moment after that has ended.
	telemetrySlack = time.Second
	// telemetryClosing is how long after the run a record may end: a counter that
	// runs since its process began belongs, in every later export too, to a span
	// that has the run in it, but only the first export after the run is of it.
	// Exporters send at least this often.
	telemetryClosing = 5 * time.Minute
	// telemetryLookBack is how long before the run a record may begin to be found by
	// its beginning, however late it came.
	telemetryLookBack = time.Hour
	// telemetryDelay is how late a record that began before that may have come: it
	// is found by where it stands in the log.
	telemetryDelay = 10 * time.Minute
	// telemetrySkew is how far a producer's clock may be ahead of the server's.
	telemetrySkew = time.Minute
	// maxTelemetry bounds how many records are looked at in each of the two ways.
	maxTelemetry = 2000
)

// Telemetry is O2 of SYSTEM_LOGS: the tenant's metric records whose span
// [from, until] meets the run's time and ends at most five minutes after it; the
// second after its end belongs to that time. A
// page is of that many records, each of which becomes a series for each of its
// metrics and attributes. Names of metrics are public; their points and attributes
// are sealed.
//
// Known holes: a record that both began over an hour before the run and came over
// ten minutes late is not found; nor is more than the bounds above allow.
func (f *Facade) Telemetry(ctx context.Context, r Reader, run string, p Paging) (*answer.SystemTelemetry, error) {
	t, err := f.run(ctx, r, run)
	if err != nil {
		return nil, err
	}
	limit, err := r.limit(p.Limit, defaultLimit)
	if err != nil {
		return nil, err
	}
	q := &telemetryQuery{f: f, r: r, name: digest("telemetry", r.Tenant, t.id, r.SyntheticOnly)}
	q.from, q.until = f.timeOf(t)
	q.until += micros(telemetrySlack)
	c := f.filters(ctx, r)
	c.synthetic(nil)
	if q.where = c.where; c.err != nil {
		return nil, c.err
	}
	if err := q.place(ctx, p.Cursor); err != nil {
		return nil, err
	}
	matches, err := q.records(ctx)
	if err != nil {
		return nil, err
	}
	out := &answer.SystemTelemetry{RunID: t.id, Status: telemetryCollected}
	if len(matches) > limit {
		matches = matches[:limit]
		last := matches[limit-1]
		out.HasMore = true
		out.NextCursor = cursor{
			Query: q.name, Below: pair(q.below), After: pair(last.Position), Time: last.OccurredAt, Until: &q.until,
		}.encode()
	}
	records, err := f.fetch(ctx, r, r.Tenant, matches)
	if err != nil {
		return nil, err
	}
	var parts []evidence.Metadata
	for _, rec := range records {
		series, err := seriesOf(rec, q.from, q.until)
		if err != nil {
			return nil, err
		}
		if len(series) > 0 {
			out.Series = append(out.Series, series...)
			parts = append(parts, rec.metadata())
		}
	}
	if len(out.Series) == 0 && !out.HasMore && p.Cursor == "" {
		if err := q.notCollected(ctx, out); err != nil {
			return nil, err
		}
	}
	out.Metadata = f.union(r, t.id, parts)
	return out, nil
}

// telemetryQuery finds the metric records of a run's time.
type telemetryQuery struct {
	f           *Facade
	r           Reader
	name        string
	where       []store.Condition
	from, until evidence.Micros // the run's time
	below       store.Position
	last        *store.Found // of the page before
}

func (q *telemetryQuery) place(ctx context.Context, text string) (err error) {
	if text == "" {
		q.below, err = q.f.cfg.Ledger.End(ctx, q.r.Tenant)
		return err
	}
	c, err := parseCursor(text, q.name)
	if err != nil {
		return err
	}
	if c.Until == nil {
		return badCursor()
	}
	q.until = max(q.from, min(q.until, *c.Until)) // as for events
	q.below = positionOf(c.Below)
	q.last = &store.Found{Position: positionOf(c.After), OccurredAt: c.Time}
	return nil
}

func micros(d time.Duration) evidence.Micros { return evidence.Micros(d / time.Microsecond) }

// records returns what matches and stands behind the page before, by `from`, ties
// by leaf.
func (q *telemetryQuery) records(ctx context.Context) ([]store.Found, error) {
	earliest := q.from - micros(telemetryLookBack)
	byTime, err := q.f.cfg.Ledger.Find(ctx, store.Query{
		Tenant: q.r.Tenant, Kind: evidence.KindMetric, Where: q.where, From: &earliest, Until: &q.until,
		Below: q.below, Order: store.ByTimeDown, Limit: maxTelemetry,
	})
	if err != nil {
		return nil, err
	}
	out, err := q.matching(ctx, nil, byTime)
	if err != nil {
		return nil, err
	}
	if out, err = q.byPlace(ctx, out); err != nil {
		return nil, err
	}
	slices.SortFunc(out, compareByTime)
	out = slices.CompactFunc(out, func(a, b store.Found) bool { return a.Position == b.Position })
	if q.last != nil {
		at, same := slices.BinarySearchFunc(out, *q.last, compareByTime)
		if same {
			at++
		}
		out = out[at:]
	}
	return out, nil
}

func compareByTime(a, b store.Found) int {
	return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.LogNo, b.LogNo), cmp.Compare(a.Seq, b.Seq))
}

// matching appends to out what is of the run's time.
func (q *telemetryQuery) matching(ctx context.Context, out, found []store.Found) ([]store.Found, error) {
	leaves, err := q.f.fetch(ctx, closed(q.r), q.r.Tenant, found)
	if err != nil {
		return nil, err
	}
	for i, rec := range leaves {
		if q.matches(rec) {
			out = append(out, found[i])
		}
	}
	return out, nil
}

func (q *telemetryQuery) matches(rec record) bool {
	until := evidence.Micros(rec.number("until"))
	return rec.Leaf.OccurredAt <= q.until && q.from <= until && until <= q.until+micros(telemetryClosing)
}

// byPlace appends what was recorded around the run's time and matches, whenever
// it began: an export of counters that run for days began days ago.
func (q *telemetryQuery) byPlace(ctx context.Context, out []store.Found) ([]store.Found, error) {
	const chunk = 250
	below, err := q.placeOf(ctx, q.until+micros(telemetryClosing+telemetryDelay))
	if err != nil {
		return nil, err
	}
	for n := 0; n < maxTelemetry; n += chunk {
		found, err := q.f.cfg.Ledger.Find(ctx, store.Query{
			Tenant: q.r.Tenant, Kind: evidence.KindMetric, Where: q.where, Below: below, Limit: chunk,
		})
		if err != nil {
			return nil, err
		}
		leaves, err := q.f.fetch(ctx, closed(q.r), q.r.Tenant, found)
		if err != nil {
			return nil, err
		}
		for i, rec := range leaves {
			if rec.Leaf.RecordedAt < q.from-micros(telemetrySkew) {
				return out, nil
			}
			if q.matches(rec) {
				out = append(out, found[i])
			}
		}
		if len(found) < chunk {
			break
		}
		below = found[len(found)-1].Position
	}
	return out, nil
}

// placeOf returns a position below which are exactly the metric records that were
// recorded at t or before, as far as the pin goes. recorded_at never decreases in
// a log, so it is found by halving.
func (q *telemetryQuery) placeOf(ctx context.Context, t evidence.Micros) (store.Position, error) {
	high := q.below
	for {
		newest, err := q.newestBelow(ctx, high)
		if err != nil || newest == nil || newest.Leaf.RecordedAt <= t {
			return high, err
		}
		high = newest.Position // all from here on are too new
		low := int64(0)
		for low < high.Seq {
			middle := store.Position{LogNo: high.LogNo, Seq: low + (high.Seq-low+1)/2}
			if newest, err = q.newestBelow(ctx, middle); err != nil {
				return high, err
			}
			if newest == nil || newest.Leaf.RecordedAt <= t {
				low = middle.Seq
			} else { // of an earlier log it can be while low is still 0
				high = newest.Position
			}
		}
	}
}

// newestBelow returns the newest metric record before a position, or nil.
func (q *telemetryQuery) newestBelow(ctx context.Context, below store.Position) (*record, error) {
	found, err := q.f.cfg.Ledger.Find(ctx, store.Query{Tenant: q.r.Tenant, Kind: evidence.KindMetric, Below: below, Limit: 1})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	leaves, err := q.f.fetch(ctx, closed(q.r), q.r.Tenant, found)
	if err != nil {
		return nil, err
	}
	return &leaves[0], nil
}

// notCollected says why there is nothing.
func (q *telemetryQuery) notCollected(ctx context.Context, out *answer.SystemTelemetry) error {
	found, err := q.f.cfg.Ledger.Find(ctx, store.Query{
		Tenant: q.r.Tenant, Kind: evidence.KindMetric, Where: q.where, Below: q.below, Limit: 1,
	})
	if err != nil {
		return err
	}
	out.Status, out.Reason = telemetryNotCollected, noTelemetryInWindow
	if len(found) == 0 {
		out.Reason = noTelemetryEver
	}
	out.AvailableData, out.FutureMilestone = []string{"events", "snapshot", "replay"}, telemetryMilestone
	return nil
}
