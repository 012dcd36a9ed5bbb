package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// unitCheck is the check of one unit.
type unitCheck struct {
	name   string
	m      *manifest
	digest evidence.Hash // of the manifest
	// signed: by one of the keys that were given.
	signed   bool
	findings []Finding
	missing  bool // one of them is that an object is missing
	records  int64

	files  map[string]object // what is read, in the spool or in a directory
	note   c2sp.Checkpoint
	zip    *zipReader
	tree   *tree
	lines  [maxKinds]*lineChecker
	tables [maxKinds]*parquetChecker
	said   [maxKinds]*said
	last   evidence.Micros
	counts [maxKinds]int64
	by     *made // nil: nothing is known
	// before and after are the roots of the log's first From and To leaves, as the unit's tree has them.
	before, after evidence.Hash
}

func (c *unitCheck) find(code, object, message string, args ...any) {
	c.findings = append(c.findings, Finding{Code: code, Unit: c.name, Object: object, Message: fmt.Sprintf(message, args...)})
}

// bad makes a finding of an error, but where the storage has failed or ctx has ended: that
// says nothing of the unit.
func (c *unitCheck) bad(ctx context.Context, code, object string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, evidence.ErrUnavailable):
		return err
	}
	if errors.Is(err, evidence.ErrNotFound) {
		c.missing = true
	}
	c.find(code, object, "%v", err)
	return nil
}

// err is what was found, as an error: of the first finding, and how many more there are.
func (c *unitCheck) err() error {
	switch n := len(c.findings); {
	case n == 0:
		return nil
	case c.missing:
		return fmt.Errorf("%w: %s", evidence.ErrNotFound, c.findings[0])
	case n > 1:
		return fmt.Errorf("%w: %s (and %d more)", evidence.ErrTampered, c.findings[0], n-1)
	default:
		return fmt.Errorf("%w: %s", evidence.ErrTampered, c.findings[0])
	}
}

// checkUnit reads all of a unit and checks it by itself; want is the digest that its manifest
// must have, and by what is known of its leaves where they were written just now. An error is
// that it could not be read, or that ctx has ended.
func (a *Archive) checkUnit(ctx context.Context, name string, want *evidence.Hash, keys []c2sp.VKey, by *made) (*unitCheck, error) {
	c := &unitCheck{name: name}
	text, err := readAll(ctx, a.dest, name+"/"+manifestName, maxManifest)
	if errors.Is(err, evidence.ErrNotFound) {
		c.missing = true
		c.find(CodeFile, manifestName, "it is missing, or the unit was not finished")
		return c, nil
	}
	if err != nil {
		return c, c.bad(ctx, CodeFile, manifestName, err)
	}
	c.digest = sha256.Sum256(text)
	if want != nil && c.digest != *want {
		c.find(CodeFile, manifestName, "its digest is %s; the one on record is %s", evidence.Checksum(c.digest), evidence.Checksum(*want))
		return c, nil
	}
	return a.checkManifested(ctx, name, text, keys, by)
}

// checkManifested is checkUnit of a unit whose manifest is this one, be it there yet or not.
func (a *Archive) checkManifested(ctx context.Context, name string, text []byte, keys []c2sp.VKey, by *made) (*unitCheck, error) {
	c := &unitCheck{name: name, files: map[string]object{}, by: by, digest: sha256.Sum256(text)}
	m, err := parseManifest(text)
	if err == nil && m.name() != name {
		err = fmt.Errorf("it is that of %s", m.name())
	}
	if err != nil {
		c.find(CodeFile, manifestName, "%v", err)
		return c, nil
	}
	c.m = m
	dir, done, err := a.workspace()
	if err != nil {
		return c, err
	}
	defer done()
	defer c.close()
	if err := c.fetchAll(ctx, a.dest, dir); err != nil {
		return c, err
	}
	return c, c.content(ctx, keys)
}

// fetchAll reads all objects that the manifest names.
func (c *unitCheck) fetchAll(ctx context.Context, d destination, dir string) error {
	g := errgroup.Group{}
	g.SetLimit(paceOf(ctx).objects())
	got, errs := make([]object, len(c.m.Files)), make([]error, len(c.m.Files))
	for i := range c.m.Files {
		g.Go(func() error {
			got[i], errs[i] = fetch(ctx, d, c.name, &c.m.Files[i], dir)
			return nil
		})
	}
	_ = g.Wait() // none of them returns an error
	for i, o := range got {
		if o != nil {
			c.files[c.m.Files[i].Path] = o
		}
	}
	for i, err := range errs {
		if err := c.bad(ctx, CodeFile, c.m.Files[i].Path, err); err != nil {
			return err
		}
	}
	return nil
}

func (c *unitCheck) close() {
	for _, o := range c.files {
		_ = o.Close()
	}
}

// release forgets all but what a report, and the units behind it, need.
func (c *unitCheck) release() {
	*c = unitCheck{name: c.name, m: c.m, digest: c.digest, before: c.before, after: c.after}
}

