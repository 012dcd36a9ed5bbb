package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// powerless is code that may have no authority over logs (contract section 7):
// it reads as the facade lets its reader read, and writes, if at all, through
// ingest like anybody else.
type powerless struct {
	name  string
	files string // pattern, from the module root; _test files are left out
	// imports are all that it may import.
	imports []string
	// facade are the names of package facade that it may use: none with which it
	// could make a facade of its own.
	facade []string
	// calls, where not nil, are all functions that it may call by a plain name.
	calls []string
	// writes are the interfaces that it declares, each with its methods: the only
	// ways out besides the facade.
	writes map[string][]string
}

var powerlessCode = []powerless{
	{
		name:  "the replay API",
		files: "internal/replay/*.go",
		imports: []string{
			module + "/answer", module + "/evidence", module + "/internal/problem", module + "/internal/facade",
			canonicalJSON, canonicalJSON + "/jsontext",
			"bytes", "cmp", "context", "crypto/rand", "crypto/sha1", "crypto/sha256", "encoding/json", "errors", "fmt", "slices", "strconv", "strings", "time",
		},
		facade: []string{"Facade", "Reader", "Paging", "Window", "AuditFilter"},
		writes: map[string][]string{"Ingest": {"AppendNative"}},
	},
	{
		name:  "the /guard/logs adapter",
		files: "internal/api/guardlogs.go",
		// It puts the facade's own handlers under other paths, for reading.
		imports: []string{},
		calls:   []string{"get"},
	},
}

// TestNoAuthority holds the replay API and the console's adapter to what they
// are.
func TestNoAuthority(t *testing.T) {
	for _, p := range powerlessCode {
		t.Run(p.name, func(t *testing.T) {
			paths, err := filepath.Glob(filepath.Join("../..", filepath.FromSlash(p.files)))
			if err != nil {
				t.Fatal(err)
			}
			paths = slices.DeleteFunc(paths, func(path string) bool { return strings.HasSuffix(path, "_test.go") })
			if len(paths) == 0 {
				t.Fatalf("no file %s: where did it go?", p.files)
			}
			for _, path := range paths {
				file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, problem := range p.check(file) {
					t.Errorf("%s: %s", filepath.Base(path), problem)
				}
			}
		})
	}
}

// check returns a sentence for everything in a file that gives it authority.
func (p powerless) check(file *ast.File) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	facade := ""
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !slices.Contains(p.imports, path) {
			report("it may not import %s", spec.Path.Value)
		}
		if path == module+"/internal/facade" {
			if facade = "facade"; spec.Name != nil {
				facade = spec.Name.Name
			}
		}
	}
	if facade == "." {
		report("it may not take over the names of the facade")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && facade != "" && x.Name == facade && !slices.Contains(p.facade, n.Sel.Name) {
				report("it may not use facade.%s", n.Sel.Name)
			}
		case *ast.TypeSpec:
			if i, ok := n.Type.(*ast.InterfaceType); ok && !slices.Equal(methods(i), p.writes[n.Name.Name]) {
				report("interface %s has the methods %v, and may have %v", n.Name.Name, methods(i), p.writes[n.Name.Name])
			}
		case *ast.CallExpr:
			if p.calls == nil {
				break
			}
			if f, ok := n.Fun.(*ast.Ident); !ok || !slices.Contains(p.calls, f.Name) {
				report("it may call only %v", p.calls)
			}
		}
		return true
	})
	return problems
}

// methods returns the names of an interface's methods; of what it embeds "?".
func methods(i *ast.InterfaceType) []string {
	var names []string
	for _, m := range i.Methods.List {
		if len(m.Names) == 0 {
			names = append(names, "?")
		}
		for _, name := range m.Names {
			names = append(names, name.Name)
		}
	}
	return names
}

// TestNoAuthorityCheck shows that the check can fail.
func TestNoAuthorityCheck(t *testing.T) {
	const head = "package x\n\nimport \"" + module + "/internal/facade\"\n\n"
	for _, tt := range []struct{ name, code, want string }{
		{"reads", head + "func f(a *facade.Facade) { a.Trace() }", ""},
		{"its way out", "package x\n\ntype Ingest interface{ AppendNative() }", ""},
		{"the ledger", "package x\n\nimport \"" + module + "/internal/ledger\"", "it may not import \"" + module + "/internal/ledger\""},
		{"the system", "package x\n\nimport \"os\"", `it may not import "os"`},
		{"a facade of its own", head + "var a = facade.New(facade.Facade{})", "it may not use facade.New"},
		{"under another name", strings.Replace(head, "import ", "import f ", 1) + "var a = f.Config{}", "it may not use facade.Config"},
		{"without a name", strings.Replace(head, "import ", "import . ", 1), "it may not take over the names of the facade"},
		{"another way out", "package x\n\ntype Ingest interface{ AppendNative(); Delete() }", "interface Ingest has the methods [AppendNative Delete], and may have [AppendNative]"},
		{"another interface", "package x\n\ntype Store interface{ Put() }", "interface Store has the methods [Put], and may have []"},
		{"all of another", "package x\n\ntype Ingest interface{ Store }", "interface Ingest has the methods [?], and may have [AppendNative]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := parser.ParseFile(token.NewFileSet(), "x.go", tt.code, 0)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if got := powerlessCode[0].check(file); !slices.Equal(got, want) {
				t.Errorf("check = %q, want %q", got, want)
			}
		})
	}
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n\nfunc f(a *API) { get(a, a.list); post(a); a.cfg.Write() }", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := powerlessCode[1].check(file); len(got) != 2 {
		t.Errorf("check of calls = %q, want two problems", got)
	}
}
