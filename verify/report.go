package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Verdict is the answer of a verification.
type Verdict string

// The verdicts, formats.md section 8.
const (
	Verified           Verdict = "VERIFIED"
	Failed             Verdict = "FAILED"
	CouldNotCheck      Verdict = "COULD-NOT-CHECK"
	VerifiedWithLimits Verdict = "VERIFIED-WITH-LIMITS"
)

// Code says which check a finding belongs to. E_ codes make the verdict
// FAILED, U_ codes COULD-NOT-CHECK, W_ codes VERIFIED-WITH-LIMITS, in this
// order of precedence.
type Code string

// Failures, formats.md section 8 checks 1 to 11.
const (
	EContainer   Code = "E_CONTAINER"
	EFile        Code = "E_FILE"
	ELogSig      Code = "E_LOGSIG"
	ELeaf        Code = "E_LEAF"
	EInclusion   Code = "E_INCLUSION"
	EQuorum      Code = "E_QUORUM"
	ETime        Code = "E_TIME"
	EFork        Code = "E_FORK"
	EGap         Code = "E_GAP"
	ECommit      Code = "E_COMMIT"
	EUnaccounted Code = "E_UNACCOUNTED"
	EReceipt     Code = "E_RECEIPT"
)

// Reasons why a bundle could not be checked.
const (
	UNoKey   Code = "U_NO_KEY"  // no key for logs/0
	UFormat  Code = "U_FORMAT"  // manifest of an unknown format
	UProfile Code = "U_PROFILE" // a profile that this version does not check
	USince   Code = "U_SINCE"   // nothing leads from the kept checkpoint to this bundle
)

// Limits of what was checked.
const (
	WNoKey         Code = "W_NO_KEY"         // a log directory without a key was left out
	WNoQuorum      Code = "W_NO_QUORUM"      // no witness policy was given
	WNoTime        Code = "W_NO_TIME"        // no time from outside was checked
	WTimeUnchecked Code = "W_TIME_UNCHECKED" // there are time stamps, but no roots of their authorities were given
	WPredecessor   Code = "W_PREDECESSOR"    // the predecessor in the bundle is shorter than the log says, or nothing makes a log one of the tenant's
	WOpen          Code = "W_OPEN"           // the run has not ended, or the log ended before the period did
)

// Finding is one thing that is wrong, or that could not be checked.
type Finding struct {
	Code     Code   `json:"code"`
	Log      string `json:"log,omitempty"`      // origin
	Dir      string `json:"dir,omitempty"`      // of the log in the bundle, e.g. logs/0
	From     int64  `json:"from"`               // first leaf
	To       int64  `json:"to"`                 // after the last leaf; 0 where no leaves are meant
	Path     string `json:"path,omitempty"`     // file of the bundle, or sealed path of the leaf
	Expected string `json:"expected,omitempty"` //
	Found    string `json:"found,omitempty"`    //
	Message  string `json:"message"`            // for people: what it means
}

// Error makes a finding usable as an error.
func (f *Finding) Error() string {
	var b strings.Builder
	b.WriteString(string(f.Code))
	if f.Dir != "" {
		b.WriteString(" " + f.Dir)
	}
	switch {
	case f.To == f.From+1:
		fmt.Fprintf(&b, " leaf %d", f.From)
	case f.To > 0:
		fmt.Fprintf(&b, " leaves %d to %d", f.From, f.To-1)
	}
	if f.Path != "" {
		b.WriteString(" " + f.Path)
	}
	b.WriteString(": " + f.Message)
	if f.Expected != "" || f.Found != "" {
		fmt.Fprintf(&b, " (expected %s, found %s)", f.Expected, f.Found)
	}
	return b.String()
}

// CosignedBy is a witness of the policy that cosigned a checkpoint.
type CosignedBy struct {
	Name string `json:"name"` // in the policy
	Key  string `json:"key"`  // verifier key
	Time string `json:"time"` // RFC 3339 UTC
}

// StampReport is an RFC 3161 time stamp that holds.
type StampReport struct {
	Size      int64  `json:"size"`      // of the tree that it is about, in leaves
	Time      string `json:"time"`      // RFC 3339 UTC
	Authority string `json:"authority"` // subject of the certificate that signed it
}

