package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
	"github.com/runledger/runledger/internal/ledger"
)

// openAnchor opens an anchor; a directory is made where there is none.
func openAnchor(spec string) (ledger.Anchor, error) { return anchor.Open(spec) }

// anchorGone reports an anchor directory that is not there. An object store is always
// there, if perhaps empty.
func anchorGone(spec string) bool {
	s, err := anchor.Parse(spec)
	if err != nil || s.S3 != nil {
		return false // what is wrong with it, opening it says
	}
	_, err = os.Stat(s.Dir)
	return errors.Is(err, fs.ErrNotExist)
}

// takenAnchor is an anchor as it was at one time. It cannot be written.
type takenAnchor struct {
	origins []string
	// notes lacks the logs that were lost as a whole.
	notes map[string][]byte
	lost  map[string][][]byte
	forks map[string][][]byte
}

// readAnchors reads an anchor without making it: that it is gone is a finding.
func readAnchors(where string) (*takenAnchor, error) {
	a := &takenAnchor{notes: map[string][]byte{}, lost: map[string][][]byte{}, forks: map[string][][]byte{}}
	if anchorGone(where) {
		return a, nil
	}
	d, err := openAnchor(where)
	if err != nil {
		return nil, err
	}
	if a.origins, err = d.Origins(); err != nil {
		return nil, err
	}
	for _, origin := range a.origins {
		switch note, err := d.Read(origin); {
		case err == nil:
			a.notes[origin] = note
		case !errors.Is(err, evidence.ErrNotFound):
			return nil, err
		}
		if a.lost[origin], err = d.Lost(origin); err != nil {
			return nil, err
		}
		if a.forks[origin], err = d.Forks(origin); err != nil {
			return nil, err
		}
	}
	return a, nil
}

var errTaken = errors.New("this anchor is a copy")

// Read implements ledger.Anchor.
func (a *takenAnchor) Read(origin string) ([]byte, error) {
	if note, ok := a.notes[origin]; ok {
		return note, nil
	}
	return nil, fmt.Errorf("anchor of %s: %w", origin, evidence.ErrNotFound)
}

// Origins implements ledger.Anchor.
func (a *takenAnchor) Origins() ([]string, error) { return a.origins, nil }

// Lost implements ledger.Anchor.
func (a *takenAnchor) Lost(origin string) ([][]byte, error) { return a.lost[origin], nil }

// Forks implements ledger.Anchor.
func (a *takenAnchor) Forks(origin string) ([][]byte, error) { return a.forks[origin], nil }

// KeepFork implements ledger.Anchor.
func (a *takenAnchor) KeepFork(string, []byte, []byte) (string, error) { return "", errTaken }

// Write implements ledger.Anchor.
func (a *takenAnchor) Write(string, []byte) error { return errTaken }

// Accept implements ledger.Anchor.
func (a *takenAnchor) Accept(string, []byte, []byte) error { return errTaken }
