package ingest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
)

// Receipt says where a record of a request stands.
type Receipt struct {
	Index      int    `json:"index"` // of the records of the request, from 0
	ID         string `json:"id"`
	Log        string `json:"log"`
	LogNo      int    `json:"log_no"`
	LeafIndex  int64  `json:"leaf_index"`
	LeafHash   string `json:"leaf_hash"`
	Duplicate  bool   `json:"duplicate,omitempty"`
	ConflictOf string `json:"conflict_of,omitempty"`
}

// RecordsAnswer is the answer of POST /api/v1/ingest/records.
type RecordsAnswer struct {
	Receipts []Receipt       `json:"receipts"`
	Errors   []RecordProblem `json:"errors"` // with partial=true only
	// Checkpoint covers all records; with wait=checkpoint, unless none was
	// published in time.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// native makes a handler of a function that answers, or returns its error.
func (h *Handler) native(signal string, f func(w http.ResponseWriter, r *http.Request) (int, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		status, err := f(w, r)
		if err != nil {
			status = h.fail(w, r, err)
		}
		h.metrics.request(signal, "http", strconv.Itoa(status), start)
	})
}

func answer(w http.ResponseWriter, status int, v any) (int, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	w.Header().Set("Content-Type", typeJSON)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs no answer
	return status, nil
}

func schema(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/schema+json")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(evidence.Schema())
}

// recordsQuery is the query of POST /api/v1/ingest/records.
type recordsQuery struct{ partial, wait bool }

func queryOf(r *http.Request) (q recordsQuery, err error) {
	bad := func(name, reason string) error {
		return &evidence.FieldError{Field: name, Reason: reason, Err: evidence.ErrInvalid}
	}
	for name, values := range r.URL.Query() {
		v := values[len(values)-1]
		switch name {
		case "partial":
			if q.partial, err = strconv.ParseBool(v); err != nil {
				return q, bad(name, "must be true or false")
			}
		case "wait":
			if q.wait = v == "checkpoint"; !q.wait {
				return q, bad(name, "must be checkpoint")
			}
		default:
			return q, bad(strconv.Quote(name), "is not a parameter of this route")
		}
	}
	return q, nil
}

func (h *Handler) ingestRecords(w http.ResponseWriter, r *http.Request) (int, error) {
	c, err := h.admit(r, permIngest)
	if err != nil {
		return 0, err
	}
	q, err := queryOf(r)
	if err != nil {
		return 0, err
	}
	split := splitterOf(r.Header.Get("Content-Type"))
	if split == nil {
		return 0, unsupported(typeJSON, "application/x-ndjson")
	}
	if err := h.cfg.Paused(); err != nil {
		return 0, err
	}
	body, room, err := h.readBody(w, r)
	if err != nil {
		if room != nil {
			room.done()
		}
		return 0, err
	}
	h.metrics.bytes.WithLabelValues("records").Add(float64(len(body)))
	out, err := h.takeRecords(r.Context(), c, q, split, body, room)
	if err != nil {
		return 0, err
	}
	h.metrics.items.WithLabelValues("records", "accepted").Add(float64(len(out.Receipts)))
	h.metrics.items.WithLabelValues("records", "rejected").Add(float64(len(out.Errors)))
	return answer(w, http.StatusOK, out)
}

// nativeBatch is the records of a request.
type nativeBatch struct {
	items    []otlp.Item
	index    []int  // of items, in the request
	revision []bool // of items: an llm_run that does not say its revision
	bad      []RecordProblem
}

// takeRecords takes the bytes of a request in. It gives its room back.
func (h *Handler) takeRecords(ctx context.Context, c Caller, q recordsQuery, split splitter, body []byte, room *room) (*RecordsAnswer, error) {
	texts, b, err := h.readRecords(ctx, split, body, room)
	if err != nil {
		room.done()
		return nil, err
	}
	if len(b.items) == 0 || (len(b.bad) > 0 && !q.partial) {
		room.done()
		if len(b.bad) > 0 && !q.partial {
			return nil, refused(b.bad)
		}
		return &RecordsAnswer{Receipts: []Receipt{}, Errors: append([]RecordProblem{}, b.bad...)}, nil
	}
	a := &appending{h: h, caller: c, partial: q.partial, items: b.items}
	err = h.detach(ctx, room, func(ctx context.Context) error { return h.appendNative(ctx, a, b, texts) })
	if err != nil {
		return nil, err
	}
	return h.answerRecords(ctx, c, q, b, a)
}

// nativeRecordSize is what a record takes in memory besides its bytes.
const nativeRecordSize = 2 << 10

