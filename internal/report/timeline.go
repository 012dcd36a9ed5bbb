package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// The drawing of a window in points, y downwards, the same for SVG and PDF.
const (
	drawWidth  = 483.0
	laneTitle  = 44.0 // left of the lanes
	rowHeight  = 13.0
	lanePad    = 5.0
	axisHeight = 30.0
	topHeight  = 16.0
	labelSize  = 7.0
	minBar     = 3.0
	labelGap   = 3.0
	rowGap     = 6.0
	stripStep  = 2.0
)

type drawing struct {
	Height     float64
	Center     float64 // x
	Lanes      []lane
	Ticks      []tick
	Bars       []bar
	Labels     []label
	CenterText string
	Unlabelled int // marks in a strip
	Outside    int // marks before or after the window
	Title      string
}

type lane struct {
	Title  string
	Y, H   float64
	Shaded bool
}

type tick struct {
	X    float64
	Text string
	Zero bool
}

// bar is a step with its length, or a moment, which is drawn as a diamond.
type bar struct {
	X, Y, W, H float64
	Moment     bool
	Tone       tone
	Title      string // all of it, for who points at it
}

// label has a ground as wide as itself, which keeps it legible over lines.
type label struct {
	X, Y, W float64 // left end of the baseline
	Text    string
	Tone    tone
	Shaded  bool // its lane
}

// Rows are of labelled marks; a strip below takes what is left. All lanes together,
// "Other" included, fit on a page.
var laneNames = []struct {
	lane, title string
	rows        int
}{{"step", "Steps", 16}, {"policy", "Policy", 10}, {"system", "System", 10}}

const otherRows = 4

// draw lays a window out. Labels go beside their marks into the first row where they
// overlap nothing; where a lane has no row left, marks are thin strokes in a strip.
func draw(w *Window) *drawing {
	d := &drawing{Title: "Timeline of the window"}
	start, end := w.Start, w.End
	if end <= start { // a window of no length still has its marks
		start, end = start-500_000, start+500_000
	}
	s := scale{start, end}
	d.Center = s.x(w.Center)
	d.CenterText = short(oneLine(w.Why), 60)
	y := topHeight
	for i, name := range laneNames {
		y = d.lane(s, name.title, inLane(w.Marks, name.lane), y, name.rows, i%2 == 0)
	}
	if other := others(w.Marks); len(other) > 0 {
		y = d.lane(s, "Other", other, y, otherRows, false)
	}
	d.axis(s, w.Center)
	d.Height = y + axisHeight
	return d
}

type scale struct{ start, end evidence.Micros }

func (s scale) x(at evidence.Micros) float64 {
	f := float64(at-s.start) / float64(s.end-s.start)
	return round(laneTitle + min(max(f, 0), 1)*(drawWidth-laneTitle-2))
}

// round keeps coordinates short and the same on every machine.
func round(v float64) float64 { return math.Round(v*100) / 100 }

func inLane(marks []Mark, lane string) []Mark {
	var out []Mark
	for _, m := range marks {
		if m.Lane == lane {
			out = append(out, m)
		}
	}
	return sorted(out)
}

func others(marks []Mark) []Mark {
	var out []Mark
	for _, m := range marks {
		if m.Lane != "step" && m.Lane != "policy" && m.Lane != "system" {
			out = append(out, m)
		}
	}
	return sorted(out)
}

func sorted(marks []Mark) []Mark {
	slices.SortStableFunc(marks, func(a, b Mark) int {
		if a.At != b.At {
			return int(min(max(a.At-b.At, -1), 1))
		}
		return int(min(max(a.LeafIndex-b.LeafIndex, -1), 1))
	})
	return marks
}

// lane places marks and returns where the next lane begins.
func (d *drawing) lane(s scale, title string, marks []Mark, y float64, most int, shaded bool) float64 {
	marks = slices.DeleteFunc(marks, func(m Mark) bool {
		outside := ending(s, m) < s.start || m.At > s.end
		if outside {
			d.Outside++
		}
		return outside
	})
	rows := rowsOf{most: most, shaded: shaded}
	top := y + lanePad
	bars, labels := d.Bars, d.Labels
	left := d.placeAll(s, marks, &rows, top)
	if len(left) > 0 {
		// Not all find room: those that went wrong first.
		slices.SortStableFunc(marks, func(a, b Mark) int { return grave(markTone(b.Outcome)) - grave(markTone(a.Outcome)) })
		d.Bars, d.Labels = bars, labels
		rows.taken = nil
		left = d.placeAll(s, marks, &rows, top)
	}
	height := float64(max(len(rows.taken), 1)) * rowHeight
	if len(left) > 0 {
		d.strip(s, left, top+height)
		height += rowHeight
	}
	if len(marks) == 0 {
		d.Labels = append(d.Labels, label{laneTitle + 4, round(top + 8), round(rows.faces.width("none", labelSize)), "none", quiet, shaded})
	}
	d.Lanes = append(d.Lanes, lane{title, y, height + 2*lanePad, shaded})
	return y + height + 2*lanePad
}

func (d *drawing) placeAll(s scale, marks []Mark, rows *rowsOf, top float64) (left []Mark) {
	for _, m := range marks {
		if !d.place(s, m, rows, top) {
			left = append(left, m)
		}
	}
	return left
}

// ending is the end of a mark; a length that overflows lasts as long as the window.
func ending(s scale, m Mark) evidence.Micros {
	if last := m.At + evidence.Micros(max(m.DurationUS, 0)); last >= m.At {
		return last
	}
	return s.end
}

