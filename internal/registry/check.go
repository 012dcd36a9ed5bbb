package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// CheckFile looks at one file by itself: whether it is YAML as the JSON Schema of its
// kind says, and what a schema cannot say, such as a temporary rule of access that has
// expired at now. name is how messages call the file. The error joins a [*Problem] for
// each thing that is wrong; an unknown kind is evidence.ErrInvalid, too.
//
// It does not replace the parsers of access rules, streams and so on, which know more.
func CheckFile(kind, name string, text []byte, now time.Time) error {
	for _, k := range kindsOfFile {
		if k.name == kind {
			f := &findings{}
			checkFile(k, name, text, now, f)
			return f.err()
		}
	}
	return fmt.Errorf("kind of file %q: must be one of %s: %w", kind, strings.Join(Kinds(), ", "), evidence.ErrInvalid)
}

// checkFile is CheckFile; it returns the document, or nil where something is wrong.
func checkFile(k kindOfFile, name string, text []byte, now time.Time, f *findings) *document {
	before := len(f.list)
	d := readDocument(name, text, k.mergeKeys, f)
	if d == nil {
		return nil
	}
	schemas()[k.name].check(d, f)
	if len(f.list) == before && k.check != nil {
		k.check(&fileCheck{document: d, now: now, found: f})
	}
	if len(f.list) > before {
		return nil
	}
	return d
}

// fileCheck is a document whose form is right, while the rest is looked at.
type fileCheck struct {
	*document
	now   time.Time
	found *findings
}

// fail adds a problem at a place of the document.
func (c *fileCheck) fail(at []string, format string, args ...any) {
	c.found.add(c.file, c.line(at...), "%s%s", prefix(c.document, at), fmt.Sprintf(format, args...))
}

// steps makes a place of words and indexes.
func steps(list ...any) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, fmt.Sprint(s))
	}
	return out
}

// decode returns a document as a T. Its schema has been checked, so only values that are
// out of bounds are left to go wrong; ok is then false.
func decode[T any](d *document, f *findings) (v *T, ok bool) {
	v = new(T)
	if err := d.root.Decode(v); err != nil {
		addYAML(d.file, err, f)
		return v, false
	}
	return v, true
}

// topicIDs are the topics of the contract, as panel ids begin.
var topicIDs = map[string]string{"LLM_RUNS": "LOG-REC-LLM", "SYSTEM_LOGS": "LOG-REC-SYS", "AUDIT": "LOG-REC-AUD"}

func (c *fileCheck) intent() {
	in, ok := decode[Intent](c.document, c.found)
	if !ok {
		return
	}
	if want := topicIDs[in.Metadata.Topic]; in.Metadata.TopicID != want {
		c.fail(steps("metadata", "topic_id"), "%s is not that of %s, %s", in.Metadata.TopicID, in.Metadata.Topic, want)
	}
	if want := in.Metadata.TopicID + "-" + in.Metadata.Order; in.PanelID != want {
		c.fail(steps("panel_id"), "%s is not topic_id and order, %s", in.PanelID, want)
	}
	if in.SDSR.Verified && in.Capability.Status == Declared {
		c.fail(steps("sdsr", "verified"), "true, but the capability is %s: nothing was observed", Declared)
	}
	seen := map[string]bool{}
	for i, ctl := range in.Controls {
		if seen[ctl.Parameter] {
			c.fail(steps("controls", i, "parameter"), "%s stands twice", ctl.Parameter)
		}
		seen[ctl.Parameter] = true
	}
}

// changesOf are the statuses that an observation leads to, by the one before. One that
// stays is in the history where the observation failed.
var changesOf = map[string][]string{
	Declared: {Declared, Observed}, Observed: {Trusted, Degraded}, Trusted: {Degraded}, Degraded: {Degraded, Observed},
}

// capability sees that a status has an observation behind it, and that the history leads
// to it: what Apply writes is not to be written by hand.
func (c *fileCheck) capability() {
	if !c.times() {
		return
	}
	ca, ok := decode[Capability](c.document, c.found)
	if !ok {
		return
	}
	if ca.Status != Declared && ca.Observation == nil {
		c.fail(steps("status"), "%s without an observation: registry apply sets it", ca.Status)
	}
	promoted := ca.Status == Observed || ca.Status == Trusted
	if promoted && ca.Observation != nil && (!ca.Observation.Passed || ca.Passing == nil) {
		c.fail(steps("status"), "%s, but the newest observation did not pass", ca.Status)
	}
	if ca.Observation == nil && (ca.Passing != nil || len(ca.History) > 0) {
		c.fail(steps("observation"), "there is none, but what follows from one")
	}
	status, last, before := Declared, evidence.Micros(0), len(c.found.list)
	for i, t := range ca.History {
		switch {
		case t.From != status:
			c.fail(steps("history", i, "from"), "%s, but the capability was %s", t.From, status)
		case !slices.Contains(changesOf[t.From], t.To):
			c.fail(steps("history", i, "to"), "nothing leads from %s to %s at once", t.From, t.To)
		case t.At < last:
			c.fail(steps("history", i, "at"), "before the entry above it")
		}
		status, last = t.To, t.At
	}
	if len(c.found.list) > before {
		return // what it leads to says nothing
	}
	if ca.Observation != nil && last > ca.Observation.ObservedAt {
		c.fail(steps("observation", "observed_at"), "before the last entry of the history")
	}
	if ca.Observation != nil && status != ca.Status {
		c.fail(steps("status"), "%s, but its history ends at %s", ca.Status, status)
	}
}

