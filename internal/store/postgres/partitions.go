package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// monthsAhead is how many months after the present one have their partitions
// made when a store is opened.
const monthsAhead = 3

const sqlEnsurePartitions = `SELECT runledger_ensure_partitions($1::text::date, $2::text::date)`

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
