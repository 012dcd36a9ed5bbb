package verify

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
)

// frozenBadLeaves are bundles that fail checks 4, 5 and 9.
func frozenBadLeaves() []frozen {
	return slices.Concat(badLogLeaves(), badRecords(), badInclusion(), badGaps())
}

func badLogLeaves() []frozen {
	log := func(name, note string, build func(*testLog)) frozen {
		return bad(name, ELeaf, note, func(t *testing.T) made {
			l := newLog(t, testOrigin)
			l.opened(nil)
			build(l)
			return newBundle(t, l).seal(nil).made()
		})
	}
	// altered appends a step whose bytes are changed before they are hashed.
	altered := func(old, new string) func(*testLog) {
		return func(l *testLog) {
			l.step1("r")
			leaf := l.leaves[1]
			short := newLog(l.tb, testOrigin)
			short.raw(l.leaves[0])
			b := bytes.Replace(leaf, []byte(old), []byte(new), 1)
			if bytes.Equal(b, leaf) {
				l.tb.Fatalf("%q is not in the leaf", old)
			}
			short.raw(b)
			l.leaves, l.stored = short.leaves, short.stored
		}
	}
	return []frozen{
		log("leaf-not-canonical", "A leaf with a space in its JSON.", altered(`"v":1}`, `"v": 1}`)),
		log("leaf-member", "A leaf with a member that no leaf has.", altered(`"v":1}`, `"v":1,"x":1}`)),
		log("leaf-version", "A leaf of version 2.", altered(`"v":1}`, `"v":2}`)),
		log("leaf-fact", "A leaf with a public fact that its kind does not have.", altered(`"late":false`, `"lava":false`)),
		log("leaf-float", "A leaf with a fraction.", altered(`"duration_us":1500`, `"duration_us":1500.5`)),
		log("leaf-null", "A leaf with null.", altered(`"late":false`, `"late":null`)),
		log("leaf-integer", "An integer beyond 2^53 - 1.", altered(`"duration_us":1500`, `"duration_us":9007199254740992`)),
		log("leaf-duplicate", "A leaf with the same name twice.", altered(`"late":false`, `"late":false,"late":false`)),
		log("leaf-actor", "A leaf without a commitment to its actor.", altered(`"/actor"`, `"/attrs"`)),
		log("leaf-base64", "A commitment in base64url with spare bits.", func(l *testLog) {
			l.step1("r")
			leaf := bytes.Clone(l.leaves[1])
			at := bytes.Index(leaf, []byte(`"/actor":"`)) + len(`"/actor":"`) + 42
			const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			leaf[at] = digits[bytes.IndexByte([]byte(digits), leaf[at])|1]
			short := newLog(l.tb, testOrigin)
			short.raw(l.leaves[0])
			short.raw(leaf)
			l.leaves, l.stored = short.leaves, short.stored
		}),
		log("leaf-time", "A time with five decimals.", altered(`16:00:01.000000Z`, `16:00:01.00000Z`)),
		log("leaf-seq", "A leaf that says another seq.", altered(`"seq":1,`, `"seq":2,`)),
		log("leaf-other-log", "A leaf of another log.", altered(testOrigin, "log.example/ba9876543210")),
		log("leaf-t-decreases", "t decreases.", func(l *testLog) { l.step1("r"); l.now -= 2_000_000; l.step1("r") }),
		log("leaf-id-twice", "Two leaves with the same id.", func(l *testLog) {
			l.step1("r")
			l.edit = func(f *evidence.Leaf) { f.ID = idOf(l, 1) }
			l.step1("r")
		}),
		log("leaf-server-fact", "A fact that only the server may state came from a producer.", func(l *testLog) { l.audit("", "LOGIN", facts{"producer": "key-1"}) }),
		log("leaf-opened-again", "LOG_OPENED is not the first leaf.", func(l *testLog) { l.opened(nil) }),
		log("leaf-after-closed", "Leaves follow LOG_CLOSED.", func(l *testLog) { l.opened(facts{"event_type": "LOG_CLOSED"}); l.step1("r") }),
		bad("leaf-not-opened", ELeaf, "The first leaf is not LOG_OPENED.", func(t *testing.T) made {
			l := newLog(t, testOrigin)
			l.step1("r")
			return newBundle(t, l).seal(nil).made()
		}),
		bad("leaf-other-key", ELeaf, "LOG_OPENED names another key than the log is signed with.", func(t *testing.T) made {
			l := newLog(t, testOrigin)
			l.opened(facts{"vkey": systemLog(t).key()})
			return newBundle(t, l).seal(nil).made()
		}),
	}
}

func idOf(l *testLog, seq int64) evidence.ID {
	leaf, err := evidence.ParseLeaf(l.leaves[seq])
	if err != nil {
		l.tb.Fatal(err)
	}
	return leaf.ID
}

