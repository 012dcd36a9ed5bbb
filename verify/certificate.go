package verify

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// CertificateFormat is the format of an [ErasureCertificate] that this version reads and
// writes.
const CertificateFormat = "runledger erasure certificate v1"

// MaxCertificate bounds a certificate in bytes. An order of a small log has 1.4 KB; each
// doubling of the log adds 47 bytes.
const MaxCertificate = 256 << 20

// maxDisclosures bounds what is disclosed of the statement: its kind has fewer paths.
const maxDisclosures = 16

// ErasureCertificate is what a tenant's operator can hand out of an erasure: the
// statement of the whole, and the records that ordered it field by field, each with its
// way into a checkpoint that the log signed. It has no content, and of the records that
// lost theirs only log and leaf index. It is one JSON object, RFC 8785:
//
//	{"backups":"…",                      words, see [ErasureStatement.Backups]
//	 "checkpoints":{"<origin>":"<note>"} of each log below, verbatim
//	 "erasure_id":"…","format":"runledger erasure certificate v1",
//	 "orders":[{"leaf":"…","log":"<origin>","proof":["<base64>"…],"seq":n,
//	            "targets":{"salt":"…","value":"…"}}…],
//	 "policy":{"in_archives":b,"keys_retired":b},
//	 "statement":{"disclosures":[{"path":"…","salt":"…","value":"…"}…],
//	              "leaf":"…","log":"<origin>","proof":[…],"seq":n},
//	 "tenant_id":"…"}
//
// Leaves stand verbatim in strings, salts and values as in disclosures.jsonl. Orders are
// in the order of log and leaf index, disclosures in that of their paths.
type ErasureCertificate struct {
	TenantID    string
	ErasureID   string
	Statement   CertificateRecord
	Orders      []CertificateRecord
	Checkpoints map[string]string // note by origin
	Backups     string
	// KeysRetired: every key that opened what was erased is destroyed. InArchives:
	// encrypted content of the records stands in archives, too.
	KeysRetired, InArchives bool
}

// CertificateRecord is one leaf of a certificate, with what of it is disclosed: of an
// order /targets and nothing else. The Seq of a Disclosure is that of its record.
type CertificateRecord struct {
	Log string // origin
	Record
	Disclosures []Disclosure
}

// Append writes the certificate with a newline at its end.
func (c *ErasureCertificate) Append(b []byte) []byte {
	b = append(b, `{"backups":`...)
	b = appendJSON(b, c.Backups)
	b = append(b, `,"checkpoints":{`...)
	for i, origin := range slices.Sorted(maps.Keys(c.Checkpoints)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(b, origin)
		b = append(b, ':')
		b = appendJSON(b, c.Checkpoints[origin])
	}
	b = append(b, `},"erasure_id":`...)
	b = appendJSON(b, c.ErasureID)
	b = append(b, `,"format":"`+CertificateFormat+`","orders":[`...)
	for i := range c.Orders {
		if i > 0 {
			b = append(b, ',')
		}
		o := &c.Orders[i]
		b = o.append(append(b, '{'))
		b = append(b, `,"targets":{`...)
		for k := range o.Disclosures[:min(1, len(o.Disclosures))] {
			b = o.Disclosures[k].appendOpening(b)
		}
		b = append(b, '}', '}')
	}
	b = append(b, `],"policy":{"in_archives":`...)
	b = strconv.AppendBool(b, c.InArchives)
	b = append(b, `,"keys_retired":`...)
	b = strconv.AppendBool(b, c.KeysRetired)
	b = append(b, `},"statement":{"disclosures":[`...)
	for i := range c.Statement.Disclosures {
		if i > 0 {
			b = append(b, ',')
		}
		d := &c.Statement.Disclosures[i]
		b = append(b, `{"path":`...)
		b = appendJSON(b, d.Path)
		b = append(b, ',')
		b = append(d.appendOpening(b), '}')
	}
	b = c.Statement.append(append(b, `],`...))
	b = append(b, `},"tenant_id":`...)
	b = appendJSON(b, c.TenantID)
	return append(b, '}', '\n')
}

// append writes the members that each record has.
func (r *CertificateRecord) append(b []byte) []byte {
	b = append(b, `"leaf":`...)
	b = appendJSON(b, string(r.Leaf))
	b = append(b, `,"log":`...)
	b = appendJSON(b, r.Log)
	b = append(b, `,"proof":[`...)
	for i := range r.Proof {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, r.Proof[i][:])
		b = append(b, '"')
	}
	b = append(b, `],"seq":`...)
	return strconv.AppendInt(b, r.Seq, 10)
}

