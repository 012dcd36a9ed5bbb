package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// keyStore is as much of a store as a sealer reads.
type keyStore struct {
	store.Reader
	keys map[string][]store.DataKey // by tenant
}

func (s *keyStore) DataKeys(_ context.Context, tenant, scope, label string) ([]store.DataKey, error) {
	var out []store.DataKey
	for _, k := range s.keys[tenant] {
		if scope == "" || (k.Scope == scope && k.Label == label) {
			out = append(out, k)
		}
	}
	return out, nil
}

func (s *keyStore) DataKey(_ context.Context, tenant string, id store.KeyID) (store.DataKey, error) {
	for _, k := range s.keys[tenant] {
		if k.ID == id {
			return k, nil
		}
	}
	return store.DataKey{}, evidence.ErrNotFound
}

const (
	origin  = "test.example/0123456789ab"
	origin2 = "test.example/ba9876543210"
	tenant  = "acme"
)

var day = time.Date(2026, 11, 23, 23, 59, 0, 0, time.UTC)

type fixture struct {
	*Sealer
	*keyStore
	path string
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{keyStore: &keyStore{keys: map[string][]store.DataKey{}}, path: filepath.Join(t.TempDir(), "master.json")}
	master, err := OpenMaster(f.path, true)
	if err != nil {
		t.Fatal(err)
	}
	f.Sealer = New(f.keyStore, master)
	for _, name := range []string{tenant, "globex"} {
		keys, err := f.NewTenantKeys(name)
		if err != nil {
			t.Fatal(err)
		}
		f.keyStore.keys[name] = keys
	}
	return f
}

// again returns a sealer over the same keys that knows none of them yet.
func (f *fixture) again(t testing.TB) *Sealer {
	t.Helper()
	master, err := OpenMaster(f.path, false)
	if err != nil {
		t.Fatal(err)
	}
	return New(f.keyStore, master)
}

// seal seals records and stores the keys, as a commit does.
func (f *fixture) seal(t testing.TB, records ...*evidence.Record) *Batch {
	t.Helper()
	b, err := f.Seal(context.Background(), tenant, origin, records, day)
	if err != nil {
		t.Fatal(err)
	}
	keys := f.NewKeys(b)
	f.keyStore.keys[tenant] = append(f.keyStore.keys[tenant], keys...)
	f.Stored(keys)
	return b
}

