package facade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// baselineEvents are those that say what a component is.
var baselineEvents = []string{"STARTUP", "DEPLOY", "CONFIG_CHANGE", "MIGRATION"}

// maxComponents bounds a baseline for each of the two logs: a component more has
// no place in it. Components are few, by their meaning.
const maxComponents = 1000

// Snapshot is O1 of SYSTEM_LOGS: the environment when a run started. The
// baseline has, for every component, the last record of the baseline events that
// happened at or before the start; of the tenant's own records and of the shared
// system-wide ones. A component of the same name in both logs is two components:
// nobody says that they are one.
//
// A synthetic run has the synthetic records for its environment, and any other run
// the others, whoever looks: the environment must not depend on the reader.
func (f *Facade) Snapshot(ctx context.Context, r Reader, run string) (*answer.SystemSnapshot, error) {
	t, err := f.run(ctx, r, run)
	if err != nil {
		return nil, err
	}
	where := []store.Condition{{Field: "is_synthetic", Values: []string{strconv.FormatBool(t.isSynthetic())}}}
	own, err := f.baseline(ctx, r, t.startedAt(), where)
	if err != nil {
		return nil, err
	}
	records := own
	if r.Tenant != evidence.SystemTenant {
		shared, err := f.baseline(ctx, r.of(evidence.SystemTenant), t.startedAt(), append(where, sharedOnly))
		if err != nil {
			return nil, err
		}
		records = byComponent(own, shared)
	}
	s := &answer.SystemSnapshot{RunID: t.id, EnvironmentID: environmentID(records), Baseline: systemEventsOf(records)}
	if newest := newestOf(records); newest != nil {
		e := systemEventOf(*newest)
		s.Component, s.EventType, s.Severity, s.Summary = &e.Component, &e.EventType, &e.Severity, e.Summary
	}
	s.Metadata = f.union(r, t.id, metadataOf(records))
	return s, nil
}

func (t *theRun) isSynthetic() bool {
	if t.newest != nil {
		return t.newest.flag("is_synthetic")
	}
	v, _ := t.live.Fact("is_synthetic")
	return v.Int != 0
}

// baseline returns the baseline of one log, by component.
func (f *Facade) baseline(ctx context.Context, r Reader, at evidence.Micros, where []store.Condition) ([]record, error) {
	components, err := f.cfg.Ledger.Finder().Components(ctx, r.Tenant, maxComponents)
	if err != nil {
		return nil, err
	}
	var found []store.Found
	for _, c := range components {
		last, err := f.cfg.Ledger.Find(ctx, store.Query{
			Tenant: r.Tenant, Kind: evidence.KindSystem, Until: &at, Order: store.ByTimeDown, Limit: 1,
			Where: append([]store.Condition{
				{Field: "component", Values: []string{c}},
				{Field: "event_type", Values: baselineEvents},
			}, where...),
		})
		if err != nil {
			return nil, err
		}
		found = append(found, last...)
	}
	return f.fetch(ctx, r, r.Tenant, found)
}

// byComponent merges two baselines, each by component; ties: own first.
func byComponent(own, shared []record) []record {
	out := make([]record, 0, len(own)+len(shared))
	for len(own) > 0 && len(shared) > 0 {
		if shared[0].Leaf.Text("component") < own[0].Leaf.Text("component") {
			out, shared = append(out, shared[0]), shared[1:]
		} else {
			out, own = append(out, own[0]), own[1:]
		}
	}
	return append(append(out, own...), shared...)
}

// newestOf returns the record that happened last; of several the one recorded
// last, or nil.
func newestOf(records []record) *record {
	var newest *record
	for i := range records {
		l := records[i].Leaf
		if newest == nil || l.OccurredAt > newest.Leaf.OccurredAt ||
			l.OccurredAt == newest.Leaf.OccurredAt && l.RecordedAt > newest.Leaf.RecordedAt {
			newest = &records[i]
		}
	}
	return newest
}

// environmentID names an environment by what it is: the SHA-256, in hex, of the
// text
//
//	runledger/environment/v1 LF
//	owner TAB component TAB event_type TAB version TAB config_digest LF
//
// with one such line for each record of the baseline, in its order: by the bytes
// of component, own before system. owner is "tenant" or "system"; the others are
// the public facts as they stand in the leaf, empty where there is none. Names
// hold neither TAB nor LF. No time and no place in a log is in it, so a
// component that starts again as it was is the same environment.
func environmentID(baseline []record) string {
	text := []byte("runledger/environment/v1\n")
	for _, r := range baseline {
		owner := "tenant"
		if r.Tenant == evidence.SystemTenant {
			owner = "system"
		}
		text = append(text, owner...)
		for _, field := range []string{"component", "event_type", "version", "config_digest"} {
			text = append(append(text, '\t'), r.Leaf.Text(field)...)
		}
		text = append(text, '\n')
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
