package ledger_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// The runs of the benchmarks: each has a trace, 20 steps and 12 events, which
// came in two requests together with those of 23 other runs. So its 33 records
// stand in 2 to 4 leaf segments and as many sealed segments, and its person's
// under a key of their own.
const (
	benchRounds = 12
	benchRuns   = 24 // of a round
)

type benchData struct {
	*rig
	runs []string
	at   map[string][]store.Found // by run
}

var benchContent = strings.Repeat(`The tool answered \"12 °C, light rain\" and nothing else.\n`, 12)

func benchLines(run int, steps [2]int) []string {
	id := fmt.Sprintf("%032x", run)
	var lines []string
	if steps[0] == 1 {
		lines = append(lines, fmt.Sprintf(`{"kind":"trace","occurred_at":"2026-11-23T15:00:00.000000Z","run_id":"%s","trace_id":"%s",`+
			`"source_domain":"ACTIVITY","source_component":"TraceStore","plan":{"steps":[1,2,3]}}`, id, id))
	}
	for i := steps[0]; i <= steps[1]; i++ {
		lines = append(lines, step(run, i, fmt.Sprintf(`,"params":{"q":"weather in city %d","units":"metric"},"prompt":"%s","response":"%s","human_actor_id":"ada-%d",`+
			`"attrs":[["gen_ai.request.model","string","gpt-5"],["gen_ai.usage.input_tokens","int","812"]],"model":"gpt-5","provider":"openai","input_tokens":812,"output_tokens":96`,
			run, benchContent, benchContent[:200], run%40)))
		if i%5 < 3 {
			lines = append(lines, fmt.Sprintf(`{"kind":"trace_event","id":"%s","occurred_at":"2026-11-23T15:00:00.000500Z","run_id":"%s","trace_id":"%s","span_id":"%016x",`+
				`"event_name":"gen_ai.choice","source_domain":"ACTIVITY","source_component":"TraceStore","body":{"finish_reason":"stop","index":0}}`, fixedID(fmt.Sprint("event", run, i)), id, id, i))
		}
	}
	return lines
}

func openBench(b *testing.B) *benchData {
	d := &benchData{rig: openRig(b, filepath.Join(b.TempDir(), "data")), at: map[string][]store.Found{}}
	d.tenant(b, "acme")
	for round := range benchRounds {
		for _, steps := range [][2]int{{1, 11}, {12, 20}} {
			var lines []string
			for i := range benchRuns {
				lines = append(lines, benchLines(round*benchRuns+i, steps)...)
			}
			d.append(b, "acme", lines...)
		}
	}
	for i := range benchRounds * benchRuns {
		run := fmt.Sprintf("%032x", i)
		d.runs = append(d.runs, run)
		d.at[run] = d.foundOf(b, "acme", run)
	}
	return d
}

// foundOf returns where a run's records stand, by n.
func (r *rig) foundOf(t testing.TB, tenant, run string) []store.Found {
	t.Helper()
	var at []store.Found
	err := r.db.RunRecords(context.Background(), tenant, run, func(rr store.RunRecord) error {
		at = append(at, store.Found{Kind: rr.Kind, Position: rr.Position, Segment: rr.Segment, ActorSegment: rr.ActorSegment})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func BenchmarkRunRecords(b *testing.B) {
	d := openBench(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		n := 0
		err := d.RunRecords(context.Background(), "acme", d.runs[i%len(d.runs)], func(ledger.RunRecord) error { n++; return nil })
		if err != nil || n != 33 {
			b.Fatal(n, err)
		}
		i += 7
	}
}

// BenchmarkFetch reads a run's 33 records: leaves alone, or with content; near is
// when their leaf segments and tiles are in memory, far when nothing is.
func BenchmarkFetch(b *testing.B) {
	d := openBench(b)
	for _, content := range []bool{false, true} {
		for _, far := range []bool{false, true} {
			b.Run(fmt.Sprintf("content=%t/far=%t", content, far), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if far {
						d.ForgetNear()
					}
					records, err := d.Fetch(context.Background(), "acme", d.at[d.runs[i%len(d.runs)]], content)
					if err != nil || len(records) != 33 {
						b.Fatal(len(records), err)
					}
					i += 7
				}
			})
		}
	}
}
