package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store/pgtest"
)

// runs runs the program and returns what it said.
func runs(t *testing.T, args ...string) (stdout []byte, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("runledger", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		t.Logf("%v: %s", args[0], errs.String())
		return out.Bytes(), ended.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return out.Bytes(), 0
}

// copyAnswered is what the command answers.
type copyAnswered struct {
	Resumed        bool
	Leaves, Copied int64
	Erased         int64 `json:"erased_fields"`
}

// copyKilled copies, and kills the program again and again until a call comes to its
// end. It returns the answer and how many did not. The first calls have a few
// milliseconds, too few for any machine, and the next ones ever more: some are killed
// in each part of the work, however fast it is.
func copyKilled(t *testing.T, rng *rand.Rand, args ...string) (a copyAnswered, kills int) {
	t.Helper()
	for most := 20 * time.Millisecond; ; most += most / 4 {
		var out, errs bytes.Buffer
		cmd := exec.Command("runledger", append([]string{"copy", "--json"}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(rng.Int64N(int64(most))), func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if err == nil {
			if err := json.Unmarshal(out.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
			return a, kills
		}
		if cmd.ProcessState.Exited() {
			t.Fatalf("copy after %d kills: %v: %s", kills, err, errs.String())
		}
		kills++
	}
}

// TestCopyKilled moves a deployment to PostgreSQL and back with the real program,
// which is killed at random moments.
func TestCopyKilled(t *testing.T) {
	dsns := pgtest.Database(t)
	dir := t.TempDir()
	data, node, back, anchor := filepath.Join(dir, "data"), filepath.Join(dir, "node"), filepath.Join(dir, "back"), filepath.Join(dir, "data.anchor")
	must := func(args ...string) []byte {
		t.Helper()
		out, status := runs(t, args...)
		if status != 0 {
			t.Fatalf("%v: exit status %d", args, status)
		}
		return out
	}
	lines := filepath.Join(dir, "lines.ndjson")
	appendSteps := func(from int, store ...string) {
		t.Helper()
		var b strings.Builder
		for i := range 4000 {
			fmt.Fprintf(&b, `{"kind":"trace_step","occurred_at":"2026-11-23T16:00:02Z","run_id":"%032x","trace_id":"%032x","span_id":"%016x",`+
				`"skill_name":"lookup_order","step_kind":"tool","status":"success","prompt":"the prompt of %d","human_actor_id":"ada-%d",`+
				`"source_domain":"ACTIVITY","source_component":"TraceStore"}`+"\n", from+i/20, from+i/20, i+1, i, i%7)
		}
		if err := os.WriteFile(lines, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		must(append([]string{"append", "--tenant", "acme", lines}, store...)...)
	}
	appendSteps(1, "--data", data)
	must("keys", "rotate", "--data", data, "--tenant", "acme")
	appendSteps(1000, "--data", data)

	rng := rand.New(rand.NewPCG(3, 4))
	there, kills := copyKilled(t, rng, "--from", data, "--to", dsns.App, "--store-owner", dsns.Owner, "--to-data", node)
	if there.Leaves < 8000 || kills == 0 {
		t.Errorf("%+v after %d kills", there, kills)
	}
	t.Logf("there: %+v after %d kills", there, kills)
	inPostgres := []string{"--store", dsns.App, "--anchor", anchor, "--data", node}
	if out := must(append([]string{"verify"}, inPostgres...)...); !bytes.HasPrefix(out, []byte("VERIFIED")) {
		t.Errorf("%s", out)
	}
	if _, status := runs(t, "append", "--data", data, "--tenant", "acme", lines); status != 2 {
		t.Errorf("what moved takes records, exit status %d", status)
	}
	appendSteps(2000, inPostgres...)

	home, kills := copyKilled(t, rng, "--from", dsns.App, "--anchor", anchor, "--data", node, "--to", back)
	if home.Leaves < there.Leaves+4000 || kills == 0 {
		t.Errorf("%+v after %d kills", home, kills)
	}
	t.Logf("back: %+v after %d kills", home, kills)
	if out := must("verify", "--data", back, "--anchor", anchor); !bytes.HasPrefix(out, []byte("VERIFIED")) {
		t.Errorf("%s", out)
	}
	appendSteps(3000, "--data", back, "--anchor", anchor)
}
