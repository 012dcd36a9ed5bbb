package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// rig is a ledger over a real store in a directory.
type rig struct {
	*ledger.Ledger
	dir    string
	db     store.Store
	sealer *seal.Sealer
	anchor *ledger.DirAnchor
}

type rigOption func(*ledger.Config)

func openRig(t testing.TB, dir string, opts ...rigOption) *rig {
	t.Helper()
	r, err := tryRig(t, dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryRig(t testing.TB, dir string, opts ...rigOption) (*rig, error) {
	t.Helper()
	ctx := context.Background()
	db, err := storerig.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	if err != nil {
		return nil, err
	}
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, db: db, sealer: seal.New(db, master), anchor: anchor}
	cfg := ledger.Config{
		Store: db, Sealer: r.sealer, Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), PublishEvery: 20 * time.Millisecond,
	}
	for _, o := range opts {
		o(&cfg)
	}
	r.Ledger, err = ledger.Open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	t.Cleanup(r.close)
	return r, nil
}

func (r *rig) close() {
	if r.Ledger != nil {
		r.Ledger.Close()
		r.db.Close()
		r.Ledger = nil
	}
}

func (r *rig) tenant(t testing.TB, name string) ledger.LogInfo {
	t.Helper()
	info, err := r.CreateTenant(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// native parses native records, one a line.
func native(t testing.TB, lines ...string) []*evidence.Record {
	t.Helper()
	records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func step(trace, span int, more string) string {
	return fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T15:00:00.%06dZ","run_id":"%032x","trace_id":"%032x","span_id":"%016x",`+
		`"skill_name":"execute_tool get_weather","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"TraceStore","agent_id":"agent-7"%s}`,
		span, trace, trace, span, more)
}

func (r *rig) append(t testing.TB, tenant string, lines ...string) []ledger.Receipt {
	t.Helper()
	receipts, err := r.Append(context.Background(), tenant, native(t, lines...), ledger.AppendOptions{Producer: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return receipts
}

func TestAppendProveReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := openRig(t, dir)
	r.tenant(t, "acme")
	var all []ledger.Receipt
	for i := range 40 {
		var lines []string
		for j := range 20 {
			lines = append(lines, step(i, j+1, fmt.Sprintf(`,"params":{"n":%d, "big": 9007199254740993},"human_actor_id":"ada-%d"`, j, i%3)))
		}
		all = append(all, r.append(t, "acme", lines...)...)
	}
	for i, rec := range all {
		if rec.LeafIndex != int64(i+1) || rec.Duplicate {
			t.Fatalf("receipt %d: %+v", i, rec)
		}
	}
	again := r.append(t, "acme", step(3, 5, `,"params":{"n":4, "big": 9007199254740993},"human_actor_id":"ada-0"`))
	if !again[0].Duplicate || again[0].LeafIndex != all[3*20+4].LeafIndex {
		t.Fatalf("repeat: %+v, first %+v", again[0], all[3*20+4])
	}
	other := r.append(t, "acme", step(3, 5, `,"params":{"n":5}`))
	if other[0].ConflictOf != all[3*20+4].ID || other[0].LeafIndex != 801 {
		t.Fatalf("conflict: %+v", other[0])
	}
	check := func() {
		t.Helper()
		if _, err := r.WaitPublished(context.Background(), "acme", 1, 802); err != nil {
			t.Fatal(err)
		}
		for _, rec := range all {
			p, err := r.ProveSeq(context.Background(), "acme", 1, rec.LeafIndex)
			if err != nil {
				t.Fatal(err)
			}
			if evidence.LeafHash(p.Leaf) != rec.LeafHash {
				t.Fatalf("leaf %d is not the one of the receipt", rec.LeafIndex)
			}
		}
	}
	check()
	r.close()
	r = openRig(t, dir)
	check()
	if _, err := r.Locate(context.Background(), "acme", all[7].ID); err != nil {
		t.Fatal(err)
	}
	pos, err := r.LocateSpan(context.Background(), "acme", store.Span{TraceID: fmt.Sprintf("%032x", 1), SpanID: fmt.Sprintf("%016x", 2)})
	if err != nil || pos.Seq != all[21].LeafIndex {
		t.Fatal(pos, err)
	}
	info, err := r.Rollover(context.Background(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	more := r.append(t, "acme", step(3, 77, ""))
	if more[0].Log != info.Origin || more[0].LeafIndex != 1 {
		t.Fatalf("after rollover: %+v", more[0])
	}
	if again := r.append(t, "acme", step(3, 5, `,"params":{"n":5}`)); !again[0].Duplicate {
		t.Fatalf("repeat of a conflict: %+v", again[0])
	}
}
