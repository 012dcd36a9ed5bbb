package client

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const proofHeader = "c2sp.org/tlog-proof@v1"

// maxProof is the greatest number of hashes of a proof, C2SP tlog-witness.
const maxProof = 63

// proof is the parts of a C2SP tlog-proof.
type proof struct {
	index  int64
	hashes tlog.RecordProof
	note   string
}

// verify checks that the leaf is the record's, is what the receipt says, and is
// in a tree that one of the keys has signed. The error wraps evidence.ErrTampered.
func verify(in *Inclusion, id string, keys []note.Verifier) error {
	p, err := parseProof(in.Proof)
	if err != nil {
		return tampered("%v", err)
	}
	origin, size, root, err := openCheckpoint(p.note, keys)
	if err != nil {
		return tampered("checkpoint: %v", err)
	}
	if in.Checkpoint != "" && in.Checkpoint != p.note {
		return tampered("the proof leads to another checkpoint than the one beside it")
	}
	leaf, err := evidence.ParseLeaf(in.Leaf)
	if err != nil {
		return tampered("leaf: %v", err)
	}
	hash := evidence.LeafHash(in.Leaf)
	switch {
	case leaf.ID.String() != id:
		return tampered("the leaf is of record %s", leaf.ID)
	case leaf.Log != origin || in.Log != origin:
		return tampered("the leaf is of another log than the checkpoint")
	case leaf.Seq != p.index || in.LeafIndex != p.index:
		return tampered("the leaf is at another place than the proof says")
	case hash != in.LeafHash:
		return tampered("the leaf has another hash than its receipt")
	case p.index >= size:
		return tampered("the checkpoint does not cover the leaf")
	}
	if err := tlog.CheckRecord(p.hashes, size, root, p.index, tlog.Hash(hash)); err != nil {
		return tampered("the proof of inclusion does not hold")
	}
	return nil
}

func tampered(format string, args ...any) error {
	return fmt.Errorf("%w: %s", evidence.ErrTampered, fmt.Sprintf(format, args...))
}

// parseProof reads C2SP tlog-proof without extra data:
//
//	c2sp.org/tlog-proof@v1
//	index <n>
//	<base64 hash>          leaf sibling first
//
//	<checkpoint verbatim>
func parseProof(s string) (*proof, error) {
	head, text, ok := strings.Cut(s, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != proofHeader || len(lines)-2 > maxProof {
		return nil, errors.New("not a " + proofHeader)
	}
	number, ok := strings.CutPrefix(lines[1], "index ")
	index, ok2 := parseDecimal(number)
	if !ok || !ok2 {
		return nil, errors.New("tlog-proof: the second line is not an index")
	}
	p := &proof{index: index, note: text}
	for _, line := range lines[2:] {
		h, ok := parseBase64Hash(line)
		if !ok {
			return nil, errors.New("tlog-proof: a line is not a hash in base64")
		}
		p.hashes = append(p.hashes, h)
	}
	return p, nil
}

// openCheckpoint checks the signatures of a checkpoint. One of the keys must have
// signed it, whose name is the log's origin; signatures of others do not matter.
func openCheckpoint(text string, keys []note.Verifier) (origin string, size int64, root tlog.Hash, err error) {
	n, err := note.Open([]byte(text), note.VerifierList(keys...))
	if err != nil {
		return "", 0, root, err
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return "", 0, root, errors.New("it has not three lines")
	}
	origin = lines[0]
	if !slices.ContainsFunc(n.Sigs, func(s note.Signature) bool { return s.Name == origin }) {
		return "", 0, root, errors.New("the key of this log has not signed it")
	}
	size, ok := parseDecimal(lines[1])
	root, ok2 := parseBase64Hash(lines[2])
	if !ok || !ok2 {
		return "", 0, root, errors.New("size or root cannot be read")
	}
	return origin, size, root, nil
}

// parseDecimal reads a number that has one form only.
func parseDecimal(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && n <= evidence.MaxInt && strconv.FormatInt(n, 10) == s
}

func parseBase64Hash(s string) (h tlog.Hash, ok bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(h) || strings.ContainsAny(s, "\r\n") {
		return h, false
	}
	copy(h[:], b)
	return h, true
}
