package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// SaltSize is the size of salts and seeds in bytes.
const SaltSize = 16

// Salt hides a sealed value from guessing; a Seed makes a record's salts.
type (
	Salt [SaltSize]byte
	Seed [SaltSize]byte
)

// Salt returns the salt of one path: HMAC-SHA256(seed, path)[:16]. It is one
// way: a disclosed salt tells nothing of the seed or of the others.
//
// HMAC (RFC 2104) is spelled out, since the key is shorter than a block:
// crypto/hmac takes five times as long, for several salts a record.
func (s Seed) Salt(path string) Salt {
	inner := make([]byte, sha256.BlockSize, sha256.BlockSize+64)
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(inner, s[:])
	copy(outer[:], s[:])
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	sum := sha256.Sum256(append(inner, path...))
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])
	return Salt(sum[:SaltSize])
}

const commitPrefix = "runledger/field/v1\x00"

// Commit returns the commitment to the exact JSON text of a sealed field.
func Commit(path string, salt Salt, value []byte) Hash {
	head := make([]byte, 0, 256)
	head = append(head, commitPrefix...)
	head = append(head, salt[:]...)
	head = binary.BigEndian.AppendUint16(head, uint16(len(path)))
	head = append(head, path...)
	head = binary.BigEndian.AppendUint64(head, uint64(len(value)))
	if len(head)+len(value) <= cap(head) {
		return sha256.Sum256(append(head, value...))
	}
	h := sha256.New()
	h.Write(head)
	h.Write(value)
	var out Hash
	h.Sum(out[:0])
	return out
}

// LeafHash returns SHA-256(0x00 || leaf), RFC 6962 section 2.1.
func LeafHash(leaf []byte) Hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(leaf)
	var out Hash
	h.Sum(out[:0])
	return out
}

// NodeHash returns SHA-256(0x01 || left || right), RFC 6962 section 2.1.
func NodeHash(left, right Hash) Hash {
	var b [1 + 2*32]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

var b64 = base64.RawURLEncoding.Strict()

const commitLen = 43

// EncodeCommitment returns the 43 characters that stand in a leaf.
func EncodeCommitment(h Hash) string { return b64.EncodeToString(h[:]) }

// ParseCommitment reads strict base64url: 43 characters, no padding, no
// spare bits. A leaf has several commitments, and reading them by the
// library takes half of the time of [Leaf.Parse].
func ParseCommitment(s string) (Hash, bool) {
	if len(s) != commitLen {
		return Hash{}, false
	}
	var out Hash
	var seen byte // all sextets, or-ed: the top bit marks what is none
	i, j := 0, 0
	for ; j < 30; i, j = i+4, j+3 {
		a, b, c, d := sextet[s[i]], sextet[s[i+1]], sextet[s[i+2]], sextet[s[i+3]]
		seen |= a | b | c | d
		out[j], out[j+1], out[j+2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
	}
	a, b, c := sextet[s[i]], sextet[s[i+1]], sextet[s[i+2]]
	seen |= a | b | c
	out[j], out[j+1] = a<<2|b>>4, b<<4|c>>2
	if seen&0x80 != 0 || c&3 != 0 {
		return Hash{}, false
	}
	return out, true
}

// sextet maps the characters of base64url to their values, others to 0xff.
var sextet = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		t[c] = byte(i)
	}
	return t
}()
