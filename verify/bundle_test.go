package verify

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/zipstore"
	"golang.org/x/mod/sumdb/tlog"
)

const testOrigin = "log.example/0123456789ab"

// start is t of the first leaf.
var start = mustTime("2026-11-23T16:00:00.000000Z")

func mustTime(s string) evidence.Micros {
	m, ok := evidence.ParseMicros(s)
	if !ok {
		panic(s)
	}
	return m
}

// sealed is one sealed field of a test leaf; without a reason it is
// disclosed.
type sealed struct {
	path, value string
	reason      Reason
}

// testLog is a log in memory, and the openings of its fields.
type testLog struct {
	tb     testing.TB
	signer *c2sp.Signer
	leaves [][]byte
	stored []tlog.Hash
	open   []Disclosure
	held   []Withheld
	n      map[string]int64
	now    evidence.Micros
	step   evidence.Micros
	edit   func(*evidence.Leaf) // of the next leaf
}

func newLog(tb testing.TB, origin string) *testLog {
	tb.Helper()
	seed := sha256.Sum256([]byte(origin))
	signer, err := c2sp.NewSigner(origin, seed[:])
	if err != nil {
		tb.Fatal(err)
	}
	return &testLog{tb: tb, signer: signer, n: map[string]int64{}, now: start, step: 1_000_000}
}

func (l *testLog) key() string    { return l.signer.VKey().String() }
func (l *testLog) origin() string { return l.signer.Name() }
func (l *testLog) size() int64    { return int64(len(l.leaves)) }

// fact values are string, int, bool or []string.
type facts map[string]any

func setFacts(tb testing.TB, l *evidence.Leaf, fs facts) {
	tb.Helper()
	for name, v := range fs {
		f := evidence.Fact{Field: evidence.PublicField(l.Kind, name)}
		if f.Field == nil {
			tb.Fatalf("%s has no field %s", l.Kind, name)
		}
		switch v := v.(type) {
		case string:
			f.Str = v
			if f.Field.Type == evidence.TypeTime {
				f.Str, f.Int = "", int64(mustTime(v))
			}
		case int:
			f.Int = int64(v)
		case bool:
			if v {
				f.Int = 1
			}
		case []string:
			f.List = v
		}
		l.SetFact(f)
	}
}

// add appends a leaf with the facts that every leaf has and those given.
func (l *testLog) add(kind evidence.Kind, run string, fs facts, fields ...sealed) {
	l.tb.Helper()
	seq := l.size()
	id := sha256.Sum256([]byte(fmt.Sprint(l.origin(), seq)))
	leaf := evidence.Leaf{
		Log: l.origin(), Seq: seq, ID: evidence.ID(id[:16]), Kind: kind,
		RecordedAt: l.now, OccurredAt: l.now - 1000, Run: run,
	}
	l.now += l.step
	if run != "" {
		leaf.N = l.n[run]
		l.n[run]++
	}
	setFacts(l.tb, &leaf, facts{
		"actor_type": "SYSTEM", "system_id": "test", "policy_ids": []string{}, "incident_ids": []string{},
		"source_domain": "LOGS", "source_component": "Test", "origin": "SYSTEM", "is_synthetic": false,
	})
	if kind == evidence.KindLLMRun {
		setFacts(l.tb, &leaf, facts{"record_count": int(leaf.N) + 1})
	}
	setFacts(l.tb, &leaf, fs)
	if !slices.ContainsFunc(fields, func(s sealed) bool { return s.path == "/actor" }) {
		fields = append(fields, sealed{path: "/actor", value: "{}"})
	}
	slices.SortFunc(fields, func(a, b sealed) int { return strings.Compare(a.path, b.path) })
	for _, s := range fields {
		salt := evidence.Seed(id[16:]).Salt(s.path)
		leaf.H = append(leaf.H, evidence.Commitment{Path: s.path, Hash: evidence.Commit(s.path, salt, []byte(s.value))})
		if s.reason != "" {
			l.held = append(l.held, Withheld{seq, s.path, s.reason})
		} else {
			l.open = append(l.open, Disclosure{seq, s.path, salt, []byte(s.value)})
		}
	}
	if l.edit != nil {
		l.edit(&leaf)
		l.edit = nil
	}
	b, err := leaf.Append(nil)
	if err != nil {
		l.tb.Fatal(err)
	}
	l.raw(b)
}

// raw appends the bytes of a leaf as they are.
func (l *testLog) raw(b []byte) {
	hs, err := tlog.StoredHashesForRecordHash(l.size(), tlog.Hash(evidence.LeafHash(b)), l.reader())
	if err != nil {
		l.tb.Fatal(err)
	}
	l.stored = append(l.stored, hs...)
	l.leaves = append(l.leaves, b)
}

func (l *testLog) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, l.stored[i])
		}
		return out, nil
	})
}

func (l *testLog) opened(fs facts) {
	all := facts{
		"component": "ledger", "event_type": "LOG_OPENED", "severity": "INFO", "visibility": "tenant",
		"version": "1", "vkey": l.key(),
	}
	maps.Copy(all, fs)
	l.add(evidence.KindSystem, "", all, sealed{path: "/summary", value: `"opened"`})
}

