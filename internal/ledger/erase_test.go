package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// record returns one record with what opens of it.
func (r *rig) record(t testing.TB, tenant string, logNo int, seq int64) ledger.LogRecord {
	t.Helper()
	var out ledger.LogRecord
	err := r.Records(context.Background(), tenant, logNo, seq, seq+1, func(rec ledger.LogRecord) error { out = rec; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// opens checks that exactly these paths of a record open, and that each opens
// its commitment.
func (r *rig) opens(t testing.TB, tenant string, logNo int, seq int64, paths ...string) {
	t.Helper()
	rec := r.record(t, tenant, logNo, seq)
	var have []string
	for path, o := range rec.Open {
		have = append(have, path)
		if want, ok := rec.Leaf.Commitment(path); !ok || evidence.Commit(path, o.Salt, []byte(o.JSON)) != want {
			t.Errorf("leaf %d: %s does not open its commitment", seq, path)
		}
	}
	slices.Sort(have)
	slices.Sort(paths)
	if !slices.Equal(have, paths) {
		t.Errorf("leaf %d of log %d: %v open, not %v", seq, logNo, have, paths)
	}
}

// sound checks that the deployment verifies with nothing to find, in the
// server and from outside.
func (r *rig) sound(t testing.TB) *ledger.LiveReport {
	t.Helper()
	report, err := ledger.Verify(context.Background(), ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) != 0 {
		t.Errorf("in the server:%s", listFindings(report))
	}
	outside := verifyDir(t, r.dir)
	if len(outside.Findings) != 0 {
		t.Errorf("from outside:%s", listFindings(outside))
	}
	if outside.Erased != report.Erased {
		t.Errorf("%d and %d erased fields", report.Erased, outside.Erased)
	}
	return report
}

func (r *rig) erase(t testing.TB, tenant string, e ledger.Erasure) ledger.Erased {
	t.Helper()
	out, err := r.Erase(context.Background(), tenant, e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// targetsOf returns the erasure record of a receipt with its opened targets.
func (r *rig) targetsOf(t testing.TB, tenant string, receipt ledger.Receipt) (ledger.LogRecord, *evidence.Targets) {
	t.Helper()
	rec := r.record(t, tenant, receipt.LogNo, receipt.LeafIndex)
	if rec.Leaf.Kind != evidence.KindAudit || rec.Leaf.Text("event_type") != "ErasureExecuted" || rec.Leaf.Text("producer") != "" {
		t.Fatalf("receipt of %s", rec.Raw)
	}
	targets, err := evidence.ParseTargets([]byte(rec.Open["/targets"].JSON))
	if err != nil {
		t.Fatal(err)
	}
	return rec, targets
}

// findIndex returns the positions that the sealed index has for a value.
func (r *rig) findIndex(t testing.TB, tenant, name, text string) []store.Position {
	t.Helper()
	mac, err := r.sealer.FindMAC(context.Background(), tenant, name, text)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := r.db.FindIndex(context.Background(), tenant, name, mac, 100)
	if err != nil {
		t.Fatal(err)
	}
	var out []store.Position
	for _, e := range entries {
		out = append(out, e.Position)
	}
	return out
}

const actorJSON = `{"human_actor_id":"%s"}`

func eraseRig(t testing.TB) *rig {
	t.Helper()
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	return r
}

const content = `,"params":{"q":1},"prompt":"the prompt","status_message":"ok"`

func TestEraseField(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	a := r.append(t, "acme", step(1, 1, content+`,"subject":"sue"`), step(1, 2, content+`,"subject":"sue"`), step(2, 1, content))
	before := r.record(t, "acme", 1, a[0].LeafIndex)
	out := r.erase(t, "acme", ledger.Erasure{By: "op", Reason: "asked", Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: a[0].LeafIndex}, Paths: []string{"/prompt"}}}})
	if out.Records != 1 || out.Fields != 1 || out.Keys != 0 || len(out.Receipts) != 1 {
		t.Errorf("%+v", out)
	}
	r.opens(t, "acme", 1, a[0].LeafIndex, "/actor", "/params", "/status_message", "/subject")
	r.opens(t, "acme", 1, a[1].LeafIndex, "/actor", "/params", "/status_message", "/subject", "/prompt")
	after := r.record(t, "acme", 1, a[0].LeafIndex)
	if !bytes.Equal(before.Raw, after.Raw) {
		t.Error("the leaf was changed")
	}
	for path, o := range after.Open { // the salts are the old ones
		if before.Open[path] != o {
			t.Errorf("%s: %+v was %+v", path, o, before.Open[path])
		}
	}
	// The seed, from which the salt of what is gone could be made, is gone.
	row, err := r.db.Row(context.Background(), store.LogRef{Tenant: "acme", No: 1}, evidence.KindTraceStep, a[0].LeafIndex)
	if err != nil {
		t.Fatal(err)
	}
	seg, err := r.db.SealedSegment(context.Background(), "acme", store.SegmentRef{LogNo: 1, No: row.Segment})
	if err != nil {
		t.Fatal(err)
	}
	openings, err := r.sealer.Open(context.Background(), r.db, "acme", a[0].Log, seg)
	if err != nil {
		t.Fatal(err)
	}
	if o := openings[a[0].ID]; o.Seed != (evidence.Seed{}) || len(o.Salts) != 4 || o.Salt("/prompt") != (evidence.Salt{}) {
		t.Errorf("%+v", o)
	}
	if o := openings[a[1].ID]; o.Seed == (evidence.Seed{}) || o.Salts != nil {
		t.Errorf("the other record: %+v", o)
	}
	rec, targets := r.targetsOf(t, "acme", out.Receipts[0])
	if rec.Leaf.Run != fmt.Sprintf("%032x", 1) || targets.Log != "" || len(targets.Ranges) != 1 || targets.Ranges[0].From != a[0].LeafIndex ||
		targets.Ranges[0].To != a[0].LeafIndex+1 || !slices.Equal(targets.Ranges[0].Paths, []string{"/prompt"}) {
		t.Errorf("%+v", targets)
	}
	if rec.Open["/actor"].JSON != fmt.Sprintf(actorJSON, "op") || rec.Open["/action_reason"].JSON != `"asked"` {
		t.Errorf("%+v", rec.Open)
	}
	if report := r.sound(t); report.Erased != 1 {
		t.Errorf("%d fields are erased", report.Erased)
	}
	// Once more: there is nothing left of it.
	if _, err := r.Erase(context.Background(), "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: a[0].LeafIndex}, Paths: []string{"/prompt"}}}}); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	// A second field of the same record keeps the first salts.
	r.erase(t, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: a[0].LeafIndex}, Paths: []string{"/params"}}}})
	r.opens(t, "acme", 1, a[0].LeafIndex, "/actor", "/status_message", "/subject")
	r.sound(t)
}

