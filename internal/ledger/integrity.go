package ledger

import (
	"slices"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Status of a tenant's integrity, as /audit/integrity answers.
const (
	StatusUnknown     = "unknown"     // no full verification has ended yet, or none since the start, and a late one goes on
	StatusVerified    = "verified"    // the last one found nothing
	StatusDegraded    = "degraded"    // nothing contradicts, but verification or writing does not run
	StatusCompromised = "compromised" // something does not match what was signed
)

// Anomaly is a finding with the time it was first seen.
type Anomaly struct {
	Finding
	FirstSeen evidence.Micros `json:"first_seen"`
}

// Integrity is what continuous verification knows of a tenant.
type Integrity struct {
	Status    string    `json:"integrity_status"`
	Anomalies []Anomaly `json:"anomalies"`
	// LogNo is the log that the rest is about; 0 where none is in memory.
	LogNo int `json:"-"`
	// LastVerified is the end of the last full verification.
	LastVerified *evidence.Micros `json:"last_verified"`
	// VerifiedThrough is how many leaves of the newest log are checked: by
	// the last full verification, and new ones since.
	VerifiedThrough int64         `json:"verified_through"`
	TreeSize        int64         `json:"tree_size"`
	RootHash        evidence.Hash `json:"root_hash"`
	Checkpoint      string        `json:"checkpoint"`
	// Why says what keeps a degraded tenant from being verified.
	Why string `json:"why,omitempty"`
}

// integrityState is the shared state of continuous verification.
type integrityState struct {
	mu      sync.Mutex
	tenants map[string]*tenantIntegrity
	wake    chan struct{}
	guards  []Anomaly // what is missing of the database's own protection now
	blind   int       // how often in a row the guards could not be looked at

	// every is the pause between full verifications; 0 where there are none. pass is how
	// long the last one of all tenants took.
	every, pass time.Duration
	lease       time.Duration // of a turn to verify; 0: the default
	began       moment        // of Watch
	came        time.Time     // when a full verification last came to more leaves, or to its end
}

type tenantIntegrity struct {
	anomalies []Anomaly
	seen      map[string]bool
	verified  moment        // the end of the last full verification by this process
	through   map[int]int64 // log_no -> leaves checked
	took      time.Duration // by the last full verification
	failed    error         // why the last verification could not be made
	failedAt  moment
	since     time.Time // when this process first knew of it

	told     verdict           // what the processes said last, this one included
	toldText string            // as it is stored
	spoiled  bool              // what is stored is not what was told, or is gone
	fading   map[string]fading // by its key, what was told before and is not any more
}

// maxAnomalies bounds what is kept of each tenant; the first ones matter.
const maxAnomalies = 1000

func (s *integrityState) of(tenant string) *tenantIntegrity {
	if s.tenants == nil {
		s.tenants = map[string]*tenantIntegrity{}
	}
	t := s.tenants[tenant]
	if t == nil {
		t = &tenantIntegrity{seen: map[string]bool{}, through: map[int]int64{}, since: time.Now()}
		s.tenants[tenant] = t
	}
	return t
}

// known reports whether all that a log had at first was verified: with its tenant, or
// leaf by leaf since it was empty.
func (s *integrityState) known(ref store.LogRef) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(ref.Tenant)
	_, ok := t.through[ref.No]
	return ok && t.verified != moment{}
}

// appended tells the watcher that there is something new.
func (s *integrityState) appended(*plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake == nil {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// add notes findings and returns those that are new.
func (s *integrityState) add(findings []Finding, now evidence.Micros) []Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []Finding
	for _, f := range findings {
		tenant := f.Tenant
		if tenant == "" {
			tenant = evidence.SystemTenant
		}
		t := s.of(tenant)
		key := f.key()
		if t.seen[key] || len(t.anomalies) >= maxAnomalies && !t.firstStop(&f) {
			continue
		}
		t.seen[key] = true
		t.anomalies = append(t.anomalies, Anomaly{f, now})
		fresh = append(fresh, f)
	}
	return fresh
}

// firstStop reports whether a finding is the first of its log after which that is not to be signed.
// There is room for it always: many others must not keep it from being known.
func (t *tenantIntegrity) firstStop(f *Finding) bool {
	return slices.Contains(stops, f.Code) && !slices.ContainsFunc(t.anomalies, func(a Anomaly) bool {
		return a.Log == f.Log && slices.Contains(stops, a.Code)
	})
}

// fails is why the last verification could not be made, where no other process could since.
func (t *tenantIntegrity) fails(now time.Time) error {
	if t.failedAt.by(now) < t.toldAt(now) {
		return nil
	}
	return t.failed
}

// Integrity returns what is known of a tenant's integrity.
func (l *Ledger) Integrity(tenant string) Integrity {
	out := Integrity{Status: StatusUnknown, Anomalies: []Anomaly{}}
	l.refresh(tenant)
	l.mu.Lock()
	o := l.newest[tenant]
	l.mu.Unlock()
	no := 0
	if o != nil {
		st := o.state()
		no, out.TreeSize, out.RootHash = o.No, st.tree.size(), st.tree.root()
		out.LogNo = no
		o.mu.Lock()
		out.Checkpoint = string(o.published)
		o.mu.Unlock()
	}
	s := &l.state
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(tenant)
	out.Anomalies = append(out.Anomalies, t.all()...)
	if tenant == evidence.SystemTenant {
		out.Anomalies = append(out.Anomalies, s.guards...)
	}
	now := l.clock.Now()
	if at, _ := t.lastFull(now); at > 0 {
		out.LastVerified = &at
	}
	out.VerifiedThrough = max(t.through[no], t.told.Through[no])
	for _, a := range out.Anomalies {
		if a.Code[0] == 'E' {
			out.Status = StatusCompromised
			return out
		}
	}
	for _, a := range append(s.of(evidence.SystemTenant).all(), s.guards...) {
		if a.Tenant == "" && a.Code[0] == 'E' { // of the database as a whole
			out.Status, out.Why = StatusDegraded, a.Message
			return out
		}
	}
	if err := l.Writable(); err != nil {
		out.Status, out.Why = StatusDegraded, forClients(err)
	} else if err := l.Publishing(); err != nil {
		out.Status, out.Why = StatusDegraded, forClients(err)
	} else if err := t.fails(now); err != nil {
		out.Status, out.Why = StatusDegraded, forClients(err)
	} else if out.Status = s.byFull(t, now); out.Status == StatusDegraded {
		out.Why = "no full verification has ended for long"
	}
	return out
}
