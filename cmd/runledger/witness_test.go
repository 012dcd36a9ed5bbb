package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// background starts the program and waits until it is ready.
func background(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("runledger", args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stderr)
	var seen []string
	for lines.Scan() {
		seen = append(seen, lines.Text())
		if strings.Contains(lines.Text(), `"msg":"ready"`) {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return cmd
		}
	}
	t.Fatalf("%v does not start:\n%s", args, strings.Join(seen, "\n"))
	return nil
}

// stop ends a program in order.
func stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestWitness: a server, its witness in a process of its own, an auditor with the
// policy, a witness that is killed, and a backup that was restored with its anchor.
func TestWitness(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ok := func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command("runledger", args...).Output()
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("%v: %v\n%s%s", args, err, out, failed.Stderr)
		} else if err != nil {
			t.Fatal(err)
		}
		return out
	}
	vkey := func(b []byte) string {
		t.Helper()
		var keys struct {
			Keys []struct {
				VKey string `json:"vkey"`
			} `json:"keys"`
			VKey string `json:"vkey"`
		}
		if err := json.Unmarshal(b, &keys); err != nil {
			t.Fatal(err)
		}
		for _, k := range keys.Keys {
			return k.VKey
		}
		return keys.VKey
	}
	record := func(span int) string {
		name := path(fmt.Sprintf("%d.ndjson", span))
		line := fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T16:00:02Z","run_id":"r","trace_id":"%032x","span_id":"%016x",`+
			`"skill_name":"x","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"TraceStore"}`+"\n", 1, span)
		if err := os.WriteFile(name, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	data, policy := path("data"), path("policy")
	ok("append", "--data", data, "--tenant", "acme", record(1))
	log := vkey(ok("keys", "list", "--data", data, "--tenant", "acme", "--json"))
	key := vkey(ok("witness", "key", "--dir", path("witness"), "--name", "w.example", "--json"))
	address := freeAddress(t)
	text := fmt.Sprintf("log %s\nwitness w %s http://%s\nquorum w\n", log, key, address)
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	startWitness := func() *exec.Cmd {
		return background(t, "witness", "--dir", path("witness"), "--listen", address, "--policy", policy)
	}
	serve := []string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--otlp-http", "off", "--otlp-grpc", "off", "--witness-policy", policy}

	w := startWitness()
	s := background(t, serve...)
	verified := func(name string) {
		t.Helper()
		ok("export", "--data", data, "--tenant", "acme", "--profile", "log", "--out", path(name))
		out := ok("verify", path(name), "--policy", policy) // exit status 0: no W_NO_QUORUM, no W_NO_TIME
		if !bytes.Contains(out, []byte("VERIFIED")) {
			t.Errorf("%s", out)
		}
	}
	verified("one.zip")
	stop(t, s)
	for _, suffix := range []string{"", ".anchor"} {
		if err := os.CopyFS(path("backup"+suffix), os.DirFS(data+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	s = background(t, serve...)
	if err := w.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.Wait() // "signal: killed"
	ok("append", "--data", data, "--tenant", "acme", record(2))
	startWitness()
	verified("two.zip")
	out := ok("audit", "integrity", "--data", data, "--tenant", "acme")
	if !bytes.Contains(out, []byte("w: cosigned ")) {
		t.Errorf("%s", out)
	}
	stop(t, s)

	for _, suffix := range []string{"", ".anchor"} {
		if err := errors.Join(os.RemoveAll(data+suffix), os.Rename(path("backup"+suffix), data+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	restored := exec.Command("runledger", serve...)
	restored.WaitDelay = time.Minute
	b, err := restored.CombinedOutput()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() != 1 || !bytes.Contains(b, []byte("the witness w.example has seen")) {
		t.Errorf("a restored backup: %v\n%s", err, b)
	}
	stop(t, background(t, append(serve, "--accept-rollback")...))
}
