package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/registry"
)

// gatewaySchema is the JSON Schema of the file of serve --config. It is made from the
// flags of serve, so that a new one cannot be forgotten.
const gatewaySchema = "../../registry/schemas/gateway.schema.json"

type object = map[string]any

// TestGatewaySchema makes the schema from the flags; -update writes it.
func TestGatewaySchema(t *testing.T) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schemaOfSettings(settings(t))); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(gatewaySchema, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(gatewaySchema)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), text.String()); diff != "" {
		t.Errorf("%s is not as the flags of serve (-update writes it anew):\n%s", filepath.Base(gatewaySchema), diff)
	}
}

// settings are the flags of serve that may stand in the file.
func settings(t *testing.T) []*kong.Flag {
	t.Helper()
	var c cli
	parser, err := kong.New(&c, kong.Name("runledger"))
	if err != nil {
		t.Fatal(err)
	}
	var list []*kong.Flag
	for _, leaf := range parser.Model.Leaves(true) {
		if leaf.Name != "serve" {
			continue
		}
		for _, group := range leaf.AllFlags(true) {
			for _, f := range group {
				if !slices.Contains(onceOnly, f.Name) && !slices.Contains(noSettings, f.Name) {
					list = append(list, f)
				}
			}
		}
	}
	if len(list) < 10 {
		t.Fatalf("%d settings", len(list))
	}
	return list
}

func schemaOfSettings(list []*kong.Flag) object {
	s := &settingsSchema{defs: maps.Clone(typesOfSettings)}
	for _, f := range list {
		s.names = append(s.names, f.Name)
		s.defs[f.Name] = schemaOfSetting(f)
	}
	root := s.below("")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "runledger settings of a server"
	root["description"] = "The file of serve --config. Names of flags are keys, nested at will: otlp-http, otlp_http, and http below otlp are the same. " +
		"That a setting stands twice under two spellings no schema can say: registry check and the server do. Nor can it say what a setting is checked for when the server starts: " +
		"addresses, that files are there, that one size is not more than another. Made from the flags of serve by a test (go test ./cmd/runledger -run GatewaySchema -update)."
	root["$defs"] = s.defs
	return root
}

// settingsSchema makes a schema for each place in the file: at the top, and below the
// first words of names.
type settingsSchema struct {
	names []string
	defs  object
}

// below returns the schema of the mapping below a prefix, which ends in "-" or is empty.
// Every key is the next words of a name: to its end, or to another mapping.
func (s *settingsSchema) below(prefix string) object {
	plain, patterns := object{}, object{}
	for _, name := range s.names {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		words := strings.Split(rest, "-")
		for n := 1; n <= len(words); n++ {
			key := strings.Join(words[:n], "-")
			to := plain
			if n > 1 {
				to, key = patterns, "^"+strings.Join(words[:n], "[-_]")+"$"
			}
			if _, done := to[key]; !done {
				to[key] = s.value(prefix + strings.Join(words[:n], "-"))
			}
		}
	}
	out := object{"type": "object", "additionalProperties": false, "properties": plain}
	if len(patterns) > 0 {
		out["patternProperties"] = patterns
	}
	return out
}

// value returns the schema of what stands at a name, which is that of a setting, the
// beginning of others, or both.
func (s *settingsSchema) value(name string) object {
	setting, mapping := object{"$ref": "#/$defs/" + name}, object{"$ref": "#/$defs/" + name + "-"}
	if !slices.ContainsFunc(s.names, func(other string) bool { return strings.HasPrefix(other, name+"-") }) {
		return setting
	}
	if _, done := s.defs[name+"-"]; !done {
		s.defs[name+"-"] = nil // it refers to itself
		s.defs[name+"-"] = s.below(name + "-")
	}
	if !slices.Contains(s.names, name) {
		return mapping
	}
	return object{"if": object{"type": "object"}, "then": mapping, "else": setting}
}

