package ledger_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if err := storerig.Replace(to, from); err != nil {
		t.Fatal(err)
	}
}

func acceptRollback(c *ledger.Config) { c.AcceptRollback = true }

// refuses checks that the directory cannot be opened, for that reason, and
// that it was not changed by trying.
func refuses(t *testing.T, dir string, want error, opts ...rigOption) {
	t.Helper()
	for range 2 {
		r, err := tryRig(t, dir, opts...)
		if err == nil {
			r.close()
			t.Fatalf("opened; want %v", want)
		}
		if !errors.Is(err, want) {
			t.Fatalf("opened: %v; want %v", err, want)
		}
	}
}

// rolledBack makes a directory that was restored from a backup. It returns
// what was acknowledged before the backup, and the logs as they were then.
func rolledBack(t *testing.T, dir string, after func(w *world)) *world {
	t.Helper()
	w := &world{rig: openRig(t, dir), acked: map[string][]ledger.Receipt{}}
	for i, tenant := range []string{"acme", "other"} {
		w.tenant(t, tenant)
		if err := w.add(t, tenant, mixed(10000+i*1000, 300)...); err != nil {
			t.Fatal(err)
		}
	}
	w.close()
	backup := filepath.Join(t.TempDir(), "backup")
	copyDir(t, backup, dir)
	kept := map[string][]ledger.Receipt{"acme": w.acked["acme"], "other": w.acked["other"]}
	w.rig = openRig(t, dir)
	after(w)
	w.close()
	copyDir(t, dir, backup)
	w.acked = kept
	return w
}

func TestRestoredBackup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	w := rolledBack(t, dir, func(w *world) {
		if err := w.add(t, "acme", mixed(20000, 300)...); err != nil {
			t.Fatal(err)
		}
	})
	refuses(t, dir, ledger.ErrRollback)
	refuses(t, dir, evidence.ErrTampered)

	// However long it takes, nobody publishes the log meanwhile.
	w.rig = openRig(t, dir, acceptRollback, func(c *ledger.Config) {
		c.PublishEvery = time.Millisecond
		c.Store = &hooked{Store: c.Store, claim: func() { time.Sleep(100 * time.Millisecond) }}
	})
	logs, err := w.Logs(context.Background(), "acme")
	if err != nil || len(logs) != 2 {
		t.Fatalf("logs after an accepted rollback: %v, %v", logs, err)
	}
	if other, err := w.Logs(context.Background(), "other"); err != nil || len(other) != 1 {
		t.Errorf("logs of the tenant that lost nothing: %v, %v", other, err)
	}
	checkSuccessor(t, w, logs[0], logs[1])
	goOn := func(base int) {
		t.Helper()
		for i, tenant := range []string{"acme", "other"} {
			if err := w.add(t, tenant, mixed(base+i*1000, 30)...); err != nil {
				t.Fatal(err)
			}
			c := w.contents(t, tenant)
			c.holds(t, w.acked[tenant])
			c.checkRuns(t)
		}
		report := w.verifyClean(t, ledger.CodeRollback)
		n := 0
		for _, f := range report.Findings {
			if f.Code == ledger.CodeRollback && f.Log == logs[0].Origin {
				n++
			}
		}
		if n != 1 || !report.OK() {
			t.Errorf("verification shows the rollback %d times: %v", n, report.Findings)
		}
	}
	// A record of the time that was lost is new again.
	receipts, err := w.tryAppend(t, "acme", mixed(20000, 8)...)
	if err != nil || receipts[0].Duplicate || receipts[0].LogNo != 2 {
		t.Fatalf("append of what was lost: %+v, %v", receipts, err)
	}
	w.note("acme", receipts)
	goOn(30000)
	w.close()
	// Once accepted it needs no accepting, and accepting again changes nothing.
	w.rig = openRig(t, dir)
	goOn(40000)
	w.close()
	w.rig = openRig(t, dir, acceptRollback)
	if logs, _ := w.Logs(context.Background(), "acme"); len(logs) != 2 {
		t.Errorf("%d logs after accepting again", len(logs))
	}
	goOn(50000)
	if _, err := w.Rollover(patient(t), "acme"); err != nil {
		t.Fatal(err)
	}
	goOn(60000)
}

