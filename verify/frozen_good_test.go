package verify

import (
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
)

// withLimits are the codes of a bundle without witnesses, and others.
func withLimits(more ...Code) []Code {
	return slices.Sorted(slices.Values(append([]Code{WNoQuorum, WNoTime}, more...)))
}

// frozenGood are bundles that hold, and such as cannot be checked.
func frozenGood() []frozen {
	return slices.Concat(goodLogs(), goodRuns(), goodPeriods(), notChecked())
}

func goodLogs() []frozen {
	return []frozen{
		{
			name: "log", note: "A whole log with disclosed, withheld, erased and expired fields; nobody else was asked.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made { return newBundle(t, smallLog(t)).seal(nil).made() },
		},
		{
			name: "log-witnessed", note: "The same, cosigned by the witness of the policy.", verdict: Verified,
			build: func(t *testing.T) made {
				return newBundle(t, smallLog(t)).witnessed(witness1).seal(nil).made().with("one.policy")
			},
		},
		{
			name: "log-expired", note: "Steps, events and the end of a run have expired, by a record for each table; an audit entry among them has not.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				return newBundle(t, expiredLog(t, evidence.KindTraceStep, evidence.KindTraceEvent, evidence.KindLLMRun)).seal(nil).made()
			},
		},
		{
			name: "log-two-witnesses", note: "Both witnesses of the policy have cosigned.", verdict: Verified,
			build: func(t *testing.T) made {
				return newBundle(t, officeLog(t, "")).witnessed(witness1, witness2).seal(nil).made().with("two.policy")
			},
		},
		{
			name: "log-rollover", note: "Two logs: the newer one names the older one, of the same size and root.", verdict: Verified,
			build: func(t *testing.T) made { return rollover(t, nil).made().with("any.policy") },
		},
		{
			name: "log-rollover-one-key", note: "The key of the older log is not given: it is left out.", verdict: VerifiedWithLimits, codes: []Code{WNoKey},
			build: func(t *testing.T) made {
				m := rollover(t, nil).made().with("any.policy")
				m.keys = m.keys[:1]
				return m
			},
		},
		{
			name: "log-predecessor-short", note: "The older log is in the bundle at a smaller size than the newer one names.", verdict: VerifiedWithLimits, codes: []Code{WPredecessor},
			build: func(t *testing.T) made {
				old := oldLog(t)
				l := nextLog(t, old.predecessor())
				short := oldLog(t)
				short.leaves, short.stored = nil, nil
				for _, leaf := range old.leaves[:3] {
					short.raw(leaf)
				}
				short.open = slices.DeleteFunc(short.open, func(d Disclosure) bool { return d.Seq > 2 })
				return newBundle(t, l, short).witnessed(witness1).seal(nil).made().with("one.policy")
			},
		},
		{
			name: "log-expired-by-policy", note: "A run has expired after the days of the policy that the log has on record.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made { return newBundle(t, policyLog(t, "30", 31, 30)).seal(nil).made() },
		},
		{
			name: "log-expired-moved", note: "The same; then leaves have moved to an archive, and keys were retired, by records that name no leaves.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made { return newBundle(t, movedLog(t)).seal(nil).made() },
		},
		{
			name: "log-expired-policy-longer", note: "It was chosen by a policy of 30 days, which became 31 before it was ordered; it was old enough by both.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				return newBundle(t, policyLogBut(t, "31", 32, 31, facts{"limit_value": "30"})).seal(nil).made()
			},
		},
		{
			name: "run-expired-policy-apart", note: "The same after a day; the bundle of the run does not have the policy, so that cannot be told.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				return runBundle(t, "run-1", []*testLog{policyLog(t, "30", 1, 0)}, []int64{3, 4, 5, 6}).seal(nil).made()
			},
		},
		{
			name: "log-since", note: "It extends the checkpoint that the auditor kept.", verdict: Verified,
			build: func(t *testing.T) made {
				l := smallLog(t)
				m := newBundle(t, l).witnessed(witness2).seal(nil).made().with("any.policy")
				m.since = l.checkpoint(5)
				return m
			},
		},
		{
			name: "log-stamped", note: "Time stamps over two anchors, checked against the authority's root.", verdict: Verified, html: []Code{WTimeUnchecked},
			build: func(t *testing.T) made { return stamped(t).made().with("one.policy").stamped() },
		},
		{
			name: "log-stamped-no-roots", note: "The same, and no root of an authority is given.", verdict: VerifiedWithLimits, codes: []Code{WTimeUnchecked},
			build: func(t *testing.T) made { return stamped(t).made().with("one.policy") },
		},
		{
			name: "log-stamped-only", note: "Only a time stamp tells the time, and it is enough.", verdict: VerifiedWithLimits, codes: []Code{WNoQuorum}, html: withLimits(WTimeUnchecked),
			build: func(t *testing.T) made {
				l := smallLog(t)
				b := newBundle(t, l)
				b.anchor(0, l.size(), frozenAuthority(t), l.now)
				return b.seal(nil).made().stamped()
			},
		},
	}
}

