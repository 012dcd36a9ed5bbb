package ledger_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// checkpoint is a signed tree head, read with golang.org/x/mod and nothing
// of ours.
type checkpoint struct {
	origin string
	tree   tlog.Tree
}

func openNote(t testing.TB, text []byte, vkey string) checkpoint {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(text, note.VerifierList(v))
	if err != nil {
		t.Fatalf("note: %v\n%s", err, text)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != v.Name() || len(n.Sigs) != 1 {
		t.Fatalf("note:\n%s", text)
	}
	c := checkpoint{origin: lines[0]}
	if c.tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		t.Fatal(err)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || copy(c.tree.Hash[:], root) != tlog.HashSize {
		t.Fatalf("root %q: %v", lines[2], err)
	}
	return c
}

// checkConsistent checks that one checkpoint of a log extends an older one.
func (r *rig) checkConsistent(t testing.TB, lg ledger.LogInfo, old, now checkpoint) {
	t.Helper()
	if old.origin != now.origin || old.tree.N > now.tree.N {
		t.Errorf("%s: a checkpoint of %d after one of %d", lg.Origin, now.tree.N, old.tree.N)
		return
	}
	if old.tree.N == 0 {
		return
	}
	hashes, err := r.Consistency(context.Background(), lg.Tenant, lg.No, old.tree.N, now.tree.N)
	if err != nil {
		t.Errorf("%s: consistency of %d and %d: %v", lg.Origin, old.tree.N, now.tree.N, err)
		return
	}
	var proof tlog.TreeProof
	for _, h := range hashes {
		proof = append(proof, tlog.Hash(h))
	}
	if old.tree.N == now.tree.N {
		if old.tree.Hash != now.tree.Hash {
			t.Errorf("%s: two roots at size %d", lg.Origin, old.tree.N)
		}
		return
	}
	if err := tlog.CheckTree(proof, now.tree.N, now.tree.Hash, old.tree.N, old.tree.Hash); err != nil {
		t.Errorf("%s: %d does not extend %d: %v", lg.Origin, now.tree.N, old.tree.N, err)
	}
}

// issued is a proof that was given out.
type issued struct {
	lg    ledger.LogInfo
	leaf  []byte
	index int64
	proof tlog.RecordProof
	note  []byte
}

// known is a record as the model has it.
type known struct {
	line     string
	receipt  ledger.Receipt
	own      bool // has an id of its producer's
	altered  func(int) string
	variants map[int]ledger.Receipt // contradictions of it that were recorded
}

// machine is the ledger under test beside a model of what it must hold.
type machine struct {
	*rig
	t       *testing.T
	dir     string
	next    int
	records map[string][]*known // by tenant
	acked   map[string][]ledger.Receipt
	proofs  []issued
	logs    map[string]ledger.LogInfo
	notes   map[string]map[string]bool // by origin: every checkpoint that was published
	ended   map[int]int                // by run: its newest revision
	refused map[string]map[string]bool // by tenant: contradictions of own ids; each is recorded once
}

var machineTenants = []string{"acme", "other"}

func newMachine(t *testing.T, dir string) *machine {
	m := &machine{
		t: t, dir: dir, rig: openRig(t, dir), records: map[string][]*known{}, acked: map[string][]ledger.Receipt{},
		logs: map[string]ledger.LogInfo{}, notes: map[string]map[string]bool{}, ended: map[int]int{}, refused: map[string]map[string]bool{},
	}
	for _, tenant := range machineTenants {
		info := m.tenant(t, tenant)
		m.logs[info.Origin] = info
	}
	return m
}

// draw makes a record of any kind that can be appended.
func (m *machine) draw(rt *rapid.T) *known {
	m.next++
	n := m.next
	run := rapid.IntRange(1, 4).Draw(rt, "run")
	actor := rapid.SampledFrom([]string{"", `,"human_actor_id":"ada"`, `,"human_actor_id":"bob"`, `,"human_actor_id":"ada","subject":"carl"`}).Draw(rt, "actor")
	text := rapid.SampledFrom([]string{`""`, `"x"`, `{"a":[1,2.50,9007199254740993]}`, `"\u00e9\ud83d\ude80"`, "null"}).Draw(rt, "text")
	common := `"occurred_at":"2026-11-23T15:00:01.000001Z","source_domain":"ACTIVITY","source_component":"TraceStore"`
	k := &known{variants: map[int]ledger.Receipt{}}
	switch rapid.IntRange(0, 7).Draw(rt, "kind") {
	case 0, 1:
		k.altered = func(v int) string { return step(run, n, fmt.Sprintf(`,"params":{"v":%d,"t":%s}%s`, v, text, actor)) }
	case 2:
		k.own = true
		k.altered = func(v int) string {
			return eventOf(fmt.Sprintf("%032x", run), n, fmt.Sprintf(`,"body":[%d,%s]%s`, v, text, actor))
		}
	case 3:
		m.ended[run]++
		rev := m.ended[run]
		k.altered = func(v int) string {
			return strings.TrimSuffix(ended(run, rev), "}") + fmt.Sprintf(`,"prompt":[%d,%s]%s}`, v, text, actor)
		}
	case 4:
		k.altered = func(v int) string {
			return fmt.Sprintf(`{"kind":"trace",%s,"run_id":"%032x","trace_id":"%032x","plan":[%d,%s]%s}`, common, run, 100000+n, v, text, actor)
		}
	case 5:
		k.own = true
		k.altered = func(v int) string {
			return fmt.Sprintf(`{"kind":"system","id":"%s",%s,"component":"worker","event_type":"STARTUP","severity":"INFO","summary":"%d"%s}`, eventID(n), common, v, actor)
		}
	case 6:
		k.own = true
		acting := "HUMAN"
		if actor == "" {
			acting = "SYSTEM"
		}
		k.altered = func(v int) string {
			return fmt.Sprintf(`{"kind":"audit","id":"%s",%s,"event_type":"LimitChecked","entity_type":"LIMIT","entity_id":"l-1","actor_type":"%s","action_reason":[%d,%s],"run_id":"%032x"%s}`,
				eventID(n), common, acting, v, text, run, actor)
		}
	default: // a step without a span, known by its id alone
		k.own = true
		k.altered = func(v int) string {
			return fmt.Sprintf(`{"kind":"trace_step","id":"%s",%s,"run_id":"%032x","trace_id":"%032x","skill_name":"plan","step_kind":"llm","status":"success","prompt":[%d,%s]%s}`,
				eventID(n), common, run, run, v, text, actor)
		}
	}
	k.line = k.altered(0)
	return k
}

func (m *machine) pick(rt *rapid.T, tenant string) *known {
	if len(m.records[tenant]) == 0 {
		rt.Skip("nothing there yet")
	}
	return m.records[tenant][rapid.IntRange(0, len(m.records[tenant])-1).Draw(rt, "which")]
}

func sameReceipt(got, want ledger.Receipt) bool {
	got.Duplicate, want.Duplicate = false, false
	return got == want
}

func (m *machine) anyTenant(rt *rapid.T) string {
	return rapid.SampledFrom(machineTenants).Draw(rt, "tenant")
}

// send appends lines and checks each receipt against the model's.
func (m *machine) send(rt *rapid.T, tenant string, partial bool, lines []string, want []func(ledger.Receipt, error)) {
	receipts, err := m.Append(patient(m.t), tenant, native(m.t, lines...), ledger.AppendOptions{Producer: "test", Partial: partial})
	bad := map[int]error{}
	for _, e := range unjoin(err) {
		var at *ledger.RecordError
		if !errors.As(e, &at) {
			rt.Fatalf("append: %v", err)
		}
		bad[at.Index] = at.Err
	}
	if err != nil && !partial {
		receipts = make([]ledger.Receipt, len(lines))
	}
	for i, check := range want {
		if err != nil && !partial && bad[i] == nil {
			continue // refused with the batch
		}
		if bad[i] == nil {
			m.acked[tenant] = append(m.acked[tenant], receipts[i])
		}
		check(receipts[i], bad[i])
	}
}

func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range j.Unwrap() {
			out = append(out, unjoin(e)...)
		}
		return out
	}
	return []error{err}
}

