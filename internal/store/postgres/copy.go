package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
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

// insertedRows is up to how many rows of a table go as an INSERT each: those take one round
// trip with whatever else there is to say, and each is prepared. COPY takes two of its own,
// and the server looks everything up again. Not so where tables may be distributed: there each
// INSERT is a round trip from the coordinator to a worker, and COPY is one for all rows.
const insertedRows = 4

// few reports that the rows, if there are any, are better inserted than copied.
func (c *copier) few() bool { return c.rows <= insertedRows }

// send writes the rows, at once or as a part of a flight.
func (c *copier) send(ctx context.Context, f *flight) error {
	if !c.few() || f.conn.spread && c.rows > 0 {
		return c.copy(ctx, f.conn)
	}
	c.insert(ctx, f)
	return nil
}

// insert adds the rows to a flight.
func (c *copier) insert(ctx context.Context, f *flight) {
	at := c.buf[len(copyHeader)*int(min(c.rows, 1)):]
	for range c.rows {
		at = at[2:] // the number of columns
		args := make([][]byte, len(c.columns))
		for i := range args {
			n := int32(binary.BigEndian.Uint32(at))
			if at = at[4:]; n != copyNull {
				args[i], at = at[:n:n], at[n:]
			}
		}
		f.add(ctx, insertOf(c.table, c.columns), args, func(tag pgconn.CommandTag, err error) error {
			if err == nil && tag.RowsAffected() != 1 { // a trigger of somebody else's, say
				return c.missing(tag.RowsAffected(), 1)
			}
			return c.refused(err)
		})
	}
}

var inserts sync.Map // by table, for each there is one list of columns

func insertOf(table string, columns []string) string {
	if sql, known := inserts.Load(table); known {
		return sql.(string)
	}
	places := make([]string, len(columns))
	for i := range places {
		places[i] = "$" + strconv.Itoa(i+1)
	}
	sql := "INSERT INTO " + table + " (" + quoted(columns) + ") VALUES (" + strings.Join(places, ", ") + ")"
	inserts.Store(table, sql)
	return sql
}

// copy copies the rows.
func (c *copier) copy(ctx context.Context, to *pooled) error {
	c.buf = append(c.buf, copyEnd...)
	sql := "COPY " + c.table + " (" + quoted(c.columns) + ") FROM STDIN (FORMAT binary)"
	tag, err := to.PgConn().CopyFrom(ctx, bytes.NewReader(c.buf), sql)
	if err == nil && tag.RowsAffected() != c.rows {
		return c.missing(tag.RowsAffected(), c.rows)
	}
	return c.refused(err)
}

func (c *copier) missing(got, want int64) error {
	return fmt.Errorf("postgres: %d of %d rows were copied to %s", got, want, c.table)
}

// refused is the error of the rows, with what it means that one is there already.
func (c *copier) refused(err error) error {
	if err != nil && isTaken(err) {
		return c.taken(err, c.what)
	}
	return err
}
