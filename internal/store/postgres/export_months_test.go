package postgres

import (
	"context"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// ExplainPosition tells how a row and a sealed segment of a position are looked for
// first.
func (db *DB) ExplainPosition(ctx context.Context, log store.LogRef, kind evidence.Kind, seq int64) (nodes []Node, err error) {
	err = db.with(ctx, func(r *reader) error {
		in, err := db.places.period(ctx, r, log, seq)
		if err != nil {
			return err
		}
		for sql, at := range map[string]int64{topicOf(kind).one: seq, sqlSealed: seq << store.SegmentBits} {
			list, err := r.explain(ctx, nil, sql, []any{log.Tenant, log.No, at, in.from, in.until})
			if err != nil {
				return err
			}
			nodes = append(nodes, list...)
		}
		return nil
	})
	return nodes, err
}
