package verify

import (
	"bytes"
	"testing"

	"github.com/runledger/runledger/evidence"
)

// Bundles that fail checks 10 and 11.

func badOpenings() []frozen {
	const open, held = "logs/0/disclosures.jsonl", "logs/0/withheld.jsonl"
	run := func(name string, code Code, note string, edit func(*bundle)) frozen {
		return later(name, code, note, func(t *testing.T) made {
			b := runGood(t)
			edit(b)
			return b.seal(nil).made()
		})
	}
	return []frozen{
		run("commit-value", ECommit, "A disclosed text was altered.", func(b *bundle) { b.edited(open, "Approve", "Decline") }),
		later("commit-period", ECommit, "A disclosed text was altered, in a period.", func(t *testing.T) made {
			return periodOf(t, KindAudit, func(b *bundle) { b.edited(open, "192.0.2.7", "192.0.2.8") }).made()
		}),
		run("commit-white-space", ECommit, "A disclosed JSON text has a space more.", func(b *bundle) { b.edited(open, `"value":"{}"`, `"value":"{ }"`) }),
		later("commit-salt", ECommit, "A salt was altered.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t))
			b.files[open] = nil
			for i, d := range b.logs[0].open {
				if i == 3 {
					d.Salt[0] ^= 1
				}
				b.files[open] = d.Append(b.files[open])
			}
			return b.seal(nil).made()
		}),
		run("commit-none", ECommit, "A field is disclosed that the leaf does not commit to.", func(b *bundle) {
			d := Disclosure{Seq: 10, Path: "/params", Value: []byte("{}")}
			b.files[open] = d.Append(b.files[open])
		}),
		run("commit-line", ECommit, "A line that is not canonical.", func(b *bundle) { b.edited(open, `,"salt"`, `, "salt"`) }),
		run("commit-no-json", ECommit, "A disclosed value that is no JSON.", func(b *bundle) { b.edited(open, `\"Approve loan 4711?\"`, `Approve loan 4711?`) }),
		run("unaccounted-dropped", EUnaccounted, "A field is neither disclosed nor withheld.", func(b *bundle) {
			b.files[open] = b.files[open][bytes.IndexByte(b.files[open], '\n')+1:]
		}),
		run("unaccounted-erased", EUnaccounted, "A field is said to be erased, and no record says so.", func(b *bundle) { b.edited(held, "requested", "erased") }),
		run("unaccounted-expired", EUnaccounted, "A field that was erased is said to have expired.", func(b *bundle) { b.edited(held, `"erased"`, `"expired"`) }),
		later("unaccounted-other-table", EUnaccounted, "What says that steps have expired says nothing of the events among them.", func(t *testing.T) made {
			return newBundle(t, expiredLog(t, evidence.KindTraceStep, evidence.KindLLMRun)).seal(nil).made()
		}),
		later("unaccounted-run-other-table", EUnaccounted, "The same of a run.", func(t *testing.T) made {
			return runBundle(t, "run-1", []*testLog{expiredLog(t, evidence.KindTraceStep, evidence.KindLLMRun)}, []int64{1, 2, 4, 5, 6}).seal(nil).made()
		}),
		later("unaccounted-not-synthetic", EUnaccounted, "What says that synthetic records have expired says nothing of others.", func(t *testing.T) made {
			l := expiredAs(t, evidence.ClassSynthetic, evidence.KindTraceStep, evidence.KindTraceEvent, evidence.KindLLMRun)
			return newBundle(t, l).seal(nil).made()
		}),
		later("unaccounted-early", EUnaccounted, "A run has expired after 12 days; the log acknowledges the defaults, which are 90.", func(t *testing.T) made {
			return newBundle(t, policyLog(t, "", 12, 11)).seal(nil).made()
		}),
		later("unaccounted-early-period", EUnaccounted, "A run has expired after 31 days, and a policy of 40 stands in the period.", func(t *testing.T) made {
			l := policyLog(t, "40", 31, 30)
			return periodBundle(t, KindCompliance, "2026-01-01T00:00:00.000000Z", (l.now - l.step).String(), []*testLog{l}, seqs(0, 6)).seal(nil).made()
		}),
		later("unaccounted-younger", EUnaccounted, "What expired was recorded after the time that the record of its expiry names.", func(t *testing.T) made {
			return newBundle(t, policyLog(t, "30", 31, 32)).seal(nil).made()
		}),
		later("unaccounted-early-entity", EUnaccounted, "A run has expired after a day; the record of it calls its entity an identity.", func(t *testing.T) made {
			return newBundle(t, policyLogBut(t, "", 1, 0, facts{"entity_type": "IDENTITY"})).seal(nil).made()
		}),
		later("unaccounted-early-leaves", EUnaccounted, "A run has expired after a day; the record of it says that leaves have moved.", func(t *testing.T) made {
			l := policyLogBut(t, "", 1, 0, facts{"entity_id": "leaf_segments", "rule_id": "moved"})
			return newBundle(t, l).seal(nil).made()
		}),
		later("unaccounted-early-no-table", EUnaccounted, "A run has expired after a day; the record of it is about nothing that is known, and names no time.", func(t *testing.T) made {
			l := policyLogBut(t, "30", 1, 0, facts{"entity_id": "x", "valid_until": nil})
			return newBundle(t, l).seal(nil).made()
		}),
		later("unaccounted-policy-zero", EUnaccounted, "A run has expired by a policy of 0 days, which lets nothing go.", func(t *testing.T) made {
			return newBundle(t, policyLog(t, "0", 1, 0)).seal(nil).made()
		}),
		later("unaccounted-policy-years", EUnaccounted, "A run has expired by a policy of more days than there have been.", func(t *testing.T) made {
			return newBundle(t, policyLog(t, "999999", 1, 0)).seal(nil).made()
		}),
		later("unaccounted-policy-unnamed", EUnaccounted, "A run has expired, old enough, by a record that names no number of days.", func(t *testing.T) made {
			return newBundle(t, policyLogBut(t, "30", 31, 30, facts{"limit_value": "30.0"})).seal(nil).made()
		}),
		run("unaccounted-reason", EUnaccounted, "An unknown reason.", func(b *bundle) { b.edited(held, "not_permitted", "not_pleasing") }),
		later("unaccounted-twice", EUnaccounted, "A field is disclosed and withheld.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t))
			w := Withheld{7, "/actor", Requested}
			b.files[held] = w.Append(b.files[held])
			return b.seal(nil).made()
		}),
		later("unaccounted-period-erased", EUnaccounted, "The record of the erasure, long after the period, is missing.", func(t *testing.T) made {
			return periodErased(t, 1, 2, 3).made()
		}),
		later("unaccounted-period", EUnaccounted, "withheld.jsonl is missing.", func(t *testing.T) made {
			return periodOf(t, KindAudit, func(b *bundle) { delete(b.files, held) }).made()
		}),
	}
}

