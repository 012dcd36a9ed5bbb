package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// -update writes bundles of the frozen set that are missing. Those that are
// there are never written again: what was verified once must be for ever.
var update = flag.Bool("update", false, "write missing files of testdata/bundles")

const frozenDir = "../testdata/bundles"

// expectation is an entry of expected.json: what every verifier says of a
// bundle. Files are named relative to that directory.
type expectation struct {
	Name      string   `json:"name"`
	File      string   `json:"file"`
	Keys      []string `json:"keys"`
	Policy    string   `json:"policy,omitempty"`
	Since     string   `json:"since,omitempty"`
	TimeRoots string   `json:"time_roots,omitempty"`
	Verdict   Verdict  `json:"verdict"`
	Codes     []Code   `json:"codes"` // sorted, each once
	// Of a verifier that does not read time stamps, where it differs.
	HTMLVerdict Verdict `json:"html_verdict,omitempty"`
	HTMLCodes   []Code  `json:"html_codes,omitempty"`
	Note        string  `json:"note"`
}

// frozen is one bundle of the set and what is to be said of it.
type frozen struct {
	name, note string
	build      func(*testing.T) made
	verdict    Verdict
	codes      []Code
	html       []Code // nil: the same
}

// made is a bundle and what its auditor has.
type made struct {
	zip    []byte
	keys   []string
	policy string // name of a policy file, or ""
	since  []byte
	roots  bool // the authority's root
}

// made takes a bundle that is ready, with the keys of all its logs.
func (b *bundle) made() made { return made{zip: b.zip(), keys: b.keys().Keys} }

func (m made) with(policy string) made { m.policy = policy; return m }

// policies are the policy files of the set.
func policies(tb testing.TB) map[string]string {
	w1, w2 := witness(tb, witness1).VKey().String(), witness(tb, witness2).VKey().String()
	return map[string]string{
		"one.policy": "witness w1 " + w1 + "\nquorum w1\n",
		"two.policy": "# both of them\nwitness w1 " + w1 + " https://witness.example/1\nwitness w2 " + w2 + "\ngroup both all w1 w2\nquorum both\n",
		"any.policy": "witness w1 " + w1 + "\nwitness w2 " + w2 + "\ngroup some any w1 w2\nquorum some\n",
	}
}

const rootsFile = "time-roots.pem"

// frozenAuthority is the authority of the set: its certificates are files of it.
func frozenAuthority(tb testing.TB) *authority {
	tb.Helper()
	a := newAuthority(tb, "Time Stamping of the Tests")
	for name, cert := range map[string]*[]byte{rootsFile: &a.root.Raw, "time-authority.pem": &a.cert.Raw} {
		if _, err := os.Stat(filepath.Join(frozenDir, name)); errors.Is(err, fs.ErrNotExist) {
			writeFrozen(tb, name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: *cert}))
		}
		block, _ := pem.Decode(readFrozen(tb, name))
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			tb.Fatal(err)
		}
		if name == rootsFile {
			a.root = c
		} else {
			a.cert = c
		}
	}
	return a
}

func readFrozen(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(frozenDir, filepath.FromSlash(name)))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func writeFrozen(tb testing.TB, name string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(frozenDir, name), b, 0o644); err != nil { //nolint:gosec // test data
		tb.Fatal(err)
	}
}

// all is the whole set.
func frozenSet() []frozen {
	return slices.Concat(frozenGood(), frozenBad(), frozenBadLeaves(), frozenAttacks())
}

// expect returns the entry of expected.json.
func (f *frozen) expect(m made) expectation {
	e := expectation{Name: f.name, File: f.name + ".zip", Keys: m.keys, Policy: m.policy, Verdict: f.verdict, Codes: f.codes, Note: f.note}
	if m.since != nil {
		e.Since = f.name + ".checkpoint"
	}
	if m.roots {
		e.TimeRoots = rootsFile
	}
	if e.Codes == nil {
		e.Codes = []Code{}
	}
	if e.Keys == nil {
		e.Keys = []string{}
	}
	slices.Sort(e.Codes)
	if f.html != nil {
		e.HTMLCodes = slices.Sorted(slices.Values(f.html))
		e.HTMLVerdict = VerifiedWithLimits
		if slices.ContainsFunc(f.html, func(c Code) bool { return c[0] == 'E' }) {
			e.HTMLVerdict = Failed
		}
	}
	return e
}

func expected(tb testing.TB) (out []expectation) {
	tb.Helper()
	d := json.NewDecoder(bytes.NewReader(readFrozen(tb, "expected.json")))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		tb.Fatal(err)
	}
	return out
}