func (f *fixture) raw(t testing.TB, id store.KeyID) []byte {
	t.Helper()
	k, err := f.DataKey(context.Background(), tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.Sealer.keys.unwrap(tenant, k)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func stored(b *Batch, at int) store.SealedSegment {
	s := b.Segments[at]
	return store.SealedSegment{SegmentRef: store.SegmentRef{LogNo: 1, No: 16}, ID: s.ID, Key: s.Key, Data: s.Data}
}

func record(t testing.TB, span int, more string) *evidence.Record {
	t.Helper()
	r, err := evidence.ParseNative(fmt.Appendf(nil, `{"kind":"trace_step","occurred_at":"2026-11-23T15:00:00Z","run_id":"run","trace_id":"%032x","span_id":"%016x",`+
		`"skill_name":"s","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"T"%s}`, 1, span, more))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// xaes is XAES-256-GCM as C2SP writes it down, from AES and AES-GCM alone.
func xaes(key, nonce []byte) (cipher.AEAD, []byte) {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	// K1 of CMAC: E_K(0), doubled in GF(2^128).
	l := make([]byte, 16)
	block.Encrypt(l, l)
	k1 := make([]byte, 16)
	carry := byte(0)
	for i := 15; i >= 0; i-- {
		k1[i] = l[i]<<1 | carry
		carry = l[i] >> 7
	}
	k1[15] ^= carry * 0x87
	var derived []byte
	for i := byte(1); i <= 2; i++ {
		m := append([]byte{0, i, 'X', 0}, nonce[:12]...)
		for j := range m {
			m[j] ^= k1[j]
		}
		block.Encrypt(m, m)
		derived = append(derived, m...)
	}
	inner, err := aes.NewCipher(derived)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(inner)
	if err != nil {
		panic(err)
	}
	return gcm, nonce[12:24]
}

// TestXAES checks the independent computation against the vectors of the
// C2SP specification, and the cipher in use against the computation.
func TestXAES(t *testing.T) {
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	for _, v := range []struct {
		key  byte
		aad  string
		want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		key := bytes.Repeat([]byte{v.key}, 32)
		gcm, n := xaes(key, nonce)
		if got := hex.EncodeToString(gcm.Seal(nil, n, []byte("XAES-256-GCM"), []byte(v.aad))); got != v.want {
			t.Errorf("key %d: %s", v.key, got)
		}
		a, err := newAEAD(key)
		if err != nil {
			t.Fatal(err)
		}
		data, err := hex.DecodeString(v.want)
		if err != nil {
			t.Fatal(err)
		}
		text, err := a.Decrypt(append(bytes.Clone(nonce), data...), []byte(v.aad))
		if err != nil || string(text) != "XAES-256-GCM" {
			t.Errorf("key %d: %q, %v", v.key, text, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key")
		text, ad := rapid.SliceOf(rapid.Byte()).Draw(t, "text"), rapid.SliceOf(rapid.Byte()).Draw(t, "aad")
		a, err := newAEAD(key)
		if err != nil {
			t.Fatal(err)
		}
		data, err := a.Encrypt(text, ad)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) != 24+len(text)+16 {
			t.Fatalf("%d bytes of %d", len(data), len(text))
		}
		gcm, n := xaes(key, data[:24])
		got, err := gcm.Open(nil, n, data[24:], ad)
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%x, %v", got, err)
		}
	})
}

// jsonSegment is a segment as formats.md section 3 has it, read by
// encoding/json.
type jsonSegment map[string]struct {
	Seed   string            `json:"seed"`
	Salts  map[string]string `json:"salts"`
	Fields map[string]string `json:"fields"`
}

// TestSegmentBytes takes a segment apart with nothing of this package: the
// cipher, the associated data, zstd, the JSON, the salts, the commitments.
func TestSegmentBytes(t *testing.T) {
	f := newFixture(t)
	r := record(t, 1, `,"params":{"big": 12345678901234567890.10, "e":1E5},"prompt":"tab\there","human_actor_id":"ada","outcome_code":"ünfit"`)
	plain := record(t, 2, `,"prompt":"p"`)
	b := f.seal(t, r, plain)
	texts := map[string]string{"/params": `{"big": 12345678901234567890.10, "e":1E5}`, "/prompt": `"tab\there"`, "/outcome_code": `"ünfit"`}
	open := func(at int) jsonSegment {
		t.Helper()
		seg := b.Segments[at]
		ad := []byte("runledger/seal/v1\x00")
		ad = binary.BigEndian.AppendUint16(ad, uint16(len(origin)))
		ad = append(append(ad, origin...), seg.ID[:]...)
		gcm, nonce := xaes(f.raw(t, seg.Key), seg.Data[:24])
		packed, err := gcm.Open(nil, nonce, seg.Data[24:], ad)
		if err != nil {
			t.Fatal(err)
		}
		d, err := zstd.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		var out jsonSegment
		dec := json.NewDecoder(d)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	commit := func(path string, salt []byte, value string) evidence.Hash {
		h := sha256.New()
		h.Write([]byte("runledger/field/v1\x00"))
		h.Write(salt)
		binary.Write(h, binary.BigEndian, uint16(len(path)))
		h.Write([]byte(path))
		binary.Write(h, binary.BigEndian, uint64(len(value)))
		h.Write([]byte(value))
		return evidence.Hash(h.Sum(nil))
	}
	unbase64 := func(s string) []byte {
		t.Helper()
		raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil || len(raw) != 16 {
			t.Fatalf("%q: %v", s, err)
		}
		return raw
	}
	sealed := b.Records[0]
	if sealed.Actor < 0 || sealed.Segment < 0 || sealed.Actor == sealed.Segment {
		t.Fatalf("%+v", sealed)
	}
	rest, actor := open(sealed.Segment)[r.ID.String()], open(sealed.Actor)[r.ID.String()]
	if !maps.Equal(rest.Fields, texts) {
		t.Error(cmp.Diff(texts, rest.Fields))
	}
	if want := map[string]string{"/actor": `{"human_actor_id":"ada"}`}; !maps.Equal(actor.Fields, want) {
		t.Error(cmp.Diff(want, actor.Fields))
	}
	// Two segments of one record share no seed.
	if rest.Seed != "" || actor.Seed != "" || len(rest.Salts) != 3 || len(actor.Salts) != 1 {
		t.Errorf("%+v, %+v", rest, actor)
	}
	for _, o := range []struct {
		fields, salts map[string]string
	}{{rest.Fields, rest.Salts}, {actor.Fields, actor.Salts}} {
		for path, text := range o.fields {
			i := slices.IndexFunc(sealed.H, func(c evidence.Commitment) bool { return c.Path == path })
			if i < 0 || sealed.H[i].Hash != commit(path, unbase64(o.salts[path]), text) {
				t.Errorf("%s does not open its commitment", path)
			}
		}
	}
	// A record with no actor of its own has a seed.
	o := open(b.Records[1].Segment)[plain.ID.String()]
	if o.Salts != nil || b.Records[1].Actor != -1 {
		t.Errorf("%+v", o)
	}
	for _, c := range b.Records[1].H {
		m := hmac.New(sha256.New, unbase64(o.Seed))
		m.Write([]byte(c.Path))
		if c.Hash != commit(c.Path, m.Sum(nil)[:16], o.Fields[c.Path]) {
			t.Errorf("%s does not open its commitment", c.Path)
		}
	}
	// The public place of the unfit name.
	k, err := f.IndexKey(context.Background(), f.keyStore, tenant)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Text("outcome_code"); got != "h:"+hex.EncodeToString(mac(k, "outcome_code", "ünfit"))[:16] {
		t.Errorf("replaced by %s", got)
	}
}

// mac is that of formats.md section 3.
func mac(k []byte, name, text string) []byte {
	m := hmac.New(sha256.New, k)
	m.Write([]byte(name + "\x00" + text))
	return m.Sum(nil)[:16]
}

func TestIndexTerms(t *testing.T) {
	f := newFixture(t)
	k, err := f.IndexKey(context.Background(), f.keyStore, tenant)
	if err != nil || len(k) != 32 {
		t.Fatal(err)
	}
	r := record(t, 1, `,"prompt":"p","human_actor_id":"ada","subject":"s\u00fce","outcome_code":"n\u00f6","flags":["fit","n\u00f6t fit","h:0123456789abcdef"]`)
	b := f.seal(t, r, record(t, 2, ""))
	var got []string
	for _, term := range b.Records[0].Index {
		got = append(got, term.Name+" "+hex.EncodeToString(term.MAC[:]))
	}
	var want []string
	for _, w := range [][2]string{{"actor", `{"human_actor_id":"ada"}`}, {"subject", "süe"}, {"outcome_code", "nö"}, {"flags", "nöt fit"}, {"flags", "h:0123456789abcdef"}} {
		want = append(want, w[0]+" "+hex.EncodeToString(mac(k, w[0], w[1])))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if b.Records[1].Index != nil {
		t.Errorf("a record with nothing to find: %+v", b.Records[1].Index)
	}
	flags, _ := r.Fact("flags")
	if len(flags.List) != 3 || flags.List[0] != "fit" || flags.List[1] != "h:"+hex.EncodeToString(mac(k, "flags", "nöt fit"))[:16] || !evidence.IsReplacement(flags.List[2]) {
		t.Errorf("%v", flags.List)
	}
	found, err := f.FindMAC(context.Background(), tenant, "subject", "süe")
	if err != nil || !bytes.Equal(found[:], mac(k, "subject", "süe")) {
		t.Errorf("%x, %v", found, err)
	}
	text, err := f.ContentMAC(context.Background(), tenant, []byte("c\x00d"))
	if err != nil || text != hex.EncodeToString(mac(k, "content", "c\x00d")) {
		t.Errorf("%s, %v", text, err)
	}
	other, err := f.FindMAC(context.Background(), "globex", "subject", "süe")
	if err != nil || other == found {
		t.Errorf("two tenants have the same MACs: %v", err)
	}
	if _, err := f.FindMAC(context.Background(), "nobody", "subject", "x"); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("a tenant that is not there: %v", err)
	}
}

func TestScopes(t *testing.T) {
	f := newFixture(t)
	scopes := func(r Sealed, b *Batch) (out [2]string) {
		for i, at := range []int{r.Segment, r.Actor} {
			if at < 0 {
				continue
			}
			scope, label, err := f.KeyScope(context.Background(), f.keyStore, tenant, b.Segments[at].Key)
			if err != nil {
				t.Fatal(err)
			}
			out[i] = scope + " " + label
		}
		return out
	}
	k, err := f.IndexKey(context.Background(), f.keyStore, tenant)
	if err != nil {
		t.Fatal(err)
	}
	person := func(who string) string { return "person " + hex.EncodeToString(mac(k, "person", who)) }
	b := f.seal(t,
		record(t, 1, ""),
		record(t, 2, `,"human_actor_id":"ada"`),
		record(t, 3, `,"human_actor_id":"ada","prompt":"p"`),
		record(t, 4, `,"subject":"sue","prompt":"p"`),
		record(t, 5, `,"subject":"sue","human_actor_id":"ada"`),
		record(t, 6, `,"subject":"ada","human_actor_id":"ada"`),
		record(t, 7, `,"subject":"d\u0061y","prompt":"p"`),
	)
	const today = "day 2026-11-23"
	for i, want := range [][2]string{
		{today, ""},
		{"", person("ada")}, // nothing is left beside the actor
		{today, person("ada")},
		{person("sue"), ""},
		{person("sue"), person("ada")},
		{person("ada"), ""},
		{person("day"), ""}, // the text, not its escapes
	} {
		if got := scopes(b.Records[i], b); got != want {
			t.Errorf("record %d: %q, not %q", i+1, got, want)
		}
	}
	ids := map[store.KeyID]bool{}
	for _, s := range b.Segments {
		ids[s.Key] = true
	}
	if len(ids) != 4 {
		t.Errorf("%d keys", len(ids))
	}
	// The label of a person's key tells nobody who it is.
	for _, key := range f.keyStore.keys[tenant] {
		if strings.Contains(key.Label, "sue") || strings.Contains(key.Label, hex.EncodeToString([]byte("ada"))) {
			t.Errorf("label %s", key.Label)
		}
	}
	// The next day has another key; the same day the same.
	next, err := f.Seal(context.Background(), tenant, origin, []*evidence.Record{record(t, 8, "")}, day.Add(2*time.Minute))
	if err != nil || next.Segments[0].Key == b.Segments[b.Records[0].Segment].Key {
		t.Errorf("%v", err)
	}
	if same := f.seal(t, record(t, 9, "")); same.Segments[0].Key != b.Segments[b.Records[0].Segment].Key {
		t.Error("two keys on one day")
	}
	if _, err := f.PersonKeys(context.Background(), tenant, "ada"); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	b := f.seal(t, record(t, 1, `,"prompt":"p"`), record(t, 2, `,"subject":"sue"`))
	good, other := stored(b, 0), stored(b, 1)
	for _, warm := range []bool{true, false} {
		s := f.Sealer
		if !warm {
			s = f.again(t)
		}
		open := func(tenant, origin string, seg store.SealedSegment) error {
			if !warm {
				s = f.again(t)
			}
			_, err := s.Open(ctx, f.keyStore, tenant, origin, seg)
			return err
		}
		if err := open(tenant, origin, good); err != nil {
			t.Fatal(err)
		}
		alter := func(fn func(*store.SealedSegment)) store.SealedSegment {
			s := good
			s.Data = bytes.Clone(good.Data)
			fn(&s)
			return s
		}
		for name, tc := range map[string]struct {
			tenant, origin string
			seg            store.SealedSegment
			want           error
		}{
			"another log":         {tenant, origin2, good, evidence.ErrTampered},
			"another id":          {tenant, origin, alter(func(s *store.SealedSegment) { s.ID[3] ^= 1 }), evidence.ErrTampered},
			"another's id":        {tenant, origin, alter(func(s *store.SealedSegment) { s.ID = other.ID }), evidence.ErrTampered},
			"another key":         {tenant, origin, alter(func(s *store.SealedSegment) { s.Key = other.Key }), evidence.ErrTampered},
			"a key that is gone":  {tenant, origin, alter(func(s *store.SealedSegment) { s.Key[0] ^= 1 }), evidence.ErrNotFound},
			"another tenant":      {"globex", origin, good, evidence.ErrNotFound},
			"a byte of the nonce": {tenant, origin, alter(func(s *store.SealedSegment) { s.Data[0] ^= 1 }), evidence.ErrTampered},
			"a byte of the text":  {tenant, origin, alter(func(s *store.SealedSegment) { s.Data[30] ^= 1 }), evidence.ErrTampered},
			"a byte of the tag":   {tenant, origin, alter(func(s *store.SealedSegment) { s.Data[len(s.Data)-1] ^= 1 }), evidence.ErrTampered},
			"cut short":           {tenant, origin, alter(func(s *store.SealedSegment) { s.Data = s.Data[:len(s.Data)-1] }), evidence.ErrTampered},
			"nothing":             {tenant, origin, alter(func(s *store.SealedSegment) { s.Data = nil }), evidence.ErrTampered},
			"another's data":      {tenant, origin, alter(func(s *store.SealedSegment) { s.Data = other.Data }), evidence.ErrTampered},
		} {
			if err := open(tc.tenant, tc.origin, tc.seg); !errors.Is(err, tc.want) {
				t.Errorf("%s (warm %v): %v", name, warm, err)
			}
		}
		// The number of a segment is not part of what is encrypted: where a
		// row points is found by the ids in it.
		if err := open(tenant, origin, alter(func(s *store.SealedSegment) { s.No = 999 })); err != nil {
			t.Error(err)
		}
	}
	// Wrapped keys are bound to all that they are.
	k := f.keyStore.keys[tenant][1]
	for name, fn := range map[string]func(*store.DataKey){
		"scope": func(k *store.DataKey) { k.Scope = store.ScopeIndex },
		"label": func(k *store.DataKey) { k.Label += "x" },
		"id":    func(k *store.DataKey) { k.ID[0] ^= 1 },
		"bytes": func(k *store.DataKey) { k.Wrapped = bytes.Clone(k.Wrapped); k.Wrapped[len(k.Wrapped)-1] ^= 1 },
	} {
		bad := k
		fn(&bad)
		if err := f.CheckKey(tenant, bad); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("key with another %s: %v", name, err)
		}
	}
	if err := f.CheckKey("globex", k); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("key of another tenant: %v", err)
	}
	if err := f.CheckKey(tenant, k); err != nil {
		t.Error(err)
	}
	// Parts must not slide into one another: tenant, scope and label are
	// joined by NUL, which none of them may have.
	if bytes.Equal(keyAAD("a", store.DataKey{Scope: "b", Label: "c"}), keyAAD("ab", store.DataKey{Scope: "", Label: "c"})) {
		t.Error("two keys have the same associated data")
	}
	wrapped, err := f.Wrap([]byte("seed"), origin)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Unwrap(wrapped, origin); err != nil || string(got) != "seed" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := f.Unwrap(wrapped, origin2); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("signing key of another log: %v", err)
	}
}

