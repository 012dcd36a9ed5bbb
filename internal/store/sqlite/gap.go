package sqlite

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/runledger/runledger/evidence"
)

// layout is what tells pages of a database apart that do not say themselves what they are.
type layout struct {
	count int64 // of its pages
	// mapped is how many pages stand from one pointer map to the next, or 0 where there are none. They
	// are there with auto_vacuum, which an operator may have set.
	mapped int64
	lock   int64 // the page that SQLite's locks are in, which is never used
}

// layoutOf returns the layout of a database of count pages by the first of them. The fields that
// it reads are in the file's header (fileformat2.html, 1.3).
func layoutOf(first []byte, count int64) (layout, error) {
	size := int64(len(first))
	if size < 512 {
		return layout{}, fmt.Errorf("first page of %d bytes: %w", size, evidence.ErrTampered)
	}
	l := layout{count: count, lock: 1<<30/size + 1}
	if binary.BigEndian.Uint32(first[52:]) != 0 { // the largest root page, with auto_vacuum only
		l.mapped = (size-int64(first[20]))/5 + 1
	}
	return l, nil
}

// pointerMap reports that a page holds a pointer map: an array of a type and a page number for
// each of the pages behind it, which begins with a type and so may look like a b-tree's page. It is
// ptrmapPageno of SQLite's btree.c.
func (l layout) pointerMap(no int64) bool {
	if l.mapped == 0 || no < 2 {
		return false
	}
	at := no - (no-2)%l.mapped
	if at == l.lock {
		at++
	}
	return no == at
}

// gap returns where in a page the bytes are that belong to no
// row. It is empty of a page that is not one of a b-tree, and where that is in doubt: an overflow
// page, and a list of free ones, begins with a page's number, whose first byte can be that of an inner page of an
// index from 2 << 24 pages (128 GB) on, and that of a leaf from 10 << 24 (640 GB) on.
func (l layout) gap(page []byte, no int64) (from, to int) {
	at := 0
	switch {
	case no == 1:
		at = 100 // behind the file's own header
	case l.count >= int64(page[0])<<24, l.pointerMap(no):
		return 0, 0
	}
	from = at + 8
	switch page[at] {
	case 2, 5: // inner pages, of an index and of a table
		from += 4
	case 10, 13: // leaves of the two
	default:
		return 0, 0
	}
	from += 2 * int(binary.BigEndian.Uint16(page[at+3:]))
	to = int(binary.BigEndian.Uint16(page[at+5:]))
	if from > to || to > len(page) {
		return 0, 0
	}
	return from, to
}

// filled reports that there is something in a page's gap.
func (l layout) filled(page []byte, no int64) bool {
	from, to := l.gap(page, no)
	return bytes.Count(page[from:to], []byte{0}) < to-from
}
