package verify

import (
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
)

// RunReport says what a bundle of profile run holds of its run.
type RunReport struct {
	RunID   string `json:"run_id"`
	Records int64  `json:"records"` // of the run itself
	// Ended: the bundle holds an llm_run record of the run. Revision and
	// RecordCount are those of the newest.
	Ended       bool  `json:"ended"`
	Revision    int64 `json:"revision"`
	RecordCount int64 `json:"record_count"`
	// Later are records of the run after those that its newest llm_run counts,
	// the first [MaxLater]; LaterCount is how many there are.
	Later      []LaterRecord `json:"later"`
	LaterCount int64         `json:"later_count"`
}

// MaxLater bounds the later records that a report lists.
const MaxLater = 1000

// LaterRecord is a record that came after its run's newest llm_run.
type LaterRecord struct {
	Dir       string `json:"dir"`
	LeafIndex int64  `json:"leaf_index"`
	N         int64  `json:"n"`
	Kind      string `json:"kind"`
	RecordID  string `json:"record_id"`
}

// runScope is what the records of all directories say of the run together.
type runScope struct {
	correlations map[string]bool // of the run's own records
	others       []otherRecord   // audit entries of other runs
}

// otherRecord is an audit entry of another run, which only a correlation id
// can bring into the bundle.
type otherRecord struct {
	l           *logState
	seq         int64
	run         string
	correlation string
}

// ownRecord is a record of the run of a bundle.
type ownRecord struct {
	seq, n   int64
	id       evidence.ID
	kind     evidence.Kind
	revision int64 // of an llm_run that contradicts none; else 0
}

// ownOf returns what is needed of a record of the bundle's run, at most one.
func (c *checker) ownOf(l *evidence.Leaf) []ownRecord {
	if l.Run == "" || l.Run != c.man.Scope.RunID {
		return nil
	}
	r := ownRecord{seq: l.Seq, n: l.N, id: l.ID, kind: l.Kind}
	if l.Kind == evidence.KindLLMRun && l.Text("conflict_of") == "" {
		r.revision, _ = l.Int("revision")
	}
	return []ownRecord{r}
}

// scope returns why a record has no place in a bundle of its run, or "". What
// does not belong to the run are system records and audit entries of no run,
// exports of this run, the records of erasures and expiries, and audit entries
// of other runs with a correlation id of this one.
func (c *checker) scope(l *logState, leaf *evidence.Leaf) string {
	s := &c.inScope
	switch run := leaf.Run; {
	case run == c.man.Scope.RunID:
		if id := leaf.Text("correlation_id"); id != "" {
			if s.correlations == nil {
				s.correlations = map[string]bool{}
			}
			s.correlations[id] = true
		}
		return ""
	case run == "" && (leaf.Kind == evidence.KindSystem || leaf.Kind == evidence.KindAudit):
		return ""
	case run == "" && leaf.Kind == evidence.KindExport && leaf.Text("about_run") == c.man.Scope.RunID:
		return ""
	case leaf.Kind != evidence.KindAudit:
		return fmt.Sprintf("a record of kind %s and run %q has no place in the bundle of run %q", leaf.Kind, run, c.man.Scope.RunID)
	case coverReasons[leaf.Text("event_type")] != "":
		return ""
	default:
		s.others = append(s.others, otherRecord{l, leaf.Seq, run, leaf.Text("correlation_id")})
		return ""
	}
}

// strangers reports audit entries of other runs that nothing binds to this one,
// once all records of the run are known.
func (c *checker) strangers() {
	for _, o := range c.inScope.others {
		if !c.inScope.correlations[o.correlation] {
			c.rep.add(Finding{
				Code: ELeaf, Log: o.l.Origin, Dir: o.l.Dir, From: o.seq, To: o.seq + 1,
				Message: fmt.Sprintf("an audit entry of run %q, which no correlation id binds to run %q", o.run, c.man.Scope.RunID),
			})
		}
	}
}

