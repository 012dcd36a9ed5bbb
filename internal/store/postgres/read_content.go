package postgres

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

const (
	keyColumns = `SELECT id, scope, label, wrapped FROM data_keys`
	sqlKeys    = keyColumns + ` WHERE tenant_id = $1 ORDER BY key_no`
	sqlKeysFor = keyColumns + ` WHERE tenant_id = $1 AND scope = $2 AND label = $3 ORDER BY key_no`
	sqlKey     = keyColumns + ` WHERE tenant_id = $1 AND id BETWEEN $2 AND $2 ORDER BY id` // see find_sql.go

	sealedColumns = `SELECT no, id, key_id, data, recorded_at FROM sealed_segments`
	sqlSealed     = sealedColumns + ` WHERE tenant_id = $1 AND log_no = $2 AND no = $3 AND recorded_at >= $4 AND recorded_at < $5 ORDER BY recorded_at LIMIT 1`
	sqlSealedOf   = sealedColumns + ` WHERE tenant_id = $1 AND log_no = $2 AND no = ANY ($3::bigint[]) AND recorded_at >= $4 AND recorded_at < $5 ORDER BY no, recorded_at`
	sqlSealedAll  = sealedColumns + ` WHERE tenant_id = $1 AND log_no = $2 AND (no, recorded_at) > ($3, $4) ORDER BY no, recorded_at LIMIT $5`

	indexColumns = `SELECT name, mac, log_no, leaf_index, coalesce(trace_id, '') FROM sealed_index`
	sqlFindIndex = indexColumns + ` WHERE tenant_id = $1 AND name = $2 AND mac = $3
		ORDER BY log_no DESC, leaf_index DESC LIMIT $4`
	sqlIndex = indexColumns + ` WHERE tenant_id = $1 AND (name, mac, log_no, leaf_index) > ($2, $3, $4, $5)
		ORDER BY name, mac, log_no, leaf_index LIMIT $6`
)

func readKey(rows pgx.Rows) (k store.DataKey, err error) {
	var id []byte
	err = scan(rows, &id, &k.Scope, &k.Label, &k.Wrapped)
	array(id, k.ID[:])
	return k, err
}

// DataKeys implements store.Reader.
func (q queries) DataKeys(ctx context.Context, tenant, scope, label string) ([]store.DataKey, error) {
	var keys []store.DataKey
	query, args := sqlKeysFor, []any{tenant, scope, label}
	if scope == "" {
		query, args = sqlKeys, []any{tenant}
	}
	err := q.with(ctx, func(r *reader) error {
		return r.run(ctx, query, func(rows pgx.Rows) error {
			k, err := readKey(rows)
			keys = append(keys, k)
			return err
		}, args...)
	})
	return keys, err
}

// DataKey implements store.Reader.
func (q queries) DataKey(ctx context.Context, tenant string, id store.KeyID) (k store.DataKey, err error) {
	found := false
	err = q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlKey, func(rows pgx.Rows) (err error) {
			found = true
			k, err = readKey(rows)
			return err
		}, tenant, id[:])
	})
	if err == nil && !found {
		err = notFound("data key %x of tenant %s", id, tenant)
	}
	return k, err
}

func readSealed(rows pgx.Rows, logNo int) (seg store.SealedSegment, at int64, err error) {
	seg.LogNo = logNo
	var id, key []byte
	err = scan(rows, &seg.No, &id, &key, &seg.Data, &at)
	array(id, seg.ID[:])
	array(key, seg.Key[:])
	return seg, at, err
}

// SealedSegment implements store.Reader.
func (q queries) SealedSegment(ctx context.Context, tenant string, ref store.SegmentRef) (seg store.SealedSegment, err error) {
	found, log := false, store.LogRef{Tenant: tenant, No: ref.LogNo}
	err = q.with(ctx, func(r *reader) (err error) {
		found, err = q.found(ctx, r, log, ref.No>>store.SegmentBits, func(in period) (found bool, err error) {
			err = r.run(ctx, sqlSealed, func(rows pgx.Rows) (err error) {
				found = true
				seg, _, err = readSealed(rows, ref.LogNo)
				return err
			}, tenant, ref.LogNo, ref.No, in.from, in.until)
			return found, err
		})
		return err
	})
	if err == nil && !found {
		err = notFound("sealed segment %d of log %d of tenant %s", ref.No, ref.LogNo, tenant)
	}
	return seg, err
}

