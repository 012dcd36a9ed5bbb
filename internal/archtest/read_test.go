package archtest

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	pathpkg "path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readModule returns all packages of the module at root. It reads the sources itself
// rather than asking go list, so that files for every system and build tag count, and
// so that the test cache sees which files the answer depends on.
func readModule(t *testing.T, root string) []goPackage {
	t.Helper()
	byDir := map[string]*goPackage{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && notOfModule(path, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(d.Name(), ".go") || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		if byDir[dir] == nil {
			byDir[dir] = &goPackage{path: pathpkg.Join(module, filepath.ToSlash(dir))}
		}
		return byDir[dir].add(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	var pkgs []goPackage
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		pkgs = append(pkgs, *byDir[dir])
	}
	return pkgs
}

// notOfModule tells directories that go leaves out of "./...", and nested modules.
func notOfModule(path, name string) bool {
	if name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil
}

// add adds the imports of one file. Programs run with "go run file.go" (build tag
// ignore) belong to no package.
func (p *goPackage) add(file string) error {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			if c.Text == "//go:build ignore" {
				return nil
			}
		}
	}
	test := strings.HasSuffix(file, "_test.go")
	p.name = f.Name.Name
	if test {
		p.name = strings.TrimSuffix(p.name, "_test")
	}
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: import %s: %w", file, spec.Path.Value, err)
		}
		if test {
			p.testImports = append(p.testImports, imp)
		} else {
			p.imports = append(p.imports, imp)
		}
	}
	return nil
}

// TestReadModule reads a module with one of everything that must count or must not.
func TestReadModule(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":             "module x",
		"a/a.go":             "package a\n\nimport \"fmt\"\n",
		"a/a_plan9.go":       "package a\n\nimport \"net\"\n",
		"a/tagged.go":        "//go:build rare\n\npackage a\n\nimport \"time\"\n",
		"a/gen.go":           "//go:build ignore\n\npackage main\n\nimport \"os\"\n",
		"a/a_test.go":        "package a_test\n\nimport \"testing\"\n",
		"a/testdata/t.go":    "package t\n\nimport \"os\"\n",
		"nested/go.mod":      "module nested",
		"nested/n.go":        "package nested\n\nimport \"os\"\n",
		".hidden/h.go":       "package hidden\n",
		"cmd/b/main.go":      "package main\n\nimport _ \"x/a\"\n",
		"cmd/b/notes.txt":    "no source",
		"onlytest/o_test.go": "package onlytest\n",
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range readModule(t, root) {
		slices.Sort(p.imports)
		got = append(got, fmt.Sprintf("%s %s%v%v", strings.TrimPrefix(p.path, module+"/"), p.name, p.imports, p.testImports))
	}
	want := []string{"a a[fmt net time][testing]", "cmd/b main[x/a][]", "onlytest onlytest[][]"}
	if !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}
