package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// chunk is what can be checked of a stretch of leaves by itself; chunks are
// examined in parallel and folded in order.
type chunk struct {
	from, to int64
	leaves   []liveLeaf
	findings []Finding
	missing  []missingField
	terms    []expectedTerm
	targets  []target
	segments map[int64]segmentUse
	err      error // the check could not be made
	took     time.Duration
}

// liveLeaf is what folding needs of one leaf.
type liveLeaf struct {
	seq  int64
	leaf *evidence.Leaf // nil where it does not parse or is missing
	hash evidence.Hash
	gone bool // its row is not there
}

type missingField struct {
	log  string
	seq  int64
	path string
	// trace is that of a step or event.
	trace     string
	kind      evidence.Kind
	synthetic bool
}

// expectedTerm is an index entry that an opening calls for.
type expectedTerm struct {
	name      string
	mac       [16]byte
	seq       int64
	trace     string
	kind      evidence.Kind
	synthetic bool
}

// target is what an ErasureExecuted or RetentionApplied record covers.
type target struct {
	log    string
	before int64          // only leaves before this one
	by     store.Position // of the record
	// until is the time before which leaves were recorded that a RetentionApplied is about,
	// and young the first leaf that was not; 0: whenever.
	until evidence.Micros
	young int64
	// kind is that of the leaves that a RetentionApplied of its table is about, and
	// synthetic says that it is only about synthetic ones; 0: of any kind.
	kind      evidence.Kind
	synthetic bool
	evidence.TargetRange
}

// segmentUse says which openings of a segment records have claimed.
type segmentUse struct {
	id       [16]byte
	openings int
	used     int
	mixed    bool // it was written anew (an erasure) while it was read
}

// examiner examines chunks of one log. It is for one goroutine.
type examiner struct {
	read    store.Reader
	sealer  *seal.Sealer
	log     store.Log
	content *content
	key     []byte // of index MACs; nil where it does not open
}

func (e *examiner) examine(ctx context.Context, from, to int64) *chunk {
	c := &chunk{from: from, to: to, segments: map[int64]segmentUse{}}
	if c.err = e.readLeaves(ctx, c); c.err != nil {
		return c
	}
	rows, err := e.readRows(ctx, c)
	if err != nil {
		c.err = err
		return c
	}
	if c.err = e.checkIDs(ctx, c); c.err != nil {
		return c
	}
	for i := range c.leaves {
		l := &c.leaves[i]
		if l.leaf == nil {
			continue
		}
		if err := e.checkContent(ctx, c, l.leaf, rows[i]); err != nil {
			c.err = err
			return c
		}
	}
	return c
}

func (e *examiner) finding(c *chunk, f Finding) {
	f.Tenant, f.Log = e.log.Tenant, e.log.Origin
	c.findings = append(c.findings, f)
}

func (e *examiner) leafFinding(c *chunk, code, table, column string, seq int64, expected, found, message string) {
	e.finding(c, Finding{Code: code, Table: table, Column: column, From: seq, To: seq + 1, Expected: expected, Found: found, Message: message})
}

// readLeaves reads the leaf segments of a chunk. Missing and malformed
// leaves are findings; the rest is checked all the same.
func (e *examiner) readLeaves(ctx context.Context, c *chunk) error {
	const table = "leaf_segments"
	next := c.from
	gap := func(to int64) {
		if next < to {
			e.finding(c, Finding{Code: CodeLeaf, Table: table, From: next, To: to, Message: "leaves are missing"})
			for ; next < to; next++ {
				c.leaves = append(c.leaves, liveLeaf{seq: next})
			}
		}
	}
	err := e.read.Segments(ctx, e.log.LogRef, c.from, c.to, func(s store.LeafSegment) error {
		bad := func(message string) {
			e.finding(c, Finding{Code: CodeLeaf, Table: table, From: s.First, To: s.First + int64(s.Count), Message: message})
		}
		data, err := seal.DecompressLeaves(s.Data)
		if err != nil {
			bad("the leaf segment does not decompress")
			return nil
		}
		leaves, err := c2sp.SplitEntries(data, s.Count)
		if err != nil {
			bad("the leaf segment does not hold the leaves it counts")
			return nil
		}
		if s.First < next && s.First >= c.from {
			bad("the leaf segment overlaps another")
		}
		gap(min(s.First, c.to))
		for i, raw := range leaves {
			seq := s.First + int64(i)
			if seq < next || seq >= c.to {
				continue
			}
			leaf, err := evidence.ParseLeaf(raw)
			if err != nil {
				e.leafFinding(c, CodeLeaf, table, "", seq, "", "", err.Error())
			}
			c.leaves = append(c.leaves, liveLeaf{seq: seq, leaf: leaf, hash: evidence.LeafHash(raw)})
			next = seq + 1
		}
		return nil
	})
	gap(c.to)
	return err
}

