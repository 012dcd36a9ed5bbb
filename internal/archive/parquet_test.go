package archive

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/parquet-go/parquet-go"

	"github.com/runledger/runledger/evidence"
)

// TestParquetSays reads Parquet files row by row, as a reader does that knows nothing of this
// package, and the lines as JSON, and compares what they say.
func TestParquetSays(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 500)
	a := openDir(t, t.TempDir())
	u := mustWrite(t, a, l.unit(0, 500, evidence.Hash{}))
	rows := 0
	for name, path := range unitFiles(t, a, u) {
		kind, ok := strings.CutSuffix(name, parquetSuffix)
		if !ok {
			continue
		}
		lines := readLines(t, filepath.Join(a.spec, u.Name, kind+jsonlSuffix))
		for i, got := range readRows(t, path) {
			rows++
			if want := rowOf(t, lines[i]); !sameRow(t, got, want) {
				t.Errorf("%s, row %d:\n got %v\nwant %v", name, i, got, want)
			}
		}
	}
	if rows != 500 {
		t.Errorf("%d rows", rows)
	}
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// readRows returns rows as text by column; of arrays, all values.
func readRows(t *testing.T, path string) []map[string][]string {
	t.Helper()
	b := mustReadFile(t, path)
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	columns := f.Schema().Columns()
	var out []map[string][]string
	for _, g := range f.RowGroups() {
		r := g.Rows()
		for {
			var row [1]parquet.Row
			n, err := r.ReadRows(row[:])
			if n == 1 {
				m := map[string][]string{}
				for _, v := range row[0] {
					name := columns[v.Column()][0]
					switch {
					case v.IsNull():
					case v.Kind() == parquet.FixedLenByteArray:
						m[name] = append(m[name], hex.EncodeToString(v.ByteArray()))
					default:
						m[name] = append(m[name], v.String())
					}
				}
				out = append(out, m)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		_ = r.Close()
	}
	return out
}

// rowOf is the row that a leaf makes, by its JSON alone.
func rowOf(t *testing.T, line string) map[string][]string {
	t.Helper()
	var leaf struct {
		ET, T, ID, Run string
		N              *json.Number
		Seq            json.Number
		Pub            map[string]any
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&leaf); err != nil {
		t.Fatal(err)
	}
	hash := evidence.LeafHash([]byte(line))
	m := map[string][]string{
		"tenant_id": {testTenant}, "log_no": {"1"}, "leaf_index": {leaf.Seq.String()}, "leaf_hash": {hash.String()},
		"id": {strings.ReplaceAll(leaf.ID, "-", "")}, "recorded_at": {leaf.T}, "occurred_at": {leaf.ET},
	}
	if leaf.Run != "" {
		m["run_id"], m["n"] = []string{leaf.Run}, []string{leaf.N.String()}
	}
	for name, v := range leaf.Pub {
		switch v := v.(type) {
		case string:
			m[name] = []string{v}
		case json.Number:
			m[name] = []string{v.String()}
		case bool:
			m[name] = []string{map[bool]string{true: "true", false: "false"}[v]}
		case []any:
			for _, s := range v {
				m[name] = append(m[name], s.(string))
			}
		}
	}
	return m
}

// sameRow compares rows; moments are numbers in one and text in the other.
func sameRow(t *testing.T, got, want map[string][]string) bool {
	t.Helper()
	for name := range want {
		if !slices.Equal(got[name], want[name]) {
			if len(got[name]) != 1 || len(want[name]) != 1 {
				return false
			}
			n, err := json.Number(got[name][0]).Int64()
			if err != nil || time.UnixMicro(n).UTC().Format("2006-01-02T15:04:05.000000Z") != want[name][0] {
				return false
			}
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			return false
		}
	}
	return true
}

// TestColumnsOfFields: a kind's file has the columns of its table, in the order that the
// package says.
func TestColumnsOfFields(t *testing.T) {
	t.Parallel()
	for _, k := range evidence.Kinds() {
		want := []string{"tenant_id", "log_no", "leaf_index", "leaf_hash", "id", "recorded_at", "occurred_at", "run_id", "n"}
		for _, f := range evidence.PublicFields(k) {
			want = append(want, f.Column())
		}
		var got []string
		for _, f := range schemaOf(k).Fields() {
			got = append(got, f.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", k, got)
		}
	}
}

// TestEachColumn: one value of one column that is not the leaf's is found, and named.
func TestEachColumn(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 200)
	for _, k := range []evidence.Kind{evidence.KindTraceStep, evidence.KindLLMRun, evidence.KindAudit} {
		var leaves []*evidence.Leaf
		for _, b := range l.leaves {
			if leaf, err := evidence.ParseLeaf(b); err != nil {
				t.Fatal(err)
			} else if leaf.Kind == k {
				leaves = append(leaves, leaf)
			}
		}
		for col := range newColumns(k, testTenant, 1).count() {
			var out bytes.Buffer
			p := newParquetWriter(&out, k, testTenant, 1, maphash.MakeSeed())
			for _, leaf := range leaves {
				p.add(leaf, &evidence.Hash{1})
			}
			for i, into := range p.w.ColumnWriters() {
				values := p.column(i)
				p.sums.add(i, values)
				if i == col {
					values[0] = otherValue(p.columns, col, values[0])
				}
				if _, err := into.WriteRowValues(values); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.close(); err != nil {
				t.Fatal(err)
			}
			c, err := openParquet(bytes.NewReader(out.Bytes()), int64(out.Len()), k, testTenant, 1, int64(len(leaves)))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.compare(p.sums, nil); !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), "column "+c.name(col)+" ") {
				t.Errorf("%s, column %s: %v", k, c.name(col), err)
			}
			c.close()
		}
	}
}

// otherValue is another value than the first one of a column; one where there is none.
func otherValue(c *columns, col int, v parquet.Value) parquet.Value {
	def, rep := v.DefinitionLevel(), v.RepetitionLevel()
	isText := col == colRun || col >= firstFact && (c.fields[col-firstFact].Type.IsText() || c.fields[col-firstFact].Type == evidence.TypeNames)
	switch {
	case v.IsNull() && isText:
		return textValue("x").Level(0, 1, col)
	case v.IsNull():
		return parquet.Int64Value(1).Level(0, 1, col)
	case v.Kind() == parquet.Int64:
		v = parquet.Int64Value(v.Int64() + 1)
	case v.Kind() == parquet.Boolean:
		v = parquet.BooleanValue(!v.Boolean())
	default:
		b := bytes.Clone(v.ByteArray())
		b[0] ^= 1
		if v.Kind() == parquet.FixedLenByteArray {
			v = parquet.FixedLenByteArrayValue(b)
		} else {
			v = parquet.ByteArrayValue(b)
		}
	}
	return v.Level(rep, def, col)
}
