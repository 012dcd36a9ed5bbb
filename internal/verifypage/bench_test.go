package verifypage

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/verify"
)

var benchLeaves = flag.Int64("leaves", 5000, "size of the bundles that the benchmark checks")

// grown is a log of many leaves, made from those of a frozen bundle.
type grown struct {
	origin   string
	signer   *c2sp.Signer
	leaves   [][]byte
	open     [][]byte // lines of disclosures.jsonl
	stored   []tlog.Hash
	manifest *verify.Manifest
	receipt  *evidence.Leaf
	at       evidence.Micros
}

// growLog returns a log with n steps of one run, each with three disclosed fields.
func growLog(tb testing.TB, n int64) *grown {
	tb.Helper()
	var f *frozen
	for _, f = range frozenSet(tb) {
		if f.Name == "log" {
			break
		}
	}
	a := openArchive(tb, f.bundle)
	m, err := verify.ParseManifest(a.files["manifest.json"])
	if err != nil {
		tb.Fatal(err)
	}
	m.Scope = verify.Scope{TenantID: m.Scope.TenantID}
	g := &grown{origin: m.Logs[0].Origin, manifest: m}
	seed := sha256.Sum256([]byte(g.origin))
	if g.signer, err = c2sp.NewSigner(g.origin, seed[:]); err != nil {
		tb.Fatal(err)
	}
	if g.receipt, err = evidence.ParseLeaf(a.files["receipt.leaf"]); err != nil {
		tb.Fatal(err)
	}
	width := int(m.Logs[0].Size)
	old, err := c2sp.SplitEntries(a.files["logs/0/"+c2sp.EntriesPath(0, width)], width)
	if err != nil {
		tb.Fatal(err)
	}
	var first, step *evidence.Leaf
	for _, b := range old {
		leaf, err := evidence.ParseLeaf(b)
		if err != nil {
			tb.Fatal(err)
		}
		if leaf.Seq == 0 {
			first = leaf
		} else if leaf.Kind == evidence.KindTraceStep {
			step = leaf
		}
	}
	g.at = first.RecordedAt
	g.add(tb, first, nil)
	for i := range n {
		step.N = i
		g.add(tb, step, map[string]string{
			"/actor": "{}", "/prompt": fmt.Sprintf(`"Approve loan %d?"`, i), "/response": `"` + strings.Repeat("It depends. ", 10) + `"`,
		})
	}
	return g
}

// add appends a leaf with these fields, or, for nil, with those it has.
func (g *grown) add(tb testing.TB, leaf *evidence.Leaf, fields map[string]string) {
	tb.Helper()
	leaf.Seq = int64(len(g.leaves))
	leaf.RecordedAt, leaf.OccurredAt = g.at, g.at
	g.at += 10
	binary.BigEndian.PutUint64(leaf.ID[:], uint64(leaf.Seq))
	if fields != nil {
		leaf.H = leaf.H[:0]
		for _, path := range []string{"/actor", "/prompt", "/response"} {
			d := verify.Disclosure{Seq: leaf.Seq, Path: path, Salt: evidence.Seed(leaf.ID).Salt(path), Value: []byte(fields[path])}
			leaf.H = append(leaf.H, evidence.Commitment{Path: path, Hash: evidence.Commit(path, d.Salt, d.Value)})
			g.open = append(g.open, d.Append(nil))
		}
	}
	b, err := leaf.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	hashes, err := tlog.StoredHashesForRecordHash(leaf.Seq, tlog.Hash(evidence.LeafHash(b)), g.reader())
	if err != nil {
		tb.Fatal(err)
	}
	g.leaves, g.stored = append(g.leaves, b), append(g.stored, hashes...)
}

func (g *grown) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = g.stored[x]
		}
		return out, nil
	})
}

func hashes(in []tlog.Hash) []evidence.Hash {
	out := make([]evidence.Hash, len(in))
	for i, h := range in {
		out[i] = evidence.Hash(h)
	}
	return out
}

func (g *grown) note(tb testing.TB) []byte {
	tb.Helper()
	size := int64(len(g.leaves))
	root, err := tlog.TreeHash(size, g.reader())
	if err != nil {
		tb.Fatal(err)
	}
	note, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: g.origin, Size: size, Root: evidence.Hash(root)}, g.signer)
	if err != nil {
		tb.Fatal(err)
	}
	return note
}

