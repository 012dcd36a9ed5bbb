package access

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

// Bounds of a file of rules.
const (
	maxRulesFile = 1 << 20
	maxRules     = 1000
	maxRuleErrs  = 20
	maxRuleRows  = 10_000
	maxRuleDays  = 3660
)

// RuleError is what is wrong with a file of rules. It wraps
// evidence.ErrInvalid.
type RuleError struct {
	Line   int
	Rule   string // its id, or "" where it concerns none
	Reason string
}

// Error implements error.
func (e *RuleError) Error() string {
	if e.Rule == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
	}
	return fmt.Sprintf("line %d: rule %s: %s", e.Line, e.Rule, e.Reason)
}

// Unwrap returns evidence.ErrInvalid.
func (*RuleError) Unwrap() error { return evidence.ErrInvalid }

// ParseRules reads a file of rules and checks it: every key is known and stands
// once, every value is one that there is, no rule hides another, and no
// temporary rule has expired. The error joins a [*RuleError] for each thing that
// is wrong, up to a bound.
func ParseRules(text []byte) (*Rules, error) { return parseRules(text, time.Now()) }

// parseRules is ParseRules at a time; at the zero time nothing has expired.
func parseRules(text []byte, now time.Time) (*Rules, error) {
	if len(text) > maxRulesFile {
		return nil, &RuleError{Line: 1, Reason: fmt.Sprintf("the file is over %d KiB", maxRulesFile>>10)}
	}
	root, err := readDocument(text)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	f := &rulesFile{now: now, rules: &Rules{Digest: "sha256:" + hex.EncodeToString(sum[:])}}
	f.read(root)
	if len(f.errs) == 0 {
		f.check()
	}
	if len(f.errs) > 0 {
		slices.SortStableFunc(f.errs, func(a, b *RuleError) int { return cmp.Compare(a.Line, b.Line) })
		var list []error
		for _, e := range f.errs[:min(len(f.errs), maxRuleErrs)] {
			list = append(list, e)
		}
		return nil, errors.Join(list...)
	}
	sortRules(f.rules.list)
	return f.rules, nil
}

// readDocument returns the one value of a YAML text.
func readDocument(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, &RuleError{Line: 1, Reason: "the file is empty"}
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrInvalid, err)
	}
	if err := dec.Decode(&next); err == nil {
		return nil, &RuleError{Line: next.Line, Reason: "a second document"}
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", evidence.ErrInvalid, err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, &RuleError{Line: 1, Reason: "the file is empty"}
	}
	return doc.Content[0], nil
}

// rulesFile is a file while it is read.
type rulesFile struct {
	now        time.Time
	rules      *Rules
	publicLine int
	rule       string // the id of the one that is read
	errs       []*RuleError
}

func (f *rulesFile) fail(line int, format string, args ...any) {
	f.errs = append(f.errs, &RuleError{Line: line, Rule: f.rule, Reason: fmt.Sprintf(format, args...)})
}

// reader reads the value of one key. An alias has been followed; line is where
// the value stands, also that of an alias.
type reader func(n *yaml.Node, line int)

// mapping reads a mapping whose keys are those of read, each at most once, and
// reports which it has. What is needed and missing is an error.
func (f *rulesFile) mapping(n *yaml.Node, line int, what string, read map[string]reader, needed ...string) map[string]bool {
	have := map[string]bool{}
	if n.Kind != yaml.MappingNode {
		f.fail(line, "%s must be a mapping", what)
		return have
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		fn, known := read[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			f.fail(key.Line, "unknown key %q: %s has %s", key.Value, what, strings.Join(slices.Sorted(maps.Keys(read)), ", "))
		case have[key.Value]:
			f.fail(key.Line, "the key %s stands twice", key.Value)
		default:
			have[key.Value] = true
			at := value.Line
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			fn(value, at)
		}
	}
	for _, name := range needed {
		if !have[name] {
			f.fail(line, "%s lacks %s", what, name)
		}
	}
	return have
}

