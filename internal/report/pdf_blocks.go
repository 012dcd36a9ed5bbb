package report

import (
	"strings"

	"github.com/signintech/gopdf"
)

// cover is page 1: what this is about, the checkpoint that proves it, the contents.
func (p *writer) cover(m *Model, blocks []block) {
	p.newPage()
	title, subtitle, rows := cover(m)
	p.fill(pageLeft, 70, drawWidth, 3, accent)
	p.text(pageLeft, 62, p.line("runledger", bold, 10, drawWidth), 10, accent)
	p.text(pageLeft, 122, p.line(title, bold, 27, drawWidth), 27, ink)
	p.y = 134
	for i, l := range p.set.lines(subtitle, sans, 13, drawWidth) {
		if i == 3 {
			break
		}
		p.y += 17
		p.text(pageLeft, p.y-4, l, 13, grey)
	}
	p.y += 16
	p.facts(facts{rows})
	if m.Checkpoint != "" {
		p.y += 8
		p.text(pageLeft, p.y+8, p.line("Checkpoint", bold, bodySize, drawWidth), bodySize, ink)
		p.y += 14
		text := short(strings.TrimRight(m.Checkpoint, "\n"), maxFact)
		if kept, follow := cutLines(text, 8); follow > 0 {
			text = kept + "… whole under Integrity"
		}
		p.verbatim(verbatim{Text: text})
	}
	p.listContents(blocks)
}

func (p *writer) listContents(blocks []block) {
	p.need(60)
	p.y += 14
	p.text(pageLeft, p.y+8, p.line("Contents", bold, bodySize, drawWidth), bodySize, ink)
	p.y += 16
	for _, b := range blocks {
		h, ok := b.(heading)
		if !ok || h.Level != 1 {
			continue
		}
		p.need(bodyLead + 2)
		p.stroke(pageLeft, p.y+bodyLead+0.5, pageRight, p.y+bodyLead+0.5, 0.4, rule)
		p.text(pageLeft, p.y+9.5, p.line(h.Text, sans, bodySize, 400), bodySize, accent)
		p.g.AddInternalLink(h.Anchor, pageLeft, p.y, drawWidth, bodyLead)
		p.contents = append(p.contents, content{heading: h, y: p.y + 9.5, on: p.page})
		p.y += bodyLead + 2
	}
}

func (p *writer) heading(h heading) {
	size, before, after, keep := 16.0, 22.0, 10.0, 110.0
	if h.Level > 1 {
		size, before, after, keep = 9.8, 10, 4, 46
	}
	if !p.need(before+size+keep) && p.y > pageTop {
		p.y += before
	}
	lines := p.set.lines(h.Text, bold, size, drawWidth)
	if h.Anchor != "" {
		p.g.SetXY(pageLeft, p.y)
		p.g.SetAnchor(h.Anchor)
		p.g.AddOutlineWithPosition(h.Text)
		for i := range p.contents {
			if p.contents[i].heading == h {
				p.contents[i].page = p.page
			}
		}
	}
	for _, l := range lines {
		p.text(pageLeft, p.y+size*0.8, l, size, ink)
		p.y += size * 1.25
	}
	if h.Level == 1 {
		p.fill(pageLeft, p.y, 28, 2, accent)
		p.y += 2
	}
	p.y += after - size*0.2
}

func (p *writer) para(text string, style face, color rgb) {
	size, lead := bodySize, bodyLead
	if color == toneColors[quiet] {
		size, lead = noteSize, noteLead
	}
	for _, l := range p.set.lines(text, style, size, drawWidth) {
		p.need(lead)
		p.text(aligned(l, pageLeft, drawWidth), p.y+size, l, size, color)
		p.y += lead
	}
	p.y += 5
}

// aligned is the x of a line: paragraphs from the right end at the right edge.
func aligned(l line, x, width float64) float64 {
	if l.right {
		return x + max(width-l.width, 0)
	}
	return x
}

// notice is text on an amber ground.
func (p *writer) notice(n notice) {
	const pad = 8.0
	lines := p.set.lines(n.Text, sans, bodySize, drawWidth-2*pad-4)
	p.need(min(float64(len(lines)), 3)*bodyLead + 2*pad)
	for len(lines) > 0 {
		fit := min(max(int((pageBottom-p.y-2*pad)/bodyLead), 1), len(lines))
		h := float64(fit)*bodyLead + 2*pad - 3
		p.fill(pageLeft, p.y, drawWidth, h, amber)
		p.fill(pageLeft, p.y, 3, h, toneColors[warn])
		for i, l := range lines[:fit] {
			p.text(aligned(l, pageLeft+pad+4, drawWidth-2*pad-4), p.y+pad+float64(i)*bodyLead+8, l, bodySize, ink)
		}
		p.y += h + 6
		if lines = lines[fit:]; len(lines) > 0 {
			p.newPage()
		}
	}
}

