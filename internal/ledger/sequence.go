package ledger

import (
	"bytes"
	"slices"
	"sync"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// planRoom is memory that one plan after the other uses.
type planRoom struct {
	leaf   []byte
	seg    []byte // entries of the leaf segment that is being filled
	packed []byte
}

var planRooms = sync.Pool{New: func() any { return new(planRoom) }}

// sequence gives a record its place: the facts that only the server knows,
// the leaf bytes, the leaf hash, the place in the tree.
func (lp *logPlan) sequence(p *plan, s *seal.Sealed, t evidence.Micros) (evidence.Hash, *evidence.Leaf) {
	o, r := lp.log, s.Record
	pub := r.Pub
	if r.Kind == evidence.KindLLMRun || r.Text("conflict_of") != "" {
		pub = slices.Clone(pub) // the record keeps its marks, should it be sequenced again
	}
	leaf := &evidence.Leaf{
		Log: o.Origin, Seq: o.next.tree.size(), ID: r.ID, Kind: r.Kind, RecordedAt: t, OccurredAt: r.OccurredAt,
		Run: r.Run, Pub: pub, H: s.H,
	}
	if r.Run != "" {
		lp.number(p, leaf)
	}
	room := lp.room
	var err error
	room.leaf, err = leaf.Append(room.leaf[:0])
	if err != nil {
		panic("ledger: " + err.Error()) // checkSize let it through: a broken invariant
	}
	hash := evidence.LeafHash(room.leaf)
	o.next.tree.append(hash, func(tile store.Tile) { lp.commit.Tiles = append(lp.commit.Tiles, tile) })
	o.next.lastT = t
	room.seg = appendEntry(room.seg, room.leaf)
	lp.segN++
	if (leaf.Seq+1)%segmentLeaves == 0 {
		lp.closeSegment(leaf.Seq + 1)
	}
	return hash, leaf
}

// number sets the facts that count within the run.
func (lp *logPlan) number(p *plan, leaf *evidence.Leaf) {
	k := runKey{lp.log.Tenant, leaf.Run}
	st, _ := p.runs.get(k)
	leaf.N = st.NextN
	conflict := leaf.Text("conflict_of") != ""
	switch leaf.Kind {
	case evidence.KindTraceStep:
		if conflict { // it has the index of the step that it contradicts
			if at, _ := leaf.Int("step_index"); at == stepOfConflict {
				setInt(leaf, "step_index", lp.stepIndex(leaf.Text("conflict_of")))
			}
		} else {
			setInt(leaf, "step_index", st.NextStep)
			st.NextStep++
		}
		late := int64(0)
		if st.Revision > 0 {
			late = 1
		}
		setInt(leaf, "late", late)
	case evidence.KindLLMRun:
		setInt(leaf, "record_count", leaf.N+1)
		if n, _ := leaf.Int("step_count"); n == stepCountOfRun {
			setInt(leaf, "step_count", st.NextStep)
		}
		if rev, _ := leaf.Int("revision"); !conflict {
			st.Revision = max(st.Revision, rev)
		}
		p.runEnds = true
	}
	st.NextN++
	st.Open = conflict || leaf.Kind != evidence.KindLLMRun
	st.Last = store.Position{LogNo: lp.log.No, Seq: leaf.Seq}
	p.runs.put(k, st)
	lp.runs[leaf.Run] = st
	p.touched = append(p.touched, k)
}

// stepOfConflict stands for the index of a step that comes in the same plan.
const stepOfConflict = -1

func (lp *logPlan) stepIndex(id string) int64 {
	for _, e := range lp.commit.Entries {
		if e.Leaf.ID.String() == id {
			n, _ := e.Leaf.Int("step_index")
			return n
		}
	}
	return 0
}

func setInt(leaf *evidence.Leaf, name string, v int64) {
	leaf.SetFact(evidence.Fact{Field: evidence.PublicField(leaf.Kind, name), Int: v})
}

// placeSegments numbers the sealed segments that begin with this record and
// makes the record's entry.
func (lp *logPlan) placeSegments(s *seal.Sealed, batch *seal.Batch, segNo []int64, leaf *evidence.Leaf) {
	place := func(at int, actor bool) int64 {
		if at < 0 {
			return store.NoSegment
		}
		if segNo[at] == store.NoSegment {
			segNo[at] = segmentNo(leaf.Seq, actor)
			seg := &batch.Segments[at]
			lp.commit.Sealed = append(lp.commit.Sealed, store.SealedSegment{
				SegmentRef: store.SegmentRef{LogNo: lp.log.No, No: segNo[at]}, ID: seg.ID, Key: seg.Key, Data: seg.Data,
			})
		}
		return segNo[at]
	}
	e := store.Entry{Leaf: leaf, Segment: place(s.Segment, false), ActorSegment: place(s.Actor, true)}
	lp.commit.Entries = append(lp.commit.Entries, e)
	trace := traceScope(leaf)
	for _, term := range s.Index {
		if trace != "" {
			once := indexedOnce{trace, term.Name, term.MAC}
			if _, ok := lp.indexed[once]; ok {
				continue
			}
			lp.indexed[once] = struct{}{}
		}
		lp.commit.Index = append(lp.commit.Index, store.IndexEntry{
			Name: term.Name, MAC: term.MAC, Position: store.Position{LogNo: lp.log.No, Seq: leaf.Seq}, Trace: trace,
		})
	}
}

// traceScope returns the trace within which a record's index terms are kept
// once.
func traceScope(leaf *evidence.Leaf) string {
	if leaf.Kind == evidence.KindTraceStep || leaf.Kind == evidence.KindTraceEvent {
		return leaf.Text("trace_id")
	}
	return ""
}

func (lp *logPlan) closeSegment(end int64) {
	if lp.segN == 0 {
		return
	}
	room := lp.room
	room.packed = seal.Compress(room.packed[:0], room.seg)
	lp.commit.Segments = append(lp.commit.Segments, store.LeafSegment{
		First: end - int64(lp.segN), Count: lp.segN, Data: bytes.Clone(room.packed),
	})
	room.seg, lp.segN = room.seg[:0], 0
}
