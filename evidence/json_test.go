package evidence

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name, value string
		ok          bool
	}{
		{"string", `"Approve loan 4711?"`, true},
		{"null", `null`, true},
		{"numbers of any size", `{"t": 0.70, "big": 9007199254740993, "e": 1E400, "z": -0}`, true},
		{"white space around", " [1,\n2] ", true},
		{"surrogate pair", `"\ud83d\ude00"`, true},
		{"escaped NUL", `"\u0000"`, true},
		{"depth 128", deep(128), true},
		{"brackets in strings", `["` + strings.Repeat(`[{\"`, 200) + `"]`, true},
		{"depth 129", deep(129), false},
		{"depth 129 of objects", strings.Repeat(`{"a":`, 129) + `1` + strings.Repeat(`}`, 129), false},
		{"depth 20000", deep(20000), false},
		{"empty", ``, false},
		{"blank", "  ", false},
		{"two values", `1 2`, false},
		{"rubbish after", `{}x`, false},
		{"duplicate name", `{"a":1,"b":2,"a":1}`, false},
		{"duplicate name by escape", `{"a":1,"\u0061":1}`, false},
		{"duplicate name inside", `[{"x":{"a":1,"a":2}}]`, false},
		{"lone high surrogate", `"\ud83d"`, false},
		{"lone low surrogate", `"\ude00x"`, false},
		{"lone surrogate in a name", `{"\ud800":1}`, false},
		{"invalid UTF-8", "\"\xff\"", false},
		{"control character", "\"\x01\"", false},
		{"leading zero", `01`, false},
		{"trailing comma", `[1,]`, false},
		{"unterminated", `["a"`, false},
		{"byte order mark", "\ufeff1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckJSON([]byte(tt.value))
			if (err == nil) != tt.ok {
				t.Fatalf("CheckJSON(%.40q) = %v, want ok %v", tt.value, err, tt.ok)
			}
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%v does not wrap ErrInvalid", err)
			}
		})
	}
}

func FuzzCheckJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,"\ud83d\ude00",null]}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := CheckJSON(b)
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("%v does not wrap ErrInvalid", err)
		}
		// White space around a value never changes the answer.
		if again := CheckJSON(append([]byte(" \n"), append(b[:len(b):len(b)], ' ')...)); (again == nil) != (err == nil) {
			t.Fatalf("%v, with white space %v", err, again)
		}
	})
}

func TestServerOnly(t *testing.T) {
	tests := []struct {
		kind  Kind
		event string
		want  bool
	}{
		{KindSystem, "LOG_OPENED", true},
		{KindSystem, "LOG_CLOSED", true},
		{KindSystem, "LIFECYCLE_ARCHIVED", true},
		{KindSystem, "CHECKPOINT_ANCHORED", true},
		{KindSystem, "INTEGRITY_ANOMALY", true},
		{KindSystem, "PRODUCER_SILENT", true},
		{KindSystem, "LOGIN", false},
		{KindSystem, "DEPLOYED", false},
		{KindSystem, "log_opened", false},
		{KindAudit, "LOGIN", true},
		{KindAudit, "LOGIN_FAILED", true},
		{KindAudit, "LOGINS", false},
		{KindAudit, "API_KEY_USED_FIRST", true},
		{KindAudit, "ACCESS_DECISION", true},
		{KindAudit, "LOG_EXPORT", true},
		{KindAudit, "RBACChanged", true},
		{KindAudit, "ConflictRecorded", true},
		{KindAudit, "RetentionApplied", true},
		{KindAudit, "ErasureExecuted", true},
		{KindAudit, "LegalHoldPlaced", true},
		{KindAudit, "PolicyEvaluated", false},
		{KindAudit, "CHECKPOINT_ANCHORED", false},
		{KindExport, "", true},
		{KindTraceStep, "", false},
		{KindLLMRun, "LOG_OPENED", false},
	}
	for _, tt := range tests {
		if got := ServerOnly(tt.kind, tt.event); got != tt.want {
			t.Errorf("ServerOnly(%s, %q) = %v, want %v", tt.kind, tt.event, got, tt.want)
		}
	}
}
