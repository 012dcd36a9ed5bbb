package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fileSink appends one event a line to a file, mode 0600. A batch is confirmed once
// it is synced. A file that has reached its size becomes path.1, what was that path.2,
// and so on. Another process on this machine may write the same file: each holds its
// lock (flock) while it writes.
type fileSink struct {
	cfg LogFile
	f   *os.File // nil: not open
}

// newFileSink opens the file now, so that a path that cannot be written shows at the
// start.
func newFileSink(cfg *LogFile) (*fileSink, error) {
	s := &fileSink{cfg: *cfg}
	return s, s.open()
}

func (s *fileSink) open() error {
	f, err := os.OpenFile(s.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if st, err := f.Stat(); err != nil {
		return errors.Join(err, f.Close())
	} else if !st.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("%s: it is no regular file", f.Name()), f.Close())
	}
	s.f = f
	return syncDir(filepath.Dir(s.cfg.Path))
}

// dropTorn cuts off what is behind the last newline: a line that a crash or a full
// disk cut short. It was never confirmed, so it is written again. The file is locked:
// nobody is writing that line.
func dropTorn(f *os.File) (size int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := st.Size()
	buf := make([]byte, 64<<10)
	for at := end; at > 0; {
		n := min(int64(len(buf)), at)
		if _, err := f.ReadAt(buf[:n], at-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			end = at - n + int64(i) + 1
			break
		}
		at -= n
		end = at
	}
	if end == st.Size() {
		return end, nil
	}
	return end, f.Truncate(end)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// deliver implements sink.
func (s *fileSink) deliver(ctx context.Context, b *batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.write(b)
	if err != nil && s.f != nil {
		// What it holds now is not known: it is looked at when it is opened again.
		err = errors.Join(err, s.f.Close())
		s.f = nil
	}
	return err
}

func (s *fileSink) write(b *batch) error {
	size, err := s.lock()
	if err == nil && size >= s.cfg.MaxBytes {
		if err = s.rotate(); err == nil {
			_, err = s.lock()
		}
	}
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for i := range b.events {
		lines.Write(b.events[i].Body)
		lines.WriteByte('\n')
	}
	if _, err := s.f.Write(lines.Bytes()); err != nil {
		return err // closing it unlocks it
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	return unix.Flock(int(s.f.Fd()), unix.LOCK_UN)
}

// lock opens and locks the file that is at the path, and returns its size, which ends
// with a whole line. Another process, or who rotates files from outside, may have moved
// away or removed the one that was open.
func (s *fileSink) lock() (size int64, err error) {
	const tries = 10 // each time somebody was faster
	for range tries {
		if s.f == nil {
			if err := s.open(); err != nil {
				return 0, err
			}
		}
		if err := unix.Flock(int(s.f.Fd()), unix.LOCK_EX); err != nil {
			return 0, fmt.Errorf("lock %s: %w", s.cfg.Path, err)
		}
		if s.same() {
			return dropTorn(s.f)
		}
		if err := s.Close(); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s: it is moved away again and again", s.cfg.Path)
}

// same reports whether the open file is still the one at the path.
func (s *fileSink) same() bool {
	there, err := os.Stat(s.cfg.Path)
	if err != nil {
		return false
	}
	open, err := s.f.Stat()
	return err == nil && os.SameFile(there, open)
}

// rotate moves the files on by one, the oldest out. The next is begun by who locks it;
// until they are moved this one is locked.
func (s *fileSink) rotate() error {
	for n := s.cfg.Keep; n > 0; n-- {
		from := s.cfg.Path
		if n > 1 {
			from = fmt.Sprintf("%s.%d", s.cfg.Path, n-1)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", s.cfg.Path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.Close()
}

func (s *fileSink) Close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}
