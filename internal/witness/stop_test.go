package witness_test

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/witness"
)

// TestAtStop: what was recorded last is shown to the witnesses, also of a log that
// nobody has asked for since the start, and a witness that never answers holds nobody
// up for long.
func TestAtStop(t *testing.T) {
	w, dead := serveWitness(t, "w.example"), serveWitness(t, "dead.example")
	over := make(chan struct{})
	dead.answer = func(http.ResponseWriter, *http.Request) bool { <-over; return true }
	t.Cleanup(func() { close(over) }) // before its server is closed
	policy := policyOf(t, "any", w, dead)
	dir := filepath.Join(t.TempDir(), "data")
	patient := func(_ *ledger.Config, c *witness.ClientConfig) { c.Timeout = time.Hour }
	r := mustRig(t, dir, policy, patient)
	info := r.tenant("acme", w)
	wantSeen := func(size int64) {
		t.Helper()
		if got, names := r.signers(info, w); got != size || !slices.Equal(names, []string{"w.example"}) {
			t.Errorf("%d records signed by %q, want %d", got, names, size)
		}
	}
	stop := func() {
		t.Helper()
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		r.client.AtStop(short)
	}
	r.mustAdd(3)
	stop()
	wantSeen(4)
	r.mustAdd(300) // with a proof from the size before
	stop()
	wantSeen(304)
	r.close()

	w.down.Store(true)
	r = mustRig(t, dir, nil)
	r.mustAdd(1)
	r.close()
	w.down.Store(false)
	r = mustRig(t, dir, policyOf(t, "all", w), patient)
	stop()
	wantSeen(305)
}

// TestHungUp: that we hang up, as at a stop, is no failure of the witness: it is asked
// all the same.
func TestHungUp(t *testing.T) {
	w := serveWitness(t, "w.example")
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w))
	info := r.tenant("acme", w)
	r.mustAdd(1)
	r.client.AtStop(ctx)
	r.mustAdd(1)
	if _, _, err := r.PublishNow(ctx, "acme", 1); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for range 50 {
		r.client.AtStop(gone)
	}
	r.client.AtStop(ctx)
	if size, names := r.signers(info, w); size != 3 || len(names) != 1 {
		t.Errorf("%d records signed by %q", size, names)
	}
}
