package postgres

import (
	"encoding/hex"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// load is what a commit copies to one log, encoded before its transaction
// begins: while that is open it holds the log's head.
type load struct {
	tenant string
	log    int64

	topics                                         []*copier // by kind; nil where there is no row
	spans, ids, revisions, segments, tiles, sealed *copier
}

var (
	spanRow     = []string{"tenant_id", "trace_id", "span_id", "log_no", "leaf_index"}
	idRow       = []string{"tenant_id", "id", "log_no", "leaf_index"}
	revisionRow = []string{"tenant_id", "run_id", "revision", "log_no", "leaf_index"}
	segmentRow  = []string{"tenant_id", "log_no", "first", "count", "data"}
	tileRow     = []string{"tenant_id", "log_no", "level", "n", "data"}
	sealedRow   = []string{"tenant_id", "log_no", "no", "recorded_at", "id", "key_id", "data"}
)

// maxLevels is how many levels of tiles there can be: 256 hashes a tile, 2^63
// leaves.
const maxLevels = 8

func newLoad(c *store.LogCommit) (*load, error) {
	l := &load{
		tenant: c.Log.Tenant, log: int64(c.Log.No), topics: make([]*copier, len(topics)),
		spans:     &copier{table: "spans", columns: spanRow, what: "a span", taken: duplicate},
		ids:       &copier{table: "record_ids", columns: idRow, what: "a record's id", taken: duplicate},
		revisions: &copier{table: "run_revisions", columns: revisionRow, what: "a revision of a run", taken: duplicate},
		segments:  &copier{table: "leaf_segments", columns: segmentRow, what: "a leaf segment", taken: occupied},
		tiles:     &copier{table: "tiles", columns: tileRow, what: "a tile", taken: occupied},
		sealed:    &copier{table: "sealed_segments", columns: sealedRow, what: "a sealed segment", taken: conflict},
	}
	for i := range c.Entries {
		if err := l.addEntry(&c.Entries[i]); err != nil {
			return nil, err
		}
	}
	for i := range c.Segments {
		l.addSegment(&c.Segments[i])
	}
	for i := range c.Tiles {
		t := &c.Tiles[i]
		if t.Level < 0 || t.Level >= maxLevels || t.N < 0 {
			return nil, invalid("tile %d/%d", t.Level, t.N)
		}
		l.tiles.row()
		l.place(l.tiles)
		l.tiles.int(int64(t.Level))
		l.tiles.int(t.N)
		l.tiles.bytes(t.Data)
	}
	for i := range c.Sealed {
		seg := &c.Sealed[i]
		if seg.LogNo != c.Log.No || seg.No < 0 {
			return nil, invalid("sealed segment %d of log %d in a commit of log %d", seg.No, seg.LogNo, c.Log.No)
		}
		l.addSealed(seg, beganAt(c, seg))
	}
	return l, nil
}

// beganAt is the time of the record that a sealed segment begins with. A segment
// whose number names none of its commit has the time of the commit's first.
func beganAt(c *store.LogCommit, seg *store.SealedSegment) evidence.Micros {
	i := seg.No>>store.SegmentBits - c.Prev.Size
	if i < 0 || i >= int64(len(c.Entries)) {
		i = 0
	}
	return c.Entries[i].Leaf.RecordedAt
}

// all are the copies in the order in which they are sent. What another process
// may have stored first comes first: it is the least in vain.
func (l *load) all() []*copier {
	list := []*copier{l.spans, l.ids, l.revisions}
	for _, c := range l.topics {
		if c != nil {
			list = append(list, c)
		}
	}
	return append(list, l.segments, l.tiles, l.sealed)
}

// place writes the first two columns of a row that begins with its log.
func (l *load) place(c *copier) {
	c.text(l.tenant)
	c.int(l.log)
}

func (l *load) addSegment(seg *store.LeafSegment) {
	l.segments.row()
	l.place(l.segments)
	l.segments.int(seg.First)
	l.segments.int(int64(seg.Count))
	l.segments.bytes(seg.Data)
}

func (l *load) addSealed(seg *store.SealedSegment, at evidence.Micros) {
	l.sealed.row()
	l.sealed.text(l.tenant)
	l.sealed.int(int64(seg.LogNo))
	l.sealed.int(seg.No)
	l.sealed.int(int64(at))
	l.sealed.bytes(seg.ID[:])
	l.sealed.bytes(seg.Key[:])
	l.sealed.bytes(seg.Data)
}

// keys are the facts of a record that make it unique.
type keys struct {
	trace, span string
	revision    int64 // 0: none, they count from 1
	conflicts   bool
}

// addEntry encodes a record's topic row and what makes it unique.
func (l *load) addEntry(e *store.Entry) error {
	leaf := e.Leaf
	t := topicOf(leaf.Kind)
	if t == nil {
		return invalid("%s", leaf.Kind)
	}
	c := l.topics[t.kind]
	if c == nil {
		c = &copier{table: t.table, columns: t.columns, what: "a row of " + t.table, taken: occupied}
		l.topics[t.kind] = c
	}
	c.row()
	l.place(c)
	c.int(leaf.Seq)
	c.int(int64(leaf.RecordedAt))
	c.int(int64(leaf.OccurredAt))
	if leaf.Run != "" {
		c.text(leaf.Run)
		c.int(leaf.N)
	} else {
		c.null()
		c.null()
	}
	c.intOrNull(e.Segment)
	c.intOrNull(e.ActorSegment)
	k, err := t.facts(c, leaf)
	if err != nil {
		return err
	}
	return l.addKeys(leaf, k)
}

// facts writes the columns of a leaf's public facts, which are sorted like them.
func (t *topic) facts(c *copier, leaf *evidence.Leaf) (k keys, err error) {
	at := 0
	for i := range leaf.Pub {
		f := &leaf.Pub[i]
		to := f.Field.Index()
		if to >= len(t.fields) || t.fields[to] != f.Field || to < at {
			return k, invalid("%s has no field %s", t.kind, f.Field.Name)
		}
		for ; at < to; at++ {
			c.null()
		}
		at++
		switch t.encoding[to] {
		case encText:
			c.text(f.Str)
		case encList:
			if len(f.List) == 0 {
				c.text("[]")
			} else {
				c.appended(f.AppendJSON)
			}
		default:
			c.int(f.Int)
		}
		switch f.Field.Name {
		case "conflict_of":
			k.conflicts = true
		case "trace_id":
			k.trace = f.Str
		case "span_id":
			k.span = f.Str
		case "revision":
			k.revision = f.Int
		}
		if f.Field.Type == evidence.TypeSpanID && !isHex(f.Str, 8) {
			return k, invalid("span id %q", f.Str)
		}
	}
	for ; at < len(t.fields); at++ {
		c.null()
	}
	return k, nil
}

// addKeys writes the rows by which a record is stored only once.
func (l *load) addKeys(leaf *evidence.Leaf, k keys) error {
	if leaf.Kind == evidence.KindLLMRun && leaf.Run != "" && k.revision != 0 && !k.conflicts {
		l.revisions.row()
		l.revisions.text(l.tenant)
		l.revisions.text(leaf.Run)
		l.revisions.int(k.revision)
		l.revisions.int(l.log)
		l.revisions.int(leaf.Seq)
	}
	if leaf.Kind == evidence.KindTraceStep && k.span != "" && !k.conflicts {
		if !isHex(k.trace, 16) {
			return invalid("trace id %q", k.trace)
		}
		l.spans.row()
		l.spans.text(l.tenant)
		l.spans.appended(func(b []byte) []byte { return appendHex(b, k.trace) })
		l.spans.appended(func(b []byte) []byte { return appendHex(b, k.span) })
		l.spans.int(l.log)
		l.spans.int(leaf.Seq)
		return nil
	}
	l.ids.row()
	l.ids.text(l.tenant)
	l.ids.bytes(leaf.ID[:])
	l.ids.int(l.log)
	l.ids.int(leaf.Seq)
	return nil
}

// isHex reports whether s is so many bytes in lower-case hex digits: another
// text of the same bytes would be taken for the same id.
func isHex(s string, bytes int) bool {
	if len(s) != 2*bytes {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// appendHex appends the bytes of hex digits that isHex has seen.
func appendHex(dst []byte, s string) []byte {
	dst, _ = hex.AppendDecode(dst, []byte(s))
	return dst
}

func duplicate(err error, what string) error {
	return fmt.Errorf("%w: %s: %w", store.ErrDuplicate, what, err)
}

func conflict(err error, what string) error {
	return fmt.Errorf("postgres: %s is taken or was removed: %w: %w", what, evidence.ErrConflict, err)
}