func badRecords() []frozen {
	const path = "logs/0/" + recordsName
	run := func(name, note string, edit func(*bundle)) frozen {
		return bad(name, ELeaf, note, func(t *testing.T) made {
			b := runGood(t)
			edit(b)
			return b.seal(nil).made()
		})
	}
	return []frozen{
		run("records-twice", "A record stands twice.", func(b *bundle) {
			lines := bytes.SplitAfter(b.files[path], []byte("\n"))
			b.files[path] = bytes.Join(slices.Insert(lines, 2, lines[1]), nil)
		}),
		run("records-reordered", "Two records are swapped.", func(b *bundle) {
			lines := bytes.SplitAfter(b.files[path], []byte("\n"))
			lines[1], lines[2] = lines[2], lines[1]
			b.files[path] = bytes.Join(lines, nil)
		}),
		run("records-line", "A line that is not canonical.", func(b *bundle) { b.edited(path, `,"proof"`, `, "proof"`) }),
		run("records-unended", "The last line does not end.", func(b *bundle) { b.files[path] = b.files[path][:len(b.files[path])-1] }),
		run("run-other-step", "A step of another run.", func(b *bundle) { b.setRecords(0, 1, 2, 3, 4, 5, 7, 8, 9, 10) }),
		run("run-other-ending", "The ending of another run.", func(b *bundle) { b.setRecords(0, 1, 3, 4, 5, 6, 7, 8, 9, 10) }),
		bad("run-unbound-audit", ELeaf, "An audit entry of another run that no correlation id binds.", func(t *testing.T) made {
			l := newLog(t, testOrigin)
			l.opened(nil)
			l.step1("r")
			l.audit("s", "LimitChecked", nil)
			return runBundle(t, "r", []*testLog{l}, []int64{1, 2}).seal(nil).made()
		}),
		bad("run-other-export", ELeaf, "The export of another run.", func(t *testing.T) made {
			l := newLog(t, testOrigin)
			l.opened(nil)
			l.step1("r")
			l.add(evidence.KindExport, "", facts{
				"export_id": "export-0", "scope": "llm_run", "format": "json", "status": "completed", "about_run": "s", "compliance_tags": []string{},
			})
			return runBundle(t, "r", []*testLog{l}, []int64{1, 2}).seal(nil).made()
		}),
		bad("run-metric", ELeaf, "A metric has no place in the bundle of a run.", func(t *testing.T) made {
			return runBundle(t, "run-1", []*testLog{officeLog(t, "")}, append(slices.Clone(officeRun), 13)).seal(nil).made()
		}),
	}
}

func badInclusion() []frozen {
	run := func(name, note string, edit func(*bundle)) frozen {
		return bad(name, EInclusion, note, func(t *testing.T) made {
			b := runGood(t)
			edit(b)
			return b.seal(nil).made()
		})
	}
	return []frozen{
		bad("inclusion-log", EInclusion, "A leaf of a whole log was altered: another root comes out.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t))
			b.edited("logs/0/tile/entries/000.p/8", "get_weather", "get_wealthy")
			return b.seal(nil).made()
		}),
		run("inclusion-run", "A leaf was altered.", func(b *bundle) {
			b.editRecord(0, func(r *Record) {
				r.Leaf = bytes.Replace(r.Leaf, []byte("get_weather"), []byte("get_wealthy"), 1)
			})
		}),
		run("inclusion-swapped", "The proofs of two records are swapped.", func(b *bundle) {
			p1, p3 := b.record(0, 1).Proof, b.record(0, 3).Proof
			b.editRecord(0, func(r *Record) { r.Proof = p3 })
			b.editRecord(1, func(r *Record) { r.Proof = p1 })
		}),
		run("inclusion-older-tree", "A proof leads to an older tree.", func(b *bundle) {
			p, err := tlog.ProveRecord(8, 3, b.logs[0].reader())
			if err != nil {
				b.tb.Fatal(err)
			}
			b.editRecord(1, func(r *Record) { r.Proof = plain(p) })
		}),
		run("inclusion-no-proof", "A record without its proof.", func(b *bundle) { b.editRecord(2, func(r *Record) { r.Proof = nil }) }),
		bad("inclusion-period", EInclusion, "A leaf that is not in the log, in a period.", func(t *testing.T) made {
			return periodOf(t, KindAudit, func(b *bundle) {
				b.editRecord(2, func(r *Record) {
					r.Leaf = bytes.Replace(r.Leaf, []byte("LOGIN"), []byte("LOGOUT"), 1)
				})
			}).made()
		}),
		bad("inclusion-system-log", EInclusion, "A record of the system's log was altered.", func(t *testing.T) made {
			return window(t, func(b *bundle) { b.edited("logs/1/"+recordsName, "1.2.3", "1.2.4") }).made()
		}),
	}
}