func TestEraseRecords(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	person := `,"human_actor_id":"ada"`
	a := r.append(t, "acme", step(1, 1, content+person), step(1, 2, content+person), step(1, 3, content+person), step(2, 1, content+person))
	var fields []ledger.ErasedField
	for _, rec := range a[:2] {
		fields = append(fields, ledger.ErasedField{Position: store.Position{LogNo: 1, Seq: rec.LeafIndex}})
	}
	fields = append(fields, ledger.ErasedField{Position: store.Position{LogNo: 1, Seq: a[3].LeafIndex}, Paths: []string{"/params", "/prompt"}})
	out := r.erase(t, "acme", ledger.Erasure{Fields: fields})
	if out.Records != 3 || out.Fields != 4+4+2 || len(out.Receipts) != 2 {
		t.Errorf("%+v", out)
	}
	r.opens(t, "acme", 1, a[0].LeafIndex)
	r.opens(t, "acme", 1, a[1].LeafIndex)
	r.opens(t, "acme", 1, a[2].LeafIndex, "/actor", "/params", "/prompt", "/status_message")
	r.opens(t, "acme", 1, a[3].LeafIndex, "/actor", "/status_message")
	// One record for each run, naming that run's leaves alone.
	byRun := map[string]map[int64][]string{}
	for _, receipt := range out.Receipts {
		rec, targets := r.targetsOf(t, "acme", receipt)
		if byRun[rec.Leaf.Run] != nil {
			t.Errorf("two records of run %s", rec.Leaf.Run)
		}
		byRun[rec.Leaf.Run] = map[int64][]string{}
		for _, g := range targets.Ranges {
			for seq := g.From; seq < g.To; seq++ {
				byRun[rec.Leaf.Run][seq] = append(byRun[rec.Leaf.Run][seq], g.Paths...)
			}
		}
	}
	run1, run2 := byRun[fmt.Sprintf("%032x", 1)], byRun[fmt.Sprintf("%032x", 2)]
	if len(run1) != 2 || len(run1[a[0].LeafIndex]) != 4 || len(run1[a[1].LeafIndex]) != 4 || len(run2) != 1 || len(run2[a[3].LeafIndex]) != 2 {
		t.Errorf("%v", byRun)
	}
	r.sound(t)
	// A repeat of an erased record is the same record.
	again := r.append(t, "acme", step(1, 1, content+person))
	if !again[0].Duplicate || again[0].LeafIndex != a[0].LeafIndex {
		t.Errorf("a repeat: %+v", again[0])
	}
	// What is left still tells a contradiction.
	other := r.append(t, "acme", step(2, 1, strings.Replace(content, "ok", "not ok", 1)+person))
	if other[0].ConflictOf != a[3].ID {
		t.Errorf("a contradiction: %+v", other[0])
	}
	r.sound(t)
	r.close()
	r = openRig(t, r.dir)
	r.opens(t, "acme", 1, a[0].LeafIndex)
	r.sound(t)
}

