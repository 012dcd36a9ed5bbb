package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

var (
	histories = flag.Int("lifecycle.histories", 4, "random histories of TestHistories")
	firstSeed = flag.Uint64("lifecycle.seed", uint64(today.Unix()), "seed of the first of them")
)

// TestHistories lets runs be appended, held, released, archived, expired and erased, logs
// be rolled over, and the process die between any two writes, all at random. What must
// hold: each proof and checkpoint that was given out is good still; each leaf is there; what is
// held or young can be read, and what has expired or was erased cannot, by no reader, in no
// file, and by no key that is left.
func TestHistories(t *testing.T) {
	for i := range *histories {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, seed)
			for range 45 {
				h.step()
			}
			h.finish()
		})
	}
}

// errDead is what a store answers whose process has died.
var errDead = fmt.Errorf("dead: %w", evidence.ErrUnavailable)

// mortal is a store that dies at a write: before it, or right after.
type mortal struct {
	store.Store
	left  int // writes until it dies; < 0: it lives
	after bool
	dead  bool
	// dropped are the partitions that went as a whole.
	dropped int
}

func (m *mortal) write(do func() error) error {
	if m.dead {
		return errDead
	}
	if m.left == 0 {
		m.dead = true
		if m.after {
			_ = do()
		}
		return errDead
	}
	m.left--
	return do()
}

func (m *mortal) Commit(ctx context.Context, c *store.Commit) error {
	return m.write(func() error { return m.Store.Commit(ctx, c) })
}

func (m *mortal) Remove(ctx context.Context, tenant string, r *store.Removal) error {
	return m.write(func() error { return m.Store.Remove(ctx, tenant, r) })
}

func (m *mortal) SetSetting(ctx context.Context, name, value string) error {
	return m.write(func() error { return m.Store.SetSetting(ctx, name, value) })
}

func (m *mortal) KeepArchive(ctx context.Context, u store.ArchiveUnit) error {
	return m.write(func() error { return m.Store.KeepArchive(ctx, u) })
}

func (m *mortal) ExtendHold(ctx context.Context, tenant, id string, runs []string, at []store.Position) error {
	return m.write(func() error { return m.Store.ExtendHold(ctx, tenant, id, runs, at) })
}

func (m *mortal) Expire(ctx context.Context, tenant string, list []store.Expiry, from, to int64, done bool, r *store.Removal) (n int64, err error) {
	err = m.write(func() error { n, err = m.Store.Expire(ctx, tenant, list, from, to, done, r); return err })
	return n, err
}

func (m *mortal) ExpireLeaves(ctx context.Context, log store.LogRef, limit int) (n int64, err error) {
	err = m.write(func() error { n, err = m.Store.ExpireLeaves(ctx, log, limit); return err })
	return n, err
}

func (m *mortal) PlanDrop(ctx context.Context) (names []string, err error) {
	err = m.write(func() error { names, err = m.Store.PlanDrop(ctx); return err })
	return names, err
}

func (m *mortal) DropPlanned(ctx context.Context) (dropped, left []string, err error) {
	err = m.write(func() error { dropped, left, err = m.Store.DropPlanned(ctx); return err })
	m.dropped += len(dropped)
	return dropped, left, err
}

func (m *mortal) DropExpired(ctx context.Context) (names []string, err error) {
	err = m.write(func() error { names, err = m.Store.DropExpired(ctx); return err })
	return names, err
}

// fact is one record as the model has it.
type fact struct {
	marker   string // stands in its sealed prompt
	run      string
	subject  string
	at       evidence.Micros
	where    store.Position
	hash     evidence.Hash
	audit    bool
	may      bool // it may be gone: an expiry or erasure that failed half-way was after it
	must     bool // it must be
	noBackup bool // and no key that is left may open an old copy of it
}

// history is a deployment beside a model of what it must hold.
type history struct {
	*rig
	rng    *rand.Rand
	clk    *clock
	store  *mortal
	facts  []*fact
	runs   map[string][]*fact
	held   map[string]string // by hold: its run, or "subject:…"
	days   int               // policy of llm_runs
	proofs []*ledger.Proof
	logs   []ledger.LogInfo
	copies map[[16]byte]copied // each sealed segment that ever was
	keys   map[store.KeyID]store.DataKey
	// Which of these there were when copyAll looked last.
	live     map[[16]byte]bool
	liveKeys map[store.KeyID]bool
	n        int
}