// runComplete is check 9 for a bundle of profile run: n from 0 without gaps,
// from the oldest log to the newest, with an llm_run record that counts them.
// Records may be missing only where a log names one as its predecessor that was
// left out for want of a key.
func (c *checker) runComplete() {
	rep := &RunReport{RunID: c.man.Scope.RunID, Later: []LaterRecord{}}
	c.rep.Run = rep
	want, jump := int64(0), false
	for k := len(c.logs) - 1; k >= 0; k-- {
		l := c.logs[k]
		if l == nil {
			continue
		}
		if older := c.before(l); older >= 0 && c.logs[older] == nil {
			jump = true
		}
		for _, r := range l.own {
			if jump && r.n > want {
				c.rep.add(Finding{
					Code: WNoKey, Log: l.Origin, Dir: l.Dir,
					Message: fmt.Sprintf("run %q: records n = %d to %d are not here; they may stand in a log before this one that was left out, and nothing shows that they do", rep.RunID, want, r.n-1),
				})
				want = r.n
			}
			jump = false
			if r.n != want {
				c.rep.add(*gap(l, r.seq, r.seq+1, gapMessage(rep.RunID, want)))
			}
			want = r.n + 1
			rep.Records++
			if r.revision > 0 && r.revision >= rep.Revision {
				rep.Ended, rep.Revision, rep.RecordCount = true, r.revision, r.n+1
			}
		}
	}
	head := c.logs[0]
	switch {
	case rep.Records == 0 && !jump:
		c.rep.add(Finding{Code: EGap, Log: head.Origin, Dir: head.Dir, Message: fmt.Sprintf("run %q: the bundle holds no record of it", rep.RunID)})
	case !rep.Ended:
		c.rep.add(Finding{Code: WOpen, Log: head.Origin, Dir: head.Dir, Message: fmt.Sprintf("run %q: its end is not recorded here; what is here has no gaps, and nothing says how much was still to come", rep.RunID)})
	}
	c.later(rep)
	c.manifestOrder()
	c.foreign()
}

// gap is a finding about leaves from to to; 0 and 0 where none are meant.
func gap(l *logState, from, to int64, message string) *Finding {
	return &Finding{Code: EGap, Log: l.Origin, Dir: l.Dir, From: from, To: to, Message: message}
}

// later lists what came after the run's newest llm_run.
func (c *checker) later(rep *RunReport) {
	if !rep.Ended {
		return
	}
	for k := len(c.logs) - 1; k >= 0; k-- {
		l := c.logs[k]
		if l == nil {
			continue
		}
		for _, r := range l.own {
			if r.n < rep.RecordCount {
				continue
			}
			if rep.LaterCount++; len(rep.Later) < MaxLater {
				rep.Later = append(rep.Later, LaterRecord{Dir: l.Dir, LeafIndex: r.seq, N: r.n, Kind: r.kind.String(), RecordID: r.id.String()})
			}
		}
	}
}

// foreign says which directories nothing makes one of the tenant's: their records of
// no run, such as entries about policies, may be anybody's.
func (c *checker) foreign() {
	if c.logs[c.order[len(c.order)-1]] == nil {
		return // W_NO_KEY: they may stand behind that one
	}
	for k, l := range c.logs {
		if l != nil && !l.report.System && !slices.Contains(c.order, k) {
			c.rep.add(Finding{
				Code: WPredecessor, Log: l.Origin, Dir: l.Dir,
				Message: "nothing in the bundle leads from the newest log to this one: its records may be another tenant's",
			})
		}
	}
}

// manifestOrder says where nothing but the manifest puts the logs of a run in
// their order: each must name the one behind it as its predecessor. The
// system's log stands among them, but is none of them.
func (c *checker) manifestOrder() {
	var logs []*logState // nil where records were left out
	first, last := -1, -1
	for _, l := range c.logs {
		if l != nil && l.report.System {
			continue
		}
		if l != nil && len(l.own) > 0 {
			if last = len(logs); first < 0 {
				first = last
			}
		}
		logs = append(logs, l)
	}
	for k := max(first, 0); k < last; k++ {
		l, older := logs[k], logs[k+1]
		if l == nil || older == nil || l.opened.predecessor != nil && l.opened.predecessor.Origin == older.Origin {
			continue
		}
		c.rep.add(Finding{
			Code: WPredecessor, Log: l.Origin, Dir: l.Dir,
			Message: "nothing in the bundle says that this log follows " + older.Origin + "; that order is the manifest's",
		})
	}
}
