package evidence

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Schema returns the JSON Schema (draft 2020-12) of native records, which
// is served at /schemas/record.json. It follows from the field table: what
// [ParseNative] accepts is valid against it. The reverse does not hold for
// what a schema says badly or not at all: bytes instead of characters, 1.0
// as a form of 1, white space, rules between the values of several fields.
func Schema() []byte {
	defs := schemaTypes()
	var kinds []string
	var branches []schema
	for _, k := range Kinds() {
		if k == KindExport { // stated by the server alone
			continue
		}
		name := k.String()
		kinds = append(kinds, name)
		defs[name] = schemaOf(k)
		branches = append(branches, schema{
			"if":   schema{"properties": schema{"kind": schema{"const": name}}},
			"then": ref(name),
		})
	}
	root := schema{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "runledger native record",
		"description": "One record as a producer sends it: a flat object. What is not public is sealed, and only a commitment to it enters the log.",
		"type":        "object",
		"required":    []string{"kind"},
		"properties":  schema{"kind": schema{"enum": kinds}},
		"allOf":       branches,
		"$defs":       defs,
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil { // strings, numbers, maps and slices: cannot fail
		panic("evidence: " + err.Error())
	}
	return out.Bytes()
}

// schema is a JSON object. Encoding sorts its keys, so the bytes are always
// the same.
type schema map[string]any

func ref(def string) schema { return schema{"$ref": "#/$defs/" + def} }

// Patterns are those that ECMA-262, RE2 and others read the same way.
const (
	patternUUID    = `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`
	patternOwnUUID = `^[0-9a-f]{8}-[0-9a-f]{4}-[0-79a-f][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$`
	patternTime    = `^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]` +
		`(\.[0-9]{1,6}0*)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	patternNoNUL     = `^[^\x00]+$`
	patternNoControl = `^[^\x00-\x1f\x7f-\x9f]+$`
	patternInteger   = `^-?(0|[1-9][0-9]*)$`
	patternDecimal   = `^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`
)

// typeDefs names the definition of each type; an enumeration stands at its
// field.
var typeDefs = map[Type]string{
	TypeName: "name", TypeNames: "names", TypeInt: "int", TypeCount: "count", TypeBool: "bool", TypeTime: "time",
	TypeInteger: "integer_text", TypeDecimal: "decimal_text", TypeText: "text", TypeRun: "run", TypeTraceID: "trace_id_text", TypeSpanID: "span_id_text",
}

func schemaTypes() schema {
	text := func(description, pattern string, limit int) schema {
		s := schema{"description": description, "type": "string", "pattern": pattern}
		if limit > 0 {
			s["maxLength"] = limit
		}
		return s
	}
	return schema{
		"name":  text("A name: public if it has at most 128 bytes of [A-Za-z0-9 ._:/@-]; any other text is sealed, and stands in public as h: and 16 hex digits.", patternNoNUL, 0),
		"names": schema{"description": "Names; one that is not fit to be public seals the whole array.", "type": "array", "items": ref("name")},
		"int":   schema{"description": "An integer within ±(2^53-1), without fraction or exponent.", "type": "integer", "minimum": -MaxInt, "maximum": MaxInt},
		"count": schema{"description": "An integer from 0 to 2^53-1, without fraction or exponent.", "type": "integer", "minimum": 0, "maximum": MaxInt},
		"bool":  schema{"type": "boolean"},
		"time": schema{
			"description": "RFC 3339 with any offset; at most six decimals, more only if zero.",
			"type":        "string", "format": "date-time", "pattern": patternTime,
		},
		"integer_text":  text("A decimal integer of any size, as a string.", patternInteger, MaxName),
		"decimal_text":  text("A decimal number, as a string.", patternDecimal, MaxName),
		"text":          text("Text without control characters, at most 1024 bytes.", patternNoControl, maxText),
		"run":           text("A run id: 1 to 128 bytes without control characters.", patternNoControl, MaxRun),
		"trace_id_text": text("A trace id: 32 lower-case hex digits.", "^[0-9a-f]{32}$", 0),
		"span_id_text":  text("A span id: 16 lower-case hex digits.", "^[0-9a-f]{16}$", 0),
		"id":            text("A UUID in lower case; best left out, since it follows from the record.", patternUUID, 0),
		"own_id":        text("The record's own UUID in lower case, of any version but 8; makes retries harmless.", patternOwnUUID, 0),
		"person":        text("The person who acted. Sealed.", patternNoNUL, 0),
		"sealed":        schema{"description": "Any JSON value, at most 128 deep. Sealed, and kept as it is written."},
		"sealed_text":   schema{"description": "Text that is not empty. Sealed.", "type": "string", "minLength": 1},
		"attrs": schema{
			"description": "Attributes as [key, type, value], in order. Sealed.",
			"type":        "array",
			"items": schema{
				"type": "array", "minItems": 3, "maxItems": 3,
				"prefixItems": []any{schema{"type": "string"}, schema{"enum": attrTypes}, true},
			},
		},
	}
}

var shapeDefs = map[Shape]string{ShapeAny: "sealed", ShapeText: "sealed_text", ShapeAttrs: "attrs"}

// schemaOf returns the schema of one kind.
func schemaOf(k Kind) schema {
	properties := schema{
		"kind":        schema{"const": k.String()},
		"id":          ref("id"),
		"occurred_at": ref("time"),
		"run_id":      ref("run"),
	}
	required := []string{"kind", "occurred_at"}
	if k.needsRun() {
		required = append(required, "run_id")
	}
	for _, f := range PublicFields(k) {
		if f.Owner == Server {
			continue
		}
		properties[f.Name] = schemaOfField(f)
		if f.Required {
			required = append(required, f.Name)
		}
	}
	for _, s := range SealedFields(k) {
		switch {
		case s.UnfitOf != "": // sent under the name of the public field
		case s.Shape == ShapeActor:
			properties["human_actor_id"] = ref("person")
		default:
			properties[s.NativeName()] = ref(shapeDefs[s.Shape])
			if s.Required {
				required = append(required, s.NativeName())
			}
		}
	}
	out := schema{"type": "object", "properties": properties, "additionalProperties": false}
	switch ownID := (schema{"required": []string{"id"}, "properties": schema{"id": ref("own_id")}}); k {
	case KindTrace, KindLLMRun: // the id follows from trace_id, or run_id and revision
	case KindTraceStep:
		out["anyOf"] = []schema{{"required": []string{"span_id"}}, ownID}
	default:
		required = append(required, "id")
		properties["id"] = ref("own_id")
	}
	if k == KindAudit {
		out["allOf"] = []schema{
			requiredOfActor("HUMAN", "human_actor_id"),
			requiredOfActor("AGENT", "agent_id"),
		}
	}
	slices.Sort(required)
	out["required"] = required
	return out
}

func requiredOfActor(actorType, id string) schema {
	return schema{
		"if":   schema{"properties": schema{"actor_type": schema{"const": actorType}}},
		"then": schema{"required": []string{id}},
	}
}

func schemaOfField(f *Field) schema {
	s := schema{"type": "string", "enum": f.Enum}
	if f.Type != TypeEnum {
		s = ref(typeDefs[f.Type])
	}
	switch {
	case f.Default == "":
	case f.Type.IsText():
		s["default"] = f.Default
	default: // JSON already: a number or a bool
		s["default"] = json.RawMessage(f.Default)
	}
	return s
}
