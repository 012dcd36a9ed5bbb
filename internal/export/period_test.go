package export_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/testneeds"
	"github.com/runledger/runledger/verify"
)

// audits appends audit entries with a sealed reason.
func (r *rig) audits(event string, n int) {
	r.t.Helper()
	lines := make([]string, n)
	for i := range n {
		id := ledger.NewID(evidence.MicrosOf(time.Now()))
		lines[i] = fmt.Sprintf(`{"kind":"audit","id":%q,"occurred_at":"2026-11-23T15:00:00Z","event_type":%q,"entity_type":"LIMIT",`+
			`"entity_id":"limit-%d","actor_type":"HUMAN","human_actor_id":"person-%d@example.com","action_reason":"secret-reason-%d",`+
			`"source_domain":"POLICY","source_component":"test"}`, id, event, i, i%3, i)
	}
	r.append("acme", lines...)
}

// systems appends system records to a tenant's log.
func (r *rig) systems(tenant, visibility string, n int) {
	r.t.Helper()
	lines := make([]string, n)
	for i := range n {
		id := ledger.NewID(evidence.MicrosOf(time.Now()))
		lines[i] = fmt.Sprintf(`{"kind":"system","id":%q,"occurred_at":"2026-11-23T15:00:00Z","component":"worker","event_type":"RESTART",`+
			`"severity":"WARN","summary":"secret-summary-%s-%d","visibility":%q,"source_domain":"SYSTEM","source_component":"test"}`, id, visibility, i, visibility)
	}
	r.append(tenant, lines...)
}

// now returns a time after all that was recorded and before all that will be.
func (r *rig) now() evidence.Micros {
	time.Sleep(2 * time.Millisecond)
	t := evidence.MicrosOf(time.Now().Add(-time.Duration(r.behind.Load())))
	time.Sleep(2 * time.Millisecond)
	return t
}

