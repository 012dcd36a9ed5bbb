package ledger_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// deployment is a closed data directory with its anchor, and what is true of
// it: every leaf, kept apart from the database.
type deployment struct {
	dir  string
	logs []deployedLog
	// erased are records of acme's log 1 that lost content.
	erased ledger.Erased
}

type deployedLog struct {
	ledger.LogInfo
	key    storerig.Log
	size   int64
	note   []byte
	leaves [][]byte
}

func (d *deployment) log(tenant string, no int) *deployedLog {
	for i := range d.logs {
		if d.logs[i].Tenant == tenant && d.logs[i].No == no {
			return &d.logs[i]
		}
	}
	return nil
}

// main is the log that most cases alter: the newest of acme, with full tiles
// and a tail.
func (d *deployment) main() *deployedLog { return d.log("acme", 2) }

func (l *deployedLog) parse(seq int64) *evidence.Leaf {
	leaf, err := evidence.ParseLeaf(l.leaves[seq])
	if err != nil {
		panic(err)
	}
	return leaf
}

// find returns the first leaf at or after from that is as wanted.
func (l *deployedLog) find(from int64, want func(*evidence.Leaf) bool) *evidence.Leaf {
	for seq := from; seq < l.size; seq++ {
		if leaf := l.parse(seq); want(leaf) {
			return leaf
		}
	}
	panic(fmt.Sprintf("log %s has no such leaf from %d on", l.Origin, from))
}

// rootOf computes a root by RFC 6962 section 2.1, and nothing else.
func rootOf(leaves [][]byte) evidence.Hash {
	hashes := make([]evidence.Hash, len(leaves))
	for i, l := range leaves {
		hashes[i] = evidence.LeafHash(l)
	}
	return rootOfHashes(hashes)
}

func rootOfHashes(h []evidence.Hash) evidence.Hash {
	switch len(h) {
	case 0:
		return c2sp.EmptyRoot
	case 1:
		return h[0]
	}
	k := 1
	for k*2 < len(h) {
		k *= 2
	}
	return evidence.NodeHash(rootOfHashes(h[:k]), rootOfHashes(h[k:]))
}

var base = sync.OnceValues(func() (*deployment, error) {
	dir, err := os.MkdirTemp("", "runledger-tamper-*")
	if err != nil {
		return nil, err
	}
	baseDir = dir
	return buildDeployment(filepath.Join(dir, "data"))
})

var baseDir string

// The base deployment is in a directory of its own, not a test's: it is
// removed when all tests are done.
func TestMain(m *testing.M) {
	code := m.Run()
	if baseDir != "" {
		os.RemoveAll(baseDir)
	}
	os.Exit(code)
}

// copyOf returns a copy of the base deployment to alter.
func copyOf(t testing.TB) *deployment {
	t.Helper()
	d, err := base()
	if err != nil {
		t.Fatal(err)
	}
	c := *d
	c.dir = filepath.Join(t.TempDir(), "data")
	for _, suffix := range []string{"", ".anchor"} {
		if err := storerig.Copy(c.dir+suffix, d.dir+suffix); err != nil {
			t.Fatal(err)
		}
	}
	return &c
}

