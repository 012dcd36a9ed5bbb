package verify

import (
	"encoding/base64"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// Record is one line of records.jsonl: a leaf with its way into the
// checkpoint of its directory.
type Record struct {
	Seq   int64
	Leaf  []byte          // verbatim
	Proof []evidence.Hash // RFC 6962 section 2.1.1, the leaf's sibling first
}

// maxRecordLine bounds a line of records.jsonl in bytes: a leaf in a string can
// take six times its size.
const maxRecordLine = 6*evidence.MaxLeafSize + c2sp.MaxProof*48 + 256

// Append writes the line with its newline: RFC 8785,
// {"leaf":…,"proof":[…],"seq":…}, the leaf as a string and each hash in
// padded base64. Lines of a file are in order of Seq.
func (r *Record) Append(dst []byte) []byte {
	dst = append(dst, `{"leaf":`...)
	dst = appendJSON(dst, string(r.Leaf))
	dst = append(dst, `,"proof":[`...)
	for i := range r.Proof {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, r.Proof[i][:])
		dst = append(dst, '"')
	}
	dst = append(dst, `],"seq":`...)
	dst = strconv.AppendInt(dst, r.Seq, 10)
	return append(dst, '}', '\n')
}

// ParseRecord reads what [Record.Append] writes, without its newline, and
// nothing else. It reads neither the leaf nor checks the proof. Errors wrap
// evidence.ErrInvalid.
func ParseRecord(line []byte) (*Record, error) {
	r := new(Record)
	s := scanner{b: line}
	s.lit(`{"leaf":"`)
	r.Leaf = s.text()
	s.lit(`,"proof":[`)
	for !s.bad && len(s.b) > 0 && s.b[0] == '"' {
		s.lit(`"`)
		h, ok := parseHash(s.plain())
		s.bad = s.bad || !ok || len(r.Proof) == c2sp.MaxProof
		r.Proof = append(r.Proof, h)
		// A comma stands only before another hash.
		if len(s.b) > 1 && s.b[0] == ',' && s.b[1] == '"' {
			s.lit(`,`)
		} else {
			break
		}
	}
	s.lit(`],"seq":`)
	r.Seq = s.count()
	s.lit(`}`)
	if s.bad || len(s.b) > 0 {
		return nil, invalid("not a canonical {leaf, proof, seq}")
	}
	return r, nil
}

// parseHash reads 44 characters of strict base64.
func parseHash(s []byte) (h evidence.Hash, ok bool) {
	if len(s) != 44 {
		return h, false
	}
	var b [33]byte // the decoder wants room for whole groups
	n, err := base64.StdEncoding.Strict().Decode(b[:], s)
	return evidence.Hash(b[:len(h)]), err == nil && n == len(h)
}
