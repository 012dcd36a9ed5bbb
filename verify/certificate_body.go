package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// ErasureStatement is what the server says of a whole erasure: the JSON text of the
// sealed /after_state of the ErasureExecuted record that has neither run nor targets.
// It names no record and no person, only how many there were.
type ErasureStatement struct {
	// TenantID is here since nothing else in the log names the tenant.
	TenantID   string
	ErasureID  string // entity_id of the record
	ExecutedAt evidence.Micros
	// Records lost sealed content, Fields sealed fields. Runs are those that the
	// orders name.
	Records, Fields, Runs int64
	// KeysDestroyed are data keys that are gone. KeysToRetire are such as open other content
	// too, of a day or a person: they go once that has been sealed anew.
	KeysDestroyed, KeysToRetire int64
	// Orders is the number of ErasureExecuted records that name the fields, and
	// OrdersDigest that of their leaf hashes, see [OrdersDigest].
	Orders       int64
	OrdersDigest evidence.Hash
	// InArchives: encrypted content of the records stands in archives, too. Servers put none there, and say false.
	InArchives bool
}

// OrdersDigest returns the SHA-256 of leaf hashes, one behind the other, in the order of
// log and leaf index.
func OrdersDigest(leafHashes []evidence.Hash) evidence.Hash {
	h := sha256.New()
	for i := range leafHashes {
		h.Write(leafHashes[i][:])
	}
	return evidence.Hash(h.Sum(nil))
}

// JSON returns the text that is sealed, RFC 8785.
func (s *ErasureStatement) JSON() []byte {
	b := append([]byte(nil), `{"erasure_id":`...)
	b = appendJSON(b, s.ErasureID)
	b = append(b, `,"executed_at":`...)
	b = appendJSON(b, s.ExecutedAt.String())
	b = appendCount(b, "fields", s.Fields)
	b = append(b, `,"in_archives":`...)
	b = strconv.AppendBool(b, s.InArchives)
	b = appendCount(b, "keys_destroyed", s.KeysDestroyed)
	b = appendCount(b, "keys_to_retire", s.KeysToRetire)
	b = appendCount(b, "orders", s.Orders)
	b = append(b, `,"orders_digest":`...)
	b = appendJSON(b, evidence.Checksum(s.OrdersDigest))
	b = appendCount(b, "records", s.Records)
	b = appendCount(b, "runs", s.Runs)
	b = append(b, `,"tenant_id":`...)
	b = appendJSON(b, s.TenantID)
	return append(b, '}')
}

func appendCount(b []byte, name string, n int64) []byte {
	b = append(b, `,"`+name+`":`...)
	return strconv.AppendInt(b, n, 10)
}

// ParseErasureStatement reads what [ErasureStatement.JSON] writes, and nothing else. The
// error wraps evidence.ErrInvalid.
func ParseErasureStatement(text []byte) (*ErasureStatement, error) {
	s := new(ErasureStatement)
	in := scanner{b: text}
	in.lit(`{"erasure_id":`)
	s.ErasureID = in.quoted()
	in.lit(`,"executed_at":`)
	at, timed := evidence.ParseMicros(in.quoted())
	s.ExecutedAt = at
	count := func(name string) int64 {
		in.lit(`,"` + name + `":`)
		return in.count()
	}
	s.Fields = count("fields")
	in.lit(`,"in_archives":`)
	s.InArchives = in.boolean()
	s.KeysDestroyed, s.KeysToRetire = count("keys_destroyed"), count("keys_to_retire")
	s.Orders = count("orders")
	in.lit(`,"orders_digest":`)
	sum, summed := parseChecksum(in.quoted())
	s.OrdersDigest = sum
	s.Records, s.Runs = count("records"), count("runs")
	in.lit(`,"tenant_id":`)
	s.TenantID = in.quoted()
	in.lit(`}`)
	switch {
	case in.bad || len(in.b) > 0:
		return nil, invalid("not a canonical statement of an erasure")
	case !evidence.FitName(s.ErasureID) || s.ErasureID == "":
		return nil, invalid("erasure_id is not a name")
	case !timed:
		return nil, invalid("executed_at is not a time")
	case !summed:
		return nil, invalid("orders_digest is not sha256: and 64 hex digits")
	case !evidence.ValidTenant(s.TenantID):
		return nil, invalid("tenant_id is not a tenant id")
	}
	return s, nil
}

// boolean reads true or false.
func (s *scanner) boolean() bool {
	if strings.HasPrefix(string(s.b[:min(len(s.b), 4)]), "true") {
		s.lit("true")
		return !s.bad
	}
	s.lit("false")
	return false
}

// parseChecksum reads what evidence.Checksum writes.
func parseChecksum(text string) (h evidence.Hash, ok bool) {
	digits, found := strings.CutPrefix(text, "sha256:")
	if !found || len(digits) != 2*len(h) || !lowerHex(digits) {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(digits))
	return h, err == nil
}

// Backups returns what a certificate says of copies that the erasure does not reach. It
// follows from the statement alone, word for word, so that nobody can put softer words
// into a certificate.
func (s *ErasureStatement) Backups() string {
	text := fmt.Sprintf("Copies of the database that were made before %s (backups, snapshots, write-ahead logs that were kept) may hold what was erased together with "+
		"its keys, wrapped: until the last of them is deleted, whoever has one, and the master keyset, can read it. How long such copies are kept is for "+
		"their operator to say; the log does not know it.", s.ExecutedAt)
	if s.KeysDestroyed > 0 {
		text += " What was sealed under the destroyed keys can be opened with such a copy only."
	}
	if s.KeysToRetire > 0 {
		text += " The keys to retire open other content too. Until that has been sealed anew and they are destroyed, which the server does by itself, copies of what was " +
			"erased under them can be opened by whoever has the master keyset."
	}
	if s.InArchives {
		text += " Archives hold content of these records, encrypted and without keys: it cannot be opened any more once the keys are gone."
	} else {
		text += " No archive of this server holds content of these records."
	}
	return text + " What was exported, answered or sent on before the erasure is out of its reach."
}
