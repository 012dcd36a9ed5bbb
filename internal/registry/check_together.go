package registry

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// together is a registry whose files are each right, while they are held against one
// another.
type together struct {
	r            *Registry
	found        *findings
	intents      map[string]*Intent // by panel id
	capabilities map[string]*Capability
	scenarios    map[string]*Scenario
}

func checkTogether(r *Registry, f *findings) {
	t := &together{
		r: r, found: f,
		intents: map[string]*Intent{}, capabilities: map[string]*Capability{}, scenarios: map[string]*Scenario{},
	}
	t.names()
	t.topics()
	for _, in := range r.Intents {
		t.intent(in)
	}
	for _, c := range r.Capabilities {
		t.capability(c)
	}
	for _, s := range r.Scenarios {
		t.scenario(s)
	}
}

// fail adds a problem at a place of a file.
func (t *together) fail(file string, at []string, format string, args ...any) {
	d := t.r.documents[file]
	t.found.add(file, d.line(at...), "%s%s", prefix(d, at), fmt.Sprintf(format, args...))
}

// names takes the entries by id, and names both files where two have the same.
func (t *together) names() {
	for _, in := range t.r.Intents {
		if other := t.intents[in.PanelID]; other != nil {
			t.fail(in.File, steps("panel_id"), "%s is that of %s, too", in.PanelID, other.File)
			continue
		}
		t.intents[in.PanelID] = in
	}
	for _, c := range t.r.Capabilities {
		if other := t.capabilities[c.ID]; other != nil {
			t.fail(c.File, steps("id"), "%s is that of %s, too", c.ID, other.File)
			continue
		}
		t.capabilities[c.ID] = c
	}
	for _, s := range t.r.Scenarios {
		if other := t.scenarios[s.ID]; other != nil {
			t.fail(s.File, steps("id"), "%s is that of %s, too", s.ID, other.File)
			continue
		}
		t.scenarios[s.ID] = s
	}
	named := func(file string, at []string, want string) {
		if strings.TrimSuffix(path.Base(file), ".yaml") != want {
			t.fail(file, at, "the file must be named %s.yaml", want)
		}
	}
	for _, in := range t.r.Intents {
		named(in.File, steps("panel_id"), intentPrefix+in.PanelID)
	}
	for _, c := range t.r.Capabilities {
		named(c.File, steps("id"), capabilityPrefix+c.ID)
	}
	for _, s := range t.r.Scenarios {
		named(s.File, steps("id"), s.ID)
	}
}

// topics sees that each topic has its five depths (contract section 1), each answered by
// an endpoint of its own.
func (t *together) topics() {
	for topic, id := range topicIDs {
		for _, order := range orders {
			if t.intents[id+"-"+order] == nil {
				t.found.add(intentsDir, 0, "topic %s has no intent %s-%s", topic, id, order)
			}
		}
	}
	endpoints := map[string]*Intent{}
	for _, in := range t.r.Intents {
		if other := endpoints[in.Capability.Endpoint]; other != nil && other.PanelID != in.PanelID {
			t.fail(in.File, steps("capability", "endpoint"), "%s is that of %s, too", in.Capability.Endpoint, other.File)
		}
		endpoints[in.Capability.Endpoint] = in
	}
}