func TestSegmentsAreBounded(t *testing.T) {
	f := newFixture(t)
	var records []*evidence.Record
	for i := range 600 {
		records = append(records, record(t, i+1, `,"prompt":"p"`))
	}
	big := `,"prompt":"` + strings.Repeat("x", 300<<10) + `"`
	for i := range 4 {
		records = append(records, record(t, 1000+i, big))
	}
	b := f.seal(t, records...)
	total := 0
	for i := range b.Segments {
		openings, err := f.Open(context.Background(), f.keyStore, tenant, origin, stored(b, i))
		if err != nil {
			t.Fatal(err)
		}
		if len(openings) > maxSegmentRecords {
			t.Errorf("segment %d holds %d records", i, len(openings))
		}
		total += len(openings)
		for j, r := range b.Records {
			if (openings[r.Record.ID] != nil) != (r.Segment == i) {
				t.Fatalf("record %d is said to be in segment %d", j, r.Segment)
			}
		}
	}
	if total != len(records) || len(b.Segments) != 3+1 {
		t.Errorf("%d openings in %d segments", total, len(b.Segments))
	}
	seeds := map[evidence.Hash]bool{}
	for _, r := range b.Records {
		for _, h := range r.H {
			if seeds[h.Hash] {
				t.Fatal("two fields have the same commitment")
			}
			seeds[h.Hash] = true
		}
	}
}

