package archtest

import (
	"slices"
	"strings"
	"testing"
)

// TestCheck shows that the check can fail: one small module for each way.
func TestCheck(t *testing.T) {
	table := []rule{
		{pkg: "pure", may: none, external: []string{"example.org/json"}},
		{pkg: "store/a", may: []string{"pure"}, external: all, backend: true},
		{pkg: "store/b", may: []string{"pure", "store/a"}, external: all, backend: true},
		{pkg: "join", may: all, external: all},
		{pkg: "bench/...", may: all, external: all},
		{pkg: "twice", may: none, external: none},
		{pkg: "twice/...", may: none, external: none},
		{pkg: "x/util", may: none, external: none},
		{pkg: "deep/...", may: none, external: none},
	}
	pkg := func(path string, imports ...string) goPackage {
		return goPackage{path: module + "/" + path, name: path[strings.LastIndex(path, "/")+1:], imports: imports}
	}
	tests := []struct {
		name string
		pkg  goPackage
		want string // empty: allowed
	}{
		{"standard library", pkg("pure", "net/http", "crypto/sha256"), ""},
		{"external in the list", pkg("pure", "example.org/json/jsontext"), ""},
		{"external not in the list", pkg("pure", "example.org/jsonx"), "pure may not import example.org/jsonx"},
		{"package in the list", pkg("store/a", module+"/pure"), ""},
		{"package not in the list", pkg("pure", module+"/join"), "pure may not import join"},
		{"package below one in the list", pkg("store/a", module+"/pure/more"), "store/a may not import pure/more"},
		{"everything", pkg("join", module+"/pure", module+"/store/a", "example.org/any"), ""},
		{"no row", pkg("new"), "new matches 0 rows of the table, want exactly one"},
		{"module root", goPackage{path: module, name: "runledger"}, ". matches 0 rows of the table, want exactly one"},
		{"two rows", pkg("twice"), "twice matches 2 rows of the table, want exactly one"},
		{"driver in a backend", pkg("store/a", "zombiezen.com/go/sqlite/sqlitex"), ""},
		{"driver in a measurement", pkg("bench/insert", "zombiezen.com/go/sqlite"), ""},
		{"driver elsewhere", pkg("join", "github.com/jackc/pgx/v5"), "join imports the database driver github.com/jackc/pgx/v5; only a backend may"},
		{"standard driver elsewhere", pkg("join", "database/sql"), "join imports the database driver database/sql; only a backend may"},
		{"backend imports backend", pkg("store/b", module+"/store/a"), "backend store/b imports backend store/a"},
		{
			"backend's own external test",
			goPackage{path: module + "/store/a", name: "a", testImports: []string{module + "/store/a"}},
			"",
		},
		{
			"backend's test imports backend",
			goPackage{path: module + "/store/a", name: "a", testImports: []string{module + "/store/b"}},
			"backend store/a imports backend store/b",
		},
		{
			"test imports are free",
			goPackage{path: module + "/pure", name: "pure", testImports: []string{module + "/join", "example.org/any", "database/sql"}},
			"",
		},
		{"path says nothing", pkg("x/util"), `x/util: the name "util" says nothing of what is inside`},
		{"name says nothing", goPackage{path: module + "/pure", name: "common"}, `pure: the name "common" says nothing of what is inside`},
		{"three deep", pkg("deep/b/c"), ""},
		{"four deep", pkg("deep/b/c/d"), "deep/b/c/d is 4 elements deep, at most 3"},
		{"outside", goPackage{path: "example.org/other", name: "other"}, "example.org/other is outside module " + module},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if got := check(table, []goPackage{tt.pkg}); !slices.Equal(got, want) {
				t.Errorf("check = %q, want %q", got, want)
			}
		})
	}
}
