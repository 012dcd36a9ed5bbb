package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// smallObservation is one with each member set.
func smallObservation() *Observation {
	used := []UsedInvariant{{ID: "INV-LOG-005"}, {ID: "INV-L0-006"}}
	inject, observe := []Injection{{OTLP: "traces"}}, []Observe{{ID: "envelope", Path: "/api/v1/logs/llm-runs", Expect: []Expect{{Path: "$.run_id"}}}}
	reg := &Registry{
		Digest:     "sha256:" + strings.Repeat("a", 64),
		Invariants: []*Invariant{{ID: "INV-LOG-005", Level: Required}, {ID: "INV-L0-006", Level: Advisory}},
		Scenarios: []*Scenario{
			{ID: "SDSR-A", Version: "1.0.0", Capability: "logs.a", Panel: "LOG-REC-A-O1", Invariants: used, Inject: inject, Observe: observe},
			{ID: "SDSR-B", Version: "1.0.0", Capability: "logs.a", Invariants: used, Inject: inject, Observe: observe},
		},
	}
	return observationOf(reg, "", map[string]Failure{"SDSR-B": {Reason: InvariantViolated, Invariant: "INV-LOG-005", Step: "envelope", Detail: "it is <false>"}})
}

func encodeFile(t testing.TB, f *File) []byte {
	t.Helper()
	return append([]byte(nil), canonicalJSON(f)...)
}

func TestVerify(t *testing.T) {
	l := newProofLog(t, "test.example/000000000001", 1)
	f := l.file(smallObservation(), 0)
	other := newProofLog(t, "test.example/000000000002", 2)
	for _, keys := range [][]string{{l.key()}, {other.key(), l.key()}, {l.key() + "\n"}} {
		if err := f.Verify(keys); err != nil {
			t.Errorf("%q: %v", keys, err)
		}
	}
	// The bytes that are read back are those that were written.
	path, err := WriteFile(t.TempDir(), f)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Verify([]string{l.key()}); err != nil {
		t.Error(err)
	}
}

// TestVerifyRefuses: what is not what it should be, whoever made it so.
func TestVerifyRefuses(t *testing.T) {
	l := newProofLog(t, "test.example/000000000001", 1)
	twin := newProofLog(t, "test.example/000000000001", 9) // the same origin, another key
	other := newProofLog(t, "test.example/000000000002", 2)
	o := smallObservation()
	good := l.file(o, 0)
	with := func(change func(*evidence.Record)) *File {
		r := l.recordOf(&good.Observation, change)
		return &File{good.Observation, l.receipt(l.add(r))}
	}
	badObservation := func(change func(*Observation)) *File {
		o := smallObservation()
		change(o)
		return l.file(o, 0)
	}
	for name, tt := range map[string]struct {
		f    *File
		keys []string
		is   error
		want string
	}{
		"no key":            {good, nil, evidence.ErrInvalid, "no verifier key"},
		"no such key":       {good, []string{"x"}, evidence.ErrInvalid, "verifier key"},
		"key of another":    {good, []string{other.key()}, c2sp.ErrNoSignature, "not signed by the log's key"},
		"key of a twin":     {good, []string{twin.key()}, c2sp.ErrNoSignature, "not signed by the log's key"},
		"no receipt":        {&File{Observation: good.Observation}, []string{l.key()}, evidence.ErrInvalid, "no receipt"},
		"of another record": {&File{good.Observation, l.receipt(0)}, []string{l.key()}, evidence.ErrTampered, "no OBSERVATION"},
		"of another observation": {
			&File{good.Observation, l.file(badObservation(func(o *Observation) { o.Program = "x" }).obs(), 0).Receipt},
			[]string{l.key()},
			evidence.ErrTampered, "edited",
		},
		"of another log":     {&File{good.Observation, other.file(smallObservation(), 0).Receipt}, []string{l.key()}, c2sp.ErrNoSignature, "not signed"},
		"its key, our log":   {&File{good.Observation, other.file(smallObservation(), 0).Receipt}, []string{l.key(), other.key()}, evidence.ErrTampered, "edited"},
		"another event":      {with(func(r *evidence.Record) { r.SetText("event_type", "DEPLOY") }), []string{l.key()}, evidence.ErrTampered, "no OBSERVATION"},
		"another component":  {with(func(r *evidence.Record) { r.SetText("component", "api") }), []string{l.key()}, evidence.ErrTampered, "of component registry"},
		"not synthetic":      {with(func(r *evidence.Record) { r.SetBool("is_synthetic", false) }), []string{l.key()}, evidence.ErrTampered, "synthetic"},
		"an id of its own":   {with(func(r *evidence.Record) { r.ID[3]++ }), []string{l.key()}, evidence.ErrTampered, "tenant"},
		"another time":       {with(func(r *evidence.Record) { r.OccurredAt++ }), []string{l.key()}, evidence.ErrTampered, "ended at"},
		"kept back":          {l.late(smallObservation(), 61*time.Minute), []string{l.key()}, evidence.ErrInvalid, "more than 1h0m0s apart"},
		"not over yet":       {l.late(smallObservation(), -61*time.Minute), []string{l.key()}, evidence.ErrInvalid, "more than 1h0m0s apart"},
		"version":            {badObservation(func(o *Observation) { o.Version = 2 }), []string{l.key()}, evidence.ErrInvalid, "version 2"},
		"no scenario":        {badObservation(func(o *Observation) { o.Scenarios, o.Passed = nil, true }), []string{l.key()}, evidence.ErrInvalid, "no scenario"},
		"passed after all":   {badObservation(func(o *Observation) { o.Passed = true }), []string{l.key()}, evidence.ErrInvalid, "say otherwise"},
		"twice":              {badObservation(func(o *Observation) { o.Scenarios[1].ID = o.Scenarios[0].ID }), []string{l.key()}, evidence.ErrInvalid, "twice"},
		"unknown reason":     {badObservation(func(o *Observation) { o.Scenarios[1].Failure.Reason = "luck" }), []string{l.key()}, evidence.ErrInvalid, "luck"},
		"passed and failed":  {badObservation(func(o *Observation) { o.Scenarios[0].Failure = o.Scenarios[1].Failure }), []string{l.key()}, evidence.ErrInvalid, "names a failure"},
		"nothing seen":       {badObservation(func(o *Observation) { o.Scenarios[0].Seen = nil }), []string{l.key()}, evidence.ErrInvalid, "nothing was seen"},
		"passed by mistake":  {badObservation(func(o *Observation) { o.Scenarios[0].Seen[0].Invariants[0].Passed = false }), []string{l.key()}, evidence.ErrInvalid, "INV-LOG-005"},
		"what it asked late": {badObservation(func(o *Observation) { o.Scenarios[0].Seen[0].Expectations[0].Passed = false }), []string{l.key()}, evidence.ErrInvalid, "$.run_id"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.f.Verify(tt.keys)
			if !errors.Is(err, tt.is) || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %v, want %v and %q", err, tt.is, tt.want)
			}
		})
	}
	// An advisory invariant that does not hold fails nothing.
	if err := badObservation(func(o *Observation) { o.Scenarios[0].Seen[0].Invariants[1].Passed = false }).Verify([]string{l.key()}); err != nil {
		t.Error(err)
	}
}

