package registry

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

// Files are edited by the nodes of their YAML: all bytes stay but those of the values
// that change. What is edited is read again afterwards, so an edit that went wrong in a
// form of YAML that nobody thought of is found out before anything is written.

// rootMapping parses a text whose root is a mapping.
func rootMapping(text []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", err, evidence.ErrInvalid)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("must be a mapping: %w", evidence.ErrInvalid)
	}
	return doc.Content[0], nil
}

// pairOf returns key and value of a mapping, or nil.
func pairOf(m *yaml.Node, name string) (key, value *yaml.Node) {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return m.Content[i], m.Content[i+1]
		}
	}
	return nil, nil
}

// setWord replaces a scalar, found by the names of mappings, by a word that YAML needs
// no quotes for. All other bytes stay.
func setWord(text []byte, word string, names ...string) ([]byte, error) {
	at := strings.Join(names, ".")
	value, err := rootMapping(text)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		_, value = pairOf(value, name)
	}
	if value == nil || value.Kind != yaml.ScalarNode {
		return nil, fmt.Errorf("%s: is missing or no plain value: %w", at, evidence.ErrInvalid)
	}
	if value.Value == word {
		return text, nil
	}
	start := offsetOf(text, value.Line, value.Column)
	n := lenToken(text[start:], value)
	if n == 0 {
		return nil, fmt.Errorf("%s: is not written as one word: %w", at, evidence.ErrInvalid)
	}
	return splice(text, start, start+n, []byte(word)), nil
}

// offsetOf returns where a line and column are, both from 1; columns are characters.
func offsetOf(text []byte, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return len(text)
		}
		at += i + 1
	}
	for ; column > 1 && at < len(text); column-- {
		_, n := utf8.DecodeRune(text[at:])
		at += n
	}
	return at
}

// lenToken returns how many bytes of the text the scalar takes, 0 where that is not
// plain to see.
func lenToken(text []byte, value *yaml.Node) int {
	for _, token := range []string{value.Value, `"` + value.Value + `"`, "'" + value.Value + "'"} {
		if token != "" && bytes.HasPrefix(text, []byte(token)) {
			return len(token)
		}
	}
	return 0
}

func splice(text []byte, from, to int, by []byte) []byte {
	out := make([]byte, 0, len(text)-(to-from)+len(by))
	out = append(out, text[:from]...)
	out = append(out, by...)
	return append(out, text[to:]...)
}

