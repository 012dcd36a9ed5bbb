package registry

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// inspection is what a check looks at: one invariant of one answer.
type inspection struct {
	*Invariant
	a      *reply
	o      *Observe
	tenant string // of the credential
}

// invariantChecks are the checks that an invariant may name. Each returns "" where the
// invariant holds, and else names the place where it does not.
var invariantChecks = map[string]func(*inspection) string{
	"not_empty":       notEmpty,
	"object_or_list":  objectOrList,
	"status_2xx":      status2xx,
	"not_401_403":     not401Or403,
	"not_5xx":         not5xx,
	"within":          within,
	"provenance":      provenance,
	"items":           hasItems,
	"metadata":        hasMetadata,
	"metadata_fields": metadataFields,
	"source_domain":   oneOf("source_domain", "ACTIVITY", "POLICY", "INCIDENTS", "LOGS", "SYSTEM"),
	"origin":          oneOf("origin", "SYSTEM", "HUMAN", "AGENT", "MIGRATION", "REPLAY"),
	"immutable":       isImmutable,
	"tenant":          ofTenant,
	"times":           hasTimes,
	"spine":           hasSpine,
}

// check runs the check of an invariant.
func (i *inspection) check() string {
	f := invariantChecks[i.Check]
	if f == nil { // Load refuses it
		return fmt.Sprintf("there is no check %q", i.Check)
	}
	return safely(func() string { return cut(f(i)) })
}

// usedInvariants are the invariants of a scenario in the order in which they count:
// those of transport first, each kind in the order of the file.
func usedInvariants(all []*Invariant, used []UsedInvariant) []*Invariant {
	var out []*Invariant
	for _, inv := range all {
		i := slices.IndexFunc(used, func(u UsedInvariant) bool { return u.ID == inv.ID })
		if i < 0 {
			continue
		}
		here := *inv
		if used[i].Level == Required { // never laxer
			here.Level = Required
		}
		out = append(out, &here)
	}
	slices.SortStableFunc(out, func(x, y *Invariant) int {
		return strings.Compare(layerOrder(x), layerOrder(y))
	})
	return out
}

func layerOrder(i *Invariant) string {
	if i.Layer == "transport" {
		return ""
	}
	return i.Layer
}

// Checks of transport.

func notEmpty(i *inspection) string {
	switch {
	case i.a.err != nil:
		return "there is no answer"
	case i.a.empty:
		return "the answer is empty"
	}
	switch v := i.a.value.(type) {
	case nil:
		if i.a.notJSON == nil {
			return "the answer is null"
		}
	case map[string]any:
		if len(v) == 0 {
			return "the answer is an object without members"
		}
	case []any:
		if len(v) == 0 {
			return "the answer is an empty list"
		}
	}
	return ""
}

func objectOrList(i *inspection) string {
	switch i.a.value.(type) {
	case map[string]any, []any:
		return ""
	}
	if i.a.notJSON != nil || i.a.err != nil {
		return fmt.Sprintf("the answer is no JSON (Content-Type %q)", i.a.contentType)
	}
	return "the answer is " + kindOfJSON(i.a.value) + ", and neither object nor list"
}

func status2xx(i *inspection) string {
	return statusIs(i.a, i.a.status/100 == 2)
}

func not401Or403(i *inspection) string {
	return statusIs(i.a, i.a.status != http.StatusUnauthorized && i.a.status != http.StatusForbidden)
}

func not5xx(i *inspection) string {
	return statusIs(i.a, i.a.status < http.StatusInternalServerError)
}

func statusIs(a *reply, good bool) string {
	switch {
	case a.err != nil:
		return "there is no answer"
	case !good:
		return fmt.Sprintf("the status is %d", a.status)
	}
	return ""
}

// defaultLimit is that of contract section 9.
const defaultLimit = 10 * time.Second

func within(i *inspection) string {
	limit := i.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	if i.a.took <= limit {
		return ""
	}
	return fmt.Sprintf("it took %s, and not at most %s", i.a.took.Round(time.Millisecond), limit)
}

func provenance(i *inspection) string {
	m := root(i.a).member("metadata")
	for _, name := range orElse(i.Fields, "source_domain", "source_component") {
		f := m.member(name)
		if s, ok := f.value.(string); !ok || s == "" {
			return f.is("a text that says where it comes from")
		}
	}
	return ""
}

