// Package testneeds is the one rule for what a test needs of its machine and does not
// find there: in CI, that is with CI set in the environment, it fails; elsewhere it is
// skipped, and says so loudly.
package testneeds

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Program returns the path of the first of names that is installed. Without any, t ends
// as Missing says.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, "%s is not installed", names[0])
	return ""
}

// Missing ends t: it fails in CI and is skipped elsewhere. The text says what is missing.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	if os.Getenv("CI") != "" {
		t.Fatalf("%s; CI must have what this test needs", what)
	}
	t.Skipf("SKIPPED LOUDLY: %s, so this was NOT tested", what)
}
