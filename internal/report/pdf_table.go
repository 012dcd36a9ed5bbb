package report

// Padding inside a cell.
const (
	cellPadX, cellPadY = 3.0, 3.2
	indentStep         = 7.0
)

// placed is a cell broken into lines.
type placed struct {
	lines []line
	main  int // how many lines are the text, before the quieter ones
	in    float64
	color rgb
	style face
}

// table draws rows over as many pages as it takes, with its titles on each. A row
// that does not fit on what is left of a page is continued on the next.
func (p *writer) table(t table) {
	widths := spread(t.Columns)
	p.titles(t, widths)
	for _, row := range t.Rows {
		cells, deepest := p.place(row, widths)
		if float64(min(deepest, 6))*tableLead+2*cellPadY > pageBottom-p.y {
			p.newPage()
			p.titles(t, widths)
		}
		for from := 0; ; {
			fit := max(int((pageBottom-p.y-2*cellPadY)/tableLead), 1)
			to := min(from+fit, deepest)
			p.row(t, widths, cells, from, to)
			if from = to; from >= deepest {
				break
			}
			p.newPage()
			p.titles(t, widths)
		}
	}
	p.y += 8
}

// spread gives the columns the width of the page in their proportions.
func spread(columns []column) []float64 {
	sum := 0.0
	for _, c := range columns {
		sum += c.Width
	}
	out := make([]float64, len(columns))
	for i, c := range columns {
		out[i] = c.Width / sum * drawWidth
	}
	return out
}

func (p *writer) titles(t table, widths []float64) {
	p.need(60)
	var titles [][]line
	deepest := 1
	for i, c := range t.Columns {
		l := p.set.lines(c.Title, bold, tableSize-0.4, widths[i]-2*cellPadX)
		titles = append(titles, l)
		deepest = max(deepest, len(l))
	}
	h := float64(deepest)*tableLead + 2*cellPadY
	p.fill(pageLeft, p.y, drawWidth, h, pale)
	x := pageLeft
	for i, lines := range titles {
		for k, l := range lines {
			at := x + cellPadX
			if t.Columns[i].Right {
				at = x + widths[i] - cellPadX - l.width
			}
			p.text(at, p.y+cellPadY+float64(k)*tableLead+7.2, l, tableSize-0.4, grey)
		}
		x += widths[i]
	}
	p.y += h
	p.stroke(pageLeft, p.y, pageRight, p.y, 0.6, grey)
}

func (p *writer) place(row []cell, widths []float64) (cells []placed, deepest int) {
	deepest = 1
	for i, c := range row {
		w := placed{in: float64(c.Indent) * indentStep, color: toneColors[c.Tone], style: sans}
		if c.Tone != neutral {
			w.style = bold
		}
		room := widths[i] - 2*cellPadX - w.in
		if c.Text != "" {
			w.lines = p.set.lines(c.Text, w.style, tableSize, room)
		}
		w.main = len(w.lines)
		if c.Sub != "" {
			w.lines = append(w.lines, p.set.lines(c.Sub, sans, tableSize-0.8, room)...)
		}
		cells = append(cells, w)
		deepest = max(deepest, len(w.lines))
	}
	return cells, deepest
}

// row draws the lines from–to of all cells.
func (p *writer) row(t table, widths []float64, cells []placed, from, to int) {
	x := pageLeft
	for i, c := range cells {
		for k := from; k < min(to, len(c.lines)); k++ {
			l, size, color := c.lines[k], tableSize, c.color
			if k >= c.main {
				size, color = tableSize-0.8, grey
			}
			at := aligned(l, x+cellPadX+c.in, widths[i]-2*cellPadX-c.in)
			if t.Columns[i].Right {
				at = x + widths[i] - cellPadX - l.width
			}
			p.text(at, p.y+cellPadY+float64(k-from)*tableLead+7.2, l, size, color)
		}
		x += widths[i]
	}
	p.y += float64(to-from)*tableLead + 2*cellPadY
	p.stroke(pageLeft, p.y, pageRight, p.y, 0.4, rule)
}