// fresh, repeat, contradict, collide and twins add to a batch.
func (m *machine) fresh(rt *rapid.T, tenant string) (string, func(ledger.Receipt, error)) {
	k := m.draw(rt)
	return k.line, func(rec ledger.Receipt, err error) {
		if err != nil || rec.Duplicate || rec.ConflictOf != (evidence.ID{}) {
			rt.Fatalf("new record %s: %+v, %v", k.line, rec, err)
		}
		k.receipt = rec
		m.records[tenant] = append(m.records[tenant], k)
	}
}

// again sends a stored record, a recorded contradiction, or a new
// contradiction of it.
func (m *machine) again(rt *rapid.T, tenant string) (string, func(ledger.Receipt, error)) {
	k := m.pick(rt, tenant)
	v := rapid.IntRange(0, 3).Draw(rt, "variant")
	return k.altered(v), func(rec ledger.Receipt, err error) {
		have, recorded := k.variants[v]
		switch {
		case v == 0:
			if err != nil || !rec.Duplicate || !sameReceipt(rec, k.receipt) {
				rt.Fatalf("repeat of %+v: %+v, %v", k.receipt, rec, err)
			}
		case k.own:
			if !errors.Is(err, evidence.ErrConflict) {
				rt.Fatalf("contradiction of an own id: %+v, %v", rec, err)
			}
			m.refuse(tenant, k.altered(v))
		case recorded:
			if err != nil || !rec.Duplicate || !sameReceipt(rec, have) {
				rt.Fatalf("repeat of contradiction %+v: %+v, %v", have, rec, err)
			}
		default:
			if err != nil || rec.Duplicate || rec.ConflictOf != k.receipt.ID || rec.ID == k.receipt.ID {
				rt.Fatalf("contradiction of %+v: %+v, %v", k.receipt, rec, err)
			}
			k.variants[v] = rec
		}
	}
}

