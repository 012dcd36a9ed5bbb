package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
)

// vectors are testdata/vectors/ledger-v1.json, computed by an independent
// program. Trees, proofs and checkpoints in it are tested in internal/c2sp.
type vectors struct {
	Origin      string   `json:"origin"`
	Leaves      []string `json:"leaves"`
	LeafHashes  []string `json:"leaf_hashes"`
	Commitments []struct {
		Path       string `json:"path"`
		Salt       string `json:"salt"`
		Value      string `json:"value_text"`
		Commitment string `json:"commitment"`
	} `json:"commitments"`
	Salts []struct {
		Seed string `json:"seed"`
		Path string `json:"path"`
		Salt string `json:"salt"`
	} `json:"salts"`
	NaturalIDs []struct {
		Tenant string `json:"tenant"`
		Kind   string `json:"kind"`
		Key    string `json:"key"`
		ID     string `json:"id"`
	} `json:"natural_ids"`
	BadLeaves []struct {
		Why  string `json:"why"`
		Leaf string `json:"leaf"`
	} `json:"bad_leaves"`
}

func loadVectors(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile("../testdata/vectors/ledger-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Leaves) == 0 || len(v.Commitments) == 0 || len(v.Salts) == 0 || len(v.NaturalIDs) == 0 || len(v.BadLeaves) == 0 {
		t.Fatal("vectors are incomplete")
	}
	return v
}

func decode16(t *testing.T, s string) (out [16]byte) {
	t.Helper()
	b, err := b64.DecodeString(s)
	if err != nil || len(b) != len(out) {
		t.Fatalf("%q is not 16 bytes of base64url", s)
	}
	return [16]byte(b)
}

func TestVectorCommitments(t *testing.T) {
	for _, v := range loadVectors(t).Commitments {
		if err := CheckJSON([]byte(v.Value)); err != nil {
			t.Errorf("%s: %v", v.Path, err)
		}
		got := Commit(v.Path, decode16(t, v.Salt), []byte(v.Value))
		if s := EncodeCommitment(got); s != v.Commitment {
			t.Errorf("%s: commitment %s, want %s", v.Path, s, v.Commitment)
		}
		if back, ok := ParseCommitment(v.Commitment); !ok || back != got {
			t.Errorf("%s: ParseCommitment(%s) = %s, %v", v.Path, v.Commitment, back, ok)
		}
	}
}

func TestVectorSalts(t *testing.T) {
	for _, v := range loadVectors(t).Salts {
		if got, want := Seed(decode16(t, v.Seed)).Salt(v.Path), Salt(decode16(t, v.Salt)); got != want {
			t.Errorf("%s: salt %x, want %x", v.Path, got, want)
		}
	}
}

func TestVectorNaturalIDs(t *testing.T) {
	for _, v := range loadVectors(t).NaturalIDs {
		got := NaturalID(v.Tenant, ParseKind(v.Kind), v.Key)
		if got.String() != v.ID {
			t.Errorf("%s %s: id %s, want %s", v.Kind, v.Key, got, v.ID)
		}
		if got.Version() != 8 {
			t.Errorf("%s: version %d, want 8", got, got.Version())
		}
	}
}

func TestVectorLeaves(t *testing.T) {
	v := loadVectors(t)
	var l Leaf // reused, as the verifier does
	for i, text := range v.Leaves {
		if err := l.Parse([]byte(text)); err != nil {
			t.Errorf("leaf %d: %v", i, err)
			continue
		}
		if l.Log != v.Origin || l.Seq != int64(i) {
			t.Errorf("leaf %d is %s %d", i, l.Log, l.Seq)
		}
		again, err := l.Append(nil)
		if err != nil || string(again) != text {
			t.Errorf("leaf %d written again is\n%s, %v; want\n%s", i, again, err, text)
		}
		if got := LeafHash([]byte(text)).String(); got != v.LeafHashes[i] {
			t.Errorf("leaf %d: hash %s, want %s", i, got, v.LeafHashes[i])
		}
		plain := sha256.Sum256(slices.Concat([]byte{0}, []byte(text)))
		if hex.EncodeToString(plain[:]) != v.LeafHashes[i] {
			t.Errorf("leaf %d: its hash is not SHA-256(0x00 || leaf)", i)
		}
	}
}

func TestVectorBadLeaves(t *testing.T) {
	for _, v := range loadVectors(t).BadLeaves {
		t.Run(v.Why, func(t *testing.T) {
			_, err := ParseLeaf([]byte(v.Leaf))
			var le *LeafError
			if !errors.As(err, &le) || !errors.Is(err, ErrInvalid) {
				t.Errorf("ParseLeaf = %v, want a *LeafError", err)
			}
		})
	}
}
