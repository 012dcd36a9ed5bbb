package storerig_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

func open(t *testing.T, dir string) store.Store {
	t.Helper()
	db, err := storerig.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func set(t *testing.T, db store.Store, value string) {
	t.Helper()
	if err := errors.Join(db.SetSetting(t.Context(), "colour", value), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, dir string) string {
	t.Helper()
	db, err := storerig.OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := db.Setting(t.Context(), "colour")
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDirectories: a store goes with its directory.
func TestDirectories(t *testing.T) {
	base := t.TempDir()
	a, b := filepath.Join(base, "a"), filepath.Join(base, "b")
	set(t, open(t, a), "red")
	if err := storerig.Copy(b, a); err != nil {
		t.Fatal(err)
	}
	set(t, open(t, b), "blue")
	if x, y := get(t, a), get(t, b); x != "red" || y != "blue" {
		t.Errorf("%s and %s", x, y)
	}
	if err := storerig.Replace(a, b); err != nil {
		t.Fatal(err)
	}
	if x := get(t, a); x != "blue" {
		t.Errorf("replaced: %s", x)
	}
	if err := os.RemoveAll(a); err != nil {
		t.Fatal(err)
	}
	db := open(t, a)
	if _, err := db.Setting(t.Context(), "colour"); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("a new store has a setting: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAttack: an attacker is stopped by no trigger, what fails is undone, and
// afterwards the database protects itself as before.
func TestAttack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	db := open(t, dir)
	defer db.Close()
	key := store.APIKey{ID: "k", Tenant: "acme", Role: "viewer", Hash: [32]byte{1}, RevokedAt: 5}
	if err := db.PutAPIKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	err := storerig.Attack(dir, func(a *storerig.Attacker) error {
		if _, err := a.Try(`UPDATE api_keys SET hash = ?1`, []byte("too short")); err == nil {
			t.Error("a constraint is not a trigger")
		}
		n, err := a.Change(`UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1`, "k", int64(0))
		if n != 1 {
			t.Errorf("changed %d rows", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if k, err := db.APIKey(t.Context(), "k"); err != nil || k.RevokedAt != 0 {
		t.Errorf("the revocation stands: %+v, %v", k, err)
	}
	failed := errors.New("no")
	if err := storerig.Attack(dir, func(a *storerig.Attacker) error {
		rows, err := a.Rows(`SELECT id, created_at, hash, NULL FROM api_keys WHERE id = ?1`, "k")
		if err != nil || len(rows) != 1 || rows[0][0] != "k" || rows[0][1] != int64(0) || rows[0][2].([]byte)[0] != 1 || rows[0][3] != nil {
			t.Errorf("%v, %v", rows, err)
		}
		return errors.Join(failed, a.Exec(`DELETE FROM api_keys`))
	}); !errors.Is(err, failed) {
		t.Error(err)
	}
	key.RevokedAt = 7
	if err := db.PutAPIKey(t.Context(), key); err != nil { // not final any more, and not deleted
		t.Fatal(err)
	}
	key.RevokedAt = 9
	if err := db.PutAPIKey(t.Context(), key); err == nil {
		t.Error("the trigger is gone")
	}
	if missing, err := db.Guards(t.Context()); err != nil || len(missing) != 0 {
		t.Errorf("guards say %q, %v", missing, err)
	}
}
