package verify

import (
	"archive/zip"
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// frozenBad are bundles that fail one of the checks but 4 and 5.
func frozenBad() []frozen {
	return slices.Concat(badContainers(), badSignatures(), badTimes(), badForks(), badOpenings(), badReceipts())
}

// bad is a case that fails in checks 1 to 5, where everything stops.
func bad(name string, code Code, note string, build func(*testing.T) made) frozen {
	return frozen{name: name, note: note, build: build, verdict: Failed, codes: []Code{code}}
}

// later is a case that fails after check 5, of a bundle without witnesses.
func later(name string, code Code, note string, build func(*testing.T) made) frozen {
	return frozen{name: name, note: note, build: build, verdict: Failed, codes: withLimits(code)}
}

// edited replaces text in a file of a bundle.
func (b *bundle) edited(path, old, new string) {
	b.tb.Helper()
	s := strings.Replace(string(b.files[path]), old, new, 1)
	if s == string(b.files[path]) {
		b.tb.Fatalf("%q is not in %s", old, path)
	}
	b.files[path] = []byte(s)
}

func badContainers() []frozen {
	logZIP := func(t *testing.T, edit func([]byte) []byte) made {
		m := newBundle(t, smallLog(t)).seal(nil).made()
		m.zip = edit(m.zip)
		return m
	}
	changed := func(t *testing.T, before, after func(*bundle)) made {
		b := newBundle(t, smallLog(t))
		if before != nil {
			before(b)
		}
		b.seal(nil)
		if after != nil {
			after(b)
		}
		return b.made()
	}
	return []frozen{
		bad("zip-trailing", EContainer, "A byte after the end.", func(t *testing.T) made {
			return logZIP(t, func(b []byte) []byte { return append(b, 0) })
		}),
		bad("zip-leading", EContainer, "A byte before the beginning.", func(t *testing.T) made {
			return logZIP(t, func(b []byte) []byte { return append([]byte{0}, b...) })
		}),
		bad("zip-cut", EContainer, "The last 100 bytes are missing.", func(t *testing.T) made {
			return logZIP(t, func(b []byte) []byte { return b[:len(b)-100] })
		}),
		bad("zip-crc", EContainer, "A byte of README.txt was altered: its CRC does not fit.", func(t *testing.T) made {
			return logZIP(t, func(b []byte) []byte {
				b[bytes.Index(b, []byte("read me\n"))] ^= 1
				return b
			})
		}),
		bad("zip-other-writer", EContainer, "The same files in a ZIP with compression and dates.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t)).seal(nil)
			var buf bytes.Buffer
			w := zip.NewWriter(&buf)
			for _, f := range b.list() {
				e, err := w.Create(f.name)
				if err == nil {
					_, err = e.Write(f.data)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			m := b.made()
			m.zip = buf.Bytes()
			return m
		}),
		bad("zip-order", EContainer, "The entries are in another order.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t)).seal(nil)
			list := b.list()
			list[2], list[3] = list[3], list[2]
			m := b.made()
			m.zip = zipOf(t, list)
			return m
		}),
		bad("zip-not", EContainer, "No ZIP at all.", func(t *testing.T) made {
			return logZIP(t, func([]byte) []byte { return []byte("PK\x05\x06 this is no archive") })
		}),
		bad("file-more", EContainer, "A file that the manifest does not list.", func(t *testing.T) made {
			return changed(t, nil, func(b *bundle) { b.files["policy"] = []byte("quorum none\n") })
		}),
		bad("file-missing", EContainer, "A file of the manifest is missing.", func(t *testing.T) made {
			return changed(t, nil, func(b *bundle) { delete(b.files, "README.txt") })
		}),
		bad("file-no-place", EContainer, "The manifest lists a file that has no place in a bundle.", func(t *testing.T) made {
			return changed(t, func(b *bundle) { b.files["logs/0/notes.txt"] = []byte("x") }, nil)
		}),
		bad("manifest-space", EContainer, "A manifest that is not canonical.", func(t *testing.T) made {
			return changed(t, nil, func(b *bundle) { b.raw = append(b.raw, '\n') })
		}),
		bad("manifest-member", EContainer, "A manifest with a member that format 1 does not have.", func(t *testing.T) made {
			return changed(t, nil, func(b *bundle) {
				b.raw = bytes.Replace(b.raw, []byte(`,"format"`), []byte(`,"foo":1,"format"`), 1)
			})
		}),
		bad("period-no-end", EContainer, "A period without an end.", func(t *testing.T) made {
			return periodOf(t, KindAudit, func(b *bundle) { b.man.Scope.Until = "" }).made()
		}),
		bad("period-other-kind", EContainer, "A period of an unknown scope.", func(t *testing.T) made {
			return periodOf(t, KindAudit, func(b *bundle) { b.man.Scope.Kind = "metric" }).made()
		}),
		bad("file-altered", EFile, "README.txt was altered after the manifest was made.", func(t *testing.T) made {
			return changed(t, nil, func(b *bundle) { b.edited("README.txt", "read", "Read") })
		}),
		bad("file-swapped", EFile, "The texts of two files of the same length were swapped.", func(t *testing.T) made {
			b := runGood(t)
			b.files["completeness.json"], b.files["policy"] = []byte("{\"a\":1}\n"), []byte("# none.\n")
			b.seal(nil)
			b.files["completeness.json"], b.files["policy"] = b.files["policy"], b.files["completeness.json"]
			return b.made()
		}),
		bad("file-records-altered", EFile, "A record was altered, and the manifest was not made again.", func(t *testing.T) made {
			b := periodOf(t, KindAudit, nil)
			b.edited("logs/0/records.jsonl", "rule-9", "rule-8")
			return b.made()
		}),
	}
}

func badSignatures() []frozen {
	other := func(t *testing.T, origin string, seed byte, size int64, root evidence.Hash) []byte {
		s, err := c2sp.NewSigner(origin, bytes.Repeat([]byte{seed}, 32))
		if err != nil {
			t.Fatal(err)
		}
		note, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: origin, Size: size, Root: root}, s)
		if err != nil {
			t.Fatal(err)
		}
		return note
	}
	with := func(t *testing.T, edit func(*bundle)) made {
		b := runGood(t)
		edit(b)
		return b.seal(nil).made()
	}
	const head = "logs/0/checkpoint"
	return []frozen{
		bad("sig-other-key", ELogSig, "The checkpoint is signed by another key of the same name.", func(t *testing.T) made {
			return with(t, func(b *bundle) { b.files[head] = other(t, testOrigin, 1, 11, b.logs[0].root(11)) })
		}),
		bad("sig-altered", ELogSig, "The root in the checkpoint was altered.", func(t *testing.T) made {
			return with(t, func(b *bundle) {
				note := bytes.Clone(b.files[head])
				at := bytes.Index(note, []byte("\n11\n")) + 4
				note[at] = 'A' + (note[at]-'A'+1)%26
				b.files[head] = note
			})
		}),
		bad("sig-other-log", ELogSig, "The checkpoint is of another log.", func(t *testing.T) made {
			return with(t, func(b *bundle) { b.files[head] = systemLog(t).checkpoint(5) })
		}),
		bad("sig-extension", ELogSig, "The checkpoint has an extension line.", func(t *testing.T) made {
			return with(t, func(b *bundle) { b.edited(head, "\n\n", "\nextension\n\n") })
		}),
		bad("sig-size", ELogSig, "The checkpoint is of another size than the manifest says.", func(t *testing.T) made {
			return with(t, func(b *bundle) { b.files[head] = b.logs[0].checkpoint(10) })
		}),
		bad("sig-anchor", ELogSig, "An anchor is signed by another key.", func(t *testing.T) made {
			return with(t, func(b *bundle) { b.files["logs/0/anchors/5.note"] = other(t, testOrigin, 2, 5, b.logs[0].root(5)) })
		}),
		{
			name: "quorum-none", note: "No witness has cosigned.", verdict: Failed, codes: []Code{EQuorum, WNoTime},
			build: func(t *testing.T) made { return runGood(t).seal(nil).made().with("one.policy") },
		},
		{
			name: "quorum-one-of-two", note: "The policy wants both witnesses; one has cosigned.", verdict: Failed, codes: []Code{EQuorum},
			build: func(t *testing.T) made {
				return newBundle(t, smallLog(t)).witnessed(witness1).seal(nil).made().with("two.policy")
			},
		},
		{
			name: "quorum-bad-cosignature", note: "The witness's signature does not fit: the cosigned time was altered.", verdict: Failed, codes: []Code{EQuorum, WNoTime},
			build: func(t *testing.T) made {
				b := newBundle(t, smallLog(t))
				w := witness(t, witness1)
				c, _, err := c2sp.ParseNote(b.files[head])
				if err != nil {
					t.Fatal(err)
				}
				sig, err := w.Cosign(c, 1_795_449_610)
				if err != nil {
					t.Fatal(err)
				}
				sig.Sig[7] ^= 1
				b.files[head] = sig.AppendLine(b.files[head])
				return b.seal(nil).made().with("one.policy")
			},
		},
		{
			name: "quorum-unknown-witness", note: "Only a witness that the policy does not name has cosigned.", verdict: Failed, codes: []Code{EQuorum, WNoTime},
			build: func(t *testing.T) made {
				return periodOf(t, KindAudit, func(b *bundle) { b.witnessed("witness.example/w3") }).made().with("any.policy")
			},
		},
	}
}

