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
)

// fileSink appends one event a line to a file, mode 0600. A batch is confirmed once
// it is synced. A file that has reached its size becomes path.1, what was that path.2,
// and so on.
type fileSink struct {
	cfg  LogFile
	f    *os.File // nil: not open
	size int64
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
	size, err := dropTorn(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.size = f, size
	return syncDir(filepath.Dir(s.cfg.Path))
}

// dropTorn cuts off what is behind the last newline: a line that a crash or a full
// disk cut short. It was never confirmed, so it is written again.
func dropTorn(f *os.File) (size int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s: it is no regular file", f.Name())
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
	if s.f != nil && !s.same() {
		// Moved away or removed by who rotates files from outside.
		err := s.f.Close()
		s.f = nil
		if err != nil {
			return err
		}
	}
	if s.f == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	if s.size >= s.cfg.MaxBytes {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	var lines bytes.Buffer
	for i := range b.events {
		lines.Write(b.events[i].Body)
		lines.WriteByte('\n')
	}
	n, err := s.f.Write(lines.Bytes())
	s.size += int64(n)
	if err != nil {
		return err
	}
	return s.f.Sync()
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

// rotate moves the files on by one, the oldest out, and begins another.
func (s *fileSink) rotate() error {
	if err := s.f.Close(); err != nil {
		s.f = nil
		return err
	}
	s.f = nil
	for n := s.cfg.Keep; n > 0; n-- {
		from := s.cfg.Path
		if n > 1 {
			from = fmt.Sprintf("%s.%d", s.cfg.Path, n-1)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", s.cfg.Path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.open()
}

func (s *fileSink) Close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}
