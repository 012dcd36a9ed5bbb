package facade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/runs"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// notedStore notes every question that is put to a store, with what is asked for.
type notedStore struct {
	store.Store
	mu    sync.Mutex
	calls []string
}

// unnoted are the questions that nobody who reads asks: of a server's start, its
// credentials, verification, lifecycle, and where leaves are that have moved.
var unnoted = []string{
	"APIKey", "APIKeys", "AllRuns", "Archives", "Attestations", "Checkpoints", "Damage", "Guards", "HeldRecords", "HeldRuns",
	"HoldParts", "Holds", "HoldsMark", "Index", "Instance", "Marks", "OpenRuns", "RecordIDs", "SealedSegments", "SealedSegmentsOf", "SealedUnder", "Setting", "Settings", "SettingsUnder",
	"Tiles",
}

func (s *notedStore) note(call string, args ...any) {
	for i, a := range args {
		if q, ok := a.(store.Query); ok {
			args[i] = q.Tenant + " " + q.Kind.String() + " " + text(q)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf("%s %v", call, args))
}

// text shows a query whole, but of a term of the sealed index only what it is of:
// the rest is the id.
func text(q store.Query) string {
	var hide func(list []store.Condition) []store.Condition
	hide = func(list []store.Condition) []store.Condition {
		list = slices.Clone(list)
		for i, c := range list {
			if c.Index != nil {
				list[i].Index = &store.IndexTerm{Name: c.Index.Name}
			}
			list[i].Any = hide(c.Any)
		}
		return list
	}
	q.Where = hide(q.Where)
	b, err := json.Marshal(q)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (s *notedStore) take() (calls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, s.calls = s.calls, nil
	return calls
}

func (s *notedStore) Logs(ctx context.Context, tenant string) ([]store.Log, error) {
	s.note("Logs", tenant)
	return s.Store.Logs(ctx, tenant)
}

func (s *notedStore) Head(ctx context.Context, log store.LogRef) (store.Head, error) {
	s.note("Head", log)
	return s.Store.Head(ctx, log)
}

func (s *notedStore) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	s.note("Segments", log, from, to)
	return s.Store.Segments(ctx, log, from, to, fn)
}

func (s *notedStore) Tile(ctx context.Context, log store.LogRef, level int, n int64) ([]byte, error) {
	s.note("Tile", log, level, n)
	return s.Store.Tile(ctx, log, level, n)
}

func (s *notedStore) FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]store.Position, error) {
	s.note("FindIDs", tenant, len(ids))
	return s.Store.FindIDs(ctx, tenant, ids)
}

func (s *notedStore) FindSpans(ctx context.Context, tenant string, spans []store.Span) (map[store.Span]store.Position, error) {
	s.note("FindSpans", tenant, len(spans))
	return s.Store.FindSpans(ctx, tenant, spans)
}

func (s *notedStore) Runs(ctx context.Context, tenant string, list []string) (map[string]store.RunState, error) {
	s.note("Runs", tenant, list)
	return s.Store.Runs(ctx, tenant, list)
}

func (s *notedStore) Expiries(ctx context.Context, tenant string, fn func(store.Expiry) error) error {
	s.note("Expiries", tenant)
	return s.Store.Expiries(ctx, tenant, fn)
}

func (s *notedStore) RunRecords(ctx context.Context, tenant, run string, fn func(store.RunRecord) error) error {
	s.note("RunRecords", tenant, run)
	return s.Store.RunRecords(ctx, tenant, run, fn)
}

func (s *notedStore) DataKeys(ctx context.Context, tenant, scope, label string) ([]store.DataKey, error) {
	s.note("DataKeys", tenant, scope, label)
	return s.Store.DataKeys(ctx, tenant, scope, label)
}

func (s *notedStore) DataKey(ctx context.Context, tenant string, id store.KeyID) (store.DataKey, error) {
	s.note("DataKey", tenant, id)
	return s.Store.DataKey(ctx, tenant, id)
}

func (s *notedStore) SealedSegment(ctx context.Context, tenant string, ref store.SegmentRef) (store.SealedSegment, error) {
	s.note("SealedSegment", tenant, ref)
	return s.Store.SealedSegment(ctx, tenant, ref)
}

func (s *notedStore) Row(ctx context.Context, log store.LogRef, kind evidence.Kind, seq int64) (store.Row, error) {
	s.note("Row", log, kind, seq)
	return s.Store.Row(ctx, log, kind, seq)
}

func (s *notedStore) Rows(ctx context.Context, log store.LogRef, kind evidence.Kind, from, to int64, fn func(*store.Row) error) error {
	s.note("Rows", log, kind, from, to)
	return s.Store.Rows(ctx, log, kind, from, to, fn)
}

