package move_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// side is a place for a store, which may be opened again and again.
type side struct {
	name string
	open func() (store.Store, error)
}

func sqliteIn(dir string) side {
	return side{dir, func() (store.Store, error) { return sqlite.Open(context.Background(), sqlite.Config{Dir: dir}) }}
}

func sqliteSide(t testing.TB) side { return sqliteIn(filepath.Join(t.TempDir(), "data")) }

func postgresSide(t testing.TB) side {
	dsns := pgtest.Copy(t, "migrated", func(dsns pgtest.DSNs) error {
		db, err := postgres.Open(context.Background(), postgres.Config{DSN: dsns.App, OwnerDSN: dsns.Owner})
		if err != nil {
			return err
		}
		return db.Close()
	})
	return side{dsns.App, func() (store.Store, error) {
		return postgres.Open(context.Background(), postgres.Config{DSN: dsns.App})
	}}
}

// postgresNamed is a database under another name of the program that opens it.
func postgresNamed(s side, name string) side {
	dsn := s.name + "&application_name=" + url.QueryEscape(name)
	return side{s.name, func() (store.Store, error) {
		return postgres.Open(context.Background(), postgres.Config{DSN: dsn})
	}}
}

// backends are where stores can be.
var backends = map[string]func(t testing.TB) side{"sqlite": sqliteSide, "postgres": postgresSide}

func (s side) mustOpen(t testing.TB) store.Store {
	t.Helper()
	db, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // a second time where the test did
	return db
}

// deployment is a store with what belongs to it.
type deployment struct {
	side
	master tink.AEAD
	anchor string
}

// config is that of a copy to another place.
func (d deployment) config(t testing.TB, from, to store.Store, other side) move.Config {
	t.Helper()
	anchor, err := ledger.NewDirAnchor(d.anchor)
	if err != nil {
		t.Fatal(err)
	}
	return move.Config{From: from, To: to, FromName: d.name, ToName: other.name, Master: d.master, Anchor: anchor}
}

// copyTo copies with stores of its own, as the command does.
func (d deployment) copyTo(t testing.TB, other side, set ...func(*move.Config)) (*move.Report, error) {
	t.Helper()
	from, err := d.open()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := other.open()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	cfg := d.config(t, from, to, other)
	for _, f := range set {
		f(&cfg)
	}
	return move.Copy(context.Background(), cfg)
}

// at is the deployment at another place, with the same anchor.
func (d deployment) at(other side) deployment { return deployment{other, d.master, d.anchor} }

// ledger opens the deployment as a server does.
func (d deployment) ledger(t testing.TB) (*ledger.Ledger, store.Store, error) {
	t.Helper()
	return d.ledgerAt(t, 0)
}

// ledgerAt is ledger at a time ago.
func (d deployment) ledgerAt(t testing.TB, ago time.Duration) (*ledger.Ledger, store.Store, error) {
	t.Helper()
	db := d.mustOpen(t)
	if err := move.Check(context.Background(), db); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	anchor, err := ledger.NewDirAnchor(d.anchor)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(context.Background(), ledger.Config{
		Store: db, Sealer: seal.New(db, d.master), Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), PublishEvery: 10 * time.Millisecond,
		Clock: ledger.Clock{Now: func() time.Time { return time.Now().Add(-ago) }},
	})
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return l, db, nil
}

func (d deployment) use(t testing.TB, f func(l *ledger.Ledger, db store.Store)) {
	t.Helper()
	d.useAt(t, 0, f)
}

