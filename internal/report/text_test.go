package report

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain text\nnext":                "plain text\nnext",
		"a\tb\r\nc\rd":                    "a    b\nc⟨U+000D⟩d",
		"\x00\x1b[1m":                     "⟨U+0000⟩⟨U+001B⟩[1m",
		"\xff\xc3":                        "⟨0xFF⟩⟨0xC3⟩",
		"ok\u202eko":                      "ok⟨U+202E⟩ko",
		"a\u200bb\ufeff":                  "a⟨U+200B⟩b⟨U+FEFF⟩",
		"می\u200cخواهم":                   "می\u200cخواهم",
		"a\u200db":                        "a⟨U+200D⟩b",
		"x\u00a0y\u3000z":                 "x y z",
		"e\u0301":                         "e\u0301",
		"\u3164\u115f\ue000\ufdd0":        "⟨U+3164⟩⟨U+115F⟩⟨U+E000⟩⟨U+FDD0⟩",
		"a" + strings.Repeat("\u0301", 5): "a" + strings.Repeat("\u0301", 4) + "⟨U+0301⟩",
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestReadable(t *testing.T) {
	for in, want := range map[string]string{
		`"quoted"`:                            `"quoted"`,
		`{"b":1.00,"a":[1e3]}`:                "{\n  \"b\": 1.00,\n  \"a\": [1e3]\n}",
		`[["a ,[","{"],[],{"b":[1,{"c":2}]}]`: "[\n  [\"a ,[\", \"{\"],\n  [],\n  {\n    \"b\": [\n      1,\n      {\"c\": 2}\n    ]\n  }\n]",
		`["` + strings.Repeat("é", 84) + `"]`: `["` + strings.Repeat("é", 84) + `"]`,
		`["` + strings.Repeat("é", 85) + `"]`: "[\n  \"" + strings.Repeat("é", 85) + "\"\n]",
		`12345678901234567890.10`:             `12345678901234567890.10`,
		`not JSON`:                            `not JSON`,
		`{open`:                               `{open`,
		"[1,\n2] \n":                          "[1, 2] \n",
		``:                                    ``,
	} {
		if got := readable(in); got != want {
			t.Errorf("readable(%s) = %q, want %q", in, got, want)
		}
	}
}