func (s *notedStore) FindIndex(ctx context.Context, tenant, name string, mac [16]byte, limit int) ([]store.IndexEntry, error) {
	s.note("FindIndex", tenant, name, limit)
	return s.Store.FindIndex(ctx, tenant, name, mac, limit)
}

func (s *notedStore) Find(ctx context.Context, q store.Query, fn func(store.Found) error) error {
	s.note("Find", q)
	return s.Store.Find(ctx, q, fn)
}

func (s *notedStore) Count(ctx context.Context, q store.Query, limit int64) (int64, error) {
	s.note("Count", q, limit)
	return s.Store.Count(ctx, q, limit)
}

func (s *notedStore) Components(ctx context.Context, tenant string, limit int) ([]string, error) {
	s.note("Components", tenant, limit)
	return s.Store.Components(ctx, tenant, limit)
}

func (s *notedStore) RunOfAlias(ctx context.Context, tenant, alias string) (string, error) {
	s.note("RunOfAlias", tenant, alias)
	return s.Store.RunOfAlias(ctx, tenant, alias)
}

func (s *notedStore) RunOfTrace(ctx context.Context, tenant, traceID string) (string, error) {
	s.note("RunOfTrace", tenant, traceID)
	return s.Store.RunOfTrace(ctx, tenant, traceID)
}

func (s *notedStore) OpenRunsOf(ctx context.Context, tenant, before string, limit int, fn func(store.RunState) error) error {
	s.note("OpenRunsOf", tenant, before, limit)
	return s.Store.OpenRunsOf(ctx, tenant, before, limit, fn)
}

// TestNotedAll: a new question of the store is noted too, or is said not to be one
// of reading.
func TestNotedAll(t *testing.T) {
	reader := reflect.TypeFor[store.Reader]()
	for i := range reader.NumMethod() {
		if name := reader.Method(i).Name; isNoted(name) == slices.Contains(unnoted, name) {
			t.Errorf("%s: noted %v, which is not what is said of it", name, isNoted(name))
		}
	}
}

// isNoted calls a method of a notedStore that has no store below: it breaks off,
// after it has noted the call or without.
func isNoted(method string) bool {
	s := &notedStore{}
	m := reflect.ValueOf(s).MethodByName(method)
	args := make([]reflect.Value, m.Type().NumIn())
	for i := range args {
		args[i] = reflect.Zero(m.Type().In(i))
	}
	func() {
		defer func() { _ = recover() }()
		m.Call(args)
	}()
	return len(s.calls) == 1
}

