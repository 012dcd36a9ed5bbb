package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/verify"
)

// verifying measures the offline verification of a whole log beside Tessera's fsck
// over the same leaves, both from files in a directory, on one core and on all.
// Nothing is disclosed: what a leaf costs is measured, not its content. Fsck checks
// hashes; what a leaf says, runs and withheld fields are checked here alone.
func (b *bench) verifying(ctx context.Context) {
	if b.quick {
		b.stored = 20_000
	}
	o, data := b.fill(ctx)
	x := export.New(export.Config{Ledger: o.Ledger, SpoolDir: b.dir})
	dir := mustTemp(b.dir, "bench-verify")
	defer os.RemoveAll(dir)
	check(os.MkdirAll(filepath.Join(dir, "ours"), 0o700))
	bundle, err := x.Export(ctx, export.Request{
		Tenant: o.tenant, Profile: export.ProfileLog, Directory: true, Withhold: []string{"*"}, By: export.Requester{Name: "bench"},
	})
	check(err)
	check(unpack(bundle, filepath.Join(dir, "ours")))
	check(bundle.Close())
	logs, err := o.Logs(ctx, o.tenant)
	check(err)
	theirs, err := newFsck(ctx, filepath.Join(dir, "theirs"), filepath.Join(dir, "ours", "logs", "0"), bundle.Size)
	check(err)
	entries := float64(theirs.entries)
	fmt.Printf("%d entries of %.0f bytes\n", theirs.entries, float64(theirs.bytes)/entries)

	cores := runtime.GOMAXPROCS(0)
	for _, n := range slices.Compact([]int{1, cores}) {
		var our, their []float64 // µs of one core's time for each entry, by the wall
		var ourCPU, theirCPU []float64
		for range b.rounds {
			runtime.GOMAXPROCS(n)
			wall, cpu := timed(func() {
				rep, err := verify.Dir(ctx, os.DirFS(filepath.Join(dir, "ours")), verify.Options{Keys: []string{logs[0].VKey}})
				check(err)
				if rep.Verdict != verify.VerifiedWithLimits { // no witnesses, no time from outside
					check(fmt.Errorf("verdict %s: %v", rep.Verdict, rep.Findings))
				}
			})
			our, ourCPU = append(our, wall/entries*float64(n)), append(ourCPU, cpu/entries)
			wall, cpu = timed(func() { check(theirs.run(ctx, uint(n))) })
			their, theirCPU = append(their, wall/entries*float64(n)), append(theirCPU, cpu/entries)
		}
		fmt.Printf("cores %d: verify %.2f µs per entry and core (CPU %.2f), tessera fsck %.2f (CPU %.2f): ratio %.2f, of CPU %.2f\n",
			n, middle(our), middle(ourCPU), middle(their), middle(theirCPU), middle(our)/middle(their), middle(ourCPU)/middle(theirCPU))
	}
	runtime.GOMAXPROCS(cores)
	check(o.close())
	if b.data == "" {
		check(os.RemoveAll(data))
		check(os.RemoveAll(data + ".anchor"))
	}
}

// timed returns what fn takes in µs: by the wall, and of all cores.
func timed(fn func()) (wall, cpu float64) {
	runtime.GC()
	used, at := cpuTime(), time.Now()
	fn()
	return float64(time.Since(at).Microseconds()), float64((cpuTime() - used).Microseconds())
}

func middle(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// unpack writes the files of a bundle.
func unpack(b *export.Bundle, dir string) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(b.WriteTar(w)) }()
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, t); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
}

// fsckLog is a log of Tessera's with the same leaves.
type fsckLog struct {
	dir            string
	verifier       note.Verifier
	entries, bytes int
}

// newFsck appends the entries of a bundle's log, in order.
func newFsck(ctx context.Context, dir, log string, size int64) (*fsckLog, error) {
	quietPeer()
	skey, vkey, err := note.GenerateKey(rand.Reader, "bench.example")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, err
	}
	l := &fsckLog{dir: dir}
	if l.verifier, err = note.NewVerifier(vkey); err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return nil, err
	}
	opts := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithCheckpointInterval(time.Second).
		WithBatching(4096, 50*time.Millisecond).WithPushback(1_000_000)
	a, shutdown, _, err := tessera.NewAppender(ctx, driver, opts)
	if err != nil {
		return nil, err
	}
	var last tessera.IndexFuture
	err = eachEntry(ctx, log, size, func(leaf []byte) {
		last = a.Add(ctx, tessera.NewEntry(bytes.Clone(leaf)))
		l.entries++
		l.bytes += len(leaf)
		if l.entries%50_000 == 0 {
			_, err := last()
			check(err)
		}
	})
	if err != nil {
		return nil, err
	}
	if _, err := last(); err != nil {
		return nil, err
	}
	return l, shutdown(ctx) // which waits for the checkpoint of all that has a place
}

// eachEntry yields the leaves of a bundle's log of that size.
func eachEntry(ctx context.Context, log string, size int64, fn func(leaf []byte)) error {
	for at := int64(0); at < size; at += 256 {
		width := uint8(0) // a full bundle
		if size-at < 256 {
			width = uint8(size - at)
		}
		bundle, err := (client.FileFetcher{Root: log}).ReadEntryBundle(ctx, uint64(at/256), width)
		if err != nil {
			return err
		}
		var list api.EntryBundle
		if err := list.UnmarshalText(bundle); err != nil {
			return err
		}
		for _, leaf := range list.Entries {
			fn(leaf)
		}
	}
	return nil
}

func (l *fsckLog) run(ctx context.Context, workers uint) error {
	hasher := func(bundle []byte) ([][]byte, error) {
		var list api.EntryBundle
		if err := list.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		out := make([][]byte, 0, len(list.Entries))
		for _, e := range list.Entries {
			h := rfc6962.DefaultHasher.HashLeaf(e)
			out = append(out, h)
		}
		return out, nil
	}
	return fsck.New("bench.example", l.verifier, client.FileFetcher{Root: l.dir}, hasher, fsck.Opts{N: workers}).Check(ctx)
}
