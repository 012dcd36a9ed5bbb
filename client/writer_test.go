package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

// heard collects what a writer tells.
type heard struct {
	mu       sync.Mutex
	receipts []int
	failures []int
	errs     []error
}

func (h *heard) config() client.WriterConfig {
	return client.WriterConfig{
		OnReceipts: func(rs []client.Receipt) {
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, r := range rs {
				h.receipts = append(h.receipts, r.Index)
			}
		},
		OnFailure: func(fs []client.Failure) {
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, f := range fs {
				h.failures = append(h.failures, f.Index)
				h.errs = append(h.errs, f.Err)
			}
		},
	}
}

func count(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func newWriter(t *testing.T, c *client.Client, cfg client.WriterConfig) *client.Writer {
	t.Helper()
	w, err := c.NewWriter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t *testing.T, w *client.Writer, n int) {
	t.Helper()
	for range n {
		if err := w.Write(t.Context(), deploy()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriter(t *testing.T) {
	tests := []struct {
		name    string
		faults  []fault
		change  func(*client.WriterConfig, *fakeServer)
		records int
		batches []int // that the server got
	}{
		{"by count", nil, func(c *client.WriterConfig, _ *fakeServer) { c.MaxRecords = 2 }, 5, []int{2, 2, 1}},
		{"by size", nil, func(c *client.WriterConfig, _ *fakeServer) { c.MaxBytes = 1 }, 3, []int{1, 1, 1}},
		{"on close", nil, nil, 3, []int{3}},
		{"too large for the server", nil, func(_ *client.WriterConfig, f *fakeServer) { f.maxBatch = 2 }, 5, []int{5, 2, 3, 1, 2}},
		{"outage longer than a client's patience", slices.Repeat([]fault{down}, 100), nil, 2, []int{2}},
		{"answer lost", []fault{lost, cut, slow}, nil, 2, []int{2, 2, 2, 2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h heard
				f := newFake(t)
				f.faults = test.faults
				cfg := h.config()
				if test.change != nil {
					test.change(&cfg, f)
				}
				w := newWriter(t, f.client(nil), cfg)
				write(t, w, test.records)
				if err := w.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(count(test.records), h.receipts); diff != "" {
					t.Error("receipts:\n" + diff)
				}
				if diff := cmp.Diff(test.batches, f.batches); diff != "" {
					t.Error("batches:\n" + diff)
				}
				if len(f.log) != test.records || h.failures != nil {
					t.Errorf("the log has %d records; failures %v", len(f.log), h.failures)
				}
				if err := w.Write(t.Context(), deploy()); !errors.Is(err, client.ErrClosed) {
					t.Errorf("write after close: %v", err)
				}
			})
		})
	}
}

// TestWriterRefusals: a bad record does not take the good ones with it, and a
// refusal of the whole batch names every record.
func TestWriterRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		f := newFake(t)
		w := newWriter(t, f.client(nil), h.config())
		write(t, w, 1)
		if err := w.Write(t.Context(), client.Raw(`{"kind":"nonsense"}`)); err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), client.Raw(`nonsense`)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("no JSON: %v", err)
		}
		write(t, w, 1)
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.faults = []fault{status(403)}
		write(t, w, 2)
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{0, 2}, h.receipts); diff != "" {
			t.Error("receipts:\n" + diff)
		}
		if diff := cmp.Diff([]int{1, 3, 4}, h.failures); diff != "" {
			t.Error("failures:\n" + diff)
		}
		if !errors.Is(h.errs[0], evidence.ErrInvalid) || !errors.Is(h.errs[1], evidence.ErrForbidden) {
			t.Errorf("errors %v", h.errs)
		}
	})
}

// TestWriterTakesLater: what the server cannot take for now is sent again.
func TestWriterTakesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		f := newFake(t)
		f.change = func(a map[string]any) {
			f.change = nil
			a["receipts"] = a["receipts"].([]map[string]any)[1:]
			a["errors"] = []map[string]any{{"index": 0, "code": "unavailable", "detail": "later"}}
		}
		w := newWriter(t, f.client(nil), h.config())
		write(t, w, 3)
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{1, 2, 0}, h.receipts); diff != "" {
			t.Error("receipts:\n" + diff)
		}
		if err := w.Close(t.Context()); err != nil || h.failures != nil {
			t.Errorf("failures %v, error %v", h.failures, err)
		}
	})
}

