package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

// Choose makes the choice of a context's replica, as its first read does.
func Choose(ctx context.Context, db *DB) {
	may := store.ReplicaOf(ctx)
	may.Choice.Do(func() any { return db.choose(ctx, may.Lag) })
}

// SetStandstill sets how long a transaction may rest.
func (cfg *Config) SetStandstill(d time.Duration) { cfg.standstill = d }

// Rested ends the rest of all replicas.
func Rested(db *DB) {
	for _, r := range db.replicas.all {
		r.rests.Store(0)
	}
}

// WriterSetting is a setting of the sessions that write.
func (db *DB) WriterSetting(ctx context.Context, name string) (value string, err error) {
	c, err := db.writer(ctx)
	if err != nil {
		return "", err
	}
	defer c.release()
	err = c.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&value)
	return value, err
}

// Backends are the processes of the database's server that serve connections to it.
func Backends(t testing.TB, db *DB) (pids []int) {
	t.Helper()
	c, err := db.writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.release()
	rows, err := c.Query(t.Context(), `SELECT pid FROM pg_stat_activity WHERE datname = current_database()`)
	if err == nil {
		pids, err = pgx.CollectRows(rows, pgx.RowTo[int])
	}
	if err != nil {
		t.Fatal(err)
	}
	return pids
}
