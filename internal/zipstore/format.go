package zipstore

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"
)

// Limits of the format.
const (
	MaxEntries = 1<<16 - 1
	MaxSize    = 1<<32 - 1 // of the archive, in bytes: under 4 GiB
	MaxName    = 255       // of an entry's name, in bytes
)

// ErrFormat is wrapped by every error about the form of an archive, of a
// name, or of what is written. Other errors are those of the underlying
// reader or writer.
var ErrFormat = errors.New("zip")

// Entry is one file of an archive.
type Entry struct {
	Name  string
	Size  int64
	CRC32 uint32 // IEEE, of the data

	offset int64 // of the local header
}

const (
	localSize   = 30
	centralSize = 46
	endSize     = 22
	version     = 10
)

// end returns the offset after the entry's data.
func (e *Entry) end() int64 { return e.data() + e.Size }

// data returns the offset of the entry's data.
func (e *Entry) data() int64 { return e.offset + localSize + int64(len(e.Name)) }

// appendLocal writes the local file header, APPNOTE section 4.3.7.
func (e *Entry) appendLocal(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, 0x04034b50)
	b = e.appendCommon(b)
	return append(b, e.Name...)
}

// appendCentral writes the central directory header, section 4.3.12.
func (e *Entry) appendCentral(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, 0x02014b50)
	b = le.AppendUint16(b, version) // made by: FAT, 1.0
	b = e.appendCommon(b)
	b = append(b, make([]byte, 2+2+2+4)...) // comment length, disk, attributes
	b = le.AppendUint32(b, uint32(e.offset))
	return append(b, e.Name...)
}

// appendCommon writes what both headers have.
func (e *Entry) appendCommon(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, version)       // needed to extract
	b = append(b, make([]byte, 2+2+4)...) // flags, method stored, time and date
	b = le.AppendUint32(b, e.CRC32)
	b = le.AppendUint32(b, uint32(e.Size))
	b = le.AppendUint32(b, uint32(e.Size))
	b = le.AppendUint16(b, uint16(len(e.Name)))
	return le.AppendUint16(b, 0) // extra field length
}

// appendEnd writes the end of central directory record, section 4.3.16.
func appendEnd(b []byte, entries int, size, offset int64) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, 0x06054b50)
	b = append(b, make([]byte, 4)...) // disks
	b = le.AppendUint16(b, uint16(entries))
	b = le.AppendUint16(b, uint16(entries))
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, uint32(offset))
	return le.AppendUint16(b, 0) // comment length
}

// ValidName reports whether an entry may have that name: 1 to [MaxName]
// bytes of [A-Za-z0-9._/-], relative, without empty elements, "." or "..".
func ValidName(name string) bool {
	if len(name) > MaxName || name == "." || !fs.ValidPath(name) {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._/-", c) >= 0) {
			return false
		}
	}
	return true
}

// names refuses duplicates, and a file that is also a directory of another.
type names struct {
	files map[string]bool
	dirs  map[string]bool
}

func newNames(n int) names {
	return names{files: make(map[string]bool, n), dirs: map[string]bool{}}
}

func (s names) add(name string) bool {
	if !ValidName(name) || s.files[name] || s.dirs[name] {
		return false
	}
	for dir := parent(name); dir != "" && !s.dirs[dir]; dir = parent(dir) {
		if s.files[dir] {
			return false
		}
		s.dirs[dir] = true
	}
	s.files[name] = true
	return true
}

// parent returns the directory of a name, "" at the top.
func parent(name string) string {
	return name[:max(strings.LastIndexByte(name, '/'), 0)]
}