func hasItems(i *inspection) string {
	if i.o.Items == "" {
		return ""
	}
	items := root(i.a).member(i.o.Items)
	list, ok := items.value.([]any)
	switch {
	case !ok:
		return items.is("a list")
	case len(list) == 0:
		return items.path + " is empty"
	}
	return ""
}

// Checks of logs: of the metadata of the answer, and of that of each item where they
// have metadata of their own.

// metadata returns all metadata that the invariants are checked of: that of the answer,
// of each item where they have metadata of their own, and of each entry of the other
// lists that has some.
func (i *inspection) metadata() []placed {
	answer := root(i.a)
	out := []placed{answer.member("metadata")}
	for _, name := range slices.Sorted(maps.Keys(answer.object())) {
		entries := answer.member(name)
		list, _ := entries.value.([]any)
		for n, entry := range list {
			m := placed{path: fmt.Sprintf("%s[%d]", entries.path, n), value: entry}.member("metadata")
			if !m.missing || i.o.ItemMetadata && name == i.o.Items {
				out = append(out, m)
			}
		}
	}
	return out
}

// each checks all metadata; the first that is not as it should be counts.
func (i *inspection) each(f func(m placed) string) string {
	for _, m := range i.metadata() {
		if m.object() == nil {
			return m.is("an object")
		}
		if detail := f(m); detail != "" {
			return detail
		}
	}
	return ""
}

func hasMetadata(i *inspection) string {
	return i.each(func(placed) string { return "" })
}

// The fields of contract section 2; log and leaf_index may be missing
// of a composed answer.
var (
	nullableFields = []string{
		"run_id", "human_actor_id", "agent_id", "system_id", "trace_id", "export_id", "correlation_id", "checksum",
	}
	requiredFields = []string{
		"tenant_id", "occurred_at", "recorded_at", "timezone", "source_domain", "source_component", "origin", "immutable",
	}
	listFields  = []string{"policy_ids", "incident_ids"}
	spineFields = []string{"run_id", "trace_id", "policy_ids", "incident_ids", "export_id", "correlation_id"}
)

func metadataFields(i *inspection) string {
	return i.each(func(m placed) string {
		for _, name := range slices.Concat(requiredFields, listFields, nullableFields, i.Fields) {
			if detail := m.field(name); detail != "" {
				return detail
			}
		}
		return ""
	})
}

// field says what is wrong with the presence of a field: it must be there, and must not
// be null unless the contract lets it.
func (p placed) field(name string) string {
	f := p.member(name)
	_, list := f.value.([]any)
	switch {
	case f.missing:
		return f.is("")
	case slices.Contains(listFields, name) && !list:
		return f.is("a list")
	case f.value == nil && !slices.Contains(nullableFields, name) && name != "log" && name != "leaf_index":
		return f.path + " is null"
	}
	return ""
}

func oneOf(name string, values ...string) func(*inspection) string {
	return func(i *inspection) string {
		allowed := orElse(i.Values, values...)
		return i.each(func(m placed) string {
			f := m.member(name)
			if s, ok := f.value.(string); ok && slices.Contains(allowed, s) {
				return ""
			}
			return f.is("one of " + strings.Join(allowed, ", "))
		})
	}
}

func isImmutable(i *inspection) string {
	return i.each(func(m placed) string {
		if f := m.member("immutable"); f.value != true {
			return f.is("")
		}
		return ""
	})
}

// systemTenant is the tenant_id of system-wide records (contract section 2).
const systemTenant = "system"

func ofTenant(i *inspection) string {
	return i.each(func(m placed) string {
		f := m.member("tenant_id")
		if f.value == i.tenant || f.value == systemTenant {
			return ""
		}
		return f.is(fmt.Sprintf("%q", i.tenant))
	})
}

func hasTimes(i *inspection) string {
	return i.each(func(m placed) string {
		for _, name := range orElse(i.Fields, "occurred_at", "recorded_at") {
			f := m.member(name)
			s, _ := f.value.(string)
			if _, err := time.Parse(time.RFC3339Nano, s); err != nil || !strings.HasSuffix(s, "Z") {
				return f.is("a time of RFC 3339 in UTC")
			}
		}
		return ""
	})
}

func hasSpine(i *inspection) string {
	return i.each(func(m placed) string {
		for _, name := range orElse(i.Fields, spineFields...) {
			if detail := m.field(name); detail != "" {
				return detail
			}
		}
		return ""
	})
}

func orElse(list []string, fallback ...string) []string {
	if len(list) > 0 {
		return list
	}
	return fallback
}
