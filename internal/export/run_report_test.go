package export_test

import (
	"bytes"
	"context"
	"fmt"
	html2 "html"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// rawLeaf is a leaf with its bytes.
type rawLeaf struct {
	*evidence.Leaf
	raw []byte
}

// runLeaves returns the leaves of a run, by record id.
func runLeaves(t testing.TB, r *rig, run string) map[string]*rawLeaf {
	t.Helper()
	out := map[string]*rawLeaf{}
	err := r.RunRecords(context.Background(), "acme", run, func(rec ledger.RunRecord) error {
		out[rec.Leaf.ID.String()] = &rawLeaf{rec.Leaf, bytes.Clone(rec.Raw)}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRunSingle: a table or a report is no bundle; its record has the digest and size
// of its bytes.
func TestRunSingle(t *testing.T) {
	r := windowRig(t)
	for _, format := range []string{export.FormatCSV, export.FormatPDF} {
		b := r.exportRun(export.Request{Run: "run-1", Format: format, ExportID: "export-" + format})
		data := bytesOf(t, b)
		if again := bytesOf(t, b); !bytes.Equal(data, again) {
			t.Errorf("%s: the second writing differs from the first", format)
		}
		found, err := r.Find(context.Background(), store.Query{
			Tenant: "acme", Kind: evidence.KindExport, Limit: 1, NewestState: true,
			Where: []store.Condition{{Field: "export_id", Values: []string{"export-" + format}}},
		})
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		got, err := r.Fetch(context.Background(), "acme", found, false)
		if err != nil {
			t.Fatal(err)
		}
		l := got[0].Leaf
		size, _ := l.Int("size_bytes")
		if l.Text("status") != "completed" || l.Text("format") != format || l.Text("checksum") != b.Digest || size != int64(len(data)) || l.Text("manifest") != "" {
			t.Errorf("%s: %s", format, got[0].Raw)
		}
	}
	pdf := bytesOf(t, r.exportRun(export.Request{Run: "run-1", Format: export.FormatPDF}))
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) {
		t.Errorf("a PDF begins with %q", pdf[:min(len(pdf), 8)])
	}
}

// TestRunReport: the reports of a bundle name what proves them, and say what there is.
func TestRunReport(t *testing.T) {
	r := newRig(t)
	tenant, system := sealedEverywhere()
	r.append("acme", tenant...)
	r.append(evidence.SystemTenant, system...)
	r.exportRun(export.Request{Run: "run-1"}) // seen in the next
	b := r.exportRun(export.Request{Run: "run-1", ExportID: "export-1", Withhold: []string{"response"}})
	z := zipOf(t, b)
	html := string(fileOf(t, z, "report.html"))
	pdf := string(pdfText(t, fileOf(t, z, "report.pdf")))
	for _, want := range []string{
		"export-1", "run-1", "acme", b.Log, "SUCCEEDED",
		sentinel("prompt"), sentinel("action_reason"), sentinel("shared_summary"), "withheld",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("report.html does not say %s", want)
		}
		if pdf != "" && !shows([][]byte{[]byte(pdf)}, want) {
			t.Errorf("report.pdf does not say %s", want)
		}
	}
	head, _, err := c2sp.ParseNote(fileOf(t, z, "logs/0/checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	keys := "<pre>$KEY0  " + r.keys[0] + "\n$KEY1  " + r.systemKey() + "</pre>"
	command := html2.EscapeString(`--key "$KEY0" --key "$KEY1"`)
	for _, want := range []string{"root " + head.Root.String(), "<td dir=\"auto\">" + head.Root.String(), strings.ReplaceAll(keys, "+", "&#43;"), command} {
		if !strings.Contains(html, want) {
			t.Errorf("report.html does not say %s", want)
		}
	}
	if at := regexp.MustCompile(`[0-9]T[0-9]{2}:[0-9]{2}:`).FindString(html); at != "" || !strings.Contains(html, "2026-11-23 ") {
		t.Errorf("report.html has a time of another form: %s", at)
	}
	if row := cellsOf(html, "export completed"); len(row) != 7 || row[4] != "" || !strings.HasPrefix(row[5], "zip, ") {
		t.Errorf("the row of an export is %q", row)
	}
	readme := strings.Join(strings.Fields(string(fileOf(t, z, "README.txt"))), " ")
	if !strings.Contains(readme, "an older checkpoint and a policy too; only RFC 3161 time stamps it does not check.") {
		t.Errorf("README.txt does not say what verify.html checks:\n%s", readme)
	}
}

// cellsOf returns the cells of the first row of a table that has one with that text.
func cellsOf(html, text string) (cells []string) {
	before, after, _ := strings.Cut(html, ">"+text+"<")
	row := before[strings.LastIndex(before, "<tr>"):] + ">" + text + "<"
	rest, _, _ := strings.Cut(after, "</tr>")
	for _, c := range regexp.MustCompile(`(?s)<td[^>]*>(.*?)</td>`).FindAllStringSubmatch(row+rest, -1) {
		cells = append(cells, c[1])
	}
	return cells
}

// TestRunDeterministic: the same state of the log and the same export id make the same
// files, but for the salt of those whose digests stand in the log: else these would tell what was erased.
func TestRunDeterministic(t *testing.T) {
	r := newRig(t)
	tenant, system := sealedEverywhere()
	r.append("acme", tenant...)
	r.append(evidence.SystemTenant, system...)
	r.steps(1, 100, 40)
	for _, format := range formats {
		req := export.Request{
			Tenant: "acme", Profile: export.ProfileRun, Run: "run-1", ExportID: "export-1", Format: format,
			By: export.Requester{Name: "cli:test"},
		}
		first, err := export.Collect(context.Background(), r.exporter, req)
		if err != nil {
			t.Fatal(err)
		}
		second, err := export.Collect(context.Background(), r.exporter, req)
		if err != nil {
			t.Fatal(err)
		}
		if len(first) == 0 || len(first) != len(second) {
			t.Fatalf("%s: %d and %d files", format, len(first), len(second))
		}
		for name, data := range first {
			again := second[name]
			if format == export.FormatCSV || format == export.FormatPDF {
				if bytes.Equal(data, again) {
					t.Errorf("%s: %s has no salt", format, name)
				}
				if format == export.FormatPDF { // of which the salt is packed
					continue
				}
				salt := regexp.MustCompile(`,[A-Z2-7]{26},zip\r\n`)
				if n := len(salt.FindAll(data, -1)); n != 1 {
					t.Errorf("%d rows have a salt", n)
				}
				data, again = salt.ReplaceAll(data, nil), salt.ReplaceAll(again, nil)
			}
			if !bytes.Equal(data, again) {
				t.Errorf("%s: %s differs", format, name)
			}
		}
	}
}

// TestRunLong: the report of a long run lists its first steps, by time, and says so;
// what content has no room is named. Memory does not grow with the run.
func TestRunLong(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("x", 100<<10)
	for i := range 70 { // 7 MB
		r.append("acme", fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T14:%02d:%02dZ","run_id":"run-1","trace_id":"%032x","span_id":"%016x",`+
			`"skill_name":"s","step_kind":"tool","status":"success",%s,"prompt":"%s"}`, i/60, i%60, 1, 1000+i, source, long))
	}
	r.steps(1, 0, 700)
	z := zipOf(t, r.exportRun(export.Request{Run: "run-1"}))
	html := string(fileOf(t, z, "report.html"))
	for _, want := range []string{"The first 500 of 770 steps", "102400 bytes, not printed here"} {
		if !strings.Contains(html, want) {
			t.Errorf("report.html does not say %q", want)
		}
	}
	if n := len(html); n > 16<<20 {
		t.Errorf("report.html has %d bytes", n)
	}
}

// BenchmarkExport exports runs in every format.
func BenchmarkExport(b *testing.B) {
	for _, steps := range []int{100, 1000} {
		r := newRig(b)
		for i := 0; i < steps; i += 50 {
			r.steps(1, i, 50)
		}
		r.append("acme", end("run-1", 1, ""))
		for _, format := range formats {
			b.Run(fmt.Sprintf("%s/steps=%d", format, steps), func(b *testing.B) {
				var size int64
				for b.Loop() {
					bundle, err := r.exporter.Export(context.Background(), export.Request{
						Tenant: "acme", Profile: export.ProfileRun, Run: "run-1", Format: format, By: export.Requester{Name: "cli:test"}, NoAudit: true,
					})
					if err != nil {
						b.Fatal(err)
					}
					size = bundle.Bytes
					if err := bundle.Close(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(size), "bytes")
				runtime.GC()
			})
		}
	}
}
