package verify

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"pgregory.net/rapid"
)

func TestDisclosureLine(t *testing.T) {
	d := Disclosure{Seq: 7, Path: "/prompt", Value: []byte("\"a \\\"quoted\\\" \\u0001\u2028é\"\n\t")}
	const want = `{"path":"/prompt","salt":"AAAAAAAAAAAAAAAAAAAAAA","seq":7,"value":"\"a \\\"quoted\\\" \\u0001` + "\u2028é" + `\"\n\t"}` + "\n"
	line := d.Append(nil)
	if string(line) != want {
		t.Fatalf("got  %s\nwant %s", line, want)
	}
	line = line[:len(line)-1]
	got, err := ParseDisclosure(line)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&d, got); diff != "" {
		t.Error(diff)
	}
	for _, edit := range [][2]string{
		{`{"path"`, ` {"path"`},
		{`"seq":7`, `"seq":07`},
		{`"seq":7`, `"seq":-7`},
		{`"seq":7`, `"seq":7.0`},
		{`"seq":7`, `"seq":9007199254740992`},
		{`AAAA"`, `AAAB"`},
		{`AAAA"`, `AAAA=="`},
		{`AAAA"`, `AAA"`},
		{`/prompt`, `/nothing`},
		{`/prompt`, `/pr\u006fmpt`},
		{`\"\n\t"`, `\"\n\t\u000a"`},
		{`\"\n\t"`, `\"\n\t\u0061"`},
		{`\"\n\t"`, `\"\n\t\/"`},
		{`\"\n\t"`, `x\"\n\t`},
		{`}`, `} `},
		{`}`, `,"x":1}`},
		{"é", "\xff"},
		{`"value":"\"a`, `"value":"a`},
		{`\n\t`, "\n\t"},
		{`\n\t`, `\u001F`},
	} {
		bad := strings.Replace(string(line), edit[0], edit[1], 1)
		if bad == string(line) {
			t.Fatalf("%q is not in the line", edit[0])
		}
		if d, err := ParseDisclosure([]byte(bad)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v, %v", bad, d, err)
		}
	}
}

func TestWithheldLine(t *testing.T) {
	for _, r := range reasons {
		w := Withheld{0, "/actor", r}
		line := w.Append(nil)
		got, err := ParseWithheld(line[:len(line)-1])
		if err != nil || *got != w {
			t.Errorf("%s: %v, %v", line, got, err)
		}
	}
	for _, bad := range []string{
		"", "{}", `{"path":"/actor","reason":"lost","seq":0}`, `{"path":"/x","reason":"erased","seq":0}`,
		`{"path":"/actor","reason":"erased","seq":0} `, `{"reason":"erased","path":"/actor","seq":0}`, `{"path":"/actor","reason":"erased","seq":}`,
	} {
		if w, err := ParseWithheld([]byte(bad)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v, %v", bad, w, err)
		}
	}
}

