package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
)

const testErasure = "erasure-0123456789ab"

// record takes a leaf out of a log, with its proof and what is disclosed of it.
func (l *testLog) record(seq int64, paths ...string) CertificateRecord {
	l.tb.Helper()
	proof, err := tlog.ProveRecord(l.size(), seq, l.reader())
	if err != nil {
		l.tb.Fatal(err)
	}
	r := CertificateRecord{Log: l.origin(), Record: Record{Seq: seq, Leaf: l.leaves[seq], Proof: plain(proof)}}
	for _, d := range l.open {
		if d.Seq == seq && slices.Contains(paths, d.Path) {
			r.Disclosures = append(r.Disclosures, d)
		}
	}
	return r
}

// erased appends the record of an erasure about a run.
func (l *testLog) erased(run, targets string) int64 {
	fs := facts{"entity_type": "RETENTION", "entity_id": testErasure}
	l.audit(run, "ErasureExecuted", fs, sealed{path: "/targets", value: targets}, sealed{path: "/actor", value: `{"human_actor_id":"op"}`})
	return l.size() - 1
}

// certified is a log with an erasure of three records of two runs and one without,
// and its certificate.
type certified struct {
	log    *testLog
	body   ErasureStatement
	facts  facts // of the statement
	run    string
	fields []sealed // of the statement, too
	edit   func(*ErasureCertificate)
	last   *ErasureCertificate
}

func newCertified(tb testing.TB) *certified {
	l := smallLog(tb)
	return &certified{log: l, body: ErasureStatement{
		TenantID: "acme", ErasureID: testErasure, ExecutedAt: l.now, Records: 3, Fields: 4, Runs: 2,
		KeysDestroyed: 2, KeysToRetire: 1, Orders: 3, InArchives: true,
	}, facts: facts{"entity_type": "RETENTION", "entity_id": testErasure}}
}

// certificate appends what is missing, and returns it.
func (c *certified) certificate(tb testing.TB) *ErasureCertificate {
	tb.Helper()
	l := c.log
	orders := []int64{
		l.erased("run-1", `{"ranges":[{"from":1,"to":2,"paths":["/params","/prompt"]}]}`),
		l.erased("run-2", `{"ranges":[{"from":3,"to":4,"paths":["/prompt"]}]}`),
		l.erased("", `{"log":"log.example/aaaaaaaaaaaa","ranges":[{"from":900,"to":901,"paths":["/actor"]}]}`),
	}
	var hashes []evidence.Hash
	for _, seq := range orders {
		hashes = append(hashes, evidence.LeafHash(l.leaves[seq]))
	}
	if c.body.OrdersDigest == (evidence.Hash{}) {
		c.body.OrdersDigest = OrdersDigest(hashes)
	}
	l.audit(c.run, "ErasureExecuted", c.facts, append(c.fields, sealed{path: "/after_state", value: string(c.body.JSON())}, sealed{path: "/actor", value: `{"human_actor_id":"op"}`})...)
	statement := l.size() - 1
	l.step1("run-3") // life goes on
	out := &ErasureCertificate{
		TenantID: c.body.TenantID, ErasureID: c.body.ErasureID, Statement: l.record(statement, "/actor", "/after_state"),
		Checkpoints: map[string]string{l.origin(): string(l.checkpoint(l.size()))},
		Backups:     c.body.Backups(), KeysRetired: c.body.KeysToRetire == 0, InArchives: c.body.InArchives,
	}
	for _, seq := range orders {
		out.Orders = append(out.Orders, l.record(seq, "/targets"))
	}
	if c.edit != nil {
		c.edit(out)
	}
	c.last = out
	return out
}

