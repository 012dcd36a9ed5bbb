package storerig

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Template is a deployment that is made once for the tests of a package, and copied for
// each: most of what a test of it costs is the making of its database. Its parts are the
// directories data and anchor. The zero value is not made yet.
type Template struct {
	once sync.Once
	dir  string
}

// Copy returns a directory with a copy of the deployment, which build makes in an empty
// one and leaves closed; master is the path of its keyset within.
func (p *Template) Copy(t testing.TB, master string, build func(dir string)) string {
	t.Helper()
	p.once.Do(func() {
		var err error
		if p.dir, err = os.MkdirTemp("", "template"); err != nil {
			t.Fatal(err)
		}
		build(p.dir)
	})
	dir := t.TempDir()
	for _, part := range []string{"data", "anchor"} {
		if err := Copy(filepath.Join(dir, part), filepath.Join(p.dir, part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, master), 0o600); err != nil { // copies are for everybody
		t.Fatal(err)
	}
	return dir
}

// Run runs the tests of a package and removes the template. It returns their status.
func (p *Template) Run(m *testing.M) int {
	defer func() {
		if p.dir != "" {
			_ = os.RemoveAll(p.dir)
		}
	}()
	return m.Run()
}
