package archive

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

const (
	testTenant = "acme"
	testOrigin = "test.example/0123456789ab"
)

// testLog is a log in memory, with tiles of every size of its tree.
type testLog struct {
	t      testing.TB
	log    store.Log
	signer *c2sp.Signer
	leaves [][]byte
	levels [][]evidence.Hash // levels[l][i] is the node of height 8*l and index i
	front  c2sp.Frontier
}

func newTestLog(t testing.TB, n int) *testLog {
	t.Helper()
	l := &testLog{t: t}
	var err error
	if l.signer, err = c2sp.NewSigner(testOrigin, bytes.Repeat([]byte{7}, 32)); err != nil {
		t.Fatal(err)
	}
	l.log = store.Log{LogRef: store.LogRef{Tenant: testTenant, No: 1}, Origin: testOrigin, VKey: l.signer.VKey().String()}
	g := newGenerator(1)
	for i := range n {
		l.append(g.leaf(int64(i)))
	}
	return l
}

// newOtherLog is newTestLog but for its leaf 30, under the same key.
func newOtherLog(t testing.TB, n int64) *testLog {
	t.Helper()
	l := newTestLog(t, 0)
	g := newGenerator(1)
	for i := range n {
		leaf := g.leaf(i)
		if i == 30 {
			leaf.OccurredAt++
		}
		l.append(leaf)
	}
	return l
}

