package c2sp

import (
	"crypto/ed25519"
	"encoding/binary"
	"math"
	"strconv"
)

// Cosigner signs as a witness, cosignature/v1. It is safe for concurrent use.
type Cosigner struct {
	key  ed25519.PrivateKey
	vkey VKey
}

// NewCosigner returns the cosigner whose key is made from a seed of 32
// random bytes.
func NewCosigner(name string, seed []byte) (*Cosigner, error) {
	key, vkey, err := keyFromSeed(name, Cosignature, seed)
	if err != nil {
		return nil, err
	}
	return &Cosigner{key, vkey}, nil
}

// VKey returns the key that verifies what c signs, type 0x04.
func (c *Cosigner) VKey() VKey { return c.vkey }

// Cosign states that, as of a time in seconds since 1970, the tree of the
// checkpoint is the largest consistent one that the witness has seen.
func (c *Cosigner) Cosign(cp Checkpoint, unix int64) (Signature, error) {
	if unix < 0 {
		return Signature{}, invalid("cosign checkpoint of %s: time %d", cp.Origin, unix)
	}
	sig := binary.BigEndian.AppendUint64(make([]byte, 0, 8+ed25519.SignatureSize), uint64(unix))
	sig = append(sig, ed25519.Sign(c.key, cosignedMessage(cp, unix))...)
	return Signature{Name: c.vkey.Name, KeyID: c.vkey.ID(), Sig: sig}, nil
}

// checkCosignature verifies u64be time || signature.
func (k VKey) checkCosignature(c Checkpoint, sig []byte) (unix int64, ok bool) {
	if len(sig) != 8+ed25519.SignatureSize {
		return 0, false
	}
	t := binary.BigEndian.Uint64(sig)
	if t > math.MaxInt64 {
		return 0, false
	}
	return int64(t), ed25519.Verify(k.Public[:], cosignedMessage(c, int64(t)), sig[8:])
}

// cosignedMessage is C2SP tlog-cosignature section "Ed25519 signed message".
func cosignedMessage(c Checkpoint, unix int64) []byte {
	m := append([]byte(nil), "cosignature/v1\ntime "...)
	m = strconv.AppendInt(m, unix, 10)
	m = append(m, '\n')
	return append(m, c.Body()...)
}