// bundle is one of the whole log, or of its run.
func (g *grown) bundle(tb testing.TB, profile string) []byte {
	tb.Helper()
	size := int64(len(g.leaves))
	a := &archive{files: map[string][]byte{"logs/0/checkpoint": g.note(tb)}}
	var held []byte
	first, err := evidence.ParseLeaf(g.leaves[0])
	if err != nil {
		tb.Fatal(err)
	}
	for _, h := range first.H {
		held = (&verify.Withheld{Seq: 0, Path: h.Path, Reason: verify.Requested}).Append(held)
	}
	a.files["logs/0/withheld.jsonl"] = held
	a.files["logs/0/disclosures.jsonl"] = slices.Concat(g.open...)
	if profile == verify.ProfileLog {
		for n := int64(0); n*c2sp.TileWidth < size; n++ {
			part := g.leaves[n*c2sp.TileWidth : min(size, (n+1)*c2sp.TileWidth)]
			var data []byte
			for _, leaf := range part {
				data, _ = c2sp.AppendEntry(data, leaf) // none is too large
			}
			a.files["logs/0/"+c2sp.EntriesPath(n, len(part))] = data
		}
	} else {
		var records []byte
		for i, leaf := range g.leaves {
			proof, err := tlog.ProveRecord(size, int64(i), g.reader())
			if err != nil {
				tb.Fatal(err)
			}
			records = (&verify.Record{Seq: int64(i), Leaf: leaf, Proof: hashes(proof)}).Append(records)
		}
		a.files["logs/0/records.jsonl"] = records
		run, err := evidence.ParseLeaf(g.leaves[1])
		if err != nil {
			tb.Fatal(err)
		}
		g.manifest.Scope.RunID = run.Run
	}
	m := *g.manifest
	m.Profile, m.Files = profile, nil
	m.Logs = []verify.ManifestLog{{Dir: "logs/0", Origin: g.origin, Size: size}}
	for path := range a.files {
		a.names = append(a.names, path)
	}
	slices.Sort(a.names)
	for _, path := range a.names {
		m.Files = append(m.Files, verify.ManifestFile{Path: path, SHA256: strings.Repeat("0", 64)}) // see mend
	}
	a.names = append([]string{"manifest.json"}, a.names...)
	a.files["manifest.json"] = m.Marshal()
	a.mend(tb)
	g.sealBundle(tb, a, size)
	return a.zip(tb)
}

// sealBundle records the export and puts its receipt into the bundle.
func (g *grown) sealBundle(tb testing.TB, a *archive, old int64) {
	tb.Helper()
	kept := *g
	defer func() { *g = kept }() // the next bundle is of the same log
	sum := sha256.Sum256(a.files["manifest.json"])
	g.receipt.SetFact(evidence.Fact{Field: evidence.PublicField(evidence.KindExport, "manifest"), Str: hex.EncodeToString(sum[:])})
	g.add(tb, g.receipt, nil)
	size := int64(len(g.leaves))
	note := g.note(tb)
	inclusion, err := tlog.ProveRecord(size, old, g.reader())
	if err != nil {
		tb.Fatal(err)
	}
	consistency, err := tlog.ProveTree(size, old, g.reader())
	if err != nil {
		tb.Fatal(err)
	}
	a.files["receipt.leaf"] = g.leaves[old]
	a.files["receipt.tlog-proof"] = (&c2sp.Proof{Index: old, Hashes: hashes(inclusion), Note: note}).Marshal()
	a.files["receipt.consistency"] = (&c2sp.Consistency{Old: old, Hashes: hashes(consistency), Note: note}).Marshal()
	a.names = append(a.names, "receipt.leaf", "receipt.tlog-proof", "receipt.consistency")
}

// threadTime is the processor time of the page's main thread, in seconds.
func (t *tab) threadTime(tb testing.TB) float64 {
	tb.Helper()
	if _, err := chromedp.Call(t.ctx, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks}); err != nil {
		tb.Fatal(err)
	}
	got, err := chromedp.Call(t.ctx, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, m := range got.Metrics {
		if m.Name == "ThreadTime" {
			return m.Value
		}
	}
	tb.Fatal("the browser does not know its own time")
	return 0
}

// BenchmarkPage: how long a browser takes for a bundle, by what it says itself, and the
// longest time for which the page stood still.
func BenchmarkPage(b *testing.B) {
	g := growLog(b, *benchLeaves)
	for _, profile := range []string{verify.ProfileLog, verify.ProfileRun} {
		bundle := g.bundle(b, profile)
		path := filepath.Join(b.TempDir(), "bundle.zip")
		if err := os.WriteFile(path, bundle, 0o600); err != nil {
			b.Fatal(err)
		}
		b.Run(profile, func(b *testing.B) {
			page := openTab(b)
			if err := chromedp.Do(page.ctx, chromedp.SetUploadFiles(chromedp.ID("bundle"), []string{path})); err != nil {
				b.Fatal(err)
			}
			key := g.signer.VKey().String()
			took, still := 0.0, 0.0
			before := page.threadTime(b)
			for b.Loop() {
				got := eval[map[string]any](b, page, `(async (key) => {
					const bytes = new Uint8Array(await document.getElementById('bundle').files[0].arrayBuffer());
					let last = performance.now();
					let still = 0;
					const watch = setInterval(() => {
						still = Math.max(still, performance.now() - last);
						last = performance.now();
					}, 5);
					const from = performance.now();
					const r = await runledgerVerify(bytes, {keys: [key]});
					const took = performance.now() - from;
					await new Promise((go) => setTimeout(go, 20));
					clearInterval(watch);
					return {took, still, verdict: r.verdict, findings: JSON.stringify(r.findings.slice(0, 5))};
				})('`+key+`')`)
				if got["verdict"] != string(verify.VerifiedWithLimits) {
					b.Fatal(got)
				}
				took += got["took"].(float64)
				still = max(still, got["still"].(float64))
			}
			b.ReportMetric((page.threadTime(b)-before)*1e6/float64(b.N)/float64(*benchLeaves), "cpu-µs/leaf")
			b.ReportMetric(took*1000/float64(b.N)/float64(*benchLeaves), "µs/leaf")
			b.ReportMetric(still, "ms-still")
			b.SetBytes(int64(len(bundle)))
		})
	}
}