func (m made) stamped() made { m.roots = true; return m }

// rollover is a bundle of a log and the one before it.
func rollover(t *testing.T, edit func(*bundle)) *bundle {
	old := oldLog(t)
	l := nextLog(t, old.predecessor())
	b := newBundle(t, l, old).witnessed(witness1)
	if edit != nil {
		edit(b)
	}
	return b.seal(nil)
}

// stamped is a whole log with two stamped anchors.
func stamped(t *testing.T) *bundle {
	l := smallLog(t)
	a := frozenAuthority(t)
	b := newBundle(t, l).witnessed(witness1)
	b.anchor(0, 4, a, start+4_000_000)
	b.anchor(0, l.size(), a, l.now)
	return b.seal(nil)
}

func goodRuns() []frozen {
	return []frozen{
		{
			name: "run-expired", note: "A run whose content has expired, by a record for each table.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				l := expiredLog(t, evidence.KindTraceStep, evidence.KindTraceEvent, evidence.KindLLMRun)
				return runBundle(t, "run-1", []*testLog{l}, []int64{1, 2, 4, 5, 6, 7}).seal(nil).made()
			},
		},
		{
			name: "run", note: "One run that ended twice, with an erasure, and an entry of another run that a correlation id binds to it.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made { return runGood(t).seal(nil).made() },
		},
		{
			name: "run-window", note: "With the system records of its window, shared ones of the system's log in logs/1, accesses, exports; witnessed.", verdict: Verified,
			build: func(t *testing.T) made { return window(t, nil).made().with("two.policy") },
		},
		{
			name: "run-window-one-key", note: "The key of the system's log is not given: it is left out.", verdict: VerifiedWithLimits, codes: []Code{WNoKey},
			build: func(t *testing.T) made {
				m := window(t, nil).made().with("one.policy")
				m.keys = m.keys[:1]
				return m
			},
		},
		{
			name: "run-open", note: "The run has not ended.", verdict: VerifiedWithLimits, codes: withLimits(WOpen),
			build: func(t *testing.T) made {
				l := newLog(t, testOrigin)
				l.opened(nil)
				l.step1("r", sealed{path: "/prompt", value: `"still going"`})
				l.step1("r")
				return runBundle(t, "r", []*testLog{l}, []int64{1, 2}).seal(nil).made()
			},
		},
		{
			name: "run-rollover", note: "The run began in the log before. The system's log stands between.", verdict: Verified,
			build: func(t *testing.T) made { return runRollover(t, nil).made().with("one.policy") },
		},
		{
			name: "run-order", note: "Nothing but the manifest says which log came first.", verdict: VerifiedWithLimits, codes: []Code{WPredecessor},
			build: func(t *testing.T) made {
				return runRollover(t, func(b *bundle) { b.setRecords(0, 1, 2) }).made().with("one.policy")
			},
		},
		{
			name: "run-since", note: "A consistency proof leads from the checkpoint that the auditor kept.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				l := runLog(t)
				b := runBundle(t, "run-1", []*testLog{l}, runSeqs)
				b.files["logs/0/consistency/4-11.add-checkpoint"] = l.consistency(4, 11, b.files["logs/0/checkpoint"])
				m := b.seal(nil).made()
				m.since = l.checkpoint(4)
				return m
			},
		},
		{
			name: "run-stamped", note: "Stamps from before and after the run's records, linked by consistency proofs.", verdict: VerifiedWithLimits, codes: []Code{WNoQuorum}, html: withLimits(WTimeUnchecked),
			build: func(t *testing.T) made {
				a := frozenAuthority(t)
				b := runGood(t)
				b.anchor(0, 1, a, start)
				b.anchor(0, 8, a, start+8_000_000)
				b.anchor(0, 11, a, b.logs[0].now)
				return b.seal(nil).made().stamped()
			},
		},
		{
			name: "run-stamped-no-roots", note: "The same, and no root of an authority is given.", verdict: VerifiedWithLimits, codes: withLimits(WTimeUnchecked),
			build: func(t *testing.T) made {
				b := runGood(t)
				b.anchor(0, 8, frozenAuthority(t), start+8_000_000)
				return b.seal(nil).made()
			},
		},
		{
			name: "run-withheld", note: "Nothing is disclosed, but for the targets of the erasure.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				b := runGood(t)
				b.disclose = []evidence.Kind{} // none
				b.setRecords(0, runSeqs...)
				return b.seal(nil).made()
			},
		},
	}
}

