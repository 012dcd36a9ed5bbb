package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlFindID    = `SELECT row FROM record_ids WHERE tenant_no = ?1 AND id = ?2`
	sqlRecordIDs = `SELECT id, row FROM record_ids WHERE tenant_no = ?1`
	// The last two terms are those of the partial unique index.
	sqlFindSpan = `SELECT row FROM r_trace_step WHERE trace_id = ?1 AND span_id = ?2
		AND conflict_of IS NULL AND span_id IS NOT NULL`
	sqlFindExpired = `SELECT row FROM expired_spans WHERE trace_no = ?1 AND span_id = ?2`
)

// ofTenant lends a connection and a tenant's number, and does nothing where
// the tenant is unknown.
func (q queries) ofTenant(ctx context.Context, tenant string, f func(r *reader, no int64) error) error {
	return q.with(ctx, func(r *reader) error {
		no, found, err := r.tenant(ctx, tenant)
		if err != nil || !found {
			return err
		}
		return f(r, no)
	})
}

// FindIDs implements store.Reader.
func (q queries) FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]store.Position, error) {
	found := make(map[evidence.ID]store.Position)
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		for _, id := range ids {
			var row int64
			ok, err := r.one(ctx, sqlFindID, func(s *sqlite.Stmt) { row = s.ColumnInt64(0) }, no, id[:])
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if found[id], err = r.position(ctx, row); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return found, err
}

// FindSpans implements store.Reader.
func (q queries) FindSpans(ctx context.Context, tenant string, spans []store.Span) (map[store.Span]store.Position, error) {
	found := make(map[store.Span]store.Position)
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		for _, span := range spans {
			trace, ok, err := r.spineNo(ctx, no, span.TraceID)
			if err != nil {
				return err
			}
			bits, serr := spanBits(span.SpanID)
			if !ok || serr != nil {
				continue // what is no span id is stored nowhere
			}
			var row int64
			ok, err = r.one(ctx, sqlFindSpan, func(s *sqlite.Stmt) { row = s.ColumnInt64(0) }, trace, bits)
			if err == nil && !ok {
				ok, err = r.one(ctx, sqlFindExpired, func(s *sqlite.Stmt) { row = s.ColumnInt64(0) }, trace, bits)
			}
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if found[span], err = r.position(ctx, row); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return found, err
}

// spineNo returns the number of a run or trace id.
func (r *reader) spineNo(ctx context.Context, tenant int64, text string) (no int64, found bool, err error) {
	found, err = r.one(ctx, sqlFindSpine, func(s *sqlite.Stmt) { no = s.ColumnInt64(0) }, tenant, text)
	return no, found, err
}

// RecordIDs implements store.Reader.
func (q queries) RecordIDs(ctx context.Context, tenant string, fn func(evidence.ID, store.Position) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		return r.run(ctx, sqlRecordIDs, func(s *sqlite.Stmt) error {
			var id evidence.ID
			array(s, 0, id[:])
			p, err := r.position(ctx, s.ColumnInt64(1))
			if err != nil {
				return err
			}
			return fn(id, p)
		}, no)
	})
}