// A person is an actor in some records and the subject of others, in two
// logs and in runs of their own.
func TestErasePerson(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	ada, sue := `,"human_actor_id":"ada"`, `,"subject":"ada"`
	a := r.append(t, "acme", step(1, 1, content+ada), step(1, 2, content+sue), step(2, 1, content+ada+sue), step(3, 1, content+`,"human_actor_id":"bob"`))
	if _, err := r.Rollover(context.Background(), "acme"); err != nil {
		t.Fatal(err)
	}
	b := r.append(t, "acme", step(1, 3, content+ada), step(4, 1, content+sue+`,"outcome_code":"ünfit"`), step(4, 2, content+`,"human_actor_id":"bob","subject":"carol"`))
	if got := r.findIndex(t, "acme", "actor", fmt.Sprintf(actorJSON, "ada")); len(got) != 2 { // once a trace, whatever the log
		t.Errorf("actor in the index: %v", got)
	}
	if got := r.findIndex(t, "acme", "subject", "ada"); len(got) != 3 {
		t.Errorf("subject in the index: %v", got)
	}
	out := r.erase(t, "acme", ledger.Erasure{Person: "ada"})
	if out.Records != 5 || out.Keys == 0 {
		t.Errorf("%+v", out)
	}
	r.opens(t, "acme", 1, a[0].LeafIndex, "/params", "/prompt", "/status_message")
	r.opens(t, "acme", 1, a[1].LeafIndex)
	r.opens(t, "acme", 1, a[2].LeafIndex)
	r.opens(t, "acme", 1, a[3].LeafIndex, "/actor", "/params", "/prompt", "/status_message")
	r.opens(t, "acme", 2, b[0].LeafIndex, "/params", "/prompt", "/status_message")
	r.opens(t, "acme", 2, b[1].LeafIndex)
	r.opens(t, "acme", 2, b[2].LeafIndex, "/actor", "/params", "/prompt", "/status_message", "/subject")
	for name, text := range map[string]string{"actor": fmt.Sprintf(actorJSON, "ada"), "subject": "ada", "outcome_code": "ünfit"} {
		if got := r.findIndex(t, "acme", name, text); len(got) != 0 {
			t.Errorf("%s is still in the index: %v", name, got)
		}
	}
	if got := r.findIndex(t, "acme", "actor", fmt.Sprintf(actorJSON, "bob")); len(got) != 2 {
		t.Errorf("another person's entries: %v", got)
	}
	// One record for each run and log; each names only that run's leaves.
	runOf := map[string]string{} // "log seq" -> run
	for _, rec := range append(a, b...) {
		runOf[fmt.Sprint(rec.Log, rec.LeafIndex)] = r.record(t, "acme", rec.LogNo, rec.LeafIndex).Leaf.Run
	}
	seen := map[string]bool{}
	for _, receipt := range out.Receipts {
		rec, targets := r.targetsOf(t, "acme", receipt)
		log := targets.Log
		if log == "" {
			log = receipt.Log
		}
		key := rec.Leaf.Run + log
		if seen[key] || receipt.LogNo != 2 {
			t.Errorf("record %+v", receipt)
		}
		seen[key] = true
		for _, g := range targets.Ranges {
			for seq := g.From; seq < g.To; seq++ {
				if run := runOf[fmt.Sprint(log, seq)]; run != rec.Leaf.Run {
					t.Errorf("the record of run %s names leaf %d of run %q in %s", rec.Leaf.Run, seq, run, log)
				}
			}
		}
	}
	if len(seen) != 4 {
		t.Errorf("records of %v", seen)
	}
	keys, err := r.sealer.PersonKeys(context.Background(), "acme", "ada")
	if err != nil || len(keys) != 0 {
		t.Errorf("keys: %v, %v", keys, err)
	}
	r.sound(t)
	// The person comes back: with a new key, and can be erased again.
	c := r.append(t, "acme", step(5, 1, content+ada))
	r.opens(t, "acme", 2, c[0].LeafIndex, "/actor", "/params", "/prompt", "/status_message")
	r.sound(t)
	r.erase(t, "acme", ledger.Erasure{Person: "ada"})
	r.opens(t, "acme", 2, c[0].LeafIndex, "/params", "/prompt", "/status_message")
	r.sound(t)
	r.close()
	r = openRig(t, r.dir)
	r.sound(t)
}