func badGaps() []frozen {
	run := func(name, note string, seqs ...int64) frozen {
		return later(name, EGap, note, func(t *testing.T) made {
			b := runGood(t)
			b.setRecords(0, seqs...)
			return b.seal(nil).made()
		})
	}
	period := func(name, note string, seqs ...int64) frozen {
		return later(name, EGap, note, func(t *testing.T) made {
			return periodOf(t, KindAudit, func(b *bundle) { b.setRecords(0, seqs...) }).made()
		})
	}
	log := func(name, note string, build func(*testLog)) frozen {
		return later(name, EGap, note, func(t *testing.T) made {
			l := newLog(t, testOrigin)
			l.opened(nil)
			build(l)
			return newBundle(t, l).seal(nil).made()
		})
	}
	return []frozen{
		run("gap-run-first", "The run's first record is missing.", 3, 4, 5, 7, 10),
		run("gap-run-middle", "A record of the run is missing.", 1, 3, 5, 7, 8, 9, 10),
		{
			name: "gap-run-ending", note: "The run's last ending is missing, and what it counted is not.", verdict: Failed, codes: withLimits(EGap),
			build: func(t *testing.T) made {
				b := runGood(t)
				b.setRecords(0, 1, 3, 4, 5, 8, 9, 10)
				return b.seal(nil).made()
			},
		},
		{
			name: "gap-run-unknown-log", note: "The run's first record is missing, and a directory whose key is not given, which nothing leads to, does not excuse it.", verdict: Failed, codes: withLimits(EGap, WNoKey),
			build: func(t *testing.T) made {
				m := runBundle(t, "run-1", []*testLog{runLog(t), systemLog(t)}, []int64{3, 4, 5, 7, 10}, []int64{2}).seal(nil).made()
				m.keys = m.keys[:1]
				return m
			},
		},
		later("gap-run-older-log", EGap, "The run's first record, in the log before, is missing.", func(t *testing.T) made {
			old := oldLog(t)
			l := nextLog(t, old.predecessor())
			return runBundle(t, "run-0", []*testLog{l, old}, []int64{0, 1, 2}, nil).seal(nil).made()
		}),
		log("gap-log-n", "The log left out a record of a run.", func(l *testLog) { l.step1("r"); l.n["r"]++; l.step1("r") }),
		log("gap-log-n-twice", "Two records of a run with the same number.", func(l *testLog) { l.step1("r"); l.n["r"]--; l.step1("r") }),
		log("gap-log-count", "The run's ending counts too few records.", func(l *testLog) { l.step1("r"); l.ended("r", facts{"record_count": 1}) }),
		period("gap-period-middle", "A leaf of the period is missing.", 3, 4, 5, 7, 8, 9),
		period("gap-period-first", "The leaf before the period is missing.", 4, 5, 6, 7, 8, 9),
		period("gap-period-last", "The leaf after the period is missing.", 3, 4, 5, 6, 7, 8),
		later("gap-period-apart", EGap, "A record that stands apart and is not that of an erasure.", func(t *testing.T) made {
			return periodErased(t, 1, 2, 3, 5, 6).made()
		}),
		later("gap-period-erasure-last", EGap, "The record of an erasure that stands apart is not the neighbour of the period.", func(t *testing.T) made {
			return periodErased(t, 1, 2, 5).made()
		}),
		period("gap-period-begin", "The period's first leaves are missing.", 6, 7, 8, 9),
		period("gap-period-none", "There is no leaf at all."),
		later("gap-period-older-log", EGap, "The period reaches into the log before, which is not there.", func(t *testing.T) made {
			old := oldLog(t)
			l := officeLog(t, old.predecessor())
			return periodBundle(t, KindAudit, "2026-11-23T15:59:53.000000Z", "2026-11-23T16:00:03.000000Z", []*testLog{l}, seqs(0, 3)).seal(nil).made()
		}),
		later("gap-period-older-end", EGap, "The log before does not reach to its last leaf.", func(t *testing.T) made {
			return periodRollover(t, func(b *bundle) { b.setRecords(1, 2, 3) }).made()
		}),
		later("gap-period-other-log", EGap, "A directory that nothing leads to, and that is not the system's.", func(t *testing.T) made {
			l := newLog(t, "log.example/dddddddddddd")
			l.opened(nil)
			l.step1("r")
			return periodBundle(t, KindAudit, periodFrom, periodUntil, []*testLog{officeLog(t, ""), l}, seqs(3, 9), []int64{1}).seal(nil).made()
		}),
	}
}
