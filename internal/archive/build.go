package archive

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// builder makes the files of a unit in the spool, in one pass over its leaves.
type builder struct {
	u     *Unit
	span  span
	dir   string
	tiles map[tileID][]byte
	m     manifest
	last  evidence.Micros // recorded_at of the leaf before

	files map[string]*spoolFile
	zip   *zipWriter
	// By kind. A batch is given to who writes it after its kinds were put here, and nobody
	// looks at others, so these need no lock.
	lines  [maxKinds]*gzip.Writer
	text   [maxKinds][]byte // of toLines
	tables [maxKinds]*parquetWriter

	counts [maxKinds]int64
	made   *made
}

// made is what reading back a unit that was just written may rely on: what is known of leaves by
// their hashes, and so need not be found out again of the same leaves. Bytes it does not
// have: each that comes back is checked.
type made struct {
	root  evidence.Hash     // of the tree that tiles are in
	tiles map[tileID][]byte // accepted
	kinds []evidence.Kind   // by leaf, from the first of the unit on
	// sums are digests of the values of each Parquet file's columns.
	seed maphash.Seed
	sums [maxKinds]*columnSums
}

// spoolFile is a file that knows its size and digest.
type spoolFile struct {
	f   *os.File
	buf *bufio.Writer
	sum hash.Hash
	n   int64
}

func (s *spoolFile) Write(p []byte) (int, error) {
	s.sum.Write(p)
	s.n += int64(len(p))
	return s.buf.Write(p)
}

func newBuilder(u *Unit, c c2sp.Checkpoint, dir string) *builder {
	return &builder{
		u: u, span: span{u.From, u.To, c.Size}, dir: dir, tiles: map[tileID][]byte{}, files: map[string]*spoolFile{},
		m: manifest{
			Format: format, TenantID: u.Log.Tenant, Log: logID{LogNo: u.Log.No, Origin: u.Log.Origin, VKey: u.Log.VKey},
			From: u.From, To: u.To, CheckpointSize: c.Size, At: u.At, Kinds: map[string]kindCount{},
			Previous: digestOrNone(u.Prev),
		},
		made: &made{kinds: make([]evidence.Kind, 0, u.To-u.From), seed: maphash.MakeSeed()},
	}
}

func digestOrNone(h evidence.Hash) string {
	if h == (evidence.Hash{}) {
		return ""
	}
	return evidence.Checksum(h)
}

