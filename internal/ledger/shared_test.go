package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// house is a database that several ledgers write, as several processes do: each has
// its own connections, keys in memory and view of the anchor directory.
type house struct {
	dsns pgtest.DSNs
	dir  string
}

// peer is one of them.
type peer struct {
	*ledger.Ledger
	db     *postgres.DB
	sealer *seal.Sealer
	anchor *ledger.DirAnchor
}

func newHouse(t testing.TB) *house {
	t.Helper()
	dsns := pgtest.Copy(t, "ledger", func(d pgtest.DSNs) error {
		db, err := postgres.Open(t.Context(), postgres.Config{DSN: d.App, OwnerDSN: d.Owner})
		if err != nil {
			return err
		}
		return db.Close()
	})
	return &house{dsns: dsns, dir: t.TempDir()}
}

func (h *house) open(t testing.TB, wrap func(store.Store) store.Store) (*peer, error) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{DSN: h.dsns.App})
	if err != nil {
		t.Fatal(err)
	}
	var s store.Store = db
	if wrap != nil {
		s = wrap(db)
	}
	master, err := seal.OpenMaster(filepath.Join(h.dir, "master.keyset.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := ledger.NewDirAnchor(filepath.Join(h.dir, "anchor"))
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{db: db, sealer: seal.New(s, master), anchor: anchor}
	p.Ledger, err = ledger.Open(t.Context(), ledger.Config{
		Store: s, Sealer: p.sealer, Anchor: anchor, Logger: slog.New(slog.DiscardHandler), PublishEvery: 20 * time.Millisecond,
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return p, nil
}

// peers opens so many.
func (h *house) peers(t testing.TB, n int) []*peer {
	t.Helper()
	out := make([]*peer, n)
	for i := range out {
		var err error
		if out[i], err = h.open(t, nil); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (p *peer) put(t testing.TB, tenant string, lines ...string) []ledger.Receipt {
	t.Helper()
	receipts, err := p.Append(t.Context(), tenant, native(t, lines...), ledger.AppendOptions{Producer: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return receipts
}

// clean verifies everything that the store has.
func (p *peer) clean(t testing.TB, want int64) {
	t.Helper()
	report, err := ledger.Verify(t.Context(), ledger.LiveConfig{Reader: p.db, Sealer: p.sealer, Anchor: p.anchor})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("verification: %v", f)
	}
	if report.Leaves < want {
		t.Errorf("%d leaves were verified, want at least %d", report.Leaves, want)
	}
}

// TestSharedAppend: several processes append to one tenant and each to its own, and to
// the same runs. Every receipt is true, and the log has no gap and no duplicate.
func TestSharedAppend(t *testing.T) {
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHouse(t)
			peers := h.peers(t, n)
			info, err := peers[0].CreateTenant(t.Context(), "acme")
			if err != nil {
				t.Fatal(err)
			}
			const batches, size = 12, 20
			var mu sync.Mutex
			got := map[int64]evidence.Hash{}
			numbers := map[string]bool{}
			mine := make([]int, n)
			var wg sync.WaitGroup
			for i, p := range peers {
				own := fmt.Sprintf("own-%d", i)
				if _, err := p.CreateTenant(t.Context(), own); err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					for b := range batches {
						var lines []string
						for j := range size {
							lines = append(lines, step(b%5, 1+j+size*(b+batches*i), `,"human_actor_id":"ada"`))
						}
						receipts, err := p.Append(t.Context(), "acme", native(t, lines...), ledger.AppendOptions{Producer: "test"})
						if err != nil {
							t.Errorf("process %d: %v", i, err)
							return
						}
						p.put(t, own, step(b, 1, ""))
						mu.Lock()
						for _, r := range receipts {
							key := fmt.Sprint(b%5, " ", r.N)
							if _, twice := got[r.LeafIndex]; twice || numbers[key] || r.Duplicate {
								t.Errorf("process %d: receipt %+v was given before", i, r)
							}
							got[r.LeafIndex], numbers[key] = r.LeafHash, true
							mine[i]++
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			want := int64(n * batches * size)
			for seq := int64(1); seq <= want; seq++ {
				if _, ok := got[seq]; !ok {
					t.Fatalf("no receipt names leaf %d", seq)
				}
			}
			for i, p := range peers {
				if _, err := p.WaitPublished(t.Context(), "acme", info.No, want+1); err != nil {
					t.Fatal(err)
				}
				for seq, hash := range got {
					proof, err := p.ProveSeq(t.Context(), "acme", 1, seq)
					if err != nil {
						t.Fatalf("process %d, leaf %d: %v", i, seq, err)
					}
					if evidence.LeafHash(proof.Leaf) != hash {
						t.Fatalf("leaf %d is not the one of its receipt", seq)
					}
				}
				if mine[i] != batches*size {
					t.Errorf("process %d has %d receipts of %d", i, mine[i], batches*size)
				}
			}
			peers[n-1].clean(t, want)
		})
	}
}

// TestSharedRepeats: a producer that tries again at another process gets the receipt of
// the first, also where both try at the same time.
func TestSharedRepeats(t *testing.T) {
	h := newHouse(t)
	peers := h.peers(t, 2)
	if _, err := peers[0].CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	for round := range 15 {
		var receipts [2][]ledger.Receipt
		var wg sync.WaitGroup
		for i, p := range peers {
			wg.Go(func() {
				receipts[i] = p.put(t, "acme", step(round, 1, `,"params":{"a":1}`), step(round, 2, ""), step(100, 1+round, ""))
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for j := range receipts[0] {
			a, b := receipts[0][j], receipts[1][j]
			if a.Duplicate == b.Duplicate || a.LeafIndex != b.LeafIndex || a.LeafHash != b.LeafHash || a.N != b.N {
				t.Fatalf("round %d: receipts %+v and %+v", round, a, b)
			}
		}
	}
	peers[0].clean(t, 1+3*15)
}

// TestSharedReading: what one process acknowledged, another finds, proves and publishes;
// and whoever asks one after the other never sees a log that shrinks.
func TestSharedReading(t *testing.T) {
	h := newHouse(t)
	peers := h.peers(t, 2)
	if _, err := peers[0].CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	peers[1].put(t, "acme", step(0, 1, "")) // it knows the log, as of now
	last := int64(0)
	for i := range 60 {
		writer, reader := peers[i%2], peers[(i+1)%2]
		r := writer.put(t, "acme", step(1, i+1, `,"params":{"n":1}`))[0]
		end, err := reader.End(t.Context(), "acme")
		if err != nil || end.Seq <= r.LeafIndex {
			t.Fatalf("leaf %d is acknowledged, and the end elsewhere is %+v (%v)", r.LeafIndex, end, err)
		}
		found, err := reader.Find(t.Context(), store.Query{Tenant: "acme", Kind: evidence.KindTraceStep, Limit: 1})
		if err != nil || len(found) != 1 || found[0].Seq != r.LeafIndex {
			t.Fatalf("found %+v (%v), want leaf %d", found, err, r.LeafIndex)
		}
		if _, err := reader.Fetch(t.Context(), "acme", found, true); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*peer{writer, reader} {
			note, err := p.Checkpoint(t.Context(), "acme")
			if err != nil {
				t.Fatal(err)
			}
			c, _, err := c2sp.ParseNote(note)
			if err != nil || c.Size < last {
				t.Fatalf("a checkpoint of %d leaves was given out, and then one of %d (%v)", last, c.Size, err)
			}
			last = c.Size
		}
		if i%3 == 0 { // what another process publishes counts for this one
			if _, _, err := writer.PublishNow(t.Context(), "acme", 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	size := last
	if i := peers[0].Integrity("acme"); i.TreeSize < size {
		t.Errorf("integrity speaks of %d leaves, %d are published", i.TreeSize, size)
	}
	end, err := peers[0].End(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peers[1].WaitPublished(t.Context(), "acme", 1, end.Seq); err != nil {
		t.Fatal(err)
	}
}

// TestSharedRollover: a process goes on in the log that another one opened.
func TestSharedRollover(t *testing.T) {
	h := newHouse(t)
	peers := h.peers(t, 2)
	if _, err := peers[0].CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	peers[1].put(t, "acme", step(0, 1, ""))
	for i := range 6 {
		info, err := peers[i%2].Rollover(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		other := peers[(i+1)%2]
		if i >= 3 {
			end, err := other.End(t.Context(), "acme")
			if err != nil || end.LogNo != info.No {
				t.Fatalf("the end is in log %d (%v), the newest is %d", end.LogNo, err, info.No)
			}
		}
		if r := other.put(t, "acme", step(1, i+1, ""))[0]; r.Log != info.Origin {
			t.Fatalf("record in %s, the newest log is %s", r.Log, info.Origin)
		}
	}
	peers[0].clean(t, 12)
}

// TestSharedErasure: what a process seals after another one destroyed the key is under
// a new key, and can be read.
func TestSharedErasure(t *testing.T) {
	h := newHouse(t)
	peers := h.peers(t, 2)
	if _, err := peers[0].CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	const ada = `,"human_actor_id":"ada"`
	for i := range 4 {
		writer, eraser := peers[i%2], peers[(i+1)%2]
		before := writer.put(t, "acme", step(i, 1, ada))[0]
		if _, err := eraser.Erase(t.Context(), "acme", ledger.Erasure{Person: "ada", Reason: "asked"}); err != nil {
			t.Fatal(err)
		}
		after := writer.put(t, "acme", step(i, 2, ada))[0]
		for _, p := range peers {
			open := p.opened(t, before, after)
			if _, there := open[0]["/actor"]; there {
				t.Errorf("round %d: the erased actor is still there", i)
			}
			if _, there := open[1]["/actor"]; !there {
				t.Errorf("round %d: the actor of a later record is lost", i)
			}
		}
	}
	peers[0].clean(t, 12)
}

// opened returns the openings of records.
func (p *peer) opened(t *testing.T, receipts ...ledger.Receipt) (out []map[string]ledger.Opened) {
	t.Helper()
	for _, r := range receipts {
		err := p.Records(t.Context(), "acme", r.LogNo, r.LeafIndex, r.LeafIndex+1, func(rec ledger.LogRecord) error {
			out = append(out, rec.Open)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestSharedStart: processes that start at once on an empty database share one system
// log and one name; one that starts beside writing ones sees no rollback.
func TestSharedStart(t *testing.T) {
	h := newHouse(t)
	peers := make([]*peer, 3)
	var wg sync.WaitGroup
	for i := range peers {
		wg.Go(func() {
			var err error
			if peers[i], err = h.open(t, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, p := range peers {
		logs, err := p.Logs(t.Context(), evidence.SystemTenant)
		if err != nil || len(logs) != 1 || p.Instance() != peers[0].Instance() {
			t.Fatalf("instance %s, system logs %+v (%v)", p.Instance(), logs, err)
		}
	}
	conflicts := atomic.Int32{}
	for _, p := range peers {
		wg.Go(func() {
			if _, err := p.CreateTenant(t.Context(), "acme"); errors.Is(err, evidence.ErrConflict) {
				conflicts.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := conflicts.Load(); n != 2 {
		t.Errorf("%d of 3 were told that the tenant exists", n)
	}
	stop := make(chan struct{})
	for i, p := range peers[:2] {
		wg.Go(func() {
			for b := 0; ; b++ {
				select {
				case <-stop:
					return
				default:
					p.put(t, "acme", step(i, b+1, ""))
				}
			}
		})
	}
	for range 8 {
		if _, err := h.open(t, nil); err != nil {
			t.Errorf("start beside others: %v", err)
		}
	}
	close(stop)
	wg.Wait()
}

// lossy loses the answers of commits: they are stored, and the caller is told that the
// outcome is unknown, after another process went on.
type lossy struct {
	store.Store
	lose  atomic.Bool
	after func()
}

func (s *lossy) Commit(ctx context.Context, c *store.Commit) error {
	return s.answer(s.Store.Commit(ctx, c))
}

func (s *lossy) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	c, err := s.Store.Claim(ctx, log)
	return lossyClaim{c, s}, err
}

type lossyClaim struct {
	store.Claim
	s *lossy
}

func (c lossyClaim) Commit(ctx context.Context, commit *store.Commit) error {
	return c.s.answer(c.Claim.Commit(ctx, commit))
}

func (s *lossy) answer(err error) error {
	if err == nil && s.lose.CompareAndSwap(true, false) {
		s.after()
		return errors.New("connection lost")
	}
	return err
}

// TestSharedUnknownOutcome: a commit whose answer was lost is acknowledged once, although
// the head that was read back is another process's by then.
func TestSharedUnknownOutcome(t *testing.T) {
	h := newHouse(t)
	other := h.peers(t, 1)[0]
	if _, err := other.CreateTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	var l *lossy
	p, err := h.open(t, func(s store.Store) store.Store {
		l = &lossy{Store: s}
		return l
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		l.after = func() { other.put(t, "acme", step(50+i, 1, "")) }
		l.lose.Store(true)
		first := p.put(t, "acme", step(i, 1, `,"params":{"a":1}`))[0]
		if l.lose.Load() {
			t.Fatal("no commit was lost")
		}
		if again := other.put(t, "acme", step(i, 1, `,"params":{"a":1}`))[0]; !again.Duplicate || again.LeafIndex != first.LeafIndex {
			t.Fatalf("receipt %+v, and %+v of a repeat elsewhere", first, again)
		}
	}
	p.clean(t, 7)
}
