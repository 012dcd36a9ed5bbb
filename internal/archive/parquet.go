package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"github.com/runledger/runledger/evidence"
)

// groupRows are the rows of a row group: what a writer keeps in memory, compressed, and
// what a reader can take apart from the rest.
const groupRows = 1 << 16

// textValue is a text as a value, which points into it: leaves are read only.
func textValue(s string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// parquetWriter writes a kind's file.
type parquetWriter struct {
	*columns
	w      *parquet.GenericWriter[any]
	groupN int
	sums   *columnSums // of what was written
}

func newParquetWriter(w io.Writer, kind evidence.Kind, tenant string, logNo int, seed maphash.Seed) *parquetWriter {
	c := newColumns(kind, tenant, logNo)
	return &parquetWriter{
		columns: c, sums: newColumnSums(seed, c.count()),
		w: parquet.NewGenericWriter[any](w, &parquet.WriterConfig{
			Schema: schemaOf(kind), CreatedBy: "runledger", Compression: codec, DataPageVersion: 1, PageBufferSize: 256 << 10,
			MaxRowsPerRowGroup: groupRows, DictionaryMaxBytes: 1 << 20,
		}),
	}
}

// write writes the rows that were added since.
func (p *parquetWriter) write() error {
	if len(p.rows) == 0 {
		return nil
	}
	for col, into := range p.w.ColumnWriters() {
		values := p.column(col)
		p.sums.add(col, values)
		if _, err := into.WriteRowValues(values); err != nil {
			return fmt.Errorf("archive: parquet column %s: %w", p.name(col), err)
		}
	}
	p.groupN += len(p.rows)
	p.reset()
	if p.groupN < groupRows {
		return nil
	}
	p.groupN = 0
	return p.w.Flush()
}

func (p *parquetWriter) close() error { return p.w.Close() }

// parquetChecker compares a kind's file with leaves. It reads the columns side by side.
type parquetChecker struct {
	*columns
	f    *parquet.File
	cols []columnReader
	row  int64 // of the next row, from 0
}

// columnReader yields the values of a column through all row groups.
type columnReader struct {
	groups []parquet.RowGroup
	col    int
	pages  parquet.Pages
	page   parquet.Page
	read   []parquet.Page // values that were given out last point into
	values parquet.ValueReader
	buf    []parquet.Value
}

// errParquet is wrapped by what is wrong with a file.
var errParquet = fmt.Errorf("it is not the Parquet file of its leaves: %w", evidence.ErrTampered)

func openParquet(r io.ReaderAt, size int64, kind evidence.Kind, tenant string, logNo int, rows int64) (c *parquetChecker, err error) {
	defer caught(&err)
	if err := checkFooter(r, size); err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(r, size, &parquet.FileConfig{SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: 32 << 10})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errParquet, err)
	}
	if want := schemaOf(kind).String(); f.Schema().String() != want {
		return nil, fmt.Errorf("%w: it has other columns", errParquet)
	}
	if f.NumRows() != rows {
		return nil, fmt.Errorf("%w: it has %d rows of %d", errParquet, f.NumRows(), rows)
	}
	c = &parquetChecker{columns: newColumns(kind, tenant, logNo), f: f}
	for col := range c.count() {
		c.cols = append(c.cols, columnReader{groups: f.RowGroups(), col: col})
	}
	return c, nil
}

// maxFooter is more than the footer of any unit: some 5 KiB a row group.
const maxFooter = 1 << 20

// checkFooter sees to it that the library does not make room for a footer that is not there.
func checkFooter(r io.ReaderAt, size int64) error {
	var end [8]byte
	if size < 2*int64(len(end)) {
		return fmt.Errorf("%w: it has %d bytes", errParquet, size)
	}
	if _, err := r.ReadAt(end[:], size-int64(len(end))); err != nil {
		return err
	}
	if n := int64(binary.LittleEndian.Uint32(end[:])); n > maxFooter || n > size-int64(len(end)) {
		return fmt.Errorf("%w: it says that its footer has %d bytes", errParquet, n)
	}
	return nil
}

// caught makes an error of a panic: a library that reads what somebody else wrote.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errParquet, p)
	}
}

