package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	pq "github.com/parquet-go/parquet-go/format"

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
	out    *tailWriter
	groupN int
	since  []int64     // bytes of texts since the last page ended, by column
	sums   *columnSums // of what was written
}

// maxTexts is how many bytes of texts, with their lengths, a page has: a dictionary grows by no more than that before
// it is looked at, whatever the library counts. (By itself it ends a page behind 256 KiB of numbers of words.)
const maxTexts = 256 << 10

func newParquetWriter(w io.Writer, kind evidence.Kind, tenant string, logNo int, seed maphash.Seed) *parquetWriter {
	c, out := newColumns(kind, tenant, logNo), &tailWriter{w: w}
	return &parquetWriter{
		columns: c, sums: newColumnSums(seed, c.count()), out: out, since: make([]int64, c.count()),
		w: parquet.NewGenericWriter[any](out, &parquet.WriterConfig{
			Schema: schemaOf(kind), CreatedBy: "runledger", Compression: codec, DataPageVersion: 1, PageBufferSize: 256 << 10,
			MaxRowsPerRowGroup: groupRows, DictionaryMaxBytes: 1 << 20,
		}, parquet.DataPageStatistics(false)),
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
		if err := p.put(into, col, values); err != nil {
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

// put writes values of a column, and ends pages where rows do.
func (p *parquetWriter) put(into *parquet.ColumnWriter, col int, values []parquet.Value) error {
	from := 0
	for i := range values {
		v := &values[i]
		if p.since[col] >= maxTexts && v.RepetitionLevel() == 0 {
			if _, err := into.WriteRowValues(values[from:i]); err != nil {
				return err
			}
			if err := into.Flush(); err != nil {
				return err
			}
			from, p.since[col] = i, 0
		}
		if v.Kind() == parquet.ByteArray {
			p.since[col] += 4 + int64(len(v.ByteArray()))
		}
	}
	_, err := into.WriteRowValues(values[from:])
	return err
}

func (p *parquetWriter) close() error {
	if err := p.w.Flush(); err != nil {
		return err
	}
	p.out.tail = new(bytes.Buffer)
	if err := p.w.Close(); err != nil {
		return err
	}
	return p.out.finish()
}

// parquetChecker compares a kind's file with leaves. It reads one column behind another: so it needs
// the memory of one, whatever stands in the others.
type parquetChecker struct {
	*columns
	cols   []columnReader
	budget int64  // bytes that pages may take
	packed []byte // of columnReader
}

// errParquet is wrapped by what is wrong with a file.
var errParquet = fmt.Errorf("it is not the Parquet file of its leaves: %w", evidence.ErrTampered)

func openParquet(r io.ReaderAt, size int64, kind evidence.Kind, tenant string, logNo int, rows int64) (c *parquetChecker, err error) {
	defer caught(&err)
	c = &parquetChecker{columns: newColumns(kind, tenant, logNo), budget: maxFilePages}
	footer, err := checkFooter(r, size, c.count(), rows)
	if err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(r, size, &parquet.FileConfig{SkipPageIndex: true, SkipBloomFilters: true, ReadBufferSize: 32 << 10})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errParquet, err)
	}
	if what := strange(f.Metadata(), kind); what != "" {
		return nil, fmt.Errorf("%w: %s", errParquet, what)
	}
	if what := believed(f.Metadata()); what != "" {
		return nil, fmt.Errorf("%w: %s, which nothing proves", errParquet, what)
	}
	if f.NumRows() != rows {
		return nil, fmt.Errorf("%w: it has %d rows of %d", errParquet, f.NumRows(), rows)
	}
	for _, s := range c.shapes() {
		c.cols = append(c.cols, columnReader{shape: s, r: r, budget: &c.budget, packed: &c.packed})
	}
	end := int64(4) // of the chunk before: none is read twice
	for _, g := range f.Metadata().RowGroups {
		if len(g.Columns) != len(c.cols) || g.NumRows < 1 || g.NumRows > groupRows+batchLeaves {
			return nil, fmt.Errorf("%w: a row group of %d columns and %d rows", errParquet, len(g.Columns), g.NumRows)
		}
		for i := range g.Columns {
			part, err := chunkOf(&g.Columns[i].MetaData, footer)
			if err != nil || part.off != end || !c.cols[i].list && part.values != g.NumRows {
				return nil, fmt.Errorf("%w: column %s does not stand where it is to", errParquet, c.name(i))
			}
			end, part.rows = part.off+part.size, g.NumRows
			c.cols[i].chunks = append(c.cols[i].chunks, part)
		}
	}
	if end != footer {
		return nil, fmt.Errorf("%w: something stands between its pages and its footer", errParquet)
	}
	return c, nil
}

// chunkOf is where a column's part of a row group stands, before the footer.
func chunkOf(m *pq.ColumnMetaData, footer int64) (chunk, error) {
	c := chunk{
		off: m.DataPageOffset, size: m.TotalCompressedSize, plain: m.TotalUncompressedSize, dict: m.DictionaryPageOffset, data: m.DataPageOffset,
		values: m.NumValues, says: m.Statistics, encodings: m.Encoding,
	}
	if c.dict != 0 {
		c.off = c.dict
	}
	if m.Codec != pq.Zstd || c.size < 1 || c.values < 1 || c.off < 4 || c.off > footer || c.off > c.data || c.size > footer-c.off {
		return c, errPage
	}
	return c, nil
}

// maxFooter is more than the footer of any unit: some 5 KiB a row group.
const maxFooter = 1 << 20

// checkFooter sees to it that the library makes room for no more than the footer of such a file
// has: each column of each row group has some small lists. It returns where it begins.
func checkFooter(r io.ReaderAt, size int64, columns int, rows int64) (begins int64, err error) {
	var end [8]byte
	if size < 2*int64(len(end)) {
		return 0, fmt.Errorf("%w: it has %d bytes", errParquet, size)
	}
	if _, err := r.ReadAt(end[:], size-int64(len(end))); err != nil {
		return 0, err
	}
	n := int64(binary.LittleEndian.Uint32(end[:]))
	if n > maxFooter || n > size-int64(len(end)) || string(end[4:]) != "PAR1" {
		return 0, fmt.Errorf("%w: it says that its footer has %d bytes", errParquet, n)
	}
	begins = size - int64(len(end)) - n
	s := thriftSkim{in: make([]byte, n), left: 256 + columns*int(rows/groupRows+2)*24}
	if _, err := r.ReadAt(s.in, begins); err != nil {
		return 0, err
	}
	if err := s.object(0, nil, nil); err != nil {
		return 0, fmt.Errorf("%w: %w", errParquet, err)
	}
	return begins, nil
}

// caught makes an error of a panic: a library that reads what somebody else wrote.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", errParquet, p)
	}
}

var errMore = errors.New("it has more values than were written")

// compare reads all columns, one behind another, and compares them with what was written.
func (p *parquetChecker) compare(written *columnSums, pace *pace) (err error) {
	defer caught(&err)
	got := newColumnSums(written.seed, p.count())
	for col := range p.cols {
		for err == nil {
			err = pace.do(func() error {
				values, err := p.cols[col].some()
				got.add(col, values)
				if got.counts[col] > written.counts[col] {
					return errMore
				}
				return err
			})
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: column %s: %w", errParquet, p.name(col), err)
		}
		err = nil
		p.cols[col].release()
		if got.sums[col].Sum64() != written.sums[col].Sum64() {
			return fmt.Errorf("%w: column %s does not say what the leaves say", errParquet, p.name(col))
		}
	}
	return nil
}

func (p *parquetChecker) close() {
	for i := range p.cols {
		p.cols[i].release()
	}
}
