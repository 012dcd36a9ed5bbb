package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/runledger/runledger/evidence"
)

// Receipt says that a record is durable and where it stands in the log.
type Receipt struct {
	Index     int    // of the record in the call, from 0; see [WriterConfig] for a writer's
	ID        string // the record's id, given by the client or made by the server
	Log       string // origin of the log
	LogNo     int64  // number of the log among the tenant's, from 1
	LeafIndex int64
	LeafHash  evidence.Hash
	// Duplicate says that the record was there before: an earlier try had
	// arrived.
	Duplicate bool
	// ConflictOf is the id of a record that says otherwise under the same
	// natural key (fields.md); this one is kept beside it. Empty: none.
	ConflictOf string
}

// AppendOptions changes what [Client.AppendBatch] does. The zero value is what
// [Client.Append] does.
type AppendOptions struct {
	// Partial keeps the good records of a batch that has bad ones.
	Partial bool
	// WaitCheckpoint lets the server answer only when a signed checkpoint covers
	// the records.
	WaitCheckpoint bool
}

// Result is the answer to a batch.
type Result struct {
	Receipts []Receipt     // of the records that are durable
	Errors   []RecordError // of those that are not; empty unless Partial was set
	// Checkpoint is the signed checkpoint that covers the records, if it was
	// asked for and came in time. It is not checked: see [Client.WaitReceipt].
	Checkpoint string
}

// Append makes records durable, all or none, and returns a receipt for each in
// their order. It is repeated as the package comment says. The records must
// together be smaller than the server's limit (64 MiB by default).
func (c *Client) Append(ctx context.Context, records ...Record) ([]Receipt, error) {
	res, err := c.AppendBatch(ctx, AppendOptions{}, records...)
	if err != nil {
		return nil, err
	}
	return res.Receipts, nil
}

// AppendBatch is Append with options. With Partial, records that the server
// refuses are in the result's Errors and are no error of the call; a record that
// is no JSON object is refused before anything is sent.
func (c *Client) AppendBatch(ctx context.Context, opts AppendOptions, records ...Record) (*Result, error) {
	items := make([]item, 0, len(records))
	var bad []RecordError
	for i, r := range records {
		it, err := c.encode(r)
		if err != nil {
			bad = append(bad, recordError(i, err))
		}
		items = append(items, it)
	}
	if bad != nil {
		first := bad[0]
		return nil, &Error{Code: first.Code, Field: first.Field, Detail: fmt.Sprintf("record %d: %s", first.Index, first.Detail), Records: bad}
	}
	return c.send(ctx, opts, items, max(c.cfg.MaxRetries, 0))
}

func recordError(index int, err error) RecordError {
	e := RecordError{Index: index, Code: "invalid", Detail: err.Error()}
	if f := (*evidence.FieldError)(nil); errors.As(err, &f) {
		e.Field, e.Detail = f.Field, f.Reason
	}
	return e
}

// send sends encoded records.
func (c *Client) send(ctx context.Context, opts AppendOptions, items []item, retries int) (*Result, error) {
	if len(items) == 0 {
		return &Result{}, nil
	}
	path, sep := "/api/v1/ingest/records", "?"
	if opts.Partial {
		path, sep = path+sep+"partial=true", "&"
	}
	if opts.WaitCheckpoint {
		path += sep + "wait=checkpoint"
	}
	var res *Result
	err := c.do(ctx, request{
		method: http.MethodPost, path: path, body: arrayOf(items), retries: retries,
		accept: func(_ int, _ http.Header, body []byte) (err error) {
			res, err = parseResult(body, items, opts.Partial)
			return err
		},
	})
	if err != nil {
		return nil, fmt.Errorf("append %d records: %w", len(items), err)
	}
	return res, nil
}

// arrayOf puts records into a JSON array, each byte for byte as it is: the
// server commits to the exact text of sealed values.
func arrayOf(items []item) []byte {
	size := 2
	for _, it := range items {
		size += len(it.json) + 1
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	b.WriteByte('[')
	for i, it := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(it.json)
	}
	b.WriteByte(']')
	return b.Bytes()
}

// wireReceipt is a receipt as it is answered.
type wireReceipt struct {
	Index      int    `json:"index"`
	ID         string `json:"id"`
	Log        string `json:"log"`
	LogNo      int64  `json:"log_no"`
	LeafIndex  int64  `json:"leaf_index"`
	LeafHash   string `json:"leaf_hash"`
	Duplicate  bool   `json:"duplicate"`
	ConflictOf string `json:"conflict_of"`
}

func (w *wireReceipt) receipt() (Receipt, error) {
	r := Receipt{
		Index: w.Index, ID: w.ID, Log: w.Log, LogNo: w.LogNo, LeafIndex: w.LeafIndex,
		Duplicate: w.Duplicate, ConflictOf: w.ConflictOf,
	}
	_, okID := evidence.ParseID(w.ID)
	var okHash bool
	r.LeafHash, okHash = parseHash(w.LeafHash)
	if !okID || !okHash || w.Log == "" || w.LeafIndex < 0 {
		return Receipt{}, fmt.Errorf("the receipt of record %d is not complete", w.Index)
	}
	return r, nil
}

func parseHash(s string) (h evidence.Hash, ok bool) {
	if len(s) != hex.EncodedLen(len(h)) {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(s))
	return h, err == nil
}

// parseResult reads the answer to an append, which must account for every
// record once.
func parseResult(body []byte, items []item, partial bool) (*Result, error) {
	var w struct {
		Receipts   []wireReceipt `json:"receipts"`
		Errors     []RecordError `json:"errors"`
		Checkpoint string        `json:"checkpoint"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, err
	}
	if len(w.Errors) > 0 && !partial {
		return nil, errors.New("a batch that is all or nothing was kept in part")
	}
	seen := make([]bool, len(items))
	account := func(i int) error {
		if i < 0 || i >= len(items) || seen[i] {
			return fmt.Errorf("it names a record %d that was not sent, or twice", i)
		}
		seen[i] = true
		return nil
	}
	res := &Result{Errors: w.Errors, Checkpoint: w.Checkpoint, Receipts: make([]Receipt, 0, len(w.Receipts))}
	for _, e := range w.Errors {
		if err := account(e.Index); err != nil {
			return nil, err
		}
	}
	for i := range w.Receipts {
		r, err := w.Receipts[i].receipt()
		if err != nil {
			return nil, err
		}
		if err := account(r.Index); err != nil {
			return nil, err
		}
		if sent := items[r.Index].id; sent != "" && sent != r.ID && sent != r.ConflictOf {
			return nil, fmt.Errorf("the receipt of record %d is of another record", r.Index)
		}
		res.Receipts = append(res.Receipts, r)
	}
	for i, ok := range seen {
		if !ok {
			return nil, fmt.Errorf("it says nothing of record %d", i)
		}
	}
	return res, nil
}