// fetch reads an object and checks its digest. What is in a bucket is kept in the spool for
// what comes, since ranges of it would be asked for several times.
func fetch(ctx context.Context, d destination, unit string, f *file, dir string) (object, error) {
	o, err := d.open(ctx, unit+"/"+f.Path)
	if err != nil {
		return nil, err
	}
	if o.size() != f.Size {
		_ = o.Close()
		return nil, fmt.Errorf("it has %d bytes; the manifest says %d", o.size(), f.Size)
	}
	w, local := io.Discard, o
	if _, isFile := o.(*fileObject); !isFile {
		defer o.Close()
		sf, err := os.OpenFile(filepath.Join(dir, "read-"+f.Path), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return nil, spoolError(err)
		}
		w, local = sf, &fileObject{sf, f.Size}
	}
	sum, err := copyObject(ctx, w, o)
	if err == nil && sum != f.sum() {
		err = fmt.Errorf("its digest is %s; the manifest says sha256:%s", evidence.Checksum(sum), f.SHA256)
	}
	if err != nil {
		_ = local.Close()
		return nil, err
	}
	return local, nil
}

// content checks what the objects say, as far as they are there.
func (c *unitCheck) content(ctx context.Context, keys []c2sp.VKey) error {
	root, err := c.checkpoint(ctx, keys)
	if err != nil || !root {
		return err
	}
	log := c.files[logName]
	if log == nil {
		return nil
	}
	if c.zip, err = openZip(ctx, log, c.m.span()); err != nil {
		return c.bad(ctx, CodeFile, logName, err)
	}
	tiles := map[tileID][]byte{}
	edge := c.m.span().tile(0, c.m.CheckpointSize/batchLeaves)
	for _, id := range append(c.m.span().upper(), tileID{level: noteLevel}, edge) {
		if id == edge {
			if _, ok := c.zip.entries[id]; !ok || tiles[id] != nil {
				continue
			}
		}
		if tiles[id], err = c.zip.read(ctx, id); err != nil {
			return c.bad(ctx, CodeFile, logName, err)
		}
	}
	note := make([]byte, c.m.file(checkpointName).Size)
	if err := c.files[checkpointName].readAt(ctx, note, 0); err != nil {
		return err
	}
	if string(tiles[tileID{level: noteLevel}]) != string(note) {
		c.find(CodeFile, logName, "its checkpoint is not the one beside it")
		return nil
	}
	if c.tree, err = newTree(c.m.span(), c.note.Root, tiles); err != nil {
		return c.bad(ctx, CodeInclusion, logName, err)
	}
	if c.before, err = c.rootAt(ctx, c.m.From); err == nil {
		c.after, err = c.rootAt(ctx, c.m.To)
	}
	if err != nil {
		return c.bad(ctx, CodeInclusion, logName, err)
	}
	if c.by != nil && c.by.root == c.note.Root {
		for id, data := range c.by.tiles { // then these are what tiles are compared with
			if id.level == 0 && c.tree.tiles[id] == nil {
				c.tree.tiles[id] = data
			}
		}
	} else {
		c.by = nil
	}
	return c.leaves(ctx)
}

// rootAt is the root of the first so many leaves, at most To, from the tiles that lead from the unit's to its root.
func (c *unitCheck) rootAt(ctx context.Context, size int64) (evidence.Hash, error) {
	root, err := tlog.TreeHash(size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			height, n := tlog.SplitStoredHashIndex(x)
			level, below := height/8, height%8
			id := c.tree.tile(level, n<<below/c2sp.TileWidth)
			data := c.tree.tiles[id]
			if data == nil && level == 0 {
				var err error
				if data, err = c.zip.read(ctx, id); err != nil {
					return nil, err
				}
				if err := c.tree.check(id, data); err != nil {
					return nil, err
				}
			}
			at := int(n << below % c2sp.TileWidth)
			if len(data) < (at+1<<below)*len(evidence.Hash{}) {
				return nil, fmt.Errorf("%w: %s leads not as far as to leaf %d", evidence.ErrTampered, id.path(), size)
			}
			var f c2sp.Frontier
			for j := range 1 << below {
				f.AppendSubtree(8*level, hashAt(data, at+j), nil)
			}
			out[i] = tlog.Hash(f.Root())
		}
		return out, nil
	}))
	return evidence.Hash(root), err
}

// checkpoint reads the note. Where no key was given it must be signed by the one that the
// manifest names, which proves nothing but that nothing was damaged.
func (c *unitCheck) checkpoint(ctx context.Context, keys []c2sp.VKey) (ok bool, err error) {
	o := c.files[checkpointName]
	if o == nil {
		return false, nil
	}
	note := make([]byte, o.size())
	if err := o.readAt(ctx, note, 0); err != nil {
		return false, err
	}
	check := []c2sp.VKey{c.m.vkey()}
	for _, k := range keys {
		if k.Name == c.m.Log.Origin {
			check, c.signed = []c2sp.VKey{k}, true
			if k == c.m.vkey() {
				break
			}
		}
	}
	v, err := c2sp.Verify(note, check...)
	switch {
	case err != nil:
		c.find(CodeLogSig, checkpointName, "%v", err)
	case c.signed && check[0] != c.m.vkey():
		c.find(CodeLogSig, manifestName, "it names another key than the one that was given")
	case v.Origin != c.m.Log.Origin || v.Size != c.m.CheckpointSize:
		c.find(CodeLogSig, checkpointName, "it is of log %s and size %d; the manifest says %s and %d", v.Origin, v.Size, c.m.Log.Origin, c.m.CheckpointSize)
	default:
		c.note = v.Checkpoint
		return true, nil
	}
	c.signed = false
	return false, nil
}