// TestWriterDelay: a record waits MaxDelay for others and no longer, and Flush
// does not wait for the delay.
func TestWriterDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := (&heard{}).config()
		cfg.MaxDelay = 5 * time.Second
		w := newWriter(t, f.client(nil), cfg)
		write(t, w, 1)
		time.Sleep(4 * time.Second)
		write(t, w, 1)
		if synctest.Wait(); f.got() != nil {
			t.Errorf("after 4 s: batches %v", f.got())
		}
		time.Sleep(time.Second)
		if synctest.Wait(); !slices.Equal(f.got(), []int{2}) {
			t.Errorf("after 5 s: batches %v", f.got())
		}
		began := time.Now()
		write(t, w, 1)
		if err := w.Flush(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("flush took %v: %v", time.Since(began), err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestWriterFull: while the server is away, Write waits when the buffer is full,
// and Close hands back every record that is not acknowledged, in order.
func TestWriterFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		f := newFake(t)
		f.faults = append([]fault{nil}, slices.Repeat([]fault{status(503)}, 1000)...)
		cfg := h.config()
		cfg.Buffer, cfg.MaxRecords = 2000, 2
		w := newWriter(t, f.client(nil), cfg)
		write(t, w, 2)
		synctest.Wait()
		taken := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := w.Write(ctx, client.Audit{
				Common:    client.Common{AgentID: "a", ID: fmt.Sprintf("3f2a9c1e-5b7d-4e8a-9c60-%012d", taken)},
				EventType: "LimitChecked", EntityType: "LIMIT", EntityID: "l",
			})
			cancel()
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				break
			}
			taken++
		}
		if taken < 4 || taken > 20 {
			t.Errorf("the buffer took %d records", taken)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("flush: %v", err)
		}
		waiting := make(chan error)
		go func() { waiting <- w.Write(t.Context(), deploy()) }()
		err := w.Close(ctx)
		var left *client.UndeliveredError
		if !errors.As(err, &left) || len(left.Records) != taken || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("close: %v; %d were taken", err, taken)
		}
		if err := <-waiting; !errors.Is(err, client.ErrClosed) {
			t.Errorf("the write that waited: %v", err)
		}
		if err := w.Flush(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("flush after close: %v", err)
		}
		f.faults = nil
		for i, raw := range left.Records { // to send them later is what they are for
			r, err := f.client(nil).Append(t.Context(), client.Raw(raw))
			if err != nil || r[0].ID != fmt.Sprintf("3f2a9c1e-5b7d-4e8a-9c60-%012d", i) {
				t.Errorf("record %d again: %v, %v", i, r, err)
			}
		}
	})
}

// TestWriterSplitFails: a batch that is sent in halves is handed back whole when
// the first half cannot be sent.
func TestWriterSplitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		f := newFake(t)
		f.faults = append([]fault{status(413), nil, status(413)}, slices.Repeat([]fault{down}, 1000)...)
		w := newWriter(t, f.client(nil), h.config())
		write(t, w, 8) // in halves 4 and 4, the second in 2 and 2
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var left *client.UndeliveredError
		if err := w.Close(ctx); !errors.As(err, &left) || len(left.Records) != 4 {
			t.Errorf("close: %v", err)
		}
		f = newFake(t)
		f.faults = append([]fault{status(413)}, slices.Repeat([]fault{down}, 1000)...)
		w = newWriter(t, f.client(nil), h.config())
		write(t, w, 8)
		if err := w.Close(ctx); !errors.As(err, &left) || len(left.Records) != 8 {
			t.Errorf("close: %v", err)
		}
	})
}

// TestWriterConcurrent writes from many goroutines over a buffer that holds few
// of the records.
func TestWriterConcurrent(t *testing.T) {
	var h heard
	f := newFake(t)
	cfg := h.config()
	cfg.Buffer, cfg.MaxDelay = 3000, time.Millisecond
	w := newWriter(t, f.client(nil), cfg)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := w.Write(t.Context(), deploy()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(f.log) != 400 || !slices.Equal(h.receipts, count(400)) {
		t.Errorf("%d records, %d receipts", len(f.log), len(h.receipts))
	}
}

func TestWriterConfig(t *testing.T) {
	c, err := client.New(client.Config{BaseURL: "http://h", HTTPClient: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []client.WriterConfig{{}, {OnFailure: func([]client.Failure) {}, Buffer: -1}} {
		if _, err := c.NewWriter(cfg); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
