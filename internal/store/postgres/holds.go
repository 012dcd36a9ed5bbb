package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// What commits and copies write down of lifecycle. Triggers see that each has its record.

const (
	sqlAddExpiries = `INSERT INTO expiries (tenant_id, log_no, table_name, first, until, before, synthetic, by_log, by_leaf, done)
		SELECT $1, u.* FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[], $8::bigint[], $9::bigint[], $10::boolean[]) AS u`
	sqlRestoreExpiries = `SELECT runledger_restore_expiries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

	sqlHold    = `SELECT scope, placed_log, placed_leaf, coalesce(released_log, 0), coalesce(released_leaf, 0), from_at, until_at FROM holds WHERE tenant_id = $1 AND id = $2`
	sqlAddHold = `INSERT INTO holds (tenant_id, id, scope, placed_log, placed_leaf, from_at, until_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	// What is there already is not written again: of a hold that was released nothing
	// could be.
	sqlAddHoldRuns = `INSERT INTO hold_runs (tenant_id, run_id, hold_id)
		SELECT DISTINCT $1, u.run_id, $2 FROM unnest($3::text[]) AS u (run_id)
		WHERE NOT EXISTS (SELECT 1 FROM hold_runs AS p WHERE p.tenant_id = $1 AND p.run_id = u.run_id AND p.hold_id = $2)
		ON CONFLICT DO NOTHING`
	sqlAddHoldRecords = `INSERT INTO hold_records (tenant_id, log_no, leaf_index, hold_id)
		SELECT DISTINCT $1, u.log_no, u.leaf_index, $2 FROM unnest($3::bigint[], $4::bigint[]) AS u (log_no, leaf_index)
		WHERE NOT EXISTS (SELECT 1 FROM hold_records AS p WHERE p.tenant_id = $1 AND p.log_no = u.log_no AND p.leaf_index = u.leaf_index AND p.hold_id = $2)
		ON CONFLICT DO NOTHING`
	sqlReleaseHold = `SELECT runledger_release_hold($1, $2, $3, $4)`

	sqlAddArchive = `INSERT INTO archives (tenant_id, log_no, first, until, first_at, last_at, archive, name, manifest, bytes, sealed, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, false, $11)`
)

// addLifecycle writes what a commit brings of holds and expiries. Holds come first: an
// expiry under one of the whole tenant is refused.
func addLifecycle(ctx context.Context, conn *pooled, c *store.LogCommit) error {
	for i := range c.Holds {
		if err := addHold(ctx, conn, c.Log.Tenant, &c.Holds[i]); err != nil {
			return err
		}
	}
	for i := range c.Releases {
		if err := releaseHold(ctx, conn, c.Log.Tenant, &c.Releases[i]); err != nil {
			return err
		}
	}
	return addExpiries(ctx, conn, c.Log, c.Expiries)
}

// checkLifecycle refuses what is malformed, whatever the records say.
func checkLifecycle(c *store.LogCommit) error {
	for i := range c.Expiries {
		if err := checkExpiry(&c.Expiries[i]); err != nil {
			return err
		}
	}
	for i := range c.Holds {
		if err := checkHold(&c.Holds[i]); err != nil {
			return err
		}
	}
	return checkRemoval(c.Removal)
}

func checkExpiry(e *store.Expiry) error {
	if e.From < 0 || e.To <= e.From {
		return invalid("expiry of leaves %d to %d", e.From, e.To)
	}
	if e.Table != store.TableLeaves && evidence.KindOfTable(e.Table) == 0 {
		return invalid("expiry of table %q", e.Table)
	}
	return nil
}

func checkHold(h *store.Hold) error {
	switch h.Scope {
	case store.HoldTenant, store.HoldTime, store.HoldRun, store.HoldSubject:
	default:
		return invalid("hold of %q", h.Scope)
	}
	if h.ID == "" || !storable(h.ID) {
		return invalid("hold %q", h.ID)
	}
	return nil
}

func addExpiries(ctx context.Context, conn *pooled, log store.LogRef, list []store.Expiry) error {
	if len(list) == 0 {
		return nil
	}
	for i := range list {
		if no := list[i].LogNo; no != log.No {
			if err := wantLog(ctx, conn, store.LogRef{Tenant: log.Tenant, No: no}); err != nil {
				return err
			}
		}
	}
	c := columnsOf(list)
	_, err := conn.Exec(ctx, sqlAddExpiries, log.Tenant, c.logs, c.tables, c.froms, c.tos, c.befores, c.synthetic, c.byLogs, c.byLeaves, c.done)
	if isUnique(err) {
		return conflict(err, "an expiry")
	}
	return err
}

func addHold(ctx context.Context, conn *pooled, tenant string, h *store.Hold) error {
	_, err := conn.Exec(ctx, sqlAddHold, tenant, h.ID, h.Scope, h.Placed.LogNo, h.Placed.Seq, int64(h.From), int64(h.Until))
	switch {
	case isUnique(err):
		return conflict(err, "hold "+h.ID)
	case err != nil:
		return err
	}
	return addHoldParts(ctx, conn, tenant, h.ID, h.Runs, h.Records)
}

func addHoldParts(ctx context.Context, conn *pooled, tenant, id string, runs []string, records []store.Position) error {
	for _, run := range runs {
		if run == "" || !storable(run) {
			return invalid("run %q of hold %s", run, id)
		}
	}
	if len(runs) > 0 {
		if _, err := conn.Exec(ctx, sqlAddHoldRuns, tenant, id, runs); err != nil {
			return err
		}
	}
	if len(records) == 0 {
		return nil
	}
	logs, leaves := positions(records)
	_, err := conn.Exec(ctx, sqlAddHoldRecords, tenant, id, logs, leaves)
	return err
}

func releaseHold(ctx context.Context, conn *pooled, tenant string, h *store.Hold) error {
	found := false
	err := conn.QueryRow(ctx, sqlReleaseHold, tenant, h.ID, h.Released.LogNo, h.Released.Seq).Scan(&found)
	if err == nil && !found {
		err = notFound("hold %s of tenant %s", h.ID, tenant)
	}
	return err
}

// readHold returns a hold without its parts.
func readHold(ctx context.Context, conn *pooled, tenant, id string) (h store.Hold, found bool, err error) {
	h.ID = id
	found, err = (&reader{conn: conn.Conn}).one(ctx, sqlHold, []any{tenant, id},
		&h.Scope, &h.Placed.LogNo, &h.Placed.Seq, &h.Released.LogNo, &h.Released.Seq, &h.From, &h.Until)
	return h, found, err
}

// ExtendHold implements store.Store.
func (db *DB) ExtendHold(ctx context.Context, tenant, id string, runs []string, records []store.Position) error {
	return db.transact(ctx, func(ctx context.Context, conn *pooled) error {
		h, found, err := readHold(ctx, conn, tenant, id)
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("hold %s of tenant %s", id, tenant)
		case h.Scope != store.HoldSubject:
			return invalid("hold %s of tenant %s is of scope %s, which does not grow", id, tenant, h.Scope)
		case h.Released.LogNo > 0:
			return fmt.Errorf("postgres: hold %s of tenant %s was released: %w", id, tenant, evidence.ErrConflict)
		}
		return addHoldParts(ctx, conn, tenant, id, runs, records)
	})
}

