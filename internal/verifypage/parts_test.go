package verifypage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/verify"
)

// part is one reader of a format, in Go: the page's of the same name must take and
// refuse the same bytes.
type part struct {
	name  string // in runledgerVerify.parts
	seeds [][]byte
	read  func(b []byte) error
}

// parts are all readers, with samples from the frozen bundles.
func parts(t *testing.T) []part {
	t.Helper()
	samples := map[string][][]byte{}
	add := func(name string, b []byte) {
		if len(samples[name]) < 200 {
			samples[name] = append(samples[name], bytes.Clone(b))
		}
	}
	for _, f := range frozenSet(t) {
		for _, k := range f.Keys {
			add("parseKey", []byte(k))
		}
		if f.policy != nil {
			add("parsePolicy", f.policy)
		}
		if f.Verdict != verify.Verified && f.Verdict != verify.VerifiedWithLimits {
			continue
		}
		sample(t, f.bundle, add)
	}
	for _, s := range []string{
		`{"ranges":[{"from":2,"to":3,"paths":["/prompt"]}]}`, `{"log":"log.example/0123456789ab","ranges":[{"from":0,"to":5}]}`, `null`, `{}`,
		`{"ranges":null,"log":null}`, `{"ranges":[null]}`, `{"ranges":[{"from":-0,"to":1,"paths":null}]}`, `{"ranges":[{"from":1.0,"to":2}]}`,
		`{"ranges":[{"from":1,"to":9007199254740991}]}`, `{"ranges":[{"from":1,"to":9007199254740992}]}`, `{"Ranges":[]}`, `[]`, `{"ranges":[{"to":2,"to":3}]}`,
		`{"ranges":[{"from":0,"to":1,"paths":["prompt"]}]}`, `{"ranges":[{"from":0,"to":1,"paths":["/none"]}]}`, `{"ranges":[{"from":0,"to":1,"paths":[null]}]}`,
	} {
		add("parseTargets", []byte(s))
	}
	for _, s := range []string{
		`"\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`, `{"a":1,"\u0061":2}`, `[1E400,-0.0]`, ` [1 , {"a" :"é"}] `, `[01]`, `["\x"]`, `tru`, `1 2`, ``, `-`, `"` + "\x01" + `"`,
		deep(128), deep(129), "[" + deep(127) + "," + deep(127) + "]", `{"a":{"b":1,"c":{"b":1}}}`, "\ufeff1", "[1,]", `{"a"}`, `{"a":1,}`, `"\/\b\f"`, "1\n", "nul", `"\u12g4"`,
	} {
		add("checkJSON", []byte(s))
	}
	fail := func(_ any, err error) error { return err }
	return []part{
		{"parseLeaf", samples["parseLeaf"], func(b []byte) error { return fail(evidence.ParseLeaf(b)) }},
		{"parseKey", samples["parseKey"], func(b []byte) error { return fail(c2sp.ParseVKey(string(b))) }},
		{"parseNote", samples["parseNote"], func(b []byte) error { _, _, err := c2sp.ParseNote(b); return err }},
		{"parsePolicy", samples["parsePolicy"], func(b []byte) error { return fail(verify.ParsePolicy(b)) }},
		{"parseManifest", samples["parseManifest"], func(b []byte) error { return fail(verify.ParseManifest(b)) }},
		{"parseDisclosure", samples["parseDisclosure"], func(b []byte) error { return fail(verify.ParseDisclosure(b)) }},
		{"parseWithheld", samples["parseWithheld"], func(b []byte) error { return fail(verify.ParseWithheld(b)) }},
		{"parseRecord", samples["parseRecord"], func(b []byte) error { return fail(verify.ParseRecord(b)) }},
		{"parseProof", samples["parseProof"], func(b []byte) error { return fail(c2sp.ParseProof(b)) }},
		{"parseConsistency", samples["parseConsistency"], func(b []byte) error { return fail(c2sp.ParseConsistency(b)) }},
		{"checkJSON", samples["checkJSON"], evidence.CheckJSON},
		{"parseTargets", samples["parseTargets"], readTargets},
	}
}

// readTargets also wants paths that some kind of record has, as the checks do.
func readTargets(b []byte) error {
	t, err := evidence.ParseTargets(b)
	if err != nil {
		return err
	}
	for _, r := range t.Ranges {
		for _, p := range r.Paths {
			line := (&verify.Withheld{Path: p, Reason: verify.Erased}).Append(nil)
			if _, err := verify.ParseWithheld(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
				return err
			}
		}
	}
	return nil
}

func deep(n int) string {
	return string(bytes.Repeat([]byte("["), n)) + string(bytes.Repeat([]byte("]"), n))
}

