package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Citus: the same schema, its tables distributed by tenant over several nodes. A
// tenant's rows of all tables are on one node, in shards that are next to each other,
// so a commit is one node's transaction and each guard finds what it asks for there.
// The few tables of the platform are copied to every node, but for three.
//
// leases, settings and api_keys stay ordinary tables of the coordinator. What is copied
// to every node is written on all of them in two phases, or not at all. With one worker
// down no process would get a lease, and each takes some every few seconds, to be ready
// and to deliver streams; no stream could keep its place, which is a setting, and no
// credential be revoked. Distributed by name, each would be gone with the worker that
// has its shard. On the coordinator they need nothing but what every commit needs: all
// processes connect there, and have to, since partitions are made there, too. Each is
// written by a transaction of its own, so none brings a second node into a tenant's,
// and none is joined with a table of tenants or read by a guard. origins is not so: it
// is written when a log is opened, with what is the tenant's.
//
// Avoided everywhere in this package, so that one code serves both: advisory locks
// (each node has its own), rules, LISTEN and NOTIFY, sequences for what must have no
// gaps, keys without the tenant, names of tables and constraints in errors (shards
// have other ones), transactions of several tenants, functions of the clock where a
// conflict is decided, DETACH CONCURRENTLY, default partitions, settings of a session
// that a guard would rely on (they do not reach the workers).
//
// Identity columns (data_keys.key_no, run_states.first_seen) are bigint, the only type
// that Citus gives numbers of to every node, each from a range of its own. So they are
// unique, and in order as long as all processes connect to the coordinator. Nothing that
// is signed or proven depends on either.

// Lifecycle (migrations 0010, 0011) keeps to that but for three things, none of which was tried
// on a cluster: the tables of holds are locked on the coordinator, where all processes
// connect; rows of one tenant are locked by FOR UPDATE; and a partition that is made anew
// is filled before it is attached, so that Citus has to distribute what is in it. What is
// planned (partition_drops) is read by itself and becomes a condition as text.

// Versions of Citus below this one were not looked at: identity columns of distributed
// tables, and triggers of their partitions, are as described from there on.
const oldestCitus = 12

const (
	sqlCitus = `SELECT extversion FROM pg_extension WHERE extname = 'citus'`
	// Workers make the triggers of their shards, so they must allow them, too.
	sqlWorkersForbid = `SELECT nodename || ':' || nodeport FROM run_command_on_workers('SHOW citus.enable_unsafe_triggers') WHERE NOT success OR result <> 'on'`
	sqlPlaces        = `SELECT c.relname::text, d.partmethod::text, d.colocationid::bigint, coalesce(column_to_column_name(d.logicalrelid, d.partkey), '')
		FROM pg_dist_partition AS d JOIN pg_class AS c ON c.oid = d.logicalrelid
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace`
	sqlDistribute = `SELECT create_distributed_table($1::text::regclass, 'tenant_id', colocate_with => $2::text)`
	sqlReference  = `SELECT create_reference_table($1::text::regclass)`
	sqlHere       = `SELECT undistribute_table($1::text::regclass)`
)

// For a session that changes the schema: nobody's settings where there is no Citus.
var sqlDistributedSession = []string{
	`SET citus.enable_unsafe_triggers = on`,
	// One connection to each node: what one statement has made the next one sees.
	`SET citus.multi_shard_modify_mode = 'sequential'`,
}

// anchorTable is the one that the others are placed beside.
const anchorTable = "logs"

// tenantTables are distributed: all that have a tenant.
func tenantTables() []string {
	list := []string{anchorTable}
	for _, class := range [][]string{evidenceTables, sealedTables, {"heads", "run_states", "removals"}} {
		for _, t := range class {
			if t != anchorTable && !isPlatform(t) {
				list = append(list, t)
			}
		}
	}
	return list
}

func isPlatform(table string) bool { return slices.Contains(platformTables, table) }

// coordinatorTables are neither distributed nor copied.
var coordinatorTables = []string{"leases", "settings", "api_keys"}

// copiedTables are on every node: those without a tenant.
func copiedTables() []string {
	return slices.DeleteFunc(slices.Clone(platformTables), func(t string) bool { return slices.Contains(coordinatorTables, t) })
}

// placement is where a table is: how it is distributed, by which column, beside which.
type placement struct {
	method, column string
	group          int64
}