func TestMaster(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.json")
	if _, err := OpenMaster(path, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	a, err := OpenMaster(path, true)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	b, err := OpenMaster(path, true)
	if err != nil {
		t.Fatal(err)
	}
	data, err := a.Encrypt([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Decrypt(data, nil); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMaster(path, true); err == nil {
		t.Error("an empty keyset opens")
	}
}

func TestWithout(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	a, c := record(t, 1, `,"prompt":"p","params":1`), record(t, 2, `,"prompt":"q"`)
	b := f.seal(t, a, c)
	seg := stored(b, 0)
	drop := func(id evidence.ID, paths ...string) func(evidence.ID, string) bool {
		return func(i evidence.ID, p string) bool { return i == id && (len(paths) == 0 || slices.Contains(paths, p)) }
	}
	before, err := f.Open(ctx, f.keyStore, tenant, origin, seg)
	if err != nil {
		t.Fatal(err)
	}
	for _, rekey := range []bool{false, true} {
		out, err := f.Without(ctx, tenant, origin, seg, drop(a.ID, "/prompt"), rekey)
		if err != nil {
			t.Fatal(err)
		}
		if (out.Key != seg.Key) != rekey || out.ID == seg.ID || out.SegmentRef != seg.SegmentRef {
			t.Errorf("rekey %v: %+v", rekey, out)
		}
		if k, fresh := f.NewKey(out.Key); fresh != rekey {
			t.Errorf("rekey %v: new key %v", rekey, fresh)
		} else if fresh {
			f.keyStore.keys[tenant] = append(f.keyStore.keys[tenant], k)
		}
		after, err := f.again(t).Open(ctx, f.keyStore, tenant, origin, *out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before[c.ID], after[c.ID]); diff != "" {
			t.Errorf("the other record: %s", diff)
		}
		o := after[a.ID]
		if _, ok := o.Field("/prompt"); ok || len(o.Fields) != 2 || o.Seed != (evidence.Seed{}) || len(o.Salts) != 2 {
			t.Errorf("%+v", o)
		}
		for _, path := range []string{"/actor", "/params"} {
			if o.Salt(path) != before[a.ID].Salt(path) {
				t.Errorf("another salt of %s", path)
			}
		}
		leaf := &evidence.Leaf{H: b.Records[0].H}
		if path, ok := o.Matches(leaf); !ok {
			t.Errorf("%s does not match", path)
		}
	}
	if out, err := f.Without(ctx, tenant, origin, seg, func(evidence.ID, string) bool { return true }, false); err != nil || out != nil {
		t.Errorf("of nothing: %v, %v", out, err)
	}
	person := f.seal(t, record(t, 3, `,"subject":"sue"`))
	// A destroyed key: what was sealed under it meanwhile must be sealed anew.
	if !f.Live(person) {
		t.Error("not live")
	}
	f.Destroyed([]store.KeyID{person.Segments[0].Key})
	if f.Live(person) {
		t.Error("a batch under a destroyed key is live")
	}
}

func drawOpenings(t *rapid.T) map[evidence.ID]*Opening {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", `"`, `\`, "\u2028", "\x00", "💥", `{"a":"\u00e9"}`, "</script>"}))
	path := rapid.SampledFrom([]string{"/actor", "/params", "/prompt", "/attrs", "/subject", "/skill_name"})
	array := func(name string) (out [16]byte) {
		copy(out[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
		return out
	}
	out := map[evidence.ID]*Opening{}
	for range rapid.IntRange(0, 5).Draw(t, "records") {
		o := &Opening{}
		paths := rapid.SliceOfDistinct(path, rapid.ID).Draw(t, "paths")
		slices.Sort(paths)
		spelled := rapid.Bool().Draw(t, "salts")
		if spelled {
			o.Salts = map[string]evidence.Salt{}
		} else {
			o.Seed = array("seed")
		}
		for _, p := range paths {
			o.Fields = append(o.Fields, Field{p, strings.ToValidUTF8(text.Draw(t, "text"), "?")})
			if spelled {
				o.Salts[p] = array("salt")
			}
		}
		out[array("id")] = o
	}
	return out
}

func encode(openings map[evidence.ID]*Opening) []byte {
	text := []byte{'{'}
	for id, o := range openings {
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = appendOpening(text, id, o)
	}
	return append(text, '}')
}

// TestRoundTrip: what is written is read again, the texts byte for byte, and
// any JSON reader reads the same.
func TestRoundTrip(t *testing.T) {
	f := newFixture(t)
	key, err := f.Sealer.keys.forScope(context.Background(), tenant, store.ScopeDay, "2026-11-23")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := drawOpenings(t)
		text := encode(want)
		got, err := decodeSegment(text)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		var plain jsonSegment
		if err := json.Unmarshal(text, &plain); err != nil || len(plain) != len(want) {
			t.Fatalf("%v: %s", err, text)
		}
		for id, o := range want {
			for _, fl := range o.Fields {
				if plain[id.String()].Fields[fl.Path] != fl.JSON {
					t.Fatalf("%q is not %q", plain[id.String()].Fields[fl.Path], fl.JSON)
				}
			}
		}
		seg, err := encrypt(key, origin, text)
		if err != nil {
			t.Fatal(err)
		}
		again, err := f.Open(context.Background(), f.keyStore, tenant, origin, store.SealedSegment{ID: seg.ID, Key: seg.Key, Data: seg.Data})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	const id = "00000000-0000-4000-8000-000000000000"
	const seed = "AAAAAAAAAAAAAAAAAAAAAA"
	for _, text := range []string{
		"", "{", "[]", "null", `{"x":{}}`, `{"` + id + `":1}`, `{"` + id + `":{"seed":1}}`,
		`{"` + id + `":{"seed":"AAAA"}}`, `{"` + id + `":{"seed":"` + seed[:21] + `B"}}`, `{"` + id + `":{"seed":"` + seed + `=="}}`,
		`{"` + id + `":{"seed":"AAAA\n` + seed[4:] + `"}}`, `{"` + id + `":{"fields":{"/a":1}}}`, `{"` + id + `":{"more":1}}`,
		`{"` + id + `":{"fields":{"/a":"1","/a":"2"}}}`, `{"` + id + `":{},"` + id + `":{}}`, `{} {}`, `{}x`, `{"` + strings.ToUpper(id[:8]) + id[8:] + `A":{}}`,
		"{\"" + id + "\":{\"fields\":{\"/a\":\"\xff\"}}}",
	} {
		if got, err := decodeSegment([]byte(text)); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func TestDecompressIsBounded(t *testing.T) {
	if _, err := DecompressLeaves([]byte("no zstd")); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("%v", err)
	}
	text := bytes.Repeat([]byte("abc"), 1000)
	got, err := DecompressLeaves(Compress(nil, text))
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("%v", err)
	}
	// A small frame that unpacks to more than any segment can be.
	var bomb bytes.Buffer
	w, err := zstd.NewWriter(&bomb, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 256*evidence.MaxLeafSize>>20 + 2 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := DecompressLeaves(bomb.Bytes()); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("a bomb of %d bytes: %v", bomb.Len(), err)
	}
}

// FuzzDecodeSegment: the decoder never panics, and what it reads is written
// and read again as the same.
func FuzzDecodeSegment(f *testing.F) {
	const id = "00000000-0000-4000-8000-000000000000"
	f.Add([]byte(`{"` + id + `":{"seed":"AAAAAAAAAAAAAAAAAAAAAA","fields":{"/actor":"{}","/prompt":"\"p\""}}}`))
	f.Add([]byte(`{"` + id + `":{"salts":{"/actor":"AAAAAAAAAAAAAAAAAAAAAA"},"fields":{"/actor":"{}"}}}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"` + id + `":{"fields":{"/a":"\ud800"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := decodeSegment(data)
		if err != nil {
			if !errors.Is(err, evidence.ErrTampered) {
				t.Fatal(err)
			}
			return
		}
		for _, o := range first {
			for _, fl := range o.Fields {
				if o.Salts != nil {
					if _, ok := o.Salts[fl.Path]; !ok {
						return // no writer makes it
					}
				}
				if strings.ContainsFunc(fl.Path, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' || r > 0x7e }) {
					return // nor this: paths need no escapes
				}
			}
			if len(o.Salts) > len(o.Fields) {
				return
			}
			if o.Salts != nil {
				o.Seed = evidence.Seed{}
			}
		}
		second, err := decodeSegment(encode(first))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestRekey: the content is the same, byte for byte, under another key of the label asked for.
func TestRekey(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	b := f.seal(t, record(t, 1, `,"prompt":"p"`), record(t, 2, `,"params":1,"subject":"sue"`))
	for i := range b.Segments {
		seg := stored(b, i)
		scope, label, err := f.KeyScope(ctx, f.keyStore, tenant, seg.Key)
		if err != nil {
			t.Fatal(err)
		}
		before, err := f.Open(ctx, f.keyStore, tenant, origin, seg)
		if err != nil {
			t.Fatal(err)
		}
		var first store.KeyID
		for round, want := range []string{"", "kept 2026", "kept 2026"} {
			out, err := f.Rekey(ctx, tenant, origin, seg, want)
			if err != nil {
				t.Fatal(err)
			}
			k, fresh := f.NewKey(out.Key)
			if fresh != (round < 2) || out.Key == seg.Key || out.ID == seg.ID || out.SegmentRef != seg.SegmentRef || round == 2 && out.Key != first {
				t.Errorf("round %d: %v %+v", round, fresh, out)
			}
			if fresh {
				f.keyStore.keys[tenant] = append(f.keyStore.keys[tenant], k)
				f.Stored([]store.DataKey{k})
			}
			first = out.Key
			if s, l, err := f.KeyScope(ctx, f.keyStore, tenant, out.Key); err != nil || s != scope || l != or(want, label) {
				t.Errorf("key of scope %s, label %s, %v", s, l, err)
			}
			after, err := f.again(t).Open(ctx, f.keyStore, tenant, origin, *out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Error(diff)
			}
		}
	}
	// What comes now stands under the newest key of its label.
	again := f.seal(t, record(t, 3, `,"subject":"sue"`))
	for _, k := range []store.KeyID{b.Segments[0].Key, b.Segments[1].Key} {
		if again.Segments[0].Key == k {
			t.Error("a new segment stands under a key that is to go")
		}
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// TestWrapSecret: a secret opens under its own name alone.
func TestWrapSecret(t *testing.T) {
	f := newFixture(t)
	wrapped, err := f.WrapSecret("a", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.UnwrapSecret("a", wrapped); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := f.UnwrapSecret("b", wrapped); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("under another name: %v", err)
	}
}