// facts are names and values side by side.
func (p *writer) facts(f facts) {
	const names = 152.0 // the origin of a log fits
	for _, row := range f.Rows {
		a := p.set.lines(row.Name, sans, noteSize, names-10)
		size := noteSize + 0.6
		b := p.set.lines(row.Value, sans, size, drawWidth-names)
		if len(b) == 2 && !strings.Contains(row.Value, " ") { // so that a hash stays on its line
			size = noteSize
			b = p.set.lines(row.Value, sans, size, drawWidth-names)
		}
		for i := range max(len(a), len(b)) {
			p.need(noteLead + 2)
			if i < len(a) {
				p.text(pageLeft, p.y+8.4, a[i], noteSize, grey)
			}
			if i < len(b) {
				p.text(aligned(b[i], pageLeft+names, drawWidth-names), p.y+8.4, b[i], size, ink)
			}
			p.y += noteLead
		}
		p.stroke(pageLeft, p.y+1.6, pageRight, p.y+1.6, 0.4, rule)
		p.y += 4.4
	}
	p.y += 6
}

// verbatim is text in a frame, in fixed pitch.
func (p *writer) verbatim(v verbatim) {
	const pad = 6.0
	text := v.Text
	lines := p.set.lines(text, mono, codeSize, drawWidth-2*pad)
	p.need(min(float64(len(lines)), 4)*codeLead + 2*pad)
	for len(lines) > 0 {
		fit := min(max(int((pageBottom-p.y-2*pad)/codeLead), 1), len(lines))
		h := float64(fit)*codeLead + 2*pad - 2
		p.fill(pageLeft, p.y, drawWidth, h, pale)
		if v.Command {
			p.fill(pageLeft, p.y, 2, h, accent)
		}
		for i, l := range lines[:fit] {
			p.text(pageLeft+pad, p.y+pad+float64(i)*codeLead+6.6, l, codeSize, ink)
		}
		p.y += h + 6
		if lines = lines[fit:]; len(lines) > 0 {
			p.newPage()
		}
	}
}

// field is a sealed field: its path, then its text beside a rule.
func (p *writer) field(f field) {
	const in = 10.0
	p.need(3 * bodyLead)
	p.text(pageLeft, p.y+8, p.line(f.Path, mono, codeSize, drawWidth), codeSize, accent)
	p.y += 12
	style, size, lead := sans, 8.4, 11.6
	if f.Code {
		style, size, lead = mono, codeSize, codeLead
	}
	if f.Text != "" {
		from := p.y
		for _, l := range p.set.lines(f.Text, style, size, drawWidth-in) {
			if p.y+lead > pageBottom {
				p.fill(pageLeft, from, 1.2, p.y-from, rule)
				p.newPage()
				from = p.y
			}
			p.text(aligned(l, pageLeft+in, drawWidth-in), p.y+size, l, size, ink)
			p.y += lead
		}
		p.fill(pageLeft, from, 1.2, p.y-from, rule)
		p.y += 3
	}
	if f.Note != "" {
		for _, l := range p.set.lines(f.Note, sans, noteSize, drawWidth-in) {
			p.need(noteLead)
			p.text(pageLeft+in, p.y+noteSize, l, noteSize, toneColors[warn])
			p.y += noteLead
		}
	}
	p.y += 5
}

// picture draws the timeline.
func (p *writer) picture(d *drawing) {
	p.need(d.Height + 12)
	x, y := pageLeft, p.y
	bottom := y + d.Height - axisHeight
	for _, l := range d.Lanes {
		if l.Shaded {
			p.fill(x, y+l.Y, drawWidth, l.H, pale)
		}
		p.text(x+4, y+l.Y+lanePad+8, p.line(l.Title, bold, labelSize, laneTitle), labelSize, grey)
	}
	for _, t := range d.Ticks {
		p.stroke(x+t.X, y+topHeight, x+t.X, bottom+4, 0.4, rule)
		l := p.line(t.Text, sans, labelSize, 60)
		p.text(clamp(x+t.X-l.width/2, x, pageRight-l.width), bottom+13, l, labelSize, grey)
	}
	p.stroke(x, bottom, pageRight, bottom, 0.6, grey)
	p.stroke(x+d.Center, y+topHeight-4, x+d.Center, bottom+4, 1, accent)
	l := p.line(d.CenterText, bold, labelSize, 200)
	p.text(clamp(x+d.Center-l.width/2, x, pageRight-l.width), y+8, l, labelSize, accent)
	for _, b := range d.Bars {
		c := barColors[b.Tone]
		if b.Moment {
			p.g.SetFillColor(c[0], c[1], c[2])
			p.g.Polygon([]gopdf.Point{
				{X: x + b.X + b.W/2, Y: y + b.Y},
				{X: x + b.X + b.W, Y: y + b.Y + b.H/2},
				{X: x + b.X + b.W/2, Y: y + b.Y + b.H},
				{X: x + b.X, Y: y + b.Y + b.H/2},
			}, "F")
			continue
		}
		p.fill(x+b.X, y+b.Y, b.W, b.H, c)
	}
	for _, b := range d.Labels {
		ground := white
		if b.Shaded {
			ground = pale
		}
		p.fill(x+b.X-1, y+b.Y-6, b.W+2, 7.6, ground)
		p.text(x+b.X, y+b.Y, p.line(b.Text, sans, labelSize, drawWidth), labelSize, toneColors[b.Tone])
	}
	p.y += d.Height + 4
}

var barColors = map[tone]rgb{
	neutral: {0x4a, 0x7f, 0xb5}, warn: {0xd6, 0x8a, 0x1a}, bad: {0xc2, 0x2f, 0x27},
}

func clamp(v, low, high float64) float64 { return max(min(v, high), low) }
