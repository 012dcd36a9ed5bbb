package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/theory/jsonpath"

	"github.com/runledger/runledger/evidence"
)

// longestWait bounds how long a scenario may wait for an effect.
const longestWait = 10 * time.Minute

// scenarioCheck is a scenario while it is looked at by itself. vars has a value for each
// variable that may stand where it is: what a read saves may stand after it.
type scenarioCheck struct {
	*fileCheck
	s    *Scenario
	vars *Vars
}

// sampleTime is when a scenario begins while it is looked at.
var sampleTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (c *fileCheck) scenario() {
	s, ok := decode[Scenario](c.document, c.found)
	if !ok {
		return
	}
	sc := &scenarioCheck{fileCheck: c, s: s, vars: newVars(s.ID, "synthetic", "credential", "producer", sampleTime)}
	used := map[string]bool{}
	for i, u := range s.Invariants {
		if used[u.ID] {
			c.fail(steps("invariants", i, "id"), "%s stands twice", u.ID)
		}
		used[u.ID] = true
	}
	for i := range s.Inject {
		sc.injection(i)
	}
	seen := map[string]bool{}
	for i, o := range s.Observe {
		if seen[o.ID] {
			c.fail(steps("observe", i, "id"), "%s stands twice", plainName(o.ID))
		}
		seen[o.ID] = true
		sc.observe(i)
	}
}

// texts checks the variables in all texts of a value, and reports whether they are right
// and whether one of them names this run: neither scenario and tenant, which are the same
// each time, nor a time, which others have, too.
func (c *scenarioCheck) texts(at []string, value any) (right, some bool) {
	right = true
	switch value := value.(type) {
	case string:
		names, err := variablesIn(value)
		if err != nil {
			c.fail(at, "a variable has no end: ${ without }")
			return false, false
		}
		for _, name := range names {
			if _, saved := c.vars.saved[name]; !saved && !isVariable(name) {
				c.fail(at, "unknown variable ${%s}", clip(name))
				right = false
			}
			_, _, isTime := timeOf(name)
			some = some || !isTime && name != "scenario" && name != "tenant"
		}
		return right, some
	case []any:
		for i, item := range value {
			ok, has := c.texts(append(slices.Clone(at), fmt.Sprint(i)), item)
			right, some = right && ok, some || has
		}
	case map[string]any:
		for name, item := range value {
			inner := append(slices.Clone(at), name)
			if strings.Contains(name, "${") {
				c.fail(inner, "a variable stands in a value, not in a key")
				right = false
			}
			ok, has := c.texts(inner, item)
			right, some = right && ok, some || has
		}
	}
	return right, some
}

