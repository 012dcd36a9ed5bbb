package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

const (
	eventPolicy       = "RetentionPolicyChanged"
	eventAcknowledged = "LIFECYCLE_ACKNOWLEDGED"
	entityRetention   = "RETENTION"
	component         = "lifecycle"

	// maxSyntheticDays bounds how long what is made up is kept.
	maxSyntheticDays = 90
	maxReason        = 4096 // bytes
)

// defaultPolicy is what holds where no record says otherwise.
func defaultPolicy(class string) Policy {
	return Policy{
		Class: class, Days: evidence.RetentionDays(class), Default: true,
		Archive: class == evidence.ClassLLMRuns || class == evidence.ClassLogExports,
		Never:   class == evidence.ClassAudit,
	}
}

// Policies returns what holds for a tenant.
func (s *Service) Policies(ctx context.Context, tenant string) (PolicyList, error) {
	if err := s.known(ctx, tenant); err != nil {
		return PolicyList{}, err
	}
	list, err := s.policies(ctx, tenant)
	if err != nil {
		return PolicyList{}, err
	}
	out := PolicyList{
		TenantID: tenant, Policies: list, FloorDays: s.cfg.FloorDays, HighRiskFloor: s.cfg.HighRiskFloor, CeilingDays: s.cfg.CeilingDays,
	}
	if s.cfg.Archive != nil {
		out.Archive = s.cfg.Archive.String()
	}
	return out, nil
}

