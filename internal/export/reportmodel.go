package export

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/report"
	"github.com/runledger/runledger/verify"
)

// maxListed is how many records one list of a report has, and how many steps.
const maxListed = 500

// reportBase returns what the reports of all profiles have in common. newest is t of
// the newest record that the report draws on: a report has no other time, so that the
// same evidence makes the same report.
func (j *job) reportBase(newest evidence.Micros) *report.Model {
	l := &j.logs[0]
	var keys []string
	for k := range j.logs {
		keys = append(keys, j.logs[k].VKey)
	}
	return &report.Model{
		Profile: j.req.Profile, TenantID: j.req.Tenant, ExportID: j.req.ExportID, Salt: j.salt, MadeAt: newest,
		RunID: j.req.Run, Scope: j.req.Scope, From: j.req.From, Until: j.req.Until,
		Log: l.Origin, Size: l.head.Size, Root: l.head.Root.String(),
		Checkpoint: string(l.note), VKeys: keys,
		Integrity: j.integrity(), Withheld: j.withheldFacts(), Verify: j.verifyLines(),
	}
}

// integrity says by what the records of the export are proven.
func (j *job) integrity() []report.Fact {
	out := []report.Fact{{
		Name:  "Records",
		Value: fmt.Sprintf("%d, each proven to be in a signed log at its place, byte for byte as it was recorded", j.counts.Records),
	}}
	for k := range j.logs {
		l := &j.logs[k]
		what := "a log of the tenant"
		if l.system(&j.req) {
			what = "the system log, for its shared records"
		}
		out = append(out, report.Fact{
			Name: "Log " + l.Origin,
			Value: fmt.Sprintf("%s: %d of its %d records are here; root %s",
				what, j.counts.Logs[k].Records, l.head.Size, l.head.Root),
		}, report.Fact{Name: "Witnesses of " + l.Origin, Value: witnessesOf(l.note)})
	}
	if len(j.stamped) == 0 {
		out = append(out, report.Fact{Name: "Time stamps", Value: "none: when records were made is known from the server's clock, and from witnesses where there are any"})
	}
	for _, s := range j.stamped {
		out = append(out, report.Fact{
			Name:  "Time stamp",
			Value: fmt.Sprintf("%s by %s, over the first %d records of %s", report.Clock(s.At), s.By, s.Size, s.part.Origin),
		})
	}
	return out
}

// witnessesOf says who has cosigned a checkpoint, as the signature lines name them.
func witnessesOf(note []byte) string {
	_, signatures, err := c2sp.ParseNote(note)
	if err != nil {
		return "the checkpoint cannot be read"
	}
	var names []string
	for _, s := range signatures {
		if len(s.Sig) == 8+64 { // of a cosignature: time and signature
			at := binary.BigEndian.Uint64(s.Sig)
			names = append(names, fmt.Sprintf("%s at %s", s.Name, report.Clock(evidence.Micros(min(at, 1<<37))*1_000_000)))
		}
	}
	if names == nil {
		return "none: that nobody was shown another history is not proven by others"
	}
	return strings.Join(names, "; ")
}

// reasonText says why a sealed field is not shown.
func reasonText(r verify.Reason) string {
	switch r {
	case verify.NotPermitted:
		return "withheld: who asked for this export may not read it"
	case verify.Requested:
		return "withheld, as was asked for"
	case verify.Erased:
		return "erased"
	case verify.Expired:
		return "expired"
	}
	return string(r)
}

func (j *job) withheldFacts() (out []report.Fact) {
	counts := map[string]int64{}
	for i := range j.counts.Logs {
		for reason, n := range j.counts.Logs[i].Withheld {
			counts[reason] += n
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, report.Fact{Name: reasonText(verify.Reason(reason)), Value: fmt.Sprintf("%d fields", counts[reason])})
	}
	return out
}