// Steps are indexed once a trace. Where the record that the entry stands at
// loses the field, the next one may make a new entry: no reason to cry wolf.
func TestEraseIndexOfTrace(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	sue := `,"subject":"sue"`
	a := r.append(t, "acme", step(1, 1, content+sue), step(1, 2, content+sue))
	r.erase(t, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: a[0].LeafIndex}, Paths: []string{"/subject"}}}})
	r.sound(t)
	b := r.append(t, "acme", step(1, 3, content+sue), step(1, 4, content+sue))
	if got := r.findIndex(t, "acme", "subject", "sue"); len(got) != 1 || got[0].Seq != b[0].LeafIndex {
		t.Errorf("%v", got)
	}
	r.sound(t)
}

func TestEraseRefuses(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	a := r.append(t, "acme", step(1, 1, content))
	at := func(seq int64) ledger.Erasure {
		return ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: seq}}}}
	}
	out := r.erase(t, "acme", at(a[0].LeafIndex))
	size := func() int64 { return r.Integrity("acme").TreeSize }
	before := size()
	for name, tc := range map[string]struct {
		e    ledger.Erasure
		want error
	}{
		"the record of an erasure":  {at(out.Receipts[0].LeafIndex), evidence.ErrForbidden},
		"with others":               {ledger.Erasure{Fields: append(at(0).Fields, at(out.Receipts[0].LeafIndex).Fields...)}, evidence.ErrForbidden},
		"what is erased":            {at(a[0].LeafIndex), evidence.ErrNotFound},
		"a path that is not there":  {ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: 0}, Paths: []string{"/prompt"}}}}, evidence.ErrNotFound},
		"a person who is not there": {ledger.Erasure{Person: "nobody"}, evidence.ErrNotFound},
		"nothing":                   {ledger.Erasure{}, evidence.ErrNotFound},
		"a log that is not there":   {ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 7, Seq: 0}}}}, evidence.ErrNotFound},
	} {
		if _, err := r.Erase(context.Background(), "acme", tc.e); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Erase(context.Background(), "acme", at(100000)); err == nil {
		t.Error("a leaf that is not there is erased")
	}
	if _, err := r.Erase(context.Background(), "nobody", at(0)); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	if size() != before {
		t.Errorf("a refused erasure left records: %d, was %d", size(), before)
	}
	r.sound(t)
}

