package verify

import (
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// parsed returns the last leaf of a log.
func (l *testLog) parsed() *evidence.Leaf {
	l.tb.Helper()
	leaf, err := evidence.ParseLeaf(l.leaves[len(l.leaves)-1])
	if err != nil {
		l.tb.Fatal(err)
	}
	return leaf
}

// TestRetentionRules: which columns of a RetentionApplied are judged, and in which words.
func TestRetentionRules(t *testing.T) {
	const none = "no number of days"
	steps, audit := evidence.KindTraceStep.Table(), evidence.KindAudit.Table()
	ago := func(days int) string { return (start + 1_000_000 - evidence.Micros(days)*day).String() }
	targets := []sealed{{path: "/targets", value: `{"ranges":[{"from":0,"to":1,"paths":["/prompt"]}]}`}}
	for name, tt := range map[string]struct {
		policy          string // of llm_runs
		facts           facts  // beside those of an honest record of 90 days
		paths           []sealed
		fine            bool
		expected, found string
	}{
		"honest":                        {paths: targets, fine: true},
		"too young":                     {facts: facts{"valid_until": ago(89)}, paths: targets, expected: "valid_until not after " + ago(90), found: ago(89)},
		"too young, of another entity":  {facts: facts{"entity_type": "IDENTITY", "valid_until": ago(89)}, paths: targets, expected: "valid_until not after " + ago(90), found: ago(89)},
		"synthetic":                     {facts: facts{"rule_id": evidence.ClassSynthetic, "limit_value": "7", "valid_until": ago(7)}, paths: targets, fine: true},
		"synthetic audit":               {facts: facts{"entity_id": audit, "rule_id": evidence.ClassSynthetic, "limit_value": "7", "valid_until": ago(7)}, paths: targets, fine: true},
		"leaves moved":                  {facts: facts{"entity_id": "leaf_segments", "rule_id": "moved", "limit_value": "0", "valid_until": ago(0)}, fine: true},
		"leaves moved, and what":        {facts: facts{"entity_id": "leaf_segments", "rule_id": "moved"}, paths: targets},
		"keys retired":                  {facts: facts{"entity_id": "data_keys", "rule_id": "retired", "valid_until": ago(0)}, fine: true},
		"keys retired, and what":        {facts: facts{"entity_id": "data_keys", "rule_id": "retired"}, paths: targets},
		"of nothing, no time":           {facts: facts{"entity_id": "x", "valid_until": nil}, paths: targets},
		"policy of 0 days":              {policy: "0", paths: targets},
		"policy of seven digits":        {policy: "1000000", paths: targets},
		"policy of more days than were": {policy: "999999", paths: targets, expected: "valid_until not after 0001-01-01T00:00:00.000000Z", found: ago(90)},
		"limit of 0 days":               {facts: facts{"limit_value": "0"}, paths: targets, expected: "limit_value 1 or more", found: none},
		"limit of no number":            {facts: facts{"limit_value": "90.0"}, paths: targets, expected: "limit_value 1 or more", found: none},
		"policy became longer since":    {facts: facts{"limit_value": "89"}, paths: targets, fine: true},
		"policy became shorter since":   {facts: facts{"limit_value": "91"}, paths: targets, fine: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t, testOrigin)
			rules := RetentionRules{Defaults: true}
			if tt.policy != "" {
				l.audit("", eventPolicy, facts{"entity_type": entityRetention, "entity_id": evidence.ClassLLMRuns, "limit_value": tt.policy, "limit_unit": "days"})
				rules.Next(l.parsed())
			}
			all := facts{"entity_type": entityRetention, "entity_id": steps, "rule_id": evidence.ClassLLMRuns, "limit_value": "90", "limit_unit": "days", "valid_until": ago(90)}
			for k, v := range tt.facts {
				all[k] = v
				if v == nil {
					delete(all, k)
				}
			}
			l.now = start + 1_000_000
			l.audit("", "RetentionApplied", all, tt.paths...)
			leaf := l.parsed()
			got := rules.Next(leaf)
			if (got == nil) != tt.fine || got != nil && (got.Expected != tt.expected || got.Found != tt.found) {
				t.Errorf("%+v, want %q, %q", got, tt.expected, tt.found)
			}
			if unknown := (&RetentionRules{}).Next(leaf); unknown != nil {
				t.Errorf("where nothing is known: %+v", unknown)
			}
		})
	}
}

