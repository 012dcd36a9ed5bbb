package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

const (
	keyPrefix  = "rl_"
	idSize     = 16 // 80 bits
	secretSize = 52 // 256 bits
	keySize    = len(keyPrefix) + idSize + 1 + secretSize
)

var alphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newKey makes a key. The id is what may be shown.
func newKey() (id string, key Credential, hash [32]byte) {
	var b [10 + 32]byte
	rand.Read(b[:])
	id = alphabet.EncodeToString(b[:10])
	secret := alphabet.EncodeToString(b[10:])
	return id, Credential(keyPrefix + id + "_" + secret), hashSecret(secret)
}

// hashSecret returns what is stored of a secret, which has secretSize bytes.
func hashSecret(secret string) [32]byte {
	var b [secretSize]byte // on the stack, where a conversion is not
	copy(b[:], secret)
	return sha256.Sum256(b[:])
}

// splitKey takes a key apart. It allocates nothing.
func splitKey(key string) (id, secret string, ok bool) {
	if len(key) != keySize || !strings.HasPrefix(key, keyPrefix) || key[len(keyPrefix)+idSize] != '_' {
		return "", "", false
	}
	id, secret = key[len(keyPrefix):len(keyPrefix)+idSize], key[keySize-secretSize:]
	return id, secret, inAlphabet(id) && inAlphabet(secret)
}

// KeyID returns the id of what may be an id or, as people who want to revoke a
// key that they found may have it, the whole key.
func KeyID(s string) string {
	if id, _, ok := splitKey(s); ok {
		return id
	}
	return s
}

// holdsKey reports whether a text has a whole key in it.
func holdsKey(s string) bool {
	for i := 0; i+keySize <= len(s); i++ {
		if _, _, ok := splitKey(s[i : i+keySize]); ok {
			return true
		}
	}
	return false
}

func inAlphabet(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// ParseExpiry reads when a key expires: a number of days or hours from now
// (90d, 12h), or an RFC 3339 time. An empty text is never, 0. The error is an
// [*evidence.FieldError] of the field expires.
func ParseExpiry(s string, now time.Time) (evidence.Micros, error) {
	if s == "" {
		return 0, nil
	}
	const want = "must be a number of days or hours from now, such as 90d or 12h, or a time, such as 2027-01-31T00:00:00Z"
	var at time.Time
	if unit, ok := map[byte]time.Duration{'d': 24 * time.Hour, 'h': time.Hour}[s[len(s)-1]]; ok {
		n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
		if err != nil || n == 0 || n > uint64(maxExpiry/unit) {
			return 0, invalid("expires", "%s", want)
		}
		at = now.Add(time.Duration(n) * unit)
	} else {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return 0, invalid("expires", "%s", want)
		}
	}
	m := evidence.MicrosOf(at)
	if !m.InRange() || m <= evidence.MicrosOf(now) {
		return 0, invalid("expires", "must be in the future")
	}
	return m, nil
}

// maxExpiry bounds how far from now a key expires: a hundred years.
const maxExpiry = 100 * 365 * 24 * time.Hour
