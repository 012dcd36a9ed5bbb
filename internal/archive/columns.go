package archive

import (
	"slices"

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

// columns are the values of some leaves of a kind, by column. They point into the leaves.
type columns struct {
	kind   evidence.Kind
	fields []*evidence.Field
	tenant parquet.Value
	logNo  parquet.Value
	rows   int
	values [][]parquet.Value
	hashes []evidence.Hash // what values of leaf_hash point to
	ids    []evidence.ID
}

func newColumns(kind evidence.Kind, tenant string, logNo int) *columns {
	c := &columns{
		kind: kind, fields: evidence.PublicFields(kind),
		tenant: parquet.ByteArrayValue([]byte(tenant)).Level(0, 0, colTenant),
		logNo:  parquet.Int64Value(int64(logNo)).Level(0, 0, colLogNo),
		hashes: make([]evidence.Hash, 0, batchLeaves), ids: make([]evidence.ID, 0, batchLeaves),
	}
	c.values = make([][]parquet.Value, firstFact+len(c.fields))
	return c
}

func (c *columns) reset() {
	c.rows, c.hashes, c.ids = 0, c.hashes[:0], c.ids[:0]
	for i := range c.values {
		c.values[i] = c.values[i][:0]
	}
}

func (c *columns) put(col int, v parquet.Value) { c.values[col] = append(c.values[col], v) }

func (c *columns) int(col int, n int64) { c.put(col, parquet.Int64Value(n).Level(0, 0, col)) }

// add adds a row; of at most batchLeaves.
func (c *columns) add(leaf *evidence.Leaf, hash evidence.Hash) {
	c.rows++
	c.hashes, c.ids = append(c.hashes, hash), append(c.ids, leaf.ID)
	i := len(c.ids) - 1
	c.put(colTenant, c.tenant)
	c.put(colLogNo, c.logNo)
	c.int(colIndex, leaf.Seq)
	c.put(colHash, parquet.FixedLenByteArrayValue(c.hashes[i][:]).Level(0, 0, colHash))
	c.put(colID, parquet.FixedLenByteArrayValue(c.ids[i][:]).Level(0, 0, colID))
	c.int(colRecorded, int64(leaf.RecordedAt))
	c.int(colOccurred, int64(leaf.OccurredAt))
	if leaf.Run == "" {
		c.put(colRun, parquet.NullValue().Level(0, 0, colRun))
		c.put(colN, parquet.NullValue().Level(0, 0, colN))
	} else {
		c.put(colRun, textValue(leaf.Run).Level(0, 1, colRun))
		c.put(colN, parquet.Int64Value(leaf.N).Level(0, 1, colN))
	}
	pub := leaf.Pub
	for i, f := range c.fields { // both are sorted by name
		if len(pub) > 0 && pub[0].Field == f {
			c.fact(firstFact+i, &pub[0])
			pub = pub[1:]
		} else {
			c.put(firstFact+i, parquet.NullValue().Level(0, 0, firstFact+i))
		}
	}
}

func (c *columns) fact(col int, f *evidence.Fact) {
	level := 0
	if f.Field.Optional {
		level = 1
	}
	switch f.Field.Type {
	case evidence.TypeNames:
		if len(f.List) == 0 {
			c.put(col, parquet.NullValue().Level(0, 0, col))
		}
		for i, s := range f.List {
			c.put(col, textValue(s).Level(min(i, 1), 1, col))
		}
	case evidence.TypeInt, evidence.TypeCount, evidence.TypeTime:
		c.put(col, parquet.Int64Value(f.Int).Level(0, level, col))
	case evidence.TypeBool:
		c.put(col, parquet.BooleanValue(f.Int != 0).Level(0, level, col))
	default:
		c.put(col, textValue(f.Str).Level(0, level, col))
	}
}

// name of a column, for people.
func (c *columns) name(col int) string {
	if col >= firstFact {
		return c.fields[col-firstFact].Column()
	}
	return [...]string{"tenant_id", "log_no", "leaf_index", "leaf_hash", "id", "recorded_at", "occurred_at", "run_id", "n"}[col]
}

// same reports whether two values, and where they stand in their rows, are the same.
func same(a, b *parquet.Value) bool {
	return a.DefinitionLevel() == b.DefinitionLevel() && a.RepetitionLevel() == b.RepetitionLevel() && parquet.Equal(*a, *b)
}