func (l *testLog) append(leaf *evidence.Leaf) {
	b, err := leaf.Append(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	l.leaves = append(l.leaves, b)
	l.front.Append(evidence.LeafHash(b), func(height int, _ int64, h evidence.Hash) {
		if height%8 != 0 {
			return
		}
		for len(l.levels) <= height/8 {
			l.levels = append(l.levels, nil)
		}
		l.levels[height/8] = append(l.levels[height/8], h)
	})
}

// note is the signed checkpoint of the whole log.
func (l *testLog) note() []byte {
	b, err := c2sp.SignCheckpoint(l.front.Checkpoint(testOrigin), l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func (l *testLog) tile(_ context.Context, level int, n int64, width int) ([]byte, error) {
	if width < 1 || width > 256 || level >= len(l.levels) || n*256+int64(width) > int64(len(l.levels[level])) {
		return nil, fmt.Errorf("no tile %d/%d of width %d", level, n, width)
	}
	var out []byte
	for _, h := range l.levels[level][n*256 : n*256+int64(width)] {
		out = append(out, h[:]...)
	}
	return out, nil
}

func (l *testLog) each(_ context.Context, from, to int64, fn func(seq int64, leaf []byte) error) error {
	for seq := from; seq < to; seq++ {
		if err := fn(seq, l.leaves[seq]); err != nil {
			return err
		}
	}
	return nil
}

// unit is what the ledger gives for a stretch.
func (l *testLog) unit(from, to int64, prev evidence.Hash) Unit {
	return Unit{
		Log: l.log, From: from, To: to, Prev: prev, Checkpoint: l.note(), Tile: l.tile, Leaves: l.each, At: 1_800_000_000_000_000,
	}
}

// generator makes leaves as an ingest of agents does: mostly steps, 20 a run.
type generator struct {
	r      *rand.Rand
	at     evidence.Micros
	trace  string
	run    string
	parent string
	n      int64
}

func newGenerator(seed uint64) *generator {
	return &generator{r: rand.New(rand.NewPCG(seed, 1)), at: 1_795_000_000_000_000}
}

func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return b
}

func (g *generator) leaf(seq int64) *evidence.Leaf {
	kind := evidence.KindTraceStep
	switch g.n++; {
	case g.n > 21 || g.trace == "":
		g.trace, g.parent, g.n = hex.EncodeToString(g.bytes(16)), hex.EncodeToString(g.bytes(8)), 0
		g.run = "run-" + hex.EncodeToString(g.bytes(8))
		kind = evidence.KindTrace
	case g.n == 21:
		kind = evidence.KindLLMRun
	case seq%97 == 5:
		kind = evidence.KindSystem
	case seq%89 == 5:
		kind = evidence.KindAudit
	}
	return g.make(seq, kind)
}

func (g *generator) make(seq int64, kind evidence.Kind) *evidence.Leaf {
	g.at += evidence.Micros(g.r.Int64N(2000))
	l := &evidence.Leaf{
		Log: testOrigin, Seq: seq, ID: evidence.ID(g.bytes(16)), Kind: kind, RecordedAt: g.at, OccurredAt: g.at - evidence.Micros(g.r.Int64N(5_000_000)),
		Run: g.run, N: g.n,
	}
	if kind == evidence.KindSystem {
		l.Run, l.N = "", 0
	}
	span := hex.EncodeToString(g.bytes(8))
	for _, f := range evidence.PublicFields(kind) {
		if fact, ok := g.fact(f, span); ok {
			l.Pub = append(l.Pub, fact)
		}
	}
	paths := []string{"/actor"}
	for _, s := range evidence.SealedFields(kind) {
		if s.Required && s.Path != "/actor" || s.Path == "/params" {
			paths = append(paths, s.Path)
		}
	}
	slices.Sort(paths)
	for _, p := range paths {
		l.H = append(l.H, evidence.Commitment{Path: p, Hash: evidence.Hash(g.bytes(32))})
	}
	if kind == evidence.KindTraceStep {
		g.parent = span
	}
	return l
}

// fact makes up a value: rare fields are mostly absent.
func (g *generator) fact(f *evidence.Field, span string) (evidence.Fact, bool) {
	out := evidence.Fact{Field: f}
	switch f.Name {
	case "trace_id":
		out.Str = g.trace
		return out, true
	case "span_id":
		out.Str = span
		return out, true
	case "parent_span_id":
		out.Str = g.parent
		return out, true
	case "input_tokens", "output_tokens", "cost_usd_nanos", "model", "operation", "agent_id":
	default:
		if f.Optional && g.r.IntN(50) > 0 {
			return out, false
		}
	}
	word := func() string { return fmt.Sprintf("%.4s%d", f.Name, g.r.IntN(12)) }
	switch f.Type {
	case evidence.TypeEnum:
		out.Str = f.Enum[g.r.IntN(len(f.Enum))]
	case evidence.TypeNames:
		for range max(g.r.IntN(6)-3, 0) {
			out.List = append(out.List, word())
		}
	case evidence.TypeInt, evidence.TypeCount:
		out.Int = g.r.Int64N(5000)
	case evidence.TypeTime:
		out.Int = int64(g.at) - g.r.Int64N(1_000_000)
	case evidence.TypeBool:
		out.Int = int64(g.r.IntN(20) / 19)
	case evidence.TypeInteger, evidence.TypeDecimal:
		out.Str = fmt.Sprint(g.r.IntN(1000))
	case evidence.TypeTraceID:
		out.Str = g.trace
	case evidence.TypeSpanID:
		out.Str = span
	default:
		out.Str = word()
	}
	return out, true
}

// kind is the kind of a leaf.
func (l *testLog) kind(seq int64) string {
	leaf, err := evidence.ParseLeaf(l.leaves[seq])
	if err != nil {
		l.t.Fatal(err)
	}
	return leaf.Kind.String()
}

// newKey is a verifier key of an origin.
func newKey(t testing.TB, origin string, seed byte) string {
	t.Helper()
	s, err := c2sp.NewSigner(origin, bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s.VKey().String()
}

func TestMain(m *testing.M) {
	// Not the credentials of whoever runs this.
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		_ = os.Setenv(name, "test")
	}
	for _, name := range []string{"AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		_ = os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

func openDir(t testing.TB, root string) *Archive {
	t.Helper()
	a, err := Open(Config{Spec: root, Spool: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustWrite(t testing.TB, a *Archive, u Unit) store.ArchiveUnit {
	t.Helper()
	out, err := a.Write(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustCheck(t testing.TB, a *Archive, o CheckOptions) *Report {
	t.Helper()
	r, err := a.Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
