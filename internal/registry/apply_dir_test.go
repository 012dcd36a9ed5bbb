package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

// TestApplyDies lets it die before each file that is put in its place. Whatever was
// done, the same call again does the rest.
func TestApplyDies(t *testing.T) {
	whole := newLife(t)
	f := whole.sees(time.Minute, "", nil)
	whole.apply(f)
	want := whole.files()
	for _, n := range []int{0, 3, 5, 6, 11, 17} { // of 15 intents and 3 capabilities: audit has 5 intents and is the sixth
		l := &life{proofLog: whole.proofLog, dir: filepath.Join(t.TempDir(), "registry")}
		copyBuiltin(t, l.dir)
		leaf, err := f.verify([]string{l.key()})
		if err != nil {
			t.Fatal(err)
		}
		d, err := openDir(l.dir)
		if err != nil {
			t.Fatal(err)
		}
		left, died := n, errors.New("died")
		d.rename = func(root *os.Root, name string) error {
			if left--; left < 0 {
				return died
			}
			return unstageFile(root, name)
		}
		if _, err := d.apply(f, leaf, judgedAt); !errors.Is(err, died) {
			t.Fatal(err)
		}
		d.close()
		l.apply(f)
		if diff := cmp.Diff(want, l.files()); diff != "" {
			t.Errorf("after %d files: %s", n, diff)
		}
	}
}

func TestApplyDirectory(t *testing.T) {
	l := newLife(t)
	f := l.sees(time.Minute, "SDSR-LOG-LLM", nil)
	file := filepath.Join(l.dir, "capabilities", capabilityPrefix+llm+".yaml")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what, want string) {
		t.Helper()
		before := l.files()
		if out, err := Apply(l.dir, f, []string{l.key()}, judgedAt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %+v", what, err, out)
		}
		if diff := cmp.Diff(before, l.files()); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(bytes.Replace(good, []byte("\npanels:"), []byte("\npannels:"), 1))
	refused("an unknown key", "pannels")
	write(append(bytes.TrimSuffix(bytes.Replace(good, []byte("observation: null"), nil, 1), []byte("\n")), "\nobservation: {id: x}\n"...))
	refused("half an observation", "observation")

	// Where the file is a link, it is not the file that would be replaced.
	elsewhere := filepath.Join(l.dir, "capabilities", ".elsewhere")
	if err := os.WriteFile(elsewhere, good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(file), os.Symlink(".elsewhere", file)); err != nil {
		t.Fatal(err)
	}
	refused("a link", "symbolic link")
	if err := errors.Join(os.Remove(file), os.Symlink("/etc/hostname", file)); err != nil {
		t.Fatal(err)
	}
	if _, err := Apply(l.dir, f, []string{l.key()}, judgedAt); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(file), os.Remove(elsewhere)); err != nil {
		t.Fatal(err)
	}
	write(good)

	// Nothing can be written beside the last of the files: the intents stay, too.
	blocked := filepath.Join(l.dir, stagedName("capabilities/"+filepath.Base(file)))
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused("not writable", filepath.Base(blocked))
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}

	// One at a time.
	d, err := openDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	refused("locked", "another process")
	d.close()

	if _, err := Apply(filepath.Join(l.dir, "none"), f, []string{l.key()}, judgedAt); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Apply(t.TempDir(), f, []string{l.key()}, judgedAt); !errors.Is(err, evidence.ErrInvalid) {
		t.Error(err)
	}
	// What was never written is written at the end.
	bare, _, _ := bytes.Cut(good, []byte("\nobservation: null"))
	write(bare)
	l.apply(f)
	l.is(llm, Observed, 1, 1)
}

// TestApplyReadOnly is the same as somebody who may not write; root may always.
func TestApplyReadOnly(t *testing.T) {
	l := newLife(t)
	f := l.sees(time.Minute, "SDSR-LOG-LLM", nil)
	dir := filepath.Join(l.dir, "capabilities")
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Chmod(dir, 0o755) }()
	before := l.files()
	_, err := Apply(l.dir, f, []string{l.key()}, judgedAt)
	if os.Geteuid() == 0 {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	if diff := cmp.Diff(before, l.files()); diff != "" {
		t.Error(diff)
	}
}

// TestApplyKeepsBytes: but for what is changed, files stay as they were to the byte.
func TestApplyKeepsBytes(t *testing.T) {
	l := newLife(t)
	file := "capabilities/" + capabilityPrefix + llm + ".yaml"
	before := l.files()
	text := "# on top\n" + strings.Replace(before[file], "history: []\n", "history: [] # the oldest first\n\n# at the end\n", 1)
	path := filepath.Join(l.dir, file)
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o640), os.Chmod(path, 0o640)); err != nil {
		t.Fatal(err)
	}
	l.apply(l.sees(time.Minute, "SDSR-LOG-LLM", nil))
	l.apply(l.sees(time.Minute, "SDSR-LOG-LLM", brokenEnvelope))
	l.apply(l.sees(time.Minute, "SDSR-LOG-LLM", brokenEnvelope))
	after := l.files()
	var changed []string
	for name := range after {
		if after[name] != before[name] {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	want := []string{file}
	for i := 1; i <= 5; i++ {
		want = append(want, fmt.Sprintf("intents/%sLOG-REC-LLM-O%d.yaml", intentPrefix, i))
	}
	if !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	head, _, _ := strings.Cut(text, "observation: null")
	head = strings.Replace(head, "status: DECLARED", "status: DEGRADED", 1)
	if got := after[file]; !strings.HasPrefix(got, head+"observation:\n  id: ") || !strings.Contains(got, "\nhistory: # the oldest first\n  - at: \"") || !strings.HasSuffix(got, "\n\n# at the end\n") {
		t.Errorf("%s", got)
	}
	for _, name := range want[1:] {
		verified := "false"
		if !strings.Contains(name, "O1") {
			verified = "true"
		}
		w := strings.NewReplacer("status: DECLARED", "status: DEGRADED", "verified: false", "verified: "+verified).Replace(before[name])
		if after[name] != w {
			t.Errorf("%s: %s", name, cmp.Diff(w, after[name]))
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}