// at returns the value at a place of the document, nil where there is none.
func (d *document) at(at []string) any {
	v := d.value
	for _, step := range at {
		switch parent := v.(type) {
		case map[string]any:
			v = parent[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i < 0 || i >= len(parent) {
				return nil
			}
			v = parent[i]
		default:
			return nil
		}
	}
	return v
}

func (c *scenarioCheck) injection(i int) {
	at := steps("inject", i)
	switch in := &c.s.Inject[i]; {
	case in.OTLP != "":
		c.otlp(append(at, "body"), in)
	case in.Read != nil:
		c.read(append(at, "read"), in.Read)
	default:
		for k := range in.Records {
			c.record(append(slices.Clone(at), "records", fmt.Sprint(k)), in.Records[k])
		}
	}
}

// otlpMembers is the one member that a request has, by signal.
var otlpMembers = map[string]string{"traces": "resourceSpans", "logs": "resourceLogs", "metrics": "resourceMetrics"}

func (c *scenarioCheck) otlp(at []string, in *Injection) {
	member := otlpMembers[in.OTLP]
	list, ok := in.Body[member].([]any)
	if !ok || len(list) == 0 || len(in.Body) != 1 {
		c.fail(at, "a request of %s has %s, a list that is not empty, and nothing else", in.OTLP, member)
		return
	}
	if right, _ := c.texts(at, c.at(at)); !right {
		return
	}
	for i, item := range list {
		c.resource(append(slices.Clone(at), member, fmt.Sprint(i)), item)
	}
}

// resource finds marks that are the runner's to set.
func (c *scenarioCheck) resource(at []string, item any) {
	m, ok := item.(map[string]any)
	if !ok {
		c.fail(at, "must be a mapping")
		return
	}
	resource, _ := m["resource"].(map[string]any)
	attrs, _ := resource["attributes"].([]any)
	for i, a := range attrs {
		attr, _ := a.(map[string]any)
		if key := attr["key"]; key == "runledger.synthetic" || key == "runledger.scenario_id" {
			c.fail(append(slices.Clone(at), "resource", "attributes", fmt.Sprint(i)), "%v is set by the runner", key)
		}
	}
}

// injectable are the kinds of record that state causes. Of runs, traces and exports the
// product itself makes records, of what comes.
var injectable = []string{"trace_step", "trace_event", "system", "metric", "audit"}

// record sees that a native record states a cause, is one that the server would take,
// and leaves to the runner and the server what is theirs.
func (c *scenarioCheck) record(at []string, r map[string]any) {
	member := func(name string) []string { return append(slices.Clone(at), name) }
	right, _ := c.texts(at, c.at(at))
	kind, _ := r["kind"].(string)
	event, _ := r["event_type"].(string)
	switch {
	case !slices.Contains(injectable, kind) && evidence.ParseKind(kind) != 0:
		c.fail(member("kind"), "a %s is a consequence: the product makes it of what comes, and a scenario injects causes only", kind)
		return
	case evidence.ParseKind(kind) == 0:
		c.fail(member("kind"), "no kind of record %s: causes are %s", plainName(kind), strings.Join(injectable, ", "))
		return
	case evidence.ServerOnly(evidence.ParseKind(kind), event):
		c.fail(member("event_type"), "%s is a consequence: only the server states it, and a scenario injects causes only", event)
		return
	case kind == "system" && event == "OBSERVATION":
		c.fail(member("event_type"), "OBSERVATION is a consequence: a run of scenarios makes it")
		return
	}
	if v, ok := r["is_synthetic"]; ok && v != true {
		c.fail(member("is_synthetic"), "what a scenario injects is synthetic: leave it to the runner")
		return
	}
	if v, ok := r["synthetic_scenario_id"]; ok && v != "${scenario}" {
		c.fail(member("synthetic_scenario_id"), "is set by the runner")
		return
	}
	if right {
		c.native(at, r)
	}
}

// native has the record read as the server will read it, with samples for variables.
func (c *scenarioCheck) native(at []string, r map[string]any) {
	sample, err := c.vars.in(r)
	if err == nil {
		m := sample.(map[string]any)
		m["is_synthetic"], m["synthetic_scenario_id"] = true, c.s.ID
		var text []byte
		if text, err = json.Marshal(m); err == nil {
			_, err = evidence.ParseNative(text)
		}
	}
	var field *evidence.FieldError
	switch {
	case err == nil:
	case errors.As(err, &field):
		c.fail(append(slices.Clone(at), field.Field), "%s", field.Reason)
	default:
		c.fail(at, "%v", err)
	}
}

// sampleSaved stands for what a read saves. It fits a JSONPath with and without quotes.
const sampleSaved = "1"

// savedName is the form of a name that a read saves under.
var savedName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

func (c *scenarioCheck) read(at []string, r *Read) {
	c.request(at, r.Path, r.Params)
	for name, jsonPath := range r.Save {
		place := append(slices.Clone(at), "save", name)
		_, twice := c.vars.saved[name]
		switch {
		case !savedName.MatchString(name):
			c.fail(place, "the name of a variable is lower-case letters, digits and _")
		case isVariable(name) || twice:
			c.fail(place, "there is a variable ${%s} already", name)
		}
		c.jsonPath(place, jsonPath)
	}
	for name := range r.Save {
		c.vars.saved[name] = sampleSaved
	}
}

// parameter is a place in the template of a path.
var parameter = regexp.MustCompile(`\{([^{}]+)\}`)

// request checks path, parameters and query of a GET.
func (c *scenarioCheck) request(at []string, template string, params map[string]string) {
	for _, name := range []string{"params", "query"} {
		place := append(slices.Clone(at), name)
		c.texts(place, c.at(place))
	}
	var names []string
	for _, m := range parameter.FindAllStringSubmatch(template, -1) {
		names = append(names, m[1])
		if _, ok := params[m[1]]; !ok {
			c.fail(append(slices.Clone(at), "path"), "params lacks %s", m[1])
		}
	}
	for name := range params {
		if !slices.Contains(names, name) {
			c.fail(append(slices.Clone(at), "params", name), "the path has no {%s}", name)
		}
	}
}

// jsonPath parses a JSONPath with samples for its variables, and reports whether it has
// any.
func (c *scenarioCheck) jsonPath(at []string, text string) (variables bool) {
	right, variables := c.texts(at, text)
	if !right {
		return variables
	}
	sample, err := c.vars.path(text)
	if err == nil {
		_, err = jsonpath.Parse(sample)
	}
	if err != nil {
		c.fail(at, "no JSONPath (RFC 9535): %s", strings.TrimPrefix(err.Error(), "jsonpath: "))
	}
	return variables
}

func (c *scenarioCheck) observe(i int) {
	at, o := steps("observe", i), &c.s.Observe[i]
	c.request(at, o.Path, o.Params)
	if !strings.HasPrefix(o.Path, facadePrefix) {
		c.fail(append(slices.Clone(at), "path"), "%s is no path of the facade, which is below %s", plainName(o.Path), facadePrefix)
	}
	if o.Wait < 0 || o.Wait > longestWait {
		c.fail(append(slices.Clone(at), "wait"), "%v: must be at most %v", o.Wait, longestWait)
	}
	if o.ItemMetadata && o.Items == "" {
		c.fail(append(slices.Clone(at), "item_metadata"), "of which items? items is missing")
	}
	variables := false
	for k := range o.Expect {
		if c.expect(append(slices.Clone(at), "expect", fmt.Sprint(k)), &o.Expect[k]) {
			variables = true
		}
	}
	// Else it would pass by what an earlier run has left, or where there is nothing at all.
	if !variables {
		c.fail(append(slices.Clone(at), "expect"), "no expectation has a variable and must find something: it says nothing of what was injected")
	}
}

// expect checks one expectation, and reports whether it has a variable, and cannot hold
// where nothing is selected.
func (c *scenarioCheck) expect(at []string, e *Expect) (variables bool) {
	member := func(name string) []string { return append(slices.Clone(at), name) }
	variables = c.jsonPath(member("path"), e.Path)
	for _, name := range []string{"equals", "in"} {
		_, has := c.texts(member(name), c.at(member(name)))
		variables = variables || has
	}
	if e.Matches != "" {
		right, has := c.texts(member("matches"), e.Matches)
		variables = variables || has
		if right {
			sample, err := c.vars.pattern(e.Matches)
			if err == nil {
				_, err = regexp.Compile(sample)
			}
			if err != nil {
				c.fail(member("matches"), "no regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
			}
		}
	}
	if e.Min != nil && e.Max != nil && *e.Min > *e.Max {
		c.fail(member("min"), "more than max: it can never hold")
	}
	none := e.Count != nil && *e.Count == 0 || e.Max != nil && *e.Max == 0
	if none && (e.Equals != nil || len(e.In) > 0 || e.Matches != "" || e.Type != "" || e.NotNull || e.NotEmpty) {
		c.fail(at, "a condition on values where no value may be: it can never fail")
	}
	mayBeNone := e.count(0) == ""
	return variables && !mayBeNone
}
