package sqlite_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// TestAPIKeyGuards has the database itself refuse what would let an old
// credential do more, also from a connection that is not ours.
func TestAPIKeyGuards(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	k := store.APIKey{ID: "k", Tenant: "acme", Role: "viewer", Hash: [32]byte{1}, RevokedAt: 5}
	if err := db.PutAPIKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	conn := shell(t, dir)
	for _, set := range []string{
		`id = 'l'`, `tenant_id = ''`, `role = 'platform_admin'`, `scopes = '["x"]'`, `hash = zeroblob(32)`,
		`created_at = 7`, `created_by = 'x'`, `revoked_at = 0`,
	} {
		refuses(t, conn, "UPDATE api_keys SET "+set)
	}
	for _, set := range []string{`name = 'new'`, `used_at = 7`, `recorded = 1`, `expires_at = 8`} {
		query(t, conn, "UPDATE api_keys SET "+set)
	}
	err := sqlitex.ExecuteTransient(conn, `INSERT INTO api_keys SELECT 'l', tenant_id, role, name, scopes, x'00', 0, '', 0, 0, 0, 0 FROM api_keys`, nil)
	if zombiezen.ErrCode(err) != zombiezen.ResultConstraintCheck {
		t.Errorf("a short hash: %v", err)
	}
	if list, err := db.Guards(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("guards: %v %v", list, err)
	}
}

// TestAPIKeyScopesDamaged sees that scopes which do not parse narrow to
// nothing, instead of falling back to all that the role may.
func TestAPIKeyScopesDamaged(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	conn := shell(t, dir)
	for i, text := range []string{"", "null", "{}", "[", `["logs.read"`, `[1]`} {
		id := strings.Repeat("k", i+1)
		query(t, conn, `INSERT INTO api_keys VALUES (?, 'acme', 'viewer', '', ?, zeroblob(32), 0, '', 0, 0, 0, 0)`, id, text)
		k, err := db.APIKey(t.Context(), id)
		if err != nil || len(k.Scopes) != 1 || k.Scopes[0] != "!"+text {
			t.Errorf("scopes %q are read as %q, %v", text, k.Scopes, err)
		}
	}
}

// TestAPIKeysReadOnly reads beside the writer and does not write.
func TestAPIKeysReadOnly(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	k := store.APIKey{ID: "k", Tenant: "acme", Role: "viewer", CreatedBy: "x", Scopes: []string{"logs.read"}}
	if err := db.PutAPIKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	ro, err := sqlite.OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, ro)
	got, err := ro.APIKey(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(k, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := ro.PutAPIKey(t.Context(), k); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("writing to a store that is open for reading: %v", err)
	}
}
