package report

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// run is text in one font, in the order of drawing. In a box it is the number of one
// character that no font has.
type run struct {
	face  face
	text  string
	x     float64 // from the start of the line
	width float64
	box   bool
}

// line is what is drawn between two breaks.
type line struct {
	runs  []run
	width float64
	right bool // the paragraph is written from the right
}

// setter breaks text into lines.
type setter struct{ faces faces }

// lines breaks text at newlines and at width. Text without a place to break is broken
// anywhere. The text must be visible.
func (s *setter) lines(text string, style face, size, width float64) []line {
	var out []line
	for {
		one, rest, more := strings.Cut(text, "\n")
		out = s.paragraph(out, one, style, size, width)
		if !more {
			return out
		}
		text = rest
	}
}

func (s *setter) paragraph(out []line, text string, style face, size, width float64) []line {
	if text == "" {
		return append(out, line{})
	}
	var p []rune
	var level []int
	right := false
	if plain(text) {
		p = []rune(text)
	} else {
		p = s.prepare([]rune(norm.NFC.String(text)), style)
		if rtl(p) {
			base := 0
			level, base = levels(p)
			right = base == 1
		}
	}
	advances := make([]float64, len(p))
	for i, r := range p {
		advances[i] = s.faces.advance(style, r, size)
	}
	for start := 0; start < len(p); {
		end, next := breakAt(p, advances, start, width)
		visual := p[start:end]
		if level != nil {
			visual = reorder(visual, level[start:end])
		}
		l := s.runs(visual, style, size)
		l.right = right
		out = append(out, l)
		start = next
	}
	return out
}

// prepare joins Arabic letters. A form that the font lacks is drawn as the plain letter.
func (s *setter) prepare(p []rune, style face) []rune {
	for _, r := range p {
		if arabicForms[r] == nil && !joiner(r) {
			continue
		}
		p = shape(p)
		for i, r := range p {
			if letter, ok := plainLetter(r); ok && s.faces.find(style, r).face == noFace {
				p[i] = letter
			}
		}
		return p
	}
	return p
}

// breakAt returns where a line that begins at start ends, and where the next begins
// (spaces at the break belong to neither).
func breakAt(p []rune, advances []float64, start int, width float64) (end, next int) {
	w := 0.0
	last := -1 // the newest place to break before
	for i := start; i < len(p); i++ {
		if i > start && mayBreak(p[i-1], p[i]) {
			last = i
		}
		w += advances[i]
		if w <= width || p[i] == ' ' || i == start {
			continue
		}
		if last <= start {
			last = i
			for last > start+1 && unicode.Is(unicode.Mn, p[last]) {
				last--
			}
		}
		end, next = last, last
		for end > start+1 && p[end-1] == ' ' {
			end--
		}
		for next < len(p) && p[next] == ' ' {
			next++
		}
		return end, next
	}
	return len(p), len(p)
}

// mayBreak reports whether a line may end between a and b: after spaces and the signs
// of paths and lists, and between ideographs, but not before closing punctuation.
func mayBreak(a, b rune) bool {
	if b == ' ' {
		return false
	}
	switch a {
	case '-', ',', '/', '_': // not inside dates and numbers
		return !unicode.Is(unicode.Mn, b) && !unicode.IsDigit(b)
	case ' ', ';', '&', '?', '=', '|', '·', '…', '@':
		return !unicode.Is(unicode.Mn, b)
	}
	if ideograph(a) || ideograph(b) {
		return !strings.ContainsRune("、。，．：；？！）」』】》〉’”ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ…,.:;?!)]}", b) &&
			!strings.ContainsRune("（「『【《〈‘“([{", a) && !unicode.Is(unicode.Mn, b)
	}
	return false
}

func ideograph(r rune) bool {
	return r >= 0x2e80 && (unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) || (r >= 0x3000 && r <= 0x30ff) || (r >= 0xff00 && r <= 0xff60))
}

// runs groups a line by font.
func (s *setter) runs(visual []rune, style face, size float64) line {
	var l line
	var b strings.Builder
	open := run{face: noFace}
	closeRun := func() {
		if b.Len() > 0 {
			open.text = b.String()
			l.runs = append(l.runs, open)
			b.Reset()
		}
	}
	for _, r := range visual {
		g := s.faces.find(style, r)
		if g.face == noFace {
			closeRun()
			w := s.faces.numberWidth(r, size)
			l.runs = append(l.runs, run{face: mono, text: number(r), x: l.width, width: w, box: true})
			l.width += w
			open = run{face: noFace}
			continue
		}
		if g.face != open.face {
			closeRun()
			open = run{face: g.face, x: l.width}
		}
		b.WriteRune(r)
		w := g.width * size / 1000
		open.width += w
		l.width += w
	}
	closeRun()
	return l
}