func (b *builder) create(name string) (*spoolFile, error) {
	f, err := os.OpenFile(filepath.Join(b.dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, spoolError(err)
	}
	s := &spoolFile{f: f, sum: sha256.New()}
	s.buf = bufio.NewWriterSize(f, 64<<10)
	b.files[name] = s
	return s, nil
}

func spoolError(err error) error {
	return fmt.Errorf("archive: spool: %w: %w", evidence.ErrUnavailable, err)
}

// close closes what is open; the files stay until their directory goes.
func (b *builder) close() {
	for _, f := range b.files {
		_ = f.f.Close()
	}
}

// build writes all files and fills in the manifest.
func (b *builder) build(ctx context.Context, root evidence.Hash) error {
	if err := b.readTiles(ctx, root); err != nil {
		return err
	}
	f, err := b.create(logName)
	if err != nil {
		return err
	}
	if b.zip, err = newZipWriter(f); err != nil {
		return err
	}
	if err := newPipe().run(ctx, b.read, b.parse, b.toZip, b.toLines, b.toTables); err != nil {
		return err
	}
	for _, id := range append(b.span.upper(), tileID{level: noteLevel}) {
		data := b.tiles[id]
		if id.level == noteLevel {
			data = b.u.Checkpoint
		}
		if err := b.zip.add(id, data); err != nil {
			return spoolError(err)
		}
	}
	if err := b.zip.close(); err != nil {
		return spoolError(err)
	}
	for _, k := range evidence.Kinds() {
		if b.lines[k] == nil {
			continue
		}
		if err := errors.Join(b.lines[k].Close(), b.tables[k].close()); err != nil {
			return spoolError(err)
		}
		b.m.Kinds[k.String()] = kindCount{b.counts[k]}
		b.made.sums[k] = b.tables[k].sums
	}
	if f, err = b.create(checkpointName); err == nil {
		_, err = f.Write(b.u.Checkpoint)
	}
	if err != nil {
		return err
	}
	return b.finish()
}

// finish syncs nothing: the spool is read again at once, and nothing of it is needed behind
// a crash.
func (b *builder) finish() error {
	for name, f := range b.files {
		if err := f.buf.Flush(); err != nil {
			return spoolError(err)
		}
		b.m.Files = append(b.m.Files, file{Path: name, SHA256: hex.EncodeToString(f.sum.Sum(nil)), Size: f.n})
	}
	slices.SortFunc(b.m.Files, func(a, b file) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// readTiles asks for all tiles before the leaves: the unit's functions are not called from
// within one another.
func (b *builder) readTiles(ctx context.Context, root evidence.Hash) error {
	for _, id := range b.span.entries() {
		if id.level < 0 {
			continue
		}
		data, err := b.u.Tile(ctx, id.level, id.n, id.width)
		if err != nil {
			return fmt.Errorf("archive: %s of %s: %w", id.path(), b.u.Log.Origin, err)
		}
		b.tiles[id] = data
	}
	b.made.root, b.made.tiles = root, b.tiles
	t, err := newTree(b.span, root, b.tiles)
	if err != nil {
		return fmt.Errorf("archive: %s: %w", b.u.Log.Origin, err)
	}
	for id, data := range b.tiles {
		if err := t.add(id, data); err != nil {
			return fmt.Errorf("archive: %s: %w", b.u.Log.Origin, err)
		}
	}
	return nil
}

// read puts leaves together to bundles.
func (b *builder) read(ctx context.Context, next func() (*batch, error), send func(*batch) error) error {
	var now *batch
	want, n := b.span.start(), 0
	err := b.u.Leaves(ctx, want, b.span.to, func(seq int64, leaf []byte) (err error) {
		if seq != want {
			return fmt.Errorf("archive: %s: %w: leaf %d comes where %d is to come", b.u.Log.Origin, evidence.ErrTampered, seq, want)
		}
		if now == nil {
			if now, err = next(); err != nil {
				return err
			}
			now.first, now.data, now.skip, n = seq, now.data[:0], int(max(b.span.from-seq, 0)), 0
		}
		if now.data, err = c2sp.AppendEntry(now.data, leaf); err != nil {
			return err
		}
		want++
		if n++; n == batchLeaves || want == b.span.to {
			err, now = send(now), nil
		}
		return err
	})
	if err == nil && want != b.span.to {
		err = fmt.Errorf("archive: %s: %w: leaves end at %d of %d", b.u.Log.Origin, evidence.ErrTampered, want, b.span.to)
	}
	return err
}

func (b *builder) parse(x *batch) error {
	width := int(min(b.span.to-x.first, batchLeaves))
	err := x.parse(b.u.Log.Origin, width)
	if err == nil {
		err = x.inTile(b.tiles[b.span.tile(0, x.first/batchLeaves)])
	}
	if err != nil {
		return fmt.Errorf("archive: %s: %w", b.u.Log.Origin, err)
	}
	x.kinds = 0
	for i := range x.own() {
		leaf := &x.own()[i]
		x.kinds |= 1 << leaf.Kind
		b.made.kinds = append(b.made.kinds, leaf.Kind)
		if leaf.RecordedAt < b.last {
			return fmt.Errorf("archive: %s: %w: leaf %d is older than the one before it", b.u.Log.Origin, evidence.ErrTampered, leaf.Seq)
		}
		if leaf.Seq == b.span.from {
			b.m.FirstAt = leaf.RecordedAt
		}
		b.last, b.m.LastAt = leaf.RecordedAt, leaf.RecordedAt
		b.counts[leaf.Kind]++
		if b.lines[leaf.Kind] == nil {
			if err := b.open(leaf.Kind); err != nil {
				return err
			}
		}
	}
	return nil
}

// open makes the files of a kind.
func (b *builder) open(k evidence.Kind) error {
	lines, err := b.create(k.String() + jsonlSuffix)
	if err != nil {
		return err
	}
	if b.lines[k], err = gzip.NewWriterLevel(lines, gzip.BestSpeed); err != nil {
		return fmt.Errorf("archive: gzip: %w", err)
	}
	table, err := b.create(k.String() + parquetSuffix)
	if err != nil {
		return err
	}
	b.tables[k] = newParquetWriter(table, k, b.u.Log.Tenant, b.u.Log.No, b.made.seed)
	return nil
}

func (b *builder) toZip(x *batch) error {
	if err := b.zip.add(tileID{c2sp.EntriesLevel, x.first / batchLeaves, len(x.leaf)}, x.data); err != nil {
		return spoolError(err)
	}
	id := b.span.tile(0, x.first/batchLeaves)
	if err := b.zip.add(id, b.tiles[id]); err != nil {
		return spoolError(err)
	}
	return nil
}

// toLines puts the lines of a batch together first: a writer that is asked for a line at a
// time costs as much as the packing.
func (b *builder) toLines(x *batch) error {
	for i := range x.own() {
		k := x.own()[i].Kind
		b.text[k] = append(append(b.text[k], x.raw[x.skip+i]...), '\n')
	}
	for k := range b.text {
		if len(b.text[k]) == 0 {
			continue
		}
		if _, err := b.lines[k].Write(b.text[k]); err != nil {
			return spoolError(err)
		}
		b.text[k] = b.text[k][:0]
	}
	return nil
}

func (b *builder) toTables(x *batch) error {
	for i := range x.own() {
		b.tables[x.own()[i].Kind].add(&x.own()[i], &x.hash[x.skip+i])
	}
	for k := range b.tables {
		if x.kinds>>k&1 == 0 {
			continue
		}
		if err := b.tables[k].write(); err != nil {
			return err
		}
	}
	return nil
}
