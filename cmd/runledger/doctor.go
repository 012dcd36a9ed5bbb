package main

import "github.com/runledger/runledger/internal/server"

type doctorCmd struct{}

// Help implements kong.HelpProvider.
func (doctorCmd) Help() string {
	return `Looks for what is wrong with the database itself, and says what mends each: missing guards and indexes, rights that a role lacks or should not have, partitions that are not made, settings under which a commit is not durable. Also whether the master keyset and the anchor are there. It changes nothing and does not look at evidence: that is what verify does.

    runledger doctor --data runledger-data
    runledger doctor --store postgres://runledger_app@db/runledger --json

Exit status: 0 nothing found, 1 something. What is "broken" keeps a server from starting, or from what it is asked for.`
}

// Run examines.
func (doctorCmd) Run(e *env) error {
	list, err := server.Doctor(e.ctx, e.config())
	if err != nil {
		return err
	}
	broken := 0
	for _, f := range list {
		if f.Severity == server.SeverityBroken {
			broken++
		}
	}
	if e.JSON {
		if list == nil {
			list = []server.Finding{}
		}
		err = e.json(map[string]any{"store": e.place(), "findings": list})
	} else {
		e.printDoctor(list, broken)
	}
	if err == nil && len(list) > 0 {
		return exit(statusBad)
	}
	return err
}

func (e *env) printDoctor(list []server.Finding, broken int) {
	for _, f := range list {
		e.printf("%-8s %s: %s\n", f.Severity, f.Code, f.What)
		if f.Mend != "" {
			e.printf("    %s\n", f.Mend) // in one line, to be copied
		}
	}
	if len(list) == 0 {
		e.printf("%s: nothing is wrong\n", e.place())
		return
	}
	e.printf("%s: %d broken, %d warnings\n", e.place(), broken, len(list)-broken)
}
