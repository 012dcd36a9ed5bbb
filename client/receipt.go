package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/runledger/runledger/evidence"
)

// Pauses between two questions for a receipt where the server names none.
const (
	minPoll = 100 * time.Millisecond
	maxPoll = 2 * time.Second
)

// Inclusion is a receipt with the proof that its leaf is in a signed tree.
type Inclusion struct {
	Receipt
	// Leaf is the leaf's exact bytes. Empty: the server does not show them to this
	// credential, such as those of a record that another producer sent.
	Leaf       []byte
	Proof      string // C2SP tlog-proof text, with the checkpoint in it
	Checkpoint string // the signed checkpoint
	// VKey is the log's key as the server states it: a hint. Trust no proof for
	// it.
	VKey string
	// Verified says that the proof was checked with one of
	// [Config].VerifierKeys. False: there are none, or there is no leaf, without
	// which nothing says that the proof is of this record.
	Verified bool
}

// WaitReceipt waits until a checkpoint covers the record of that id, within about
// a second of its receipt, and returns the proof. With [Config].VerifierKeys the
// proof is checked, and an error that wraps evidence.ErrTampered says that it does
// not hold: keep what the server answered, it is evidence against the server. An
// unknown id is evidence.ErrNotFound at once.
func (c *Client) WaitReceipt(ctx context.Context, id string) (*Inclusion, error) {
	if _, ok := evidence.ParseID(id); !ok {
		return nil, &evidence.FieldError{Field: "id", Reason: "must be a UUID in lower case", Err: evidence.ErrInvalid}
	}
	for poll := minPoll; ; poll = min(2*poll, maxPoll) {
		in, wait, err := c.receipt(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("receipt %s: %w", id, err)
		}
		if in == nil {
			if !sleep(ctx, max(poll, wait)) {
				return nil, fmt.Errorf("receipt %s: %w (no checkpoint covers it yet)", id, context.Cause(ctx))
			}
			continue
		}
		if len(c.keys) > 0 && len(in.Leaf) > 0 {
			if err := verify(in, id, c.keys); err != nil {
				return nil, fmt.Errorf("receipt %s: %w", id, err)
			}
			in.Verified = true
		}
		return in, nil
	}
}

// receipt asks once. It returns nil where no checkpoint covers the record yet,
// and how long the server asks to wait.
func (c *Client) receipt(ctx context.Context, id string) (in *Inclusion, wait time.Duration, err error) {
	err = c.do(ctx, request{
		method: http.MethodGet, path: "/api/v1/receipts/" + url.PathEscape(id), retries: max(c.cfg.MaxRetries, 0),
		accept: func(status int, header http.Header, body []byte) (err error) {
			in = nil
			if status == http.StatusAccepted {
				wait = parseRetryAfter(header.Get("Retry-After"), time.Now())
				return nil
			}
			in, err = parseInclusion(body, id)
			return err
		},
	})
	return in, wait, err
}

func parseInclusion(body []byte, id string) (*Inclusion, error) {
	var w struct {
		wireReceipt
		Leaf       string `json:"leaf"`
		Proof      string `json:"proof"`
		Checkpoint string `json:"checkpoint"`
		VKey       string `json:"vkey"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, err
	}
	r, err := w.receipt()
	if err != nil {
		return nil, err
	}
	if r.ID != id {
		return nil, fmt.Errorf("it is of record %s", r.ID)
	}
	if w.Proof == "" {
		return nil, errors.New("it has no proof")
	}
	return &Inclusion{Receipt: r, Leaf: []byte(w.Leaf), Proof: w.Proof, Checkpoint: w.Checkpoint, VKey: w.VKey}, nil
}
