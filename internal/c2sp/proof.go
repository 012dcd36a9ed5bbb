package c2sp

import (
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxProof is the greatest number of hashes of a proof, C2SP tlog-witness.
const MaxProof = 63

const proofHeader = "c2sp.org/tlog-proof@v1\n"

// Proof is the proof that one leaf is in a checkpointed tree, C2SP
// tlog-proof@v1 without extra data. The leaf itself is not in it.
type Proof struct {
	Index  int64
	Hashes []evidence.Hash // the leaf's sibling first
	Note   []byte          // the checkpoint, verbatim; its signatures are not checked here
}

// Marshal returns the text of the proof.
func (p *Proof) Marshal() []byte {
	dst := append([]byte(nil), proofHeader+"index "...)
	dst = strconv.AppendInt(dst, p.Index, 10)
	dst = append(dst, '\n')
	return appendProof(dst, p.Hashes, p.Note)
}

// ParseProof reads what [Proof.Marshal] writes and nothing else. It checks
// the format only: see [Verify] and [CheckInclusion]. The error wraps
// evidence.ErrInvalid.
func ParseProof(b []byte) (*Proof, error) {
	rest, ok := strings.CutPrefix(string(b), proofHeader)
	if !ok {
		return nil, invalid("tlog-proof: the first line is not %q", strings.TrimSpace(proofHeader))
	}
	var p Proof
	var err error
	if p.Index, p.Hashes, p.Note, err = parseProof("tlog-proof", "index ", rest); err != nil {
		return nil, err
	}
	return &p, nil
}

// Consistency is the proof that one tree of a log extends an older one: the
// request body of C2SP tlog-witness add-checkpoint.
type Consistency struct {
	Old    int64           // size of the older tree
	Hashes []evidence.Hash // RFC 6962 section 2.1.2
	Note   []byte          // checkpoint of the newer tree, verbatim; its signatures are not checked here
}

// Marshal returns the text of the proof.
func (c *Consistency) Marshal() []byte {
	dst := append([]byte(nil), "old "...)
	dst = strconv.AppendInt(dst, c.Old, 10)
	dst = append(dst, '\n')
	return appendProof(dst, c.Hashes, c.Note)
}

// ParseConsistency reads what [Consistency.Marshal] writes and nothing else.
// It checks the format only: see [Verify] and [CheckConsistency]. The error
// wraps evidence.ErrInvalid.
func ParseConsistency(b []byte) (*Consistency, error) {
	var c Consistency
	var err error
	if c.Old, c.Hashes, c.Note, err = parseProof("add-checkpoint", "old ", string(b)); err != nil {
		return nil, err
	}
	return &c, nil
}

func appendProof(dst []byte, hashes []evidence.Hash, note []byte) []byte {
	for _, h := range hashes {
		dst = appendHash(dst, h)
	}
	dst = append(dst, '\n')
	return append(dst, note...)
}

// parseProof reads "<word> <number>", hash lines, a blank line and a note.
func parseProof(what, word, s string) (n int64, hashes []evidence.Hash, note []byte, err error) {
	line, s, ok := strings.Cut(s, "\n")
	number, ok2 := strings.CutPrefix(line, word)
	n, ok3 := parseDecimal(number)
	if !ok || !ok2 || !ok3 {
		return 0, nil, nil, invalid("%s: expected a line \"%s<number>\"", what, word)
	}
	for {
		line, s, ok = strings.Cut(s, "\n")
		if !ok {
			return 0, nil, nil, invalid("%s: no blank line and checkpoint", what)
		}
		if line == "" {
			break
		}
		h, ok := parseHash(line)
		if !ok {
			return 0, nil, nil, invalid("%s: line %d of the proof is not a hash in base64", what, len(hashes)+1)
		}
		if len(hashes) == MaxProof {
			return 0, nil, nil, invalid("%s: over %d hashes", what, MaxProof)
		}
		hashes = append(hashes, h)
	}
	note = []byte(s)
	if _, _, err := ParseNote(note); err != nil {
		return 0, nil, nil, err
	}
	return n, hashes, note, nil
}

// CheckInclusion checks that the tree of that size and root has the leaf at
// that index, RFC 6962 section 2.1.1. The error wraps evidence.ErrTampered.
func CheckInclusion(proof []evidence.Hash, size int64, root evidence.Hash, index int64, leaf evidence.Hash) error {
	if index < 0 || index >= size || size > MaxSize || len(proof) > MaxProof {
		return tampered("leaf %d cannot be in a tree of %d leaves", index, size)
	}
	if err := tlog.CheckRecord(tlogHashes(proof), size, tlog.Hash(root), index, tlog.Hash(leaf)); err != nil {
		return tampered("inclusion of leaf %d in the tree of %d leaves is not proven", index, size)
	}
	return nil
}

// CheckConsistency checks that the tree of size and root extends the tree of
// old and oldRoot, RFC 6962 section 2.1.2. Every tree extends the empty one
// and, with the same root, itself; both proofs are empty. The error wraps
// evidence.ErrTampered.
func CheckConsistency(proof []evidence.Hash, size int64, root evidence.Hash, old int64, oldRoot evidence.Hash) error {
	bad := old < 0 || old > size || size > MaxSize || len(proof) > MaxProof
	switch {
	case bad:
	case old == 0:
		bad = len(proof) != 0 || oldRoot != EmptyRoot || size == 0 && root != EmptyRoot
	default:
		bad = tlog.CheckTree(tlogHashes(proof), size, tlog.Hash(root), old, tlog.Hash(oldRoot)) != nil
	}
	if bad {
		return tampered("the tree of %d leaves is not proven to extend that of %d", size, old)
	}
	return nil
}

func tlogHashes(in []evidence.Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(in))
	for i, h := range in {
		out[i] = tlog.Hash(h)
	}
	return out
}
