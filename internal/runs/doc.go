// Package runs puts runs together: it follows the runs to which records come,
// and writes the llm_run record when one has ended (otlp.md section 2).
//
// # When a run ends
//
// When its root span has come and then nothing for RootQuiet (sealed_by
// root_span); when it has steps but no root and nothing has come for Quiet
// (quiet); when it has no step and nothing has come for Idle (timeout). A root
// is a step that names no parent. A span is sent when it has ended, so a run with
// a step has a top-level span that has ended: the first step whose parent is not
// there. A native llm_run record is the explicit completion of its run.
//
// What comes after is late. After the same quiet time the run's facts are
// compared with its newest revision; where they differ the next revision is
// written, else the run is settled. A run whose newest revision came from a
// producer is never revised.
//
// # What its record says
//
// It follows from the records of the run alone: not from their order of arrival
// (but for step_index, which is that order), not from the clock, and not from
// what this process remembers. So it does not matter who ends a run: another
// process, or the next one after a crash, reads the records back and comes to
// the same. The rules are at the methods of run.
//
// # How it is followed
//
// Records are taken in as they become durable: Observe adds each to what is
// known of its run, and keeps none. Over MaxMemory what is known of a run is
// dropped, and read back from the ledger when the run ends. What is read back
// is proven first, since what follows from it is signed.
//
// A record is appended on condition that its run has as many records as it was
// made from ([ledger.AppendOptions]). So of several who end a run one succeeds
// and the others find it done; no conflict can come of it, and a record that
// comes in between is not missed.
//
// # Several processes
//
// Each process follows the runs to which records came through it. Of a run whose
// records came through several, each knows some: the one that has seen the root ends
// it, and reads it back for that. The others, and who finds an open run that it has
// seen nothing of, first ask how many records the run has and whether it has ended,
// and leave it alone while it grows. Runs of a process that died are found by the
// others after Idle at the latest. So an exporter that stays with one process spares
// the reading; nothing else depends on it.
//
// # What it is not
//
// It does not read OpenTelemetry (package otlp does), and decides nothing about
// a run but what its records say.
package runs

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/ledger"
)

// Config says how runs end. Ledger and Reread are required.
type Config struct {
	Ledger *ledger.Ledger
	// Reread returns the hints of a stored record from its opened /attrs and
	// /body (see package otlp). It must give those that came with the record, and
	// an error where that had none: what a run says may not depend on whether it
	// was read back.
	Reread  func(kind evidence.Kind, attrs, body []byte) (dialect.Hints, error)
	Logger  *slog.Logger          // default slog.Default()
	Metrics prometheus.Registerer // default none
	Now     func() time.Time      // default time.Now
	// RootQuiet is how long nothing must come after the root span for the run to
	// end. Default 2 s.
	RootQuiet time.Duration
	// Quiet is the same where all top-level spans have ended but no root has
	// come. Default 60 s.
	Quiet time.Duration
	// Idle ends any run. Default 10 min. As often it is looked whether there are
	// open runs that nobody follows.
	Idle time.Duration
	// NearThreshold is the percentage of a limit from which a run is
	// near_threshold. Default 80.
	NearThreshold int
	// MaxMemory bounds what is kept of open runs, in bytes; what is dropped is
	// read from the store when the run ends. Default 128 MiB. A run takes some
	// hundred bytes beside it.
	MaxMemory int64
}

func (c *Config) defaults() error {
	if c.Ledger == nil || c.Reread == nil {
		return fmt.Errorf("%w: runs needs a ledger and a way to reread", evidence.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, d := range []struct {
		of  *time.Duration
		def time.Duration
	}{{&c.RootQuiet, 2 * time.Second}, {&c.Quiet, time.Minute}, {&c.Idle, 10 * time.Minute}} {
		if *d.of < 0 {
			return fmt.Errorf("%w: a quiet time of runs is negative", evidence.ErrInvalid)
		}
		if *d.of == 0 {
			*d.of = d.def
		}
	}
	if c.NearThreshold == 0 {
		c.NearThreshold = 80
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = 128 << 20
	}
	return nil
}

// Observed is a record that is durable.
type Observed struct {
	Record  *evidence.Record
	Receipt ledger.Receipt
	Hints   dialect.Hints
}
