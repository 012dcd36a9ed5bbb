package registry

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// tableWidth is how many characters a line of [Table] has at most, where its words allow.
const tableWidth = 100

// Table writes an observation for people: a line for each scenario, below it what went
// wrong or was only advised, then a line for each capability and one for all. Errors of
// w are not told.
func Table(w io.Writer, o *Observation) {
	rows := [][]string{{"SCENARIO", "CAPABILITY", "PANEL", "RESULT", "TIME", "WHY"}}
	for i := range o.Scenarios {
		s := &o.Scenarios[i]
		row := []string{s.ID, s.Capability, orDash(s.Panel), "passed", seconds(s.DurationMS), ""}
		if !s.Passed {
			row[3], row[5] = "FAILED", s.Failure.Reason
		}
		rows = append(rows, row)
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for i, row := range rows {
		fmt.Fprintln(w, tableRow(row, widths))
		if i > 0 {
			for _, n := range o.Scenarios[i-1].notes() {
				writeWrapped(w, n)
			}
		}
	}
	fmt.Fprintln(w)
	sums := o.sums()
	for _, s := range sums {
		fmt.Fprintf(w, "%-*s  %s\n", widths[1], printable(s.capability), s.result())
	}
	all := sum{total: len(o.Scenarios)}
	for _, s := range sums {
		all.failed = append(all.failed, s.failed...)
	}
	fmt.Fprintf(w, "%-*s  %s in %s\n", widths[1], "total", all.result(), seconds(int64(o.FinishedAt-o.StartedAt)/1000))
}

// tableRow pads all cells but the last; times are set to the right.
func tableRow(row []string, widths []int) string {
	var b strings.Builder
	for i, cell := range row {
		cell = printable(cell)
		pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
		switch i {
		case 4:
			b.WriteString(pad + cell)
		default:
			b.WriteString(cell + pad)
		}
		b.WriteString("  ")
	}
	return strings.TrimRight(b.String(), " ")
}

// notes are what a line of the table has no room for.
func (s *ScenarioResult) notes() []string {
	var out []string
	if f := s.Failure; f != nil {
		var parts []string
		for _, part := range []string{f.Invariant, f.Step, f.Detail} {
			if part != "" {
				parts = append(parts, part)
			}
		}
		out = append(out, strings.Join(parts, ": "))
	}
	return append(out, s.advice()...)
}

// advice is the invariants that did not hold and fail nothing.
func (s *ScenarioResult) advice() []string {
	var out []string
	for _, seen := range s.Seen {
		for _, c := range slices.Concat(seen.Invariants, seen.Expectations) {
			if !c.Passed && c.Level == Advisory {
				out = append(out, fmt.Sprintf("advisory: %s: %s: %s", c.ID, seen.ID, c.Detail))
			}
		}
	}
	return out
}

// writeWrapped writes an indented text in lines that a terminal has room for. A word
// that is longer than a line is not cut.
func writeWrapped(w io.Writer, text string) {
	const indent = "    "
	line := indent
	for _, word := range strings.Fields(printable(text)) {
		if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > tableWidth {
			fmt.Fprintln(w, line)
			line = indent + "  "
		}
		if strings.TrimSpace(line) != "" {
			line += " "
		}
		line += word
	}
	if strings.TrimSpace(line) != "" {
		fmt.Fprintln(w, line)
	}
}

// sum is what became of the scenarios of a capability.
type sum struct {
	capability string
	total      int
	failed     []string
	ms         int64
}

// sums returns one sum for each capability, by id.
func (o *Observation) sums() []*sum {
	var out []*sum
	for i := range o.Scenarios {
		s := &o.Scenarios[i]
		at := slices.IndexFunc(out, func(c *sum) bool { return c.capability == s.Capability })
		if at < 0 {
			at = len(out)
			out = append(out, &sum{capability: s.Capability})
		}
		c := out[at]
		c.total++
		c.ms += s.DurationMS
		if !s.Passed {
			c.failed = append(c.failed, s.ID)
		}
	}
	slices.SortFunc(out, func(a, b *sum) int { return strings.Compare(a.capability, b.capability) })
	return out
}

func (s *sum) result() string {
	if len(s.failed) > 0 {
		return countOf(len(s.failed), s.total) + " FAILED"
	}
	return countOf(s.total, s.total) + " passed"
}

func seconds(ms int64) string {
	return fmt.Sprintf("%.1fs", (time.Duration(ms) * time.Millisecond).Seconds())
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable is a text that changes nothing of the terminal that it is printed on: what
// failed may be what somebody else wrote.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return '\uFFFD'
		}
	}, s)
}
