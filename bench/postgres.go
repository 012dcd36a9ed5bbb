package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/server"
)

const (
	pgDatabase = "runledger"
	pgOwner    = "runledger_owner"
	pgApp      = "runledger_app"

	// In the directory of the measurement; all processes share them.
	pgAnchor = "anchor"
	pgMaster = "master.keyset.json"
)

// pgShape is one way to load the servers.
type pgShape struct{ processes, tenants, senders, batch int }

// postgres measures ingest through the real binary on PostgreSQL, by one process and
// by two, beside COPY of the bytes of the same spans into one table without anything:
// the least that any store on PostgreSQL must do. All on this machine, the systems
// interleaved.
func (b *bench) postgres(ctx context.Context) {
	c, f := b.deployment(ctx)
	defer b.leave(c, f)
	f.start(ctx, 1)
	f.makeTenants(ctx, 16)
	all := f.keys
	if have := int64(b.stored) - storedSteps(ctx, c); have > 0 && !b.quick {
		r := f.drive(0, have, 8, 1000)
		r.What = "fill"
		say(r)
	}
	f.stop()
	c.exec(ctx, "postgres", `DROP DATABASE IF EXISTS bare`, `CREATE DATABASE bare`)
	bare, ours := []result{}, make([][]result, len(b.pgShapes()))
	for range b.rounds {
		bare = append(bare, c.bareRows(ctx, b.length))
		say(bare[len(bare)-1])
		for i, sh := range b.pgShapes() {
			f.keys = all[:sh.tenants]
			r := b.ingest(ctx, c, f, sh)
			say(r)
			ours[i] = append(ours[i], r)
		}
	}
	f.start(ctx, 1)
	time.Sleep(4 * time.Second) // the last runs end
	f.stop()
	printPostgres(b.pgShapes(), ours, median(bare))
	c.sizes(ctx)
}

func (b *bench) pgShapes() []pgShape {
	if b.shape != "" {
		var sh pgShape
		_, err := fmt.Sscanf(b.shape, "%dx%dx%dx%d", &sh.processes, &sh.tenants, &sh.senders, &sh.batch)
		check(err)
		return []pgShape{sh}
	}
	if b.quick {
		return []pgShape{{1, 1, 8, 100}, {2, 16, 8, 100}}
	}
	return []pgShape{{1, 1, 8, 1000}, {1, 16, 8, 1000}, {2, 1, 8, 1000}, {2, 16, 8, 1000}, {1, 1, 8, 1}, {2, 16, 8, 1}, {1, 1, 1, 1}}
}

// postgresRead measures the answers of the API on PostgreSQL, as facade does on SQLite.
func (b *bench) postgresRead(ctx context.Context) {
	c, f := b.deployment(ctx)
	defer b.leave(c, f)
	runs := b.fillRuns(ctx, c.config(f), func() int64 {
		return c.number(ctx, pgDatabase, `SELECT count(*) FROM runledger.llm_run_records WHERE tenant_id = '`+facadeTenant+`'`)
	})
	f.start(ctx, 1)
	f.makeTenants(ctx, 1)
	b.ask(ctx, f, runs)
}

// deployment starts PostgreSQL, with a database that has its two roles and is
// migrated. Data directories are made for two servers.
func (b *bench) deployment(ctx context.Context) (*cluster, *fleet) {
	dir := b.data
	if dir == "" {
		dir = mustTemp(b.dir, "bench-postgres")
	}
	check(os.MkdirAll(dir, 0o755))
	check(os.Chmod(dir, 0o755)) // PostgreSQL is another user's
	c := startCluster(ctx, filepath.Join(dir, "postgres"))
	if c.number(ctx, "postgres", `SELECT count(*) FROM pg_database WHERE datname = '`+pgDatabase+`'`) == 0 {
		c.exec(ctx, "postgres", `CREATE ROLE `+pgOwner+` LOGIN`, `CREATE ROLE `+pgApp+` LOGIN`,
			`CREATE DATABASE `+pgDatabase+` OWNER `+pgOwner)
	}
	f := &fleet{bin: build(ctx, dir), env: []string{
		"RUNLEDGER_STORE=" + c.dsn(pgApp, pgDatabase), "RUNLEDGER_STORE_OWNER=" + c.dsn(pgOwner, pgDatabase),
		"RUNLEDGER_ANCHOR=" + filepath.Join(dir, pgAnchor), "RUNLEDGER_MASTER_KEYSET=" + filepath.Join(dir, pgMaster),
	}}
	for i := range 2 {
		f.data = append(f.data, filepath.Join(dir, fmt.Sprintf("process-%d", i+1)))
	}
	f.command(ctx, "init")
	return c, f
}

// config opens in this process what the first server opens.
func (c *cluster) config(f *fleet) server.Config {
	dir := filepath.Dir(f.bin)
	return server.Config{
		Data: f.data[0], Store: c.dsn(pgApp, pgDatabase), Anchor: filepath.Join(dir, pgAnchor), Master: filepath.Join(dir, pgMaster), Create: true,
	}
}

// leave stops what runs; the data stays only where it was asked for.
func (b *bench) leave(c *cluster, f *fleet) {
	f.stop()
	c.stop()
	if b.data == "" {
		check(os.RemoveAll(filepath.Dir(f.bin)))
	}
}

