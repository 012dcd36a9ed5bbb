//go:build unix

package verify

import (
	"bytes"
	"crypto/sha256"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/runledger/runledger/evidence"
)

// benchLog has n leaves of about 1 KiB, run by run, nothing disclosed:
// what is measured is checks 1 to 5 and 9.
func benchLog(b *testing.B, n int64) *testLog {
	b.Helper()
	l := newLog(b, testOrigin)
	l.step = 1000
	l.opened(nil)
	names := []string{"partial"}
	for run := 0; l.size() < n; run++ {
		for range 10 {
			if l.size() >= n {
				break
			}
			l.add(evidence.KindTraceStep, strings.Repeat("r", 20)+string(rune('a'+run%26))+strings.Repeat("x", run%90), facts{
				"trace_id": "5b8efff798038103d269b633813fc60c", "step_index": 1, "step_kind": "llm",
				"span_id": "00f067aa0ba902b7", "parent_span_id": "00f067aa0ba902b8", "correlation_id": "correlation 12345",
				"skill_id": "llm", "skill_name": "chat gpt-large", "status": "success", "outcome_category": "SUCCESS",
				"provider": "provider", "model": "model-large", "request_model": "model-large", "input_tokens": 1234, "output_tokens": 567,
				"cost_usd_nanos": 123456789, "finish_reason": "stop",
				"duration_us": 1500, "retry_count": 0, "replay_behavior": "execute", "late": false, "flags": names, "producer": "key-1",
			}, sealed{path: "/prompt", value: `"p"`, reason: Requested}, sealed{path: "/response", value: `"r"`, reason: Requested},
				sealed{path: "/actor", value: `{}`, reason: Requested})
		}
	}
	l.held, l.open = nil, nil
	return l
}

// cpuTime returns the time that this process has used of all cores, in
// nanoseconds: it tells the work even where others share the machine.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// yardstick returns the time of this machine, now, for one SHA-256 of each
// leaf, in nanoseconds for one leaf. Verification cannot do with less than
// two: one for the file's digest, one for the leaf hash.
func yardstick(b *testing.B, leaves [][]byte) float64 {
	before := cpuTime(b)
	for _, leaf := range leaves {
		sha256.Sum256(leaf)
	}
	return float64(cpuTime(b)-before) / float64(len(leaves))
}

// BenchmarkLog verifies a whole log of leaves of about 1 KiB. The mark is 3500
// ns/entry/core, the goal 2000; cpu-ns/entry is the same where others use the
// machine too, and x-sha256 the ratio to one SHA-256 of the same leaf.
func BenchmarkLog(b *testing.B) {
	const n = 20000
	l := benchLog(b, n)
	bu := newBundle(b, l)
	var held []byte
	for seq := range int64(n) {
		if seq == 0 {
			held = (&Withheld{0, "/actor", Requested}).Append(held)
			held = (&Withheld{0, "/summary", Requested}).Append(held)
			continue
		}
		for _, path := range []string{"/actor", "/prompt", "/response"} {
			held = (&Withheld{seq, path, Requested}).Append(held)
		}
	}
	bu.files["logs/0/withheld.jsonl"] = held
	bu.files["logs/0/disclosures.jsonl"] = nil
	data := bu.seal(nil).zip()
	bytesPerLeaf := 0
	for _, leaf := range l.leaves[:n] {
		bytesPerLeaf += len(leaf)
	}
	opts := bu.keys()
	cores := 1
	run := func(b *testing.B) {
		yard := yardstick(b, l.leaves[:n])
		b.ResetTimer()
		before := cpuTime(b)
		for b.Loop() {
			r, err := ZIP(b.Context(), bytes.NewReader(data), int64(len(data)), opts)
			if err != nil || r.Verdict != VerifiedWithLimits {
				b.Fatal(r, err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())*float64(cores)/float64(b.N)/n, "ns/entry/core")
		used := float64(cpuTime(b)-before) / float64(b.N) / n
		b.ReportMetric(used, "cpu-ns/entry")
		b.ReportMetric(used/yard, "x-sha256")
		b.ReportMetric(float64(bytesPerLeaf)/n, "B/leaf")
		b.ReportMetric(n/b.Elapsed().Seconds()*float64(b.N), "entries/s")
	}
	b.Run("all-cores", func(b *testing.B) { cores = runtime.GOMAXPROCS(0); run(b) })
	b.Run("one-core", func(b *testing.B) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		cores = 1
		run(b)
	})
}