func (r *rig) period(req export.Request) *export.Bundle {
	r.t.Helper()
	b, err := r.tryPeriod(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rig) tryPeriod(req export.Request) (*export.Bundle, error) {
	r.t.Helper()
	req.Tenant, req.Profile = "acme", export.ProfilePeriod
	req.By = export.Requester{Name: "auditor@example.com", Human: true}
	b, err := r.exporter.Export(context.Background(), req)
	if err == nil {
		r.t.Cleanup(func() { _ = b.Close() })
	}
	return b, err
}

// seqsOf returns the leaf indexes of records.jsonl.
func seqsOf(t testing.TB, z []byte, dir string) (seqs []int64) {
	t.Helper()
	for line := range strings.Lines(string(fileOf(t, z, dir+"/records.jsonl"))) {
		rec, err := verify.ParseRecord([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, rec.Seq)
	}
	return seqs
}

// periodRig is a log with something before, in and after a period.
func periodRig(t testing.TB) (r *rig, from, until evidence.Micros) {
	r = newRig(t)
	r.audits("LimitUpdated", 3)
	from = r.now()
	r.audits("LimitBreached", 4)
	r.steps(1, 0, 3)
	r.systems("acme", "tenant", 2)
	until = r.now()
	r.audits("LimitUpdated", 3)
	return r, from, until
}

func TestPeriod(t *testing.T) {
	for scope, want := range map[string]struct{ in, out []string }{
		export.ScopeAudit:      {[]string{"secret-reason-"}, []string{"secret-summary-", "step 1"}},
		export.ScopeSystem:     {[]string{"secret-summary-"}, []string{"secret-reason-", "step 1"}},
		export.ScopeCompliance: {[]string{"secret-summary-", "secret-reason-"}, []string{"step 1"}},
	} {
		t.Run(scope, func(t *testing.T) {
			r, from, until := periodRig(t)
			z := zipOf(t, r.period(export.Request{Scope: scope, From: from, Until: until, Tags: []string{"SOC2"}}))
			rep := r.good(z, verify.Options{})
			// The leaves 1 to 3 are before, 4 to 12 in the period: its neighbours are 3 and 13.
			if got := fmt.Sprint(seqsOf(t, z, "logs/0")); got != "[3 4 5 6 7 8 9 10 11 12 13]" {
				t.Errorf("leaves %s", got)
			}
			if rep.Period == nil || rep.Period.Records != 9 || rep.Period.Kind != scope {
				t.Errorf("%+v", rep.Period)
			}
			all := string(z)
			for _, text := range want.in {
				if !strings.Contains(all, text) {
					t.Errorf("%q is not disclosed", text)
				}
			}
			for _, text := range want.out {
				if strings.Contains(all, text) {
					t.Errorf("%q is disclosed", text)
				}
			}
			var c struct {
				Period   struct{ Scope, From, Until string }
				Controls []struct {
					Framework, ID, Supports string
					Records                 int64
				}
			}
			if err := json.Unmarshal(fileOf(t, z, "completeness.json"), &c); err != nil {
				t.Fatal(err)
			}
			report := string(fileOf(t, z, "report.html"))
			for _, at := range []evidence.Micros{from, until} {
				if want := at.Time().Format("2006-01-02 15:04:05.000000 UTC") + "</td>"; strings.Contains(report, at.String()) || !strings.Contains(report, want) {
					t.Errorf("report.html does not say %s, or says %s", want, at)
				}
			}
			if c.Period.Scope != scope || c.Period.From != from.String() || c.Period.Until != until.String() {
				t.Errorf("%+v", c.Period)
			}
			counts := map[string]int64{}
			for _, k := range c.Controls {
				if !strings.HasPrefix(k.Supports, "supports ") {
					t.Errorf("%s %s is worded %q", k.Framework, k.ID, k.Supports)
				}
				counts[k.Framework+" "+k.ID] = k.Records
			}
			if scope != export.ScopeCompliance {
				if len(counts) != 0 {
					t.Errorf("controls %v", counts)
				}
				return
			}
			for name, n := range map[string]int64{
				"EU AI Act Art. 12": 9, "EU AI Act Art. 19": 5, "EU AI Act Art. 26(6)": 3, "ISO/IEC 42001 A.6.2.8": 7, "ISO/IEC 27001 A.8.15": 9,
				"ISO/IEC 27001 A.8.17": 0, "SOC 2 CC7.2": 4, "SOC 2 CC7.3": 0, "NIST SP 800-53 AU-2": 6, "NIST SP 800-53 AU-3": 6, "NIST SP 800-53 AU-6": 0,
				"NIST SP 800-53 AU-9": 0, "NIST SP 800-53 AU-10": 4, "NIST SP 800-53 AU-11": 0, "NIST SP 800-53 AU-12": 6,
			} {
				if got, ok := counts[name]; !ok || got != n {
					t.Errorf("%s has %d records (%t), want %d", name, got, ok, n)
				}
			}
			if len(counts) != 15 {
				t.Errorf("%d controls", len(counts))
			}
		})
	}
}

// TestPeriodEdges: a period in which nothing was recorded, one before the log and one
// that goes on after it.
func TestPeriodEdges(t *testing.T) {
	r, from, until := periodRig(t)
	hour := evidence.Micros(time.Hour / time.Microsecond)
	quiet := r.now()
	later := r.now()
	for name, tt := range map[string]struct {
		from, until evidence.Micros
		seqs        string
		code        verify.Code
	}{
		"nothing in it":   {quiet, later, "[15 16]", ""},
		"before the log":  {from - 2*hour, from - hour, "[0]", ""},
		"from the start":  {from - hour, from, "[0 1 2 3 4]", ""},
		"not at its end":  {later, later + hour, "", verify.WOpen},
		"all, and beyond": {from - hour, until + hour, "", verify.WOpen},
	} {
		t.Run(name, func(t *testing.T) {
			z := zipOf(t, r.period(export.Request{Scope: export.ScopeAudit, From: tt.from, Until: tt.until}))
			if got := fmt.Sprint(seqsOf(t, z, "logs/0")); tt.seqs != "" && got != tt.seqs {
				t.Errorf("leaves %s, want %s", got, tt.seqs)
			}
			if tt.code == "" {
				r.good(z, verify.Options{})
				return
			}
			rep := r.verify(z, verify.Options{})
			found := false
			for _, f := range rep.Findings {
				found = found || f.Code == tt.code
			}
			if !found || rep.Verdict != verify.VerifiedWithLimits {
				t.Errorf("verdict %s, %+v", rep.Verdict, rep.Findings)
			}
		})
	}
}

// TestPeriodRollover: a period that reaches over several logs, and one that ends in an
// old one.
func TestPeriodRollover(t *testing.T) {
	r, from, _ := periodRig(t)
	keys := r.keys
	var ends []evidence.Micros
	for range 2 {
		info, err := r.Rollover(context.Background(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.VKey)
		r.audits("LimitChecked", 2)
		ends = append(ends, r.now())
		r.audits("LimitChecked", 2)
	}
	for name, tt := range map[string]struct {
		from, until evidence.Micros
		logs        int
	}{
		"all three":     {from, ends[1], 3},
		"the old ones":  {from, ends[0], 3},
		"the middle":    {ends[0], ends[0] + 1, 2},
		"the newest":    {ends[1], r.now(), 1},
		"two":           {ends[0], ends[1], 2},
		"before anyone": {from - 1e9, from - 1e8, 3},
	} {
		z := zipOf(t, r.period(export.Request{Scope: export.ScopeCompliance, From: tt.from, Until: tt.until}))
		rep := r.good(z, verify.Options{Keys: keys})
		if len(rep.Logs) != tt.logs {
			t.Errorf("%s: %d logs, want %d", name, len(rep.Logs), tt.logs)
		}
	}
}

// TestPeriodShared: the system log's shared records are there, and no others.
func TestPeriodShared(t *testing.T) {
	r := newRig(t)
	system, err := r.Logs(context.Background(), evidence.SystemTenant)
	if err != nil {
		t.Fatal(err)
	}
	from := r.now()
	r.systems(evidence.SystemTenant, "shared", 2)
	r.systems(evidence.SystemTenant, "tenant", 2)
	until := r.now()
	r.systems(evidence.SystemTenant, "shared", 1)
	keys := append([]string{system[len(system)-1].VKey}, r.keys...)
	for scope, want := range map[string]int{export.ScopeSystem: 2, export.ScopeCompliance: 2, export.ScopeAudit: 0} {
		z := zipOf(t, r.period(export.Request{Scope: scope, From: from, Until: until}))
		rep := r.good(z, verify.Options{Keys: keys})
		if want == 0 {
			if len(rep.Logs) != 1 {
				t.Errorf("%s: %d logs", scope, len(rep.Logs))
			}
			continue
		}
		if n := len(seqsOf(t, z, "logs/1")); n != want {
			t.Errorf("%s: %d shared records, want %d", scope, n, want)
		}
		if !strings.Contains(string(z), "secret-summary-shared-1") || strings.Contains(string(z), "secret-summary-tenant-") {
			t.Errorf("%s: other content than the shared records'", scope)
		}
	}
}

// TestPeriodErased: content that was erased after the period is accounted for, by the
// leaves that lead to the record of it.
func TestPeriodErased(t *testing.T) {
	r, from, until := periodRig(t)
	if _, err := r.Erase(context.Background(), "acme", ledger.Erasure{Person: "person-1@example.com"}); err != nil {
		t.Fatal(err)
	}
	r.audits("LimitUpdated", 1)
	for scope, erased := range map[string]int64{export.ScopeAudit: 1, export.ScopeSystem: 0} {
		z := zipOf(t, r.period(export.Request{Scope: scope, From: from, Until: until}))
		rep := r.good(z, verify.Options{})
		if n := rep.Counts["withheld_erased"]; n != erased {
			t.Errorf("%s: %d erased fields, want %d", scope, n, erased)
		}
		if strings.Contains(string(z), "secret-reason-2\\\"") && scope == export.ScopeSystem {
			t.Errorf("%s discloses another kind", scope)
		}
	}
}

// TestPeriodWithheld: no form has what its requester may not read, or asked not to
// have.
func TestPeriodWithheld(t *testing.T) {
	r, from, until := periodRig(t)
	for _, format := range []string{export.FormatZIP, export.FormatJSON, export.FormatCSV, export.FormatPDF} {
		for name, edit := range map[string]func(*export.Request){
			"not permitted": func(q *export.Request) { q.NotPermitted = true },
			"withheld":      func(q *export.Request) { q.Withhold = []string{"/action_reason", "/summary", "/actor"} },
			"not asked for": func(q *export.Request) { q.Disclose = []string{"/details"} },
		} {
			req := export.Request{Scope: export.ScopeCompliance, From: from, Until: until, Format: format}
			edit(&req)
			b := r.period(req)
			var out bytes.Buffer
			if err := b.Write(&out); err != nil {
				t.Fatal(err)
			}
			text := out.String()
			if format == export.FormatPDF {
				text = textOfPDF(t, out.Bytes())
			}
			if strings.Contains(text, "secret-") || strings.Contains(text, "person-1@") {
				t.Errorf("%s, %s: sealed content is in it", format, name)
			}
			if format == export.FormatZIP {
				r.good(out.Bytes(), verify.Options{})
			}
		}
	}
}

// textOfPDF has pdftotext read a report.
func textOfPDF(t testing.TB, pdf []byte) string {
	t.Helper()
	testneeds.Program(t, "pdftotext")
	cmd := exec.Command("pdftotext", "-", "-")
	cmd.Stdin = bytes.NewReader(pdf)
	out, err := cmd.Output()
	if err != nil || !bytes.Contains(out, []byte("acme")) {
		t.Fatalf("%v, %d bytes of text", err, len(out))
	}
	return string(out)
}

// TestPeriodTable reads the CSV.
func TestPeriodTable(t *testing.T) {
	r, from, until := periodRig(t)
	b := r.period(export.Request{Scope: export.ScopeCompliance, From: from, Until: until, Format: export.FormatCSV})
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	if int64(out.Len()) != b.Bytes {
		t.Errorf("%d bytes, said %d", out.Len(), b.Bytes)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, name := range rows[0] {
		at[name] = i
	}
	if rows[0][len(rows[0])-1] != "verifiable_form" {
		t.Errorf("the last column is %s", rows[0][len(rows[0])-1])
	}
	kinds := map[string]int{}
	for _, row := range rows[1:] {
		kinds[row[at["record"]]]++
		switch row[at["record"]] {
		case "audit":
			if !strings.HasPrefix(row[at["action_reason"]], "secret-reason-") || row[at["event_type"]] != "LimitBreached" {
				t.Errorf("row %v", row)
			}
		case "control":
			if row[at["control_id"]] == "AU-12" && row[at["control_records"]] != "6" {
				t.Errorf("row %v", row)
			}
		}
	}
	if kinds["audit"] != 4 || kinds["system"] != 2 || kinds["control"] != 15 || kinds["trace_step"] != 0 {
		t.Errorf("rows %v", kinds)
	}
}

func TestPeriodRequests(t *testing.T) {
	r, from, until := periodRig(t)
	good := export.Request{Scope: export.ScopeAudit, From: from, Until: until}
	for name, edit := range map[string]func(*export.Request){
		"scope":         func(q *export.Request) { q.Scope = "llm_run" },
		"no scope":      func(q *export.Request) { q.Scope = "" },
		"from":          func(q *export.Request) { q.From = 0 },
		"until":         func(q *export.Request) { q.Until = q.From },
		"century":       func(q *export.Request) { q.Until = q.From + 200*366*86400*1e6 },
		"run":           func(q *export.Request) { q.Run = "run-1" },
		"tag":           func(q *export.Request) { q.Tags = []string{"a\nb"} },
		"tag twice":     func(q *export.Request) { q.Tags = []string{"a", "a"} },
		"tags":          func(q *export.Request) { q.Tags = strings.Split("abcdefghijklmnopq", "") },
		"no audit":      func(q *export.Request) { q.NoAudit = true },
		"csv directory": func(q *export.Request) { q.Format, q.Directory = export.FormatCSV, true },
		"since":         func(q *export.Request) { q.SinceSize = 5000 },
	} {
		q := good
		edit(&q)
		if _, err := r.tryPeriod(q); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.exporter.Export(context.Background(), export.Request{
		Tenant: "acme", Profile: verify.ProfileLog, From: from, By: export.Requester{Name: "x"},
	}); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("a period of another profile: %v", err)
	}
}
