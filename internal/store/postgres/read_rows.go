package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Positions of the columns that are read of a topic row: all but the tenant and
// the log, by which it is found.
const (
	colLeafIndex = iota
	colRecordedAt
	colOccurredAt
	colRun
	colN
	colSegment
	colActorSegment
	colFields

	firstRead = 2 // position of leaf_index in topic.columns
)

// Row implements store.Reader.
func (q queries) Row(ctx context.Context, log store.LogRef, kind evidence.Kind, seq int64) (store.Row, error) {
	var row store.Row
	t := topicOf(kind)
	if t == nil {
		return row, notFound("%s at %d", kind, seq)
	}
	found := false
	err := q.with(ctx, func(r *reader) (err error) {
		found, err = q.found(ctx, r, log, seq, func(in period) (found bool, err error) {
			err = r.run(ctx, t.one, func(rows pgx.Rows) error {
				found = true
				return t.read(rows, &row)
			}, log.Tenant, log.No, seq, in.from, in.until)
			return found, err
		})
		return err
	})
	if err == nil && !found {
		err = notFound("%s at %d in log %d of tenant %s", kind, seq, log.No, log.Tenant)
	}
	return row, err
}

// Rows implements store.Reader. It visits all partitions, and yields two rows that
// stand at one place, in whichever: verification reads the topics by it.
func (q queries) Rows(ctx context.Context, log store.LogRef, kind evidence.Kind, from, to int64, fn func(*store.Row) error) error {
	t := topicOf(kind)
	if t == nil || from >= to {
		return nil
	}
	return q.inLog(ctx, log, func(r *reader) error {
		var row store.Row
		last, at := from-1, int64(math.MaxInt64)
		return pagesOf(to-from+1, func(limit int) (n int, err error) {
			err = r.run(ctx, t.between, func(rows pgx.Rows) error {
				if err := t.read(rows, &row); err != nil {
					return err
				}
				n, last, at = n+1, row.Seq, int64(row.RecordedAt)
				return fn(&row)
			}, log.Tenant, log.No, last, at, to, limit)
			return n, err
		})
	})
}

// read reads one topic row, reusing what row has. Verification reads all of
// them, so values are taken as they came instead of through reflection.
func (t *topic) read(rows pgx.Rows, row *store.Row) error {
	values := rows.RawValues()
	if len(values) != colFields+len(t.fields) {
		return fmt.Errorf("postgres: %d columns of %s: %w", len(values), t.table, evidence.ErrTampered)
	}
	var bad error
	integer := func(col int) int64 {
		v := values[col]
		if len(v) != 8 {
			bad = fmt.Errorf("postgres: column %s of %s is no bigint: %w", t.columns[firstRead+col], t.table, evidence.ErrTampered)
			return 0
		}
		return int64(binary.BigEndian.Uint64(v))
	}
	optional := func(col int, absent int64) int64 {
		if values[col] == nil {
			return absent
		}
		return integer(col)
	}
	*row = store.Row{
		Seq:          integer(colLeafIndex),
		RecordedAt:   evidence.Micros(integer(colRecordedAt)),
		OccurredAt:   evidence.Micros(integer(colOccurredAt)),
		Run:          string(values[colRun]),
		N:            optional(colN, 0),
		Segment:      optional(colSegment, store.NoSegment),
		ActorSegment: optional(colActorSegment, store.NoSegment),
		Facts:        row.Facts[:0],
	}
	for i, f := range t.fields {
		v := values[colFields+i]
		if v == nil {
			continue
		}
		fact := evidence.Fact{Field: f}
		switch t.encoding[i] {
		case encText:
			fact.Str = string(v)
		case encList:
			fact.List = parseList(string(v))
		default:
			fact.Int = integer(colFields + i)
		}
		row.Facts = append(row.Facts, fact)
	}
	return bad
}
