package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// patience is the deadline of everything that must not hang.
const patience = 20 * time.Second

// patient is a context that ends the test's wait, long before its timeout.
func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func eventID(n int) string { return fmt.Sprintf("01980000-0000-7000-8000-%012x", n) }

// event is a record with an id of its producer's.
func event(n int, more string) string {
	return fmt.Sprintf(`{"kind":"trace_event","id":"%s","occurred_at":"2026-11-23T15:00:01Z","source_domain":"ACTIVITY",`+
		`"source_component":"TraceStore","event_name":"exception"%s}`, eventID(n), more)
}

// eventOf is an event of a run.
func eventOf(run string, n int, more string) string {
	return event(n, fmt.Sprintf(`,"run_id":%s%s`, evidence.QuoteJSON(run), more))
}

// ended is the completion of the run that step(trace, …) belongs to.
func ended(trace, revision int) string {
	return fmt.Sprintf(`{"kind":"llm_run","occurred_at":"2026-11-23T15:00:02Z","source_domain":"ACTIVITY","source_component":"TraceStore",`+
		`"run_id":"%032x","execution_status":"SUCCEEDED","revision":%d}`, trace, revision)
}

// tryAppend appends and makes sure that no error is one of waiting.
func (r *rig) tryAppend(t testing.TB, tenant string, lines ...string) ([]ledger.Receipt, error) {
	t.Helper()
	ctx := patient(t)
	receipts, err := r.Append(ctx, tenant, native(t, lines...), ledger.AppendOptions{Producer: "test"})
	if ctx.Err() != nil {
		t.Errorf("append hangs: %v", err)
	}
	return receipts, err
}

// place is where a leaf stands.
type place struct {
	log string
	seq int64
}

// contents is what the logs of a tenant hold, read leaf by leaf.
type contents struct {
	at     map[evidence.ID][]place
	hash   map[place]evidence.Hash
	leaves []*evidence.Leaf // in order of log and seq
}

