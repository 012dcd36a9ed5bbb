package access

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// publicPaths are all that may be public (contract section 8). /verify is a page
// without data, for people who have no credential: auditors.
var publicPaths = []string{"/healthz", "/readyz", "/openapi.json", "/docs", "/verify", "/console/login"}

var (
	tiers      = []string{string(Public), string(Session), string(KeyTier)}
	recordings = []string{string(RecordView), string(RecordExport), string(RecordSelf), string(RecordNone)}
	topics     = []string{"LLM_RUNS", "SYSTEM_LOGS", "AUDIT"}
)

// recordedPaths are those whose requests are recorded one by one, whatever an
// operator would like.
var recordedPaths = [][]string{{"api", "v1", "logs"}, {"guard", "logs"}}

// maxPath bounds the path of a rule, in segments.
const maxPath = 16

// splitPath takes the path of a rule apart. The error says what it must be.
func splitPath(path string) ([]string, error) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case !strings.HasPrefix(path, "/"):
		return nil, errors.New("must begin with /")
	case segments[0] == "" || segments[0] == "*":
		return nil, errors.New("must begin with the name of a segment")
	case len(segments) > maxPath:
		return nil, errors.New("is too long")
	}
	for _, s := range segments {
		switch {
		case s == "" || s == "." || s == "..":
			return nil, errors.New("must be clean, without a / at its end")
		case s != "*" && (strings.ContainsAny(s, "*%{}?#\\ ") || !evidence.FitName(s)):
			return nil, errors.New("must be of plain segments, or * for any one")
		}
	}
	return segments, nil
}

// overlap reports whether there are paths that both cover.
func overlap(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] && a[i] != "*" && b[i] != "*" {
			return false
		}
	}
	return true
}

// checkRule looks at one rule by itself. have are its keys.
func (f *rulesFile) checkRule(r *Rule, have map[string]bool) {
	if !evidence.FitName(r.ID) || evidence.IsReplacement(r.ID) || len(r.ID) > 64 {
		f.fail(r.Line, "id must be at most 64 characters of a name")
	}
	var err error
	if r.segments, err = splitPath(r.Path); have["path"] && err != nil {
		f.fail(r.Line, "path %v", err)
	}
	if have["methods"] && len(r.Methods) == 0 {
		f.fail(r.Line, "methods must name at least one")
	}
	if have["environments"] && len(r.Environments) == 0 {
		f.fail(r.Line, "environments must name at least one")
	}
	if r.Tier == Public {
		f.checkPublic(r, have)
		return
	}
	if !have["record"] {
		f.fail(r.Line, "a rule lacks record")
	}
	f.checkPermissions(r, have)
	f.checkRecord(r, have)
}

func (f *rulesFile) checkPublic(r *Rule, have map[string]bool) {
	for _, key := range []string{"permissions", "any_of", "topic", "record", "authority", "roles", "tenant"} {
		if have[key] {
			f.fail(r.Line, "a PUBLIC rule has no %s", key)
		}
	}
}

func (f *rulesFile) checkPermissions(r *Rule, have map[string]bool) {
	switch {
	case have["any_of"] && r.AnyOf == 0:
		f.fail(r.Line, "any_of must name at least one permission")
	case !have["permissions"] && !have["any_of"]:
		f.fail(r.Line, "a rule lacks permissions: [] lets in every credential")
	}
}

// checkRecord sees that what discloses a log is recorded, and about what.
func (f *rulesFile) checkRecord(r *Rule, have map[string]bool) {
	discloses := r.Record == RecordView || r.Record == RecordExport
	for _, p := range recordedPaths {
		if !discloses && overlap(r.segments, p) && r.segments != nil {
			f.fail(r.Line, "record must be view or export: the path covers /%s", strings.Join(p, "/"))
		}
	}
	if !discloses {
		return
	}
	for _, key := range []string{"topic", "authority"} {
		if !have[key] {
			f.fail(r.Line, "a rule with record %s lacks %s", r.Record, key)
		}
	}
	if r.AnyTenant {
		f.fail(r.Line, "a rule with record %s is about a tenant: tenant must be required", r.Record)
	}
	if r.Permissions == 0 && r.AnyOf == 0 {
		f.fail(r.Line, "a rule with record %s needs a permission", r.Record)
	}
}

// check looks at the rules together.
func (f *rulesFile) check() {
	list := f.rules.list
	ids := map[string]int{}
	for _, r := range list {
		if line, ok := ids[r.ID]; ok {
			f.errs = append(f.errs, &RuleError{Line: r.Line, Rule: r.ID, Reason: "the id is that of the rule of line " + strconv.Itoa(line)})
		}
		ids[r.ID] = r.Line
		if r.Tier == Public && !f.isPublic(r.Path) {
			f.errs = append(f.errs, &RuleError{Line: r.Line, Rule: r.ID, Reason: "the path of a PUBLIC rule must be in public_paths or below one"})
		}
	}
	for _, p := range f.rules.PublicPaths {
		if !slices.ContainsFunc(list, func(r *Rule) bool { return r.Path == p && r.Tier == Public }) {
			f.fail(f.publicLine, "the public path %s has no PUBLIC rule", p)
		}
	}
	f.errs = append(f.errs, checkShadows(list)...)
}

func (f *rulesFile) isPublic(path string) bool {
	return slices.ContainsFunc(f.rules.PublicPaths, func(p string) bool {
		return path == p || strings.HasPrefix(path, p+"/")
	})
}

// checkShadows finds rules that another hides, wholly or in part: which of the
// two counts would depend on their order. A temporary rule hides the standing
// one, to which it gives way when it expires.
func checkShadows(list []*Rule) (errs []*RuleError) {
	type key struct {
		path, method, environment string
		temporary                 bool
	}
	first := map[key]*Rule{}
	for _, r := range list {
		hidden := false
		for _, m := range r.Methods {
			for _, e := range r.Environments {
				k := key{r.Path, m, e, r.Temporary()}
				if other := first[k]; other != nil && !hidden {
					hidden = true
					errs = append(errs, &RuleError{Line: r.Line, Rule: r.ID, Reason: "is hidden by the rule " + other.ID +
						" of line " + strconv.Itoa(other.Line) + ", which has the same path, method " + m + " and environment " + e})
				} else if other == nil {
					first[k] = r
				}
			}
		}
	}
	return errs
}
