package postgres_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

var counter atomic.Int64

// testLog makes commits to one log, and knows its head.
type testLog struct {
	ref  store.LogRef
	head store.Head

	pending store.Head // of a commit that failed
	unknown bool       // whether its outcome is
}

func newLog(tenant string) *testLog { return &testLog{ref: store.LogRef{Tenant: tenant, No: 1}} }

func record(kind evidence.Kind, facts ...evidence.Fact) store.Entry {
	leaf := &evidence.Leaf{Kind: kind, RecordedAt: 1_764_000_000_000_001, OccurredAt: 1_763_999_999_999_999}
	sum := sha256.Sum256(fmt.Append(nil, counter.Add(1)))
	leaf.ID = evidence.ID(sum[:16])
	for _, f := range facts {
		leaf.SetFact(f)
	}
	return store.Entry{Leaf: leaf, Segment: store.NoSegment, ActorSegment: store.NoSegment}
}

func textFact(kind evidence.Kind, name, value string) evidence.Fact {
	return evidence.Fact{Field: evidence.PublicField(kind, name), Str: value}
}

// next returns the commit that appends entries; the first opens the log.
func (l *testLog) next(entries ...store.Entry) *store.Commit {
	c := store.LogCommit{Log: l.ref, Prev: l.head, Entries: entries}
	c.Next.Size = l.head.Size + int64(len(entries))
	c.Next.Root = sha256.Sum256(fmt.Append(nil, counter.Add(1)))
	c.Next.Note = fmt.Appendf(nil, "%s %d %s", l.ref.Tenant, c.Next.Size, c.Next.Root)
	for i := range entries {
		entries[i].Leaf.Seq = l.head.Size + int64(i)
	}
	if len(entries) > 0 {
		c.Segments = []store.LeafSegment{{First: l.head.Size, Count: len(entries), Data: []byte("leaves")}}
	}
	if l.head.Size == 0 {
		c.Open = &store.Log{LogRef: l.ref, Origin: "test.example/" + l.ref.Tenant, VKey: "key", WrappedKey: []byte("wrapped")}
	}
	return &store.Commit{Logs: []store.LogCommit{c}}
}

func (l *testLog) commit(ctx context.Context, s store.Store, c *store.Commit) error {
	err := s.Commit(ctx, c)
	if err == nil {
		l.head = c.Logs[0].Next
	}
	return err
}

func (l *testLog) append(t testing.TB, s store.Store, entries ...store.Entry) {
	t.Helper()
	if err := l.commit(t.Context(), s, l.next(entries...)); err != nil {
		t.Fatal(err)
	}
}

// fillAll writes at least one row to every table but settings and api_keys.
func fillAll(t testing.TB, db *postgres.DB) *testLog {
	t.Helper()
	l := newLog("t-1")
	var entries []store.Entry
	for _, k := range evidence.Kinds() {
		e := record(k, textFact(k, "source_component", "test"))
		e.Leaf.Run = "run"
		switch k {
		case evidence.KindTraceStep:
			e.Leaf.SetFact(textFact(k, "trace_id", fmt.Sprintf("%032x", 1)))
			e.Leaf.SetFact(textFact(k, "span_id", fmt.Sprintf("%016x", 1)))
		case evidence.KindLLMRun:
			e.Leaf.SetFact(evidence.Fact{Field: evidence.PublicField(k, "revision"), Int: 1})
		}
		entries = append(entries, e)
	}
	by := int64(len(entries))
	c := l.next(append(entries, record(evidence.KindAudit, textFact(evidence.KindAudit, "event_type", "ErasureExecuted")))...)
	log := &c.Logs[0]
	log.Tiles = []store.Tile{{Data: make([]byte, 8192)}}
	log.KeepCheckpoint = true
	for no := range int64(2) {
		log.Sealed = append(log.Sealed, store.SealedSegment{SegmentRef: store.SegmentRef{LogNo: 1, No: no}, ID: [16]byte{byte(no)}, Key: store.KeyID{1}, Data: []byte("x")})
	}
	log.Keys = []store.DataKey{{ID: store.KeyID{1}, Scope: store.ScopeDay, Label: "d", Wrapped: []byte("w")}}
	log.Index = []store.IndexEntry{
		{Name: "subject", MAC: [16]byte{1}, Position: store.Position{LogNo: 1, Seq: 1}},
		{Name: "subject", MAC: [16]byte{2}, Position: store.Position{LogNo: 1, Seq: 2}, Trace: "trace"},
	}
	log.Runs = []store.RunState{{Run: "run", NextN: 1, Last: store.Position{LogNo: 1}}}
	log.Removal = &store.Removal{By: store.Position{LogNo: 1, Seq: by}, Segments: []store.SegmentRef{{LogNo: 1, No: 1}}}
	if err := l.commit(t.Context(), db, c); err != nil {
		t.Fatal(err)
	}
	if err := db.KeepAttestations(t.Context(), l.ref, []store.Attestation{{Size: 1, Kind: store.KindTimestamp, By: "authority", Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	return l
}

func wantHead(t testing.TB, s store.Reader, l *testLog, want store.Head) {
	t.Helper()
	got, err := s.Head(context.Background(), l.ref)
	if err != nil {
		t.Fatal(err)
	}
	if got.Size != want.Size || got.Root != want.Root || string(got.Note) != string(want.Note) {
		t.Fatalf("head of %s has size %d and root %s, want %d and %s", l.ref.Tenant, got.Size, got.Root, want.Size, want.Root)
	}
}

// shell is a session beside the store, in its schema.
func shell(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(conn) })
	run(t, conn, "SET search_path = "+postgres.DefaultSchema)
	return conn
}

func closeConn(conn *pgx.Conn) { _ = conn.Close(context.Background()) }

func run(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// texts returns the first column of a query, as text.
func texts(t testing.TB, conn *pgx.Conn, sql string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}