type copied struct {
	store.SealedSegment
	origin string
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		rng: rand.New(rand.NewPCG(seed, 8)), clk: &clock{at: ago(1000)}, runs: map[string][]*fact{}, held: map[string]string{},
		days: evidence.RetentionDays(evidence.ClassLLMRuns), copies: map[[16]byte]copied{}, keys: map[store.KeyID]store.DataKey{},
	}
	h.rig = &rig{t: t, base: t.TempDir(), clock: h.clk}
	h.open()
	t.Cleanup(func() { h.close() })
	if _, err := h.ledger.CreateTenant(context.Background(), tenant); err != nil {
		t.Fatal(err)
	}
	return h
}

// open starts the process over whatever the one before left.
func (h *history) open() {
	t, ctx := h.t, context.Background()
	dir := filepath.Join(h.base, "data")
	db, err := storerig.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	if h.anchor, err = ledger.NewDirAnchor(filepath.Join(h.base, "anchor")); err != nil {
		t.Fatal(err)
	}
	arch, err := archive.Open(archive.Config{Spec: filepath.Join(h.base, "archive"), Spool: filepath.Join(h.base, "spool")})
	if err != nil {
		t.Fatal(err)
	}
	h.store = &mortal{Store: archive.Cold(db, func(store.ArchiveUnit) (*archive.Archive, error) { return arch, nil }), left: -1}
	h.db = h.store
	h.sealer = seal.New(h.db, master)
	h.ledger, err = ledger.Open(ctx, ledger.Config{
		Store: h.db, Sealer: h.sealer, Anchor: h.anchor, Instance: "test.example", Logger: slog.New(slog.DiscardHandler),
		Clock: ledger.Clock{Now: h.clk.now, Boot: h.clk.booted},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.cfg = Config{
		Ledger: h.ledger, Store: h.db, Sealer: h.sealer, Archive: arch, Now: h.clk.now, MoveAfter: 200 * 24 * time.Hour, UnitLeaves: 64,
	}
	if h.Service, err = New(h.cfg); err != nil {
		t.Fatal(err)
	}
	h.close = func() {
		if err := errors.Join(h.ledger.Close(), db.Close()); err != nil && !h.store.dead {
			t.Error(err)
		}
	}
}

// revive opens the deployment again after its process died, and lets it finish what it
// finds half-done.
func (h *history) revive() {
	h.t.Helper()
	dropped := h.store.dropped
	h.store.dead = true
	h.close()
	h.open()
	_, err := h.wholeMonths(context.Background(), func(ctx context.Context) error {
		_, err := h.Service.steps(ctx, tenant)
		return err
	})
	if err != nil {
		h.t.Fatalf("finish whole months: %v", err)
	}
	n, err := h.Service.finish(context.Background(), tenant)
	if err == nil && n > 0 {
		_, err = h.clean(context.Background())
	}
	if err != nil {
		h.t.Fatalf("finish what was begun: %v", err)
	}
	h.store.dropped += dropped
}

// dying lets do run in a process that dies at some write, or, as often as not, at none. It
// reports whether do was done.
func (h *history) dying(what string, do func() error) bool {
	h.t.Helper()
	h.copyAll()
	if h.rng.IntN(2) == 0 {
		h.store.left, h.store.after = h.rng.IntN(12), h.rng.IntN(2) == 0
	}
	err := do()
	died := h.store.dead
	h.store.left = -1
	if died {
		h.logf("died")
		h.revive()
		return false
	}
	if err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
	return true
}

func (h *history) logf(format string, args ...any) {
	h.t.Helper()
	h.t.Logf("%s: %s", h.clk.now().Format(time.DateTime), fmt.Sprintf(format, args...))
}

func (h *history) step() {
	if h.t.Failed() {
		h.t.FailNow()
	}
	switch p := h.rng.IntN(20); {
	case p < 8:
		h.append()
	case p < 10:
		h.hold()
	case p < 11:
		h.release()
	case p < 12:
		h.policy()
	case p < 15:
		h.expireDue()
	case p < 17:
		h.eraseSome()
	case p < 18:
		h.prove()
	case p < 19:
		h.dying("archive", func() error {
			_, err := h.Archive(context.Background(), tenant, ArchiveRequest{}, Actor{"op"})
			return err
		})
	default:
		if _, err := h.ledger.Rollover(context.Background(), tenant); err != nil {
			h.t.Fatal(err)
		}
	}
	if h.clk.now().Before(ago(60)) {
		h.clk.move(time.Duration(h.rng.IntN(14*24)) * time.Hour)
	} else {
		h.clk.move(time.Minute)
	}
}

// append appends a few runs, or goes on with one that has ended.
func (h *history) append() {
	at := h.clk.now()
	var lines []string
	var facts []*fact
	add := func(f *fact, line string) {
		h.n++
		f.marker = fmt.Sprintf("marker-%06d-of-it", h.n)
		lines = append(lines, strings.ReplaceAll(line, "MARKER", f.marker))
		facts = append(facts, f)
		if f.run != "" {
			h.runs[f.run] = append(h.runs[f.run], f)
		}
	}
	var run string
	var revision int
	for range 1 + h.rng.IntN(4) {
		if h.rng.IntN(6) > 0 || len(h.runs) == 0 {
			run, revision = fmt.Sprintf("run-%d", len(h.runs)), 1
		} else { // some run goes on
			run, revision = fmt.Sprintf("run-%d", h.rng.IntN(len(h.runs))), 2+h.n
		}
		subject := fmt.Sprintf("subject-%d", h.rng.IntN(5))
		for k := range 1 + h.rng.IntN(3) {
			add(&fact{run: run, subject: subject}, fmt.Sprintf(
				`{"kind":"trace_step","occurred_at":%q,"run_id":%q,"trace_id":"%032x","span_id":"%016x","skill_name":"tool","step_kind":"tool","status":"success",`+
					`"prompt":"MARKER","subject":%q,%s}`, stamp(at), run, len(run)*1000+h.n, 1+h.n*10+k, subject, source))
		}
		if h.rng.IntN(3) == 0 {
			add(&fact{run: run, audit: true}, fmt.Sprintf(`{"kind":"audit","id":"00000000-0000-4000-8002-%012d","occurred_at":%q,"run_id":%q,"event_type":"PolicyEvaluated",`+
				`"entity_type":"POLICY_RULE","entity_id":"rule","actor_type":"SYSTEM","action_reason":"MARKER","source_domain":"POLICY","source_component":"W"}`, h.n, stamp(at), run))
		}
		add(&fact{run: run}, completion(run, at, fmt.Sprintf(`,"response":"MARKER","revision":%d`, revision)))
	}
	records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
	if err != nil {
		h.t.Fatal(err)
	}
	receipts, err := h.ledger.Append(context.Background(), tenant, records, ledger.AppendOptions{Producer: "test"})
	if err != nil {
		h.t.Fatal(err)
	}
	for i, r := range receipts {
		facts[i].at, facts[i].where, facts[i].hash = evidence.MicrosOf(at), store.Position{LogNo: r.LogNo, Seq: r.LeafIndex}, r.LeafHash
		if r.Duplicate {
			h.t.Fatalf("record %d is taken for a duplicate", i)
		}
	}
	h.facts = append(h.facts, facts...)
}

// isHeld reports whether a run is held, and whether it may be: a record that may be gone may
// not name its subject any more.
func (h *history) isHeld(run string) (is, may bool) {
	for _, what := range h.held {
		if what == run {
			return true, true
		}
		for _, f := range h.runs[run] {
			if f.subject != "" && what == "subject:"+f.subject {
				is, may = is || !f.may, true
			}
		}
	}
	return is, may
}

func (h *history) hold() {
	if len(h.runs) == 0 || len(h.held) > 2 {
		return
	}
	what := fmt.Sprintf("run-%d", h.rng.IntN(len(h.runs)))
	req := HoldRequest{Run: what, Reason: "a case"}
	if h.rng.IntN(2) == 0 {
		req = HoldRequest{Subject: fmt.Sprintf("subject-%d", h.rng.IntN(5)), Reason: "a case"}
		what = "subject:" + req.Subject
	}
	info, err := h.PlaceHold(context.Background(), tenant, req, Actor{"op"})
	if err != nil {
		h.t.Fatal(err)
	}
	h.held[info.ID] = what
	h.logf("hold %s", what)
}

func (h *history) release() {
	for id := range h.held {
		if _, err := h.ReleaseHold(context.Background(), tenant, id, "the case is over", Actor{"op"}); err != nil {
			h.t.Fatal(err)
		}
		delete(h.held, id)
		return
	}
}

func (h *history) policy() {
	h.setPolicy([]int{30, 60, 90, 200}[h.rng.IntN(4)])
}

func (h *history) setPolicy(days int) {
	if _, err := h.SetPolicy(context.Background(), tenant, PolicyChange{Class: evidence.ClassLLMRuns, Days: &days, Reason: "new rules"}, Actor{"op"}); err != nil {
		h.t.Fatal(err)
	}
	h.days = days
}

// expireDue expires, and reports whether all of it was done. The model knows by itself what is due.
func (h *history) expireDue() bool {
	before := cutoff(evidence.MicrosOf(h.clk.now()), h.days)
	var due []*fact
	loose := map[*fact]bool{} // that are not known to stay
	for run, list := range h.runs {
		last := evidence.Micros(0)
		for _, f := range list {
			last = max(last, f.at)
		}
		is, may := h.isHeld(run)
		for _, f := range list {
			if f.audit || last >= before || is {
				continue
			}
			if loose[f] = true; !may {
				due = append(due, f)
			}
		}
	}
	for f := range loose {
		f.may = true
	}
	h.logf("expire what is older than %d days: %d records", h.days, len(due))
	done := h.dying("expire", func() error {
		res, err := h.Expire(context.Background(), tenant, RunRequest{ConfirmClock: true}, Actor{"op"})
		for _, c := range res.Classes {
			if err == nil && c.Blocked != "" {
				err = errors.New(c.Class + ": " + c.Blocked)
			}
		}
		return err
	})
	// A day's key goes when nothing of that day is younger than the policy.
	gone := cutoff(evidence.MicrosOf(h.clk.now()), max(h.days, evidence.RetentionDays(evidence.ClassSystemLogs)))
	for _, f := range due {
		f.must = f.must || done
		// What names a person stands under that person's key, which lives while anything does.
		f.noBackup = f.noBackup || done && f.at < gone && f.subject == ""
	}
	h.check()
	return done
}

func (h *history) eraseSome() {
	if len(h.runs) == 0 {
		return
	}
	run := fmt.Sprintf("run-%d", h.rng.IntN(len(h.runs)))
	req := ErasureRequest{Run: run, Reason: "asked for"}
	targets := h.runs[run]
	held, perhaps := h.isHeld(run)
	if h.rng.IntN(2) == 0 {
		subject := fmt.Sprintf("subject-%d", h.rng.IntN(5))
		req, targets, held, perhaps = ErasureRequest{Subject: subject, Reason: "asked for"}, nil, false, false
		for _, what := range h.held {
			perhaps = perhaps || what == "subject:"+subject // its own record names them
		}
		for _, f := range h.facts {
			if f.subject == subject {
				targets = append(targets, f)
				is, may := h.isHeld(f.run)
				held, perhaps = held || !f.may && is, perhaps || may
			}
		}
	}
	left := false
	for _, f := range targets {
		left = left || !f.may && !f.must
	}
	if held {
		if _, err := h.Erase(context.Background(), tenant, req, Actor{"op"}); left && !errors.Is(err, store.ErrHeld) {
			h.t.Fatalf("erasure of what is held: %v", err)
		}
		h.check()
		return
	}
	// The keys go of what is erased; not those of what had expired before, if a person's.
	var here []*fact
	for _, f := range targets {
		if !f.may {
			here = append(here, f)
		}
		f.may = true
	}
	h.logf("erase %+v", req)
	refused := false
	done := h.dying("erase", func() error {
		_, err := h.Erase(context.Background(), tenant, req, Actor{"op"})
		if refused = errors.Is(err, store.ErrHeld) && perhaps || isNotFound(err) && !left; refused {
			err = nil
		}
		return err
	}) && !refused
	for _, f := range targets {
		f.must = f.must || done
	}
	for _, f := range here {
		f.noBackup = f.noBackup || done
	}
	h.check()
}

// prove keeps a proof of some leaf.
func (h *history) prove() {
	if len(h.facts) == 0 {
		return
	}
	f := h.facts[h.rng.IntN(len(h.facts))]
	if _, _, err := h.ledger.PublishNow(context.Background(), tenant, f.where.LogNo); err != nil {
		h.t.Fatal(err)
	}
	p, err := h.ledger.ProveSeq(context.Background(), tenant, f.where.LogNo, f.where.Seq)
	if err != nil {
		h.t.Fatal(err)
	}
	h.proofs = append(h.proofs, p)
}

// copyAll keeps a copy of the sealed content, as a backup would.
func (h *history) copyAll() {
	logs, err := h.ledger.Logs(context.Background(), tenant)
	if err != nil {
		h.t.Fatal(err)
	}
	h.logs = logs
	keys, err := h.db.DataKeys(context.Background(), tenant, "", "")
	if err != nil {
		h.t.Fatal(err)
	}
	h.live, h.liveKeys = map[[16]byte]bool{}, map[store.KeyID]bool{}
	for _, k := range keys {
		h.keys[k.ID], h.liveKeys[k.ID] = k, true
	}
	for _, lg := range logs {
		err := h.db.SealedSegments(context.Background(), store.LogRef{Tenant: tenant, No: lg.No}, func(s store.SealedSegment) error {
			s.Data = bytes.Clone(s.Data)
			h.copies[s.ID], h.live[s.ID] = copied{s, lg.Origin}, true
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// check compares what can be read, and the leaves, with the model.
func (h *history) check() {
	t, ctx := h.t, context.Background()
	t.Helper()
	readable, leaves := map[string]bool{}, map[store.Position]evidence.Hash{}
	logs, err := h.ledger.Logs(ctx, tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, lg := range logs {
		c, _, err := h.ledger.PublishNow(ctx, tenant, lg.No)
		if err != nil {
			t.Fatal(err)
		}
		err = h.ledger.Records(ctx, tenant, lg.No, 0, c.Size, func(r ledger.LogRecord) error {
			leaves[store.Position{LogNo: lg.No, Seq: r.Seq}] = evidence.LeafHash(r.Raw)
			for _, o := range r.Open {
				readable[strings.Trim(o.JSON, `"`)] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range h.facts {
		if leaves[f.where] != f.hash {
			t.Errorf("leaf %v is another one, or gone", f.where)
		}
		switch there := readable[f.marker]; {
		case there && f.must:
			t.Errorf("%s of %s (%s, subject %q) can be read still", f.marker, f.run, f.at, f.subject)
			h.about(f.run)
		case !there && !f.may:
			t.Errorf("%s of %s (%s, subject %q) is gone", f.marker, f.run, f.at, f.subject)
			h.about(f.run)
		}
	}
	h.search(filepath.Join(h.base, "data"), nil)
}

// about says what the model knows of a run.
func (h *history) about(run string) {
	for _, f := range h.runs[run] {
		h.t.Logf("  %s at %s, %v, subject %q, audit %v: may go %v, must %v", f.marker, f.at, f.where, f.subject, f.audit, f.may, f.must)
	}
	is, may := h.isHeld(run)
	h.t.Logf("  held by %v: %v, may be %v", h.held, is, may)
}

// expireAllOf lets all go that ever was, months at once: with partitions they go as a whole.
func (h *history) expireAllOf() {
	for len(h.held) > 0 {
		h.release()
	}
	h.setPolicy(30)
	h.clk.move(ago(20).Sub(h.clk.now()))
	for !h.expireDue() {
		h.logf("again")
	}
	if storerig.OnPostgres() && h.store.dropped == 0 {
		h.t.Error("no partition went as a whole")
	}
}

// finish checks what takes longer.
func (h *history) finish() {
	t, ctx := h.t, context.Background()
	h.expireDue()
	h.expireAllOf()
	h.copyAll()
	h.sound()
	if len(h.facts) > 0 {
		h.oldProofs()
	}
	must, never := map[string]bool{}, map[string]bool{}
	for _, f := range h.facts {
		must[f.marker], never[f.marker] = f.must, f.noBackup
	}
	// Old copies of sealed content, under the keys that there are now.
	fresh := seal.New(h.db, h.master())
	for _, c := range h.copies {
		openings, err := fresh.Open(ctx, h.db, tenant, c.origin, c.SealedSegment)
		if err != nil {
			continue // its key is gone
		}
		for _, o := range openings {
			for _, f := range o.Fields {
				if marker := strings.Trim(f.JSON, `"`); never[marker] {
					scope, label, _ := fresh.KeyScope(ctx, h.db, tenant, c.Key)
					t.Errorf("%s can be read in an old copy of segment %d, key %s %q", marker, c.No, scope, label)
					for _, f := range h.facts {
						if f.marker == marker {
							h.about(f.run)
						}
					}
				}
			}
		}
	}
	h.search(h.base, must)
}

// removed is the ciphertext of all that was removed, and the wrapped keys that were destroyed.
func (h *history) removed() pieces {
	h.copyAll()
	gone := pieces{}
	for _, c := range h.copies {
		gone.add(fmt.Sprintf("segment %d", c.No), c.Data)
	}
	for _, k := range h.keys {
		gone.add("key "+k.Scope+" "+k.Label, k.Wrapped)
	}
	// What stays may begin with the same.
	stay := pieces{}
	for id := range h.live {
		stay.add("", h.copies[id].Data)
	}
	for id := range h.liveKeys {
		stay.add("", h.keys[id].Wrapped)
	}
	for p := range stay {
		delete(gone, p)
	}
	return gone
}

func (h *history) master() tink.AEAD {
	m, err := seal.OpenMaster(filepath.Join(h.base, "data", "master.json"), false)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

// oldProofs checks the proofs and checkpoints of old against the logs as they are now.
func (h *history) oldProofs() {
	t, ctx := h.t, context.Background()
	for _, p := range h.proofs {
		for _, lg := range h.logs {
			key, err := c2sp.ParseVKey(lg.VKey)
			if err != nil {
				t.Fatal(err)
			}
			old, err := c2sp.Verify(p.Note, key)
			if err != nil {
				continue // of another log
			}
			if err := c2sp.CheckInclusion(p.Hashes, old.Size, old.Root, p.Index, evidence.LeafHash(p.Leaf)); err != nil {
				t.Errorf("the old proof of leaf %d: %v", p.Index, err)
			}
			now, _, err := h.ledger.PublishNow(ctx, tenant, lg.No)
			if err != nil {
				t.Fatal(err)
			}
			hashes, err := h.ledger.Consistency(ctx, tenant, lg.No, old.Size, now.Size)
			if err == nil {
				err = c2sp.CheckConsistency(hashes, now.Size, now.Root, old.Size, old.Root)
			}
			if err != nil {
				t.Errorf("the checkpoint of %d leaves: %v", old.Size, err)
			}
			again, err := h.ledger.ProveSeq(ctx, tenant, lg.No, p.Index)
			if err != nil || !bytes.Equal(again.Leaf, p.Leaf) {
				t.Errorf("leaf %d cannot be proven anew: %v", p.Index, err)
			}
		}
	}
}

// pieceSize is that of the pieces of ciphertext that are looked for: what is left of a row may be a part.
const pieceSize = 16

type pieces map[[pieceSize]byte]string

func (p pieces) add(what string, b []byte) {
	for part := range slices.Chunk(b, pieceSize) {
		if len(part) == pieceSize {
			p[[pieceSize]byte(part)] = what
		}
	}
}

// search looks through all files of the deployment, its archive included: for what stood in records, and for
// pieces of ciphertext and of wrapped keys.
func (h *history) search(dir string, must map[string]bool) {
	t, gone := h.t, h.removed()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for marker, gone := range must {
			if gone && bytes.Contains(data, []byte(marker)) {
				t.Errorf("%s stands in %s", marker, path)
			}
		}
		for at := range max(len(data)-pieceSize+1, 0) {
			if what, found := gone[[pieceSize]byte(data[at:])]; found {
				t.Errorf("a piece of %s that was removed stands in %s at %d", what, path, at)
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
