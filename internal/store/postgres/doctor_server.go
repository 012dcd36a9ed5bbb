package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// oldestServer is the first version that has what is used, above all rights to set
// parameters, so that it can be known who may turn triggers off.
const oldestServer = 150000

// platformTables have no tenant: migrations/0001 says why.
var platformTables = []string{"origins", "settings", "api_keys", "leases", "expired_partitions", "partition_drops", "schema_migrations"}

const (
	// Constraints and unique indexes that do not have the tenant: a distributed
	// database cannot keep them, and rows of two tenants would know of each other.
	sqlTenantless = `SELECT 'key ' || i.indexrelid::regclass || ' of ' || c.oid::regclass FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
			WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND i.indisunique AND c.relname <> ALL ($1::text[])
			AND NOT EXISTS (SELECT 1 FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]))
		UNION ALL
		SELECT 'foreign key ' || quote_ident(k.conname) || ' of ' || c.oid::regclass FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
			WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND k.contype IN ('f', 'x') AND c.relname <> ALL ($1::text[])
			AND NOT EXISTS (SELECT 1 FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum = ANY (k.conkey))
		UNION ALL
		SELECT 'table ' || c.oid::regclass FROM pg_class AS c
			WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> ALL ($1::text[])
			AND NOT EXISTS (SELECT 1 FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull)`

	sqlRowSecurity = `SELECT oid::regclass::text FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relrowsecurity`

	// Text is compared by its bytes whatever the database's
	// collation (every column says so, which the comparison of the schema sees), but
	// its bytes must be those of UTF-8.
	sqlServer = `SELECT current_setting('server_version_num')::integer, current_setting('server_version'), pg_encoding_to_char(encoding),
			current_setting('client_encoding') FROM pg_database WHERE datname = current_database()`

	sqlServerSettings = `SELECT name, coalesce(current_setting(name, true), '') FROM unnest($1::text[]) AS name`

	// What connections of this database or role get, unless they say otherwise; ours
	// say otherwise, but a session by hand does not.
	sqlStanding = `SELECT coalesce('role ' || quote_ident(r.rolname), 'database ' || quote_ident(d.datname), 'all roles'), s.setting
		FROM pg_db_role_setting AS g LEFT JOIN pg_roles AS r ON r.oid = g.setrole LEFT JOIN pg_database AS d ON d.oid = g.setdatabase
		CROSS JOIN LATERAL unnest(g.setconfig) AS s (setting)
		WHERE (g.setdatabase = 0 OR d.datname = current_database())
		AND split_part(s.setting, '=', 1) IN ('synchronous_commit', 'session_replication_role', 'zero_damaged_pages', 'ignore_checksum_failure')`
)

// settingsWanted are the settings of the server that evidence depends on.
var settingsWanted = []struct {
	name     string
	good     []string
	severity string
	why      string
}{
	{"fsync", []string{"on"}, Broken, "a commit is not on stable storage when it returns"},
	{"full_page_writes", []string{"on"}, Broken, "a loss of power may damage pages"},
	{"synchronous_commit", []string{"on", "remote_apply"}, Broken, "a commit may be lost after it returned"},
	{"session_replication_role", []string{"origin"}, Broken, "triggers that are not ENABLE ALWAYS do not fire"},
	{"zero_damaged_pages", []string{"off"}, Broken, "damage is taken for emptiness"},
	{"ignore_checksum_failure", []string{"off"}, Broken, "damage is read as if it were none"},
	{"data_checksums", []string{"on"}, Warning, "a page that the disk damaged is not noticed when it is read"},
	{"autovacuum", []string{"on"}, Warning, "tables are not cleaned up, and the server stops writing in the end"},
}

func (r *reader) tenantFindings(ctx context.Context) (list []Finding, err error) {
	err = r.run(ctx, sqlTenantless, func(rows pgx.Rows) error {
		var what string
		err := scan(rows, &what)
		list = append(list, broken(CodeTenant, "it is not runledger's: drop it, or make it anew with tenant_id", "%s has no tenant_id", what))
		return err
	}, platformTables)
	if err != nil {
		return nil, err
	}
	err = r.run(ctx, sqlRowSecurity, func(rows pgx.Rows) error {
		var table string
		err := scan(rows, &table)
		list = append(list, broken(CodeRowSecurity, "ALTER TABLE "+table+" DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
			"row security of %s is on: policies can hide rows", table))
		return err
	})
	return list, err
}

func (r *reader) serverFindings(ctx context.Context) (list []Finding, err error) {
	var number int
	var version, encoding, client string
	found, err := r.one(ctx, sqlServer, nil, &number, &version, &encoding, &client)
	if err != nil || !found {
		return nil, err
	}
	if number < oldestServer {
		list = append(list, broken(CodeVersion, "pg_upgrade the server", "PostgreSQL is of version %s, and has to be 15 at least", version))
	}
	if encoding != "UTF8" {
		list = append(list, broken(CodeEncoding, "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and runledger copy", "the database's encoding is %s, and has to be UTF8", encoding))
	}
	if client != "UTF8" {
		list = append(list, broken(CodeEncoding, "take client_encoding out of the DSN", "setting client_encoding is %s, and has to be UTF8", client))
	}
	return list, nil
}

func (r *reader) settingFindings(ctx context.Context) (list []Finding, err error) {
	have := map[string]string{}
	var names []string
	for i := range settingsWanted {
		names = append(names, settingsWanted[i].name)
	}
	err = r.run(ctx, sqlServerSettings, func(rows pgx.Rows) error {
		var name, value string
		err := scan(rows, &name, &value)
		have[name] = value
		return err
	}, names)
	if err != nil {
		return nil, err
	}
	for _, s := range settingsWanted {
		value, good := have[s.name], false
		for _, g := range s.good {
			good = good || g == value
		}
		if good {
			continue
		}
		mend := fmt.Sprintf("as a superuser: ALTER SYSTEM SET %s = %s, and restart or reload the server", s.name, s.good[0])
		if s.name == "data_checksums" {
			mend = "stop the server and run pg_checksums --enable"
		}
		list = append(list, Finding{CodeSetting, s.severity, "setting " + s.name + " is " + value + ": " + s.why, mend})
	}
	err = r.run(ctx, sqlStanding, func(rows pgx.Rows) error {
		var of, setting string
		if err := scan(rows, &of, &setting); err != nil {
			return err
		}
		name, value, _ := strings.Cut(setting, "=")
		for _, s := range settingsWanted {
			if s.name == name && value == s.good[0] {
				return nil
			}
		}
		list = append(list, warning(CodeSetting, "as a superuser: ALTER "+strings.ToUpper(of[:1])+of[1:]+" RESET "+name,
			"setting %s of %s: runledger's own connections are not subject to it, others are", setting, of))
		return nil
	})
	return list, err
}
