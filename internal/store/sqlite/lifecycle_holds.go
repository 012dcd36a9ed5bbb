package sqlite

import (
	"context"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlAddHold = `INSERT INTO holds (tenant_no, id, scope, placed_row, from_at, until_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)`
	sqlGetHold = `SELECT hold_no, scope, placed_row, coalesce(released_row, 0), from_at, until_at FROM holds WHERE tenant_no = ?1 AND id = ?2`
	sqlRelease = `UPDATE holds SET released_row = ?2 WHERE hold_no = ?1`
	// NOT EXISTS and not ON CONFLICT, which a trigger would come before.
	sqlHoldRun = `INSERT INTO hold_runs (run_no, hold_no) SELECT ?1, ?2
		WHERE NOT EXISTS (SELECT 1 FROM hold_runs WHERE run_no = ?1 AND hold_no = ?2)`
	sqlHoldRow = `INSERT INTO hold_rows (row, hold_no) SELECT ?1, ?2
		WHERE NOT EXISTS (SELECT 1 FROM hold_rows WHERE row = ?1 AND hold_no = ?2)`
	sqlAddArchive = `INSERT INTO archives (row, to_leaf, first_at, last_at, archive, name, manifest, bytes, sealed, at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9)`
	sqlGetArchive = `SELECT row, to_leaf, first_at, last_at, archive, name, manifest, bytes, at FROM archives WHERE row = ?1`
)

// aHold is a hold as its table has it.
type aHold struct {
	no               int64
	scope            string
	placed, released int64 // rows; 0: in force
	from, until      int64
}

// hold looks a hold up; its number is 0 where there is none.
func (w *writer) hold(tenant int64, id string) (h aHold, err error) {
	err = w.query(sqlGetHold, func(s *sqlite.Stmt) {
		h = aHold{s.ColumnInt64(0), s.ColumnText(1), s.ColumnInt64(2), s.ColumnInt64(3), s.ColumnInt64(4), s.ColumnInt64(5)}
	}, tenant, id)
	return h, err
}

// placeHold writes a hold and what it covers.
func (w *writer) placeHold(tenant string, no int64, h *store.Hold) error {
	if !slices.Contains([]string{store.HoldTenant, store.HoldTime, store.HoldRun, store.HoldSubject}, h.Scope) {
		return invalid("a hold of scope %q", h.Scope)
	}
	placed, err := w.position(tenant, h.Placed)
	if err != nil {
		return err
	}
	err = w.run(sqlAddHold, no, h.ID, h.Scope, placed, int64(h.From), int64(h.Until))
	if err = forbidden(err, "hold %s by record %d of log %d", h.ID, h.Placed.Seq, h.Placed.LogNo); err != nil {
		return err
	}
	return w.extendHold(tenant, no, w.conn.LastInsertRowID(), h.Runs, h.Records)
}

// extendHold adds to what a hold covers.
func (w *writer) extendHold(tenant string, tenantNo, hold int64, runs []string, records []store.Position) error {
	for _, run := range runs {
		no, err := w.spineNo(tenantNo, run)
		if err != nil {
			return err
		}
		if err := forbidden(w.run(sqlHoldRun, no, hold), "a run of a hold"); err != nil {
			return err
		}
	}
	for _, at := range records {
		row, err := w.position(tenant, at)
		if err != nil {
			return err
		}
		if err := forbidden(w.run(sqlHoldRow, row, hold), "a record of a hold"); err != nil {
			return err
		}
	}
	return nil
}

// releaseHold ends a hold.
func (w *writer) releaseHold(tenant string, no int64, h *store.Hold) error {
	have, err := w.hold(no, h.ID)
	switch {
	case err != nil:
		return err
	case have.no == 0:
		return notFound("hold %s of tenant %s", h.ID, tenant)
	case have.released != 0:
		return fmt.Errorf("sqlite: hold %s of tenant %s was released before: %w", h.ID, tenant, evidence.ErrConflict)
	}
	released, err := w.position(tenant, h.Released)
	if err != nil {
		return err
	}
	return forbidden(w.run(sqlRelease, have.no, released), "release of hold %s by record %d of log %d", h.ID, h.Released.Seq, h.Released.LogNo)
}

// addLifecycle writes what a commit has of expiries and holds.
func (w *writer) addLifecycle(tenant int64, c *store.LogCommit) error {
	if err := w.addExpiries(c.Log.Tenant, c.Expiries, false); err != nil {
		return err
	}
	for i := range c.Holds {
		if err := w.placeHold(c.Log.Tenant, tenant, &c.Holds[i]); err != nil {
			return err
		}
	}
	for i := range c.Releases {
		if err := w.releaseHold(c.Log.Tenant, tenant, &c.Releases[i]); err != nil {
			return err
		}
	}
	return nil
}

