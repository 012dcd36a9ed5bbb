package report

import (
	"unicode"

	"golang.org/x/text/unicode/bidi"
)

// This is the Unicode bidirectional algorithm (UAX 9) without its explicit controls,
// which visible spells out, so that they never reach here, and without N0 (pairs of
// brackets are resolved as other neutrals). x/text has the character classes but only
// hands out runs, from which the levels of numbers cannot be had.

// rtl reports whether any of the text is written from the right.
func rtl(text []rune) bool {
	for _, r := range text {
		if r >= 0x0590 {
			switch class(r) {
			case bidi.R, bidi.AL, bidi.AN:
				return true
			}
		}
	}
	return false
}

func class(r rune) bidi.Class {
	p, _ := bidi.LookupRune(r)
	return p.Class()
}

// levels returns the embedding level of each character of a paragraph, and that of the
// paragraph: 1 where its first letter is written from the right (P2, P3).
func levels(text []rune) (each []int, base int) {
	c := make([]bidi.Class, len(text))
	found := false
	for i, r := range text {
		c[i] = class(r)
		if !found && (c[i] == bidi.L || c[i] == bidi.R || c[i] == bidi.AL) {
			found = true
			if c[i] != bidi.L {
				base = 1
			}
		}
	}
	edge := bidi.L
	if base == 1 {
		edge = bidi.R
	}
	weak(c, edge)
	neutrals(c, edge)
	each = make([]int, len(text))
	for i := range c {
		each[i] = base
		switch { // I1, I2
		case base == 0 && c[i] == bidi.R, base == 1 && c[i] != bidi.R:
			each[i] = base + 1
		case base == 0 && (c[i] == bidi.EN || c[i] == bidi.AN):
			each[i] = 2
		}
	}
	return each, base
}

// weak resolves numbers, their signs and marks (W1 to W7).
func weak(c []bidi.Class, edge bidi.Class) {
	previous := edge
	for i := range c { // W1
		if c[i] == bidi.NSM {
			c[i] = previous
		}
		previous = c[i]
	}
	strong := edge
	for i := range c { // W2, W3
		switch c[i] {
		case bidi.L, bidi.R:
			strong = c[i]
		case bidi.AL:
			strong = bidi.AL
		case bidi.EN:
			if strong == bidi.AL {
				c[i] = bidi.AN
			}
		}
	}
	for i := range c {
		if c[i] == bidi.AL {
			c[i] = bidi.R
		}
	}
	for i := 1; i+1 < len(c); i++ { // W4
		if c[i-1] != c[i+1] {
			continue
		}
		if (c[i] == bidi.ES || c[i] == bidi.CS) && c[i-1] == bidi.EN {
			c[i] = bidi.EN
		} else if c[i] == bidi.CS && c[i-1] == bidi.AN {
			c[i] = bidi.AN
		}
	}
	for i := 0; i < len(c); i++ { // W5
		if c[i] != bidi.ET {
			continue
		}
		end := i
		for end < len(c) && c[end] == bidi.ET {
			end++
		}
		if (i > 0 && c[i-1] == bidi.EN) || (end < len(c) && c[end] == bidi.EN) {
			for j := i; j < end; j++ {
				c[j] = bidi.EN
			}
		}
		i = end - 1
	}
	strong = edge
	for i := range c { // W6, W7
		switch c[i] {
		case bidi.ES, bidi.ET, bidi.CS:
			c[i] = bidi.ON
		case bidi.L, bidi.R:
			strong = c[i]
		case bidi.EN:
			if strong == bidi.L {
				c[i] = bidi.L
			}
		}
	}
}

// neutrals gives spaces and signs the direction of what stands around them (N1, N2).
func neutrals(c []bidi.Class, edge bidi.Class) {
	side := func(k bidi.Class) bidi.Class {
		if k == bidi.L {
			return bidi.L
		}
		return bidi.R // numbers count as R
	}
	settled := func(k bidi.Class) bool {
		return k == bidi.L || k == bidi.R || k == bidi.EN || k == bidi.AN
	}
	for i := 0; i < len(c); i++ {
		if settled(c[i]) {
			continue
		}
		end := i
		for end < len(c) && !settled(c[end]) {
			end++
		}
		left, right := edge, edge
		if i > 0 {
			left = side(c[i-1])
		}
		if end < len(c) {
			right = side(c[end])
		}
		if left != right {
			left = edge
		}
		for j := i; j < end; j++ {
			c[j] = left
		}
		i = end - 1
	}
}

var mirrors = map[rune]rune{
	'(': ')', ')': '(', '[': ']', ']': '[', '{': '}', '}': '{', '<': '>', '>': '<',
	'«': '»', '»': '«', '‹': '›', '›': '‹', '≤': '≥', '≥': '≤', '⟨': '⟩', '⟩': '⟨',
}

// reorder puts one line in the order of drawing, left to right (L2 to L4).
func reorder(text []rune, level []int) []rune {
	out := make([]rune, len(text))
	at := make([]int, len(text))
	highest := 0
	for i := range at {
		at[i] = i
		highest = max(highest, level[i])
	}
	for l := highest; l >= 1; l-- {
		for i := 0; i < len(at); i++ {
			if level[at[i]] < l {
				continue
			}
			end := i
			for end < len(at) && level[at[end]] >= l {
				end++
			}
			for a, b := i, end-1; a < b; a, b = a+1, b-1 {
				at[a], at[b] = at[b], at[a]
			}
			i = end - 1
		}
	}
	for i, j := range at {
		r := text[j]
		if level[j]%2 == 1 {
			if m, ok := mirrors[r]; ok {
				r = m
			}
		}
		out[i] = r
	}
	marksAfter(out, at, level)
	return out
}

// marksAfter moves combining marks of text from the right behind their letter again:
// fonts draw them over what came before (L3).
func marksAfter(out []rune, at, level []int) {
	for i := 0; i < len(out); i++ {
		if level[at[i]]%2 == 0 || !unicode.Is(unicode.Mn, out[i]) {
			continue
		}
		end := i
		for end < len(out) && level[at[end]]%2 == 1 && unicode.Is(unicode.Mn, out[end]) {
			end++
		}
		if end < len(out) && level[at[end]]%2 == 1 {
			letter := out[end]
			copy(out[i+1:end+1], out[i:end])
			out[i] = letter
			i = end
		}
	}
}
