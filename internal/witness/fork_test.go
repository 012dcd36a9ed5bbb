package witness_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/witness"
)

// backedUp is a deployment with a backup of data and anchor that a witness has seen
// more of.
func backedUp(t *testing.T, w *served) (dir, backup string, info ledger.LogInfo, seen int64) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	backup = filepath.Join(t.TempDir(), "backup")
	r := mustRig(t, dir, policyOf(t, "all", w))
	info = r.tenant("acme", w)
	r.mustAdd(3)
	r.mustCosign()
	r.close()
	copyDeployment(t, backup, dir)
	r = mustRig(t, dir, policyOf(t, "all", w))
	r.mustAdd(5)
	seen = r.mustCosign()
	r.close()
	return dir, backup, info, seen
}

func accept(c *ledger.Config, _ *witness.ClientConfig) { c.AcceptRollback = true }

// wantForks checks that two notes of the log, which contradict each other, are beside
// the anchor.
func wantForks(t *testing.T, dir string, info ledger.LogInfo, ours, seen int64) {
	t.Helper()
	a, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		t.Fatal(err)
	}
	notes, err := a.Forks(info.Origin)
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != 2 {
		t.Fatalf("%d notes are kept", len(notes))
	}
	for i, want := range []int64{ours, seen} {
		if v, err := c2sp.Verify(notes[i], vkey(t, info.VKey)); err != nil || v.Size != want {
			t.Errorf("note %d: %+v, %v, want one of %d records", i, v, err, want)
		}
	}
}

// TestRestoredBackup: the anchor was restored too, so only the witness knows.
func TestRestoredBackup(t *testing.T) {
	w := serveWitness(t, "w.example")
	dir, backup, info, seen := backedUp(t, w)
	copyDeployment(t, dir, backup)
	kept := filepath.Join(dir+".anchor", filepath.FromSlash(info.Origin)) + ".fork-1.ours and .seen; "
	for _, says := range []string{fmt.Sprintf("w.example has seen %d", seen), "kept as proof"} {
		_, err := openRig(t, dir, policyOf(t, "all", w))
		if !errors.Is(err, ledger.ErrRollback) || !strings.Contains(err.Error(), says) {
			t.Fatalf("opened: %v, want one that says %q", err, says)
		}
		if !strings.Contains(err.Error(), "--accept-rollback goes on") || strings.Contains(says, "has seen") && !strings.Contains(err.Error(), kept) {
			t.Errorf("opened: %v, which does not say what to do, or that the notes are %s", err, kept)
		}
	}
	wantForks(t, dir, info, 4, seen)
	// The proof is kept: it does not help that nobody is asked.
	if _, err := openRig(t, dir, nil); !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("opened without the witness: %v", err)
	}

	r := mustRig(t, dir, policyOf(t, "all", w), accept)
	logs, err := r.Logs(ctx, "acme")
	if err != nil || len(logs) != 2 {
		t.Fatalf("%v, %v", logs, err)
	}
	if err := w.AddLogs([]string{logs[1].VKey}); err != nil {
		t.Fatal(err)
	}
	r.mustAdd(1)
	if err := r.client.Cosign(ctx, "acme", 2); err != nil {
		t.Error(err)
	}
	r.close()
	r = mustRig(t, dir, policyOf(t, "all", w)).running() // and from then on as always
	r.mustAdd(1)
	if err := r.client.Cosign(ctx, "acme", 2); err != nil {
		t.Error(err)
	}
}

// TestTruncatedTail: who can write the database and the anchor cuts the last records
// off both.
func TestTruncatedTail(t *testing.T) {
	w := serveWitness(t, "w.example")
	dir, backup, info, seen := backedUp(t, w)
	older := mustRig(t, backup, nil)
	head, err := older.db.Head(ctx, store.LogRef{Tenant: "acme", No: 1})
	if err != nil {
		t.Fatal(err)
	}
	older.close()
	r := mustRig(t, dir, nil)
	r.close()
	if err := cutLog(dir, "acme", head.Size, head.Root[:], head.Note); err != nil {
		t.Fatal(err)
	}
	if err := r.anchor.Write(info.Origin, head.Note); err != nil {
		t.Fatal(err)
	}
	if _, err := openRig(t, dir, policyOf(t, "all", w)); !errors.Is(err, ledger.ErrRollback) {
		t.Fatalf("opened: %v", err)
	}
	wantForks(t, dir, info, 4, seen)
}

// TestWordOnly: a witness that shows no checkpoint is believed at the start.
func TestWordOnly(t *testing.T) {
	w := serveWitness(t, "w.example")
	dir, backup, info, _ := backedUp(t, w)
	copyDeployment(t, dir, backup)
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			http.NotFound(rw, r)
		}
		return r.Method == http.MethodGet
	}
	if _, err := openRig(t, dir, policyOf(t, "all", w)); !errors.Is(err, ledger.ErrRollback) || !strings.Contains(err.Error(), "does not show") ||
		!strings.Contains(err.Error(), ".fork-1.ours; ") {
		t.Errorf("opened: %v", err)
	}
	a, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		t.Fatal(err)
	}
	if notes, err := a.Forks(info.Origin); err != nil || len(notes) != 1 {
		t.Errorf("%d notes, %v", len(notes), err)
	}
	// A stranger's note is no proof, and no way to stop a log either.
	stranger := newTestLog(t, 9, same)
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			_, _ = rw.Write(stranger.note(9))
		}
		return r.Method == http.MethodGet
	}
	if _, err := openRig(t, dir, policyOf(t, "all", w)); !errors.Is(err, ledger.ErrRollback) || !strings.Contains(err.Error(), "does not show") {
		t.Errorf("opened: %v", err)
	}
}