// TestRetentionAcknowledged: an acknowledgement puts the defaults on record for who has seen all that came
// before. Where something is missing a policy may stand there.
func TestRetentionAcknowledged(t *testing.T) {
	acknowledged := retentionFact{event: eventAcknowledged}
	behindGap := retentionFact{event: eventAcknowledged, apart: true}
	policy := retentionFact{event: eventPolicy, class: evidence.ClassLLMRuns, days: 90}
	applied := retentionFact{at: start, class: evidence.ClassLLMRuns, days: 30, before: start - 30*day}
	noTable := retentionFact{at: start, none: true}
	for name, tt := range map[string]struct {
		before *logState // nil: the log is the tenant's first
		facts  []retentionFact
		early  int
	}{
		"all is there":                  {facts: []retentionFact{acknowledged, applied}, early: 1},
		"behind a gap":                  {facts: []retentionFact{behindGap, applied}},
		"behind a gap, again":           {facts: []retentionFact{acknowledged, behindGap, acknowledged, applied}},
		"behind a gap, then a policy":   {facts: []retentionFact{behindGap, policy, applied}, early: 1},
		"behind a gap, of no table":     {facts: []retentionFact{behindGap, noTable}, early: 1},
		"of no table, and nothing told": {facts: []retentionFact{noTable}},
		"behind a log":                  {before: &logState{next: 2}, facts: []retentionFact{acknowledged, applied}, early: 1},
		"behind one that is cut short":  {before: &logState{next: 1}, facts: []retentionFact{acknowledged, applied}},
		"behind one that is apart":      {before: &logState{next: 2, apart: true}, facts: []retentionFact{acknowledged, applied}},
		"behind one that was apart":     {before: &logState{next: 2, retention: []retentionFact{behindGap}}, facts: []retentionFact{acknowledged, applied}},
		"behind one that is not there":  {before: &logState{}, facts: []retentionFact{acknowledged, applied}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &logState{ManifestLog: &ManifestLog{Origin: "new"}, next: 9, retention: tt.facts}
			c := &checker{logs: []*logState{l}, man: &Manifest{Logs: []ManifestLog{*l.ManifestLog}}}
			if tt.before != nil {
				l.opened.predecessor = &c2sp.Checkpoint{Origin: "old", Size: 2}
			}
			if tt.before != nil && tt.before.next > 0 {
				tt.before.ManifestLog = &ManifestLog{Origin: "old"}
				c.logs, c.man.Logs = append(c.logs, tt.before), append(c.man.Logs, *tt.before.ManifestLog)
			}
			c.expiredEarly()
			if got := l.held.Findings; len(got) != tt.early {
				t.Errorf("%+v, want %d", got, tt.early)
			}
		})
	}
}

// TestRetentionApart: two logs that name the same predecessor go on from what was known at its
// end, each by itself.
func TestRetentionApart(t *testing.T) {
	policy := retentionFact{event: eventPolicy, class: evidence.ClassLLMRuns, days: 30}
	longer := policy
	longer.days = 400
	applied := retentionFact{seq: 1, at: start, class: evidence.ClassLLMRuns, days: 30, before: start - 31*day}
	names := firstLeaf{predecessor: &c2sp.Checkpoint{Origin: "old", Size: 1}}
	log := func(origin string, opened firstLeaf, facts ...retentionFact) *logState {
		return &logState{ManifestLog: &ManifestLog{Origin: origin}, opened: opened, next: 1, retention: facts}
	}
	c := &checker{logs: []*logState{log("a", names, applied), log("b", names, longer), log("old", firstLeaf{}, policy)}}
	c.man = &Manifest{}
	for _, l := range c.logs {
		c.man.Logs = append(c.man.Logs, *l.ManifestLog)
	}
	c.expiredEarly()
	if f := c.logs[0].held.Findings; len(f) > 0 {
		t.Errorf("%+v", f)
	}
}
