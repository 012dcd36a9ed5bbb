package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/runledger/runledger/internal/registry"
)

// registryScriptCommands are commands of the scripts that are about the registry:
//
//	builtin DIR        writes the built-in registry there
//	glob NAME PATTERN  sets $NAME to the one file that matches; with ! there is none
func registryScriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){"builtin": cmdBuiltin, "glob": cmdGlob}
}

func cmdGlob(ts *testscript.TestScript, neg bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	switch {
	case neg && len(files) > 0 || !neg && len(files) != 1:
		ts.Fatalf("%s: %v", args[1], files)
	case !neg:
		ts.Setenv(args[0], files[0])
	}
}

func cmdBuiltin(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.CopyFS(ts.MkAbs(args[0]), registry.Builtin()))
}

// TestKindsOfFile holds the parsers of the program to the kinds that have a schema.
func TestKindsOfFile(t *testing.T) {
	kinds := registry.Kinds()
	for kind := range parsers {
		if !slices.Contains(kinds, kind) {
			t.Errorf("files of kind %s have no schema", kind)
		}
	}
	for _, f := range builtIn {
		if parsers[f.kind] == nil {
			t.Errorf("%s is of kind %s, which has no parser", f.name, f.kind)
		}
		want, err := os.ReadFile("../../" + f.name)
		if err != nil || !slices.Equal(want, f.text()) {
			t.Errorf("%s is not what is built in: %v", f.name, err)
		}
	}
	for _, kind := range kinds {
		definition := slices.Contains([]string{"intent", "capability", "scenario", "invariants", "rules", "producers"}, kind)
		if (parsers[kind] == nil) != definition {
			t.Errorf("kind %s: a parser is there: %v", kind, !definition)
		}
	}
}