func (m *machine) refuse(tenant, line string) {
	if m.refused[tenant] == nil {
		m.refused[tenant] = map[string]bool{}
	}
	m.refused[tenant][line] = true
}

func (m *machine) appendNew(rt *rapid.T) {
	tenant := m.anyTenant(rt)
	var lines []string
	var want []func(ledger.Receipt, error)
	for range rapid.SampledFrom([]int{1, 1, 2, 5, 30, 130}).Draw(rt, "size") {
		line, check := m.fresh(rt, tenant)
		lines, want = append(lines, line), append(want, check)
	}
	m.send(rt, tenant, false, lines, want)
}

// appendMixed is a batch of new records and of stored ones, repeated or
// contradicted.
func (m *machine) appendMixed(rt *rapid.T) {
	tenant := m.anyTenant(rt)
	partial := rapid.Bool().Draw(rt, "partial")
	var lines []string
	var want []func(ledger.Receipt, error)
	used := map[string]bool{} // two variants of one record in a batch are for appendTwins
	for range rapid.IntRange(1, 6).Draw(rt, "size") {
		add := m.fresh
		if partial && rapid.Bool().Draw(rt, "stored") {
			add = m.again
		}
		line, check := add(rt, tenant)
		if used[line] {
			continue
		}
		used[line] = true
		lines, want = append(lines, line), append(want, check)
	}
	m.send(rt, tenant, partial, lines, want)
}

func (m *machine) appendStored(rt *rapid.T) {
	tenant := m.anyTenant(rt)
	line, check := m.again(rt, tenant)
	m.send(rt, tenant, rapid.Bool().Draw(rt, "partial"), []string{line}, []func(ledger.Receipt, error){check})
}

