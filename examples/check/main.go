// Command check compares what a ledger holds of the example runs with what really
// happened. What happened is the truth file of the provider; what is held is the
// export of a whole log (runledger export --profile log), which runledger verify
// has verified. It exits with 1 if anything is missing or wrong.
//
//	check --bundle log.zip --truth truth.ndjson NAME=RUN ...
//
// NAME is one of the table below
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
)

func main() {
	bundle := flag.String("bundle", "", "the exported log, a ZIP `file`")
	truth := flag.String("truth", "", "what the provider was asked and answered, a `file`")
	flag.Parse()
	problems, err := check(*bundle, *truth, flag.Args())
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range problems {
		fmt.Println("WRONG:", p)
	}
	if problems != nil {
		os.Exit(1)
	}
}

// want is what must be held of a run besides what the provider knows.
type want struct {
	model    string // by which the provider's calls are told apart
	prompt   string // the question
	status   string
	executed []string // tools, sorted by name
	audit    []string // the run's audit entries, as auditText writes them
	// cost says that the run's cost is known. It is not where the
	// instrumentation does not tell how many tokens came from the cache: an
	// honest ledger then says so.
	cost bool
}

var wants = map[string]want{
	"agent": {
		model: "gpt-4o-mini", prompt: "Where is order A-17, and what is the weather in Paris?",
		status: "SUCCEEDED", executed: []string{"get_weather", "lookup_order"},
	},
	"guardrail": {
		model: "gpt-4o", prompt: "Please refund 250 euros for order A-17.",
		status: "ABORTED", executed: []string{"refund_order"},
		audit: []string{
			"LimitBreached   refund-eur BREACHED 250/100",
			"PolicyEvaluated refunds refund-limit  BLOCKED /",
		},
	},
	"go-http": ofGo("claude-sonnet-4-5"),
	"go-grpc": ofGo("claude-haiku-4-5"),
}

func ofGo(model string) want {
	return want{
		model: model, prompt: "What is the invoice A-17, and what does the contract say about credit?",
		status: "SUCCEEDED", cost: true, executed: []string{"find_invoice", "search_contract"},
		audit: []string{"LimitOverrideGranted credits  credit-eur ALLOWED /500"},
	}
}

// auditText writes an audit entry in one line.
func auditText(l *evidence.Leaf) string {
	return fmt.Sprintf("%s %s %s %s %s %s/%s", l.Text("event_type"), l.Text("policy_id"), l.Text("rule_id"),
		l.Text("limit_id"), l.Text("decision"), l.Text("observed_value"), l.Text("limit_value"))
}

// call is a line of the truth file.
type call struct {
	Model        string
	Status       int
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	Tools        []string
}

func check(bundle, truth string, runs []string) (problems []string, err error) {
	calls, err := readTruth(truth)
	if err != nil {
		return nil, err
	}
	held, err := readLog(bundle)
	if err != nil {
		return nil, err
	}
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if len(runs) == 0 {
		report("no run was named")
	}
	for _, arg := range runs {
		name, run, _ := strings.Cut(arg, "=")
		w, ok := wants[name]
		if !ok || run == "" {
			return nil, fmt.Errorf("%q is not NAME=RUN", arg)
		}
		before := len(problems)
		held.checkRun(w, run, calls, func(format string, args ...any) {
			report("%s: %s", name, fmt.Sprintf(format, args...))
		})
		if len(problems) == before {
			fmt.Printf("%s: run %s is held as it was\n", name, run)
		}
	}
	deployed := slices.ContainsFunc(held.leaves, func(l *evidence.Leaf) bool {
		return l.Kind == evidence.KindSystem && l.Text("event_type") == "DEPLOY" && l.Text("version") == "2.1.0"
	})
	if !deployed {
		report("the DEPLOY record is missing")
	}
	return problems, nil
}

func readTruth(path string) ([]call, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var calls []call
	for s := bufio.NewScanner(f); s.Scan(); {
		var c call
		if err := json.Unmarshal(s.Bytes(), &c); err != nil {
			return nil, err
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// checkRun compares one run. report is told what is wrong.
func (h *heldLog) checkRun(w want, run string, calls []call, report func(string, ...any)) {
	var row *evidence.Leaf // the newest revision
	var tools, audit []string
	models := 0
	for _, l := range h.leaves {
		if l.Run != run {
			continue
		}
		switch l.Kind {
		case evidence.KindLLMRun:
			row = l
		case evidence.KindAudit:
			audit = append(audit, auditText(l))
		case evidence.KindTraceStep:
			switch l.Text("step_kind") {
			case "llm":
				models++
			case "tool":
				tools = append(tools, l.Text("skill_name"))
			}
		}
	}
	if row == nil {
		report("there is no llm_run record of run %s", run)
		return
	}
	var input, output, answered int64
	for _, c := range calls {
		if c.Model == w.model && c.Status == 200 {
			input, output, answered = input+c.InputTokens, output+c.OutputTokens, answered+1
		}
	}
	equal(report, "execution_status", row.Text("execution_status"), w.status)
	equal(report, "model", row.Text("model"), w.model)
	equal(report, "input_tokens", number(row, "input_tokens"), input)
	equal(report, "output_tokens", number(row, "output_tokens"), output)
	equal(report, "model calls", int64(models), answered)
	_, cost := row.Int("cost_usd_nanos")
	flags, _ := row.Fact("completeness")
	equal(report, "cost is known", cost, w.cost)
	equal(report, "flag cost_unknown", slices.Contains(flags.List, "cost_unknown"), !w.cost)
	slices.Sort(tools) // OTLP promises no order
	slices.Sort(audit)
	equal(report, "tools", strings.Join(tools, ", "), strings.Join(w.executed, ", "))
	equal(report, "audit entries", strings.Join(audit, "; "), strings.Join(w.audit, "; "))
	equal(report, "prompt", h.text(row.Seq, "/prompt"), w.prompt)
}

func number(l *evidence.Leaf, name string) int64 {
	if n, ok := l.Int(name); ok {
		return n
	}
	return -1
}

func equal[T comparable](report func(string, ...any), what string, got, want T) {
	if got != want {
		report("%s is %v, want %v", what, got, want)
	}
}
