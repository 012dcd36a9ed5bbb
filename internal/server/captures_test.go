package server_test

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/server"
)

var allPermutations = flag.Bool("permutations", false, "send every capture in every way, not only a sample")

// TestCaptures sends what real SDKs sent to a running server, and compares
// the evidence with what the provider and the driver know. Every capture goes
// as it is; by default every capture goes in one more way, each way in turn,
// and with -permutations in all of them.
func TestCaptures(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := serve(t, dir)
	conn := dial(t, r.rpc)
	type sent struct {
		c      capture
		p      permutation
		tenant string
	}
	var all []sent
	for i, c := range manifest(t) {
		list := c.requests(t)
		for j, p := range permutations {
			if j != 0 && !*allPermutations && j != 1+i%(len(permutations)-1) {
				continue
			}
			tenant := fmt.Sprintf("c%d-%s", i, p.name)
			s := sender{url: r.otlp, key: r.newKey(t, tenant), conn: conn}
			if err := s.send(&c, p, list); err != nil {
				t.Error(err)
				continue
			}
			all = append(all, sent{c, p, tenant})
		}
	}
	r.waitRunsEnded(t)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	d, err := server.Open(context.Background(), server.Stored(t, server.Config{Data: dir}))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	failed := 0
	for _, s := range all {
		f, err := find(context.Background(), d.Ledger, s.tenant)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := s.c.check(f); len(wrong) > 0 {
			failed++
			t.Errorf("%s as %s:\n\t%s\n\tdeviations %q", s.c.ID, s.p.name, strings.Join(wrong, "\n\t"), s.c.Deviations)
		}
	}
	t.Logf("%d captures sent, %d not the truth", len(all), failed)
	rep, err := server.VerifyLive(context.Background(), server.StoredLive(t, server.LiveConfig{Data: dir}))
	if err != nil || !rep.OK() {
		t.Errorf("verification: %v %v", rep.Findings, err)
	}
}

// waitRunsEnded waits until no run is open.
func (r *running) waitRunsEnded(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		_, body := get(t, r.metrics)
		if strings.Contains(body, "\nrunledger_runs_open 0\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("runs stay open")
		}
		time.Sleep(100 * time.Millisecond)
	}
}