// LogReport says what was checked of one log of the bundle.
type LogReport struct {
	Dir      string       `json:"dir"`
	Origin   string       `json:"origin"`
	Size     int64        `json:"size"`    // leaves
	Records  int64        `json:"records"` // of them in the bundle, all checked
	Root     string       `json:"root,omitempty"`
	Key      string       `json:"key,omitempty"`       // verifier key that the auditor pinned
	Checked  bool         `json:"checked"`             // false: no key, or stopped before
	FirstAt  string       `json:"first_at,omitempty"`  // t of the first record in the bundle
	LastAt   string       `json:"last_at,omitempty"`   // t of the last
	Closed   bool         `json:"closed"`              // ends with LOG_CLOSED, as far as the bundle shows
	Witness  []CosignedBy `json:"witnesses,omitempty"` // of the policy, whose cosignatures hold
	ExportID string       `json:"export_id,omitempty"` // of logs/0
	// Timestamps are the time stamps that hold, by size.
	Timestamps []StampReport `json:"timestamps,omitempty"`
	// System: the log is outside the tenant's own and holds shared system
	// records only.
	System bool `json:"system,omitempty"`
}

// Report is the result of a verification.
type Report struct {
	Verdict  Verdict          `json:"verdict"`
	Profile  string           `json:"profile,omitempty"`
	Scope    *Scope           `json:"scope,omitempty"`
	Findings []Finding        `json:"findings"`
	Logs     []LogReport      `json:"logs"`
	Run      *RunReport       `json:"run,omitempty"`    // of profile run
	Period   *PeriodReport    `json:"period,omitempty"` // of profile period
	Counts   map[string]int64 `json:"counts"`
	// NotProven says what even a good verdict does not prove.
	NotProven []string `json:"not_proven"`

	dropped int64
	codes   map[Code]bool // of Findings
}

// maxFindings bounds a report: beyond it findings are only counted, but for the
// first of each code. Else findings that weigh little, which whoever makes a bundle
// can have any number of, would keep out those that make the verdict.
const maxFindings = 1000

// ExitStatus is the exit status of the verify command: VERIFIED 0, FAILED 1,
// COULD-NOT-CHECK 4, VERIFIED-WITH-LIMITS 10.
func (r *Report) ExitStatus() int {
	switch r.Verdict {
	case Verified:
		return 0
	case CouldNotCheck:
		return 4
	case VerifiedWithLimits:
		return 10
	default:
		return 1
	}
}

// Has reports whether there is a finding of that code.
func (r *Report) Has(c Code) bool {
	for i := range r.Findings {
		if r.Findings[i].Code == c {
			return true
		}
	}
	return false
}

// fresh is a copy of a report as it is before logs are checked.
func (r *Report) fresh() Report {
	c := *r
	c.Findings, c.Logs, c.Counts = slices.Clone(r.Findings), slices.Clone(r.Logs), maps.Clone(r.Counts)
	c.codes = maps.Clone(r.codes)
	return c
}

func (r *Report) class(prefix byte) bool {
	for i := range r.Findings {
		if r.Findings[i].Code[0] == prefix {
			return true
		}
	}
	return false
}

// stopped: no further check makes sense.
func (r *Report) stopped() bool { return r.class('E') || r.class('U') }

// add appends findings; the same finding about the next leaf becomes one.
func (r *Report) add(findings ...Finding) {
	for _, f := range findings {
		f.Path, f.Expected, f.Found, f.Message = printable(f.Path), printable(f.Expected), printable(f.Found), printable(f.Message)
		if n := len(r.Findings); n > 0 {
			last := &r.Findings[n-1]
			joined := *last
			joined.From, joined.To = f.From, f.To
			if f.To > 0 && last.To == f.From && joined == f {
				last.To = f.To
				continue
			}
		}
		if len(r.Findings) >= maxFindings && r.codes[f.Code] {
			r.dropped++
			continue
		}
		if r.codes == nil {
			r.codes = map[Code]bool{}
		}
		r.codes[f.Code] = true
		r.Findings = append(r.Findings, f)
	}
}

// printable writes what a terminal would take for more than text, or would not show,
// as its code: names and values of a bundle stand in findings.
func printable(s string) string {
	hidden := func(c rune) bool { return !unicode.IsGraphic(c) }
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if hidden(c) {
			fmt.Fprintf(&b, "\\u%04x", c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// finish sets the verdict.
func (r *Report) finish() {
	switch {
	case r.class('E'):
		r.Verdict = Failed
	case r.class('U'):
		r.Verdict = CouldNotCheck
	case len(r.Findings) > 0:
		r.Verdict = VerifiedWithLimits
	default:
		r.Verdict = Verified
	}
	if r.dropped > 0 {
		r.Counts["findings_not_listed"] = r.dropped
	}
}