// checkSuccessor checks that LOG_OPENED of the successor names what was
// restored and what was lost.
func checkSuccessor(t *testing.T, w *world, old, next ledger.LogInfo) {
	t.Helper()
	n := 0
	err := w.Records(context.Background(), next.Tenant, next.No, 0, 1, func(rec ledger.LogRecord) error {
		n++
		head, err := w.db.Head(context.Background(), store.LogRef{Tenant: old.Tenant, No: old.No})
		if err != nil {
			return err
		}
		if got := rec.Leaf.Text("predecessor_log"); !strings.HasPrefix(got, old.Origin+" ") {
			t.Errorf("predecessor_log is %q", got)
		}
		if got := rec.Leaf.Text("severity"); got != "CRITICAL" {
			t.Errorf("severity is %s", got)
		}
		details := rec.Open["/details"].JSON
		note := string(evidence.QuoteJSON(string(head.Note)))
		if !strings.Contains(details, old.Origin) || !strings.Contains(details, strings.Split(string(head.Note), "\n")[2]) {
			t.Errorf("details do not name the restored head %s: %s", note, details)
		}
		lost, err := w.anchor.Lost(old.Origin)
		if err != nil || len(lost) != 1 {
			t.Errorf("lost notes: %d, %v", len(lost), err)
		} else if !strings.Contains(details, strings.Split(string(lost[0]), "\n")[2]) {
			t.Errorf("details do not name the lost head: %s", details)
		}
		return nil
	})
	if err != nil || n != 1 {
		t.Fatalf("successor: %d records, %v", n, err)
	}
}

// TestRestoredBeforeRollover: the backup does not know the newest log, nor a
// tenant that was made later.
func TestRestoredBeforeRollover(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	lost := map[string]bool{}
	w := rolledBack(t, dir, func(w *world) {
		info, err := w.Rollover(patient(t), "acme")
		if err != nil {
			t.Fatal(err)
		}
		lost[info.Origin] = true
		lost[w.tenant(t, "late").Origin] = true
		for _, tenant := range []string{"acme", "late"} {
			if err := w.add(t, tenant, mixed(20000, 30)...); err != nil {
				t.Fatal(err)
			}
		}
	})
	refuses(t, dir, ledger.ErrRollback)
	for round := range 3 {
		opts := []rigOption{acceptRollback}
		if round == 1 {
			opts = nil // what was accepted stays so
		}
		w.rig = openRig(t, dir, opts...)
		if logs, err := w.Logs(context.Background(), "acme"); err != nil || len(logs) != 2 {
			t.Fatalf("logs: %v, %v", logs, err)
		}
		for _, tenant := range []string{"acme", "other"} {
			if err := w.add(t, tenant, mixed(30000+round*1000, 30)...); err != nil {
				t.Fatal(err)
			}
			c := w.contents(t, tenant)
			c.holds(t, w.acked[tenant])
			c.checkRuns(t)
		}
		report := w.verifyClean(t, ledger.CodeRollback)
		found := 0
		for _, f := range report.Findings {
			if lost[f.Log] {
				found++
			}
		}
		if found != 2 {
			t.Errorf("verification names %d of the 2 logs that are lost as a whole: %v", found, report.Findings)
		}
		if round == 0 {
			w.tenant(t, "late") // the database never knew it
		}
		w.close()
	}
}

// TestCrashWhileAcceptingRollback: whatever of it was done, starting again
// goes on from there.
func TestCrashWhileAcceptingRollback(t *testing.T) {
	for _, x := range []fault{
		{op: "anchor.Accept", times: 1, err: errOdd},
		{op: "anchor.Accept", times: 1, err: errOdd, persist: true},
		{op: "anchor.Write", times: 1, err: errOdd},
		{op: "Commit", times: 1, err: store.ErrSync},
		{op: "Commit", times: 1, err: store.ErrSync, persist: true},
		{op: "Commit", times: 1, err: evidence.ErrUnavailable},
	} {
		t.Run(x.op+"/"+x.err.Error(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			w := rolledBack(t, dir, func(w *world) {
				if err := w.add(t, "acme", mixed(20000, 30)...); err != nil {
					t.Fatal(err)
				}
			})
			f := &faults{}
			f.arm(&x)
			if r, err := tryFaulty(t, dir, f, acceptRollback); err == nil {
				r.close()
				t.Fatal("opened in spite of the fault")
			}
			w.rig = openRig(t, dir, acceptRollback)
			w.f = f
			w.after(t, deeds[1], ledger.CodeRollback)
			if logs, _ := w.Logs(context.Background(), "acme"); len(logs) != 2 {
				t.Errorf("%d logs", len(logs))
			}
			w.close()
			w.rig = openRig(t, dir)
			w.after(t, deeds[1], ledger.CodeRollback)
		})
	}
}