// TestSplitView: two copies of a deployment sign with one key. The second, which could
// not ask the witness when it started, is found out in operation, and stays stopped.
func TestSplitView(t *testing.T) {
	w := serveWitness(t, "w.example")
	_, backup, info, seen := backedUp(t, w)
	w.down.Store(true)
	r := mustRig(t, backup, policyOf(t, "all", w))
	r.mustAdd(9) // nobody is asked before writes
	c, _, err := r.PublishNow(ctx, "acme", 1)
	if err != nil || c.Size <= seen {
		t.Fatalf("%d records, %v", c.Size, err)
	}
	w.down.Store(false)
	r.running()
	eventually(t, "the log is stopped", func() bool { return errors.Is(r.add(1), evidence.ErrUnavailable) })
	size := c.Size // what was written until then is in the note that is kept
	a, err := r.anchor.Forks(info.Origin)
	if err != nil || len(a) != 2 {
		t.Fatalf("%d notes, %v", len(a), err)
	}
	if v, err := c2sp.Verify(a[0], vkey(t, info.VKey)); err != nil || v.Size < size {
		t.Errorf("ours: %+v, %v", v, err)
	}
	if v, err := c2sp.Verify(a[1], vkey(t, info.VKey)); err != nil || v.Size != seen {
		t.Errorf("seen: %+v, %v", v, err)
	}
	eventually(t, "it is recorded", func() bool { return len(anomalies(t, r)) > 0 })
	i := r.Integrity("acme")
	if i.Status != ledger.StatusCompromised || len(i.Anomalies) != 1 || i.Anomalies[0].Code != ledger.CodeFork {
		t.Errorf("integrity %+v", i)
	}
	if got := anomalies(t, r); len(got) != 1 || !strings.Contains(got[0], "CRITICAL") {
		t.Errorf("records %q", got)
	}
	// Other logs go on.
	if _, err := r.CreateTenant(ctx, "other"); err != nil {
		t.Error(err)
	}
	if files := files(t, w.dir, "forks/doubt-*.offered"); len(files) != 1 {
		t.Errorf("the witness keeps %q", files)
	}
	r.close()
	w.down.Store(true)
	if _, err := openRig(t, backup, policyOf(t, "all", w)); !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("opened again: %v", err)
	}
}

// TestSameSize: the other copy has as many records, but others.
func TestSameSize(t *testing.T) {
	w := serveWitness(t, "w.example")
	_, backup, info, seen := backedUp(t, w)
	w.down.Store(true)
	r := mustRig(t, backup, policyOf(t, "all", w))
	r.mustAdd(5)
	r.close()
	w.down.Store(false)
	if _, err := openRig(t, backup, policyOf(t, "all", w)); !errors.Is(err, ledger.ErrRollback) || !strings.Contains(err.Error(), "another tree") {
		t.Fatalf("opened: %v", err)
	}
	wantForks(t, backup, info, seen, seen)
	if list := files(t, w.dir, "forks/fork-*.offered"); len(list) != 1 {
		t.Errorf("the witness keeps %q", list)
	}
}

// liar answers every request with a tree that is larger than any.
func liar(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost {
		http.NotFound(w, r)
		return true
	}
	w.Header().Set("Content-Type", "text/x.tlog.size")
	w.WriteHeader(http.StatusConflict)
	fmt.Fprintln(w, 1<<40)
	return true
}

// through sends every request to one address, whatever its URL.
type through struct{ to string }

func (h through) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = strings.TrimPrefix(h.to, "http://")
	return http.DefaultTransport.RoundTrip(r)
}

// TestUnprovenOverHTTP: without TLS anybody may answer, so only what the log signed
// counts.
func TestUnprovenOverHTTP(t *testing.T) {
	w := serveWitness(t, "w.example")
	w.answer = liar
	local := w.http.URL
	w.http.URL = "http://witness.example:8081"
	policy := policyOf(t, "all", w)
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), policy, func(_ *ledger.Config, c *witness.ClientConfig) {
		c.HTTP = &http.Client{Transport: through{local}}
	})
	r.tenant("acme", w)
	if _, err := r.cosign(); err == nil {
		t.Error("cosigned")
	}
	if err := r.add(1); err != nil {
		t.Errorf("stopped by a lie: %v", err)
	}
	w.http.URL = local
}

// TestWordStops: over TLS, or from this machine, it is the word of a witness that the
// operator chose.
func TestWordStops(t *testing.T) {
	w := serveWitness(t, "w.example")
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w))
	r.tenant("acme", w)
	w.answer = liar
	if _, err := r.cosign(); err == nil {
		t.Error("cosigned")
	}
	if err := r.add(1); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("append: %v", err)
	}
}

// TestWitnessOfAnother: what a witness says of a log that this is not stops nothing.
func TestWitnessOfAnother(t *testing.T) {
	w := serveWitness(t, "w.example")
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w))
	info := r.tenant("acme", w)
	r.mustAdd(2)
	size := r.mustCosign()
	head, err := r.Checkpoint(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]ledger.Seen{
		"another log":        {Origin: "test.example/aaaaaaaaaaaa", By: "w", Size: 99, Refuses: true},
		"what is extended":   {Origin: info.Origin, By: "w", Size: 99, Note: head},
		"written by another": {Origin: info.Origin, By: "w", Size: size},
	} {
		if err := r.Contradicted(ctx, "acme", 1, s); errors.Is(err, ledger.ErrRollback) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r.mustAdd(1)
}
