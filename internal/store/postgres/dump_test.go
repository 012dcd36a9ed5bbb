package postgres_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// TestDump sees that a database which was dumped and restored is whole: its rows, its
// guards, and the rights, as far as the doctor and what is refused tell.
func TestDump(t *testing.T) {
	t.Parallel()
	from := migrated(t)
	source := open(t, from)
	l := fillAll(t, source)
	fillLifecycle(t, source, l)
	odd := config(from)
	odd.Schema = `Odd "name"`
	db, err := postgres.Open(t.Context(), odd)
	if err != nil {
		t.Fatal(err)
	}
	oddLog := fillAll(t, db)
	closeIt(t, db)
	odd.OwnerDSN = ""
	for _, c := range []struct{ name, format, restore string }{
		{"plain", "--format=plain", "psql"},
		{"custom", "--format=custom", "pg_restore"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := pgtest.Database(t)
			file := filepath.Join(t.TempDir(), "dump")
			program(t, "pg_dump", c.format, "--file="+file, from.Super)
			if c.restore == "psql" {
				program(t, c.restore, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+to.Super, "--file="+file)
			} else {
				program(t, c.restore, "--exit-on-error", "--dbname="+to.Super, file)
			}
			restored := open(t, to)
			wantDoctor(t, restored)
			wantHead(t, restored, l, l.head)
			wantAudit(t, restored, 4)
			if held, err := restored.HeldRuns(t.Context(), "t-1", []string{"other"}); err != nil || held["other"] != "hold-1" {
				t.Errorf("held: %v, %v", held, err)
			}
			if list, err := restored.Damage(t.Context()); err != nil || len(list) > 0 {
				t.Errorf("damage: %q, %v", list, err)
			}
			owner := shell(t, to.Owner)
			refuses(t, owner, "DELETE FROM audit_ledger", noOrder)
			refuses(t, owner, "TRUNCATE "+part, appendOnly)
			more := *l
			more.append(t, restored, record(evidence.KindAudit))

			there := odd
			there.DSN = to.App
			other, err := postgres.Open(t.Context(), there)
			if err != nil {
				t.Fatal(err)
			}
			defer closeIt(t, other)
			wantDoctor(t, other)
			wantHead(t, other, oddLog, oddLog.head)
		})
	}
}

// program runs one of PostgreSQL's, which must not complain.
func program(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), pgtest.Program(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
