package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// Write writes a unit, reads it back and checks it. Where it, or a part of it, is there already
// with the same content, that is kept; so after a failure it is simply called again. What an
// attempt without manifest.json has left and is not what is to be written, is replaced: nobody
// relies on it. A unit with a manifest is never changed: it is checked, and is the answer
// where its leaves are these. Nothing counts as archived before Write returns nil.
//
// Errors: evidence.ErrUnavailable (the storage does not do it: what and why is said),
// evidence.ErrTampered (what was read back is not what was written, or the leaves are not
// those of the signed tree), evidence.ErrConflict (something else stands there),
// evidence.ErrInvalid (the unit is not one).
func (a *Archive) Write(ctx context.Context, u Unit) (store.ArchiveUnit, error) {
	c, err := u.check()
	if err != nil {
		return store.ArchiveUnit{}, fmt.Errorf("archive: %w", err)
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	name := unitName(u.Log.Tenant, u.Log.No, u.Log.Origin, u.From, u.To)
	have, err := readAll(ctx, a.dest, name+"/"+manifestName, maxManifest)
	if err == nil {
		return a.adopt(ctx, name, have, &u, c)
	}
	if !errors.Is(err, evidence.ErrNotFound) {
		return store.ArchiveUnit{}, fmt.Errorf("archive: %w", err)
	}
	dir, done, err := a.workspace()
	if err != nil {
		return store.ArchiveUnit{}, err
	}
	defer done()
	b := newBuilder(&u, c, dir)
	defer b.close()
	if err := b.build(ctx, c.Root); err != nil {
		return store.ArchiveUnit{}, err
	}
	if err := a.placeAll(ctx, name, b); err != nil {
		return store.ArchiveUnit{}, fmt.Errorf("archive: %w", err)
	}
	text, err := b.m.marshal()
	if err != nil {
		return store.ArchiveUnit{}, err
	}
	// First: what has a manifest is never changed again.
	out, err := a.readBack(ctx, name, &b.m, text, b.made)
	if err != nil {
		return store.ArchiveUnit{}, err
	}
	if err := a.placeManifest(ctx, name+"/"+manifestName, text); err != nil {
		return store.ArchiveUnit{}, fmt.Errorf("archive: %w", err)
	}
	back, err := readAll(ctx, a.dest, name+"/"+manifestName, maxManifest)
	if err == nil && !bytes.Equal(back, text) {
		err = fmt.Errorf("%s/%s: %w: it is not the one that was written", name, manifestName, evidence.ErrTampered)
	}
	if err != nil {
		return store.ArchiveUnit{}, fmt.Errorf("archive: read back: %w", err)
	}
	return out, nil
}

// check looks at what can be known before anything is read.
func (u *Unit) check() (c2sp.Checkpoint, error) {
	key, err := c2sp.ParseVKey(u.Log.VKey)
	if err != nil || !evidence.ValidTenant(u.Log.Tenant) || u.Log.No < 1 || key.Name != u.Log.Origin {
		return c2sp.Checkpoint{}, fmt.Errorf("unit of log %q: %w: it names no log (%w)", u.Log.Origin, evidence.ErrInvalid, errors.Join(err))
	}
	v, err := c2sp.Verify(u.Checkpoint, key)
	if err != nil {
		return c2sp.Checkpoint{}, fmt.Errorf("checkpoint of %s: %w", u.Log.Origin, err)
	}
	if err := (span{u.From, u.To, v.Size}).check(); err != nil {
		return c2sp.Checkpoint{}, fmt.Errorf("unit of %s: %w: %w", u.Log.Origin, evidence.ErrInvalid, err)
	}
	if (u.From == 0) != (u.Prev == evidence.Hash{}) {
		return c2sp.Checkpoint{}, fmt.Errorf("unit of %s from leaf %d: %w: the first, and no other, has none before it", u.Log.Origin, u.From, evidence.ErrInvalid)
	}
	return v.Checkpoint, nil
}

func (a *Archive) placeAll(ctx context.Context, name string, b *builder) error {
	pace := paceOf(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(pace.objects())
	for i := range b.m.Files {
		f := &b.m.Files[i]
		g.Go(func() error { return a.place(ctx, name, b.files[f.Path].f, f) })
	}
	return g.Wait()
}

// place writes an object of a unit, unless it is there. What is there with other bytes is replaced only while
// the unit has no manifest: then an unfinished attempt has left it.
func (a *Archive) place(ctx context.Context, unit string, r io.ReaderAt, f *file) error {
	name := unit + "/" + f.Path
	there, same, err := a.compare(ctx, name, f)
	if err != nil || same {
		return err
	}
	if !there {
		err = a.dest.create(ctx, name, r, f.Size)
		if !errors.Is(err, evidence.ErrConflict) {
			return err
		}
		// It was written by this call, whose first answer was lost, or by another process.
		if _, same, rerr := a.compare(ctx, name, f); rerr != nil || same {
			return rerr
		}
		return fmt.Errorf("another process writes %s as well: %w", unit, err)
	}
	if _, err := readAll(ctx, a.dest, unit+"/"+manifestName, maxManifest); !errors.Is(err, evidence.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("%s: %w: another process has written it meanwhile", unit, evidence.ErrConflict)
		}
		return err
	}
	a.log.Warn("what an unfinished attempt has left in the archive is replaced", "archive", a.spec, "object", name)
	return a.dest.put(ctx, name, r, f.Size)
}

// compare says whether an object is there, and whether it is this one.
func (a *Archive) compare(ctx context.Context, name string, f *file) (there, same bool, err error) {
	o, err := a.dest.open(ctx, name)
	if errors.Is(err, evidence.ErrNotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	var sum evidence.Hash
	if o.size() == f.Size {
		sum, err = copyObject(ctx, io.Discard, o)
	}
	same = o.size() == f.Size && sum == f.sum()
	return true, same, errors.Join(err, o.Close())
}

// placeManifest writes the manifest, never over another one.
func (a *Archive) placeManifest(ctx context.Context, name string, text []byte) error {
	r, n := bytesAt(text)
	err := a.dest.create(ctx, name, r, n)
	if !errors.Is(err, evidence.ErrConflict) {
		return err
	}
	// It was written by this call, whose first answer was lost, or by another process.
	have, rerr := readAll(ctx, a.dest, name, maxManifest)
	if rerr != nil {
		return rerr
	}
	if bytes.Equal(have, text) {
		return nil
	}
	return err
}

// readBack checks what was written, and returns what is to be put on record. by is what
// is known of it where this call has written it.
func (a *Archive) readBack(ctx context.Context, name string, m *manifest, text []byte, by *made) (store.ArchiveUnit, error) {
	digest := evidence.Hash(sha256.Sum256(text))
	c, err := a.checkManifested(ctx, name, text, []c2sp.VKey{m.vkey()}, by)
	if err != nil {
		return store.ArchiveUnit{}, fmt.Errorf("archive: read back: %w", err)
	}
	if err := c.err(); err != nil {
		return store.ArchiveUnit{}, fmt.Errorf("archive: read back: %w", err)
	}
	u := store.ArchiveUnit{
		LogRef: store.LogRef{Tenant: m.TenantID, No: m.Log.LogNo}, From: m.From, To: m.To, FirstAt: m.FirstAt, LastAt: m.LastAt,
		Archive: a.spec, Name: name, Manifest: digest, Bytes: int64(len(text)), At: m.At,
	}
	for _, f := range m.Files {
		u.Bytes += f.Size
	}
	return u, nil
}

// adopt takes a unit that stands there whole for this one: written by a call that did not
// live to say so, with another checkpoint perhaps, or at another time.
func (a *Archive) adopt(ctx context.Context, name string, text []byte, u *Unit, c c2sp.Checkpoint) (store.ArchiveUnit, error) {
	conflict := func(why string) error {
		return fmt.Errorf("archive: %s: %w: %s. Where it is not on record it can be taken away", name, evidence.ErrConflict, why)
	}
	m, err := parseManifest(text)
	if err != nil {
		return store.ArchiveUnit{}, conflict(fmt.Sprintf("its manifest is none (%v)", err))
	}
	if m.name() != name || m.Log.Origin != u.Log.Origin || m.Log.VKey != u.Log.VKey || m.Previous != digestOrNone(u.Prev) {
		return store.ArchiveUnit{}, conflict("there is another unit of that name")
	}
	out, err := a.readBack(ctx, name, m, text, nil)
	if err != nil {
		return store.ArchiveUnit{}, err
	}
	// The leaves of both are in trees that the log has signed. They are the same where their
	// hashes are.
	r, err := a.openUnit(ctx, out)
	if err != nil {
		return store.ArchiveUnit{}, err
	}
	defer r.close()
	theirs, ours := m.span(), span{u.From, u.To, c.Size}
	first, end := ours.bundles()
	for n := first; n < end; n++ {
		id := ours.tile(0, n)
		data, err := u.Tile(ctx, 0, n, id.width)
		if err != nil {
			return store.ArchiveUnit{}, fmt.Errorf("archive: %s of %s: %w", id.path(), u.Log.Origin, err)
		}
		old, err := r.zip.read(ctx, theirs.tile(0, n))
		if err != nil {
			return store.ArchiveUnit{}, fmt.Errorf("archive: %s: %w", name, err)
		}
		if k := min(len(data), len(old)); !bytes.Equal(data[:k], old[:k]) {
			return store.ArchiveUnit{}, conflict(fmt.Sprintf("there is another unit of that name, of other leaves from %d on", n*batchLeaves))
		}
	}
	return out, nil
}