func (c *certified) verify(tb testing.TB, opts Options) *CertificateReport {
	tb.Helper()
	if opts.Keys == nil {
		opts.Keys = []string{c.log.key()}
	}
	r, err := Certificate(context.Background(), c.certificate(tb).Append(nil), opts)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestCertificate(t *testing.T) {
	c := newCertified(t)
	r := c.verify(t, Options{})
	wantCodes(t, &r.Report, VerifiedWithLimits, limits...)
	e := r.Erasure
	if e == nil || e.TenantID != "acme" || e.OrderedBy != "op" || e.Records != 3 || e.Fields != 4 || e.Runs != 2 || len(e.Orders) != 3 ||
		e.Orders[0].RunID != "run-1" || e.Orders[0].Fields != 2 || e.Orders[2].TargetLog != "log.example/aaaaaaaaaaaa" {
		t.Errorf("%+v", e)
	}
	if len(r.NotProven) < 5 || r.Scope.TenantID != "acme" || !r.Logs[0].Checked || r.Logs[0].Records != 4 || r.ExitStatus() != 10 {
		t.Errorf("%+v %+v", r.Report, r.Scope)
	}

	shown, err := c.last.View()
	if err != nil || !cmp.Equal(shown, e) {
		t.Errorf("%v %v", cmp.Diff(e, shown), err)
	}
	c.last.Statement.Disclosures[0].Salt[3] ^= 1
	if _, err := c.last.View(); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("an altered one is shown: %v", err)
	}

	// With a witness there are no limits.
	c = newCertified(t)
	w := witness(t, "witness.example/w1")
	c.edit = func(e *ErasureCertificate) {
		e.Checkpoints[c.log.origin()] = string(cosign(t, []byte(e.Checkpoints[c.log.origin()]), w, c.log.now))
	}
	policy := []byte("witness w1 " + w.VKey().String() + "\nquorum w1\n")
	wantCodes(t, &c.verify(t, Options{Policy: policy}).Report, Verified)
	c = newCertified(t)
	wantCodes(t, &c.verify(t, Options{Policy: policy}).Report, Failed, EQuorum, WNoTime)
	c = newCertified(t)
	r = c.verify(t, Options{Since: c.log.checkpoint(3)})
	wantCodes(t, &r.Report, CouldNotCheck, USince, WNoQuorum, WNoTime)

	// Another key, and none.
	c = newCertified(t)
	other := newLog(t, "other.example/0123456789ab")
	wantCodes(t, &c.verify(t, Options{Keys: []string{other.key()}}).Report, CouldNotCheck, UNoKey)
	if _, err := Certificate(t.Context(), nil, Options{Keys: []string{"no key"}}); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("keys that are none: %v", err)
	}
}

