package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

func TestUnalteredVerifies(t *testing.T) {
	t.Parallel()
	d := copyOf(t)
	r := verifyDir(t, d.dir)
	if !r.OK() || len(r.Findings) != 0 {
		t.Fatal(listFindings(r))
	}
	if len(r.Logs) != len(d.logs) || r.Erased == 0 {
		t.Fatalf("%d logs, %d erased fields", len(r.Logs), r.Erased)
	}
	for i, l := range r.Logs {
		if want := d.log(l.Tenant, l.No); want == nil || l.Size != want.size || l.Root != rootOf(want.leaves) || l.Note != string(want.note) {
			t.Errorf("log %d: %+v", i, l)
		}
	}
}

// TestTamperColumns alters, in each topic table, each column that the field
// table gives it, once where it has a value and once where it is null. Every
// single one must be named with its table, column and leaf, and nothing else.
func TestTamperColumns(t *testing.T) {
	for _, kind := range evidence.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			d := copyOf(t)
			l := d.main()
			want := map[string]bool{}
			d.tamper(t, func(e *evil) {
				used := map[int64]bool{}
				for _, f := range evidence.PublicFields(kind) {
					for _, null := range []bool{false, true} {
						seq, ok := alterColumn(e, l, kind, f, null, used)
						switch {
						case ok:
							want[fmt.Sprintf("%s %d", f.Column(), seq)] = true
						case !null && !neverSet(kind, f):
							t.Errorf("no row has a value in %s", f.Column())
						case null && f.Optional && !alwaysSet(kind, f):
							t.Errorf("no row has null in %s", f.Column())
						}
					}
				}
			})
			r := verifyDir(t, d.dir)
			if r.OK() {
				t.Error("OK")
			}
			for _, f := range r.Findings {
				key := fmt.Sprintf("%s %d", f.Column, f.From)
				if f.Code != ledger.CodeColumn || f.Table != kind.Table() || f.Log != l.Origin || f.To != f.From+1 || f.Expected == f.Found || !want[key] {
					t.Errorf("unexpected: %s (expected %s, found %s)", f, f.Expected, f.Found)
				}
				delete(want, key)
			}
			for key := range want {
				t.Errorf("not found: %s", key)
			}
			d.checkServer(t, "")
		})
	}
}

// alterColumn changes one column of one row and returns its leaf index. used
// holds the rows that were altered, so that each finding has a row of its own
// as far as there are rows enough.
func alterColumn(e *evil, l *deployedLog, kind evidence.Kind, f *evidence.Field, null bool, used map[int64]bool) (int64, bool) {
	table, column := "r_"+kind.String(), `"`+f.Column()+`"`
	is := "IS NOT NULL"
	if null {
		is = "IS NULL"
	}
	candidates := e.places(fmt.Sprintf(`SELECT row FROM %s WHERE row BETWEEN ?1 AND ?2 AND %s %s ORDER BY row DESC`, table, column, is), row(l, 0), row(l, l.size))
	slices.SortStableFunc(candidates, func(a, b storerig.Place) int {
		switch {
		case used[a.N] == used[b.N]:
			return 0
		case used[a.N]:
			return 1
		default:
			return -1
		}
	})
	for _, r := range candidates {
		n, err := e.a.Try(fmt.Sprintf(`UPDATE %s SET %s = %s WHERE row = ?1`, table, column, fmt.Sprintf(otherValue(f), column)), r)
		if err == nil && n == 1 {
			used[r.N] = true
			return r.N, true
		}
	}
	return 0, false
}

// otherValue returns an expression of another value of a column, which stands for %[1]s.
func otherValue(f *evidence.Field) string {
	// ids of PostgreSQL's are texts, of which one of the two is another.
	text := func(digits int) string {
		return fmt.Sprintf(`CASE WHEN %%[1]s = repeat('a', %[1]d) THEN repeat('b', %[1]d) ELSE repeat('a', %[1]d) END`, digits)
	}
	switch {
	case f.Type == evidence.TypeTraceID, f.Type == evidence.TypeRun:
		return storerig.Pick(`(SELECT max(spine_no) FROM spine WHERE spine_no IS NOT %[1]s AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = row >> 40))`, text(32))
	case f.Type == evidence.TypeBool:
		return `1 - coalesce(%[1]s, 0)`
	case f.Type == evidence.TypeSpanID && storerig.OnPostgres():
		return text(16)
	case f.Type == evidence.TypeSpanID, !f.Type.IsText() && f.Type != evidence.TypeNames:
		return `coalesce(%[1]s, 0) + 1000003`
	case f.Type == evidence.TypeNames:
		return storerig.Pick(`(SELECT max(name_no) FROM names WHERE name_no IS NOT %[1]s)`, `coalesce('["another"]', %[1]s)`)
	case f.Intern && !storerig.OnPostgres():
		return `(SELECT max(name_no) FROM names WHERE name_no IS NOT %[1]s)`
	default:
		return `coalesce(%[1]s, '') || 'x'`
	}
}

// tamperCase is one way to alter a deployment.
type tamperCase struct {
	name  string
	alter func(e *evil)                     // the database, its triggers dropped
	files func(t testing.TB, d *deployment) // files beside it
	want  func(d *deployment) []want
	// unseen says why there is nothing to find; then verification must find
	// nothing.
	unseen string
	// sqlite says why there is nothing of it to alter on PostgreSQL.
	sqlite string
	// hole says what verification does not find, although it should.
	hole string
	// refuses is the tenant whose append the server must refuse; "*": it
	// must not even open.
	refuses string
}

func one(w want) func(*deployment) []want {
	return func(*deployment) []want { return []want{w} }
}

// inMain makes findings of the main log.
func inMain(ws ...want) func(*deployment) []want {
	return func(d *deployment) []want {
		out := slices.Clone(ws)
		for i := range out {
			out[i].log = d.main()
		}
		return out
	}
}

// middle is a leaf in a full tile of the main log that is a step with a span.
const middle = 300

func (d *deployment) middleStep() int64 {
	return d.main().find(middle, func(l *evidence.Leaf) bool { return foundBySpan(l) }).Seq
}

func foundBySpan(l *evidence.Leaf) bool {
	return l.Kind == evidence.KindTraceStep && l.Text("span_id") != "" && l.Text("conflict_of") == ""
}

// changeStep gives a step another duration, in its leaf and in its row.
func (e *evil) changeStep(seq int64) [][]byte {
	e.Helper()
	l := e.main()
	leaves := slices.Clone(l.leaves)
	leaves[seq] = altered(e, leaves[seq], `"duration_us":0`, `"duration_us":9`)
	e.setLeaf(l, seq, leaves[seq])
	e.change(1, `UPDATE r_trace_step SET duration_us = 9 WHERE row = ?1`, row(l, seq))
	return leaves
}

func tileOf(leaves [][]byte, n int64) []byte {
	var b []byte
	for _, l := range leaves[n*256 : (n+1)*256] {
		h := evidence.LeafHash(l)
		b = append(b, h[:]...)
	}
	return b
}

