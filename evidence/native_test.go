package evidence

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const (
	testTrace = "5b8efff798038103d269b633813fc60c"
	testSpan  = "00f067aa0ba902b7"
	testID    = "01980000-0000-7000-8000-000000000001"
)

// nativeBase holds the least that ParseNative accepts of each kind, as
// name=JSON text.
var nativeBase = map[Kind][]string{
	KindLLMRun:     {`run_id="r-1"`, `execution_status="SUCCEEDED"`},
	KindTrace:      {`run_id="r-1"`, `trace_id="` + testTrace + `"`},
	KindTraceStep:  {`run_id="r-1"`, `trace_id="` + testTrace + `"`, `id="` + testID + `"`, `skill_name="plan"`, `step_kind="llm"`, `status="success"`},
	KindTraceEvent: {`id="` + testID + `"`, `event_name="exception"`},
	KindSystem:     {`id="` + testID + `"`, `component="worker"`, `event_type="STARTUP"`, `severity="INFO"`, `summary="up"`},
	KindMetric:     {`id="` + testID + `"`, `from="2026-11-23T15:00:01Z"`, `until="2026-11-23T15:00:02Z"`, `point_count=3`},
	KindAudit:      {`id="` + testID + `"`, `event_type="LimitChecked"`, `entity_type="LIMIT"`, `entity_id="l-1"`, `actor_type="SYSTEM"`},
}

var nativeCommon = []string{`occurred_at="2026-11-23T15:00:01Z"`, `source_domain="ACTIVITY"`, `source_component="TraceStore"`}

// native returns a record of the kind: the least one, then changed. A change
// is name=JSON text; without a text the member is left out. What is not a
// change of the least record follows in the order given, names repeated.
func native(kind Kind, changes ...string) string {
	members := append([]string{`kind="` + kind.String() + `"`}, nativeCommon...)
	members = append(members, nativeBase[kind]...)
	for _, c := range changes {
		name, _, _ := strings.Cut(c, "=")
		i := slices.IndexFunc(members, func(m string) bool { return strings.HasPrefix(m, name+"=") })
		switch {
		case i < 0:
			members = append(members, c)
		case strings.HasSuffix(c, "="):
			members = slices.Delete(members, i, i+1)
		default:
			members[i] = c
		}
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		name, text, _ := strings.Cut(m, "=")
		b.Write(QuoteJSON(name))
		b.WriteString(":" + text)
	}
	b.WriteByte('}')
	return b.String()
}

func mustParse(t testing.TB, line string) *Record {
	t.Helper()
	r, err := ParseNative([]byte(line))
	if err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	return r
}

// refuses fails unless the record is refused because of that field, with a
// reason that has these words.
func refuses(t testing.TB, line, field, reason string) {
	t.Helper()
	_, err := ParseNative([]byte(line))
	var e *FieldError
	if !errors.As(err, &e) {
		t.Errorf("got %v, want a FieldError of %s\n%s", err, field, line)
		return
	}
	if e.Field != field || !strings.Contains(e.Reason, reason) || !errors.Is(err, ErrInvalid) {
		t.Errorf("got %q (%v), want field %s and %q\n%s", e, e.Err, field, reason, line)
	}
}

func nativeKinds() []Kind {
	return slices.DeleteFunc(Kinds(), func(k Kind) bool { return k == KindExport })
}

func TestNativeRequired(t *testing.T) {
	for _, kind := range nativeKinds() {
		mustParse(t, native(kind))
		for _, m := range slices.Concat([]string{"kind="}, nativeCommon, nativeBase[kind]) {
			name, _, _ := strings.Cut(m, "=")
			refuses(t, native(kind, name+"="), name, "is required")
		}
	}
}