func TestAnchorRefused(t *testing.T) {
	origin := func(t *testing.T, r *rig, tenant string) string {
		logs, err := r.Logs(context.Background(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		return logs[len(logs)-1].Origin
	}
	path := func(dir, origin string) string { return filepath.Join(dir+".anchor", origin+".note") }
	tests := []struct {
		name string
		// alter changes the closed deployment.
		alter func(t *testing.T, dir, acme, other string)
		want  error
		way   bool // --accept-rollback is a way out
	}{
		{"missing", func(t *testing.T, dir, acme, _ string) { os.Remove(path(dir, acme)) }, ledger.ErrRollback, true},
		{"directory is empty", func(t *testing.T, dir, _, _ string) { os.RemoveAll(dir + ".anchor") }, ledger.ErrRollback, true},
		{"of an unknown log", func(t *testing.T, dir, acme, _ string) {
			name := strings.Split(acme, "/")[0] + "/0123456789ab"
			signer, err := c2sp.NewSigner(name, make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			text, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: name, Size: 3}, signer)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path(dir, name), text)
		}, ledger.ErrRollback, true},
		{"a byte altered", func(t *testing.T, dir, acme, _ string) {
			b := read(t, path(dir, acme))
			b[len(b)-10] ^= 1
			write(t, path(dir, acme), b)
		}, evidence.ErrTampered, false},
		{"size altered", func(t *testing.T, dir, acme, _ string) {
			lines := strings.Split(string(read(t, path(dir, acme))), "\n")
			lines[1] = "1"
			write(t, path(dir, acme), []byte(strings.Join(lines, "\n")))
		}, evidence.ErrTampered, false},
		{"empty file", func(t *testing.T, dir, acme, _ string) { write(t, path(dir, acme), nil) }, evidence.ErrTampered, false},
		{"that of another log", func(t *testing.T, dir, acme, other string) { write(t, path(dir, acme), read(t, path(dir, other))) }, evidence.ErrTampered, false},
		{"signed with another key", func(t *testing.T, dir, acme, _ string) {
			signer, err := c2sp.NewSigner(acme, make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			c, _, err := c2sp.ParseNote(read(t, path(dir, acme)))
			if err != nil {
				t.Fatal(err)
			}
			text, err := c2sp.SignCheckpoint(c, signer)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path(dir, acme), text)
		}, evidence.ErrTampered, false},
		{"master keyset missing", func(t *testing.T, dir, _, _ string) { os.Remove(filepath.Join(dir, "master.keyset.json")) }, evidence.ErrTampered, false},
		{"another master keyset", func(t *testing.T, dir, _, _ string) {
			os.Remove(filepath.Join(dir, "master.keyset.json"))
			if _, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true); err != nil {
				t.Fatal(err)
			}
		}, evidence.ErrTampered, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			w := &world{rig: openRig(t, dir), f: &faults{}, acked: map[string][]ledger.Receipt{}}
			for i, tenant := range []string{"acme", "other"} {
				w.tenant(t, tenant)
				if err := w.add(t, tenant, mixed(10000+i*1000, 20)...); err != nil {
					t.Fatal(err)
				}
			}
			acme, other := origin(t, w.rig, "acme"), origin(t, w.rig, "other")
			w.close()
			test.alter(t, dir, acme, other)
			refuses(t, dir, test.want)
			if !test.way {
				refuses(t, dir, test.want, acceptRollback)
				return
			}
			w.rig = openRig(t, dir, acceptRollback)
			w.after(t, deeds[1], ledger.CodeRollback)
			w.close()
			w.rig = openRig(t, dir)
			w.after(t, deeds[1], ledger.CodeRollback)
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMasterKeysetIsNotMade: a program that opens a deployment which has its
// keyset elsewhere must not make another.
func TestMasterKeysetIsNotMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.keyset.json")
	if _, err := seal.OpenMaster(path, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing keyset: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the keyset was made")
	}
	if _, err := seal.OpenMaster(path, true); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("keyset: %v, %v", st.Mode(), err)
	}
	write(t, path, read(t, path)[:100])
	if _, err := seal.OpenMaster(path, true); err == nil {
		t.Error("half a keyset opens")
	}
}

