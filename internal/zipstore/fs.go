package zipstore

import (
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

var (
	_ fs.ReadFileFS = (*Reader)(nil)
	_ fs.ReadDirFS  = (*Reader)(nil)
)

// Open opens a file or directory. Reading a file to its end checks its CRC:
// the last Read then returns an error that wraps [ErrFormat].
func (z *Reader) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if i, ok := z.byName[name]; ok {
		e := &z.entries[i]
		return &file{
			entry: e,
			data:  io.NewSectionReader(z.r, e.data(), e.Size),
			sum:   crc32.NewIEEE(),
		}, nil
	}
	list := z.list(name)
	if len(list) == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &dir{info: info{name: path.Base(name), dir: true}, list: list}, nil
}

// ReadFile returns the data of a file, CRC checked. It takes memory of the
// file's size.
func (z *Reader) ReadFile(name string) ([]byte, error) {
	i, ok := z.byName[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	e := &z.entries[i]
	b := make([]byte, e.Size)
	if err := readAt(z.r, b, e.data()); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	if crc32.ChecksumIEEE(b) != e.CRC32 {
		return nil, &fs.PathError{Op: "read", Path: name, Err: formatError("CRC-32 does not match")}
	}
	return b, nil
}

// ReadDir returns what is in a directory, sorted by name.
func (z *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	list := z.list(name)
	if len(list) == 0 {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	return list, nil
}

// list scans all entries; directories are only listed by people's tools.
func (z *Reader) list(name string) []fs.DirEntry {
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	seen := map[string]info{}
	for i := range z.entries {
		rest, ok := strings.CutPrefix(z.entries[i].Name, prefix)
		if !ok {
			continue
		}
		first, _, isDir := strings.Cut(rest, "/")
		seen[first] = info{name: first, size: z.entries[i].Size, dir: isDir}
	}
	var out []fs.DirEntry
	for _, in := range seen {
		if in.dir {
			in.size = 0
		}
		out = append(out, fs.FileInfoToDirEntry(in))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}

// info is read-only and has no time: the format has none.
type info struct {
	name string
	size int64
	dir  bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

type file struct {
	entry *Entry
	data  *io.SectionReader
	sum   hash.Hash32
	read  int64
	err   error
}

func (f *file) Stat() (fs.FileInfo, error) {
	return info{name: path.Base(f.entry.Name), size: f.entry.Size}, nil
}

func (f *file) Close() error {
	f.err = fs.ErrClosed
	return nil
}

func (f *file) Read(b []byte) (int, error) {
	if f.err != nil || len(b) == 0 {
		return 0, f.err
	}
	n, err := f.data.Read(b)
	f.sum.Write(b[:n])
	f.read += int64(n)
	switch {
	case err == io.EOF && f.read < f.entry.Size:
		f.err = formatError("archive is shorter than its size")
	case err != nil && err != io.EOF:
		f.err = err
	case f.read == f.entry.Size && f.sum.Sum32() != f.entry.CRC32:
		f.err = &fs.PathError{Op: "read", Path: f.entry.Name, Err: formatError("CRC-32 does not match")}
	case err == io.EOF:
		f.err = io.EOF
	}
	if n > 0 && errors.Is(f.err, io.EOF) {
		return n, nil
	}
	return n, f.err
}

type dir struct {
	info info
	list []fs.DirEntry
}

func (d *dir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *dir) Close() error               { return nil }
func (d *dir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: fs.ErrInvalid}
}

func (d *dir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		out := d.list
		d.list = nil
		return out, nil
	}
	if len(d.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.list))
	out := d.list[:n]
	d.list = d.list[n:]
	return out, nil
}