// appendTwins repeats and contradicts within one batch.
func (m *machine) appendTwins(rt *rapid.T) {
	tenant := m.anyTenant(rt)
	k := m.draw(rt)
	variants := rapid.SliceOfN(rapid.IntRange(0, 2), 1, 5).Draw(rt, "variants")
	variants = append([]int{0}, variants...)
	var lines []string
	refuses := false
	for _, v := range variants {
		lines = append(lines, k.altered(v))
		refuses = refuses || (v != 0 && k.own)
	}
	partial := rapid.Bool().Draw(rt, "partial")
	receipts, err := m.Append(patient(m.t), tenant, native(m.t, lines...), ledger.AppendOptions{Producer: "test", Partial: partial})
	if refuses != (err != nil) || (err != nil && !errors.Is(err, evidence.ErrConflict)) {
		rt.Fatalf("twins %v of one's own id %t: %v", variants, k.own, err)
	}
	if refuses {
		for _, v := range variants {
			if v != 0 {
				m.refuse(tenant, k.altered(v))
			}
		}
		if !partial {
			return // nothing of the batch is stored; its id is never used again
		}
	}
	k.receipt = receipts[0]
	if receipts[0].Duplicate || receipts[0].ConflictOf != (evidence.ID{}) {
		rt.Fatalf("first twin: %+v", receipts[0])
	}
	m.records[tenant] = append(m.records[tenant], k)
	for i, v := range variants {
		rec := receipts[i]
		if v != 0 && k.own {
			continue
		}
		m.acked[tenant] = append(m.acked[tenant], rec)
		have, seen := k.receipt, i > 0
		if v != 0 {
			have, seen = k.variants[v]
		}
		switch {
		case seen && (!rec.Duplicate || !sameReceipt(rec, have)):
			rt.Fatalf("twin %d of %v: %+v, first %+v", i, variants, rec, have)
		case !seen && i > 0 && (rec.Duplicate || rec.ConflictOf != k.receipt.ID):
			rt.Fatalf("twin %d of %v: %+v", i, variants, rec)
		case !seen && v != 0:
			k.variants[v] = rec
		}
	}
}

func (m *machine) rollover(rt *rapid.T) {
	info, err := m.Rollover(patient(m.t), m.anyTenant(rt))
	if err != nil {
		rt.Fatalf("rollover: %v", err)
	}
	m.logs[info.Origin] = info
}

func (m *machine) reopen(rt *rapid.T) {
	m.close()
	m.rig = openRig(m.t, m.dir)
}

func (m *machine) erase(rt *rapid.T) {
	tenant := m.anyTenant(rt)
	e := ledger.Erasure{Reason: "asked"}
	if rapid.IntRange(0, 3).Draw(rt, "what") == 0 {
		e.Person = rapid.SampledFrom([]string{"ada", "bob", "carl", "nobody"}).Draw(rt, "person")
	} else {
		k := m.pick(rt, tenant)
		f := ledger.ErasedField{Position: store.Position{LogNo: k.receipt.LogNo, Seq: k.receipt.LeafIndex}}
		if rapid.Bool().Draw(rt, "some") {
			f.Paths = []string{rapid.SampledFrom([]string{"/body", "/params", "/actor", "/prompt", "/plan"}).Draw(rt, "path")}
		}
		e.Fields = []ledger.ErasedField{f}
	}
	_, err := m.Erase(patient(m.t), tenant, e)
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		rt.Fatalf("erase: %v", err)
	}
	// What was erased counts as the same: contradictions of erased records
	// are not told from repeats any more, so the model lets go of them.
	if err == nil {
		m.records[tenant] = nil
	}
}

// prove gets a proof of any record that was ever acknowledged.
func (m *machine) prove(rt *rapid.T) {
	tenant := m.anyTenant(rt)
	if len(m.acked[tenant]) == 0 {
		rt.Skip("nothing there yet")
	}
	rec := m.acked[tenant][rapid.IntRange(0, len(m.acked[tenant])-1).Draw(rt, "which")]
	if _, err := m.WaitPublished(patient(m.t), tenant, rec.LogNo, rec.LeafIndex+1); err != nil {
		rt.Fatalf("wait: %v", err)
	}
	p, err := m.ProveSeq(patient(m.t), tenant, rec.LogNo, rec.LeafIndex)
	if err != nil {
		rt.Fatalf("prove: %v", err)
	}
	if tlog.RecordHash(p.Leaf) != tlog.Hash(rec.LeafHash) {
		rt.Fatalf("the proof of %+v is of another leaf", rec)
	}
	out := issued{lg: m.logs[rec.Log], leaf: slices.Clone(p.Leaf), index: p.Index, note: bytes.Clone(p.Note)}
	for _, h := range p.Hashes {
		out.proof = append(out.proof, tlog.Hash(h))
	}
	m.proofs = append(m.proofs, out)
}