func TestManifest(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	good := Manifest{
		Format: 1, Profile: ProfileRun, ExportID: "e-1", Scope: Scope{TenantID: "acme", RunID: "run \"1\" é"},
		Logs: []ManifestLog{{"logs/0", testOrigin, 3}}, Files: []ManifestFile{{"README.txt", 1, hash}, {"policy", 0, hash}},
	}
	const want = `{"export_id":"e-1","files":[{"path":"README.txt","sha256":"H","size":1},{"path":"policy","sha256":"H","size":0}],"format":1,` +
		`"logs":[{"dir":"logs/0","origin":"log.example/0123456789ab","size":3}],"profile":"run","scope":{"run_id":"run \"1\" é","tenant_id":"acme"}}`
	if got := string(good.Marshal()); got != strings.ReplaceAll(want, "H", hash) {
		t.Errorf("got %s", got)
	}
	for text, says := range map[string]string{
		"{\"format\":1,x": "manifest.json: it is no JSON from byte 13 on", `{"format":[]}`: "its member format cannot be a JSON array", `[]`: "manifest.json: it is no object but a JSON array",
	} {
		if _, err := ParseManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "invalid character") || strings.Contains(err.Error(), "Go ") {
			t.Errorf("%s: %v", text, err)
		}
	}
	got, err := ParseManifest(good.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&good, got); diff != "" {
		t.Error(diff)
	}
	for name, edit := range map[string]func(*Manifest){
		"export id":     func(m *Manifest) { m.ExportID = "" },
		"tenant":        func(m *Manifest) { m.Scope.TenantID = "Acme" },
		"kind":          func(m *Manifest) { m.Scope.Kind = "step" },
		"from":          func(m *Manifest) { m.Scope.From = "2026-01-01T00:00:00Z" },
		"no logs":       func(m *Manifest) { m.Logs = nil },
		"dir":           func(m *Manifest) { m.Logs[0].Dir = "logs/1" },
		"origin":        func(m *Manifest) { m.Logs[0].Origin = "log.example" },
		"size 0":        func(m *Manifest) { m.Logs[0].Size = 0 },
		"origin twice":  func(m *Manifest) { m.Logs = append(m.Logs, ManifestLog{"logs/1", testOrigin, 3}) },
		"file order":    func(m *Manifest) { m.Files[0], m.Files[1] = m.Files[1], m.Files[0] },
		"file twice":    func(m *Manifest) { m.Files[1] = m.Files[0] },
		"negative size": func(m *Manifest) { m.Files[0].Size = -1 },
		"digest":        func(m *Manifest) { m.Files[0].SHA256 = strings.ToUpper(hash) },
	} {
		m, err := ParseManifest(good.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		edit(m)
		if _, err := ParseManifest(m.Marshal()); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUncovered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reason := rapid.SampledFrom([]Reason{Erased, Expired})
		seq := rapid.Int64Range(0, 30)
		kind := rapid.SampledFrom([]evidence.Kind{0, evidence.KindTraceStep, evidence.KindTraceEvent})
		covers := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) cover {
			return cover{
				"a", rapid.IntRange(0, 2).Draw(t, "by"), seq.Draw(t, "from"), seq.Draw(t, "to"), rapid.IntRange(-1, 2).Draw(t, "path"), kind.Draw(t, "kind"), rapid.Bool().Draw(t, "made"),
				evidence.Micros(rapid.SampledFrom([]int64{int64(noTime), int64(noTime), 0, 1, 5, 10}).Draw(t, "before")), reason.Draw(t, "reason"),
			}
		}), 0, 10).Draw(t, "covers")
		claims := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) claim {
			seq := seq.Draw(t, "seq")
			return claim{
				seq, evidence.Micros(1 + seq/3), uint8(rapid.IntRange(0, 2).Draw(t, "path")), rapid.SampledFrom([]evidence.Kind{evidence.KindTraceStep, evidence.KindTrace}).Draw(t, "kind"),
				rapid.Bool().Draw(t, "made"), uint8(slices.Index(reasons, reason.Draw(t, "reason"))),
			}
		}), 0, 20).Draw(t, "claims")
		slices.SortFunc(claims, func(a, b claim) int { return int(a.seq - b.seq) })
		var want []claim
		for _, c := range claims {
			ok := false
			for _, v := range covers {
				ok = ok || v.by <= 1 && v.from <= c.seq && c.seq < v.to && (v.path < 0 || v.path == int(c.path)) &&
					(v.kind == 0 || v.kind == c.kind) && (!v.made || c.made) && v.reason == reasons[c.reason] && c.at < v.before
			}
			if !ok {
				want = append(want, c)
			}
		}
		if diff := cmp.Diff(want, uncovered("a", 1, claims, covers), cmp.AllowUnexported(claim{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestRepeated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 5), rapid.Map(rapid.Uint64Range(0, 5), func(v uint64) uint64 { return ^v }))).Draw(t, "list")
		seen, want := map[uint64]int{}, map[uint64]bool{}
		for _, v := range list {
			if seen[v]++; seen[v] == 2 {
				want[v] = true
			}
		}
		got := repeated(list, 3)
		for i, v := range got {
			if !want[v] || i > 0 && got[i-1] >= v {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestPolicy(t *testing.T) {
	var keys []string
	for _, name := range []string{"x1", "x2", "x3", "y1"} {
		keys = append(keys, witness(t, "witness.example/"+name).VKey().String())
	}
	log := newLog(t, testOrigin).key()
	text := "# a comment\n\nlog " + log + " https://log.example/\n" +
		"witness X1 " + keys[0] + "\n\twitness  X2\t" + keys[1] + " https://w.example\nwitness X3 " + keys[2] + "\nwitness Y1 " + keys[3] + "\n" +
		"group X 2 X1 X2 X3\ngroup XY all X Y1\nquorum XY\n"
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Logs) != 1 || p.Logs[0].URL == "" || len(p.Witnesses) != 4 || p.Witnesses[1].Name != "X2" || p.Witnesses[1].URL == "" {
		t.Errorf("%+v", p)
	}
	for _, tt := range []struct {
		by  string
		met bool
	}{{"", false}, {"013", true}, {"03", false}, {"012", false}, {"0123", true}} {
		by := map[c2sp.VKey]bool{}
		for _, i := range tt.by {
			by[p.Witnesses[i-'0'].vkey] = true
		}
		if p.met(by) != tt.met {
			t.Errorf("cosigned by %q: met is %v", tt.by, p.met(by))
		}
	}
	for name, bad := range map[string]string{
		"empty":             "",
		"no quorum":         "witness X1 " + keys[0] + "\n",
		"two quorums":       "quorum none\nquorum none\n",
		"unknown line":      "quorum none\nfoo\n",
		"no newline":        "quorum none",
		"carriage return":   "quorum none\r\n",
		"undefined":         "quorum X\n",
		"defined later":     "quorum X1\nwitness X1 " + keys[0] + "\n",
		"name twice":        "witness X1 " + keys[0] + "\nwitness X1 " + keys[1] + "\nquorum none\n",
		"key twice":         "witness X1 " + keys[0] + "\nwitness X2 " + keys[0] + "\nquorum none\n",
		"log twice":         "log " + log + "\nlog " + log + "\nquorum none\n",
		"witness none":      "witness none " + keys[0] + "\nquorum none\n",
		"log key a witness": "log " + keys[0] + "\nquorum none\n",
		"witness key a log": "witness X1 " + log + "\nquorum none\n",
		"member twice":      "witness X1 " + keys[0] + "\ngroup G any X1 X1\nquorum none\n",
		"in two groups":     "witness X1 " + keys[0] + "\ngroup G any X1\ngroup H any X1\nquorum none\n",
		"member none":       "group G any none\nquorum none\n",
		"no members":        "group G any\nquorum none\n",
		"threshold 0":       "witness X1 " + keys[0] + "\ngroup G 0 X1\nquorum none\n",
		"threshold 2 of 1":  "witness X1 " + keys[0] + "\ngroup G 2 X1\nquorum none\n",
		"threshold 01":      "witness X1 " + keys[0] + "\ngroup G 01 X1\nquorum none\n",
		"threshold +1":      "witness X1 " + keys[0] + "\ngroup G +1 X1\nquorum none\n",
		"itself":            "group G any G\nquorum none\n",
		"arguments":         "quorum none none\n",
		"witness args":      "witness X1\nquorum none\n",
	} {
		if _, err := ParsePolicy([]byte(bad)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	w := witness(f, "witness.example/w1").VKey().String()
	f.Add([]byte("log " + newLog(f, testOrigin).key() + "\nwitness w " + w + "\ngroup g any w\nquorum g\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePolicy(b)
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Fatalf("%v does not wrap ErrInvalid", err)
			}
			return
		}
		all := map[c2sp.VKey]bool{}
		if p.quorum != nil && p.met(all) {
			t.Fatal("a quorum of nobody")
		}
		for _, w := range p.Witnesses {
			all[w.vkey] = true
		}
		if !p.met(all) {
			t.Fatal("all witnesses are no quorum")
		}
	})
}

func FuzzDisclosure(f *testing.F) {
	d := Disclosure{Seq: 7, Path: "/prompt", Value: []byte("\"a\\u0001\"\n")}
	f.Add(bytes.TrimSuffix(d.Append(nil), []byte("\n")))
	f.Fuzz(func(t *testing.T, line []byte) {
		if d, err := ParseDisclosure(line); err == nil && !bytes.Equal(d.Append(nil), append(line, '\n')) {
			t.Fatalf("%q written again is %q", line, d.Append(nil))
		}
	})
}

func FuzzWithheld(f *testing.F) {
	f.Add([]byte(`{"path":"/actor","reason":"erased","seq":0}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if w, err := ParseWithheld(line); err == nil && !bytes.Equal(w.Append(nil), append(line, '\n')) {
			t.Fatalf("%q written again is %q", line, w.Append(nil))
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(newBundle(f, smallLog(f)).seal(nil).raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseManifest(b); err == nil && !bytes.Equal(m.Marshal(), b) {
			t.Fatalf("%q written again is %q", b, m.Marshal())
		}
	})
}

func FuzzTargets(f *testing.F) {
	f.Add([]byte(`{"ranges":[{"from":2,"to":3,"paths":["/prompt"]},{"from":0,"to":9}]}`), int64(5))
	f.Fuzz(func(t *testing.T, b []byte, seq int64) {
		covers, err := parseTargets(b, "a", seq, cover{reason: Erased})
		if err == nil && len(uncovered("a", 0, []claim{{seq: seq, kind: evidence.KindTrace, reason: uint8(slices.Index(reasons, Erased))}}, covers)) == 0 {
			t.Fatalf("%s covers its own record %d", b, seq)
		}
	})
}
