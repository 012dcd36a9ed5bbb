package registry

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	definition "github.com/runledger/runledger/registry"
)

// kindOfFile is a kind of YAML that has a JSON Schema: schemas/<name>.schema.json.
type kindOfFile struct {
	name string
	// mergeKeys says that who reads the file takes "<<".
	mergeKeys bool
	// check looks at what a schema cannot say. nil: nothing.
	check func(c *fileCheck)
}

// kindsOfFile are all of them: those of the registry, and the other YAML of the project.
var kindsOfFile = []kindOfFile{
	{name: "intent", check: (*fileCheck).intent},
	{name: "capability", check: (*fileCheck).capability},
	{name: "scenario", check: (*fileCheck).scenario},
	{name: "invariants", check: (*fileCheck).invariants},
	{name: "rules", check: (*fileCheck).rules},
	{name: "producers", check: (*fileCheck).producers},
	{name: "rbac", check: (*fileCheck).rbac},
	{name: "gateway", mergeKeys: true, check: (*fileCheck).gateway},
	{name: "oidc", mergeKeys: true},
	{name: "streams", mergeKeys: true},
	{name: "prices", mergeKeys: true},
	{name: "dialects", mergeKeys: true},
	{name: "controls", mergeKeys: true},
}

// Kinds returns the kinds of file that [CheckFile] knows: intent, capability, scenario,
// invariants, rules, producers; rbac, gateway (the file of serve --config), oidc,
// streams, prices, dialects, controls.
func Kinds() []string {
	var names []string
	for _, k := range kindsOfFile {
		names = append(names, k.name)
	}
	return names
}

// schema is a JSON Schema of the program.
type schema struct {
	compiled *jsonschema.Schema
	text     any // decoded
}

// schemas are those of all kinds, compiled once. They are part of the program, so a
// mistake in one is one of the program.
var schemas = sync.OnceValue(func() map[string]*schema {
	out := map[string]*schema{}
	for _, k := range kindsOfFile {
		s, err := compileSchema("schemas/" + k.name + ".schema.json")
		if err != nil {
			panic("registry: " + err.Error()) // a test compiles all
		}
		out[k.name] = s
	}
	return out
})

func compileSchema(path string) (*schema, error) {
	b, err := definition.Files.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	name := "urn:runledger:" + path // none is ever fetched
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, text); err != nil {
		return nil, err
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, err
	}
	return &schema{compiled: compiled, text: text}, nil
}

// check adds what of a document is not as the schema says.
func (s *schema) check(d *document, f *findings) {
	if err := s.compiled.Validate(d.value); err != nil {
		s.explain(err.(*jsonschema.ValidationError), d, f) //nolint:errorlint,forcetypeassert // Validate returns no other
	}
}

// explain adds the problems of one error of a schema, each at its line.
func (s *schema) explain(e *jsonschema.ValidationError, d *document, f *findings) {
	at := e.InstanceLocation
	fail := func(format string, args ...any) {
		f.add(d.file, d.line(at...), "%s%s", prefix(d, at), fmt.Sprintf(format, args...))
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range slices.Sorted(slices.Values(k.Properties)) {
			f.add(d.file, d.line(append(slices.Clone(at), name)...), "%sunknown key %s", prefix(d, at), plainName(name))
		}
	case *kind.Required:
		fail("lacks %s", strings.Join(k.Missing, ", "))
	case *kind.DependentRequired:
		fail("%s needs %s beside it", k.Prop, strings.Join(k.Missing, ", "))
	case *kind.Type:
		fail("must be %s, not %s", typeNames(k.Want), typeNames([]string{k.Got}))
	case *kind.Enum:
		fail("%s must be one of %s", shown(k.Got), shownList(k.Want))
	case *kind.Const:
		fail("%s must be %s", shown(k.Got), shown(k.Want))
	case *kind.MinItems, *kind.MinProperties, *kind.MinLength:
		fail("must not be empty%s", s.says(e, ": "))
	case *kind.Minimum:
		fail("must be at least %s", k.Want.RatString())
	case *kind.Maximum:
		fail("must be at most %s", k.Want.RatString())
	case *kind.UniqueItems:
		i := append(slices.Clone(at), strconv.Itoa(k.Duplicates[1]))
		f.add(d.file, d.line(i...), "%sstands twice", prefix(d, i))
	case *kind.Pattern:
		fail("%s is not as it must be%s", shown(k.Got), s.says(e, ": "))
	case *kind.OneOf, *kind.AnyOf, *kind.Not, *kind.FalseSchema, *kind.Contains:
		fail("is not as it must be%s", s.says(e, ": "))
	default:
		if len(e.Causes) == 0 {
			fail("%s", e.ErrorKind.LocalizedString(english))
		}
		for _, cause := range e.Causes {
			s.explain(cause, d, f)
		}
	}
}

var english = message.NewPrinter(language.English)

// prefix names the value that a reason is about, unless it is the whole file.
func prefix(d *document, at []string) string {
	if len(at) == 0 {
		return ""
	}
	return d.where(at) + ": "
}

// says returns the description of the schema that an error is about, with text before
// it, or "".
func (s *schema) says(e *jsonschema.ValidationError, before string) string {
	_, pointer, _ := strings.Cut(e.SchemaURL, "#")
	v := s.text
	for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if step == "" {
			continue
		}
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch parent := v.(type) {
		case map[string]any:
			v = parent[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(parent) {
				return ""
			}
			v = parent[i]
		default:
			return ""
		}
	}
	m, _ := v.(map[string]any)
	text, _ := m["description"].(string)
	if text == "" {
		return ""
	}
	return before + strings.TrimSuffix(text, ".")
}

// shown is a value of a file as a message shows it.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return plainName(v)
	case nil:
		return "null"
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	}
	return clip(fmt.Sprint(v))
}

func shownList(list []any) string {
	var words []string
	for _, v := range list {
		words = append(words, shown(v))
	}
	return strings.Join(words, ", ")
}

var typeWords = map[string]string{
	"object": "a mapping", "array": "a list", "string": "a text", "number": "a number", "integer": "a whole number",
	"boolean": "true or false", "null": "null",
}

func typeNames(list []string) string {
	var words []string
	for _, t := range list {
		words = append(words, typeWords[t])
	}
	return strings.Join(words, " or ")
}
