package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
)

// maxProblems bounds what one check names. Who has mended so many sees the others.
const maxProblems = 100

// Problem is one thing that is wrong with a file. It wraps evidence.ErrInvalid.
type Problem struct {
	File   string `json:"file"` // path within the registry, or as it was given
	Line   int    `json:"line"` // from 1; 0 where it is about the file as a whole
	Reason string `json:"reason"`
}

// Error implements error: file:line: reason.
func (p *Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Reason
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Reason)
}

// Unwrap returns evidence.ErrInvalid.
func (*Problem) Unwrap() error { return evidence.ErrInvalid }

// Problems returns what an error of [Load], [CheckFile] or [Registry.CheckAPI] joins, by
// file and line; nil where it is another error.
func Problems(err error) []*Problem {
	var one *Problem
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var list []*Problem
		for _, e := range joined.Unwrap() {
			if errors.As(e, &one) {
				list = append(list, one)
			}
		}
		return list
	}
	if errors.As(err, &one) {
		return []*Problem{one}
	}
	return nil
}

// findings collects problems.
type findings struct {
	list []*Problem
}

func (f *findings) add(file string, line int, format string, args ...any) {
	f.list = append(f.list, &Problem{File: file, Line: line, Reason: fmt.Sprintf(format, args...)})
}

// err returns the problems as one error, or nil.
func (f *findings) err() error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortFunc(f.list, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Reason, b.Reason))
	})
	var list []error
	for i, p := range f.list {
		if len(list) == maxProblems {
			break
		}
		if i == 0 || *p != *f.list[i-1] {
			list = append(list, p)
		}
	}
	return errors.Join(list...)
}
