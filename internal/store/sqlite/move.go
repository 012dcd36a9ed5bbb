package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/internal/store"
)

const sqlRemovals = `SELECT what, ref, id, name_no, by_row FROM removals WHERE tenant_no = ?1`

// SealedRange implements store.Mover.
func (q queries) SealedRange(ctx context.Context, log store.LogRef, from, to int64, fn func(store.SealedSegment) error) error {
	from, to = max(from, 0), min(to, numberMask+1)
	if from >= to {
		return nil
	}
	return q.inLog(ctx, log, func(r *reader, key int64) error {
		return r.run(ctx, sqlSealedAll, func(s *sqlite.Stmt) error {
			return fn(readSealed(s, log.No))
		}, rowKey(key, from), rowKey(key, to-1))
	})
}

// Removals implements store.Mover.
func (q queries) Removals(ctx context.Context, tenant string, fn func(store.Removed) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		return r.run(ctx, sqlRemovals, func(s *sqlite.Stmt) (err error) {
			e := store.Removed{What: s.ColumnText(0)}
			if e.What != store.RemovedKey {
				at, err := r.position(ctx, s.ColumnInt64(1))
				if err != nil {
					return err
				}
				e.LogNo, e.No = at.LogNo, at.Seq
			}
			if e.What == store.RemovedIndex {
				if e.Name, err = r.name(ctx, s.ColumnInt64(3)); err != nil {
					return err
				}
			}
			array(s, 2, e.ID[:])
			if e.By, err = r.position(ctx, s.ColumnInt64(4)); err != nil {
				return err
			}
			return fn(e)
		}, no)
	})
}

// KeepRemovals implements store.Mover.
func (db *DB) KeepRemovals(ctx context.Context, tenant string, list []store.Removed) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error {
		_, no, err := w.logKey(store.LogRef{Tenant: tenant, No: 1}) // every tenant has it
		if err != nil {
			return err
		}
		for i := range list {
			if err := w.keepRemoval(tenant, no, &list[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *writer) keepRemoval(tenant string, tenantNo int64, e *store.Removed) (err error) {
	var ref, name int64
	id := e.ID[:]
	switch e.What {
	case store.RemovedSegment:
		ref, err = w.position(tenant, store.Position{LogNo: e.LogNo, Seq: e.No})
	case store.RemovedIndex:
		id = nil
		if ref, err = w.position(tenant, store.Position{LogNo: e.LogNo, Seq: e.No}); err == nil {
			name, err = w.name(e.Name)
		}
	case store.RemovedKey:
	default:
		err = invalid("a removal of %q", e.What)
	}
	if err != nil {
		return err
	}
	by, err := w.position(tenant, e.By)
	if err != nil {
		return err
	}
	s := w.st.addRemoval
	s.BindInt64(1, tenantNo)
	s.BindText(2, e.What)
	s.BindInt64(3, ref)
	s.BindBytes(4, id)
	s.BindInt64(5, name)
	s.BindInt64(6, by)
	return refusedRemoval(step(s), e.By)
}

// KeepCheckpoints implements store.Mover.
func (db *DB) KeepCheckpoints(ctx context.Context, log store.LogRef, list []store.Checkpoint) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error {
		key, _, err := w.logKey(log)
		if err != nil {
			return err
		}
		for _, c := range list {
			if err := w.keepCheckpoint(key, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// Others implements store.Mover: the lock sees to it that there is nobody.
func (db *DB) Others(context.Context) ([]string, error) {
	if db.closed.Load() {
		return nil, errClosed
	}
	return nil, nil
}
