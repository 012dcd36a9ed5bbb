package storetest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func apiKey(id, tenant string, created evidence.Micros) store.APIKey {
	k := store.APIKey{ID: id, Tenant: tenant, Role: "producer", CreatedAt: created, CreatedBy: "human:cli:ada"}
	for i := range k.Hash {
		k.Hash[i] = byte(i * 9)
	}
	return k
}

func mustPutKey(t *testing.T, s store.Store, k store.APIKey) {
	t.Helper()
	if err := s.PutAPIKey(ctx, k); err != nil {
		t.Fatal(err)
	}
}

func keysOf(t *testing.T, r store.Reader, tenant string) []store.APIKey {
	t.Helper()
	return collect(t, func(fn func(store.APIKey) error) error { return r.APIKeys(ctx, tenant, fn) })
}

// testAPIKeys sees every field kept byte for byte, and rows replaced.
func testAPIKeys(t *testing.T, s store.Store) {
	k := apiKey("k2", "acme", 1_764_000_000_000_001)
	k.Name = "ünïcode ' \" \\ \n\x00 trailing "
	k.Scopes = []string{"logs.read", "b", `"`, "a"}
	mustPutKey(t, s, k)
	wantEqual(t, "a credential", must[store.APIKey](t)(s.APIKey(ctx, "k2")), k)

	k.Name, k.ExpiresAt, k.UsedAt = "", evidence.MaxInt, 1_764_000_000_000_002
	mustPutKey(t, s, k)
	wantEqual(t, "a replaced credential", must[store.APIKey](t)(s.APIKey(ctx, "k2")), k)
	k.RevokedAt = 1_764_000_000_000_003
	mustPutKey(t, s, k)
	k.Recorded = true
	mustPutKey(t, s, k)
	wantEqual(t, "a revoked credential", must[store.APIKey](t)(s.APIKey(ctx, "k2")), k)
	wantEqual(t, "all credentials", keysOf(t, s, "acme"), []store.APIKey{k})

	bare := apiKey("bare", "", -1)
	bare.Role, bare.CreatedBy, bare.Hash = "", "", [32]byte{}
	mustPutKey(t, s, bare)
	wantEqual(t, "a credential without anything", must[store.APIKey](t)(s.APIKey(ctx, "bare")), bare)

	for _, id := range []string{"", "K2", "k2 ", "k", "*"} {
		_, err := s.APIKey(ctx, id)
		wantErr(t, fmt.Sprintf("credential %q", id), err, evidence.ErrNotFound)
	}
	wantErr(t, "no id", s.PutAPIKey(ctx, apiKey("", "acme", 1)), evidence.ErrInvalid)
	wantErr(t, "a tenant that stands for all", s.PutAPIKey(ctx, apiKey("x", "*", 1)), evidence.ErrInvalid)
}

// testAPIKeyFixed tries to make an old credential do more, and to take its
// revocation back.
func testAPIKeyFixed(t *testing.T, s store.Store) {
	k := apiKey("k", "acme", 7)
	k.Scopes = []string{"logs.read"}
	k.RevokedAt = 9
	mustPutKey(t, s, k)
	for what, change := range map[string]func(k *store.APIKey){
		"tenant":      func(k *store.APIKey) { k.Tenant = "other" },
		"platform":    func(k *store.APIKey) { k.Tenant = "" },
		"role":        func(k *store.APIKey) { k.Role = "tenant_admin" },
		"all scopes":  func(k *store.APIKey) { k.Scopes = nil },
		"more scopes": func(k *store.APIKey) { k.Scopes = append(k.Scopes, "logs.export") },
		"secret":      func(k *store.APIKey) { k.Hash[0]++ },
		"created_at":  func(k *store.APIKey) { k.CreatedAt++ },
		"created_by":  func(k *store.APIKey) { k.CreatedBy = "human:cli:eve" },
		"revoked":     func(k *store.APIKey) { k.RevokedAt = 0 },
		"revoked_at":  func(k *store.APIKey) { k.RevokedAt = 8 },
	} {
		other := k
		other.Scopes = append([]string{}, k.Scopes...)
		change(&other)
		wantErr(t, "a change of "+what, s.PutAPIKey(ctx, other), evidence.ErrConflict)
		wantEqual(t, "after a change of "+what, must[store.APIKey](t)(s.APIKey(ctx, "k")), k)
	}
}