func badTimes() []frozen {
	const hour = 3600 * 1_000_000
	cosigned := func(t *testing.T, b *bundle, at evidence.Micros) made {
		b.files["logs/0/checkpoint"] = cosign(t, b.files["logs/0/checkpoint"], witness(t, witness1), at)
		return b.seal(nil).made().with("one.policy")
	}
	withStamps := func(t *testing.T, edit func(b *bundle, a *authority)) made {
		b := runGood(t)
		b.files["logs/0/checkpoint"] = cosign(t, b.files["logs/0/checkpoint"], witness(t, witness1), b.logs[0].now)
		edit(b, frozenAuthority(t))
		return b.seal(nil).made().with("one.policy").stamped()
	}
	unchecked := []Code{WTimeUnchecked}
	return []frozen{
		{
			name: "time-log-after", note: "The leaves say they were recorded an hour after a witness saw them.", verdict: Failed, codes: []Code{ETime},
			build: func(t *testing.T) made { return cosigned(t, newBundle(t, smallLog(t)), start-hour) },
		},
		{
			name: "time-run-after", note: "The same, of one run.", verdict: Failed, codes: []Code{ETime},
			build: func(t *testing.T) made { return cosigned(t, runGood(t), start-hour) },
		},
		{
			name: "time-stamp-after", note: "A leaf says it was recorded an hour after an authority stamped it.", verdict: Failed, codes: []Code{ETime}, html: unchecked,
			build: func(t *testing.T) made {
				return withStamps(t, func(b *bundle, a *authority) { b.anchor(0, 8, a, start-hour) })
			},
		},
		{
			name: "time-stamp-before", note: "A leaf says it was recorded an hour before an authority stamped the log without it.", verdict: Failed, codes: []Code{EReceipt, ETime}, html: unchecked,
			build: func(t *testing.T) made {
				return withStamps(t, func(b *bundle, a *authority) { b.anchor(0, 4, a, start+hour) })
			},
		},
		{
			name: "time-stamp-other-note", note: "The time stamp is over another note.", verdict: Failed, codes: []Code{ETime}, html: unchecked,
			build: func(t *testing.T) made {
				return withStamps(t, func(b *bundle, a *authority) {
					b.anchor(0, 8, nil, 0)
					b.files["logs/0/anchors/8.tsr"] = a.stamp(b.logs[0].checkpoint(7), start+8_000_000)
				})
			},
		},
		{
			name: "time-stamp-other-authority", note: "The time stamp is of an authority that the auditor does not trust.", verdict: Failed, codes: []Code{ETime}, html: unchecked,
			build: func(t *testing.T) made {
				return withStamps(t, func(b *bundle, _ *authority) { b.anchor(0, 8, newAuthority(t, "Another Authority"), start+8_000_000) })
			},
		},
		{
			name: "time-stamp-altered", note: "A byte of the stamp's signature was altered.", verdict: Failed, codes: []Code{ETime}, html: unchecked,
			build: func(t *testing.T) made {
				return withStamps(t, func(b *bundle, a *authority) {
					b.anchor(0, 11, a, b.logs[0].now)
					der := b.files["logs/0/anchors/11.tsr"]
					der[len(der)-1] ^= 1
				})
			},
		},
		{
			name: "time-stamp-nonsense", note: "What should be a time stamp is none.", verdict: Failed, codes: []Code{ETime}, html: unchecked,
			build: func(t *testing.T) made {
				return withStamps(t, func(b *bundle, _ *authority) {
					b.anchor(0, 8, nil, 0)
					b.files["logs/0/anchors/8.tsr"] = []byte("DER")
				})
			},
		},
	}
}

