package ledger

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// hear reads what the processes have told each other since the last call. What is gone of
// it is told again.
func (l *Ledger) hear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	heard, strange, err := l.allTold(ctx)
	if err == nil && strange {
		var tenants []LogInfo
		if tenants, err = l.Tenants(store.NoLag(ctx)); err == nil && l.state.meet(tenants) {
			heard, _, err = l.allTold(ctx)
		}
	}
	if err == nil {
		l.state.gone(heard)
	}
	for tenant, text := range heard {
		bad := l.heard(ctx, tenant, text)
		if bad != nil && err == nil && !errors.Is(bad, evidence.ErrNotFound) { // it has lost its keys
			err = bad
		}
		if ctx.Err() != nil { // the next call goes on
			break
		}
	}
	return err
}

// allTold are the verdicts of the tenants that are known here. Strange says that there are more:
// of tenants that came since, or that nobody made. Nothing is kept of those: anybody who can
// write to the database can write many.
func (l *Ledger) allTold(ctx context.Context) (heard map[string]string, strange bool, err error) {
	heard = map[string]string{}
	err = l.store.SettingsUnder(store.NoLag(ctx), store.SettingVerified, maxVerdict, func(name, value string) error {
		if tenant := strings.TrimPrefix(name, store.SettingVerified); l.state.has(tenant) {
			heard[tenant] = value
		} else {
			strange = true
		}
		return nil
	})
	return heard, strange, err
}

func (s *integrityState) has(tenant string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenants[tenant] != nil
}

// meet makes tenants known, and reports whether one was not.
func (s *integrityState) meet(tenants []LogInfo) (fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range tenants {
		fresh = fresh || s.tenants[tenants[i].Tenant] == nil
		s.of(tenants[i].Tenant)
	}
	return fresh
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
	return v, nil
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
