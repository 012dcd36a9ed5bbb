package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// A log under test: it knows the head that the store must have.
type testLog struct {
	t    *testing.T
	s    store.Store
	r    store.Reader // s, or a snapshot of it
	ref  store.LogRef
	info store.Log
	head store.Head
}

// counter makes everything that must be unique in a store.
var counter atomic.Int64

func unique() int64 { return counter.Add(1) }

func hashOf(n int64) evidence.Hash {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func newID() evidence.ID {
	h := hashOf(unique())
	return evidence.ID(h[:16])
}

// openLog opens the first log of a tenant with one record in it.
func openLog(t *testing.T, s store.Store, tenant string) *testLog {
	t.Helper()
	return openLogNo(t, s, store.LogRef{Tenant: tenant, No: 1})
}

func openLogNo(t *testing.T, s store.Store, ref store.LogRef) *testLog {
	t.Helper()
	l := newLog(t, s, ref)
	c := l.extend(l.entry(evidence.KindSystem))
	c.Open = &l.info
	l.mustCommit(c)
	return l
}

func newLog(t *testing.T, s store.Store, ref store.LogRef) *testLog {
	return &testLog{t: t, s: s, r: s, ref: ref, info: store.Log{
		LogRef:     ref,
		Origin:     fmt.Sprintf("test.example/%012x", unique()),
		VKey:       "test.example+01234567+AX/=",
		WrappedKey: []byte{0, 1, 2, 255},
	}}
}

// extend returns the commit that appends entries, with one leaf segment.
func (l *testLog) extend(entries ...store.Entry) store.LogCommit {
	next := store.Head{Size: l.head.Size + int64(len(entries)), Root: hashOf(unique())}
	next.Note = fmt.Appendf(nil, "%s\n%d\n%s\n", l.info.Origin, next.Size, next.Root)
	c := store.LogCommit{Log: l.ref, Prev: l.head, Next: next, Entries: entries}
	for i := range entries {
		entries[i].Leaf.Log = l.info.Origin
		entries[i].Leaf.Seq = l.head.Size + int64(i)
	}
	for first := 0; first < len(entries); first += 256 {
		n := min(256, len(entries)-first)
		c.Segments = append(c.Segments, store.LeafSegment{
			First: l.head.Size + int64(first), Count: n, Data: fmt.Appendf(nil, "leaves %d+%d", first, n),
		})
	}
	return c
}

func (l *testLog) commit(c store.LogCommit) error {
	err := l.s.Commit(context.Background(), &store.Commit{Logs: []store.LogCommit{l.bring(c)}})
	if err == nil {
		l.head = c.Next
	}
	return err
}

// bring adds the data keys that a commit's content is sealed under.
func (l *testLog) bring(c store.LogCommit) store.LogCommit {
	content := slices.Clone(c.Sealed)
	if c.Removal != nil {
		content = append(content, c.Removal.Replace...)
	}
	c.Keys = slices.Clone(c.Keys)
	for i := range content {
		id := content[i].Key
		if !slices.ContainsFunc(c.Keys, func(k store.DataKey) bool { return k.ID == id }) {
			c.Keys = append(c.Keys, store.DataKey{ID: id, Scope: store.ScopeDay, Label: l.ref.Tenant, Wrapped: id[:2]})
		}
	}
	return c
}

func (l *testLog) mustCommit(c store.LogCommit) {
	l.t.Helper()
	if err := l.commit(c); err != nil {
		l.t.Fatalf("commit: %v", err)
	}
}

// append commits entries and returns where the first stands.
func (l *testLog) append(entries ...store.Entry) int64 {
	l.t.Helper()
	at := l.head.Size
	l.mustCommit(l.extend(entries...))
	return at
}

// wantHead checks that the store has the head that the test expects.
func (l *testLog) wantHead() {
	l.t.Helper()
	head, err := l.r.Head(context.Background(), l.ref)
	if err != nil {
		l.t.Fatalf("head: %v", err)
	}
	if diff := cmp.Diff(l.head, head); diff != "" {
		l.t.Fatalf("head of %v (-want +got):\n%s", l.ref, diff)
	}
}

func (l *testLog) row(kind evidence.Kind, seq int64) store.Row {
	l.t.Helper()
	row, err := l.r.Row(context.Background(), l.ref, kind, seq)
	if err != nil {
		l.t.Fatalf("row %d: %v", seq, err)
	}
	return row
}

// at returns a position in this log.
func (l *testLog) at(seq int64) store.Position { return store.Position{LogNo: l.ref.No, Seq: seq} }

// entry returns a record of a kind with a few facts; set changes its leaf.
func (l *testLog) entry(kind evidence.Kind, set ...func(*evidence.Leaf)) store.Entry {
	leaf := &evidence.Leaf{
		ID: newID(), Kind: kind,
		RecordedAt: 1_764_000_000_000_001, OccurredAt: 1_763_999_999_999_999,
	}
	leaf.SetFact(evidence.Fact{Field: evidence.PublicField(kind, "source_component"), Str: "storetest"})
	for _, f := range set {
		f(leaf)
	}
	return store.Entry{Leaf: leaf, Segment: store.NoSegment, ActorSegment: store.NoSegment}
}

// text sets a text fact.
func text(name, value string) func(*evidence.Leaf) {
	return func(l *evidence.Leaf) {
		l.SetFact(evidence.Fact{Field: evidence.PublicField(l.Kind, name), Str: value})
	}
}

func integer(name string, value int64) func(*evidence.Leaf) {
	return func(l *evidence.Leaf) {
		l.SetFact(evidence.Fact{Field: evidence.PublicField(l.Kind, name), Int: value})
	}
}

// inRun makes the record the n-th of a run.
func inRun(run string, n int64) func(*evidence.Leaf) {
	return func(l *evidence.Leaf) { l.Run, l.N = run, n }
}

// step returns a step of a span; with span "" it has none.
func (l *testLog) step(trace, span string, set ...func(*evidence.Leaf)) store.Entry {
	all := []func(*evidence.Leaf){inRun(trace, 0), text("trace_id", trace)}
	if span != "" {
		all = append(all, text("span_id", span))
	}
	return l.entry(evidence.KindTraceStep, append(all, set...)...)
}

func traceID(n int64) string { return fmt.Sprintf("%032x", n) }
func spanID(n int64) string  { return fmt.Sprintf("%016x", uint64(n)) }

// order appends the record that orders a removal and returns its position.
func (l *testLog) order() store.Position {
	l.t.Helper()
	return l.at(l.append(l.entry(evidence.KindAudit, text("event_type", "ErasureExecuted"))))
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// collect calls an iterating method and returns what it yields.
func collect[T any](t *testing.T, iterate func(fn func(T) error) error) []T {
	t.Helper()
	var list []T
	if err := iterate(func(v T) error {
		list = append(list, v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func wantEqual[T any](t *testing.T, what string, got, want T, opts ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