// forger is a key of the attacker's own, under the log's name.
func forger(t testing.TB, l *deployedLog) *c2sp.Signer {
	t.Helper()
	s, err := c2sp.NewSigner(l.Origin, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *c2sp.Signer, c c2sp.Checkpoint) []byte {
	t.Helper()
	note, err := c2sp.SignCheckpoint(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return note
}

func checkpointOf(l *deployedLog, leaves [][]byte) c2sp.Checkpoint {
	return c2sp.Checkpoint{Origin: l.Origin, Size: int64(len(leaves)), Root: rootOf(leaves)}
}

// olderHead returns a kept checkpoint of the main log below a size.
func (e *evil) olderHead(below int64) (c2sp.Checkpoint, []byte) {
	e.Helper()
	note := e.blob(`SELECT note FROM checkpoints WHERE row < ?1 AND row > ?2 ORDER BY row DESC LIMIT 1`, row(e.main(), below), row(e.main(), 0))
	c, _, err := c2sp.ParseNote(note)
	if err != nil {
		e.Fatal(err)
	}
	return c, note
}

// cut deletes leaves, rows, ids, index, runs and sealed content of the main
// log from a leaf on, as well as someone can who knows the schema.
func (e *evil) cut(size int64) {
	e.Helper()
	l := e.main()
	from, end := row(l, size), row(l, 1<<40-1)
	if seg := e.segmentOf(l, size); seg != from {
		kept := e.segment(seg)[:size-seg.N]
		e.change(1, `UPDATE leaf_segments SET data = ?2, count = ?3 WHERE row = ?1`, seg, packLeaves(kept), len(kept))
	}
	e.exec(`DELETE FROM leaf_segments WHERE row BETWEEN ?1 AND ?2`, from, end)
	for _, k := range evidence.Kinds() {
		e.exec(`DELETE FROM r_`+k.String()+` WHERE row BETWEEN ?1 AND ?2`, from, end)
	}
	e.exec(`DELETE FROM record_ids WHERE row BETWEEN ?1 AND ?2`, from, end)
	if storerig.OnPostgres() {
		e.exec(`DELETE FROM spans WHERE row BETWEEN ?1 AND ?2`, from, end)
		e.exec(`DELETE FROM run_revisions WHERE row BETWEEN ?1 AND ?2`, from, end)
	}
	e.exec(`DELETE FROM sealed_index WHERE row BETWEEN ?1 AND ?2`, from, end)
	e.exec(`DELETE FROM sealed_segments WHERE row BETWEEN ?1 AND ?2`, row(l, size<<4), end)
	for n := size / 256; n < l.size/256; n++ {
		e.exec(`DELETE FROM tiles WHERE row = ?1`, tileRow(l, 0, n))
	}
	e.exec(`DELETE FROM run_states WHERE last_row BETWEEN ?1 AND ?2`, from, end)
}

func (e *evil) setHead(l *deployedLog, c c2sp.Checkpoint, note []byte) {
	e.Helper()
	e.change(1, `UPDATE heads SET size = ?2, root = ?3, note = ?4 WHERE log_key = ?1`, l.key, c.Size, c.Root[:], note)
}

func tamperCases() []tamperCase {
	return slices.Concat(leafCases(), rowCases(), headCases(), tenantCases(), sealedCases(), lookupCases(), postgresCases(), schemaCases())
}

// leafCases alter leaves, segments and tiles.
func leafCases() []tamperCase {
	return []tamperCase{
		{
			name: "a leaf",
			alter: func(e *evil) {
				seq := e.middleStep()
				e.setLeaf(e.main(), seq, altered(e, e.main().leaves[seq], `"duration_us":0`, `"duration_us":9`))
			},
			want: func(d *deployment) []want {
				m := d.main()
				seq := m.find(middle, foundBySpan).Seq
				return []want{
					{code: ledger.CodeColumn, table: "aos_trace_steps", column: "duration_us", log: m, seq: seq, at: true},
					{code: ledger.CodeTile, table: "tiles", log: m, seq: seq, says: "does not hold the hashes of the leaves"},
					{code: ledger.CodeInclusion, table: "leaf_segments", log: m, seq: seq, says: "do not have the signed root"},
					{code: ledger.CodeFork, table: "checkpoints", log: m, seq: seq, says: "root of a checkpoint that was signed"},
				}
			},
		},
		{
			name:  "a leaf with its row",
			alter: func(e *evil) { e.changeStep(e.middleStep()) },
			want: inMain(want{code: ledger.CodeTile, table: "tiles", seq: middle}, want{code: ledger.CodeInclusion, table: "leaf_segments", seq: middle},
				want{code: ledger.CodeFork, table: "checkpoints", seq: middle}),
		},
		{
			name: "a leaf with its row and its tile",
			alter: func(e *evil) {
				leaves := e.changeStep(e.middleStep())
				e.change(1, `UPDATE tiles SET data = ?2 WHERE row = ?1`, tileRow(e.main(), 0, 1), tileOf(leaves, 1))
			},
			want:    inMain(want{code: ledger.CodeInclusion, table: "leaf_segments", seq: middle}, want{code: ledger.CodeFork, table: "checkpoints", seq: middle}),
			refuses: "acme",
		},
		{
			name: "a leaf of the tail with its row",
			alter: func(e *evil) {
				e.changeStep(e.main().size - 1)
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeInclusion, table: "leaf_segments", log: d.main(), seq: d.main().size - 1}}
			},
			refuses: "acme",
		},
		{
			name: "a leaf with all that stands on it, and the root in the head",
			alter: func(e *evil) {
				leaves := e.changeStep(e.middleStep())
				root := rootOf(leaves)
				e.change(1, `UPDATE tiles SET data = ?2 WHERE row = ?1`, tileRow(e.main(), 0, 1), tileOf(leaves, 1))
				e.change(1, `UPDATE heads SET root = ?2 WHERE log_key = ?1`, e.main().key, root[:])
			},
			want:    inMain(want{code: ledger.CodeHead, table: "heads", seq: middle, says: "not those of the signed note"}),
			refuses: "*",
		},
		{
			name: "a leaf that is none",
			alter: func(e *evil) {
				e.setLeaf(e.main(), middle, []byte(`{"v":1}`))
			},
			want: inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: middle, at: true}, want{code: ledger.CodeInclusion, table: "leaf_segments", seq: middle}),
		},
		{
			name: "two leaves change places, with their rows",
			alter: func(e *evil) {
				l := e.main()
				e.setLeaf(l, middle, l.leaves[middle+1])
				e.setLeaf(l, middle+1, l.leaves[middle])
			},
			want: inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: middle, at: true, says: "seq 301"},
				want{code: ledger.CodeLeaf, table: "leaf_segments", seq: middle + 1, at: true}, want{code: ledger.CodeTile, table: "tiles", seq: middle}),
		},
		{
			name: "a leaf stands twice",
			alter: func(e *evil) {
				e.setLeaf(e.main(), middle, e.main().leaves[middle-1])
			},
			want: inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: middle, at: true}),
		},
		{
			name: "a leaf of another tenant's log",
			alter: func(e *evil) {
				e.setLeaf(e.main(), 20, e.log("globex", 1).leaves[20])
			},
			want: inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: 20, at: true, says: "is of the log"}),
		},
		{
			name: "a deleted middle: a segment with its rows",
			alter: func(e *evil) {
				seg := e.segmentOf(e.main(), middle)
				n := e.int(`SELECT count FROM leaf_segments WHERE row = ?1`, seg)
				e.change(1, `DELETE FROM leaf_segments WHERE row = ?1`, seg)
				for _, k := range evidence.Kinds() {
					e.exec(`DELETE FROM r_`+k.String()+` WHERE row BETWEEN ?1 AND ?2`, seg, row(e.main(), seg.N+n-1))
				}
			},
			want: inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: middle, says: "missing"}, want{code: ledger.CodeInclusion, table: "leaf_segments", seq: middle}),
		},
		{
			name: "one leaf taken out of its segment, the next ones moved up",
			alter: func(e *evil) {
				seg := e.segmentOf(e.main(), middle)
				leaves := e.segment(seg)[1:]
				e.change(1, `UPDATE leaf_segments SET data = ?2, count = ?3 WHERE row = ?1`, seg, packLeaves(leaves), len(leaves))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeLeaf, table: "leaf_segments", log: d.main(), seq: anywhere, says: "the leaf says seq"}, {code: ledger.CodeLeaf, table: "leaf_segments", log: d.main(), seq: anywhere, says: "missing"}, {code: ledger.CodeInclusion, table: "leaf_segments", log: d.main(), seq: middle}}
			},
		},
		{
			name: "the count of a segment",
			alter: func(e *evil) {
				e.change(1, `UPDATE leaf_segments SET count = count + 1 WHERE row = ?1`, e.segmentOf(e.main(), middle))
			},
			want: inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: middle, says: "does not hold the leaves it counts"}),
		},
		{
			name: "a segment moved",
			alter: func(e *evil) {
				seg := e.segmentOf(e.main(), middle)
				e.change(1, `UPDATE leaf_segments SET row = ?2 WHERE row = ?1`, seg, row(e.main(), seg.N+1))
			},
			want: inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: anywhere, says: "missing"}, want{code: ledger.CodeLeaf, table: "leaf_segments", seq: anywhere, says: "overlaps"}, want{code: ledger.CodeInclusion, table: "leaf_segments", seq: middle}),
		},
		{
			name: "LOG_OPENED missing",
			alter: func(e *evil) {
				e.change(1, `DELETE FROM leaf_segments WHERE row = ?1`, row(e.main(), 0))
			},
			want:    inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: 0, says: "missing"}),
			refuses: "acme",
		},
		{
			name: "LOG_OPENED replaced by another record",
			alter: func(e *evil) {
				e.setLeaf(e.main(), 0, e.main().leaves[1])
			},
			want:    inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: 0, says: "the leaf says seq 1"}),
			refuses: "acme",
		},
		{
			name: "the same leaves in other segments",
			alter: func(e *evil) {
				seg := e.segmentOf(e.main(), middle)
				leaves := e.segment(seg)
				e.change(1, `UPDATE leaf_segments SET data = ?2, count = 1 WHERE row = ?1`, seg, packLeaves(leaves[:1]))
				e.exec(`INSERT INTO leaf_segments (row, count, data) VALUES (?1, ?2, ?3)`, row(e.main(), seg.N+1), len(leaves)-1, packLeaves(leaves[1:]))
			},
			unseen: "how leaves are cut into segments is not signed and means nothing: the leaves are the same, at the same places",
		},
		{
			name: "a segment across a tile's end",
			alter: func(e *evil) {
				a := e.segmentOf(e.main(), 255)
				both := slices.Concat(e.segment(a), e.segment(row(e.main(), 256)))
				e.change(1, `DELETE FROM leaf_segments WHERE row = ?1`, row(e.main(), 256))
				e.change(1, `UPDATE leaf_segments SET data = ?2, count = ?3 WHERE row = ?1`, a, packLeaves(both), len(both))
			},
			unseen: "as above",
		},
		{
			name: "a segment that overlaps another",
			alter: func(e *evil) {
				e.exec(`INSERT INTO leaf_segments (row, count, data) VALUES (?1, 1, ?2)`, row(e.main(), 301), packLeaves(e.main().leaves[20:21]))
			},
			want: inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: 301, says: "overlaps"}),
		},
		{
			name: "a replaced tile",
			alter: func(e *evil) {
				e.change(1, `UPDATE tiles SET data = ?2 WHERE row = ?1`, tileRow(e.main(), 0, 1), tileOf(e.main().leaves, 0))
			},
			want:    inMain(want{code: ledger.CodeTile, table: "tiles", seq: middle, says: "tile 0/1"}),
			refuses: "acme",
		},
		{
			name: "a byte in a tile",
			alter: func(e *evil) {
				b := tileOf(e.main().leaves, 0)
				b[100] ^= 1
				e.change(1, `UPDATE tiles SET data = ?2 WHERE row = ?1`, tileRow(e.main(), 0, 0), b)
			},
			want:    inMain(want{code: ledger.CodeTile, table: "tiles", seq: 3, says: "tile 0/0"}),
			refuses: "acme",
		},
		{
			name: "a tile cut short",
			alter: func(e *evil) {
				e.change(1, `UPDATE tiles SET data = substr(data, 1, 4096) WHERE row = ?1`, tileRow(e.main(), 0, 0))
			},
			want:    inMain(want{code: ledger.CodeTile, table: "tiles", seq: 3, says: "tile 0/0"}),
			refuses: "acme",
		},
		{
			name:    "a missing tile",
			alter:   func(e *evil) { e.change(1, `DELETE FROM tiles WHERE row = ?1`, tileRow(e.main(), 0, 1)) },
			want:    inMain(want{code: ledger.CodeTile, table: "tiles", seq: middle, says: "missing"}),
			refuses: "acme",
		},
		{
			name: "an extra tile",
			alter: func(e *evil) {
				e.exec(`INSERT INTO tiles (row, data) VALUES (?1, ?2)`, tileRow(e.main(), 0, 2), tileOf(e.main().leaves, 0))
			},
			want: inMain(want{code: ledger.CodeTile, table: "tiles", seq: 600, says: "is not one of the tree"}),
		},
		{
			name: "an extra tile of a higher level",
			alter: func(e *evil) {
				e.exec(`INSERT INTO tiles (row, data) VALUES (?1, ?2)`, tileRow(e.main(), 3, 0), tileOf(e.main().leaves, 0))
			},
			want: inMain(want{code: ledger.CodeTile, table: "tiles", seq: 0, says: "tile 3/0 is not one of the tree"}),
		},
		{
			name: "a leaf appended with row, id, run state and a head that nobody signed",
			alter: func(e *evil) {
				e.appendLeaf(func(c c2sp.Checkpoint) []byte { return e.main().note })
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeHead, table: "heads", log: d.main(), seq: d.main().size, says: "not those of the signed note"}}
			},
			refuses: "*",
		},
		{
			name: "a leaf appended with a head by another key of the same name",
			alter: func(e *evil) {
				e.appendLeaf(func(c c2sp.Checkpoint) []byte { return sign(e, forger(e, e.main()), c) })
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeHead, table: "heads", log: d.main(), seq: d.main().size, says: "not signed by the log's key"}}
			},
			refuses: "*",
		},
		{
			name: "a leaf beyond the head",
			alter: func(e *evil) {
				l := e.main()
				e.exec(`INSERT INTO leaf_segments (row, count, data) VALUES (?1, 1, ?2)`, row(l, l.size), packLeaves(l.leaves[l.size-1:]))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeInclusion, table: "leaf_segments", log: d.main(), seq: d.main().size, says: "beyond the signed head"}}
			},
		},
	}
}

