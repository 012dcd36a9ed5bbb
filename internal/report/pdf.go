package report

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/signintech/gopdf"
)

// The page: A4 in points.
const (
	pageWidth  = 595.28
	pageHeight = 841.89
	pageLeft   = 56.0
	pageRight  = pageLeft + drawWidth
	pageTop    = 76.0
	pageBottom = 784.0
)

// Sizes and the distance of lines.
const (
	bodySize, bodyLead   = 9.2, 13.0
	tableSize, tableLead = 7.4, 10.0
	codeSize, codeLead   = 7.2, 10.2
	noteSize, noteLead   = 8.0, 11.2
)

type rgb [3]uint8

var (
	ink    = rgb{0x1c, 0x20, 0x26}
	grey   = rgb{0x5a, 0x63, 0x6e}
	rule   = rgb{0xd3, 0xd8, 0xde}
	pale   = rgb{0xf3, 0xf5, 0xf7}
	accent = rgb{0x1f, 0x4b, 0x7a}
	white  = rgb{0xff, 0xff, 0xff}
	amber  = rgb{0xfd, 0xf4, 0xe0}
)

var toneColors = map[tone]rgb{
	neutral: ink, quiet: grey, good: {0x1b, 0x6b, 0x3a}, warn: {0x8f, 0x55, 0x00}, bad: {0xae, 0x22, 0x1b},
}

// writer draws blocks from top to bottom, page after page. The first error stays.
type writer struct {
	g        *gopdf.GoPdf
	set      setter
	y        float64
	page     int
	added    [len(faceNames)]bool
	face     face
	size     float64
	left     string // of the running header
	right    string
	foot     string // of every page
	contents []content
	err      error
}

// content is an entry of the table of contents.
type content struct {
	heading heading
	page    int
	y       float64 // of its entry, on page 1 or 2
	on      int
}

func writePDF(m *Model) ([]byte, error) {
	p := layout(m)
	if p.err != nil {
		return nil, p.err
	}
	var out bytes.Buffer
	if _, err := p.g.WriteTo(&out); err != nil {
		return nil, err
	}
	return plainLetters(out.Bytes()), nil
}

// layout draws all pages; fonts are embedded when they are written.
func layout(m *Model) *writer {
	p := &writer{g: &gopdf.GoPdf{}, face: noFace, foot: "A view of evidence, for people. The ZIP form of this export is what verifies."}
	p.g.Start(gopdf.Config{PageSize: gopdf.Rect{W: pageWidth, H: pageHeight}})
	title, subtitle, _ := cover(m)
	info := gopdf.PdfInfo{Title: title + ": " + subtitle, Subject: "Export " + short(m.ExportID, 200), Creator: "runledger", Producer: "runledger"}
	if m.Salt != "" {
		info.Subject += ", salt " + short(m.Salt, 100)
	}
	if m.MadeAt != 0 {
		info.CreationDate = m.MadeAt.Time()
	}
	p.g.SetInfo(info)
	p.left, p.right = title+" · "+subtitle, "Export "+oneLine(short(m.ExportID, 100))
	blocks := compose(m)
	p.cover(m, blocks)
	p.newPage()
	for _, b := range blocks {
		p.block(b)
	}
	p.pageNumbers()
	return p
}

func (p *writer) block(b block) {
	switch b := b.(type) {
	case heading:
		p.heading(b)
	case para:
		p.para(b.Text, sans, toneColors[b.Tone])
	case notice:
		p.notice(b)
	case facts:
		p.facts(b)
	case verbatim:
		p.verbatim(b)
	case table:
		p.table(b)
	case field:
		p.field(b)
	case picture:
		p.picture(b.drawing)
	}
}

func (p *writer) newPage() {
	p.g.AddPage()
	p.page++
	p.y = pageTop
	if p.page == 1 {
		return
	}
	right := p.line(p.right, sans, 7.5, 240)
	p.text(pageRight-right.width, 46, right, 7.5, grey)
	p.text(pageLeft, 46, p.line(p.left, sans, 7.5, drawWidth-right.width-16), 7.5, grey)
	p.stroke(pageLeft, 54, pageRight, 54, 0.6, rule)
}

// need begins a new page where less than h is left, and reports whether it did.
func (p *writer) need(h float64) bool {
	if p.y+h <= pageBottom || p.y <= pageTop {
		return false
	}
	p.newPage()
	return true
}

