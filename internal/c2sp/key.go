package c2sp

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"
	"golang.org/x/mod/sumdb/note"
)

// Alg is the signature type byte of a key, C2SP signed-note section
// "Signature types".
type Alg byte

// The types that runledger knows.
const (
	Ed25519     Alg = 0x01 // a log's own key
	Cosignature Alg = 0x04 // a witness: timestamped Ed25519, cosignature/v1
)

// VKey is a verifier key: who signs, how, and the public key. Values are
// comparable; the zero value is no key.
type VKey struct {
	Name   string // of a log's key: its origin
	Alg    Alg
	Public [ed25519.PublicKeySize]byte
}

// ID returns SHA-256(name || 0x0A || type || public key)[:4], big endian.
func (k VKey) ID() uint32 {
	b := make([]byte, 0, len(k.Name)+2+len(k.Public))
	b = append(b, k.Name...)
	b = append(b, '\n', byte(k.Alg))
	b = append(b, k.Public[:]...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint32(sum[:])
}

// String returns name+hex8(key id)+base64(type || key), C2SP signed-note
// section "Verifier keys".
func (k VKey) String() string {
	key := append([]byte{byte(k.Alg)}, k.Public[:]...)
	return fmt.Sprintf("%s+%08x+%s", k.Name, k.ID(), base64.StdEncoding.EncodeToString(key))
}

// ParseVKey reads what [VKey.String] writes and nothing else. Types other
// than the two of [Alg] are refused. The error wraps evidence.ErrInvalid.
func ParseVKey(s string) (VKey, error) {
	name, rest, _ := strings.Cut(s, "+")
	id, key64, ok := strings.Cut(rest, "+")
	if !ok || !validName(name) {
		return VKey{}, invalid("verifier key %q: not name+key id+key", s)
	}
	key, err := decodeBase64(key64)
	if err != nil || len(key) != 1+ed25519.PublicKeySize {
		return VKey{}, invalid("verifier key of %s: the key is not 33 bytes of strict base64", name)
	}
	k := VKey{Name: name, Alg: Alg(key[0]), Public: [ed25519.PublicKeySize]byte(key[1:])}
	if k.Alg != Ed25519 && k.Alg != Cosignature {
		return VKey{}, invalid("verifier key of %s: unknown signature type 0x%02x", name, key[0])
	}
	if want := hex.EncodeToString(binary.BigEndian.AppendUint32(nil, k.ID())); id != want {
		return VKey{}, invalid("verifier key of %s: key id is %q, but the key makes it %s", name, id, want)
	}
	return k, nil
}

// Signer signs checkpoints with a log's own key. It implements note.Signer
// and is safe for concurrent use.
type Signer struct {
	key  ed25519.PrivateKey
	vkey VKey
}

// NewSigner returns the signer whose key is made from a seed of 32 random
// bytes (RFC 8032 section 5.1.5) and whose key name is the log's origin.
func NewSigner(origin string, seed []byte) (*Signer, error) {
	key, vkey, err := keyFromSeed(origin, Ed25519, seed)
	if err != nil {
		return nil, err
	}
	return &Signer{key, vkey}, nil
}

func keyFromSeed(name string, alg Alg, seed []byte) (ed25519.PrivateKey, VKey, error) {
	if !validName(name) {
		return nil, VKey{}, invalid("key name %q: must not be empty or have spaces, control characters or '+'", name)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, VKey{}, invalid("key of %s: the seed has %d bytes, not %d", name, len(seed), ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	return key, VKey{Name: name, Alg: alg, Public: [ed25519.PublicKeySize]byte(key.Public().(ed25519.PublicKey))}, nil
}

// Name returns the key name.
func (s *Signer) Name() string { return s.vkey.Name }

// KeyHash returns the key id.
func (s *Signer) KeyHash() uint32 { return s.vkey.ID() }

// Sign returns the Ed25519 signature of the note's text.
func (s *Signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// VKey returns the key that verifies what s signs.
func (s *Signer) VKey() VKey { return s.vkey }

var _ note.Signer = (*Signer)(nil)

// validName follows C2SP signed-note: not empty, valid UTF-8, no Unicode
// spaces, no '+'; and no control characters, which no note may hold.
func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && strings.IndexFunc(name, func(r rune) bool {
		return r == '+' || unicode.IsSpace(r) || unicode.IsControl(r)
	}) < 0
}

// decodeBase64 is strict: padded, no spare bits, no line breaks.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, err
	}
	if base64.StdEncoding.EncodedLen(len(b)) != len(s) { // the decoder skips \r and \n
		return nil, invalid("line break in base64")
	}
	return b, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, evidence.ErrInvalid)...)
}

func tampered(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, evidence.ErrTampered)...)
}
