package export_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
)

func readAll(r io.Reader) ([]byte, error) { return io.ReadAll(r) }

func untar(r io.Reader, dir string) error {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(h.Name)), t); err != nil {
			return err
		}
	}
}

func writeFile(path string, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// unzip unpacks with archive/zip, which knows nothing of ours.
func unzip(t *testing.T, z []byte, dir string) {
	t.Helper()
	zr, err := zip.NewReader(bytes.NewReader(z), int64(len(z)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range zr.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(f.Name)), r); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadme runs what README.txt of a bundle says, as it stands there: the
// shell commands, and the program that uses golang.org/x/mod/sumdb and nothing
// of this module. Then it alters a byte and runs them again.
func TestReadme(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 600)
	a := newAuthority(t)
	a.stamp(r, "acme")
	r.steps(1, 600, 30)
	checkReadme(t, zipOf(t, r.export(export.Request{})), r.keys, "logs/0/tile/entries/000", a.roots())
}

// TestReadmeOfRun is TestReadme of a run that stands in two logs.
func TestReadmeOfRun(t *testing.T) {
	r := newRig(t)
	a := newAuthority(t)
	r.steps(1, 0, 50)
	a.stamp(r, "acme")
	r.steps(1, 50, 50)
	a.stamp(r, "acme")
	info, err := r.Rollover(context.Background(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	r.steps(1, 100, 20)
	r.append("acme", end("run-1", 1, ""))
	a.stamp(r, "acme")
	r.append(evidence.SystemTenant, happened(1, "15:00:00", "SHARED", `,"visibility":"shared"`))
	keys := []string{info.VKey, r.systemKey(), r.keys[0]}
	checkReadme(t, zipOf(t, r.exportRun(export.Request{Run: "run-1"})), keys, "logs/2/records.jsonl", a.roots())
}

// checkReadme does that for a bundle that has a time stamp in logs/0, with the keys of
// its logs in their order, a file of it that holds leaves, and the file with the roots
// of the authority.
func checkReadme(t *testing.T, z []byte, keys []string, leaves, roots string) {
	dir := t.TempDir()
	unzip(t, z, dir)
	readme, err := os.ReadFile(filepath.Join(dir, "README.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(readme), "\n") {
		if len(line) > 80 && i < 85 {
			t.Errorf("README.txt line %d is over 80 columns: %s", i+1, line)
		}
	}
	text := string(readme)
	sums := block(t, text, "The digests of the files:")
	signature := block(t, text, "first three lines:")
	stamps := block(t, text, "the file that $ROOTS names:")
	_, program, ok := strings.Cut(text, strings.Repeat("-", 78)+"\n")
	if !ok {
		t.Fatal("README.txt has no program")
	}
	// Built here, within this module, so that it needs no network.
	source := filepath.Join(t.TempDir(), "check.go")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	check := filepath.Join(t.TempDir(), "check")
	if out, err := exec.Command("go", "build", "-o", check, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	signature = strings.ReplaceAll(signature, "/tmp/", t.TempDir()+"/")
	shell := func(script string) (string, error) {
		cmd := exec.Command("sh", "-e", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "VKEY="+keys[0], "ROOTS="+roots)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	commands := map[string]string{"sha256sum": sums, "program": check + ` . ` + strings.Join(keys, " ")}
	if _, err := exec.LookPath("openssl"); err == nil {
		commands["openssl"], commands["stamps"] = signature, stamps
	} else if os.Getenv("CI") != "" {
		t.Error("openssl is not installed")
	} else {
		t.Log("SKIPPED LOUDLY: there is no openssl here, so its command of README.txt was not run")
	}
	for name, script := range commands {
		out, err := shell(script)
		t.Logf("%s: %s", name, out)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	half := func(size int) int { return size / 2 }
	for _, tamper := range []struct {
		name, file string
		at         func(size int) int
		by         []string
	}{
		{"leaf", leaves, half, []string{"sha256sum", "program"}},
		{"checkpoint", "logs/0/checkpoint", func(int) int { return 5 }, []string{"sha256sum", "program", "openssl"}},
		{"disclosure", "logs/0/disclosures.jsonl", half, []string{"sha256sum", "program"}},
		{"receipt", "receipt.leaf", half, []string{"program"}},
		{"way", "receipt.consistency", half, []string{"program"}},
		{"stamp", one(t, dir, "logs/0/anchors/*.tsr"), half, []string{"sha256sum", "stamps"}},
		{"stamped checkpoint", one(t, dir, "logs/0/anchors/*.note"), func(int) int { return 5 }, []string{"sha256sum", "stamps", "program"}},
	} {
		path := filepath.Join(dir, filepath.FromSlash(tamper.file))
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[tamper.at(len(bad))] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range tamper.by {
			script, ok := commands[name]
			if !ok {
				continue
			}
			if out, err := shell(script); err == nil {
				t.Errorf("%s altered: %s finds nothing: %s", tamper.name, name, out)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// one returns a file of a directory by a pattern.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s in the bundle: %v", pattern, err)
	}
	name, err := filepath.Rel(dir, list[0])
	if err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(name)
}

// block returns the indented lines that follow a text.
func block(t *testing.T, text, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, after+"\n\n")
	if !ok {
		t.Fatalf("README.txt does not say %q", after)
	}
	code, _, _ := strings.Cut(rest, "\n\n")
	return code
}
