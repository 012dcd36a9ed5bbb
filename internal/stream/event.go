package stream

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// Severities, as system records have them.
const (
	severityInfo     = "INFO"
	severityWarn     = "WARN"
	severityCritical = "CRITICAL"
)

// severities are all of them, the least first.
var severities = []string{severityInfo, severityWarn, severityCritical}

func atLeast(severity, least string) bool {
	return slices.Index(severities, severity) >= slices.Index(severities, least)
}

// severityOf returns a record's severity. An audit entry has none of its own: one
// that says that something was refused, broken or overridden is a WARN.
func severityOf(l *evidence.Leaf) string {
	if l.Kind == evidence.KindSystem {
		return l.Text("severity")
	}
	switch l.Text("decision") {
	case "DENIED", "BLOCKED", "BREACHED", "WARNED":
		return severityWarn
	}
	switch l.Text("event_type") {
	case "LOGIN_FAILED", "LimitBreached", "LimitOverrideGranted", "EmergencyOverrideActivated", "ConflictRecorded":
		return severityWarn
	}
	return severityInfo
}

// event is one event on its way to a sink.
type event struct {
	ID       string
	Tenant   string
	Log      string // "" where it is no record
	Index    int64
	Hash     string
	Kind     string
	Type     string // event type of the record, or name of the condition
	Severity string
	At       evidence.Micros
	Body     []byte // JSON, one line
}

// Bounds of what one event may hold. A disclosed field over maxSealed is left out and
// named, as are further ones where all of them are over maxAllSealed.
const (
	maxSealed    = 64 << 10
	maxAllSealed = 256 << 10
)

// shown is a record as events hold it, in CloudEvents as the data, in OCSF as what
// has no attribute of its own.
type shown struct {
	ID         string                     `json:"id"`
	Kind       string                     `json:"kind"`
	Tenant     string                     `json:"tenant_id"`
	Run        string                     `json:"run_id,omitempty"`
	OccurredAt evidence.Micros            `json:"occurred_at"`
	RecordedAt evidence.Micros            `json:"recorded_at"`
	Log        string                     `json:"log"`
	LeafIndex  int64                      `json:"leaf_index"`
	LeafHash   string                     `json:"leaf_hash"`
	Severity   string                     `json:"severity"`
	Facts      map[string]json.RawMessage `json:"facts"`
	Sealed     map[string]json.RawMessage `json:"sealed,omitempty"`
	// LeftOut are disclosed fields that are too large, with their sizes.
	LeftOut map[string]int `json:"left_out,omitempty"`
	// Leaf is the leaf verbatim. In OCSF it is raw_data.
	Leaf string `json:"leaf,omitempty"`
	// Alarm is there where the event is an alarm.
	Alarm *alarmNote `json:"alarm,omitempty"`
}

// alarmNote says what one alarm stands for.
type alarmNote struct {
	Count     int64           `json:"count"` // like records since the alarm before
	LastIndex int64           `json:"last_leaf_index"`
	LastSeen  evidence.Micros `json:"last_seen"`
}

func showRecord(f *ledger.Fetched, disclose []string) *shown {
	l := f.Leaf
	s := &shown{
		ID: l.ID.String(), Kind: l.Kind.String(), Tenant: f.Tenant, Run: l.Run, OccurredAt: l.OccurredAt, RecordedAt: l.RecordedAt,
		Log: l.Log, LeafIndex: l.Seq, LeafHash: evidence.Checksum(f.Hash), Severity: severityOf(l),
		Facts: make(map[string]json.RawMessage, len(l.Pub)),
	}
	for i := range l.Pub {
		s.Facts[l.Pub[i].Field.Name] = l.Pub[i].AppendJSON(nil)
	}
	total := 0
	for _, path := range disclose {
		opened, ok := f.Open[path]
		if !ok {
			continue // not there, or erased
		}
		if n := len(opened.JSON); n > maxSealed || total+n > maxAllSealed {
			if s.LeftOut == nil {
				s.LeftOut = map[string]int{}
			}
			s.LeftOut[path] = n
			continue
		}
		total += len(opened.JSON)
		if s.Sealed == nil {
			s.Sealed = map[string]json.RawMessage{}
		}
		s.Sealed[path] = json.RawMessage(opened.JSON)
	}
	return s
}

// text returns a disclosed text, or "".
func (s *shown) text(path string) string {
	var t string
	_ = json.Unmarshal(s.Sealed[path], &t) // another shape has no text
	return t
}

// client returns the address and program of the one who asked, where disclosed.
func (s *shown) client() (c struct{ Address, Agent string }) {
	_ = json.Unmarshal(s.Sealed["/client"], &c) // nothing where it is not disclosed
	return c
}

// human returns the person who acted, where disclosed.
func (s *shown) human() string { return evidence.ActorOf(s.Sealed["/actor"]) }

// encoder makes events of one form.
type encoder struct {
	format   string
	disclose []string
	version  string // of the program
	instance string
}

// record makes the event of a record; with a note it is an alarm.
func (e *encoder) record(f *ledger.Fetched, note *alarmNote) (event, error) {
	s := showRecord(f, e.disclose)
	s.Alarm = note
	ev := event{
		ID: s.ID, Tenant: s.Tenant, Log: s.Log, Index: s.LeafIndex, Hash: s.LeafHash, Kind: s.Kind,
		Type: f.Leaf.Text("event_type"), Severity: s.Severity, At: s.OccurredAt,
	}
	var err error
	if e.format == FormatOCSF {
		ev.Body, err = oneLine(e.ocsfRecord(f, s))
	} else {
		ev.Body, err = e.cloudRecord(f, s)
	}
	return ev, err
}

// condition makes the event of an alarm about no record.
func (e *encoder) condition(c *condition) (event, error) {
	ev := event{ID: c.eventID(e.instance), Tenant: evidence.SystemTenant, Kind: "condition", Type: c.Name, Severity: c.severity(), At: c.changed()}
	var err error
	if e.format == FormatOCSF {
		ev.Body, err = oneLine(e.ocsfCondition(c))
	} else {
		ev.Body, err = e.cloudCondition(c)
	}
	return ev, err
}

// oneLine writes JSON without escapes that only HTML needs, and without a newline.
func oneLine(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
