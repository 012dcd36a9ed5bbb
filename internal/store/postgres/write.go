package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// What is written beside commits.

const (
	sqlSetSetting = `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`

	sqlSettleRuns = `UPDATE run_states AS r SET open = false
		FROM unnest($2::text[], $3::bigint[]) AS u (run_id, next_n)
		WHERE r.tenant_id = $1 AND r.run_id = u.run_id AND r.next_n = u.next_n AND r.open`

	// The first one stays.
	sqlAddAttestation = `INSERT INTO attestations (tenant_id, log_no, size, kind, by_name, key_id, at, note, data)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`

	sqlPutAPIKey = `INSERT INTO api_keys (` + apiKeyColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO UPDATE
		SET tenant_id = excluded.tenant_id, role = excluded.role, name = excluded.name, scopes = excluded.scopes,
			hash = excluded.hash, created_at = excluded.created_at, created_by = excluded.created_by,
			expires_at = excluded.expires_at, revoked_at = excluded.revoked_at, used_at = excluded.used_at,
			recorded = excluded.recorded`
)

// SetSetting implements store.Store.
func (db *DB) SetSetting(ctx context.Context, name, value string) error {
	return db.transact(ctx, func(ctx context.Context, c *pooled) error {
		_, err := c.Exec(ctx, sqlSetSetting, name, value)
		return err
	})
}

// SettleRuns implements store.Store.
func (db *DB) SettleRuns(ctx context.Context, tenant string, runs map[string]int64) error {
	names, counts := make([]string, 0, len(runs)), make([]int64, 0, len(runs))
	for run := range runs {
		names = append(names, run)
	}
	slices.Sort(names)
	for _, run := range names {
		counts = append(counts, runs[run])
	}
	return db.transact(ctx, func(ctx context.Context, c *pooled) error {
		_, err := c.Exec(ctx, sqlSettleRuns, tenant, names, counts)
		return err
	})
}

// KeepAttestations implements store.Store.
func (db *DB) KeepAttestations(ctx context.Context, log store.LogRef, list []store.Attestation) error {
	for i := range list {
		a := &list[i]
		if _, known := attestationQueries[a.Kind]; !known || a.Kind == "" || len(a.Data) == 0 || a.Size < 0 {
			return invalid("attestation of kind %q at size %d with %d bytes", a.Kind, a.Size, len(a.Data))
		}
	}
	return db.transact(ctx, func(ctx context.Context, c *pooled) error {
		if err := wantLog(ctx, c, log); err != nil {
			return err
		}
		for i := range list {
			a := &list[i]
			stamped := a.Note
			if len(stamped) == 0 {
				stamped = nil // the checkpoint of that size
			}
			if _, err := c.Exec(ctx, sqlAddAttestation, log.Tenant, log.No, a.Size, a.Kind, a.By, a.Key, int64(a.At), stamped, a.Data); err != nil {
				return err
			}
		}
		return nil
	})
}

// PutAPIKey implements store.Store.
func (db *DB) PutAPIKey(ctx context.Context, k store.APIKey) error {
	if k.ID == "" || k.Tenant == allTenants {
		return invalid("credential %q of tenant %q", k.ID, k.Tenant)
	}
	scopes, err := json.Marshal(append([]string{}, k.Scopes...))
	if err != nil {
		return err
	}
	return db.transact(ctx, func(ctx context.Context, c *pooled) error {
		_, err := c.Exec(ctx, sqlPutAPIKey, k.ID, k.Tenant, k.Role, []byte(k.Name), string(scopes), k.Hash[:], int64(k.CreatedAt), k.CreatedBy,
			int64(k.ExpiresAt), int64(k.RevokedAt), int64(k.UsedAt), k.Recorded)
		if sqlState(err) == codeFixed {
			return fmt.Errorf("postgres: credential %s: %w: %w", k.ID, evidence.ErrConflict, err)
		}
		return err
	})
}