// window is a bundle of a run with the system's log.
func window(t *testing.T, edit func(*bundle)) *bundle {
	b := runBundle(t, "run-1", []*testLog{officeLog(t, ""), systemLog(t)}, officeRun, []int64{2, 4}).witnessed(witness1, witness2)
	if edit != nil {
		edit(b)
	}
	return b.seal(nil)
}

// runRollover is a bundle of a run over two logs, with the system's between.
func runRollover(t *testing.T, edit func(*bundle)) *bundle {
	old := oldLog(t)
	l := nextLog(t, old.predecessor())
	b := runBundle(t, "run-0", []*testLog{l, systemLog(t), old}, []int64{0, 1, 2}, []int64{2, 4}, []int64{1}).witnessed(witness1)
	if edit != nil {
		edit(b)
	}
	return b.seal(nil)
}

func goodPeriods() []frozen {
	return []frozen{
		{
			name: "period-audit", note: "All leaves of the period and both neighbours; only audit and export records are disclosed.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made { return periodOf(t, KindAudit, nil).made() },
		},
		{
			name: "period-system", note: "Only system and metric records are disclosed; shared records of the system's log in logs/1.", verdict: Verified,
			build: func(t *testing.T) made { return periodOf(t, KindSystem, nil).made().with("any.policy") },
		},
		{
			name: "period-compliance", note: "Scope compliance, witnessed and stamped.", verdict: Verified, html: []Code{WTimeUnchecked},
			build: func(t *testing.T) made {
				a := frozenAuthority(t)
				return periodOf(t, KindCompliance, func(b *bundle) {
					b.anchor(0, 3, a, start+3_000_000)
					b.anchor(0, 14, a, b.logs[0].now)
				}).made().with("two.policy").stamped()
			},
		},
		{
			name: "period-empty", note: "Nothing was recorded in the period, as its two neighbours show.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				return periodBundle(t, KindAudit, "2026-11-23T16:00:04.200000Z", "2026-11-23T16:00:04.800000Z", []*testLog{officeLog(t, "")}, seqs(4, 5)).seal(nil).made()
			},
		},
		{
			name: "period-whole", note: "The period begins before the log does, and ends after it: the end is open.", verdict: VerifiedWithLimits, codes: withLimits(WOpen),
			build: func(t *testing.T) made {
				return periodBundle(t, KindCompliance, "2026-01-01T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z", []*testLog{officeLog(t, "")}, seqs(0, 13)).seal(nil).made()
			},
		},
		{
			name: "period-rollover", note: "The period reaches into the log before, which is there.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made { return periodRollover(t, nil).made() },
		},
		{
			name: "period-rollover-one-key", note: "The key of the log before is not given.", verdict: VerifiedWithLimits, codes: withLimits(WNoKey),
			build: func(t *testing.T) made {
				m := periodRollover(t, nil).made()
				m.keys = m.keys[:1]
				return m
			},
		},
		{
			name: "period-erased", note: "The record of an erasure stands apart, long after the period.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made { return periodErased(t, 1, 2, 3, 5).made() },
		},
		{
			name: "period-expired-acknowledged", note: "A run has expired by a policy of 30 days, which stands before the period; the defaults, of 90, were acknowledged in between.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				l, run := lateLog(t)
				return periodBundle(t, KindCompliance, run.String(), (l.now - l.step).String(), []*testLog{l}, seqs(2, 6)).seal(nil).made()
			},
		},
		{
			name: "period-before", note: "The period lies in the log before; the newest log shows by its first leaf that it began later.", verdict: VerifiedWithLimits, codes: withLimits(),
			build: func(t *testing.T) made {
				old := oldLog(t)
				l := nextLog(t, old.predecessor())
				return periodBundle(t, KindAudit, "2026-11-23T15:59:52.000000Z", "2026-11-23T15:59:53.000000Z", []*testLog{l, old}, []int64{0}, seqs(1, 3)).seal(nil).made()
			},
		},
	}
}