// times sees that the times of a capability are in the calendar, which its schema does
// not. When they are decoded, it is too late to say where they stand.
func (c *fileCheck) times() bool {
	places := [][]string{steps("observation", "observed_at"), steps("passing", "since")}
	top, _ := c.value.(map[string]any)
	history, _ := top["history"].([]any)
	for i := range history {
		places = append(places, steps("history", i, "at"))
	}
	good := true
	for _, at := range places {
		if text, ok := c.at(at).(string); ok {
			if _, ok := evidence.ParseMicros(text); !ok {
				c.fail(at, "%s is no time", plainName(text))
				good = false
			}
		}
	}
	return good
}

func (c *fileCheck) invariants() {
	file, ok := decode[invariantsFile](c.document, c.found)
	if !ok {
		return
	}
	first := map[string]int{}
	for i, inv := range file.Invariants {
		at := steps("invariants", i, "id")
		if line := first[inv.ID]; line > 0 {
			c.fail(at, "%s stands twice, first in line %d", inv.ID, line)
		} else {
			first[inv.ID] = c.line(at...)
		}
		if want := map[bool]string{true: "transport", false: "logs"}[strings.HasPrefix(inv.ID, "INV-L0-")]; inv.Layer != want {
			c.fail(steps("invariants", i, "layer"), "%s is of layer %s", inv.ID, want)
		}
		if invariantChecks[inv.Check] == nil {
			names := slices.Sorted(maps.Keys(invariantChecks))
			c.fail(steps("invariants", i, "check"), "there is no check %s, but %s", plainName(inv.Check), strings.Join(names, ", "))
		}
		if (inv.Check == "within") != (inv.Limit > 0) {
			c.fail(steps("invariants", i), "limit goes with the check within, and only with it")
		}
	}
}

// Bounds of the rule of trust: one observation is no series, and a year is no rule.
const (
	minTrusted     = 2
	maxTrusted     = 1000
	minTrustedTime = time.Minute
	maxTrustedTime = 366 * 24 * time.Hour
)

func (c *fileCheck) rules() {
	r, ok := decode[Rules](c.document, c.found)
	if !ok {
		return
	}
	if n := r.Trusted.Observations; n < minTrusted || n > maxTrusted {
		c.fail(steps("trusted", "observations"), "%d: must be %d to %d", n, minTrusted, maxTrusted)
	}
	if d := r.Trusted.Over; d < minTrustedTime || d > maxTrustedTime {
		c.fail(steps("trusted", "over"), "%v: must be %v to %v", d, minTrustedTime, maxTrustedTime)
	}
}

// producers sees that every kind of record has exactly one owner, and that what only the
// server states is named as the ledger knows it.
func (c *fileCheck) producers() {
	file, ok := decode[ownersFile](c.document, c.found)
	if !ok {
		return
	}
	owner := map[string]string{}
	seen := map[string]bool{}
	for i, o := range file.Owners {
		if seen[o.Evidence] {
			c.fail(steps("owners", i, "evidence"), "%s stands twice", o.Evidence)
		}
		seen[o.Evidence] = true
		for k, name := range o.Kinds {
			at := steps("owners", i, "kinds", k)
			switch {
			case evidence.ParseKind(name) == 0:
				c.fail(at, "no kind of record %s", name)
			case owner[name] != "":
				c.fail(at, "%s is owned by %s already", name, owner[name])
			}
			owner[name] = o.Owner
		}
		for k, event := range o.ServerOnly {
			if !serverOnly(o.Kinds, event) {
				c.fail(steps("owners", i, "server_only", k), "%s of %s may come from outside", event, strings.Join(o.Kinds, ", "))
			}
		}
	}
	for _, k := range evidence.Kinds() {
		if owner[k.String()] == "" {
			c.fail(steps("owners"), "nobody owns records of kind %s", k)
		}
	}
}

// serverOnly reports whether an event type, or every one with that prefix, is the
// server's to state for one of the kinds.
func serverOnly(kinds []string, event string) bool {
	prefix, isPrefix := strings.CutSuffix(event, "*")
	if isPrefix {
		event = prefix + "x"
	}
	return slices.ContainsFunc(kinds, func(name string) bool { return evidence.ServerOnly(evidence.ParseKind(name), event) })
}
