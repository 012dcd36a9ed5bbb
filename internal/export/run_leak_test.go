package export_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/zipstore"
)

// formats are all formats of the export of a run.
var formats = []string{export.FormatZIP, export.FormatJSON, export.FormatCSV, export.FormatPDF}

func bytesOf(t testing.TB, b *export.Bundle) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := b.Write(&buf); err != nil {
		t.Fatal(err)
	}
	if int64(buf.Len()) != b.Bytes {
		t.Errorf("%s: %d bytes, said %d", b.Format, buf.Len(), b.Bytes)
	}
	return buf.Bytes()
}

// sentinel is a text that stands in one sealed field only. It is made of letters that
// no line is broken between.
func sentinel(field string) string {
	return "Sentinel" + strings.ReplaceAll(strings.Trim(field, "/"), "_", "") + "Xq"
}

// sealedEverywhere are records of a run, and of what comes with it, with a sentinel in
// every sealed field that a producer can send.
func sealedEverywhere() (tenant, system []string) {
	q := func(field string) string { return fmt.Sprintf("%q", sentinel(field)) }
	tenant = []string{
		`{"kind":"trace","occurred_at":"2026-11-23T14:59:58Z","run_id":"run-1","trace_id":"` + strings.Repeat("a", 32) + `","schema_version":"1",` +
			`"started_at":"2026-11-23T14:59:58Z","plan":{"p":` + q("plan") + `},"root_hash":` + q("root_hash") + `,"plan_hash":` + q("plan_hash") + `,` + source + `}`,
		`{"kind":"trace_step","occurred_at":"2026-11-23T14:59:59Z","run_id":"run-1","trace_id":"` + strings.Repeat("a", 32) + `","span_id":"` + strings.Repeat("b", 16) + `",` +
			`"skill_name":"` + sentinel("skill_name") + ` ümlaut","step_kind":"llm","status":"failure","human_actor_id":` + q("human_actor_id") + `,"subject":` + q("subject") + `,` +
			`"params":{"a":` + q("params") + `},"outcome_data":[` + q("outcome_data") + `],"prompt":` + q("prompt") + `,"response":` + q("response") + `,` +
			`"input_hash":` + q("input_hash") + `,"output_hash":` + q("output_hash") + `,"status_message":` + q("status_message") + `,` +
			`"rng_state_before":` + q("rng_state_before") + `,"attrs":[["k","string",` + q("attrs") + `]],` + source + `}`,
		`{"kind":"trace_event","id":"00000000-0000-4000-8003-000000000001","occurred_at":"2026-11-23T14:59:59Z","run_id":"run-1","trace_id":"` + strings.Repeat("a", 32) + `",` +
			`"event_name":"exception","body":` + q("body") + `,` + source + `}`,
		judged(1, "15:00:00", "PolicyEvaluated", "POLICY_RULE", `,"run_id":"run-1","before_state":`+q("before_state")+`,"after_state":`+q("after_state")),
		strings.Replace(judged(2, "15:00:00", "LimitChecked", "LIMIT", ""), "reason of LimitChecked", sentinel("action_reason"), 1),
		happened(1, "15:00:01", "ERROR", `,"details":{"d":`+q("details")+`}`),
		turned("run-1", `,"response":`+q("run_response")+`,"prompt_hash":`+q("prompt_hash")+`,"inflection_reason":`+q("inflection_reason")),
	}
	tenant[len(tenant)-1] = strings.Replace(tenant[len(tenant)-1], "Where is order A-17?", sentinel("run_prompt"), 1)
	system = []string{strings.Replace(happened(11, "15:00:02", "SHARED", `,"visibility":"shared"`), "summary of SHARED", sentinel("shared_summary"), 1)}
	return tenant, system
}

