package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
)

// WriterConfig says how a [Writer] collects records. OnFailure is required.
//
// Both callbacks run one at a time, in the writer's own goroutine: they hold up
// what comes after, and must not call the writer. The Index of what they get
// counts the writer's records from 0, in the order in which Write took them.
type WriterConfig struct {
	// MaxRecords and MaxBytes bound a batch. Default 500 and 1 MiB; one record
	// may be larger.
	MaxRecords, MaxBytes int
	// MaxDelay is how long a record waits for others. Default 200 ms.
	MaxDelay time.Duration
	// Buffer bounds the bytes of all records that are not acknowledged yet. When
	// it is full, Write waits. Default 16 MiB.
	Buffer int
	// OnFailure is told of each record that the server refuses for good. A
	// writer without it would have to drop them unseen.
	OnFailure func([]Failure)
	// OnReceipts is told of each record that is durable. Optional.
	OnReceipts func([]Receipt)
}

// Failure is a record that the server refuses, and why.
type Failure struct {
	Index  int
	Record json.RawMessage // as it was sent
	Err    error           // an [*Error] or [*RecordError]
}

// UndeliveredError is what [Writer.Close] returns when it had to give up. The
// records have their ids: to send them later, as [Raw], is harmless even for those
// that have arrived after all.
type UndeliveredError struct {
	Records []json.RawMessage
	Err     error // why, mostly the context's error
}

// Error implements error.
func (e *UndeliveredError) Error() string {
	return fmt.Sprintf("%d records are not acknowledged: %v", len(e.Records), e.Err)
}

// Unwrap returns the reason.
func (e *UndeliveredError) Unwrap() error { return e.Err }

// Writer sends records in batches from a goroutine of its own. It keeps their
// order, and it drops none: a record is acknowledged (OnReceipts), refused
// (OnFailure), or handed back by Close. While the server cannot be reached it
// tries without end, and Write waits when the buffer is full. What is in the
// buffer is lost with the process: who cannot afford that calls [Client.Append].
// A Writer may be used by many goroutines at a time.
type Writer struct {
	c      *Client
	cfg    WriterConfig
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, with every change below
	queue   []queued      // taken by Write, not by the goroutine yet
	bytes   int           // of queue
	held    int           // bytes of all records that are not settled
	written int           // records that Write took
	settled int           // all records before this index are acknowledged, refused or handed back
	flushTo int           // what is before this index is sent without delay
	closed  bool
	left    []queued // handed back
	leftErr error
}

type queued struct {
	item
	index int
	at    time.Time
}

// NewWriter starts a writer. It must be closed.
func (c *Client) NewWriter(cfg WriterConfig) (*Writer, error) {
	if cfg.OnFailure == nil {
		return nil, configError("OnFailure", "is required")
	}
	cfg.MaxRecords = cmp.Or(cfg.MaxRecords, 500)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 1<<20)
	cfg.MaxDelay = cmp.Or(cfg.MaxDelay, 200*time.Millisecond)
	cfg.Buffer = cmp.Or(cfg.Buffer, 16<<20)
	if min(cfg.MaxRecords, cfg.MaxBytes, cfg.Buffer) < 0 || cfg.MaxDelay < 0 {
		return nil, configError("MaxRecords, MaxBytes, MaxDelay, Buffer", "must not be negative")
	}
	if cfg.OnReceipts == nil {
		cfg.OnReceipts = func([]Receipt) {}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	w := &Writer{c: c, cfg: cfg, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	go w.run(ctx)
	return w, nil
}

// Write takes a record. It waits while the buffer is full, until the context
// ends; then, and where the record is no JSON object, it was not taken. After
// Close it returns [ErrClosed].
func (w *Writer) Write(ctx context.Context, r Record) error {
	it, err := w.c.encode(r)
	if err != nil {
		e := recordError(0, err)
		return &Error{Code: e.Code, Field: e.Field, Detail: e.Detail}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.closed && w.held > 0 && w.held+len(it.json) > w.cfg.Buffer {
		if err := w.await(ctx); err != nil {
			return fmt.Errorf("the buffer is full: %w", err)
		}
	}
	if w.closed {
		return ErrClosed
	}
	w.queue = append(w.queue, queued{it, w.written, time.Now()})
	w.written++
	w.bytes += len(it.json)
	w.held += len(it.json)
	w.change()
	return nil
}

// Flush waits until all records that were written before it are acknowledged,
// refused, or handed back by Close; in the last case it returns [ErrClosed].
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	to := w.written
	w.flushTo = max(w.flushTo, to)
	w.change()
	for w.settled < to {
		if err := w.await(ctx); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
	}
	if len(w.left) > 0 && w.left[0].index < to {
		return ErrClosed
	}
	return nil
}

// Close sends what is left and ends the writer. When the context ends first, it
// returns an [*UndeliveredError] with the records that are not acknowledged.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.change()
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
		w.cancel(context.Cause(ctx))
		<-w.done
	}
	w.cancel(ErrClosed)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == nil {
		return nil
	}
	e := &UndeliveredError{Err: w.leftErr}
	for _, q := range w.left {
		e.Records = append(e.Records, q.json)
	}
	return e
}