// TestNativeMembers checks that every field of the table can be sent unless
// the server sets it, that null is no value of a public field, and that a
// wrong type is refused by name.
func TestNativeMembers(t *testing.T) {
	for _, kind := range nativeKinds() {
		for _, f := range PublicFields(kind) {
			if f.Owner == Server {
				refuses(t, native(kind, f.Name+`="x"`), f.Name, "set by the server")
				continue
			}
			refuses(t, native(kind, f.Name+"=null"), f.Name, "must be")
			refuses(t, native(kind, f.Name+`={"a":1}`), f.Name, "must be")
			if f.Type.IsText() {
				refuses(t, native(kind, f.Name+`=""`), f.Name, "must not be empty")
				refuses(t, native(kind, f.Name+`=1`), f.Name, "must be a string")
				refuses(t, native(kind, f.Name+`="a\u0000b"`), f.Name, "NUL")
			}
			switch f.Type {
			case TypeNames:
				mustParse(t, native(kind, f.Name+`=[]`))
				mustParse(t, native(kind, f.Name+`=["a","b"]`))
				refuses(t, native(kind, f.Name+`=["a",1]`), f.Name, "array of strings")
				refuses(t, native(kind, f.Name+`=["a",""]`), f.Name, "array of strings")
				refuses(t, native(kind, f.Name+`="a"`), f.Name, "array of strings")
				refuses(t, native(kind, f.Name+`=["a\u0000b"]`), f.Name, "NUL")
			case TypeInt, TypeCount:
				mustParse(t, native(kind, f.Name+`=9007199254740991`))
				for _, bad := range []string{"9007199254740992", "-9007199254740992", "123456789012345678901234567890"} {
					refuses(t, native(kind, f.Name+`=`+bad), f.Name, "2^53")
				}
				for _, bad := range []string{"1.0", "1.5", "1e3", "1E0", "-0.0"} {
					refuses(t, native(kind, f.Name+`=`+bad), f.Name, "fraction or exponent")
				}
				refuses(t, native(kind, f.Name+`="1"`), f.Name, "must be an integer")
				if f.Type == TypeCount {
					refuses(t, native(kind, f.Name+`=-1`), f.Name, "negative")
				}
			case TypeBool:
				mustParse(t, native(kind, f.Name+`=true`))
				refuses(t, native(kind, f.Name+`="true"`), f.Name, "true or false")
			case TypeTime:
				refuses(t, native(kind, f.Name+`="yesterday"`), f.Name, "RFC 3339")
				refuses(t, native(kind, f.Name+`=1764000000`), f.Name, "in a string")
			case TypeEnum:
				refuses(t, native(kind, f.Name+`="no such value"`), f.Name, "must be one of")
			}
		}
		for _, s := range SealedFields(kind) {
			if s.Shape == ShapeAny && s.UnfitOf == "" {
				r := mustParse(t, native(kind, s.NativeName()+`=null`))
				if got := string(r.SealedJSON(s.Path)); got != "null" {
					t.Errorf("%s null is kept as %q", s.Path, got)
				}
			}
		}
		for _, name := range []string{"nope", "Kind", "actor", "t", "et", "v", "h", "pub", "recorded_at", "created_at", "tenant_id", "/prompt", "checksum"} {
			refuses(t, native(kind, name+`=1`), quoteField(name), "is not a field of "+kind.String())
		}
	}
	refuses(t, native(KindAudit, "a\nb=1"), `"a\nb"`, "is not a field")
	refuses(t, native(KindSystem, "prompt=1"), "prompt", "is not a field of system")
}

// TestNativeServerSet has the list of fields.md.
func TestNativeServerSet(t *testing.T) {
	everywhere := []string{"conflict_of", "producer", "log", "seq", "n"}
	of := map[Kind][]string{
		KindTraceStep: {"step_index", "late"},
		KindTrace:     {"stored_by"},
		KindLLMRun:    {"record_count", "step_count", "sealed_by"},
		KindAudit:     {"record_count"},
	}
	for _, kind := range nativeKinds() {
		for _, name := range slices.Concat(everywhere, of[kind]) {
			refuses(t, native(kind, name+`=0`), name, "set by the server")
		}
	}
}