// publish notes the present checkpoints.
func (m *machine) publish(rt *rapid.T) {
	for _, lg := range m.logs {
		_, text, err := m.PublishNow(patient(m.t), lg.Tenant, lg.No)
		if err != nil {
			rt.Fatalf("publish: %v", err)
		}
		if m.notes[lg.Origin] == nil {
			m.notes[lg.Origin] = map[string]bool{}
		}
		m.notes[lg.Origin][string(text)] = true
	}
}

// end checks everything that must hold, whatever was done.
func (m *machine) end(rt *rapid.T) {
	t := m.t
	m.reopen(rt)
	newest := map[string]checkpoint{}
	for _, lg := range m.logs {
		_, text, err := m.PublishNow(patient(t), lg.Tenant, lg.No)
		if err != nil {
			t.Fatal(err)
		}
		newest[lg.Origin] = openNote(t, text, lg.VKey)
		// Every checkpoint that was kept was signed and may have been seen.
		err = m.db.Checkpoints(context.Background(), store.LogRef{Tenant: lg.Tenant, No: lg.No}, 0, func(c store.Checkpoint) error {
			if m.notes[lg.Origin] == nil {
				m.notes[lg.Origin] = map[string]bool{}
			}
			m.notes[lg.Origin][string(c.Note)] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range slices.Sorted(maps.Keys(m.notes[lg.Origin])) {
			m.checkConsistent(t, lg, openNote(t, []byte(text), lg.VKey), newest[lg.Origin])
		}
	}
	for _, p := range m.proofs {
		c := openNote(t, p.note, p.lg.VKey)
		if err := tlog.CheckRecord(p.proof, c.tree.N, c.tree.Hash, p.index, tlog.RecordHash(p.leaf)); err != nil {
			t.Errorf("proof of leaf %d of %s: %v", p.index, p.lg.Origin, err)
		}
		m.checkConsistent(t, p.lg, c, newest[p.lg.Origin])
	}
	for _, tenant := range machineTenants {
		c := m.contents(t, tenant)
		c.holds(t, m.acked[tenant])
		c.checkRuns(t)
		recorded := 0
		for _, leaf := range c.leaves {
			if leaf.Kind == evidence.KindAudit && leaf.Text("event_type") == "ConflictRecorded" {
				recorded++
			}
		}
		if recorded != len(m.refused[tenant]) {
			t.Errorf("%d ConflictRecorded of tenant %s, and %d were refused", recorded, tenant, len(m.refused[tenant]))
		}
	}
	m.verifyClean(t)
	m.close()
	if t.Failed() {
		rt.Fatalf("it does not hold (see above)")
	}
}

// TestEveryProofStaysValid is the ledger as a state machine.
func TestEveryProofStaysValid(t *testing.T) {
	checks := 12
	if testing.Short() || raced {
		checks = 4
	}
	setRapid(t, "rapid.checks", checks)
	setRapid(t, "rapid.steps", 25)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		m := newMachine(t, filepath.Join(t.TempDir(), strconv.Itoa(n)))
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"append":   m.appendNew,
			"mixed":    m.appendMixed,
			"stored":   m.appendStored,
			"twins":    m.appendTwins,
			"rollover": m.rollover,
			"reopen":   m.reopen,
			"erase":    m.erase,
			"prove":    m.prove,
			"publish":  m.publish,
		})
		m.end(rt)
		os.RemoveAll(m.dir)
	})
}

// setRapid sets a flag of rapid's for this test, unless the command line did.
func setRapid(t *testing.T, name string, value int) {
	t.Helper()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	f := flag.Lookup(name)
	old := f.Value.String()
	if err := f.Value.Set(strconv.Itoa(value)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Value.Set(old) })
}
