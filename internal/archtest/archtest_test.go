// Package archtest holds the import rules of the module as a test: one table says
// for every package which others it may import. A package without a row is a
// failure, so a new package begins with a line here and a reason for it.
//
// The rules bind what is compiled into the binary. Imports of _test files are free,
// but that backends never import one another, not even in a test.
package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/runledger/runledger"

	// anything, as the only entry of a rule's may or external, lifts that limit.
	anything = "*"
)

// rule is one row of the table. Paths are relative to the module root.
type rule struct {
	// pkg is the package the row is about; "dir/..." is dir and all below it.
	pkg string
	// may lists the packages of this module that it may import.
	may []string
	// external lists the third-party modules that it may import, each with all
	// packages below the path given. The standard library is always allowed.
	external []string
	// backend marks an implementation of store.Store: the only packages that may
	// import a database driver.
	backend bool
	// test marks help for tests: it may use a driver, and only tests may import it.
	test bool
}

// Third-party code that the pure packages are allowed. What is not pure may use
// what go.mod has.
const (
	canonicalJSON = "github.com/go-json-experiment/json" // RFC 8785, in evidence
	sumdb         = "golang.org/x/mod/sumdb"             // Merkle tree and signed notes
)

var (
	all  = []string{anything}
	none = []string{}
)