func TestNativeServerOnly(t *testing.T) {
	for _, e := range []string{"LOG_OPENED", "LOG_CLOSED", "CHECKPOINT_ANCHORED", "INTEGRITY_ANOMALY", "LIFECYCLE_ACKNOWLEDGED", "PRODUCER_SILENT"} {
		refuses(t, native(KindSystem, `event_type="`+e+`"`), "event_type", "only the server")
	}
	for _, e := range []string{
		"LOGIN", "LOGOUT", "LOGIN_FAILED", "API_KEY_CREATED", "API_KEY_REVOKED", "API_KEY_USED_FIRST", "ACCESS_DECISION",
		"LOG_VIEW", "LOG_EXPORT", "RBACChanged", "RetentionPolicyChanged", "RetentionApplied", "LegalHoldPlaced",
		"LegalHoldReleased", "ErasureExecuted", "ConflictRecorded",
	} {
		refuses(t, native(KindAudit, `event_type="`+e+`"`), "event_type", "only the server")
		// However it is written.
		refuses(t, native(KindAudit, `event_type="\u00`+hexOf(e[0])+e[1:]+`"`), "event_type", "only the server")
	}
	refuses(t, native(KindExport), "kind", "not a kind that can be appended")
	for _, e := range []string{"PolicyEvaluated", "LimitOverrideGranted", "my own event"} {
		mustParse(t, native(KindAudit, `event_type="`+e+`"`))
	}
	for _, e := range []string{"DEPLOY", "MIGRATION", "OBSERVATION", "CacheFlushed"} {
		mustParse(t, native(KindSystem, `event_type="`+e+`"`))
	}
}

func hexOf(c byte) string { return string([]byte{hexDigits[c>>4], hexDigits[c&15]}) }