func (l *testLog) step1(run string, fields ...sealed) {
	l.add(evidence.KindTraceStep, run, facts{
		"trace_id": "5b8efff798038103d269b633813fc60c", "step_index": int(l.n[run]), "step_kind": "tool",
		"skill_id": "tool", "skill_name": "get_weather", "status": "success", "outcome_category": "SUCCESS",
		"duration_us": 1500, "retry_count": 0, "replay_behavior": "execute", "late": false, "flags": []string{}, "producer": "key-1",
	}, fields...)
}

func (l *testLog) ended(run string, fs facts, fields ...sealed) {
	all := facts{
		"revision": 1, "execution_status": "SUCCEEDED", "executor_type": "agent", "outcome": "success",
		"models": []string{}, "started_at": "2026-11-23T15:59:00.000000Z", "source": "API", "step_count": int(l.n[run]),
		"sealed_by": "root_span", "completeness": []string{},
	}
	maps.Copy(all, fs)
	l.add(evidence.KindLLMRun, run, all, fields...)
}

func (l *testLog) audit(run, event string, fs facts, fields ...sealed) {
	all := facts{"event_type": event, "entity_type": "LOG", "entity_id": "log", "roles": []string{}}
	maps.Copy(all, fs)
	l.add(evidence.KindAudit, run, all, fields...)
}

func (l *testLog) root(size int64) evidence.Hash {
	h, err := tlog.TreeHash(size, l.reader())
	if err != nil {
		l.tb.Fatal(err)
	}
	if size == 0 {
		return c2sp.EmptyRoot
	}
	return evidence.Hash(h)
}

func (l *testLog) checkpoint(size int64) []byte {
	note, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: l.origin(), Size: size, Root: l.root(size)}, l.signer)
	if err != nil {
		l.tb.Fatal(err)
	}
	return note
}

func (l *testLog) consistency(old, size int64, note []byte) []byte {
	p, err := tlog.ProveTree(size, old, l.reader())
	if err != nil {
		l.tb.Fatal(err)
	}
	return (&c2sp.Consistency{Old: old, Hashes: plain(p), Note: note}).Marshal()
}

func plain(in []tlog.Hash) (out []evidence.Hash) {
	for _, h := range in {
		out = append(out, evidence.Hash(h))
	}
	return out
}

// cosign adds the cosignature of a witness to a note.
func cosign(tb testing.TB, note []byte, w *c2sp.Cosigner, at evidence.Micros) []byte {
	tb.Helper()
	c, _, err := c2sp.ParseNote(note)
	if err != nil {
		tb.Fatal(err)
	}
	sig, err := w.Cosign(c, int64(at)/1_000_000)
	if err != nil {
		tb.Fatal(err)
	}
	return sig.AppendLine(note)
}

