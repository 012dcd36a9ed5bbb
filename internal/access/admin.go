package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// AllTenants stands for every tenant and the platform, in List and Revoke.
const AllTenants = "*"

// NewKey says what key to make.
type NewKey struct {
	Tenant    string // "" for a key of the platform
	Role      string
	Name      string          // for people, at most 128 bytes; may be empty
	Scopes    []string        // permissions it is narrowed to; empty: all of its role
	ExpiresAt evidence.Micros // 0: never. An auditor's key must expire.
}

// Key is a key as it is shown: without its secret and hash.
type Key struct {
	ID          string           `json:"id"`
	Tenant      *string          `json:"tenant_id"` // null: of the platform
	Role        string           `json:"role"`
	Name        string           `json:"name"`
	Permissions []string         `json:"permissions"` // what it may do
	Status      string           `json:"status"`      // active, expired, revoked
	CreatedAt   evidence.Micros  `json:"created_at"`
	CreatedBy   string           `json:"created_by"`
	ExpiresAt   *evidence.Micros `json:"expires_at"`
	FirstUsedAt *evidence.Micros `json:"first_used_at"`
	RevokedAt   *evidence.Micros `json:"revoked_at"`
}

// MadeKey is a new key with its secret, which is shown this once.
type MadeKey struct {
	Key
	Secret Credential `json:"key"` // all of it: rl_…
}

// MarshalJSON shows the key: it is the answer to who is given it.
func (m MadeKey) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Key
		Secret string `json:"key"`
	}{m.Key, m.Secret.Reveal()})
}

func keyOf(k store.APIKey, now evidence.Micros) Key {
	some := func(m evidence.Micros) *evidence.Micros {
		if m == 0 {
			return nil
		}
		return &m
	}
	out := Key{
		ID: k.ID, Role: k.Role, Name: k.Name, Permissions: permissionsIn(k.Tenant, k.Role, k.Scopes).Names(), Status: "active",
		CreatedAt: k.CreatedAt, CreatedBy: k.CreatedBy, ExpiresAt: some(k.ExpiresAt), FirstUsedAt: some(k.UsedAt), RevokedAt: some(k.RevokedAt),
	}
	if k.Tenant != "" {
		out.Tenant = &k.Tenant
	}
	switch {
	case k.RevokedAt != 0:
		out.Status = "revoked"
	case k.ExpiresAt != 0 && now >= k.ExpiresAt:
		out.Status = "expired"
	}
	return out
}

// checkNew refuses a key that makes no sense.
func (g *Gate) checkNew(ctx context.Context, n NewKey, now evidence.Micros) error {
	if err := checkRole(n.Tenant, n.Role, n.Scopes); err != nil {
		return err
	}
	switch {
	case len(n.Name) > evidence.MaxName || strings.ContainsFunc(n.Name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }):
		return invalid("name", "must be at most %d bytes of text without control characters", evidence.MaxName)
	case holdsKey(n.Name):
		return invalid("name", "must not hold a key: it is kept and shown")
	case len(n.Scopes) > len(permissionNames):
		return invalid("scopes", "must name each permission once")
	case n.ExpiresAt != 0 && (n.ExpiresAt <= now || !n.ExpiresAt.InRange()):
		return invalid("expires", "must be in the future")
	case n.Role == RoleAuditor && n.ExpiresAt == 0:
		return invalid("expires", "is required of an auditor's key")
	case n.Role == RoleAuditor && n.ExpiresAt > now+maxAuditor:
		return invalid("expires", "must be within 366 days for an auditor's key")
	case n.Tenant == "":
		return nil
	case n.Tenant == evidence.SystemTenant:
		return invalid("tenant_id", "the system tenant has no credentials: make one of the platform")
	case !evidence.ValidTenant(n.Tenant):
		return invalid("tenant_id", "must be 1 to 63 characters of [a-z0-9-]")
	}
	_, err := g.cfg.Ledger.Logs(ctx, n.Tenant)
	return err
}

// maxAuditor is how long an auditor's credential counts at most.
const maxAuditor = 366 * 24 * 60 * minute

// Create makes a key. Errors: evidence.ErrInvalid, evidence.ErrNotFound (the
// tenant), evidence.ErrUnavailable: there is then no key that anyone has.
func (g *Gate) Create(ctx context.Context, by Actor, n NewKey) (MadeKey, error) {
	g.admin.Lock()
	defer g.admin.Unlock()
	now := g.now()
	if err := g.checkNew(ctx, n, now); err != nil {
		return MadeKey{}, err
	}
	id, secret, hash := newKey()
	k := store.APIKey{
		ID: id, Tenant: n.Tenant, Role: n.Role, Name: n.Name, Scopes: n.Scopes, Hash: hash,
		CreatedAt: now, CreatedBy: by.String(), ExpiresAt: n.ExpiresAt,
	}
	if err := g.cfg.Store.PutAPIKey(ctx, k); err != nil {
		return MadeKey{}, unavailable("create credential", err)
	}
	if err := g.append(ctx, logTenant(k.Tenant), createdRecords(k)...); err != nil {
		g.discard(ctx, k)
		return MadeKey{}, fmt.Errorf("create credential: %w", err)
	}
	return MadeKey{keyOf(k, now), secret}, nil
}