// TestCrashBeforeFirstCommit: the empty tree of a log is anchored before its
// first commit; a crash in between leaves an anchor of no log.
func TestCrashBeforeFirstCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := makeWorld(t)
	w := first.open(t, dir)
	before, err := w.anchor.Origins()
	if err != nil {
		t.Fatal(err)
	}
	w.f.arm(&fault{op: "Commit", times: 1, err: store.ErrSync})
	if _, err := w.CreateTenant(patient(t), "fresh"); !errors.Is(err, evidence.ErrUnavailable) {
		t.Fatalf("create: %v", err)
	}
	w.close()
	after, err := w.anchor.Origins()
	if err != nil || len(after) != len(before)+1 {
		t.Fatalf("%d anchors before and %d after, %v", len(before), len(after), err)
	}
	w.rig = openRig(t, dir)
	w.after(t, deeds[0])
	if err := w.add(t, "fresh", event(1, "")); err != nil {
		t.Fatal(err)
	}
	w.verifyClean(t)
}

// TestDatabaseGoesBackWhileRunning: the head in the database is older than
// what this process wrote.
func TestDatabaseGoesBackWhileRunning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	old := &olderStore{}
	r := openRig(t, dir, func(c *ledger.Config) { old.Store = c.Store; c.Store = old; c.PublishEvery = time.Hour })
	r.tenant(t, "acme")
	r.tenant(t, "other")
	r.append(t, "acme", mixed(10000, 20)...)
	ref := store.LogRef{Tenant: "acme", No: 1}
	head, err := r.db.Head(context.Background(), ref)
	if err != nil {
		t.Fatal(err)
	}
	r.append(t, "acme", mixed(11000, 20)...)
	old.set(ref, head)
	for range 2 {
		if _, err := r.tryAppend(t, "acme", event(1, "")); !errors.Is(err, evidence.ErrUnavailable) || !errors.Is(err, ledger.ErrRollback) {
			t.Errorf("append over an older head: %v", err)
		}
	}
	if _, err := r.Rollover(patient(t), "acme"); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("rollover over an older head: %v", err)
	}
	if _, err := r.tryAppend(t, "other", event(1, "")); err != nil {
		t.Errorf("append to another log: %v", err)
	}
	old.set(ref, store.Head{})
	if _, err := r.tryAppend(t, "acme", event(1, "")); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("the log takes writes again: %v", err)
	}
}

// olderStore shows an old head of a log, and moves no head of it.
type olderStore struct {
	store.Store
	mu   sync.Mutex
	ref  store.LogRef
	head store.Head
}

func (s *olderStore) set(ref store.LogRef, head store.Head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ref, s.head = ref, head
}

func (s *olderStore) Head(ctx context.Context, ref store.LogRef) (store.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ref == s.ref && s.head.Size > 0 {
		return s.head, nil
	}
	return s.Store.Head(ctx, ref)
}

func (s *olderStore) Commit(ctx context.Context, c *store.Commit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range c.Logs {
		if c.Logs[i].Log == s.ref && s.head.Size > 0 {
			return store.ErrHeadMoved
		}
	}
	return s.Store.Commit(ctx, c)
}

