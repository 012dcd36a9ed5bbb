package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// pastHands is a clock that began two years ago: a database refuses to let go what is young by
// its own.
func pastHands() *hands {
	return &hands{wall: time.Now().UTC().AddDate(-2, 0, 0).Truncate(24 * time.Hour).Add(12 * time.Hour), boot: time.Hour}
}

// dayEnd is the time before which all is due that the clock has seen so far.
func (h *hands) dayEnd() evidence.Micros {
	h.mu.Lock()
	defer h.mu.Unlock()
	return evidence.MicrosOf(h.wall.Truncate(24 * time.Hour).Add(24 * time.Hour))
}

func pastRig(t testing.TB, opts ...rigOption) (*rig, *hands) {
	t.Helper()
	h := pastHands()
	r := openRig(t, filepath.Join(t.TempDir(), "data"), append([]rigOption{h.clock}, opts...)...)
	r.tenant(t, "acme")
	return r, h
}

// order orders that what stands between these leaves leaves a table, once that is old enough: the clock
// goes on until then.
func (r *rig) order(t testing.TB, h *hands, logNo int, table, class string, ranges ...evidence.TargetRange) []ledger.Receipt {
	t.Helper()
	before, wait := h.dayEnd(), time.Duration(evidence.RetentionDays(class)+1)*24*time.Hour
	h.move(wait, wait)
	_, receipts, err := r.OrderExpiry(context.Background(), "acme", []ledger.ExpiryOrder{{
		LogNo: logNo, Table: table, Ranges: ranges, From: 1, Before: before, Class: class, Days: evidence.RetentionDays(class), Rows: 1, Reason: "due",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return receipts
}

// expire does all that was ordered and returns how many rows went.
func (r *rig) expire(t testing.TB) (rows int64) {
	t.Helper()
	for range 1000 {
		step, err := r.ExpireStep(context.Background(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		rows += step.Rows
		if !step.More {
			return rows
		}
	}
	t.Fatal("it never ends")
	return 0
}

func (r *rig) pending(t testing.TB) (n int) {
	t.Helper()
	err := r.db.Expiries(context.Background(), "acme", func(e store.Expiry) error {
		if !e.Done {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// gone checks whether the row of a step is gone, and that its leaf is not.
func (r *rig) gone(t testing.TB, rec ledger.Receipt, want bool) {
	t.Helper()
	_, err := r.db.Row(context.Background(), store.LogRef{Tenant: "acme", No: rec.LogNo}, evidence.KindTraceStep, rec.LeafIndex)
	if got := errors.Is(err, evidence.ErrNotFound); got != want {
		t.Errorf("leaf %d of log %d: its row is gone %v: %v", rec.LeafIndex, rec.LogNo, got, err)
	}
	var hash evidence.Hash
	err = r.Leaves(context.Background(), "acme", rec.LogNo, rec.LeafIndex, rec.LeafIndex+1, func(_ int64, b []byte) error {
		hash = evidence.LeafHash(b)
		return nil
	})
	if err != nil || hash != rec.LeafHash {
		t.Errorf("leaf %d of log %d: %v", rec.LeafIndex, rec.LogNo, err)
	}
}

// sealedSegments returns all sealed segments of the tenant's logs.
func (r *rig) sealedSegments(t testing.TB) (list []store.SealedSegment) {
	t.Helper()
	logs, err := r.db.Logs(context.Background(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, lg := range logs {
		err := r.db.SealedSegments(context.Background(), lg.LogRef, func(s store.SealedSegment) error {
			s.Data = slices.Clone(s.Data)
			list = append(list, s)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

const systemLine = `{"kind":"system","id":"018f0000-0000-7000-8000-%012x","occurred_at":"2024-01-02T15:00:00Z","component":"gateway","event_type":"STARTUP","severity":"INFO",` +
	`"summary":"up","source_domain":"LOGS","source_component":"Gateway"}`

func ranges(receipts ...ledger.Receipt) evidence.TargetRange {
	out := evidence.TargetRange{From: receipts[0].LeafIndex, To: receipts[0].LeafIndex + 1}
	for _, r := range receipts {
		out.From, out.To = min(out.From, r.LeafIndex), max(out.To, r.LeafIndex+1)
	}
	return out
}

// TestExpire: the rows of two runs go, with their content and index entries; what came in the
// same request and stays keeps its own, and a held run waits for its release.
func TestExpire(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, h := pastRig(t)
	ada := `,"human_actor_id":"ada"`
	a := r.append(t, "acme", step(1, 1, content+ada), step(1, 2, content), step(2, 1, content+`,"subject":"sue"`), fmt.Sprintf(systemLine, 1), step(2, 2, content))
	b := r.append(t, "acme", step(1, 3, content), step(1, 4, content))
	if _, err := r.Rollover(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	c := r.append(t, "acme", step(3, 1, content))
	hold, _, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldRun, Run: fmt.Sprintf("%032x", 2), Reason: "a case", By: "counsel"})
	if err != nil || hold.NRuns != 1 {
		t.Fatal(hold, err)
	}
	receipts := r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(append(a, b...)...))
	rec := r.record(t, "acme", receipts[0].LogNo, receipts[0].LeafIndex)
	targets, err := evidence.ParseTargets([]byte(rec.Open["/targets"].JSON))
	if err != nil || targets.Log != a[0].Log || rec.Leaf.Text("entity_id") != "aos_trace_steps" || rec.Leaf.Text("rule_id") != "llm_runs" || receipts[0].LogNo != 2 {
		t.Errorf("%s: %+v, %v", rec.Raw, targets, err)
	}
	before := len(r.sealedSegments(t))
	if n := r.expire(t); n != 4 {
		t.Errorf("%d rows went", n)
	}
	for i, x := range append(slices.Clone(a), b...) {
		if i != 3 {
			r.gone(t, x, i != 2 && i != 4)
		}
	}
	r.gone(t, c[0], false)
	all := []string{"/actor", "/params", "/prompt", "/status_message"}
	r.opens(t, "acme", 1, a[4].LeafIndex, all...)
	r.opens(t, "acme", 1, a[2].LeafIndex, append(all, "/subject")...)
	r.opens(t, "acme", 1, a[3].LeafIndex, "/actor", "/summary")
	r.opens(t, "acme", 2, c[0].LeafIndex, all...)
	if got := r.findIndex(t, "acme", "actor", fmt.Sprintf(actorJSON, "ada")); len(got) != 0 {
		t.Errorf("ada is still in the index: %v", got)
	}
	if got := r.findIndex(t, "acme", "subject", "sue"); len(got) != 1 {
		t.Errorf("sue is not in the index: %v", got)
	}
	// The content of what went is in no segment, under whatever number.
	for _, s := range r.sealedSegments(t) {
		if s.LogNo != 1 {
			continue
		}
		openings, err := r.sealer.Open(ctx, r.db, "acme", a[0].Log, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []ledger.Receipt{a[0], a[1], b[0], b[1]} {
			if openings[x.ID] != nil {
				t.Errorf("segment %d has content of leaf %d", s.No, x.LeafIndex)
			}
		}
	}
	if after := len(r.sealedSegments(t)); after != before-2 { // of b, and of ada
		t.Errorf("%d segments, were %d", after, before)
	}
	if r.pending(t) != 1 {
		t.Errorf("%d expiries are not done", r.pending(t))
	}
	if n := r.expire(t); n != 0 { // once more: nothing to do
		t.Errorf("%d rows of a held run went", n)
	}
	r.sound(t)
	if _, _, err := r.ReleaseHold(ctx, "acme", hold.ID, "closed", "counsel"); err != nil {
		t.Fatal(err)
	}
	if n := r.expire(t); n != 2 || r.pending(t) != 0 {
		t.Errorf("%d rows went after the release, %d expiries are not done", n, r.pending(t))
	}
	r.opens(t, "acme", 1, a[3].LeafIndex, "/actor", "/summary")
	r.sound(t)
	// A retry of what has gone is still the same record.
	if again := r.append(t, "acme", step(1, 1, content+ada)); !again[0].Duplicate || again[0].LeafIndex != a[0].LeafIndex {
		t.Errorf("a repeat: %+v", again[0])
	}
	r.close()
	r = openRig(t, r.dir, h.clock)
	r.sound(t)
}

func TestOrderExpiryRefuses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, h := pastRig(t)
	a := r.append(t, "acme", step(1, 1, content))
	size := r.Integrity("acme").TreeSize
	due := h.dayEnd()
	h.move(92*24*time.Hour, 92*24*time.Hour)
	good := ledger.ExpiryOrder{LogNo: 1, Table: "aos_trace_steps", Ranges: []evidence.TargetRange{ranges(a...)}, Before: due, Class: evidence.ClassLLMRuns, Days: 90, Rows: 1}
	for name, tc := range map[string]struct {
		change func(*ledger.ExpiryOrder)
		want   error
	}{
		"too young":        {func(o *ledger.ExpiryOrder) { o.Before = evidence.MicrosOf(time.Now()) }, evidence.ErrConflict},
		"the audit ledger": {func(o *ledger.ExpiryOrder) { o.Table = "audit_ledger" }, evidence.ErrForbidden},
		"no ranges":        {func(o *ledger.ExpiryOrder) { o.Ranges = nil }, evidence.ErrInvalid},
		"another log":      {func(o *ledger.ExpiryOrder) { o.LogNo = 9 }, evidence.ErrNotFound},
	} {
		o := good
		tc.change(&o)
		if _, _, err := r.OrderExpiry(ctx, "acme", []ledger.ExpiryOrder{good, o}); !errors.Is(err, tc.want) || errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	hold, _, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldTenant, Reason: "a case"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.OrderExpiry(ctx, "acme", []ledger.ExpiryOrder{good}); !errors.Is(err, store.ErrHeld) {
		t.Errorf("under a hold: %v", err)
	}
	if n := r.Integrity("acme").TreeSize; n != size+1 || r.pending(t) != 0 {
		t.Errorf("%d leaves, were %d; %d expiries", n, size, r.pending(t))
	}
	if _, _, err := r.ReleaseHold(ctx, "acme", hold.ID, "closed", ""); err != nil {
		t.Fatal(err)
	}
	// A hold that is placed between the order and the removal.
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(a...))
	if _, _, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldTenant, Reason: "a case"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ExpireStep(ctx, "acme"); !errors.Is(err, store.ErrHeld) {
		t.Errorf("a step under a hold: %v", err)
	}
	r.gone(t, a[0], false)
	r.sound(t)
}

// lifeFaults fails calls of the store's lifecycle.
type lifeFaults struct {
	store.Store
	expire, remove atomic.Int64 // calls that pass before one fails; negative: all pass
	persist        atomic.Bool  // the failing one is carried out
	sealed, under  atomic.Int64 // calls of SealedSegments, segments that SealedUnder yielded
}

var errLost = errors.New("connection lost")

func (s *lifeFaults) fail(n *atomic.Int64, call func() error) error {
	if n.Add(-1) != -1 {
		return call()
	}
	if s.persist.Load() {
		if err := call(); err != nil {
			return err
		}
	}
	return errLost
}

func (s *lifeFaults) Expire(ctx context.Context, tenant string, list []store.Expiry, from, to int64, done bool, r *store.Removal) (rows int64, err error) {
	err = s.fail(&s.expire, func() (err error) {
		rows, err = s.Store.Expire(ctx, tenant, list, from, to, done, r)
		return err
	})
	return rows, err
}

func (s *lifeFaults) Remove(ctx context.Context, tenant string, r *store.Removal) error {
	return s.fail(&s.remove, func() error { return s.Store.Remove(ctx, tenant, r) })
}

func (s *lifeFaults) SealedSegments(ctx context.Context, log store.LogRef, fn func(store.SealedSegment) error) error {
	s.sealed.Add(1)
	return s.Store.SealedSegments(ctx, log, fn)
}

func (s *lifeFaults) SealedUnder(ctx context.Context, tenant string, key store.KeyID, after store.SegmentRef, limit int, fn func(store.SealedSegment) error) error {
	return s.Store.SealedUnder(ctx, tenant, key, after, limit, func(x store.SealedSegment) error {
		s.under.Add(1)
		return fn(x)
	})
}

func (s *lifeFaults) option(c *ledger.Config) {
	s.Store = c.Store
	s.expire.Store(-1)
	s.remove.Store(-1)
	c.Store = s
}

// TestExpireCrash ends the process at each step of an expiry, before and behind what the
// step does.
func TestExpireCrash(t *testing.T) {
	t.Parallel()
	for _, persist := range []bool{false, true} {
		t.Run(fmt.Sprint("persist ", persist), func(t *testing.T) {
			t.Parallel()
			f := &lifeFaults{}
			r, h := pastRig(t, f.option)
			var lines []string
			for i := range 100 {
				lines = append(lines, step(1, i+1, content))
			}
			a := r.append(t, "acme", lines...)
			b := r.append(t, "acme", append(slices.Clone(lines[:5]), step(2, 1, content), fmt.Sprintf(systemLine, 1))...)
			c := r.append(t, "acme", step(3, 1, content), step(4, 1, content))
			for i := range 100 {
				lines[i] = step(3, i+2, content)
			}
			c = append(c, r.append(t, "acme", lines...)...)
			order := []evidence.TargetRange{ranges(a...), ranges(b[5]), ranges(c[0]), ranges(c[2:]...)}
			r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, order...)
			crashes := 0
			for at := int64(0); at < 100; at++ {
				f.expire.Store(at % 2) // each time one step further, or at the same
				f.persist.Store(persist)
				var err error
				for more := true; more && err == nil; {
					var s ledger.ExpiryStep
					s, err = r.ExpireStep(context.Background(), "acme")
					more = s.More
				}
				if err == nil {
					break
				}
				if !errors.Is(err, errLost) {
					t.Fatal(err)
				}
				crashes++
				r.close()
				r = openRig(t, r.dir, h.clock, f.option)
				f.expire.Store(-1)
				if at == 1 {
					r.sound(t)
				}
				if !persist && at > 4 {
					break // it would fail for ever
				}
			}
			f.expire.Store(-1)
			r.expire(t)
			if crashes == 0 || r.pending(t) != 0 {
				t.Errorf("%d crashes, %d expiries are not done", crashes, r.pending(t))
			}
			for _, x := range []ledger.Receipt{a[0], a[99], b[5], c[0], c[2], c[101]} {
				r.gone(t, x, true)
			}
			r.gone(t, c[1], false)
			r.opens(t, "acme", 1, c[1].LeafIndex, "/actor", "/params", "/prompt", "/status_message")
			r.opens(t, "acme", 1, b[6].LeafIndex, "/actor", "/summary")
			r.sound(t)
		})
	}
}

// TestExpireLeaves: leaves go as a prefix that an archive has, and no others.
func TestExpireLeaves(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, h := pastRig(t)
	var lines []string
	for i := range 300 {
		lines = append(lines, step(1, i+1, ""))
	}
	r.append(t, "acme", lines...)
	logs, err := r.db.Logs(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	order := ledger.ExpiryOrder{
		LogNo: 1, Table: store.TableLeaves, Ranges: []evidence.TargetRange{{From: 0, To: 256}}, From: 1, Before: h.dayEnd(),
		Class: "moved", Days: 365, Rows: 256, Reason: "archived",
	}
	if _, _, err := r.OrderExpiry(ctx, "acme", []ledger.ExpiryOrder{order}); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("leaves that no archive has: %v", err)
	}
	unit := store.ArchiveUnit{
		LogRef: logs[0].LogRef, From: 0, To: 256, FirstAt: 1, LastAt: 2, Archive: "dir:a", Name: "u", Manifest: evidence.Hash{1}, Bytes: 1, At: 3,
	}
	if err := r.db.KeepArchive(ctx, unit); err != nil {
		t.Fatal(err)
	}
	order.Archive = []store.ArchiveUnit{unit}
	_, receipts, err := r.OrderExpiry(ctx, "acme", []ledger.ExpiryOrder{order})
	if err != nil {
		t.Fatal(err)
	}
	rec := r.record(t, "acme", 1, receipts[0].LeafIndex)
	if _, has := rec.Leaf.Commitment("/targets"); has || rec.Open["/after_state"].JSON != `{"archive":[{"unit":"u","manifest":"`+evidence.Checksum(unit.Manifest)+`","archive":"dir:a"}]}` {
		t.Errorf("%s %+v", rec.Raw, rec.Open)
	}
	if n := r.expire(t); n == 0 || r.pending(t) != 0 {
		t.Errorf("%d segments went, %d expiries are not done", n, r.pending(t))
	}
	first := int64(-1)
	err = r.db.Segments(ctx, logs[0].LogRef, 0, 400, func(s store.LeafSegment) error {
		if first < 0 {
			first = s.First
		}
		return nil
	})
	if err != nil || first != 256 {
		t.Errorf("the first leaf is %d, %v", first, err)
	}
	r.append(t, "acme", step(2, 1, "")) // and on
}
