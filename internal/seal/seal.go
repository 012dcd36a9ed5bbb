package seal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Sealer seals and opens the content of all tenants of a store. It may be
// used from several goroutines.
type Sealer struct {
	keys keyring
	read store.Reader
}

// New returns a sealer over a store. Its keys are wrapped by master.
func New(read store.Reader, master tink.AEAD) *Sealer {
	return &Sealer{read: read, keys: keyring{
		master: master, read: read,
		byScope: map[scopeLabel]*dataKey{}, byID: map[store.KeyID]*dataKey{}, index: map[string][]byte{},
		gone: map[store.KeyID]struct{}{},
	}}
}

// Wrap encrypts a log's signing key under the master keyset.
func (s *Sealer) Wrap(key []byte, origin string) ([]byte, error) {
	return s.keys.master.Encrypt(key, []byte(origin))
}

// Unwrap is the inverse of Wrap.
func (s *Sealer) Unwrap(wrapped []byte, origin string) ([]byte, error) {
	key, err := s.keys.master.Decrypt(wrapped, []byte(origin))
	if err != nil {
		return nil, fmt.Errorf("signing key of %s: %w: it does not open under the master keyset", origin, evidence.ErrTampered)
	}
	return key, nil
}

// WrapSecret encrypts what a setting keeps for the server alone. name is the setting's.
func (s *Sealer) WrapSecret(name string, text []byte) ([]byte, error) {
	return s.keys.master.Encrypt(text, []byte("runledger/setting/v1\x00"+name))
}

// UnwrapSecret is the inverse of WrapSecret.
func (s *Sealer) UnwrapSecret(name string, wrapped []byte) ([]byte, error) {
	text, err := s.keys.master.Decrypt(wrapped, []byte("runledger/setting/v1\x00"+name))
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w: it does not open under the master keyset", name, evidence.ErrTampered)
	}
	return text, nil
}

// NewTenantKeys makes what a new tenant needs: its key of index MACs.
func (s *Sealer) NewTenantKeys(tenant string) ([]store.DataKey, error) {
	k, raw, err := s.keys.newKey(tenant, store.ScopeIndex, "")
	if err != nil {
		return nil, err
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.keys.index[tenant] = raw
	return []store.DataKey{k}, nil
}

// ForgetTenant drops the index key that NewTenantKeys made, where the
// tenant was not created after all.
func (s *Sealer) ForgetTenant(tenant string) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	delete(s.keys.index, tenant)
}

// Sealed is one record, sealed: all of its leaf but what sequencing sets.
type Sealed struct {
	Record *evidence.Record
	H      []evidence.Commitment
	// Segment and Actor are indexes into Batch.Segments; Actor is -1 where
	// the actor stands with the rest.
	Segment, Actor int
	Index          []IndexTerm
}

// IndexTerm is an entry of the sealed index to be.
type IndexTerm struct {
	Name string
	MAC  [16]byte
}

// Segment is encrypted content of some of a batch's records.
type Segment struct {
	ID   [16]byte
	Key  store.KeyID
	Data []byte
}

// Batch is what sealing makes of records that came together.
type Batch struct {
	Records  []Sealed
	Segments []Segment
	keys     []*dataKey // used by Segments
}

// NewKeys returns the keys of the batch whose rows must be written with it.
func (s *Sealer) NewKeys(b *Batch) []store.DataKey {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	var out []store.DataKey
	for _, k := range b.keys {
		if !k.stored {
			out = append(out, k.DataKey)
		}
	}
	return out
}

// Stored notes that a commit with these keys is durable.
func (s *Sealer) Stored(keys []store.DataKey) { s.keys.markStored(keys) }

// Live reports whether all keys of the batch still exist. A batch sealed
// under a key that an erasure destroyed in between must be sealed anew.
func (s *Sealer) Live(b *Batch) bool {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	for _, k := range b.keys {
		if k.destroyed {
			return false
		}
	}
	return true
}