// verifyLines says how to check what the report shows.
func (j *job) verifyLines() []report.Line {
	lines := []report.Line{{
		Text: "This report is a view and proves nothing by itself. What it shows is proven by the evidence bundle, a ZIP, with the export id on the first page.",
	}}
	if j.req.Format == FormatPDF {
		lines[0].Text = "This report is a view and proves nothing by itself. Have the same export made in the format zip: that is the evidence, and has this report in it."
	}
	lines = append(lines, report.Line{
		Text: "Take the verifier key of each log from its operator, by another way than this export; it has the form name+8 hex digits+base64. Then:",
	})
	command := "runledger verify BUNDLE.zip"
	for k := range j.logs {
		command += fmt.Sprintf(" --key \"$KEY%d\"", k)
	}
	return append(lines,
		report.Line{Text: command, Command: true},
		report.Line{Text: "or open verify.html, a release file of runledger, in a browser and give it the ZIP and the keys; nothing leaves the browser. README.txt in the ZIP says how to check it with sha256sum, openssl and Go alone."},
		report.Line{Text: "What no check proves: that a producer told the truth, and that events which were never sent do not exist."},
	)
}

// name returns a public name of a record: where it was not fit to be public and is
// disclosed, the name itself.
func (s *shown) name(field string) string {
	text := s.leaf.Text(field)
	if evidence.IsReplacement(text) {
		if v := s.value("/" + field); v != "" {
			return plainText(v)
		}
	}
	return text
}

// text returns a sealed text, or why it is not shown.
func (s *shown) text(path string) string {
	f, ok := s.field(path)
	switch {
	case !ok:
		return ""
	case f.withheld != "":
		return "[" + reasonText(f.withheld) + "]"
	}
	return cut(plainText(f.json))
}

// actor returns who acted.
func (s *shown) actor() string {
	switch s.leaf.Text("actor_type") {
	case "HUMAN":
		f, _ := s.field(pathActor)
		if f.withheld != "" {
			return "a person [" + reasonText(f.withheld) + "]"
		}
		return evidence.ActorOf([]byte(f.json))
	case "AGENT":
		return s.name("agent_id")
	}
	return s.name("system_id")
}

// entry shows an audit entry, a system record or an export. home is the origin of the
// report's log.
func (s *shown) entry(home string) report.Entry {
	l := s.leaf
	e := report.Entry{At: l.OccurredAt, Event: l.Text("event_type"), Actor: s.actor(), LeafIndex: l.Seq}
	if l.Log != home {
		e.Log = l.Log
	}
	switch l.Kind {
	case evidence.KindSystem:
		e.Subject, e.Decision, e.Detail = s.name("component"), l.Text("severity"), s.text("/summary")
		if e.Actor == e.Subject { // nobody said who
			e.Actor = l.Text("caused_by")
		}
	case evidence.KindExport:
		e.Event, e.Subject = "export "+l.Text("status"), "EXPORT "+l.Text("export_id")
		e.Detail = strings.TrimSuffix(l.Text("format")+", "+counted(l), ", ")
	default:
		e.Subject = strings.TrimSpace(l.Text("entity_type") + " " + s.name("entity_id"))
		e.Decision = l.Text("decision")
		parts := []string{limitText(s), counted(l), s.text("/action_reason")}
		e.Detail = strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
	}
	return e
}

// cut bounds a text in a list.
func cut(text string) string {
	const most = 2000
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%s… [%d more bytes]", strings.ToValidUTF8(text[:most], ""), len(text)-most)
}

// counted says what was given out.
func counted(l *evidence.Leaf) string {
	var parts []string
	if route := l.Text("route"); route != "" {
		parts = append(parts, route)
	}
	if n, ok := l.Int("record_count"); ok {
		parts = append(parts, fmt.Sprintf("%d records", n))
	}
	for _, name := range []string{"byte_count", "size_bytes"} {
		if n, ok := l.Int(name); ok {
			parts = append(parts, fmt.Sprintf("%d bytes", n))
		}
	}
	return strings.Join(parts, ", ")
}

// limitText says what was observed of a limit.
func limitText(s *shown) string {
	l := s.leaf
	limit, observed := l.Text("limit_value"), l.Text("observed_value")
	unit := s.name("limit_unit")
	switch {
	case limit == "" && observed == "":
		return ""
	case observed == "":
		return strings.TrimSpace("limit " + limit + " " + unit)
	}
	return strings.TrimSpace(fmt.Sprintf("observed %s of %s %s", observed, limit, unit))
}