// KeepArchive implements store.Store.
func (db *DB) KeepArchive(ctx context.Context, u store.ArchiveUnit) error {
	return db.transact(ctx, func(ctx context.Context, conn *pooled) error {
		if err := wantLog(ctx, conn, u.LogRef); err != nil {
			return err
		}
		return keepArchive(ctx, conn, &u)
	})
}

func keepArchive(ctx context.Context, conn *pooled, u *store.ArchiveUnit) error {
	var have store.ArchiveUnit
	found := false
	err := (&reader{conn: conn.Conn}).run(ctx, sqlArchive, func(rows pgx.Rows) (err error) {
		found = true
		have, err = readArchive(rows, u.LogRef)
		return err
	}, u.Tenant, u.No, u.From)
	if err != nil {
		return err
	}
	if found {
		have.At = u.At
		if have != *u {
			return fmt.Errorf("postgres: another unit from leaf %d of log %d of tenant %s is archived: %w", u.From, u.No, u.Tenant, evidence.ErrConflict)
		}
		return nil
	}
	_, err = conn.Exec(ctx, sqlAddArchive, u.Tenant, u.No, u.From, u.To, int64(u.FirstAt), int64(u.LastAt), u.Archive, u.Name, u.Manifest[:],
		u.Bytes, int64(u.At))
	switch {
	case sqlState(err) == codeNoOrder: // it does not follow what is there
		return fmt.Errorf("postgres: %w: %w", evidence.ErrInvalid, err)
	case isUnique(err):
		return conflict(err, "a unit of the archive")
	}
	return err
}

