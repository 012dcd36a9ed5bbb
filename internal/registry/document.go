package registry

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a YAML file.
const (
	maxFile  = 1 << 20 // bytes
	maxNodes = 100_000 // with what aliases stand for
	maxDepth = 64
)

// document is a YAML file that was read: its nodes, which know their lines, and its
// value, as JSON has them: map[string]any, []any, string, bool, numbers and nil.
type document struct {
	file  string
	root  *yaml.Node
	value any
}

// readDocument reads the one value of a YAML text. Every key is a text and stands once,
// and a time is a text. mergeKeys allows "<<", which takes over another mapping. It
// returns nil where there is no value to look at; what is wrong is added to f.
func readDocument(file string, text []byte, mergeKeys bool, f *findings) *document {
	if len(text) > maxFile {
		f.add(file, 1, "the file is over %d KiB", maxFile>>10)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		addYAML(file, err, f)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].ShortTag() == "!!null" {
		f.add(file, 1, "the file is empty")
		return nil
	}
	if err := dec.Decode(&next); err == nil {
		f.add(file, next.Line, "a second document")
		return nil
	} else if !errors.Is(err, io.EOF) {
		addYAML(file, err, f)
		return nil
	}
	before := len(f.list)
	r := &nodeReader{file: file, mergeKeys: mergeKeys, found: f}
	d := &document{file: file, root: doc.Content[0]}
	d.value = r.value(d.root, 0)
	if len(f.list) > before {
		return nil
	}
	return d
}

// goType is how the YAML library names the Go type in its errors, which says nothing to
// who wrote the file.
var (
	goType   = regexp.MustCompile(` in type [\w.]+| into [\w.*\[\]]+`)
	yamlLine = regexp.MustCompile(`^(?:yaml: )?line ([0-9]+): `)
)

// addYAML adds what the YAML library says, at its line.
func addYAML(file string, err error, f *findings) {
	texts := []string{err.Error()}
	var several *yaml.TypeError
	if errors.As(err, &several) {
		texts = several.Errors
	}
	for _, text := range texts {
		line := 1
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			line, _ = strconv.Atoi(m[1])
			text = text[len(m[0]):]
			// The library counts from 0 where it is the parser that complains, and from
			// 1 where it is the scanner.
			if strings.HasPrefix(text, "did not find expected") {
				line++
			}
		}
		f.add(file, line, "no YAML: %s", goType.ReplaceAllString(strings.TrimPrefix(text, "yaml: "), ""))
	}
}

// nodeReader turns nodes into values.
type nodeReader struct {
	file      string
	mergeKeys bool
	found     *findings
	nodes     int
	tooMany   bool
}

func (r *nodeReader) fail(n *yaml.Node, format string, args ...any) {
	r.found.add(r.file, n.Line, format, args...)
}

func (r *nodeReader) value(n *yaml.Node, depth int) any {
	r.nodes++
	switch {
	case r.tooMany:
		return nil
	case depth > maxDepth || r.nodes > maxNodes:
		r.tooMany = true
		r.fail(n, "the file is too deep or, with its aliases, too large")
		return nil
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias, depth+1)
	case yaml.MappingNode:
		return r.mapping(n, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			list = append(list, r.value(item, depth+1))
		}
		return list
	default:
		return r.scalar(n)
	}
}

func (r *nodeReader) mapping(n *yaml.Node, depth int) map[string]any {
	out, lines := make(map[string]any, len(n.Content)/2), map[string]int{}
	var merged []map[string]any
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, item := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null":
			r.fail(key, "a key must be a text")
			continue
		case key.ShortTag() == "!!merge":
			if !r.mergeKeys {
				r.fail(key, `"<<" is not used here: write the keys out`)
			}
			merged = append(merged, r.merged(item, depth+1)...)
			continue
		}
		key.Tag = "!!str" // 200 as a key is a text, too
		if at := lines[key.Value]; at > 0 {
			r.fail(key, "the key %s stands twice, first in line %d", plainName(key.Value), at)
			continue
		}
		lines[key.Value] = key.Line
		out[key.Value] = r.value(item, depth+1)
	}
	for _, m := range merged {
		for k, v := range m {
			if _, own := out[k]; !own {
				out[k] = v
			}
		}
	}
	return out
}

// merged returns the mappings that a merge key names, the one that counts first.
func (r *nodeReader) merged(n *yaml.Node, depth int) []map[string]any {
	var out []map[string]any
	switch v := r.value(n, depth).(type) {
	case map[string]any:
		return []map[string]any{v}
	case []any:
		for _, item := range v {
			if m, ok := item.(map[string]any); ok {
				out = append(out, m)
			}
		}
		if len(out) == len(v) {
			return out
		}
	}
	r.fail(n, `"<<" takes a mapping, or a list of them`)
	return nil
}

func (r *nodeReader) scalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!str":
		return n.Value
	case "!!timestamp":
		n.Tag = "!!str" // JSON has none
		return n.Value
	case "!!null":
		return nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			r.fail(n, "%s is no %s", plainName(n.Value), strings.TrimPrefix(n.ShortTag(), "!!"))
			return nil
		}
		if x, ok := v.(float64); ok && (math.IsNaN(x) || math.IsInf(x, 0)) {
			r.fail(n, "%s is no number of JSON", n.Value)
			return nil
		}
		return v
	default:
		r.fail(n, "the tag %s is not used here", plainName(n.Tag))
		return nil
	}
}

// find returns the node at a path of keys and indexes, and the node of its key, nil for
// that of an item. Where the path goes further than the document, both are those of the
// last node on it that there is.
func (d *document) find(path []string) (key, value *yaml.Node) {
	value = d.root
	for _, step := range path {
		for value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		k, v := child(value, step)
		if v == nil {
			return key, value
		}
		key, value = k, v
	}
	return key, value
}

// child returns the member of a mapping or the item of a list.
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return nil, n.Content[i]
		}
		return nil, nil
	}
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Value == step && k.ShortTag() != "!!merge" {
			return k, n.Content[i+1]
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() != "!!merge" {
			continue
		}
		from := n.Content[i+1]
		for from.Kind == yaml.AliasNode {
			from = from.Alias
		}
		list := []*yaml.Node{from}
		if from.Kind == yaml.SequenceNode {
			list = from.Content
		}
		for _, m := range list {
			for m.Kind == yaml.AliasNode {
				m = m.Alias
			}
			if k, v := child(m, step); v != nil {
				return k, v
			}
		}
	}
	return nil, nil
}

// line returns the line of a value; of a member that is no text it is that of its key.
func (d *document) line(path ...string) int {
	key, value := d.find(path)
	if key != nil {
		return key.Line
	}
	return value.Line
}

// where writes a path as people do: inject[0].records[1].kind.
func (d *document) where(path []string) string {
	var b strings.Builder
	for i, step := range path {
		_, parent := d.find(path[:i])
		for parent.Kind == yaml.AliasNode {
			parent = parent.Alias
		}
		switch {
		case parent.Kind == yaml.SequenceNode:
			b.WriteString("[" + step + "]")
		case i > 0:
			b.WriteString("." + plainName(step))
		default:
			b.WriteString(plainName(step))
		}
	}
	return b.String()
}

// plainName returns a text as it stands where it is harmless, else quoted.
func plainName(s string) string {
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/{}$", r) {
			return strconv.Quote(clip(s))
		}
	}
	if s == "" {
		return `""`
	}
	return clip(s)
}

// clip bounds a text of a file in a message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
