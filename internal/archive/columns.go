package archive

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/runledger/runledger/evidence"
)

// ordered is a group whose columns stand in an order of their own: [parquet.Group] is a map
// and sorts them.
type ordered struct {
	parquet.Group
	names []string
}

func (o ordered) Fields() []parquet.Field {
	fields := o.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(o.names, a.Name()) - slices.Index(o.names, b.Name())
	})
	return fields
}

// codec is fast: what takes room are hashes and ids, which no level makes smaller.
var codec = &zstd.Codec{Level: zstd.SpeedFastest}

// Columns before the public fields.
const (
	colTenant = iota
	colLogNo
	colIndex
	colHash
	colID
	colRecorded
	colOccurred
	colRun
	colN
	firstFact
)

// schemaOf is the schema of a kind's Parquet file.
func schemaOf(kind evidence.Kind) *parquet.Schema {
	o := ordered{Group: parquet.Group{}}
	add := func(name string, n parquet.Node) {
		o.Group[name] = n
		o.names = append(o.names, name)
	}
	text := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.DeltaLengthByteArray) }
	repeats := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.RLEDictionary) }
	number := func() parquet.Node {
		return parquet.Encoded(parquet.Leaf(parquet.Int64Type), &parquet.DeltaBinaryPacked)
	}
	moment := func() parquet.Node {
		return parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.DeltaBinaryPacked)
	}
	add("tenant_id", repeats())
	add("log_no", number())
	add("leaf_index", number())
	add("leaf_hash", parquet.Leaf(parquet.FixedLenByteArrayType(len(evidence.Hash{}))))
	add("id", parquet.UUID())
	add("recorded_at", moment())
	add("occurred_at", moment())
	add("run_id", parquet.Optional(repeats()))
	add("n", parquet.Optional(number()))
	for _, f := range evidence.PublicFields(kind) {
		var n parquet.Node
		switch {
		case f.Type == evidence.TypeNames:
			add(f.Column(), parquet.List(repeats()))
			continue
		case f.Type == evidence.TypeInt, f.Type == evidence.TypeCount:
			n = number()
		case f.Type == evidence.TypeTime:
			n = moment()
		case f.Type == evidence.TypeBool:
			n = parquet.Leaf(parquet.BooleanType)
		case f.Intern, f.Type == evidence.TypeTraceID:
			n = repeats()
		default:
			n = text()
		}
		if f.Optional {
			n = parquet.Optional(n)
		}
		add(f.Column(), n)
	}
	return parquet.NewSchema(kind.String(), o)
}

// columns makes the values of some leaves of a kind, a column at a time. They point into
// the leaves.
type columns struct {
	kind   evidence.Kind
	fields []*evidence.Field
	tenant parquet.Value
	logNo  parquet.Value
	rows   []row
	buf    []parquet.Value // of column
}

// row is a leaf, and how many of its facts stand in the columns that were made.
type row struct {
	leaf *evidence.Leaf
	hash *evidence.Hash
	done int
}

func newColumns(kind evidence.Kind, tenant string, logNo int) *columns {
	return &columns{
		kind: kind, fields: evidence.PublicFields(kind),
		tenant: parquet.ByteArrayValue([]byte(tenant)), logNo: parquet.Int64Value(int64(logNo)),
	}
}

// count is the number of columns.
func (c *columns) count() int { return firstFact + len(c.fields) }

func (c *columns) reset() { c.rows = c.rows[:0] }

// add adds a row, whose leaf and hash are not changed before reset.
func (c *columns) add(leaf *evidence.Leaf, hash *evidence.Hash) {
	c.rows = append(c.rows, row{leaf: leaf, hash: hash})
}

