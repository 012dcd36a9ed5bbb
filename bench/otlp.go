package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// otlp measures ingest through the real binary, with -stored spans there.
func (b *bench) otlp(ctx context.Context) {
	scratch, err := os.MkdirTemp(b.dir, "bench")
	check(err)
	defer os.RemoveAll(scratch)
	data := b.data
	if data == "" {
		data = filepath.Join(scratch, "data")
	}
	type shape struct{ senders, batch, tenants int }
	shapes := []shape{{8, 1000, 1}, {8, 100, 16}, {8, 1, 1}}
	if b.shape != "" {
		s := shape{tenants: 1}
		_, err := fmt.Sscanf(b.shape, "%dx%d", &s.senders, &s.batch)
		check(err)
		shapes = []shape{s}
	}
	s := startServer(ctx, scratch, data, 16)
	all := s.keys
	if have := int64(b.stored) - storedSpans(data); have > 0 && !b.quick {
		r := s.drive(0, have, 8, 1000)
		r.What = "fill"
		say(r)
	}
	for round := range b.rounds {
		for _, sh := range shapes {
			s.keys = all[:sh.tenants]
			r := s.drive(b.length, 0, sh.senders, sh.batch)
			r.What = fmt.Sprintf("otlp round %d, %d tenants", round+1, sh.tenants)
			say(r)
		}
	}
	time.Sleep(4 * time.Second) // the last runs end
	s.stop()
	sizes(data)
}

// storedSpans counts the steps of a data directory.
func storedSpans(data string) int64 {
	conn, err := sqlite.OpenConn(filepath.Join(data, "runledger.db"), sqlite.OpenReadOnly)
	check(err)
	defer conn.Close()
	n, err := sqlitex.ResultInt64(conn.Prep(`SELECT count(*) FROM r_trace_step`))
	check(err)
	return n
}

// sizes prints how many bytes each table and index takes for a span.
func sizes(data string) {
	spans := storedSpans(data)
	conn, err := sqlite.OpenConn(filepath.Join(data, "runledger.db"), sqlite.OpenReadOnly)
	check(err)
	defer conn.Close()
	total := int64(0)
	check(sqlitex.Execute(conn, `SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC`, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error {
			total += s.ColumnInt64(1)
			if per := float64(s.ColumnInt64(1)) / float64(spans); per >= 1 {
				fmt.Printf("%-40s %7.1f B per span\n", s.ColumnText(0), per)
			}
			return nil
		},
	}))
	fmt.Printf("%-40s %7.1f B per span, %d spans\n", "all", float64(total)/float64(spans), spans)
}
