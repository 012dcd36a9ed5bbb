package verify

import (
	"testing"

	"github.com/runledger/runledger/evidence"
)

// frozenAttacks are bundles that somebody with the key of a log could make, and such as
// stand just inside and just outside of a bound.
func frozenAttacks() []frozen {
	return append(atTheTolerance(), []frozen{
		later("receipt-behind-closed", EReceipt, "The bundle shows the log as closed, and the receipt stands behind that.", func(t *testing.T) made {
			l := smallLog(t)
			l.closed("log.example/ffffffffffff")
			return newBundle(t, l).seal(nil).made()
		}),
		later("unaccounted-older-log", EUnaccounted, "The only record of the erasure stands in a log that was closed before the leaf was made.", func(t *testing.T) made {
			older, newer := newLog(t, "log.example/111111111111"), newLog(t, testOrigin)
			older.opened(nil)
			older.audit("", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"log":"` + testOrigin + `","ranges":[{"from":0,"to":9007199254740991}]}`})
			older.closed(testOrigin)
			newer.now = older.now
			newer.opened(facts{"predecessor_log": older.predecessor()})
			newer.step1("run-1", sealed{path: "/prompt", value: `"gone"`, reason: Erased})
			return newBundle(t, newer, older).seal(nil).made()
		}),
		{
			name: "run-foreign-log", note: "An audit entry of a log that nothing links to the tenant's.", verdict: VerifiedWithLimits, codes: withLimits(WPredecessor),
			build: func(t *testing.T) made {
				foreign := newLog(t, "log.example/222222222222")
				foreign.opened(nil)
				foreign.audit("", "LimitOverrideGranted", nil)
				return runBundle(t, "run-1", []*testLog{runLog(t), foreign}, runSeqs, []int64{1}).seal(nil).made()
			},
		},
		{
			name: "run-elsewhere", note: "All records of the run stand in a log that nothing links to the newest.", verdict: VerifiedWithLimits, codes: withLimits(WPredecessor),
			build: func(t *testing.T) made {
				newest := newLog(t, "log.example/222222222222")
				newest.opened(nil)
				return runBundle(t, "run-1", []*testLog{newest, runLog(t)}, []int64{0}, runSeqs).seal(nil).made()
			},
		},
		later("commit-last-seq", ECommit, "A line discloses a field of leaf 2^53-1.", func(t *testing.T) made {
			b := runGood(t)
			disclose(b, evidence.MaxInt)
			return b.seal(nil).made()
		}),
		later("commit-log-last-seq", ECommit, "The same, of a whole log.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t))
			disclose(b, evidence.MaxInt)
			return b.seal(nil).made()
		}),
		later("commit-seq-too-big", ECommit, "A line discloses a field of leaf 2^53.", func(t *testing.T) made {
			b := runGood(t)
			disclose(b, evidence.MaxInt+1)
			return b.seal(nil).made()
		}),
		later("unaccounted-last-seq", EUnaccounted, "A line withholds a field of leaf 2^53-1.", func(t *testing.T) made {
			b := runGood(t)
			w := Withheld{Seq: evidence.MaxInt, Path: "/prompt", Reason: Requested}
			b.files["logs/0/withheld.jsonl"] = w.Append(b.files["logs/0/withheld.jsonl"])
			return b.seal(nil).made()
		}),
	}...)
}

// disclose adds a line to the disclosures of a bundle.
func disclose(b *bundle, seq int64) {
	d := Disclosure{Seq: seq, Path: "/prompt", Value: []byte(`"x"`)}
	b.files["logs/0/disclosures.jsonl"] = d.Append(b.files["logs/0/disclosures.jsonl"])
}

// closed appends LOG_CLOSED.
func (l *testLog) closed(successor string) {
	l.event("", logClosed, facts{"component": "ledger", "successor_log": successor, "vkey": newLog(l.tb, successor).key()}, sealed{path: "/summary", value: `"closed"`})
}

// atTheTolerance are bundles of a log with one leaf more than smallLog, leaf 8, whose t
// may be a microsecond off.
func atTheTolerance() []frozen {
	const at = 8 // the leaf
	leafAt := start + at*1_000_000
	of := func(t *testing.T, off evidence.Micros) *bundle {
		l := smallLog(t)
		l.now += off
		l.audit("", "PolicyEvaluated", facts{"producer": "key-1"})
		l.now -= off
		return newBundle(t, l)
	}
	cosigned := func(b *bundle, when evidence.Micros) *bundle {
		b.files["logs/0/checkpoint"] = cosign(b.tb, b.files["logs/0/checkpoint"], witness(b.tb, witness1), when)
		return b
	}
	// The receipt's record is the second after the bundle's leaves.
	receiptAt := leafAt + 2_000_000
	receipt := func(t *testing.T, off evidence.Micros) made {
		return cosigned(of(t, 0), receiptAt+tolerance).seal(func(l *evidence.Leaf) { l.RecordedAt += off }).made().with("one.policy")
	}
	stamped := func(t *testing.T, off evidence.Micros, size int64, when evidence.Micros) made {
		b := cosigned(of(t, off), leafAt)
		b.anchor(0, size, frozenAuthority(t), when)
		return b.seal(nil).made().with("one.policy").stamped()
	}
	unchecked := []Code{WTimeUnchecked}
	return []frozen{
		{
			name: "time-cosigned-inside", note: "A witness saw the log 5 minutes before its last leaf says it was recorded.", verdict: Verified,
			build: func(t *testing.T) made {
				return cosigned(of(t, 0), leafAt-tolerance).seal(nil).made().with("one.policy")
			},
		},
		{
			name: "time-cosigned-outside", note: "5 minutes and a microsecond.", verdict: Failed, codes: []Code{ETime},
			build: func(t *testing.T) made {
				return cosigned(of(t, 1), leafAt-tolerance).seal(nil).made().with("one.policy")
			},
		},
		{
			name: "time-receipt-inside", note: "A witness saw the log without the receipt 5 minutes after that says it was recorded.", verdict: Verified,
			build: func(t *testing.T) made { return receipt(t, 0) },
		},
		{
			name: "time-receipt-outside", note: "5 minutes and a microsecond.", verdict: Failed, codes: []Code{EReceipt},
			build: func(t *testing.T) made { return receipt(t, -1) },
		},
		{
			name: "time-stamp-after-inside", note: "A time stamp over the log is 5 minutes older than its last leaf.", verdict: Verified, html: unchecked,
			build: func(t *testing.T) made { return stamped(t, 0, at+1, leafAt-tolerance) },
		},
		{
			name: "time-stamp-after-outside", note: "5 minutes and a microsecond.", verdict: Failed, codes: []Code{ETime}, html: unchecked,
			build: func(t *testing.T) made { return stamped(t, 1, at+1, leafAt-tolerance) },
		},
		{
			name: "time-stamp-before-inside", note: "A time stamp over the log without its last leaf is 5 minutes younger than that.", verdict: Verified, html: unchecked,
			build: func(t *testing.T) made { return stamped(t, 0, at, leafAt+tolerance) },
		},
		{
			name: "time-stamp-before-outside", note: "5 minutes and a microsecond.", verdict: Failed, codes: []Code{ETime}, html: unchecked,
			build: func(t *testing.T) made { return stamped(t, -1, at, leafAt+tolerance) },
		},
	}
}
