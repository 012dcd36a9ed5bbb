package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// What plans depend on: of which rows expiries name, and holds cover.
	sqlPlanState = `SELECT concat_ws(' ', (SELECT count(*) || ' ' || count(*) FILTER (WHERE done) FROM expiries),
		(SELECT count(*) || ' ' || count(released_log) FROM holds), (SELECT count(*) FROM hold_runs), (SELECT count(*) FROM hold_records))`
	sqlOpenTables  = `SELECT table_name, max(before) FROM expiries WHERE NOT done GROUP BY table_name`
	sqlPlanDrop    = `SELECT runledger_plan_drop($1, $2::text::date)`
	sqlForgetDrop  = `SELECT runledger_forget_drop($1, $2::text::date)`
	sqlFree        = `SELECT runledger_lock_free($1)`
	sqlSettle      = `SELECT runledger_settle_expiries($1)`
	sqlPlannedDrop = `SELECT relation, month FROM partition_drops ORDER BY month, relation`
)

// planState is what the last plans of this process were made by.
type planState struct {
	mu   sync.Mutex
	last string
}

// changed notes a state and reports whether it is another one.
func (s *planState) changed(to string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.last
	s.last = to
	return was != to
}

// PlanDrop implements store.Store. What it counted it does not count again while nothing
// has changed since: a hold may keep an expiry open for years.
func (db *DB) PlanDrop(ctx context.Context) ([]string, error) {
	state := ""
	open := map[string]int64{}
	err := db.lend(ctx, func(conn *pooled) error { // of the primary
		r := &reader{conn: conn.Conn}
		if _, err := r.one(ctx, sqlPlanState, nil, &state); err != nil {
			return err
		}
		return r.run(ctx, sqlOpenTables, func(rows pgx.Rows) error {
			var table string
			var before int64
			err := scan(rows, &table, &before)
			open[table] = before
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("plan drops: %w", fault(err))
	}
	if len(open) > 0 && db.planned.changed(state) {
		list, err := db.pastPartitions(ctx, time.Now())
		if err != nil {
			return nil, fmt.Errorf("plan drops: %w", err)
		}
		for _, p := range list {
			if open[p.parent] <= p.month.first().UnixMicro() {
				continue
			}
			if err := db.planDrop(ctx, p); err != nil {
				db.planned.changed("") // it is tried again
				return nil, fmt.Errorf("plan the drop of %s: %w", p, err)
			}
		}
	}
	list, err := db.plannedDrops(ctx)
	return names(list), err
}

func (db *DB) planDrop(ctx context.Context, p partition) error {
	return db.transact(ctx, func(ctx context.Context, c *pooled) error {
		if _, err := c.Exec(ctx, sqlDropSession); err != nil {
			return err
		}
		planned := false
		return c.QueryRow(ctx, sqlPlanDrop, p.parent, p.month.date()).Scan(&planned)
	})
}

func (db *DB) plannedDrops(ctx context.Context) (list []partition, err error) {
	err = db.lend(ctx, func(conn *pooled) error {
		return (&reader{conn: conn.Conn}).run(ctx, sqlPlannedDrop, func(rows pgx.Rows) error {
			var p partition
			err := scan(rows, &p.parent, &p.month)
			list = append(list, p)
			return err
		})
	})
	return list, fault(err)
}

// DropPlanned implements store.Store. A plan whose drop is refused, or that somebody is
// in the way of, is given up; with no answer of the database it stays for the next time.
func (db *DB) DropPlanned(ctx context.Context) (dropped, left []string, err error) {
	list, err := db.plannedDrops(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("drop partitions: %w", err)
	}
	settle := map[string]bool{}
	for _, p := range list {
		// Asked before rows are counted and moved: who reads for long is in the way then, too.
		if err = db.free(ctx, p.parent); err == nil {
			_, err = db.ExpirePartition(ctx, p.parent, p.month.first(), time.Now())
		}
		switch {
		case err == nil:
			dropped = append(dropped, p.String())
			settle[p.parent] = true
			continue
		case sqlState(err) == "" || ctx.Err() != nil:
			return dropped, left, err
		}
		db.log.WarnContext(ctx, "partition not dropped as planned: its rows go one by one", "partition", p.String(), "error", err)
		if err := db.exec(ctx, sqlForgetDrop, p.parent, p.month.date()); err != nil {
			return dropped, left, fmt.Errorf("give up the drop of %s: %w", p, err)
		}
		left = append(left, p.String())
	}
	for table := range settle {
		if err := db.exec(ctx, sqlSettle, table); err != nil {
			return dropped, left, fmt.Errorf("expiries of %s: %w", table, err)
		}
	}
	return dropped, left, nil
}

// freeTries is how often it is seen whether a table can be locked, and freePause how long others have it between.
const (
	freeTries = 3
	freePause = 200 * time.Millisecond
)

// free sees that the lock which a drop takes can be had: that nobody has the table for long. Commits that are slow
// do not, but one of them may at any moment.
func (db *DB) free(ctx context.Context, table string) (err error) {
	for tries := 1; ; tries++ {
		if err = db.exec(ctx, sqlFree, table); sqlState(err) != codeLocked || tries == freeTries {
			return err
		}
		select {
		case <-time.After(freePause):
		case <-ctx.Done():
			return err
		}
	}
}

func (db *DB) exec(ctx context.Context, sql string, args ...any) error {
	return db.transact(ctx, func(ctx context.Context, c *pooled) error {
		if _, err := c.Exec(ctx, sqlDropSession); err != nil {
			return err
		}
		_, err := c.Exec(ctx, sql, args...)
		return err
	})
}

func names(list []partition) (out []string) {
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}
