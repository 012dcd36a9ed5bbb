package access

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// TestRevokedMeanwhile revokes a key in another process between the reading of its row
// and the note of its first use: the revocation stands, and the request is refused as
// one with a revoked key, not as one that may be repeated.
func TestRevokedMeanwhile(t *testing.T) {
	r := newRig(t)
	made := r.make(t, "acme", RoleProducer)
	other := func() {
		k, err := r.f.Store.APIKey(context.Background(), made.ID)
		if err != nil {
			t.Fatal(err)
		}
		k.RevokedAt = k.CreatedAt + 1
		if err := r.f.Store.PutAPIKey(context.Background(), k); err != nil {
			t.Fatal(err)
		}
	}
	r.f.put = func(k store.APIKey) error {
		if r.f.put = nil; k.UsedAt != 0 {
			other()
		}
		return nil
	}
	r.wantWhy(t, made.Secret, reasonRevoked)
	k, err := r.f.Store.APIKey(context.Background(), made.ID)
	if err != nil || k.RevokedAt != k.CreatedAt+1 {
		t.Errorf("%+v %v", k, err)
	}
}

// TestRevokedTwice revokes a key in two processes at the same time.
func TestRevokedTwice(t *testing.T) {
	r := newRig(t)
	made := r.make(t, "acme", RoleProducer)
	r.f.put = func(store.APIKey) error {
		r.f.put = nil
		k, err := r.f.Store.APIKey(context.Background(), made.ID)
		if err != nil {
			t.Fatal(err)
		}
		k.RevokedAt = k.CreatedAt + 1
		return r.f.Store.PutAPIKey(context.Background(), k)
	}
	k, err := r.Revoke(context.Background(), ada, "acme", made.ID)
	if err != nil || k.Status != "revoked" || *k.RevokedAt != k.CreatedAt+1 {
		t.Errorf("%+v %v", k, err)
	}
	if got := r.names(t, "acme"); bytes.Count([]byte(got), []byte(eventRevoked)) != 1 {
		t.Error(got)
	}
}

// TestPseudonymsAgree makes the secret of pseudonyms in several processes at once.
func TestPseudonymsAgree(t *testing.T) {
	r := newRig(t)
	const n = 4
	got := make(chan []byte, n)
	// Another process has its turn at present, and dies.
	if held, err := r.f.Store.Lease(context.Background(), "setting/"+settingPseudonyms, "dead", 200*time.Millisecond); !held || err != nil {
		t.Fatal(held, err)
	}
	for range n {
		go func() {
			secret, err := pseudonyms(context.Background(), r.f, r.f)
			if err != nil {
				t.Error(err)
			}
			got <- secret
		}()
	}
	first := <-got
	for range n - 1 {
		if next := <-got; len(first) != 32 || !bytes.Equal(first, next) {
			t.Errorf("%x and %x", first, next)
		}
	}
}
