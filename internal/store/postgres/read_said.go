package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

// Attestations and credentials.

const (
	attestationColumns = `SELECT size, kind, by_name, key_id, at, note, data FROM attestations
		WHERE tenant_id = $1 AND log_no = $2 AND size >= $3 AND size <= $4`
	inOrder = ` ORDER BY size, kind, by_name, key_id LIMIT $5`
	inTurn  = ` ORDER BY size DESC, kind DESC, by_name DESC, key_id DESC LIMIT $5`
	// Without the kind, which is one: the order of the index of stamps.
	stampsInOrder = ` ORDER BY size, by_name, key_id LIMIT $5`
	stampsInTurn  = ` ORDER BY size DESC, by_name DESC, key_id DESC LIMIT $5`

	apiKeyColumns = `id, tenant_id, role, name, scopes, hash, created_at, created_by, expires_at, revoked_at, used_at, recorded`
	sqlAPIKey     = `SELECT ` + apiKeyColumns + ` FROM api_keys WHERE id BETWEEN $1 AND $1 ORDER BY id` // see find_sql.go
	sqlAPIKeys    = `SELECT ` + apiKeyColumns + ` FROM api_keys ORDER BY created_at, id`
	sqlAPIKeysOf  = `SELECT ` + apiKeyColumns + ` FROM api_keys WHERE tenant_id = $1 ORDER BY created_at, id`
)

// attestationQueries are the statements by kind, in rising and in falling order.
var attestationQueries = map[string][2]string{
	"":                    {attestationColumns + inOrder, attestationColumns + inTurn},
	store.KindCosignature: {attestationColumns + ` AND kind = 'cosignature'` + inOrder, attestationColumns + ` AND kind = 'cosignature'` + inTurn},
	store.KindTimestamp:   {attestationColumns + ` AND kind = 'timestamp'` + stampsInOrder, attestationColumns + ` AND kind = 'timestamp'` + stampsInTurn},
}

// Attestations implements store.Reader.
func (q queries) Attestations(ctx context.Context, log store.LogRef, query store.AttestationQuery, fn func(store.Attestation) error) error {
	sql, ok := attestationQueries[query.Kind]
	if !ok {
		return invalid("attestations of kind %q", query.Kind)
	}
	text, limit := sql[0], int64(query.Limit)
	if query.Newest {
		text = sql[1]
	}
	if limit <= 0 {
		limit = math.MaxInt64
	}
	return q.inLog(ctx, log, func(r *reader) error {
		return r.run(ctx, text, func(rows pgx.Rows) error {
			var a store.Attestation
			if err := scan(rows, &a.Size, &a.Kind, &a.By, &a.Key, &a.At, &a.Note, &a.Data); err != nil {
				return err
			}
			return fn(a)
		}, log.Tenant, log.No, query.From, query.To, limit)
	})
}

// allTenants is the tenant that stands for every one, and the platform's.
const allTenants = "*"

func readAPIKey(rows pgx.Rows) (k store.APIKey, err error) {
	var scopes string
	var name, hash []byte
	err = scan(rows, &k.ID, &k.Tenant, &k.Role, &name, &scopes, &hash,
		&k.CreatedAt, &k.CreatedBy, &k.ExpiresAt, &k.RevokedAt, &k.UsedAt, &k.Recorded)
	// What is no list narrows to nothing, instead of to all of the role.
	if list := parseList(scopes); len(list) > 0 {
		k.Scopes = list
	}
	k.Name = string(name)
	array(hash, k.Hash[:])
	return k, err
}

// APIKey implements store.Reader.
func (q queries) APIKey(ctx context.Context, id string) (k store.APIKey, err error) {
	found := false
	err = q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlAPIKey, func(rows pgx.Rows) (err error) {
			found = true
			k, err = readAPIKey(rows)
			return err
		}, id)
	})
	if err == nil && !found {
		err = notFound("credential %s", id)
	}
	return k, err
}

// APIKeys implements store.Reader.
func (q queries) APIKeys(ctx context.Context, tenant string, fn func(store.APIKey) error) error {
	query, args := sqlAPIKeysOf, []any{tenant}
	if tenant == allTenants {
		query, args = sqlAPIKeys, nil
	}
	return q.with(ctx, func(r *reader) error {
		return r.run(ctx, query, func(rows pgx.Rows) error {
			k, err := readAPIKey(rows)
			if err != nil {
				return err
			}
			return fn(k)
		}, args...)
	})
}