// appendLeaf appends a step to the main log with all that belongs to it, but
// for a signature of the log's key.
func (e *evil) appendLeaf(note func(c2sp.Checkpoint) []byte) {
	e.Helper()
	l := e.main()
	last := l.parse(l.size - 1)
	text := fmt.Sprintf(`"seq":%d`, l.size)
	leaf := altered(e, l.leaves[l.size-1], fmt.Sprintf(`"seq":%d`, l.size-1), text)
	leaf = altered(e, leaf, fmt.Sprintf(`"n":%d`, last.N), fmt.Sprintf(`"n":%d`, last.N+1))
	leaf = altered(e, leaf, `"span_id":"`+last.Text("span_id"), `"span_id":"00000000000000ee`)
	leaf = altered(e, leaf, fmt.Sprintf(`"step_index":%d`, last.N), fmt.Sprintf(`"step_index":%d`, last.N+1))
	leaf = altered(e, leaf, last.ID.String(), fixedID("forged").String())
	leaves := append(slices.Clone(l.leaves), leaf)
	e.exec(`INSERT INTO leaf_segments (row, count, data) VALUES (?1, 1, ?2)`, row(l, l.size), packLeaves(leaves[l.size:]))
	e.copyRow("r_trace_step", row(l, l.size-1), row(l, l.size), map[string]string{
		"n": "n + 1", "step_index": "step_index + 1", "span_id": storerig.Pick("238", "'00000000000000ee'"), "sealed_segment": fmt.Sprint(l.size << 4),
	})
	e.change(1, `UPDATE run_states SET next_n = next_n + 1, next_step = next_step + 1, last_row = ?2 WHERE last_row = ?1`, row(l, l.size-1), row(l, l.size))
	c := checkpointOf(l, leaves)
	e.setHead(l, c, note(c))
}

// copyRow copies a row to another key, with some columns set.
func (e *evil) copyRow(table string, from, to storerig.Place, set map[string]string) {
	e.Helper()
	columns, err := e.a.Columns(table)
	if err != nil {
		e.Fatal(err)
	}
	var names, values []string
	for _, name := range columns {
		names = append(names, `"`+name+`"`)
		if v, ok := set[name]; ok {
			values = append(values, v)
		} else {
			values = append(values, `"`+name+`"`)
		}
	}
	key, args := "?2", []any{from, to}
	if storerig.OnPostgres() {
		key, args = fmt.Sprintf("'%s', %d, %d", to.Tenant, to.No, to.N), args[:1]
	}
	e.change(1, fmt.Sprintf(`INSERT INTO %[1]s (row, %[2]s) SELECT %[3]s, %[4]s FROM %[1]s WHERE row = ?1`,
		table, strings.Join(names, ", "), key, strings.Join(values, ", ")), args...)
}

// renameTenant gives all that is a tenant's to another.
func (e *evil) renameTenant(from, to string) {
	e.Helper()
	if !storerig.OnPostgres() {
		e.change(1, `UPDATE tenants SET tenant_id = ?2 WHERE tenant_id = ?1`, from, to)
		return
	}
	for _, table := range storerig.TenantTables {
		e.exec(`UPDATE `+table+` SET tenant_id = ?2 WHERE tenant_id = ?1`, from, to)
	}
}

// moveLog gives a log, which stands somewhere now, another tenant and number.
func (e *evil) moveLog(log, from, to storerig.Log) {
	e.Helper()
	if !storerig.OnPostgres() {
		e.change(1, `UPDATE logs SET tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = ?2), log_no = ?3 WHERE log_key = ?1`, log, to.Tenant, to.No)
		return
	}
	for _, table := range storerig.LogTables {
		e.exec(`UPDATE `+table+` SET log_key = ?2 WHERE log_key = ?1`, from, to)
	}
}

