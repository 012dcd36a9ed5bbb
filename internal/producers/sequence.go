package producers

import (
	"slices"

	"github.com/runledger/runledger/evidence"
)

const (
	// maxSpans bounds the ranges of missing numbers that are kept of a producer. Of
	// more the lowest are let go, for what comes late is seldom very late.
	maxSpans = 100
	// reach is how far numbers are taken for ones out of order that have no other
	// reason to be near: below the first, or beyond a restart.
	reach = 1024
	// certain is how many numbers of a new count make sure that it is one.
	certain = 10
	// maxAgain bounds the repeated numbers that a restart may turn out to own.
	maxAgain = 64
)

// span is a range of numbers, both ends included.
type span struct {
	From int64 `json:"f"`
	To   int64 `json:"t"`
}

// lost is a range of an earlier count. Nothing closes it any more.
type lost struct {
	span
	Restart int64 `json:"r"` // how many restarts came before that count
}

// count is one upward count of a producer.
type count struct {
	First   int64  `json:"f"` // the lowest number seen
	High    int64  `json:"h"` // the highest
	Missing []span `json:"m,omitempty"`
}

// sequence follows the numbers of a producer in the order in which their records were
// recorded. A number says only how far the producer has counted, so this is what is
// made of one:
//
//   - above the highest: those between are missing, until they come;
//   - missing: it came late, and closes its gap;
//   - below the first, and near (within 1024 of all that has been seen): it was
//     overtaken at the beginning, and came late. What was before the first number is
//     not known to have existed, so it is not missing;
//   - seen before, and not where a count begins: a repeat. A record that is sent again
//     is not recorded again, so this is another record under the same number: one that
//     contradicts the first, two instances with one credential and name, or a producer
//     that went back to a number it had stored;
//   - where a count begins (0, 1, or the first number of this one), after higher ones:
//     the count has restarted, as that of a producer that numbers in memory. What is
//     missing of the count before stays missing, for its numbers mean others now.
//
// That a restart is one is certain after ten numbers. If before that the earlier count
// goes on, it was a repeat. A restart that arrives out of order (2, 1, 3) is one too:
// numbers that seemed repeats since the highest last grew then belong to it.
//
// What cannot be told: a number of an earlier count that comes after a restart counts
// for the new one. A producer that keeps its count over a restart, or begins a new
// source_component with each, leaves nothing to guess.
type sequence struct {
	Now      count   `json:"n"`
	Last     int64   `json:"l"`           // came last
	Before   *count  `json:"b,omitempty"` // the count before the last restart, until that is certain
	Fresh    int64   `json:"fr,omitempty"`
	Again    []int64 `json:"a,omitempty"` // repeats since Now.High last grew
	Lost     []lost  `json:"lo,omitempty"`
	More     int64   `json:"mo,omitempty"` // numbers in ranges that were let go
	Late     int64   `json:"la,omitempty"`
	Repeated int64   `json:"re,omitempty"`
	Restarts int64   `json:"rs,omitempty"`
}

func newSequence(n int64) *sequence {
	return &sequence{Now: count{First: n, High: n}, Last: n}
}

// add takes the number of the next record.
func (s *sequence) add(n int64) {
	s.Last = n
	c := &s.Now
	switch {
	case s.Before != nil && n > c.High+1 && n > s.Before.High && n-s.Before.High < reach:
		s.undo()
		s.Now.rise(n)
	case n > c.High:
		c.rise(n)
		s.Again = nil
		s.Fresh++
	case c.close(n):
		s.Late++
		s.Fresh++
	case n < c.First && c.High-n < reach:
		c.Missing = slices.Insert(c.Missing, 0, spanOf(n+1, c.First-1)...)
		c.First = n
		s.Late++
		s.Fresh++
	case n < c.High && n <= max(c.First, 1):
		s.restart(n)
	default:
		s.repeat(n)
	}
	if s.Before != nil && s.Fresh >= certain {
		s.settle()
	}
	s.trim()
}

func (s *sequence) repeat(n int64) {
	s.Repeated++
	if len(s.Again) == maxAgain {
		s.Again = slices.Delete(s.Again, 0, 1)
	}
	s.Again = append(s.Again, n)
}

// restart begins a new count at n.
func (s *sequence) restart(n int64) {
	s.settle()
	before := s.Now
	s.Before = &before
	s.Now, s.Fresh = count{First: n, High: n}, 1
	s.Restarts++
	slices.Sort(s.Again)
	for _, a := range s.Again {
		if a > s.Now.High && a-n < reach {
			s.Now.rise(a)
			s.Fresh++
			s.Repeated--
		}
	}
	s.Again = nil
}

// undo takes a restart back: the count before it goes on.
func (s *sequence) undo() {
	s.Repeated += s.Fresh
	s.Restarts--
	s.Now, s.Before, s.Again = *s.Before, nil, nil
}

// settle makes a restart certain.
func (s *sequence) settle() {
	if s.Before == nil {
		return
	}
	for _, m := range s.Before.Missing {
		s.Lost = append(s.Lost, lost{m, s.Restarts - 1})
	}
	s.Before = nil
}

// trim lets ranges go where there are too many: the oldest counts first, and of a
// count the lowest numbers.
func (s *sequence) trim() {
	for s.spans() > maxSpans {
		var m span
		switch {
		case len(s.Lost) > 0:
			m, s.Lost = s.Lost[0].span, slices.Delete(s.Lost, 0, 1)
		case s.Before != nil && len(s.Before.Missing) > 0:
			m, s.Before.Missing = s.Before.Missing[0], slices.Delete(s.Before.Missing, 0, 1)
		default:
			m, s.Now.Missing = s.Now.Missing[0], slices.Delete(s.Now.Missing, 0, 1)
		}
		s.More = min(s.More+m.size(), evidence.MaxInt)
	}
}

func (s *sequence) spans() int {
	n := len(s.Lost) + len(s.Now.Missing)
	if s.Before != nil {
		n += len(s.Before.Missing)
	}
	return n
}

// missing returns all ranges that are kept, the oldest count first.
func (s *sequence) missing() []lost {
	all := slices.Clone(s.Lost)
	if s.Before != nil {
		for _, m := range s.Before.Missing {
			all = append(all, lost{m, s.Restarts - 1})
		}
	}
	for _, m := range s.Now.Missing {
		all = append(all, lost{m, s.Restarts})
	}
	return all
}

func (m span) size() int64 { return m.To - m.From + 1 }

// spanOf returns the range, or none where it is empty.
func spanOf(from, to int64) []span {
	if from > to {
		return nil
	}
	return []span{{from, to}}
}

// rise takes a number above the highest.
func (c *count) rise(n int64) {
	c.Missing = append(c.Missing, spanOf(c.High+1, n-1)...)
	c.High = n
}

// close takes a number out of what is missing, and reports whether it was.
func (c *count) close(n int64) bool {
	i, found := slices.BinarySearchFunc(c.Missing, n, func(m span, n int64) int {
		switch {
		case m.To < n:
			return -1
		case m.From > n:
			return 1
		}
		return 0
	})
	if !found {
		return false
	}
	m := c.Missing[i]
	c.Missing = slices.Replace(c.Missing, i, i+1, append(spanOf(m.From, n-1), spanOf(n+1, m.To)...)...)
	return true
}