// ExtendHold implements store.Store.
func (db *DB) ExtendHold(ctx context.Context, tenant, id string, runs []string, records []store.Position) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error {
		_, no, err := w.logKey(store.LogRef{Tenant: tenant, No: 1}) // every tenant has it
		if err != nil {
			return err
		}
		h, err := w.hold(no, id)
		switch {
		case err != nil:
			return err
		case h.no == 0:
			return notFound("hold %s of tenant %s", id, tenant)
		case h.scope != store.HoldSubject:
			return invalid("hold %s is of scope %s: it does not grow", id, h.scope)
		case h.released != 0:
			return fmt.Errorf("sqlite: hold %s of tenant %s is released: %w", id, tenant, evidence.ErrConflict)
		}
		return w.extendHold(tenant, no, h.no, runs, records)
	})
}

// KeepArchive implements store.Store.
func (db *DB) KeepArchive(ctx context.Context, u store.ArchiveUnit) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error { return w.keepArchive(&u) })
}

func (w *writer) keepArchive(u *store.ArchiveUnit) error {
	key, _, err := w.logKey(u.LogRef)
	if err != nil {
		return err
	}
	if u.From < 0 || u.From >= u.To || !inRange(u.To) {
		return invalid("archive unit of leaves %d to %d", u.From, u.To)
	}
	row := rowKey(key, u.From)
	var have store.ArchiveUnit
	found := false
	err = w.query(sqlGetArchive, func(s *sqlite.Stmt) { have, found = readArchive(s, u.LogRef), true }, row)
	if err != nil {
		return err
	}
	if found {
		have.At = u.At // what stands there stays
		if have != *u {
			return fmt.Errorf("sqlite: another archive unit begins at leaf %d of log %d of tenant %s: %w", u.From, u.No, u.Tenant, evidence.ErrConflict)
		}
		return nil
	}
	err = w.run(sqlAddArchive, row, u.To, int64(u.FirstAt), int64(u.LastAt), u.Archive, u.Name, u.Manifest[:], u.Bytes, int64(u.At))
	if err != nil && isGuard(err) {
		return fmt.Errorf("sqlite: leaves %d to %d of log %d of tenant %s are not those that follow the units before: %w: %w", u.From, u.To, u.No, u.Tenant, evidence.ErrInvalid, err)
	}
	return err
}

// RestoreLifecycle implements store.Store.
func (db *DB) RestoreLifecycle(ctx context.Context, tenant string, e []store.Expiry, h []store.Hold, a []store.ArchiveUnit) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error {
		_, no, err := w.logKey(store.LogRef{Tenant: tenant, No: 1})
		if err != nil {
			return err
		}
		for i := range a { // before the expiries of leaves, which ask for them
			if a[i].Tenant != tenant {
				return invalid("an archive unit of tenant %s beside those of %s", a[i].Tenant, tenant)
			}
			if err := w.keepArchive(&a[i]); err != nil {
				return err
			}
		}
		for i := range e {
			if err := w.restoreExpiry(tenant, &e[i]); err != nil {
				return err
			}
		}
		for i := range h {
			if err := w.restoreHold(tenant, no, &h[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *writer) restoreExpiry(tenant string, e *store.Expiry) error {
	k, err := w.expiryKey(tenant, e)
	if err != nil {
		return err
	}
	switch found, same, err := w.written(k, e); {
	case err != nil:
		return err
	case !found:
		return w.addExpiries(tenant, []store.Expiry{*e}, true)
	case !same:
		return fmt.Errorf("sqlite: expiry of %s by record %d of log %d is there already, and another: %w", e.Table, e.By.Seq, e.By.LogNo, evidence.ErrConflict)
	case e.Done:
		return w.run(sqlExpiryDone, k.log, e.Table, e.From, k.by)
	}
	return nil
}

// restoreHold writes a hold that another store has, or goes on with one that an
// earlier try has written.
func (w *writer) restoreHold(tenant string, no int64, h *store.Hold) error {
	have, err := w.hold(no, h.ID)
	if err != nil {
		return err
	}
	if have.no == 0 {
		if err := w.placeHold(tenant, no, h); err != nil {
			return err
		}
	} else {
		placed, err := w.position(tenant, h.Placed)
		if err != nil {
			return err
		}
		if have.scope != h.Scope || have.placed != placed || have.from != int64(h.From) || have.until != int64(h.Until) {
			return fmt.Errorf("sqlite: hold %s of tenant %s is there already, and another: %w", h.ID, tenant, evidence.ErrConflict)
		}
		if have.released != 0 {
			return nil // and complete, for it is written all or none
		}
		if err := w.extendHold(tenant, no, have.no, h.Runs, h.Records); err != nil {
			return err
		}
	}
	if h.Released.LogNo == 0 {
		return nil
	}
	return w.releaseHold(tenant, no, h)
}
