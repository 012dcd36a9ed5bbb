package archive

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"reflect"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	pq "github.com/parquet-go/parquet-go/format"

	"github.com/runledger/runledger/evidence"
)

// Readers of Parquet believe more than the values: they pass over row groups and pages by the bounds that
// stand for them, and name columns by what a footer says beside the schema. So a unit's files have of that only what is
// checked: the bounds of each chunk.

// tailWriter is where the library writes a file. From a moment on it is kept, for the end is written otherwise.
type tailWriter struct {
	w    io.Writer
	n    int64 // bytes written
	tail *bytes.Buffer
}

func (t *tailWriter) Write(p []byte) (int, error) {
	if t.tail != nil {
		return t.tail.Write(p)
	}
	n, err := t.w.Write(p)
	t.n += int64(n)
	return n, err
}

const parquetMagic = "PAR1"

// finish writes the end of the file without page indexes, sizes and encodings of pages.
func (t *tailWriter) finish() error {
	end := t.tail.Bytes()
	n := int(binary.LittleEndian.Uint32(end[len(end)-8:]))
	var m pq.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), end[len(end)-8-n:len(end)-8], &m); err != nil {
		return fmt.Errorf("archive: parquet: %w", err)
	}
	pages := t.n + int64(len(end)-8-n) // where they end: the indexes stand behind
	for i := range m.RowGroups {
		for j := range m.RowGroups[i].Columns {
			c := &m.RowGroups[i].Columns[j]
			if c.ColumnIndexOffset > 0 {
				pages = min(pages, c.ColumnIndexOffset)
			}
			if c.OffsetIndexOffset > 0 {
				pages = min(pages, c.OffsetIndexOffset)
			}
			c.ColumnIndexOffset, c.ColumnIndexLength, c.OffsetIndexOffset, c.OffsetIndexLength = 0, 0, 0, 0
			c.MetaData.EncodingStats, c.MetaData.SizeStatistics = nil, pq.SizeStatistics{}
		}
	}
	text, err := thrift.Marshal(new(thrift.CompactProtocol), &m)
	if err != nil {
		return fmt.Errorf("archive: parquet: %w", err)
	}
	end = append(slices.Clip(end[:pages-t.n]), text...)
	end = append(binary.LittleEndian.AppendUint32(end, uint32(len(text))), parquetMagic...)
	_, err = t.w.Write(end)
	return err
}

// believed says what of a footer a reader would believe and nothing proves; "" for nothing.
func believed(m *pq.FileMetaData) string {
	if len(m.KeyValueMetadata) > 0 || m.EncryptionAlgorithm.Value != nil || len(m.FooterSigningKeyMetadata) > 0 {
		return "the file has metadata of its own"
	}
	for i := range m.RowGroups {
		g := &m.RowGroups[i]
		if len(g.SortingColumns) > 0 {
			return "it says that rows are sorted"
		}
		for j := range g.Columns {
			c := &g.Columns[j]
			d, s := &c.MetaData, &c.MetaData.Statistics
			switch {
			case c.FilePath != "":
				return "a column stands in another file"
			case c.ColumnIndexOffset != 0 || c.OffsetIndexOffset != 0 || d.IndexPageOffset != 0 || d.BloomFilterOffset != 0:
				return "it has indexes of pages"
			case len(d.KeyValueMetadata) > 0 || len(d.EncodingStats) > 0 || c.CryptoMetadata.Value != nil || len(c.EncryptedColumnMetadata) > 0 ||
				len(d.SizeStatistics.RepetitionLevelHistogram) > 0 || len(d.SizeStatistics.DefinitionLevelHistogram) > 0 || d.SizeStatistics.UnencodedByteArrayDataBytes != 0:
				return "a column has metadata of its own"
			case len(s.Min) > 0 || len(s.Max) > 0 || s.DistinctCount != 0:
				return "a column has bounds of another kind"
			}
		}
	}
	return ""
}

// frames are the footers of files without rows, by kind: what of a footer follows from the kind alone.
var frames [maxKinds]func() *pq.FileMetaData

func init() {
	for _, k := range evidence.Kinds() {
		frames[k] = sync.OnceValue(func() *pq.FileMetaData {
			var out bytes.Buffer
			w := newParquetWriter(&out, k, "", 1, maphash.MakeSeed())
			if err := w.close(); err != nil {
				panic("archive: " + err.Error()) // written to memory
			}
			f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()), &parquet.FileConfig{SkipPageIndex: true, SkipBloomFilters: true})
			if err != nil {
				panic("archive: " + err.Error())
			}
			return f.Metadata()
		})
	}
}

