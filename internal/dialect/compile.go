package dialect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// compiler makes a Table of a file.
type compiler struct {
	t       *Table
	entries map[string]*entry
}

func compile(f *file) (*Table, error) {
	t := &Table{keys: make(map[string]int32), redacted: make(map[string]bool), firstToken: make(map[string]bool)}
	var err error
	if t.providers, err = synonyms("providers", f.Providers, false); err != nil {
		return nil, err
	}
	if t.finish, err = synonyms("finish_reasons", f.FinishReasons, false); err != nil {
		return nil, err
	}
	if t.decisions, err = synonyms("decisions", f.Decisions, true); err != nil {
		return nil, err
	}
	for _, s := range f.Redacted {
		t.redacted[s] = true
	}
	for _, s := range f.EmbeddingModels {
		if s == "" {
			return nil, invalid("embedding_models: empty word")
		}
		t.embedding = append(t.embedding, strings.ToLower(s))
	}
	for _, s := range f.FirstTokenEvents {
		t.firstToken[s] = true
	}
	if len(f.Families) > 100 {
		return nil, invalid("families: more than 100")
	}
	for _, k := range slices.Sorted(maps.Keys(f.Families)) {
		if k == "" {
			return nil, invalid("families: empty name")
		}
		t.families = append(t.families, k+".")
	}
	c := &compiler{t: t, entries: make(map[string]*entry)}
	if err := c.columns(f); err != nil {
		return nil, err
	}
	return t, nil
}

func (c *compiler) columns(f *file) error {
	common := &f.Common
	if common.Name != "" || len(common.Match) > 0 || common.Like != "" || len(common.Then) > 0 {
		return invalid("common: has only kind and fields")
	}
	for i := range f.Dialects {
		e := &f.Dialects[i]
		switch {
		case e.Name == "":
			return invalid("dialects[%d]: no name", i)
		case c.entries[e.Name] != nil:
			return invalid("dialect %s: stands twice", e.Name)
		case len(e.Match) == 0:
			return invalid("dialect %s: no match", e.Name)
		}
		c.entries[e.Name] = e
	}
	for i := range f.Dialects {
		col, err := c.column(&f.Dialects[i], common)
		if err != nil {
			return invalid("dialect %s: %w", f.Dialects[i].Name, err)
		}
		c.t.columns = append(c.t.columns, col)
	}
	c.t.plain = &column{}
	if err := c.add(c.t.plain, common, nil); err != nil {
		return invalid("common: %w", err)
	}
	return nil
}

// column compiles an entry: itself and what it is like, then what it falls
// back on, then what is common to all.
func (c *compiler) column(e, common *entry) (*column, error) {
	col := &column{name: e.Name}
	for i, m := range e.Match {
		cm, err := c.match(m)
		if err != nil {
			return nil, plain("match[%d]: %w", i, err)
		}
		col.matches = append(col.matches, cm)
	}
	then := e.Then
	overridden := make(map[string]bool)
	for at := e; ; {
		if err := c.add(col, at, overridden); err != nil {
			return nil, err
		}
		if err := c.settings(col, at); err != nil {
			return nil, err
		}
		for name := range at.Fields {
			overridden[name] = true
		}
		if then == nil {
			then = at.Then
		}
		if at.Like == "" {
			break
		}
		base := c.entries[at.Like]
		if base == nil || base == e || base == at {
			return nil, plain("like: no other dialect %q", at.Like)
		}
		if base.Like != "" {
			return nil, plain("like: %s is itself like another", at.Like)
		}
		at = base
	}
	for _, name := range then {
		other := c.entries[name]
		if other == nil || other == e {
			return nil, plain("then: no other dialect %q", name)
		}
		if err := c.add(col, other, nil); err != nil {
			return nil, plain("then %s: %w", name, err)
		}
	}
	return col, c.add(col, common, nil)
}

// add appends the kind rules and sources of an entry, without those of
// overridden fields.
func (c *compiler) add(col *column, e *entry, overridden map[string]bool) error {
	for i, k := range e.Kind {
		r, err := c.kindRule(k)
		if err != nil {
			return plain("kind[%d]: %w", i, err)
		}
		col.kind = append(col.kind, r)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		f, ok := fieldNames[name]
		if !ok {
			return plain("unknown field %q", name)
		}
		for i, item := range e.Fields[name] {
			src, err := c.source(item)
			if err != nil {
				return plain("field %s[%d]: %w", name, i, err)
			}
			if src.family >= 0 && f != fPrompt && f != fResponse {
				return plain("field %s[%d]: only prompt and response may be a family", name, i)
			}
			if !overridden[name] {
				col.fields[f] = append(col.fields[f], src)
			}
		}
	}
	return nil
}

// settings takes over what the column does not say itself.
func (c *compiler) settings(col *column, e *entry) error {
	var err error
	if col.excludesCached == nil {
		if col.excludesCached, err = c.alternatives(e.InputExcludesCached); err != nil {
			return plain("input_excludes_cached%w", err)
		}
	}
	if col.estimated == nil {
		if col.estimated, err = c.alternatives(e.Estimated); err != nil {
			return plain("estimated%w", err)
		}
	}
	for _, name := range e.ZeroWhenAbsent {
		switch f, ok := fieldNames[name]; {
		case ok && (f == fCached || f == fCacheWrite || f == fReasoning):
			col.zero[f] = true
		default:
			return plain("zero_when_absent: %q is not cached, cache_write or reasoning", name)
		}
	}
	col.callsFinish = col.callsFinish || e.FinishFromCalls
	return nil
}

