package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// facadePrefix is what all paths of the read facade begin with (contract section 1).
const facadePrefix = "/api/v1/logs/"

// openAPI is the name of an OpenAPI document in problems.
const openAPI = "openapi.json"

// listPaths are the paths of the answers of the facade that are no panel: what panels are chosen from.
var listPaths = []string{"/api/v1/logs/llm-runs", "/api/v1/logs/system", "/api/v1/logs/audit"}

// apiDocument is what counts here of an OpenAPI 3.1 document.
type apiDocument struct {
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas map[string]*apiSchema
	}
}

type apiOperation struct {
	Parameters []apiParameter
	Responses  map[string]struct {
		Content map[string]struct{ Schema *apiSchema }
	}
}

type apiParameter struct {
	Name string
	In   string
}

// apiSchema is a schema of an answer, as far as its members go.
type apiSchema struct {
	Ref        string `json:"$ref"`
	Type       any
	Properties map[string]*apiSchema
	Items      *apiSchema
}

// apiCheck is a registry held against an OpenAPI document.
type apiCheck struct {
	r     *Registry
	doc   apiDocument
	gets  map[string]*apiOperation // by path
	found *findings
}

// CheckAPI holds the registry against the OpenAPI document of a server, both ways, so
// that a change of either side shows: endpoint and method of each intent and
// capability, their controls and what they show, and paths and parameters of scenarios
// must be in the document; and each GET of the facade, but the three lists, must have an
// intent. The error joins a [*Problem] for each thing that is wrong.
func (r *Registry) CheckAPI(openapi []byte) error {
	c := &apiCheck{r: r, gets: map[string]*apiOperation{}, found: &findings{}}
	if err := json.Unmarshal(openapi, &c.doc); err != nil {
		return fmt.Errorf("OpenAPI document: %w: %w", evidence.ErrInvalid, err)
	}
	for path, item := range c.doc.Paths {
		get := item["get"]
		if get == nil {
			continue
		}
		op := &apiOperation{}
		if err := json.Unmarshal(get, op); err != nil {
			return fmt.Errorf("OpenAPI document: %s: %w: %w", path, evidence.ErrInvalid, err)
		}
		c.gets[path] = op
	}
	for _, in := range r.Intents {
		c.intent(in)
	}
	for _, ca := range r.Capabilities {
		c.endpoint(ca.File, steps("endpoint"), ca.Endpoint)
	}
	for _, s := range r.Scenarios {
		c.scenario(s)
	}
	c.routes()
	return c.found.err()
}

func (c *apiCheck) fail(file string, at []string, format string, args ...any) {
	c.found.add(file, c.r.documents[file].line(at...), "%s", fmt.Sprintf(format, args...))
}

// endpoint returns the operation of GET; nil: there is none, which has been added.
func (c *apiCheck) endpoint(file string, at []string, path string) *apiOperation {
	op := c.gets[path]
	switch {
	case op != nil:
	case c.doc.Paths[path] == nil:
		c.fail(file, at, "the OpenAPI document has no path %s", plainName(path))
	default:
		c.fail(file, at, "the OpenAPI document has no GET of %s", path)
	}
	return op
}

func (op *apiOperation) has(in, name string) bool {
	return slices.ContainsFunc(op.Parameters, func(p apiParameter) bool { return p.In == in && p.Name == name })
}

func (c *apiCheck) intent(in *Intent) {
	op := c.endpoint(in.File, steps("capability", "endpoint"), in.Capability.Endpoint)
	if op == nil {
		return
	}
	for i, ctl := range in.Controls {
		if !op.has("query", ctl.Parameter) {
			c.fail(in.File, steps("controls", i, "parameter"), "GET %s has no parameter %s", in.Capability.Endpoint, ctl.Parameter)
		}
	}
	answer := op.Responses["200"].Content["application/json"].Schema
	if answer == nil {
		return
	}
	entry := answer
	if in.Display.Rows != "" {
		rows := c.member(answer, in.Display.Rows)
		if rows == nil || rows.Items == nil {
			c.fail(in.File, steps("display", "rows"), "the answer of %s has no list %s", in.Capability.Endpoint, in.Display.Rows)
			return
		}
		entry = rows.Items
	}
	for i, field := range in.Display.Fields {
		if c.member(entry, field) == nil && c.member(answer, field) == nil {
			c.fail(in.File, steps("display", "fields", i), "the answer of %s has no member %s", in.Capability.Endpoint, field)
		}
	}
}

// resolve follows references within the document.
func (c *apiCheck) resolve(s *apiSchema) *apiSchema {
	for range 16 { // a reference to a reference is rare, and one to itself a mistake
		if s == nil || s.Ref == "" {
			return s
		}
		name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/")
		if !ok {
			return nil
		}
		s = c.doc.Components.Schemas[name]
	}
	return nil
}

// member returns the schema of a member, a.b for one within another; nil: the answer
// does not have it.
func (c *apiCheck) member(s *apiSchema, name string) *apiSchema {
	for step := range strings.SplitSeq(name, ".") {
		if s = c.resolve(s); s == nil {
			return nil
		}
		s = s.Properties[step]
	}
	return c.resolve(s)
}

func (c *apiCheck) scenario(s *Scenario) {
	for i := range s.Inject {
		if read := s.Inject[i].Read; read != nil {
			c.request(s.File, steps("inject", i, "read"), read.Path, read.Params, read.Query)
		}
	}
	for i := range s.Observe {
		o := &s.Observe[i]
		at := steps("observe", i)
		op := c.request(s.File, at, o.Path, o.Params, o.Query)
		if op == nil || o.Items == "" {
			continue
		}
		answer := op.Responses["200"].Content["application/json"].Schema
		if items := c.member(answer, o.Items); answer != nil && (items == nil || items.Items == nil) {
			c.fail(s.File, append(at, "items"), "the answer of %s has no list %s", o.Path, o.Items)
		}
	}
}

func (c *apiCheck) request(file string, at []string, path string, params, query map[string]string) *apiOperation {
	op := c.endpoint(file, append(slices.Clone(at), "path"), path)
	if op == nil {
		return nil
	}
	for in, names := range map[string]map[string]string{"path": params, "query": query} {
		member := map[string]string{"path": "params", "query": "query"}[in]
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if !op.has(in, name) {
				c.fail(file, append(slices.Clone(at), member, name), "GET %s has no parameter %s", path, plainName(name))
			}
		}
	}
	return op
}

// routes looks the other way: what the facade answers has an intent, and it does nothing
// but answer.
func (c *apiCheck) routes() {
	for _, path := range slices.Sorted(maps.Keys(c.doc.Paths)) {
		if !strings.HasPrefix(path+"/", facadePrefix) {
			continue
		}
		for _, method := range []string{"post", "put", "patch", "delete"} {
			if c.doc.Paths[path][method] != nil {
				c.found.add(openAPI, 0, "%s %s: nothing below %s may be changed", strings.ToUpper(method), path, facadePrefix)
			}
		}
		has := slices.ContainsFunc(c.r.Intents, func(in *Intent) bool { return in.Capability.Endpoint == path })
		if c.gets[path] != nil && !has && !slices.Contains(listPaths, path) {
			c.found.add(openAPI, 0, "GET %s has no intent", path)
		}
	}
}