func witness(tb testing.TB, name string) *c2sp.Cosigner {
	tb.Helper()
	seed := sha256.Sum256([]byte(name))
	w, err := c2sp.NewCosigner(name, seed[:])
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// bundle is a bundle of logs at their present size.
type bundle struct {
	tb      testing.TB
	logs    []*testLog
	sizes   []int64
	man     Manifest
	files   map[string][]byte // of the manifest
	receipt map[string][]byte
	raw     []byte // manifest.json, where it is not made from man
	// disclose are the kinds whose fields setRecords discloses; nil: all.
	disclose []evidence.Kind
}

func newBundle(tb testing.TB, logs ...*testLog) *bundle {
	tb.Helper()
	b := &bundle{tb: tb, logs: logs, files: map[string][]byte{}}
	b.man = Manifest{Format: Format, Profile: ProfileLog, Scope: Scope{TenantID: "acme"}, ExportID: "export-1"}
	b.files["README.txt"] = []byte("read me\n")
	for k, l := range logs {
		dir := fmt.Sprintf("logs/%d", k)
		b.sizes = append(b.sizes, l.size())
		b.man.Logs = append(b.man.Logs, ManifestLog{Dir: dir, Origin: l.origin(), Size: l.size()})
		b.files[dir+"/checkpoint"] = l.checkpoint(l.size())
		b.entries(dir, l.leaves)
		var open, held []byte
		for _, d := range l.open {
			open = d.Append(open)
		}
		for _, w := range l.held {
			held = w.Append(held)
		}
		b.files[dir+"/disclosures.jsonl"] = open
		b.files[dir+"/withheld.jsonl"] = held
	}
	return b
}

func (b *bundle) entries(dir string, leaves [][]byte) {
	for n := 0; n*256 < len(leaves); n++ {
		part := leaves[n*256 : min(n*256+256, len(leaves))]
		var data []byte
		for _, leaf := range part {
			var err error
			if data, err = c2sp.AppendEntry(data, leaf); err != nil {
				b.tb.Fatal(err)
			}
		}
		b.files[dir+"/"+c2sp.EntriesPath(int64(n), len(part))] = data
	}
}

// seal makes the manifest and the receipt. edit may change the facts of the
// export record.
func (b *bundle) seal(edit func(*evidence.Leaf)) *bundle {
	b.tb.Helper()
	b.man.Files = nil
	for _, path := range slices.Sorted(maps.Keys(b.files)) {
		sum := sha256.Sum256(b.files[path])
		b.man.Files = append(b.man.Files, ManifestFile{path, int64(len(b.files[path])), hex.EncodeToString(sum[:])})
	}
	raw := b.man.Marshal()
	b.raw = raw
	sum := sha256.Sum256(raw)
	l := b.logs[0]
	l.audit("", "ACCESS_DECISION", facts{"decision": "ALLOWED"})
	seq := l.size()
	l.edit = edit
	l.add(evidence.KindExport, "", facts{
		"export_id": "export-1", "scope": "compliance", "format": "zip", "status": "completed",
		"manifest": hex.EncodeToString(sum[:]), "compliance_tags": []string{},
	})
	l.audit("", "LOG_EXPORT", nil)
	note := l.checkpoint(l.size())
	p, err := tlog.ProveRecord(l.size(), seq, l.reader())
	if err != nil {
		b.tb.Fatal(err)
	}
	b.receipt = map[string][]byte{
		receiptLeaf:        l.leaves[seq],
		receiptProof:       (&c2sp.Proof{Index: seq, Hashes: plain(p), Note: note}).Marshal(),
		receiptConsistency: l.consistency(b.sizes[0], l.size(), note),
	}
	return b
}

type namedFile struct {
	name string
	data []byte
}

// list returns all files in the order of a ZIP.
func (b *bundle) list() []namedFile {
	list := []namedFile{{manifestPath, b.raw}}
	for _, path := range slices.Sorted(maps.Keys(b.files)) {
		list = append(list, namedFile{path, b.files[path]})
	}
	for _, path := range receiptPaths {
		if data, ok := b.receipt[path]; ok {
			list = append(list, namedFile{path, data})
		}
	}
	return list
}

func zipOf(tb testing.TB, list []namedFile) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := zipstore.NewWriter(&buf)
	for _, f := range list {
		if err := w.Add(f.name, f.data); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func (b *bundle) zip() []byte { return zipOf(b.tb, b.list()) }

func (b *bundle) fs() fs.FS {
	m := fstest.MapFS{}
	for _, f := range b.list() {
		m[f.name] = &fstest.MapFile{Data: f.data}
	}
	return m
}

// verify runs the bundle as ZIP and as directory; both must say the same.
func (b *bundle) verify(opts Options) *Report {
	b.tb.Helper()
	z := verifyZIP(b.tb, b.zip(), opts)
	d, err := Dir(b.tb.Context(), b.fs(), opts)
	if err != nil {
		b.tb.Fatal(err)
	}
	if z.Verdict != d.Verdict || !slices.EqualFunc(z.Findings, d.Findings, func(a, b Finding) bool { return a == b }) {
		b.tb.Errorf("ZIP is %s %v, directory %s %v", z.Verdict, z.Findings, d.Verdict, d.Findings)
	}
	return z
}

func verifyZIP(tb testing.TB, data []byte, opts Options) *Report {
	tb.Helper()
	r, err := ZIP(tb.Context(), bytes.NewReader(data), int64(len(data)), opts)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func (b *bundle) keys() Options {
	var o Options
	for _, l := range b.logs {
		o.Keys = append(o.Keys, l.key())
	}
	return o
}

// smallLog has a bit of everything.
func smallLog(tb testing.TB) *testLog {
	tb.Helper()
	l := newLog(tb, testOrigin)
	l.opened(nil)
	l.step1("run-1", sealed{path: "/prompt", value: `"Approve loan 4711?"`}, sealed{path: "/response", value: `"\u0001 ` + "é\u2028" + `"`, reason: NotPermitted})
	l.step1("run-2", sealed{path: "/prompt", value: `"gone"`, reason: Erased}, sealed{path: "/params", value: `{"x": 1.50}`})
	l.step1("run-1", sealed{path: "/params", value: `[1E400]`, reason: Expired})
	l.ended("run-1", nil)
	l.audit("run-2", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"ranges":[{"from":2,"to":3,"paths":["/prompt"]}]}`})
	l.audit("", "RetentionApplied", nil, sealed{path: "/targets", value: `{"ranges":[{"from":1,"to":4}]}`})
	l.audit("", "PolicyEvaluated", facts{"producer": "key-1"})
	return l
}

// longLog has n leaves over several bundles.
func longLog(tb testing.TB, n int64) *testLog {
	tb.Helper()
	l := newLog(tb, testOrigin)
	l.step = 1000
	l.opened(nil)
	for l.size() < n {
		l.step1(fmt.Sprintf("run-%d", l.size()%7), sealed{path: "/prompt", value: fmt.Sprintf(`"prompt %d"`, l.size())})
	}
	return l
}

func codes(r *Report) []Code {
	var out []Code
	for _, f := range r.Findings {
		out = append(out, f.Code)
	}
	slices.SortFunc(out, func(a, b Code) int { return cmp.Compare(a, b) })
	return slices.Compact(out)
}
