package registry

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// Vars are the variables of one run of one scenario. In a text, ${NAME} stands for:
//
//	scenario, tenant      id of the scenario, and the tenant that it runs in
//	credential, producer  ids of the observer's and of the producer's credential
//	trace_id              32 hex digits; also trace_id.NAME, for more of them
//	span.NAME             16 hex digits
//	uuid.NAME             a UUID
//	word.NAME             ten lower-case letters that make no word, fit as a name
//	now, now-5s, now+1m   when the scenario began, RFC 3339 with microseconds
//	nanos, nanos-5s       the same in Unix nanoseconds
//
// and what a read has saved. What is random is made at its first use and is then the
// same to the end of the scenario. A $ before anything but { is itself.
//
// They are for one goroutine.
type Vars struct {
	given map[string]string
	now   time.Time
	made  map[string]string // at random, by name
	saved map[string]any    // string, json.Number or bool
}

func newVars(scenario, tenant, credential, producer string, now time.Time) *Vars {
	return &Vars{
		given: map[string]string{"scenario": scenario, "tenant": tenant, "credential": credential, "producer": producer},
		now:   now, made: map[string]string{}, saved: map[string]any{},
	}
}

// A name of a variable that is made, by what is before the first dot.
var (
	randomName = regexp.MustCompile(`^(?:trace_id|(trace_id|span|uuid|word)\.[A-Za-z0-9_-]+)$`)
	timeName   = regexp.MustCompile(`^(now|nanos)([+-][0-9].*)?$`)
)

// isVariable reports whether a scenario has a variable of this name without having
// saved it.
func isVariable(name string) bool {
	switch name {
	case "scenario", "tenant", "credential", "producer":
		return true
	}
	if randomName.MatchString(name) {
		return true
	}
	_, _, ok := timeOf(name)
	return ok
}

// timeOf reads now-5s and the like.
func timeOf(name string) (unit string, offset time.Duration, ok bool) {
	m := timeName.FindStringSubmatch(name)
	if m == nil {
		return "", 0, false
	}
	if m[2] != "" {
		d, err := time.ParseDuration(m[2])
		if err != nil {
			return "", 0, false
		}
		offset = d
	}
	return m[1], offset, true
}

// variablesIn returns the names of the variables in a text, in their order. The error
// says that one has no end.
func variablesIn(s string) ([]string, error) {
	var names []string
	_, err := expand(s, func(_, name string) (string, error) {
		names = append(names, name)
		return "", nil
	})
	return names, err
}

// expand replaces each ${NAME} in a text by what value says of it. It is told, too, what
// stands between the variable before and this one.
func expand(s string, value func(between, name string) (string, error)) (string, error) {
	if !strings.Contains(s, "${") {
		return s, nil
	}
	var b strings.Builder
	for {
		between, rest, found := strings.Cut(s, "${")
		b.WriteString(between)
		if !found {
			return b.String(), nil
		}
		name, rest, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("%w: ${ without }", evidence.ErrInvalid)
		}
		v, err := value(between, name)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
		s = rest
	}
}

// value returns a string, or what was saved: a string, json.Number or bool.
func (v *Vars) value(name string) (any, error) {
	if s, ok := v.given[name]; ok {
		return s, nil
	}
	if s, ok := v.made[name]; ok {
		return s, nil
	}
	if m := randomName.FindStringSubmatch(name); m != nil {
		s := random(m[1])
		v.made[name] = s
		return s, nil
	}
	if unit, offset, ok := timeOf(name); ok {
		at := v.now.Add(offset)
		if unit == "nanos" {
			return strconv.FormatInt(at.UnixNano(), 10), nil
		}
		return evidence.MicrosOf(at).String(), nil
	}
	if s, ok := v.saved[name]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("%w: there is no variable ${%s}", evidence.ErrInvalid, name)
}

