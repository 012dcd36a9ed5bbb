package seal

import (
	"bytes"
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

// Bounds of one segment: reading one record opens a whole segment.
const (
	maxSegmentRecords = 256
	maxSegmentBytes   = 512 << 10
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
	w := segmentWriter{sealer: s, origin: origin, batch: b}
	seeds := make([]evidence.Seed, len(records))
	var raw [evidence.SaltSize]byte
	for i := range seeds {
		rand.Read(raw[:])
		seeds[i] = raw
	}
	day := now.UTC().Format(time.DateOnly)
	for i, r := range records {
		if err := r.AssignID(tenant); err != nil {
			return nil, err
		}
		sealed := &b.Records[i]
		*sealed = Sealed{Record: r, Segment: -1, Actor: -1}
		replaceNames(k, r)
		sealed.Index = indexTerms(k, r)
		sealed.H = make([]evidence.Commitment, len(r.Sealed))
		for j, v := range r.Sealed {
			sealed.H[j] = evidence.Commitment{Path: v.Path, Hash: evidence.Commit(v.Path, seeds[i].Salt(v.Path), v.JSON)}
		}
		if err := w.record(ctx, tenant, day, k, i, seeds[i]); err != nil {
			return nil, err
		}
	}
	return b, w.flushAll()
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
	for _, path := range paths {
		f := evidence.Sealed(kind, path)
		if path == "/actor" {
			if text := get(path); evidence.ActorOf([]byte(text)) != "" {
				out = append(out, IndexTerm{"actor", IndexMAC(k, "actor", text)})
			}
			continue
		}
		if !f.Indexed {
			continue
		}
		name, text := f.NativeName(), get(path)
		if f.UnfitOf != "" && evidence.PublicField(kind, f.UnfitOf).Type == evidence.TypeNames {
			for _, n := range evidence.NamesIn([]byte(text)) {
				if unfit(n) {
					out = append(out, IndexTerm{name, IndexMAC(k, name, n)})
				}
			}
			continue
		}
		out = append(out, IndexTerm{name, IndexMAC(k, name, evidence.IndexText([]byte(text)))})
	}
	return out
}

func indexTerms(k []byte, r *evidence.Record) []IndexTerm {
	// The common record has nothing indexed: an actor of {} and no more.
	var paths []string
	for _, v := range r.Sealed {
		f := evidence.Sealed(r.Kind, v.Path)
		if f.Indexed || (f.Shape == evidence.ShapeActor && len(v.JSON) > len("{}")) {
			paths = append(paths, v.Path)
		}
	}
	if paths == nil {
		return nil
	}
	return IndexTerms(k, r.Kind, paths, func(p string) string { return string(r.SealedJSON(p)) })
}

// aad returns the associated data of a segment.
func aad(origin string, id [16]byte) []byte {
	b := make([]byte, 0, 128)
	b = append(b, "runledger/seal/v1\x00"...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(origin)))
	b = append(b, origin...)
	return append(b, id[:]...)
}

// segmentWriter gathers openings by data key.
type segmentWriter struct {
	sealer *Sealer
	origin string
	batch  *Batch
	open   []*openSegment
}

type openSegment struct {
	key     *dataKey
	text    bytes.Buffer
	records int
	index   int // in batch.Segments
}

func (w *segmentWriter) record(ctx context.Context, tenant, day string, k []byte, i int, seed evidence.Seed) error {
	sealed := &w.batch.Records[i]
	r := sealed.Record
	scope, label := store.ScopeDay, day
	if subject := r.SealedJSON("/subject"); subject != nil {
		scope, label = store.ScopePerson, personLabel(k, evidence.IndexText(subject))
	}
	actor := r.HumanActor()
	actorLabel := ""
	if actor != "" {
		actorLabel = personLabel(k, actor)
	}
	apart := actor != "" && (scope != store.ScopePerson || label != actorLabel)
	rest := Opening{Seed: seed, Fields: make([]Field, 0, len(r.Sealed))}
	if apart {
		// Two openings of one record must not share a seed: whoever may open
		// one segment would have the salts of the other.
		rest.Salts = map[string]evidence.Salt{}
	}
	for _, v := range r.Sealed {
		if apart && v.Path == "/actor" {
			a := Opening{
				Salts:  map[string]evidence.Salt{v.Path: seed.Salt(v.Path)},
				Fields: []Field{{v.Path, string(v.JSON)}},
			}
			at, err := w.put(ctx, tenant, store.ScopePerson, actorLabel, r.ID, &a)
			if err != nil {
				return err
			}
			sealed.Actor = at
			continue
		}
		if apart {
			rest.Salts[v.Path] = seed.Salt(v.Path)
		}
		rest.Fields = append(rest.Fields, Field{v.Path, string(v.JSON)})
	}
	if len(rest.Fields) == 0 {
		return nil
	}
	at, err := w.put(ctx, tenant, scope, label, r.ID, &rest)
	sealed.Segment = at
	return err
}

// put adds an opening to the open segment of a key and returns the
// segment's index in the batch.
func (w *segmentWriter) put(ctx context.Context, tenant, scope, label string, id evidence.ID, o *Opening) (int, error) {
	var seg *openSegment
	for _, s := range w.open {
		if s.key.Scope == scope && s.key.Label == label {
			seg = s
		}
	}
	if seg == nil || seg.records >= maxSegmentRecords || seg.text.Len() >= maxSegmentBytes {
		if seg != nil {
			if err := w.flush(seg); err != nil {
				return 0, err
			}
		}
		key, err := w.sealer.keys.forScope(ctx, tenant, scope, label)
		if err != nil {
			return 0, err
		}
		w.batch.Segments = append(w.batch.Segments, Segment{})
		seg = &openSegment{key: key, index: len(w.batch.Segments) - 1}
		w.open = append(w.open, seg)
		w.batch.keys = append(w.batch.keys, key)
	}
	sep := byte(',')
	if seg.records == 0 {
		sep = '{'
	}
	seg.text.WriteByte(sep)
	seg.text.Write(appendOpening(seg.text.AvailableBuffer(), id, o))
	seg.records++
	return seg.index, nil
}

func (w *segmentWriter) flush(seg *openSegment) error {
	for i, s := range w.open {
		if s == seg {
			w.open = append(w.open[:i], w.open[i+1:]...)
			break
		}
	}
	seg.text.WriteByte('}')
	out, err := encrypt(seg.key, w.origin, seg.text.Bytes())
	w.batch.Segments[seg.index] = out
	return err
}

func (w *segmentWriter) flushAll() error {
	for len(w.open) > 0 {
		if err := w.flush(w.open[0]); err != nil {
			return err
		}
	}
	return nil
}

func encrypt(key *dataKey, origin string, text []byte) (Segment, error) {
	return encryptPacked(key, origin, Compress(nil, text))
}

func encryptPacked(key *dataKey, origin string, packed []byte) (Segment, error) {
	out := Segment{Key: key.ID}
	rand.Read(out.ID[:])
	data, err := key.aead.Encrypt(packed, aad(origin, out.ID))
	if err != nil {
		return out, fmt.Errorf("encrypt segment: %w", err)
	}
	out.Data = data
	return out, nil
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
