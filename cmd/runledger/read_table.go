package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/runledger/runledger/evidence"
)

// screen is where answers are shown to people.
type screen struct {
	w       io.Writer
	width   int // columns
	colour  bool
	content bool // sealed content in full
}

// pipeWidth is the width where there is no terminal.
const pipeWidth = 120

func (e *env) screen(content bool) *screen {
	s := &screen{w: e.stdout, width: pipeWidth, content: content}
	if !isTerminal(e.stdout) {
		return s
	}
	s.colour = os.Getenv("NO_COLOR") == ""
	if f, ok := e.stdout.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			s.width = max(w, columns)
		}
	}
	return s
}

func (s *screen) printf(format string, args ...any) { fmt.Fprintf(s.w, format, args...) }

// Colours of what has to be seen.
const (
	plainText = ""
	dim       = "2"
	bold      = "1"
	red       = "31"
	yellow    = "33"
	green     = "32"
)

// paint colours text that has its final width.
func (s *screen) paint(colour, text string) string {
	if !s.colour || colour == plainText || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// colourOf is the colour of a status, outcome, severity or decision.
func colourOf(word string) string {
	switch strings.ToUpper(word) {
	case "FAILED", "FAILURE", "DENIED", "BREACHED", "CRITICAL", "COMPROMISED", "BLOCKED", "SILENT":
		return red
	case "TIMEOUT", "ABORTED", "TERMINATED", "NEAR_THRESHOLD", "WARN", "RETRY", "DEGRADED", "RUNNING", "PENDING":
		return yellow
	case "SUCCEEDED", "SUCCESS", "ALLOWED", "PASSED", "VERIFIED", "COMPLETED":
		return green
	}
	return plainText
}

// column is one of a table. Columns of free text are cut where the line is
// too long for the screen; ids never are.
type column struct {
	title string
	right bool // numbers
	free  bool
	state bool // coloured by what it says
}

// table prints rows under titles. A column without any text is left out.
func (s *screen) table(cols []column, rows [][]string) {
	widths, least := make([]int, len(cols)), make([]int, len(cols))
	for _, row := range rows {
		for i := range row {
			row[i] = clean(row[i])
			widths[i] = max(widths[i], columnsOf(row[i]))
			if strings.HasSuffix(row[i], notPermitted) {
				least[i] = columnsOf(row[i]) // that something is withheld is said in full
			}
		}
	}
	titles := make([]string, len(cols))
	total := 0
	for i, c := range cols {
		if widths[i] > 0 {
			titles[i] = c.title
			widths[i] = max(widths[i], columnsOf(c.title))
			total += widths[i] + gap
		}
	}
	narrow(cols, widths, least, total-gap-s.width)
	s.row(cols, widths, titles, true)
	for _, row := range rows {
		s.row(cols, widths, row, false)
	}
}

// narrow takes columns from the widest free texts, as long as they have any to
// give.
func narrow(cols []column, widths, least []int, over int) {
	for ; over > 0; over-- {
		widest := -1
		for i, c := range cols {
			spare := widths[i] - max(minFree, least[i], columnsOf(c.title))
			if c.free && spare > 0 && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

const (
	gap     = 2
	minFree = 16 // what is left of a free text
)

func (s *screen) row(cols []column, widths []int, row []string, title bool) {
	line, pending := "", ""
	for i, c := range cols {
		if widths[i] == 0 {
			continue
		}
		text, colour := row[i], plainText
		if c.free {
			text = cut(text, widths[i])
		}
		switch {
		case title:
			colour = dim
		case c.state:
			colour = colourOf(text)
		}
		left, right := "", spaces(widths[i]-columnsOf(text))
		if c.right {
			left, right = right, ""
		}
		line += pending + left + s.paint(colour, text)
		pending = right + spaces(gap)
	}
	s.printf("%s\n", strings.TrimRight(line, " "))
}

// pairs prints names with their values, which are folded to the screen.
type pairs struct {
	s    *screen
	name int // columns of the names
}

func (p pairs) put(name, value string) {
	if value != "" {
		p.lines(name, []string{clean(value)})
	}
}

func (p pairs) lines(name string, lines []string) {
	for _, line := range lines {
		for _, part := range fold(line, p.s.width-p.name-gap) {
			p.raw(name, part)
			name = ""
		}
	}
}

// raw prints a clean line of any length.
func (p pairs) raw(name, line string) {
	if line == "" {
		p.s.printf("%s\n", p.s.paint(dim, name))
		return
	}
	p.s.printf("%s%s\n", p.s.paint(dim, fill(name, p.name+gap)), line)
}

// text dereferences what may be null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number[N int | int64](n *N) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

// moment is a time to the second, in UTC, for tables.
func moment(m evidence.Micros) string { return m.Time().Format("2006-01-02 15:04:05") }

func momentOf(m *evidence.Micros) string {
	if m == nil {
		return ""
	}
	return moment(*m)
}

func exactly(m *evidence.Micros) string {
	if m == nil {
		return ""
	}
	return m.String()
}

// span is a duration in a few columns.
func span(d time.Duration) string {
	if d < 0 {
		return "-" + spanOf(-d)
	}
	return spanOf(d)
}

func spanOf(d time.Duration) string {
	switch {
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Truncate(10*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d:%02d min", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d:%02d h", int(d.Hours()), int(d.Minutes())%60)
}

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// took is the time between two moments, or nothing where one is not known.
func took(from evidence.Micros, until *evidence.Micros) string {
	if until == nil {
		return ""
	}
	return span(time.Duration(*until-from) * time.Microsecond)
}

// dollars writes an exact cost with as many digits as it has, at least two.
func dollars(nanos *int64) string {
	if nanos == nil {
		return ""
	}
	sign, n := "", *nanos
	if n < 0 {
		sign, n = "-", -n
	}
	fraction := strings.TrimRight(fmt.Sprintf("%09d", n%1e9), "0")
	return fmt.Sprintf("%s$%d.%s", sign, n/1e9, fraction+strings.Repeat("0", max(2-len(fraction), 0)))
}