// options are those of an auditor with the files of an entry.
func (e *expectation) options(tb testing.TB) Options {
	o := Options{Keys: e.Keys}
	for name, to := range map[string]*[]byte{e.Policy: &o.Policy, e.Since: &o.Since, e.TimeRoots: &o.TimeRoots} {
		if name != "" {
			*to = readFrozen(tb, name)
		}
	}
	return o
}

// TestFrozen: every bundle of the set has the verdict and the codes that are
// written down, as ZIP and, where it is one, as directory.
func TestFrozen(t *testing.T) {
	if *update {
		updateFrozen(t)
	}
	list := expected(t)
	set := frozenSet()
	if len(list) != len(set) {
		t.Errorf("%d entries of %d bundles: go test ./verify -run TestFrozen -update", len(list), len(set))
	}
	for i, e := range list {
		if i < len(set) {
			want := set[i].expect(made{})
			want.Keys, want.Policy, want.Since, want.TimeRoots = e.Keys, e.Policy, e.Since, e.TimeRoots
			if diff := cmp.Diff(want, e); diff != "" {
				t.Errorf("expected.json is not what the test says: %s", diff)
			}
		}
		t.Run(e.Name, func(t *testing.T) {
			r := verifyZIP(t, readFrozen(t, e.File), e.options(t))
			got := codes(r)
			if r.Verdict != e.Verdict || !slices.Equal(got, e.Codes) {
				t.Errorf("%s %v, want %s %v", r.Verdict, r.Findings, e.Verdict, e.Codes)
			}
			if e.HTMLCodes == nil {
				return
			}
			o := e.options(t)
			o.TimeRoots = nil // so it is as the page, which reads no stamps
			r = verifyZIP(t, readFrozen(t, e.File), o)
			if got := codes(r); r.Verdict != e.HTMLVerdict || !slices.Equal(got, e.HTMLCodes) {
				t.Errorf("without roots %s %v, want %s %v", r.Verdict, r.Findings, e.HTMLVerdict, e.HTMLCodes)
			}
		})
	}
}

// updateFrozen writes what is missing, and expected.json.
func updateFrozen(t *testing.T) {
	old := map[string]expectation{}
	if _, err := os.Stat(filepath.Join(frozenDir, "expected.json")); err == nil {
		for _, e := range expected(t) {
			old[e.Name] = e
		}
	}
	for name, text := range policies(t) {
		if _, err := os.Stat(filepath.Join(frozenDir, name)); err != nil {
			writeFrozen(t, name, []byte(text))
		}
	}
	var list []expectation
	for _, f := range frozenSet() {
		if e, ok := old[f.name]; ok {
			if _, err := os.Stat(filepath.Join(frozenDir, e.File)); err == nil {
				now := f.expect(made{})
				now.Keys, now.Policy, now.Since, now.TimeRoots = e.Keys, e.Policy, e.Since, e.TimeRoots
				list = append(list, now)
				continue
			}
		}
		m := f.build(t)
		e := f.expect(m)
		writeFrozen(t, e.File, m.zip)
		if m.since != nil {
			writeFrozen(t, e.Since, m.since)
		}
		list = append(list, e)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(list); err != nil {
		t.Fatal(err)
	}
	writeFrozen(t, "expected.json", b.Bytes())
}

// TestFrozenSet: at least two bundles for every code of checks 1 to 11, one
// for each other, and no file without an entry.
func TestFrozenSet(t *testing.T) {
	count := map[Code]int{}
	files := map[string]bool{"expected.json": true, "README.md": true, rootsFile: true, "time-authority.pem": true}
	for name := range policies(t) {
		files[name] = true
	}
	for _, e := range expected(t) {
		for _, c := range e.Codes {
			count[c]++
		}
		for _, f := range []string{e.File, e.Policy, e.Since, e.TimeRoots} {
			files[f] = true
		}
	}
	for _, c := range []Code{
		EContainer, EFile, ELogSig, ELeaf, EInclusion, EQuorum, ETime, EFork, EGap, ECommit, EUnaccounted, EReceipt,
		UNoKey, UFormat, UProfile, USince, WNoKey, WNoQuorum, WNoTime, WTimeUnchecked, WPredecessor, WOpen,
	} {
		if count[c] < 2 {
			t.Errorf("%d bundles with %s", count[c], c)
		}
	}
	entries, err := os.ReadDir(frozenDir)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, d := range entries {
		if !files[d.Name()] {
			t.Errorf("%s belongs to no entry", d.Name())
		}
		info, err := d.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 2<<20 {
		t.Errorf("the set has %d bytes", total)
	}
	for name, text := range policies(t) {
		if got := string(readFrozen(t, name)); !strings.Contains(got, "quorum") || got != text {
			t.Errorf("%s was changed", name)
		}
	}
}
