package verify

import (
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
	path     int // in sealedPaths; −1 for all
	reason   Reason
}

// claim is a withheld line that needs such a record.
type claim struct {
	seq    int64
	path   uint8
	reason Reason
}

// coverReasons are the audit events that cover claims.
var coverReasons = map[string]Reason{"ErasureExecuted": Erased, "RetentionApplied": Expired}

// parseTargets reads the /targets of the record at seq of a log. A record
// can only speak of leaves before it, or of an earlier log of its tenant: see
// [uncovered].
func parseTargets(value []byte, log string, seq int64, reason Reason) ([]cover, error) {
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
		c := cover{log: log, from: r.From, to: min(r.To, before), path: -1, reason: reason}
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

// uncovered returns the claims about the log of directory k that no record covers,
// in order of seq. Directories stand newest first, and a log is closed before the
// next one opens: a record that stands behind k is older than all of its leaves.
func uncovered(log string, k int, claims []claim, covers []cover) (out []claim) {
	type key struct {
		path   int
		reason Reason
	}
	by := map[key][]interval{}
	for _, c := range covers {
		if c.log == log && c.by <= k && c.from < c.to {
			by[key{c.path, c.reason}] = append(by[key{c.path, c.reason}], interval{c.from, c.to})
		}
	}
	for k, list := range by {
		by[k] = merge(list)
	}
	for _, c := range claims {
		if !inside(by[key{int(c.path), c.reason}], c.seq) && !inside(by[key{-1, c.reason}], c.seq) {
			out = append(out, c)
		}
	}
	return out
}

// merge sorts ranges and joins those that touch.
func merge(list []interval) []interval {
	slices.SortFunc(list, func(a, b interval) int { return int(min(max(a.from-b.from, -1), 1)) })
	out := list[:1]
	for _, r := range list[1:] {
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
