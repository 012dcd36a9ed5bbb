package postgres

import (
	"context"
	"encoding/hex"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlFindIDs = `SELECT id, log_no, leaf_index FROM record_ids
		WHERE tenant_id = $1 AND id = ANY($2::bytea[])`
	sqlRecordIDs = `SELECT id, log_no, leaf_index FROM record_ids
		WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3`
	sqlFindSpans = `SELECT s.trace_id, s.span_id, s.log_no, s.leaf_index
		FROM unnest($2::bytea[], $3::bytea[]) AS v (trace_id, span_id)
		JOIN spans AS s ON s.tenant_id = $1 AND s.trace_id = v.trace_id AND s.span_id = v.span_id`
)

// FindIDs implements store.Reader.
func (q queries) FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]store.Position, error) {
	found := make(map[evidence.ID]store.Position)
	if len(ids) == 0 {
		return found, nil
	}
	list := make([][]byte, len(ids))
	for i := range ids {
		list[i] = ids[i][:]
	}
	err := q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlFindIDs, func(rows pgx.Rows) error {
			id, p, err := readID(rows)
			found[id] = p
			return err
		}, tenant, list)
	})
	return found, err
}

// RecordIDs implements store.Reader.
func (q queries) RecordIDs(ctx context.Context, tenant string, fn func(evidence.ID, store.Position) error) error {
	return q.with(ctx, func(r *reader) error {
		after := []byte{}
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlRecordIDs, func(rows pgx.Rows) error {
				id, p, err := readID(rows)
				if err != nil {
					return err
				}
				n, after = n+1, id[:]
				return fn(id, p)
			}, tenant, after, limit)
			return n, err
		})
	})
}

func readID(rows pgx.Rows) (id evidence.ID, p store.Position, err error) {
	var b []byte
	err = scan(rows, &b, &p.LogNo, &p.Seq)
	array(b, id[:])
	return id, p, err
}

// FindSpans implements store.Reader.
func (q queries) FindSpans(ctx context.Context, tenant string, spans []store.Span) (map[store.Span]store.Position, error) {
	found := make(map[store.Span]store.Position)
	var traces, ids [][]byte
	for _, s := range spans {
		if isHex(s.TraceID, 16) && isHex(s.SpanID, 8) { // what is no span id is stored nowhere
			traces, ids = append(traces, appendHex(nil, s.TraceID)), append(ids, appendHex(nil, s.SpanID))
		}
	}
	if len(ids) == 0 {
		return found, nil
	}
	err := q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlFindSpans, func(rows pgx.Rows) error {
			var trace, id []byte
			var p store.Position
			err := scan(rows, &trace, &id, &p.LogNo, &p.Seq)
			found[store.Span{TraceID: hex.EncodeToString(trace), SpanID: hex.EncodeToString(id)}] = p
			return err
		}, tenant, traces, ids)
	})
	return found, err
}
