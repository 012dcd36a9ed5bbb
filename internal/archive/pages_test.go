package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	pq "github.com/parquet-go/parquet-go/format"

	"github.com/runledger/runledger/evidence"
)

// parquetOf is the file of leaves of a kind.
func parquetOf(t testing.TB, k evidence.Kind, leaves []evidence.Leaf) ([]byte, *columnSums) {
	t.Helper()
	var out bytes.Buffer
	p := newParquetWriter(&out, k, testTenant, 1, maphash.MakeSeed())
	for i := range leaves {
		p.add(&leaves[i], &evidence.Hash{byte(i)})
		if i%batchLeaves == batchLeaves-1 || i == len(leaves)-1 {
			if err := p.write(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), p.sums
}

func leavesOf(t testing.TB, k evidence.Kind, n int) []evidence.Leaf {
	t.Helper()
	g := newGenerator(3)
	g.leaf(0)
	leaves := make([]evidence.Leaf, n)
	for i := range leaves {
		leaves[i] = *g.make(int64(i), k)
		leaves[i].Kind = k
	}
	return leaves
}

// TestManyWords: a column whose dictionary grows too large goes on without one; numbers of
// all sizes; several row groups.
func TestManyWords(t *testing.T) {
	t.Parallel()
	leaves := make([]evidence.Leaf, groupRows+3000)
	facts := leavesOf(t, evidence.KindTraceStep, 1)[0].Pub
	for i := range leaves {
		leaves[i] = evidence.Leaf{Pub: facts, Seq: int64(i), Kind: evidence.KindTraceStep, Run: fmt.Sprintf("run-%030d", i), N: math.MaxInt64 >> (i % 64)}
		if i%2 == 0 {
			leaves[i].N = -leaves[i].N - 1
		}
		leaves[i].OccurredAt = evidence.Micros(leaves[i].N)
		leaves[i].ID = evidence.ID{1, byte(i), byte(i >> 8)}
	}
	file, sums := parquetOf(t, evidence.KindTraceStep, leaves)
	c, err := openParquet(bytes.NewReader(file), int64(len(file)), evidence.KindTraceStep, testTenant, 1, int64(len(leaves)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.compare(sums, nil); err != nil {
		t.Fatal(err)
	}
	c.close()
	if c.budget != maxFilePages {
		t.Errorf("%d bytes of pages are not given back", maxFilePages-c.budget)
	}
}

// appendUvarints appends numbers as they stand in headers.
func appendUvarints(b []byte, list ...uint64) []byte {
	for _, v := range list {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// pageOf is a data page, whose header says what it is told to.
func pageOf(text []byte, size int64, values uint64, enc pq.Encoding) []byte {
	w, _ := zstd.NewWriter(nil)
	packed := w.EncodeAll(text, nil)
	b := appendUvarints([]byte{0x15, 0, 0x15}, uint64(size)*2)
	b = appendUvarints(append(b, 0x15), uint64(len(packed))*2)
	b = appendUvarints(append(b, 0x2c, 0x15), values*2) // field 5, its field 1
	b = appendUvarints(append(b, 0x15), uint64(enc)*2)
	return append(append(b, 0x15, 6, 0x15, 6, 0, 0), packed...)
}

// hollowPage is one of a single number that takes many bytes packed: a frame behind which one to be skipped stands.
func hollowPage(size int) []byte {
	w, _ := zstd.NewWriter(nil)
	packed := w.EncodeAll(make([]byte, 8), nil)
	packed = binary.LittleEndian.AppendUint32(packed, 0x184d2a50)
	packed = append(binary.LittleEndian.AppendUint32(packed, uint32(size)), make([]byte, size)...)
	b := appendUvarints([]byte{0x15, 0, 0x15}, 8*2)
	b = appendUvarints(append(b, 0x15), uint64(len(packed))*2)
	return append(append(appendUvarints(append(b, 0x2c, 0x15), 2), 0x15, 0, 0x15, 6, 0x15, 6, 0, 0), packed...)
}

// TestClaims: what says that it has very much, and has not, is refused, and no room was made for
// it: in pages of each form, and in the footer.
func TestClaims(t *testing.T) { // alone, since it looks at memory
	long := bytes.Repeat([]byte{0}, maxPage+1)
	number, text := shape{kind: parquet.Int64}, shape{kind: parquet.ByteArray}
	run := appendUvarints([]byte{0, 0, 0, 0}, 1<<31, 1) // a run of 1<<30 ones
	binary.LittleEndian.PutUint32(run, uint32(len(run)-4))
	// Of a list, levels that are ones all the way, and sizes of nothing, a block of 65,536 in two bytes.
	sizes := append(bytes.Clone(run), run...)
	sizes = appendUvarints(sizes, 1<<16, 1, 1<<28, 0)
	for range 1 << 12 {
		sizes = append(sizes, 0, 0)
	}
	hollow := hollowPage(1 << 20)
	for name, test := range map[string]struct {
		shape
		page   []byte
		values int64
	}{
		"a size":              {number, pageOf(nil, 1<<30, 1, pq.Plain), 1},
		"a bomb":              {number, pageOf(long, 100, 1, pq.Plain), 1},
		"a bomb that says so": {number, pageOf(long, int64(len(long)), 1, pq.Plain), 1},
		"values":              {number, pageOf(nil, 0, 1<<30, pq.Plain), 1 << 30},
		"more than the chunk": {number, pageOf(make([]byte, 800), 800, 100, pq.Plain), 1},
		"a run of levels":     {shape{kind: parquet.Int64, optional: true}, pageOf(run, int64(len(run)), 1<<30, pq.Plain), 1 << 30},
		"differences":         {number, pageOf(appendUvarints(nil, 128, 4, 1<<40, 0), 9, 1<<30, pq.DeltaBinaryPacked), 1 << 30},
		"sizes":               {text, pageOf(appendUvarints(nil, 128, 4, 1<<40, 0), 9, 10, pq.DeltaLengthByteArray), 10},
		"a text":              {text, pageOf([]byte{255, 255, 255, 127}, 4, 1, pq.Plain), 1},
		"sizes of a list":     {shape{kind: parquet.ByteArray, optional: true, list: true}, pageOf(sizes, int64(len(sizes)), 1<<28, pq.DeltaLengthByteArray), 1 << 28},
		"much behind":         {number, pageOf(make([]byte, 1<<20), 1<<20, 1, pq.Plain), 1},
		"no values":           {number, pageOf(nil, 0, 0, pq.Plain), 1},
		"packed much":         {number, hollow, 1},
		"no dictionary":       {text, pageOf([]byte{1, 2, 0}, 3, 1, pq.RLEDictionary), 1},
	} {
		budget, packed := int64(maxFilePages), []byte(nil)
		c := columnReader{shape: test.shape, r: bytes.NewReader(test.page), budget: &budget, packed: &packed, chunks: []chunk{{size: int64(len(test.page)), values: test.values, encodings: []pq.Encoding{pq.Plain, pq.RLEDictionary, pq.DeltaBinaryPacked, pq.DeltaLengthByteArray}}}}
		if err := smallAlloc(t, name, func() (err error) {
			for err == nil {
				_, err = c.some()
			}
			return err
		}); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}

	leaves := leavesOf(t, evidence.KindTraceStep, 20)
	good, _ := parquetOf(t, evidence.KindTraceStep, leaves)
	footer := int(binary.LittleEndian.Uint32(good[len(good)-8:]))
	head := good[:len(good)-8-footer]
	for name, text := range map[string][]byte{
		"a list":  appendUvarints([]byte{0x15, 2, 0x19, 0xfc}, 1<<30),
		"lists":   append(appendUvarints([]byte{0x15, 2, 0x19, 0xfc}, 100_000), make([]byte, 100_000)...),
		"a name":  appendUvarints([]byte{0x15, 2, 0x18}, 1<<40),
		"a depth": bytes.Repeat([]byte{0x1c}, 100_000),
		"a map":   {0x1b, 0xff, 0xff, 0xff, 0x0f, 0},
	} {
		file := append(bytes.Clone(head), text...)
		file = append(binary.LittleEndian.AppendUint32(file, uint32(len(text))), "PAR1"...)
		if err := smallAlloc(t, name, func() error {
			_, err := openParquet(bytes.NewReader(file), int64(len(file)), evidence.KindTraceStep, testTenant, 1, 20)
			return err
		}); !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), errThrift.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// smallAlloc runs f, which may ask for some pages, and no more.
func smallAlloc(t *testing.T, name string, f func() error) error {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4*maxPage {
		t.Errorf("%s: %d MiB were asked for", name, n>>20)
	}
	return err
}

// FuzzParquet: whatever a file says, it is read to its end or refused, with bounded pages.
func FuzzParquet(f *testing.F) {
	const rows = 40
	kinds := []evidence.Kind{evidence.KindTraceStep, evidence.KindLLMRun}
	for i, k := range kinds {
		file, _ := parquetOf(f, k, leavesOf(f, k, rows))
		f.Add(uint8(i), file)
	}
	f.Fuzz(func(t *testing.T, kind uint8, file []byte) {
		c, err := openParquet(bytes.NewReader(file), int64(len(file)), kinds[int(kind)%len(kinds)], testTenant, 1, rows)
		if err != nil {
			return
		}
		defer c.close()
		for i := range c.cols {
			n := 0
			for err := error(nil); err == nil && n < 1<<20; {
				var v []parquet.Value
				v, err = c.cols[i].next(7)
				n += len(v)
			}
			c.cols[i].release()
		}
		if c.budget < 0 || c.budget > maxFilePages {
			t.Errorf("%d bytes are left for pages", c.budget)
		}
	})
}

// TestChunks: what makes a reader go over the same bytes again and again is refused, and so is what others believe
// of a file beside its values.
func TestChunks(t *testing.T) {
	t.Parallel()
	const rows = 20
	good, sums := parquetOf(t, evidence.KindTraceStep, leavesOf(t, evidence.KindTraceStep, rows))
	n := int(binary.LittleEndian.Uint32(good[len(good)-8:]))
	head, footer := good[:len(good)-8-n], good[len(good)-8-n:len(good)-8]
	for name, test := range map[string]struct {
		change func(m *pq.FileMetaData)
		ok     bool
	}{
		"as it is": {func(*pq.FileMetaData) {}, true},
		"a group without rows": {func(m *pq.FileMetaData) {
			g := m.RowGroups[0]
			g.NumRows = 0
			m.RowGroups = append(m.RowGroups, g)
		}, false},
		"a group twice": {func(m *pq.FileMetaData) {
			m.NumRows *= 2
			m.RowGroups = append(m.RowGroups, m.RowGroups[0])
		}, false},
		"another least value": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[2].MetaData.Statistics.MinValue[0]++
		}, false},
		"another greatest value": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[3].MetaData.Statistics.MaxValue = []byte("x")
		}, false},
		"no greatest value": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[0].MetaData.Statistics.MaxValue = nil
		}, false},
		"nulls": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[11].MetaData.Statistics.NullCount--
		}, false},
		"other encodings": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[2].MetaData.Encoding = []pq.Encoding{pq.RLEDictionary}
		}, false},
		"old bounds": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[2].MetaData.Statistics.Min = []byte{0, 0, 0, 0, 0, 0, 0, 0}
		}, false},
		"names of its own": {func(m *pq.FileMetaData) {
			m.KeyValueMetadata = []pq.KeyValue{{Key: "pandas", Value: "{}"}}
		}, false},
		"another file": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[5].FilePath = "x"
		}, false},
		"an index": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[5].ColumnIndexOffset, m.RowGroups[0].Columns[5].ColumnIndexLength = 4, 4
		}, false},
		"a bloom filter": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[5].MetaData.BloomFilterOffset = 4
		}, false},
		"an order": {func(m *pq.FileMetaData) {
			m.RowGroups[0].SortingColumns = []pq.SortingColumn{{ColumnIdx: 2}}
		}, false},
		"columns exchanged": {func(m *pq.FileMetaData) {
			a, b := &m.RowGroups[0].Columns[5].MetaData, &m.RowGroups[0].Columns[6].MetaData
			a.PathInSchema, b.PathInSchema = b.PathInSchema, a.PathInSchema
		}, false},
		"another type": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[1].MetaData.Type = pq.Int96
		}, false},
		"a large group":     {func(m *pq.FileMetaData) { m.RowGroups[0].TotalCompressedSize = 1 << 60 }, false},
		"a group elsewhere": {func(m *pq.FileMetaData) { m.RowGroups[0].FileOffset = 1 << 60 }, false},
		"another group":     {func(m *pq.FileMetaData) { m.RowGroups[0].Ordinal = 1 }, false},
		"a large column": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[1].MetaData.TotalUncompressedSize++
			m.RowGroups[0].TotalByteSize++
		}, false},
		"a column elsewhere": {func(m *pq.FileMetaData) { m.RowGroups[0].Columns[1].FileOffset = 4 }, false},
		"other times": {func(m *pq.FileMetaData) {
			m.Schema[6].ConvertedType.V-- // milliseconds
		}, false},
		"another writer": {func(m *pq.FileMetaData) { m.CreatedBy = "parquet-mr version 1.4.0" }, false},
		"no orders":      {func(m *pq.FileMetaData) { m.ColumnOrders = nil }, false},
		"pages elsewhere": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[0].MetaData.DataPageOffset++
		}, false},
		"a dictionary elsewhere": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[0].MetaData.DictionaryPageOffset = m.RowGroups[0].Columns[0].MetaData.DataPageOffset
		}, false},
		"no dictionary": {func(m *pq.FileMetaData) {
			m.RowGroups[0].Columns[0].MetaData.DictionaryPageOffset = 0
		}, false},
		"a column twice": {func(m *pq.FileMetaData) {
			a, b := &m.RowGroups[0].Columns[1].MetaData, &m.RowGroups[0].Columns[2].MetaData
			b.DataPageOffset, b.TotalCompressedSize = a.DataPageOffset, a.TotalCompressedSize
		}, false},
	} {
		var m pq.FileMetaData
		if err := thrift.Unmarshal(new(thrift.CompactProtocol), footer, &m); err != nil {
			t.Fatal(err)
		}
		test.change(&m)
		text, err := thrift.Marshal(new(thrift.CompactProtocol), &m)
		if err != nil {
			t.Fatal(err)
		}
		file := append(append(bytes.Clone(head), text...), 0, 0, 0, 0)
		binary.LittleEndian.PutUint32(file[len(file)-4:], uint32(len(text)))
		file = append(file, "PAR1"...)
		c, err := openParquet(bytes.NewReader(file), int64(len(file)), evidence.KindTraceStep, testTenant, 1, m.NumRows)
		if err == nil {
			err = c.compare(sums, nil)
			c.close()
		}
		if (err == nil) != test.ok || err != nil && !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMovedRows: the values of a list column that stand in the row group before are those of other rows.
func TestMovedRows(t *testing.T) {
	t.Parallel()
	const rows, half = 40, 20
	leaves := leavesOf(t, evidence.KindTraceStep, rows)
	for _, moved := range []int{0, 1, -3} {
		var out bytes.Buffer
		p := newParquetWriter(&out, evidence.KindTraceStep, testTenant, 1, maphash.MakeSeed())
		for i := range leaves {
			p.add(&leaves[i], &evidence.Hash{1})
		}
		var rest [][]parquet.Value
		for i, into := range p.w.ColumnWriters() {
			values := slices.Clone(p.column(i))
			p.sums.add(i, values)
			n := half
			if p.shapes()[i].list {
				n += moved
			}
			at := 0
			for n > 0 || at < len(values) && values[at].RepetitionLevel() > 0 {
				if values[at].RepetitionLevel() == 0 {
					n--
				}
				at++
			}
			if _, err := into.WriteRowValues(values[:at]); err != nil {
				t.Fatal(err)
			}
			rest = append(rest, values[at:])
		}
		if err := p.w.Flush(); err != nil {
			t.Fatal(err)
		}
		for i, into := range p.w.ColumnWriters() {
			if _, err := into.WriteRowValues(rest[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
		c, err := openParquet(bytes.NewReader(out.Bytes()), int64(out.Len()), evidence.KindTraceStep, testTenant, 1, rows)
		if err == nil {
			err = c.compare(p.sums, nil)
			c.close()
		}
		if moved == 0 && err != nil || moved != 0 && !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%d rows further: %v", moved, err)
		}
	}
}

// TestOneFrame: what is packed ends where its frame does.
func TestOneFrame(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 1000, 1 << 20} {
		for name, text := range map[string][]byte{"zeros": make([]byte, n), "noise": newGenerator(5).bytes(n)} {
			for _, sum := range []bool{false, true} {
				w, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(sum))
				if err != nil {
					t.Fatal(err)
				}
				packed := w.EncodeAll(text, nil)
				if n == 0 {
					continue // which makes none
				}
				skipped := append(binary.LittleEndian.AppendUint32(nil, 0x184d2a53), 4, 0, 0, 0, 1, 2, 3, 4)
				if !oneFrame(packed) || oneFrame(packed[:len(packed)-1]) || oneFrame(append(bytes.Clone(packed), 0)) ||
					oneFrame(append(bytes.Clone(packed), skipped...)) || oneFrame(append(bytes.Clone(skipped), packed...)) || oneFrame(append(bytes.Clone(packed), packed...)) {
					t.Errorf("%d %s, with a sum: %v", n, name, sum)
				}
			}
		}
	}
}

// TestManyNames: leaves with as many names, and as long ones, as they can have make a file like any other.
func TestManyNames(t *testing.T) {
	t.Parallel()
	n := 0
	name := func(size int) string {
		n++
		text := strconv.FormatInt(int64(n), 36)
		return text + strings.Repeat("x", max(size-len(text), 0))
	}
	list := func(count, size int) func() (l []string) {
		return func() (l []string) {
			for range count {
				l = append(l, name(size))
			}
			return l
		}
	}
	one := func(size int) func() []string { return list(1, size) }
	for what, test := range map[string]struct {
		kind   evidence.Kind
		field  string
		leaves int
		names  func() []string // of each leaf
		giants int             // leaves behind them that are as large as a leaf can be
	}{
		"short names":       {evidence.KindMetric, "policy_ids", 2 * batchLeaves, list(2300, 0), 0},
		"four letters":      {evidence.KindSystem, "policy_ids", 2 * batchLeaves, list(480, 4), 2 * batchLeaves},
		"long names":        {evidence.KindSystem, "policy_ids", 2 * batchLeaves, list(113, 128), 0},
		"a name a leaf":     {evidence.KindTraceStep, "skill_name", groupRows + 255, one(128), 0},
		"an optional name":  {evidence.KindTraceStep, "agent_id", groupRows + 255, one(128), 0},
		"a text of its own": {evidence.KindTraceStep, "span_id", groupRows + 255, one(16), 0},
	} {
		few := leavesOf(t, test.kind, batchLeaves)
		leaves := make([]evidence.Leaf, test.leaves+test.giants)
		field := evidence.PublicField(test.kind, test.field)
		for i := range leaves {
			leaves[i] = few[i%len(few)]
			leaves[i].Pub = slices.Clone(leaves[i].Pub)
			leaves[i].Seq = int64(i)
			f := evidence.Fact{Field: field}
			if names := test.names(); i >= test.leaves {
				f.List = list(3000, 2)()
			} else if field.Type == evidence.TypeNames {
				f.List = names
			} else {
				f.Str = names[0]
			}
			leaves[i].SetFact(f)
		}
		file, sums := parquetOf(t, test.kind, leaves)
		c, err := openParquet(bytes.NewReader(file), int64(len(file)), test.kind, testTenant, 1, int64(len(leaves)))
		if err == nil {
			err = c.compare(sums, nil)
			c.close()
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
