package registry

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestInvariants breaks each invariant alone, in the answer and in an item.
func TestInvariants(t *testing.T) {
	set := func(name string, v any) func(map[string]any) {
		return func(m map[string]any) { m[name] = v }
	}
	drop := func(name string) func(map[string]any) {
		return func(m map[string]any) { delete(m, name) }
	}
	for _, c := range []struct {
		check  string
		change func(metadata map[string]any)
		want   string // behind $.metadata; "": it holds
	}{
		{"provenance", set("source_component", ""), `.source_component is "", and not a text`},
		{"provenance", drop("source_domain"), ".source_domain is not there"},
		{"metadata_fields", drop("run_id"), ".run_id is not there"},
		{"metadata_fields", drop("checksum"), ".checksum is not there"},
		{"metadata_fields", set("run_id", nil), ""},
		{"metadata_fields", drop("leaf_index"), ""}, // of a composed answer
		{"metadata_fields", set("timezone", nil), ".timezone is null"},
		{"metadata_fields", set("policy_ids", nil), ".policy_ids is null, and not a list"},
		{"metadata_fields", drop("incident_ids"), ".incident_ids is not there"},
		{"source_domain", set("source_domain", "WEATHER"), `.source_domain is "WEATHER", and not one of ACTIVITY,`},
		{"source_domain", set("source_domain", 3), ".source_domain is 3"},
		{"source_domain", set("source_domain", "POLICY"), ""},
		{"origin", set("origin", "system"), `.origin is "system"`},
		{"origin", set("origin", "REPLAY"), ""},
		{"immutable", set("immutable", false), ".immutable is false"},
		{"immutable", set("immutable", "true"), `.immutable is "true"`},
		{"immutable", drop("immutable"), ".immutable is not there"},
		{"tenant", set("tenant_id", "system"), ""},
		{"tenant", set("tenant_id", "globex"), `.tenant_id is "globex", and not "synthetic"`},
		{"tenant", set("tenant_id", ""), `.tenant_id is ""`},
		{"tenant", drop("tenant_id"), ".tenant_id is not there"},
		{"times", set("recorded_at", "2026-01-02T03:04:05+01:00"), `.recorded_at is "2026-01-02T03:04:05+01:00", and not a time`},
		{"times", set("occurred_at", "yesterday"), `.occurred_at is "yesterday"`},
		{"times", set("occurred_at", 5), ".occurred_at is 5"},
		{"times", drop("recorded_at"), ".recorded_at is not there"},
		{"spine", drop("correlation_id"), ".correlation_id is not there"},
		{"spine", set("incident_ids", nil), ".incident_ids is null, and not a list"},
		{"spine", set("trace_id", nil), ""},
	} {
		check := func(o *Observe, value any) string {
			return (&inspection{Invariant: &Invariant{Check: c.check}, a: &reply{status: 200, value: value}, o: o, tenant: testTenant}).check()
		}
		whole, item := fakeEnvelope("r"), fakeList("r")
		c.change(metadataOf(whole))
		c.change(metadataOf(itemOf(item, 1)))
		list := &Observe{Items: "items", ItemMetadata: true}
		for _, seen := range []struct{ place, got string }{
			{"$.metadata", check(&Observe{}, parsed(t, whole))},
			{"$.items[1].metadata", check(list, parsed(t, item))},
			{"$.items[1].metadata", check(&Observe{}, parsed(t, item))}, // a list that nobody asked for
		} {
			if c.check == "provenance" && seen.place != "$.metadata" { // of the answer only
				continue
			}
			if c.want == "" && seen.got != "" || c.want != "" && !strings.HasPrefix(seen.got, seen.place+c.want) {
				t.Errorf("%s: %q, want %s%s", c.check, seen.got, seen.place, c.want)
			}
		}
		delete(itemOf(item, 1), "metadata")
		if got := check(&Observe{Items: "items"}, parsed(t, item)); got != "" {
			t.Errorf("%s: items without metadata of their own: %s", c.check, got)
		}
	}
}

// parsed is a value as it comes out of an answer.
func parsed(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return parseJSON(t, string(text))
}

func TestTransport(t *testing.T) {
	answer := func(status int, body string) *reply {
		a := &reply{status: status, contentType: typeJSON, empty: body == ""}
		if body != "" {
			a.value = parseJSON(t, body)
		}
		return a
	}
	for _, c := range []struct {
		check string
		a     *reply
		want  string
	}{
		{"not_empty", answer(200, "{}"), "an object without members"},
		{"not_empty", answer(200, "[]"), "an empty list"},
		{"not_empty", answer(200, "null"), "is null"},
		{"not_empty", answer(200, ""), "is empty"},
		{"not_empty", answer(200, `{"a":1}`), ""},
		{"not_empty", answer(200, "0"), ""},
		{"object_or_list", answer(200, `"text"`), "the answer is string"},
		{"object_or_list", answer(200, "[1]"), ""},
		{"status_2xx", answer(204, "{}"), ""},
		{"status_2xx", answer(304, "{}"), "the status is 304"},
		{"not_401_403", answer(403, "{}"), "the status is 403"},
		{"not_401_403", answer(404, "{}"), ""},
		{"not_5xx", answer(599, "{}"), "the status is 599"},
		{"not_5xx", answer(499, "{}"), ""},
		{"within", &reply{took: defaultLimit}, ""},
		{"within", &reply{took: defaultLimit + time.Millisecond}, "it took 10.001s, and not at most 10s"},
		{"items", answer(200, `{"items":[1]}`), ""},
		{"items", answer(200, `{}`), "$.items is not there"},
		{"items", answer(200, `{"items":{}}`), "$.items is an object, and not a list"},
		{"metadata", answer(200, `[]`), "$.metadata is not there"},
		{"metadata", answer(200, `{"metadata":"x"}`), `$.metadata is "x", and not an object`},
		{"no_such_check", answer(200, `{}`), "there is no check"},
	} {
		got := (&inspection{Invariant: &Invariant{Check: c.check}, a: c.a, o: &Observe{Items: "items"}}).check()
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.check, got, c.want)
		}
	}
	if got := (&inspection{Invariant: &Invariant{Check: "items"}, a: answer(200, "{}"), o: &Observe{}}).check(); got != "" {
		t.Errorf("an answer without a list: %s", got)
	}
}

// TestOrder: invariants of transport count first, whatever the order of the file, and
// a scenario may be stricter and not laxer.
func TestOrder(t *testing.T) {
	all := []*Invariant{{ID: "L2", Layer: "logs", Level: Required}, {ID: "T1", Layer: "transport", Level: Advisory}, {ID: "L1", Layer: "logs", Level: Advisory}, {ID: "T2", Layer: "transport", Level: Required}}
	got := ""
	for _, i := range usedInvariants(all, []UsedInvariant{{ID: "T2", Level: Advisory}, {ID: "L1", Level: Required}, {ID: "L2"}, {ID: "T1"}, {ID: "X"}}) {
		got += i.ID + " " + i.Level + "; "
	}
	if want := "T1 advisory; T2 required; L2 required; L1 required; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if all[2].Level != Advisory {
		t.Error("the registry was changed")
	}
}
