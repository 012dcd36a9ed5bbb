package seal

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Open decrypts a segment of a log. The error wraps evidence.ErrNotFound
// where its key has been destroyed, evidence.ErrTampered where it does not
// open.
func (s *Sealer) Open(ctx context.Context, read store.Reader, tenant, origin string, seg store.SealedSegment) (map[evidence.ID]*Opening, error) {
	packed, err := s.decrypt(ctx, read, tenant, origin, seg)
	if err != nil {
		return nil, err
	}
	text, err := decompress(decoder, nil, packed)
	if err != nil {
		return nil, err
	}
	return decodeSegment(text)
}

func (s *Sealer) decrypt(ctx context.Context, read store.Reader, tenant, origin string, seg store.SealedSegment) ([]byte, error) {
	key, err := s.keys.byKeyID(ctx, read, tenant, seg.Key)
	if err != nil {
		return nil, err
	}
	packed, err := key.aead.Decrypt(seg.Data, aad(origin, seg.ID))
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w: it does not decrypt as content of log %s", seg.No, evidence.ErrTampered, origin)
	}
	return packed, nil
}

// texts lends room for the text of segments that are opened in part. What was
// in it is overwritten before it is given back: memory keeps no content that
// nobody asked for.
var texts = sync.Pool{New: func() any { return new([]byte) }}

// maxRoom is the most that texts keeps; few segments need more.
const maxRoom = 2 * maxSegmentBytes

// giveBack returns what texts lent. Its length says how much of it was written.
func giveBack(room *[]byte) {
	if clear(*room); cap(*room) <= maxRoom {
		texts.Put(room)
	}
}

// OpenRecords decrypts a segment as Open does and returns the openings of these
// records, in their order; nil for one that the segment does not hold. It reads
// no others, which makes it several times as fast, the more so for records in
// the order in which they were sealed.
func (s *Sealer) OpenRecords(ctx context.Context, read store.Reader, tenant, origin string, seg store.SealedSegment, ids []evidence.ID) ([]*Opening, error) {
	var out []*Opening
	err := s.lend(ctx, read, tenant, origin, seg, func(text []byte) (err error) {
		out, err = decodeRecords(text, ids)
		return err
	})
	return out, err
}

// RecordIDs returns the ids of the records whose openings a segment holds, and reads
// no more of it.
func (s *Sealer) RecordIDs(ctx context.Context, read store.Reader, tenant, origin string, seg store.SealedSegment) ([]evidence.ID, error) {
	var out []evidence.ID
	err := s.lend(ctx, read, tenant, origin, seg, func(text []byte) (err error) {
		out, err = memberIDs(text)
		return err
	})
	return out, err
}

// lend opens a segment for fn, which keeps nothing of the text.
func (s *Sealer) lend(ctx context.Context, read store.Reader, tenant, origin string, seg store.SealedSegment, fn func(text []byte) error) error {
	packed, err := s.decrypt(ctx, read, tenant, origin, seg)
	if err != nil {
		return err
	}
	room := texts.Get().(*[]byte)
	text, err := decoder.DecodeAll(packed, (*room)[:0])
	if err != nil {
		return fmt.Errorf("decompress: %w: %w", evidence.ErrTampered, err)
	}
	err = fn(text)
	*room = text
	giveBack(room)
	if err != nil {
		return fmt.Errorf("segment %d: %w: %w", seg.No, evidence.ErrTampered, err)
	}
	return nil
}

// memberIDs returns the names of the members of a segment's JSON. Within a string each
// quote follows a backslash, and of the objects only a member's begins with seed or salts.
func memberIDs(text []byte) ([]evidence.ID, error) {
	const idLen = len("00000000-0000-0000-0000-000000000000")
	var out []evidence.ID
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(`":{"s`))
		if i < 0 {
			return out, nil
		}
		i += at
		at = i + 1
		if i < idLen {
			return nil, errSegment
		}
		id, ok := evidence.ParseID(string(text[i-idLen : i]))
		if !ok {
			return nil, errSegment
		}
		out = append(out, id)
	}
}

// decodeRecords reads some members of a segment's JSON. The text comes out of an
// authenticated encryption, so it is what appendOpening wrote, and members may
// be looked for by their names.
func decodeRecords(text []byte, ids []evidence.ID) ([]*Opening, error) {
	out := make([]*Opening, len(ids))
	var dec jsontext.Decoder
	at := 0
	for i, id := range ids {
		from := member(text, id, at)
		if from < 0 {
			continue
		}
		dec.Reset(bytes.NewBuffer(text[from:]))
		o, err := decodeOpening(&dec)
		if err != nil {
			return nil, err
		}
		out[i] = o
		at = from + int(dec.InputOffset())
	}
	return out, nil
}

// member returns where the value of the member of that name begins, or -1. It
// looks from a place on and then before it. A quote within a JSON string follows
// a backslash, so what is found here is a name and not content.
func member(text []byte, id evidence.ID, from int) int {
	name := append(make([]byte, 0, 48), id.String()...)
	name = append(name, `":{`...)
	for _, start := range [2]int{from, 0} {
		if i := bytes.Index(text[start:], name); i >= 0 {
			return start + i + len(name) - 1
		}
		if start == 0 {
			break
		}
	}
	return -1
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

// Replacement returns what stands in public for a name that is not fit to be.
func (s *Sealer) Replacement(ctx context.Context, tenant, field, name string) (string, error) {
	k, err := s.keys.indexKey(ctx, s.read, tenant)
	if err != nil {
		return "", err
	}
	return replacement(k, field, name), nil
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