// rules is the table, bottom up: a row names only rows above it. Some rows stand
// for packages that are still to come.
var rules = []rule{
	// Pure: bytes in, bytes or an error out. Anyone may check evidence with these,
	// so they drag nothing in.
	{pkg: "evidence", may: none, external: []string{canonicalJSON}},
	{pkg: "internal/c2sp", may: []string{"evidence"}, external: []string{sumdb}},
	{pkg: "internal/zipstore", may: none, external: none},
	{pkg: "internal/tsp", may: []string{"evidence"}, external: none},
	{
		pkg:      "verify",
		may:      []string{"evidence", "internal/c2sp", "internal/zipstore", "internal/tsp"},
		external: []string{sumdb},
	},
	// A page that checks bundles without Go: files, and the tables they are made from.
	{pkg: "internal/verifypage", may: []string{"evidence"}, external: none},
	{pkg: "answer", may: []string{"evidence"}, external: none},
	{pkg: "client", may: []string{"evidence", "answer"}, external: all},
	{pkg: "internal/problem", may: []string{"evidence", "answer"}, external: none},
	{pkg: "internal/dialect", may: []string{"evidence"}, external: all},
	{pkg: "internal/prices", may: []string{"evidence"}, external: all},
	{pkg: "internal/otlp", may: []string{"evidence", "internal/dialect", "internal/prices"}, external: all},

	// Stores: the interface, its conformance suite, and the backends.
	{pkg: "internal/store", may: []string{"evidence"}, external: all},
	{pkg: "internal/store/storetest", may: []string{"evidence", "internal/store"}, external: all},
	{pkg: "internal/store/sqlite", may: []string{"evidence", "internal/store"}, external: all, backend: true},
	{pkg: "internal/store/postgres", may: []string{"evidence", "internal/store"}, external: all, backend: true},

	// Not in the binary: a real PostgreSQL for tests, and a store of either backend.
	{pkg: "internal/testneeds", may: none, external: none, test: true},
	{pkg: "internal/store/pgtest", may: []string{"internal/testneeds"}, external: all, test: true},
	{pkg: "internal/store/storerig", may: []string{"evidence", "internal/store", "internal/store/sqlite", "internal/store/postgres", "internal/store/pgtest"}, external: all, test: true},

	// Nor is this: an object storage for tests.
	{pkg: "internal/anchor/s3test", may: none, external: all, test: true},

	// The log.
	{pkg: "internal/seal", may: []string{"evidence", "internal/store"}, external: all},
	{
		pkg:      "internal/ledger",
		may:      []string{"evidence", "verify", "internal/c2sp", "internal/store", "internal/seal"},
		external: all,
	},

	// In: what producers send becomes records.
	{pkg: "internal/runs", may: []string{"evidence", "internal/dialect", "internal/store", "internal/ledger"}, external: all},
	{pkg: "internal/access/oidc", may: []string{"evidence"}, external: all},
	{pkg: "internal/access", may: []string{"evidence", "answer", "internal/problem", "internal/store", "internal/ledger"}, external: all},
	{pkg: "internal/ingest", may: []string{"evidence", "answer", "internal/problem", "internal/store", "internal/dialect", "internal/otlp", "internal/runs", "internal/access", "internal/ledger"}, external: all},

	// Out: what reads never writes, but for the access record of the read.
	{pkg: "internal/report", may: []string{"evidence"}, external: all},
	{
		pkg: "internal/export",
		may: []string{
			"evidence", "answer", "verify", "internal/c2sp", "internal/zipstore", "internal/problem",
			"internal/store", "internal/ledger", "internal/report",
		},
		external: all,
	},
	{
		pkg:      "internal/facade",
		may:      []string{"evidence", "answer", "internal/problem", "internal/store", "internal/ledger"},
		external: all,
	},
	{
		// No authority over logs (contract section 7), see TestNoAuthority.
		pkg:      "internal/replay",
		may:      []string{"evidence", "answer", "internal/problem", "internal/facade"},
		external: []string{canonicalJSON},
	},
	// To its end: where evidence is kept, for how long, and what becomes of it then.
	{pkg: "internal/anchor", may: []string{"evidence", "internal/c2sp", "internal/ledger"}, external: all},
	{
		// Stretches of a log elsewhere. Its S3 is that of anchors.
		pkg:      "internal/archive",
		may:      []string{"evidence", "verify", "internal/c2sp", "internal/zipstore", "internal/store", "internal/anchor"},
		external: all,
	},
	{
		pkg: "internal/lifecycle",
		may: []string{
			"evidence", "verify", "internal/c2sp", "internal/problem", "internal/store", "internal/seal", "internal/ledger",
			"internal/report", "internal/export", "internal/archive",
		},
		external: all,
	},
	{
		// Neither the ledger nor a store: what the routes of the replay API and of
		// the console's adapter read comes from the facade, and what they write goes
		// through ingest, so they have no authority of their own. What administers the
		// life of evidence asks lifecycle, which records what it does.
		pkg: "internal/api",
		may: []string{
			"evidence", "answer", "internal/problem", "internal/access", "internal/ingest", "internal/export", "internal/facade",
			"internal/replay", "internal/lifecycle",
		},
		external: all,
	},
	// What the product claims, as files; and what reads and proves them, a client like
	// any other: it has no way to the ledger but the API.
	{pkg: "registry", may: none, external: none},
	{pkg: "internal/registry", may: []string{"evidence", "client", "internal/c2sp", "registry"}, external: all},
	{pkg: "internal/console", may: []string{"internal/facade", "internal/registry"}, external: all},
	{pkg: "internal/witness", may: []string{"evidence", "verify", "internal/c2sp", "internal/tsp", "internal/ledger"}, external: all},
	{
		pkg:      "internal/transparency",
		may:      []string{"evidence", "answer", "internal/problem", "internal/c2sp", "internal/ledger", "internal/access"},
		external: all,
	},
	{pkg: "internal/mirror", may: []string{"evidence", "verify", "internal/c2sp"}, external: all},
	{pkg: "internal/move", may: []string{"evidence", "internal/c2sp", "internal/store", "internal/seal", "internal/ledger"}, external: all},
	{pkg: "internal/stream", may: []string{"evidence", "internal/store", "internal/ledger"}, external: all},
	{pkg: "internal/producers", may: []string{"evidence", "internal/store", "internal/ledger"}, external: all},

	// The socket between the command line and the process that holds the data.
	{
		pkg: "internal/control",
		may: []string{
			"evidence", "internal/store", "internal/seal", "internal/access", "internal/ledger", "internal/export", "internal/c2sp",
			"internal/producers", "internal/lifecycle",
		},
		external: all,
	},

	// Where everything is joined.
	{pkg: "internal/server", may: all, external: all},
	{pkg: "internal/demo", may: []string{"evidence", "client"}, external: all},
	{pkg: "cmd/runledger", may: all, external: all},

	// Not in the binary: the measuring programs, and this test.
	{pkg: "bench/...", may: all, external: all},
	{pkg: "internal/archtest", may: none, external: none},
}

// drivers are the import paths that speak to a database, each with what is below.
var drivers = []string{
	"database/sql",
	"github.com/jackc/pgx",
	"github.com/lib/pq",
	"github.com/mattn/go-sqlite3",
	"github.com/ncruces/go-sqlite3",
	"github.com/pressly/goose",
	"modernc.org/sqlite",
	"zombiezen.com/go/sqlite",
}

// mayUseDrivers are the packages outside the backends that may: the measuring
// programs compare the ledger with the bare driver.
var mayUseDrivers = []string{"bench/..."}

const maxDepth = 3 // path elements below the module root

// noNames are names that say nothing of what is inside.
var noNames = []string{"common", "helpers", "misc", "models", "pkg", "util", "utils"}

