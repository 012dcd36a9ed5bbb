package pgtest

import (
	"path/filepath"
	"testing"
)

// Program returns the path of one of PostgreSQL's programs, such as pg_dump, of the
// version that clusters are made with.
func Program(t testing.TB, name string) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		missing(t, err)
	}
	return filepath.Join(dir, name)
}
