package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/verify"
)

// sayf is printf of what may come from whoever is checked: a text in it can neither end a line nor
// do anything to the terminal.
func (e *env) sayf(format string, args ...any) {
	for i, a := range args {
		if v := reflect.ValueOf(a); v.Kind() == reflect.String {
			args[i] = clean(v.String())
		}
	}
	e.printf(format, args...)
}

// printReport prints a verification of a bundle for people.
func (e *env) printReport(name string, r *verify.Report) {
	e.sayf("%s  %s\n", r.Verdict, name)
	e.printf("%s", wrap("", meaning[r.Verdict]))
	for i := range r.Logs {
		e.printChecked(&r.Logs[i])
	}
	if r.Run != nil && r.Verdict != verify.Failed {
		e.printRun(r.Run)
	}
	if r.Period != nil && r.Verdict != verify.Failed {
		e.printPeriod(r.Period)
	}
	if r.Counts["leaves"] > 0 {
		e.printf("\n%s", wrap("", "in all: "+countText(r.Counts)))
	}
	e.printFindings(r)
	if r.Verdict != verify.Failed && len(r.NotProven) > 0 {
		e.sayf("\nNot proven\n")
		for _, text := range r.NotProven {
			e.printf("%s", wrap("  ", text))
		}
	}
}

// meaning says in a sentence what a verdict means.
var meaning = map[verify.Verdict]string{
	verify.Verified:           "Every check was done, and all hold.",
	verify.VerifiedWithLimits: "Every check that was done holds. What was not done is under Limits.",
	verify.Failed:             "At least one check does not hold: do not rely on this bundle.",
	verify.CouldNotCheck:      "This says nothing about the bundle: what it takes to check it is missing.",
}

// printChecked prints what was checked of one log.
func (e *env) printChecked(l *verify.LogReport) {
	e.sayf("\n%s  %s\n", l.Dir, l.Origin)
	if l.System {
		e.sayf("  %-9s what the system shares with its tenants\n", "log")
	}
	if !l.Checked {
		e.sayf("  %-9s not checked\n", "records")
		return
	}
	if l.Records == l.Size {
		e.sayf("  %-9s %d", "records", l.Size)
	} else {
		e.sayf("  %-9s %d of %d", "records", l.Records, l.Size)
	}
	if l.Records > 0 {
		e.sayf(", recorded %s\n  %-9s to %s", l.FirstAt, "", l.LastAt)
	}
	e.sayf("\n")
	e.sayf("  %-9s %s\n", "root", l.Root)
	for _, w := range l.Witness {
		e.sayf("  %-9s %s, %s\n", "witness", w.Name, w.Time)
	}
	for _, s := range l.Timestamps {
		e.printf("%s", wrapLines(fmt.Sprintf("  %-9s ", "stamp"), "            ", fmt.Sprintf("%s, %d leaves, by %s", s.Time, s.Size, s.Authority)))
	}
}

// printFindings prints what is wrong, by class.
func (e *env) printFindings(r *verify.Report) {
	for _, part := range []struct{ title, prefix string }{
		{"Failures", "E_"}, {"Could not check", "U_"}, {"Limits", "W_"},
	} {
		first := true
		for i := range r.Findings {
			f := &r.Findings[i]
			if !strings.HasPrefix(string(f.Code), part.prefix) {
				continue
			}
			if first {
				e.sayf("\n%s\n", part.title)
				first = false
			}
			e.printf("%s", wrap("  ", f.Error()))
		}
	}
	if n := r.Counts["findings_not_listed"]; n > 0 {
		e.sayf("  and %d more\n", n)
	}
}

// printPeriod prints what a bundle of a period holds.
func (e *env) printPeriod(p *verify.PeriodReport) {
	end := ""
	if p.Open {
		end = ", as far as the log goes"
	}
	e.sayf("\nperiod, scope %s\n  %-9s %s\n  %-9s %s (not in it)%s\n", p.Kind, "from", p.From, "until", p.Until, end)
	e.sayf("  %-9s %d, without a gap\n", "records", p.Records)
}

// printRun prints what a bundle of a run holds of it.
func (e *env) printRun(r *verify.RunReport) {
	e.sayf("\nrun %s\n  %-9s %d\n", r.RunID, "records", r.Records)
	if !r.Ended {
		return
	}
	e.sayf("  %-9s revision %d, which counts %d records\n", "ended", r.Revision, r.RecordCount)
	for i, l := range r.Later {
		if i == maxLaterLines {
			e.sayf("  %-9s %d more\n", "", r.LaterCount-maxLaterLines)
			break
		}
		e.sayf("  %-9s n = %d, %s, %s leaf %d\n", "later", l.N, l.Kind, l.Dir, l.LeafIndex)
	}
}

// maxLaterLines bounds the later records that are printed; --json has more.
const maxLaterLines = 10

// countText names what was counted, in the order of the contract.
func countText(counts map[string]int64) string {
	var parts []string
	for _, k := range evidence.Kinds() {
		if n := counts[k.String()]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k))
		}
	}
	for _, c := range []struct{ name, text string }{
		{"runs", "runs"},
		{"disclosed", "fields disclosed"},
		{"withheld_requested", "withheld on request"},
		{"withheld_not_permitted", "not permitted"},
		{"withheld_erased", "erased"},
		{"withheld_expired", "expired"},
	} {
		if n := counts[c.name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c.text))
		}
	}
	return strings.Join(parts, ", ")
}

// columns is how wide text for people is.
const columns = 80

// wrap breaks a text into lines; those after the first are indented by two
// more.
func wrap(indent, text string) string { return wrapLines(indent, indent+"  ", text) }

// wrapLines breaks a text into lines with an indent of their own for the first
// and the others. A word that is too long stands on a line of its own. What a terminal would not print is replaced.
func wrapLines(indent, hang, text string) string {
	var b strings.Builder
	line := indent
	begin := true
	for _, word := range strings.Fields(clean(text)) {
		if !begin && len([]rune(line))+1+len([]rune(word)) > columns {
			b.WriteString(line + "\n")
			line, begin = hang, true
		}
		if !begin {
			line += " "
		}
		line += word
		begin = false
	}
	b.WriteString(line + "\n")
	return b.String()
}
