package sqlite

import (
	"errors"
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlFindLog = `SELECT l.log_key, l.tenant_no FROM tenants AS t JOIN logs AS l ON l.tenant_no = t.tenant_no
		WHERE t.tenant_id = ?1 AND l.log_no = ?2`
	sqlFindSpine = `SELECT spine_no FROM spine WHERE tenant_no = ?1 AND text = ?2`
)

// name returns the number of a text, giving it one if it has none.
func (w *writer) name(text string) (int64, error) {
	if n, ok := w.names.get(text); ok {
		return n, nil
	}
	s := w.st.findName
	s.BindText(1, text)
	n, found, err := number(s)
	if err != nil {
		return 0, err
	}
	if !found {
		s = w.st.addName
		s.BindText(1, text)
		if err := step(s); err != nil {
			return 0, err
		}
		n = w.conn.LastInsertRowID()
	}
	w.names.put(strings.Clone(text), n) // text may be part of a whole request
	return n, nil
}

// list returns the number of an array of names.
func (w *writer) list(f *evidence.Fact) (int64, error) {
	if len(f.List) == 0 {
		return w.name("[]")
	}
	w.scratch = f.AppendJSON(w.scratch[:0])
	return w.name(string(w.scratch))
}

// spineNo returns the number of a run or trace id, giving it one if needed.
func (w *writer) spineNo(tenant int64, text string) (int64, error) {
	k := spineKey{tenant, text}
	if n, ok := w.spine.get(k); ok {
		return n, nil
	}
	s := w.st.findSpine
	s.BindInt64(1, tenant)
	s.BindText(2, text)
	n, found, err := number(s)
	if err != nil {
		return 0, err
	}
	if !found {
		s = w.st.addSpine
		s.BindInt64(1, tenant)
		s.BindText(2, text)
		if err := step(s); err != nil {
			return 0, err
		}
		n = w.conn.LastInsertRowID()
	}
	k.text = strings.Clone(text)
	w.spine.put(k, n)
	return n, nil
}

// tenantNo returns a tenant's number, giving it one if it has none.
func (w *writer) tenantNo(id string) (int64, error) {
	if n, ok := w.tenants.get(id); ok {
		return n, nil
	}
	s := w.st.findTenant
	s.BindText(1, id)
	n, found, err := number(s)
	if err != nil {
		return 0, err
	}
	if !found {
		s = w.st.addTenant
		s.BindText(1, id)
		if err := step(s); err != nil {
			return 0, err
		}
		n = w.conn.LastInsertRowID()
	}
	w.tenants.put(strings.Clone(id), n)
	return n, nil
}

// logKey returns the keys of a log and its tenant, or evidence.ErrNotFound.
func (w *writer) logKey(ref store.LogRef) (key, tenant int64, err error) {
	key, ok := w.logs.get(ref)
	if ok {
		if tenant, ok = w.tenants.get(ref.Tenant); ok {
			return key, tenant, nil
		}
	}
	s := w.st.findLog
	s.BindText(1, ref.Tenant)
	s.BindInt64(2, int64(ref.No))
	found, err := s.Step()
	if err != nil {
		return 0, 0, err
	}
	if found {
		key, tenant = s.ColumnInt64(0), s.ColumnInt64(1)
	}
	if err := s.Reset(); err != nil {
		return 0, 0, err
	}
	if !found {
		return 0, 0, fmt.Errorf("sqlite: log %d of tenant %s: %w", ref.No, ref.Tenant, evidence.ErrNotFound)
	}
	ref.Tenant = strings.Clone(ref.Tenant)
	w.logs.put(ref, key)
	w.tenants.put(ref.Tenant, tenant)
	return key, tenant, nil
}

// openLog makes a log and its head.
func (w *writer) openLog(l *store.Log, head store.Head) (key, tenant int64, err error) {
	if _, _, err := w.logKey(l.LogRef); !errors.Is(err, evidence.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("%w: log %d of tenant %s is open already", store.ErrHeadMoved, l.No, l.Tenant)
		}
		return 0, 0, err
	}
	if tenant, err = w.tenantNo(l.Tenant); err != nil {
		return 0, 0, err
	}
	s := w.st.lastLog
	s.BindInt64(1, tenant)
	last, _, err := number(s)
	switch {
	case err != nil:
		return 0, 0, err
	case int64(l.No) != last+1:
		// Readers rely on it: log keys have the order of log numbers.
		return 0, 0, invalid("log %d of tenant %s is opened after log %d", l.No, l.Tenant, last)
	}
	s = w.st.addLog
	s.BindInt64(1, tenant)
	s.BindInt64(2, int64(l.No))
	s.BindText(3, l.Origin)
	s.BindText(4, l.VKey)
	s.BindBytes(5, l.WrappedKey)
	if err := step(s); err != nil {
		if isUnique(err) || isGuard(err) {
			err = fmt.Errorf("sqlite: origin %s is another log's: %w: %w", l.Origin, evidence.ErrConflict, err)
		}
		return 0, 0, err
	}
	key = w.conn.LastInsertRowID()
	s = w.st.addHead
	s.BindInt64(1, key)
	s.BindInt64(2, head.Size)
	s.BindBytes(3, head.Root[:])
	s.BindBytes(4, head.Note)
	return key, tenant, step(s)
}