func TestForms(t *testing.T) {
	for us, want := range map[int64]string{-1: "–", 0: "–", 7: "7 µs", 1500: "2 ms", 999_999: "1000 ms", 2_400_000: "2.40 s", 3_725_000_000: "1h2m5s"} {
		if got := span(us); got != want {
			t.Errorf("span(%d) = %q, want %q", us, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	for word, want := range map[string]tone{"SUCCEEDED": good, "failure": bad, "BLOCKED": bad, "denied": bad, "near_threshold": warn, "INFO": neutral, "": neutral} {
		if got := toneOf(word); got != want {
			t.Errorf("toneOf(%q) = %q, want %q", word, got, want)
		}
	}
}

// TestBidi compares lines as drawn from left to right. The expected ones are written
// with escapes or as lists, because an editor would reorder them.
func TestBidi(t *testing.T) {
	const h1, h2, h3 = "\u05d0", "\u05d1", "\u05d2" // alef, bet, gimel
	const a1, a2 = "\u0627", "\u062f"               // alef, dal: these two never join
	for _, c := range []struct{ in, want string }{
		{"abc 12", "abc 12"},
		{h1 + h2 + h3, h3 + h2 + h1},
		{"x " + h1 + h2 + " y", "x " + h2 + h1 + " y"},
		{h1 + h2 + " 123 " + h3, h3 + " 123 " + h2 + h1},
		{"x " + h1 + " 12 y", "x 12 " + h1 + " y"},
		{h1 + " (x)", "(x) " + h1},
		{h1 + "(" + h2 + ")", "(" + h2 + ")" + h1},
		{h1 + " 1.5% " + h2, h2 + " 1.5% " + h1},
		{h1 + " x 12 y " + h2, h2 + " x 12 y " + h1},
		{a1 + a2 + " 12/34", "12/34 " + a2 + a1},
		{"a «" + h1 + " 1» b", "a «1 " + h1 + "» b"},
		{h1 + "\u05b8" + h2, h2 + h1 + "\u05b8"}, // a mark stays on its letter
		{"-5 " + h1, h1 + " 5-"},
	} {
		text := []rune(c.in)
		level, _ := levels(text)
		if got := string(reorder(text, level)); got != c.want {
			t.Errorf("%+q is drawn as %+q, want %+q", c.in, got, c.want)
		}
	}
}

func TestArabic(t *testing.T) {
	for in, want := range map[string]string{
		"\u0628":                   "\ufe8f",                   // beh alone
		"\u0628\u0628\u0628":       "\ufe91\ufe92\ufe90",       // three joined
		"\u0627\u0628":             "\ufe8d\ufe8f",             // alef does not reach on
		"\u0644\u0627":             "\ufefb",                   // lam-alef
		"\u0628\u0644\u0627":       "\ufe91\ufefc",             // and joined
		"\u0628\u064e\u0628":       "\ufe91\u064e\ufe90",       // over a mark
		"\u0628\u200c\u0628":       "\ufe8f\ufe8f",             // held apart
		"\u0628 \u0628":            "\ufe8f \ufe8f",            // two words
		"\u0628\u0640\u0628":       "\ufe91\u0640\ufe90",       // with tatweel
		"\u0649\u0649":             "\ufbe8\ufef0",             // alef maksura
		"\u067e\u0698\u06af\u06cc": "\ufb58\ufb8b\ufb94\ufbfd", // Persian
		"\u0621\u0628":             "\ufe80\ufe8f",             // hamza stands alone
	} {
		if got := string(shape([]rune(in))); got != want {
			t.Errorf("%+q takes the forms %+q, want %+q", in, got, want)
		}
	}
	for r, want := range map[rune]rune{0xfe91: 0x0628, 0xfb58: 0x067e, 0xfefb: 0, 'a': 0, 0x0628: 0} {
		if got, _ := plainLetter(r); got != want {
			t.Errorf("plainLetter(%04X) = %04X, want %04X", r, got, want)
		}
	}
}

// TestLines: no line is wider than its column but one that holds a single character,
// and breaking loses nothing but spaces.
func TestLines(t *testing.T) {
	var s setter
	for _, text := range []string{
		"The quick brown fox jumps over the lazy dog", strings.Repeat("x", 300), "付款被拒绝，因为持卡人未确认超过350欧元的金额（规则第3条）。",
		"日本語（テスト）。かな", "one\n\n two  three", "भुगतान", "a/b/c-d_e,f 2026-11-23",
	} {
		for _, width := range []float64{3, 20, 60, 200} {
			var got strings.Builder
			for _, l := range s.lines(text, sans, 8, width) {
				letters := 0
				for _, r := range l.runs {
					got.WriteString(r.text)
					letters += utf8.RuneCountInString(r.text)
					if r.box {
						letters -= utf8.RuneCountInString(r.text) - 1
					}
				}
				if l.width > width+0.001 && letters > 1 {
					t.Errorf("%q in %g: a line of %g points", text, width, l.width)
				}
			}
			if want := squeeze(text); !strings.Contains(got.String(), "U+") && squeeze(got.String()) != want {
				t.Errorf("%q in %g: became %q", text, width, got.String())
			}
		}
	}
}

// TestFonts: no glyph of a font needs more than one step to be found by the writer,
// and flattening moves no glyph that stands alone.
func TestFonts(t *testing.T) {
	for f := sans; f <= hangul; f++ {
		data, err := fontData(f)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := directory(data)
		if err != nil {
			t.Fatal(err)
		}
		if binary.BigEndian.Uint16(dir["head"].data[50:]) != 1 {
			t.Fatalf("%s: short offsets", faceNames[f])
		}
		glyf, loca := dir["glyf"].data, dir["loca"].data
		at := func(g int) []byte {
			return glyf[binary.BigEndian.Uint32(loca[4*g:]):binary.BigEndian.Uint32(loca[4*g+4:])]
		}
		composites := 0
		for g := range len(loca)/4 - 1 {
			if !composite(at(g)) {
				continue
			}
			composites++
			for rest := at(g)[10:]; ; {
				c, after, err := parseComponent(rest)
				if err != nil {
					t.Fatal(err)
				}
				if composite(at(c.glyph)) {
					t.Fatalf("%s: glyph %d is made of glyph %d, which is made of others", faceNames[f], g, c.glyph)
				}
				if c.flags&more == 0 {
					break
				}
				rest = after
			}
		}
		if composites == 0 {
			t.Errorf("%s: no composite glyph found; the test reads the font wrongly", faceNames[f])
		}
	}
}

func TestTimeline(t *testing.T) {
	for _, m := range []*Model{runModel(), longModel(40), longModel(2000)} {
		d := draw(m.Window)
		if d.Height > pageBottom-pageTop {
			t.Errorf("%g points high: more than a page", d.Height)
		}
		if len(d.Labels)+d.Unlabelled+d.Outside < len(m.Window.Marks) {
			t.Errorf("of %d marks %d are labelled, %d not and %d outside", len(m.Window.Marks), len(d.Labels), d.Unlabelled, d.Outside)
		}
		for i, a := range d.Labels {
			if a.X < 0 || a.X+a.W > drawWidth+1 {
				t.Errorf("label %q leaves the drawing", a.Text)
			}
			for _, b := range d.Labels[:i] {
				if a.Y == b.Y && a.X < b.X+b.W && b.X < a.X+a.W {
					t.Errorf("labels %q and %q overlap", a.Text, b.Text)
				}
			}
		}
		if !slices.ContainsFunc(d.Ticks, func(k tick) bool { return k.Zero && k.X == d.Center }) {
			t.Error("no tick at the center")
		}
	}
	// Where there is no room for all, those that failed have their label.
	m := longModel(2000)
	failed := 0
	for _, k := range m.Window.Marks {
		if k.Outcome == "failure" {
			failed++
		}
	}
	d := draw(m.Window)
	shown := 0
	for _, l := range d.Labels {
		if l.Tone == bad {
			shown++
		}
	}
	if failed == 0 || shown != failed || d.Unlabelled == 0 {
		t.Errorf("%d of %d failures have a label; %d marks have none", shown, failed, d.Unlabelled)
	}
}

func TestOffsets(t *testing.T) {
	for us, want := range map[int64]string{0: "0", 5_000_000: "+5 s", -500_000: "−500 ms", 3: "+3 µs"} {
		if got := offset(us); got != want {
			t.Errorf("offset(%d) = %q, want %q", us, got, want)
		}
	}
	for length, want := range map[int64]int64{60_000_000: 10_000_000, 2_000_000: 500_000, 1: 1, 3_600_000_000: 500_000_000} {
		if got := niceStep(length); got != want {
			t.Errorf("niceStep(%d) = %d, want %d", length, got, want)
		}
	}
}

// FuzzReport gives one text to every place of a report. Embedding the fonts, the
// slowest part, does not depend on it and is left out.
func FuzzReport(f *testing.F) {
	f.Add("plain", int64(0), int64(1))
	f.Add("<b>\u202e\x00\xff", int64(-1), int64(1)<<62)
	f.Add("العربية עברית 漢字 한글 🎉", int64(1)<<62, int64(-1)<<62)
	f.Fuzz(func(t *testing.T, text string, at, length int64) {
		if len(text) > 2000 {
			return
		}
		m := hostile(text)
		m.Window.Marks[0].At, m.Window.Marks[0].DurationUS = m.Window.Start+m.Window.Marks[0].At%60_000_000, length
		m.Steps[0].DurationUS, m.Steps[0].Index = length, at
		checkPage(t, htmlOf(t, m))
		if p := layout(m); p.err != nil {
			t.Fatal(p.err)
		}
	})
}

// FuzzFlatten: fonts are ours, but a parser of bytes must not fall over.
func FuzzFlatten(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(tinyFont(f, 1, 2))
	f.Fuzz(func(_ *testing.T, font []byte) {
		if len(font) < 1<<16 {
			_, _ = flatten(font)
		}
	})
}

// tinyFont has glyph 0 with an outline, and others each made of the glyph that is given.
func tinyFont(t testing.TB, parts ...int) []byte {
	t.Helper()
	glyf := []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	loca := []uint32{0, uint32(len(glyf))}
	for _, p := range parts {
		g := []byte{0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, argsXY, 0, byte(p - 1), 3, 0xfe}
		glyf = append(glyf, g...)
		loca = append(loca, uint32(len(glyf)))
	}
	head := make([]byte, 54)
	head[51] = 1
	var locaBytes []byte
	for _, l := range loca {
		locaBytes = binary.BigEndian.AppendUint32(locaBytes, l)
	}
	font := []byte{0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0}
	offset := 12 + 3*16
	var body []byte
	for _, tb := range []struct {
		name string
		data []byte
	}{{"glyf", glyf}, {"head", head}, {"loca", locaBytes}} {
		font = append(font, tb.name...)
		font = binary.BigEndian.AppendUint32(font, 0)
		font = binary.BigEndian.AppendUint32(font, uint32(offset+len(body)))
		font = binary.BigEndian.AppendUint32(font, uint32(len(tb.data)))
		body = append(body, tb.data...)
	}
	return append(font, body...)
}

func TestFlatten(t *testing.T) {
	font, err := flatten(tinyFont(t, 1, 2, 3)) // glyph 3 is made of 2, 2 of 1, 1 of 0
	if err != nil {
		t.Fatal(err)
	}
	dir, err := directory(font)
	if err != nil {
		t.Fatal(err)
	}
	glyf, loca := dir["glyf"].data, dir["loca"].data
	for g, want := range []string{1: "glyph 0 at 3,-2", 2: "glyph 0 at 6,-4", 3: "glyph 0 at 9,-6"} {
		if g == 0 {
			continue
		}
		c, _, err := parseComponent(glyf[binary.BigEndian.Uint32(loca[4*g:]):][10:])
		if got := fmt.Sprintf("glyph %d at %d,%d", c.glyph, c.dx, c.dy); err != nil || got != want {
			t.Errorf("glyph %d is made of %s (%v), want %s", g, got, err, want)
		}
	}
	for name, font := range map[string][]byte{
		"empty": nil, "cut": tinyFont(t, 1)[:70], "itself": tinyFont(t, 2), "no such glyph": tinyFont(t, 9),
	} {
		if _, err := flatten(font); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
