package postgres

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// In which month a position of a log is. Topics and sealed segments have a
// partition for each month: a read by position that names it visits that alone,
// however many there are.

const (
	sqlLogMonths = `SELECT month, first FROM log_months WHERE tenant_id = $1 AND log_no = $2 ORDER BY first, month`
	sqlAddMonths = `INSERT INTO log_months (tenant_id, log_no, month, first)
		SELECT $1, $2, u.month, u.first FROM unnest($3::bigint[], $4::bigint[]) AS u (month, first)
		ON CONFLICT DO NOTHING`
)

// stretch is where the records of one month begin in a log.
type stretch struct {
	month month
	first int64 // leaf index
}

// period is a range of recorded_at, from to below until.
type period struct{ from, until int64 }

// anyTime is the period that leaves out nothing.
var anyTime = period{math.MinInt64, math.MaxInt64}

// placesKept is for how many logs stretches are kept in memory, and placesFresh
// for how long what lies behind the last is taken to be of its month or a later
// one without asking again.
const (
	placesKept  = 10_000
	placesFresh = 10 * time.Minute
)

// places remembers the stretches of logs. What is known of a log stays true; only
// behind its last stretch may more have come.
type places struct {
	mu     sync.Mutex
	logs   map[store.LogRef]knownPlaces
	stored map[store.LogRef]month // of its newest stretch, that this process wrote
	opened sync.Map               // store.LogRef: logs that are known to be there
}

// there notes that a log is there.
func (p *places) there(log store.LogRef) {
	if p != nil {
		p.opened.Store(log, nil)
	}
}

// isThere reports whether a log is known to be there.
func (p *places) isThere(log store.LogRef) bool {
	if p == nil {
		return false
	}
	_, known := p.opened.Load(log)
	return known
}

type knownPlaces struct {
	list []stretch
	at   time.Time
}

// period returns the period in which a record of a log is that stands at seq. It is a
// sign on the way: what is not found there is to be looked for everywhere.
func (p *places) period(ctx context.Context, r *reader, log store.LogRef, seq int64) (period, error) {
	if p == nil {
		return anyTime, nil
	}
	p.mu.Lock()
	known, ok := p.logs[log]
	p.mu.Unlock()
	if n := len(known.list); !ok || (n == 0 || seq >= known.list[n-1].first) && time.Since(known.at) > placesFresh {
		known = knownPlaces{at: time.Now()}
		err := r.run(ctx, sqlLogMonths, func(rows pgx.Rows) error {
			var s stretch
			err := scan(rows, &s.month, &s.first)
			known.list = append(known.list, s)
			return err
		}, log.Tenant, log.No)
		if err != nil {
			return anyTime, err
		}
		p.keep(log, known)
	}
	return periodOf(known.list, seq), nil
}

func (p *places) keep(log store.LogRef, known knownPlaces) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.logs == nil || len(p.logs) >= placesKept {
		p.logs = map[store.LogRef]knownPlaces{}
	}
	p.logs[log] = known
}

// periodOf is the period of the stretch that seq is in. The last one has no end.
func periodOf(list []stretch, seq int64) period {
	i, found := slices.BinarySearchFunc(list, seq, func(s stretch, seq int64) int {
		if s.first <= seq {
			return -1
		}
		return 1
	})
	switch {
	case found || i == 0 || !list[i-1].month.known(): // what no commit writes
		return anyTime
	case i == len(list):
		return period{list[i-1].month.first().UnixMicro(), math.MaxInt64}
	default:
		return period{list[i-1].month.first().UnixMicro(), (list[i-1].month + 1).first().UnixMicro()}
	}
}

// found calls look with the period in which a record is, and once more with all
// times where it is not there.
func (q queries) found(ctx context.Context, r *reader, log store.LogRef, seq int64, look func(period) (bool, error)) (bool, error) {
	in, err := q.places.period(ctx, r, log, seq)
	if err != nil {
		return false, err
	}
	found, err := look(in)
	if err == nil && !found && in != anyTime {
		found, err = look(anyTime)
	}
	return found, err
}

// stretches are the months of a commit's records, in order.
func stretches(entries []store.Entry) (list []stretch) {
	var from, until evidence.Micros
	for i := range entries {
		if at := entries[i].Leaf.RecordedAt; at < from || at >= until {
			m := monthOf(time.UnixMicro(int64(at)))
			from, until = evidence.Micros(m.first().UnixMicro()), evidence.Micros((m + 1).first().UnixMicro())
			list = append(list, stretch{m, entries[i].Leaf.Seq})
		}
	}
	return list
}

// addMonths stores the months that a log first has a record of. It is called
// behind the head's lock, so what is there already stands before.
func (p *places) addMonths(ctx context.Context, conn *pooled, c *store.LogCommit) error {
	p.mu.Lock()
	last, known := p.stored[c.Log]
	p.mu.Unlock()
	var months, firsts []int64
	for _, s := range stretches(c.Entries) {
		if !known || s.month != last {
			months, firsts = append(months, int64(s.month)), append(firsts, s.first)
		}
	}
	if len(months) == 0 {
		return nil
	}
	_, err := conn.Exec(ctx, sqlAddMonths, c.Log.Tenant, c.Log.No, months, firsts)
	return err
}

// committed remembers what a commit has stored.
func (p *places) committed(c *store.Commit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stored == nil || len(p.stored) >= placesKept {
		p.stored = map[store.LogRef]month{}
	}
	for i := range c.Logs {
		if list := stretches(c.Logs[i].Entries); len(list) > 0 {
			p.stored[c.Logs[i].Log] = list[len(list)-1].month
		}
	}
}
