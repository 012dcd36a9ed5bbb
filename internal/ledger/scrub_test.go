package ledger_test

import (
	"context"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store/storerig"
)

// TestScrubLater: an erasure while a reader holds an older state of the files is done, says
// that they are still to be scrubbed, and has them scrubbed once it lets go, if need be by the
// next process.
func TestScrubLater(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "PostgreSQL's files are not ours to scrub")
	ctx := context.Background()
	for _, again := range []bool{false, true} {
		r := openRig(t, t.TempDir()+"/data")
		r.tenant(t, "acme")
		r.append(t, "acme", step(1, 1, content), step(2, 1, content))
		snap, err := r.db.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := snap.Logs(ctx, "acme"); err != nil {
			t.Fatal(err)
		}
		out, err := r.Erase(ctx, "acme", ledger.Erasure{Run: runOf(1), Reason: "asked", By: "op"})
		if err != nil || !out.ScrubLater || out.Records != 1 || out.Body == "" {
			t.Fatalf("%+v, %v", out, err)
		}
		if due, err := r.db.Setting(ctx, "scrub_due"); err != nil || due != "1" {
			t.Errorf("due: %q, %v", due, err)
		}
		if err := snap.Close(); err != nil {
			t.Fatal(err)
		}
		if again {
			r.close()
			r = openRig(t, r.dir)
		}
		for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			due, err := r.db.Setting(ctx, "scrub_due")
			if err != nil {
				t.Fatal(err)
			}
			if due == "" {
				break
			}
			if time.Since(begun) > 30*time.Second {
				t.Fatal("it is never scrubbed")
			}
		}
		if out := r.erase(t, "acme", ledger.Erasure{Run: runOf(2), Reason: "asked", By: "op"}); out.ScrubLater {
			t.Error("nobody reads, and it is later")
		}
	}
}