// change wakes all who wait; w.mu is held.
func (w *Writer) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits for a change; w.mu is held before and after.
func (w *Writer) await(ctx context.Context) error {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run is the writer's goroutine.
func (w *Writer) run(ctx context.Context) {
	defer close(w.done)
	for {
		batch := w.next()
		if batch == nil {
			return
		}
		if left := w.deliver(ctx, batch); left != nil {
			w.giveUp(left, context.Cause(ctx))
			return
		}
		w.settledTo(batch[len(batch)-1].index + 1)
	}
}

// next waits for a batch that is full or has waited long enough. It returns nil
// when the writer is closed and empty.
func (w *Writer) next() []queued {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if len(w.queue) == 0 {
			if w.closed {
				return nil
			}
			_ = w.await(context.Background()) // it does not end
			continue
		}
		wait := w.cfg.MaxDelay - time.Since(w.queue[0].at)
		// A buffer that is nearly full is sent, or Write would wait for the delay.
		full := len(w.queue) >= w.cfg.MaxRecords || w.bytes >= w.cfg.MaxBytes || w.held >= w.cfg.Buffer/2
		if full || w.closed || w.queue[0].index < w.flushTo || wait <= 0 {
			return w.cut()
		}
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		_ = w.await(ctx) // woken by a change or by time
		cancel()
	}
}

// cut takes a batch from the front of the queue; w.mu is held.
func (w *Writer) cut() []queued {
	n, size := 0, 0
	for n < len(w.queue) && n < w.cfg.MaxRecords && (n == 0 || size+len(w.queue[n].json) <= w.cfg.MaxBytes) {
		size += len(w.queue[n].json)
		n++
	}
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	w.bytes -= size
	return batch
}

// deliver sends a batch until every record is acknowledged or refused. When the
// context ends before, it returns the records that are neither.
func (w *Writer) deliver(ctx context.Context, batch []queued) (left []queued) {
	for try := 0; len(batch) > 0; try++ {
		if try > 0 && !sleep(ctx, w.c.backoff(try)) {
			return batch
		}
		items := make([]item, len(batch))
		for i, q := range batch {
			items[i] = q.item
		}
		res, err := w.c.send(ctx, AppendOptions{Partial: true}, items, endless)
		switch {
		case err == nil:
			batch = w.settle(batch, res)
		case ctx.Err() != nil:
			return batch
		case errors.Is(err, evidence.ErrTooLarge) && len(batch) > 1:
			half := len(batch) / 2
			if left := w.deliver(ctx, batch[:half]); left != nil {
				return slices.Concat(left, batch[half:])
			}
			return w.deliver(ctx, batch[half:])
		default:
			w.refuse(batch, err)
			return nil
		}
	}
	return nil
}

// settle tells of refusals and receipts, and returns the records that the server
// could not take for now.
func (w *Writer) settle(batch []queued, res *Result) (again []queued) {
	var failed []Failure
	size := 0
	for _, e := range res.Errors {
		q := batch[e.Index]
		if errors.Is(&e, evidence.ErrUnavailable) {
			again = append(again, q)
			continue
		}
		e.Index = q.index
		failed = append(failed, Failure{q.index, q.json, &e})
		size += len(q.json)
	}
	for i := range res.Receipts {
		q := batch[res.Receipts[i].Index]
		res.Receipts[i].Index = q.index
		size += len(q.json)
	}
	if failed != nil {
		w.cfg.OnFailure(failed)
	}
	if len(res.Receipts) > 0 {
		w.cfg.OnReceipts(res.Receipts)
	}
	w.free(size)
	return again
}

// refuse tells that a whole batch was refused.
func (w *Writer) refuse(batch []queued, err error) {
	failed := make([]Failure, len(batch))
	size := 0
	for i, q := range batch {
		failed[i] = Failure{q.index, q.json, err}
		size += len(q.json)
	}
	w.cfg.OnFailure(failed)
	w.free(size)
}

func (w *Writer) free(bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held -= bytes
	w.change()
}

func (w *Writer) settledTo(index int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled = index
	w.change()
}

// giveUp keeps what is left for Close.
func (w *Writer) giveUp(batch []queued, reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.leftErr = slices.Concat(batch, w.queue), reason
	w.queue, w.settled = nil, w.written
	w.change()
}
