package witness_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/witness"
	"github.com/runledger/runledger/verify"
)

// TestCosign: each published checkpoint is cosigned by a quorum, in the background and
// on request, and nobody is asked again after a restart.
func TestCosign(t *testing.T) {
	one, two := serveWitness(t, "one.example"), serveWitness(t, "two.example")
	policy := policyOf(t, "all", one, two)
	dir := filepath.Join(t.TempDir(), "data")
	r := mustRig(t, dir, policy)
	info := r.tenant("acme", one, two)
	r.mustAdd(3)
	size := r.mustCosign()
	if got, names := r.signers(info, one, two); got != size || !slices.Equal(names, []string{"one.example", "two.example"}) {
		t.Errorf("%d records signed by %q", got, names)
	}
	r.running()
	r.mustAdd(300) // with a proof from the size before
	eventually(t, "both have signed", func() bool {
		got, names := r.signers(info, one, two)
		return got == size+300 && len(names) == 2
	})
	list, err := r.Attestations(ctx, "acme", 1, size)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if c, _, err := c2sp.ParseNote(a.Note); err != nil || c.Size != a.Size || a.Kind != ledger.AttestCosignature || time.Since(a.At.Time()).Abs() > time.Minute {
			t.Errorf("%+v, %v", a, err)
		}
	}
	if list[0].Size != size || !slices.IsSortedFunc(list, func(a, b ledger.Attestation) int { return int(a.Size - b.Size) }) {
		t.Errorf("not all of them, or not in order: %d to %d", list[0].Size, list[len(list)-1].Size)
	}
	status, why := r.client.Status("acme")
	if len(status) != 2 || status[0].Size != size+300 || status[0].Error != "" || why != "" {
		t.Errorf("status %+v, %q", status, why)
	}
	report, err := ledger.Verify(ctx, ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor})
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("live verification: %v, %v", report, err)
	}
}

// TestNotAskedAgain: what is kept is known after a restart.
func TestNotAskedAgain(t *testing.T) {
	w := serveWitness(t, "w.example")
	policy := policyOf(t, "all", w)
	dir := filepath.Join(t.TempDir(), "data")
	r := mustRig(t, dir, policy)
	info := r.tenant("acme", w)
	r.mustAdd(3)
	size := r.mustCosign()
	r.close()
	r = mustRig(t, dir, policy)
	w.answer = func(http.ResponseWriter, *http.Request) bool { t.Error("asked again"); return false }
	if got := r.mustCosign(); got != size {
		t.Errorf("size %d, want %d", got, size)
	}
	if got, names := r.signers(info, w); got != size || len(names) != 1 {
		t.Errorf("%d records signed by %q", got, names)
	}
}

// TestWitnessDown: writes go on, a quorum of those that are there is enough, and what
// is missing is said.
func TestWitnessDown(t *testing.T) {
	up, down := serveWitness(t, "up.example"), serveWitness(t, "down.example")
	down.down.Store(true)
	for _, need := range []string{"any", "all"} {
		t.Run(need, func(t *testing.T) {
			now := time.Now()
			reg := prometheus.NewRegistry()
			r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, need, up, down), func(_ *ledger.Config, c *witness.ClientConfig) {
				c.Now = func() time.Time { return now }
				c.Metrics = reg
			})
			r.tenant("acme", up, down)
			r.mustAdd(2)
			_, err := r.cosign()
			if need == "any" && err != nil || need == "all" && !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("cosign: %v", err)
			}
			status, why := r.client.Status("acme")
			if status[0].Size == 0 || status[1].Size != 0 || !strings.Contains(status[1].Error, "502") || why != "" {
				t.Errorf("status %+v, %q", status, why)
			}
			now = now.Add(11 * time.Minute)
			if _, why := r.client.Status("acme"); (why == "") != (need == "any") {
				t.Errorf("after 11 minutes: %q", why)
			}
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "runledger_logs_without_quorum" && (f.GetMetric()[0].GetGauge().GetValue() == 0) != (need == "any") {
					t.Errorf("%v", f)
				}
			}
		})
	}
}

