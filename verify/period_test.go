package verify

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

func TestPeriodReport(t *testing.T) {
	b := periodOf(t, KindSystem, nil)
	opts := b.keys()
	opts.Policy = []byte(policies(t)["two.policy"])
	r := b.verify(opts)
	wantCodes(t, r, Verified)
	want := &PeriodReport{Kind: KindSystem, From: periodFrom, Until: periodUntil, Records: 5}
	if diff := cmp.Diff(want, r.Period); diff != "" {
		t.Error(diff)
	}
	if l := r.Logs[0]; l.System || l.Records != 7 || l.FirstAt != (start+3_000_000).String() || l.LastAt != (start+9_000_000).String() {
		t.Errorf("%+v", l)
	}
	if !r.Logs[1].System {
		t.Error("the system's log is not told from the tenant's")
	}
	if text := strings.Join(r.NotProven, "\n"); !strings.Contains(text, "shared in the period") || !strings.Contains(text, "before and after the period") {
		t.Errorf("not proven: %s", text)
	}
	for _, workers := range []int{1, 7} {
		opts.Workers = workers
		if diff := cmp.Diff(r, b.verify(opts), cmp.AllowUnexported(Report{})); diff != "" {
			t.Errorf("%d workers: %s", workers, diff)
		}
	}
	b = periodRollover(t, nil)
	if r = b.verify(b.keys()); r.Period.Records != 2+3 {
		t.Errorf("over two logs: %+v", r.Period)
	}
}

// TestPeriodEdges: where the records of a log of eight leaves, one a second, must
// begin and end.
func TestPeriodEdges(t *testing.T) {
	at := func(ms int) string { return (start + evidence.Micros(ms)*1000).String() }
	tests := []struct {
		name        string
		from, until string
		first, last int64
		gap, open   bool
	}{
		{"between two leaves", at(2500), at(2600), 2, 3, false, false},
		{"from is a leaf's t", at(2000), at(3000), 1, 3, false, false},
		{"the leaf at from is not its neighbour", at(2000), at(3000), 2, 3, true, false},
		{"the last leaf is at until", at(2000), at(7000), 1, 7, false, false},
		{"the last leaf is one before until", at(2000), at(7001), 1, 7, false, true},
		{"begins with the log", at(0), at(1000), 0, 1, false, false},
		{"begins before the log", at(-5000), at(1000), 0, 1, false, false},
		{"ends before the log", at(-5000), at(-4000), 0, 0, false, false},
		{"after the log", at(9000), at(9500), 7, 7, false, true},
		{"after the log, by another leaf", at(9000), at(9500), 6, 6, true, false},
		{"more than its neighbours", at(3500), at(3600), 0, 7, false, false},
	}
	for _, tt := range tests {
		b := periodBundle(t, KindAudit, tt.from, tt.until, []*testLog{smallLog(t)}, seqs(tt.first, tt.last)).seal(nil)
		r := b.verify(b.keys())
		if r.Has(EGap) != tt.gap || r.Has(WOpen) != tt.open || r.Period.Open != tt.open || (r.Verdict == Failed) != tt.gap {
			t.Errorf("%s: %s %v", tt.name, r.Verdict, r.Findings)
		}
	}
}