// ingest measures one shape with processes that have just started.
func (b *bench) ingest(ctx context.Context, c *cluster, f *fleet, sh pgShape) result {
	f.start(ctx, sh.processes)
	defer f.stop()
	time.Sleep(4 * time.Second) // runs that the processes before left open end
	f.refused.Store(0)
	wal, database := c.wal(ctx), c.cpu()
	r := f.drive(b.length, 0, sh.senders, sh.batch)
	r.What = fmt.Sprintf("postgres, %d processes, %d tenants", sh.processes, sh.tenants)
	r.StoreCPU = (c.cpu() - database).Seconds() / float64(r.Records) * 1e5
	r.CPU += r.StoreCPU
	r.WAL = float64(c.wal(ctx)-wal) / float64(r.Records)
	r.Refused = f.refused.Load()
	return r
}

// bareRows measures COPY: a transaction a batch, a connection a sender, rows of a
// number, a span's id and its bytes as OTLP has them.
func (c *cluster) bareRows(ctx context.Context, length time.Duration) result {
	c.exec(ctx, "bare", `DROP TABLE IF EXISTS bare`,
		`CREATE TABLE bare (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id bytea NOT NULL, body bytea NOT NULL)`)
	const senders = 8
	var conns [senders]*pgx.Conn
	for i := range conns {
		conn, err := pgx.Connect(ctx, c.dsn(superuser, "bare"))
		check(err)
		defer conn.Close(ctx)
		conns[i] = conn
	}
	wal := c.wal(ctx)
	r := load{length: length, senders: senders, batch: 1000, used: c.used, send: func(i, _ int, t *template) {
		rows := make([][]any, 0, 1000)
		t.each(func(id, span []byte) { rows = append(rows, []any{bytes.Clone(id), span}) })
		_, err := conns[i].CopyFrom(ctx, pgx.Identifier{"bare"}, []string{"id", "body"}, pgx.CopyFromRows(rows))
		check(err)
	}}.run()
	r.What = "COPY of bare rows"
	r.StoreCPU, r.ServerCPU = r.ServerCPU, 0
	r.WAL = float64(c.wal(ctx)-wal) / float64(r.Records)
	r.PerEntry = float64(c.number(ctx, "bare", `SELECT pg_total_relation_size('bare')`)) / float64(r.Records)
	c.exec(ctx, "bare", `DROP TABLE bare`)
	return r
}

func (c *cluster) cpu() time.Duration {
	cpu, _ := c.used()
	return cpu
}

// wal is how many bytes of write-ahead log there have ever been.
func (c *cluster) wal(ctx context.Context) int64 {
	return c.number(ctx, "postgres", `SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint`)
}

func storedSteps(ctx context.Context, c *cluster) int64 {
	return c.number(ctx, pgDatabase, `SELECT count(*) FROM runledger.aos_trace_steps`)
}

func printPostgres(shapes []pgShape, ours [][]result, bare result) {
	fmt.Println("\n| processes | tenants | senders | batch | spans/s | to COPY | CPU-s per 100k: servers | PostgreSQL | p50, p99 ms | refused | RSS MiB | WAL B per span |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|")
	fmt.Printf("| COPY of bare rows | | 8 | 1000 | %.0f | 1 | | %.2f | %.1f, %.1f | | | %.0f |\n", bare.PerSec, bare.StoreCPU, bare.P50, bare.P99, bare.WAL)
	for i, sh := range shapes {
		r := median(ours[i])
		fmt.Printf("| %d | %d | %d | %d | %.0f | %.2f | %.1f | %.1f | %.1f, %.1f | %d | %d | %.0f |\n", sh.processes, sh.tenants, sh.senders, sh.batch,
			r.PerSec, r.PerSec/bare.PerSec, r.ServerCPU, r.StoreCPU, r.P50, r.P99, r.Refused, r.RSS, r.WAL)
	}
	fmt.Printf("\nbare rows: %.0f B per span on disk\n", bare.PerEntry)
}

// sizes prints how many bytes each table of ours takes for a span, indexes apart.
func (c *cluster) sizes(ctx context.Context) {
	spans := float64(storedSteps(ctx, c))
	conn, err := pgx.Connect(ctx, c.dsn(superuser, pgDatabase))
	check(err)
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT coalesce(p.relname, c.relname) AS name, sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid))
		FROM pg_class AS c LEFT JOIN pg_inherits AS h ON h.inhrelid = c.oid LEFT JOIN pg_class AS p ON p.oid = h.inhparent
		WHERE c.relkind = 'r' AND c.relnamespace = 'runledger'::regnamespace GROUP BY 1 ORDER BY sum(pg_total_relation_size(c.oid)) DESC`)
	check(err)
	var name string
	var table, indexes int64
	total := int64(0)
	_, err = pgx.ForEachRow(rows, []any{&name, &table, &indexes}, func() error {
		total += table + indexes
		if per := float64(table+indexes) / spans; per >= 1 {
			fmt.Printf("%-20s %7.1f B per span, %7.1f of it indexes\n", name, per, float64(indexes)/spans)
		}
		return nil
	})
	check(err)
	fmt.Printf("%-20s %7.1f B per span, %.0f spans\n", "all", float64(total)/spans, spans)
}
