package c2sp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runledger/runledger/evidence"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type vectorFile struct {
	Origin             string            `json:"origin"`
	LogSeed            string            `json:"log_seed_hex"`
	LogVKey            string            `json:"log_vkey"`
	WitnessSeed        string            `json:"witness_seed_hex"`
	WitnessVKey        string            `json:"witness_vkey"`
	Leaves             []string          `json:"leaves"`
	LeafHashes         []string          `json:"leaf_hashes"`
	LeafCount          int64             `json:"leaf_count"`
	Roots              map[int64]string  `json:"roots"`
	Inclusion          []vectorProof     `json:"inclusion"`
	Consistency        []vectorProof     `json:"consistency"`
	Checkpoint         string            `json:"checkpoint"`
	CheckpointCosigned string            `json:"checkpoint_cosigned"`
	TLogProof          string            `json:"tlog_proof"`
	AddCheckpoint      string            `json:"add_checkpoint"`
	TilePaths          map[string]string `json:"tile_paths"`
}

type vectorProof struct {
	Index int64    `json:"index"`
	Old   int64    `json:"old"`
	Size  int64    `json:"size"`
	Proof []string `json:"proof"`
}

func vectors(t testing.TB) *vectorFile {
	t.Helper()
	b, err := os.ReadFile("../../testdata/vectors/ledger-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectorFile)
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, s string) (h evidence.Hash) {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		t.Fatalf("%q is not a hash", s)
	}
	return evidence.Hash(b)
}

func hashes(t testing.TB, list []string) []evidence.Hash {
	t.Helper()
	var out []evidence.Hash
	for _, s := range list {
		out = append(out, unhex(t, s))
	}
	return out
}

func (v *vectorFile) root(t testing.TB, size int64) evidence.Hash {
	t.Helper()
	s, ok := v.Roots[size]
	if !ok {
		t.Fatalf("the vectors have no root of %d", size)
	}
	return unhex(t, s)
}

