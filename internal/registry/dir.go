package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	pathpkg "path"
	"syscall"
	"time"

	"github.com/runledger/runledger/evidence"
)

// registryDir is a registry's directory while it is being changed. Nothing outside of
// it can be reached through it.
type registryDir struct {
	root *os.Root
	lock *os.File
	// rename puts a staged file in its place. Tests let it fail.
	rename func(root *os.Root, name string) error
}

// openDir opens a directory and locks it against others that change it. The lock ends
// with the process.
func openDir(dir string) (*registryDir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	lock, err := root.Open(".")
	if err == nil {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = lock.Close()
		}
	}
	if err != nil {
		_ = root.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another process changes %s at this moment: %w", dir, evidence.ErrUnavailable)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &registryDir{root: root, lock: lock, rename: unstageFile}, nil
}

func (d *registryDir) close() {
	_ = d.lock.Close() // which lets go of the lock; both were only read from
	_ = d.root.Close()
}

// replace writes files in that order. First all are written beside those that they
// replace, so that a directory that cannot be written to, or a full disk, changes
// nothing. Whoever dies while they are put in place leaves each file old or new.
func (d *registryDir) replace(names []string, files map[string][]byte) error {
	defer func() {
		for _, name := range names {
			_ = d.root.Remove(stagedName(name)) // what was not put in place
		}
	}()
	for _, name := range names {
		st, err := d.root.Lstat(name)
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			return fmt.Errorf("%s is a symbolic link or no file, which would be lost: %w", name, evidence.ErrInvalid)
		}
		if err := stageFile(d.root, name, files[name], st.Mode().Perm()); err != nil {
			return err
		}
	}
	for i, name := range names {
		if err := d.rename(d.root, name); err != nil {
			return err
		}
		// What is in another directory comes after this one on the disk, too.
		if dir := pathpkg.Dir(name); i+1 == len(names) || pathpkg.Dir(names[i+1]) != dir {
			if err := syncDir(d.root, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// stagedName is where the new content of a file stands until it is put in place. It
// ends in no extension that a registry reads.
func stagedName(name string) string {
	dir, file := pathpkg.Split(name)
	return dir + "." + file + ".new"
}

// stageFile writes the content of a file beside it, and syncs it. What an earlier
// process left there is gone.
func stageFile(root *os.Root, name string, text []byte, perm fs.FileMode) error {
	staged := stagedName(name)
	if err := root.Remove(staged); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(perm) // whatever the umask says
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = root.Remove(staged)
	}
	return err
}

// unstageFile puts a staged file in its place.
func unstageFile(root *os.Root, name string) error { return root.Rename(stagedName(name), name) }

func syncDir(root *os.Root, name string) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// overlay is a file system some of whose files have other content.
type overlay struct {
	fs.FS
	files map[string][]byte
}

// Open implements fs.FS.
func (o overlay) Open(name string) (fs.File, error) {
	text, ok := o.files[name]
	if !ok {
		return o.FS.Open(name)
	}
	return &overlaid{Reader: bytes.NewReader(text), name: pathpkg.Base(name)}, nil
}

// overlaid is an open file, and describes itself.
type overlaid struct {
	*bytes.Reader
	name string
}

func (f *overlaid) Stat() (fs.FileInfo, error) { return f, nil }
func (f *overlaid) Close() error               { return nil }
func (f *overlaid) Name() string               { return f.name }
func (f *overlaid) Size() int64                { return f.Reader.Size() }
func (f *overlaid) Mode() fs.FileMode          { return 0o444 }
func (f *overlaid) ModTime() time.Time         { return time.Time{} }
func (f *overlaid) IsDir() bool                { return false }
func (f *overlaid) Sys() any                   { return nil }