// typesOfSettings follow what kong reads of a text.
var typesOfSettings = object{
	"TEXT": object{"type": []string{"string", "number", "boolean"}},
	"LIST": object{
		"description": "a list of texts, or one", "type": []string{"array", "string", "number", "boolean"},
		"items": object{"$ref": "#/$defs/TEXT"},
	},
	"SWITCH": object{
		"description": "true or false", "type": []string{"boolean", "integer", "string"}, "minimum": 0, "maximum": 1,
		"pattern": `^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy][Ee][Ss]|[Nn][Oo]|0|1)$`,
	},
	"NUMBER": object{"description": "a whole number", "type": []string{"integer", "string"}, "pattern": `^[+-]?[0-9][0-9A-Fa-fxXoObB_]*$`},
	"SIZE": object{
		"description": "a number of bytes, or one with KiB, MiB or GiB", "type": []string{"integer", "string"}, "minimum": 0,
		"pattern": `^(0|[1-9][0-9]*)(KiB|MiB|GiB)?$`,
	},
	"TIME": object{
		"description": "a duration such as 500ms, 2s, 10m", "type": []string{"string", "integer"}, "minimum": 0, "maximum": 0, // 0 needs no unit
		"pattern": `^[+-]?(0|([0-9]+(\.[0-9]*)?(ns|us|µs|μs|ms|s|m|h))+)$`,
	},
}

func schemaOfSetting(f *kong.Flag) object {
	if f.Enum != "" {
		return object{"description": f.Help, "enum": strings.Split(f.Enum, ",")}
	}
	name, known := map[reflect.Type]string{
		reflect.TypeFor[time.Duration](): "TIME", reflect.TypeFor[size](): "SIZE", reflect.TypeFor[int](): "NUMBER", reflect.TypeFor[bool](): "SWITCH",
		reflect.TypeFor[[]string](): "LIST", reflect.TypeFor[string](): "TEXT",
	}[f.Target.Type()]
	if !known {
		panic("a new type of setting: " + f.Target.Type().String())
	}
	return object{"description": f.Help, "$ref": "#/$defs/" + name}
}

// TestGatewaySchemaAndParser gives files to both, and both must say the same.
func TestGatewaySchemaAndParser(t *testing.T) {
	files := map[string]string{
		"nested":          "otlp: {http: \"127.0.0.1:1\", grpc: off, max: {body: 1MiB, in_flight: 3}}\nrun: {root-quiet: 5s}\n",
		"flat":            "otlp-http: off\notlp_max_in_flight: 5\nstore-replica: [a, b]\nstore: x\n",
		"zero":            "grace: 0\n",
		"no unit":         "grace: 5\n",
		"unknown":         "otlp: {htp: off}\n",
		"once only":       "accept-rollback: true\n",
		"no setting":      "config: x\n",
		"null":            "listen:\n",
		"no size":         "otlp-max-body: 3MB\n",
		"no environment":  "environment: prod\n",
		"yes":             "dev: yes\n",
		"no boolean":      "dev: maybe\n",
		"a number":        "scrub: {rate: 12}\n",
		"no number":       "scrub-rate: many\n",
		"a mapping":       "listen: {x: y}\n",
		"twice":           "otlp-http: off\notlp: {http: off}\n",
		"twice, prefix":   "store: {replica: [a]}\nstore_replica: [b]\n",
		"words of a name": "otlp: {max-in: {flight: 1GiB}}\n",
		"half a name":     "otlp: {max: 3}\n",
	}
	bad := regexp.MustCompile(`^(no |unknown|once|null|a mapping|twice|half)`)
	for name, text := range files {
		t.Run(name, func(t *testing.T) {
			parsed := parseSettings(t, text)
			checked := registry.CheckFile("gateway", "config.yaml", []byte(text), time.Now())
			if want := bad.MatchString(name); (parsed != nil) != want || (checked != nil) != want {
				t.Errorf("wrong %v, but the parser says %v, and the schema %v", want, parsed, checked)
			}
		})
	}
}

// parseSettings reads a file as serve does, without serving.
func parseSettings(t *testing.T, text string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var c cli
	parser, err := kong.New(&c, kong.Name("runledger"), kong.Configuration(readConfig))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse([]string{"serve", "--config", path})
	return err
}
