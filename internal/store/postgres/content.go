package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlAddKeys = `INSERT INTO data_keys (tenant_id, id, scope, label, wrapped)
		SELECT $1, u.id, u.scope, u.label, u.wrapped
		FROM unnest($2::bytea[], $3::text[], $4::text[], $5::bytea[]) WITH ORDINALITY AS u (id, scope, label, wrapped, place)
		ORDER BY u.place
		ON CONFLICT DO NOTHING`
	sqlKeysHad = `SELECT id, scope, label, wrapped FROM data_keys WHERE tenant_id = $1 AND id = ANY ($2::bytea[])`

	// Both of an entry's keys may be there: its own, and that of its trace.
	sqlAddIndex = `INSERT INTO sealed_index (tenant_id, name, mac, log_no, leaf_index, trace_id)
		SELECT $1, u.name, u.mac, u.log_no, u.leaf_index, u.trace_id
		FROM unnest($2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::text[])
			WITH ORDINALITY AS u (name, mac, log_no, leaf_index, trace_id, place)
		ORDER BY u.place
		ON CONFLICT DO NOTHING`

	sqlRemoveSegments = `SELECT removed_log, removed_no, removed_id FROM runledger_remove_segments($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	sqlRemoveKeys     = `SELECT runledger_remove_keys($1, $2, $3, $4)`
	sqlRemoveIndex    = `SELECT runledger_remove_index($1, $2, $3, $4, $5, $6, $7)`
)

// addKeys adds data keys. The same one again is nothing new; one that was
// removed cannot come back, which a trigger sees to.
func addKeys(ctx context.Context, conn *pooled, tenant string, keys []store.DataKey) error {
	if len(keys) == 0 {
		return nil
	}
	ids, wrapped := make([][]byte, len(keys)), make([][]byte, len(keys))
	scopes, labels := make([]string, len(keys)), make([]string, len(keys))
	for i := range keys {
		k := &keys[i]
		ids[i], scopes[i], labels[i], wrapped[i] = k.ID[:], k.Scope, k.Label, note(k.Wrapped)
	}
	tag, err := conn.Exec(ctx, sqlAddKeys, tenant, ids, scopes, labels, wrapped)
	switch {
	case sqlState(err) == codeFixed:
		return fmt.Errorf("%w: one that the commit brings: %w: %w", store.ErrKeyGone, evidence.ErrConflict, err)
	case isTaken(err):
		return conflict(err, "a data key")
	case err != nil || tag.RowsAffected() == int64(len(keys)):
		return err
	}
	have := map[store.KeyID]store.DataKey{}
	err = (&reader{conn: conn.Conn}).run(ctx, sqlKeysHad, func(rows pgx.Rows) error {
		var k store.DataKey
		var id []byte
		if err := scan(rows, &id, &k.Scope, &k.Label, &k.Wrapped); err != nil {
			return err
		}
		array(id, k.ID[:])
		have[k.ID] = k
		return nil
	}, tenant, ids)
	if err != nil {
		return err
	}
	for i := range keys {
		k, h := &keys[i], have[keys[i].ID]
		if h.Scope != k.Scope || h.Label != k.Label || !bytes.Equal(h.Wrapped, k.Wrapped) {
			return fmt.Errorf("postgres: data key %x is another one: %w", k.ID, evidence.ErrConflict)
		}
	}
	return nil
}

// addIndex adds index entries. Of those that a trace has once the first of the commit is
// the one: most steps of a trace repeat what the first of them brought, and the database
// would look for each again. They go in the order of their key, so that those that belong
// to one page come together.
func addIndex(ctx context.Context, f *flight, tenant string, entries []store.IndexEntry) {
	list := firstOfTraces(entries)
	if len(list) == 0 {
		return
	}
	slices.SortStableFunc(list, func(a, b *store.IndexEntry) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), bytes.Compare(a.MAC[:], b.MAC[:]))
	})
	n := len(list)
	names, macs, traces := make([]string, n), make([][]byte, n), make([]*string, n)
	logs, leaves := make([]int64, n), make([]int64, n)
	for i, e := range list {
		names[i], macs[i], logs[i], leaves[i] = e.Name, e.MAC[:], int64(e.LogNo), e.Seq
		if e.Trace != "" {
			traces[i] = &e.Trace
		}
	}
	f.query(ctx, sqlAddIndex, tenant, names, macs, logs, leaves, traces)
}

// firstOfTraces leaves out what a trace has already by an entry before.
func firstOfTraces(entries []store.IndexEntry) []*store.IndexEntry {
	type once struct {
		trace, name string
		mac         [16]byte
	}
	seen := make(map[once]struct{})
	list := make([]*store.IndexEntry, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.Trace != "" {
			k := once{e.Trace, e.Name, e.MAC}
			if _, again := seen[k]; again {
				continue
			}
			seen[k] = struct{}{}
		}
		list = append(list, e)
	}
	return list
}

// remove takes sealed content away, through functions of the owner: they write
// down each deletion with the record that orders it, or refuse.
func remove(ctx context.Context, conn *pooled, log store.LogRef, r *store.Removal) error {
	if err := removeSegments(ctx, conn, log, r); err != nil {
		return refusedRemoval(err, r.By)
	}
	if len(r.Keys) > 0 {
		ids := make([][]byte, len(r.Keys))
		for i := range r.Keys {
			ids[i] = r.Keys[i][:]
		}
		if _, err := conn.Exec(ctx, sqlRemoveKeys, log.Tenant, r.By.LogNo, r.By.Seq, ids); err != nil {
			return refusedRemoval(err, r.By)
		}
	}
	if n := len(r.Index); n > 0 {
		names, macs, logs, leaves := make([]string, n), make([][]byte, n), make([]int64, n), make([]int64, n)
		for i := range r.Index {
			e := &r.Index[i]
			names[i], macs[i], logs[i], leaves[i] = e.Name, e.MAC[:], int64(e.LogNo), e.Seq
		}
		if _, err := conn.Exec(ctx, sqlRemoveIndex, log.Tenant, r.By.LogNo, r.By.Seq, names, macs, logs, leaves); err != nil {
			return refusedRemoval(err, r.By)
		}
	}
	return nil
}

func removeSegments(ctx context.Context, conn *pooled, log store.LogRef, r *store.Removal) error {
	gone := make(map[store.SegmentRef][]byte, len(r.Segments)) // their ids
	if n := len(r.Segments); n > 0 {
		logs, numbers := make([]int64, n), make([]int64, n)
		for i, ref := range r.Segments {
			logs[i], numbers[i] = int64(ref.LogNo), ref.No
		}
		left := leftOf(r.Replace)
		err := (&reader{conn: conn.Conn}).run(ctx, sqlRemoveSegments, func(rows pgx.Rows) error {
			var ref store.SegmentRef
			var id []byte
			err := scan(rows, &ref.LogNo, &ref.No, &id)
			gone[ref] = id
			return err
		}, log.Tenant, r.By.LogNo, r.By.Seq, logs, numbers, left.logs, left.numbers, left.ids, left.keys, left.data)
		if err != nil {
			return err
		}
	}
	if err := wantIDs(r, gone); err != nil {
		return err
	}
	for i := range r.Replace {
		if _, removed := gone[r.Replace[i].SegmentRef]; !removed {
			return notFound("sealed segment %d of log %d, to be replaced", r.Replace[i].No, r.Replace[i].LogNo)
		}
	}
	return nil
}

// leftColumns are what is put in the place of segments, a column each.
type leftColumns struct {
	logs, numbers   []int64
	ids, keys, data [][]byte
}

func leftOf(list []store.SealedSegment) (c leftColumns) {
	for i := range list {
		s := &list[i]
		c.logs, c.numbers = append(c.logs, int64(s.LogNo)), append(c.numbers, s.No)
		c.ids, c.keys, c.data = append(c.ids, s.ID[:]), append(c.keys, s.Key[:]), append(c.data, s.Data)
	}
	return c
}

func refusedRemoval(err error, by store.Position) error {
	if sqlState(err) == codeNoOrder {
		return fmt.Errorf("postgres: record %d of log %d orders no removal: %w: %w", by.Seq, by.LogNo, evidence.ErrForbidden, err)
	}
	return err
}