// strange says what of a footer is not what follows from the kind, and from where its chunks say that they
// stand; "" for nothing.
func strange(m *pq.FileMetaData, kind evidence.Kind) string {
	frame := frames[kind]()
	if m.Version != frame.Version || m.CreatedBy != frame.CreatedBy || !reflect.DeepEqual(m.Schema, frame.Schema) || !reflect.DeepEqual(m.ColumnOrders, frame.ColumnOrders) {
		return "it has other columns"
	}
	leaves := leafColumns(frame.Schema)
	for i := range m.RowGroups {
		g := &m.RowGroups[i]
		if len(g.Columns) != len(leaves) || int(g.Ordinal) != i {
			return fmt.Sprintf("row group %d has %d columns", i, len(g.Columns))
		}
		packed, plain := int64(0), int64(0)
		for j := range g.Columns {
			d := &g.Columns[j].MetaData
			if d.Type != leaves[j].kind || !slices.Equal(d.PathInSchema, leaves[j].path) || g.Columns[j].FileOffset != 0 {
				return fmt.Sprintf("column %d of row group %d is another one", j, i)
			}
			packed, plain = packed+d.TotalCompressedSize, plain+d.TotalUncompressedSize
		}
		first := &g.Columns[0].MetaData
		if begins := cmp.Or(first.DictionaryPageOffset, first.DataPageOffset); g.FileOffset != begins || g.TotalCompressedSize != packed || g.TotalByteSize != plain {
			return fmt.Sprintf("row group %d is not where its columns are", i)
		}
	}
	return ""
}

// leafColumn is a column that has values.
type leafColumn struct {
	path []string
	kind pq.Type
}

// leafColumns are those of a schema, which is a tree, depth first.
func leafColumns(schema []pq.SchemaElement) (out []leafColumn) {
	at := 1
	var below func(path []string, n int32)
	below = func(path []string, n int32) {
		for range n {
			e := &schema[at]
			at++
			here := append(slices.Clip(path), e.Name)
			if e.NumChildren.Valid && e.NumChildren.V > 0 {
				below(here, e.NumChildren.V)
			} else {
				out = append(out, leafColumn{here, e.Type.V})
			}
		}
	}
	below(nil, schema[0].NumChildren.V)
	return out
}

// bounds are what a chunk's statistics say, found in its values.
type bounds struct {
	some     bool // there is a value
	min, max []byte
	low, top int64 // of parquet.Int64 and parquet.Boolean
	nulls    int64
	rows     int64
	inside   bool // it begins within a row
}

func (b *bounds) reset() { *b = bounds{min: b.min[:0], max: b.max[:0]} }

// note takes values in.
func (b *bounds) note(values []parquet.Value, s *shape) {
	if s.list {
		for i := range values {
			if values[i].RepetitionLevel() == 0 {
				b.rows++
			} else if b.rows == 0 {
				b.inside = true
			}
		}
	} else {
		b.rows += int64(len(values))
	}
	for i := range values {
		v := &values[i]
		switch v.Kind() {
		case parquet.Int64, parquet.Boolean:
			n := int64(0)
			if v.Kind() == parquet.Int64 {
				n = v.Int64()
			} else if v.Boolean() {
				n = 1
			}
			if !b.some {
				b.low, b.top = n, n
			}
			b.low, b.top = min(b.low, n), max(b.top, n)
		case parquet.ByteArray, parquet.FixedLenByteArray:
			text := v.ByteArray()
			if !b.some || bytes.Compare(text, b.min) < 0 {
				b.min = append(b.min[:0], text...)
			}
			if !b.some || bytes.Compare(text, b.max) > 0 {
				b.max = append(b.max[:0], text...)
			}
		default:
			b.nulls++
			continue
		}
		b.some = true
	}
}

// same reports whether a chunk's statistics, and its row group, say what was found.
func (b *bounds) same(c *chunk, kind parquet.Kind) bool {
	low, top := b.min, b.max
	switch {
	case !b.some:
		low, top = nil, nil
	case kind == parquet.Int64:
		low, top = binary.LittleEndian.AppendUint64(nil, uint64(b.low)), binary.LittleEndian.AppendUint64(nil, uint64(b.top))
	case kind == parquet.Boolean:
		low, top = []byte{byte(b.low)}, []byte{byte(b.top)}
	}
	return !b.inside && b.rows == c.rows && b.nulls == c.says.NullCount && bytes.Equal(low, c.says.MinValue) && bytes.Equal(top, c.says.MaxValue)
}