// SealedSegmentsOf implements store.Reader. It looks into the months that the log says they are of, and
// for those that are not there everywhere. Of two with one number it yields the first, as SealedSegment.
func (q queries) SealedSegmentsOf(ctx context.Context, log store.LogRef, numbers []int64, fn func(store.SealedSegment) error) error {
	if len(numbers) == 0 {
		return nil
	}
	return q.inLog(ctx, log, func(r *reader) error {
		first, err := q.places.period(ctx, r, log, numbers[0]>>store.SegmentBits)
		if err != nil {
			return err
		}
		last, err := q.places.period(ctx, r, log, numbers[len(numbers)-1]>>store.SegmentBits)
		if err != nil {
			return err
		}
		var list []store.SealedSegment
		in := period{first.from, last.until}
		missing, err := r.sealedOf(ctx, log, numbers, in, &list)
		if err == nil && len(missing) > 0 && in != anyTime {
			_, err = r.sealedOf(ctx, log, missing, anyTime, &list)
			slices.SortFunc(list, func(a, b store.SealedSegment) int { return cmp.Compare(a.No, b.No) })
		}
		for i := 0; err == nil && i < len(list); i++ {
			err = fn(list[i])
		}
		return err
	})
}

// sealedOf appends the segments of these numbers that were recorded in a period to list, and returns the
// numbers of those that are not there.
func (r *reader) sealedOf(ctx context.Context, log store.LogRef, numbers []int64, in period, list *[]store.SealedSegment) (missing []int64, err error) {
	from := len(*list)
	err = r.run(ctx, sqlSealedOf, func(rows pgx.Rows) error {
		seg, _, err := readSealed(rows, log.No)
		if n := len(*list); err == nil && (n == from || (*list)[n-1].No != seg.No) {
			*list = append(*list, seg)
		}
		return err
	}, log.Tenant, log.No, numbers, in.from, in.until)
	found := (*list)[from:]
	for _, no := range numbers {
		if len(found) > 0 && found[0].No == no {
			found = found[1:]
		} else {
			missing = append(missing, no)
		}
	}
	return missing, err
}

// SealedSegments implements store.Reader. Of two with one number, which no commit
// writes, it yields both.
func (q queries) SealedSegments(ctx context.Context, log store.LogRef, fn func(store.SealedSegment) error) error {
	return q.inLog(ctx, log, func(r *reader) error {
		last, at := int64(-1), int64(math.MaxInt64)
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlSealedAll, func(rows pgx.Rows) error {
				seg, recorded, err := readSealed(rows, log.No)
				if err != nil {
					return err
				}
				n, last, at = n+1, seg.No, recorded
				return fn(seg)
			}, log.Tenant, log.No, last, at, limit)
			return n, err
		})
	})
}

func readIndex(rows pgx.Rows) (e store.IndexEntry, err error) {
	var mac []byte
	err = scan(rows, &e.Name, &mac, &e.LogNo, &e.Seq, &e.Trace)
	array(mac, e.MAC[:])
	return e, err
}

// FindIndex implements store.Reader.
func (q queries) FindIndex(ctx context.Context, tenant, name string, mac [16]byte, limit int) ([]store.IndexEntry, error) {
	var list []store.IndexEntry
	if limit <= 0 {
		return nil, nil
	}
	err := q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlFindIndex, func(rows pgx.Rows) error {
			e, err := readIndex(rows)
			list = append(list, e)
			return err
		}, tenant, name, mac[:], limit)
	})
	return list, err
}

// Index implements store.Reader.
func (q queries) Index(ctx context.Context, tenant string, fn func(store.IndexEntry) error) error {
	return q.with(ctx, func(r *reader) error {
		name, mac, at := "", []byte{}, store.Position{LogNo: -1}
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlIndex, func(rows pgx.Rows) error {
				e, err := readIndex(rows)
				if err != nil {
					return err
				}
				n, name, mac, at = n+1, e.Name, e.MAC[:], e.Position
				return fn(e)
			}, tenant, name, mac, at.LogNo, at.Seq, limit)
			return n, err
		})
	})
}
