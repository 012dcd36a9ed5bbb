package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/store"
)

// Exit statuses (contract section 10).
const (
	statusDone        = 0
	statusBad         = 1
	statusUsage       = 2
	statusEnvironment = 3
)

// usageError is wrong use or input.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// exit ends the program with a status, after all has been said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// inputError is about a file that the user named: that it does not exist is
// wrong use.
func inputError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &usageError{err.Error()}
	}
	return err
}

func statusOf(err error) int {
	var code exit
	var wrong *usageError
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &wrong):
		return statusUsage
	case errors.Is(err, evidence.ErrTampered):
		return statusBad
	case errors.Is(err, store.ErrLocked), errors.Is(err, evidence.ErrUnavailable), errors.Is(err, context.Canceled):
		return statusEnvironment
	}
	for _, input := range []error{
		evidence.ErrInvalid, evidence.ErrNotFound, evidence.ErrConflict, evidence.ErrForbidden, evidence.ErrTooLarge,
	} {
		if errors.Is(err, input) {
			return statusUsage
		}
	}
	return statusEnvironment
}

// fail says what is wrong, in one line or as a problem, and returns the exit
// status.
func (e *env) fail(err error) int {
	status := statusOf(err)
	var code exit
	if err == nil || errors.As(err, &code) {
		return status
	}
	if !e.JSON {
		fmt.Fprintf(e.stderr, "runledger: %s\n", oneLine(err.Error()))
		return status
	}
	var p *control.Problem
	if !errors.As(err, &p) {
		p = &control.Problem{Type: "about:blank", Title: titles[status], Code: codes[status], Detail: oneLine(err.Error())}
	}
	b, jerr := json.Marshal(p)
	if jerr != nil {
		return statusEnvironment
	}
	fmt.Fprintf(e.stderr, "%s\n", b)
	return status
}

var (
	titles = map[int]string{statusBad: "The answer is bad", statusUsage: "Wrong use or input", statusEnvironment: "The environment failed"}
	codes  = map[int]string{statusBad: control.CodeTampered, statusUsage: control.CodeInvalid, statusEnvironment: "environment"}
)

// oneLine joins the lines of joined errors.
func oneLine(s string) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r == '\n' {
			out = append(out, ';', ' ')
			continue
		}
		out = append(out, r)
	}
	return string(out)
}
