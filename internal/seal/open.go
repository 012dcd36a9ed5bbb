package seal

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Open decrypts a segment of a log. The error wraps evidence.ErrNotFound
// where its key has been destroyed, evidence.ErrTampered where it does not
// open.
func (s *Sealer) Open(ctx context.Context, read store.Reader, tenant, origin string, seg store.SealedSegment) (map[evidence.ID]*Opening, error) {
	key, err := s.keys.byKeyID(ctx, read, tenant, seg.Key)
	if err != nil {
		return nil, err
	}
	packed, err := key.aead.Decrypt(seg.Data, aad(origin, seg.ID))
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w: it does not decrypt as content of log %s", seg.No, evidence.ErrTampered, origin)
	}
	text, err := decompress(decoder, packed)
	if err != nil {
		return nil, err
	}
	return decodeSegment(text)
}

// KeyScope returns scope and label of a stored data key.
func (s *Sealer) KeyScope(ctx context.Context, read store.Reader, tenant string, id store.KeyID) (scope, label string, err error) {
	key, err := s.keys.byKeyID(ctx, read, tenant, id)
	if err != nil {
		return "", "", err
	}
	return key.Scope, key.Label, nil
}

// CheckKey reports whether a stored data key opens under the master keyset.
func (s *Sealer) CheckKey(tenant string, k store.DataKey) error {
	_, err := s.keys.unwrap(tenant, k)
	return err
}

// IndexKey returns the tenant's key of index MACs.
func (s *Sealer) IndexKey(ctx context.Context, read store.Reader, tenant string) ([]byte, error) {
	return s.keys.indexKey(ctx, read, tenant)
}

// FindMAC returns the MAC under which a sealed value is indexed.
func (s *Sealer) FindMAC(ctx context.Context, tenant, name, text string) ([16]byte, error) {
	k, err := s.keys.indexKey(ctx, s.read, tenant)
	if err != nil {
		return [16]byte{}, err
	}
	return IndexMAC(k, name, text), nil
}

// PersonKeys returns a person's data keys.
func (s *Sealer) PersonKeys(ctx context.Context, tenant, person string) ([]store.DataKey, error) {
	k, err := s.keys.indexKey(ctx, s.read, tenant)
	if err != nil {
		return nil, err
	}
	return s.read.DataKeys(ctx, tenant, store.ScopePerson, personLabel(k, person))
}

// PersonLabel returns the label of a person's data key.
func PersonLabel(indexKey []byte, person string) string { return personLabel(indexKey, person) }

// Matches reports whether an opening opens exactly the commitments it should
// open; it returns the first path that does not.
func (o *Opening) Matches(l *evidence.Leaf) (path string, ok bool) {
	for _, f := range o.Fields {
		want, has := l.Commitment(f.Path)
		if !has || evidence.Commit(f.Path, o.Salt(f.Path), []byte(f.JSON)) != want {
			return f.Path, false
		}
	}
	return "", true
}