// newNotedRig is a rig whose store, below ledger and seal, notes what it is asked.
func newNotedRig(t *testing.T) (*rig, *notedStore) {
	t.Helper()
	r := &rig{t: t, ctx: context.Background(), clock: &rigClock{now: rigStart.Time().Add(time.Hour)}, mapper: otlp.New(otlp.Config{})}
	base := t.TempDir()
	db, err := storerig.Open(r.ctx, filepath.Join(base, "data"))
	r.must(err)
	master, err := seal.OpenMaster(filepath.Join(base, rigMaster), true)
	r.must(err)
	anchor, err := ledger.NewDirAnchor(filepath.Join(base, "anchor"))
	r.must(err)
	noted := &notedStore{Store: db}
	r.ledger, err = ledger.Open(r.ctx, ledger.Config{
		Store: noted, Sealer: seal.New(noted, master), Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), Clock: ledger.Clock{Now: r.clock.Now, Boot: r.clock.boot},
	})
	r.must(err)
	r.tracker, err = runs.Open(r.ctx, runs.Config{
		Ledger: r.ledger, Reread: r.mapper.Reread, Logger: slog.New(slog.DiscardHandler), Now: r.clock.Now,
	})
	r.must(err)
	r.Facade = New(Config{Ledger: r.ledger, Runs: r.tracker, Now: r.clock.Now})
	t.Cleanup(func() {
		if err := errors.Join(r.tracker.Close(r.ctx), r.ledger.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, tenant := range []string{"acme", "other"} {
		_, err := r.ledger.CreateTenant(r.ctx, tenant)
		r.must(err)
	}
	return r, noted
}

// TestForeignQueries: what another tenant has makes the same questions to the
// store, argument by argument, and the same answer, as what nobody has.
func TestForeignQueries(t *testing.T) {
	r, noted := newNotedRig(t)
	const odd, oddUnknown = "job № 42", "job № 43"
	r.add("other", append(r.simpleRun(1, 0), r.native("trace", after(0), fields{
		"run_id": traceID(1), "trace_id": traceID(9), "run_alias": "job-42", "root_hash": "hash-42",
	}))...)
	r.add("other", append(r.simpleRun(2, 0), r.native("trace", after(0), fields{
		"run_id": traceID(2), "trace_id": traceID(2), "run_alias": odd,
	}))...)
	r.settle()
	r.add("other", r.simpleRun(3, 0)[1:]...) // goes on
	r.add("acme", r.simpleRun(7, 0)...)
	r.settle()
	r.add("other", r.simpleRun(4, 0)[1:]...) // goes on
	asks := map[string]func(rd Reader, run string) (any, error){
		"run id":     func(rd Reader, run string) (any, error) { return r.RunID(r.ctx, rd, run) },
		"envelope":   func(rd Reader, run string) (any, error) { return r.Envelope(r.ctx, rd, run) },
		"trace":      func(rd Reader, run string) (any, error) { return r.Trace(r.ctx, rd, run, Paging{}) },
		"governance": func(rd Reader, run string) (any, error) { return r.Governance(r.ctx, rd, run, Paging{}) },
		"replay":     func(rd Reader, run string) (any, error) { return r.Replay(r.ctx, rd, run, ReplayParams{}) },
		"system":     func(rd Reader, run string) (any, error) { return r.SystemReplay(r.ctx, rd, run, ReplayParams{}) },
		"snapshot":   func(rd Reader, run string) (any, error) { return r.Snapshot(r.ctx, rd, run) },
		"telemetry":  func(rd Reader, run string) (any, error) { return r.Telemetry(r.ctx, rd, run, Paging{}) },
		"events":     func(rd Reader, run string) (any, error) { return r.Events(r.ctx, rd, run, Paging{}) },
		"runs":       func(rd Reader, run string) (any, error) { return r.Runs(r.ctx, rd, RunFilter{RunID: run}, Paging{}) },
		"open runs": func(rd Reader, run string) (any, error) {
			return r.Runs(r.ctx, rd, RunFilter{RunID: run, Status: "RUNNING"}, Paging{})
		},
		"trace id": func(rd Reader, run string) (any, error) { return r.Runs(r.ctx, rd, RunFilter{TraceID: run}, Paging{}) },
		"audit":    func(rd Reader, run string) (any, error) { return r.Audit(r.ctx, rd, AuditFilter{RunID: run}, Paging{}) },
		"access": func(rd Reader, run string) (any, error) {
			return r.Access(r.ctx, rd, AuditFilter{RunID: run}, Paging{})
		},
		"exports": func(rd Reader, run string) (any, error) {
			return r.Exports(r.ctx, rd, AuditFilter{RunID: run}, Paging{})
		},
		"root hash": func(rd Reader, run string) (any, error) { return r.RunsByRootHash(r.ctx, rd, run, Paging{Limit: 5}) },
	}
	ids := []struct{ name, foreign, unknown string }{
		{"run", traceID(1), strings.Repeat("e", 32)},
		{"trace id", traceID(9), strings.Repeat("e", 32)},
		{"alias", "job-42", "job-43"},
		{"sealed alias", odd, oddUnknown},
		{"open run", traceID(4), strings.Repeat("e", 32)},
		{"root hash", "hash-42", "hash-43"},
	}
	for name, ask := range asks {
		for _, id := range ids {
			for _, rd := range []Reader{r.reader(), r.privileged()} {
				see := func(which string) (calls []string, said string) {
					noted.take()
					v, err := ask(rd, which)
					said = fmt.Sprintf("%s %v", r.text(v), err)
					for _, call := range noted.take() {
						calls = append(calls, strings.ReplaceAll(call, which, "ID"))
					}
					return calls, strings.ReplaceAll(said, which, "ID")
				}
				see(id.unknown) // what is remembered of the reader's own tenant is
				calls, said := see(id.unknown)
				foreignCalls, foreignSaid := see(id.foreign)
				if len(calls) == 0 && name != "root hash" {
					t.Errorf("%s by %s asks the store nothing", name, id.name)
				}
				if diff := cmp.Diff(calls, foreignCalls); diff != "" {
					t.Errorf("%s by %s, content %v: questions (-unknown +foreign):\n%s", name, id.name, rd.Content, diff)
				}
				if said != foreignSaid {
					t.Errorf("%s by %s, content %v: %s, and of what nobody has %s", name, id.name, rd.Content, foreignSaid, said)
				}
				if strings.Contains(foreignSaid, "other") || strings.Contains(strings.Join(foreignCalls, ""), " other ") {
					t.Errorf("%s by %s names another tenant", name, id.name)
				}
			}
		}
	}
	// What is the tenant's own makes others: the notes tell.
	noted.take()
	_, err := r.Envelope(r.ctx, r.reader(), traceID(7))
	r.must(err)
	mine := noted.take()
	if _, err := r.Envelope(r.ctx, r.reader(), strings.Repeat("e", 32)); !errors.Is(err, evidence.ErrNotFound) || len(noted.take()) == len(mine) {
		t.Errorf("an own run and an unknown one make the same questions: %q, %v", mine, err)
	}
	if _, err := r.Envelope(r.ctx, readerOf("other"), odd); err != nil {
		t.Errorf("its own tenant: %v", err)
	}
}
