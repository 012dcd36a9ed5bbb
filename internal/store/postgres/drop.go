package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
)

const (
	sqlExpirable = `SELECT runledger_expirable($1, $2::text::date)`
	// Counting and moving the rows of a month takes what it takes. But who waits for the
	// whole table has all others wait behind him.
	sqlDropSession = `SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '2s', true)`
	// The months that tables have a partition of, oldest first.
	sqlPartitions = `SELECT p.relname::text, right(c.relname::text, 6)
		FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid JOIN pg_class AS p ON p.oid = h.inhparent
		WHERE p.relnamespace = quote_ident(current_schema())::regnamespace AND c.relnamespace = p.relnamespace AND p.relkind = 'p'
		AND left(c.relname, -6) = p.relname || '_p' AND right(c.relname, 6) ~ '^[0-9]{4}(0[1-9]|1[0-2])$' AND p.relname = ANY ($1::text[])
		ORDER BY 2, 1`
)

type partition struct {
	parent string
	month  month
}

func (p partition) String() string { return p.parent + "_p" + p.month.first().Format("200601") }

// pastPartitions are those of months that have ended, oldest first.
func (db *DB) pastPartitions(ctx context.Context, now time.Time) (list []partition, err error) {
	err = db.lend(ctx, func(conn *pooled) error { // of the primary
		return (&reader{conn: conn.Conn}).run(ctx, sqlPartitions, func(rows pgx.Rows) error {
			var parent, digits string
			if err := scan(rows, &parent, &digits); err != nil {
				return err
			}
			if _, m := partitionName(parent + "_p" + digits); m.known() && m < monthOf(now) {
				list = append(list, partition{parent, m})
			}
			return nil
		}, partitioned)
	})
	return list, fault(err)
}

// DropExpired implements store.Store. A partition that somebody reads for long is left
// for the next time, without an error. None is left without its guards at any moment that
// others can see.
func (db *DB) DropExpired(ctx context.Context) (dropped []string, err error) {
	now := time.Now()
	list, err := db.pastPartitions(ctx, now)
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		done, err := db.dropExpired(ctx, p, now)
		switch {
		case sqlState(err) == codeLocked || lost(err):
			db.log.WarnContext(ctx, "partition not given back: it is in use", "partition", p.String(), "error", err)
		case err != nil:
			return dropped, err
		case done:
			dropped = append(dropped, p.String())
		}
	}
	return dropped, nil
}

func (db *DB) dropExpired(ctx context.Context, p partition, now time.Time) (may bool, err error) {
	err = db.transact(ctx, func(ctx context.Context, c *pooled) error {
		return c.QueryRow(ctx, sqlExpirable, p.parent, p.month.date()).Scan(&may)
	})
	if err != nil || !may {
		return false, err
	}
	_, err = db.ExpirePartition(ctx, p.parent, p.month.first(), now)
	if code := sqlState(err); code == codeHeld || code == codeNoOrder || code == codeYoung { // it changed meanwhile
		return false, nil
	}
	return err == nil, err
}

// ExpirePartition removes what may go of the month of at of a table, where that ended
// before the day of before, and returns how many rows went. The database checks for
// itself that an expiry names each row and no legal hold covers it; where some must
// stay, they are moved to a new partition that takes the place of the old, and where
// that is most of them it is evidence.ErrForbidden. Of sealed_segments a partition goes
// that is empty. One that is gone is no error. It waits for readers of the table and they
// for it, so it gives up soon, with evidence.ErrUnavailable, and is to be tried again.
func (db *DB) ExpirePartition(ctx context.Context, table string, at, before time.Time) (rows int64, err error) {
	m := monthOf(at)
	if !m.known() {
		return 0, invalid("no partition for %s", m.date())
	}
	err = db.transact(ctx, func(ctx context.Context, c *pooled) error {
		if _, err := c.Exec(ctx, sqlDropSession); err != nil {
			return err
		}
		var n *int64
		if err := c.QueryRow(ctx, sqlExpirePartition, table, m.date(), before.UTC().Format(time.DateOnly)).Scan(&n); err != nil {
			return err
		}
		if n != nil {
			rows = *n
		}
		return nil
	})
	switch sqlState(err) {
	case codeHeld:
		err = fmt.Errorf("%w: %w", evidence.ErrForbidden, err)
	case codeBadParameter:
		err = fmt.Errorf("%w: %w", evidence.ErrInvalid, err)
	}
	if err != nil {
		return 0, fmt.Errorf("expire %s of %s: %w", table, m.first().Format("2006-01"), err)
	}
	db.months.forget()
	db.log.InfoContext(ctx, "partition expired", "table", table, "month", m.first().Format("2006-01"), "rows", rows)
	return rows, nil
}
