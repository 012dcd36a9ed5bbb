package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// PeriodExport says what is to be exported of a period.
type PeriodExport struct {
	Scope string // system, audit or compliance
	// From and Until bound recorded_at: not before From, and before Until.
	From, Until time.Time
	Format      string // json, csv, pdf, zip; empty: zip
	// Tags are names that the export's records carry, such as SOC2.
	Tags []string
	// Withhold, Disclose, SinceSize and IdempotencyKey are as in [ExportOptions].
	Withhold, Disclose []string
	SinceSize          int64
	IdempotencyKey     string
}

const exportsPath = "/api/v1/exports"

// StartExport begins an export of a period and returns its state. It is made in the
// background: see [Client.WaitExport].
func (c *Client) StartExport(ctx context.Context, p PeriodExport) (*answer.ExportStatus, error) {
	from, until := evidence.MicrosOf(p.From), evidence.MicrosOf(p.Until)
	if !from.InRange() || !until.InRange() {
		return nil, parameterError("from", "or until is no time that records have")
	}
	body, err := json.Marshal(struct {
		Scope     string          `json:"scope"`
		From      evidence.Micros `json:"from"`
		Until     evidence.Micros `json:"until"`
		Format    string          `json:"format,omitempty"`
		Tags      []string        `json:"compliance_tags,omitempty"`
		Disclose  []string        `json:"disclose,omitempty"`
		Withhold  []string        `json:"withhold,omitempty"`
		SinceSize int64           `json:"since_size,omitempty"`
	}{p.Scope, from, until, p.Format, p.Tags, p.Disclose, p.Withhold, p.SinceSize})
	if err != nil {
		return nil, err
	}
	return c.exportStatus(ctx, request{
		method: http.MethodPost, path: exportsPath, body: body, retries: max(c.cfg.MaxRetries, 0),
		header: http.Header{"Idempotency-Key": {cmp.Or(p.IdempotencyKey, newID(time.Now()))}},
	})
}

// ExportStatus returns the state of an export.
func (c *Client) ExportStatus(ctx context.Context, exportID string) (*answer.ExportStatus, error) {
	if strings.Trim(exportID, ".") == "" {
		return nil, parameterError("export_id", "names no export")
	}
	return c.exportStatus(ctx, request{
		method: http.MethodGet, path: exportsPath + "/" + url.PathEscape(exportID), retries: max(c.cfg.MaxRetries, 0),
	})
}

func (c *Client) exportStatus(ctx context.Context, rq request) (s *answer.ExportStatus, err error) {
	rq.accept = func(_ int, _ http.Header, body []byte) (err error) {
		s, err = parseAnswer[answer.ExportStatus](body)
		return err
	}
	if err := c.do(ctx, rq); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return s, nil
}

// Waits between two questions for the state of an export.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 5 * time.Second
)

// WaitExport waits until an export is no longer pending and returns its state, which
// may be failed. progress, where it is not nil, is told each state on the way.
func (c *Client) WaitExport(ctx context.Context, exportID string, progress func(*answer.ExportStatus)) (*answer.ExportStatus, error) {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		s, err := c.ExportStatus(ctx, exportID)
		if err != nil || s.Status != "pending" {
			return s, err
		}
		if progress != nil {
			progress(s)
		}
		if !sleep(ctx, wait) {
			return nil, fmt.Errorf("export %s: %w", exportID, context.Cause(ctx))
		}
	}
}
