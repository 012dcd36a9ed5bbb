package replay

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

func TestParse(t *testing.T) {
	q, err := ParseTrace([]byte(` {"run_id":"r","is_synthetic":true,"producer_seq":3,"plan": {"b" : 1.0e+2},
		"steps":[{"params":null,"flags":["a"]},{"prompt":"\u00e9"}]} `))
	if err != nil {
		t.Fatal(err)
	}
	if q.RunID != "r" || !q.IsSynthetic || *q.ProducerSeq != 3 || string(q.Plan) != `{"b" : 1.0e+2}` || string(q.Steps[0].Params) != "null" ||
		q.Steps[0].Flags[0] != "a" || string(q.Steps[1].Prompt) != `"\u00e9"` {
		t.Errorf("%+v", q)
	}
	for _, tc := range []struct {
		body, field string
		sentinel    error
	}{
		{``, "body", problem.ErrMalformed},
		{`[]`, "body", problem.ErrMalformed},
		{`null`, "body", problem.ErrMalformed},
		{`{"run_id":"r"`, "body", problem.ErrMalformed},
		{`{} {}`, "body", problem.ErrMalformed},
		{"{\"run_id\":\"\xff\"}", "body", problem.ErrMalformed},
		{`{"nonsense":1}`, "nonsense", evidence.ErrInvalid},
		{`{"RUN_ID":"r"}`, "RUN_ID", evidence.ErrInvalid},
		{`{"od\u0000d":1}`, `"od\x00d"`, evidence.ErrInvalid},
		{`{"run_id":"r","run_id":"s"}`, "run_id", evidence.ErrInvalid},
		{`{"run_id":1}`, "run_id", evidence.ErrInvalid},
		{`{"steps":{}}`, "steps", evidence.ErrInvalid},
		{`{"steps":[{},{"late":true}]}`, "steps[1].late", evidence.ErrInvalid},
		{`{"steps":[{"retry_count":1.5}]}`, "steps[0].retry_count", evidence.ErrInvalid},
		{`{"steps":[{"params":{"a":1,"a":2}}]}`, "steps[0].params.a", evidence.ErrInvalid},
	} {
		_, err := ParseTrace([]byte(tc.body))
		var fe *evidence.FieldError
		if !errors.As(err, &fe) || fe.Field != tc.field || !errors.Is(err, tc.sentinel) {
			t.Errorf("%s: %v, want one of field %q that is %q", tc.body, err, tc.field, tc.sentinel)
		}
	}
	if m, err := ParseMismatch([]byte(`{"run_id":"r","step_index":2,"expected":[1]}`)); err != nil || *m.StepIndex != 2 || string(m.Expected) != "[1]" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := ParseResolution([]byte(`{"resolution":"r"}`)); err != nil || m.Resolution != "r" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := ParseResolution([]byte(`{"status":"open"}`)); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("unknown field: %v", err)
	}
}

// FuzzParse: whatever comes, what is read becomes whole JSON objects that say
// what was sent, or an error that names a field.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"run_id":"r","trace_id":"00000000000000000000000000000001","occurred_at":"2026-01-01T00:00:00Z","seed":"1","plan":[1.0,"\ud83d\ude00"],
		"steps":[{"occurred_at":"2026-01-01T00:00:00Z","span_id":"0000000000000001","step_kind":"tool","skill_name":"s","status":"success","params":{"a":null}}]}`))
	f.Add([]byte(`{"run_id":"r","reason":"x","expected":1,"found":{"value":2},"step_index":1}`))
	f.Add([]byte(`{"resolution":"x"}`))
	f.Add([]byte(`{"steps":[{"flags":["\u0000"],"attrs":[["a","string","b"]],"duration_us":-1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		named := func(err error) {
			var fe *evidence.FieldError
			if !errors.As(err, &fe) || fe.Field == "" || fe.Reason == "" || strings.ContainsAny(fe.Field, "\x00\n") {
				t.Errorf("%v names no field", err)
			}
		}
		if q, err := ParseTrace(body); err != nil {
			named(err)
		} else {
			checkLine(t, q.line())
			for i := range q.Steps {
				checkLine(t, q.Steps[i].line(q))
			}
		}
		if q, err := ParseMismatch(body); err != nil {
			named(err)
		} else if err := q.check(); err != nil {
			named(err)
		} else {
			checkLine(t, q.expectation())
			checkLine(t, q.finding())
		}
		if _, err := ParseResolution(body); err != nil {
			named(err)
		}
	})
}

func checkLine(t *testing.T, line []byte) {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		t.Errorf("%v: %q", err, line)
	}
	if members["kind"] == nil {
		return
	}
	if r, err := evidence.ParseNative(line); err == nil {
		for name, v := range members {
			if s := evidence.Sealed(r.Kind, "/"+name); s != nil && s.UnfitOf == "" && string(r.SealedJSON("/"+name)) != string(v) {
				t.Errorf("%s is %s, sent as %s", name, r.SealedJSON("/"+name), v)
			}
		}
	}
}
