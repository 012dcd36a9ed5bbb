package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// verdict is what the process that verifies a tenant tells the others, as a setting. It is
// no evidence: what it found has a record of its own. It spares the others the work, and
// lets each of them say what one has found.
type verdict struct {
	By string `json:"by"`
	// At is the end of the last full verification, By whom Full says.
	At   evidence.Micros `json:"at,omitempty"`
	Full string          `json:"full,omitempty"`
	Took time.Duration   `json:"took,omitempty"` // by it
	// Through and Tail are leaves by log_no: so many are verified from the first on, and
	// up to here new ones were looked at.
	Through  map[int]int64 `json:"through,omitempty"`
	Tail     map[int]int64 `json:"tail,omitempty"`
	Findings []Anomaly     `json:"findings,omitempty"`
}

// sealedVerdict is a verdict with a MAC under the tenant's key of index MACs: who can
// write to the database, and has no key, must not be able to say that all is verified.
type sealedVerdict struct {
	Verdict string `json:"verdict"`
	MAC     []byte `json:"mac"`
}

const (
	// maxTold bounds the findings of a verdict. The first ones matter.
	maxTold = 100
	// maxShown bounds what a finding of a verdict says of what was expected and found: text of
	// the database, in characters.
	maxShown = 1000
	// maxVerdict is as many characters as are read of a verdict: more than any has.
	maxVerdict = 16 << 20
)

// fromAhead is by how much the clock of who tells may be ahead.
const fromAhead = evidence.Micros(time.Minute / time.Microsecond)

// tellWait bounds what is asked of the settings: who locks one must not hold verification up.
const tellWait = refreshWait

// tell writes down what is known of a tenant; whole: since a full verification, which
// found all there is, so that what others had found before it is not said any more.
func (l *Ledger) tell(ctx context.Context, tenant string, tails map[int]int64, whole bool) error {
	if !l.shared {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	if err := l.hearOf(ctx, tenant); err != nil {
		return err
	}
	v := l.state.verdict(tenant, l.holder, tails, whole, l.clock.Now())
	key, err := l.sealer.IndexKey(ctx, l.store, tenant)
	if err != nil {
		return err
	}
	inner, err := json.Marshal(v)
	if err != nil {
		return err
	}
	mac := seal.IndexMAC(key, store.SettingVerified, string(inner))
	text, err := json.Marshal(sealedVerdict{string(inner), mac[:]})
	if err != nil {
		return err
	}
	if err := l.store.SetSetting(ctx, store.SettingVerified+tenant, string(text)); err != nil {
		return err
	}
	l.state.tell(tenant, string(text), v)
	return nil
}

// fading is a finding that was told, and not again by who made the last full verification. Who
// found it, if it lives, tells it again: till then it is as if it were told.
type fading struct {
	Anomaly
	until time.Time
}

// fade is for how long: a lease more than it takes until others have heard, and told it again.
func (s *integrityState) fade() time.Duration { return 2 * cmp.Or(s.lease, defaultLease) }

// tell takes a verdict and returns the findings in it that are new here.
func (s *integrityState) tell(tenant, text string, v verdict) (fresh []Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(tenant)
	was, now := t.fading, time.Now()
	maps.DeleteFunc(was, func(_ string, f fading) bool { return now.After(f.until) })
	if was == nil {
		was = map[string]fading{}
	}
	for _, a := range t.told.Findings {
		was[a.key()] = fading{a, now.Add(s.fade())}
	}
	for i := range v.Findings {
		key := v.Findings[i].key()
		if _, ok := was[key]; !ok && !t.seen[key] {
			fresh = append(fresh, v.Findings[i].Finding)
		}
		delete(was, key)
	}
	t.fading = was
	t.toldText, t.told, t.spoiled = text, v, false
	return fresh
}

// verdict is what this process has to say of a tenant, with what it was told.
func (s *integrityState) verdict(tenant, by string, tails map[int]int64, whole bool, now time.Time) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(tenant)
	v := verdict{
		By: by, At: t.toldAt(now), Full: t.told.Full, Took: t.told.Took,
		Through: farther(t.told.Through, t.through), Tail: farther(t.told.Tail, tails),
	}
	if at := t.verified.by(now); at > v.At {
		v.At, v.Full, v.Took = at, by, t.took
	}
	v.Findings = append(v.Findings, t.anomalies...)
	if !whole {
		v.Findings = t.known()
	}
	v.Findings = foremost(v.Findings)
	for i := range v.Findings {
		f := &v.Findings[i]
		f.Expected, f.Found = shown(f.Expected), shown(f.Found)
	}
	return v
}

func shown(text string) string {
	if r := []rune(text); len(r) > maxShown {
		return string(r[:maxShown])
	}
	return text
}

// foremost are as many findings as are told: first one for each log that is not to be signed
// any more.
func foremost(list []Anomaly) []Anomaly {
	if len(list) <= maxTold {
		return list
	}
	var first, rest []Anomaly
	stopped := map[string]bool{}
	for _, a := range list {
		if slices.Contains(stops, a.Code) && !stopped[a.Log] {
			stopped[a.Log] = true
			first = append(first, a)
		} else {
			rest = append(rest, a)
		}
	}
	return append(first, rest...)[:maxTold]
}

func farther(a, b map[int]int64) map[int]int64 {
	out := maps.Clone(a)
	if out == nil {
		out = map[int]int64{}
	}
	for no, n := range b {
		out[no] = max(out[no], n)
	}
	return out
}

// all are the anomalies of a tenant, its own and those that others found.
func (t *tenantIntegrity) all() []Anomaly {
	list := t.known()
	for _, key := range slices.Sorted(maps.Keys(t.fading)) {
		if f := t.fading[key]; !t.seen[key] && time.Now().Before(f.until) {
			list = append(list, f.Anomaly)
		}
	}
	return list
}

// known are those that are to be told: those of others as long as they are.
func (t *tenantIntegrity) known() []Anomaly {
	list := append([]Anomaly{}, t.anomalies...)
	for _, a := range t.told.Findings {
		if !t.seen[a.key()] {
			list = append(list, a)
		}
	}
	return list
}

// untold are the tenants of which this process has found what is not told yet.
func (s *integrityState) untold() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tenant, t := range s.tenants {
		if t.untold() {
			list = append(list, tenant)
		}
	}
	return list
}

func (t *tenantIntegrity) untold() bool {
	if t.spoiled {
		return true
	}
	told, stopped := map[string]bool{}, map[string]bool{}
	for i := range t.told.Findings {
		f := &t.told.Findings[i]
		told[f.key()] = true
		stopped[f.Log] = stopped[f.Log] || slices.Contains(stops, f.Code)
	}
	for i := range t.anomalies {
		f := &t.anomalies[i]
		if !told[f.key()] && (len(told) < maxTold || slices.Contains(stops, f.Code) && !stopped[f.Log]) {
			return true
		}
	}
	return false
}

// tail is how far a log was looked at, and how far of that was told.
func (s *integrityState) tail(ref store.LogRef) (known, told int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(ref.Tenant)
	told = max(t.told.Tail[ref.No], t.told.Through[ref.No])
	return max(told, t.through[ref.No]), told
}

// verifiedAt is the end of the last full verification of a tenant by whichever process,
// and whether it was this one; 0 where there was none.
func (s *integrityState) verifiedAt(tenant, own string, now time.Time) (at evidence.Micros, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(tenant)
	at, mine = t.verified.by(now), t.verified != moment{}
	if told := t.toldAt(now); told > at {
		at, mine = told, t.told.Full == own
	}
	return at, mine
}