// rowCases alter topic rows beyond what TestTamperColumns does.
func rowCases() []tamperCase {
	steps := func(d *deployment) int64 { return d.main().find(middle, foundBySpan).Seq }
	fixed := func(column, set string) tamperCase {
		name, says := column, "the column is not what the leaf says"
		if column == "run_no" {
			name, column = "run_id", storerig.Pick("run_no", "run_id")
		}
		return tamperCase{
			name: column + " of a row set to " + set,
			alter: func(e *evil) {
				e.change(1, `UPDATE r_trace_step SET `+column+` = `+set+` WHERE row = ?1`, row(e.main(), steps(e.deployment)))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeColumn, table: "aos_trace_steps", column: name, log: d.main(), seq: steps(d), at: true, says: says}}
			},
		}
	}
	// A system record has no run: columns that are null must stay so.
	noRun := func(l *evidence.Leaf) bool { return l.Kind == evidence.KindSystem && l.Run == "" }
	return []tamperCase{
		fixed("recorded_at", "recorded_at + 1"),
		fixed("occurred_at", "occurred_at - 1"),
		fixed("run_no", storerig.Pick("(SELECT min(spine_no) FROM spine WHERE tenant_no = (SELECT tenant_no FROM spine WHERE spine_no = run_no))", fmt.Sprintf("'%032x'", 100))),
		fixed("run_no", storerig.Pick("(SELECT max(spine_no) + 1 FROM spine)", "'no such run'")),
		fixed("run_no", storerig.Pick("(SELECT min(spine_no) FROM spine WHERE tenant_no != (SELECT tenant_no FROM spine WHERE spine_no = run_no))", fmt.Sprintf("'%032x'", 105))),
		fixed("run_no", "NULL"),
		fixed("n", "n + 1"),
		fixed("n", "NULL"),
		{
			name: "n of a run's first record set to NULL",
			alter: func(e *evil) {
				first := e.main().find(1, func(l *evidence.Leaf) bool { return l.Kind == evidence.KindTrace && l.N == 0 })
				e.change(1, `UPDATE r_trace SET n = NULL WHERE row = ?1`, row(e.main(), first.Seq))
			},
			hole: "store.Row has 0 for null in n, so a view shows null where the leaf says 0",
		},
		{
			name: "n where there is no run",
			alter: func(e *evil) {
				e.change(1, `UPDATE r_system SET n = 5 WHERE row = ?1`, row(e.main(), e.main().find(1, noRun).Seq))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeColumn, table: "system_records", column: "n", log: d.main(), seq: d.main().find(1, noRun).Seq, at: true}}
			},
		},
		{
			name: "a run where there is none",
			alter: func(e *evil) {
				e.change(1, storerig.Pick(`UPDATE r_system SET run_no = (SELECT min(spine_no) FROM spine WHERE tenant_no = (SELECT tenant_no FROM logs WHERE log_key = row >> 40))`,
					`UPDATE system_records SET run_id = repeat('0', 32)`)+` WHERE row = ?1`,
					row(e.main(), e.main().find(1, noRun).Seq))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeColumn, table: "system_records", column: "run_id", log: d.main(), seq: d.main().find(1, noRun).Seq, at: true}}
			},
		},
		{
			name: "sealed_segment of a row redirected",
			alter: func(e *evil) {
				e.change(1, `UPDATE r_trace_step SET sealed_segment = (SELECT min(sealed_segment) FROM r_trace_step WHERE row > ?2) WHERE row = ?1`, row(e.main(), steps(e.deployment)), row(e.main(), 0))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeUnaccounted, table: "sealed_segments", log: d.main(), seq: steps(d), at: true, says: "no record says that it was erased"}}
			},
		},
		{
			name: "sealed_segment of a row taken away",
			alter: func(e *evil) {
				e.change(1, `UPDATE r_trace_step SET sealed_segment = NULL WHERE row = ?1`, row(e.main(), steps(e.deployment)))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeUnaccounted, table: "sealed_segments", log: d.main(), seq: steps(d), at: true}}
			},
		},
		{
			name: "actor_segment of a row taken away",
			alter: func(e *evil) {
				e.change(1, `UPDATE r_trace_step SET actor_segment = NULL WHERE row = ?1`,
					e.place(`SELECT row FROM r_trace_step WHERE row >= ?1 AND actor_segment IS NOT NULL ORDER BY row LIMIT 1`, row(e.main(), 1)))
			},
			want: one(want{code: ledger.CodeUnaccounted, table: "sealed_segments", seq: anywhere, says: "/actor"}),
		},
		{
			name: "actor_segment where there is none",
			alter: func(e *evil) {
				e.change(1, `UPDATE r_system SET actor_segment = 1 WHERE row = ?1`, row(e.main(), e.main().find(1, noRun).Seq))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeColumn, table: "system_records", column: "actor_segment", log: d.main(), seq: d.main().find(1, noRun).Seq, at: true}}
			},
		},
		{
			name: "a pair of rows swapped",
			alter: func(e *evil) {
				a, b := row(e.main(), steps(e.deployment)), row(e.main(), steps(e.deployment)+1)
				aside := row(e.main(), 1<<39)
				e.change(1, `UPDATE r_trace_step SET row = ?2 WHERE row = ?1`, a, aside)
				e.change(1, `UPDATE r_trace_step SET row = ?2 WHERE row = ?1`, b, a)
				e.change(1, `UPDATE r_trace_step SET row = ?2 WHERE row = ?1`, aside, b)
			},
			want: func(d *deployment) []want {
				return []want{
					{code: ledger.CodeColumn, table: "aos_trace_steps", column: "span_id", log: d.main(), seq: steps(d), at: true},
					{code: ledger.CodeColumn, table: "aos_trace_steps", column: "span_id", log: d.main(), seq: steps(d) + 1, at: true},
				}
			},
		},
		{
			name: "a row deleted",
			alter: func(e *evil) {
				e.change(1, `DELETE FROM r_trace_step WHERE row = ?1`, row(e.main(), steps(e.deployment)))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeColumn, table: "aos_trace_steps", log: d.main(), seq: steps(d), at: true, says: "missing"}}
			},
		},
		{
			name: "a row beyond the head",
			alter: func(e *evil) {
				e.copyRow("r_trace_step", row(e.main(), steps(e.deployment)), row(e.main(), e.main().size+10), map[string]string{"span_id": storerig.Pick("77", "'000000000000004d'")})
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeColumn, table: "aos_trace_steps", log: d.main(), seq: d.main().size + 10, at: true, says: "a row without a leaf"}}
			},
		},
		{
			name: "a row of another kind for a leaf",
			alter: func(e *evil) {
				from := e.place(`SELECT row FROM r_metric WHERE row > ?1 ORDER BY row LIMIT 1`, row(e.main(), 0))
				e.copyRow("r_metric", from, row(e.main(), steps(e.deployment)), nil)
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeColumn, table: "system_metrics", log: d.main(), seq: steps(d), at: true, says: "another kind"}}
			},
		},
		{
			name: "a row under a log that is not there",
			alter: func(e *evil) {
				e.copyRow("r_trace_step", row(e.main(), steps(e.deployment)), storerig.Log{Tenant: "acme", No: 999}.Row(7), map[string]string{"span_id": storerig.Pick("77", "'000000000000004d'")})
			},
			unseen: "the row belongs to no log: no view shows it",
		},
		{
			name: "a row moved to another tenant",
			alter: func(e *evil) {
				g := e.log("globex", 1)
				e.change(1, `UPDATE r_trace_step SET row = ?2 WHERE row = ?1`, row(e.main(), steps(e.deployment)), row(g, g.size))
			},
			want: func(d *deployment) []want {
				g := d.log("globex", 1)
				return []want{
					{code: ledger.CodeColumn, table: "aos_trace_steps", log: d.main(), seq: steps(d), at: true, says: "missing"},
					{code: ledger.CodeColumn, table: "aos_trace_steps", log: g, seq: g.size, at: true, says: "without a leaf"},
				}
			},
		},
	}
}

// headCases alter heads, checkpoints, keys and anchors.
func headCases() []tamperCase {
	head := func(name, set, says string) tamperCase {
		return tamperCase{
			name:    "head: " + name,
			alter:   func(e *evil) { e.change(1, `UPDATE heads SET `+set+` WHERE log_key = ?1`, e.main().key) },
			want:    inMain(want{code: ledger.CodeHead, table: "heads", seq: anywhere, says: says}),
			refuses: "*",
		}
	}
	anchor := func(name string, fn func(d *deployment, path string), code, says string, seq int64) tamperCase {
		return tamperCase{
			name:    "anchor: " + name,
			files:   func(_ testing.TB, d *deployment) { fn(d, d.anchorFile(d.main())) },
			want:    inMain(want{code: code, table: "anchor", seq: seq, says: says}),
			refuses: "*",
		}
	}
	return []tamperCase{
		head("size + 1", "size = size + 1", "not those of the signed note"),
		head("size - 1", "size = size - 1", "not those of the signed note"),
		head("a size beyond all leaves", "size = 549755813888", "not those of the signed note"),
		head("a negative size", "size = -3", "not those of the signed note"),
		head("size 0", "size = 0", "not those of the signed note"),
		head("root", "root = zeroblob(32)", "not those of the signed note"),
		head("no note", "note = x''", "not signed"),
		head("a note of another log", storerig.Pick("note = (SELECT note FROM heads WHERE log_key != (SELECT max(log_key) FROM heads) ORDER BY log_key DESC LIMIT 1)", "note = (SELECT note FROM heads WHERE tenant_id = 'globex')"), "not signed"),
		{
			name: "head: a byte of the signature",
			alter: func(e *evil) {
				note := bytes.Clone(e.main().note)
				i := bytes.LastIndexByte(note, ' ') + 20
				if note[i] == 'A' {
					note[i] = 'B'
				} else {
					note[i] = 'A'
				}
				e.change(1, `UPDATE heads SET note = ?2 WHERE log_key = ?1`, e.main().key, note)
			},
			want:    inMain(want{code: ledger.CodeHead, table: "heads", seq: middle, says: "not signed by the log's key"}),
			refuses: "*",
		},
		{
			name: "head: signed by another key of the same name",
			alter: func(e *evil) {
				e.setHead(e.main(), checkpointOf(e.main(), e.main().leaves), sign(e, forger(e, e.main()), checkpointOf(e.main(), e.main().leaves)))
			},
			want:    inMain(want{code: ledger.CodeHead, table: "heads", seq: middle, says: "not signed by the log's key"}),
			refuses: "*",
		},
		{
			name:    "head missing",
			alter:   func(e *evil) { e.change(1, `DELETE FROM heads WHERE log_key = ?1`, e.main().key) },
			want:    inMain(want{code: ledger.CodeHead, table: "heads", seq: anywhere, says: "no head"}),
			refuses: "*",
		},
		{
			name: "an older head with its own valid signature",
			alter: func(e *evil) {
				c, note := e.olderHead(middle)
				e.setHead(e.main(), c, note)
			},
			want: inMain(
				want{code: ledger.CodeInclusion, table: "leaf_segments", seq: 600, says: "beyond the signed head"},
				want{code: ledger.CodeColumn, table: "aos_trace_steps", seq: middle, says: "a row without a leaf"},
				want{code: ledger.CodeHead, table: "checkpoints", seq: anywhere, says: "the log was cut"},
				want{code: ledger.CodeFork, table: "anchor", seq: anywhere, says: "the log was cut, or a backup was restored"}),
			refuses: "*",
		},
		{
			name: "the tail deleted, with an older head and its valid signature",
			alter: func(e *evil) {
				c, note := e.olderHead(middle)
				e.cut(c.Size)
				e.setHead(e.main(), c, note)
				e.exec(`DELETE FROM checkpoints WHERE row > ?1 AND row < ?2`, row(e.main(), c.Size), row(e.main(), 1<<40-1))
			},
			want:    inMain(want{code: ledger.CodeFork, table: "anchor", seq: 0, says: "the log was cut, or a backup was restored"}),
			refuses: "*",
		},
		{
			name: "the tail deleted with the anchor set back, checkpoints left",
			alter: func(e *evil) {
				c, note := e.olderHead(middle)
				e.cut(c.Size)
				e.setHead(e.main(), c, note)
				if err := os.WriteFile(e.anchorFile(e.main()), note, 0o600); err != nil {
					e.Fatal(err)
				}
			},
			want:    inMain(want{code: ledger.CodeHead, table: "checkpoints", seq: anywhere, says: "the log was cut"}),
			refuses: "*",
		},
		{
			name: "a checkpoint's bytes",
			alter: func(e *evil) {
				at := e.place(`SELECT row FROM checkpoints WHERE row > ?1 ORDER BY row LIMIT 1`, row(e.main(), 2))
				note := e.blob(`SELECT note FROM checkpoints WHERE row = ?1`, at)
				e.change(1, `UPDATE checkpoints SET note = ?2 WHERE row = ?1`, at, bytes.ReplaceAll(note, []byte("test"), []byte("tesu")))
			},
			want: inMain(want{code: ledger.CodeHead, table: "checkpoints", seq: anywhere, says: "not signed by the log's key"}),
		},
		{
			name: "a checkpoint by another key",
			alter: func(e *evil) {
				c, _ := e.olderHead(middle)
				e.change(1, `UPDATE checkpoints SET note = ?2 WHERE row = ?1`, row(e.main(), c.Size), sign(e, forger(e, e.main()), c))
			},
			want: inMain(want{code: ledger.CodeHead, table: "checkpoints", seq: anywhere, says: "not signed by the log's key"}),
		},
		{
			name: "a checkpoint added at a size that has another",
			alter: func(e *evil) {
				_, note := e.olderHead(middle)
				at := e.place(`SELECT row FROM checkpoints WHERE row < ?1 ORDER BY row DESC LIMIT 1`, row(e.main(), middle))
				e.exec(`INSERT INTO checkpoints (row, note) VALUES (?1, ?2)`, row(e.main(), at.N+1), note)
			},
			want: inMain(want{code: ledger.CodeHead, table: "checkpoints", seq: anywhere, says: "another log or size"}),
		},
		{
			name: "a checkpoint of a larger tree, by another key",
			alter: func(e *evil) {
				l := e.main()
				e.exec(`INSERT INTO checkpoints (row, note) VALUES (?1, ?2)`, row(l, l.size+5), sign(e, forger(e, l), c2sp.Checkpoint{Origin: l.Origin, Size: l.size + 5}))
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeHead, table: "checkpoints", log: d.main(), seq: d.main().size + 4, says: "not signed"}}
			},
		},
		{
			name: "a kept checkpoint removed",
			alter: func(e *evil) {
				c, _ := e.olderHead(middle)
				e.change(1, `DELETE FROM checkpoints WHERE row = ?1`, row(e.main(), c.Size))
			},
			unseen: "which heads were kept is not signed: each newer head commits to all that an older one does; whoever holds a copy of the removed note can still check consistency with it",
		},
		{
			name: "the wrapped key of another log",
			alter: func(e *evil) {
				e.change(1, `UPDATE logs SET wrapped_key = (SELECT wrapped_key FROM logs WHERE log_key = ?2) WHERE log_key = ?1`, e.main().key, e.log("globex", 1).key)
			},
			want:    inMain(want{code: ledger.CodeHead, table: "logs", column: "wrapped_key", seq: anywhere, says: "does not open"}),
			refuses: "*",
		},
		{
			name: "the verifier key",
			alter: func(e *evil) {
				e.change(1, `UPDATE logs SET vkey = ?2 WHERE log_key = ?1`, e.main().key, forger(e, e.main()).VKey().String())
			},
			want:    inMain(want{code: ledger.CodeHead, table: "logs", column: "vkey", seq: anywhere, says: "not that of the signing key"}, want{code: ledger.CodeLeaf, table: "leaf_segments", seq: 0, at: true, says: "another key"}),
			refuses: "*",
		},
		{
			name:    "a verifier key that is none",
			alter:   func(e *evil) { e.change(1, `UPDATE logs SET vkey = 'x' WHERE log_key = ?1`, e.main().key) },
			want:    inMain(want{code: ledger.CodeHead, table: "logs", column: "vkey", seq: anywhere, says: "malformed"}),
			refuses: "*",
		},
		{
			// Someone who has the master keyset too: all signatures are new.
			name:    "verifier key and signing key replaced, all signed anew, the anchor too",
			alter:   func(e *evil) { e.replaceKey() },
			want:    inMain(want{code: ledger.CodeLeaf, table: "leaf_segments", seq: 0, at: true, says: "LOG_OPENED names another key"}),
			refuses: "acme",
		},
		anchor("removed", func(d *deployment, path string) { os.Remove(path) }, ledger.CodeHead, "missing", anywhere),
		anchor("cut short", func(d *deployment, path string) { os.WriteFile(path, d.main().note[:40], 0o600) }, ledger.CodeHead, "not signed", anywhere),
		anchor("of another log", func(d *deployment, path string) { os.WriteFile(path, d.log("globex", 1).note, 0o600) }, ledger.CodeHead, "not signed", anywhere),
		{
			name:    "anchor newer: a backup of the database was restored",
			files:   func(t testing.TB, d *deployment) { d.restoreBackup(t) },
			want:    inMain(want{code: ledger.CodeFork, table: "anchor", seq: 0, says: "a backup was restored"}),
			refuses: "*",
		},
	}
}

