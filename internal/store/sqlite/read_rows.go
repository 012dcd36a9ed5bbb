package sqlite

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlName  = `SELECT text FROM names WHERE name_no = ?1`
	sqlSpine = `SELECT tenant_no, text FROM spine WHERE spine_no = ?1`
)

// A number that stands for nothing, or for another tenant's id, is damage that
// verification must report as a column that differs from its leaf, with all
// others of the log beside it. So it does not end the reading: the field gets
// a text that begins with this mark, which no such field can begin with.
const broken = "!"

// name returns the text of an interned name.
func (r *reader) name(ctx context.Context, no int64) (string, error) {
	if text, ok := r.names[no]; ok {
		return text, nil
	}
	text := ""
	found, err := r.one(ctx, sqlName, func(s *sqlite.Stmt) { text = s.ColumnText(0) }, no)
	if err != nil {
		return "", err
	}
	if !found {
		text = fmt.Sprintf("%sname %d is missing", broken, no)
	}
	return remember(r.names, no, text), nil
}

func (r *reader) list(ctx context.Context, no int64) ([]string, error) {
	if list, ok := r.lists[no]; ok {
		return list, nil
	}
	text, err := r.name(ctx, no)
	if err != nil {
		return nil, err
	}
	return remember(r.lists, no, parseList(text)), nil
}

// spineText returns the run or trace id that a number stands for.
func (r *reader) spineText(ctx context.Context, tenant, no int64) (string, error) {
	k := spineNo{tenant, no}
	if text, ok := r.spine[k]; ok {
		return text, nil
	}
	text, owner := "", int64(0)
	found, err := r.one(ctx, sqlSpine, func(s *sqlite.Stmt) { owner, text = s.ColumnInt64(0), s.ColumnText(1) }, no)
	switch {
	case err != nil:
		return "", err
	case !found:
		text = fmt.Sprintf("%sid %d is missing", broken, no)
	case owner != tenant:
		text = fmt.Sprintf("%sid %d is another tenant's", broken, no)
	}
	return remember(r.spine, k, text), nil
}

// Row implements store.Reader.
func (q queries) Row(ctx context.Context, log store.LogRef, kind evidence.Kind, seq int64) (store.Row, error) {
	var row store.Row
	t := topicOf(kind)
	if t == nil || !inRange(seq) {
		return row, notFound("%s at %d", kind, seq)
	}
	found := false
	err := q.with(ctx, func(r *reader) error {
		key, tenant, err := r.logKey(ctx, log)
		if err != nil {
			return err
		}
		return r.run(ctx, t.one, func(s *sqlite.Stmt) error {
			found = true
			return r.read(ctx, t, tenant, s, &row)
		}, rowKey(key, seq))
	})
	if err == nil && !found {
		err = notFound("%s at %d in log %d of tenant %s", kind, seq, log.No, log.Tenant)
	}
	return row, err
}

// Rows implements store.Reader.
func (q queries) Rows(ctx context.Context, log store.LogRef, kind evidence.Kind, from, to int64, fn func(*store.Row) error) error {
	t := topicOf(kind)
	from, to = max(from, 0), min(to, numberMask)
	if t == nil || from >= to {
		return nil
	}
	return q.with(ctx, func(r *reader) error {
		key, tenant, err := r.logKey(ctx, log)
		if err != nil {
			return err
		}
		var row store.Row
		return r.run(ctx, t.between, func(s *sqlite.Stmt) error {
			if err := r.read(ctx, t, tenant, s, &row); err != nil {
				return err
			}
			return fn(&row)
		}, rowKey(key, from), rowKey(key, to))
	})
}

// read reads one topic row, reusing what row has.
func (r *reader) read(ctx context.Context, t *topic, tenant int64, s *sqlite.Stmt, row *store.Row) (err error) {
	*row = store.Row{
		Seq:          s.ColumnInt64(colRow) & numberMask,
		RecordedAt:   evidence.Micros(s.ColumnInt64(colRecordedAt)),
		OccurredAt:   evidence.Micros(s.ColumnInt64(colOccurredAt)),
		Segment:      segmentNo(s, colSegment),
		ActorSegment: segmentNo(s, colActorSegment),
		N:            s.ColumnInt64(colN),
		Facts:        row.Facts[:0],
	}
	if !s.ColumnIsNull(colRun) {
		if row.Run, err = r.spineText(ctx, tenant, s.ColumnInt64(colRun)); err != nil {
			return err
		}
	}
	for i, f := range t.fields {
		col := colFields + i
		if s.ColumnIsNull(col) {
			continue
		}
		fact := evidence.Fact{Field: f}
		switch t.encoding[i] {
		case encText:
			fact.Str = s.ColumnText(col)
		case encName:
			fact.Str, err = r.name(ctx, s.ColumnInt64(col))
		case encNames:
			fact.List, err = r.list(ctx, s.ColumnInt64(col))
		case encSpine:
			fact.Str, err = r.spineText(ctx, tenant, s.ColumnInt64(col))
		case encSpan:
			fact.Str = spanText(s.ColumnInt64(col))
		default:
			fact.Int = s.ColumnInt64(col)
		}
		if err != nil {
			return err
		}
		row.Facts = append(row.Facts, fact)
	}
	return nil
}

func segmentNo(s *sqlite.Stmt, col int) int64 {
	if s.ColumnIsNull(col) {
		return store.NoSegment
	}
	return s.ColumnInt64(col)
}