func (f *rulesFile) text(n *yaml.Node, line int, what string) string {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		f.fail(line, "%s must be a text", what)
		return ""
	}
	return n.Value
}

func (f *rulesFile) bool(n *yaml.Node, line int, what string) bool {
	if n.Kind != yaml.ScalarNode || n.Value != "true" && n.Value != "false" || n.ShortTag() != "!!bool" {
		f.fail(line, "%s must be true or false", what)
	}
	return n.Value == "true"
}

func (f *rulesFile) int(n *yaml.Node, line int, what string, least, most int) int {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || v < least || v > most {
		f.fail(line, "%s must be a number from %d to %d", what, least, most)
		return least
	}
	return v
}

// choice reads a text that is one of a set.
func (f *rulesFile) choice(n *yaml.Node, line int, what string, of []string) string {
	s := n.Value
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || !slices.Contains(of, s) {
		f.fail(line, "%s must be one of %s", what, strings.Join(of, ", "))
		return ""
	}
	return s
}

// texts reads a list of texts, each once; of nil allows any.
func (f *rulesFile) texts(n *yaml.Node, line int, what string, of []string) []string {
	if n.Kind != yaml.SequenceNode {
		f.fail(line, "%s must be a list", what)
		return nil
	}
	list := []string{}
	for _, item := range n.Content {
		at := item.Line
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		var s string
		if of == nil {
			s = f.text(item, at, what)
		} else {
			s = f.choice(item, at, what, of)
		}
		if slices.Contains(list, s) && s != "" {
			f.fail(at, "%s has %s twice", what, s)
		}
		list = append(list, s)
	}
	return list
}

// set reads a list of permissions.
func (f *rulesFile) set(n *yaml.Node, line int, what string) (set Set) {
	for _, name := range f.texts(n, line, what, permissionNames) {
		set |= parsePermission(name)
	}
	return set
}

// read takes the whole file apart.
func (f *rulesFile) read(root *yaml.Node) {
	f.mapping(root, root.Line, "the file", map[string]reader{
		"version": func(n *yaml.Node, line int) { f.rules.Version = f.int(n, line, "version", 1, 1) },
		"public_paths": func(n *yaml.Node, line int) {
			f.publicLine = line
			f.rules.PublicPaths = f.texts(n, line, "public_paths", publicPaths)
		},
		"rules": func(n *yaml.Node, line int) {
			if n.Kind != yaml.SequenceNode || len(n.Content) > maxRules {
				f.fail(line, "rules must be a list of at most %d", maxRules)
				return
			}
			for _, item := range n.Content {
				at := item.Line
				if item.Kind == yaml.AliasNode {
					item = item.Alias
				}
				if len(f.errs) < maxRuleErrs {
					f.readRule(item, at)
				}
			}
		},
	}, "version", "public_paths", "rules")
}

// readRule reads one rule, its id first: errors name it.
func (f *rulesFile) readRule(n *yaml.Node, line int) {
	r := &Rule{Line: line, Record: RecordNone}
	f.rule = idOf(n)
	defer func() { f.rule = "" }()
	var temporary bool
	tenant := "required"
	var authority, roles *yaml.Node
	var authorityLine, rolesLine int
	have := f.mapping(n, line, "a rule", map[string]reader{
		"id":           func(n *yaml.Node, line int) { r.ID = f.text(n, line, "id") },
		"path":         func(n *yaml.Node, line int) { r.Path = f.text(n, line, "path") },
		"methods":      func(n *yaml.Node, line int) { r.Methods = f.texts(n, line, "methods", ruleMethods) },
		"tier":         func(n *yaml.Node, line int) { r.Tier = Tier(f.choice(n, line, "tier", tiers)) },
		"permissions":  func(n *yaml.Node, line int) { r.Permissions = f.set(n, line, "permissions") },
		"any_of":       func(n *yaml.Node, line int) { r.AnyOf = f.set(n, line, "any_of") },
		"environments": func(n *yaml.Node, line int) { r.Environments = f.texts(n, line, "environments", Environments()) },
		"topic":        func(n *yaml.Node, line int) { r.Topic = f.choice(n, line, "topic", topics) },
		"record":       func(n *yaml.Node, line int) { r.Record = Recording(f.choice(n, line, "record", recordings)) },
		"tenant": func(n *yaml.Node, line int) {
			tenant = f.choice(n, line, "tenant", []string{"required", "optional"})
		},
		"temporary": func(n *yaml.Node, line int) { temporary = f.bool(n, line, "temporary") },
		"expires":   func(n *yaml.Node, line int) { r.Expires = f.time(n, line) },
		"authority": func(n *yaml.Node, line int) { authority, authorityLine = n, line },
		"roles":     func(n *yaml.Node, line int) { roles, rolesLine = n, line },
	}, "id", "path", "methods", "tier", "environments")
	r.AnyTenant = tenant == "optional" || r.Tier == Public
	if temporary != have["expires"] {
		f.fail(line, "a temporary rule has expires, and only a temporary rule: temporary must be true")
	}
	if authority != nil {
		r.Authority = f.authority(authority, authorityLine, "authority", Authority{}, authorityKeys...)
	}
	if roles != nil {
		r.Roles = f.roles(roles, rolesLine, r.Authority)
	}
	f.checkRule(r, have)
	f.rules.list = append(f.rules.list, r)
}