// replaceKey gives the main log another key, as someone can who holds the
// master keyset and all files, and signs all notes anew.
func (e *evil) replaceKey() {
	e.Helper()
	l := e.main()
	f := forger(e, l)
	master, err := seal.OpenMaster(filepath.Join(e.dir, "master.keyset.json"), false)
	if err != nil {
		e.Fatal(err)
	}
	wrapped, err := seal.New(nil, master).Wrap(bytes.Repeat([]byte{7}, 32), l.Origin)
	if err != nil {
		e.Fatal(err)
	}
	e.change(1, `UPDATE logs SET vkey = ?2, wrapped_key = ?3 WHERE log_key = ?1`, l.key, f.VKey().String(), wrapped)
	c := checkpointOf(l, l.leaves)
	e.setHead(l, c, sign(e, f, c))
	for _, at := range e.places(`SELECT row FROM checkpoints WHERE row >> 40 = ?1`, l.key) {
		e.change(1, `UPDATE checkpoints SET note = ?2 WHERE row = ?1`, at, sign(e, f, checkpointOf(l, l.leaves[:at.N])))
	}
	if err := os.WriteFile(e.anchorFile(l), sign(e, f, c), 0o600); err != nil {
		e.Fatal(err)
	}
}

// restoreBackup lets a server go on, and puts the database back to what it
// was before.
func (d *deployment) restoreBackup(t testing.TB) {
	t.Helper()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := storerig.Copy(backup, d.dir); err != nil {
		t.Fatal(err)
	}
	r := openRig(t, d.dir)
	r.append(t, "acme", step(901, 1, ""))
	r.close()
	if err := storerig.Replace(d.dir, backup); err != nil {
		t.Fatal(err)
	}
}

// tenantCases move things between tenants and logs.
func tenantCases() []tamperCase {
	byTenant := func(ws ...want) func(*deployment) []want {
		return func(d *deployment) []want { return ws }
	}
	return []tamperCase{
		{
			name: "two tenants exchange their names",
			alter: func(e *evil) {
				e.renameTenant("acme", "x")
				e.renameTenant("globex", "acme")
				e.renameTenant("x", "globex")
			},
			want:    byTenant(want{code: ledger.CodeID, table: "logs", column: "tenant_id", seq: 0, says: "opened for another tenant"}, want{code: ledger.CodeCommit, table: "data_keys", column: "wrapped", seq: anywhere}),
			refuses: "acme",
		},
		{
			name:    "a tenant renamed",
			alter:   func(e *evil) { e.renameTenant("acme", "acme-2") },
			want:    byTenant(want{code: ledger.CodeID, table: "logs", column: "tenant_id", seq: 0, says: "opened for another tenant"}),
			refuses: "acme",
		},
		{
			name: "two logs exchange their tenants",
			alter: func(e *evil) {
				a, g := e.main().key, e.log("globex", 1).key
				aside := storerig.Log{Tenant: "acme", No: 99}
				e.moveLog(a, a, aside)
				e.moveLog(g, g, a)
				e.moveLog(a, aside, g)
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeID, table: "logs", column: "tenant_id", seq: 0, says: "opened for another tenant"}, {code: ledger.CodeHead, table: "logs", column: "log_no", seq: 0, says: "does not go on"}}
			},
			refuses: "acme",
		},
		{
			name: "the tenant of the only log",
			alter: func(e *evil) {
				g := e.log("globex", 1).key
				e.moveLog(g, g, storerig.Log{Tenant: "acme", No: 3})
			},
			want:    byTenant(want{code: ledger.CodeID, table: "logs", column: "tenant_id", seq: 0, says: "opened for another tenant"}),
			refuses: "acme",
		},
		{
			name: "two logs of a tenant exchange their numbers",
			alter: func(e *evil) {
				first, second, aside := e.log("acme", 1).key, e.main().key, storerig.Log{Tenant: "acme", No: 9}
				e.moveLog(second, second, aside)
				e.moveLog(first, first, second)
				e.moveLog(second, aside, first)
			},
			want:    byTenant(want{code: ledger.CodeHead, table: "logs", column: "log_no", seq: 0, says: "does not go on"}),
			refuses: "acme",
		},
		{
			name: "the newest log's row deleted, with its anchor",
			alter: func(e *evil) {
				e.change(1, `DELETE FROM logs WHERE log_key = ?1`, e.main().key)
				if err := os.Remove(e.anchorFile(e.main())); err != nil {
					e.Fatal(err)
				}
			},
			want: func(d *deployment) []want {
				return []want{{code: ledger.CodeHead, table: "logs", log: d.log("acme", 1), seq: d.log("acme", 1).size - 1, says: "successor"}}
			},
			refuses: "acme",
		},
		{
			name:    "the newest log's row deleted",
			alter:   func(e *evil) { e.change(1, `DELETE FROM logs WHERE log_key = ?1`, e.main().key) },
			want:    byTenant(want{code: ledger.CodeFork, table: "logs", seq: 600, says: "the database does not know"}),
			refuses: "*",
		},
		{
			name:    "the older log's row deleted",
			alter:   func(e *evil) { e.change(1, `DELETE FROM logs WHERE log_key = ?1`, e.log("acme", 1).key) },
			want:    byTenant(want{code: ledger.CodeHead, table: "logs", column: "log_no", seq: anywhere, says: "log 1 of the tenant is missing"}, want{code: ledger.CodeFork, table: "logs", seq: 1}),
			refuses: "*",
		},
		{
			name: "a tenant's row deleted",
			alter: func(e *evil) {
				e.change(1, storerig.Pick(`DELETE FROM tenants WHERE tenant_id = 'globex'`, `DELETE FROM logs WHERE tenant_id = 'globex'`))
			},
			want:    byTenant(want{code: ledger.CodeFork, table: "logs", seq: 1, says: "the database does not know"}),
			refuses: "*",
		},
		{
			name: "the origin of a log",
			alter: func(e *evil) {
				e.change(1, `UPDATE logs SET origin = 'test.example/000000000000' WHERE log_key = ?1`, e.main().key)
			},
			want:    byTenant(want{code: ledger.CodeHead, table: "logs", column: "vkey", seq: anywhere}, want{code: ledger.CodeFork, table: "logs", seq: 600}),
			refuses: "*",
		},
		{
			name: "a record moved to another tenant, leaf and row",
			alter: func(e *evil) {
				g := e.log("globex", 1)
				seq := e.middleStep()
				e.exec(`INSERT INTO leaf_segments (row, count, data) VALUES (?1, 1, ?2)`, row(g, g.size), packLeaves(e.main().leaves[seq:seq+1]))
				e.change(1, `UPDATE r_trace_step SET row = ?2 WHERE row = ?1`, row(e.main(), seq), row(g, g.size))
			},
			want: func(d *deployment) []want {
				g := d.log("globex", 1)
				return []want{
					{code: ledger.CodeInclusion, table: "leaf_segments", log: g, seq: g.size, says: "beyond"},
					{code: ledger.CodeColumn, table: "aos_trace_steps", log: g, seq: g.size},
					{code: ledger.CodeColumn, table: "aos_trace_steps", log: d.main(), seq: d.main().find(middle, foundBySpan).Seq, at: true, says: "missing"},
				}
			},
		},
	}
}

