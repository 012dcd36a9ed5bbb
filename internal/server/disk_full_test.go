package server_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/internal/testneeds"
)

// fullReads are requests for what nobody may get without a record of it.
var fullReads = []string{
	"/api/v1/logs/llm-runs", "/api/v1/logs/llm-runs/walk-run/envelope", "/api/v1/logs/llm-runs/walk-run/trace",
	"/api/v1/logs/llm-runs/walk-run/governance", "/api/v1/logs/llm-runs/walk-run/replay", "/api/v1/logs/system",
	"/api/v1/logs/audit", "/api/v1/logs/audit/integrity", "/api/v1/traces/walk-run", "/guard/logs",
	"/api/v1/logs/llm-runs/no-such-run/envelope", // that there is none is told too
	"/api/v1/logs/llm-runs/walk-run/export",
}

// TestDiskFullReserve: where less is free than the reserve, nothing is taken in,
// and who may read reads on, on record.
func TestDiskFullReserve(t *testing.T) {
	storerig.Only(t, storerig.SQLite, "the disk of PostgreSQL's data is its server's")
	dir := freshData(t)
	r := openReads(t, dir, nil)
	producer, auditor := r.newKey(t, own), r.roleKey(t, own, "auditor")
	r.keys["producer@"+own] = producer
	r.run = r.nativeRun(t)
	r.used(t, producer, auditor)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = openReads(t, dir, func(c *server.ServeConfig) { c.DiskReserve = 1 << 60 })
	for _, in := range []struct {
		url, contentType string
		body             string
	}{
		{r.url + "/api/v1/ingest/records", "application/x-ndjson", r.line("audit", 0, nil)},
		{r.otlp + "/v1/traces", "application/json", `{"resourceSpans":[]}`},
		{r.url + "/api/v1/traces", "application/json", `{"run_id":"x","trace_id":"` + longTrace + `","occurred_at":"2026-01-01T00:00:00Z"}`},
	} {
		status, body := r.post(t, in.url, in.contentType, producer, []byte(in.body))
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "kept for records of access") {
			t.Errorf("%s: %d %s", in.url, status, body)
		}
	}
	if status, body := get(t, r.url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "free") {
		t.Errorf("readyz: %d %s", status, body)
	}
	got := r.added(t, own, func() {
		for _, target := range fullReads {
			want := http.StatusOK
			if strings.Contains(target, "no-such-run") {
				want = http.StatusNotFound
			}
			r.ask(t, auditor, target, want)
		}
	})
	if diff := cmp.Diff(map[string]int{"LOG_VIEW": len(fullReads) - 1, "LOG_EXPORT": 1}, got); diff != "" {
		t.Errorf("reads while ingest is paused (-want +got):\n%s", diff)
	}
}

// refusedAll asks for everything, and must get nothing.
func refusedAll(t *testing.T, r *reads, key, reason string) {
	t.Helper()
	for _, target := range fullReads {
		status, header, body := r.get(t, key, target, nil)
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %v %.300s", target, status, header, body)
		}
		if !bytes.Contains(body, []byte(`"code":"unavailable"`)) || !bytes.Contains(body, []byte(reason)) {
			t.Errorf("%s gives no reason: %s", target, body)
		}
		for _, secret := range []string{"walk-run", "secret-", "sha256:", "leaf_index", "LimitBreached", own} {
			if bytes.Contains(body, []byte(secret)) {
				t.Errorf("%s: %q left without a record: %s", target, secret, body)
			}
		}
	}
}

// TestDiskFull fills the disk that the ledger stands on to the last byte: then
// what is read cannot be recorded, and nothing is given out. With room again a
// server goes on, and all that it has said still holds.
func TestDiskFull(t *testing.T) {
	storerig.Only(t, storerig.SQLite, "the disk of PostgreSQL's data is its server's")
	dir := smallDisk(t)
	data := filepath.Join(dir, "data")
	r := openReads(t, data, func(c *server.ServeConfig) { c.DiskReserve = 1 })
	producer, auditor := r.newKey(t, own), r.roleKey(t, own, "auditor")
	r.keys["producer@"+own] = producer
	r.run = r.nativeRun(t)
	r.used(t, producer, auditor)
	r.ask(t, auditor, fullReads[1], http.StatusOK)
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	// What is there already still has some room: each answer until then is on
	// record, which is counted below.
	given := 1 + r.untilRefused(t, auditor)
	refusedAll(t, r, auditor, "cannot be recorded")
	status, body := r.post(t, r.url+"/api/v1/ingest/records", "application/x-ndjson", producer, []byte(r.line("audit", 0, nil)))
	if status != http.StatusServiceUnavailable {
		t.Errorf("ingest: %d %s", status, body)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	_ = r.stop() // it may say that it could not record that it stopped
	_ = r.look.Close()
	again := openReads(t, data, func(c *server.ServeConfig) { c.DiskReserve = 1 })
	again.ask(t, auditor, fullReads[1], http.StatusOK)
	if got := again.audits(t, own)["LOG_VIEW"]; got != given+1 {
		t.Errorf("%d views on record, %d answers were given", got, given+1)
	}
	again.put(t, producer, r.line("audit", 0, nil))
	rep, err := server.VerifyLive(context.Background(), server.StoredLive(t, server.LiveConfig{Data: data}))
	if err != nil || !rep.OK() {
		t.Errorf("verification: %+v %v", rep, err)
	}
}

// untilRefused reads until it is refused, and returns how many answers it got.
func (r *reads) untilRefused(t *testing.T, key string) (given int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); given++ {
		if status, _, _ := r.get(t, key, fullReads[1], nil); status != http.StatusOK {
			return given
		}
	}
	t.Fatal("it still answers")
	return 0
}

// smallDisk mounts a file system of a few MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const size = "24m"
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput()
	if err != nil {
		testneeds.Missing(t, "no file system can be mounted (needs root on Linux): %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// fillDisk writes until nothing more goes.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFullAnchor: where what keeps the ledger honest cannot be written, it
// writes no more, and gives nothing out.
func TestDiskFullAnchor(t *testing.T) {
	dir := freshData(t)
	r := openReads(t, dir, nil)
	producer, auditor := r.newKey(t, own), r.roleKey(t, own, "auditor")
	r.keys["producer@"+own] = producer
	r.run = r.nativeRun(t)
	r.used(t, producer, auditor)
	r.ask(t, auditor, fullReads[1], http.StatusOK)
	if err := os.Rename(dir+".anchor", dir+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+".anchor", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	given := 1 + r.untilRefused(t, auditor) // the anchor is missed within a second or so
	refusedAll(t, r, auditor, "cannot be recorded")
	if err := os.Remove(dir + ".anchor"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".aside", dir+".anchor"); err != nil {
		t.Fatal(err)
	}
	// It was not touched: the same server goes on.
	r.ask(t, auditor, fullReads[1], http.StatusOK)
	if got := r.audits(t, own)["LOG_VIEW"]; got != given+1 {
		t.Errorf("%d views on record, %d answers were given", got, given+1)
	}
}
