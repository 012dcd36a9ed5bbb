package registry

import (
	"bytes"
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: run go test ./internal/registry -update, and look at what has changed\n%s", path, got)
	}
}

// reported is an observation with all that a report has to show.
func reported() *Observation {
	reg := &Registry{Digest: "sha256:" + strings.Repeat("d", 64)}
	for _, topic := range []struct{ id, capability string }{{"AUD", "logs.audit"}, {"LLM", "logs.llm_runs"}, {"SYS", "logs.system_logs"}} {
		reg.Scenarios = append(reg.Scenarios, &Scenario{ID: "SDSR-LOG-" + topic.id + "-001", Capability: topic.capability})
		if topic.id == "LLM" {
			reg.Scenarios = append(reg.Scenarios, &Scenario{ID: "SDSR-LOG-LLM-GOV-001", Capability: topic.capability})
		}
		for _, order := range orders {
			reg.Scenarios = append(reg.Scenarios, &Scenario{
				ID: "SDSR-LOG-" + topic.id + "-" + order + "-001", Capability: topic.capability, Panel: "LOG-REC-" + topic.id + "-" + order,
			})
		}
	}
	o := observationOf(reg, "", map[string]Failure{
		"SDSR-LOG-LLM-GOV-001": {Reason: InvariantViolated, Invariant: "INV-LOG-006", Step: "governance", Detail: "items[3].metadata.tenant_id is \"acme\", and the credential is of \"synthetic\": an answer shows what is of another tenant"},
		"SDSR-LOG-SYS-O2-001":  {Reason: Timeout, Step: "inject[0]", Detail: "no answer: \x1b[31mred\x1b[0m <&>\x00\n]]> at the end"},
		"SDSR-LOG-AUD-O4-001":  {Reason: EndpointMissing},
	})
	o.StartedAt, o.FinishedAt = evidence.MicrosOf(judgedAt), evidence.MicrosOf(judgedAt.Add(8431*time.Millisecond))
	for i := range o.Scenarios {
		o.Scenarios[i].DurationMS = int64(77 * i * i)
	}
	o.Scenarios[1].Seen = []Seen{{ID: "envelope", Invariants: []Checked{{ID: "INV-L0-006", Level: Advisory, Detail: "it took 10.7s"}}}}
	return o
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	Table(&b, reported())
	golden(t, "table.txt", b.Bytes())
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > tableWidth {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	for _, r := range b.String() {
		if r < ' ' && r != '\n' {
			t.Errorf("the table has a control character %U", r)
		}
	}
	// One that passed, by itself.
	o := smallObservation()
	o.Scenarios, o.Passed = o.Scenarios[:1], true
	b.Reset()
	Table(&b, o)
	const want = "SCENARIO  CAPABILITY  PANEL         RESULT  TIME  WHY\n" +
		"SDSR-A    logs.a      LOG-REC-A-O1  passed  0.1s\n\n" +
		"logs.a      1 scenario passed\ntotal       1 scenario passed in 0.0s\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestJUnit(t *testing.T) {
	o := reported()
	text := JUnit(o)
	golden(t, "junit.xml", text)
	var back junitSuites
	if err := xml.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if back.Tests != 19 || back.Failures != 3 || len(back.Suites) != 3 {
		t.Errorf("%d tests, %d failures, %d suites", back.Tests, back.Failures, len(back.Suites))
	}
	cases, reasons := 0, []string{}
	for _, s := range back.Suites {
		cases += len(s.Cases)
		for _, c := range s.Cases {
			if c.Failure != nil {
				reasons = append(reasons, c.Name+" "+c.Failure.Type)
			}
		}
	}
	want := "SDSR-LOG-AUD-O4-001 endpoint_missing, SDSR-LOG-LLM-GOV-001 invariant_violated, SDSR-LOG-SYS-O2-001 timeout"
	if got := strings.Join(reasons, ", "); got != want || cases != 19 {
		t.Errorf("%d cases: %s", cases, got)
	}
}

// smallRegistry is one of two panels in the wrong order, one of them proven.
func smallRegistry() *Registry {
	return &Registry{
		Digest: "sha256:" + strings.Repeat("b", 64),
		Intents: []*Intent{
			{
				PanelID: "LOG-REC-AUD-O1", Metadata: IntentMetadata{Topic: "AUDIT", TopicID: "LOG-REC-AUD", Order: "O1"},
				Display:    Display{Name: "Identity <&>", Question: "Who logged in?", Layout: "table", Rows: "entries", Fields: []string{"occurred_at"}, Empty: "Nobody."},
				Data:       DataAccess{Read: true},
				Controls:   []Control{{Parameter: "cursor", Label: "Next page", Kind: "page"}},
				Capability: IntentCapability{ID: "logs.audit", Status: Declared, Endpoint: "/api/v1/logs/audit/identity", Method: "GET"},
				SDSR:       SDSR{Scenario: "SDSR-LOG-AUD-O1-001"},
			},
			{
				PanelID: "LOG-REC-LLM-O2", Metadata: IntentMetadata{Topic: "LLM_RUNS", TopicID: "LOG-REC-LLM", Order: "O2"},
				Capability: IntentCapability{ID: "logs.llm_runs", Status: Degraded, Method: "GET"},
			},
			{
				PanelID: "LOG-REC-LLM-O1", Metadata: IntentMetadata{Topic: "LLM_RUNS", TopicID: "LOG-REC-LLM", Order: "O1"},
				Capability: IntentCapability{ID: "logs.llm_runs", Status: Degraded, Method: "GET"}, SDSR: SDSR{Verified: true},
			},
			{
				PanelID: "LOG-REC-NEW-O1", Metadata: IntentMetadata{Topic: "NEW", TopicID: "LOG-REC-NEW", Order: "O1"},
			},
		},
		Capabilities: []*Capability{
			{ID: "logs.audit", Status: Declared, Acceptance: []string{"It answers."}},
			{
				ID: "logs.llm_runs", Status: Degraded, Observation: &Applied{ID: "x", Digest: "sha256:c", Registry: "sha256:a", Log: "l/1", LeafIndex: 7, ObservedAt: evidence.MicrosOf(judgedAt)},
				History: []Transition{{To: Observed, Reason: "all 7 scenarios passed"}, {To: Degraded, Reason: "1 of 7 scenarios failed: it"}},
			},
		},
	}
}

func TestProject(t *testing.T) {
	text := Project(smallRegistry())
	golden(t, "projection_small.json", text)
	if !bytes.Equal(text, Project(smallRegistry())) {
		t.Error("it differs the second time")
	}
	_, reg := builtinDir(t)
	golden(t, "projection.json", Project(reg))
}