// full returns a record that has every field of its kind, public and sealed,
// by the field table: a field added there is altered by the tests too.
// Without optional it has no field that may be absent.
func full(kind evidence.Kind, optional bool, t time.Time) *evidence.Record {
	n := 0
	if optional {
		n = 1
	}
	at := evidence.MicrosOf(t)
	r := &evidence.Record{Kind: kind, OccurredAt: at, Run: fmt.Sprintf("run-full-%s-%d", kind, n)}
	switch kind {
	case evidence.KindTrace, evidence.KindLLMRun:
	case evidence.KindTraceStep:
		if !optional { // a step without a span
			r.ID = fixedID("full step without a span")
		}
	default:
		r.ID = fixedID(fmt.Sprintf("full %s %d", kind, n))
	}
	for _, f := range evidence.PublicFields(kind) {
		if neverSet(kind, f) || (f.Optional && !optional) {
			continue
		}
		switch f.Type {
		case evidence.TypeInt, evidence.TypeCount:
			r.SetInt(f.Name, int64(3+n))
		case evidence.TypeBool:
			r.SetBool(f.Name, true)
		case evidence.TypeTime:
			r.SetInt(f.Name, int64(at))
		case evidence.TypeNames:
			r.SetNames(f.Name, []string{"a-" + f.Name, "b-" + f.Name})
		case evidence.TypeEnum:
			r.SetText(f.Name, f.Enum[0])
		case evidence.TypeInteger:
			r.SetText(f.Name, "12345678901234567890")
		case evidence.TypeDecimal:
			r.SetText(f.Name, "12.50")
		case evidence.TypeRun:
			r.SetText(f.Name, "run-about-"+f.Name)
		case evidence.TypeTraceID:
			r.SetText(f.Name, fmt.Sprintf("fa11%024x%04x", int(kind), n))
		case evidence.TypeSpanID:
			r.SetText(f.Name, fmt.Sprintf("fa%014x", n+len(f.Name)))
		default:
			r.SetText(f.Name, "v-"+f.Name)
		}
	}
	// Rules that join fields.
	r.SetText("actor_type", "SYSTEM")
	r.SetText("origin", "SYSTEM")
	if optional {
		r.SetText("actor_type", "AGENT")
		r.SetText("origin", "AGENT")
		r.SetText("conflict_of", fixedID("contradicted").String())
	}
	if f := evidence.PublicField(kind, "event_type"); f != nil {
		r.SetText("event_type", "CustomEvent")
	}
	for _, s := range evidence.SealedFields(kind) {
		switch {
		case s.UnfitOf != "":
		case s.Shape == evidence.ShapeActor:
			r.SetSealed(s.Path, []byte("{}"))
		case s.Shape == evidence.ShapeAttrs:
			r.SetSealed(s.Path, []byte(`[["k","string","v"]]`))
		case s.Path == "/targets": // of erasures only
		default:
			r.SetSealed(s.Path, evidence.QuoteJSON("sealed "+s.Path))
		}
	}
	return r
}

// neverSet reports a column that no valid leaf fills: an export is a fact of
// the server, which has no producer.
func neverSet(kind evidence.Kind, f *evidence.Field) bool {
	return kind == evidence.KindExport && f.Name == "producer"
}

// alwaysSet reports an optional column that has a default.
func alwaysSet(kind evidence.Kind, f *evidence.Field) bool {
	return kind == evidence.KindSystem && f.Name == "system_id"
}

