package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/testneeds"
)

// TestDemoCommands starts the demo as the README says, and types every command that
// it prints into a shell.
func TestDemoCommands(t *testing.T) {
	testneeds.Program(t, "curl")
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(dir, "runledger")); err != nil {
		t.Fatal(err)
	}
	commands, stop := startDemoProcess(t, dir)
	defer stop()
	asked := 0
	for _, command := range commands {
		cmd := exec.Command("sh", "-c", ". 'kept here/tour.sh'\n"+command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
		out, err := cmd.Output()
		if isVerdict := strings.Contains(command, "--key"); err != nil && (!isVerdict || cmd.ProcessState.ExitCode() != 10) {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		switch {
		case strings.HasPrefix(command, "curl") && strings.Contains(command, "/api/v1/logs"):
			asked++
			var answer map[string]any
			if err := json.Unmarshal(out, &answer); err != nil {
				t.Errorf("%s: %v\n%.300s", command, err, out)
			}
			if answer["metadata"] == nil && answer["code"] != "not_found" {
				t.Errorf("%s: %.300s", command, out)
			}
		case !strings.Contains(command, " -o ") && len(out) == 0:
			t.Errorf("%s: no answer", command)
		}
	}
	if asked < 12 || len(commands) < 25 {
		t.Errorf("%d commands, of which %d ask the API", len(commands), asked)
	}
}

// startDemoProcess starts the demo, and returns the commands that it prints and what
// interrupts it.
func startDemoProcess(t *testing.T, dir string) (commands []string, stop func()) {
	t.Helper()
	cmd := exec.Command("./runledger", "demo", "--keep", "kept here") // a name that has to be quoted
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		last := ""
		for lines.Scan() {
			last = lines.Text()
		}
		watchdog.Stop()
		if err := cmd.Wait(); err != nil || !strings.Contains(last, "serve --data") {
			t.Errorf("the demo ended with %v, %q", err, last)
		}
	}
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "curl ") || strings.HasPrefix(line, "runledger ") {
			commands = append(commands, line)
		}
		if strings.Contains(line, "until Ctrl-C") {
			return commands, stop
		}
	}
	stop()
	t.Fatal("the demo printed no tour")
	return nil, nil
}
