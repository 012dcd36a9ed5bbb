package evidence

import (
	"crypto/sha256"
	"encoding/hex"
)

// ID is a record's UUID (RFC 9562). The zero value stands for none.
type ID [16]byte

// String returns the lower-case form with hyphens, the only one that a leaf
// may hold.
func (id ID) String() string {
	var b [36]byte
	return string(id.append(b[:0]))
}

// AppendText appends what String returns.
func (id ID) AppendText(dst []byte) []byte { return id.append(dst) }

func (id ID) append(dst []byte) []byte {
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// ParseID reads the canonical lower-case form and nothing else.
func ParseID(s string) (ID, bool) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, false
	}
	j := 0
	for i := 0; i < 36; i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			continue
		}
		hi, lo := unhex(s[i]), unhex(s[i+1])
		if hi|lo > 15 {
			return ID{}, false
		}
		id[j] = hi<<4 | lo
		j++
		i++
	}
	return id, true
}

func unhex(c byte) byte { return unhexTable[c] }

// unhexTable maps lower-case hex digits to their values, others to 255.
var unhexTable = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := range hexDigits {
		t[hexDigits[i]] = byte(i)
	}
	return t
}()

// Version returns the UUID's version digit.
func (id ID) Version() int { return int(id[6] >> 4) }

// NaturalID returns the UUIDv8 of a record that has a natural key: the
// first 16 bytes of SHA-256("runledger/id/v1" 0x00 tenant 0x00 kind 0x00
// key) with version and variant set.
func NaturalID(tenant string, kind Kind, key string) ID {
	h := make([]byte, 0, 256)
	h = append(h, "runledger/id/v1\x00"...)
	h = append(h, tenant...)
	h = append(h, 0)
	h = append(h, kind.String()...)
	h = append(h, 0)
	h = append(h, key...)
	sum := sha256.Sum256(h)
	id := ID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// SpanKey returns the natural key of a span's step.
func SpanKey(traceID, spanID string) string { return traceID + ":" + spanID }

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := 0; i < n; i++ {
		if unhex(s[i]) > 15 {
			return false
		}
	}
	return true
}

// Hash is a SHA-256 digest: a leaf hash, node, root or commitment.
type Hash [32]byte

// String returns lower-case hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }
