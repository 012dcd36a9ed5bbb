package move_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/store"
)

// alter runs statements on an SQLite store, past its guards, which it puts back.
func alter(t *testing.T, dir, sql string) {
	t.Helper()
	conn, err := sqlite.OpenConn(filepath.Join(dir, "runledger.db"), sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetBlockOnBusy()
	var guards []string
	var drop strings.Builder
	err = sqlitex.ExecuteTransient(conn, `SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'`, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error {
			drop.WriteString("DROP TRIGGER " + s.ColumnText(0) + ";\n")
			guards = append(guards, s.ColumnText(1)+";\n")
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, err := changes(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := sqlitex.ExecuteScript(conn, drop.String()+sql+";\n", nil); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if after, err := changes(conn); err != nil || after == before {
		t.Fatalf("%s changed nothing (%v)", sql, err)
	}
	if err := sqlitex.ExecuteScript(conn, strings.Join(guards, ""), nil); err != nil {
		t.Fatal(err)
	}
}

func changes(conn *sqlite.Conn) (n int64, err error) {
	err = sqlitex.ExecuteTransient(conn, `SELECT total_changes()`, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error { n = s.ColumnInt64(0); return nil },
	})
	return n, err
}

// alterations are what somebody with the database in his hands may do. What they
// touch is all of tenant acme.
var alterations = map[string]string{
	"a leaf":           `UPDATE leaf_segments SET data = CAST(substr(data, 1, 30) || x'00' || substr(data, 32) AS BLOB) WHERE row = (SELECT min(row) FROM leaf_segments WHERE count > 5)`,
	"no leaf":          `DELETE FROM leaf_segments WHERE row = (SELECT min(row) FROM leaf_segments WHERE count > 5)`,
	"a column":         `UPDATE r_trace_step SET duration_us = 12345 WHERE row = (SELECT max(row) FROM r_trace_step)`,
	"a segment number": `UPDATE r_trace_step SET sealed_segment = sealed_segment + 16 WHERE row = (SELECT max(row) FROM r_trace_step WHERE (row >> 40 << 40 | sealed_segment) IN (SELECT row FROM sealed_segments))`,
	"no row":           `DELETE FROM r_trace_step WHERE row = (SELECT max(row) FROM r_trace_step)`,
	"sealed content":   `UPDATE sealed_segments SET data = CAST(substr(data, 1, 40) || x'00' || substr(data, 42) AS BLOB) WHERE row = (SELECT max(row) FROM sealed_segments)`,
	"no content":       `DELETE FROM sealed_segments WHERE row = (SELECT max(row) FROM sealed_segments)`,
	"a tile":           `UPDATE tiles SET data = CAST(substr(data, 1, 8160) || randomblob(32) AS BLOB) WHERE row = (SELECT min(row) FROM tiles)`,
	"no tile":          `DELETE FROM tiles WHERE row = (SELECT min(row) FROM tiles)`,
	"a head":           `UPDATE heads SET root = randomblob(32) WHERE size > 400`,
	"a checkpoint":     `UPDATE checkpoints SET note = CAST(note || x'41' AS BLOB) WHERE row = (SELECT max(row) FROM checkpoints)`,
	"an attestation":   `UPDATE attestations SET data = x'41' WHERE kind = 'cosignature'`,
	"no data key":      `DELETE FROM data_keys WHERE scope = 'day'`,
	"a data key":       `UPDATE data_keys SET wrapped = randomblob(100) WHERE scope = 'day'`,
	"no index entry":   `DELETE FROM sealed_index WHERE row = (SELECT max(row) FROM sealed_index)`,
	"no id":            `DELETE FROM record_ids WHERE row = (SELECT max(row) FROM record_ids)`,
	"a run state":      `UPDATE run_states SET next_n = next_n + 1 WHERE run_no = (SELECT max(run_no) FROM run_states)`,
	"a log's key":      `UPDATE logs SET wrapped_key = randomblob(60)`,
	"a shorter log":    `UPDATE heads SET size = size - 1 WHERE size > 400`,
}

// TestAlteredSource sees that what does not match what was signed is not copied, and
// nothing is written.
func TestAlteredSource(t *testing.T) {
	for what, sql := range alterations {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d, other := source(t, "sqlite"), sqliteSide(t)
			alter(t, d.name, sql)
			_, err := d.copyTo(t, other)
			var unsound *move.UnsoundError
			if !errors.As(err, &unsound) && !errors.Is(err, evidence.ErrTampered) || unsound != nil && !unsound.Source {
				t.Errorf("copied: %v", err)
			}
			untouched(t, other)
		})
	}
}

// untouched sees that a store has nothing.
func untouched(t *testing.T, s side) {
	t.Helper()
	db := s.mustOpen(t)
	defer db.Close()
	logs, err := db.Logs(context.Background(), "")
	mark, merr := move.MarkOf(context.Background(), db)
	if err != nil || merr != nil || len(logs) > 0 || mark != (move.Mark{}) {
		t.Errorf("the destination has %d logs and %+v (%v, %v)", len(logs), mark, err, merr)
	}
}

// TestAlteredMeanwhile changes the source when it has been verified, and a half copy
// before it is resumed: what came of it is not put into service.
func TestAlteredMeanwhile(t *testing.T) {
	for what, sql := range alterations {
		if what == "a run state" { // operational; the copy has the one that it met
			continue
		}
		t.Run("source, "+what, func(t *testing.T) {
			t.Parallel()
			d, other := source(t, "sqlite"), sqliteSide(t)
			done := false
			_, err := d.copyTo(t, other, func(cfg *move.Config) {
				cfg.ChunkLeaves = 100
				cfg.Progress = func(stage string, _, _ int64) {
					if stage == move.StageCopy && !done {
						done = true
						alter(t, d.name, sql)
					}
				}
			})
			if !done || err == nil {
				t.Errorf("copied (altered: %v)", done)
			}
			refused(t, other)
		})
		t.Run("copy, "+what, func(t *testing.T) {
			t.Parallel()
			d, other := source(t, "sqlite"), sqliteSide(t)
			if !cut(t, d, other, 1, false, true) { // all is there, and nobody was told
				t.Fatal("it came to its end")
			}
			alter(t, other.name, sql)
			if _, err := d.copyTo(t, other); err == nil {
				t.Error("went on")
			}
			refused(t, other)
		})
	}
}

// refused sees that a store is not in service.
func refused(t *testing.T, s side) {
	t.Helper()
	db := s.mustOpen(t)
	defer db.Close()
	if err := move.Check(context.Background(), db); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("the destination can be opened: %v", err)
	}
}