// removalFaults fails commits that remove something.
type removalFaults struct {
	store.Store
	fail      error
	persisted bool // the commit is written all the same
	failed    int
}

func (s *removalFaults) Commit(ctx context.Context, c *store.Commit) error {
	return s.commit(c, func() error { return s.Store.Commit(ctx, c) })
}

// Claim gives a claim whose commits have the same faults.
func (s *removalFaults) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	c, err := s.Store.Claim(ctx, log)
	if err != nil {
		return nil, err
	}
	return &removalClaim{c, s}, nil
}

type removalClaim struct {
	store.Claim
	s *removalFaults
}

func (c *removalClaim) Commit(ctx context.Context, commit *store.Commit) error {
	defer c.Release()
	return c.s.commit(commit, func() error { return c.Claim.Commit(ctx, commit) })
}

func (s *removalFaults) commit(c *store.Commit, write func() error) error {
	for i := range c.Logs {
		if c.Logs[i].Removal != nil && s.fail != nil {
			s.failed++
			if s.persisted {
				if err := write(); err != nil {
					return err
				}
			}
			return s.fail
		}
	}
	return write()
}

// TestEraseFaults: an erasure is one transaction. Where it fails nothing is
// changed, and nothing of it hangs over into what comes next.
func TestEraseFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail      error
		persisted bool
	}{
		"unavailable":            {fmt.Errorf("disk full: %w", evidence.ErrUnavailable), false},
		"unknown, not there":     {errors.New("connection lost"), false},
		"unknown, but there":     {errors.New("connection lost"), true},
		"head moved":             {store.ErrHeadMoved, false},
		"sync failed":            {store.ErrSync, false},
		"sync failed, but there": {store.ErrSync, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			var faulty *removalFaults
			r := openRig(t, dir, func(c *ledger.Config) {
				faulty = &removalFaults{Store: c.Store}
				c.Store = faulty
			})
			r.tenant(t, "acme")
			all := []string{"/actor", "/params", "/prompt", "/status_message", "/subject"}
			a := r.append(t, "acme", step(1, 1, content+`,"subject":"sue"`), step(1, 2, content))
			size := r.Integrity("acme").TreeSize
			erasure := ledger.Erasure{Person: "sue", Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: a[1].LeafIndex}, Paths: []string{"/prompt"}}}}
			faulty.fail, faulty.persisted = tc.fail, tc.persisted
			_, err := r.Erase(context.Background(), "acme", erasure)
			if (err == nil) != (tc.persisted && !errors.Is(tc.fail, store.ErrSync)) || faulty.failed == 0 {
				t.Fatalf("erase: %v, failed %d times", err, faulty.failed)
			}
			faulty.fail = nil
			check := func() {
				t.Helper()
				if tc.persisted {
					r.opens(t, "acme", 1, a[0].LeafIndex)
					r.opens(t, "acme", 1, a[1].LeafIndex, "/actor", "/params", "/status_message")
				} else {
					r.opens(t, "acme", 1, a[0].LeafIndex, all...)
					r.opens(t, "acme", 1, a[1].LeafIndex, all[:4]...)
					if head, err := r.db.Head(context.Background(), store.LogRef{Tenant: "acme", No: 1}); err != nil || head.Size != size {
						t.Errorf("head %d, was %d: %v", head.Size, size, err)
					}
				}
				r.sound(t)
			}
			if errors.Is(tc.fail, store.ErrSync) {
				if r.Writable() == nil {
					t.Error("writes go on after a failed sync")
				}
				r.close()
				r = openRig(t, dir)
			}
			check()
			// And on: the same person, the same records, the erasure again.
			b := r.append(t, "acme", step(1, 3, content+`,"subject":"sue"`))
			r.opens(t, "acme", 1, b[0].LeafIndex, all...)
			r.sound(t)
			if !tc.persisted {
				r.erase(t, "acme", erasure)
				r.opens(t, "acme", 1, a[0].LeafIndex)
				r.opens(t, "acme", 1, b[0].LeafIndex)
				r.sound(t)
			}
			r.close()
			r = openRig(t, dir)
			r.sound(t)
		})
	}
}

