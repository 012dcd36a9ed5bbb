package registry

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// judgedAt is the time that the tests of observations read registries at.
var judgedAt = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// proofLog is a log with a key, that gives receipts as a server does.
type proofLog struct {
	t      testing.TB
	origin string
	signer *c2sp.Signer
	leaves [][]byte
	hashes []tlog.Hash // of the tree, as package tlog stores them
	clock  evidence.Micros
}

// newProofLog returns a log with two leaves of others in it.
func newProofLog(t testing.TB, origin string, seed byte) *proofLog {
	t.Helper()
	signer, err := c2sp.NewSigner(origin, bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	l := &proofLog{t: t, origin: origin, signer: signer, clock: evidence.MicrosOf(judgedAt.Add(-48 * time.Hour))}
	for range 2 {
		o := &Observation{Tenant: "other", Passed: true}
		l.add(l.recordOf(o, func(r *evidence.Record) { r.SetText("event_type", "DEPLOY") }))
	}
	return l
}

func (l *proofLog) key() string { return l.signer.VKey().String() }

// recordOf is the record of an observation, as the client sends it.
func (l *proofLog) recordOf(o *Observation, change func(*evidence.Record)) *evidence.Record {
	s := observationRecord(o)
	id, _ := evidence.ParseID(s.ID)
	r := &evidence.Record{Kind: evidence.KindSystem, ID: id, OccurredAt: evidence.MicrosOf(s.OccurredAt)}
	for name, value := range map[string]string{
		"component": s.Component, "event_type": s.EventType, "severity": s.Severity, "correlation_id": s.CorrelationID,
		"source_domain": s.SourceDomain, "source_component": s.SourceComponent, "synthetic_scenario_id": s.ScenarioID,
	} {
		r.SetText(name, value)
	}
	r.SetBool("is_synthetic", s.IsSynthetic)
	r.SetSealed("/summary", []byte(`"seen"`))
	if change != nil {
		change(r)
	}
	return r
}

// add appends a record, and returns its index.
func (l *proofLog) add(r *evidence.Record) int64 {
	l.t.Helper()
	if err := r.Complete(); err != nil {
		l.t.Fatal(err)
	}
	l.clock += 1000
	leaf := evidence.Leaf{
		Log: l.origin, Seq: int64(len(l.leaves)), ID: r.ID, Kind: r.Kind, RecordedAt: l.clock, OccurredAt: r.OccurredAt, Pub: r.Pub,
	}
	for _, s := range r.Sealed {
		leaf.H = append(leaf.H, evidence.Commitment{Path: s.Path, Hash: evidence.Commit(s.Path, evidence.Salt{}, s.JSON)})
	}
	raw, err := leaf.Append(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	hashes, err := tlog.StoredHashes(leaf.Seq, raw, l.reader())
	if err != nil {
		l.t.Fatal(err)
	}
	l.hashes = append(l.hashes, hashes...)
	l.leaves = append(l.leaves, raw)
	return leaf.Seq
}

func (l *proofLog) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, l.hashes[i])
		}
		return out, nil
	})
}

// receipt proves a leaf by a checkpoint of all that is there.
func (l *proofLog) receipt(index int64) *Receipt {
	l.t.Helper()
	size := int64(len(l.leaves))
	root, err := tlog.TreeHash(size, l.reader())
	if err != nil {
		l.t.Fatal(err)
	}
	proof, err := tlog.ProveRecord(size, index, l.reader())
	if err != nil {
		l.t.Fatal(err)
	}
	note, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: l.origin, Size: size, Root: evidence.Hash(root)}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	p := c2sp.Proof{Index: index, Note: note}
	for _, h := range proof {
		p.Hashes = append(p.Hashes, evidence.Hash(h))
	}
	leaf, err := evidence.ParseLeaf(l.leaves[index])
	if err != nil {
		l.t.Fatal(err)
	}
	return &Receipt{
		ID: leaf.ID.String(), Log: l.origin, LeafIndex: index, Leaf: string(l.leaves[index]), Proof: string(p.Marshal()), VKey: l.key(),
	}
}