// intent sees that a panel is backed by its capability, and proven by a scenario of it.
func (t *together) intent(in *Intent) {
	id := in.Capability.ID
	switch c := t.capabilities[id]; {
	case c == nil:
		t.fail(in.File, steps("capability", "id"), "there is no capability %s", plainName(id))
	case !slices.Contains(c.Panels, in.PanelID):
		t.fail(in.File, steps("capability", "id"), "%s does not list %s in its panels (%s)", id, in.PanelID, c.File)
	case c.Status != in.Capability.Status:
		t.fail(in.File, steps("capability", "status"), "%s, but it is %s in %s", in.Capability.Status, c.Status, c.File)
	}
	at := steps("sdsr", "scenario")
	switch s := t.scenarios[in.SDSR.Scenario]; {
	case s == nil:
		t.fail(in.File, at, "there is no scenario %s", plainName(in.SDSR.Scenario))
	case s.Panel != in.PanelID:
		t.fail(in.File, at, "%s proves the panel %s, not this one (%s)", s.ID, plainName(s.Panel), s.File)
	case !slices.ContainsFunc(s.Observe, func(o Observe) bool { return o.Path == in.Capability.Endpoint }):
		t.fail(in.File, at, "%s never looks at the endpoint of the panel (%s)", s.ID, s.File)
	}
	if in.Metadata.Order != orders[0] {
		return
	}
	var backs []string
	for _, c := range t.r.Capabilities {
		if slices.Contains(c.Panels, in.PanelID) {
			backs = append(backs, c.ID)
		}
	}
	if len(backs) != 1 {
		t.fail(in.File, steps("panel_id"), "%d capabilities back it, and an O1 has exactly one (%s)", len(backs), strings.Join(backs, ", "))
	}
}

func (t *together) capability(c *Capability) {
	first := ""
	for i, id := range c.Panels {
		at := steps("panels", i)
		in := t.intents[id]
		switch {
		case in == nil:
			t.fail(c.File, at, "there is no intent %s", plainName(id))
			continue
		case in.Capability.ID != c.ID:
			t.fail(c.File, at, "%s is backed by %s (%s)", id, in.Capability.ID, in.File)
		case in.Metadata.Order != orders[0]:
		case first != "":
			t.fail(c.File, at, "a second O1: %s stands here already", first)
		default:
			first = id
		}
	}
	switch in := t.intents[first]; {
	case in == nil:
		t.fail(c.File, steps("panels"), "no O1 is among them")
	case c.Endpoint != in.Capability.Endpoint:
		t.fail(c.File, steps("endpoint"), "%s is not that of its O1, %s (%s)", c.Endpoint, in.Capability.Endpoint, in.File)
	}
	for i, id := range c.Scenarios {
		switch s := t.scenarios[id]; {
		case s == nil:
			t.fail(c.File, steps("scenarios", i), "there is no scenario %s", plainName(id))
		case s.Capability != c.ID:
			t.fail(c.File, steps("scenarios", i), "%s is of %s (%s)", id, plainName(s.Capability), s.File)
		}
	}
}

func (t *together) scenario(s *Scenario) {
	switch c := t.capabilities[s.Capability]; {
	case c == nil:
		t.fail(s.File, steps("capability"), "there is no capability %s", plainName(s.Capability))
	case !slices.Contains(c.Scenarios, s.ID):
		t.fail(s.File, steps("capability"), "%s does not list %s in its scenarios (%s)", c.ID, s.ID, c.File)
	}
	switch in := t.intents[s.Panel]; {
	case s.Panel == "":
	case in == nil:
		t.fail(s.File, steps("panel"), "there is no intent %s", plainName(s.Panel))
	case in.SDSR.Scenario != s.ID:
		t.fail(s.File, steps("panel"), "%s is proven by %s (%s)", s.Panel, in.SDSR.Scenario, in.File)
	}
	required := false
	for i, u := range s.Invariants {
		n := slices.IndexFunc(t.r.Invariants, func(inv *Invariant) bool { return inv.ID == u.ID })
		switch {
		case n < 0:
			t.fail(s.File, steps("invariants", i, "id"), "there is no invariant %s", plainName(u.ID))
		case u.Level == Advisory:
			t.fail(s.File, steps("invariants", i, "level"), "%s is %s: a scenario may be stricter, and not laxer", u.ID, t.r.Invariants[n].Level)
		case u.Level == Required && t.r.Invariants[n].Check == "items" && !slices.ContainsFunc(s.Observe, func(o Observe) bool { return o.Items != "" }):
			t.fail(s.File, steps("invariants", i), "%s is required, and no answer is looked at for items: it can never fail", u.ID)
		default:
			required = required || u.Level == Required || t.r.Invariants[n].Level == Required
		}
	}
	if !required {
		t.fail(s.File, steps("invariants"), "none of them is required: they can never fail")
	}
}
