package c2sp

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// Bounds of a note, so that nobody spends for ever on one.
const (
	MaxNoteSize   = 64 << 10 // bytes
	MaxSignatures = 100      // lines
)

// ErrNoSignature says that a note lacks a signature by a key that had to
// sign it. It wraps evidence.ErrTampered.
var ErrNoSignature = fmt.Errorf("not signed by the log's key: %w", evidence.ErrTampered)

// Signature is one signature line of a note, not yet verified.
type Signature struct {
	Name  string
	KeyID uint32
	Sig   []byte // what follows the key id: of cosignatures the time too
}

// AppendLine writes "— <name> <base64(key id || signature)>\n".
func (s Signature) AppendLine(dst []byte) []byte {
	raw := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(s.Sig)), s.KeyID)
	raw = append(raw, s.Sig...)
	dst = append(dst, sigPrefix...)
	dst = append(dst, s.Name...)
	dst = append(dst, ' ')
	dst = base64.StdEncoding.AppendEncode(dst, raw)
	return append(dst, '\n')
}

const sigPrefix = "— "

// FormatNote writes a checkpoint with its signature lines in that order.
func FormatNote(c Checkpoint, sigs []Signature) []byte {
	dst := append([]byte(c.Body()), '\n')
	for _, s := range sigs {
		dst = s.AppendLine(dst)
	}
	return dst
}

// ParseNote reads a signed checkpoint, strictly: [FormatNote] of the result
// gives the same bytes. Nothing of it may be trusted until [Verify] has
// checked the signatures. The error wraps evidence.ErrInvalid.
func ParseNote(note []byte) (Checkpoint, []Signature, error) {
	if len(note) > MaxNoteSize {
		return Checkpoint{}, nil, invalid("note: over %d bytes", MaxNoteSize)
	}
	body, lines, ok := strings.Cut(string(note), "\n\n")
	if !ok {
		return Checkpoint{}, nil, invalid("note: no signatures after a blank line")
	}
	c, err := ParseCheckpointBody(body + "\n")
	if err != nil {
		return Checkpoint{}, nil, err
	}
	sigs, err := ParseSignatures([]byte(lines))
	if err != nil {
		return Checkpoint{}, nil, err
	}
	return c, sigs, nil
}

// ParseSignatures reads one or more signature lines, such as a witness
// answers with. The error wraps evidence.ErrInvalid.
func ParseSignatures(lines []byte) ([]Signature, error) {
	var sigs []Signature
	rest := string(lines)
	for rest != "" || len(sigs) == 0 {
		line, after, ok := strings.Cut(rest, "\n")
		if !ok {
			return nil, invalid("note: signature line %d does not end", len(sigs)+1)
		}
		if len(sigs) == MaxSignatures {
			return nil, invalid("note: over %d signatures", MaxSignatures)
		}
		rest = after
		line, ok = strings.CutPrefix(line, sigPrefix)
		name, text, _ := strings.Cut(line, " ")
		if !ok || !validName(name) {
			return nil, invalid("note: signature line %d is not \"— name signature\"", len(sigs)+1)
		}
		raw, err := decodeBase64(text)
		if err != nil || len(raw) < 5 {
			return nil, invalid("note: the signature of %s is not strict base64 of a key id and a signature", name)
		}
		sigs = append(sigs, Signature{Name: name, KeyID: binary.BigEndian.Uint32(raw), Sig: raw[4:]})
	}
	return sigs, nil
}

// Verified is a checkpoint and who stands for it.
type Verified struct {
	Checkpoint
	Log          VKey       // the key of the log that signed
	Cosignatures []Cosigned // by witnesses among the given keys, in note order
	Unknown      int        // signatures by keys that were not given: ignored
}

// Cosigned is one verified cosignature, C2SP tlog-cosignature.
type Cosigned struct {
	Witness VKey
	Time    int64 // seconds since 1970-01-01T00:00:00 UTC
}

// Verify reads a note and checks its signatures against the given keys,
// C2SP signed-note section "Signatures":
//
//   - the key of the log, type 0x01 and named as the origin, must be among
//     them and must have signed, else the error is [ErrNoSignature];
//   - signatures by other keys are ignored;
//   - a signature by a given key that does not hold, or a second one by the
//     same key, is a failure.
func Verify(note []byte, keys ...VKey) (Verified, error) {
	c, sigs, err := ParseNote(note)
	if err != nil {
		return Verified{}, err
	}
	v := Verified{Checkpoint: c}
	signed := false
	seen := map[VKey]bool{}
	for _, s := range sigs {
		k, known := findKey(keys, s)
		if !known {
			v.Unknown++
			continue
		}
		if seen[k] {
			return Verified{}, tampered("checkpoint of %s: two signatures by %s", c.Origin, k.Name)
		}
		seen[k] = true
		switch k.Alg {
		case Cosignature:
			at, ok := k.checkCosignature(c, s.Sig)
			if !ok {
				return Verified{}, tampered("checkpoint of %s: the cosignature of %s does not hold", c.Origin, k.Name)
			}
			v.Cosignatures = append(v.Cosignatures, Cosigned{k, at})
		default:
			if !ed25519.Verify(k.Public[:], []byte(c.Body()), s.Sig) {
				return Verified{}, tampered("checkpoint of %s: the signature of %s does not hold", c.Origin, k.Name)
			}
			if k.Name == c.Origin {
				v.Log, signed = k, true
			}
		}
	}
	if !signed {
		return Verified{}, fmt.Errorf("checkpoint of %s: %w", c.Origin, ErrNoSignature)
	}
	return v, nil
}

func findKey(keys []VKey, s Signature) (VKey, bool) {
	for _, k := range keys {
		if k.Name == s.Name && k.ID() == s.KeyID {
			return k, true
		}
	}
	return VKey{}, false
}

// OnlyLogSignature returns the note with the log's own signature alone, as
// anchors and receipts hold it. The note must be one that [Verify] accepted
// with that key.
func OnlyLogSignature(note []byte, log VKey) ([]byte, error) {
	c, sigs, err := ParseNote(note)
	if err != nil {
		return nil, err
	}
	for _, s := range sigs {
		if s.Name == log.Name && s.KeyID == log.ID() {
			return FormatNote(c, []Signature{s}), nil
		}
	}
	return nil, fmt.Errorf("checkpoint of %s: %w", c.Origin, ErrNoSignature)
}
