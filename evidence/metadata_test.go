package evidence

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// metadataFields are those of contract section 2.
var metadataFields = []string{
	"agent_id", "checksum", "correlation_id", "export_id", "human_actor_id", "immutable", "incident_ids", "leaf_index",
	"log", "occurred_at", "origin", "policy_ids", "recorded_at", "run_id", "source_component", "source_domain",
	"system_id", "tenant_id", "timezone", "trace_id",
}

func decodeMetadata(t testing.TB, m Metadata) map[string]any {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(got))
	for name := range got {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff(metadataFields, names); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	return got
}

func TestMetadataOf(t *testing.T) {
	l, err := ParseLeaf([]byte(benchLeaf))
	if err != nil {
		t.Fatal(err)
	}
	hash := LeafHash([]byte(benchLeaf))
	want := map[string]any{
		"tenant_id":        "acme",
		"run_id":           "5b8efff798038103d269b633813fc60c",
		"human_actor_id":   nil,
		"agent_id":         "agent-7",
		"system_id":        nil,
		"occurred_at":      "2026-11-23T15:00:01.000000Z",
		"recorded_at":      "2026-11-23T16:00:01.000001Z",
		"timezone":         "UTC",
		"trace_id":         "5b8efff798038103d269b633813fc60c",
		"policy_ids":       []any{},
		"incident_ids":     []any{},
		"export_id":        nil,
		"correlation_id":   nil,
		"source_domain":    "ACTIVITY",
		"source_component": "TraceStore",
		"origin":           "AGENT",
		"checksum":         "sha256:" + hash.String(),
		"immutable":        true,
		"log":              "log.example/41a00944c12e",
		"leaf_index":       123456.0,
	}
	if diff := cmp.Diff(want, decodeMetadata(t, MetadataOf("acme", l, "", hash))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want["human_actor_id"] = "ada@example.com"
	m := MetadataOf("acme", l, "ada@example.com", hash)
	if diff := cmp.Diff(want, decodeMetadata(t, m)); diff != "" {
		t.Errorf("with a person (-want +got):\n%s", diff)
	}
	// The leaf is often reused for the next record.
	l.Seq = 7
	if *m.LeafIndex != 123456 {
		t.Error("leaf_index follows the leaf")
	}
}

func TestMetadataOfExport(t *testing.T) {
	l := &Leaf{Log: "log.example/41a00944c12e", Kind: KindExport}
	for name, v := range map[string]string{"export_id": "e-1", "correlation_id": "c-1", "system_id": "exporter"} {
		l.SetFact(Fact{Field: PublicField(KindExport, name), Str: v})
	}
	l.SetFact(Fact{Field: PublicField(KindExport, "policy_ids"), List: []string{"p-1"}})
	got := decodeMetadata(t, MetadataOf("acme", l, "", Hash{}))
	for name, want := range map[string]any{
		"export_id": "e-1", "correlation_id": "c-1", "system_id": "exporter", "run_id": nil, "trace_id": nil,
		"policy_ids": []any{"p-1"}, "incident_ids": []any{}, "leaf_index": 0.0,
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMetadataZeroValue(t *testing.T) {
	got := decodeMetadata(t, Metadata{TenantID: "acme"})
	for name, want := range map[string]any{"policy_ids": []any{}, "incident_ids": []any{}, "timezone": "UTC", "immutable": true} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestUnionOfNothing(t *testing.T) {
	got := Union(Metadata{TenantID: "acme"}, 42)
	want := Metadata{
		TenantID: "acme", OccurredAt: 42, RecordedAt: 42, Timezone: "UTC", Immutable: true,
		PolicyIDs: []string{}, IncidentIDs: []string{},
		SourceDomain: "LOGS", SourceComponent: "LogsFacade", Origin: "SYSTEM",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnion(t *testing.T) {
	p := func(s string) *string { return &s }
	index := int64(3)
	a := Metadata{
		TenantID: "acme", RunID: p("r"), TraceID: p("t"), AgentID: p("a1"), CorrelationID: p("c"),
		OccurredAt: 20, RecordedAt: 30, PolicyIDs: []string{"p2", "p1"}, IncidentIDs: []string{"i"},
		SourceDomain: "ACTIVITY", SourceComponent: "TraceStore", Origin: "AGENT",
		Checksum: p("sha256:00"), Log: p("l"), LeafIndex: &index,
	}
	b := Metadata{
		TenantID: "acme", RunID: p("r"), AgentID: p("a2"),
		OccurredAt: 10, RecordedAt: 25, PolicyIDs: []string{"p3", "p2"},
		SourceDomain: "ACTIVITY", SourceComponent: "AuditLedgerWriter", Origin: "AGENT",
	}
	want := Metadata{
		TenantID: "acme", RunID: p("r"), TraceID: p("t"), CorrelationID: p("c"), // agents differ
		OccurredAt: 10, RecordedAt: 30, Timezone: "UTC", Immutable: true,
		PolicyIDs: []string{"p2", "p1", "p3"}, IncidentIDs: []string{"i"},
		SourceDomain: "ACTIVITY", SourceComponent: "LogsFacade", Origin: "AGENT",
	}
	if diff := cmp.Diff(want, Union(Metadata{TenantID: "acme"}, 99, a, b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	answer := Metadata{TenantID: "acme", RunID: p("asked"), SourceComponent: "TraceStore", Checksum: p("sha256:ff"), PolicyIDs: []string{"p1"}}
	got := Union(answer, 99, a, b)
	want.RunID, want.SourceComponent, want.Checksum = answer.RunID, "TraceStore", answer.Checksum
	want.PolicyIDs = []string{"p1", "p2", "p3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with what the answer says (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"p2", "p1"}, a.PolicyIDs); diff != "" {
		t.Errorf("a part was changed:\n%s", diff)
	}
}

// A union of unions is the union of all: an answer may be composed in steps.
func TestUnionInSteps(t *testing.T) {
	id := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	part := rapid.Custom(func(t *rapid.T) Metadata {
		return Metadata{
			OccurredAt: genMicros().Draw(t, "occurred"), RecordedAt: genMicros().Draw(t, "recorded"),
			PolicyIDs: rapid.SliceOf(id).Draw(t, "policies"), IncidentIDs: rapid.SliceOf(id).Draw(t, "incidents"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.SliceOfN(part, 1, 4).Draw(t, "first")
		second := rapid.SliceOfN(part, 1, 4).Draw(t, "second")
		all := Union(Metadata{}, 0, slices.Concat(first, second)...)
		steps := Union(Metadata{}, 0, Union(Metadata{}, 0, first...), Union(Metadata{}, 0, second...))
		if diff := cmp.Diff(all, steps); diff != "" {
			t.Fatalf("(-at once +in steps):\n%s", diff)
		}
	})
}