func TestNativeSyntax(t *testing.T) {
	good := native(KindTraceStep)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct{ name, line, field, reason string }{
		{"empty", "", "record", "not complete"},
		{"array", "[]", "record", "JSON object"},
		{"text", `"x"`, "record", "JSON object"},
		{"not JSON", "kind: audit", "record", "not valid JSON"},
		{"cut", good[:len(good)-1], "record", "not complete"},
		{"cut in a value", good[:len(good)-3], "status", "not complete"},
		{"two records", good + good, "record", "after its JSON object"},
		{"rubbish after", good + "x", "record", "after its JSON object"},
		{"no kind", `{}`, "kind", "required"},
		{"kind is null", `{"kind":null}`, "kind", "must be a string"},
		{"unknown kind", `{"kind":"llm_runs"}`, "kind", `"llm_runs" is not a kind`},
		{"duplicate", good[:len(good)-1] + `,"status":"failure"}`, "status", "twice"},
		{"duplicate by escape", good[:len(good)-1] + `,"st\u0061tus":"failure"}`, "status", "twice"},
		{"duplicate kind", good[:len(good)-1] + `,"kind":"trace_step"}`, "kind", "twice"},
		{"duplicate inside", native(KindTraceStep, `params={"a":1,"a":2}`), "params", "duplicate"},
		{"duplicate deep inside", native(KindTraceStep, `params=[{"x":{"a":1,"a":1}}]`), "params", "duplicate"},
		{"lone high surrogate", native(KindTraceStep, `prompt="\ud83d"`), "prompt", "not valid JSON"},
		{"lone low surrogate", native(KindTraceStep, `prompt=["\ude00"]`), "prompt", "not valid JSON"},
		{"lone surrogate in a name", native(KindTraceStep, `skill_name="\ud83d"`), "skill_name", "not valid JSON"},
		{"surrogates swapped", native(KindTraceStep, `prompt="\ude00\ud83d"`), "prompt", "not valid JSON"},
		{"invalid UTF-8", native(KindTraceStep, "prompt=\"\xff\""), "prompt", "not valid JSON"},
		{"overlong UTF-8", native(KindTraceStep, "prompt=\"\xc0\x80\""), "prompt", "not valid JSON"},
		{"surrogate as UTF-8", native(KindTraceStep, "prompt=\"\xed\xa0\xbd\""), "prompt", "not valid JSON"},
		{"invalid UTF-8 in a member's name", strings.Replace(good, `"status"`, "\"st\xff\"", 1), "record", "not valid JSON"},
		{"raw control character", native(KindTraceStep, "prompt=\"\x01\""), "prompt", "not valid JSON"},
		{"raw NUL", native(KindTraceStep, "skill_name=\"a\x00b\""), "skill_name", "not valid JSON"},
		{"depth 129", native(KindTraceStep, `params=`+deep(129)), "params", "128"},
		{"depth 100000", native(KindTraceStep, `params=`+deep(100000)), "params", "depth"},
		{"NaN", native(KindTraceStep, `duration_us=NaN`), "duration_us", "not valid JSON"},
		{"leading zero", native(KindTraceStep, `duration_us=01`), "record", "not valid JSON"},
		{"plus", native(KindTraceStep, `duration_us=+1`), "duration_us", "not valid JSON"},
		{"trailing comma", good[:len(good)-1] + `,}`, "record", "not valid JSON"},
		{"byte order mark", "\ufeff" + good, "record", "not valid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refuses(t, tt.line, tt.field, tt.reason) })
	}
	mustParse(t, native(KindTraceStep, `params=`+deep(128)))
	mustParse(t, " \t"+good+" \r\n")
}

func TestNativeIDs(t *testing.T) {
	v8 := "01980000-0000-8000-8000-000000000001"
	for _, id := range []string{
		`"01980000-0000-7000-8000-00000000000A"`, `"{01980000-0000-7000-8000-000000000001}"`, `"0198000000007000800000000000001"`,
		`"urn:uuid:01980000-0000-7000-8000-000000000001"`, `""`, `"01980000-0000-7000-8000-00000000001"`,
		`"00000000-0000-0000-0000-000000000000"`, `"01980000-0000-7000-8000-0000000000012"`, `"0198000g-0000-7000-8000-000000000001"`,
	} {
		refuses(t, native(KindAudit, "id="+id), "id", "must be a UUID in lower case")
	}
	refuses(t, native(KindAudit, "id=7"), "id", "must be a string")
	refuses(t, native(KindAudit, `id="`+v8+`"`), "id", "version 8")
	refuses(t, native(KindTraceStep, `id="`+v8+`"`), "id", "version 8")
	// Of a record with a natural key only the one id is right, which the
	// tenant decides.
	r := mustParse(t, native(KindTraceStep, `id="`+v8+`"`, `span_id="`+testSpan+`"`))
	if err := r.AssignID("acme"); !errors.Is(err, ErrInvalid) {
		t.Errorf("another id than the natural one: %v", err)
	}
	own := NaturalID("acme", KindTraceStep, testTrace+":"+testSpan)
	r = mustParse(t, native(KindTraceStep, `id="`+own.String()+`"`, `span_id="`+testSpan+`"`))
	if err := r.AssignID("acme"); err != nil || r.ID != own {
		t.Errorf("the natural id: %v", err)
	}
	if err := r.AssignID("other"); !errors.Is(err, ErrInvalid) {
		t.Errorf("the natural id of another tenant: %v", err)
	}
}

func TestParseNDJSON(t *testing.T) {
	good, bad := native(KindTraceStep), native(KindAudit, "entity_type=")
	records, err := ParseNDJSON([]byte("\n" + good + "\r\n \t\n" + native(KindTrace) + "\n\n"))
	if err != nil || len(records) != 2 || records[0].Kind != KindTraceStep || records[1].Kind != KindTrace {
		t.Fatalf("got %d records, %v", len(records), err)
	}
	if records, err := ParseNDJSON(nil); err != nil || len(records) != 0 {
		t.Errorf("of nothing: %v %v", records, err)
	}
	records, err = ParseNDJSON([]byte(good + "\n" + bad + "\n\n{\n" + good + "\n" + bad))
	if records != nil {
		t.Error("records of a bad batch")
	}
	want := "line 2: entity_type: is required\nline 4: record: is not complete JSON\nline 6: entity_type: is required"
	if err == nil || err.Error() != want || !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v\nwant %s", err, want)
	}
	var line *LineError
	if !errors.As(err, &line) || line.Line != 2 {
		t.Errorf("first error at %+v", line)
	}
}