// goPackage is a package with the imports of all its files.
type goPackage struct {
	path        string // import path
	name        string
	imports     []string
	testImports []string // of _test files, of the package itself and of its _test package
}

func TestModule(t *testing.T) {
	pkgs := readModule(t, "../..") // go test runs in the package's own directory
	if len(pkgs) < 2 {
		t.Fatalf("found %d packages; the test looks at the wrong place", len(pkgs))
	}
	for _, problem := range check(rules, pkgs) {
		t.Error(problem)
	}
}

// check returns a sentence for everything in pkgs that the table does not allow.
func check(table []rule, pkgs []goPackage) []string {
	var problems []string
	report := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf(format, args...))
	}
	for _, p := range pkgs {
		path, inside := relative(p.path)
		if !inside {
			report("%s is outside module %s", p.path, module)
			continue
		}
		checkName(path, p.name, report)
		found := matching(table, path)
		if len(found) != 1 {
			report("%s matches %d rows of the table, want exactly one", path, len(found))
			continue
		}
		r := found[0]
		for _, imp := range distinct(p.imports) {
			checkImport(r, path, imp, report)
		}
		if r.backend {
			checkSiblings(table, path, distinct(p.imports, p.testImports), report)
		}
	}
	return problems
}

// distinct returns what several files import once, in order.
func distinct(imports ...[]string) []string {
	sorted := slices.Sorted(slices.Values(slices.Concat(imports...)))
	return slices.Compact(sorted)
}

func checkName(path, name string, report func(string, ...any)) {
	elems := strings.Split(path, "/")
	if len(elems) > maxDepth {
		report("%s is %d elements deep, at most %d", path, len(elems), maxDepth)
	}
	for _, elem := range append(elems, name) {
		if slices.Contains(noNames, elem) {
			report("%s: the name %q says nothing of what is inside", path, elem)
			break
		}
	}
}

func checkImport(r rule, path, imp string, report func(string, ...any)) {
	if slices.ContainsFunc(drivers, func(d string) bool { return within(d, imp) }) &&
		!r.backend && !r.test && !slices.ContainsFunc(mayUseDrivers, func(m string) bool { return matches(m, path) }) {
		report("%s imports the database driver %s; only a backend may", path, imp)
	}
	own, inside := relative(imp)
	switch {
	case inside:
		if m := matching(rules, own); len(m) == 1 && m[0].test && !r.test {
			report("%s imports %s, which is for tests", path, own)
		}
		if !allows(r.may, own, func(a, b string) bool { return a == b }) {
			report("%s may not import %s", path, own)
		}
	case isStandard(imp):
	default:
		if !allows(r.external, imp, within) {
			report("%s may not import %s", path, imp)
		}
	}
}

// checkSiblings sees to it that a backend imports no other backend.
func checkSiblings(table []rule, path string, imports []string, report func(string, ...any)) {
	for _, imp := range imports {
		own, inside := relative(imp)
		if !inside || own == path {
			continue // its own external tests import it
		}
		if m := matching(table, own); len(m) == 1 && m[0].backend {
			report("backend %s imports backend %s", path, own)
		}
	}
}

// relative cuts the module path off; inside is false for a path of another module.
func relative(importPath string) (path string, inside bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func matching(table []rule, path string) []rule {
	var found []rule
	for _, r := range table {
		if matches(r.pkg, path) {
			found = append(found, r)
		}
	}
	return found
}

// matches reports whether path is pattern, or below it where it ends in "/...".
func matches(pattern, path string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return within(dir, path)
	}
	return pattern == path
}

// within reports whether path is dir or below it. A major version suffix of dir
// (pgx/v5) counts as below.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

func allows(list []string, path string, match func(allowed, path string) bool) bool {
	return slices.ContainsFunc(list, func(a string) bool { return a == anything || match(a, path) })
}

// isStandard tells the standard library by its first element, which has no dot.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// TestTable checks the table itself: a misspelt name in it would allow or forbid
// nothing, without anyone noticing.
func TestTable(t *testing.T) {
	for i, r := range rules {
		if len(matching(rules, strings.TrimSuffix(r.pkg, "/..."))) != 1 {
			t.Errorf("%s stands in the table more than once", r.pkg)
		}
		if r.may == nil || r.external == nil {
			t.Errorf("%s: say none where nothing is allowed", r.pkg)
		}
		for _, m := range r.may {
			if m != anything && len(matching(rules[:i], m)) != 1 {
				t.Errorf("%s may import %s, which is no row above it", r.pkg, m)
			}
		}
	}
}