func badReceipts() []frozen {
	fact := func(fs facts) func(t *testing.T) made {
		return func(t *testing.T) made {
			return newBundle(t, smallLog(t)).seal(func(l *evidence.Leaf) { setFacts(t, l, fs) }).made()
		}
	}
	return []frozen{
		later("receipt-missing", EReceipt, "There is no receipt.", func(t *testing.T) made {
			b := runGood(t).seal(nil)
			b.receipt = nil
			return b.made()
		}),
		later("receipt-part-missing", EReceipt, "A part of the receipt is missing.", func(t *testing.T) made {
			b := periodOf(t, KindAudit, nil)
			delete(b.receipt, receiptConsistency)
			return b.made()
		}),
		later("receipt-other-bundle", EReceipt, "The receipt is that of another bundle of the same log.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t)).seal(nil)
			other := newBundle(t, smallLog(t))
			other.files["policy"] = []byte("quorum none\n")
			b.receipt = other.seal(nil).receipt
			return b.made()
		}),
		later("receipt-pending", EReceipt, "The export of the receipt is not completed.", fact(facts{"status": "pending"})),
		later("receipt-producer", EReceipt, "The receipt's record came from a producer.", fact(facts{"producer": "key-1"})),
		later("receipt-other-export", EReceipt, "The receipt's record is of another export.", fact(facts{"export_id": "export-2"})),
		later("receipt-fork", EReceipt, "The log that holds the receipt does not extend that of the bundle.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t)).seal(nil)
			l := newLog(t, testOrigin)
			l.now = b.logs[0].now
			l.opened(nil)
			for l.size() < 8 {
				l.step1("x")
			}
			other := &bundle{tb: t, logs: []*testLog{l}, sizes: []int64{8}, man: b.man, files: b.files}
			b.receipt = other.seal(nil).receipt
			return b.made()
		}),
		later("receipt-early", EReceipt, "The receipt's record says it is older than the bundle's last leaf.", func(t *testing.T) made {
			return runGood(t).seal(func(l *evidence.Leaf) { l.RecordedAt = start }).made()
		}),
	}
}
