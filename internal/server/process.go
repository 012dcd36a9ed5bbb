package server

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// validProcess reports whether a name may stand for a process.
func validProcess(name string) bool { return evidence.ValidInstance(name) }

// defaultProcess names a process by its host and data directory. Two on one host have
// different data directories, though perhaps of one name: then they have to be told
// apart by hand.
func defaultProcess(data string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "host"
	}
	fit := func(s string, most int) string {
		s = strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
				return r
			}
			return '-'
		}, strings.ToLower(s))
		return strings.Trim(s[:min(len(s), most)], ".-")
	}
	name := strings.Trim(fit(host, 31)+"-"+fit(filepath.Base(data), 31), ".-")
	if !validProcess(name) {
		return "runledger"
	}
	return name
}