// TestOccupied sees that nothing is written over.
func TestOccupied(t *testing.T) {
	ctx := context.Background()
	for what, put := range map[string]func(t *testing.T, d deployment){
		"a ledger": func(t *testing.T, d deployment) {
			d.use(t, func(l *ledger.Ledger, _ store.Store) {
				if _, err := l.CreateTenant(ctx, "acme"); err != nil {
					t.Fatal(err)
				}
			})
		},
		"a setting": func(t *testing.T, d deployment) {
			db := d.mustOpen(t)
			if err := errors.Join(db.SetSetting(ctx, "x", "y"), db.Close()); err != nil {
				t.Fatal(err)
			}
		},
		"a credential": func(t *testing.T, d deployment) {
			db := d.mustOpen(t)
			if err := errors.Join(db.PutAPIKey(ctx, store.APIKey{ID: "k", Role: "admin"}), db.Close()); err != nil {
				t.Fatal(err)
			}
		},
		"another copy": func(t *testing.T, d deployment) {
			cut(t, source(t, "sqlite"), d.side, 9, true, false)
		},
	} {
		for backend, place := range backends {
			t.Run(what+" on "+backend, func(t *testing.T) {
				t.Parallel()
				d, other := source(t, "sqlite"), place(t)
				own := d.at(other)
				own.anchor = filepath.Join(t.TempDir(), "anchor")
				db := other.mustOpen(t) // makes it
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				put(t, own)
				if _, err := d.copyTo(t, other); !errors.Is(err, move.ErrOccupied) {
					t.Errorf("written over: %v", err)
				}
			})
		}
	}
}

// TestSourceGoesOn sees that a copy of what does not stand still is not finished.
func TestSourceGoesOn(t *testing.T) {
	t.Run("between two calls", func(t *testing.T) {
		t.Parallel()
		d, other := source(t, "sqlite"), sqliteSide(t)
		if !cut(t, d, other, 20, true, false) {
			t.Fatal("it came to its end")
		}
		d.use(t, func(l *ledger.Ledger, _ store.Store) { appendTo(t, l, "acme", step(77, 1, "")) })
		if _, err := d.copyTo(t, other); !errors.Is(err, move.ErrMoved) {
			t.Errorf("went on: %v", err)
		}
	})
	t.Run("meanwhile", func(t *testing.T) {
		t.Parallel()
		d, other := source(t, "postgres"), sqliteSide(t)
		l, _, err := d.ledger(t)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		done := false
		_, err = d.copyTo(t, other, func(cfg *move.Config) {
			cfg.ChunkLeaves = 100
			cfg.Progress = func(stage string, _, _ int64) {
				if stage == move.StageCopy && !done {
					done = true
					appendTo(t, l, "acme", step(77, 1, ""))
				}
			}
		})
		if !done || !errors.Is(err, move.ErrMoved) {
			t.Errorf("finished: %v", err)
		}
		refused(t, other)
	})
	t.Run("another program has it", func(t *testing.T) {
		t.Parallel()
		d, other := source(t, "postgres"), sqliteSide(t)
		server := side{d.name, d.open}
		named := postgresNamed(d.side, "runledger copy")
		db := server.mustOpen(t)
		if _, err := d.at(named).copyTo(t, other); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), `"runledger"`) {
			t.Errorf("copied from under it: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.at(named).copyTo(t, other); err != nil {
			t.Error(err)
		}
	})
}
