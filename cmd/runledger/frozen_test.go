package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/verify"
)

const frozenDir = "../../testdata/bundles"

// frozenBundle is an entry of testdata/bundles/expected.json.
type frozenBundle struct {
	Name      string         `json:"name"`
	File      string         `json:"file"`
	Keys      []string       `json:"keys"`
	Policy    string         `json:"policy"`
	Since     string         `json:"since"`
	TimeRoots string         `json:"time_roots"`
	Verdict   verify.Verdict `json:"verdict"`
	Codes     []verify.Code  `json:"codes"`
}

// args is the command line of an auditor.
func (f *frozenBundle) args() []string {
	args := []string{"verify", filepath.Join(frozenDir, f.File)}
	for _, key := range f.Keys {
		args = append(args, "--key", key)
	}
	for flag, name := range map[string]string{"--policy": f.Policy, "--since": f.Since, "--time-roots": f.TimeRoots} {
		if name != "" {
			args = append(args, flag, filepath.Join(frozenDir, name))
		}
	}
	return args
}

func frozenBundles(t *testing.T) (list []frozenBundle) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(frozenDir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 100 {
		t.Fatalf("only %d bundles", len(list))
	}
	return list
}

var exitOf = map[verify.Verdict]int{verify.Verified: 0, verify.Failed: 1, verify.CouldNotCheck: 4, verify.VerifiedWithLimits: 10}

// TestFrozenBundles: the command says of every bundle of the frozen set what is
// written down, to people and to machines.
func TestFrozenBundles(t *testing.T) {
	for _, f := range frozenBundles(t) {
		t.Run(f.Name, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := run(t.Context(), append(f.args(), "--json"), strings.NewReader(""), &out, &errs)
			var rep verify.Report
			if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
				t.Fatalf("%v: %s%s", err, &out, &errs)
			}
			codes := []verify.Code{}
			for _, g := range rep.Findings {
				codes = append(codes, g.Code)
			}
			slices.Sort(codes)
			if codes = slices.Compact(codes); rep.Verdict != f.Verdict || !slices.Equal(codes, f.Codes) || status != exitOf[f.Verdict] {
				t.Errorf("%s %v, exit status %d; want %s %v", rep.Verdict, rep.Findings, status, f.Verdict, f.Codes)
			}
			out.Reset()
			status = run(t.Context(), f.args(), strings.NewReader(""), &out, &errs)
			text := out.String()
			if first, _, _ := strings.Cut(text, "  "); first != string(f.Verdict) || status != exitOf[f.Verdict] {
				t.Errorf("exit status %d, text %s", status, text)
			}
			for _, c := range f.Codes {
				if !strings.Contains(text, "  "+string(c)) {
					t.Errorf("%s is not in the text: %s", c, text)
				}
			}
			for line := range strings.Lines(text) {
				// Keys, roots and names of files cannot be broken.
				if len([]rune(line)) > columns+1 && strings.Contains(strings.TrimSpace(line), " ") && !strings.Contains(line, "root") && !strings.Contains(line, "bundles") {
					t.Errorf("long line: %q", line)
				}
			}
		})
	}
}

// TestFrozenProcess: the exit status of the binary itself, one of each verdict.
func TestFrozenProcess(t *testing.T) {
	seen := map[verify.Verdict]bool{}
	for _, f := range frozenBundles(t) {
		if seen[f.Verdict] {
			continue
		}
		seen[f.Verdict] = true
		out, err := exec.Command("runledger", f.args()...).Output()
		status := 0
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			status = ee.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if status != exitOf[f.Verdict] || !strings.HasPrefix(string(out), string(f.Verdict)+" ") {
			t.Errorf("%s: exit status %d, %s", f.Name, status, out)
		}
	}
	if len(seen) != len(exitOf) {
		t.Errorf("only %d verdicts", len(seen))
	}
}
