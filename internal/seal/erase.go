package seal

import (
	"context"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Without writes a segment anew without what drop names. The result stands
// in the place of the old one, under the same number; it is nil where
// nothing is left. A record that loses some fields keeps the salts of the
// others, spelled out, and loses its seed: from the seed the salt of what
// was erased could be made again.
//
// rekey seals what is left under another key of the same scope and label, the newest
// of them, so that the old one can be destroyed.
func (s *Sealer) Without(ctx context.Context, tenant, origin string, seg store.SealedSegment, drop func(evidence.ID, string) bool, rekey bool) (*store.SealedSegment, error) {
	openings, err := s.Open(ctx, s.read, tenant, origin, seg)
	if err != nil {
		return nil, err
	}
	text := []byte{'{'}
	for id, o := range openings {
		left := reduce(id, o, drop)
		if left == nil {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = appendOpening(text, id, left)
	}
	if len(text) == 1 {
		return nil, nil
	}
	key, err := s.keys.byKeyID(ctx, s.read, tenant, seg.Key)
	if err == nil && rekey {
		key, err = s.keys.successor(ctx, tenant, key, key.Label)
	}
	if err != nil {
		return nil, err
	}
	out, err := encrypt(key, origin, append(text, '}'))
	if err != nil {
		return nil, err
	}
	return &store.SealedSegment{SegmentRef: seg.SegmentRef, ID: out.ID, Key: out.Key, Data: out.Data}, nil
}

// Rekey seals a segment anew, as it is, under the newest key of the same scope and of
// label, other than the one it stands under; "" is the label of that one. So all of a
// key's segments can be brought under another one, and the key be destroyed.
func (s *Sealer) Rekey(ctx context.Context, tenant, origin string, seg store.SealedSegment, label string) (*store.SealedSegment, error) {
	old, err := s.keys.byKeyID(ctx, s.read, tenant, seg.Key)
	if err != nil {
		return nil, err
	}
	if label == "" {
		label = old.Label
	}
	packed, err := s.decrypt(ctx, s.read, tenant, origin, seg)
	if err != nil {
		return nil, err
	}
	key, err := s.keys.successor(ctx, tenant, old, label)
	if err != nil {
		return nil, err
	}
	out, err := encryptPacked(key, origin, packed)
	if err != nil {
		return nil, err
	}
	return &store.SealedSegment{SegmentRef: seg.SegmentRef, ID: out.ID, Key: out.Key, Data: out.Data}, nil
}

func reduce(id evidence.ID, o *Opening, drop func(evidence.ID, string) bool) *Opening {
	left := &Opening{Salts: map[string]evidence.Salt{}}
	for _, f := range o.Fields {
		if !drop(id, f.Path) {
			left.Fields = append(left.Fields, f)
			left.Salts[f.Path] = o.Salt(f.Path)
		}
	}
	switch len(left.Fields) {
	case 0:
		return nil
	case len(o.Fields):
		return o
	default:
		return left
	}
}

// NewKey returns the row of a key that Without or Rekey sealed under, if it is
// not stored yet.
func (s *Sealer) NewKey(id store.KeyID) (store.DataKey, bool) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	d := s.keys.byID[id]
	if d == nil || d.stored {
		return store.DataKey{}, false
	}
	return d.DataKey, true
}

// Destroyed drops keys from memory once their rows are gone, and marks
// batches that are sealed under them.
func (s *Sealer) Destroyed(ids []store.KeyID) { s.keys.forget(ids) }
