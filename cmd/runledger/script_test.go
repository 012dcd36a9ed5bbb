package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/testneeds"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"runledger": func() {
		setClock()
		main()
	}})
}

// setClock lets a script write records that are old: RUNLEDGER_TEST_AGE is for how long
// the clock of a command stands back. It is there in the binary of tests only, and the
// database has a clock of its own.
func setClock() {
	age, err := time.ParseDuration(os.Getenv("RUNLEDGER_TEST_AGE"))
	if err == nil {
		clock = ledger.Clock{Now: func() time.Time { return time.Now().Add(-age) }}
	}
}

// TestScripts runs testdata/script. Beside the commands of testscript there
// are
//
//	exits N CMD...        CMD ends with that exit status
//	field NAME PATH       sets $NAME from the JSON on standard output
//	replace FILE OLD NEW  changes the first OLD of a file, of any bytes
//	sql DIR STATEMENT     runs SQL on the database of a data directory
//	waitserver DIR        waits until a server answers at DIR/control.sock
//	term DIR              sends that server SIGTERM
//	lines N FILE          a file (or stdout) has that many lines
func TestScripts(t *testing.T) {
	cmds := map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"exits": cmdExits, "field": cmdField, "replace": cmdReplace, "sql": cmdSQL, "waitserver": cmdWaitServer, "lines": cmdLines,
		"term": cmdTerm,
	}
	maps.Copy(cmds, readScriptCommands())
	maps.Copy(cmds, registryScriptCommands())
	captures, err := filepath.Abs("../../testdata/captures")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("CAPTURES", captures)
			return nil
		},
		Cmds: cmds,
	})
}

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// cmdField walks dot-separated names and list indexes; of several lines of
// JSON it takes the last.
func cmdField(ts *testscript.TestScript, _ bool, args []string) {
	lines := strings.Split(strings.TrimSpace(ts.ReadFile("stdout")), "\n")
	var v any
	ts.Check(json.Unmarshal([]byte(lines[len(lines)-1]), &v))
	for _, name := range strings.Split(args[1], ".") {
		switch node := v.(type) {
		case map[string]any:
			v = node[name]
		case []any:
			i, err := strconv.Atoi(name)
			ts.Check(err)
			v = node[i]
		default:
			ts.Fatalf("no %s in %s", args[1], lines[len(lines)-1])
		}
	}
	if f, ok := v.(float64); ok {
		v = strconv.FormatFloat(f, 'f', -1, 64)
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

func cmdReplace(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	if !bytes.Contains(b, []byte(args[1])) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(name, bytes.Replace(b, []byte(args[1]), []byte(args[2]), 1), 0o600))
}

func cmdSQL(ts *testscript.TestScript, neg bool, args []string) {
	conn, err := sqlite.OpenConn(filepath.Join(ts.MkAbs(args[0]), "runledger.db"), sqlite.OpenReadWrite)
	ts.Check(err)
	defer conn.Close()
	err = sqlitex.ExecuteScript(conn, args[1], nil)
	if (err != nil) != neg {
		ts.Fatalf("%v", err)
	}
}

func cmdWaitServer(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	for range 200 {
		if _, err := control.Dial(context.Background(), dir); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("no server holds %s", dir)
}

func cmdTerm(ts *testscript.TestScript, _ bool, args []string) {
	c, err := control.Dial(context.Background(), ts.MkAbs(args[0]))
	ts.Check(err)
	v, err := c.Version(context.Background())
	ts.Check(err)
	if !v.Server {
		ts.Fatalf("it is no server that answers")
	}
	ts.Check(syscall.Kill(v.PID, syscall.SIGTERM))
}

func cmdLines(ts *testscript.TestScript, _ bool, args []string) {
	if got := strconv.Itoa(strings.Count(ts.ReadFile(args[1]), "\n")); got != args[0] {
		ts.Fatalf("%s has %s lines, want %s", args[1], got, args[0])
	}
}

// TestReadme runs the commands of README.md as they stand there, in one shell as it
// were, but for building the binary, and for the server's ports, which may be taken
// here.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, session, ok := strings.Cut(string(text), "\n## From a span to evidence\n")
	if !ok {
		t.Fatal("README.md has no section From a span to evidence")
	}
	testneeds.Program(t, "curl")
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// TestMain makes the test binary the program where it has its name.
	if err := os.Symlink(exe, filepath.Join(dir, "runledger")); err != nil {
		t.Fatal(err)
	}
	captures, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(captures, filepath.Join(dir, "testdata")); err != nil {
		t.Fatal(err)
	}
	const build = "go build -o runledger ./cmd/runledger\n"
	// Variables that a block sets are there in the next.
	const before, after = "set -e\n[ ! -f vars ] || . ./vars\n", "\nfor v in RUN LOGS VKEY; do eval echo \"$v=\\'\\$$v\\'\"; done > vars\n"
	ports := strings.NewReplacer()
	built, verified, ran := false, 0, 0
	says := map[string]string{
		"grep -a":              `execution_status\\":\\"SUCCEEDED`,
		"receipts":             `"proof":"c2sp.org/tlog-proof@v1`,
		"append":               "3 there already",
		"./runledger runs":     "support-bot.answer",
		"run trace":            "execute_tool get_weather|tool get_weather",
		"run replay":           "completed_at",
		"occurred_after":       `"run_id":"a3fd711135e5f5dbe7c930e3033e69a2"`,
		"audit access":         "LOG_VIEW",
		"run governance run-1": "refund-limit",
		"--format pdf":         `written   run.pdf`,
		"mirror --url":         `runledger-[0-9a-f]{8}/[0-9a-f]{12}: \d+ leaves`,
		"--scope compliance":   `written   acme.pdf`,
		"run-1/governance":     `"policy_id":"refunds"`,
		"retention show":       `llm_runs +90 days +archived, removed`,
		"hold place":           `hold-[0-9a-f]{12}, in force`,
	}
	for rest := session; ; {
		_, block, ok := strings.Cut(rest, "\n```sh\n")
		if !ok {
			break
		}
		script, next, ok := strings.Cut(block, "\n```\n")
		if !ok {
			t.Fatal("README.md has a block without end")
		}
		rest = next
		if strings.Contains(script, build) {
			script, built = strings.Replace(script, build, "", 1), true
		}
		if strings.HasPrefix(script, "./runledger serve ") {
			ports = readmeServer(t, dir, script)
			ran++
			continue
		}
		// The verdict is as the README says; what follows it in a block runs, too.
		if strings.Contains(script, ".zip --key") || strings.Contains(script, "erased.json --key") {
			first, others, _ := strings.Cut("\n"+script+"\n", "\n./runledger verify ")
			line, others, _ := strings.Cut(others, "\n")
			script = first + "\nif ./runledger verify " + line + "; then exit 1; else [ $? = 10 ]; fi\n" + others
			verified++
		}
		cmd := exec.Command("sh", "-c", before+ports.Replace(script)+after)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		t.Logf("%s\n%s", script, out)
		ran++
		if err != nil {
			t.Fatal(err)
		}
		for command, want := range says {
			if strings.Contains(script, command) {
				delete(says, command)
				if !regexp.MustCompile(want).Match(out) {
					t.Errorf("no %s in the answer", want)
				}
			}
		}
	}
	if !built || len(says) > 0 || verified != 3 || ran < 12 {
		t.Errorf("the session is not what this test expects: built %v, %d verified, %d blocks, no block with %v", built, verified, ran, says)
	}
}

// readmeServer starts the server of the README on free ports, and returns what
// puts these in place of the README's. The server stops with the test.
func readmeServer(t *testing.T, dir, script string) *strings.Replacer {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exec "+script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RUNLEDGER_LISTEN=127.0.0.1:0", "RUNLEDGER_OTLP_HTTP=127.0.0.1:0", "RUNLEDGER_OTLP_GRPC=127.0.0.1:0")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, log)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var ready struct {
			Msg, Listen string
			OTLPHTTP    string `json:"otlp_http"`
		}
		if err := json.Unmarshal(lines.Bytes(), &ready); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if ready.Msg == "ready" {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return strings.NewReplacer("127.0.0.1:8080", ready.Listen, "127.0.0.1:4318", ready.OTLPHTTP)
		}
	}
	t.Fatal("the server did not start")
	return nil
}

