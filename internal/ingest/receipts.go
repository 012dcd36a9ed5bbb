package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// maxScans is how many look-ups that may read a whole log run at a time.
const maxScans = 2

// ProofAnswer is the answer of GET /api/v1/receipts/{id}. While no checkpoint
// covers the record yet (202) it ends with LeafIndex. It has no leaf where the caller
// may not see records of that kind: the proof, which says nothing of what it proves,
// is for everyone who may ask.
type ProofAnswer struct {
	ID         string `json:"id"`
	Log        string `json:"log"`
	LogNo      int    `json:"log_no"`
	LeafIndex  int64  `json:"leaf_index"`
	LeafHash   string `json:"leaf_hash,omitempty"`
	Leaf       string `json:"leaf,omitempty"`       // verbatim; see shows
	Proof      string `json:"proof,omitempty"`      // C2SP tlog-proof
	Checkpoint string `json:"checkpoint,omitempty"` // the one in the proof
	VKey       string `json:"vkey,omitempty"`
}

func (h *Handler) receipt(w http.ResponseWriter, r *http.Request) (int, error) {
	c, err := h.cfg.Gate.Authenticate(r)
	if err != nil {
		return 0, denied(err)
	}
	// A producer may see what became of its records; who reads may anyway.
	permission := permRead
	if c.has(permIngest) {
		permission = permIngest
	}
	if err := h.require(r.Context(), c, permission, r.Pattern); err != nil {
		return 0, err
	}
	out, err := h.prove(r.Context(), c, r.PathValue("id"))
	w.Header().Set("Cache-Control", "no-store")
	if errors.Is(err, ledger.ErrNotPublished) {
		w.Header().Set("Retry-After", strconv.Itoa(retryFull))
		return answer(w, http.StatusAccepted, out)
	}
	if err != nil {
		return 0, err
	}
	return answer(w, http.StatusOK, out)
}

// prove returns what is known of a record. With ledger.ErrNotPublished that is
// its place only.
func (h *Handler) prove(ctx context.Context, c Caller, name string) (*ProofAnswer, error) {
	tenant := c.Tenant
	pos, err := h.locate(ctx, tenant, name)
	if err != nil {
		return nil, err
	}
	logs, err := h.cfg.Ledger.Logs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if pos.LogNo < 1 || pos.LogNo > len(logs) {
		return nil, fmt.Errorf("record %s: %w: it stands in a log that is not there", name, evidence.ErrTampered)
	}
	info := logs[pos.LogNo-1] // logs are numbered from 1 without gaps
	out := &ProofAnswer{ID: name, Log: info.Origin, LogNo: info.No, LeafIndex: pos.Seq}
	p, err := h.cfg.Ledger.ProveSeq(ctx, tenant, pos.LogNo, pos.Seq)
	if err != nil {
		return out, err
	}
	leaf, err := evidence.ParseLeaf(p.Leaf)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w: %w", name, evidence.ErrTampered, err)
	}
	out.ID = leaf.ID.String()
	out.LeafHash = evidence.LeafHash(p.Leaf).String()
	if shows(c, access.GrantOf(ctx), leaf) {
		out.Leaf = string(p.Leaf)
	}
	out.Proof, out.Checkpoint, out.VKey = string(p.Marshal()), string(p.Note), info.VKey
	return out, nil
}

// permAudit is what reading records of the AUDIT topic takes.
const permAudit = "audit.read"

// shows reports whether a caller may see the public facts of a record: a producer
// those of what it sent itself, and who reads what the topics of the facade would
// show them. Receipts are no views, so nothing else may be seen by them.
func shows(c Caller, g access.Grant, l *evidence.Leaf) bool {
	if c.has(permIngest) && c.Credential != "" && l.Text("producer") == c.Credential {
		return true
	}
	if !c.has(permRead) || (l.Kind == evidence.KindAudit || l.Kind == evidence.KindExport) && !c.has(permAudit) {
		return false
	}
	if synthetic, _ := l.Int("is_synthetic"); synthetic != 0 {
		return g.IncludeSynthetic
	}
	return !g.SyntheticOnly
}

// locate finds a record by its id, or a span's step also by
// <trace id>:<span id>, which is quicker.
func (h *Handler) locate(ctx context.Context, tenant, name string) (store.Position, error) {
	if trace, span, ok := strings.Cut(name, ":"); ok {
		if len(trace) != 32 || len(span) != 16 {
			return store.Position{}, &evidence.FieldError{Field: "id", Reason: "must be <trace id>:<span id> in lower-case hex", Err: evidence.ErrInvalid}
		}
		return h.cfg.Ledger.LocateSpan(ctx, tenant, store.Span{TraceID: trace, SpanID: span})
	}
	id, ok := evidence.ParseID(name)
	if !ok {
		return store.Position{}, &evidence.FieldError{Field: "id", Reason: "must be a UUID in lower case", Err: evidence.ErrInvalid}
	}
	found, err := h.cfg.Ledger.FindIDs(ctx, tenant, []evidence.ID{id})
	if err != nil {
		return store.Position{}, err
	}
	if pos, ok := found[id]; ok {
		return pos, nil
	}
	// A step's id is in no table: the log itself is read, which is slow, so
	// only few may do it at a time.
	if err := h.acquire(ctx, h.scans, 1); err != nil {
		return store.Position{}, fmt.Errorf("%w: other look-ups read the whole log", err)
	}
	defer h.scans.Release(1)
	return h.cfg.Ledger.Locate(ctx, tenant, id)
}
