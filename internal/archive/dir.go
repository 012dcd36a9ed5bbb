package archive

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runledger/runledger/evidence"
)

// dir is an archive in a directory. A file appears as a whole: it is written beside its
// place, synced, and renamed. What stands there somebody else may have put there: links are not followed, and what is
// no file is not waited for.
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
	return d.write(ctx, name, r, size, (*os.Root).Rename)
}

func (d *dir) create(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return d.write(ctx, name, r, size, func(root *os.Root, from, to string) error {
		err := root.Link(from, to) // which never replaces
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w: it is there already", d.path(name), evidence.ErrConflict)
		}
		if err == nil {
			return root.Remove(from)
		}
		// A file system without links.
		if _, serr := root.Lstat(to); !errors.Is(serr, fs.ErrNotExist) {
			return errors.Join(err, serr)
		}
		return root.Rename(from, to)
	})
}

func (d *dir) write(ctx context.Context, name string, r io.ReaderAt, size int64, place func(root *os.Root, from, to string) error) (err error) {
	if err := os.MkdirAll(d.root, 0o700); err != nil {
		return unavailable(err)
	}
	root, err := os.OpenRoot(d.root)
	if err != nil {
		return unavailable(err)
	}
	defer root.Close()
	to := filepath.FromSlash(name)
	in := filepath.Dir(to)
	if err := makeDirs(root, in); err != nil {
		return unavailable(err)
	}
	from := filepath.Join(in, tempPrefix+rand.Text())
	f, err := root.OpenFile(from, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return unavailable(err)
	}
	defer func() {
		if err != nil {
			_ = root.Remove(from)
		}
	}()
	content := contextReader{ctx, io.NewSectionReader(r, 0, size)}
	for err == nil {
		if _, err = io.CopyN(f, content, syncEvery); err == nil {
			err = f.Sync()
		}
	}
	if errors.Is(err, io.EOF) {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return unavailable(fmt.Errorf("write %s: %w", d.path(name), err))
	}
	if err := place(root, from, to); err != nil {
		if errors.Is(err, evidence.ErrConflict) {
			return err
		}
		return unavailable(err)
	}
	if err := syncDir(root, in); err != nil {
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

// makeDirs makes a directory with all above it, each of them durable.
func makeDirs(root *os.Root, path string) error {
	info, err := root.Lstat(path)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%s is not a directory", filepath.Join(root.Name(), path))
	}
	parent := filepath.Dir(path)
	if err := makeDirs(root, parent); err != nil {
		return err
	}
	if err := root.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(root, parent)
}

func syncDir(root *os.Root, path string) error {
	f, err := root.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// open opens a file. What stands in its place and is none is evidence.ErrTampered: the storage is there,
// and somebody has put it there.
func (d *dir) open(_ context.Context, name string) (object, error) {
	root, err := os.OpenRoot(d.root)
	if err == nil {
		defer root.Close()
		err = plain(root, filepath.FromSlash(name))
	}
	var f *os.File
	if err == nil {
		// Opening a pipe would wait for somebody who writes to it.
		f, err = root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", d.path(name), evidence.ErrNotFound)
	}
	if errors.Is(err, evidence.ErrTampered) {
		return nil, fmt.Errorf("%s: %w", d.path(name), err)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, unavailable(errors.Join(err, f.Close()))
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s: %w", d.path(name), errNoFile), f.Close())
	}
	return &fileObject{f, info.Size()}, nil
}

var errNoFile = fmt.Errorf("%w: it is no file, or stands behind a link", evidence.ErrTampered)

// plain sees to it that a name leads to a file through directories.
func plain(root *os.Root, name string) error {
	for path := name; path != "."; path = filepath.Dir(path) {
		info, err := root.Lstat(path)
		switch {
		case errors.Is(err, unix.ENOTDIR):
			continue // that is found above
		case err != nil:
			return err
		case path == name && !info.Mode().IsRegular(), path != name && !info.IsDir():
			return errNoFile
		}
	}
	return nil
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
	// The archive itself may be a link.
	err := filepath.WalkDir(d.root+string(filepath.Separator), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(d.root, path)
		if err != nil || rel == "." {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case e.IsDir():
			if !strings.HasPrefix(name+"/", prefix) && !strings.HasPrefix(prefix, name+"/") {
				return fs.SkipDir
			}
			return context.Cause(ctx)
		case e.Type()&fs.ModeSymlink != 0 && (strings.HasPrefix(name, prefix) || strings.HasPrefix(prefix, name+"/")):
			if _, _, ok := splitName(name); !ok {
				name += "/" // a directory, perhaps, which is not looked into
			}
			stop = fn(name)
			return stop
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
	if err := os.MkdirAll(d.root, 0o700); err != nil {
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
