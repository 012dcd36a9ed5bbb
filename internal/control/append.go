package control

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// Bounds of one append request. Larger input is several requests.
const (
	MaxBatchRecords = 5000
	MaxBatchBytes   = 128 << 20
)

// maxProblems is how many bad records an answer names.
const maxProblems = 100

// batch is the records of a request with the lines that they stand on.
type batch struct {
	records []*evidence.Record
	lines   []int
	bad     []RecordProblem
}

func (h *handler) append(w http.ResponseWriter, r *http.Request) error {
	tenant := r.PathValue("tenant")
	partial := r.URL.Query().Get("partial") == "true"
	if _, err := h.newest(r.Context(), tenant); err != nil {
		return err
	}
	b, err := readBatch(tenant, http.MaxBytesReader(w, r.Body, MaxBatchBytes))
	if err != nil {
		return err
	}
	if len(b.bad) > 0 && !partial {
		return refused(b.bad)
	}
	receipts, err := h.cfg.Ledger.Append(r.Context(), tenant, b.records,
		ledger.AppendOptions{Producer: callerOf(r.Context()).producer(), Partial: partial})
	if receipts != nil && h.cfg.Observe != nil {
		h.cfg.Observe(tenant, b.records, receipts)
	}
	single, other := ledger.RecordErrors(err)
	if other != nil {
		return other
	}
	refusedAt := map[int]bool{}
	for _, e := range single {
		refusedAt[e.Index] = true
		b.bad = append(b.bad, recordProblem(b.lines[e.Index], e.Err))
	}
	slices.SortStableFunc(b.bad, func(x, y RecordProblem) int { return x.Line - y.Line })
	if receipts == nil && len(b.bad) > 0 && !partial {
		return refused(b.bad)
	}
	out := AppendAnswer{Receipts: []Receipt{}, Errors: append([]RecordProblem{}, b.bad...)}
	for i, rc := range receipts {
		if !refusedAt[i] {
			out.Receipts = append(out.Receipts, receiptOf(b.lines[i], rc))
		}
	}
	return answer(w, http.StatusOK, out)
}

func receiptOf(line int, rc ledger.Receipt) Receipt {
	out := Receipt{
		Line: line, ID: rc.ID.String(), Log: rc.Log, LogNo: rc.LogNo, LeafIndex: rc.LeafIndex,
		LeafHash: rc.LeafHash.String(), Duplicate: rc.Duplicate,
	}
	if rc.ConflictOf != (evidence.ID{}) {
		out.ConflictOf = rc.ConflictOf.String()
	}
	return out
}

// readBatch reads native records, one a line; empty lines are skipped.
func readBatch(tenant string, r io.Reader) (*batch, error) {
	b := &batch{}
	br := bufio.NewReaderSize(r, 64<<10)
	for line := 1; ; line++ {
		text, err := br.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				err = fmt.Errorf("request: %w: at most %d MiB at once", evidence.ErrTooLarge, MaxBatchBytes>>20)
			}
			return nil, err
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			if len(b.records)+len(b.bad) == MaxBatchRecords {
				return nil, fmt.Errorf("request: %w: at most %d records at once", evidence.ErrTooLarge, MaxBatchRecords)
			}
			rec, perr := ParseRecord(tenant, text)
			if perr != nil {
				b.bad = append(b.bad, recordProblem(line, perr))
			} else {
				b.records, b.lines = append(b.records, rec), append(b.lines, line)
			}
		}
		if err != nil {
			return b, nil
		}
	}
}

// ParseRecord reads one native record for a tenant and checks all that can be
// checked before it is appended. Errors are [*evidence.FieldError]s.
func ParseRecord(tenant string, line []byte) (*evidence.Record, error) {
	r, err := evidence.ParseNative(line)
	if err != nil {
		return nil, err
	}
	if err := r.AssignID(tenant); err != nil {
		return nil, err
	}
	return r, checkLeafSize(r)
}

// checkLeafSize refuses a record whose leaf could be over its limit, whatever
// the server puts in: the same bound as the ledger's own.
func checkLeafSize(r *evidence.Record) error {
	leaf := evidence.Leaf{
		Log: strings.Repeat("x", 63) + "/000000000000", Seq: evidence.MaxInt, ID: r.ID, Kind: r.Kind,
		Run: r.Run, N: evidence.MaxInt, Pub: slices.Clone(r.Pub),
	}
	for name, value := range map[string]string{"conflict_of": r.ID.String(), "producer": strings.Repeat("x", evidence.MaxName)} {
		leaf.SetFact(evidence.Fact{Field: evidence.PublicField(r.Kind, name), Str: value})
	}
	for _, v := range r.Sealed {
		leaf.H = append(leaf.H, evidence.Commitment{Path: v.Path})
	}
	_, err := leaf.Append(nil)
	return err
}

// refused is the answer where nothing of a batch was written.
func refused(bad []RecordProblem) error {
	p := &Problem{Type: "about:blank", Code: bad[0].Code, Detail: bad[0].String(), Field: bad[0].Field}
	for _, k := range kinds {
		if k.code == p.Code {
			p.Status, p.Title = k.status, k.title
		}
	}
	if n := len(bad) - 1; n > 0 {
		p.Detail += fmt.Sprintf(" (and %d more)", n)
	}
	p.Errors = bad[:min(len(bad), maxProblems)]
	return p
}
