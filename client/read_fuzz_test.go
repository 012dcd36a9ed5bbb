package client

import (
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// FuzzParseAnswer: whatever a server answers, what is taken carries metadata and
// says, written again, the same.
func FuzzParseAnswer(f *testing.F) {
	meta := evidence.Union(evidence.Metadata{TenantID: "acme"}, 1)
	for _, v := range []any{
		answer.RunList{Items: []answer.RunEnvelope{{Models: []string{}, Completeness: []string{}, Revisions: []answer.Revision{}, Metadata: meta}}, Page: answer.Page{FiltersApplied: map[string]any{"limit": 1.5}, Metadata: meta}},
		answer.RunTrace{Steps: []answer.Step{{Prompt: answer.Shown([]byte(`[1e400,{"a":null}]`)), Events: []answer.StepEvent{}, Flags: []string{}, Metadata: meta}}, Events: []answer.StepEvent{}, Metadata: meta},
		answer.SystemTelemetry{Status: "telemetry_not_collected", AvailableData: []string{"events"}, Metadata: meta},
		answer.AuditIntegrity{Anomalies: []answer.Anomaly{}, Witnesses: []answer.Witness{}, Timestamps: []answer.Timestamp{}, Metadata: meta},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"metadata":{"tenant_id":"a","tenant_id":"b"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		again[answer.RunList](t, b)
		again[answer.RunTrace](t, b)
		again[answer.SystemTelemetry](t, b)
		again[answer.AuditIntegrity](t, b)
	})
}

func again[T any](t *testing.T, b []byte) {
	v, err := parseAnswer[T](b)
	if err != nil {
		return
	}
	first, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%T cannot be written: %v", v, err)
	}
	v, err = parseAnswer[T](first)
	if err != nil {
		t.Fatalf("%T is not taken again: %v\n%s", v, err, first)
	}
	if second, err := json.Marshal(v); err != nil || string(second) != string(first) {
		t.Fatalf("%v\n%s\n%s", err, first, second)
	}
}
