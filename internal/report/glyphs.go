package report

import (
	"embed"
	"fmt"
	"sync"
	"unicode"

	"codeberg.org/go-fonts/dejavu/dejavusans"
	"codeberg.org/go-fonts/dejavu/dejavusansbold"
	"codeberg.org/go-fonts/dejavu/dejavusansmono"
	"github.com/klauspost/compress/zstd"
	"github.com/signintech/gopdf"
)

// Fonts that DejaVu does not cover: Chinese and Japanese from Droid Sans Fallback
// (Apache-2.0), Korean from Nanum Gothic Coding (OFL-1.1). Licences lie beside them.
//
//go:embed fonts
var packed embed.FS

// face is one font. Thai and the scripts of India need shaping, which the PDF writer
// cannot do, so there is none for them: they are spelled U+XXXX in the PDF (the HTML
// report leaves them to the browser, which can).
type face int

const (
	sans face = iota
	bold
	mono
	han
	hangul
	noFace face = -1
)

var faceNames = [...]string{"DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DroidSansFallback", "NanumGothicCoding"}

// A font is read at its first use and kept: reading the largest takes as long as
// writing a small report.
var (
	loaders [len(faceNames)]sync.Once
	metrics [len(faceNames)]gopdf.SubsetFontObj
	ready   gopdf.FontContainer
)

// load panics only on a broken build: the fonts are part of the binary.
func load(f face) *gopdf.SubsetFontObj {
	loaders[f].Do(func() {
		data, err := fontData(f)
		if err != nil {
			panic(fmt.Sprintf("report: font %s: %v", faceNames[f], err))
		}
		if err := metrics[f].SetTTFData(data); err != nil {
			panic(fmt.Sprintf("report: font %s: %v", faceNames[f], err))
		}
		if err := ready.AddTTFFontData(faceNames[f], data); err != nil {
			panic(fmt.Sprintf("report: font %s: %v", faceNames[f], err))
		}
	})
	return &metrics[f]
}

func fontData(f face) ([]byte, error) {
	switch f {
	case sans:
		return flatten(dejavusans.TTF)
	case bold:
		return flatten(dejavusansbold.TTF)
	case mono:
		return flatten(dejavusansmono.TTF)
	case han:
		return unpack("fonts/DroidSansFallbackFull.ttf.zst")
	default:
		return unpack("fonts/NanumGothicCoding.ttf.zst")
	}
}

func unpack(name string) ([]byte, error) {
	data, err := packed.ReadFile(name)
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(data, nil)
}

// glyph is where a character is drawn from, and its width in thousandths of the size.
type glyph struct {
	face  face
	width float64
}

// faces finds glyphs and remembers them, for one report. The zero value is ready;
// it is not for concurrent use.
type faces struct {
	found [3]map[rune]glyph
	ascii [3][128]float64
}

// find returns the glyph of r in style (sans, bold or mono), with face noFace where
// no font has one.
func (fs *faces) find(style face, r rune) glyph {
	if r < 128 {
		if w := fs.ascii[style][r]; w != 0 {
			return glyph{style, w}
		}
	}
	if g, ok := fs.found[style][r]; ok {
		return g
	}
	g := look(style, r)
	if r < 128 && g.face == style {
		fs.ascii[style][r] = g.width
	}
	if fs.found[style] == nil {
		fs.found[style] = map[rune]glyph{}
	}
	fs.found[style][r] = g
	return g
}

func look(style face, r rune) glyph {
	// The writer's text maps hold 16 bits. Beyond them are emoji and rare ideographs.
	if r > 0xffff {
		return glyph{noFace, 0}
	}
	order := []face{style, sans}
	switch {
	case unicode.Is(unicode.Hangul, r):
		order = []face{hangul, han}
	case r >= 0x2e80:
		order = []face{style, sans, han, hangul}
	case unicode.In(r, unicode.Hebrew, unicode.Arabic): // the fixed pitch squeezes joined letters
		order = []face{sans}
		if style == bold {
			order = []face{bold, sans}
		}
	}
	for _, f := range order {
		m := load(f)
		i, err := m.CharCodeToGlyphIndex(r)
		if err == nil && i != 0 {
			return glyph{f, float64(m.GlyphIndexToPdfWidth(i))}
		}
	}
	return glyph{noFace, 0}
}

// width measures one line of text set in the plain style.
func (fs *faces) width(s string, size float64) float64 {
	w := 0.0
	for _, r := range s {
		w += fs.advance(sans, r, size)
	}
	return w
}

// advance is the width of one character; where no font has it, that of its number.
func (fs *faces) advance(style face, r rune, size float64) float64 {
	if g := fs.find(style, r); g.face != noFace {
		return g.width * size / 1000
	}
	return fs.numberWidth(r, size)
}

// The box of a character without a glyph: its number, smaller, in a frame.
const (
	boxSize = 0.68 // of the size of the text around it
	boxPad  = 1.2
)

func number(r rune) string { return fmt.Sprintf("U+%04X", r) }

func (fs *faces) numberWidth(r rune, size float64) float64 {
	w := 0.0
	for _, c := range number(r) {
		w += fs.find(mono, c).width
	}
	return w*size*boxSize/1000 + 2*boxPad + 1
}