// late records an observation so long after it ended.
func (l *proofLog) late(o *Observation, after time.Duration) *File {
	l.t.Helper()
	o.StartedAt = l.clock - evidence.Micros(after.Microseconds())
	o.FinishedAt = o.StartedAt
	return &File{Observation: *o, Receipt: l.receipt(l.add(l.recordOf(o, nil)))}
}

func (f *File) obs() *Observation { return &f.Observation }

// TestVerifyEdited changes every value of a file in turn: texts at every byte, numbers
// by one, lists and objects by one element.
func TestVerifyEdited(t *testing.T) {
	l := newProofLog(t, "test.example/000000000001", 1)
	text := encodeFile(t, l.file(smallObservation(), 0))
	if f, err := parseFile(text); err != nil || f.Verify([]string{l.key()}) != nil {
		t.Fatal("it does not even hold as it is:", err)
	}
	tried := 0
	eachEdit(t, text, func(what string, edited []byte) {
		tried++
		f, err := parseFile(edited)
		if err == nil {
			err = f.Verify([]string{l.key()})
		}
		if !errors.Is(err, evidence.ErrTampered) && !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	})
	if tried < 2000 {
		t.Errorf("only %d edits were tried", tried)
	}
}

// eachEdit calls do with each JSON text that differs from text in one value.
func eachEdit(t *testing.T, text []byte, do func(what string, edited []byte)) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var root any
	if err := dec.Decode(&root); err != nil {
		t.Fatal(err)
	}
	try := func(what string) {
		edited, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		do(what, edited)
	}
	var walk func(at string, v any, set func(any))
	walk = func(at string, v any, set func(any)) {
		for _, other := range editsOf(v) {
			set(other)
			try(fmt.Sprintf("%s = %.60v", at, other))
		}
		set(v)
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				delete(v, name)
				try(at + " without " + name)
				v[name] = inner
				walk(at+"."+name, inner, func(x any) { v[name] = x })
			}
			v["more"] = "x"
			try(at + " with more")
			delete(v, "more")
		case []any:
			for i, inner := range v {
				walk(fmt.Sprintf("%s[%d]", at, i), inner, func(x any) { v[i] = x })
			}
		}
	}
	walk("$", root, func(x any) { root = x })
}

// editsOf returns values that a value could be changed to.
func editsOf(v any) (out []any) {
	switch v := v.(type) {
	case nil:
		return []any{"", "x", map[string]any{}, []any{}, 0, false}
	case bool:
		return []any{!v, nil}
	case json.Number:
		n, _ := v.Int64()
		return []any{n + 1, -n - 1, nil, v + ".0", v + "e0", fmt.Sprint(v), json.RawMessage("-0"), json.RawMessage("9007199254740993")}
	case string:
		for i := range len(v) {
			for _, bit := range []byte{1, 0x20} {
				b := []byte(v)
				if b[i] ^= bit; b[i] < 0x80 {
					out = append(out, string(b))
				}
			}
		}
		return append(out, v+" ", v+"\n", " "+v, "x", nil)
	case []any:
		out = []any{nil, append(append([]any{}, v...), "x")}
		if len(v) > 0 {
			out = append(out, v[1:], append(append([]any{}, v...), v[0]))
		}
		return out
	default:
		return []any{nil, "x"}
	}
}