// setMember lets change change the value of a member of the root, which is added at the
// end where it is missing. Only the lines of that member are written anew; comments in
// it stay with their values.
func setMember(text []byte, name string, change func(value *yaml.Node) error) ([]byte, error) {
	root, err := rootMapping(text)
	if err != nil {
		return nil, err
	}
	if root.Style&yaml.FlowStyle != 0 {
		return nil, fmt.Errorf("%s: does not stand on lines of its own: %w", name, evidence.ErrInvalid)
	}
	start, end := len(text), len(text)
	part := []byte(name + ": null\n")
	if key, _ := pairOf(root, name); key != nil {
		start, end = linesOf(text, root, key)
		part = text[start:end]
	} else if n := len(text); n > 0 && text[n-1] != '\n' {
		text = append(bytes.Clone(text), '\n')
		start, end = n+1, n+1
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(part, &doc); err != nil {
		return nil, fmt.Errorf("%s: cannot be edited apart from the rest: %w", name, evidence.ErrInvalid)
	}
	if doc.Kind != yaml.DocumentNode || doc.Content[0].Kind != yaml.MappingNode || len(doc.Content[0].Content) != 2 {
		return nil, fmt.Errorf("%s: does not stand on lines of its own: %w", name, evidence.ErrInvalid)
	}
	key, value := doc.Content[0].Content[0], doc.Content[0].Content[1]
	was := *value
	if err := change(value); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if isBlock(value) && !isBlock(&was) { // a comment behind it now stands behind the name
		key.LineComment, value.LineComment = was.LineComment, ""
	}
	if !isBlock(value) && isBlock(&was) {
		key.LineComment, value.LineComment = "", key.LineComment
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return splice(text, start, end, out.Bytes()), nil
}

// isBlock says whether a value is written on lines of its own.
func isBlock(n *yaml.Node) bool {
	return n.Kind != yaml.ScalarNode && n.Style&yaml.FlowStyle == 0 && len(n.Content) > 0
}

// linesOf returns where the lines of a member of the root begin and end: up to the next
// member, without the empty lines and comments before that.
func linesOf(text []byte, root, key *yaml.Node) (start, end int) {
	start, end = offsetOf(text, key.Line, 1), len(text)
	for i := 0; i < len(root.Content); i += 2 {
		if k := root.Content[i]; k.Line > key.Line {
			end = offsetOf(text, k.Line, 1)
			break
		}
	}
	for end > start {
		from := bytes.LastIndexByte(text[start:end-1], '\n') + 1 + start
		line := bytes.TrimSpace(text[from:end])
		if len(line) > 0 && line[0] != '#' {
			break
		}
		end = from
	}
	return start, end
}

// setNull makes a value null.
func setNull(value *yaml.Node) error {
	value.Kind, value.Tag, value.Value, value.Style, value.Content = yaml.ScalarNode, "!!null", "null", 0, nil
	return nil
}

// setMapping returns a change that makes a value a mapping of v's members.
func setMapping(v any) func(*yaml.Node) error {
	return func(value *yaml.Node) error {
		var made yaml.Node
		if err := made.Encode(v); err != nil {
			return err
		}
		mergeNode(value, &made)
		return nil
	}
}

// mergeNode gives a node the content of another and lets it keep its comments. Members
// that both have stay where they are.
func mergeNode(to, from *yaml.Node) {
	if to.Kind != yaml.MappingNode || from.Kind != yaml.MappingNode {
		to.Kind, to.Tag, to.Value, to.Style, to.Content = from.Kind, from.Tag, from.Value, from.Style, from.Content
		return
	}
	var content []*yaml.Node
	for i := 0; i+1 < len(to.Content); i += 2 {
		if _, v := pairOf(from, to.Content[i].Value); v != nil {
			mergeNode(to.Content[i+1], v)
			content = append(content, to.Content[i], to.Content[i+1])
		}
	}
	for i := 0; i+1 < len(from.Content); i += 2 {
		if k, _ := pairOf(to, from.Content[i].Value); k == nil {
			content = append(content, from.Content[i], from.Content[i+1])
		}
	}
	to.Content = content
}

// setHistory returns a change that makes a value the list of the new transitions. What
// was there before, or is repeated by one of them, keeps its node.
func setHistory(was, is []Transition) func(*yaml.Node) error {
	return func(value *yaml.Node) error {
		if len(was) > 0 && (value.Kind != yaml.SequenceNode || len(value.Content) != len(was)) {
			return fmt.Errorf("is not a list of %d: %w", len(was), evidence.ErrInvalid)
		}
		old := value.Content
		value.Kind, value.Tag, value.Value, value.Content = yaml.SequenceNode, "!!seq", "", nil
		value.Style &^= yaml.FlowStyle
		used := make([]bool, len(was))
		for _, t := range is {
			var node yaml.Node
			if err := node.Encode(t); err != nil {
				return err
			}
			if i := nodeOf(t, was, used); i >= 0 {
				used[i] = true
				mergeNode(old[i], &node)
				node = *old[i]
			}
			value.Content = append(value.Content, &node)
		}
		return nil
	}
}

// nodeOf returns which unused entry of the old history is t, or is repeated by it; else
// -1. What stays as it is stands before what is new.
func nodeOf(t Transition, was []Transition, used []bool) int {
	for i := range was {
		if !used[i] && was[i] == t {
			return i
		}
	}
	for i := len(was) - 1; i >= 0; i-- {
		if !used[i] && was[i].repeats(t) {
			return i
		}
	}
	return -1
}
