package verifypage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/zipstore"
	"github.com/runledger/runledger/verify"
)

// More than CI has time for: go test -run TestMutants . -mutants 200 -seed 2.
var (
	mutants = flag.Int("mutants", 8, "how many to make of each frozen bundle that verifies")
	seed    = flag.Uint64("seed", 8, "for what is changed at random")
)

// mutator changes bytes in ways that the formats care about.
type mutator struct{ *rand.Rand }

// words are put where other bytes stood: what strict and lenient readers part over.
var words = []string{
	"", "\n", "\n\n", " ", "\r\n", "\t", "\x00", "\x7f", "\xff", "\xc3\x28", "\xed\xa0\x80", "\ufeff", "\u2028", "é", "😀", "\"", "\\", "\\u0000",
	"\\u001f", "\\u001F", "\\u000a", "\\n", "\\/", "\\ud800", "\\ud83d\\ude00", "0", "-0", "00", "01", "1", "-1", "1.0", "1e0", "9007199254740991", "9007199254740992",
	"9223372036854775807", "9223372036854775808", "18446744073709551616", "null", "true", "false", "[]", "{}", "[", "]", "{", "}", ",", ":", "=", "+", "-", "/", "_",
	"LOG_OPENED", "LOG_CLOSED", "LOG_EXPORT", "ErasureExecuted", "RetentionApplied", "RetentionPolicyChanged", "LIFECYCLE_ACKNOWLEDGED", "export", "system", "audit", "llm_run", "metric", "erased", "expired",
	"requested", "not_permitted", "/prompt", "/targets", "/actor", "/none", "run-1", "run-2", `,"x":1`, `"n":0,`, `"producer":"key-1",`, "old 0", "index 1", "logs/0", "logs/1",
	"2026-11-23T16:00:02.000000Z", "2026-02-29T16:00:02.000000Z", "0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "— ", "quorum none\n", "group g any w\n",
}

// change returns other bytes than b, nearly always.
func (m mutator) change(b []byte, donors [][]byte) []byte {
	out := slices.Clone(b)
	for n := 1 + m.IntN(2); n > 0; n-- {
		at, end := m.piece(out)
		switch m.IntN(9) {
		case 0: // a bit
			if len(out) > at {
				out[at] ^= 1 << m.IntN(8)
			}
		case 1: // remove
			out = slices.Delete(out, at, end)
		case 2: // twice
			out = slices.Insert(out, at, bytes.Clone(out[at:end])...)
		case 3, 4: // a word in place of a piece
			out = slices.Replace(out, at, end, []byte(words[m.IntN(len(words))])...)
		case 5: // a word more
			out = slices.Insert(out, at, []byte(words[m.IntN(len(words))])...)
		case 6: // lines in another order
			lines := bytes.SplitAfter(out, []byte("\n"))
			i, j := m.IntN(len(lines)), m.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
			out = bytes.Join(lines, nil)
		case 7: // a line less, or twice
			lines := bytes.SplitAfter(out, []byte("\n"))
			i := m.IntN(len(lines))
			lines[i] = bytes.Repeat(lines[i], 2*m.IntN(2))
			out = bytes.Join(lines, nil)
		case 8: // a piece of another file
			if len(donors) > 0 {
				other := donors[m.IntN(len(donors))]
				from, to := m.piece(other)
				out = slices.Replace(out, at, end, other[from:to]...)
			}
		}
	}
	return out
}

// piece returns a range: some bytes, or what stands between two marks.
func (m mutator) piece(b []byte) (from, to int) {
	if len(b) == 0 {
		return 0, 0
	}
	from = m.IntN(len(b))
	if m.IntN(2) == 0 {
		return from, min(len(b), from+1+m.IntN(8))
	}
	const marks = "\",:{}[] \n"
	from = bytes.LastIndexAny(b[:from], marks) + 1
	if n := bytes.IndexAny(b[from:], marks); n >= 0 {
		return from, from + n
	}
	return from, len(b)
}

// archive is a bundle taken apart.
type archive struct {
	names []string
	files map[string][]byte
}

func openArchive(tb testing.TB, bundle []byte) *archive {
	tb.Helper()
	z, err := zipstore.Open(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		tb.Fatal(err)
	}
	a := &archive{files: map[string][]byte{}}
	for _, e := range z.Entries() {
		a.names = append(a.names, e.Name)
		if a.files[e.Name], err = z.ReadFile(e.Name); err != nil {
			tb.Fatal(err)
		}
	}
	return a
}

