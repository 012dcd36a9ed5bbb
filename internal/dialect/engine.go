package dialect

import (
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// view reads the facts of one span or log record through its column.
type view struct {
	t     *Table
	s     *scratch
	col   *column
	name  string // the span's name
	start pcommon.Timestamp
	cut   bool // some JSON ended in the middle
}

// value returns the attribute of a source without a path.
func (v *view) value(src *source) (pcommon.Value, bool) {
	if src.key < 0 || v.s.seen[src.key] != v.s.gen {
		return pcommon.Value{}, false
	}
	return v.s.vals[src.key], true
}

// raw returns the text of a source before its transform, "" if it is not
// there or stands for content that was not sent.
func (v *view) raw(src *source) string {
	if src.key == keyName {
		return v.name
	}
	val, ok := v.value(src)
	if !ok {
		return ""
	}
	text := valueText(val)
	if len(src.path) > 0 {
		if text = at(text, src.path); isNull(text) {
			return ""
		}
		text = unquote(text)
	}
	if len(text) < 32 && v.t.redacted[text] {
		return ""
	}
	return text
}

func (v *view) holds(conds []cond) bool {
	for i := range conds {
		if c := &conds[i]; v.is(c) == c.not {
			return false
		}
	}
	return true
}

func (v *view) is(c *cond) bool {
	if c.op == 0 && len(c.src.path) == 0 && c.src.key >= 0 {
		return v.s.seen[c.src.key] == v.s.gen
	}
	text := v.raw(&c.src)
	switch c.op {
	case '=':
		return text == c.text
	case '^':
		return strings.HasPrefix(text, c.text)
	case '*':
		return strings.Contains(text, c.text)
	}
	return text != ""
}

// any reports whether one of several lists of conditions holds.
func (v *view) any(alternatives [][]cond) bool {
	for _, conds := range alternatives {
		if v.holds(conds) {
			return true
		}
	}
	return false
}

// text returns the first of a field's sources that says something.
func (v *view) text(f field) string {
	list := v.col.fields[f]
	for i := range list {
		src := &list[i]
		if src.family >= 0 || !v.holds(src.when) {
			continue
		}
		text := v.raw(src)
		switch src.as {
		case asCutDot:
			text, _, _ = strings.Cut(text, ".")
		case asCutSlash:
			text, _, _ = strings.Cut(text, "/")
		case asAfterSlash:
			_, text, _ = strings.Cut(text, "/")
		default:
		}
		if text != "" {
			return text
		}
	}
	return ""
}

// count returns a token count. What is no number or below 0 is not there.
func (v *view) count(f field) Opt {
	list := v.col.fields[f]
	for i := range list {
		src := &list[i]
		if !v.holds(src.when) {
			continue
		}
		var o Opt
		val, ok := v.value(src)
		switch {
		case ok && len(src.path) == 0 && val.Type() == pcommon.ValueTypeInt:
			o = Opt{val.Int(), val.Int() <= evidence.MaxInt}
		case src.as == asJSONSum:
			o = jsonSum(v.raw(src), src.prefix, 0)
		default:
			o = scaledText(v.number(src), 0)
		}
		if o.OK && o.V >= 0 {
			return o
		}
	}
	return Opt{}
}

// number returns the text of a number.
func (v *view) number(src *source) string {
	if len(src.path) > 0 {
		return v.raw(src)
	}
	if val, ok := v.value(src); ok {
		return numberText(val)
	}
	return ""
}

func scaledText(s string, shift int) Opt {
	d, ok := parseDecimal(s)
	if !ok {
		return Opt{}
	}
	n, ok := d.scaled(shift)
	return Opt{n, ok}
}

// jsonSum adds the numbers of an object whose names have a prefix; it is
// there only if one of them is.
func jsonSum(obj, prefix string, shift int) Opt {
	var sum Opt
	w, ok := walkOf(obj)
	if !ok || w.open != '{' {
		return sum
	}
	for {
		k, raw, more := w.next()
		if !more {
			break
		}
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		if n := scaledText(raw, shift); n.OK && n.V >= 0 {
			sum = Opt{sum.V + n.V, sum.V+n.V <= evidence.MaxInt}
			if !sum.OK {
				return Opt{}
			}
		}
	}
	if w.cut { // what is missing may be part of the sum
		return Opt{}
	}
	return sum
}

// cost returns what the producer says the call cost, in nano dollars.
func (v *view) cost() Opt {
	list := v.col.fields[fCost]
	for i := range list {
		src := &list[i]
		if !v.holds(src.when) {
			continue
		}
		var o Opt
		if src.as == asJSONSum {
			o = jsonSum(v.raw(src), src.prefix, 9)
		} else {
			o = scaledText(v.number(src), 9)
		}
		if src.as == asNonzero && o == Some(0) {
			return Opt{} // and no later source knows better
		}
		if o.OK && o.V >= 0 {
			return o
		}
	}
	return Opt{}
}

// firstToken returns the time to the first token in microseconds.
func (v *view) firstToken() Opt {
	list := v.col.fields[fFirstToken]
	for i := range list {
		src := &list[i]
		if !v.holds(src.when) {
			continue
		}
		var o Opt
		switch src.as {
		case asSeconds:
			o = scaledText(v.number(src), 6)
		case asMS:
			o = scaledText(v.number(src), 3)
		case asISOSinceStart:
			o = v.sinceStart(v.raw(src))
		default:
			o = scaledText(v.number(src), 0)
		}
		if o.OK && o.V >= 0 {
			return o
		}
	}
	return Opt{}
}

// sinceStart reads a time in RFC 3339, which may be quoted.
func (v *view) sinceStart(text string) Opt {
	if text == "" || v.start == 0 {
		return Opt{}
	}
	t, err := time.Parse(time.RFC3339Nano, unquote(text))
	if err != nil {
		return Opt{}
	}
	return Opt{t.Sub(v.start.AsTime()).Microseconds(), true}
}

// kind returns the step kind, "" if no rule speaks.
func (v *view) kind() string {
	for i := range v.col.kind {
		r := &v.col.kind[i]
		if !v.holds(r.when) {
			continue
		}
		if r.kind != "" {
			return r.kind
		}
		text := v.raw(&r.src)
		if text == "" {
			continue
		}
		if k := r.is[text]; k != "" {
			return k
		}
		for _, e := range r.ends {
			if strings.HasSuffix(text, e.suffix) {
				return e.kind
			}
		}
	}
	return ""
}

// normal returns our word for theirs, theirs in lower case if we have none.
func normal(m map[string]string, theirs string) string {
	if theirs == "" {
		return ""
	}
	k := strings.ToLower(theirs)
	if ours, ok := m[k]; ok {
		return ours
	}
	return k
}

// finish returns the normalised finish reason. SDKs send a word, a list, or a
// list as JSON text; of several the first counts.
func (v *view) finish() string {
	text := v.text(fFinish)
	if w, ok := walkOf(text); ok {
		_, first, _ := w.next()
		text = unquote(first)
		if text == "null" {
			text = ""
		}
	}
	return normal(v.t.finish, text)
}
