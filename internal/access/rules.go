package access

import (
	_ "embed" // the rules that are shipped
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Environments that rules may name.
const (
	Production = "production"
	Preflight  = "preflight"
)

// Environments returns the names of all environments.
func Environments() []string { return []string{Production, Preflight} }

// Tier is the least that a rule asks of a credential.
type Tier string

// Tiers.
const (
	Public  Tier = "PUBLIC"  // none is needed
	Session Tier = "SESSION" // any: also the session of a console
	KeyTier Tier = "KEY"     // one that the request itself carries: a key or a bearer token
)

// Recording says who records what a rule lets in.
type Recording string

// Recordings.
const (
	RecordView   Recording = "view"   // the guard, as LOG_VIEW
	RecordExport Recording = "export" // the guard, as LOG_EXPORT where something was exported
	RecordSelf   Recording = "self"   // the handler, in a way of its own
	RecordNone   Recording = "none"   // nobody: it discloses no log
)

// Rule is one rule of RBAC_RULES.yaml. It is not to be changed.
type Rule struct {
	ID   string
	Line int    // where it begins in its file
	Path string // "/a/*/b": covers itself and what is below; * is one segment
	// Methods it lets in. HEAD goes with GET and is not named.
	Methods      []string
	Tier         Tier
	Permissions  Set // all of them are needed
	AnyOf        Set // and one of these, unless it is empty
	Environments []string
	Topic        string // LLM_RUNS, SYSTEM_LOGS, AUDIT; "" where it is about none
	Record       Recording
	// AnyTenant: the request need not be about one tenant.
	AnyTenant bool
	Authority Authority
	// Roles whose authority is another; see For.
	Roles map[string]Authority
	// Expires is when a temporary rule ceases to count; zero for a standing one.
	Expires time.Time

	segments []string
}

// Temporary reports whether the rule expires.
func (r *Rule) Temporary() bool { return !r.Expires.IsZero() }

// For returns what a role may ask for. An observer sees synthetic records
// only, whatever the rule says.
func (r *Rule) For(role string) Authority {
	a, ok := r.Roles[role]
	if !ok {
		a = r.Authority
	}
	if role == RoleObserver {
		a.IncludeSynthetic, a.SyntheticOnly = true, true
	}
	return a
}

// lacks returns what a principal lacks, as it is named in evidence, or "".
func (r *Rule) lacks(have Set) string {
	if missing := r.Permissions &^ have; missing != 0 {
		return missing.Names()[0]
	}
	if r.AnyOf != 0 && r.AnyOf&have == 0 {
		return strings.Join(r.AnyOf.Names(), " or ")
	}
	return ""
}

// Rules are the rules of one file, checked. They do not change, and may be used
// from several goroutines.
type Rules struct {
	Version     int
	PublicPaths []string
	Digest      string // "sha256:" and hex, of the file
	list        []*Rule
}

//go:embed RBAC_RULES.yaml
var shipped []byte

var shippedRules = sync.OnceValue(func() *Rules {
	// Its temporary rules may have expired since it was shipped, which is what
	// they are for: they just do not count any more.
	rules, err := parseRules(shipped, time.Time{})
	if err != nil {
		panic("access: RBAC_RULES.yaml: " + err.Error()) // a test reads it
	}
	return rules
})

// DefaultRules returns the rules that are shipped.
func DefaultRules() *Rules { return shippedRules() }

// DefaultRulesFile returns the text of the rules that are shipped: what an
// operator's own file starts from.
func DefaultRulesFile() []byte { return slices.Clone(shipped) }

// All returns the rules, the most specific path first.
func (rs *Rules) All() []*Rule { return slices.Clone(rs.list) }

// Match returns the rule of a request. path is the escaped path of its URL, as
// a ServeMux takes it apart; or the template of one, /runs/{id}. Of the rules of
// the environment that have not expired the most specific path counts, and of
// its rules the one with the method. Where there is none, nothing may be done.
func (rs *Rules) Match(method, path, environment string, now time.Time) (*Rule, bool) {
	if method == "HEAD" {
		method = "GET"
	}
	best := -1
	for i, r := range rs.list {
		switch {
		case !slices.Contains(r.Environments, environment), r.Temporary() && !now.Before(r.Expires):
		case best >= 0 && !slices.Equal(r.segments, rs.list[best].segments):
			return nil, false // no other rule has that path
		case best < 0 && !covers(r.segments, path):
		case slices.Contains(r.Methods, method):
			return r, true
		default:
			best = i
		}
	}
	return nil, false
}

// Methods returns what methods the rules of a path let in, sorted.
func (rs *Rules) Methods(path, environment string, now time.Time) []string {
	var list []string
	for _, m := range ruleMethods {
		if _, ok := rs.Match(m, path, environment, now); ok {
			list = append(list, m)
		}
	}
	slices.Sort(list)
	return list
}

// ruleMethods are those that a rule may name.
var ruleMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// covers reports whether a path is at or below that of a rule. It walks the
// path as a ServeMux does, segment by segment, each unescaped by itself, so
// that both see the same. What a ServeMux would redirect because it is not clean
// is covered by nothing.
func covers(segments []string, path string) bool {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return false
	}
	for n := 0; ; n++ {
		segment, below, more := strings.Cut(rest, "/")
		if segment == "." || segment == ".." || segment == "" && more {
			return false
		}
		if n < len(segments) {
			if strings.IndexByte(segment, '%') >= 0 {
				var err error
				if segment, err = url.PathUnescape(segment); err != nil {
					return false
				}
			}
			if want := segments[n]; segment == "" || want != "*" && want != segment {
				return false
			}
		}
		if !more {
			return n+1 >= len(segments)
		}
		rest = below
	}
}

// sortRules puts what counts first in front: the longer path, at the first
// difference the segment that is no *, and the rule that is temporary.
func sortRules(list []*Rule) {
	slices.SortStableFunc(list, func(a, b *Rule) int {
		if n := len(b.segments) - len(a.segments); n != 0 {
			return n
		}
		for i, s := range a.segments {
			t := b.segments[i]
			switch {
			case s == t:
			case s == "*":
				return 1
			case t == "*":
				return -1
			default:
				return strings.Compare(s, t)
			}
		}
		switch {
		case a.Temporary() == b.Temporary():
			return 0
		case a.Temporary():
			return -1
		}
		return 1
	})
}
