package seal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const keySize = 32

// dataKey is an unwrapped data key.
type dataKey struct {
	store.DataKey
	tenant string
	aead   tink.AEAD
	// stored says that the key's row is known to be durable; until then
	// every commit that uses the key brings the row.
	stored bool
	// destroyed says that the key's row is gone.
	destroyed bool
}

type scopeLabel struct{ tenant, scope, label string }

// keyring holds a bounded number of unwrapped keys. Its mutex is held while
// a key is read from the store, so that two batches never make two keys.
type keyring struct {
	master tink.AEAD
	read   store.Reader

	mu      sync.Mutex
	byScope map[scopeLabel]*dataKey
	byID    map[store.KeyID]*dataKey
	index   map[string][]byte // tenant -> K
	// gone are keys that were forgotten: who was reading one meanwhile does not bring it back.
	gone map[store.KeyID]struct{}
}

// maxKeys bounds each cache; over it the cache is emptied, which only costs
// reading keys again. Keys that are not stored yet are kept.
const maxKeys = 4096

func keyAAD(tenant string, k store.DataKey) []byte {
	b := []byte("runledger/datakey/v1\x00" + tenant + "\x00" + k.Scope + "\x00" + k.Label + "\x00")
	return append(b, k.ID[:]...)
}

func (r *keyring) newKey(tenant, scope, label string) (store.DataKey, []byte, error) {
	raw := make([]byte, keySize)
	rand.Read(raw)
	k := store.DataKey{Scope: scope, Label: label}
	rand.Read(k.ID[:])
	wrapped, err := r.master.Encrypt(raw, keyAAD(tenant, k))
	if err != nil {
		return k, nil, fmt.Errorf("wrap data key: %w", err)
	}
	k.Wrapped = wrapped
	return k, raw, nil
}

func (r *keyring) unwrap(tenant string, k store.DataKey) ([]byte, error) {
	raw, err := r.master.Decrypt(k.Wrapped, keyAAD(tenant, k))
	if err != nil || len(raw) != keySize {
		return nil, fmt.Errorf("data key %x of scope %s: %w: it does not open under the master keyset", k.ID, k.Scope, evidence.ErrTampered)
	}
	return raw, nil
}

// newAEAD returns XAES-256-GCM with a raw key and no prefix (C2SP).
func newAEAD(raw []byte) (tink.AEAD, error) {
	params, err := xaesgcm.NewParameters(xaesgcm.VariantNoPrefix, 12)
	if err != nil {
		return nil, err
	}
	key, err := xaesgcm.NewKey(secretdata.NewBytesFromData(raw, insecuresecretdataaccess.Token{}), 0, params)
	if err != nil {
		return nil, err
	}
	m := keyset.NewManager()
	id, err := m.AddKey(key)
	if err != nil {
		return nil, err
	}
	if err := m.SetPrimary(id); err != nil {
		return nil, err
	}
	h, err := m.Handle()
	if err != nil {
		return nil, err
	}
	return aead.New(h)
}

func (r *keyring) remember(tenant string, k store.DataKey, raw []byte, stored bool) (*dataKey, error) {
	a, err := newAEAD(raw)
	if err != nil {
		return nil, err
	}
	if len(r.byID) >= maxKeys {
		for id, old := range r.byID {
			if old.stored {
				delete(r.byID, id)
			}
		}
		for sl, old := range r.byScope {
			if old.stored {
				delete(r.byScope, sl)
			}
		}
	}
	d := &dataKey{DataKey: k, tenant: tenant, aead: a, stored: stored}
	delete(r.gone, k.ID) // its commit went through after all
	r.byID[k.ID] = d
	r.byScope[scopeLabel{tenant, k.Scope, k.Label}] = d
	return d, nil
}

// forScope returns the newest key of a scope, making one where there is
// none.
func (r *keyring) forScope(ctx context.Context, tenant, scope, label string) (*dataKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.byScope[scopeLabel{tenant, scope, label}]; d != nil {
		return d, nil
	}
	keys, err := r.read.DataKeys(ctx, tenant, scope, label)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		k := keys[len(keys)-1]
		raw, err := r.unwrap(tenant, k)
		if err != nil {
			return nil, err
		}
		return r.remember(tenant, k, raw, true)
	}
	k, raw, err := r.newKey(tenant, scope, label)
	if err != nil {
		return nil, err
	}
	return r.remember(tenant, k, raw, false)
}

// successor returns the newest key of a scope and label that is not the one to be
// destroyed, making one where that is the newest.
func (r *keyring) successor(ctx context.Context, tenant string, old *dataKey, label string) (*dataKey, error) {
	key, err := r.forScope(ctx, tenant, old.Scope, label)
	if err != nil || key.ID != old.ID {
		return key, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.byScope[scopeLabel{tenant, old.Scope, label}]; d != nil && d.ID != old.ID {
		return d, nil // another goroutine was faster
	}
	k, raw, err := r.newKey(tenant, old.Scope, label)
	if err != nil {
		return nil, err
	}
	return r.remember(tenant, k, raw, false)
}

// byKeyID returns a key that a stored segment names.
func (r *keyring) byKeyID(ctx context.Context, read store.Reader, tenant string, id store.KeyID) (*dataKey, error) {
	r.mu.Lock()
	d := r.byID[id]
	r.mu.Unlock()
	if d != nil && d.tenant == tenant {
		return d, nil
	}
	k, err := read.DataKey(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	raw, err := r.unwrap(tenant, k)
	if err != nil {
		return nil, err
	}
	a, err := newAEAD(raw)
	if err != nil {
		return nil, err
	}
	d = &dataKey{DataKey: k, tenant: tenant, aead: a, stored: true}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, gone := r.gone[id]; !gone && len(r.byID) < maxKeys {
		r.byID[id] = d
	}
	return d, nil
}

// markStored notes that the rows of these keys are durable.
func (r *keyring) markStored(keys []store.DataKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range keys {
		if d := r.byID[k.ID]; d != nil {
			d.stored = true
		}
	}
}

// forget drops destroyed keys from memory.
func (r *keyring) forget(ids []store.KeyID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := make(map[store.KeyID]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
		r.gone[id] = struct{}{}
		if d := r.byID[id]; d != nil {
			d.destroyed = true
		}
		delete(r.byID, id)
	}
	for sl, d := range r.byScope {
		if gone[d.ID] {
			d.destroyed = true
			delete(r.byScope, sl)
		}
	}
}

// indexKey returns the tenant's K.
func (r *keyring) indexKey(ctx context.Context, read store.Reader, tenant string) ([]byte, error) {
	r.mu.Lock()
	k := r.index[tenant]
	r.mu.Unlock()
	if k != nil {
		return k, nil
	}
	keys, err := read.DataKeys(ctx, tenant, store.ScopeIndex, "")
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("index key of tenant %s: %w", tenant, evidence.ErrNotFound)
	}
	raw, err := r.unwrap(tenant, keys[0])
	if err != nil {
		return nil, err
	}
	if len(raw) > sha256.BlockSize { // indexMAC is for no other
		return nil, fmt.Errorf("index key of tenant %s: %w: it has %d bytes", tenant, evidence.ErrTampered, len(raw))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.index) >= maxKeys {
		clear(r.index)
	}
	r.index[tenant] = raw
	return raw, nil
}
