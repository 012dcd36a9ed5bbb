package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show returns the public facts and sealed values of a record in text form.
func show(r *Record) (pub, sealed map[string]string) {
	pub, sealed = map[string]string{}, map[string]string{}
	for _, f := range r.Pub {
		pub[f.Field.Name] = string(f.AppendJSON(nil))
	}
	for _, v := range r.Sealed {
		sealed[v.Path] = string(v.JSON)
	}
	return pub, sealed
}

// TestNativeDefaults compares all facts of the least record of each kind.
func TestNativeDefaults(t *testing.T) {
	common := map[string]string{
		"actor_type": `"SYSTEM"`, "origin": `"SYSTEM"`, "is_synthetic": `false`, "policy_ids": `[]`, "incident_ids": `[]`,
		"source_domain": `"ACTIVITY"`, "source_component": `"TraceStore"`,
	}
	tests := map[Kind]map[string]string{
		KindLLMRun: {
			"execution_status": `"SUCCEEDED"`, "revision": `1`, "executor_type": `"LLM"`, "outcome": `"success"`,
			"models": `[]`, "started_at": `"2026-11-23T15:00:01.000000Z"`, "source": `"API"`, "completeness": `[]`,
		},
		KindTrace: {
			"trace_id": `"` + testTrace + `"`, "schema_version": `"1"`, "started_at": `"2026-11-23T15:00:01.000000Z"`,
		},
		KindTraceStep: {
			"trace_id": `"` + testTrace + `"`, "step_kind": `"llm"`, "skill_id": `"llm"`, "skill_name": `"plan"`,
			"status": `"success"`, "outcome_category": `"SUCCESS"`, "duration_us": `0`, "retry_count": `0`,
			"replay_behavior": `"execute"`, "flags": `[]`,
		},
		KindTraceEvent: {"event_name": `"exception"`},
		KindSystem: {
			"component": `"worker"`, "event_type": `"STARTUP"`, "severity": `"INFO"`, "visibility": `"tenant"`, "system_id": `"worker"`,
		},
		KindMetric: {
			"names": `[]`, "from": `"2026-11-23T15:00:01.000000Z"`, "until": `"2026-11-23T15:00:02.000000Z"`, "point_count": `3`,
		},
		KindAudit: {
			"event_type": `"LimitChecked"`, "entity_type": `"LIMIT"`, "entity_id": `"l-1"`, "roles": `[]`,
		},
	}
	for _, kind := range nativeKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			want := tests[kind]
			for name, v := range common {
				want[name] = v
			}
			r := mustParse(t, native(kind))
			pub, sealed := show(r)
			if diff := cmp.Diff(want, pub); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
			wantSealed := map[string]string{"/actor": `{}`}
			if kind == KindSystem {
				wantSealed["/summary"] = `"up"`
			}
			if diff := cmp.Diff(wantSealed, sealed); diff != "" {
				t.Errorf("sealed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNativeDerivedDefaults(t *testing.T) {
	tests := []struct {
		name    string
		kind    Kind
		changes []string
		want    map[string]string
	}{
		{"failed step", KindTraceStep, []string{`status="failure"`, `step_kind="tool"`}, map[string]string{"outcome_category": `"FAILURE"`, "skill_id": `"tool"`}},
		{"own category", KindTraceStep, []string{`outcome_category="RATE_LIMIT"`, `skill_id="s 1"`}, map[string]string{"outcome_category": `"RATE_LIMIT"`, "skill_id": `"s 1"`}},
		{"run of an agent", KindLLMRun, []string{`agent_id="a"`}, map[string]string{"executor_type": `"agent"`, "actor_type": `"AGENT"`, "origin": `"AGENT"`}},
		{"run of a person by an agent", KindLLMRun, []string{`agent_id="a"`, `human_actor_id="h"`}, map[string]string{"executor_type": `"agent"`, "actor_type": `"HUMAN"`, "origin": `"HUMAN"`}},
		{"own executor", KindLLMRun, []string{`agent_id="a"`, `executor_type="human"`}, map[string]string{"executor_type": `"human"`}},
		{"failed run", KindLLMRun, []string{`execution_status="FAILED"`}, map[string]string{"outcome": `"failure"`}},
		{"aborted run", KindLLMRun, []string{`execution_status="ABORTED"`}, map[string]string{"outcome": `"terminated"`}},
		{"timed out run", KindLLMRun, []string{`execution_status="TIMEOUT"`}, map[string]string{"outcome": `"terminated"`}},
		{"own outcome", KindLLMRun, []string{`outcome="near_threshold"`}, map[string]string{"outcome": `"near_threshold"`}},
		{"system id of its own", KindSystem, []string{`system_id="node-3"`}, map[string]string{"system_id": `"node-3"`}},
		{"system record of a person", KindSystem, []string{`human_actor_id="h"`}, map[string]string{"actor_type": `"HUMAN"`, "system_id": `"worker"`}},
		{"migrated", KindAudit, []string{`origin="MIGRATION"`}, map[string]string{"origin": `"MIGRATION"`}},
		{"replayed", KindTraceStep, []string{`origin="REPLAY"`, `agent_id="a"`}, map[string]string{"origin": `"REPLAY"`, "actor_type": `"AGENT"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pub, _ := show(mustParse(t, native(tt.kind, tt.changes...)))
			for name, want := range tt.want {
				if pub[name] != want {
					t.Errorf("%s is %s, want %s", name, pub[name], want)
				}
			}
		})
	}
}

func TestNativeRules(t *testing.T) {
	tests := []struct {
		name          string
		kind          Kind
		changes       []string
		field, reason string
	}{
		{"agent over person", KindTraceStep, []string{`agent_id="a"`, `human_actor_id="h"`, `actor_type="AGENT"`}, "actor_type", "must be HUMAN"},
		{"system over agent", KindTraceStep, []string{`agent_id="a"`, `actor_type="SYSTEM"`}, "actor_type", "must be AGENT"},
		{"person who is not named", KindAudit, []string{`actor_type="HUMAN"`}, "human_actor_id", "required"},
		{"agent who is not named", KindAudit, []string{`actor_type="AGENT"`}, "agent_id", "required"},
		{"origin of another actor", KindTraceStep, []string{`agent_id="a"`, `origin="HUMAN"`}, "origin", "AGENT"},
		{"empty person", KindTraceStep, []string{`human_actor_id=""`}, "human_actor_id", "empty"},
		{"person who is no string", KindTraceStep, []string{`human_actor_id={"x":1}`}, "human_actor_id", "string"},
		{"start is not the time", KindLLMRun, []string{`started_at="2026-11-23T15:00:02Z"`}, "started_at", "occurred_at"},
		{"start of a trace", KindTrace, []string{`started_at="2026-11-23T15:00:02Z"`}, "started_at", "occurred_at"},
		{"from is not the time", KindMetric, []string{`from="2026-11-23T15:00:00Z"`}, "from", "occurred_at"},
		{"revision 0", KindLLMRun, []string{`revision=0`}, "revision", "from 1"},
		{"65 metrics", KindMetric, []string{`names=[` + strings.Repeat(`"m",`, 64) + `"m"]`}, "names", "64"},
		{"empty run", KindAudit, []string{`run_id=""`}, "run_id", "empty"},
		{"run with a NUL", KindAudit, []string{`run_id="a\u0000"`}, "run_id", "NUL"},
		{"run with a control character", KindAudit, []string{`run_id="a\u0085"`}, "run_id", "control"},
		{"long run", KindAudit, []string{`run_id="` + strings.Repeat("é", 65) + `"`}, "run_id", "long"},
		{"long about_run", KindAudit, []string{`about_run="` + strings.Repeat("x", 129) + `"`}, "about_run", "long"},
		{"short trace id", KindTraceStep, []string{`trace_id="5b8e"`}, "trace_id", "32 lower-case"},
		{"trace id in capitals", KindTraceStep, []string{`trace_id="` + strings.ToUpper(testTrace) + `"`}, "trace_id", "32 lower-case"},
		{"long span id", KindTraceStep, []string{`span_id="` + testTrace + `"`}, "span_id", "16 lower-case"},
		{"seed with a fraction", KindTrace, []string{`seed="1.5"`}, "seed", "decimal integer"},
		{"limit with an exponent", KindAudit, []string{`limit_value="1e3"`}, "limit_value", "decimal number"},
		{"subject is no text", KindAudit, []string{`subject={"a":1}`}, "subject", "string"},
		{"empty subject", KindAudit, []string{`subject=""`}, "subject", "not empty"},
		{"attrs as an object", KindAudit, []string{`attrs={"a":1}`}, "attrs", "list of"},
		{"attr without a value", KindAudit, []string{`attrs=[["a","int"]]`}, "attrs", "list of"},
		{"attr with two values", KindAudit, []string{`attrs=[["a","int",1,2]]`}, "attrs", "list of"},
		{"attr of an unknown type", KindAudit, []string{`attrs=[["a","float",1]]`}, "attrs", "list of"},
		{"attr without a key", KindAudit, []string{`attrs=[[1,"int",1]]`}, "attrs", "list of"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refuses(t, native(tt.kind, tt.changes...), tt.field, tt.reason) })
	}
	// The greatest that is right.
	mustParse(t, native(KindMetric, `names=[`+strings.Repeat(`"m",`, 63)+`"m"]`))
	mustParse(t, native(KindAudit, `run_id="`+strings.Repeat("é", 64)+`"`, `about_run="a\"b\\c"`, `actor_type="HUMAN"`, `human_actor_id="h"`))
	mustParse(t, native(KindTrace, `seed="-123456789012345678901234567890"`))
	mustParse(t, native(KindAudit, `attrs=[["a","int","9223372036854775807"],["a","double","NaN"],["b","kvlist",[["x","bool",true]]]]`))
}

// Text that a name cannot hold is sealed as it was written; the record keeps
// it in its public place until it is sealed.
func TestNativeUnfitNames(t *testing.T) {
	long := strings.Repeat("n", 129)
	tests := []struct {
		name, field, text string
		unfit             bool
	}{
		{"every fit character", "skill_name", `"AZaz09 ._:/@-"`, false},
		{"plus sign", "skill_name", `"a+b"`, true},
		{"128 bytes", "skill_name", `"` + long[1:] + `"`, false},
		{"129 bytes", "skill_name", `"` + long + `"`, true},
		{"not ASCII", "agent_id", `"Müller"`, true},
		{"escapes are kept", "agent_id", `"M\u00fcller\/x"`, true},
		{"fit when unescaped", "agent_id", `"\u0061"`, false},
		{"control character", "model", `"a\nb"`, true},
		{"replacement's form", "model", `"h:0123456789abcdef"`, true},
		{"no replacement", "model", `"h:0123456789abcde"`, false},
		{"no replacement in capitals", "model", `"h:0123456789ABCDEF"`, false},
		{"array", "flags", `[ "ok", "n\u00f6t" ]`, true},
		{"array with a replacement's form", "flags", `["h:0123456789abcdef"]`, true},
		{"fit array", "flags", `[ "ok", "fine" ]`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := mustParse(t, native(KindTraceStep, tt.field+"="+tt.text))
			got := r.SealedJSON("/" + tt.field)
			if (got != nil) != tt.unfit {
				t.Fatalf("sealed %q, want sealed %v", got, tt.unfit)
			}
			if tt.unfit && string(got) != tt.text {
				t.Errorf("sealed as %s, want %s", got, tt.text)
			}
			if !r.has(tt.field) {
				t.Error("nothing in its public place")
			}
		})
	}
	// Every name and array of names of every kind has a path of its own.
	for _, kind := range Kinds() {
		for _, f := range PublicFields(kind) {
			s := Sealed(kind, "/"+f.Name)
			if isName := f.Type == TypeName || f.Type == TypeNames; isName != (s != nil && s.UnfitOf == f.Name) {
				t.Errorf("%s: %s: %+v", kind, f.Name, s)
			}
		}
	}
	// A form that only looks like a replacement's is nothing to a field that
	// is no name.
	r := mustParse(t, native(KindAudit, `about_run="h:0123456789abcdef"`, `run_id="h:0123456789abcdef"`))
	if r.Text("about_run") != "h:0123456789abcdef" || len(r.Sealed) != 1 {
		t.Errorf("about_run %q, sealed %v", r.Text("about_run"), r.Sealed)
	}
}

func TestIdentityIsSealed(t *testing.T) {
	for _, text := range []string{`"ada"`, `"ada@example.com"`, `"\u0061da"`, `"Ada Lövelace"`} {
		r := mustParse(t, native(KindAudit, `entity_type="IDENTITY"`, `entity_id=`+text))
		if got := string(r.SealedJSON("/entity_id")); got != text {
			t.Errorf("%s is sealed as %q", text, got)
		}
	}
	r := mustParse(t, native(KindAudit))
	if r.SealedJSON("/entity_id") != nil {
		t.Error("a limit's id is sealed")
	}
	// Of a record that is not native too.
	r = &Record{Kind: KindAudit, ID: ID{1}}
	for name, v := range map[string]string{
		"event_type": "LOGIN", "entity_type": "IDENTITY", "entity_id": "ada", "actor_type": "SYSTEM",
		"source_domain": "LOGS", "source_component": "AuditLedgerWriter",
	} {
		r.SetText(name, v)
	}
	if err := r.Complete(); err != nil || string(r.SealedJSON("/entity_id")) != `"ada"` {
		t.Errorf("%v, sealed %q", err, r.SealedJSON("/entity_id"))
	}
}

func TestNativeVerbatim(t *testing.T) {
	for _, text := range []string{
		`0.70`, `9007199254740993`, `-0`, `1E400`, `1e-400`, `{ "b" : [1 , 2],` + "\t" + `"a":-0.0 }`, `"\u00e9\/\ud83d\ude00"`,
		`"é😀"`, `null`, `[]`, `{"":""}`, `"\u0000"`, `[[],{},""]`,
	} {
		r := mustParse(t, native(KindTraceStep, "params= "+text+" "))
		if got := string(r.SealedJSON("/params")); got != text {
			t.Errorf("%s is kept as %s", text, got)
		}
		// The text of the content MAC keeps it too, members in JCS order.
		if !strings.Contains(string(r.Content), `"params":`+text+`,"run_id"`) {
			t.Errorf("content is %s", r.Content)
		}
	}
	r := mustParse(t, native(KindTraceStep, `human_actor_id="M\u00fcller"`))
	if got, want := string(r.SealedJSON("/actor")), `{"human_actor_id":"Müller"}`; got != want || r.HumanActor() != "Müller" {
		t.Errorf("actor %s, want %s (%q)", got, want, r.HumanActor())
	}
	// The order and spacing of members is not content.
	a := mustParse(t, `{"kind":"trace","occurred_at":"2026-11-23T15:00:01Z","source_domain":"LOGS","source_component":"x","run_id":"r","trace_id":"`+testTrace+`"}`)
	b := mustParse(t, ` { "trace_id" : "`+testTrace+`", "run_id":"r","source_component":"x","source_domain":"LOGS","occurred_at":"2026-11-23T15:00:01Z","kind":"trace"}`)
	if string(a.Content) != string(b.Content) {
		t.Errorf("%s\n%s", a.Content, b.Content)
	}
}

func TestNaturalKeys(t *testing.T) {
	tests := []struct {
		kind    Kind
		changes []string
		want    string
	}{
		{KindTraceStep, []string{`id=`, `span_id="` + testSpan + `"`}, testTrace + ":" + testSpan},
		{KindTraceStep, nil, ""},
		{KindTrace, nil, testTrace},
		{KindLLMRun, nil, "r-1:1"},
		{KindLLMRun, []string{`revision=12`, `run_id="a:b"`}, "a:b:12"},
		{KindAudit, nil, ""},
	}
	for _, tt := range tests {
		r := mustParse(t, native(tt.kind, tt.changes...))
		if r.NaturalKey != tt.want {
			t.Errorf("%s %v: natural key %q, want %q", tt.kind, tt.changes, r.NaturalKey, tt.want)
		}
		if err := r.AssignID("acme"); err != nil {
			t.Error(err)
		}
		if tt.want == "" && r.ID.String() != testID || tt.want != "" && r.ID != NaturalID("acme", tt.kind, tt.want) {
			t.Errorf("%s: id %s", tt.kind, r.ID)
		}
		if v8 := r.ID.Version() == 8; v8 != (tt.want != "") {
			t.Errorf("%s: id %s", tt.kind, r.ID)
		}
	}
}

func TestRecordSetters(t *testing.T) {
	r := &Record{Kind: KindTraceStep}
	r.SetText("model", "größer")
	r.SetNames("flags", []string{"ä"})
	if r.SealedJSON("/model") == nil || string(r.SealedJSON("/flags")) != `["ä"]` {
		t.Fatalf("sealed %v", r.Sealed)
	}
	// What was set before leaves nothing behind.
	r.SetText("model", "gpt-5")
	r.SetNames("flags", []string{"ok"})
	if r.SealedJSON("/model") != nil || r.SealedJSON("/flags") != nil || r.Text("model") != "gpt-5" {
		t.Errorf("sealed %v", r.Sealed)
	}
	if !slices.IsSortedFunc(r.Pub, func(a, b Fact) int { return a.Field.Index() - b.Field.Index() }) {
		t.Error("facts are not sorted")
	}
}

func TestSealedLimit(t *testing.T) {
	r := mustParse(t, native(KindTraceStep))
	r.SetSealed("/prompt", fmt.Appendf(nil, "%q", strings.Repeat("x", MaxSealed)))
	if err := r.Complete(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}