// RestoreLifecycle implements store.Store.
func (db *DB) RestoreLifecycle(ctx context.Context, tenant string, e []store.Expiry, h []store.Hold, a []store.ArchiveUnit) error {
	for i := range e {
		if err := checkExpiry(&e[i]); err != nil {
			return err
		}
	}
	for i := range h {
		if err := checkHold(&h[i]); err != nil {
			return err
		}
	}
	return db.transact(ctx, func(ctx context.Context, conn *pooled) error {
		if err := wantLog(ctx, conn, store.LogRef{Tenant: tenant, No: 1}); err != nil { // every tenant has it
			if len(e)+len(h)+len(a) == 0 {
				return nil
			}
			return err
		}
		for i := range a {
			u := a[i]
			u.Tenant = tenant
			if err := wantLog(ctx, conn, u.LogRef); err != nil {
				return err
			}
			if err := keepArchive(ctx, conn, &u); err != nil {
				return err
			}
		}
		if err := restoreExpiries(ctx, conn, tenant, e); err != nil {
			return err
		}
		for i := range h {
			if err := restoreHold(ctx, conn, tenant, &h[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func restoreExpiries(ctx context.Context, conn *pooled, tenant string, list []store.Expiry) error {
	if len(list) == 0 {
		return nil
	}
	known := map[int]bool{}
	for i := range list {
		if no := list[i].LogNo; !known[no] {
			if err := wantLog(ctx, conn, store.LogRef{Tenant: tenant, No: no}); err != nil {
				return err
			}
			known[no] = true
		}
	}
	c := columnsOf(list)
	_, err := conn.Exec(ctx, sqlRestoreExpiries, tenant, c.logs, c.tables, c.froms, c.tos, c.befores, c.synthetic, c.byLogs, c.byLeaves, c.done)
	return err
}

// restoreHold writes down a hold of another store, or what is new of one: parts, and its
// release.
func restoreHold(ctx context.Context, conn *pooled, tenant string, h *store.Hold) error {
	have, found, err := readHold(ctx, conn, tenant, h.ID)
	switch {
	case err != nil:
		return err
	case !found:
		err = addHold(ctx, conn, tenant, h)
	case have.Scope != h.Scope || have.Placed != h.Placed || have.From != h.From || have.Until != h.Until ||
		have.Released.LogNo > 0 && have.Released != h.Released:
		err = fmt.Errorf("postgres: hold %s of tenant %s is another one: %w", h.ID, tenant, evidence.ErrConflict)
	default:
		err = addHoldParts(ctx, conn, tenant, h.ID, h.Runs, h.Records)
	}
	if err != nil || h.Released.LogNo == 0 || have.Released.LogNo > 0 {
		return err
	}
	return releaseHold(ctx, conn, tenant, h)
}
