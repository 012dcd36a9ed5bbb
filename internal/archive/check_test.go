package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// unitFiles returns the paths of a unit's objects by name.
func unitFiles(t testing.TB, a *Archive, u store.ArchiveUnit) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(a.spec, u.Name))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		out[e.Name()] = filepath.Join(a.spec, u.Name, e.Name())
	}
	return out
}

func mustReadFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustWriteFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// found reports whether a finding is of an object, with one of some codes (none: any).
func found(r *Report, object string, codes ...string) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Object == object && (len(codes) == 0 || slices.Contains(codes, f.Code))
	})
}

// TestFlips changes one byte in each object, at offsets spread over it, and takes each
// object away.
func TestFlips(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 60)
	a := openDir(t, t.TempDir())
	u := mustWrite(t, a, l.unit(0, 60, evidence.Hash{}))
	keys := CheckOptions{Keys: []string{l.log.VKey}}
	for object, path := range unitFiles(t, a, u) {
		good := mustReadFile(t, path)
		step := max(len(good)/4, 1)
		for at := 0; at < len(good); at += step {
			bad := slices.Clone(good)
			bad[min(at, len(bad)-1)] ^= 1 << (at % 8)
			mustWriteFile(t, path, bad)
			r := mustCheck(t, a, keys)
			if !found(r, object) || r.Units[0].OK {
				t.Errorf("%s, byte %d: %v", object, at, r.Findings)
			}
			if at > 0 {
				continue
			}
			if err := a.Verify(t.Context(), u, l.log.VKey); !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), object) {
				t.Errorf("%s, byte %d: %v", object, at, err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if r := mustCheck(t, a, keys); !found(r, object, CodeFile) || r.Units[0].OK {
			t.Errorf("%s is missing: %v", object, r.Findings)
		}
		if err := a.Verify(t.Context(), u, l.log.VKey); !errors.Is(err, evidence.ErrNotFound) || !strings.Contains(err.Error(), object) {
			t.Errorf("%s is missing: %v", object, err)
		}
		mustWriteFile(t, path, good)
	}
	if r := mustCheck(t, a, keys); len(r.Findings) > 0 {
		t.Errorf("restored: %v", r.Findings)
	}
	mustWriteFile(t, filepath.Join(a.spec, u.Name, "notes.txt"), []byte("x"))
	if r := mustCheck(t, a, keys); !found(r, "notes.txt", CodeFile) {
		t.Errorf("another object: %v", r.Findings)
	}
}

// forge puts other files into a unit, with a manifest that fits them: what somebody can do
// who may write to the archive and has no key of the log.
func forge(t testing.TB, a *Archive, u store.ArchiveUnit, change func(m *manifest, files map[string][]byte)) {
	t.Helper()
	m, err := a.readManifest(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for name, path := range unitFiles(t, a, u) {
		files[name] = mustReadFile(t, path)
		_ = os.Remove(path)
	}
	delete(files, manifestName)
	change(m, files)
	m.Files = nil
	for name, b := range files {
		sum := sha256.Sum256(b)
		m.Files = append(m.Files, file{name, hex.EncodeToString(sum[:]), int64(len(b))})
		mustWriteFile(t, filepath.Join(a.spec, u.Name, name), b)
	}
	slices.SortFunc(m.Files, func(a, b file) int { return strings.Compare(a.Path, b.Path) })
	text, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	mustWriteFile(t, filepath.Join(a.spec, u.Name, manifestName), text)
}

// withMore packs a file again with more behind its text.
func withMore(t testing.TB, b, more []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return packed(t, append(text, more...))
}

// TestForged: digests fit, and yet it is not what the log has signed.
func TestForged(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 60)
	other := newOtherLog(t, 60)
	b := openDir(t, t.TempDir())
	bu := mustWrite(t, b, other.unit(0, 60, evidence.Hash{}))
	theirs := map[string][]byte{}
	for name, path := range unitFiles(t, b, bu) {
		theirs[name] = mustReadFile(t, path)
	}
	kind := other.kind(30)
	lines, table := kind+jsonlSuffix, kind+parquetSuffix
	for name, test := range map[string]struct {
		change func(m *manifest, files map[string][]byte)
		object string
		code   string
	}{
		"other lines":   {func(_ *manifest, f map[string][]byte) { f[lines] = theirs[lines] }, lines, CodeColumn},
		"other columns": {func(_ *manifest, f map[string][]byte) { f[table] = theirs[table] }, table, CodeColumn},
		"other leaves":  {func(_ *manifest, f map[string][]byte) { f[logName] = theirs[logName] }, logName, CodeFile},
		"other leaves and their lines": {func(_ *manifest, f map[string][]byte) {
			f[logName], f[lines], f[table] = theirs[logName], theirs[lines], theirs[table]
		}, logName, CodeFile},
		"not a gzip file":        {func(_ *manifest, f map[string][]byte) { f[lines] = []byte("x") }, lines, CodeColumn},
		"not a Parquet file":     {func(_ *manifest, f map[string][]byte) { f[table] = []byte("x") }, table, CodeColumn},
		"not a ZIP file":         {func(_ *manifest, f map[string][]byte) { f[logName] = []byte("x") }, logName, CodeFile},
		"another checkpoint":     {func(_ *manifest, f map[string][]byte) { f[checkpointName] = theirs[checkpointName] }, logName, CodeFile},
		"lines twice":            {func(_ *manifest, f map[string][]byte) { f[lines] = append(f[lines], f[lines]...) }, lines, CodeColumn},
		"a line without its end": {func(_ *manifest, f map[string][]byte) { f[lines] = withMore(t, f[lines], []byte("x")) }, lines, CodeColumn},
		"a line more":            {func(_ *manifest, f map[string][]byte) { f[lines] = withMore(t, f[lines], []byte("{}\n")) }, lines, CodeColumn},
		"another time":           {func(m *manifest, _ map[string][]byte) { m.LastAt++ }, logName, CodeFile},
		"no lines": {func(m *manifest, f map[string][]byte) {
			m.Kinds["llm_run"] = kindCount{m.Kinds["llm_run"].Records + m.Kinds[kind].Records}
			delete(m.Kinds, kind)
			delete(f, lines)
			delete(f, table)
		}, manifestName, CodeFile},
		"another tenant": {func(m *manifest, _ map[string][]byte) { m.TenantID = "other" }, manifestName, CodeFile},
		"another end":    {func(m *manifest, _ map[string][]byte) { m.To-- }, manifestName, CodeFile},
	} {
		a := openDir(t, t.TempDir())
		u := mustWrite(t, a, l.unit(0, 60, evidence.Hash{}))
		forge(t, a, u, test.change)
		r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}})
		if !found(r, test.object, test.code) || r.Units[0].OK {
			t.Errorf("%s: %v", name, r.Findings)
		}
		if err := a.Verify(t.Context(), u, l.log.VKey); !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), manifestName) {
			t.Errorf("%s: what is on record: %v", name, err)
		}
	}
	// A whole other log under the name of this one, signed by its own key.
	a := openDir(t, t.TempDir())
	mustWrite(t, a, other.unit(0, 60, evidence.Hash{}))
	key := newKey(t, testOrigin, 9)
	r := mustCheck(t, a, CheckOptions{Keys: []string{key}})
	if !found(r, checkpointName, CodeLogSig) || r.Units[0].Signed {
		t.Errorf("another key: %v", r.Findings)
	}
}

