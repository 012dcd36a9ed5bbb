package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mirrored is a server with one tenant, and how it is mirrored.
type mirrored struct {
	*program
	key, vkey, dir string
}

func (m *mirrored) command(more ...string) *exec.Cmd {
	cmd := exec.Command("runledger", append([]string{"mirror", "--url", "http://" + m.otlp, "--key", m.vkey, "--dir", m.dir}, more...)...)
	cmd.Env = append(os.Environ(), "RUNLEDGER_API_KEY="+m.key)
	return cmd
}

// run mirrors once, and returns the exit status and what was said.
func (m *mirrored) run(more ...string) (int, string) {
	m.t.Helper()
	out, err := m.command(more...).CombinedOutput()
	var ee *exec.ExitError
	switch {
	case errors.As(err, &ee):
		return ee.ExitCode(), string(out)
	case err != nil:
		m.t.Fatal(err)
	}
	return 0, string(out)
}

// size is that of the checkpoint which is kept; 0 where there is none.
func (m *mirrored) size() int64 {
	files, _ := filepath.Glob(filepath.Join(m.dir, "*", "checkpoint"))
	if len(files) == 0 {
		return 0
	}
	b, err := os.ReadFile(files[0])
	lines := bytes.Split(b, []byte("\n"))
	if err != nil || len(lines) < 3 {
		m.t.Fatalf("%s: %v: %s", files[0], err, b)
	}
	n, err := strconv.ParseInt(string(lines[1]), 10, 64)
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// append appends a record and returns its leaf index.
func (m *mirrored) append(id string) int64 {
	m.t.Helper()
	line := `{"kind":"system","id":"018f0000-0000-7000-8000-0000000000` + id + `","occurred_at":"2026-11-23T16:00:02Z","component":"worker","event_type":"DEPLOY","severity":"INFO","summary":"Deployed.","source_domain":"SYSTEM","source_component":"worker"}`
	file := filepath.Join(m.t.TempDir(), "one.ndjson")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		m.t.Fatal(err)
	}
	var receipt struct {
		LeafIndex int64 `json:"leaf_index"`
	}
	if err := json.Unmarshal(m.cli("append", "--tenant", "acme", file), &receipt); err != nil {
		m.t.Fatal(err)
	}
	return receipt.LeafIndex
}

// TestMirrorCommand mirrors a server that is killed, follows it, and finds that it was
// put back from a backup.
func TestMirrorCommand(t *testing.T) {
	m := &mirrored{program: &program{t: t, data: filepath.Join(t.TempDir(), "data"), otlp: freeAddress(t)}, dir: filepath.Join(t.TempDir(), "copy")}
	m.start()
	stopped := false
	defer func() {
		if !stopped {
			m.kill()
		}
	}()
	var made struct{ VKey, Secret, Key string }
	if err := json.Unmarshal(m.cli("tenants", "create", "acme"), &made); err != nil {
		t.Fatal(err)
	}
	m.vkey = made.VKey
	if err := json.Unmarshal(m.cli("apikeys", "create", "--tenant", "acme", "--role", "auditor", "--scope", "logs.read", "--scope", "audit.read", "--expires", "1d"), &made); err != nil {
		t.Fatal(err)
	}
	m.key = made.Secret + made.Key
	m.append("01")
	time.Sleep(1500 * time.Millisecond) // a checkpoint a second
	status, out := m.run()
	first := m.size()
	if status != 0 || first == 0 || strings.Count(out, fmt.Sprintf(": %d ", first)) != 1 || !strings.Contains(out, fmt.Sprintf(": %d leaves\n", first)) {
		t.Fatalf("%d %s", status, out)
	}

	// A follower outlives its server.
	follow := m.command("--follow", "--interval", "50ms", "--json")
	var said bytes.Buffer
	follow.Stdout = &said
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	m.kill()
	backup := filepath.Join(t.TempDir(), "backup")
	for _, suffix := range []string{"", ".anchor"} {
		if err := exec.Command("cp", "-a", m.data+suffix, backup+suffix).Run(); err != nil {
			t.Fatal(err)
		}
	}
	m.start()
	second := m.append("02")
	for range 400 {
		if m.size() > second {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := follow.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := follow.Wait(); err != nil || m.size() <= second || !strings.Contains(said.String(), `"kept":true`) {
		t.Fatalf("%v, size %d: %s", err, m.size(), said.String())
	}

	// Data and anchor are put back: the server cannot know it, the mirror does.
	m.kill()
	for _, suffix := range []string{"", ".anchor"} {
		if err := errors.Join(os.RemoveAll(m.data+suffix), os.Rename(backup+suffix, m.data+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	m.start()
	status, out = m.run("--json")
	var f struct{ Code, Kept string }
	if err := json.Unmarshal([]byte(out), &f); err != nil || status != 1 || f.Code != "E_FORK" {
		t.Fatalf("%d %v %s", status, err, out)
	}
	for _, name := range []string{"kept.note", "shown.note"} {
		if _, err := os.Stat(filepath.Join(f.Kept, name)); err != nil {
			t.Error(err)
		}
	}
	m.kill()
	stopped = true
	if status, out := m.run("--timeout", "2s"); status != 3 {
		t.Errorf("no server: %d %s", status, out)
	}
	if status, out := m.run("--url", "nowhere"); status != 2 {
		t.Errorf("no URL: %d %s", status, out)
	}
	if status, out := m.run("--policy", "missing"); status != 2 {
		t.Errorf("no policy: %d %s", status, out)
	}
}