func (r *rig) contents(t testing.TB, tenant string) *contents {
	t.Helper()
	c := &contents{at: map[evidence.ID][]place{}, hash: map[place]evidence.Hash{}}
	logs, err := r.Logs(context.Background(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, lg := range logs {
		head, err := r.db.Head(context.Background(), store.LogRef{Tenant: tenant, No: lg.No})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Leaves(context.Background(), tenant, lg.No, 0, head.Size, func(seq int64, b []byte) error {
			leaf, err := evidence.ParseLeaf(append([]byte(nil), b...))
			if err != nil {
				return err
			}
			if leaf.Seq != seq || leaf.Log != lg.Origin {
				return fmt.Errorf("leaf %d of %s says it is leaf %d of %s", seq, lg.Origin, leaf.Seq, leaf.Log)
			}
			p := place{lg.Origin, seq}
			c.at[leaf.ID] = append(c.at[leaf.ID], p)
			c.hash[p] = evidence.LeafHash(b)
			c.leaves = append(c.leaves, leaf)
			return nil
		})
		if err != nil {
			t.Fatalf("leaves of %s: %v", lg.Origin, err)
		}
	}
	return c
}

// checkRuns derives the facts that count within runs anew from the order of
// the leaves: n and step_index without gaps, late after an llm_run, the
// totals of each llm_run.
func (c *contents) checkRuns(t testing.TB) {
	t.Helper()
	type run struct {
		n, steps int64
		ended    bool
	}
	runs := map[string]*run{}
	for _, leaf := range c.leaves {
		if leaf.Run == "" {
			continue
		}
		at := runs[leaf.Run]
		if at == nil {
			at = &run{}
			runs[leaf.Run] = at
		}
		if leaf.N != at.n {
			t.Errorf("leaf %d of %s: n is %d in run %q, not %d", leaf.Seq, leaf.Log, leaf.N, leaf.Run, at.n)
		}
		at.n++
		conflict := leaf.Text("conflict_of") != ""
		switch leaf.Kind {
		case evidence.KindTraceStep:
			late, _ := leaf.Int("late")
			if (late == 1) != at.ended {
				t.Errorf("leaf %d of %s: late is %d; the run had ended: %t", leaf.Seq, leaf.Log, late, at.ended)
			}
			if conflict {
				continue
			}
			if got, _ := leaf.Int("step_index"); got != at.steps {
				t.Errorf("leaf %d of %s: step_index is %d, not %d", leaf.Seq, leaf.Log, got, at.steps)
			}
			at.steps++
		case evidence.KindLLMRun:
			if got, _ := leaf.Int("record_count"); got != at.n {
				t.Errorf("leaf %d of %s: record_count is %d, not %d", leaf.Seq, leaf.Log, got, at.n)
			}
			if got, _ := leaf.Int("step_count"); got != at.steps {
				t.Errorf("leaf %d of %s: step_count is %d, not %d", leaf.Seq, leaf.Log, got, at.steps)
			}
			at.ended = at.ended || !conflict
		}
	}
}

// holds checks that what was acknowledged is there, exactly once, where the
// receipts say, with the leaf that they name.
func (c *contents) holds(t testing.TB, receipts []ledger.Receipt) {
	t.Helper()
	for _, rec := range receipts {
		p := place{rec.Log, rec.LeafIndex}
		switch at := c.at[rec.ID]; {
		case len(at) != 1 || at[0] != p:
			t.Errorf("record %s was acknowledged at %v and stands at %v", rec.ID, p, at)
		case c.hash[p] != rec.LeafHash:
			t.Errorf("record %s at %v: the leaf has not the hash of the receipt", rec.ID, p)
		}
	}
	for id, at := range c.at {
		if len(at) != 1 {
			t.Errorf("record %s stands at %v", id, at)
		}
	}
}

// verifyClean runs the full live verification, which may find nothing but
// what is allowed.
func (r *rig) verifyClean(t testing.TB, allowed ...string) *ledger.LiveReport {
	t.Helper()
	report, err := ledger.Verify(context.Background(), ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
next:
	for _, f := range report.Findings {
		for _, code := range allowed {
			if f.Code == code {
				continue next
			}
		}
		t.Errorf("verify: %s (expected %q, found %q)", f, f.Expected, f.Found)
	}
	return report
}

func TestRacingDuplicates(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	const clients, ids = 256, 24
	got := make([][]ledger.Receipt, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			// One record of its own, and one that ten others send too, half of
			// them found by their span.
			for _, line := range []string{step(i%ids, 7, ""), event(i%ids, `,"run_id":"r"`), event(1000+i, "")} {
				records, err := evidence.ParseNDJSON([]byte(line))
				if err != nil {
					t.Error(err)
					return
				}
				receipts, err := r.Append(ctx, "acme", records, ledger.AppendOptions{Producer: "test"})
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				got[i] = append(got[i], receipts...)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	first := map[evidence.ID]ledger.Receipt{}
	fresh := map[evidence.ID]int{}
	var all []ledger.Receipt
	for i := range got {
		for _, rec := range got[i] {
			if !rec.Duplicate {
				fresh[rec.ID]++
			}
			rec.Duplicate = false
			if have, ok := first[rec.ID]; ok && have != rec {
				t.Errorf("record %s has receipts %+v and %+v", rec.ID, have, rec)
			}
			first[rec.ID] = rec
			all = append(all, rec)
		}
	}
	for id := range first {
		if fresh[id] != 1 {
			t.Errorf("record %s is new to %d clients", id, fresh[id])
		}
	}
	if want := 2*ids + clients; len(first) != want {
		t.Errorf("%d records, not %d", len(first), want)
	}
	c := r.contents(t, "acme")
	c.holds(t, all)
	c.checkRuns(t)
	if want := 2*ids + clients + 1; len(c.leaves) != want {
		t.Errorf("%d leaves, not %d", len(c.leaves), want)
	}
	r.verifyClean(t)
}

// TestNewKeyUnderLoad: many clients meet at the first record of a person and
// of a day. The key is made once, and no commit fails over it.
func TestNewKeyUnderLoad(t *testing.T) {
	f := &faults{}
	r := openFaulty(t, filepath.Join(t.TempDir(), "data"), f)
	r.tenant(t, "acme")
	before := f.failures()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 8 {
				line := event(i*100+j, fmt.Sprintf(`,"human_actor_id":"person-%d","body":"x"`, j))
				if _, err := r.tryAppend(t, "acme", line); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := f.failures() - before; n != 0 {
		t.Errorf("%d commits failed: the last with %v", n, f.lastError())
	}
	f.keysOnce(t)
	keys, err := r.db.DataKeys(context.Background(), "acme", "", "")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]bool{}
	for _, k := range keys {
		if labels[k.Scope+" "+k.Label] {
			t.Errorf("two keys of scope %s", k.Scope)
		}
		labels[k.Scope+" "+k.Label] = true
	}
	r.verifyClean(t)
}

func TestContextsCancelledMidway(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	var mu sync.Mutex
	var acked []ledger.Receipt
	var cancelled atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 6 {
				wait := time.Duration(i*j%23) * 2 * time.Millisecond // some of them before they begin
				if i%8 == 0 && j > 0 {
					wait = time.Minute // these get through on any machine
				}
				ctx, cancel := context.WithTimeout(context.Background(), wait)
				receipts, err := r.Append(ctx, "acme", native(t, event(i*100+j, `,"run_id":"r"`)), ledger.AppendOptions{Producer: "test"})
				cancel()
				switch {
				case err == nil:
					mu.Lock()
					acked = append(acked, receipts...)
					mu.Unlock()
				case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, evidence.ErrUnavailable):
					cancelled.Add(1)
				default:
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if cancelled.Load() == 0 || len(acked) == 0 {
		t.Errorf("%d cancelled, %d acknowledged: both were meant to happen", cancelled.Load(), len(acked))
	}
	// The outcome of a cancelled append is unknown; a retry is harmless.
	for i := range 64 {
		for j := range 6 {
			receipts, err := r.tryAppend(t, "acme", event(i*100+j, `,"run_id":"r"`))
			if err != nil {
				t.Fatal(err)
			}
			acked = append(acked, receipts...)
		}
	}
	c := r.contents(t, "acme")
	c.holds(t, acked)
	c.checkRuns(t)
	if len(c.leaves) != 64*6+1 {
		t.Errorf("%d leaves", len(c.leaves))
	}
	r.verifyClean(t)
}

func TestCloseWhileAppending(t *testing.T) {
	for round := range 4 {
		dir := filepath.Join(t.TempDir(), "data")
		r := openRig(t, dir)
		r.tenant(t, "acme")
		var mu sync.Mutex
		var acked []ledger.Receipt
		var refused atomic.Int64
		var wg sync.WaitGroup
		started := make(chan struct{}, 64)
		l := r.Ledger
		for i := range 64 {
			wg.Go(func() {
				for j := range 1000 {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					// Every tenth contradicts, so that the ledger has records of
					// its own under way.
					line := event(i*1000+j, "")
					if j%10 == 9 {
						line = event(i*1000+j-1, `,"severity":"ERROR"`)
					}
					receipts, err := l.Append(ctx, "acme", native(t, line), ledger.AppendOptions{Producer: "test"})
					cancel()
					if errors.Is(err, evidence.ErrConflict) {
						continue
					}
					if err != nil {
						if !errors.Is(err, evidence.ErrUnavailable) {
							t.Errorf("refused with %v", err)
						}
						refused.Add(1)
						return
					}
					mu.Lock()
					acked = append(acked, receipts...)
					mu.Unlock()
					if j == 0 {
						started <- struct{}{}
					}
				}
			})
		}
		<-started
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
		closed := make(chan struct{})
		go func() { r.close(); close(closed) }()
		wg.Wait()
		select {
		case <-closed:
		case <-time.After(patience):
			t.Fatal("Close hangs")
		}
		if refused.Load() != 64 {
			t.Errorf("%d of 64 clients were refused in the end", refused.Load())
		}
		if _, err := l.Append(patient(t), "acme", native(t, event(1, "")), ledger.AppendOptions{}); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("append to a closed ledger: %v", err)
		}
		r = openRig(t, dir)
		r.contents(t, "acme").holds(t, acked)
		r.verifyClean(t)
		r.close()
	}
}

// TestAppendMeetsClose: an append that found the ledger open and comes into
// the queue after the committer has gone is answered too.
func TestAppendMeetsClose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for round := range 12 {
		var armed atomic.Bool
		reads := 0
		entered, open := make(chan struct{}), make(chan struct{})
		r := openRig(t, dir, func(c *ledger.Config) {
			c.PublishEvery = time.Hour
			c.Clock.Now = func() time.Time {
				// The first look of an append is for the key of the day, the
				// second the one before it goes into the queue.
				if armed.Load() {
					if reads++; reads == 2 {
						close(entered)
						<-open
					}
				}
				return time.Now()
			}
		})
		if round == 0 {
			r.tenant(t, "acme")
		}
		r.append(t, "acme", event(1, ""))
		l := r.Ledger
		armed.Store(true)
		answer := make(chan error, 1)
		go func() {
			_, err := l.Append(context.Background(), "acme", native(t, event(2+round, "")), ledger.AppendOptions{Producer: "test"})
			answer <- err
		}()
		<-entered
		r.close()
		close(open)
		select {
		case err := <-answer:
			if !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("append: %v", err)
			}
		case <-time.After(2 * time.Second):
			t.Fatal("append hangs")
		}
	}
}

// TestQueueBound: what waits for the committer is bounded; beyond it Append
// blocks, and gives up with its context.
func TestQueueBound(t *testing.T) {
	f := &faults{}
	r := openFaulty(t, filepath.Join(t.TempDir(), "data"), f, func(c *ledger.Config) { c.MaxQueuedRecords = 30 })
	r.tenant(t, "acme")
	gate := f.hold()
	results := make(chan error, 8)
	for i := range 6 { // 60 records where 30 may wait
		go func() {
			var lines []string
			for j := range 10 {
				lines = append(lines, event(i*10+j, ""))
			}
			_, err := r.tryAppend(t, "acme", lines...)
			results <- err
		}()
	}
	<-gate.entered
	time.Sleep(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	_, err := r.Append(ctx, "acme", native(t, event(999, "")), ledger.AppendOptions{Producer: "test"})
	if !errors.Is(err, evidence.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("append beyond the bound: %v", err)
	}
	gate.release()
	for range 6 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	// A batch larger than the whole room still goes through, alone.
	var lines []string
	for j := range 100 {
		lines = append(lines, event(5000+j, ""))
	}
	if _, err := r.tryAppend(t, "acme", lines...); err != nil {
		t.Error(err)
	}
	c := r.contents(t, "acme")
	if len(c.leaves) != 161 {
		t.Errorf("%d leaves, not 161", len(c.leaves))
	}
	r.verifyClean(t)
}

// TestWaitPublishedEnds: who waits for a checkpoint does not wait for ever
// for one that will never come.
func TestWaitPublishedEnds(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	l := r.Ledger
	done := make(chan error, 1)
	go func() {
		_, err := l.WaitPublished(patient(t), "acme", 1, 1000)
		done <- err
	}()
	time.Sleep(10 * time.Millisecond)
	r.close()
	select {
	case err := <-done:
		if !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("WaitPublished goes on after Close")
	}
}

func TestBatchLimits(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	if receipts, err := r.Append(patient(t), "acme", nil, ledger.AppendOptions{}); err != nil || len(receipts) != 0 {
		t.Errorf("empty batch: %v, %v", receipts, err)
	}
	record := native(t, event(1, ""))[0]
	many := make([]*evidence.Record, ledger.MaxAppend+1)
	for i := range many {
		many[i] = record
	}
	if _, err := r.Append(patient(t), "acme", many, ledger.AppendOptions{Producer: "test"}); !errors.Is(err, evidence.ErrTooLarge) {
		t.Errorf("over MaxAppend: %v", err)
	}
	if _, err := r.tryAppend(t, "nobody", event(1, "")); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("unknown tenant: %v", err)
	}
	for _, tenant := range []string{"", "Acme", "a b", "a\x00", strings.Repeat("x", 64), "ä"} {
		if _, err := r.CreateTenant(patient(t), tenant); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("tenant %q: %v", tenant, err)
		}
		if _, err := r.tryAppend(t, tenant, event(1, "")); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("append to tenant %q: %v", tenant, err)
		}
	}
	if _, err := r.CreateTenant(patient(t), "acme"); !errors.Is(err, evidence.ErrConflict) {
		t.Errorf("tenant made twice: %v", err)
	}
	if n := len(r.contents(t, "acme").leaves); n != 1 {
		t.Errorf("%d leaves after refused batches", n)
	}
}

// TestLeafTooLarge: a record whose leaf may not fit is refused by its place,
// with nothing of its batch written; one that just fits is stored whatever
// sequencing adds.
func TestLeafTooLarge(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	name := strings.Repeat("n", 120)
	policies := func(n int) string {
		return `,"run_id":"r","policy_ids":["` + strings.Join(slicesRepeat(name, n), `","`) + `"]`
	}
	_, err := r.tryAppend(t, "acme", event(1, ""), event(2, policies(140)), event(3, ""), event(4, policies(150)))
	if !errors.Is(err, evidence.ErrTooLarge) {
		t.Fatalf("leaf over 16 KiB: %v", err)
	}
	for _, want := range []string{"record 2:", "record 4:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	var at *ledger.RecordError
	if !errors.As(err, &at) || at.Index != 1 {
		t.Errorf("%v is not of record 2", err)
	}
	if n := len(r.contents(t, "acme").leaves); n != 1 {
		t.Errorf("%d leaves after a refused batch", n)
	}
	// The largest that is let through is stored.
	fits := 0
	for n := 100; n < 140; n++ {
		receipts, err := r.tryAppend(t, "acme", event(100+n, policies(n)))
		if err != nil {
			if !errors.Is(err, evidence.ErrTooLarge) {
				t.Fatalf("%d names: %v", n, err)
			}
			break
		}
		fits = n
		if receipts[0].LeafIndex != int64(n-99) {
			t.Fatalf("%d names: %+v", n, receipts)
		}
	}
	if fits < 115 || fits > 135 {
		t.Errorf("%d names of 120 bytes fit", fits)
	}
	// A step that just fits and is contradicted: the conflict record is
	// larger, and fits too.
	for n := 110; n < 140; n++ {
		line := func(status string) string {
			return strings.Replace(step(n, 1, `,"policy_ids":["`+strings.Join(slicesRepeat(name, n), `","`)+`"]`), `"success"`, `"`+status+`"`, 1)
		}
		if _, err := r.tryAppend(t, "acme", line("success")); err != nil {
			if !errors.Is(err, evidence.ErrTooLarge) {
				t.Fatalf("step with %d names: %v", n, err)
			}
			break
		}
		receipts, err := r.tryAppend(t, "acme", line("failure"))
		if err != nil || receipts[0].ConflictOf == (evidence.ID{}) {
			t.Fatalf("step with %d names contradicted: %+v, %v", n, receipts, err)
		}
	}
	r.verifyClean(t)
}

func slicesRepeat(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

// TestOddRunIDs: run ids are kept byte for byte, through leaf, row, index
// and back, and never mix.
func TestOddRunIDs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := openRig(t, dir)
	r.tenant(t, "acme")
	runs := []string{
		"run", "Run", "RUN", "run ", " run", "rün", "ru\u0308n", "run\u00a0", "run\u200b", "\ufeffrun", "run\ufffd",
		"ｒｕｎ", "ı", "i", "İ", "ß", "ss", "ẞ", "run'--", `run"`, `run\`, "run%", "run_", "run*", "run?", "run/../x", "run;drop table", "${run}",
		"<run>", "&amp;", "\u2028", "\u2029", "𝓻𝓾𝓷", "👩‍🚀", "\u202erun", strings.Repeat("ä", 64), strings.Repeat("z", 128), "0", "00", "-0", "1e3", "null", "true", "[]", "{}",
	}
	for c := byte(0x20); c < 0x7f; c++ {
		runs = append(runs, "c"+string(rune(c)))
	}
	seen := map[string]bool{}
	var lines []string
	want := map[string]string{} // id -> run
	for i, run := range runs {
		if seen[run] {
			t.Fatalf("%q stands twice", run)
		}
		seen[run] = true
		lines = append(lines, eventOf(run, i+1, ""), eventOf(run, 5000+i, ""))
		want[eventID(i+1)], want[eventID(5000+i)] = run, run
	}
	r.append(t, "acme", lines...)
	check := func() {
		t.Helper()
		c := r.contents(t, "acme")
		c.checkRuns(t)
		count := map[string]int{}
		for _, leaf := range c.leaves[1:] {
			if leaf.Run != want[leaf.ID.String()] {
				t.Errorf("%s has run %q, not %q", leaf.ID, leaf.Run, want[leaf.ID.String()])
			}
			count[leaf.Run]++
			row, err := r.db.Row(context.Background(), store.LogRef{Tenant: "acme", No: 1}, leaf.Kind, leaf.Seq)
			if err != nil || row.Run != leaf.Run || row.N != leaf.N {
				t.Errorf("row of run %q: %q, n %d, %v", leaf.Run, row.Run, row.N, err)
			}
		}
		states, err := r.db.Runs(context.Background(), "acme", runs)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range runs {
			if st := states[run]; st.Run != run || st.NextN != int64(count[run]) {
				t.Errorf("state of run %q: %+v", run, st)
			}
		}
		r.verifyClean(t)
	}
	check()
	r.close()
	r = openRig(t, dir)
	lines = nil
	for i, run := range runs {
		lines = append(lines, eventOf(run, 9000+i, ""))
		want[eventID(9000+i)] = run
	}
	r.append(t, "acme", lines...)
	check()
	for _, bad := range []string{`"a\u0000b"`, `"\u0000"`, `"a\u001fb"`, `"a\u007fb"`, `"\ud800"`, `""`, `"` + strings.Repeat("x", 129) + `"`, "\"a\xffb\"", "\"a\x00b\""} {
		_, err := evidence.ParseNative([]byte(event(1, `,"run_id":`+bad)))
		if err == nil {
			t.Errorf("run id %q is accepted", bad)
		} else if strings.Contains(bad, "u0000") && !strings.Contains(err.Error(), "NUL") {
			t.Errorf("run id %q: %v does not say NUL", bad, err)
		}
	}
}

// TestNULIsRefused, also where a record does not come through the parser.
func TestNULIsRefused(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	for name, set := range map[string]func(*evidence.Record){
		"run": func(r *evidence.Record) { r.Run = "a\x00b" },
	} {
		rec := native(t, event(1, ""))[0]
		set(rec)
		if err := rec.Complete(); err == nil {
			t.Errorf("NUL in %s is complete", name)
		} else if !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), "NUL") && !strings.Contains(err.Error(), "control") {
			t.Errorf("NUL in %s: %v", name, err)
		}
	}
	for _, line := range []string{
		event(1, `,"severity":"a\u0000"`), event(1, `,"correlation_id":"\u0000"`), event(1, `,"human_actor_id":"a\u0000b"`),
		event(1, `,"policy_ids":["a\u0000"]`),
	} {
		if _, err := evidence.ParseNative([]byte(line)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