func (d *Disclosure) appendOpening(b []byte) []byte {
	b = append(b, `"salt":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, d.Salt[:])
	b = append(b, `","value":`...)
	return appendJSON(b, string(d.Value))
}

// certificateMark stands in each certificate, of whatever version and layout.
var certificateMark = []byte(`"runledger erasure certificate v`)

// IsCertificate reports whether a file is meant to be an erasure certificate, of this
// format or another.
func IsCertificate(data []byte) bool {
	return bytes.HasPrefix(data, []byte("{")) && !bytes.HasPrefix(data, []byte(`{"format":"json"`)) && bytes.Contains(data, certificateMark)
}

// errCertificateFormat: a certificate of another version.
var errCertificateFormat = fmt.Errorf("this version reads only the format %q", CertificateFormat)

// ParseCertificate reads a certificate, strictly: only what [ErasureCertificate.Append]
// writes, with or without the newline at its end, in its bounds. It checks no signature,
// proof or commitment; [Certificate] does. The error wraps evidence.ErrInvalid, except
// where the format is another version's.
func ParseCertificate(data []byte) (*ErasureCertificate, error) {
	if len(data) > MaxCertificate {
		return nil, invalid("has over %d bytes", MaxCertificate)
	}
	if bytes.Contains(data, certificateMark) && !bytes.Contains(data, []byte(`"`+CertificateFormat+`"`)) {
		return nil, errCertificateFormat
	}
	text := bytes.TrimSuffix(data, []byte("\n"))
	c := scanCertificate(text)
	if c == nil || !bytes.Equal(bytes.TrimSuffix(c.Append(make([]byte, 0, len(data)+1)), []byte("\n")), text) {
		return nil, invalid("is not canonical (RFC 8785), or has members that the format %q does not have", CertificateFormat)
	}
	return c, c.check()
}

// scanCertificate reads the members in their only order, or returns nil.
func scanCertificate(data []byte) *ErasureCertificate {
	c := &ErasureCertificate{Checkpoints: map[string]string{}}
	s := &scanner{b: data}
	s.lit(`{"backups":`)
	c.Backups = s.quoted()
	s.lit(`,"checkpoints":{`)
	for n := 0; s.more('"', n); n++ {
		origin := s.quoted()
		s.lit(`:`)
		c.Checkpoints[origin] = s.quoted() // one that stands twice is not written again
	}
	s.lit(`},"erasure_id":`)
	c.ErasureID = s.quoted()
	s.lit(`,"format":"` + CertificateFormat + `","orders":[`)
	for s.more('{', len(c.Orders)) {
		s.lit(`{`)
		r := s.certificateRecord()
		s.lit(`,"targets":{`)
		r.Disclosures = []Disclosure{s.opening(r.Seq, pathTargets)}
		s.lit(`}}`)
		c.Orders = append(c.Orders, r)
	}
	s.lit(`],"policy":{"in_archives":`)
	c.InArchives = s.boolean()
	s.lit(`,"keys_retired":`)
	c.KeysRetired = s.boolean()
	s.lit(`},"statement":{"disclosures":[`)
	var open []Disclosure
	for len(open) <= maxDisclosures && s.more('{', len(open)) {
		s.lit(`{"path":`)
		path := s.quoted()
		s.lit(`,`)
		open = append(open, s.opening(0, path))
		s.lit(`}`)
	}
	s.lit(`],`)
	c.Statement = s.certificateRecord()
	for i := range open {
		open[i].Seq = c.Statement.Seq
	}
	c.Statement.Disclosures = open
	s.lit(`},"tenant_id":`)
	c.TenantID = s.quoted()
	s.lit(`}`)
	if s.bad || len(s.b) > 0 {
		return nil
	}
	return c
}

func (s *scanner) certificateRecord() (r CertificateRecord) {
	s.lit(`"leaf":`)
	r.Leaf = []byte(s.quoted())
	s.lit(`,"log":`)
	r.Log = s.quoted()
	s.lit(`,"proof":[`)
	for s.more('"', len(r.Proof)) {
		s.lit(`"`)
		h, ok := parseHash(s.plain())
		s.bad = s.bad || !ok || len(r.Proof) == c2sp.MaxProof
		r.Proof = append(r.Proof, h)
	}
	s.lit(`],"seq":`)
	r.Seq = s.count()
	return r
}

// opening reads the salt and value of a disclosure.
func (s *scanner) opening(seq int64, path string) Disclosure {
	s.lit(`"salt":"`)
	salt, ok := parseSalt(s.plain())
	s.bad = s.bad || !ok
	s.lit(`,"value":`)
	return Disclosure{Seq: seq, Path: path, Salt: salt, Value: []byte(s.quoted())}
}

// check sees that values are in their bounds, and lists in their order.
func (c *ErasureCertificate) check() error {
	switch {
	case !evidence.ValidTenant(c.TenantID):
		return invalid("tenant_id is not a tenant id")
	case !evidence.FitName(c.ErasureID) || c.ErasureID == "":
		return invalid("erasure_id is not a name")
	case len(c.Orders) == 0:
		return invalid("no orders")
	case len(c.Statement.Disclosures) > maxDisclosures:
		return invalid("too much is disclosed of the statement")
	}
	logs := map[string]bool{}
	for i := range c.Orders {
		o := &c.Orders[i]
		switch before := &c.Orders[max(i-1, 0)]; {
		case i > 0 && o.Log == before.Log && o.Seq <= before.Seq, (i == 0 || o.Log != before.Log) && logs[o.Log]:
			return invalid("order %d is not in order of log and leaf index, or stands twice", i)
		case len(o.Leaf) > evidence.MaxLeafSize || len(o.Disclosures[0].Value) > maxTargets:
			return invalid("order %d is too large", i)
		}
		logs[o.Log] = true
	}
	logs[c.Statement.Log] = true
	for i, d := range c.Statement.Disclosures {
		if i > 0 && d.Path <= c.Statement.Disclosures[i-1].Path || pathIndex(d.Path) < 0 {
			return invalid("path %.100q of the statement is unknown, or not in its place", d.Path)
		}
		if err := evidence.CheckJSON(d.Value); err != nil {
			return err
		}
	}
	if len(c.Statement.Leaf) > evidence.MaxLeafSize {
		return invalid("the statement is too large")
	}
	for origin, note := range c.Checkpoints {
		if !logs[origin] || !evidence.ValidOrigin(origin) || len(note) > c2sp.MaxNoteSize {
			return invalid("the checkpoint of %.100q is of no record here, or too large", origin)
		}
	}
	if len(c.Checkpoints) != len(logs) {
		return invalid("a record has no checkpoint")
	}
	return nil
}