// TestEraseConcurrent erases while others append to the same keys.
func TestEraseConcurrent(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	done := make(chan error, 2)
	for w := range 2 {
		go func() {
			var failed error
			for i := range 25 {
				_, err := r.Append(context.Background(), "acme", native(t, step(10+w, i+1, content+`,"human_actor_id":"ada","subject":"sue"`)), ledger.AppendOptions{Producer: "k"})
				failed = errors.Join(failed, err)
			}
			done <- failed
		}()
	}
	for i := 0; len(done) < 2; i++ {
		e := ledger.Erasure{Person: []string{"ada", "sue"}[i%2]}
		if _, err := r.Erase(context.Background(), "acme", e); err != nil && !errors.Is(err, evidence.ErrNotFound) && !errors.Is(err, evidence.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	r.sound(t)
	r.close()
	r = openRig(t, r.dir)
	r.sound(t)
}

// TestEraseResurrected: someone puts erased content and its key back from a
// backup. It opens its commitments, so it contradicts nothing but the record
// of its erasure.
func TestEraseResurrected(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	a := r.append(t, "acme", step(1, 1, content+`,"subject":"sue"`))
	r.close()
	var segments []storerig.Place
	var contents [][]any // their columns
	var columns []string
	var wrapped []byte
	var keyID []byte
	d := &deployment{dir: r.dir}
	d.tamper(t, func(e *evil) {
		const persons = ` FROM sealed_segments WHERE key_id IN (SELECT id FROM data_keys WHERE scope = 'person') ORDER BY row`
		var err error
		if columns, err = e.a.Columns("sealed_segments"); err != nil {
			t.Fatal(err)
		}
		segments, contents = e.places(`SELECT row`+persons), e.rows(`SELECT `+strings.Join(columns, ", ")+persons)
		keyID = e.blob(`SELECT id FROM data_keys WHERE scope = 'person'`)
		wrapped = e.blob(`SELECT wrapped FROM data_keys WHERE scope = 'person'`)
	})
	r = openRig(t, r.dir)
	var label string
	keys, err := r.sealer.PersonKeys(context.Background(), "acme", "sue")
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	label = keys[0].Label
	r.erase(t, "acme", ledger.Erasure{Person: "sue"})
	r.opens(t, "acme", 1, a[0].LeafIndex)
	r.close()
	d.tamper(t, func(e *evil) {
		var values strings.Builder
		for i := range columns {
			fmt.Fprintf(&values, ", ?%d", i+2)
		}
		for i, s := range segments {
			e.exec(`INSERT INTO sealed_segments (row, `+strings.Join(columns, ", ")+`) VALUES (?1`+values.String()+`)`, append([]any{s}, contents[i]...)...)
		}
		e.exec(storerig.Pick(`INSERT INTO data_keys (tenant_no, id, scope, label, wrapped) VALUES ((SELECT tenant_no FROM tenants WHERE tenant_id = 'acme')`,
			`INSERT INTO data_keys (tenant_id, id, scope, label, wrapped) VALUES ('acme'`)+`, ?1, 'person', ?2, ?3)`, keyID, label, wrapped)
	})
	report := verifyDir(t, r.dir)
	w := want{code: ledger.CodeCommit, table: "sealed_segments", seq: a[0].LeafIndex, at: true, says: "/prompt is there although a record says that it was erased"}
	if !w.in(report) || report.OK() {
		t.Errorf("what was erased opens again:%s", listFindings(report))
	}
}
