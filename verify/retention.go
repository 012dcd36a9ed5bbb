package verify

import (
	"fmt"
	"maps"

	"github.com/runledger/runledger/evidence"
)

// Events that say how long evidence is kept.
const (
	eventPolicy       = "RetentionPolicyChanged"
	eventAcknowledged = "LIFECYCLE_ACKNOWLEDGED"
	entityRetention   = "RETENTION"
)

const day = evidence.Micros(24 * 60 * 60 * 1_000_000)

// RetentionRules judges whether what a tenant's records say has expired was old enough, by
// the policy that was on record then: RetentionApplied names the time before which it was
// recorded (valid_until), and the days (limit_value). The zero value stands before the first leaf; it
// is for one goroutine at a time.
//
// A policy is on record by a RetentionPolicyChanged of the class, and by
// LIFECYCLE_ACKNOWLEDGED for the classes of which there is none: then the defaults hold.
// That there is none is known only of who has seen every leaf before, for a tenant may have got a policy
// before its acknowledgement. Where neither is known nothing is judged.
//
// The days that a RetentionApplied names say which policy was applied, and need not be those of the
// newest: it may have changed since the choice, either way. What decides is valid_until. That
// they are a number of days is asked.
//
// What makes a record cover what is gone is its event alone, so no other column decides
// whether it is judged: a RetentionApplied about no table of records that has /targets nobody
// orders, and it would account for leaves of all kinds and times.
type RetentionRules struct {
	// Defaults: the defaults hold without a record, too.
	Defaults bool

	missing      bool // leaves are, before those that were taken
	acknowledged bool
	days         map[string]int64 // of the newest policy by class; −1: one that lets nothing go
}

// EarlyExpiry says what is wrong with a RetentionApplied.
type EarlyExpiry struct{ Expected, Found, Message string }

// Next takes the next leaf of the tenant's logs, all of them in order. It returns nil where it has
// nothing to say.
func (r *RetentionRules) Next(l *evidence.Leaf) *EarlyExpiry {
	if f, ok := retentionOf(l); ok {
		return r.next(&f)
	}
	return nil
}

// retentionFact is what a leaf says of how long evidence is kept. It keeps none of the
// leaf's memory.
type retentionFact struct {
	seq    int64
	at     evidence.Micros
	event  string          // one of the constants above, or "" for a RetentionApplied
	class  string          // of evidence.RetentionClasses
	days   int64           // −1: no number of days
	before evidence.Micros // valid_until, or noTime
	none   bool            // a RetentionApplied with /targets about no table of records
	apart  bool            // leaves are missing between the last such fact and this one
}

func retentionOf(l *evidence.Leaf) (f retentionFact, ok bool) {
	f = retentionFact{seq: l.Seq, at: l.RecordedAt}
	switch event := l.Text("event_type"); {
	case l.Kind == evidence.KindSystem && event == eventAcknowledged:
		f.event = eventAcknowledged
		return f, true
	case l.Kind != evidence.KindAudit:
		return f, false
	case event == eventPolicy && l.Text("entity_type") == entityRetention:
		f.event = eventPolicy
		for _, class := range evidence.RetentionClasses() {
			if class == l.Text("entity_id") {
				f.class = class
			}
		}
	case coverReasons[event] == Expired:
		kind := evidence.KindOfTable(l.Text("entity_id"))
		if kind == 0 {
			_, f.none = l.Commitment("/targets")
			return f, f.none
		}
		f.class = kind.Class()
		if about(l, Expired).made {
			f.class = evidence.ClassSynthetic
		}
		f.before = noTime
		if before, ok := l.Int("valid_until"); ok {
			f.before = evidence.Micros(before)
		}
	}
	f.days = wholeDays(l.Text("limit_value"))
	return f, f.class != ""
}

// wholeDays reads days as the databases' guards do: one to six digits, and not 0. It is −1
// for all else: a policy of that lets nothing go, and a RetentionApplied that names
// it names no policy.
func wholeDays(text string) int64 {
	if len(text) > 6 {
		return -1
	}
	days := int64(0)
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return -1
		}
		days = 10*days + int64(c-'0')
	}
	if days == 0 {
		return -1
	}
	return days
}

// firstTime is the first time that a leaf can have: of policies of more days than have passed since.
const firstTime = evidence.Micros(-62135596800_000000) // 0001-01-01T00:00:00.000000Z

func (r *RetentionRules) next(f *retentionFact) *EarlyExpiry {
	switch f.event {
	case eventAcknowledged:
		r.acknowledged = true
		return nil
	case eventPolicy:
		if r.days == nil {
			r.days = map[string]int64{}
		}
		r.days[f.class] = f.days
		return nil
	}
	if f.none {
		if !r.acknowledged && !r.Defaults && len(r.days) == 0 {
			return nil
		}
		return &EarlyExpiry{Message: "says that something has expired, and is about no table of records: it accounts for nothing"}
	}
	days, known := r.days[f.class]
	if !known {
		if !r.Defaults && (!r.acknowledged || r.missing) {
			return nil
		}
		days = int64(evidence.RetentionDays(f.class))
	}
	latest := max(f.at-evidence.Micros(days)*day, firstTime)
	switch {
	case days < 0:
		return &EarlyExpiry{Message: "says that records of the class " + f.class + " have expired, while a policy of no number of days let none go"}
	case f.before > latest:
		found := "none"
		if f.before != noTime {
			found = f.before.String()
		}
		return &EarlyExpiry{
			Expected: "valid_until not after " + latest.String(), Found: found,
			Message: fmt.Sprintf("says that records of the class %s have expired that were younger than the %d days of the policy of that time: evidence was removed too early", f.class, days),
		}
	case f.days < 0:
		return &EarlyExpiry{
			Expected: "limit_value 1 or more", Found: "no number of days",
			Message: "names no number of days of a policy of the class " + f.class,
		}
	}
	return nil
}

// follow goes on with the facts of a directory. What was known is forgotten where leaves are
// missing: a policy may stand among them.
func (r *RetentionRules) follow(l *logState, add func(Finding)) {
	for i := range l.retention {
		f := &l.retention[i]
		if f.apart {
			*r = RetentionRules{missing: true}
		}
		if e := r.next(f); e != nil {
			add(Finding{
				Code: EUnaccounted, Log: l.Origin, Dir: l.Dir, From: f.seq, To: f.seq + 1,
				Expected: e.Expected, Found: e.Found, Message: e.Message,
			})
		}
	}
}

// expiredEarly looks for expiries of what was too young, in each of the tenant's logs as far as
// the bundle has what came before: of a run it rarely has. Predecessors stand behind their successors.
func (c *checker) expiredEarly() {
	after := map[string]RetentionRules{} // what is known at the end of a log that is all there
	for k := len(c.logs) - 1; k >= 0; k-- {
		l := c.logs[k]
		if l == nil {
			continue
		}
		var r RetentionRules
		if p := l.opened.predecessor; p != nil {
			r.missing = true
			known, there := after[p.Origin]
			if older := c.dirOf(p.Origin); there && older > k && c.logs[older] != nil && c.logs[older].next == p.Size {
				r = known
				r.days = maps.Clone(r.days) // more than one log may name that one
			}
		}
		r.follow(l, func(f Finding) { l.held.add(f) })
		if !l.apart {
			after[l.Origin] = r
		}
	}
}