// TestChain: units follow one another.
func TestChain(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 900)
	keys := CheckOptions{Keys: []string{l.log.VKey}}
	fill := func() (*Archive, []store.ArchiveUnit) {
		a := openDir(t, t.TempDir())
		var units []store.ArchiveUnit
		var prev evidence.Hash
		for from := int64(0); from < 900; from += 300 {
			u := mustWrite(t, a, l.unit(from, from+300, prev))
			units, prev = append(units, u), u.Manifest
		}
		return a, units
	}
	a, units := fill()
	if err := os.RemoveAll(filepath.Join(a.spec, units[1].Name)); err != nil {
		t.Fatal(err)
	}
	if r := mustCheck(t, a, keys); len(r.Findings) != 1 || r.Findings[0].Code != CodeGap || r.Findings[0].Unit != units[2].Name {
		t.Errorf("the middle is missing: %v", r.Findings)
	}
	o := keys
	o.Name = units[2].Name
	if r := mustCheck(t, a, o); len(r.Findings) > 0 || r.Records != 300 {
		t.Errorf("one alone: %v", r.Findings)
	}
	o.Name = units[1].Name
	if _, err := a.Check(t.Context(), o); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("one that is missing: %v", err)
	}
	a, units = fill()
	if err := os.RemoveAll(filepath.Join(a.spec, units[0].Name)); err != nil {
		t.Fatal(err)
	}
	if r := mustCheck(t, a, keys); len(r.Findings) != 1 || r.Findings[0].Code != CodeGap || r.Findings[0].Unit != units[1].Name {
		t.Errorf("the first is missing: %v", r.Findings)
	}
	a, units = fill()
	forge(t, a, units[0], func(m *manifest, _ map[string][]byte) { m.At++ })
	if r := mustCheck(t, a, keys); len(r.Findings) != 1 || r.Findings[0].Code != CodeGap || r.Findings[0].Unit != units[1].Name {
		t.Errorf("the first was written anew: %v", r.Findings)
	}
	if _, err := openDir(t, t.TempDir()).Check(t.Context(), keys); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("an empty archive: %v", err)
	}
	if _, err := a.Check(t.Context(), CheckOptions{Keys: []string{"x"}}); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("a bad key: %v", err)
	}
	for _, name := range []string{"../../etc", "acme", "acme/1-0123456789ab/000000000000-000000000300/", "/"} {
		if _, err := a.Check(t.Context(), CheckOptions{Name: name}); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
		if err := a.Leaves(t.Context(), store.ArchiveUnit{Name: name, To: 1}, 0, 1, nil); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("leaves of %q: %v", name, err)
		}
	}
}
