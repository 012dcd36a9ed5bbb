package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/verify"
)

// exportCost is what one export or verification took, as its own process says.
type exportCost struct {
	Millis  float64 `json:"ms"`
	RSS     int64   `json:"rss_mib"` // greatest of the process
	Bytes   int64   `json:"bytes"`
	Verdict string  `json:"verdict,omitempty"`
}

// exporting measures the export of runs of several lengths in every format, and the
// verification of their bundles: each in a process of its own, so that its memory is
// seen. The process and its ledger have about 20 to 40 MiB before it does anything.
func (b *bench) exporting(ctx context.Context) {
	dir := b.data
	if dir == "" {
		dir = mustTemp(b.dir, "bench-export")
		defer os.RemoveAll(dir + ".anchor")
		defer os.RemoveAll(dir)
	}
	lengths := []int{100, 1000, 100_000}
	if b.quick {
		lengths = lengths[:2]
	}
	key := b.fillLong(ctx, dir, lengths)
	out := mustTemp(b.dir, "bench-bundles")
	defer os.RemoveAll(out)
	fmt.Println("| steps | format | export ms | MiB of the process | bytes | verify ms | MiB of the process |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, n := range lengths {
		for _, format := range []string{export.FormatZIP, export.FormatJSON, export.FormatCSV, export.FormatPDF} {
			file := filepath.Join(out, fmt.Sprintf("run-%d.%s", n, format))
			e := b.alone(ctx, "export-one", dir, strings.Join([]string{strconv.Itoa(n), format, file}, ","))
			checked := " | "
			if format == export.FormatZIP {
				v := b.alone(ctx, "verify-one", dir, strings.Join([]string{key, file}, ","))
				checked = fmt.Sprintf("%.0f | %d", v.Millis, v.RSS)
			}
			fmt.Printf("| %d | %s | %.0f | %d | %d | %s |\n", n, format, e.Millis, e.RSS, e.Bytes, checked)
			check(os.Remove(file))
		}
	}
}

// fillLong makes a run of each length, where it is not there yet, and returns the
// verifier key.
func (b *bench) fillLong(ctx context.Context, dir string, lengths []int) string {
	o, err := openOurs(ctx, dir)
	check(err)
	for _, n := range lengths {
		run := longRun(n)
		state, err := o.RunState(ctx, o.tenant, run)
		check(err)
		if state.NextN > 0 {
			continue
		}
		g := newGenerator(uint64(n))
		g.trace, g.left = run, n
		for g.left > 0 {
			check(o.append(ctx, g.batch(min(g.left, 1000))))
		}
		end, err := evidence.ParseNative(fmt.Appendf(nil, `{"kind":"llm_run","occurred_at":%q,"run_id":%q,"execution_status":"SUCCEEDED",`+
			`"source_domain":"ACTIVITY","source_component":"TraceStore"}`, g.at, run))
		check(err)
		check(o.append(ctx, []*evidence.Record{end}))
	}
	logs, err := o.Logs(ctx, o.tenant)
	check(err)
	check(o.close())
	return logs[len(logs)-1].VKey
}

// longRun names the run of a length: as a trace id, so that its records are its own.
func longRun(n int) string { return fmt.Sprintf("%032x", n) }

// alone runs one measurement in a process of its own, -rounds times, and returns the
// median by time with the greatest memory.
func (b *bench) alone(ctx context.Context, what, dir, shape string) exportCost {
	self, err := os.Executable()
	check(err)
	var all []exportCost
	for range b.rounds {
		cmd := exec.CommandContext(ctx, self, "-run", what, "-data", dir, "-shape", shape)
		cmd.Stderr = os.Stderr
		text, err := cmd.Output()
		check(err)
		var c exportCost
		check(json.Unmarshal(text, &c))
		all = append(all, c)
	}
	most := slices.MaxFunc(all, func(x, y exportCost) int { return int(x.RSS - y.RSS) }).RSS
	slices.SortFunc(all, func(x, y exportCost) int { return int(x.Millis - y.Millis) })
	mid := all[len(all)/2]
	mid.RSS = most
	return mid
}

// exportOne exports one run to a file and says what it took, from the request to the
// last byte.
func (b *bench) exportOne(ctx context.Context) {
	words := strings.Split(b.shape, ",")
	n, err := strconv.Atoi(words[0])
	check(err)
	o, err := openOurs(ctx, b.data)
	check(err)
	e := export.New(export.Config{Ledger: o.Ledger, SpoolDir: b.data})
	_ = os.Remove(words[2])
	f, err := os.Create(words[2])
	check(err)
	at := time.Now()
	bundle, err := e.Export(ctx, export.Request{
		Tenant: o.tenant, Profile: export.ProfileRun, Run: longRun(n), Format: words[1], By: export.Requester{Name: "bench"},
	})
	check(err)
	check(bundle.Write(f))
	check(f.Close())
	cost := exportCost{Millis: float64(time.Since(at).Microseconds()) / 1000, Bytes: bundle.Bytes, RSS: peakRSS()}
	check(bundle.Close())
	check(o.close())
	check(json.NewEncoder(os.Stdout).Encode(cost))
}

// verifyOne verifies a bundle.
func (b *bench) verifyOne(ctx context.Context) {
	key, file, _ := strings.Cut(b.shape, ",")
	f, err := os.Open(file)
	check(err)
	defer f.Close()
	info, err := f.Stat()
	check(err)
	at := time.Now()
	rep, err := verify.ZIP(ctx, f, info.Size(), verify.Options{Keys: []string{key}})
	check(err)
	if rep.Verdict != verify.Verified && rep.Verdict != verify.VerifiedWithLimits {
		check(fmt.Errorf("%s: %s %v", file, rep.Verdict, rep.Findings))
	}
	check(json.NewEncoder(os.Stdout).Encode(exportCost{
		Millis: float64(time.Since(at).Microseconds()) / 1000, RSS: peakRSS(), Bytes: info.Size(), Verdict: string(rep.Verdict),
	}))
}

// peakRSS is the greatest resident size of this process, in MiB.
func peakRSS() int64 {
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	for s := bufio.NewScanner(bytes.NewReader(status)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			check(err)
			return kib >> 10
		}
	}
	return 0
}
