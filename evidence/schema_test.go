package evidence

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestSchemaGolden(t *testing.T) {
	golden := filepath.Join("testdata", "record.schema.json")
	got := Schema()
	if !bytes.Equal(got, Schema()) {
		t.Fatal("the schema is another each time")
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("go test ./evidence -run Golden -update (-want +got):\n%s", diff)
	}
}

func loadSchema(t testing.TB) map[string]any {
	t.Helper()
	return decodeNumbers(t, Schema()).(map[string]any)
}

func decodeNumbers(t testing.TB, b []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return v
}

// TestSchemaFields checks the schema against the field table from its other
// side: what each kind lists, requires and closes.
func TestSchemaFields(t *testing.T) {
	defs := loadSchema(t)["$defs"].(map[string]any)
	if defs["export"] != nil {
		t.Error("exports cannot be sent")
	}
	for _, kind := range nativeKinds() {
		def := defs[kind.String()].(map[string]any)
		if def["additionalProperties"] != false {
			t.Errorf("%s is not closed", kind)
		}
		want := []string{"kind", "id", "occurred_at", "run_id", "human_actor_id"}
		for _, f := range PublicFields(kind) {
			if f.Owner == Producer {
				want = append(want, f.Name)
			}
		}
		for _, s := range SealedFields(kind) {
			if s.UnfitOf == "" && s.Shape != ShapeActor {
				want = append(want, s.NativeName())
			}
		}
		slices.Sort(want)
		var got []string
		for name := range def["properties"].(map[string]any) {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// TestSchemaAgrees runs the same records through the schema and through
// ParseNative.
func TestSchemaAgrees(t *testing.T) {
	root := loadSchema(t)
	check := func(line string, want bool) {
		t.Helper()
		_, err := ParseNative([]byte(line))
		if (err == nil) != want {
			t.Errorf("ParseNative: %v, want ok %v\n%s", err, want, line)
		}
		v := validator{root: root}
		v.check(root, decodeNumbers(t, []byte(line)), "")
		if (len(v.errs) == 0) != want {
			t.Errorf("schema: %v, want ok %v\n%s", v.errs, want, line)
		}
	}
	check(`{}`, false)
	check(native(KindExport), false)
	for _, kind := range nativeKinds() {
		check(native(kind), true)
		check(native(kind, "nope=1"), false)
		check(native(kind, `step_index=1`), false)
		check(native(kind, `producer="x"`), false)
		check(native(kind, `human_actor_id="h"`, `actor_type="HUMAN"`), true)
		check(native(kind, `human_actor_id=null`), false)
		check(native(kind, `subject="x"`, `attrs=[["a","int",1],["a","string","x"]]`), true)
		check(native(kind, `attrs=[["a","int"]]`), false)
		check(native(kind, `attrs=[["a","float",1]]`), false)
		check(native(kind, `subject=""`), false)
		for _, id := range []string{"x", "01980000-0000-7000-8000-00000000000A", "01980000-0000-8000-8000-000000000001"} {
			natural := kind == KindTrace || kind == KindLLMRun
			check(native(kind, `id="`+id+`"`), natural && strings.Contains(id, "-8000-8000-"))
		}
		for _, m := range slices.Concat([]string{"kind="}, nativeCommon, nativeBase[kind]) {
			name, _, _ := strings.Cut(m, "=")
			check(native(kind, name+"="), false)
		}
		for _, f := range PublicFields(kind) {
			if f.Owner == Server {
				continue
			}
			check(native(kind, f.Name+"=null"), false)
			check(native(kind, f.Name+"={}"), false)
			check(native(kind, f.Name+`=""`), false)
			switch f.Type {
			case TypeName:
				agent := `actor_type="AGENT"` // who acts, where the name is that of an agent
				if f.Name != "agent_id" {
					agent = `actor_type="SYSTEM"`
				}
				check(native(kind, f.Name+`="Ünfit"`, agent), true)
				check(native(kind, f.Name+`="a\u0000"`), false)
			case TypeNames:
				check(native(kind, f.Name+`=["Ünfit","b"]`), true)
				check(native(kind, f.Name+`=["a",""]`), false)
			case TypeInt, TypeCount:
				check(native(kind, f.Name+`=9007199254740991`), true)
				check(native(kind, f.Name+`=9007199254740992`), false)
				check(native(kind, f.Name+`=1.5`), false)
				check(native(kind, f.Name+`=-1`), f.Type == TypeInt)
			case TypeEnum:
				check(native(kind, f.Name+`="no such value"`), false)
			case TypeRun, TypeText:
				check(native(kind, f.Name+`="é\""`), true)
				check(native(kind, f.Name+`="a\u0085"`), false)
			case TypeInteger, TypeDecimal:
				check(native(kind, f.Name+`="-120"`), true)
				check(native(kind, f.Name+`="0.5"`), f.Type == TypeDecimal)
				check(native(kind, f.Name+`="01"`), false)
			case TypeTraceID, TypeSpanID:
				check(native(kind, f.Name+`="abc"`), false)
			}
		}
	}
	check(native(KindTraceStep, `id=`, `span_id="`+testSpan+`"`), true)
	check(native(KindAudit, `actor_type="HUMAN"`), false)
	check(native(KindAudit, `actor_type="AGENT"`), false)
	check(native(KindAudit, `actor_type="AGENT"`, `agent_id="a"`), true)
	for text, ok := range producerTimes {
		if !strings.HasPrefix(text, "0000") && !strings.Contains(text, "-02-30") { // a pattern knows no calendar
			check(native(KindAudit, `occurred_at="`+text+`"`), ok)
		}
	}
}

// validator knows as much of draft 2020-12 as the schema uses; another word
// is an error.
type validator struct {
	root map[string]any
	errs []string
}

func (v *validator) ok(s, value any) bool {
	sub := validator{root: v.root}
	sub.check(s, value, "")
	return len(sub.errs) == 0
}

func (v *validator) check(s, value any, at string) {
	if s == true {
		return
	}
	bad := func(word string) { v.errs = append(v.errs, fmt.Sprintf("%s: %s", at, word)) }
	schema, object, array, text := s.(map[string]any), asObject(value), asArray(value), asText(value)
	for word, arg := range schema {
		switch word {
		case "$schema", "$defs", "title", "description", "default", "format", "then":
		case "$ref":
			name := strings.TrimPrefix(arg.(string), "#/$defs/")
			v.check(v.root["$defs"].(map[string]any)[name], value, at)
		case "type":
			if !hasType(arg.(string), value) {
				bad("type")
			}
		case "const":
			if !reflect.DeepEqual(arg, value) {
				bad("const")
			}
		case "enum":
			if !slices.ContainsFunc(arg.([]any), func(e any) bool { return reflect.DeepEqual(e, value) }) {
				bad("enum")
			}
		case "pattern":
			if text != nil && !regexp.MustCompile(arg.(string)).MatchString(*text) {
				bad("pattern")
			}
		case "minLength", "maxLength":
			if text != nil && !within(word, utf8.RuneCountInString(*text), arg) {
				bad(word)
			}
		case "minItems", "maxItems":
			if array != nil && !within(word, len(array), arg) {
				bad(word)
			}
		case "minimum", "maximum":
			if n, ok := value.(json.Number); ok {
				a, b := number(n), number(arg.(json.Number))
				if word == "minimum" && a.Cmp(b) < 0 || word == "maximum" && a.Cmp(b) > 0 {
					bad(word)
				}
			}
		case "items":
			for i, e := range array {
				v.check(arg, e, fmt.Sprintf("%s/%d", at, i))
			}
		case "prefixItems":
			for i, sub := range arg.([]any) {
				if i < len(array) {
					v.check(sub, array[i], fmt.Sprintf("%s/%d", at, i))
				}
			}
		case "required":
			for _, name := range arg.([]any) {
				if _, ok := object[name.(string)]; object != nil && !ok {
					bad("required " + name.(string))
				}
			}
		case "properties":
			for name, sub := range arg.(map[string]any) {
				if e, ok := object[name]; ok {
					v.check(sub, e, at+"/"+name)
				}
			}
		case "additionalProperties":
			for name := range object {
				if schema["properties"].(map[string]any)[name] == nil {
					bad("unknown " + name)
				}
			}
		case "allOf":
			for _, sub := range arg.([]any) {
				v.check(sub, value, at)
			}
		case "anyOf":
			if !slices.ContainsFunc(arg.([]any), func(sub any) bool { return v.ok(sub, value) }) {
				bad("anyOf")
			}
		case "if":
			if v.ok(arg, value) {
				v.check(schema["then"], value, at)
			}
		default:
			bad("unknown keyword " + word)
		}
	}
}

func asObject(v any) map[string]any { o, _ := v.(map[string]any); return o }
func asArray(v any) []any           { a, _ := v.([]any); return a }

func asText(v any) *string {
	if s, ok := v.(string); ok {
		return &s
	}
	return nil
}

func hasType(name string, v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return name == "object"
	case []any:
		return name == "array"
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case json.Number:
		return name == "number" || name == "integer" && number(v).IsInt()
	default:
		return name == "null"
	}
}

func number(n json.Number) *big.Rat {
	r, _ := new(big.Rat).SetString(n.String())
	return r
}

func within(word string, n int, limit any) bool {
	l, _ := limit.(json.Number).Int64()
	if strings.HasPrefix(word, "min") {
		return int64(n) >= l
	}
	return int64(n) <= l
}
