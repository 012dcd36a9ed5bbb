package seal

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/runledger/runledger/internal/store"
)

type macSum = [16]byte

// IndexMAC returns HMAC-SHA256(K, name || 0x00 || text)[:16] (formats.md
// section 3).
func IndexMAC(k []byte, name, text string) macSum { return indexMAC(k, name, []byte(text)) }

// HMAC (RFC 2104) is spelled out, as in evidence.Seed.Salt: K is shorter than a block.
func indexMAC(k []byte, name string, text []byte) macSum {
	var outer [sha256.BlockSize + sha256.Size]byte
	inner := make([]byte, sha256.BlockSize, 4*sha256.BlockSize)
	for i := range sha256.BlockSize {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i, c := range k {
		inner[i] ^= c
		outer[i] ^= c
	}
	inner = append(append(inner, name...), 0)
	sum := sha256.Sum256(append(inner, text...))
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])
	return macSum(sum[:len(macSum{})])
}

// macs makes MACs under the key of a tenant. Those of a batch are remembered where made
// is not nil: the steps of a trace name the same persons.
type macs struct {
	key  []byte
	made map[macOf]macSum
}

type macOf struct{ name, text string }

// maxMacs bounds what is remembered: a batch may name as many persons as it has records.
const maxMacs = 1024

func (m *macs) of(name string, text []byte) macSum {
	if out, ok := m.made[macOf{name, string(text)}]; ok {
		return out
	}
	out := indexMAC(m.key, name, text)
	if m.made != nil && len(m.made) < maxMacs {
		m.made[macOf{name, string(text)}] = out
	}
	return out
}

// person makes what the label of a person's data key consists of: it does not tell who.
func (m *macs) person(id string) macSum { return m.of(store.ScopePerson, []byte(id)) }

// replacement returns what stands in public for an unfit name.
func replacement(k []byte, name, text string) string {
	m := IndexMAC(k, name, text)
	return "h:" + hex.EncodeToString(m[:8])
}

// personLabel is the label of a person's data key.
func personLabel(k []byte, person string) string {
	m := IndexMAC(k, store.ScopePerson, person)
	return hex.EncodeToString(m[:])
}