// random makes a value of a variable: of a trace id where kind is "".
func random(kind string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	switch kind {
	case "span":
		return hex.EncodeToString(b[:8])
	case "uuid":
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4
		return evidence.ID(b).String()
	case "word":
		const letters = "bcdfghjkmnpqrstvwxz" // no vowels: it says nothing by chance
		w := make([]byte, 10)
		for i := range w {
			w[i] = letters[int(b[i])%len(letters)]
		}
		return string(w)
	}
	return hex.EncodeToString(b[:])
}

// maxSaved bounds what is kept of an answer, in bytes.
const maxSaved = 1 << 10

// save keeps a value of an answer. Only what has one text can be a variable.
func (v *Vars) save(name string, value any) error {
	switch value.(type) {
	case string, json.Number, bool:
	default:
		return fmt.Errorf("%s is no text, number or boolean", kindOfJSON(value))
	}
	switch n := len(textOf(value)); {
	case n == 0:
		return errors.New("it is empty, and would ask for nothing")
	case n > maxSaved:
		return fmt.Errorf("it has %d bytes, and a variable at most %d", n, maxSaved)
	}
	v.saved[name] = value
	return nil
}

// textOf returns the text of a string, json.Number or bool.
func textOf(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	return fmt.Sprint(value)
}

// text replaces the variables in a text. Its errors, as those of all that replace, wrap
// evidence.ErrInvalid.
func (v *Vars) text(s string) (string, error) {
	return expand(s, func(_, name string) (string, error) {
		value, err := v.value(name)
		return textOf(value), err
	})
}

// in replaces the variables in all texts of a JSON value, and leaves the value as it
// was. A text that is one variable and nothing else becomes what was saved, a number
// where it was one.
func (v *Vars) in(value any) (any, error) {
	switch value := value.(type) {
	case string:
		if text, ok := strings.CutPrefix(value, "${"); ok {
			if name, rest, closed := strings.Cut(text, "}"); closed && rest == "" {
				return v.value(name)
			}
		}
		return v.text(value)
	case []any:
		out := make([]any, len(value))
		for i, inner := range value {
			var err error
			if out[i], err = v.in(inner); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(value))
		for name, inner := range value {
			var err error
			if out[name], err = v.in(inner); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return value, nil
}

// pattern replaces the variables in a regular expression: each matches itself.
func (v *Vars) pattern(s string) (string, error) {
	return expand(s, func(_, name string) (string, error) {
		value, err := v.value(name)
		return regexp.QuoteMeta(textOf(value)), err
	})
}

// bare is what may stand in a JSONPath outside of quotes: a name, a number.
var bare = regexp.MustCompile(`^(?:[A-Za-z0-9_]+|-?[0-9]+(?:\.[0-9]+)?)$`)

// path replaces the variables in a JSONPath. Within quotes a value is escaped, so that
// it selects what it says and is never a part of the path.
func (v *Vars) path(s string) (string, error) {
	var quote byte
	return expand(s, func(between, name string) (string, error) {
		var err error
		if quote, err = quoteAfter(quote, between); err != nil {
			return "", err
		}
		value, err := v.value(name)
		if err != nil {
			return "", err
		}
		text := textOf(value)
		if quote != 0 {
			return escape(text, quote), nil
		}
		if !bare.MatchString(text) {
			return "", fmt.Errorf("%w: the value of ${%s} must stand in quotes here", evidence.ErrInvalid, name)
		}
		return text, nil
	})
}

// quoteAfter says which quote is open after more of a JSONPath; 0: none.
func quoteAfter(quote byte, s string) (byte, error) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			if i++; i == len(s) {
				return 0, fmt.Errorf("%w: a backslash before a variable", evidence.ErrInvalid)
			}
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	return quote, nil
}

// escape writes a text as RFC 9535 wants it within quotes.
func escape(s string, quote byte) string {
	var b strings.Builder
	for _, c := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case c == rune(quote) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < 0x20:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
