package verifypage

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/verify"
)

// frozen is a bundle of testdata/bundles and what any verifier must say of it.
type frozen struct {
	Name        string          `json:"name"`
	File        string          `json:"file"`
	Keys        []string        `json:"keys"`
	Policy      string          `json:"policy"`
	Since       string          `json:"since"`
	Verdict     verify.Verdict  `json:"verdict"`
	Codes       []string        `json:"codes"`
	HTMLVerdict *verify.Verdict `json:"html_verdict"` // of the page, where it differs
	HTMLCodes   *[]string       `json:"html_codes"`

	bundle, policy, since []byte
}

func (f *frozen) question() question { return ask(f.bundle, f.policy, f.since, f.Keys) }

// want is what the page must say.
func (f *frozen) want() reply {
	r := reply{Verdict: string(f.Verdict), Codes: f.Codes}
	if f.HTMLVerdict != nil {
		r.Verdict = string(*f.HTMLVerdict)
	}
	if f.HTMLCodes != nil {
		r.Codes = *f.HTMLCodes
	}
	r.Codes = slices.Sorted(slices.Values(r.Codes))
	return r
}

func frozenSet(tb testing.TB) []*frozen {
	tb.Helper()
	dir := filepath.Join("..", "..", "testdata", "bundles")
	read := func(name string) []byte {
		if name == "" {
			return nil
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	var set []*frozen
	if err := json.Unmarshal(read("expected.json"), &set); err != nil {
		tb.Fatal(err)
	}
	for _, f := range set {
		f.bundle, f.policy, f.since = read(f.File), read(f.Policy), read(f.Since)
	}
	if len(set) < 50 {
		tb.Fatalf("only %d frozen bundles", len(set))
	}
	return set
}

// TestFrozen: the page says of every frozen bundle what the package and the command
// say, but for time stamps.
func TestFrozen(t *testing.T) {
	page := openTab(t)
	set := frozenSet(t)
	var questions []question
	for _, f := range set {
		questions = append(questions, f.question())
	}
	for i, got := range page.verify(t, questions) {
		if want := set[i].want(); got.String() != want.String() {
			t.Errorf("%s: the page says %v, want %v\n%s", set[i].Name, got, want, got.Say)
		}
	}
}

// TestNotProven: the page names what is not proven in the words of the package, of the
// views those alone that the bundle has.
func TestNotProven(t *testing.T) {
	page := openTab(t)
	var questions []question
	var want [][]string
	for _, f := range frozenSet(t) {
		if !slices.Contains([]string{"log", "log-rollover", "run", "period-system"}, f.Name) {
			continue
		}
		for _, views := range [][]string{nil, {"completeness.json"}, {"completeness.json", "report.html", "report.pdf"}} {
			a := openArchive(t, f.bundle)
			a.put(t, views...)
			bundle := a.zip(t)
			opts := verify.Options{Keys: f.Keys, Policy: f.policy, Since: f.since, Workers: 1}
			rep, err := verify.ZIP(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), opts)
			if err != nil || rep.Verdict == verify.CouldNotCheck || len(rep.NotProven) < 2 {
				t.Fatal(f.Name, rep, err)
			}
			for _, view := range []string{"completeness.json", "report.html", "report.pdf"} {
				if slices.Contains(views, view) != strings.Contains(strings.Join(rep.NotProven, "\n"), view) {
					t.Errorf("%s with %v: %q", f.Name, views, rep.NotProven)
				}
			}
			questions = append(questions, ask(bundle, f.policy, f.since, f.Keys))
			want = append(want, rep.NotProven)
		}
	}
	if len(want) != 12 {
		t.Fatalf("%d bundles", len(want))
	}
	for i, got := range page.verify(t, questions) {
		if !slices.Equal(got.NotProven, want[i]) {
			t.Errorf("the page says\n%q, want\n%q", got.NotProven, want[i])
		}
	}
}

// put adds files that are not there.
func (a *archive) put(tb testing.TB, names ...string) {
	tb.Helper()
	m, err := verify.ParseManifest(a.files["manifest.json"])
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range names {
		if a.files[name] == nil {
			a.files[name] = []byte("{}\n")
			m.Files = append(m.Files, verify.ManifestFile{Path: name, SHA256: strings.Repeat("0", 64)}) // see mend
		}
	}
	slices.SortFunc(m.Files, func(x, y verify.ManifestFile) int { return strings.Compare(x.Path, y.Path) })
	order := []string{"manifest.json"}
	for _, f := range m.Files {
		order = append(order, f.Path)
	}
	for _, name := range a.names {
		if strings.HasPrefix(name, "receipt.") {
			order = append(order, name)
		}
	}
	a.names, a.files["manifest.json"] = order, m.Marshal()
	a.mend(tb)
}

// TestOneStamp: one is not spoken of as many.
func TestOneStamp(t *testing.T) {
	page := openTab(t)
	for _, f := range frozenSet(t) {
		want := map[string]string{"log-stamped-only": "1 RFC 3161 time stamp was not", "log-stamped-no-roots": "2 RFC 3161 time stamps were not"}[f.Name]
		if want == "" {
			continue
		}
		if got := page.verify(t, []question{f.question()})[0]; !strings.Contains(got.Say, want) {
			t.Errorf("%s: %s", f.Name, got.Say)
		}
		rep, err := verify.ZIP(t.Context(), bytes.NewReader(f.bundle), int64(len(f.bundle)), verify.Options{Keys: f.Keys, Policy: f.policy})
		if err != nil || !slices.ContainsFunc(rep.Findings, func(x verify.Finding) bool { return strings.HasPrefix(x.Message, want) }) {
			t.Errorf("%s: %v %v", f.Name, rep, err)
		}
	}
}

// withGo is what package verify says of a bundle, in the terms of the page: it is
// given no roots of time-stamping authorities.
func withGo(tb testing.TB, bundle []byte, f *frozen) reply {
	tb.Helper()
	opts := verify.Options{Keys: f.Keys, Policy: f.policy, Since: f.since, Workers: 1}
	rep, err := verify.ZIP(tb.Context(), bytes.NewReader(bundle), int64(len(bundle)), opts)
	if err != nil {
		tb.Fatal(errors.Join(errors.New(f.Name), err))
	}
	r := reply{Verdict: string(rep.Verdict), Codes: []string{}}
	for _, f := range rep.Findings {
		r.Codes = append(r.Codes, string(f.Code))
	}
	slices.Sort(r.Codes)
	r.Codes = slices.Compact(r.Codes)
	return r
}