// policies returns a policy for each class, in order. What it says stands in leaves that the
// signed tree has; the columns only tell where.
func (s *Service) policies(ctx context.Context, tenant string) ([]Policy, error) {
	var out []Policy
	var found []store.Found
	var of []int
	for i, class := range evidence.RetentionClasses() {
		out = append(out, defaultPolicy(class))
		newest, err := s.cfg.Ledger.Find(store.NoLag(ctx), store.Query{
			Tenant: tenant, Kind: evidence.KindAudit, Order: store.Newest, Limit: 1,
			Where: []store.Condition{
				{Field: "event_type", Values: []string{eventPolicy}},
				{Field: "entity_id", Values: []string{class}},
			},
		})
		if err != nil {
			return nil, fmt.Errorf("policies of %s: %w", tenant, err)
		}
		for _, f := range newest {
			found, of = append(found, f), append(of, i)
		}
	}
	records, err := s.cfg.Ledger.Fetch(ctx, tenant, found, true)
	if err != nil {
		return nil, fmt.Errorf("policies of %s: %w", tenant, err)
	}
	for i := range records {
		if err := out[of[i]].take(&records[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// take reads the record of a policy.
func (p *Policy) take(f *ledger.Fetched) error {
	days, err := strconv.Atoi(f.Leaf.Text("limit_value"))
	if f.Leaf.Text("event_type") != eventPolicy || f.Leaf.Text("entity_id") != p.Class || err != nil || days < 1 {
		return fmt.Errorf("leaf %d of %s: %w: it was found as the policy of %s", f.Seq, f.Leaf.Log, evidence.ErrTampered, p.Class)
	}
	p.Days, p.Default = days, false
	p.Record, p.Since = f.Leaf.ID.String(), micros(f.Leaf.OccurredAt)
	var state struct {
		Archive bool `json:"archive"`
	}
	o, ok := f.Open["/after_state"]
	if !ok { // erased by a version that let that be: nothing goes that it may have asked to archive
		p.Archive = p.Class != evidence.ClassSynthetic && !p.Never
		return nil
	}
	if err := json.Unmarshal([]byte(o.JSON), &state); err != nil {
		return fmt.Errorf("policy of %s in leaf %d of %s: %w", p.Class, f.Seq, f.Leaf.Log, err)
	}
	p.Archive = state.Archive
	return nil
}

// SetPolicy records another policy.
func (s *Service) SetPolicy(ctx context.Context, tenant string, c PolicyChange, by Actor) (Policy, error) {
	if !slices.Contains(evidence.RetentionClasses(), c.Class) {
		return Policy{}, invalid("class", "must be one of %s", strings.Join(evidence.RetentionClasses(), ", "))
	}
	if err := checkReason(c.Reason); err != nil {
		return Policy{}, err
	}
	if err := s.known(ctx, tenant); err != nil {
		return Policy{}, err
	}
	list, err := s.policies(ctx, tenant)
	if err != nil {
		return Policy{}, err
	}
	i := slices.IndexFunc(list, func(p Policy) bool { return p.Class == c.Class })
	before := list[i]
	after, err := s.change(before, c)
	if err != nil || after == before && !before.Default {
		return after, err
	}
	// First what held until now: who reads an acknowledgement takes it that no policy stands before it.
	if err := s.Acknowledge(ctx, tenant); err != nil {
		return Policy{}, err
	}
	r := s.auditRecord(eventPolicy, c.Class, by, c.Reason)
	r.SetText("limit_value", strconv.Itoa(after.Days))
	r.SetText("limit_unit", "days")
	r.SetInt("valid_from", int64(r.OccurredAt))
	after.Default, after.Record, after.Since = false, "", ""
	r.SetSealed("/before_state", jsonOf(before))
	r.SetSealed("/after_state", jsonOf(after))
	receipt, err := s.append(ctx, tenant, r)
	if err != nil {
		return Policy{}, fmt.Errorf("policy of %s: %w", c.Class, err)
	}
	after.Record, after.Since = receipt.ID.String(), micros(r.OccurredAt)
	return after, nil
}

// change checks a change against the bounds.
func (s *Service) change(p Policy, c PolicyChange) (Policy, error) {
	if c.Days == nil && c.Archive == nil {
		return p, invalid("days", "is required where nothing else is to be changed")
	}
	if c.Days != nil {
		floor, ceiling := s.cfg.FloorDays, s.cfg.CeilingDays
		switch p.Class {
		case evidence.ClassSynthetic:
			floor, ceiling = 1, maxSyntheticDays
		case evidence.ClassAudit: // nothing of it is removed: it may promise more, not less
			floor = max(floor, evidence.RetentionDays(p.Class))
		}
		if *c.Days < floor || *c.Days > ceiling {
			return p, invalid("days", "must be %d to %d for %s", floor, ceiling, p.Class)
		}
		p.Days = *c.Days
	}
	if c.Archive != nil {
		p.Archive = *c.Archive
	}
	switch {
	case p.Archive && p.Class == evidence.ClassSynthetic:
		return p, invalid("archive", "synthetic records are not archived as a class: they are purged")
	case p.Archive && p.Never:
		return p, invalid("archive", "records of %s are not removed, so nothing of them must be archived first", p.Class)
	}
	return p, nil
}

// Acknowledge records the defaults for a tenant that is new (LIFECYCLE_ACKNOWLEDGED), once.
func (s *Service) Acknowledge(ctx context.Context, tenant string) error {
	s.mu.Lock()
	done := s.acknowledged[tenant]
	s.mu.Unlock()
	if done {
		return nil
	}
	key := "lifecycle:" + tenant
	id := evidence.NaturalID(tenant, evidence.KindSystem, key)
	found, err := s.cfg.Ledger.FindIDs(ctx, tenant, []evidence.ID{id})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		list, err := s.policies(ctx, tenant)
		if err != nil {
			return err
		}
		r := &evidence.Record{Kind: evidence.KindSystem, NaturalKey: key, OccurredAt: s.now()}
		// Whoever says it, and when, it is one record: of two processes that find none, too.
		r.Said = []string{}
		r.SetText("source_domain", "LOGS")
		r.SetText("source_component", "SystemRecordWriter")
		r.SetText("component", component)
		r.SetText("system_id", component)
		r.SetText("event_type", eventAcknowledged)
		r.SetText("severity", "INFO")
		r.SetText("caused_by", "SYSTEM")
		r.SetSealed("/summary", evidence.QuoteJSON("how long evidence of this tenant is kept"))
		r.SetSealed("/details", jsonOf(map[string]any{"policies": list}))
		if _, err := s.append(ctx, tenant, r); err != nil {
			return fmt.Errorf("acknowledge policies of %s: %w", tenant, err)
		}
	}
	s.mu.Lock()
	s.acknowledged[tenant] = true
	s.mu.Unlock()
	return nil
}

// auditRecord returns an audit entry of the lifecycle.
func (s *Service) auditRecord(event, entity string, by Actor, reason string) *evidence.Record {
	now := s.now()
	r := &evidence.Record{Kind: evidence.KindAudit, ID: ledger.NewID(now), OccurredAt: now}
	r.SetText("source_domain", "LOGS")
	r.SetText("source_component", "AuditLedgerWriter")
	r.SetText("event_type", event)
	r.SetText("entity_type", entityRetention)
	r.SetText("entity_id", entity)
	if by.Human != "" {
		r.SetText("actor_type", "HUMAN")
		r.SetHumanActor(by.Human)
	} else {
		r.SetText("actor_type", "SYSTEM")
		r.SetText("system_id", component)
	}
	r.SetSealed("/action_reason", evidence.QuoteJSON(reason))
	return r
}

func (s *Service) append(ctx context.Context, tenant string, r *evidence.Record) (ledger.Receipt, error) {
	if err := r.Complete(); err != nil {
		return ledger.Receipt{}, err
	}
	receipts, err := s.cfg.Ledger.Append(ctx, tenant, []*evidence.Record{r}, ledger.AppendOptions{})
	if err != nil {
		return ledger.Receipt{}, err
	}
	return receipts[0], nil
}

func checkReason(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return invalid("reason", "is required")
	case len(text) > maxReason:
		return invalid("reason", "must have at most %d bytes", maxReason)
	case !utf8.ValidString(text):
		return invalid("reason", "is not UTF-8")
	}
	return nil
}

func jsonOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("lifecycle: " + err.Error()) // plain data of this package
	}
	return b
}