func (d deployment) useAt(t testing.TB, ago time.Duration, f func(l *ledger.Ledger, db store.Store)) {
	t.Helper()
	l, db, err := d.ledgerAt(t, ago)
	if err != nil {
		t.Fatal(err)
	}
	f(l, db)
	if err := errors.Join(l.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func step(trace, span int, more string) string {
	return fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T15:00:00.%06dZ","run_id":"%032x","trace_id":"%032x","span_id":"%016x",`+
		`"skill_name":"execute_tool get_weather","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"TraceStore","agent_id":"agent-7"%s}`,
		span, trace, trace, span, more)
}

func appendTo(t testing.TB, l *ledger.Ledger, tenant string, lines ...string) []ledger.Receipt {
	t.Helper()
	records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	receipts, err := l.Append(context.Background(), tenant, records, ledger.AppendOptions{Producer: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return receipts
}

const content = `,"params":{"q":1},"prompt":"the prompt of %d","status_message":"ok","human_actor_id":"ada-%d"`

// fill gives a new deployment all that one can have.
func fill(t testing.TB, l *ledger.Ledger, db store.Store) {
	t.Helper()
	ctx := context.Background()
	expire(t, l, db)
	for _, tenant := range []string{"0", "-", strings.Repeat("z9-", 21)} {
		if _, err := l.CreateTenant(ctx, tenant); err != nil {
			t.Fatal(err)
		}
	}
	var all []ledger.Receipt
	for i := range 40 {
		var lines []string
		for j := range 17 {
			more := fmt.Sprintf(content, j, i%5)
			if j%4 == 0 {
				more += fmt.Sprintf(`,"subject":"sue-%d","correlation_id":"zürich-%d"`, i%7, i)
			}
			lines = append(lines, step(i, j+1, more))
		}
		all = append(all, appendTo(t, l, "acme", lines...)...)
	}
	odd := `{"kind":"llm_run","occurred_at":"2026-11-23T15:00:01Z","run_id":"Weird Run/ü:%d~","execution_status":"SUCCEEDED","prompt":"p\u0000q","response":"ü",` +
		`"run_alias":"alias %d","source_domain":"ACTIVITY","source_component":"TraceStore"}`
	for i := range 5 {
		appendTo(t, l, "0", fmt.Sprintf(odd, i, i), step(i, 1, fmt.Sprintf(content, 1, i)))
		appendTo(t, l, "-", step(i, 1, ""), step(i, 2, ""))
	}
	appendTo(t, l, "acme", step(3, 5, `,"params":{"q":"another"}`)) // a conflict
	fields := func(n int, paths ...string) []ledger.ErasedField {
		return []ledger.ErasedField{{Position: store.Position{LogNo: all[n].LogNo, Seq: all[n].LeafIndex}, Paths: paths}}
	}
	erase(t, l, ledger.Erasure{By: "op", Reason: "asked", Fields: fields(20, "/prompt")})
	erase(t, l, ledger.Erasure{By: "op", Reason: "asked", Fields: fields(20, "/params")}) // what was replaced is replaced
	erase(t, l, ledger.Erasure{By: "op", Reason: "asked", Person: "ada-2"})
	for i := range 2 {
		if _, err := l.Rollover(ctx, "acme"); err != nil {
			t.Fatal(err)
		}
		for j := range 30 {
			appendTo(t, l, "acme", step(100+i, j+1, fmt.Sprintf(content+`,"subject":"sue-1"`, j, i)))
		}
	}
	if _, err := l.Rollover(ctx, "0"); err != nil {
		t.Fatal(err)
	}
	erase(t, l, ledger.Erasure{By: "op", Reason: "asked", Person: "sue-1"}) // of several logs
	appendTo(t, l, "acme", step(3, 77, `,"human_actor_id":"ada-2"`))        // a run of old, and a new key of hers
	if err := l.SettleRuns(ctx, "acme", map[string]int64{fmt.Sprintf("%032x", 5): 17}); err != nil {
		t.Fatal(err)
	}
	attest(t, l, db)
	credentials(t, db)
}

func erase(t testing.TB, l *ledger.Ledger, e ledger.Erasure) {
	t.Helper()
	out, err := l.Erase(context.Background(), "acme", e)
	if err != nil {
		t.Fatal(err)
	}
	if out.Fields == 0 {
		t.Fatalf("%+v erased nothing", e)
	}
}

// attest keeps what witnesses and authorities said. Their keys are not ours, so the
// signatures may be anything.
func attest(t testing.TB, l *ledger.Ledger, db store.Store) {
	t.Helper()
	ctx := context.Background()
	for no := 1; no <= 3; no++ {
		head, note, err := l.PublishNow(ctx, "acme", no)
		if err != nil {
			t.Fatal(err)
		}
		list := []store.Attestation{{Size: head.Size, Kind: store.KindTimestamp, By: "authority zürich", At: 17, Note: note, Data: []byte("DER\x00\xff")}}
		for size := int64(1); size < 4; size++ {
			line := "— w.example/1 " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "\x01\x02\x03%c%064d", size, size)) + "\n"
			list = append(list, store.Attestation{Size: size, Kind: store.KindCosignature, By: "w.example/1", Key: fmt.Sprintf("010203%02x", size), At: 18, Data: []byte(line)})
		}
		if err := db.KeepAttestations(ctx, store.LogRef{Tenant: "acme", No: no}, list); err != nil {
			t.Fatal(err)
		}
	}
}

func credentials(t testing.TB, db store.Store) {
	t.Helper()
	ctx := context.Background()
	for _, k := range []store.APIKey{
		{ID: "k1", Tenant: "acme", Role: "producer", Name: "with a \x00 and ü", Scopes: []string{"a", "b"}, Hash: [32]byte{1}, CreatedAt: 5, CreatedBy: "op", ExpiresAt: 9, UsedAt: 6},
		{ID: "k2", Role: "admin", Hash: [32]byte{2}, CreatedAt: 4, RevokedAt: 8, Recorded: true},
	} {
		if err := db.PutAPIKey(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{"a/setting": "ü\n", "empty": ""} {
		if err := db.SetSetting(ctx, name, value); err != nil {
			t.Fatal(err)
		}
	}
}

var filled struct {
	sync.Once
	dir string
	err error
}

// source returns a deployment on a backend. On SQLite it is filled once and copied.
func source(t testing.TB, backend string) deployment {
	t.Helper()
	if backend != "sqlite" {
		return made(t, backends[backend](t), filepath.Join(t.TempDir(), "master.json"), filepath.Join(t.TempDir(), "anchor"))
	}
	filled.Do(func() {
		dir, err := os.MkdirTemp("", "move-")
		if err != nil {
			t.Fatal(err)
		}
		filled.dir = dir
		made(t, sqliteIn(filepath.Join(dir, "data")), filepath.Join(dir, "master.json"), filepath.Join(dir, "anchor"))
	})
	dir := filepath.Join(t.TempDir(), "source")
	if err := os.CopyFS(dir, os.DirFS(filled.dir)); err != nil {
		t.Fatal(err)
	}
	return deployment{sqliteIn(filepath.Join(dir, "data")), master(t, filepath.Join(dir, "master.json")), filepath.Join(dir, "anchor")}
}

func made(t testing.TB, at side, keyset, anchor string) deployment {
	t.Helper()
	d := deployment{at, master(t, keyset), anchor}
	d.useAt(t, old, func(l *ledger.Ledger, _ store.Store) { age(t, l) })
	d.use(t, func(l *ledger.Ledger, db store.Store) { fill(t, l, db) })
	return d
}

func master(t testing.TB, file string) tink.AEAD {
	t.Helper()
	m, err := seal.OpenMaster(file, true)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMain(m *testing.M) {
	code := m.Run()
	if filled.dir != "" {
		_ = os.RemoveAll(filled.dir)
	}
	os.Exit(code)
}

// tables is a report's tables by name.
func tables(r *move.Report) map[string]int64 {
	out := map[string]int64{}
	for _, t := range r.Tables {
		out[t.Name] = t.Rows
	}
	return out
}