// TestAnchorMovesWhileRunning: another process that signs for the same log
// shows in the anchor. That log stops; others go on.
func TestAnchorMovesWhileRunning(t *testing.T) {
	for _, how := range []string{"ahead", "fork", "missing", "altered", "behind"} {
		t.Run(how, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			w := rolledBack(t, dir, func(w *world) {
				if err := w.add(t, "acme", mixed(20000, 30)...); err != nil {
					t.Fatal(err)
				}
			})
			// The anchor of the process that went on, and of the one that did not.
			anchor := dir + ".anchor"
			ahead := filepath.Join(t.TempDir(), "ahead")
			copyDir(t, ahead, anchor)
			var origin string
			func() {
				r, err := tryRig(t, dir)
				if err == nil {
					r.close()
					t.Fatal("opened a restored backup")
				}
				names, err := filepath.Glob(filepath.Join(anchor, "test.example", "*.note"))
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range names {
					c, _, err := c2sp.ParseNote(read(t, name))
					if err != nil {
						t.Fatal(err)
					}
					if c.Size == 331 { // LOG_OPENED, 300 and 30
						origin = c.Origin
					}
				}
			}()
			if origin == "" {
				t.Fatal("no anchor of 331")
			}
			path := filepath.Join(anchor, origin+".note")
			aheadNote := read(t, filepath.Join(ahead, origin+".note"))
			// As it was at the time of the backup.
			db, err := storerig.OpenReadOnly(context.Background(), dir)
			if err != nil {
				t.Fatal(err)
			}
			head, err := db.Head(context.Background(), store.LogRef{Tenant: "acme", No: 1})
			db.Close()
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, head.Note)
			w.rig = openRig(t, dir)
			defer w.close()
			for i := range 40 { // another future than the one that is ahead
				if err := w.add(t, "acme", event(30000+i, "")); err != nil {
					t.Fatal(err)
				}
				if how == "ahead" && i == 3 {
					break
				}
			}
			if _, _, err := w.PublishNow(patient(t), "acme", 1); err != nil {
				t.Fatal(err)
			}
			switch how {
			case "ahead", "fork":
				write(t, path, aheadNote)
			case "missing":
				os.Remove(path)
			case "altered":
				b := read(t, path)
				b[len(b)-10] ^= 1
				write(t, path, b)
			case "behind":
				write(t, path, head.Note)
			}
			time.Sleep(50 * time.Millisecond) // it looks once in PublishEvery
			err = w.add(t, "acme", event(40000, ""))
			if how == "behind" { // what it has is part of the log: a slow writer
				if err != nil {
					t.Errorf("append over an anchor that is behind: %v", err)
				}
				w.verifyClean(t)
				return
			}
			if !errors.Is(err, evidence.ErrUnavailable) {
				t.Fatalf("append: %v", err)
			}
			if err := w.add(t, "other", event(40000, "")); err != nil {
				t.Errorf("append to another log: %v", err)
			}
			write(t, path, head.Note)
			time.Sleep(50 * time.Millisecond)
			if err := w.add(t, "acme", event(40001, "")); !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("the log takes writes again: %v", err)
			}
		})
	}
}

// notingAnchor notes the sizes that are anchored, and takes its time.
type notingAnchor struct {
	ledger.Anchor
	mu    sync.Mutex
	sizes map[string][]int64
}

func (a *notingAnchor) Write(origin string, note []byte) error {
	c, _, err := c2sp.ParseNote(note)
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(c.Size%3) * time.Millisecond)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sizes[origin] = append(a.sizes[origin], c.Size)
	return a.Anchor.Write(origin, note)
}

// TestAnchorNeverGoesBack, however many publish at once; nor does what is
// given out.
func TestAnchorNeverGoesBack(t *testing.T) {
	a := &notingAnchor{sizes: map[string][]int64{}}
	r := openRig(t, filepath.Join(t.TempDir(), "data"), func(c *ledger.Config) {
		a.Anchor, c.Anchor = c.Anchor, a
		c.PublishEvery = time.Millisecond
	})
	r.tenant(t, "acme")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			last := int64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, _, err := r.PublishNow(context.Background(), "acme", 1)
				if err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				if c.Size < last {
					t.Errorf("a checkpoint of %d after one of %d", c.Size, last)
				}
				last = c.Size
			}
		})
	}
	for i := range 150 {
		if _, err := r.tryAppend(t, "acme", event(i, "")); err != nil {
			t.Errorf("append: %v", err)
			break
		}
	}
	close(stop)
	wg.Wait()
	r.verifyClean(t)
	r.close()
	for origin, sizes := range a.sizes {
		for i := 1; i < len(sizes); i++ {
			if sizes[i] < sizes[i-1] {
				t.Errorf("anchor of %s went from %d to %d", origin, sizes[i-1], sizes[i])
			}
		}
	}
}
