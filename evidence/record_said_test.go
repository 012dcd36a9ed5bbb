package evidence

import (
	"strings"
	"testing"
)

// readStep is a step as a server reads it of a span: attrs are what was said,
// the rest is its reading.
func readStep(t *testing.T, attrs, model, prompt string) *Record {
	t.Helper()
	r := &Record{Kind: KindTraceStep, OccurredAt: 1_764_000_000_000_000, Run: testTrace}
	for name, v := range map[string]string{
		"trace_id": testTrace, "span_id": "00f067aa0ba902b7", "step_kind": "llm", "skill_name": "chat", "status": "success",
		"source_domain": "ACTIVITY", "source_component": "svc", "model": model,
	} {
		r.SetText(name, v)
	}
	r.SetInt("duration_us", 5)
	r.SetSealed("/attrs", []byte(attrs))
	if prompt != "" {
		r.SetSealed("/prompt", QuoteJSON(prompt))
	}
	if err := r.Complete(); err != nil {
		t.Fatal(err)
	}
	return r
}

// asStored is a record as stored.
func asStored(r *Record) *Leaf {
	l := &Leaf{Kind: r.Kind, OccurredAt: r.OccurredAt, Run: r.Run, Pub: r.Pub}
	for _, v := range r.Sealed {
		l.H = append(l.H, Commitment{Path: v.Path})
	}
	return l
}

func TestSaidDecidesWhatIsTheSame(t *testing.T) {
	said := []string{"/attrs", "/status_message", "duration_us", "occurred_at", "span_id", "trace_id"}
	const attrs = `[["k","string","v"]]`
	stored := asStored(readStep(t, attrs, "gpt-5", "hi"))
	change := func(set func(*Record)) *Record {
		r := readStep(t, attrs, "gpt-5", "hi")
		set(r)
		return r
	}
	tests := []struct {
		name      string
		record    *Record
		said, all bool // the same: by what was said, by everything
	}{
		{"the same", readStep(t, attrs, "gpt-5", "hi"), true, true},
		{"another reading of a name", readStep(t, attrs, "gpt-5.1", "hi"), true, false},
		{"no model any more", readStep(t, attrs, "", "hi"), true, false},
		{"no prompt any more", readStep(t, attrs, "gpt-5", ""), true, false},
		{"a further reading", change(func(r *Record) { r.SetText("provider", "openai"); r.SetSealed("/response", []byte(`"x"`)) }), true, false},
		{"another duration", change(func(r *Record) { r.SetInt("duration_us", 6) }), false, false},
		{"a parent, which is not among what was said", change(func(r *Record) { r.SetText("parent_span_id", "00f067aa0ba902b8") }), true, false},
		{"a message that was not there", change(func(r *Record) { r.SetSealed("/status_message", []byte(`"x"`)) }), false, false},
		{"another time", change(func(r *Record) { r.OccurredAt++ }), false, false},
		{"another run", change(func(r *Record) { r.Run = "other" }), false, false},
		{"a fact of the server", change(func(r *Record) { r.SetText("producer", "key-1") }), true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.record.SameFacts(stored); got != test.all {
				t.Errorf("with everything said it is the same: %v, want %v", got, test.all)
			}
			test.record.Said = said
			if got := test.record.SameFacts(stored); got != test.said {
				t.Errorf("by what was said it is the same: %v, want %v", got, test.said)
			}
		})
	}
	// Where nothing was said but what is in the key, all readings are the same.
	r := readStep(t, `[]`, "other", "")
	r.Said = []string{}
	r.OccurredAt++
	if !r.SameFacts(stored) {
		t.Error("an empty list of what was said compares something")
	}
	if r.WasSaid("/attrs") {
		t.Error("with nothing said, /attrs was")
	}
	r.Said = nil
	if !r.WasSaid("/attrs") || !r.WasSaid("model") {
		t.Error("nil does not mean everything")
	}
	r.Said = said
	for name, want := range map[string]bool{"/attrs": true, "trace_id": true, "model": false, "/prompt": false, "": false} {
		if r.WasSaid(name) != want {
			t.Errorf("%q was said: %v", name, !want)
		}
	}
}

// TestFactsDoNotRunTogether: what ends one fact cannot begin another.
func TestFactsDoNotRunTogether(t *testing.T) {
	a := readStep(t, `[]`, "gpt", "")
	a.SetText("operation", "a")
	b := readStep(t, `[]`, "gpt", "")
	b.SetText("operation", `a"operation="a`)
	if a.SameFacts(asStored(b)) {
		t.Error("different facts are the same")
	}
}

func TestContentKey(t *testing.T) {
	event := func() *Record {
		r := &Record{Kind: KindTraceEvent, OccurredAt: 1_764_000_000_000_000, Run: testTrace, ContentKey: true, Content: []byte("log record")}
		r.SetText("event_name", "e")
		r.SetText("source_domain", "ACTIVITY")
		r.SetText("source_component", "svc")
		return r
	}
	// It is complete without id or key: both follow from the content when it is
	// appended.
	r := event()
	if err := r.Complete(); err != nil || r.NaturalKey != "" || r.ID != (ID{}) {
		t.Fatalf("%v, key %q, id %s", err, r.NaturalKey, r.ID)
	}
	r.NaturalKey = strings.Repeat("0a", 16)
	if err := r.AssignID("acme"); err != nil || r.ID != NaturalID("acme", KindTraceEvent, r.NaturalKey) {
		t.Errorf("%v, id %s", err, r.ID)
	}
	// A key that it has already stays.
	r = event()
	r.NaturalKey = "key"
	if err := r.Complete(); err != nil || r.NaturalKey != "key" {
		t.Errorf("%v, key %q", err, r.NaturalKey)
	}
	// Without ContentKey such a record has no way to an id.
	r = event()
	r.ContentKey = false
	if err := r.Complete(); err == nil {
		t.Error("a record with neither id nor key is complete")
	}
}