// discard revokes a key that could not be recorded and that nobody got. Its
// records are appended later; where not even that works, so is its creation.
func (g *Gate) discard(ctx context.Context, k store.APIKey) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	g.dirty.Store(true)
	k.RevokedAt = max(g.now(), k.CreatedAt)
	if err := g.cfg.Store.PutAPIKey(ctx, k); err != nil {
		g.cfg.Logger.WarnContext(ctx, "a credential that was not given out is left", "credential_id", k.ID, "err", err)
	}
}

// List returns the keys of a tenant, "" for those of the platform, or
// AllTenants; by creation.
func (g *Gate) List(ctx context.Context, tenant string) ([]Key, error) {
	now, keys := g.now(), []Key{}
	err := g.cfg.Store.APIKeys(ctx, tenant, func(k store.APIKey) error {
		keys = append(keys, keyOf(k, now))
		return nil
	})
	return keys, err
}

// Revoke revokes a key of a tenant ("" the platform's, or AllTenants). It counts
// at once, here; in other processes within Config.CacheTTL. Once more is no error.
// evidence.ErrUnavailable may mean that it counts and its record is still to be
// written, which is then done in the background or by the next process.
func (g *Gate) Revoke(ctx context.Context, by Actor, tenant, id string) (Key, error) {
	g.admin.Lock()
	defer g.admin.Unlock()
	k, err := g.cfg.Store.APIKey(ctx, id)
	if err == nil && tenant != AllTenants && k.Tenant != tenant {
		err = evidence.ErrNotFound
	}
	if errors.Is(err, evidence.ErrNotFound) {
		return Key{}, fmt.Errorf("credential: %w", evidence.ErrNotFound) // the id may be a whole key
	} else if err != nil {
		return Key{}, unavailable("revoke credential", err)
	}
	// From here on a caller who has gone changes nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if k.RevokedAt == 0 {
		if err := g.cfg.Store.SetSetting(ctx, settingRevokedBy+id, by.String()); err != nil {
			return Key{}, unavailable("revoke credential", err)
		}
		k.RevokedAt = max(g.now(), k.CreatedAt)
		if k, err = g.put(ctx, k); err != nil {
			return Key{}, unavailable("revoke credential", err)
		}
	}
	g.forget(id)
	if err := g.finishRevocation(ctx, k); err != nil {
		g.dirty.Store(true)
		return Key{}, fmt.Errorf("the credential is revoked, but that is not recorded yet: %w", err)
	}
	return keyOf(k, g.now()), nil
}

// put stores a row that was read before. Another process may have revoked the key
// meanwhile, which is final: the store then refuses what was read before that, and the
// row as it stands is returned.
func (g *Gate) put(ctx context.Context, k store.APIKey) (store.APIKey, error) {
	err := g.cfg.Store.PutAPIKey(ctx, k)
	if !errors.Is(err, evidence.ErrConflict) {
		return k, err
	}
	now, rerr := g.cfg.Store.APIKey(ctx, k.ID)
	if rerr != nil || now.RevokedAt == 0 || now.RevokedAt == k.RevokedAt {
		return k, err
	}
	return now, nil
}

// settingRevokedBy and an id is the setting that says who revoked a key. It is
// written before the row, so that a later process can record it.
const settingRevokedBy = "apikey_revoked_by/"

// finishRevocation records a revocation that is stored.
func (g *Gate) finishRevocation(ctx context.Context, k store.APIKey) error {
	if k.Recorded {
		return nil
	}
	by := Actor{System, component} // of a key that nobody got
	if text, err := g.cfg.Store.Setting(ctx, settingRevokedBy+k.ID); err == nil {
		by = parseActor(text)
	} else if !errors.Is(err, evidence.ErrNotFound) {
		return unavailable("revoke credential", err)
	}
	if err := g.append(ctx, logTenant(k.Tenant), revokedRecords(k, by)...); err != nil {
		return err
	}
	k.Recorded = true
	if err := g.cfg.Store.PutAPIKey(ctx, k); err != nil {
		return unavailable("revoke credential", err)
	}
	return nil
}

// firstUse records the first use of a key before the request is let in.
func (g *Gate) firstUse(c call, e *entry) error {
	g.admin.Lock()
	defer g.admin.Unlock()
	if e.used.Load() {
		return nil
	}
	// The row as it is now: it may have been revoked meanwhile.
	k, err := g.cfg.Store.APIKey(c.ctx, e.key.ID)
	if err != nil {
		return unavailable("credential", err)
	}
	if k.RevokedAt != 0 {
		return refuse(reasonRevoked)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), recordTimeout)
	defer cancel()
	if k.UsedAt == 0 {
		k.UsedAt = max(g.now(), k.CreatedAt)
		if k, err = g.put(ctx, k); err != nil {
			return unavailable("credential", err)
		}
		if k.RevokedAt != 0 {
			return refuse(reasonRevoked)
		}
	}
	if done, err := g.recorded(ctx, k, eventUsed); err != nil {
		return unavailable("credential", err)
	} else if !done {
		if err := g.append(ctx, logTenant(k.Tenant), usedRecord(k, c.remote)); err != nil {
			return err
		}
	}
	e.used.Store(true)
	return nil
}
