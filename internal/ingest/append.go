package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/runs"
)

// detach runs an append that must come to its end once it has begun: its
// records may be durable although nobody waits for them any more, and then the
// tracker must hear of them. Its room is given back when it is done. The error
// is that of f, or why the answer does not wait any longer.
func (h *Handler) detach(ctx context.Context, room *room, f func(ctx context.Context) error) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		room.done()
		return fmt.Errorf("the server is stopping: %w", evidence.ErrUnavailable)
	}
	h.appends.Add(1)
	h.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		defer h.appends.Done()
		defer room.done()
		done <- f(context.WithoutCancel(ctx))
	}()
	timer := time.NewTimer(h.cfg.AppendTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("records are not durable after %s: %w", h.cfg.AppendTimeout, evidence.ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// appending is the records of one request on their way into the log.
type appending struct {
	h      *Handler
	caller Caller
	// partial keeps what is good. Without it all is kept or nothing.
	partial bool
	// runRecords guards revisions that were read from the store, see
	// ledger.AppendOptions.
	runRecords map[string]int64

	items    []otlp.Item
	receipts []ledger.Receipt // by item; of a refused one zero
	refused  []*ledger.RecordError
}

// run appends all items. Refused ones are in a.refused: with partial for good,
// without it nothing was kept. The error is one of the whole request, which may
// be repeated.
func (a *appending) run(ctx context.Context) error {
	weight := min(int64(len(a.items)), a.h.cfg.MaxRecords)
	if err := a.h.acquire(ctx, a.h.records, weight); err != nil {
		return fmt.Errorf("%w: the ledger's queue is full", err)
	}
	defer a.h.records.Release(weight)
	a.receipts, a.refused = make([]ledger.Receipt, len(a.items)), nil
	for from := 0; from < len(a.items); from += ledger.MaxAppend {
		at := make([]int, min(ledger.MaxAppend, len(a.items)-from))
		for i := range at {
			at[i] = from + i
		}
		if err := a.chunk(ctx, at); err != nil {
			return err
		}
		if a.refused != nil && !a.partial {
			return nil
		}
	}
	return nil
}

// chunk appends the items at these places. What the ledger refuses before it
// sequences anything is left out and the rest is tried again.
func (a *appending) chunk(ctx context.Context, at []int) error {
	for len(at) > 0 {
		records := make([]*evidence.Record, len(at))
		for i, n := range at {
			records[i] = a.items[n].Record
		}
		receipts, err := a.h.cfg.Ledger.Append(ctx, a.caller.Tenant, records,
			ledger.AppendOptions{Producer: a.caller.Credential, Partial: a.partial, RunRecords: a.runRecords})
		single, other := ledger.RecordErrors(err)
		if other != nil {
			return other
		}
		bad := map[int]bool{}
		for _, e := range single {
			if !permanent(e.Err) {
				err = e.Err
				a.observe(at, receipts, single) // what is durable is durable
				return err
			}
			bad[e.Index] = true
			a.refused = append(a.refused, &ledger.RecordError{Index: at[e.Index], Err: e.Err})
		}
		if receipts != nil {
			a.observe(at, receipts, single)
			return nil
		}
		if len(bad) == 0 || !a.partial {
			return nil
		}
		left := at[:0:0]
		for i, n := range at {
			if !bad[i] {
				left = append(left, n)
			}
		}
		at = left
	}
	return nil
}

// observe tells the tracker of what has become durable, and remembers traces.
func (a *appending) observe(at []int, receipts []ledger.Receipt, refused []*ledger.RecordError) {
	news := make([]runs.Observed, 0, len(receipts))
	for i, rc := range receipts {
		if slices.ContainsFunc(refused, func(e *ledger.RecordError) bool { return e.Index == i }) {
			continue
		}
		item := &a.items[at[i]]
		a.receipts[at[i]] = rc
		if item.Record.Kind == evidence.KindTrace {
			a.h.traces.add(traceID(a.caller.Tenant, item.Record))
		}
		if !rc.Duplicate {
			news = append(news, runs.Observed{Record: item.Record, Receipt: rc, Hints: item.Hints})
		}
	}
	if len(news) == 0 {
		return
	}
	if byLeaf := func(x, y runs.Observed) int {
		return cmp.Or(cmp.Compare(x.Receipt.LogNo, y.Receipt.LogNo), cmp.Compare(x.Receipt.LeafIndex, y.Receipt.LeafIndex))
	}; !slices.IsSortedFunc(news, byLeaf) {
		slices.SortStableFunc(news, byLeaf)
	}
	a.h.cfg.Runs.Observe(a.caller.Tenant, news)
}

// permanent reports whether a record will be refused however often it comes.
func permanent(err error) bool {
	for _, e := range []error{evidence.ErrInvalid, evidence.ErrTooLarge, evidence.ErrConflict, evidence.ErrForbidden} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
