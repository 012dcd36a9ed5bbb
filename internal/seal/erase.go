package seal

import (
	"context"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Without writes a segment anew without what drop names. The result stands
// in the place of the old one, under the same number; it is nil where
// nothing is left. A record that loses some fields keeps the salts of the
// others, spelled out, and loses its seed: from the seed the salt of what
// was erased could be made again.
//
// rekey seals what is left under the current key of the day, so that the
// old key can be destroyed.
func (s *Sealer) Without(ctx context.Context, tenant, origin string, seg store.SealedSegment, drop func(evidence.ID, string) bool, rekey bool, now time.Time) (*store.SealedSegment, error) {
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
	if err != nil {
		return nil, err
	}
	if rekey {
		if key.Scope != store.ScopeDay {
			return nil, fmt.Errorf("segment %d: only keys of the day are retired by sealing anew", seg.No)
		}
		if key, err = s.successor(ctx, tenant, key, now); err != nil {
			return nil, err
		}
	}
	out, err := encrypt(key, origin, append(text, '}'))
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

// successor returns a key of the day other than the one that is retired.
func (s *Sealer) successor(ctx context.Context, tenant string, retired *dataKey, now time.Time) (*dataKey, error) {
	day := now.UTC().Format(time.DateOnly)
	key, err := s.keys.forScope(ctx, tenant, store.ScopeDay, day)
	if err != nil || key.ID != retired.ID {
		return key, err
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	k, raw, err := s.keys.newKey(tenant, store.ScopeDay, day)
	if err != nil {
		return nil, err
	}
	return s.keys.remember(tenant, k, raw, false)
}

// NewKey returns the row of a key that Without sealed under, if it is not
// stored yet.
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
