package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// SaltSize is the size of salts and seeds in bytes.
const SaltSize = 16

// Salt hides a sealed value from guessing.
type Salt [SaltSize]byte

// Seed makes the salts of one record.
type Seed [SaltSize]byte

// Salt returns the salt of one path: HMAC-SHA256(seed, path)[:16]. It is one
// way: a disclosed salt tells nothing of the seed or of the others.
//
// HMAC (RFC 2104) is spelled out, which is short where the key is shorter
// than a block: crypto/hmac takes half as long again and eight allocations,
// for several salts a record.
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
// spare bits.
func ParseCommitment(s string) (Hash, bool) {
	// The decoder skips line breaks.
	if len(s) != commitLen || strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		return Hash{}, false
	}
	var out Hash
	n, err := b64.Decode(out[:], []byte(s))
	return out, err == nil && n == len(out)
}
