package sqlite

import (
	"bytes"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	// NOT EXISTS and not ON CONFLICT, which a trigger would come before.
	sqlAddIndex = `INSERT INTO sealed_index (tenant_no, name_no, mac, row, trace_no)
		SELECT ?1, ?2, ?3, ?4, ?5
		WHERE NOT EXISTS (SELECT 1 FROM sealed_index WHERE tenant_no = ?1 AND name_no = ?2 AND mac = ?3 AND row = ?4)
		AND NOT EXISTS (SELECT 1 FROM sealed_index WHERE trace_no = ?5 AND name_no = ?2 AND mac = ?3)`
	sqlAddRemoval = `INSERT INTO removals (tenant_no, what, ref, id, name_no, by_row)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING`
)

// addContent writes keys, sealed segments and index entries.
func (w *writer) addContent(key, tenant int64, c *store.LogCommit) error {
	for i := range c.Keys {
		if err := w.addKey(tenant, &c.Keys[i]); err != nil {
			return err
		}
	}
	for i := range c.Sealed {
		seg := &c.Sealed[i]
		if seg.LogNo != c.Log.No || !inRange(seg.No) {
			return invalid("sealed segment %d of log %d in a commit of log %d", seg.No, seg.LogNo, c.Log.No)
		}
		if err := w.addSealed(rowKey(key, seg.No), seg); err != nil {
			return err
		}
	}
	for i := range c.Index {
		if err := w.addIndex(c.Log.Tenant, tenant, &c.Index[i]); err != nil {
			return err
		}
	}
	return nil
}

// addKey adds a data key. The same one again is nothing new; one that was
// removed cannot come back, which a trigger sees to.
func (w *writer) addKey(tenant int64, k *store.DataKey) error {
	find := w.st.findKey
	find.BindInt64(1, tenant)
	find.BindBytes(2, k.ID[:])
	found, err := find.Step()
	if err != nil {
		return err
	}
	same := false
	if found {
		have := readKey(find)
		same = have.Scope == k.Scope && have.Label == k.Label && bytes.Equal(have.Wrapped, k.Wrapped)
	}
	if err := find.Reset(); err != nil || same {
		return err
	}
	s := w.st.addKey
	s.BindInt64(1, tenant)
	s.BindBytes(2, k.ID[:])
	s.BindText(3, k.Scope)
	s.BindText(4, k.Label)
	s.BindBytes(5, k.Wrapped)
	if err := step(s); err != nil {
		if isUnique(err) || isGuard(err) {
			err = fmt.Errorf("sqlite: data key %x is taken or was removed: %w: %w", k.ID, evidence.ErrConflict, err)
		}
		return err
	}
	return nil
}

func (w *writer) addSealed(row int64, seg *store.SealedSegment) error {
	s := w.st.addSealed
	s.BindInt64(1, row)
	s.BindBytes(2, seg.ID[:])
	s.BindBytes(3, seg.Key[:])
	s.BindBytes(4, seg.Data)
	if err := step(s); err != nil {
		if isKey(err) || isUnique(err) || isGuard(err) {
			err = fmt.Errorf("sqlite: sealed segment %d is taken or was removed: %w: %w", seg.No, evidence.ErrConflict, err)
		}
		return err
	}
	return nil
}

func (w *writer) addIndex(tenant string, tenantNo int64, e *store.IndexEntry) error {
	name, err := w.name(e.Name)
	if err != nil {
		return err
	}
	row, err := w.position(tenant, e.Position)
	if err != nil {
		return err
	}
	s := w.st.addIndex
	s.BindInt64(1, tenantNo)
	s.BindInt64(2, name)
	s.BindBytes(3, e.MAC[:])
	s.BindInt64(4, row)
	s.BindNull(5)
	if e.Trace != "" {
		no, err := w.spineNo(tenantNo, e.Trace)
		if err != nil {
			return err
		}
		s.BindInt64(5, no)
	}
	return step(s)
}