// TestCertificateLies signs statements that are not true: the log of a lying server is
// sound, and the certificate is not.
func TestCertificateLies(t *testing.T) {
	for name, tt := range map[string]struct {
		lie  func(*certified)
		code Code
	}{
		"more records":            {func(c *certified) { c.body.Records++ }, ECertificate},
		"fewer fields":            {func(c *certified) { c.body.Fields-- }, ECertificate},
		"another number of runs":  {func(c *certified) { c.body.Runs++ }, ECertificate},
		"another number":          {func(c *certified) { c.body.Orders-- }, ECertificate},
		"other orders":            {func(c *certified) { c.body.OrdersDigest = evidence.Hash{1} }, ECertificate},
		"another erasure":         {func(c *certified) { c.facts["entity_id"] = "erasure-ba9876543210" }, ECertificate},
		"another entity":          {func(c *certified) { c.facts["entity_type"] = "LOG" }, ECertificate},
		"another tenant":          {func(c *certified) { c.edit = func(e *ErasureCertificate) { e.TenantID = "other" } }, ECertificate},
		"softer words":            {func(c *certified) { c.edit = func(e *ErasureCertificate) { e.Backups = "There are none." } }, ECertificate},
		"done in the future":      {func(c *certified) { c.body.ExecutedAt += 1 << 40 }, ECertificate},
		"an order less":           {func(c *certified) { c.edit = func(e *ErasureCertificate) { e.Orders = e.Orders[1:] } }, ECertificate},
		"orders in another order": {func(c *certified) { c.edit = func(e *ErasureCertificate) { slices.Reverse(e.Orders) } }, ECertificate},
		"an order twice": {func(c *certified) {
			c.edit = func(e *ErasureCertificate) { e.Orders = append(e.Orders, e.Orders[2]) }
		}, ECertificate},
		"a statement of a run":      {func(c *certified) { c.run = "run-2" }, ELeaf},
		"a statement with targets":  {func(c *certified) { c.fields = []sealed{{path: "/targets", value: `{"ranges":[]}`}} }, ELeaf},
		"a producer's":              {func(c *certified) { c.facts["producer"] = "key-1" }, ELeaf},
		"the statement as an order": {func(c *certified) { c.edit = func(e *ErasureCertificate) { e.Statement.Record = e.Orders[0].Record } }, ELeaf},
		"nothing is disclosed":      {func(c *certified) { c.edit = func(e *ErasureCertificate) { e.Statement.Disclosures = nil } }, ECertificate},
		"a commitment to other text": {func(c *certified) {
			c.edit = func(e *ErasureCertificate) { e.Statement.Disclosures[0].Value = []byte(`{}`) }
		}, ECommit},
		"another checkpoint": {func(c *certified) {
			c.edit = func(e *ErasureCertificate) { e.Checkpoints[c.log.origin()] = string(c.log.checkpoint(5)) }
		}, EInclusion},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCertified(t)
			tt.lie(c)
			r := c.verify(t, Options{})
			if r.Verdict != Failed || !r.Has(tt.code) || r.Erasure != nil {
				t.Errorf("%s %v, want %s", r.Verdict, r.Findings, tt.code)
			}
		})
	}
}

// mutations returns all that one change to a JSON value can make of it, but white space.
func mutations(v any, change func(what string, v any)) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			mutations(member, func(what string, m any) {
				v[name] = m
				change(name+" "+what, v)
			})
			v[name] = member
			delete(v, name)
			change(name+" absent", v)
			v[name+"x"] = member
			change(name+" under another name", v)
			v[name] = member
			change(name+" twice", v)
			delete(v, name+"x")
		}
	case []any:
		for i, entry := range v {
			mutations(entry, func(what string, m any) {
				v[i] = m
				change(fmt.Sprint(i, " ", what), v)
			})
			v[i] = entry
			change(fmt.Sprint(i, " absent"), slices.Delete(slices.Clone(v), i, i+1))
			change(fmt.Sprint(i, " twice"), slices.Insert(slices.Clone(v), i, entry))
		}
	case string:
		change("longer", v+"x")
		change("empty", "")
		for i := range min(len(v), 400) { // leaves and notes are covered byte by byte below
			change(fmt.Sprint("other at ", i), v[:i]+string(rune('a'+(v[i]+1)%26))+v[i+1:])
		}
	case json.Number:
		n, _ := v.Int64()
		change("greater", json.Number(fmt.Sprint(n+1)))
		change("less", json.Number(fmt.Sprint(n-1)))
		change("a fraction", v+".5")
	case bool:
		change("not", !v)
	}
	change("null", nil)
}

