package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// dir is an archive in a directory. A file appears as a whole: it is written beside its
// place, synced, and renamed.
type dir struct{ root string }

// syncEvery is how much is written before it is synced: a file that is synced as a whole holds up
// the syncs of a database on the same disk for as long as that takes.
const syncEvery = 4 << 20

// tempPrefix begins the names of files that are not whole yet.
const tempPrefix = ".tmp-"

func (d *dir) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

// unavailable names a file whose operation failed.
func unavailable(err error) error { return fmt.Errorf("%w: %w", evidence.ErrUnavailable, err) }

func (d *dir) put(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return d.write(ctx, name, r, size, os.Rename)
}

func (d *dir) create(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return d.write(ctx, name, r, size, func(from, to string) error {
		err := os.Link(from, to) // which never replaces
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w: it is there already", to, evidence.ErrConflict)
		}
		if err == nil {
			return os.Remove(from)
		}
		// A file system without links.
		if _, serr := os.Lstat(to); !errors.Is(serr, fs.ErrNotExist) {
			return errors.Join(err, serr)
		}
		return os.Rename(from, to)
	})
}

func (d *dir) write(ctx context.Context, name string, r io.ReaderAt, size int64, place func(from, to string) error) (err error) {
	to := d.path(name)
	if err := makeDirs(d.root, filepath.Dir(to)); err != nil {
		return unavailable(err)
	}
	f, err := os.CreateTemp(filepath.Dir(to), tempPrefix+"*")
	if err != nil {
		return unavailable(err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	from := contextReader{ctx, io.NewSectionReader(r, 0, size)}
	for err == nil {
		if _, err = io.CopyN(f, from, syncEvery); err == nil {
			err = f.Sync()
		}
	}
	if errors.Is(err, io.EOF) {
		err = f.Chmod(0o600)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return unavailable(fmt.Errorf("write %s: %w", to, err))
	}
	if err := place(f.Name(), to); err != nil {
		if errors.Is(err, evidence.ErrConflict) {
			return err
		}
		return unavailable(err)
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return unavailable(err)
	}
	return nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// makeDirs makes a directory below root with all above it, each of them durable. root may
// be anywhere.
func makeDirs(root, path string) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", path)
		}
		return nil
	}
	if path == root {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		return syncDir(filepath.Dir(path))
	}
	parent := filepath.Dir(path)
	if err := makeDirs(root, parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *dir) open(_ context.Context, name string) (object, error) {
	f, err := os.Open(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", d.path(name), evidence.ErrNotFound)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Name())
	}
	if err != nil {
		return nil, unavailable(errors.Join(err, f.Close()))
	}
	return &fileObject{f, info.Size()}, nil
}

type fileObject struct {
	*os.File
	n int64
}

func (o *fileObject) size() int64 { return o.n }

func (o *fileObject) readAt(ctx context.Context, p []byte, off int64) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	n, err := o.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: %w: it ends at byte %d", o.Name(), evidence.ErrTampered, off+int64(n))
	}
	return unavailable(err)
}

func (d *dir) list(ctx context.Context, prefix string, fn func(name string) error) error {
	var stop error // fn's
	err := filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == d.root {
			return err
		}
		rel, err := filepath.Rel(d.root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case e.IsDir():
			if !strings.HasPrefix(name+"/", prefix) && !strings.HasPrefix(prefix, name+"/") {
				return fs.SkipDir
			}
			return context.Cause(ctx)
		case !strings.HasPrefix(name, prefix) || strings.HasPrefix(e.Name(), tempPrefix):
			return nil
		}
		stop = fn(name)
		return stop
	})
	switch {
	case stop != nil:
		return stop
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", d.root, evidence.ErrNotFound)
	case err != nil:
		return unavailable(err)
	}
	return nil
}

func (d *dir) problems(context.Context) ([]string, error) {
	if err := makeDirs(d.root, d.root); err != nil {
		return nil, unavailable(err)
	}
	f, err := os.CreateTemp(d.root, tempPrefix+"*")
	if err != nil {
		return nil, unavailable(err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return nil, unavailable(err)
	}
	list := []string{fmt.Sprintf("%s is a directory: whoever may write there can change or delete what it has, which is found, but not undone", d.root)}
	if info, err := os.Stat(d.root); err == nil && info.Mode().Perm()&0o077 != 0 {
		list = append(list, fmt.Sprintf("others on this machine may open %s (mode %v)", d.root, info.Mode().Perm()))
	}
	return list, nil
}