func badForks() []frozen {
	const dir = "logs/0/"
	// another history of the same log, signed by its own key
	another := func(t *testing.T, n int64) *testLog {
		l := newLog(t, testOrigin)
		l.opened(nil)
		for l.size() < n {
			l.step1("x")
		}
		return l
	}
	since := func(t *testing.T, b *bundle, size int64) made {
		m := b.seal(nil).made()
		m.since = another(t, size).checkpoint(size)
		return m
	}
	return []frozen{
		later("fork-since-log", EFork, "The auditor kept a checkpoint of another history.", func(t *testing.T) made {
			return since(t, newBundle(t, smallLog(t)), 4)
		}),
		later("fork-since-run", EFork, "The auditor kept a checkpoint of another history; the proof from its size does not fit.", func(t *testing.T) made {
			b := runGood(t)
			b.anchor(0, 4, nil, 0)
			return since(t, b, 4)
		}),
		later("fork-since-same-size", EFork, "The auditor kept another checkpoint of the same size.", func(t *testing.T) made {
			return since(t, runGood(t), 11)
		}),
		later("fork-anchor-log", EFork, "An anchor is of another history.", func(t *testing.T) made {
			b := newBundle(t, smallLog(t))
			b.files[dir+"anchors/3.note"] = another(t, 3).checkpoint(3)
			return b.seal(nil).made()
		}),
		later("fork-anchor-run", EFork, "No consistency proof leads from an anchor to the checkpoint.", func(t *testing.T) made {
			b := runGood(t)
			b.files[dir+"anchors/5.note"] = b.logs[0].checkpoint(5)
			return b.seal(nil).made()
		}),
		later("fork-proof", EFork, "A consistency proof leads to another checkpoint of the same size.", func(t *testing.T) made {
			b := runGood(t)
			l := another(t, 11)
			b.anchor(0, 6, nil, 0)
			b.files[dir+"consistency/6-11.add-checkpoint"] = l.consistency(6, 11, l.checkpoint(11))
			return b.seal(nil).made()
		}),
		later("fork-predecessor-log", EFork, "The newer log names another root of the older one.", func(t *testing.T) made {
			old := oldLog(t)
			l := nextLog(t, FormatPredecessor(old.origin(), 5, old.root(4)))
			return newBundle(t, l, old).seal(nil).made()
		}),
		later("fork-predecessor-period", EFork, "The newer log names another root of the older one.", func(t *testing.T) made {
			old := oldLog(t)
			l := officeLog(t, FormatPredecessor(old.origin(), 5, old.root(4)))
			return periodBundle(t, KindAudit, "2026-11-23T15:59:53.000000Z", "2026-11-23T16:00:03.000000Z", []*testLog{l, old}, seqs(0, 3), seqs(2, 4)).seal(nil).made()
		}),
	}
}