// sealedCases alter sealed content and keys.
func sealedCases() []tamperCase {
	const dayRow, personRow = "(row & 1) = 0", "(row & 1) = 1"
	kind := func(lite string) string { return storerig.Pick(lite, strings.ReplaceAll(lite, "row", "no")) }
	segment := func(e *evil, n int) storerig.Place { // the n-th segment of the main log with content of steps
		return e.place(`SELECT row FROM sealed_segments WHERE row >> 40 = ?1 AND `+kind(dayRow)+` ORDER BY row LIMIT 1 OFFSET ?2`, e.main().key, 20+n)
	}
	exchange := func(columns ...string) func(e *evil) {
		return func(e *evil) {
			a, b := segment(e, 0), segment(e, 1)
			for _, c := range columns {
				x, y := e.blob(`SELECT `+c+` FROM sealed_segments WHERE row = ?1`, a), e.blob(`SELECT `+c+` FROM sealed_segments WHERE row = ?1`, b)
				e.change(1, `UPDATE sealed_segments SET `+c+` = ?2 WHERE row = ?1`, a, y)
				e.change(1, `UPDATE sealed_segments SET `+c+` = ?2 WHERE row = ?1`, b, x)
			}
		}
	}
	commit := func(name, says string, alter func(e *evil)) tamperCase {
		return tamperCase{name: name, alter: alter, want: inMain(want{code: ledger.CodeCommit, table: "sealed_segments", seq: anywhere, says: says})}
	}
	gone := func(name string, alter func(e *evil)) tamperCase {
		return tamperCase{name: name, alter: alter, want: inMain(want{code: ledger.CodeUnaccounted, table: "sealed_segments", seq: anywhere, says: "is gone and no record says"})}
	}
	dayKey := func(e *evil) []byte {
		return e.blob(`SELECT key_id FROM sealed_segments WHERE row = ?1`, segment(e, 0))
	}
	keys := func(name string, alter func(e *evil)) tamperCase {
		return tamperCase{name: name, alter: alter, want: one(want{code: ledger.CodeCommit, table: "data_keys", column: "wrapped", seq: anywhere, says: "does not open under the master keyset"})}
	}
	return []tamperCase{
		commit("sealed content exchanged: data", "does not open", exchange("data")),
		commit("sealed content exchanged: data and id", "", exchange("data", "id")),
		gone("sealed content exchanged: data, id and key", exchange("data", "id", "key_id")),
		commit("sealed content: a byte of the data", "does not open", func(e *evil) {
			b := e.blob(`SELECT data FROM sealed_segments WHERE row = ?1`, segment(e, 0))
			b[len(b)/2] ^= 1
			e.change(1, `UPDATE sealed_segments SET data = ?2 WHERE row = ?1`, segment(e, 0), b)
		}),
		commit("sealed content: cut to nothing", "does not open", func(e *evil) {
			e.change(1, `UPDATE sealed_segments SET data = x'' WHERE row = ?1`, segment(e, 0))
		}),
		commit("sealed content: its id", "does not open", func(e *evil) {
			e.change(1, `UPDATE sealed_segments SET id = randomblob(16) WHERE row = ?1`, segment(e, 0))
		}),
		commit("sealed content: another key named", "does not open", func(e *evil) {
			e.change(1, `UPDATE sealed_segments SET key_id = (SELECT id FROM data_keys WHERE tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'acme') AND id != key_id AND scope = 'person' LIMIT 1) WHERE row = ?1`, segment(e, 0))
		}),
		gone("sealed content: a key named that is not there", func(e *evil) {
			e.change(1, `UPDATE sealed_segments SET key_id = randomblob(16) WHERE row = ?1`, segment(e, 0))
		}),
		gone("a sealed segment deleted", func(e *evil) { e.change(1, `DELETE FROM sealed_segments WHERE row = ?1`, segment(e, 0)) }),
		gone("a sealed segment under another number", func(e *evil) {
			at := segment(e, 0)
			e.change(1, `UPDATE sealed_segments SET row = ?2 WHERE row = ?1`, at, at.Row(at.N+3))
		}),
		commit("a sealed segment copied under another number", "no record refers to", func(e *evil) {
			at := segment(e, 0)
			e.copyRow("sealed_segments", at, at.Row(at.N+3), nil)
		}),
		gone("the key of the day deleted", func(e *evil) { e.change(1, `DELETE FROM data_keys WHERE id = ?1`, dayKey(e)) }),
		gone("a person's key deleted", func(e *evil) {
			e.change(1, `DELETE FROM data_keys WHERE id = ?1`,
				e.blob(`SELECT key_id FROM sealed_segments WHERE row >> 40 = ?1 AND `+kind(personRow)+` ORDER BY row LIMIT 1`, e.main().key))
		}),
		keys("a data key: a byte of its wrapping", func(e *evil) {
			b := e.blob(`SELECT wrapped FROM data_keys WHERE id = ?1`, dayKey(e))
			b[len(b)-1] ^= 1
			e.change(1, `UPDATE data_keys SET wrapped = ?2 WHERE id = ?1`, dayKey(e), b)
		}),
		keys("two data keys exchanged", func(e *evil) {
			const ids = `SELECT id FROM data_keys WHERE tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'acme') ORDER BY key_no LIMIT 1 OFFSET `
			a, b := e.blob(ids+"1"), e.blob(ids+"2")
			x, y := e.blob(`SELECT wrapped FROM data_keys WHERE id = ?1`, a), e.blob(`SELECT wrapped FROM data_keys WHERE id = ?1`, b)
			e.exec(`UPDATE data_keys SET wrapped = ?2 WHERE id = ?1`, a, y)
			e.exec(`UPDATE data_keys SET wrapped = ?2 WHERE id = ?1`, b, x)
		}),
		keys("the label of a data key", func(e *evil) {
			e.change(1, `UPDATE data_keys SET label = '2020-01-01' WHERE id = ?1`, dayKey(e))
		}),
		keys("the scope of a data key", func(e *evil) {
			e.change(1, `UPDATE data_keys SET scope = CASE scope WHEN 'day' THEN 'person' ELSE 'day' END WHERE id = ?1`, dayKey(e))
		}),
		keys("the id of a data key", func(e *evil) {
			e.change(1, `UPDATE data_keys SET id = randomblob(16) WHERE id = ?1`, dayKey(e))
		}),
		keys("a data key copied to another tenant", func(e *evil) {
			e.exec(storerig.Pick(`INSERT INTO data_keys (tenant_no, id, scope, label, wrapped) SELECT (SELECT tenant_no FROM tenants WHERE tenant_id = 'globex')`,
				`INSERT INTO data_keys (tenant_id, id, scope, label, wrapped) SELECT 'globex'`)+`, id, scope, label, wrapped FROM data_keys WHERE id = ?1`, dayKey(e))
		}),
		{
			name: "the key of index MACs deleted",
			alter: func(e *evil) {
				e.change(1, `DELETE FROM data_keys WHERE scope = 'index' AND tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'acme')`)
			},
			want:    one(want{code: ledger.CodeIndex, table: "data_keys", seq: anywhere, says: "missing or does not open"}),
			refuses: "acme",
		},
		{
			name: "removals forged",
			alter: func(e *evil) {
				if storerig.OnPostgres() {
					e.exec(`INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf) VALUES ('acme', 'segment', 2, ?1, x'00', '', 2, 3)`, segment(e, 0).N)
					return
				}
				e.exec(`INSERT INTO removals (tenant_no, what, ref, id, name_no, by_row) SELECT tenant_no, 'segment', ?1, x'00', 0, ?2 FROM logs WHERE log_key = ?3`, segment(e, 0), row(e.main(), 3), e.main().key)
			},
			unseen: "removals only tell the database's own triggers what they may let pass; what is gone must be named by a signed ErasureExecuted or RetentionApplied",
		},
		gone("removals forged, and content deleted by them, no trigger dropped", func(e *evil) {
			seg := segment(e, 0)
			if storerig.OnPostgres() {
				e.change(1, `INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
					SELECT tenant_id, 'segment', log_no, no, id, '', 1, 1 FROM sealed_segments WHERE tenant_id = 'acme' AND log_no = 2 AND no = ?1`, seg.N)
			} else {
				e.change(1, `INSERT INTO removals (tenant_no, what, ref, id, name_no, by_row) SELECT l.tenant_no, 'segment', s.row, s.id, 0, (SELECT min(row) FROM r_audit) FROM sealed_segments AS s JOIN logs AS l ON l.log_key = s.row >> 40 WHERE s.row = ?1`, seg)
			}
			e.change(1, `DELETE FROM sealed_segments WHERE row = ?1`, seg)
		}),
	}
}