// testAPIKeyTenants sees the order of lists and that tenants never mix.
func testAPIKeyTenants(t *testing.T, s store.Store) {
	// Written in another order than that of the answer; B sorts before b and é
	// behind z.
	for _, k := range []store.APIKey{
		apiKey("é", "acme", 5), apiKey("b", "acme", 5), apiKey("z", "acme", -3), apiKey("B", "acme", 5),
		apiKey("o", "other", 4), apiKey("p", "", 1), apiKey("q", "", 6), apiKey("c", "Acme", 5),
	} {
		mustPutKey(t, s, k)
	}
	for tenant, want := range map[string]string{
		"acme": "z B b é", "other": "o", "": "p q", "Acme": "c", "nobody": "", "acm": "", "%": "", "*": "z p o B b c é q",
	} {
		var ids []string
		for _, k := range keysOf(t, s, tenant) {
			ids = append(ids, k.ID)
			if tenant != "*" && k.Tenant != tenant {
				t.Errorf("credential %s of %q is listed for %q", k.ID, k.Tenant, tenant)
			}
		}
		wantEqual(t, fmt.Sprintf("credentials of %q", tenant), strings.Join(ids, " "), want)
	}
	seen := 0
	err := s.APIKeys(ctx, "*", func(store.APIKey) error {
		seen++
		return errStop
	})
	wantErr(t, "a callback's error", err, errStop)
	wantEqual(t, "calls before it", seen, 1)
}

// testAPIKeySnapshot sees that a snapshot does not move.
func testAPIKeySnapshot(t *testing.T, s store.Store) {
	openLog(t, s, "acme")
	k := apiKey("k", "acme", 1)
	mustPutKey(t, s, k)
	snap := must[store.Snapshot](t)(s.Snapshot(ctx))
	defer func() {
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	}()
	wantEqual(t, "snapshot before", must[store.APIKey](t)(snap.APIKey(ctx, "k")), k)
	revoked := k
	revoked.RevokedAt = 2
	mustPutKey(t, s, revoked)
	mustPutKey(t, s, apiKey("l", "acme", 1))
	wantEqual(t, "snapshot after", keysOf(t, snap, "*"), []store.APIKey{k})
	wantEqual(t, "the store after", must[store.APIKey](t)(s.APIKey(ctx, "k")), revoked)
}

// testAPIKeysParallel writes and reads at the same time; after a write has
// returned, every read sees it.
func testAPIKeysParallel(t *testing.T, s store.Store) {
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			k := apiKey(fmt.Sprint("k", w), "acme", evidence.Micros(w))
			for i := range evidence.Micros(25) {
				k.UsedAt = i
				if err := s.PutAPIKey(ctx, k); err != nil {
					t.Error(err)
					return
				}
				got, err := s.APIKey(ctx, k.ID)
				if err != nil || got.UsedAt != i {
					t.Errorf("read %d after writing %d: %v", got.UsedAt, i, err)
				}
			}
		})
	}
	group.Wait()
	wantEqual(t, "credentials", len(keysOf(t, s, "acme")), 4)
}

func testAPIKeysClosed(t *testing.T, s store.Store) {
	mustPutKey(t, s, apiKey("k", "acme", 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, one := s.APIKey(ctx, "k")
	for what, err := range map[string]error{
		"APIKey":    one,
		"APIKeys":   s.APIKeys(ctx, "*", func(store.APIKey) error { return nil }),
		"PutAPIKey": s.PutAPIKey(ctx, apiKey("k", "acme", 1)),
	} {
		if err == nil {
			t.Errorf("%s of a closed store succeeds", what)
		}
	}
}