func (a *archive) zip(tb testing.TB) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := zipstore.NewWriter(&buf)
	for _, name := range a.names {
		if err := w.Add(name, a.files[name]); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// mend makes sizes and digests of the manifest right again.
func (a *archive) mend(tb testing.TB) {
	tb.Helper()
	m, err := verify.ParseManifest(a.files["manifest.json"])
	if err != nil {
		tb.Fatal(err)
	}
	for i := range m.Files {
		data := a.files[m.Files[i].Path]
		sum := sha256.Sum256(data)
		m.Files[i].Size, m.Files[i].SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
	}
	a.files["manifest.json"] = m.Marshal()
}

// signAgain computes the trees of a whole log anew from its leaves, as far as they are
// entries at all, and signs them: what only the log itself could do. The keys of the
// frozen bundles are made from their origins.
func (a *archive) signAgain(tb testing.TB) {
	tb.Helper()
	m, err := verify.ParseManifest(a.files["manifest.json"])
	if err != nil || m.Profile != verify.ProfileLog {
		return
	}
	for _, l := range m.Logs {
		seed := sha256.Sum256([]byte(l.Origin))
		signer, err := c2sp.NewSigner(l.Origin, seed[:])
		if err != nil {
			tb.Fatal(err)
		}
		var tree c2sp.Frontier
		for n := int64(0); n*c2sp.TileWidth < l.Size; n++ {
			width := int(min(l.Size-n*c2sp.TileWidth, c2sp.TileWidth))
			leaves, err := c2sp.SplitEntries(a.files[l.Dir+"/"+c2sp.EntriesPath(n, width)], width)
			if err != nil {
				return
			}
			for _, leaf := range leaves {
				tree.Append(evidence.LeafHash(leaf), nil)
			}
		}
		note, err := c2sp.SignCheckpoint(tree.Checkpoint(l.Origin), signer)
		if err != nil {
			tb.Fatal(err)
		}
		a.files[l.Dir+"/checkpoint"] = note
	}
}

// changeLeaf changes one leaf of an entry bundle and keeps it an entry.
func (m mutator) changeLeaf(data []byte, donors [][]byte) []byte {
	var leaves [][]byte
	for rest := data; len(rest) > 0; {
		leaf, after, err := c2sp.NextEntry(rest)
		if err != nil {
			return m.change(data, donors)
		}
		leaves, rest = append(leaves, leaf), after
	}
	i := m.IntN(len(leaves))
	leaves[i] = m.change(leaves[i], leaves)
	var out []byte
	for _, leaf := range leaves {
		out, _ = c2sp.AppendEntry(out, leaf) // one that is too large is left out
	}
	return out
}

// mutant returns a changed bundle: its raw bytes, or a file in it with or without the
// digests made right again, or leaves of a whole log signed again.
func (m mutator) mutant(tb testing.TB, bundle []byte) []byte {
	tb.Helper()
	if m.IntN(5) == 0 {
		return m.change(bundle, nil)
	}
	a := openArchive(tb, bundle)
	var donors [][]byte
	for _, name := range a.names {
		donors = append(donors, a.files[name])
	}
	name := a.names[m.IntN(len(a.names))]
	if name == "README.txt" || m.IntN(3) == 0 { // where most of the rules are
		i := slices.IndexFunc(a.names, func(s string) bool {
			return strings.Contains(s, "/tile/entries/") || strings.HasSuffix(s, "/records.jsonl")
		})
		name = a.names[max(i, 0)]
	}
	signed := strings.Contains(name, "/tile/entries/")
	if signed {
		a.files[name] = m.changeLeaf(a.files[name], donors)
	} else {
		a.files[name] = m.change(a.files[name], donors)
	}
	if name != "manifest.json" && m.IntN(8) > 0 {
		if signed {
			a.signAgain(tb)
		}
		a.mend(tb)
	}
	return a.zip(tb)
}

// TestMutants: of bundles that are changed at random page and package say the same,
// and never that they are verified.
func TestMutants(t *testing.T) {
	page := openTab(t)
	perBundle, seed := *mutants, *seed
	m := mutator{rand.New(rand.NewPCG(seed, 11))}
	var questions []question
	var wants []reply
	var names []string
	for _, f := range frozenSet(t) {
		if f.Verdict != verify.Verified && f.Verdict != verify.VerifiedWithLimits {
			continue
		}
		for range perBundle {
			bundle := m.mutant(t, f.bundle)
			if bytes.Equal(bundle, f.bundle) {
				continue
			}
			want := withGo(t, bundle, f)
			if strings.HasPrefix(want.Verdict, "VERIFIED") {
				t.Errorf("%s: a changed bundle is %s", f.Name, want)
			}
			questions, wants, names = append(questions, ask(bundle, f.policy, f.since, f.Keys)), append(wants, want), append(names, f.Name)
		}
	}
	seen := map[string]int{}
	for i, got := range page.verify(t, questions) {
		if got.String() != wants[i].String() {
			t.Errorf("mutant %d, of %s: the page says %v, package verify %v\n%s", i, names[i], got, wants[i], got.Say)
		}
		for _, c := range wants[i].Codes {
			seen[c]++
		}
	}
	t.Logf("%d mutants: %v", len(questions), seen)
	for _, c := range []string{"E_CONTAINER", "E_FILE", "E_LOGSIG", "E_LEAF", "E_COMMIT", "E_UNACCOUNTED", "E_RECEIPT"} {
		if seen[c] == 0 {
			t.Errorf("no mutant came to %s: the changes do not reach that check", c)
		}
	}
}
