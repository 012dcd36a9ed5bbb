package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/export"
)

// input is records that are read more than once: to check them, and to append
// them.
type input struct {
	name  string
	size  int64
	begin func() io.Reader
	close func()
}

// openInput opens a file. What can be read only once, such as a pipe, is put
// into an encrypted spool first.
func openInput(e *env, name string) (*input, error) {
	src := e.stdin
	in := &input{name: name, close: func() {}}
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, inputError(err)
		}
		in.close = func() { _ = f.Close() } // read only
		st, err := f.Stat()
		switch {
		case err != nil:
			in.close()
			return nil, err
		case st.IsDir():
			in.close()
			return nil, usage("%s is a directory", name)
		case st.Mode().IsRegular():
			in.size = st.Size()
			in.begin = func() io.Reader { return io.NewSectionReader(f, 0, in.size) }
			return in, nil
		}
		src = f
	} else {
		in.name = "standard input"
	}
	spool, err := export.NewSpool("")
	if err != nil {
		in.close()
		return nil, err
	}
	_, err = io.Copy(spool, src)
	in.close()
	in.close = func() { _ = spool.Close() }
	if err != nil {
		in.close()
		return nil, fmt.Errorf("read %s: %w", in.name, err)
	}
	in.size = spool.Size()
	in.begin = func() io.Reader { return spool.Section(0, in.size) }
	return in, nil
}

// lines calls f for each line that is not empty, without its newline, and its
// number from 1. f may keep nothing.
func (in *input) lines(bar *progress, f func(n int, line []byte) error) error {
	r := bufio.NewReaderSize(&reading{Reader: in.begin(), p: bar, total: in.size}, 256<<10)
	var buf []byte
	for n := 1; ; n++ {
		buf = buf[:0]
		var err error
		for {
			var part []byte
			part, err = r.ReadSlice('\n')
			if buf = append(buf, part...); len(buf) > control.MaxBatchBytes {
				return fmt.Errorf("%s: line %d: record: %w: over %d MiB", in.name, n, evidence.ErrTooLarge, control.MaxBatchBytes>>20)
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				break
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", in.name, err)
		}
		if line := bytes.TrimSpace(buf); len(line) > 0 {
			if err := f(n, line); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}
