package c2sp

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"golang.org/x/mod/sumdb/note"
)

// MaxSize is the greatest tree size. A leaf's seq is a JSON integer, so a
// log cannot grow beyond; the bound also keeps the arithmetic of hostile
// sizes within int64.
const MaxSize = evidence.MaxInt

// Checkpoint is what a log signs: that the tree of its first Size leaves has
// that root. The zero value is not valid: even the empty tree has the root
// [EmptyRoot].
type Checkpoint struct {
	Origin string
	Size   int64
	Root   evidence.Hash
}

// Body returns the three lines that log and witnesses sign, each with its
// newline, C2SP tlog-checkpoint section "Note text".
func (c Checkpoint) Body() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// ParseCheckpointBody reads what [Checkpoint.Body] writes and nothing else:
// no extension lines. The error wraps evidence.ErrInvalid.
func ParseCheckpointBody(body string) (Checkpoint, error) {
	lines := strings.SplitN(body, "\n", 5)
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, invalid("checkpoint: must be three lines")
	}
	c := Checkpoint{Origin: lines[0]}
	if !validName(c.Origin) {
		return Checkpoint{}, invalid("checkpoint: %q is not an origin", c.Origin)
	}
	var ok bool
	if c.Size, ok = parseDecimal(lines[1]); !ok {
		return Checkpoint{}, invalid("checkpoint: %q is not a tree size", lines[1])
	}
	if c.Root, ok = parseHash(lines[2]); !ok {
		return Checkpoint{}, invalid("checkpoint: %q is not a root hash in base64", lines[2])
	}
	if c.Size == 0 && c.Root != EmptyRoot {
		return Checkpoint{}, invalid("checkpoint: the empty tree has another root")
	}
	return c, nil
}

// SignCheckpoint returns the note of a checkpoint with the log's signature.
// The signer's name must be the origin.
func SignCheckpoint(c Checkpoint, signer note.Signer) ([]byte, error) {
	if signer.Name() != c.Origin {
		return nil, invalid("sign checkpoint of %s with the key of %s", c.Origin, signer.Name())
	}
	if c.Size < 0 || c.Size > MaxSize {
		return nil, invalid("sign checkpoint of %s: size %d", c.Origin, c.Size)
	}
	sig, err := signer.Sign([]byte(c.Body()))
	if err != nil {
		return nil, err
	}
	return FormatNote(c, []Signature{{Name: c.Origin, KeyID: signer.KeyHash(), Sig: sig}}), nil
}

// parseDecimal reads 0 to MaxSize without sign or leading zeros.
func parseDecimal(s string) (int64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	v := int64(0)
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		if v = v*10 + int64(c); v > MaxSize {
			return 0, false
		}
	}
	return v, true
}

// parseHash reads 44 characters of strict base64.
func parseHash(s string) (h evidence.Hash, ok bool) {
	if len(s) != 44 {
		return h, false
	}
	b, err := decodeBase64(s)
	if err != nil || len(b) != len(h) {
		return h, false
	}
	return evidence.Hash(b), true
}

func appendHash(dst []byte, h evidence.Hash) []byte {
	dst = base64.StdEncoding.AppendEncode(dst, h[:])
	return append(dst, '\n')
}
