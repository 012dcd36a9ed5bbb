package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
)

// A copier writes rows for COPY in PostgreSQL's binary format ("COPY", section
// Binary Format): a header, for each row the number of its columns, for each
// column its length and bytes. Every type that the tables have is one of four.
// pgx's own CopyFrom would prepare a statement to learn the types, for each
// table of each commit, and put every value behind an interface.
type copier struct {
	table   string
	columns []string
	what    string // what a row is, in errors
	taken   func(err error, what string) error
	rows    int64
	buf     []byte
}

const (
	copyHeader = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyEnd    = "\xff\xff"
	copyNull   = -1
)

// row begins a row; as many values as there are columns follow.
func (c *copier) row() {
	if c.rows == 0 {
		c.buf = append(c.buf[:0], copyHeader...)
	}
	c.rows++
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(len(c.columns)))
}

func (c *copier) null() {
	c.buf = append(c.buf, 0xff, 0xff, 0xff, 0xff)
}

func (c *copier) int(v int64) {
	c.buf = append(c.buf, 0, 0, 0, 8)
	c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(v))
}

// intOrNull writes numbers of sealed segments, of which below 0 is none.
func (c *copier) intOrNull(v int64) {
	if v < 0 {
		c.null()
		return
	}
	c.int(v)
}

func (c *copier) text(s string) {
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(len(s)))
	c.buf = append(c.buf, s...)
}

func (c *copier) bytes(b []byte) {
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(len(b)))
	c.buf = append(c.buf, b...)
}

// appended writes a value whose bytes f appends.
func (c *copier) appended(f func([]byte) []byte) {
	at := len(c.buf)
	c.buf = f(append(c.buf, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(c.buf[at:], uint32(len(c.buf)-at-4))
}

// send copies the rows, if there are any.
func (c *copier) send(ctx context.Context, to *pooled) error {
	if c.rows == 0 {
		return nil
	}
	c.buf = append(c.buf, copyEnd...)
	sql := "COPY " + c.table + " (" + quoted(c.columns) + ") FROM STDIN (FORMAT binary)"
	tag, err := to.PgConn().CopyFrom(ctx, bytes.NewReader(c.buf), sql)
	switch {
	case err != nil && isTaken(err):
		return c.taken(err, c.what)
	case err != nil:
		return err
	case tag.RowsAffected() != c.rows:
		return fmt.Errorf("postgres: %d of %d rows were copied to %s", tag.RowsAffected(), c.rows, c.table)
	}
	return nil
}