// rowsOf are the rows of one lane: the stretches taken in each.
type rowsOf struct {
	faces  faces
	taken  [][][2]float64
	most   int
	shaded bool
}

func (r *rowsOf) take(from, to float64) (row int, ok bool) {
	row = slices.IndexFunc(r.taken, func(taken [][2]float64) bool {
		return !slices.ContainsFunc(taken, func(t [2]float64) bool { return from < t[1]+rowGap && t[0] < to+rowGap })
	})
	if row < 0 {
		if len(r.taken) == r.most {
			return 0, false
		}
		row = len(r.taken)
		r.taken = append(r.taken, nil)
	}
	r.taken[row] = append(r.taken[row], [2]float64{from, to})
	return row, true
}

func (d *drawing) place(s scale, m Mark, rows *rowsOf, top float64) bool {
	x, width := s.x(m.At), s.x(ending(s, m))-s.x(m.At)
	moment := m.DurationUS <= 0
	if moment {
		width = 6
		x -= 3
	}
	width = max(width, minBar)
	text := markText(m)
	long := rows.faces.width(text, labelSize)
	// Right of the mark, or left of it where the edge is near.
	from, to, at := x, x+width+labelGap+long, x+width+labelGap
	if to > drawWidth {
		from, to, at = x-labelGap-long, x+width, x-labelGap-long
		if from < laneTitle { // as wide as the drawing: over the bar
			from, at = x, max(drawWidth-long, laneTitle)
			from = min(from, at)
			to = max(to, at+long)
		}
	}
	row, ok := rows.take(from, to)
	if !ok {
		return false
	}
	y := top + float64(row)*rowHeight
	t := markTone(m.Outcome)
	d.Bars = append(d.Bars, bar{round(x), round(y + 2.5), round(width), 6, moment, t, markTitle(m)})
	d.Labels = append(d.Labels, label{round(at), round(y + 8), round(long), text, t, rows.shaded})
	return true
}

// strip draws what found no row: strokes side by side, no more than can be told apart.
func (d *drawing) strip(s scale, marks []Mark, y float64) {
	d.Unlabelled += len(marks)
	drawn := map[int]int{}
	for _, m := range marks {
		x := s.x(m.At)
		slot := int(x / stripStep)
		t := markTone(m.Outcome)
		if i, ok := drawn[slot]; ok { // the gravest of those in one place shows
			if grave(t) > grave(d.Bars[i].Tone) {
				d.Bars[i].Tone = t
			}
			continue
		}
		drawn[slot] = len(d.Bars)
		d.Bars = append(d.Bars, bar{X: round(float64(slot) * stripStep), Y: y + 2.5, W: 1.2, H: 6, Tone: t, Title: markTitle(m)})
	}
}

func grave(t tone) int { return slices.Index([]tone{neutral, warn, bad}, t) }

// markTone leaves plain what went well: colour is for what did not.
func markTone(outcome string) tone {
	if t := toneOf(outcome); t == warn || t == bad {
		return t
	}
	return neutral
}

// markText is the label: what it was, and how it ended where that is not plain success.
func markText(m Mark) string {
	text := oneLine(visible(m.Label))
	if r := []rune(text); len(r) > 34 {
		text = string(r[:33]) + "…"
	}
	if m.Outcome != "" && toneOf(m.Outcome) != good {
		outcome := oneLine(visible(m.Outcome))
		if r := []rune(outcome); len(r) > 20 {
			outcome = string(r[:19]) + "…"
		}
		text += " – " + outcome
	}
	return text
}

func markTitle(m Mark) string {
	parts := []string{short(oneLine(m.Label), 200), Clock(m.At)}
	if m.DurationUS > 0 {
		parts = append(parts, span(m.DurationUS))
	}
	if m.Outcome != "" {
		parts = append(parts, short(oneLine(m.Outcome), 100))
	}
	parts = append(parts, fmt.Sprintf("leaf %d", m.LeafIndex))
	if m.Log != "" {
		parts = append(parts, "log "+short(oneLine(m.Log), 120))
	}
	return strings.Join(parts, " · ")
}

// axis sets ticks at round offsets from the center, at most about eight.
func (d *drawing) axis(s scale, center evidence.Micros) {
	step := niceStep(int64(s.end - s.start))
	first := (int64(s.start-center) + step - 1) / step // rounds towards zero, which is up for negative ones
	if off := int64(s.start - center); off <= 0 {
		first = -(-off / step)
	}
	for k := first; k*step <= int64(s.end-center) && len(d.Ticks) < 12; k++ {
		at := center + evidence.Micros(k*step)
		d.Ticks = append(d.Ticks, tick{s.x(at), offset(k * step), k == 0})
	}
}

func niceStep(length int64) int64 {
	for unit := int64(1); unit < math.MaxInt64/100; unit *= 10 {
		for _, f := range []int64{1, 2, 5} {
			if length/(unit*f) <= 8 {
				return unit * f
			}
		}
	}
	return length
}

// offset writes microseconds from the center, in the largest unit that is exact.
func offset(us int64) string {
	if us == 0 {
		return "0"
	}
	sign := "+"
	if us < 0 {
		sign, us = "−", -us
	}
	switch {
	case us%1_000_000 == 0:
		return fmt.Sprintf("%s%d s", sign, us/1_000_000)
	case us%1000 == 0:
		return fmt.Sprintf("%s%d ms", sign, us/1000)
	default:
		return fmt.Sprintf("%s%d µs", sign, us)
	}
}
