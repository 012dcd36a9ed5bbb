package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

// TestFindStatements asks for more combinations of filters than a connection
// keeps statements.
func TestFindStatements(t *testing.T) {
	dsns := migrated(t)
	db := open(t, dsns)
	l := newFindLoad("t-1", 100)
	l.fill(t, db)
	fields := []string{"model", "provider", "outcome", "execution_status", "agent_id", "actor_type", "source", "seed"}
	for set := range 1 << len(fields) {
		q := store.Query{Tenant: "t-1", Kind: evidence.KindLLMRun, Limit: 1}
		for i, f := range fields {
			if set>>i&1 == 1 && evidence.PublicField(q.Kind, f) != nil {
				q.Where = append(q.Where, where(f, "openai", "o3", "claude", "agent-1", "AGENT", "success", "SUCCEEDED", "SDK"))
			}
		}
		found := 0
		if err := db.Find(t.Context(), q, func(store.Found) error {
			found++
			return nil
		}); err != nil {
			t.Fatalf("%v: %v", q.Where, err)
		}
	}
	var kept int
	if err := db.OnReader(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT count(*) FROM pg_prepared_statements`).Scan(&kept)
	}); err != nil {
		t.Fatal(err)
	}
	if kept > postgres.MaxStatements+1 || kept < 100 {
		t.Errorf("a connection keeps %d statements", kept)
	}
}
