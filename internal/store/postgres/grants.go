package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
)

// The classes of tables, by what the application may do (fields.md). Nowhere
// may it DELETE, TRUNCATE, or make triggers and references.
var (
	evidenceTables = func() []string {
		list := []string{
			"logs", "origins", "leaf_segments", "tiles", "checkpoints", "attestations", "record_ids", "spans", "run_revisions",
			"log_months", "expiries", "holds", "hold_runs", "hold_records", "archives",
		}
		for _, k := range evidence.Kinds() {
			list = append(list, k.Table())
		}
		return list
	}()
	sealedTables      = []string{"sealed_segments", "sealed_index", "data_keys"}
	operationalTables = []string{"heads", "run_states", "settings", "api_keys", "leases"}
	// Written by the owner's functions and migrations alone.
	ownersTables = []string{"removals", "schema_migrations", "open_runs", "expired_partitions", "partition_drops"}

	// appFunctions do for the application what it has no right to do itself.
	appFunctions = []string{
		"runledger_remove_segments(text, bigint, bigint, bigint[], bigint[], bigint[], bigint[], bytea[], bytea[], bytea[])",
		"runledger_remove_keys(text, bigint, bigint, bytea[])",
		"runledger_remove_index(text, bigint, bigint, text[], bytea[], bigint[], bigint[])",
		"runledger_keep_removals(text, text[], bigint[], bigint[], bytea[], text[], bigint[], bigint[])",
		"runledger_ensure_partitions(date, date)",
		"runledger_expire_partition(text, date, date)",
		"runledger_expirable(text, date)",
		"runledger_plan_drop(text, date)",
		"runledger_forget_drop(text, date)",
		"runledger_lock_free(text)",
		"runledger_settle_expiries(text)",
		"runledger_expire_rows(text, bigint, text[], bigint[], bigint[], bigint[], boolean[], bigint[], bigint[], bigint, bigint, boolean)",
		"runledger_expire_leaves(text, bigint, bigint)",
		"runledger_release_hold(text, text, bigint, bigint)",
		"runledger_restore_expiries(text, bigint[], text[], bigint[], bigint[], bigint[], boolean[], bigint[], bigint[], boolean[])",
	}
)

// rights says what the application may do with each table.
func rights() map[string]string {
	all := map[string]string{}
	for _, class := range []struct {
		tables []string
		rights string
	}{
		{evidenceTables, "SELECT, INSERT"},
		{sealedTables, "SELECT, INSERT"},
		{operationalTables, "SELECT, INSERT, UPDATE"},
		{ownersTables, "SELECT"},
	} {
		for _, t := range class.tables {
			all[t] = class.rights
		}
	}
	return all
}

// grant gives a role its rights. Those it had are taken back first, so that a
// right of an older version, or one that somebody gave, does not stay. The owner
// has all rights as it is; a schema with one role has one fence less, and
// DB.Guards says so.
func grant(ctx context.Context, conn *pgx.Conn, schema, app string) error {
	role, in := pgx.Identifier{app}.Sanitize(), pgx.Identifier{schema}.Sanitize()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var owner string
		if err := tx.QueryRow(ctx, `SELECT session_user`).Scan(&owner); err != nil || owner == app {
			return err
		}
		statements := []string{
			// Alone, and not while partitions are made: both change the same rows of
			// the catalog.
			sqlMigrationsLock,
			`LOCK TABLE llm_run_records IN SHARE UPDATE EXCLUSIVE MODE`,
			`REVOKE ALL ON SCHEMA ` + in + ` FROM PUBLIC, ` + role,
			`REVOKE ALL ON ALL TABLES IN SCHEMA ` + in + ` FROM PUBLIC, ` + role,
			`REVOKE ALL ON ALL SEQUENCES IN SCHEMA ` + in + ` FROM PUBLIC, ` + role,
			`REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ` + in + ` FROM PUBLIC, ` + role,
			`GRANT USAGE ON SCHEMA ` + in + ` TO ` + role,
		}
		for table, list := range rights() {
			statements = append(statements, `GRANT `+list+` ON `+table+` TO `+role)
		}
		for _, f := range appFunctions {
			statements = append(statements, `GRANT EXECUTE ON FUNCTION `+f+` TO `+role)
		}
		for _, s := range statements {
			if _, err := tx.Exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}
