package transparency

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/problem"
)

const (
	textType   = "text/plain; charset=utf-8"
	binaryType = "application/octet-stream"
)

// What may be kept of an answer, and by whom: it takes a credential, so never by who
// stands between.
const (
	forNow  = "no-store"
	forEver = "private, max-age=31536000, immutable"
	forAges = "private, max-age=3600"
	// varies names what else than its path an answer depends on.
	varies = "Authorization, X-Api-Key, X-Tenant-ID, Accept-Encoding"
)

// Log is one log in the answer of GET /api/v1/transparency/logs.
type Log struct {
	Log      string `json:"log"` // origin
	LogNo    int    `json:"log_no"`
	TenantID string `json:"tenant_id"`
	VKey     string `json:"vkey"` // a hint: who checks has the key from elsewhere
	Prefix   string `json:"prefix"`
	Newest   bool   `json:"newest"` // of its tenant
}

// Logs is the answer of GET /api/v1/transparency/logs: the tenant's, oldest first,
// and then the system's.
type Logs struct {
	Logs []Log `json:"logs"`
}

func (h *Handler) logs(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r.URL.RawQuery); err != nil {
		return err
	}
	visible, err := h.visible(r.Context(), h.cfg.Grant(r.Context()).Tenant)
	if err != nil {
		return err
	}
	out := Logs{Logs: []Log{}}
	for i, info := range visible {
		out.Logs = append(out.Logs, Log{
			Log: info.Origin, LogNo: info.No, TenantID: info.Tenant, VKey: info.VKey,
			Prefix: Prefix + "/log/" + Name(info.Origin),
			Newest: i+1 == len(visible) || visible[i+1].Tenant != info.Tenant,
		})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", forNow)
	return json.NewEncoder(w).Encode(out)
}

func (h *Handler) checkpoint(q *question) error {
	if _, err := parameters(q.r.URL.RawQuery); err != nil {
		return err
	}
	note, _, err := h.current(q.r.Context(), q.log)
	if err != nil {
		return err
	}
	return q.answer(textType, forNow, note)
}

func (h *Handler) key(q *question) error {
	if _, err := parameters(q.r.URL.RawQuery); err != nil {
		return err
	}
	return q.answer(textType, forNow, []byte(q.log.VKey+"\n"))
}

func (h *Handler) tile(q *question) error {
	if _, err := parameters(q.r.URL.RawQuery); err != nil {
		return err
	}
	level, n, width, err := c2sp.ParseTilePath("tile/" + q.r.PathValue("tile"))
	if err != nil {
		return fmt.Errorf("%w: %w", evidence.ErrNotFound, err)
	}
	var data []byte
	if level == c2sp.EntriesLevel {
		if err := h.mayReadEntries(q); err != nil {
			return err
		}
		data, err = q.log.Entries(q.r.Context(), n, width)
	} else {
		data, err = q.log.Tile(q.r.Context(), level, n, width)
	}
	if err != nil {
		return err
	}
	keep := forNow
	switch {
	case q.fixed && width == c2sp.TileWidth:
		keep = forEver
	case q.fixed:
		keep = forAges
	}
	return q.answer(binaryType, keep, data)
}

// mayReadEntries decides what the rule of the path does too: a rule that an operator
// wrote must not show by one path what it hides by another.
func (h *Handler) mayReadEntries(q *question) error {
	switch {
	case q.log.Tenant != q.grant.Tenant:
		return fmt.Errorf("entries of %s: %w", q.log.Origin, evidence.ErrNotFound)
	case !q.grant.Permissions.Has(access.AuditRead):
		return h.cfg.Deny(q.r, access.AuditRead.String(), "entries show audit records, and the credential has no permission "+access.AuditRead.String())
	case !q.grant.IncludeSynthetic || q.grant.SyntheticOnly:
		return h.cfg.Deny(q.r, "entries", "entries show synthetic and other records alike, and the rules do not show both to this credential")
	}
	return nil
}

func (h *Handler) inclusion(q *question) error {
	p, err := parameters(q.r.URL.RawQuery, "index", "size")
	if err != nil {
		return err
	}
	index, ok := p["index"]
	if !ok {
		return problem.Malformed("index", "is required")
	}
	note, size, err := h.at(q, p, "size")
	if err != nil {
		return err
	}
	hashes, err := q.log.Inclusion(q.r.Context(), index, size)
	if err != nil {
		return err
	}
	proof := c2sp.Proof{Index: index, Hashes: hashes, Note: note}
	return q.answer(textType, forNow, proof.Marshal())
}

func (h *Handler) consistency(q *question) error {
	p, err := parameters(q.r.URL.RawQuery, "old", "new")
	if err != nil {
		return err
	}
	old, ok := p["old"]
	if !ok {
		return problem.Malformed("old", "is required")
	}
	note, size, err := h.at(q, p, "new")
	if err != nil {
		return err
	}
	hashes, err := q.log.Consistency(q.r.Context(), old, size)
	if err != nil {
		return err
	}
	proof := c2sp.Consistency{Old: old, Hashes: hashes, Note: note}
	return q.answer(textType, forNow, proof.Marshal())
}

// at returns the checkpoint that a proof leads to: the one that is served, or that
// of a size that is asked for.
func (h *Handler) at(q *question, p map[string]int64, name string) ([]byte, int64, error) {
	size, ok := p[name]
	if !ok {
		return h.current(q.r.Context(), q.log)
	}
	note, err := q.log.NoteAt(q.r.Context(), size)
	if err != nil {
		return nil, 0, err
	}
	note, err = h.cfg.Ledger.Cosigned(q.r.Context(), q.log.Tenant, q.log.No, note)
	return note, size, err
}

// parameters reads the numbers of a query: each of the names at most once, and
// nothing else.
func parameters(query string, names ...string) (map[string]int64, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, problem.Malformed("query", "cannot be read")
	}
	out := map[string]int64{}
	for _, name := range names {
		if len(values[name]) > 1 {
			return nil, problem.Malformed(name, "is given twice")
		}
		if len(values[name]) == 0 {
			continue
		}
		text := values[name][0]
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > c2sp.MaxSize || strconv.FormatInt(n, 10) != text {
			return nil, problem.Malformed(name, "must be a number of leaves in decimal")
		}
		out[name] = n
		delete(values, name)
	}
	for name := range values {
		return nil, problem.Malformed(name, "is not a parameter of this route")
	}
	return out, nil
}

// gzipFrom is the size from which an answer is compressed. Hashes are not: they
// would not be smaller.
const gzipFrom = 1 << 10

// answer writes an answer. That the client is gone is no error.
func (q *question) answer(contentType, keep string, body []byte) error {
	header := q.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", keep)
	header.Set("Vary", varies)
	entries := strings.HasPrefix(q.r.PathValue("tile"), "entries/")
	if entries && len(body) >= gzipFrom && takesGzip(q.r.Header) {
		header.Set("Content-Encoding", "gzip")
		z, err := gzip.NewWriterLevel(q.w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		_, _ = z.Write(body)
		_ = z.Close()
		return nil
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = q.w.Write(body)
	return nil
}

// takesGzip reads Accept-Encoding (RFC 9110 section 12.5.3).
func takesGzip(header http.Header) bool {
	for _, list := range header["Accept-Encoding"] {
		for _, coding := range strings.Split(list, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				q, _ := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
				v, err := strconv.ParseFloat(q, 64)
				return err != nil || v > 0
			}
		}
	}
	return false
}
