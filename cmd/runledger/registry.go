package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/registry"
)

type registryCmd struct {
	Check   registryCheckCmd   `cmd:"" help:"Check the registry, and the YAML of the program or of one's own."`
	Observe registryObserveCmd `cmd:"" help:"Run scenarios against a server, and write down what they found."`
	Apply   registryApplyCmd   `cmd:"" help:"Change the status of capabilities by what was observed."`
	Project registryProjectCmd `cmd:"" help:"Print panels and statuses as one document."`
}

// registryFlags say which registry.
type registryFlags struct {
	Dir string `help:"The registry's directory. Default: ./registry where there is one, else the registry that is built in." type:"path" env:"RUNLEDGER_REGISTRY" placeholder:"DIR"`
}

// defaultRegistry is where a registry is looked for.
const defaultRegistry = "registry"

// registryAt is a registry that was found.
type registryAt struct {
	fs.FS
	dir  string // "": built in
	name string // for people
}

// find returns the registry that the flags name, the one that is here, or the one that
// is built in.
func (f *registryFlags) find() (*registryAt, error) {
	dir := f.Dir
	if dir == "" {
		if !isDir(filepath.Join(defaultRegistry, "capabilities")) {
			return &registryAt{FS: registry.Builtin(), name: "the built-in registry"}, nil
		}
		dir = defaultRegistry
	}
	if !isDir(dir) {
		return nil, usage("--dir %s: there is no such directory", dir)
	}
	return &registryAt{FS: os.DirFS(dir), dir: dir, name: shortPath(dir)}, nil
}

// writable is find for a command that changes files. It writes the built-in registry
// to a directory that was named and is not there yet.
func (f *registryFlags) writable(e *env) (*registryAt, error) {
	if f.Dir != "" {
		if _, err := os.Stat(f.Dir); errors.Is(err, fs.ErrNotExist) {
			if err := os.CopyFS(f.Dir, registry.Builtin()); err != nil {
				return nil, err
			}
			e.notef("wrote the built-in registry to %s\n", shortPath(f.Dir))
		}
	}
	at, err := f.find()
	if err == nil && at.dir == "" {
		return nil, usage("there is no ./%s here: give --dir; the built-in registry is written to a directory that is not there yet", defaultRegistry)
	}
	return at, err
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// shortPath is a path as a person would type it: from here, where it is below here.
func shortPath(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// path names a file of the registry for people.
func (r *registryAt) path(file string) string {
	if r.dir == "" || file == "" {
		return file
	}
	return filepath.Join(shortPath(r.dir), file)
}

// problems returns the mistakes in files that an error names, as they are printed. What
// is none is returned as an error.
func (r *registryAt) problems(err error) ([]registry.Problem, error) {
	var list []registry.Problem
	for _, p := range registry.Problems(err) {
		list = append(list, registry.Problem{File: r.path(p.File), Line: p.Line, Reason: oneLine(p.Reason)})
	}
	if list == nil {
		return nil, err
	}
	return list, nil
}

// load reads a registry for a command that needs a good one.
func (r *registryAt) load() (*registry.Registry, error) {
	reg, err := registry.Load(r.FS, now())
	list, other := r.problems(err)
	if other != nil {
		return nil, other
	}
	if len(list) > 0 {
		return nil, usage("%s is not well formed: %s (runledger registry check names all of it)", r.name, list[0].Error())
	}
	return reg, nil
}

// verifierKeys returns the keys of the log of the tenant that scenarios run in, as the
// deployment itself says.
func verifierKeys(e *env, s *session) ([]string, error) {
	list, err := s.Keys(e.ctx, evidence.SyntheticTenant)
	if errors.Is(err, evidence.ErrNotFound) {
		return nil, usage("%s has no tenant %s, so nothing was observed there: give the key with --key", e.place(), evidence.SyntheticTenant)
	}
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, k := range list.Keys {
		keys = append(keys, k.VKey)
	}
	return keys, nil
}
