package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func (r *rig) fetch(t testing.TB, tenant string, at []store.Found, content bool) []ledger.Fetched {
	t.Helper()
	out, err := r.Fetch(context.Background(), tenant, at, content)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// everyRecord returns where all records of a tenant stand, by kind.
func (r *rig) everyRecord(t testing.TB, tenant string) []store.Found {
	t.Helper()
	logs, err := r.Logs(context.Background(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	var at []store.Found
	for _, lg := range logs {
		for _, k := range evidence.Kinds() {
			err := r.db.Rows(context.Background(), store.LogRef{Tenant: tenant, No: lg.No}, k, 0, 1<<30, func(row *store.Row) error {
				at = append(at, store.Found{
					Kind: k, Position: store.Position{LogNo: lg.No, Seq: row.Seq}, OccurredAt: row.OccurredAt,
					Segment: row.Segment, ActorSegment: row.ActorSegment,
				})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return at
}

// TestFetch reads every record of every tenant of a deployment with erasures and
// several logs, in any order and many twice, and compares with the leaves noted
// apart from the database and with what Records opens.
func TestFetch(t *testing.T) {
	d := copyOf(t)
	r := openRig(t, d.dir)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, tenant := range []string{"acme", "globex", evidence.SystemTenant} {
		at := r.everyRecord(t, tenant)
		open := map[store.Position]map[string]ledger.Opened{}
		total := int64(0)
		for i := range d.logs {
			if l := &d.logs[i]; l.Tenant == tenant {
				total += l.size
				err := r.Records(context.Background(), tenant, l.No, 0, l.size, func(rec ledger.LogRecord) error {
					open[store.Position{LogNo: l.No, Seq: rec.Seq}] = rec.Open
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if int64(len(at)) != total {
			t.Fatalf("%s: %d rows of %d leaves", tenant, len(at), total)
		}
		at = append(at, at[:len(at)/2]...)
		rnd.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
		for _, parts := range [][2]int{{len(at), len(at)}, {len(at), 50}, {min(len(at), 100), 1}} {
			for part := range slices.Chunk(at[:parts[0]], parts[1]) {
				for i, f := range r.fetch(t, tenant, part, true) {
					want := d.log(tenant, f.LogNo).leaves[f.Seq]
					switch {
					case f.Position != part[i].Position || f.Kind != part[i].Kind || f.Tenant != tenant:
						t.Fatalf("record %d is %s at %v, found was %+v", i, f.Kind, f.Position, part[i])
					case string(f.Raw) != string(want) || f.Hash != evidence.LeafHash(want) || f.Leaf.Seq != f.Seq:
						t.Fatalf("%s %v: not the leaf that was signed", tenant, f.Position)
					}
					if diff := cmp.Diff(open[f.Position], f.Open); diff != "" {
						t.Fatalf("%s %v opens otherwise:\n%s", tenant, f.Position, diff)
					}
				}
			}
		}
		for _, f := range r.fetch(t, tenant, at, false) {
			if f.Open != nil || f.Leaf == nil {
				t.Fatalf("content that nobody asked for: %v", f.Open)
			}
		}
	}
	if out := r.fetch(t, "acme", nil, true); len(out) != 0 {
		t.Errorf("nothing found, %d records", len(out))
	}
}

// TestFetchSegments counts the reading: each segment once, and leaf segments that
// were read before not again.
func TestFetchSegments(t *testing.T) {
	d := copyOf(t)
	c := &counting{}
	r := openRig(t, d.dir, func(cfg *ledger.Config) { c.Store = cfg.Store; cfg.Store = c })
	run := fmt.Sprintf("%032x", 203)
	at := r.foundOf(t, "acme", run)
	sealed := map[int64]bool{}
	for _, f := range at {
		for _, no := range []int64{f.Segment, f.ActorSegment} {
			if no != store.NoSegment {
				sealed[no] = true
			}
		}
	}
	r.fetch(t, "acme", at[:1], false) // opens the log
	r.ForgetNear()
	for try, want := range []int{1, 0} {
		c.reset()
		r.fetch(t, "acme", at, true)
		if got := c.calls("Segments"); got != want {
			t.Errorf("try %d: %d queries for leaf segments, want %d", try, got, want)
		}
		if got := c.calls("SealedSegment"); got != len(sealed) {
			t.Errorf("try %d: %d sealed segments read, the run has %d", try, got, len(sealed))
		}
	}
	c.reset()
	r.fetch(t, "acme", at, false)
	if c.calls("SealedSegment") != 0 {
		t.Error("without content, sealed segments were read")
	}
}

// counting is a store that notes which of its reads are asked for what.
type counting struct {
	store.Store
	mu  sync.Mutex
	log []string
}

func (c *counting) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, fmt.Sprintf(format, args...))
}

func (c *counting) reset() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.log
	c.log = nil
	return was
}

func (c *counting) calls(name string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.log {
		if l == name {
			n++
		}
	}
	return n
}

func (c *counting) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	c.note("Segments")
	return c.Store.Segments(ctx, log, from, to, fn)
}

func (c *counting) SealedSegment(ctx context.Context, tenant string, ref store.SegmentRef) (store.SealedSegment, error) {
	c.note("SealedSegment")
	return c.Store.SealedSegment(ctx, tenant, ref)
}

func (c *counting) Runs(ctx context.Context, tenant string, runs []string) (map[string]store.RunState, error) {
	c.note("Runs")
	return c.Store.Runs(ctx, tenant, runs)
}

func (c *counting) RunOfAlias(ctx context.Context, tenant, alias string) (string, error) {
	c.note("RunOfAlias")
	return c.Store.RunOfAlias(ctx, tenant, alias)
}

func (c *counting) RunOfTrace(ctx context.Context, tenant, id string) (string, error) {
	c.note("RunOfTrace")
	return c.Store.RunOfTrace(ctx, tenant, id)
}

func (c *counting) FindIndex(ctx context.Context, tenant, name string, mac [16]byte, limit int) ([]store.IndexEntry, error) {
	c.note("FindIndex")
	return c.Store.FindIndex(ctx, tenant, name, mac, limit)
}

// TestFetchErased: what is erased between two looks is gone at the second,
// although the leaf was near.
func TestFetchErased(t *testing.T) {
	r := eraseRig(t)
	receipts := r.append(t, "acme",
		step(1, 1, content+`,"human_actor_id":"ada"`), step(1, 2, content+`,"human_actor_id":"bob","subject":"ada"`), step(1, 3, content))
	at := r.foundOf(t, "acme", fmt.Sprintf("%032x", 1))
	paths := func(f ledger.Fetched) (list []string) {
		for path := range f.Open {
			list = append(list, path)
		}
		slices.Sort(list)
		return list
	}
	check := func(what string, want ...[]string) {
		t.Helper()
		for i, f := range r.fetch(t, "acme", at, true) {
			if f.Hash != receipts[i].LeafHash {
				t.Errorf("%s: record %d has another leaf", what, i)
			}
			if got := paths(f); !slices.Equal(got, want[i]) {
				t.Errorf("%s: of record %d %q open, want %q", what, i, got, want[i])
			}
		}
	}
	all := []string{"/actor", "/params", "/prompt", "/status_message"}
	check("before", all, []string{"/actor", "/params", "/prompt", "/status_message", "/subject"}, all)
	r.erase(t, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: at[2].Position, Paths: []string{"/prompt"}}}, Reason: "asked", By: "op"})
	some := []string{"/actor", "/params", "/status_message"}
	check("a field", all, []string{"/actor", "/params", "/prompt", "/status_message", "/subject"}, some)
	r.erase(t, "acme", ledger.Erasure{Person: "ada", Reason: "asked", By: "op"})
	check("a person", all[1:], []string{"/actor"}, some)
	r.erase(t, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: at[0].Position}}, Reason: "asked", By: "op"})
	check("a record", nil, []string{"/actor"}, some)
}

// TestFetchOfAnotherTenant: positions say nothing of a tenant, so those of one
// give the other its own records or an error, and no content of the first.
func TestFetchOfAnotherTenant(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	for _, tenant := range []string{"acme", "globex"} {
		r.tenant(t, tenant)
	}
	r.append(t, "acme", step(1, 1, content), step(1, 2, content))
	own := r.append(t, "globex", step(2, 1, ""))
	at := r.foundOf(t, "acme", fmt.Sprintf("%032x", 1))
	got := r.fetch(t, "globex", at[:1], true)
	if got[0].Hash != own[0].LeafHash || got[0].Open["/prompt"].JSON != "" || got[0].Leaf.Text("trace_id") != fmt.Sprintf("%032x", 2) {
		t.Errorf("got %s", got[0].Raw)
	}
	for _, c := range []struct {
		tenant string
		at     store.Found
		want   error
	}{
		{"globex", at[1], evidence.ErrTampered}, // beyond its log
		{"globex", store.Found{Kind: evidence.KindTraceStep, Position: store.Position{LogNo: 2, Seq: 1}}, evidence.ErrNotFound},
		{"nobody", at[0], evidence.ErrNotFound},
		{"acme", store.Found{Kind: evidence.KindTraceStep, Position: store.Position{LogNo: 1, Seq: -1}}, evidence.ErrTampered},
		{"acme", store.Found{Kind: evidence.KindAudit, Position: at[0].Position}, evidence.ErrTampered},
	} {
		if out, err := r.Fetch(context.Background(), c.tenant, []store.Found{c.at}, true); !errors.Is(err, c.want) || out != nil {
			t.Errorf("%s %+v: %v, %v", c.tenant, c.at, out, err)
		}
	}
}

// TestFetchOfAnotherProcess: what another process appended is found, and read
// once its head proves it.
func TestFetchOfAnotherProcess(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	r.append(t, "acme", step(1, 1, content))
	other, err := ledger.Open(context.Background(), ledger.Config{
		Store: r.db, Sealer: r.sealer, Anchor: r.anchor, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if end, err := other.End(context.Background(), "acme"); err != nil || end != (store.Position{LogNo: 1, Seq: 2}) {
		t.Fatal(end, err)
	}
	for i := range 300 { // beyond a tile's end
		r.append(t, "acme", step(1, i+2, content))
	}
	at := r.foundOf(t, "acme", fmt.Sprintf("%032x", 1))
	records, err := other.Fetch(context.Background(), "acme", at, true)
	if err != nil || len(records) != 301 || records[300].Open["/prompt"].JSON != `"the prompt"` {
		t.Fatal(len(records), err)
	}
}

// TestFetchWhileWriting has readers beside a writer and an eraser.
func TestFetchWhileWriting(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	r.append(t, "acme", step(1, 1, content+`,"human_actor_id":"ada"`))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var at []store.Found
				err := r.db.RunRecords(context.Background(), "acme", fmt.Sprintf("%032x", 1), func(rr store.RunRecord) error {
					at = append(at, store.Found{Kind: rr.Kind, Position: rr.Position, Segment: rr.Segment, ActorSegment: rr.ActorSegment})
					return nil
				})
				if err == nil {
					_, err = r.Fetch(context.Background(), "acme", at, true)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		r.append(t, "acme", step(1, 2+i, fmt.Sprintf(`%s,"human_actor_id":"ada-%d"`, content, i%5)), step(2, 2+i, content))
		if i%10 == 7 {
			r.erase(t, "acme", ledger.Erasure{Person: fmt.Sprintf("ada-%d", i/10%5), Reason: "asked", By: "op"})
		}
	}
	close(stop)
	readers.Wait()
}