// check compares the rows that were added since with the next ones of the file.
func (p *parquetChecker) check() (err error) {
	defer caught(&err)
	for col := range p.cols {
		want := p.column(col)
		got, err := p.cols[col].next(len(want))
		if err != nil {
			return fmt.Errorf("%w: column %s from row %d on: %w", errParquet, p.name(col), p.row, err)
		}
		for i := range got {
			if !same(&got[i], &want[i]) {
				return fmt.Errorf("%w: column %s does not say what the leaf says, in rows %d to %d", errParquet, p.name(col), p.row, p.row+int64(len(p.rows))-1)
			}
		}
	}
	p.row += int64(len(p.rows))
	p.reset()
	return nil
}

// compare reads all columns, one behind another, and compares them with what was written.
func (p *parquetChecker) compare(written *columnSums) (err error) {
	defer caught(&err)
	got := newColumnSums(written.seed, p.count())
	for col := range p.cols {
		for {
			values, err := p.cols[col].some()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("%w: column %s: %w", errParquet, p.name(col), err)
			}
			got.add(col, values)
		}
		p.cols[col].release()
		if got.sums[col].Sum64() != written.sums[col].Sum64() {
			return fmt.Errorf("%w: column %s does not say what the leaves say", errParquet, p.name(col))
		}
	}
	return nil
}

// end sees to it that no column has more.
func (p *parquetChecker) end() (err error) {
	defer caught(&err)
	for col := range p.cols {
		switch _, err := p.cols[col].next(1); {
		case err == nil:
			return fmt.Errorf("%w: column %s has more than the rows of the unit", errParquet, p.name(col))
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("%w: the end of column %s: %w", errParquet, p.name(col), err)
		}
	}
	return nil
}

func (p *parquetChecker) close() {
	for i := range p.cols {
		p.cols[i].release()
	}
}

// next returns n values, valid until it is called again. Those of byte arrays point into
// their page, so a page is let go only by the next call.
func (c *columnReader) next(n int) ([]parquet.Value, error) {
	c.letGo()
	c.buf = c.buf[:0]
	for len(c.buf) < n {
		if c.values == nil {
			if err := c.advance(); err != nil {
				return c.buf, err
			}
		}
		have := len(c.buf)
		c.buf = slices.Grow(c.buf, n-have)
		m, err := c.values.ReadValues(c.buf[have:n])
		c.buf = c.buf[:have+m]
		if errors.Is(err, io.EOF) {
			c.values = nil
			continue
		}
		if err != nil {
			return c.buf, err
		}
		if m == 0 {
			return c.buf, io.ErrNoProgress
		}
	}
	return c.buf, nil
}

// some returns as many values as there are, at least one, valid until it is called again.
func (c *columnReader) some() ([]parquet.Value, error) {
	for {
		if c.values == nil {
			c.letGo()
			if err := c.advance(); err != nil {
				return nil, err
			}
		}
		c.buf = slices.Grow(c.buf[:0], batchLeaves)
		m, err := c.values.ReadValues(c.buf[:batchLeaves])
		if errors.Is(err, io.EOF) {
			c.values, err = nil, nil
		} else if err == nil && m == 0 {
			err = io.ErrNoProgress
		}
		if m > 0 || err != nil {
			return c.buf[:m], err
		}
	}
}

// letGo releases the pages that were read to their end.
func (c *columnReader) letGo() {
	for _, p := range c.read {
		parquet.Release(p)
	}
	c.read = c.read[:0]
	if c.values == nil && c.page != nil {
		parquet.Release(c.page)
		c.page = nil
	}
}

// advance goes to the next page.
func (c *columnReader) advance() error {
	if c.page != nil {
		c.read, c.page = append(c.read, c.page), nil
	}
	for {
		if c.pages == nil {
			if len(c.groups) == 0 {
				return io.EOF
			}
			c.pages = c.groups[0].ColumnChunks()[c.col].Pages()
			c.groups = c.groups[1:]
		}
		page, err := c.pages.ReadPage()
		if errors.Is(err, io.EOF) {
			err = c.pages.Close()
			if c.pages = nil; err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		c.page, c.values = page, page.Values()
		return nil
	}
}

func (c *columnReader) release() {
	c.values = nil
	c.letGo()
	if c.pages != nil {
		_ = c.pages.Close()
	}
	c.pages = nil
}