// Methods of distribution, as Citus writes them.
const (
	byHash     = "h"
	everywhere = "n"
)

func (r *reader) citusVersion(ctx context.Context) (version string, err error) {
	_, err = r.one(ctx, sqlCitus, nil, &version)
	return version, err
}

func (r *reader) distributedPlaces(ctx context.Context) (map[string]placement, error) {
	have := map[string]placement{}
	err := r.run(ctx, sqlPlaces, func(rows pgx.Rows) error {
		var table string
		var p placement
		err := scan(rows, &table, &p.method, &p.group, &p.column)
		have[table] = p
		return err
	})
	return have, err
}

// distribute gives each table its place. What is in it moves along, so that takes as
// long as a copy does; what was placed before stays, so it goes on where it was
// interrupted.
func distribute(ctx context.Context, conn *pgx.Conn, log *slog.Logger) error {
	r := &reader{conn: conn}
	version, err := r.citusVersion(ctx)
	if err != nil {
		return err
	}
	if version == "" {
		return fmt.Errorf("the database has no extension citus: as a superuser, CREATE EXTENSION citus in it on every node and add the workers, or migrate without distributing")
	}
	if major, _, _ := strings.Cut(version, "."); atoi(major) < oldestCitus {
		return fmt.Errorf("the extension citus is of version %s, and has to be %d at least", version, oldestCitus)
	}
	var forbid []string
	if err := r.run(ctx, sqlWorkersForbid, func(rows pgx.Rows) error {
		var node string
		err := scan(rows, &node)
		forbid = append(forbid, node)
		return err
	}); err != nil {
		return err
	}
	if forbid != nil {
		return fmt.Errorf("these workers do not allow triggers, which guard the evidence: %s; on each, as a superuser: ALTER SYSTEM SET citus.enable_unsafe_triggers = on, and SELECT pg_reload_conf()", strings.Join(forbid, ", "))
	}
	have, err := r.distributedPlaces(ctx)
	if err != nil {
		return err
	}
	for _, t := range coordinatorTables {
		if _, placed := have[t]; !placed {
			continue
		}
		if _, err := conn.Exec(ctx, sqlHere, t); err != nil {
			return fmt.Errorf("table %s: %w", t, fault(err))
		}
		log.InfoContext(ctx, "table taken back to the coordinator", "table", t)
	}
	for _, t := range copiedTables() {
		if _, placed := have[t]; placed {
			continue
		}
		if _, err := conn.Exec(ctx, sqlReference, t); err != nil {
			return fmt.Errorf("table %s: %w", t, fault(err))
		}
		log.InfoContext(ctx, "table copied to every node", "table", t)
	}
	for _, t := range tenantTables() {
		if _, placed := have[t]; placed {
			continue
		}
		beside := anchorTable
		if t == anchorTable {
			beside = "none"
		}
		if _, err := conn.Exec(ctx, sqlDistribute, t, beside); err != nil {
			return fmt.Errorf("table %s: %w", t, fault(err))
		}
		log.InfoContext(ctx, "table distributed", "table", t)
	}
	return nil
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// distributedFindings are tables that are not where they belong. Where none is
// distributed, nothing is.
func (r *reader) distributedFindings(ctx context.Context) (list []Finding, err error) {
	version, err := r.citusVersion(ctx)
	if err != nil || version == "" {
		return nil, err
	}
	have, err := r.distributedPlaces(ctx)
	if err != nil || len(have) == 0 {
		return nil, err
	}
	const mend = "runledger migrate --distributed"
	for _, t := range coordinatorTables {
		if _, placed := have[t]; placed {
			list = append(list, warning(CodeDistributed, mend, "table %s is not the coordinator's alone: with one worker down nobody can write it", t))
		}
	}
	for _, t := range copiedTables() {
		if have[t].method != everywhere {
			list = append(list, broken(CodeDistributed, mend, "table %s is not on every node", t))
		}
	}
	anchor := have[anchorTable]
	for _, t := range tenantTables() {
		if p := have[t]; p.method != byHash || p.column != "tenant_id" || p.group != anchor.group {
			list = append(list, broken(CodeDistributed, mend, "table %s is not distributed by tenant_id, beside %s", t, anchorTable))
		}
	}
	return list, nil
}