// idOf finds the id of a rule before the rule is read.
func idOf(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "id" && evidence.FitName(n.Content[i+1].Value) {
				return n.Content[i+1].Value
			}
		}
	}
	return ""
}

func (f *rulesFile) time(n *yaml.Node, line int) time.Time {
	at, err := time.Parse(time.RFC3339, n.Value)
	switch {
	case n.Kind != yaml.ScalarNode || err != nil || !evidence.MicrosOf(at).InRange() || at.IsZero():
		f.fail(line, "expires must be a time, such as 2027-01-31T00:00:00Z")
	case !f.now.IsZero() && !f.now.Before(at):
		f.fail(line, "expired on %s: remove the rule, or let it expire later", at.UTC().Format(time.RFC3339))
	}
	return at.UTC()
}

// authorityKeys are those that the authority of a rule must have. synthetic_only
// is a role's only.
var authorityKeys = []string{"include_synthetic", "max_rows", "max_time_range_days", "export_allowed"}

func (f *rulesFile) authority(n *yaml.Node, line int, what string, a Authority, needed ...string) Authority {
	least := 1
	read := map[string]reader{
		"include_synthetic": func(n *yaml.Node, line int) { a.IncludeSynthetic = f.bool(n, line, "include_synthetic") },
		"max_rows":          func(n *yaml.Node, line int) { a.MaxRows = f.int(n, line, "max_rows", 1, maxRuleRows) },
		"max_time_range_days": func(n *yaml.Node, line int) {
			a.MaxRange = time.Duration(f.int(n, line, "max_time_range_days", least, maxRuleDays)) * 24 * time.Hour
		},
		"export_allowed": func(n *yaml.Node, line int) { a.ExportAllowed = f.bool(n, line, "export_allowed") },
	}
	if len(needed) == 0 { // of a role
		least = 0 // no bound
		read["synthetic_only"] = func(n *yaml.Node, line int) { a.SyntheticOnly = f.bool(n, line, "synthetic_only") }
	}
	f.mapping(n, line, what, read, needed...)
	if a.SyntheticOnly && !a.IncludeSynthetic {
		f.fail(line, "%s: synthetic_only goes with include_synthetic", what)
	}
	return a
}

// roles reads what is another for a role than for all.
func (f *rulesFile) roles(n *yaml.Node, line int, base Authority) map[string]Authority {
	out, read := map[string]Authority{}, map[string]reader{}
	for _, role := range Roles() {
		read[role] = func(n *yaml.Node, line int) {
			a := f.authority(n, line, role, base)
			if role == RoleObserver && !a.SyntheticOnly {
				f.fail(line, "an observer sees synthetic records only: synthetic_only must be true")
			}
			out[role] = a
		}
	}
	f.mapping(n, line, "roles", read)
	return out
}
