package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// sqlIndexes are the indexes of this schema: what they hold, in order, of which
// rows, and whether they are in use. Those of partitions go with their parent's:
// the application has no right to partitions by themselves.
const sqlIndexes = `SELECT i.indexrelid::regclass::text, i.indrelid::regclass::text,
		(SELECT string_agg(pg_get_indexdef(i.indexrelid, k, true), ', ' ORDER BY k) FROM generate_series(1, i.indnkeyatts) AS k),
		(SELECT string_agg(pg_get_indexdef(i.indexrelid, k, true) || CASE i.indoption[k - 1] & 1 WHEN 1 THEN ' DESC' ELSE '' END, ', ' ORDER BY k)
			FROM generate_series(1, i.indnkeyatts) AS k),
		coalesce(pg_get_expr(i.indpred, i.indrelid), 'true'),
		(SELECT bool_and(o.indisvalid AND o.indisready AND o.indislive) FROM pg_index AS o
			WHERE o.indexrelid = i.indexrelid
			OR o.indexrelid IN (SELECT h.inhrelid FROM pg_inherits AS h WHERE h.inhparent = i.indexrelid))
	FROM pg_index AS i
	JOIN pg_class AS t ON t.oid = i.indrelid
	WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition AND t.relnamespace = to_regnamespace(quote_ident(current_schema()))
	ORDER BY 2, 1`

// Damage implements store.Reader. An index that lacks a row hides a record from
// every question that follows it, and lets another with its key come in. So
// each index is read in its order, and its table without it, and both must have
// the same values. That needs no right but to read, which amcheck does; what it
// sees beyond this (the inner pages of an index, duplicates), an operator gets
// from pg_amcheck, and whether pages are what was written from data checksums.
// On a distributed database this sees the tables of its own node alone.
func (q queries) Damage(ctx context.Context) (list []string, err error) {
	err = q.with(ctx, func(r *reader) error {
		return r.consistently(ctx, func() (err error) {
			list, err = r.damage(ctx)
			return err
		})
	})
	return list, err
}

func (r *reader) damage(ctx context.Context) (list []string, err error) {
	indexes, err := r.indexes(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range indexes {
		if !x.used {
			list = append(list, fmt.Sprintf("index %s is not valid", x.name))
			continue
		}
		var sums [2]string
		for i, through := range []bool{true, false} {
			sums[i], err = r.sum(ctx, &x, through)
			switch code := sqlState(err); {
			case err == nil:
			case ctx.Err() == nil && (code == "XX000" || code == "XX001" || code == "XX002"):
				// The transaction has failed with it: what is left is not looked at.
				return append(list, fmt.Sprintf("table %s, index %s cannot be read: %s", x.table, x.name, err)), nil
			default:
				return nil, err
			}
		}
		if sums[0] != sums[1] {
			list = append(list, fmt.Sprintf("index %s does not hold what table %s does", x.name, x.table))
		}
	}
	return list, nil
}

// index is an index of a table or of all its partitions. Its fields are SQL, as
// the database writes it.
type index struct {
	name, table, columns, order, where string
	used                               bool
}

func (r *reader) indexes(ctx context.Context) (list []index, err error) {
	err = r.run(ctx, sqlIndexes, func(rows pgx.Rows) error {
		var x index
		err := scan(rows, &x.name, &x.table, &x.columns, &x.order, &x.where, &x.used)
		list = append(list, x)
		return err
	})
	return list, err
}

// sum is what the rows of an index sum up to: read through the index, in its
// order, or from its table.
func (r *reader) sum(ctx context.Context, x *index, through bool) (sum string, err error) {
	index, table := "off", "on"
	if through {
		index, table = "on", "off"
	}
	if err := r.run(ctx, `SELECT set_config('enable_indexscan', $1, true), set_config('enable_indexonlyscan', $1, true),
		set_config('enable_seqscan', $2, true)`, func(pgx.Rows) error { return nil }, index, table); err != nil {
		return "", err
	}
	err = r.run(ctx, x.sumSQL(through), func(rows pgx.Rows) error { return scan(rows, &sum) }, pgx.QueryExecModeExec)
	return sum, err
}

func (x *index) sumSQL(through bool) string {
	order := ""
	if through {
		order = ` ORDER BY ` + x.order
	}
	// OFFSET 0 keeps the subquery one, with its order.
	return `SELECT count(*) || ' ' || coalesce(sum(hash_record_extended(ROW(` + x.columns + `), 0)), 0)
		FROM (SELECT * FROM ` + x.table + ` WHERE ` + x.where + order + ` OFFSET 0) AS t`
}

// consistently calls f in a transaction that sees one state of the database, in
// which settings may be made. Within a snapshot it is that of the snapshot.
func (r *reader) consistently(ctx context.Context, f func() error) (err error) {
	begin, end := `BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY`, `ROLLBACK`
	if r.conn.PgConn().TxStatus() == 'T' { // of a snapshot
		begin, end = `SAVEPOINT consistently`, `ROLLBACK TO SAVEPOINT consistently`
	}
	none := func(pgx.Rows) error { return nil }
	if err := r.run(ctx, begin, none); err != nil {
		return err
	}
	// What reads everything takes what it takes.
	for _, sql := range []string{sqlKeepPartitions, `SELECT set_config('statement_timeout', '0', true)`} {
		if err == nil {
			err = r.run(ctx, sql, none)
		}
	}
	if err == nil {
		err = f()
	}
	return errors.Join(err, r.run(context.WithoutCancel(ctx), end, none))
}