func (v *vectorFile) signer(t testing.TB) *Signer {
	t.Helper()
	seed := unhex(t, v.LogSeed)
	s, err := NewSigner(v.Origin, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (v *vectorFile) cosigner(t testing.TB) *Cosigner {
	t.Helper()
	seed := unhex(t, v.WitnessSeed)
	name, _, _ := strings.Cut(v.WitnessVKey, "+")
	s, err := NewCosigner(name, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The file has 12 of its 700 leaves; the roots of small trees follow from
// them. (The other leaves cannot be made again: their commitments depend on
// salts that the file does not hold.)
func TestVectorRoots(t *testing.T) {
	v := vectors(t)
	var f Frontier
	checked := 0
	for size := int64(0); ; size++ {
		if want, ok := v.Roots[size]; ok {
			checked++
			if got := f.Root().String(); got != want {
				t.Errorf("root of %d = %s, want %s", size, got, want)
			}
		}
		if size == int64(len(v.Leaves)) {
			break
		}
		h := evidence.LeafHash([]byte(v.Leaves[size]))
		if h.String() != v.LeafHashes[size] {
			t.Errorf("leaf %d: hash %s, want %s", size, h, v.LeafHashes[size])
		}
		f.Append(h, nil)
	}
	if checked < 7 {
		t.Errorf("only %d roots checked", checked)
	}
}

// knownLeaf returns leaf hashes: of the leaves in the file, and those that
// stand in its consistency proofs.
func (v *vectorFile) knownLeaf(t testing.TB, index int64) (evidence.Hash, bool) {
	if index < int64(len(v.LeafHashes)) {
		return unhex(t, v.LeafHashes[index]), true
	}
	for _, c := range v.Consistency {
		switch {
		case c.Old == 255 && c.Size == 256 && index == 255:
			return unhex(t, c.Proof[1]), true
		case c.Old == 256 && c.Size == 257 && index == 256:
			return unhex(t, c.Proof[0]), true
		}
	}
	return evidence.Hash{}, false
}

func TestVectorInclusion(t *testing.T) {
	v := vectors(t)
	right := evidence.Hash{} // of the leaves 512 to 699
	for _, c := range v.Consistency {
		if c.Old == 512 && c.Size == 700 {
			right = unhex(t, c.Proof[0])
		}
	}
	for _, p := range v.Inclusion {
		t.Run(fmt.Sprintf("%d in %d", p.Index, p.Size), func(t *testing.T) {
			proof, root := hashes(t, p.Proof), v.root(t, p.Size)
			leaf, ok := v.knownLeaf(t, p.Index)
			if !ok {
				// The leaf is not in the file, but the last hash of its proof
				// is the other half of the tree.
				want := right
				if p.Index >= 512 {
					want = v.root(t, 512)
				}
				if got := proof[len(proof)-1]; got != want {
					t.Errorf("the last hash is %s, want %s", got, want)
				}
				return
			}
			if err := CheckInclusion(proof, p.Size, root, p.Index, leaf); err != nil {
				t.Error(err)
			}
			checkBadProofs(t, proof, func(p2 []evidence.Hash) error {
				return CheckInclusion(p2, p.Size, root, p.Index, leaf)
			})
			leaf[0] ^= 1
			if CheckInclusion(proof, p.Size, root, p.Index, leaf) == nil {
				t.Error("another leaf is accepted")
			}
		})
	}
}

func TestVectorConsistency(t *testing.T) {
	v := vectors(t)
	for _, p := range v.Consistency {
		t.Run(fmt.Sprintf("%d to %d", p.Old, p.Size), func(t *testing.T) {
			proof, root, old := hashes(t, p.Proof), v.root(t, p.Size), v.root(t, p.Old)
			if err := CheckConsistency(proof, p.Size, root, p.Old, old); err != nil {
				t.Error(err)
			}
			checkBadProofs(t, proof, func(p2 []evidence.Hash) error {
				return CheckConsistency(p2, p.Size, root, p.Old, old)
			})
			old[0] ^= 1
			if CheckConsistency(proof, p.Size, root, p.Old, old) == nil {
				t.Error("another old root is accepted")
			}
		})
	}
}

// checkBadProofs alters a good proof in each place.
func checkBadProofs(t *testing.T, proof []evidence.Hash, check func([]evidence.Hash) error) {
	t.Helper()
	for i := range proof {
		bad := append([]evidence.Hash(nil), proof...)
		bad[i][31] ^= 1
		if check(bad) == nil {
			t.Errorf("a proof with hash %d altered is accepted", i)
		}
	}
	if check(append(append([]evidence.Hash(nil), proof...), evidence.Hash{})) == nil {
		t.Error("a proof with one hash too many is accepted")
	}
	if len(proof) > 0 && check(proof[1:]) == nil {
		t.Error("a proof with one hash too few is accepted")
	}
}

func TestVectorCheckpoint(t *testing.T) {
	v := vectors(t)
	signer := v.signer(t)
	if got := signer.VKey().String(); got != v.LogVKey {
		t.Errorf("verifier key %s, want %s", got, v.LogVKey)
	}
	c := Checkpoint{v.Origin, v.LeafCount, v.root(t, v.LeafCount)}
	signed, err := SignCheckpoint(c, signer)
	if err != nil || string(signed) != v.Checkpoint {
		t.Errorf("SignCheckpoint = %q, %v; want %q", signed, err, v.Checkpoint)
	}
	got, err := Verify([]byte(v.Checkpoint), signer.VKey())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Verified{Checkpoint: c, Log: signer.VKey()}, got); diff != "" {
		t.Error(diff)
	}
}

func TestVectorPlainNote(t *testing.T) {
	v := vectors(t)
	verifier, err := note.NewVerifier(v.LogVKey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := SignCheckpoint(Checkpoint{v.Origin, 7, v.root(t, 7)}, v.signer(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{v.Checkpoint, v.CheckpointCosigned, string(signed)} {
		n, err := note.Open([]byte(text), note.VerifierList(verifier))
		if err != nil {
			t.Errorf("note.Open(%q): %v", text, err)
			continue
		}
		if c, err := ParseCheckpointBody(n.Text); err != nil || c.Origin != v.Origin {
			t.Errorf("ParseCheckpointBody(%q) = %v, %v", n.Text, c, err)
		}
	}
}

func TestVectorCosigned(t *testing.T) {
	v := vectors(t)
	w, log := v.cosigner(t), v.signer(t).VKey()
	if got := w.VKey().String(); got != v.WitnessVKey {
		t.Errorf("verifier key %s, want %s", got, v.WitnessVKey)
	}
	got, err := Verify([]byte(v.CheckpointCosigned), log, w.VKey())
	if err != nil || len(got.Cosignatures) != 1 || got.Cosignatures[0].Witness != w.VKey() {
		t.Fatalf("Verify = %+v, %v", got, err)
	}
	c, sigs, err := ParseNote([]byte(v.Checkpoint))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := w.Cosign(c, got.Cosignatures[0].Time)
	if err != nil {
		t.Fatal(err)
	}
	if again := FormatNote(c, append(sigs, sig)); string(again) != v.CheckpointCosigned {
		t.Errorf("cosigned again: %q, want %q", again, v.CheckpointCosigned)
	}
	only, err := OnlyLogSignature([]byte(v.CheckpointCosigned), log)
	if err != nil || string(only) != v.Checkpoint {
		t.Errorf("OnlyLogSignature = %q, %v", only, err)
	}
}

func TestVectorProofs(t *testing.T) {
	v := vectors(t)
	log := v.signer(t).VKey()
	p, err := ParseProof([]byte(v.TLogProof))
	if err != nil {
		t.Fatal(err)
	}
	if again := p.Marshal(); string(again) != v.TLogProof {
		t.Errorf("proof written again: %q", again)
	}
	c, err := Verify(p.Note, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckInclusion(p.Hashes, c.Size, c.Root, p.Index, evidence.LeafHash([]byte(v.Leaves[p.Index]))); err != nil {
		t.Error(err)
	}

	a, err := ParseConsistency([]byte(v.AddCheckpoint))
	if err != nil {
		t.Fatal(err)
	}
	if again := a.Marshal(); string(again) != v.AddCheckpoint {
		t.Errorf("consistency written again: %q", again)
	}
	if !bytes.Equal(a.Note, p.Note) {
		t.Errorf("checkpoint %q, want %q", a.Note, p.Note)
	}
	if err := CheckConsistency(a.Hashes, c.Size, c.Root, a.Old, v.root(t, a.Old)); err != nil {
		t.Error(err)
	}
}

func TestVectorTilePaths(t *testing.T) {
	for key, want := range vectors(t).TilePaths {
		var level, width int
		var n int64
		if _, err := fmt.Sscanf(key, "%d/%d/%d", &level, &n, &width); err != nil {
			t.Fatal(err)
		}
		if got := TilePath(level, n, width); got != want {
			t.Errorf("TilePath(%d, %d, %d) = %s, want %s", level, n, width, got, want)
		}
		l, m, w, err := ParseTilePath(want)
		if err != nil || l != level || m != n || w != width {
			t.Errorf("ParseTilePath(%s) = %d, %d, %d, %v", want, l, m, w, err)
		}
	}
}

// Proof orders of RFC 6962 and of x/mod are the same: what tlog proves,
// [CheckInclusion] and [CheckConsistency] accept.
func TestProofsOfTlog(t *testing.T) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	var f Frontier
	roots := []evidence.Hash{f.Root()}
	const n = 70
	for i := int64(0); i < n; i++ {
		leaf := []byte(fmt.Sprint("leaf ", i))
		hs, err := tlog.StoredHashes(i, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hs...)
		f.Append(evidence.LeafHash(leaf), nil)
		roots = append(roots, f.Root())
		if th, err := tlog.TreeHash(i+1, reader); err != nil || evidence.Hash(th) != f.Root() {
			t.Fatalf("root of %d: %s, want %s (%v)", i+1, f.Root(), th, err)
		}
	}
	back := func(in []tlog.Hash) (out []evidence.Hash) {
		for _, h := range in {
			out = append(out, evidence.Hash(h))
		}
		return out
	}
	for size := int64(1); size <= n; size++ {
		for i := int64(0); i < size; i++ {
			p, err := tlog.ProveRecord(size, i, reader)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckInclusion(back(p), size, roots[size], i, evidence.LeafHash([]byte(fmt.Sprint("leaf ", i)))); err != nil {
				t.Error(err)
			}
			if i == 0 {
				continue
			}
			q, err := tlog.ProveTree(size, i, reader)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckConsistency(back(q), size, roots[size], i, roots[i]); err != nil {
				t.Error(err)
			}
		}
		if err := CheckConsistency(nil, size, roots[size], 0, EmptyRoot); err != nil {
			t.Error(err)
		}
		if err := CheckConsistency(nil, size, roots[size], size, roots[size]); err != nil {
			t.Error(err)
		}
		if CheckConsistency(nil, size, roots[size], size, roots[size-1]) == nil {
			t.Error("two roots of one size are accepted")
		}
	}
}