// lookupCases alter what records are found by.
func lookupCases() []tamperCase {
	// What is a number in SQLite is a text in PostgreSQL.
	tenantKey, nameKey, traceKey := storerig.Pick("tenant_no", "tenant_id"), storerig.Pick("name_no", "name"), storerig.Pick("trace_no", "trace_id")
	seq := storerig.Pick("row", "leaf_index")
	key := storerig.Pick("tenant_no, name_no, mac, row", "tenant_id, name, mac, log_no, leaf_index")
	anIndex := storerig.Pick(
		`(tenant_no, name_no, mac, row) = (SELECT tenant_no, name_no, mac, row FROM sealed_index WHERE row >> 40 = ?1 AND name_no = (SELECT name_no FROM names WHERE text = ?2) ORDER BY row LIMIT 1)`,
		`(tenant_id, name, mac, log_no, leaf_index) = (SELECT tenant_id, name, mac, log_no, leaf_index FROM sealed_index WHERE log_key = ?1 AND name = ?2 ORDER BY leaf_index LIMIT 1)`)
	globex := storerig.Pick("(SELECT tenant_no FROM tenants WHERE tenant_id = 'globex')", "'globex'")
	planHash := storerig.Pick("(SELECT name_no FROM names WHERE text = 'plan_hash')", "'plan_hash'")
	trace := storerig.Pick("(SELECT max(spine_no) FROM spine)", "repeat('f', 32)")
	added := func(columns string) string { // a row of the index like another, but for its last columns
		return `INSERT INTO sealed_index (` + key + `) SELECT ` + tenantKey + `, ` + nameKey + `, ` + columns + ` FROM sealed_index WHERE ` + anIndex
	}
	logNo := storerig.Pick("", "log_no, ")
	index := func(name, says, sql, term string) tamperCase {
		return tamperCase{
			name:  "index: " + name,
			alter: func(e *evil) { e.change(1, sql, e.main().key, term) },
			want:  inMain(want{code: ledger.CodeIndex, table: "sealed_index", seq: anywhere, says: says}),
		}
	}
	ids := func(name, says, sql string) tamperCase {
		return tamperCase{
			name:  "record_ids: " + name,
			alter: func(e *evil) { e.change(1, sql, fixedSlice("audit")) },
			want:  one(want{code: ledger.CodeID, table: "record_ids", seq: anywhere, says: says}),
		}
	}
	idAdded := func(columns string) string {
		return `INSERT INTO record_ids (` + tenantKey + `, id, ` + logNo + seq + `) SELECT ` + tenantKey + `, randomblob(16), ` + logNo + columns + ` FROM record_ids WHERE id = ?1`
	}
	newestRun := storerig.Pick(`last_row = (SELECT max(last_row) FROM run_states)`,
		`(tenant_id, run_id) = (SELECT tenant_id, run_id FROM run_states ORDER BY first_seen DESC LIMIT 1)`)
	const texts = "PostgreSQL's tables hold the texts themselves, which TestTamperColumns alters"
	return []tamperCase{
		index("an actor's entry removed", "is missing", `DELETE FROM sealed_index WHERE `+anIndex, "actor"),
		index("a subject's entry removed", "is missing", `DELETE FROM sealed_index WHERE `+anIndex, "subject"),
		index("an unfit name's entry removed", "is missing", `DELETE FROM sealed_index WHERE `+anIndex, "outcome_code"),
		index("a plan hash's entry removed", "is missing", `DELETE FROM sealed_index WHERE `+anIndex, "plan_hash"),
		index("an entry redirected to another record", "no sealed content calls for", `UPDATE sealed_index SET `+seq+` = `+seq+` + 1 WHERE `+anIndex, "root_hash"),
		index("an entry with another MAC", "no sealed content calls for", `UPDATE sealed_index SET mac = randomblob(16) WHERE `+anIndex, "actor"),
		index("an entry under another name", "no sealed content calls for", `UPDATE sealed_index SET `+nameKey+` = `+planHash+` WHERE `+anIndex, "root_hash"),
		index("an entry of another trace", "no sealed content calls for", `UPDATE sealed_index SET `+traceKey+` = `+trace+` WHERE `+anIndex, "subject"),
		index("an entry of no trace", "no sealed content calls for", `UPDATE sealed_index SET `+traceKey+` = NULL WHERE `+anIndex, "subject"),
		index("an entry added", "no sealed content calls for", added(`randomblob(16), `+logNo+seq), "actor"),
		index("an entry added for another record", "no sealed content calls for", added(`mac, `+logNo+seq+` + 1`), "root_hash"),
		index("an entry given to another tenant", "is missing", `UPDATE sealed_index SET `+tenantKey+` = `+globex+` WHERE `+anIndex, "root_hash"),
		ids("another row", "points elsewhere", `UPDATE record_ids SET `+seq+` = `+seq+` - 1 WHERE id = ?1`),
		ids("removed", "is missing", `DELETE FROM record_ids WHERE id = ?1`),
		ids("another id", "is missing", `UPDATE record_ids SET id = randomblob(16) WHERE id = ?1`),
		ids("given to another tenant", "is missing", `UPDATE record_ids SET `+tenantKey+` = `+globex+` WHERE id = ?1`),
		ids("one added", "not those of any record", idAdded(seq)),
		ids("one added beyond the log", "not in the log", idAdded(seq+` + 100000`)),
		{
			name: "an interned name",
			alter: func(e *evil) {
				e.change(1, `UPDATE names SET text = 'execute_tool get_wether' WHERE text = 'execute_tool get_weather'`)
			},
			want:   inMain(want{code: ledger.CodeColumn, table: "aos_trace_steps", column: "skill_name", seq: middle}),
			sqlite: texts,
		},
		{
			name:   "an interned name missing",
			alter:  func(e *evil) { e.change(1, `DELETE FROM names WHERE text = 'exception'`) },
			want:   inMain(want{code: ledger.CodeColumn, table: "aos_trace_events", column: "event_name", seq: anywhere}),
			sqlite: texts,
		},
		{
			name: "two interned names exchanged",
			alter: func(e *evil) {
				e.change(1, `UPDATE names SET text = 'x' WHERE text = 'success'`)
				e.change(1, `UPDATE names SET text = 'success' WHERE text = 'SUCCESS'`)
				e.change(1, `UPDATE names SET text = 'SUCCESS' WHERE text = 'x'`)
			},
			want:   inMain(want{code: ledger.CodeColumn, table: "aos_trace_steps", column: "status", seq: middle}),
			sqlite: texts,
		},
		{
			name: "a run's or trace's id",
			alter: func(e *evil) {
				e.change(1, `UPDATE spine SET text = 'ffffffffffffffffffffffffffffffff' WHERE text = ?1 AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = ?2)`, fmt.Sprintf("%032x", 210), e.main().key)
			},
			want:   inMain(want{code: ledger.CodeColumn, table: "aos_trace_steps", column: "trace_id", seq: anywhere}, want{code: ledger.CodeColumn, table: "aos_traces", column: "run_id", seq: anywhere}),
			sqlite: texts,
		},
		{
			name: "a run's or trace's tenant",
			alter: func(e *evil) {
				e.change(1, `UPDATE spine SET tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'globex') WHERE text = ?1`, fmt.Sprintf("%032x", 210))
			},
			want:   inMain(want{code: ledger.CodeColumn, table: "aos_trace_steps", column: "trace_id", seq: anywhere}),
			sqlite: texts,
		},
		{
			name:  "a run state",
			alter: func(e *evil) { e.change(1, `UPDATE run_states SET next_n = next_n + 1 WHERE `+newestRun) },
			want:  one(want{code: ledger.CodeColumn, table: "run_states", seq: anywhere, says: "not what its records say"}),
		},
		{
			name:  "a run state's steps",
			alter: func(e *evil) { e.change(1, `UPDATE run_states SET next_step = 0, revision = 7 WHERE `+newestRun) },
			want:  one(want{code: ledger.CodeColumn, table: "run_states", seq: anywhere, says: "not what its records say"}),
		},
		{
			name: "a run state removed",
			alter: func(e *evil) {
				e.change(1, storerig.Pick(`DELETE FROM run_states WHERE last_row = (SELECT max(last_row) FROM run_states WHERE last_row >> 40 = ?1)`,
					`DELETE FROM run_states WHERE (tenant_id, run_id) = (SELECT tenant_id, run_id FROM run_states WHERE log_key = ?1 ORDER BY last_leaf DESC LIMIT 1)`), e.main().key)
			},
			want: inMain(want{code: ledger.CodeColumn, table: "run_states", seq: anywhere, says: "missing"}),
		},
		{
			name: "a run state added",
			alter: func(e *evil) {
				if storerig.OnPostgres() {
					e.exec(`INSERT INTO run_states (tenant_id, run_id, next_n, next_step, revision, last_log, last_leaf) VALUES ('acme', 'ghost', 1, 1, 0, 2, 3)`)
					return
				}
				e.exec(`INSERT INTO spine (tenant_no, text) VALUES ((SELECT tenant_no FROM tenants WHERE tenant_id = 'acme'), 'ghost')`)
				e.exec(`INSERT INTO run_states (run_no, next_n, next_step, revision, last_row) VALUES ((SELECT max(spine_no) FROM spine), 1, 1, 0, ?1)`, row(e.main(), 3))
			},
			want: one(want{code: ledger.CodeColumn, table: "run_states", seq: anywhere, says: "no records"}),
		},
		{
			name: "record_ids: the same place in another tenant's log",
			alter: func(e *evil) {
				from, to := row(e.log("acme", 1), 0), row(e.log("globex", 1), 0)
				e.change(1, `UPDATE record_ids SET row = ?2 WHERE row = ?1`, from, to)
			},
			hole:   "store.Position names log number and leaf but no tenant; as every reader reads the log of the tenant it asked for, nothing comes of it",
			sqlite: "PostgreSQL's row has its tenant once, in its key",
		},
		{
			name:   "a name that nothing refers to",
			alter:  func(e *evil) { e.exec(`INSERT INTO names (text) VALUES ('nothing refers to me')`) },
			unseen: "a name that no row refers to says nothing",
			sqlite: texts,
		},
	}
}