// line is the first line of text; what does not fit is replaced by an ellipsis.
func (p *writer) line(text string, style face, size, width float64) line {
	lines := p.set.lines(text, style, size, width)
	if len(lines) > 1 {
		for n := len(text); n > 0 && len(lines) > 1; n = n * 9 / 10 {
			kept, _ := cut(text, n-1)
			lines = p.set.lines(kept+"…", style, size, width)
		}
	}
	return lines[0]
}

// text draws one line with its baseline at y.
func (p *writer) text(x, y float64, l line, size float64, color rgb) {
	for _, r := range l.runs {
		if r.box {
			p.box(x+r.x, y, r, size, color)
			continue
		}
		p.run(x+r.x, y, r.face, r.text, size, color)
	}
}

func (p *writer) run(x, y float64, f face, text string, size float64, color rgb) {
	if p.err != nil {
		return
	}
	if !p.added[f] {
		load(f)
		if p.err = p.g.AddTTFFontFromFontContainer(faceNames[f], &ready); p.err != nil {
			return
		}
		p.added[f] = true
	}
	if p.face != f || p.size != size {
		if p.err = p.g.SetFont(faceNames[f], "", size); p.err != nil {
			return
		}
		p.face, p.size = f, size
	}
	p.g.SetTextColor(color[0], color[1], color[2])
	p.g.SetXY(x, y)
	p.err = p.g.Text(text)
}

// box draws the number of a character that no font has.
func (p *writer) box(x, y float64, r run, size float64, color rgb) {
	p.frame(x+0.5, y-size*0.72, r.width-1, size*0.88, 0.4, color)
	p.run(x+0.5+boxPad, y-size*0.06, mono, r.text, size*boxSize, color)
}

func (p *writer) stroke(x1, y1, x2, y2, width float64, c rgb) {
	p.g.SetStrokeColor(c[0], c[1], c[2])
	p.g.SetLineWidth(width)
	p.g.Line(x1, y1, x2, y2)
}

func (p *writer) fill(x, y, w, h float64, c rgb) {
	p.g.SetFillColor(c[0], c[1], c[2])
	p.g.RectFromUpperLeftWithStyle(x, y, w, h, "F")
}

func (p *writer) frame(x, y, w, h, width float64, c rgb) {
	p.g.SetStrokeColor(c[0], c[1], c[2])
	p.g.SetLineWidth(width)
	p.g.RectFromUpperLeftWithStyle(x, y, w, h, "D")
}

// pageNumbers writes the foot of every page and the numbers in the contents, which
// are known only now.
func (p *writer) pageNumbers() {
	for n := 1; n <= p.page && p.err == nil; n++ {
		if p.err = p.g.SetPage(n); p.err != nil {
			return
		}
		p.stroke(pageLeft, 796, pageRight, 796, 0.6, rule)
		at := p.line(fmt.Sprintf("%d of %d", n, p.page), sans, 7.5, 80)
		p.text(pageRight-at.width, 808, at, 7.5, grey)
		p.text(pageLeft, 808, p.line(p.foot, sans, 7.5, 400), 7.5, grey)
		for _, c := range p.contents {
			if c.on == n && c.page > 0 {
				l := p.line(strconv.Itoa(c.page), sans, bodySize, 60)
				p.text(pageRight-l.width, c.y, l, bodySize, ink)
			}
		}
	}
}

// plainLetters makes text that is copied from the PDF, or searched for in it, consist
// of letters where Arabic is drawn with joined forms. The writer's maps from glyphs to
// text are not compressed, and the replacement is as long as what it replaces, so no
// offset in the file changes.
func plainLetters(pdf []byte) []byte {
	rest := pdf
	for {
		_, after, found := bytes.Cut(rest, []byte(" beginbfrange\n"))
		if !found {
			return pdf
		}
		for len(after) >= 19 && after[0] == '<' && after[18] == '\n' { // <gggg><gggg><tttt>
			text := after[13:17]
			if v, err := strconv.ParseUint(string(text), 16, 16); err == nil {
				if letter, ok := plainLetter(rune(v)); ok && letter <= 0xffff {
					copy(text, fmt.Sprintf("%04X", letter))
				}
			}
			after = after[19:]
		}
		rest = after
	}
}