// TestCircuit: a witness that does not answer is left alone after three failures, but by
// exports: it may be back.
func TestCircuit(t *testing.T) {
	w := serveWitness(t, "w.example")
	var asked atomic.Int64
	var broken atomic.Bool
	broken.Store(true)
	w.answer = func(rw http.ResponseWriter, _ *http.Request) bool {
		asked.Add(1)
		if broken.Load() {
			rw.WriteHeader(http.StatusInternalServerError)
		}
		return broken.Load()
	}
	now := time.Now()
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w), func(_ *ledger.Config, c *witness.ClientConfig) {
		c.Now = func() time.Time { return now }
	})
	r.tenant("acme", w)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.client.Run(ctx) })
	defer running.Wait()
	defer stop()
	for asked.Load() < 3 {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // ten rounds
	before := asked.Load()
	if before > 4 { // the logs of two tenants at the same time
		t.Errorf("asked %d times", before)
	}
	if _, err := r.cosign(); err == nil || asked.Load() != before+1 {
		t.Errorf("%v, asked %d times, then %d", err, before, asked.Load())
	}
	broken.Store(false)
	r.mustCosign()
}

// TestUnknownLog: a witness that was not told the log's key says so.
func TestUnknownLog(t *testing.T) {
	w := serveWitness(t, "w.example")
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w))
	info := r.tenant("acme")
	if _, err := r.cosign(); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if status, _ := r.client.Status("acme"); !strings.Contains(status[0].Error, "does not know this log") {
		t.Errorf("%+v", status)
	}
	if err := w.AddLogs([]string{info.VKey}); err != nil {
		t.Fatal(err)
	}
	r.mustCosign()
}

// TestBadCosignatures: an answer that is no cosignature of the checkpoint by the key
// of the policy is not kept.
func TestBadCosignatures(t *testing.T) {
	stranger, err := c2sp.NewCosigner("w.example", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key *c2sp.Cosigner, size int64, at time.Time) string {
		s, err := key.Cosign(c2sp.Checkpoint{Origin: "x", Size: size}, at.Unix())
		if err != nil {
			t.Fatal(err)
		}
		return string(s.AppendLine(nil))
	}
	for what, body := range map[string]string{
		"nothing": "", "text": "hello\n", "another key": sign(stranger, 1, time.Now()), "large": strings.Repeat("x", 1<<20),
	} {
		t.Run(what, func(t *testing.T) {
			w := serveWitness(t, "w.example")
			r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w))
			r.tenant("acme", w)
			w.answer = func(rw http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(rw, body); return true }
			if _, err := r.cosign(); !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("%v", err)
			}
			if list, err := r.Attestations(ctx, "acme", 1, 0); err != nil || len(list) > 0 {
				t.Errorf("kept %v, %v", list, err)
			}
		})
	}
	t.Run("clock", func(t *testing.T) {
		w := serveWitness(t, "w.example")
		r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w), func(_ *ledger.Config, c *witness.ClientConfig) {
			c.Now = func() time.Time { return time.Now().Add(5 * time.Minute) }
		})
		r.tenant("acme", w)
		if _, err := r.cosign(); err == nil {
			t.Error("a cosignature of five minutes ago is kept")
		}
		if status, _ := r.client.Status("acme"); !strings.Contains(status[0].Error, "clock") {
			t.Errorf("%+v", status)
		}
	})
}

// TestRedirect: an answer from elsewhere does not count.
func TestRedirect(t *testing.T) {
	real, w := serveWitness(t, "w.example"), serveWitness(t, "w.example")
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w))
	r.tenant("acme", w, real)
	w.answer = func(rw http.ResponseWriter, req *http.Request) bool {
		http.Redirect(rw, req, real.http.URL+req.URL.Path, http.StatusTemporaryRedirect)
		return true
	}
	if _, err := r.cosign(); err == nil {
		t.Error("followed")
	}
}

func TestClientRefused(t *testing.T) {
	w := serveWitness(t, "w.example")
	for what, url := range map[string]string{"no URL": "", "a file": "file:///etc/passwd", "a query": "https://a/?b", "a user": "https://a@b/", "no host": "https:///x"} {
		p, err := verify.ParsePolicy(fmt.Appendf(nil, "witness w %s %s\nquorum w\n", w.VKey(), url))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := witness.NewClient(witness.ClientConfig{Policy: p}); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestRollover: the last checkpoint of a log that was closed is cosigned too.
func TestRollover(t *testing.T) {
	w := serveWitness(t, "w.example")
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), policyOf(t, "all", w)).running()
	r.tenant("acme", w)
	r.mustAdd(2)
	next, err := r.Rollover(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AddLogs([]string{next.VKey}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the closed log is cosigned", func() bool {
		list, err := r.Newest(ctx, "acme", 1)
		if err != nil {
			t.Fatal(err)
		}
		return len(list) == 1 && list[0].Size == 4
	})
	if err := r.client.Cosign(ctx, "acme", 2); err != nil {
		t.Error(err)
	}
}
