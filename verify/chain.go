package verify

import (
	"slices"

	"github.com/runledger/runledger/evidence"
)

// stretch is what the records of a sparse directory reach over.
type stretch struct {
	first, last     int64 // seq
	firstAt, lastAt evidence.Micros
	inside          int64      // records of the bundle's period
	holes           []interval // seqs that are missing between two records
	more            int64      // holes beyond [maxFindings]
}

// add takes the next record, in order of seq. The record of an erasure or expiry
// that stands apart from the others is none of the stretch: it may be much later
// than the leaves that it accounts for.
func (s *stretch) add(l *evidence.Leaf, none bool) {
	if none {
		s.first, s.firstAt = l.Seq, l.RecordedAt
	} else if l.Seq > s.last+1 {
		if l.Kind == evidence.KindAudit && coverReasons[l.Text("event_type")] != "" {
			return
		}
		if len(s.holes) < maxFindings {
			s.holes = append(s.holes, interval{s.last + 1, l.Seq})
		} else {
			s.more++
		}
	}
	s.last, s.lastAt = l.Seq, l.RecordedAt
}

// shared reports whether a record is one that the system's log shares with
// tenants.
func shared(l *evidence.Leaf) bool {
	return l.Kind == evidence.KindSystem && l.Run == "" && l.Text("visibility") == "shared"
}

// chain finds the tenant's logs among the directories of a sparse bundle:
// logs/0, then the log that its LOG_OPENED names as its predecessor, and so
// on, as far as the bundle tells. A directory outside that holds nothing but
// shared system records is the system's log. The manifest does not say so, and
// need not.
func (c *checker) chain() {
	if c.man.Profile == ProfileLog {
		return
	}
	c.order = []int{0}
	for {
		l := c.logs[c.order[len(c.order)-1]]
		if l == nil || l.opened.predecessor == nil {
			break
		}
		k := c.dirOf(l.opened.predecessor.Origin)
		if k < 0 || slices.Contains(c.order, k) {
			break
		}
		c.order = append(c.order, k)
	}
	for k, l := range c.logs {
		if l != nil && !l.unshared && !slices.Contains(c.order, k) {
			l.report.System = true
		}
	}
}

// dirOf returns the number of a log's directory, or −1.
func (c *checker) dirOf(origin string) int {
	return slices.IndexFunc(c.man.Logs, func(l ManifestLog) bool { return l.Origin == origin })
}

// before returns the directory of the log that this one names as its predecessor, or −1 where it names none or the bundle does not hold it.
func (c *checker) before(l *logState) int {
	if l.opened.predecessor == nil {
		return -1
	}
	return c.dirOf(l.opened.predecessor.Origin)
}
