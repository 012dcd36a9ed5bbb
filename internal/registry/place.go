package registry

import (
	"encoding/json"
	"strings"
)

// placed is a value, and where in the answer it stands.
type placed struct {
	path    string
	value   any
	missing bool // there is no such member
}

func root(a *reply) placed { return placed{path: "$", value: a.value} }

func (p placed) object() map[string]any {
	m, _ := p.value.(map[string]any)
	return m
}

// member returns a member of an object. It has no value where there is none.
func (p placed) member(name string) placed {
	v, there := p.object()[name]
	return placed{p.path + member(name), v, !there}
}

// is says what stands in a place, and what should; "": it goes without saying.
func (p placed) is(want string) string {
	switch {
	case p.missing:
		return p.path + " is not there"
	case want == "":
		return p.path + " is " + p.found()
	}
	return p.path + " is " + p.found() + ", and not " + want
}

// found writes a value without what is in it.
func (p placed) found() string {
	switch p.value.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	return excerpt(p.value)
}

// member writes the name of a member behind a path.
func member(name string) string {
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return "['" + escape(name, '\'') + "']"
		}
	}
	if name == "" {
		return "['']"
	}
	return "." + name
}

// maxShown is how much of what was found a detail shows, in characters.
const maxShown = 200

// cut bounds a text to that.
func cut(s string) string {
	n := 0
	for i := range s {
		if n++; n > maxShown {
			return strings.ToValidUTF8(s[:i], "\uFFFD") + "…"
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// excerpt writes a value of an answer for people, bounded.
func excerpt(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return kindOfJSON(v)
	}
	return cut(string(b))
}

// kindOfJSON names the type of a value: string, number, boolean, object, array, null.
func kindOfJSON(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case json.Number:
		return "number"
	}
	return "unknown"
}

// safely runs a check of what a server answers. A panic is a check that did not hold:
// the program that observes may be a server itself.
func safely(check func() string) (detail string) {
	defer func() {
		if p := recover(); p != nil {
			detail = "the answer could not be checked"
		}
	}()
	return check()
}
