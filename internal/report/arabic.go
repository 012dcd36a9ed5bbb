package report

import (
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// forms are the shapes of an Arabic letter, as Unicode's compatibility block lists
// them: alone, at the end, at the beginning, in the middle. A letter with two forms
// joins only the one before it, one with a single form joins none.
type forms struct {
	shape [4]rune
	n     int
}

const (
	alone = iota
	final
	initial
	medial
)

const (
	lam     = 0x0644
	tatweel = 0x0640
)

// lamAlef are the ligatures that are not optional: by the alef, alone and final.
var lamAlef = map[rune][2]rune{
	0x0622: {0xfef5, 0xfef6}, 0x0623: {0xfef7, 0xfef8}, 0x0625: {0xfef9, 0xfefa}, 0x0627: {0xfefb, 0xfefc},
}

// arabicForms is made from the decompositions: consecutive code points that stand for
// one letter are its forms, in the order above. The letters of Arabic are in
// FE80–FEF4, those of Persian, Urdu and others in FB50–FBFF, where alef maksura
// (U+0649) also has its last two forms: hence this order of the blocks.
var arabicForms = func() map[rune]*forms {
	m := map[rune]*forms{}
	for _, span := range [][2]rune{{0xfe80, 0xfef4}, {0xfb50, 0xfbff}} {
		for r := span[0]; r <= span[1]; r++ {
			base := []rune(norm.NFKC.String(string(r)))
			if len(base) != 1 || base[0] == r || !unicode.Is(unicode.Arabic, base[0]) {
				continue
			}
			f := m[base[0]]
			if f == nil {
				f = &forms{}
				m[base[0]] = f
			}
			if f.n < 4 {
				f.shape[f.n] = r
				f.n++
			}
		}
	}
	return m
}()

// shape replaces Arabic letters by their joined forms, in logical order. The result
// may be shorter: lam and alef become one.
func shape(in []rune) []rune {
	out := make([]rune, 0, len(in))
	for i := 0; i < len(in); i++ {
		f := arabicForms[in[i]]
		if f == nil {
			if !joiner(in[i]) {
				out = append(out, in[i])
			}
			continue
		}
		before := f.n >= 2 && joinsNext(in, i)
		if in[i] == lam && i+1 < len(in) {
			if l, ok := lamAlef[in[i+1]]; ok {
				if before {
					out = append(out, l[1])
				} else {
					out = append(out, l[0])
				}
				i++
				continue
			}
		}
		after := f.n == 4 && joinsPrevious(in, i)
		at := alone
		switch {
		case before && after:
			at = medial
		case before:
			at = final
		case after:
			at = initial
		}
		out = append(out, f.shape[at])
	}
	return out
}

// joinsNext reports whether the letter before i reaches out to it.
func joinsNext(in []rune, i int) bool {
	for i--; i >= 0; i-- {
		if unicode.Is(unicode.Mn, in[i]) {
			continue
		}
		f := arabicForms[in[i]]
		return in[i] == tatweel || in[i] == 0x200d || (f != nil && f.n == 4)
	}
	return false
}

// joinsPrevious reports whether the letter after i can be reached from it.
func joinsPrevious(in []rune, i int) bool {
	for i++; i < len(in); i++ {
		if unicode.Is(unicode.Mn, in[i]) {
			continue
		}
		f := arabicForms[in[i]]
		return in[i] == tatweel || in[i] == 0x200d || (f != nil && f.n >= 2)
	}
	return false
}

// plainLetter is the letter that a joined form stands for; a search in the PDF looks
// for letters, not forms. Ligatures stand for two and stay.
func plainLetter(r rune) (rune, bool) {
	if !(r >= 0xfb50 && r <= 0xfdff) && !(r >= 0xfe70 && r <= 0xfeff) {
		return 0, false
	}
	base := []rune(norm.NFKC.String(string(r)))
	if len(base) != 1 || base[0] == r {
		return 0, false
	}
	return base[0], true
}
