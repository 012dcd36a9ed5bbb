package dialect

import (
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// ownPrefix is that of the project's own attributes; the package comment lists
// them.
const ownPrefix = "runledger."

// own is what the runledger.* attributes of one carrier (resource, span, span
// event or log record) say.
type own struct {
	present    bool // any attribute that belongs to a governance fact
	policies   []string
	incidents  []string
	rule       string
	decision   string
	reason     string
	limit      string
	limitValue string
	observed   string
	unit       string
	overrides  bool
	overReason string
	from       int64
	until      int64
	event      string
	entityType string
	entity     string

	run, subject, user, conversation   string
	agentID, agentName                 string
	correlation, scenario, source, who string
	synthetic                          bool
}

// set takes one attribute; name is without its prefix. Unknown names are left
// alone: they stay in /attrs.
func (o *own) set(name string, v pcommon.Value) {
	if o.setHint(name, v) {
		return
	}
	text := valueText(v)
	if text == "" {
		return
	}
	switch name {
	case "policy_id", "policy_ids":
		o.policies = appendTexts(o.policies, v)
	case "incident_id", "incident_ids":
		o.incidents = appendTexts(o.incidents, v)
	case "rule_id":
		o.rule = text
	case "decision":
		o.decision = text
	case "reason":
		o.reason = text
	case "limit_id":
		o.limit = text
	case "limit_value":
		o.limitValue = decimalText(v)
	case "observed_value":
		o.observed = decimalText(v)
	case "limit_unit":
		o.unit = text
	case "override", "override_reason", "override_from", "override_until",
		"override.reason", "override.from", "override.until":
		o.setOverride(strings.ReplaceAll(name, ".", "_"), text, v)
	case "event_type":
		if evidence.ServerOnly(evidence.KindAudit, text) {
			return // nobody can state it from outside
		}
		o.event = text
	case "entity_type":
		o.entityType = text
	case "entity_id":
		o.entity = text
	default:
		return
	}
	o.present = true
}

func (o *own) setOverride(name, text string, v pcommon.Value) {
	switch name {
	case "override":
		o.overrides = text == "true"
		return
	case "override_reason":
		o.overReason = text
	case "override_from":
		o.from = timeOf(v)
	case "override_until":
		o.until = timeOf(v)
	}
	o.overrides = true
}

// setHint takes an attribute that says something about the run.
func (o *own) setHint(name string, v pcommon.Value) bool {
	var to *string
	switch name {
	case "run_id":
		to = &o.run
	case "subject":
		to = &o.subject
	case "user_id":
		to = &o.user
	case "conversation_id":
		to = &o.conversation
	case "agent_id":
		to = &o.agentID
	case "agent_name":
		to = &o.agentName
	case "correlation_id":
		to = &o.correlation
	case "scenario_id":
		to = &o.scenario
	case "source":
		to = &o.source
	case "executor":
		to = &o.who
	case "synthetic":
		o.synthetic = valueText(v) == "true"
		return true
	default:
		return false
	}
	*to = valueText(v)
	return true
}

// fill takes the attributes of a carrier that no dialect reads.
func (o *own) fill(attrs pcommon.Map) {
	for k, v := range attrs.All() {
		if strings.HasPrefix(k, ownPrefix) {
			o.set(k[len(ownPrefix):], v)
		}
	}
}

// appendTexts adds a text, or each text of an array.
func appendTexts(list []string, v pcommon.Value) []string {
	if v.Type() != pcommon.ValueTypeSlice {
		return append(list, valueText(v))
	}
	for _, e := range v.Slice().All() {
		if s := valueText(e); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// decimalText returns a number as the contract writes it, "" for what is none.
func decimalText(v pcommon.Value) string {
	d, ok := parseDecimal(numberText(v))
	if !ok {
		return ""
	}
	return d.String()
}

// String returns -?digits(.digits)?
func (d decimal) String() string {
	digits := strings.TrimRight(d.digits, "0")
	exp := d.exp + len(d.digits) - len(digits)
	if digits == "" {
		return "0"
	}
	var s string
	switch point := len(digits) + exp; {
	case point > 100 || point < -100:
		return ""
	case exp >= 0:
		s = digits + strings.Repeat("0", exp)
	case point > 0:
		s = digits[:point] + "." + digits[point:]
	default:
		s = "0." + strings.Repeat("0", -point) + digits
	}
	if d.neg {
		return "-" + s
	}
	return s
}

// exceeds reports whether a is above b; ok is false if either is no number.
func exceeds(a, b string) (above, ok bool) {
	x, okX := parseDecimal(a)
	y, okY := parseDecimal(b)
	if !okX || !okY {
		return false, false
	}
	return x.compare(y) > 0, true
}

func (d decimal) compare(e decimal) int {
	dz, ez := strings.Trim(d.digits, "0") == "", strings.Trim(e.digits, "0") == ""
	sign := func(neg, zero bool) int {
		switch {
		case zero:
			return 0
		case neg:
			return -1
		}
		return 1
	}
	sd, se := sign(d.neg, dz), sign(e.neg, ez)
	if sd != se || sd == 0 {
		return sd - se
	}
	return sd * d.compareMagnitude(e)
}

func (d decimal) compareMagnitude(e decimal) int {
	if c := len(d.digits) + d.exp - len(e.digits) - e.exp; c != 0 {
		return c
	}
	a, b := strings.TrimRight(d.digits, "0"), strings.TrimRight(e.digits, "0")
	return strings.Compare(a, b)
}

// timeOf reads RFC 3339, or an integer: seconds, milliseconds, microseconds or
// nanoseconds since 1970, told apart by size. It returns microseconds, 0 for none.
func timeOf(v pcommon.Value) int64 {
	if v.Type() == pcommon.ValueTypeInt {
		n := v.Int()
		switch {
		case n <= 0:
			return 0
		case n < 1e11:
			return n * 1e6
		case n < 1e14:
			return n * 1e3
		case n < 1e17:
			return n
		}
		return n / 1e3
	}
	t, err := time.Parse(time.RFC3339Nano, valueText(v))
	if err != nil {
		return 0
	}
	m := evidence.MicrosOf(t)
	if !m.InRange() {
		return 0
	}
	return int64(m)
}

// runSources and executors are the enumerations of llm_run.
func runSource(s string) string {
	switch up := strings.ToUpper(s); up {
	case "API", "SDK", "SYSTEM", "SYNTHETIC", "WORKER":
		return up
	}
	return ""
}

func executor(s string) string {
	switch low := strings.ToLower(s); low {
	case "llm":
		return "LLM"
	case "agent", "human":
		return low
	}
	return ""
}