// What a removal names, in removals.what.
const (
	removeSegment = "segment"
	removeKey     = "key"
	removeIndex   = "index"
)

// remove takes sealed content away. Each deletion is first written down with
// the record that orders it, which is what the triggers ask for.
func (w *writer) remove(tenant string, tenantNo int64, r *store.Removal) error {
	by, err := w.position(tenant, r.By)
	if err == nil {
		err = w.removing()
	}
	if err != nil {
		return err
	}
	order := func(what string, ref int64, id []byte, name int64) error {
		s := w.st.addRemoval
		s.BindInt64(1, tenantNo)
		s.BindText(2, what)
		s.BindInt64(3, ref)
		s.BindBytes(4, id)
		s.BindInt64(5, name)
		s.BindInt64(6, by)
		return refusedRemoval(step(s), r.By)
	}
	for i := range r.NewKeys {
		if err := w.addKey(tenantNo, &r.NewKeys[i]); err != nil {
			return err
		}
	}
	if err := w.removeSegments(tenant, r, order); err != nil {
		return err
	}
	for _, id := range r.Keys {
		if err := order(removeKey, 0, id[:], 0); err != nil {
			return err
		}
		s := w.st.dropKey
		s.BindInt64(1, tenantNo)
		s.BindBytes(2, id[:])
		if err := forbidden(step(s), "data key %x", id); err != nil {
			return err
		}
	}
	for i := range r.Index {
		e := &r.Index[i]
		row, err := w.position(tenant, e.Position)
		if err != nil {
			return err
		}
		name, err := w.name(e.Name)
		if err != nil {
			return err
		}
		if err := order(removeIndex, row, nil, name); err != nil {
			return err
		}
		s := w.st.dropIndex
		s.BindInt64(1, tenantNo)
		s.BindInt64(2, name)
		s.BindBytes(3, e.MAC[:])
		s.BindInt64(4, row)
		if err := step(s); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) removeSegments(tenant string, r *store.Removal, order func(string, int64, []byte, int64) error) error {
	named := r.IDs != nil
	if named && len(r.IDs) != len(r.Segments) {
		return invalid("%d ids for %d segments to be removed", len(r.IDs), len(r.Segments))
	}
	gone := make(map[store.SegmentRef]int64, len(r.Segments))
	for i, ref := range r.Segments {
		row, err := w.position(tenant, store.Position{LogNo: ref.LogNo, Seq: ref.No})
		if err != nil {
			return err
		}
		find := w.st.findSealed
		find.BindInt64(1, row)
		found, err := find.Step()
		if err != nil {
			return err
		}
		id := bytes.Clone(blob(find, 0))
		if err := find.Reset(); err != nil {
			return err
		}
		switch {
		case named && !bytes.Equal(id, r.IDs[i][:]):
			return fmt.Errorf("sqlite: sealed segment %d of log %d is no more the one that was to be removed: %w", ref.No, ref.LogNo, evidence.ErrConflict)
		case !found:
			continue // removed before
		}
		gone[ref] = row
		if err := order(removeSegment, row, id, 0); err != nil {
			return err
		}
		s := w.st.dropSealed
		s.BindInt64(1, row)
		if err := step(s); err != nil {
			return err
		}
	}
	for i := range r.Replace {
		seg := &r.Replace[i]
		row, ok := gone[seg.SegmentRef]
		if !ok {
			return fmt.Errorf("sqlite: sealed segment %d of log %d, to be replaced: %w", seg.No, seg.LogNo, evidence.ErrNotFound)
		}
		if err := w.addSealed(row, seg); err != nil {
			return err
		}
	}
	return nil
}

func refusedRemoval(err error, by store.Position) error {
	if err != nil && isGuard(err) {
		return fmt.Errorf("sqlite: record %d of log %d orders no removal: %w: %w", by.Seq, by.LogNo, evidence.ErrForbidden, err)
	}
	return err
}
