package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/internal/store"
)

const (
	sqlKeys    = `SELECT id, scope, label, wrapped FROM data_keys WHERE tenant_no = ?1 ORDER BY key_no`
	sqlKeysFor = `SELECT id, scope, label, wrapped FROM data_keys
		WHERE tenant_no = ?1 AND scope = ?2 AND label = ?3 ORDER BY key_no`
	sqlKey       = `SELECT id, scope, label, wrapped FROM data_keys WHERE tenant_no = ?1 AND id = ?2`
	sqlSealed    = `SELECT row, id, key_id, data FROM sealed_segments WHERE row = ?1`
	sqlSealedAll = `SELECT row, id, key_id, data FROM sealed_segments WHERE row >= ?1 AND row <= ?2 ORDER BY row`
	sqlNameNo    = `SELECT name_no FROM names WHERE text = ?1`
	sqlFindIndex = `SELECT row, trace_no FROM sealed_index
		WHERE tenant_no = ?1 AND name_no = ?2 AND mac = ?3 ORDER BY row DESC LIMIT ?4`
	sqlIndex = `SELECT row, trace_no, name_no, mac FROM sealed_index WHERE tenant_no = ?1`
)

func readKey(s *sqlite.Stmt) store.DataKey {
	k := store.DataKey{Scope: s.ColumnText(1), Label: s.ColumnText(2), Wrapped: blob(s, 3)}
	array(s, 0, k.ID[:])
	return k
}

// DataKeys implements store.Reader.
func (q queries) DataKeys(ctx context.Context, tenant, scope, label string) ([]store.DataKey, error) {
	var keys []store.DataKey
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		query, args := sqlKeysFor, []any{no, scope, label}
		if scope == "" {
			query, args = sqlKeys, []any{no}
		}
		return r.run(ctx, query, func(s *sqlite.Stmt) error {
			keys = append(keys, readKey(s))
			return nil
		}, args...)
	})
	return keys, err
}

// DataKey implements store.Reader.
func (q queries) DataKey(ctx context.Context, tenant string, id store.KeyID) (store.DataKey, error) {
	var k store.DataKey
	found := false
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) (err error) {
		found, err = r.one(ctx, sqlKey, func(s *sqlite.Stmt) { k = readKey(s) }, no, id[:])
		return err
	})
	if err == nil && !found {
		err = notFound("data key %x of tenant %s", id, tenant)
	}
	return k, err
}

func readSealed(s *sqlite.Stmt, logNo int) store.SealedSegment {
	seg := store.SealedSegment{
		SegmentRef: store.SegmentRef{LogNo: logNo, No: s.ColumnInt64(0) & numberMask},
		Data:       blob(s, 3),
	}
	array(s, 1, seg.ID[:])
	array(s, 2, seg.Key[:])
	return seg
}

// SealedSegment implements store.Reader.
func (q queries) SealedSegment(ctx context.Context, tenant string, ref store.SegmentRef) (store.SealedSegment, error) {
	var seg store.SealedSegment
	if !inRange(ref.No) {
		return seg, notFound("sealed segment %d", ref.No)
	}
	err := q.inLog(ctx, store.LogRef{Tenant: tenant, No: ref.LogNo}, func(r *reader, key int64) error {
		found, err := r.one(ctx, sqlSealed, func(s *sqlite.Stmt) { seg = readSealed(s, ref.LogNo) }, rowKey(key, ref.No))
		if err == nil && !found {
			err = notFound("sealed segment %d of log %d of tenant %s", ref.No, ref.LogNo, tenant)
		}
		return err
	})
	return seg, err
}

// SealedSegmentsOf implements store.Reader.
func (q queries) SealedSegmentsOf(ctx context.Context, log store.LogRef, numbers []int64, fn func(store.SealedSegment) error) error {
	return q.inLog(ctx, log, func(r *reader, key int64) error {
		for _, no := range numbers {
			if !inRange(no) {
				continue
			}
			err := r.run(ctx, sqlSealed, func(s *sqlite.Stmt) error { return fn(readSealed(s, log.No)) }, rowKey(key, no))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// SealedSegments implements store.Reader.
func (q queries) SealedSegments(ctx context.Context, log store.LogRef, fn func(store.SealedSegment) error) error {
	return q.inLog(ctx, log, func(r *reader, key int64) error {
		return r.run(ctx, sqlSealedAll, func(s *sqlite.Stmt) error {
			return fn(readSealed(s, log.No))
		}, rowKey(key, 0), rowKey(key, numberMask))
	})
}

// FindIndex implements store.Reader. A tenant's logs are opened in order, so
// the order of row keys is that of log and leaf index.
func (q queries) FindIndex(ctx context.Context, tenant, name string, mac [16]byte, limit int) ([]store.IndexEntry, error) {
	var list []store.IndexEntry
	if limit <= 0 {
		return nil, nil
	}
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		var nameNo int64
		found, err := r.one(ctx, sqlNameNo, func(s *sqlite.Stmt) { nameNo = s.ColumnInt64(0) }, name)
		if err != nil || !found {
			return err
		}
		return r.run(ctx, sqlFindIndex, func(s *sqlite.Stmt) (err error) {
			e := store.IndexEntry{Name: name, MAC: mac}
			if e.Position, e.Trace, err = r.indexed(ctx, s, no); err == nil {
				list = append(list, e)
			}
			return err
		}, no, nameNo, mac[:], int64(limit))
	})
	return list, err
}

// Index implements store.Reader.
func (q queries) Index(ctx context.Context, tenant string, fn func(store.IndexEntry) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		return r.run(ctx, sqlIndex, func(s *sqlite.Stmt) (err error) {
			var e store.IndexEntry
			if e.Position, e.Trace, err = r.indexed(ctx, s, no); err != nil {
				return err
			}
			if e.Name, err = r.name(ctx, s.ColumnInt64(2)); err != nil {
				return err
			}
			array(s, 3, e.MAC[:])
			return fn(e)
		}, no)
	})
}

// indexed reads the row and trace of an index entry, in columns 0 and 1.
func (r *reader) indexed(ctx context.Context, s *sqlite.Stmt, tenant int64) (p store.Position, trace string, err error) {
	if !s.ColumnIsNull(1) {
		if trace, err = r.spineText(ctx, tenant, s.ColumnInt64(1)); err != nil {
			return p, "", err
		}
	}
	p, err = r.position(ctx, s.ColumnInt64(0))
	return p, trace, err
}
