// Package report draws the report of an export for people, as HTML and as PDF. A
// report is a view: it names the checkpoint and the export that prove what it shows.
package report

import (
	"fmt"
	"io"

	"github.com/runledger/runledger/evidence"
)

// Model is what a report shows. All text is as it stands in the evidence; the
// report escapes it. Equal models give equal bytes.
type Model struct {
	Profile  string // "run" or "period"
	TenantID string
	ExportID string
	// Salt makes the digest of a PDF one that tells nothing of what it shows; "": none.
	Salt  string
	Scope string // of a period: system, audit, compliance
	RunID string // of a run
	// From and Until bound a period.
	From, Until evidence.Micros
	// MadeAt is the time of the report: t of the newest record that it draws on.
	MadeAt evidence.Micros

	Log        string // origin
	Size       int64
	Root       string // hex, as verify says it
	Checkpoint string // verbatim
	// VKeys are those of the bundle's logs, as their operator states them, in the order
	// of its directories: Verify names them $KEY0, $KEY1, …
	VKeys []string

	// Summary are the facts of the first page after the cover, in order.
	Summary []Fact
	// Notices are what a reader must know before all else: a run that is open,
	// flags, fields that are withheld or gone, lists that are cut.
	Notices []string

	Window     *Window // of a run; nil: none
	Steps      []Step
	StepsTotal int64 // more than len(Steps) where the list is cut
	Governance []Entry
	Accesses   []Entry
	// AccessesHidden: who asked may not see who looked.
	AccessesHidden bool
	System         []Entry // events of a period, or of the window
	EntriesTotal   int64   // of a period: more than are listed where cut
	Counts         []Fact  // of a period: records by kind and event
	Controls       []Control
	Integrity      []Fact // checkpoint, witnesses, time stamps, completeness
	Withheld       []Fact // reason and how many fields
	Verify         []Line // how to verify: text and commands, in order
}

// Fact is a name and its value.
type Fact struct{ Name, Value string }

// Line is a paragraph, or a command to be typed.
type Line struct {
	Text    string
	Command bool
}

// Window is the time around the turning point of a run.
type Window struct {
	Center, Start, End evidence.Micros
	Why                string // what the center is
	Marks              []Mark
}

// Mark is one event of the window.
type Mark struct {
	Lane       string // "step", "policy" or "system"
	At         evidence.Micros
	DurationUS int64 // of a step
	Label      string
	Outcome    string // such as success, failure, BLOCKED, CRITICAL
	LeafIndex  int64
	Log        string // origin, where it is not the report's log
}

// Step is one step of the run.
type Step struct {
	Index      int64
	Depth      int // 0 at the top
	At         evidence.Micros
	DurationUS int64
	Kind       string
	Name       string
	Status     string
	Model      string
	Tokens     string // "in / out", or ""
	Cost       string // in USD, or ""
	LeafIndex  int64
	// Content are its sealed fields: value, or why it is not shown.
	Content []Content
	Flags   []string
}

// Content is a sealed field. Value is the content of a JSON string, and of all else the
// JSON text. Where Withheld is not "" there is no Value, and none is shown.
type Content struct{ Path, Value, Withheld string }

// Entry is an audit entry or a system event.
type Entry struct {
	At        evidence.Micros
	Event     string
	Subject   string // entity, component
	Actor     string
	Decision  string // decision, severity
	Detail    string // reason or summary, or why it is not shown
	LeafIndex int64
	Log       string // origin, where it is not the report's log
}

// Control is a clause that the export supports, and by what.
type Control struct {
	Framework string // "EU AI Act"
	ID        string // "Art. 12"
	Title     string
	Supports  string // "supports …": how
	Evidence  string // where it is in the bundle
	Records   int64
}

// HTML writes the report as one self-contained page: no script, no request
// (Content-Security-Policy default-src 'none', style by digest). It writes nothing
// where it fails before the first byte; a failure later is that of w.
func HTML(w io.Writer, m *Model) error {
	page, err := writeHTML(m)
	if err != nil {
		return fmt.Errorf("write report of export %s as HTML: %w", m.ExportID, err)
	}
	_, err = w.Write(page)
	return err
}

// PDF writes the report as PDF, with page numbers and embedded fonts. Letters that no
// embedded font has (emoji, Thai, the scripts of India) show as their number, U+XXXX,
// in a box. It is safe for concurrent use, as HTML is, and writes nothing if it fails.
func PDF(w io.Writer, m *Model) error {
	pdf, err := writePDF(m)
	if err != nil {
		return fmt.Errorf("write report of export %s as PDF: %w", m.ExportID, err)
	}
	_, err = w.Write(pdf)
	return err
}