// readRows compares every column of the chunk's topic rows with the leaves, marks those
// leaves whose row is not there, and returns the rows by leaf.
func (e *examiner) readRows(ctx context.Context, c *chunk) ([]*store.Row, error) {
	rows := make([]*store.Row, len(c.leaves))
	for _, k := range evidence.Kinds() {
		err := e.read.Rows(ctx, e.log.LogRef, k, c.from, c.to, func(r *store.Row) error {
			l := &c.leaves[r.Seq-c.from]
			switch {
			case l.leaf == nil:
				return nil // said already
			case l.leaf.Kind != k || rows[r.Seq-c.from] != nil:
				e.leafFinding(c, CodeColumn, k.Table(), "", r.Seq, l.leaf.Kind.Table(), k.Table(), "a row for a leaf of another kind")
				return nil
			}
			row := *r
			row.Facts = nil
			rows[r.Seq-c.from] = &row
			e.compareRow(c, l.leaf, r)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range c.leaves {
		c.leaves[i].gone = c.leaves[i].leaf != nil && rows[i] == nil
	}
	return rows, nil
}

func (e *examiner) compareRow(c *chunk, leaf *evidence.Leaf, r *store.Row) {
	table := leaf.Kind.Table()
	differ := func(column, expected, found string) {
		e.leafFinding(c, CodeColumn, table, column, leaf.Seq, expected, found, "the column is not what the leaf says")
	}
	if r.RecordedAt != leaf.RecordedAt {
		differ("recorded_at", leaf.RecordedAt.String(), r.RecordedAt.String())
	}
	if r.OccurredAt != leaf.OccurredAt {
		differ("occurred_at", leaf.OccurredAt.String(), r.OccurredAt.String())
	}
	if r.Run != leaf.Run {
		differ("run_id", leaf.Run, r.Run)
	}
	if r.N != leaf.N { // both 0 where there is no run
		differ("n", strconv.FormatInt(leaf.N, 10), strconv.FormatInt(r.N, 10))
	}
	i, j := 0, 0
	for i < len(leaf.Pub) || j < len(r.Facts) {
		switch {
		case j == len(r.Facts) || (i < len(leaf.Pub) && leaf.Pub[i].Field.Index() < r.Facts[j].Field.Index()):
			differ(leaf.Pub[i].Field.Column(), factText(&leaf.Pub[i]), "null")
			i++
		case i == len(leaf.Pub) || leaf.Pub[i].Field.Index() > r.Facts[j].Field.Index():
			differ(r.Facts[j].Field.Column(), "null", factText(&r.Facts[j]))
			j++
		default:
			if !sameFact(&leaf.Pub[i], &r.Facts[j]) {
				differ(leaf.Pub[i].Field.Column(), factText(&leaf.Pub[i]), factText(&r.Facts[j]))
			}
			i++
			j++
		}
	}
}

func sameFact(a, b *evidence.Fact) bool {
	return a.Int == b.Int && a.Str == b.Str && slices.Equal(a.List, b.List)
}

func factText(f *evidence.Fact) string { return string(f.AppendJSON(nil)) }

// checkIDs looks up the ids of the chunk's records.
func (e *examiner) checkIDs(ctx context.Context, c *chunk) error {
	var ids []evidence.ID
	var seqs []int64
	for i := range c.leaves {
		if l := &c.leaves[i]; l.leaf != nil && !foundBySpan(l.leaf) {
			ids = append(ids, l.leaf.ID)
			seqs = append(seqs, l.seq)
		}
	}
	if ids == nil {
		return nil
	}
	found, err := e.read.FindIDs(ctx, e.log.Tenant, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		pos, ok := found[id]
		want := store.Position{LogNo: e.log.No, Seq: seqs[i]}
		switch {
		case !ok:
			e.leafFinding(c, CodeID, "record_ids", "", seqs[i], id.String(), "", "the id of the record is missing")
		case pos != want:
			e.leafFinding(c, CodeID, "record_ids", "", seqs[i], fmt.Sprint(want), fmt.Sprint(pos), "the id of the record points elsewhere")
		}
	}
	return nil
}

// foundBySpan reports whether a record has no entry in record_ids.
func foundBySpan(l *evidence.Leaf) bool {
	return l.Kind == evidence.KindTraceStep && l.Text("span_id") != "" && l.Text("conflict_of") == ""
}

var segmentColumns = [...]string{"sealed_segment", "actor_segment"}

// checkContent opens a record's sealed fields and compares them with its
// commitments.
func (e *examiner) checkContent(ctx context.Context, c *chunk, leaf *evidence.Leaf, row *store.Row) error {
	if row == nil {
		return nil
	}
	opened := map[string]string{}
	var idle []string // columns that refer to a segment without content of the record
	for at, no := range []int64{row.Segment, row.ActorSegment} {
		if no == store.NoSegment {
			continue
		}
		s, err := e.content.segment(ctx, no)
		if err != nil {
			return err
		}
		if s.err != nil {
			e.leafFinding(c, CodeCommit, "sealed_segments", "data", leaf.Seq, "", "", "the sealed content of the record does not open")
			continue
		}
		o := s.openings[leaf.ID]
		use := c.segments[no]
		if s.openings != nil && use.openings == 0 {
			use = segmentUse{id: s.id, openings: len(s.openings)}
		}
		if o == nil {
			c.segments[no] = use
			idle = append(idle, segmentColumns[at])
			continue
		}
		use.used++
		c.segments[no] = use
		if at == 1 {
			if err := e.checkActorKey(ctx, c, leaf, s, o); err != nil {
				return err
			}
		}
		for _, f := range o.Fields {
			want, has := leaf.Commitment(f.Path)
			switch _, twice := opened[f.Path]; {
			case !has || twice:
				e.leafFinding(c, CodeCommit, "sealed_segments", "data", leaf.Seq, "", f.Path, "sealed content that the leaf does not commit to")
			case evidence.Commit(f.Path, o.Salt(f.Path), []byte(f.JSON)) != want:
				e.leafFinding(c, CodeCommit, "sealed_segments", "data", leaf.Seq, "", f.Path, "sealed content does not open its commitment")
			}
			opened[f.Path] = f.JSON
		}
	}
	whole := true
	for _, h := range leaf.H {
		if _, ok := opened[h.Path]; !ok {
			whole = false
			c.missing = append(c.missing, missingField{
				log: e.log.Origin, seq: leaf.Seq, path: h.Path, trace: traceScope(leaf), kind: leaf.Kind, synthetic: synthetic(leaf),
			})
		}
	}
	if whole { // else what it referred to may have been erased
		for _, column := range idle {
			e.leafFinding(c, CodeColumn, leaf.Kind.Table(), column, leaf.Seq, "", "", "the column refers to sealed content that is not the record's")
		}
	}
	e.collectTargets(c, leaf, opened)
	e.collectTerms(c, leaf, opened)
	return nil
}

// checkActorKey checks that a person's actor stands under that person's key.
func (e *examiner) checkActorKey(ctx context.Context, c *chunk, leaf *evidence.Leaf, s *segment, o *seal.Opening) error {
	text, _ := o.Field("/actor")
	actor := evidence.ActorOf([]byte(text))
	scope, label, err := e.sealer.KeyScope(ctx, e.read, e.log.Tenant, s.key)
	if err != nil {
		return err
	}
	if e.key != nil && (scope != store.ScopePerson || label != seal.PersonLabel(e.key, actor)) {
		e.leafFinding(c, CodeCommit, "data_keys", "label", leaf.Seq, "", "", "the actor is not sealed under the key of that person")
	}
	return nil
}

func (e *examiner) collectTargets(c *chunk, leaf *evidence.Leaf, opened map[string]string) {
	if leaf.Kind != evidence.KindAudit {
		return
	}
	if ev := leaf.Text("event_type"); ev != eventErased && ev != eventRetention {
		return
	}
	text, ok := opened["/targets"]
	if !ok {
		return
	}
	t, err := evidence.ParseTargets([]byte(text))
	if err != nil {
		e.leafFinding(c, CodeCommit, "audit_ledger", "targets", leaf.Seq, "", "", "the targets of the record do not parse")
		return
	}
	own := target{log: e.log.Origin, before: leaf.Seq, by: store.Position{LogNo: e.log.No, Seq: leaf.Seq}}
	if leaf.Text("event_type") == eventRetention {
		own.kind, own.synthetic = evidence.KindOfTable(leaf.Text("entity_id")), leaf.Text("rule_id") == evidence.ClassSynthetic
		if until, ok := leaf.Int("valid_until"); ok && own.kind != 0 {
			own.until = evidence.Micros(until)
		}
		if own.kind == evidence.KindAudit && !own.synthetic {
			e.leafFinding(c, CodeColumn, "audit_ledger", "targets", leaf.Seq, "", "", "orders the removal of audit records, which are never removed")
		}
	}
	// Of an entity that is no table, ranges say nothing: they would be read as about all
	// kinds, and of any time.
	nothing := leaf.Text("event_type") == eventRetention && own.kind == 0
	if t.Log != "" && t.Log != e.log.Origin {
		own.log, own.before = t.Log, evidence.MaxInt
	}
	for _, r := range t.Ranges {
		if nothing {
			e.leafFinding(c, CodeColumn, "audit_ledger", "targets", leaf.Seq, "", "", "orders the removal of records of no table")
			continue
		}
		own.TargetRange = r
		c.targets = append(c.targets, own)
	}
}

func (e *examiner) collectTerms(c *chunk, leaf *evidence.Leaf, opened map[string]string) {
	if e.key == nil {
		return
	}
	paths := make([]string, 0, len(leaf.H))
	for _, h := range leaf.H {
		if _, ok := opened[h.Path]; ok {
			paths = append(paths, h.Path)
		}
	}
	for _, t := range seal.IndexTerms(e.key, leaf.Kind, paths, func(p string) string { return opened[p] }) {
		c.terms = append(c.terms, expectedTerm{t.Name, t.MAC, leaf.Seq, traceScope(leaf), leaf.Kind, synthetic(leaf)})
	}
	e.checkReplacements(c, leaf, opened)
}

// checkReplacements checks that a name of the form that stands for an unfit
// one does stand for the sealed one, and that a sealed one has it.
func (e *examiner) checkReplacements(c *chunk, leaf *evidence.Leaf, opened map[string]string) {
	for i := range leaf.Pub {
		f := &leaf.Pub[i]
		if f.Field.Type != evidence.TypeName && f.Field.Type != evidence.TypeNames {
			continue
		}
		path := "/" + f.Field.Name
		_, sealed := leaf.Commitment(path)
		stands := evidence.IsReplacement(f.Str) || slices.ContainsFunc(f.List, evidence.IsReplacement)
		if sealed != stands {
			e.leafFinding(c, CodeLeaf, "leaf_segments", f.Field.Name, leaf.Seq, "", factText(f), "a replaced name and its sealed text do not go together")
			continue
		}
		text, ok := opened[path]
		if !ok {
			continue
		}
		if want := seal.Replaced(e.key, f, []byte(text)); !sameFact(&want, f) {
			e.leafFinding(c, CodeCommit, "leaf_segments", f.Field.Name, leaf.Seq, factText(&want), factText(f), "a replaced name is not that of its sealed text")
		}
	}
}