// readRecords cuts a body into records and parses them. A panic is an error:
// net/http would keep the room.
func (h *Handler) readRecords(ctx context.Context, split splitter, body []byte, room *room) (texts [][]byte, b *nativeBatch, err error) {
	defer recovered(&err)
	if texts, err = split(body); err != nil {
		return nil, nil, err
	}
	if err := room.grow(ctx, room.size+int64(len(texts))*nativeRecordSize); err != nil {
		return nil, nil, err
	}
	return texts, h.parseRecords(texts), nil
}

func (h *Handler) answerRecords(ctx context.Context, c Caller, q recordsQuery, b *nativeBatch, a *appending) (*RecordsAnswer, error) {
	gone := map[int]bool{}
	for _, e := range a.refused {
		gone[e.Index] = true
		b.bad = append(b.bad, recordProblem(b.index[e.Index], e.Err))
	}
	slices.SortStableFunc(b.bad, func(x, y RecordProblem) int { return x.Index - y.Index })
	if len(b.bad) > 0 && !q.partial {
		return nil, refused(b.bad)
	}
	out := &RecordsAnswer{Receipts: []Receipt{}, Errors: append([]RecordProblem{}, b.bad...)}
	newest := ledger.Receipt{LogNo: -1}
	for i, rc := range a.receipts {
		if gone[i] {
			continue
		}
		out.Receipts = append(out.Receipts, receiptOf(b.index[i], rc))
		if rc.LogNo > newest.LogNo || (rc.LogNo == newest.LogNo && rc.LeafIndex > newest.LeafIndex) {
			newest = rc
		}
	}
	if q.wait && newest.LogNo >= 0 {
		ctx, cancel := context.WithTimeout(ctx, h.cfg.CheckpointWait)
		defer cancel()
		// The records are durable whatever comes of it, so this is no failure.
		if note, err := h.cfg.Ledger.WaitPublished(ctx, c.Tenant, newest.LogNo, newest.LeafIndex+1); err == nil {
			out.Checkpoint = string(note)
		}
	}
	return out, nil
}

func receiptOf(index int, rc ledger.Receipt) Receipt {
	out := Receipt{
		Index: index, ID: rc.ID.String(), Log: rc.Log, LogNo: rc.LogNo, LeafIndex: rc.LeafIndex,
		LeafHash: rc.LeafHash.String(), Duplicate: rc.Duplicate,
	}
	if rc.ConflictOf != (evidence.ID{}) {
		out.ConflictOf = rc.ConflictOf.String()
	}
	return out
}

func (h *Handler) parseRecords(texts [][]byte) *nativeBatch {
	b := &nativeBatch{}
	for i, text := range texts {
		rec, err := evidence.ParseNative(text)
		if err != nil {
			b.bad = append(b.bad, recordProblem(i, err))
			continue
		}
		b.items = append(b.items, otlp.Item{Record: rec, Hints: h.hints(rec)})
		b.index = append(b.index, i)
		b.revision = append(b.revision, rec.Kind == evidence.KindLLMRun && !hasMember(text, "revision"))
	}
	return b
}

// hints returns what the tracker would read from the stored record, so that a
// restart makes no difference.
func (h *Handler) hints(r *evidence.Record) dialect.Hints {
	attrs, body := r.SealedJSON("/attrs"), r.SealedJSON("/body")
	if attrs == nil && body == nil {
		return dialect.Hints{}
	}
	hints, err := h.cfg.Mapper.Reread(r.Kind, attrs, body)
	if err != nil { // a producer's /attrs need not be those of a span
		return dialect.Hints{}
	}
	return hints
}

// appendNative settles the revisions that are left open and appends. What is
// left open is decided by what the log holds, so it is decided again where
// another record of the run came in between.
func (h *Handler) appendNative(ctx context.Context, a *appending, b *nativeBatch, texts [][]byte) error {
	const tries = 5
	for try := 1; ; try++ {
		guard, err := h.settleRevisions(ctx, a.caller.Tenant, a.items, b.revision)
		if err != nil {
			return err
		}
		// The last try goes without the guard: a revision that is taken
		// meanwhile makes a conflict record, which is seen.
		if a.runRecords = guard; try == tries {
			a.runRecords = nil
		}
		err = a.run(ctx)
		if !isStale(err) {
			return err
		}
		time.Sleep(time.Duration(try) * 10 * time.Millisecond) // the store lags behind the queue
		a.items = h.parseRecords(texts).items                  // the ledger has taken the former ones over
	}
}