// periodOf is a bundle of the leaves 4 to 8 of officeLog, with the system's
// log where the scope has it, witnessed.
func periodOf(t *testing.T, kind string, edit func(*bundle)) *bundle {
	logs, which := []*testLog{officeLog(t, "")}, [][]int64{seqs(3, 9)}
	if kind != KindAudit {
		logs, which = append(logs, systemLog(t)), append(which, []int64{4})
	}
	b := periodBundle(t, kind, periodFrom, periodUntil, logs, which...)
	if kind != KindAudit {
		b.witnessed(witness1, witness2)
	}
	if edit != nil {
		edit(b)
	}
	return b.seal(nil)
}

// periodErased is a bundle of a period with a field that was erased later.
func periodErased(t *testing.T, seqs ...int64) *bundle {
	l := newLog(t, testOrigin)
	l.opened(nil)
	l.audit("", "LOGIN", nil)
	l.audit("", "LOGIN", nil, sealed{path: "/client", value: `{"address":"192.0.2.7"}`, reason: Erased})
	l.audit("", "LOGOUT", nil)
	l.step1("r")
	l.audit("", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"ranges":[{"from":2,"to":3,"paths":["/client"]}]}`})
	l.step1("r")
	return periodBundle(t, KindAudit, "2026-11-23T16:00:02.000000Z", "2026-11-23T16:00:03.000000Z", []*testLog{l}, seqs).seal(nil)
}

// periodRollover is a bundle of a period over two logs.
func periodRollover(t *testing.T, edit func(*bundle)) *bundle {
	old := oldLog(t)
	l := officeLog(t, old.predecessor())
	b := periodBundle(t, KindAudit, "2026-11-23T15:59:53.000000Z", "2026-11-23T16:00:03.000000Z", []*testLog{l, old}, seqs(0, 3), seqs(2, 4))
	if edit != nil {
		edit(b)
	}
	return b.seal(nil)
}

func notChecked() []frozen {
	format := func(t *testing.T, text string) made {
		b := newBundle(t, smallLog(t)).seal(nil)
		b.raw = []byte(text)
		return b.made()
	}
	return []frozen{
		{
			name: "no-key", note: "No key is given.", verdict: CouldNotCheck, codes: []Code{UNoKey},
			build: func(t *testing.T) made {
				m := runGood(t).seal(nil).made()
				m.keys = nil
				return m
			},
		},
		{
			name: "no-key-of-this-log", note: "The key of another log is given.", verdict: CouldNotCheck, codes: []Code{UNoKey},
			build: func(t *testing.T) made {
				m := periodOf(t, KindAudit, nil).made()
				m.keys = []string{systemLog(t).key()}
				return m
			},
		},
		{
			name: "format-2", note: "A manifest of another format.", verdict: CouldNotCheck, codes: []Code{UFormat},
			build: func(t *testing.T) made { return format(t, `{"format":2,"x":[null]}`) },
		},
		{
			name: "format-0", note: "A manifest of another format.", verdict: CouldNotCheck, codes: []Code{UFormat},
			build: func(t *testing.T) made { return format(t, `{"export_id":"e","files":[],"format":0}`) },
		},
		{
			name: "profile-day", note: "An unknown profile.", verdict: CouldNotCheck, codes: []Code{UProfile},
			build: func(t *testing.T) made {
				b := newBundle(t, smallLog(t))
				b.man.Profile = "day"
				return b.seal(nil).made()
			},
		},
		{
			name: "profile-runs", note: "An unknown profile, with a scope of its own.", verdict: CouldNotCheck, codes: []Code{UProfile},
			build: func(t *testing.T) made {
				b := runGood(t)
				b.man.Profile, b.man.Scope.Kind, b.man.Scope.From = "runs", "trace", start.String()
				return b.seal(nil).made()
			},
		},
		{
			name: "since-not-linked", note: "No consistency proof leads from the checkpoint that the auditor kept.", verdict: CouldNotCheck, codes: withLimits(USince),
			build: func(t *testing.T) made {
				m := runGood(t).seal(nil).made()
				m.since = runLog(t).checkpoint(5)
				return m
			},
		},
		{
			name: "since-newer", note: "The checkpoint that was kept is newer than the bundle.", verdict: CouldNotCheck, codes: withLimits(USince),
			build: func(t *testing.T) made {
				b := newBundle(t, smallLog(t)).seal(nil)
				m := b.made()
				m.since = b.logs[0].checkpoint(10)
				return m
			},
		},
		{
			name: "since-other-log", note: "The checkpoint that was kept is of a log that is not in the bundle.", verdict: CouldNotCheck, codes: withLimits(USince),
			build: func(t *testing.T) made {
				m := periodOf(t, KindAudit, nil).made()
				m.since = systemLog(t).checkpoint(2)
				return m
			},
		},
	}
}
