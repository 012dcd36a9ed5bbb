package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"go.yaml.in/yaml/v3"
)

// file is the form of dialects.yaml; see the package comment.
type file struct {
	Version          int                 `yaml:"version"`
	Providers        map[string][]string `yaml:"providers"`
	FinishReasons    map[string][]string `yaml:"finish_reasons"`
	Decisions        map[string][]string `yaml:"decisions"`
	Redacted         []string            `yaml:"redacted"`
	EmbeddingModels  []string            `yaml:"embedding_models"`
	FirstTokenEvents []string            `yaml:"first_token_events"`
	Families         map[string]struct{} `yaml:"families"`
	Common           entry               `yaml:"common"`
	Dialects         []entry             `yaml:"dialects"`
}

type entry struct {
	Name                string                  `yaml:"name"`
	Match               []matchEntry            `yaml:"match"`
	Like                string                  `yaml:"like"`
	Then                []string                `yaml:"then"`
	Kind                []kindEntry             `yaml:"kind"`
	Fields              map[string][]sourceItem `yaml:"fields"`
	InputExcludesCached [][]string              `yaml:"input_excludes_cached"`
	ZeroWhenAbsent      []string                `yaml:"zero_when_absent"`
	Estimated           [][]string              `yaml:"estimated"`
	FinishFromCalls     bool                    `yaml:"finish_from_calls"`
}

type matchEntry struct {
	Scope string   `yaml:"scope"`
	Exact bool     `yaml:"exact"`
	From  string   `yaml:"from"`
	Below string   `yaml:"below"`
	Has   []string `yaml:"has"`
}

type kindEntry struct {
	Key  string            `yaml:"key"`
	Is   map[string]string `yaml:"is"`
	Ends map[string]string `yaml:"ends"`
	Kind string            `yaml:"kind"`
	When []string          `yaml:"when"`
}

// sourceItem is a key, or an object where there is more to say.
type sourceItem struct {
	Key    string   `yaml:"key"`
	Family string   `yaml:"family"`
	As     string   `yaml:"as"`
	Prefix string   `yaml:"prefix"`
	When   []string `yaml:"when"`
}

// sourceObject is sourceItem without its method.
type sourceObject sourceItem

// UnmarshalYAML reads both forms. What decodes here is not strict by itself,
// so unknown members are looked for.
func (s *sourceItem) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		s.Key = n.Value
		return nil
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if k := n.Content[i].Value; !slices.Contains([]string{"key", "family", "as", "prefix", "when"}, k) {
				return fmt.Errorf("line %d: unknown member %q of a source", n.Content[i].Line, k)
			}
		}
	}
	return n.Decode((*sourceObject)(s))
}

// Parse compiles a table from YAML. The error names the entry at fault and
// wraps [evidence.ErrInvalid].
func Parse(data []byte) (*Table, error) {
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return nil, invalid("%v", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, invalid("more than one document")
	}
	if f.Version != 1 {
		return nil, invalid("version is %d, not 1", f.Version)
	}
	return compile(&f)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("dialect table: %w: %w", fmt.Errorf(format, args...), evidence.ErrInvalid)
}

// synonyms turns ours -> theirs around; ours also stands for itself.
func synonyms(what string, m map[string][]string, upper bool) (map[string]string, error) {
	out := make(map[string]string)
	for ours, theirs := range m {
		for _, s := range append([]string{ours}, theirs...) {
			k := strings.ToLower(s)
			if k == "" {
				return nil, invalid("%s: %s: empty word", what, ours)
			}
			if had, ok := out[k]; ok && had != ours {
				return nil, invalid("%s: %q stands for both %s and %s", what, s, min(had, ours), max(had, ours))
			}
			out[k] = ours
		}
		if upper && !decisions[ours] {
			return nil, invalid("%s: %q is no decision", what, ours)
		}
	}
	return out, nil
}

// parseVersion reads the leading numbers of a version: 1.2.3-rc1 is 1.2.3.
func parseVersion(s string) ([]int, bool) {
	s = strings.TrimPrefix(s, "v")
	if i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		s = s[:i]
	}
	var out []int
	for p := range strings.SplitSeq(strings.TrimRight(s, "."), ".") {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

// compareVersions compares number by number; a missing one is 0.
func compareVersions(a, b []int) int {
	for i := range max(len(a), len(b)) {
		var x, y int
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return x - y
		}
	}
	return 0
}
