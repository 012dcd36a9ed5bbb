package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	apiKeyColumns = `id, tenant_id, role, name, scopes, hash, created_at, created_by, expires_at, revoked_at, used_at, recorded`

	sqlAPIKey   = `SELECT ` + apiKeyColumns + ` FROM api_keys WHERE id = ?1`
	sqlAPIKeys  = `SELECT ` + apiKeyColumns + ` FROM api_keys ORDER BY created_at, id`
	sqlAPIKeysT = `SELECT ` + apiKeyColumns + ` FROM api_keys WHERE tenant_id = ?1 ORDER BY created_at, id`
	// No REPLACE, whose deletion would go round the guards.
	sqlPutAPIKey = `INSERT INTO api_keys (` + apiKeyColumns + `)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO UPDATE
		SET tenant_id = ?2, role = ?3, name = ?4, scopes = ?5, hash = ?6, created_at = ?7,
			created_by = ?8, expires_at = ?9, revoked_at = ?10, used_at = ?11, recorded = ?12`
)

// allTenants is the tenant that stands for every one, and the platform's.
const allTenants = "*"

func readAPIKey(s *sqlite.Stmt) store.APIKey {
	k := store.APIKey{
		ID: s.ColumnText(0), Tenant: s.ColumnText(1), Role: s.ColumnText(2), Name: s.ColumnText(3),
		CreatedAt: evidence.Micros(s.ColumnInt64(6)), CreatedBy: s.ColumnText(7),
		ExpiresAt: evidence.Micros(s.ColumnInt64(8)), RevokedAt: evidence.Micros(s.ColumnInt64(9)),
		UsedAt: evidence.Micros(s.ColumnInt64(10)), Recorded: s.ColumnBool(11),
	}
	// What is no list narrows to nothing, instead of to all of the role.
	if list := parseList(s.ColumnText(4)); len(list) > 0 {
		k.Scopes = list
	}
	array(s, 5, k.Hash[:])
	return k
}

// APIKey implements store.Reader.
func (q queries) APIKey(ctx context.Context, id string) (k store.APIKey, err error) {
	found := false
	err = q.with(ctx, func(r *reader) (err error) {
		found, err = r.one(ctx, sqlAPIKey, func(s *sqlite.Stmt) { k = readAPIKey(s) }, id)
		return err
	})
	if err == nil && !found {
		err = notFound("credential %s", id)
	}
	return k, err
}

// APIKeys implements store.Reader.
func (q queries) APIKeys(ctx context.Context, tenant string, fn func(store.APIKey) error) error {
	query, args := sqlAPIKeysT, []any{tenant}
	if tenant == allTenants {
		query, args = sqlAPIKeys, nil
	}
	return q.with(ctx, func(r *reader) error {
		return r.run(ctx, query, func(s *sqlite.Stmt) error { return fn(readAPIKey(s)) }, args...)
	})
}

// PutAPIKey implements store.Store.
func (db *DB) PutAPIKey(ctx context.Context, k store.APIKey) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error { return w.putAPIKey(&k) })
}

// putAPIKey prepares its statement when it is called: it is rare.
func (w *writer) putAPIKey(k *store.APIKey) error {
	if k.ID == "" || k.Tenant == allTenants {
		return invalid("credential %q of tenant %q", k.ID, k.Tenant)
	}
	scopes, err := json.Marshal(append([]string{}, k.Scopes...))
	if err != nil {
		return err
	}
	s, err := w.conn.Prepare(sqlPutAPIKey)
	if err != nil {
		return err
	}
	s.BindText(1, k.ID)
	s.BindText(2, k.Tenant)
	s.BindText(3, k.Role)
	s.BindText(4, k.Name)
	s.BindText(5, string(scopes))
	s.BindBytes(6, k.Hash[:])
	s.BindInt64(7, int64(k.CreatedAt))
	s.BindText(8, k.CreatedBy)
	s.BindInt64(9, int64(k.ExpiresAt))
	s.BindInt64(10, int64(k.RevokedAt))
	s.BindInt64(11, int64(k.UsedAt))
	s.BindBool(12, k.Recorded)
	if err := step(s); isGuard(err) {
		return fmt.Errorf("sqlite: credential %s: %w: %w", k.ID, evidence.ErrConflict, err)
	} else if err != nil {
		return err
	}
	return nil
}