func fixedSlice(text string) []byte {
	id := fixedID(text)
	return id[:]
}

// schemaCases take away the database's own protection.
func schemaCases() []tamperCase {
	guard := func(name, says string, sql ...string) tamperCase {
		return tamperCase{
			name: name,
			alter: func(e *evil) {
				for _, s := range sql {
					e.exec(s)
				}
			},
			want: one(want{code: ledger.CodeGuard, table: "schema", seq: anywhere, says: says}),
		}
	}
	dropped := guard("triggers dropped", storerig.Pick("guard_r_trace_step_delete is missing", "guard_change is missing"))
	dropped.alter = func(e *evil) {
		if err := e.a.DropTriggers("aos_trace_steps"); err != nil {
			e.Fatal(err)
		}
	}
	view := storerig.Pick("aos_trace_steps", "open_runs")
	return []tamperCase{
		dropped,
		guard("an index dropped", storerig.Pick("r_trace_step_span", "idx_aos_trace_steps_trace_timestamp")+" is missing",
			`DROP INDEX `+storerig.Pick("r_trace_step_span", "idx_aos_trace_steps_trace_timestamp")),
		guard("a view replaced", "view "+view+" has been altered", `DROP VIEW `+view, `CREATE VIEW `+view+` AS SELECT 1`),
		guard("a trigger of another's", "mine is not runledger's", storerig.Pick(`SELECT 1`,
			`CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM settings WHERE name = ''none''; RETURN NULL; END'`), storerig.Pick(
			`CREATE TRIGGER mine AFTER INSERT ON r_trace_step BEGIN DELETE FROM names WHERE name_no = -1; END`,
			`CREATE TRIGGER mine AFTER INSERT ON aos_trace_steps FOR EACH ROW EXECUTE FUNCTION mine()`)),
		{
			name: "an index that leaves a row out, its text in the schema unaltered",
			alter: func(e *evil) {
				seq := e.middleStep()
				const name = "idx_aos_trace_steps_trace_timestamp"
				sql := value[string](e, `SELECT sql FROM sqlite_schema WHERE name = ?1`, name)
				e.exec(`DROP INDEX ` + name)
				rowid := e.int(`SELECT row FROM r_trace_step WHERE row = ?1`, row(e.main(), seq))
				e.exec(fmt.Sprintf(`%s WHERE row <> %d`, sql, rowid))
				e.exec(`PRAGMA writable_schema = ON`)
				e.change(1, `UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1`, name, sql)
				e.exec(`PRAGMA writable_schema = RESET`)
			},
			want:   one(want{code: ledger.CodeGuard, table: "schema", seq: anywhere, says: "contradicts itself"}),
			sqlite: "whoever may write PostgreSQL's files or catalogue can do the same; the damage that its store looks for has tests beside it",
		},
	}
}

// TestTamper alters a deployment in every way of the table. Verification must
// find it, name the table and leaves that hold the altered one, and say what
// it means; and the server must never sign over it.
func TestTamper(t *testing.T) {
	cases := tamperCases()
	if len(cases) < 140 {
		t.Errorf("only %d cases", len(cases))
	}
	for i, tc := range cases {
		if raced && i%3 != 0 {
			continue // CI runs all of them without the race detector, under which SQLite is slow
		}
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if tc.sqlite != "" {
				storerig.Only(t, storerig.SQLite, tc.sqlite)
			}
			d := copyOf(t)
			if tc.alter != nil {
				d.tamper(t, tc.alter)
			}
			if tc.files != nil {
				tc.files(t, d)
			}
			r := verifyDir(t, d.dir)
			switch {
			case tc.unseen != "":
				if len(r.Findings) != 0 {
					t.Errorf("found, although %s:%s", tc.unseen, listFindings(r))
				}
			case tc.hole != "":
				if len(r.Findings) != 0 {
					t.Errorf("found: the hole is closed, the case should say what is to be found:%s", listFindings(r))
				}
				t.Logf("KNOWN HOLE: %s", tc.hole)
			default:
				if r.OK() {
					t.Error("OK")
				}
				for _, w := range tc.want(d) {
					if !w.in(r) {
						t.Errorf("not found: %s; found:%s", w, listFindings(r))
					}
				}
			}
			d.checkServer(t, tc.refuses)
		})
	}
}

// TestTamperFlips flips single bytes in the database file itself, where
// signed, hashed or encrypted bytes stand. Whatever the place, verification
// must not call the deployment sound.
func TestTamperFlips(t *testing.T) {
	storerig.Only(t, storerig.SQLite, "it flips bytes of SQLite's file; PostgreSQL's pages have checksums, and TestTamperBytes flips what rows hold")
	t.Parallel()
	d := copyOf(t)
	path := filepath.Join(d.dir, dbFile)
	places := map[string][]byte{}
	d.tamper(t, func(e *evil) {
		l := e.main()
		for name, sql := range map[string]string{
			"leaf segment":   `SELECT data FROM leaf_segments WHERE row = ?1`,
			"tile":           `SELECT data FROM tiles WHERE row = ?1 + 1`,
			"head root":      `SELECT root FROM heads WHERE log_key = ?1 >> 40`,
			"head note":      `SELECT note FROM heads WHERE log_key = ?1 >> 40`,
			"checkpoint":     `SELECT note FROM checkpoints WHERE row >= ?1 + 280 ORDER BY row LIMIT 1`,
			"sealed content": `SELECT data FROM sealed_segments WHERE row > ?1 + 900 ORDER BY row LIMIT 1`,
			"sealed id":      `SELECT id FROM sealed_segments WHERE row > ?1 + 900 ORDER BY row LIMIT 1`,
			"wrapped key":    `SELECT wrapped FROM data_keys WHERE scope = 'person' AND ?1 > 0 ORDER BY key_no LIMIT 1`,
			"signing key":    `SELECT wrapped_key FROM logs WHERE log_key = ?1 >> 40`,
			"index MAC":      `SELECT mac FROM sealed_index WHERE row > ?1 ORDER BY row LIMIT 1`,
			"record id":      `SELECT id FROM record_ids WHERE row > ?1 ORDER BY row LIMIT 1`,
		} {
			arg := row(l, 0)
			if name == "leaf segment" {
				arg = e.segmentOf(l, middle)
			}
			places[name] = e.blob(sql, arg)
		}
	})
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range places {
		probe := b[:min(len(b), 24)]
		var at []int
		for i := 0; ; {
			j := bytes.Index(file[i:], probe)
			if j < 0 {
				break
			}
			at = append(at, i+j)
			i += j + 1
		}
		if len(at) == 0 {
			t.Errorf("%s: not in the file", name)
			continue
		}
		for _, offset := range []int{len(probe) / 2, len(probe) - 1} {
			bad := bytes.Clone(file)
			for _, i := range at { // a note stands as head and as checkpoint
				bad[i+offset] ^= 0x04
			}
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			switch r, err := tryVerify(t, d.dir); {
			case err != nil:
				t.Logf("%s: verification ends: %v", name, err)
			case r.OK():
				t.Errorf("%s, byte %d: OK", name, offset)
			}
		}
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verifyDir(t, d.dir); len(r.Findings) != 0 {
		t.Errorf("put back: %s", listFindings(r))
	}
}

// TestVerifyWhileWritten verifies a deployment, from outside and with the
// server's own handle, while records are appended, erased and logs rolled
// over: there must be nothing to find.
func TestVerifyWhileWritten(t *testing.T) {
	t.Parallel()
	d := copyOf(t)
	r := openRig(t, d.dir)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		defer close(done)
		for i := 0; i < 60 && ctx.Err() == nil; i++ {
			var lines []string
			for j := range 10 {
				lines = append(lines, step(1000+i%7, 1+i*10+j, fmt.Sprintf(`,"params":{"n":%d},"subject":"moving-%d","human_actor_id":"ada-%d","outcome_code":"nöt fit"`, i, i%2, j%2)))
			}
			receipts, err := r.Append(context.Background(), "acme", native(t, lines...), ledger.AppendOptions{Producer: "key-1"})
			if err == nil && i%4 == 1 {
				pos := store.Position{LogNo: receipts[0].LogNo, Seq: receipts[0].LeafIndex}
				_, err = r.Erase(context.Background(), "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: pos, Paths: []string{"/subject", "/params"}}}})
			}
			if err == nil && i%9 == 5 {
				_, err = r.Erase(context.Background(), "acme", ledger.Erasure{Person: fmt.Sprintf("moving-%d", i%2)})
			}
			if err == nil && i%12 == 7 {
				_, err = r.Rollover(context.Background(), "acme")
			}
			if err != nil && !errors.Is(err, evidence.ErrNotFound) && !errors.Is(err, evidence.ErrUnavailable) {
				done <- err
				return
			}
		}
	}()
	for range 5 {
		if report := verifyDir(t, d.dir); len(report.Findings) != 0 {
			t.Errorf("from outside: %s", listFindings(report))
			break
		}
		report, err := ledger.Verify(ctx, ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Findings) != 0 {
			t.Errorf("in the server: %s", listFindings(report))
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.close()
	if report := verifyDir(t, d.dir); len(report.Findings) != 0 {
		t.Errorf("afterwards: %s", listFindings(report))
	}
}