// texts returns all that can be read of an export: its bytes, the files of a ZIP, what
// is compressed in a PDF or encoded in a document, and the text of a PDF.
func texts(t *testing.T, format string, data []byte) (out [][]byte) {
	t.Helper()
	out = append(out, data)
	switch format {
	case export.FormatZIP:
		z, err := zipstore.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range z.Entries() {
			b, err := z.ReadFile(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			if out = append(out, b); e.Name == "report.pdf" {
				out = append(out, texts(t, export.FormatPDF, b)...)
			}
		}
	case export.FormatJSON:
		var doc struct{ Files map[string]any }
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		for _, v := range doc.Files {
			if s, ok := v.(string); ok {
				out = append(out, []byte(s))
			}
		}
	case export.FormatPDF:
		out = append(out, inflated(data)...)
		out = append(out, pdfText(t, data))
	}
	return out
}

// inflated returns what can be inflated of the streams of a PDF.
func inflated(pdf []byte) (out [][]byte) {
	for _, at := range regexp.MustCompile(`stream\r?\n`).FindAllIndex(pdf, -1) {
		r, err := zlib.NewReader(bytes.NewReader(pdf[at[1]:]))
		if err != nil {
			continue
		}
		b, _ := io.ReadAll(r) // as far as it goes
		out = append(out, b)
	}
	return out
}

func pdfText(t *testing.T, pdf []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath("pdftotext"); err != nil {
		if os.Getenv("CI") != "" {
			t.Error("pdftotext (poppler-utils) is not installed")
		}
		t.Log("SKIPPED LOUDLY: there is no pdftotext here, so the text of PDFs was not searched")
		return nil
	}
	name := filepath.Join(t.TempDir(), "x.pdf")
	if err := os.WriteFile(name, pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, how := range []string{"-layout", "-raw"} { // by line, and by cell
		text, err := exec.Command("pdftotext", how, name, "-").Output()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return all
}

// shows reports whether a text stands in one of others, as it is, or as base64, hex or
// UTF-16 would hide it.
func shows(in [][]byte, text string) bool {
	forms := [][]byte{[]byte(text), []byte(fmt.Sprintf("%x", text)), []byte(fmt.Sprintf("%X", text))}
	for off := range 3 { // base64 has three ways to begin
		b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", off) + text))
		forms = append(forms, []byte(b[off*8/6+2:len(b)-4]))
	}
	var wide []byte
	for _, c := range []byte(text) {
		wide = append(wide, 0, c)
	}
	forms = append(forms, wide)
	return slices.ContainsFunc(in, func(b []byte) bool {
		// A narrow column may break a word.
		joined := bytes.Join(bytes.Fields(b), nil)
		return slices.ContainsFunc(forms, func(f []byte) bool { return bytes.Contains(b, f) || bytes.Contains(joined, f) })
	})
}

// TestRunSealed looks for the sealed content of a run in every format, as who may not
// read content gets it, and with fields withheld. What is disclosed must be found, or
// the search finds nothing.
func TestRunSealed(t *testing.T) {
	r := newRig(t)
	tenant, system := sealedEverywhere()
	r.append("acme", tenant...)
	r.append(evidence.SystemTenant, system...)
	all := sentinels(t, tenant, system)
	prompts := []string{sentinel("prompt"), sentinel("run_prompt")}
	others := []string{sentinel("params"), sentinel("response"), sentinel("run_response")}
	for _, tt := range []struct {
		name          string
		req           export.Request
		hidden, shown []string
	}{
		{"all", export.Request{}, nil, slices.Concat(prompts, others)},
		{"not permitted", export.Request{NotPermitted: true}, append(all, "secret-requester"), nil},
		{"not permitted, asked for", export.Request{NotPermitted: true, Disclose: []string{"*"}}, append(all, "secret-requester"), nil},
		{"withheld", export.Request{Withhold: []string{"*"}}, all, nil},
		{"prompts withheld", export.Request{Withhold: []string{"prompt"}}, prompts, others},
		{"prompts only", export.Request{Disclose: []string{"/prompt"}}, others, prompts},
		{"synthetic only", export.Request{Synthetic: ref(true)}, all, nil},
	} {
		for _, format := range formats {
			req := tt.req
			req.Run, req.Format, req.By = "run-1", format, export.Requester{Name: "secret-requester", Human: true, Credential: "key-1"}
			in := texts(t, format, bytesOf(t, r.exportRun(req)))
			for _, s := range tt.hidden {
				if shows(in, s) {
					t.Errorf("%s: %s shows %s", tt.name, format, s)
				}
			}
			for _, s := range tt.shown {
				if !shows(in, s) {
					t.Errorf("%s: %s does not show %s", tt.name, format, s)
				}
			}
		}
	}
}

func ref[T any](v T) *T { return &v }

// sentinels returns those of some records.
func sentinels(t *testing.T, lists ...[]string) (out []string) {
	t.Helper()
	for _, line := range slices.Concat(lists...) {
		out = append(out, regexp.MustCompile(`Sentinel\w+Xq`).FindAllString(line, -1)...)
	}
	if len(out) < 20 {
		t.Fatalf("%d sentinels", len(out))
	}
	return out
}

// TestDefused: no cell begins with a formula, whatever a spreadsheet separates by.
func TestDefused(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain": "plain", "1-2": "1-2", "=1": "'=1", "＝1": "'＝1", "\n=1": "'\n'=1", "a;=1": "a;'=1", "a\r\n- b": "a\r\n'- b", "\tx": "'\tx", "a=b": "a=b",
	} {
		if got := export.Defused(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestRunCSV reads the table back, and compares it with the leaves.
func TestRunCSV(t *testing.T) {
	r := newRig(t)
	formula := `=HYPERLINK(\"http://example.com\")`
	r.append("acme", judged(1, "15:00:00", "LimitChecked", "LIMIT", `,"run_id":"run-1"`),
		end("run-1", 1, `,"response":"`+formula+`","human_actor_id":"+49 30","model":"@model","models":["a","b"],"input_tokens":12`))
	r.steps(1, 0, 2)
	r.append("acme", strings.Replace(end("run-1", 2, `,"response":"a \"quoted\"\r\nline, \ttab"`), "Where is", `\tWhere is`, 1))
	b := r.exportRun(export.Request{Run: "run-1", Format: export.FormatCSV, Withhold: []string{"params"}})
	data := bytesOf(t, b)
	rows, err := csv.NewReader(bytes.NewReader(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")))).ReadAll()
	if err != nil || len(rows) != 5 {
		t.Fatal(len(rows), err)
	}
	if lines := bytes.Count(data, []byte("\r\n")); lines != 6 { // and the one in a cell
		t.Errorf("%d line ends of RFC 4180", lines)
	}
	column := func(row int, name string) string {
		at := slices.Index(rows[0], name)
		if at < 0 {
			t.Fatalf("no column %s in %v", name, rows[0])
		}
		return rows[row][at]
	}
	if last := rows[0][len(rows[0])-1]; last != "verifiable_form" {
		t.Errorf("the last column is %s", last)
	}
	leaves := runLeaves(t, r, "run-1")
	for i, want := range []struct{ record, response, withheld, person string }{
		{"llm_run", `'=HYPERLINK("http://example.com")`, "", "'+49 30"},
		{"trace_step", "", "/params=requested", "operator-0@example.com"},
		{"trace_step", "", "/params=requested", "operator-1@example.com"},
		{"llm_run", "a \"quoted\"\nline, \ttab", "", ""},
	} {
		row := i + 1
		leaf := leaves[column(row, "record_id")]
		if leaf == nil || column(row, "leaf_hash") != evidence.Checksum(evidence.LeafHash(leaf.raw)) ||
			column(row, "leaf_index") != fmt.Sprint(leaf.Seq) || column(row, "log") != leaf.Log || column(row, "n") != fmt.Sprint(leaf.N) {
			t.Errorf("row %d is not that of its leaf: %v", row, rows[row])
		}
		got := []string{column(row, "record"), column(row, "response"), column(row, "withheld"), column(row, "human_actor_id"), column(row, "verifiable_form")}
		if !slices.Equal(got, []string{want.record, want.response, want.withheld, want.person, "zip"}) {
			t.Errorf("row %d is %q", row, got)
		}
	}
	if got := []string{column(1, "model"), column(1, "models"), column(1, "input_tokens"), column(1, "is_synthetic"), column(1, "prompt"), column(4, "prompt")}; !slices.Equal(got,
		[]string{"'@model", `["a","b"]`, "12", "false", "Where is order A-17?", "'\tWhere is order A-17?"}) {
		t.Errorf("cells %q", got)
	}
}
