package facade

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/answer"
)

// captured is an entry of the captures' manifest: what an SDK sent, and what is
// true of it.
type captured struct {
	ID             string         `json:"id"`
	ContentCapture bool           `json:"content_capture"`
	Files          []capturedFile `json:"files"`
	Expected       struct {
		Provider       string   `json:"provider"`
		CallsOK        int      `json:"llm_calls_ok"`
		ProviderErrors []int    `json:"provider_errors"`
		Models         []string `json:"response_models"`
		Input          int64    `json:"input_tokens"`
		Output         int64    `json:"output_tokens"`
		ToolCalls      []string `json:"tool_calls"`
		ToolsExecuted  bool     `json:"tools_executed"`
		Prompt         any      `json:"prompt"`
		FinalText      any      `json:"final_text"`
	} `json:"expected"`
	Observed   struct{ Spans, Traces int } `json:"observed"`
	Deviations []string                    `json:"deviations"`
}

func captures(t *testing.T) []captured {
	t.Helper()
	b, err := os.ReadFile("../../testdata/captures/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Entries []captured }
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m.Entries
}

func sorted(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return out
}

// TestCaptures: of what real SDKs sent, in one trace and without loss, the answers say
// what the provider and the driver know.
func TestCaptures(t *testing.T) {
	r := newRig(t)
	checked := 0
	for i, c := range captures(t) {
		if c.Observed.Traces != 1 || len(c.Deviations) > 0 || c.Expected.CallsOK == 0 {
			continue
		}
		checked++
		tenant := fmt.Sprintf("capture-%d", i)
		_, err := r.ledger.CreateTenant(r.ctx, tenant)
		r.must(err)
		r.send(tenant, c.Files...)
		r.settle()
		rd := readerOf(tenant)
		rd.Content, rd.MaxRange = true, 0
		l := r.runs(rd, RunFilter{}, Paging{})
		if len(l.Items) != 1 {
			t.Errorf("%s: %d runs", c.ID, len(l.Items))
			continue
		}
		for _, wrong := range c.wrong(r.envelope(rd, l.Items[0].RunID), r.trace(rd, l.Items[0].RunID, Paging{Limit: 100})) {
			t.Errorf("%s: %s", c.ID, wrong)
		}
	}
	t.Logf("%d captures", checked)
	if checked < 20 {
		t.Errorf("only %d captures hold the whole truth", checked)
	}
}

// holds reports whether a text stands in what the SDK sent at all.
func (c *captured) holds(text string) bool {
	quoted, _ := json.Marshal(text)
	return slices.ContainsFunc(c.Files, func(f capturedFile) bool {
		b, err := os.ReadFile("../../testdata/captures/" + f.Path)
		return err == nil && (bytes.Contains(b, []byte(text)) || bytes.Contains(b, quoted[1:len(quoted)-1]))
	})
}

func (c *captured) wrong(e *answer.RunEnvelope, tr *answer.RunTrace) (list []string) {
	same := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			list = append(list, fmt.Sprintf("%s is %v, truth %v", what, got, want))
		}
	}
	x := &c.Expected
	same("input_tokens", said(e.InputTokens), x.Input)
	same("output_tokens", said(e.OutputTokens), x.Output)
	same("total_tokens", said(tr.TotalTokens), x.Input+x.Output)
	same("models", sorted(e.Models), sorted(x.Models))
	if x.Provider != "" {
		same("provider", said(e.Provider), x.Provider)
	}
	same("status", e.Status, "SUCCEEDED")
	same("steps", len(tr.Steps), c.Observed.Spans)
	same("step_count", e.StepCount, c.Observed.Spans)
	if text, ok := x.Prompt.(string); ok && c.ContentCapture {
		same("prompt", e.Prompt.Text(), text)
	}
	if text, ok := x.FinalText.(string); ok && c.ContentCapture && c.holds(text) {
		same("response", e.Response.Text(), text)
	}
	if x.ToolsExecuted {
		var tools []string
		for _, s := range tr.Steps {
			if s.Kind == "tool" {
				tools = append(tools, s.SkillName)
			}
		}
		same("tools", strings.Join(sorted(tools), " "), strings.Join(sorted(x.ToolCalls), " "))
	}
	return list
}