// TestCertificateMembers alters each member of a good certificate, and each byte.
func TestCertificateMembers(t *testing.T) {
	c := newCertified(t)
	good1 := c.certificate(t).Append(nil)
	opts := Options{Keys: []string{c.log.key()}}
	check := func(what string, data []byte) {
		t.Helper()
		if bytes.Equal(data, good1) || bytes.Equal(data, bytes.TrimSuffix(good1, []byte("\n"))) {
			return
		}
		r, err := Certificate(t.Context(), data, opts)
		if err != nil {
			t.Fatal(err)
		}
		// Who ordered it may be left out; nothing else can.
		if good(r.Verdict) && what == "statement disclosures 0 absent" && r.Erasure.OrderedBy == "" {
			return
		}
		if good(r.Verdict) || r.Erasure != nil {
			t.Errorf("%s: %s", what, r.Verdict)
		}
	}
	if r, err := Certificate(t.Context(), good1, opts); err != nil || !good(r.Verdict) {
		t.Fatalf("%v %v", r, err)
	}
	d := json.NewDecoder(bytes.NewReader(good1))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	n := 0
	write := func(v any) []byte {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(write(v), good1) {
		t.Fatal("the mutations would not be in the canonical form: that shows nothing")
	}
	mutations(v, func(what string, v any) {
		n++
		check(what, write(v))
	})
	if n < 1000 {
		t.Errorf("only %d mutations", n)
	}
	for i := range good1 {
		data := slices.Clone(good1)
		data[i] ^= 1
		check(fmt.Sprintf("byte %d", i), data)
	}
	for i := 0; i < len(good1)-1; i += 7 {
		check(fmt.Sprintf("cut at %d", i), good1[:i])
	}
	check("pretty", func() []byte {
		var b bytes.Buffer
		if err := json.Indent(&b, good1, "", " "); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}())
	r, err := Certificate(t.Context(), bytes.Replace(good1, []byte("certificate v1"), []byte("certificate v2"), 1), opts)
	if err != nil || r.Verdict != CouldNotCheck || !r.Has(UFormat) {
		t.Errorf("a format of later: %v %v", r, err)
	}
}

func TestIsCertificate(t *testing.T) {
	c := newCertified(t).certificate(t).Append(nil)
	for text, want := range map[string]bool{
		string(c): true, `{"format": "runledger erasure certificate v7"}`: true, "": false, "{": false, "PK": false,
		`{"format":"json","x":"runledger erasure certificate v1"}`: false, "[" + string(c) + "]": false,
	} {
		if got := IsCertificate([]byte(text)); got != want {
			t.Errorf("%.60s: %v", text, got)
		}
	}
}

func TestErasureStatement(t *testing.T) {
	s := newCertified(t).body
	text := string(s.JSON())
	got, err := ParseErasureStatement([]byte(text))
	if err != nil || *got != s {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{
		"", "{}", text + " ", strings.Replace(text, "acme", "Acme", 1), strings.Replace(text, "sha256:", "sha512:", 1),
		strings.Replace(text, `"records":3`, `"records":-3`, 1), strings.Replace(text, "true", "True", 1),
		strings.Replace(text, `"runs"`, `"more":1,"runs"`, 1), strings.Replace(text, testErasure, "", 1), strings.Replace(text, "Z", "", 1),
	} {
		if _, err := ParseErasureStatement([]byte(bad)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, keys := range []int64{0, 1} {
		s.KeysDestroyed, s.KeysToRetire, s.InArchives = keys, keys, keys > 0
		if words := s.Backups(); !strings.Contains(words, s.ExecutedAt.String()) || strings.Contains(words, "sealed anew") != (keys > 0) {
			t.Error(words)
		}
	}
}

// FuzzCertificate: what is read is written again as the same bytes, and nothing but the
// good one is verified.
func FuzzCertificate(f *testing.F) {
	c := newCertified(f)
	seed := c.certificate(f).Append(nil)
	f.Add(seed)
	f.Add([]byte(`{"backups":"","checkpoints":{},"erasure_id":"","format":"runledger erasure certificate v1"`))
	opts := Options{Keys: []string{c.log.key()}}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseCertificate(data)
		if err == nil && !bytes.Equal(bytes.TrimSuffix(e.Append(nil), []byte("\n")), bytes.TrimSuffix(data, []byte("\n"))) {
			t.Errorf("%q is written as other bytes", data)
		}
		r, err := Certificate(context.Background(), data, opts)
		if err != nil {
			t.Fatal(err)
		}
		if good(r.Verdict) && !bytes.Equal(bytes.TrimSuffix(seed, []byte("\n")), bytes.TrimSuffix(data, []byte("\n"))) {
			t.Errorf("verified: %q", data)
		}
	})
}
