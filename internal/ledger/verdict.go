package ledger

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// maxTold bounds the findings of a verdict. The first ones matter.
const maxTold = 100

// fromAhead is by how much the clock of who tells may be ahead.
const fromAhead = evidence.Micros(time.Minute / time.Microsecond)

// tellWait bounds what is asked of the settings: who locks one must not hold verification up.
const tellWait = refreshWait

// hear reads what the processes have told each other since the last call. What is gone of
// it is told again.
func (l *Ledger) hear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	heard := map[string]string{}
	err := l.store.Settings(store.NoLag(ctx), func(name, value string) error {
		if tenant, ok := strings.CutPrefix(name, store.SettingVerified); ok {
			heard[tenant] = strings.Clone(value)
		}
		return nil
	})
	if err == nil {
		l.state.gone(heard)
	}
	for tenant, text := range heard {
		bad := l.heard(ctx, tenant, text)
		if bad != nil && err == nil && !errors.Is(bad, evidence.ErrNotFound) { // of no tenant
			err = bad
		}
		if ctx.Err() != nil { // the next call goes on
			break
		}
	}
	return err
}

// hearOf is hear for one tenant.
func (l *Ledger) hearOf(ctx context.Context, tenant string) error {
	text, err := l.store.Setting(store.NoLag(ctx), store.SettingVerified+tenant)
	if errors.Is(err, evidence.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.heard(ctx, tenant, text)
}

// heard takes what was told of a tenant. Findings that are new here are made known as if
// they had been found here, but for the record, which there is already. What is no word of a
// process is told anew by those that know better, and is a finding: somebody else wrote it.
// The error is of what could not be read now.
func (l *Ledger) heard(ctx context.Context, tenant, text string) error {
	l.state.mu.Lock()
	same := l.state.of(tenant).toldText == text
	l.state.mu.Unlock()
	if same {
		return nil
	}
	v, err := l.openVerdict(ctx, tenant, text)
	if errors.Is(err, evidence.ErrTampered) { // who spoils it must not make forgotten what it said
		l.state.mu.Lock()
		t := l.state.of(tenant)
		t.toldText, t.spoiled = text, true
		l.state.mu.Unlock()
		l.log.Warn("what another process says of verification is not taken", "tenant", tenant, "err", err)
		l.anomalies(ctx, []Finding{{
			Code: CodeGuard, Tenant: tenant, Table: "settings",
			Message: "what the processes tell each other of verification was altered",
		}})
		return nil
	}
	if err != nil {
		return fmt.Errorf("what was verified of tenant %s: %w", tenant, err)
	}
	fresh := l.state.tell(tenant, text, v)
	for _, f := range fresh {
		l.metrics.anomalies.WithLabelValues(f.Code).Inc()
		l.log.Error("integrity anomaly, found by another process", "code", f.Code, "tenant", f.Tenant, "log", f.Log,
			"table", f.Table, "from", f.From, "to", f.To, "message", f.Message)
	}
	for i := range v.Findings {
		l.stopFor(v.Findings[i].Finding)
	}
	return nil
}

func (l *Ledger) openVerdict(ctx context.Context, tenant, text string) (v verdict, err error) {
	key, err := l.sealer.IndexKey(ctx, l.store, tenant) // first: what is there of no tenant matters to nobody
	if err != nil {
		return verdict{}, err
	}
	var s sealedVerdict
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return verdict{}, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
	}
	if mac := seal.IndexMAC(key, store.SettingVerified, s.Verdict); !hmac.Equal(mac[:], s.MAC) {
		return verdict{}, fmt.Errorf("%w: it has not the MAC of a process of this deployment", evidence.ErrTampered)
	}
	if err := json.Unmarshal([]byte(s.Verdict), &v); err != nil {
		return verdict{}, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
	}
	if v.At > evidence.MicrosOf(l.clock.Now())+fromAhead {
		v.At = 0
	}
	return v, nil
}

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
	v := l.state.verdict(tenant, l.holder, tails, whole)
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

// tell takes a verdict and returns the findings in it that are new here.
func (s *integrityState) tell(tenant, text string, v verdict) (fresh []Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(tenant)
	was := map[string]bool{}
	for i := range t.told.Findings {
		was[t.told.Findings[i].key()] = true
	}
	for i := range v.Findings {
		if key := v.Findings[i].key(); !t.seen[key] && !was[key] {
			fresh = append(fresh, v.Findings[i].Finding)
		}
	}
	t.toldText, t.told, t.spoiled = text, v, false
	return fresh
}

// verdict is what this process has to say of a tenant, with what it was told.
func (s *integrityState) verdict(tenant, by string, tails map[int]int64, whole bool) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(tenant)
	v := verdict{
		By: by, At: t.told.At, Full: t.told.Full, Took: t.told.Took,
		Through: farther(t.told.Through, t.through), Tail: farther(t.told.Tail, tails),
	}
	if t.lastVerified != nil && *t.lastVerified > v.At {
		v.At, v.Full, v.Took = *t.lastVerified, by, t.took
	}
	v.Findings = append(v.Findings, t.anomalies...)
	if !whole {
		v.Findings = t.all()
	}
	v.Findings = foremost(v.Findings)
	return v
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

// gone notes of which tenants nothing is stored of what was told.
func (s *integrityState) gone(have map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tenant, t := range s.tenants {
		if _, ok := have[tenant]; !ok && t.toldText != "" {
			t.spoiled = true
		}
	}
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
func (s *integrityState) verifiedAt(tenant, own string) (at evidence.Micros, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(tenant)
	if t.lastVerified != nil {
		at, mine = *t.lastVerified, true
	}
	if t.told.At > at {
		at, mine = t.told.At, t.told.Full == own
	}
	return at, mine
}
