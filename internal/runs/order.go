package runs

import (
	"bytes"

	"github.com/runledger/runledger/evidence"
)

// order is where a record stands among those of its run: by start, then end,
// then id. It does not depend on the order of arrival, so that neither does
// what is chosen by it.
type order struct {
	start, end evidence.Micros
	id         evidence.ID
}

func (a order) before(b order) bool {
	switch {
	case a.start != b.start:
		return a.start < b.start
	case a.end != b.end:
		return a.end < b.end
	default:
		return bytes.Compare(a.id[:], b.id[:]) < 0
	}
}

// endsAfter reports whether a ends after b. Of two that end together the one
// that began later does.
func (a order) endsAfter(b order) bool {
	if a.end != b.end {
		return a.end > b.end
	}
	return b.before(a)
}

// first keeps the text of the first record that has one.
type first struct {
	at   order
	text string
}

func (f *first) offer(at order, text string) {
	if text != "" && (f.text == "" || at.before(f.at)) {
		f.at, f.text = at, text
	}
}

// wants reports whether a text of a record there would be kept.
func (f *first) wants(at order) bool { return f.text == "" || at.before(f.at) }

// single keeps a text that all records that have one agree on.
type single struct {
	text string
	many bool
}

func (s *single) offer(text string) {
	switch {
	case text == "":
	case s.text == "":
		s.text = text
	case s.text != text:
		s.many = true
	}
}

func (s *single) get() string {
	if s.many {
		return ""
	}
	return s.text
}