// column returns the values of a column of the rows that were added, valid until the next
// call. Columns are asked for once, in order.
func (c *columns) column(col int) []parquet.Value {
	out := c.buf[:0]
	for i := range c.rows {
		r := &c.rows[i]
		switch col {
		case colTenant:
			out = append(out, c.tenant)
		case colLogNo:
			out = append(out, c.logNo)
		case colIndex:
			out = append(out, parquet.Int64Value(r.leaf.Seq))
		case colHash:
			out = append(out, parquet.FixedLenByteArrayValue(r.hash[:]))
		case colID:
			out = append(out, parquet.FixedLenByteArrayValue(r.leaf.ID[:]))
		case colRecorded:
			out = append(out, parquet.Int64Value(int64(r.leaf.RecordedAt)))
		case colOccurred:
			out = append(out, parquet.Int64Value(int64(r.leaf.OccurredAt)))
		case colRun, colN:
			switch {
			case r.leaf.Run == "":
				out = append(out, parquet.Value{})
			case col == colRun:
				out = append(out, defined(textValue(r.leaf.Run), 1))
			default:
				out = append(out, defined(parquet.Int64Value(r.leaf.N), 1))
			}
		default:
			pub := r.leaf.Pub // sorted by name, as the columns are
			if r.done < len(pub) && pub[r.done].Field == c.fields[col-firstFact] {
				out = appendFact(out, &pub[r.done])
				r.done++
			} else {
				out = append(out, parquet.Value{})
			}
		}
	}
	c.buf = out
	return out
}

// defined is a value with its definition level: 1 where there need not be one.
func defined(v parquet.Value, level int) parquet.Value {
	v.SetDefinitionLevel(level)
	return v
}

func appendFact(out []parquet.Value, f *evidence.Fact) []parquet.Value {
	level := 0
	if f.Field.Optional {
		level = 1
	}
	switch f.Field.Type {
	case evidence.TypeNames:
		if len(f.List) == 0 {
			return append(out, parquet.Value{})
		}
		for i, s := range f.List {
			v := defined(textValue(s), 1)
			v.SetRepetitionLevel(min(i, 1))
			out = append(out, v)
		}
		return out
	case evidence.TypeInt, evidence.TypeCount, evidence.TypeTime:
		return append(out, defined(parquet.Int64Value(f.Int), level))
	case evidence.TypeBool:
		return append(out, defined(parquet.BooleanValue(f.Int != 0), level))
	}
	return append(out, defined(textValue(f.Str), level))
}

// name of a column, for people.
func (c *columns) name(col int) string {
	if col >= firstFact {
		return c.fields[col-firstFact].Column()
	}
	return [...]string{"tenant_id", "log_no", "leaf_index", "leaf_hash", "id", "recorded_at", "occurred_at", "run_id", "n"}[col]
}

// columnSums are digests of columns, of their values and of where these stand in their
// rows. They say whether two readings of a column are the same, within one process.
type columnSums struct {
	seed   maphash.Seed
	sums   []maphash.Hash
	counts []int64 // of values
	buf    []byte
}

func newColumnSums(seed maphash.Seed, n int) *columnSums {
	s := &columnSums{seed: seed, sums: make([]maphash.Hash, n), counts: make([]int64, n)}
	for i := range s.sums {
		s.sums[i].SetSeed(seed)
	}
	return s
}

func (s *columnSums) add(col int, values []parquet.Value) {
	b := s.buf[:0]
	for i := range values {
		v := &values[i]
		b = append(b, byte(v.Kind()), byte(v.DefinitionLevel()), byte(v.RepetitionLevel())) // null has a kind of its own
		switch v.Kind() {
		case parquet.Int64:
			b = binary.LittleEndian.AppendUint64(b, v.Uint64())
		case parquet.Boolean:
			b = strconv.AppendBool(b, v.Boolean())
		case parquet.ByteArray, parquet.FixedLenByteArray:
			text := v.ByteArray()
			b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
		}
	}
	_, _ = s.sums[col].Write(b)
	s.counts[col] += int64(len(values))
	s.buf = b
}