// file records an observation, a while after what the log has, and returns its file.
func (l *proofLog) file(o *Observation, after time.Duration) *File {
	l.t.Helper()
	l.clock += evidence.Micros(after.Microseconds())
	o.StartedAt, o.FinishedAt = l.clock-5_000_000, l.clock-1_000_000
	index := l.add(l.recordOf(o, nil))
	l.add(l.recordOf(&Observation{Tenant: "other", Passed: true}, func(r *evidence.Record) { r.ID[0] = byte(len(l.leaves)) }))
	return &File{Observation: *o, Receipt: l.receipt(index)}
}

// builtinDir writes the registry that is shipped into a directory, all of it declared
// whatever was applied to it, and reads it.
func builtinDir(t testing.TB) (dir string, reg *Registry) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "registry")
	copyBuiltin(t, dir)
	return dir, mustLoad(t, dir)
}

func copyBuiltin(t testing.TB, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, Builtin()); err != nil {
		t.Fatal(err)
	}
	forget := func(text []byte) ([]byte, error) {
		text, err := setWord(text, Declared, "status")
		for _, name := range []string{"observation", "passing"} {
			if err == nil {
				text, err = setMember(text, name, setNull)
			}
		}
		if err == nil {
			text, err = setMember(text, "history", func(n *yaml.Node) error {
				*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
				return nil
			})
		}
		return text, err
	}
	edit := func(pattern string, change func([]byte) ([]byte, error)) {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err == nil {
				text, err = change(text)
			}
			if err == nil {
				err = os.WriteFile(name, text, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	edit("capabilities/*.yaml", forget)
	edit("intents/*.yaml", func(text []byte) ([]byte, error) {
		text, err := setWord(text, Declared, "capability", "status")
		if err == nil {
			text, err = setWord(text, "false", "sdsr", "verified")
		}
		return text, err
	})
}

func mustLoad(t testing.TB, dir string) *Registry {
	t.Helper()
	reg, err := Load(os.DirFS(dir), judgedAt)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// observationOf returns what a run of scenarios would have found: of those with that
// prefix, where broken names the failures.
func observationOf(reg *Registry, prefix string, broken map[string]Failure) *Observation {
	o := &Observation{Version: 1, Registry: reg.Digest, Program: "1.2.3", Server: "1.2.3", Tenant: "synthetic", Passed: true}
	for _, s := range reg.Scenarios {
		if !strings.HasPrefix(s.ID, prefix) {
			continue
		}
		r := ScenarioResult{
			ID: s.ID, Version: s.Version, Capability: s.Capability, Panel: s.Panel, DurationMS: 120, Passed: true,
		}
		for range s.Inject {
			r.Sent = append(r.Sent, Sent{Method: "POST", Target: "/v1/traces", SHA256: strings.Repeat("0", 64), Bytes: 10, Status: 200, Records: []string{}})
		}
		for i := range s.Observe {
			r.Seen = append(r.Seen, seenOf(reg, s, i))
		}
		if f, bad := broken[s.ID]; bad {
			r.Passed, r.Failure, o.Passed = false, &f, false
		}
		o.Scenarios = append(o.Scenarios, r)
	}
	return o
}

// seenOf is an answer of which all held.
func seenOf(reg *Registry, s *Scenario, n int) Seen {
	seen := Seen{ID: s.Observe[n].ID, Method: "GET", Target: s.Observe[n].Path, Status: 200, Tries: 2, SHA256: strings.Repeat("0", 64), Bytes: 100}
	for _, inv := range usedInvariants(reg.Invariants, s.Invariants) {
		seen.Invariants = append(seen.Invariants, Checked{ID: inv.ID, Level: inv.Level, Passed: true})
	}
	for _, e := range s.Observe[n].Expect {
		seen.Expectations = append(seen.Expectations, Checked{ID: e.Path, Level: Required, Passed: true})
	}
	return seen
}