func TestPeriodScope(t *testing.T) {
	good := Manifest{
		Format: Format, Profile: ProfilePeriod, ExportID: "e", Logs: []ManifestLog{{"logs/0", testOrigin, 1}},
		Scope: Scope{TenantID: "acme", Kind: KindAudit, From: start.String(), Until: (start + 1).String()},
	}
	if _, err := ParseManifest(good.Marshal()); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Scope){
		"no kind":         func(s *Scope) { s.Kind = "" },
		"another kind":    func(s *Scope) { s.Kind = "export" },
		"a run":           func(s *Scope) { s.RunID = "r" },
		"no from":         func(s *Scope) { s.From = "" },
		"no until":        func(s *Scope) { s.Until = "" },
		"not a time":      func(s *Scope) { s.From = "2026-11-23" },
		"an empty period": func(s *Scope) { s.Until = s.From },
		"a negative one":  func(s *Scope) { s.From, s.Until = s.Until, s.From },
	} {
		m := good
		edit(&m.Scope)
		if _, err := ParseManifest(m.Marshal()); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPeriodMakerAltersFile is TestMakerAltersFile for the files of a period.
func TestPeriodMakerAltersFile(t *testing.T) {
	for _, path := range []string{"logs/0/" + recordsName, "logs/0/disclosures.jsonl", "logs/0/withheld.jsonl"} {
		for i := 0; i < len(periodErased(t, 1, 2, 3, 5).files[path]); i += 17 * stride {
			b := periodErased(t, 1, 2, 3, 5)
			if path == "logs/0/withheld.jsonl" && bytes.HasPrefix(b.files[path][i:], []byte("requested")) {
				continue
			}
			b.files[path] = bytes.Clone(b.files[path])
			b.files[path][i] ^= 1
			r := verifyZIP(t, resealed(b).zip(), b.keys())
			if r.Verdict != Failed {
				t.Errorf("%s byte %d: %s %v", path, i, r.Verdict, r.Findings)
			}
		}
	}
}

func TestStamps(t *testing.T) {
	a := newAuthority(t, "Authority")
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
	const minute = 60 * 1_000_000
	for _, tt := range []struct {
		size int64
		at   evidence.Micros
		code Code
		from int64 // of the finding
	}{
		{4, start + 3_000_000, "", 0},
		{4, start + 3_000_000 - 5*minute, "", 0},
		{4, start + 2_000_000 - 5*minute, ETime, 3},
		{4, start + 4_000_000 + 5*minute, "", 0},
		{4, start + 5_000_000 + 5*minute, ETime, 4},
		{8, start + 6_000_000 - 5*minute, ETime, 7},
		{8, start + 20*minute, EReceipt, 0},  // what was recorded after it is the receipt
		{10, start + 20*minute, EReceipt, 0}, // newer than the directory, and before the receipt, too
		{10, start + 2*minute - 5*minute, "", 0},
		{10, start - 6*minute, ETime, 7},
	} {
		for _, sparse := range []bool{false, true} {
			l := smallLog(t)
			b := newBundle(t, l)
			if sparse {
				b = periodBundle(t, KindAudit, (start + 1).String(), (start + 8_000_000).String(), []*testLog{l}, seqs(0, 7))
			}
			if tt.size > 8 {
				l.audit("", "LOGIN", nil)
				l.audit("", "LOGIN", nil)
				note := l.checkpoint(tt.size)
				b.files[anchorPath("logs/0", tt.size, "note")] = note
				b.files[anchorPath("logs/0", tt.size, "tsr")] = a.stamp(note, tt.at)
				b.files[consistencyName{8, tt.size}.path("logs/0")] = l.consistency(8, tt.size, note)
			} else {
				b.anchor(0, tt.size, a, tt.at)
			}
			b.seal(nil)
			opts := b.keys()
			opts.TimeRoots = roots
			r := b.verify(opts)
			what := fmt.Sprintf("size %d, %s, sparse %v: %s %v", tt.size, tt.at, sparse, r.Verdict, r.Findings)
			if tt.code == "" {
				if r.Verdict != VerifiedWithLimits || r.Has(WNoTime) || r.Has(WTimeUnchecked) {
					t.Error(what)
				}
			} else if i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code == tt.code }); i < 0 || r.Findings[i].From != tt.from {
				t.Error(what)
			}
			want := []StampReport{{tt.size, strings.TrimSuffix(tt.at.String(), ".000000Z") + "Z", "CN=Authority,O=Example"}}
			if diff := cmp.Diff(want, r.Logs[0].Timestamps); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
	}
}

func FuzzRoots(f *testing.F) {
	a := newAuthority(f, "Authority")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
	f.Add(cert)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pool, err := parseRoots(b)
		if (pool == nil) != (err != nil) || err != nil && !errors.Is(err, evidence.ErrInvalid) {
			t.Fatalf("%v, %v", pool, err)
		}
	})
}

func TestTimeRoots(t *testing.T) {
	a := newAuthority(t, "Authority")
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	cert := block("CERTIFICATE", a.root.Raw)
	b := newBundle(t, smallLog(t)).seal(nil)
	data := b.zip()
	for name, tt := range map[string]struct {
		roots []byte
		ok    bool
	}{
		"one":                {cert, true},
		"two, with text":     {slices.Concat([]byte("Root of X\n"), cert, []byte("Root of Y\n"), cert), true},
		"empty":              {[]byte{}, false},
		"text":               {[]byte("no certificate"), false},
		"a key":              {block("PRIVATE KEY", a.root.Raw), false},
		"a key after a root": {append(bytes.Clone(cert), block("PRIVATE KEY", []byte("x"))...), false},
		"not a certificate":  {block("CERTIFICATE", []byte("x")), false},
		"cut":                {append(bytes.Clone(cert), cert[:len(cert)-30]...), false},
	} {
		opts := b.keys()
		opts.TimeRoots = tt.roots
		_, err := ZIP(t.Context(), bytes.NewReader(data), int64(len(data)), opts)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
