package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	shapes "github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// AppendNative takes in native records, one a line, that another part of the
// server makes of what a client sends it. They go the way of POST
// /api/v1/ingest/records, with the same checks, and are kept all or not at all
// (but for what that route keeps of a batch that is refused half-way). That
// the credential has ingest.write was decided before.
//
// The receipts are in the order of the lines. An error about one line is an
// *evidence.LineError.
func (h *Handler) AppendNative(ctx context.Context, tenant, credential string, lines [][]byte) ([]shapes.Receipt, error) {
	if tenant == "" {
		return nil, fmt.Errorf("append: %w: the request names no tenant", evidence.ErrForbidden)
	}
	if err := h.cfg.Paused(); err != nil {
		return nil, err
	}
	size := int64(0)
	for _, line := range lines {
		size += int64(len(line))
	}
	if size > h.cfg.MaxBody {
		return nil, fmt.Errorf("records: %w: at most %d bytes at once", evidence.ErrTooLarge, h.cfg.MaxBody)
	}
	room, err := h.makeRoom(ctx, size)
	if err != nil {
		return nil, within(err)
	}
	h.metrics.bytes.WithLabelValues("records").Add(float64(size))
	asTheyAre := func([]byte) ([][]byte, error) { return lines, nil }
	out, err := h.takeRecords(ctx, Caller{Tenant: tenant, Credential: credential}, recordsQuery{}, asTheyAre, nil, room)
	if err != nil {
		h.metrics.items.WithLabelValues("records", "rejected").Add(float64(len(lines)))
		return nil, within(err)
	}
	h.metrics.items.WithLabelValues("records", "accepted").Add(float64(len(out.Receipts)))
	receipts := make([]shapes.Receipt, len(out.Receipts))
	for i, rc := range out.Receipts {
		receipts[i] = shapes.Receipt{
			Index: rc.Index, ID: rc.ID, Log: rc.Log, LogNo: rc.LogNo, LeafIndex: rc.LeafIndex,
			LeafHash: rc.LeafHash, Duplicate: rc.Duplicate,
		}
		if rc.ConflictOf != "" {
			receipts[i].ConflictOf = &rc.ConflictOf
		}
	}
	return receipts, nil
}

// within makes an error of this package's routes one that every other part of
// the server can read.
func within(err error) error {
	var p *Problem
	switch {
	case errors.As(err, &p) && len(p.Errors) > 0:
		first := p.Errors[0]
		return &evidence.LineError{Line: first.Index + 1, Err: first.asError()}
	case errors.Is(err, errFull):
		return fmt.Errorf("%w: %w", problem.ErrTooMany, err)
	}
	return err
}

// asError returns the error of which the problem was made, as far as it
// matters. What only the server may state is an invalid value here: the caller
// itself is let in.
func (p *RecordProblem) asError() error {
	sentinel := errors.New(internalDetail)
	for i := range kinds {
		if kinds[i].code == p.Code && kinds[i].status != http.StatusForbidden {
			sentinel = kinds[i].err
			break
		}
	}
	if errors.Is(sentinel, evidence.ErrForbidden) {
		sentinel = evidence.ErrInvalid
	}
	if p.Field != "" {
		return &evidence.FieldError{Field: p.Field, Reason: p.Detail, Err: sentinel}
	}
	return &recordError{p.Detail, sentinel}
}

// recordError is an error about a record that no field is to blame for.
type recordError struct {
	detail string
	kind   error
}

// Error implements error.
func (e *recordError) Error() string { return e.detail }

// Unwrap returns the sentinel.
func (e *recordError) Unwrap() error { return e.kind }