// TestConfigurationDocument holds docs/configuration.md to the settings that
// serve has: each with its flag, its environment variable and its default.
func TestConfigurationDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `--"), "`"); ok && strings.HasPrefix(line, "| `--") {
			rows[name] = line
		}
	}
	for _, command := range parser.Model.Leaves(true) {
		if command.Name != "serve" {
			continue
		}
		for _, group := range command.AllFlags(true) {
			for _, f := range group {
				row, ok := rows[f.Name]
				delete(rows, f.Name)
				switch {
				case f.Name == "help" || f.Name == "json":
				case !ok:
					t.Errorf("--%s is in no row of docs/configuration.md", f.Name)
				case len(f.Envs) > 0 && !strings.Contains(row, "`"+f.Envs[0]+"`"):
					t.Errorf("--%s: no %s in: %s", f.Name, f.Envs[0], row)
				case f.HasDefault && !strings.Contains(row, "`"+f.Default+"`"):
					t.Errorf("--%s: no default %s in: %s", f.Name, f.Default, row)
				}
			}
		}
	}
	for name := range rows {
		t.Errorf("docs/configuration.md has a row of --%s, which serve has not", name)
	}
}

// TestHelp holds every command to a help text that fits a terminal and, where
// the command does something worth it, has an example.
func TestHelp(t *testing.T) {
	for _, words := range [][]string{
		{},
		{"serve"},
		{"demo"},
		{"init"},
		{"tenants"},
		{"tenants", "create"},
		{"tenants", "list"},
		{"append"},
		{"runs"},
		{"run"},
		{"run", "show"},
		{"run", "trace"},
		{"run", "governance"},
		{"run", "replay"},
		{"system"},
		{"system", "list"},
		{"system", "snapshot"},
		{"system", "telemetry"},
		{"system", "events"},
		{"system", "replay"},
		{"system", "audit"},
		{"audit"},
		{"audit", "list"},
		{"audit", "identity"},
		{"audit", "authorization"},
		{"audit", "access"},
		{"audit", "integrity"},
		{"audit", "exports"},
		{"checkpoint"},
		{"prove"},
		{"export"},
		{"verify"},
		{"apikeys"},
		{"apikeys", "create"},
		{"apikeys", "list"},
		{"apikeys", "revoke"},
		{"keys"},
		{"keys", "list"},
		{"keys", "rotate"},
		{"registry"},
		{"registry", "check"},
		{"registry", "observe"},
		{"registry", "apply"},
		{"registry", "project"},
		{"retention"},
		{"retention", "show"},
		{"retention", "set"},
		{"retention", "preview"},
		{"retention", "run"},
		{"hold"},
		{"hold", "place"},
		{"hold", "list"},
		{"hold", "release"},
		{"archive"},
		{"archive", "run"},
		{"archive", "list"},
		{"archive", "verify"},
		{"archive", "show"},
		{"erase"},
		{"clock"},
		{"clock", "confirm"},
		{"version"},
	} {
		t.Run(strings.Join(words, " "), func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(context.Background(), append(words, "--help"), nil, &out, &errs); status != 0 || errs.Len() > 0 {
				t.Fatalf("exit status %d, %s", status, errs.String())
			}
			for _, line := range strings.Split(out.String(), "\n") {
				if len(line) > columns && !strings.HasPrefix(line, "    ") {
					t.Errorf("over %d columns: %s", columns, line)
				}
			}
			group := len(words) == 0 || len(words) == 1 && slices.Contains([]string{"tenants", "keys", "apikeys", "clock", "run", "system", "audit", "registry", "retention", "hold", "archive"}, words[0])
			if !group && words[0] != "version" && !strings.Contains(out.String(), "    runledger "+words[0]) {
				t.Errorf("no example:\n%s", out.String())
			}
		})
	}
}