// sample takes texts of each format out of a bundle.
func sample(t *testing.T, bundle []byte, add func(name string, b []byte)) {
	t.Helper()
	a := openArchive(t, bundle)
	lines := func(path, name string) {
		for line := range bytes.Lines(a.files[path]) {
			add(name, bytes.TrimSuffix(line, []byte("\n")))
		}
	}
	m, err := verify.ParseManifest(a.files["manifest.json"])
	if err != nil {
		t.Fatal(err)
	}
	add("parseManifest", a.files["manifest.json"])
	add("parseLeaf", a.files["receipt.leaf"])
	add("parseProof", a.files["receipt.tlog-proof"])
	add("parseConsistency", a.files["receipt.consistency"])
	for _, l := range m.Logs {
		add("parseNote", a.files[l.Dir+"/checkpoint"])
		lines(l.Dir+"/disclosures.jsonl", "parseDisclosure")
		lines(l.Dir+"/withheld.jsonl", "parseWithheld")
		lines(l.Dir+"/records.jsonl", "parseRecord")
		for line := range bytes.Lines(a.files[l.Dir+"/disclosures.jsonl"]) {
			if d, err := verify.ParseDisclosure(bytes.TrimSuffix(line, []byte("\n"))); err == nil {
				add("checkJSON", d.Value)
			}
		}
		for line := range bytes.Lines(a.files[l.Dir+"/records.jsonl"]) {
			if r, err := verify.ParseRecord(bytes.TrimSuffix(line, []byte("\n"))); err == nil {
				add("parseLeaf", r.Leaf)
			}
		}
	}
}

// TestParts: every reader of the page takes and refuses the same bytes as that of the
// package, samples and many changes of them.
func TestParts(t *testing.T) {
	page := openTab(t)
	m := mutator{rand.New(rand.NewPCG(*seed, 5))}
	type asked struct {
		Part string `json:"part"`
		Text string `json:"text"` // base64
	}
	var questions []asked
	var texts [][]byte
	var wants []bool
	put := func(p part, b []byte) {
		questions = append(questions, asked{p.name, base64.StdEncoding.EncodeToString(b)})
		texts, wants = append(texts, b), append(wants, p.read(b) == nil)
	}
	for _, p := range parts(t) {
		if len(p.seeds) == 0 {
			t.Fatalf("no samples for %s", p.name)
		}
		for _, b := range p.seeds {
			put(p, b)
		}
		for range 50 * *mutants {
			put(p, m.change(p.seeds[m.IntN(len(p.seeds))], p.seeds))
		}
	}
	b, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	replies := eval[[]string](t, page, `((questions) => {
		const text = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true});
		const takesBytes = ['parseLeaf', 'parseNote', 'parseManifest', 'parseProof', 'parseConsistency'];
		return questions.map(({part, text: t}) => {
			try {
				const bytes = Uint8Array.from(atob(t), (c) => c.charCodeAt(0));
				const read = runledgerVerify.parts[part];
				if (part === 'parseTargets') read(text.decode(bytes), 'log.example/0123456789ab', 9007199254740991, 'erased');
				else read(takesBytes.includes(part) ? bytes : text.decode(bytes));
				return 'ok';
			} catch (err) {
				return err.constructor.name + ': ' + err.message;
			}
		});
	})(`+string(b)+`)`)
	good := map[string][2]int{}
	for i, reply := range replies {
		if (reply == "ok") != wants[i] {
			t.Errorf("%s: the page says %s, the package takes it: %v\n%.400q", questions[i].Part, reply, wants[i], texts[i])
		}
		n := good[questions[i].Part]
		n[map[bool]int{true: 0, false: 1}[wants[i]]]++
		good[questions[i].Part] = n
	}
	t.Logf("taken and refused: %v", good)
	for name, n := range good {
		if n[0] == 0 || n[1] == 0 {
			t.Errorf("%s: %d taken, %d refused: the samples are of no use", name, n[0], n[1])
		}
	}
}

// TestServerOnly: the page knows the server's own facts as the server does.
func TestServerOnly(t *testing.T) {
	page := openTab(t)
	events := append([]string{
		"", "LOG_VIEW", "LOG_", "LOG", "LOGIN", "LOGINS", "LOGOUT", "LOGIN_FAILED", "API_KEY_CREATED", "API_KEY_REVOKED", "API_KEY_USED_FIRST", "API_KEY_USED",
		"ACCESS_DECISION", "RBACChanged", "ConflictRecorded", "RetentionPolicyChanged", "Retention", "ErasureExecuted", "LegalHoldPlaced", "CHECKPOINT_ANCHORED",
		"INTEGRITY_ANOMALY", "PRODUCER_SILENT", "LIFECYCLE_ACKNOWLEDGED", "STARTUP", "PolicyEvaluated", "toString", "constructor",
	}, words...)
	var questions [][2]string
	var wants []bool
	for _, k := range evidence.Kinds() {
		for _, e := range events {
			questions, wants = append(questions, [2]string{k.String(), e}), append(wants, evidence.ServerOnly(k, e))
		}
	}
	b, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(errors.Join(err))
	}
	for i, got := range eval[[]bool](t, page, `(`+string(b)+`).map((q) => runledgerVerify.parts.serverOnly(...q))`) {
		if got != wants[i] {
			t.Errorf("%q: the page says %v", questions[i], got)
		}
	}
}
