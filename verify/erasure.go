package verify

import (
	"cmp"
	"math"
	"slices"

	"github.com/runledger/runledger/evidence"
)

// maxTargets is the greatest size in bytes of a /targets value that is read;
// longer lists are split over several records.
const maxTargets = 1 << 20

// cover is what an ErasureExecuted or RetentionApplied says is gone: one
// path, or all, of the leaves from (in it) to (not in it) of a log.
type cover struct {
	log      string // origin
	by       int    // number of the directory that holds the record
	from, to int64
	path     int             // in sealedPaths; −1 for all
	kind     evidence.Kind   // of the leaves; 0 for all
	made     bool            // of synthetic leaves alone
	before   evidence.Micros // only leaves that were recorded before this
	reason   Reason
}

// claim is a withheld line that needs such a record.
type claim struct {
	seq    int64
	at     evidence.Micros // t of the leaf
	path   uint8
	kind   evidence.Kind
	made   bool  // of a synthetic leaf
	reason uint8 // in reasons
}

// coverReasons are the audit events that cover claims.
var coverReasons = map[string]Reason{"ErasureExecuted": Erased, "RetentionApplied": Expired}

// noTime is after all times: what is bounded by it is not.
const noTime = evidence.Micros(math.MaxInt64)

// about returns a cover for the leaves that the targets of a record speak of. An erasure
// means the very leaves that it names. What expires leaves one table, which the record
// names as its entity: its ranges go over the leaves of other kinds that stand between, and
// say nothing of them; where the record's class is that of synthetic records, of others
// neither, and nothing of what was recorded from its valid_until on. The records of the audit
// ledger never expire, but for synthetic ones.
func about(l *evidence.Leaf, reason Reason) cover {
	c := cover{reason: reason, before: noTime}
	if reason != Expired {
		return c
	}
	c.kind, c.made = evidence.KindOfTable(l.Text("entity_id")), l.Text("rule_id") == evidence.ClassSynthetic
	c.made = c.made || c.kind == evidence.KindAudit
	if before, ok := l.Int("valid_until"); ok && c.kind != 0 {
		c.before = evidence.Micros(before)
	}
	return c
}

// isMade reports whether a leaf is of a synthetic record.
func isMade(l *evidence.Leaf) bool {
	n, _ := l.Int("is_synthetic")
	return n != 0
}

// parseTargets reads the /targets of the record at seq of a log. A record
// can only speak of leaves before it, or of an earlier log of its tenant: see
// [uncovered].
func parseTargets(value []byte, log string, seq int64, of cover) ([]cover, error) {
	t, err := evidence.ParseTargets(value)
	if err != nil {
		return nil, err
	}
	before := seq
	if t.Log != "" && t.Log != log {
		log, before = t.Log, evidence.MaxInt
	}
	var out []cover
	for _, r := range t.Ranges {
		c := of
		c.log, c.from, c.to, c.path = log, r.From, min(r.To, before), -1
		if len(r.Paths) == 0 {
			out = append(out, c)
		}
		for _, p := range r.Paths {
			if c.path = pathIndex(p); c.path < 0 {
				return nil, invalid("unknown path %.100q", p)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// interval is a range of leaves: from is in it, to is not.
type interval struct{ from, to int64 }

// uncovered returns the claims about the log of directory k that no record covers. They are in
// order of seq, and so of t. Directories stand newest first, and a log is closed before the
// next one opens: a record that stands behind k is older than all of its leaves.
func uncovered(log string, k int, claims []claim, covers []cover) (out []claim) {
	type key struct {
		path   int
		kind   evidence.Kind
		made   bool
		reason Reason
	}
	by := map[key][]interval{}
	for _, c := range covers {
		if c.log != log || c.by > k {
			continue
		}
		if i := youngest(claims, c.before); i < len(claims) {
			c.to = min(c.to, claims[i].seq)
		}
		if c.from < c.to {
			of := key{c.path, c.kind, c.made, c.reason}
			by[of] = append(by[of], interval{c.from, c.to})
		}
	}
	// What covers the claims of one path, kind and reason, found when the first one comes.
	covering := map[key][]interval{}
	for _, c := range claims {
		of := key{int(c.path), c.kind, c.made, reasons[c.reason]}
		list, known := covering[of]
		if !known {
			for _, path := range []int{of.path, -1} {
				for _, kind := range []evidence.Kind{of.kind, 0} {
					list = append(list, by[key{path, kind, false, of.reason}]...)
					if of.made {
						list = append(list, by[key{path, kind, true, of.reason}]...)
					}
				}
			}
			list = merge(list)
			covering[of] = list
		}
		if !inside(list, c.seq) {
			out = append(out, c)
		}
	}
	return out
}

// youngest returns the place of the first claim about a leaf of that time or later.
func youngest(claims []claim, t evidence.Micros) int {
	i, _ := slices.BinarySearchFunc(claims, t, func(c claim, t evidence.Micros) int { return cmp.Compare(c.at, t) })
	return i
}

// merge sorts ranges and joins those that touch.
func merge(list []interval) []interval {
	slices.SortFunc(list, func(a, b interval) int { return int(min(max(a.from-b.from, -1), 1)) })
	out := list[:min(1, len(list))]
	for _, r := range list[len(out):] {
		if last := &out[len(out)-1]; r.from <= last.to {
			last.to = max(last.to, r.to)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func inside(list []interval, seq int64) bool {
	i, exact := slices.BinarySearchFunc(list, seq, func(r interval, s int64) int { return int(min(max(r.from-s, -1), 1)) })
	return exact || i > 0 && seq < list[i-1].to
}