func (c *compiler) alternatives(list [][]string) ([][]cond, error) {
	var out [][]cond
	for i, l := range list {
		conds, err := c.conds(l)
		if err != nil {
			return nil, plain("[%d]: %w", i, err)
		}
		out = append(out, conds)
	}
	return out, nil
}

func (c *compiler) match(m matchEntry) (match, error) {
	out := match{scope: m.Scope, exact: m.Exact}
	if m.Scope == "" && len(m.Has) == 0 {
		return out, plain("neither scope nor has")
	}
	if m.Exact && m.Scope == "" {
		return out, plain("exact without scope")
	}
	for _, v := range []struct {
		name, text string
		to         *[]int
	}{{"from", m.From, &out.from}, {"below", m.Below, &out.below}} {
		if v.text == "" {
			continue
		}
		n, ok := parseVersion(v.text)
		if !ok || m.Scope == "" {
			return out, plain("%s %q is no version of a scope", v.name, v.text)
		}
		*v.to = n
	}
	for _, k := range m.Has {
		if k == "" || strings.Contains(k, "@") {
			return out, plain("has: %q is no attribute key", k)
		}
		out.has = append(out.has, c.key(k))
	}
	return out, nil
}

func (c *compiler) kindRule(k kindEntry) (kindRule, error) {
	var r kindRule
	var err error
	if r.when, err = c.conds(k.When); err != nil {
		return r, err
	}
	given := 0
	for v := range maps.Values(k.Is) {
		if !kinds[v] {
			return r, plain("%q is no step kind", v)
		}
	}
	for _, suffix := range slices.Sorted(maps.Keys(k.Ends)) {
		if !kinds[k.Ends[suffix]] {
			return r, plain("%q is no step kind", k.Ends[suffix])
		}
		r.ends = append(r.ends, suffixKind{suffix, k.Ends[suffix]})
	}
	r.is = k.Is
	if len(k.Is) > 0 || len(k.Ends) > 0 {
		given++
		if r.src, err = c.sourceKey(k.Key); err != nil {
			return r, err
		}
	} else if k.Key != "" {
		return r, plain("key %q without is or ends", k.Key)
	}
	if k.Kind != "" {
		given++
		if r.kind = k.Kind; !kinds[k.Kind] {
			return r, plain("%q is no step kind", k.Kind)
		}
	}
	if given != 1 {
		return r, plain("needs either kind, or key with is or ends")
	}
	return r, nil
}

func (c *compiler) source(item sourceItem) (source, error) {
	as, ok := transformNames[item.As]
	if !ok {
		return source{}, plain("unknown transform %q", item.As)
	}
	if item.Prefix != "" && as != asJSONSum {
		return source{}, plain("prefix without json-sum")
	}
	src := source{family: -1}
	var err error
	if item.Family != "" {
		i := slices.Index(c.t.families, item.Family+".")
		if i < 0 || item.Key != "" || as != asIs {
			return source{}, plain("no family %q, or more than a family", item.Family)
		}
		src.family = int8(i)
	} else if src, err = c.sourceKey(item.Key); err != nil {
		return source{}, err
	}
	src.as, src.prefix = as, item.Prefix
	src.when, err = c.conds(item.When)
	return src, err
}

// sourceKey reads key or key@path.
func (c *compiler) sourceKey(text string) (source, error) {
	key, path, hasPath := strings.Cut(text, "@")
	src := source{family: -1}
	if key == "$name" && !hasPath {
		src.key = keyName
		return src, nil
	}
	if key == "" || key[0] == '$' || hasPath && path == "" {
		return src, plain("%q is no attribute key", text)
	}
	if strings.HasPrefix(key, ownPrefix) {
		return src, plain("%q: the project's own attributes are no dialect's", text)
	}
	src.key = c.key(key)
	if hasPath {
		src.path = strings.Split(path, ".")
	}
	return src, nil
}

func (c *compiler) key(k string) int32 {
	id, ok := c.t.keys[k]
	if !ok {
		id = int32(len(c.t.keys)) //nolint:gosec // a file has no 2^31 keys
		c.t.keys[k] = id
	}
	return id
}

func (c *compiler) conds(list []string) ([]cond, error) {
	out := make([]cond, 0, len(list))
	for _, text := range list {
		var cd cond
		rest := text
		if strings.HasPrefix(rest, "!") {
			cd.not, rest = true, rest[1:]
		}
		if i := strings.IndexByte(rest, '='); i >= 0 {
			cd.op, cd.text = '=', rest[i+1:]
			rest = rest[:i]
			if n := len(rest); n > 0 && (rest[n-1] == '^' || rest[n-1] == '*') {
				cd.op, rest = rest[n-1], rest[:n-1]
			}
			if cd.text == "" {
				return nil, plain("condition %q compares with nothing", text)
			}
		}
		var err error
		if cd.src, err = c.sourceKey(rest); err != nil {
			return nil, plain("condition %q: %w", text, err)
		}
		out = append(out, cd)
	}
	return out, nil
}

// plain makes an error that an outer one will complete.
func plain(format string, args ...any) error { return fmt.Errorf(format, args...) }
