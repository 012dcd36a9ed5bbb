package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const codeBadParameter = "22023"

// monthsAhead is how many months after the present one have their partitions
// made when a store is opened.
const monthsAhead = 3

// ShortMonths is for how many months from now on there should be partitions at
// least: with fewer, whoever makes them daily has not for long.
const ShortMonths = 2

const (
	sqlEnsurePartitions = `SELECT runledger_ensure_partitions($1::text::date, $2::text::date)`
	sqlExpirePartition  = `SELECT runledger_expire_partition($1, $2::text::date, $3::text::date)`

	// The first of each table's months from $1 on that has no partition. Those that
	// follow each other are a run, so the first of the run that $1 is in counts.
	sqlPartitionsUntil = `WITH part AS (
			SELECT p.relname AS parent, (substring(pg_get_expr(c.relpartbound, c.oid) FROM $$FROM \(''?(-?[0-9]+)$$))::bigint AS first,
				(substring(pg_get_expr(c.relpartbound, c.oid) FROM $$TO \(''?(-?[0-9]+)$$))::bigint AS until
			FROM pg_class AS p JOIN pg_inherits AS h ON h.inhparent = p.oid JOIN pg_class AS c ON c.oid = h.inhrelid
			WHERE p.relnamespace = quote_ident(current_schema())::regnamespace AND p.relkind = 'p'),
		ends AS (
			SELECT t.parent, (SELECT min(e.until) FROM part AS e WHERE e.parent = t.parent AND e.until > $1
				AND NOT EXISTS (SELECT 1 FROM part AS n WHERE n.parent = e.parent AND n.first = e.until)) AS until,
				EXISTS (SELECT 1 FROM part AS e WHERE e.parent = t.parent AND e.first <= $1 AND e.until > $1) AS now
			FROM unnest($2::text[]) AS t (parent))
		SELECT coalesce(min(CASE WHEN now THEN until ELSE $1 END), $1) FROM ends`
)

// partitioned are the tables that have a partition for each month of recorded_at.
var partitioned = func() []string {
	list := []string{"sealed_segments"}
	for _, k := range evidence.Kinds() {
		list = append(list, k.Table())
	}
	return list
}()

// month counts months from January of year 0.
type month int

func monthOf(t time.Time) month {
	t = t.UTC()
	return month(t.Year()*12 + int(t.Month()) - 1)
}

func (m month) first() time.Time {
	return time.Date(int(m)/12, time.Month(int(m)%12+1), 1, 0, 0, 0, 0, time.UTC)
}

func (m month) date() string { return m.first().Format(time.DateOnly) }

// known reports whether a month can have a partition: what evidence.Micros
// writes as a time.
func (m month) known() bool { return 1*12 <= m && m < 10000*12 }

// months remembers which months have partitions, so that a commit need not ask.
type months struct {
	mu   sync.Mutex
	have map[month]bool
}

func (m *months) has(at month) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.have[at]
}

func (m *months) add(first, last month) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.have == nil {
		m.have = map[month]bool{}
	}
	for at := first; at <= last; at++ {
		m.have[at] = true
	}
}

// forget makes commits ask again: a partition was not there.
func (m *months) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.have = nil
}

// PartitionsAhead makes the partitions for the month of now and so many months
// after it. It is cheap where they are there, and meant to be called daily: a
// commit that meets a missing month makes it, but has to wait for that.
func (db *DB) PartitionsAhead(ctx context.Context, now time.Time, ahead int) error {
	first := monthOf(now)
	return db.ensureMonths(ctx, first, first+month(max(ahead, 0)))
}

func (db *DB) ensureMonths(ctx context.Context, first, last month) error {
	if !first.known() || !last.known() {
		return invalid("no partition for %s", first.date())
	}
	made := 0
	err := db.transact(ctx, func(ctx context.Context, c *pooled) error {
		return c.QueryRow(ctx, sqlEnsurePartitions, first.date(), last.date()).Scan(&made)
	})
	if err != nil {
		return fmt.Errorf("partitions: %w", err)
	}
	db.months.add(first, last)
	if made > 0 {
		db.log.InfoContext(ctx, "partitions made", "from", first.first().Format("2006-01"), "to", last.first().Format("2006-01"), "tables", made)
	}
	return nil
}

// ensurePartitionsFor makes the partitions that a commit needs, in transactions
// of their own: whether the commit succeeds or not, they are needed.
func (db *DB) ensurePartitionsFor(ctx context.Context, c *store.Commit) error {
	var from, until evidence.Micros // of the month that was looked at last
	for i := range c.Logs {
		for _, e := range c.Logs[i].Entries {
			if at := e.Leaf.RecordedAt; at < from || at >= until {
				m := monthOf(time.UnixMicro(int64(at)))
				if !db.months.has(m) {
					if err := db.ensureMonths(ctx, m, m); err != nil {
						return err
					}
				}
				from, until = evidence.Micros(m.first().UnixMicro()), evidence.Micros((m + 1).first().UnixMicro())
			}
		}
	}
	return nil
}

// PartitionsUntil returns the time from which on some table has no partition: the
// first of a month, or now where it is missing already. It should be ShortMonths
// away at least.
func (q queries) PartitionsUntil(ctx context.Context, now time.Time) (time.Time, error) {
	var until int64
	err := q.with(ctx, func(r *reader) error {
		_, err := r.one(ctx, sqlPartitionsUntil, []any{now.UnixMicro(), partitioned}, &until)
		return err
	})
	return time.UnixMicro(until).UTC(), err
}
