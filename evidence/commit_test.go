package evidence

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSalt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := Seed(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "seed"))
		path := rapid.OneOf(rapid.String(), rapid.Just(strings.Repeat("p", 200)), rapid.StringN(63, 65, 65)).Draw(t, "path")
		mac := hmac.New(sha256.New, seed[:])
		mac.Write([]byte(path))
		if got, want := seed.Salt(path), Salt(mac.Sum(nil)[:16]); got != want {
			t.Fatalf("salt of %q is %x, want %x", path, got, want)
		}
	})
}

// TestCommit computes the commitment as formats.md section 2 writes it, for
// every size at which the code takes another way.
func TestCommit(t *testing.T) {
	salt := Salt{1, 2, 3, 15: 16}
	for _, path := range []string{"/actor", "", "/" + strings.Repeat("x", 300)} {
		for _, n := range []int{0, 1, 55, 64, 150, 190, 200, 201, 202, 203, 204, 210, 256, 1000, 70_000} {
			value := bytes.Repeat([]byte("v"), n)
			var b bytes.Buffer
			b.WriteString("runledger/field/v1")
			b.WriteByte(0)
			b.Write(salt[:])
			_ = binary.Write(&b, binary.BigEndian, uint16(len(path)))
			b.WriteString(path)
			_ = binary.Write(&b, binary.BigEndian, uint64(n))
			b.Write(value)
			if got, want := Commit(path, salt, value), sha256.Sum256(b.Bytes()); got != want {
				t.Errorf("path of %d bytes, value of %d: %s, want %x", len(path), n, got, want)
			}
		}
	}
}

func TestTreeHashes(t *testing.T) {
	for _, n := range []int{0, 1, 900, 2000, MaxLeafSize} {
		leaf := bytes.Repeat([]byte{7}, n)
		if got, want := LeafHash(leaf), sha256.Sum256(append([]byte{0}, leaf...)); got != want {
			t.Errorf("leaf of %d bytes: %s, want %x", n, got, want)
		}
	}
	a, b := Hash{1}, Hash{2}
	if got, want := NodeHash(a, b), sha256.Sum256(append([]byte{1}, append(a[:], b[:]...)...)); got != want {
		t.Errorf("node %s, want %x", got, want)
	}
}

func TestCommitmentText(t *testing.T) {
	lib := base64.RawURLEncoding.Strict()
	rapid.Check(t, func(t *rapid.T) {
		h := genHash().Draw(t, "hash")
		s := EncodeCommitment(h)
		if s != lib.EncodeToString(h[:]) {
			t.Fatalf("%s is written %s", h, s)
		}
		if got, ok := ParseCommitment(s); !ok || got != h {
			t.Fatalf("%s is read as %s", s, got)
		}
	})
	// Every byte at every place, against the library (which skips line breaks).
	good := EncodeCommitment(sha256.Sum256(nil))
	for i := range good {
		for c := range 256 {
			s := good[:i] + string([]byte{byte(c)}) + good[i+1:]
			want, err := lib.DecodeString(s)
			wantOK := err == nil && c != '\n' && c != '\r'
			got, ok := ParseCommitment(s)
			if ok != wantOK || ok && !bytes.Equal(got[:], want) {
				t.Fatalf("%q: %v, want %v (%v)", s, ok, wantOK, err)
			}
		}
	}
	for _, s := range []string{"", good[1:], good + "=", good + "A", good[:42], "\n" + good} {
		if _, ok := ParseCommitment(s); ok {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestIDText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		if got, ok := ParseID(id.String()); !ok || got != id {
			t.Fatalf("%s is read as %s", id, got)
		}
	})
	good := "01980000-0abc-7def-8123-456789abcdef"
	for i := range good {
		for c := range 256 {
			s := good[:i] + string([]byte{byte(c)}) + good[i+1:]
			want := strings.IndexByte(hexDigits, byte(c)) >= 0
			if good[i] == '-' {
				want = c == '-'
			}
			id, ok := ParseID(s)
			if ok != want || ok && id.String() != s {
				t.Fatalf("%q is read as %s, %v", s, id, ok)
			}
		}
	}
}