// fixedID returns a UUID of version 4 made from a text.
func fixedID(text string) evidence.ID {
	h := evidence.LeafHash([]byte(text))
	id := evidence.ID(h[:16])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// buildDeployment makes two tenants beside system, with all that a ledger
// knows: all kinds, persons, subjects, unfit names, a conflict, an erasure,
// a rollover, checkpoints, a log of full tiles and several segments.
func buildDeployment(dir string) (*deployment, error) {
	ctx := context.Background()
	var failed error
	tb := &collector{errs: &failed}
	r, err := tryRig(tb, dir)
	if err != nil {
		return nil, err
	}
	defer r.close()
	add := func(tenant string, records ...*evidence.Record) []ledger.Receipt {
		for _, rec := range records {
			if err := rec.Complete(); err != nil && failed == nil {
				failed = fmt.Errorf("complete %s: %w", rec.Kind, err)
			}
		}
		receipts, err := r.Append(ctx, tenant, records, ledger.AppendOptions{})
		if err != nil && failed == nil {
			failed = err
		}
		return receipts
	}
	parse := func(lines ...string) []*evidence.Record {
		records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
		if err != nil && failed == nil {
			failed = err
		}
		return records
	}
	produce := func(tenant string, lines ...string) []ledger.Receipt {
		receipts, err := r.Append(ctx, tenant, parse(lines...), ledger.AppendOptions{Producer: "key-1"})
		if err != nil && failed == nil {
			failed = err
		}
		return receipts
	}
	for _, tenant := range []string{"acme", "globex"} {
		if _, err := r.CreateTenant(ctx, tenant); err != nil {
			return nil, err
		}
	}
	secret := `,"params":{"q":"weather"},"prompt":"what is the weather","attrs":[["k","string","v"]]`
	for i := range 6 {
		var lines []string
		for j := range 6 {
			lines = append(lines, step(100+i, j+1, secret+fmt.Sprintf(`,"human_actor_id":"ada-%d","subject":"subject-%d"`, j%2, i)))
		}
		produce("acme", lines...)
		produce("globex", lines...)
	}
	d := &deployment{}
	// A field of a step, and all of another; both in one run.
	if d.erased, err = r.Erase(ctx, "acme", ledger.Erasure{By: "operator-1", Reason: "request 17", Fields: []ledger.ErasedField{
		{Position: store.Position{LogNo: 1, Seq: 3}, Paths: []string{"/prompt"}},
		{Position: store.Position{LogNo: 1, Seq: 5}},
	}}); err != nil {
		return nil, err
	}
	if _, err := r.Rollover(ctx, "acme"); err != nil {
		return nil, err
	}
	// The long log: traces, steps, events, runs.
	for i := range 56 {
		run := fmt.Sprintf("%032x", 200+i)
		lines := []string{fmt.Sprintf(`{"kind":"trace","occurred_at":"2026-11-23T15:00:00.000000Z","run_id":"%s","trace_id":"%s",`+
			`"source_domain":"ACTIVITY","source_component":"TraceStore","plan":{"steps":[1,2,%d]},"root_hash":"%064x","plan_hash":"%064x"}`, run, run, i, i, i+1)}
		for j := range 8 {
			more := secret + fmt.Sprintf(`,"human_actor_id":"ada-%d"`, i%3)
			switch j {
			case 0:
				more += fmt.Sprintf(`,"subject":"subject-%d"`, i%5)
			case 1:
				more = secret + `,"outcome_code":"naïve ★ code","flags":["fit","not fit ★"]`
			}
			lines = append(lines, step(200+i, j+1, more))
		}
		lines = append(lines,
			fmt.Sprintf(`{"kind":"trace_event","id":"%s","occurred_at":"2026-11-23T15:00:00.000500Z","run_id":"%s","trace_id":"%s","span_id":"%016x",`+
				`"event_name":"exception","source_domain":"ACTIVITY","source_component":"TraceStore","body":{"message":"boom %d"}}`, fixedID("event"+run), run, run, 1, i),
			fmt.Sprintf(`{"kind":"llm_run","occurred_at":"2026-11-23T15:00:00.000000Z","run_id":"%s","trace_id":"%s","execution_status":"SUCCEEDED",`+
				`"source_domain":"ACTIVITY","source_component":"LogsWriter","agent_id":"agent-7","prompt":"p","response":"r"}`, run, run))
		produce("acme", lines...)
	}
	// A contradiction of a step and a record of each kind with every field.
	produce("acme", step(200, 3, `,"params":{"q":"another"}`))
	at := time.Date(2026, 11, 23, 15, 30, 0, 0, time.UTC)
	for _, k := range evidence.Kinds() {
		add("acme", full(k, false, at), full(k, true, at))
	}
	produce("acme",
		fmt.Sprintf(`{"kind":"system","id":"%s","occurred_at":"2026-11-23T15:00:00Z","component":"orchestrator","event_type":"DEPLOYED","severity":"INFO","source_domain":"SYSTEM","source_component":"SystemRecordWriter","summary":"deployed"}`, fixedID("sys")),
		fmt.Sprintf(`{"kind":"metric","id":"%s","occurred_at":"2026-11-23T15:00:00Z","from":"2026-11-23T15:00:00Z","until":"2026-11-23T15:01:00Z","point_count":3,"names":["cpu"],"source_domain":"SYSTEM","source_component":"MetricWriter","points":[1,2,3]}`, fixedID("metric")),
		fmt.Sprintf(`{"kind":"audit","id":"%s","occurred_at":"2026-11-23T15:00:00Z","run_id":"%032x","event_type":"PolicyEvaluated","entity_type":"POLICY_RULE","entity_id":"rule-1","actor_type":"SYSTEM","decision":"ALLOWED","source_domain":"POLICY","source_component":"AuditLedgerWriter"}`, fixedID("audit"), 210),
		fmt.Sprintf(`{"kind":"audit","id":"%s","occurred_at":"2026-11-23T15:00:00Z","event_type":"MemberAdded","entity_type":"IDENTITY","entity_id":"carol","actor_type":"HUMAN","human_actor_id":"ada-1","source_domain":"LOGS","source_component":"AuditLedgerWriter"}`, fixedID("identity")),
		fmt.Sprintf(`{"kind":"trace_event","id":"%s","occurred_at":"2026-11-23T15:00:00Z","event_name":"log","source_domain":"ACTIVITY","source_component":"TraceStore","run_id":"%032x","body":"text"}`, fixedID("log event"), 211),
	)
	export := &evidence.Record{Kind: evidence.KindExport, ID: fixedID("export"), OccurredAt: evidence.MicrosOf(at)}
	for name, value := range map[string]string{
		"export_id": "export-1", "scope": "audit", "format": "zip", "status": "pending",
		"source_domain": "LOGS", "source_component": "LogExporter",
	} {
		export.SetText(name, value)
	}
	add("acme", export)
	for range 4 { // more leaf segments in the tail
		produce("acme", step(300, 1+len(d.logs), ""))
		d.logs = append(d.logs, deployedLog{})
	}
	d.logs = nil
	if failed != nil {
		return nil, failed
	}
	if err := d.note(ctx, r); err != nil {
		return nil, err
	}
	r.close()
	d.dir = dir
	return d, nil
}

// note notes every leaf and head.
func (d *deployment) note(ctx context.Context, r *rig) error {
	tenants, err := r.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, newest := range tenants {
		logs, err := r.Logs(ctx, newest.Tenant)
		if err != nil {
			return err
		}
		for _, info := range logs {
			head, err := r.db.Head(ctx, store.LogRef{Tenant: info.Tenant, No: info.No})
			if err != nil {
				return err
			}
			l := deployedLog{LogInfo: info, key: storerig.Log{Tenant: info.Tenant, No: info.No}, size: head.Size, note: head.Note}
			err = r.Leaves(ctx, info.Tenant, info.No, 0, head.Size, func(_ int64, leaf []byte) error {
				l.leaves = append(l.leaves, bytes.Clone(leaf))
				return nil
			})
			if err != nil {
				return err
			}
			if rootOf(l.leaves) != head.Root {
				return fmt.Errorf("log %s: the signed root is not that of its leaves", info.Origin)
			}
			d.logs = append(d.logs, l)
		}
	}
	return nil
}

// collector lets what needs a testing.TB run where there is none.
type collector struct {
	testing.TB
	errs *error
}

func (c *collector) Helper()        {}
func (c *collector) Cleanup(func()) {}
func (c *collector) Fatal(args ...any) {
	if *c.errs == nil {
		*c.errs = fmt.Errorf("%s", fmt.Sprint(args...))
	}
}

// evil has the database open as an attacker has it, see storerig.Attacker. What fails
// fails the test.
type evil struct {
	testing.TB
	*deployment
	a *storerig.Attacker
}

func (d *deployment) tamper(t testing.TB, fn func(e *evil)) {
	t.Helper()
	err := storerig.Attack(d.dir, func(a *storerig.Attacker) error {
		fn(&evil{TB: t, deployment: d, a: a})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (e *evil) exec(sql string, args ...any) {
	e.Helper()
	if err := e.a.Exec(sql, args...); err != nil {
		e.Fatal(err)
	}
}

// change runs a statement that must change exactly n rows.
func (e *evil) change(n int, sql string, args ...any) {
	e.Helper()
	got, err := e.a.Change(sql, args...)
	if err != nil {
		e.Fatal(err)
	}
	if got != n {
		e.Fatalf("%s: changed %d rows, not %d", sql, got, n)
	}
}

func (e *evil) rows(sql string, args ...any) [][]any {
	e.Helper()
	rows, err := e.a.Rows(sql, args...)
	if err != nil {
		e.Fatal(err)
	}
	return rows
}

// value returns what the one row and column of a query has.
func value[T any](e *evil, sql string, args ...any) T {
	e.Helper()
	rows := e.rows(sql, args...)
	if len(rows) != 1 {
		e.Fatalf("%s: %d rows", sql, len(rows))
	}
	v, ok := rows[0][0].(T)
	if !ok {
		e.Fatalf("%s: a %T", sql, rows[0][0])
	}
	return v
}

func (e *evil) int(sql string, args ...any) int64 {
	e.Helper()
	return value[int64](e, sql, args...)
}

func (e *evil) blob(sql string, args ...any) []byte {
	e.Helper()
	return value[[]byte](e, sql, args...)
}

// places returns the places that a query of row finds, place the one.
func (e *evil) places(sql string, args ...any) []storerig.Place {
	e.Helper()
	out, err := e.a.Places(sql, args...)
	if err != nil {
		e.Fatal(err)
	}
	return out
}

func (e *evil) place(sql string, args ...any) storerig.Place {
	e.Helper()
	out := e.places(sql, args...)
	if len(out) != 1 {
		e.Fatalf("%s: %d rows", sql, len(out))
	}
	return out[0]
}

// row is the place of a row of a log.
func row(l *deployedLog, seq int64) storerig.Place { return l.key.Row(seq) }

func tileRow(l *deployedLog, level int, n int64) storerig.Place {
	return storerig.Place{Log: l.key, Level: level, N: n}
}

// segmentOf returns the place of the leaf segment that holds a leaf.
func (e *evil) segmentOf(l *deployedLog, seq int64) storerig.Place {
	e.Helper()
	return e.place(`SELECT row FROM leaf_segments WHERE row BETWEEN ?1 AND ?2 ORDER BY row DESC LIMIT 1`, row(l, 0), row(l, seq))
}

// setLeaf puts other bytes in the place of a leaf.
func (e *evil) setLeaf(l *deployedLog, seq int64, leaf []byte) {
	e.Helper()
	seg := e.segmentOf(l, seq)
	leaves := e.segment(seg)
	leaves[seq-seg.N] = leaf
	e.change(1, `UPDATE leaf_segments SET data = ?2 WHERE row = ?1`, seg, packLeaves(leaves))
}

func (e *evil) segment(row storerig.Place) [][]byte {
	e.Helper()
	data, err := seal.DecompressLeaves(e.blob(`SELECT data FROM leaf_segments WHERE row = ?1`, row))
	if err != nil {
		e.Fatal(err)
	}
	leaves, err := c2sp.SplitEntries(data, int(e.int(`SELECT count FROM leaf_segments WHERE row = ?1`, row)))
	if err != nil {
		e.Fatal(err)
	}
	return slices.Clone(leaves)
}

func packLeaves(leaves [][]byte) []byte {
	var b []byte
	for _, l := range leaves {
		b = binary.BigEndian.AppendUint16(b, uint16(len(l)))
		b = append(b, l...)
	}
	return seal.Compress(nil, b)
}

// altered returns a leaf with one text replaced; it stays canonical.
func altered(t testing.TB, leaf []byte, from, to string) []byte {
	t.Helper()
	out := bytes.Replace(leaf, []byte(from), []byte(to), 1)
	if bytes.Equal(out, leaf) {
		t.Fatalf("no %q in %s", from, leaf)
	}
	if _, err := evidence.ParseLeaf(out); err != nil {
		t.Fatalf("the altered leaf is not well-formed: %v", err)
	}
	return out
}

func (d *deployment) anchorFile(l *deployedLog) string {
	return filepath.Join(d.dir+".anchor", filepath.FromSlash(l.Origin)+".note")
}

const dbFile = storerig.File

// verifyDir verifies a directory as the command does, with no server.
func verifyDir(t testing.TB, dir string) *ledger.LiveReport {
	t.Helper()
	report, err := tryVerify(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func tryVerify(t testing.TB, dir string) (*ledger.LiveReport, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := storerig.OpenReadOnly(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), false)
	if err != nil {
		return nil, err
	}
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		return nil, err
	}
	return ledger.Verify(ctx, ledger.LiveConfig{Reader: db, Sealer: seal.New(db, master), Anchor: anchor})
}

func listFindings(r *ledger.LiveReport) string {
	var b strings.Builder
	for i, f := range r.Findings {
		if i == 30 {
			fmt.Fprintf(&b, "\n  … %d in all", len(r.Findings))
			break
		}
		fmt.Fprintf(&b, "\n  %s (expected %q, found %q)", f, f.Expected, f.Found)
	}
	return b.String()
}

// want is a finding that must be there.
type want struct {
	code, table, column string
	log                 *deployedLog // nil: any or none
	seq                 int64        // a leaf that the range must hold; anywhere: none is asked for
	says                string       // part of the message
	at                  bool         // the range is that leaf alone
}

const anywhere int64 = -1

func (w want) in(r *ledger.LiveReport) bool {
	return slices.ContainsFunc(r.Findings, func(f ledger.Finding) bool {
		switch {
		case f.Code != w.code, f.Table != w.table, w.column != "" && f.Column != w.column,
			w.log != nil && (f.Log != w.log.Origin || f.Tenant != w.log.Tenant),
			!strings.Contains(f.Message, w.says), f.Message == "":
			return false
		case w.seq == anywhere:
			return true
		case w.at:
			return f.From == w.seq && f.To == w.seq+1
		default:
			return f.From <= w.seq && w.seq < f.To
		}
	})
}

func (w want) String() string {
	s := fmt.Sprintf("%s %s.%s leaf %d %q", w.code, w.table, w.column, w.seq, w.says)
	if w.log != nil {
		s += " in " + w.log.Tenant + "/" + w.log.Origin
	}
	return s
}

// checkServer opens the altered directory as a server does and appends one
// record to each tenant. Either it refuses, or what it signs still commits to
// every original leaf: it never signs over an altered one. refuses, where it
// is not empty, is the tenant whose append must be refused ("*": all).
func (d *deployment) checkServer(t testing.TB, refuses string) {
	t.Helper()
	r, err := tryRig(t, d.dir)
	if err != nil {
		t.Logf("open refused: %v", err)
		if r != nil {
			t.Error("a ledger beside an error")
		}
		return
	}
	defer r.close()
	if refuses == "*" {
		t.Error("the ledger opens")
	}
	for _, tenant := range []string{"acme", "globex"} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		record := native(t, step(900, 1, `,"params":{"after":"tampering"},"subject":"subject-1","human_actor_id":"ada-1"`))
		receipts, err := r.Append(ctx, tenant, record, ledger.AppendOptions{Producer: "key-1"})
		cancel()
		if err != nil {
			t.Logf("append to %s refused: %v", tenant, err)
			continue
		}
		if refuses == tenant {
			t.Errorf("append to %s is not refused", tenant)
		}
		d.checkSigned(t, r, tenant, receipts[0])
	}
}

// checkSigned checks that the head over a new record commits to the original
// leaves and that record.
func (d *deployment) checkSigned(t testing.TB, r *rig, tenant string, receipt ledger.Receipt) {
	t.Helper()
	var l *deployedLog
	for i := range d.logs {
		if d.logs[i].Origin == receipt.Log {
			l = &d.logs[i]
		}
	}
	switch {
	case l == nil:
		t.Errorf("%s: appended to an unknown log %s", tenant, receipt.Log)
		return
	case l.Tenant != tenant:
		t.Errorf("a record of %s was signed into the log of %s", tenant, l.Tenant)
		return
	case d.log(tenant, l.No+1) != nil:
		t.Errorf("%s: appended to log %d, which is closed", tenant, l.No)
	case receipt.LeafIndex < l.size:
		t.Errorf("%s: the new record is leaf %d of a log that had %d", tenant, receipt.LeafIndex, l.size)
		return
	}
	head, err := r.db.Head(context.Background(), store.LogRef{Tenant: tenant, No: receipt.LogNo})
	if err != nil {
		t.Error(err)
		return
	}
	key, err := c2sp.ParseVKey(l.VKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := c2sp.Verify(head.Note, key)
	if err != nil || c.Size != head.Size || c.Root != head.Root {
		t.Errorf("%s: head of %d is not signed: %v", tenant, head.Size, err)
		return
	}
	hashes := make([]evidence.Hash, 0, head.Size)
	for _, leaf := range l.leaves {
		hashes = append(hashes, evidence.LeafHash(leaf))
	}
	err = r.Leaves(context.Background(), tenant, receipt.LogNo, l.size, head.Size, func(seq int64, leaf []byte) error {
		hashes = append(hashes, evidence.LeafHash(leaf))
		return nil
	})
	if err != nil || hashes[receipt.LeafIndex] != receipt.LeafHash {
		t.Errorf("%s: new leaves: %v", tenant, err)
		return
	}
	if root := rootOfHashes(hashes); root != head.Root {
		t.Errorf("%s: THE SERVER SIGNED OVER AN ALTERED LEAF: root of %d leaves is %s, signed is %s", tenant, head.Size, root, head.Root)
	}
}