// Seal seals records for a tenant's log: it assigns natural ids, replaces
// unfit names, draws seeds, commits and encrypts. The records are changed
// and belong to the batch. now chooses the key of the day.
func (s *Sealer) Seal(ctx context.Context, tenant, origin string, records []*evidence.Record, now time.Time) (*Batch, error) {
	k, err := s.keys.indexKey(ctx, s.read, tenant)
	if err != nil {
		return nil, err
	}
	b := &Batch{Records: make([]Sealed, len(records))}
	m := &macs{key: k, made: map[macOf]macSum{}}
	w := segmentWriter{sealer: s, tenant: tenant, origin: origin, batch: b, macs: m, seeds: make([]evidence.Seed, len(records))}
	day := now.UTC().Format(time.DateOnly)
	fields := 0
	for i, r := range records {
		if err := r.AssignID(tenant); err != nil {
			return nil, err
		}
		fields += len(r.Sealed)
		rand.Read(w.seeds[i][:])
		b.Records[i] = Sealed{Record: r, Segment: -1, Actor: -1}
		replaceNames(k, r)
		b.Records[i].Index = indexTerms(m, r)
		w.place(day, i)
	}
	hashes := make([]evidence.Commitment, 0, fields)
	for i, r := range records {
		from := len(hashes)
		for _, v := range r.Sealed {
			hashes = append(hashes, evidence.Commitment{Path: v.Path, Hash: evidence.Commit(v.Path, w.seeds[i].Salt(v.Path), v.JSON)})
		}
		b.Records[i].H = hashes[from:len(hashes):len(hashes)]
	}
	return b, w.write(ctx)
}

// replaceNames puts the replacement in the public place of each name that
// is sealed because it is not fit to be public.
func replaceNames(k []byte, r *evidence.Record) {
	for _, v := range r.Sealed {
		f := evidence.Sealed(r.Kind, v.Path)
		if f.UnfitOf == "" {
			continue
		}
		if fact, ok := r.Fact(f.UnfitOf); ok {
			r.PutFact(Replaced(k, &fact, v.JSON))
		}
	}
}

// Replaced returns what stands in public for a name or an array of names
// whose text is sealed: of an array the fit names stay.
func Replaced(k []byte, f *evidence.Fact, text []byte) evidence.Fact {
	name := f.Field.Name
	if f.Field.Type != evidence.TypeNames {
		return evidence.Fact{Field: f.Field, Str: replacement(k, name, evidence.IndexText(text))}
	}
	list := evidence.NamesIn(text)
	for i, s := range list {
		if unfit(s) {
			list[i] = replacement(k, name, s)
		}
	}
	return evidence.Fact{Field: f.Field, List: list}
}

func unfit(s string) bool { return !evidence.FitName(s) || evidence.IsReplacement(s) }

// IndexTerms returns what the sealed index holds of a record's openings.
// get returns the JSON text at a path.
func IndexTerms(k []byte, kind evidence.Kind, paths []string, get func(path string) string) []IndexTerm {
	var out []IndexTerm
	m := &macs{key: k}
	for _, path := range paths {
		out = m.terms(out, evidence.Sealed(kind, path), kind, []byte(get(path)))
	}
	return out
}

// terms appends the terms of one sealed field.
func (m *macs) terms(out []IndexTerm, f *evidence.SealedField, kind evidence.Kind, text []byte) []IndexTerm {
	switch {
	case f.Shape == evidence.ShapeActor:
		if evidence.ActorOf(text) != "" {
			out = append(out, IndexTerm{"actor", m.of("actor", text)})
		}
	case !f.Indexed:
	case f.UnfitOf != "" && evidence.PublicField(kind, f.UnfitOf).Type == evidence.TypeNames:
		for _, n := range evidence.NamesIn(text) {
			if unfit(n) {
				out = append(out, IndexTerm{f.NativeName(), m.of(f.NativeName(), []byte(n))})
			}
		}
	default:
		out = append(out, IndexTerm{f.NativeName(), m.of(f.NativeName(), []byte(evidence.IndexText(text)))})
	}
	return out
}

// IndexName returns the name of the terms that the sealed index has of a field, or "" where it has
// none.
func IndexName(kind evidence.Kind, path string) string {
	switch f := evidence.Sealed(kind, path); {
	case f == nil:
		return ""
	case f.Shape == evidence.ShapeActor:
		return "actor"
	case f.Indexed:
		return f.NativeName()
	}
	return ""
}

func indexTerms(m *macs, r *evidence.Record) []IndexTerm {
	var out []IndexTerm
	for _, v := range r.Sealed {
		out = m.terms(out, evidence.Sealed(r.Kind, v.Path), r.Kind, v.JSON)
	}
	return out
}

// aad returns the associated data of a segment.
func aad(origin string, id [16]byte) []byte {
	b := make([]byte, 0, 128)
	b = append(b, "runledger/seal/v1\x00"...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(origin)))
	b = append(b, origin...)
	return append(b, id[:]...)
}

// ContentMAC returns the 32 hex digits of a record's content MAC.
func (s *Sealer) ContentMAC(ctx context.Context, tenant string, content []byte) (string, error) {
	k, err := s.keys.indexKey(ctx, s.read, tenant)
	if err != nil {
		return "", err
	}
	m := IndexMAC(k, "content", string(content))
	return hex.EncodeToString(m[:]), nil
}
