package registry

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testNow is when the registry is checked.
var testNow = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// apiGolden is the OpenAPI document of the server, as its own test keeps it.
const apiGolden = "../api/testdata/openapi.json"

func loaded(t *testing.T, fsys fs.FS) *Registry {
	t.Helper()
	r, err := Load(fsys, testNow)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestBuiltin checks the registry that is shipped, also against the server's API.
func TestBuiltin(t *testing.T) {
	r := loaded(t, Builtin())
	if len(r.Intents) != 15 || len(r.Capabilities) != 3 || len(r.Scenarios) != 19 || len(r.Invariants) != 16 {
		t.Errorf("%d intents, %d capabilities, %d scenarios, %d invariants", len(r.Intents), len(r.Capabilities), len(r.Scenarios), len(r.Invariants))
	}
	if !strings.HasPrefix(r.Digest, "sha256:") || len(r.Digest) != 71 {
		t.Errorf("digest %q", r.Digest)
	}
	text, err := os.ReadFile(apiGolden)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CheckAPI(text); err != nil {
		t.Error(err)
	}
	// What is embedded is what is there.
	if disk := loaded(t, os.DirFS("../../registry")); disk.Digest != r.Digest {
		t.Error("what is embedded is not what is on disk")
	}
}

// TestFilesOfProject checks the project's other YAML: where one does not fit its schema,
// the schema is wrong.
func TestFilesOfProject(t *testing.T) {
	for kind, file := range map[string]string{
		"rbac":     "../access/RBAC_RULES.yaml",
		"prices":   "../prices/prices.yaml",
		"dialects": "../dialect/dialects.yaml",
		"controls": "../export/controls.yaml",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckFile(kind, file, text, testNow); err != nil {
			t.Error(err)
		}
	}
}

// TestExamplesOfDocs checks the first file that a page of the documentation shows.
func TestExamplesOfDocs(t *testing.T) {
	for kind, page := range map[string]string{"streams": "streaming.md", "oidc": "access.md", "gateway": "configuration.md"} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "```yaml\n")
		example, _, found := strings.Cut(rest, "```")
		if !found {
			t.Fatalf("%s has no example", page)
		}
		if err := CheckFile(kind, page, []byte(example), testNow); err != nil {
			t.Error(err)
		}
	}
}

// copyOf returns the registry that is shipped as files that can be changed.
func copyOf(t *testing.T) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	err := fs.WalkDir(Builtin(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(Builtin(), path)
		out[path] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// edit puts text in the place of other text, which must be there.
func edit(t *testing.T, files fstest.MapFS, file, old, by string) {
	t.Helper()
	text := string(files[file].Data)
	if !strings.Contains(text, old) {
		t.Fatalf("%s has no %q", file, old)
	}
	files[file] = &fstest.MapFile{Data: []byte(strings.Replace(text, old, by, 1))}
}

// lineOf returns the number of the first line of a file that has a text, "" for 0.
func lineOf(t *testing.T, files fstest.MapFS, file, text string) int {
	t.Helper()
	if text == "" {
		return 0
	}
	for i, line := range strings.Split(string(files[file].Data), "\n") {
		if strings.Contains(line, text) {
			return i + 1
		}
	}
	t.Fatalf("%s has no line with %q", file, text)
	return 0
}

func TestDigestOfDefinition(t *testing.T) {
	const (
		capability = "capabilities/AURORA_L2_CAPABILITY_logs.audit.yaml"
		intent     = "intents/AURORA_L2_INTENT_LOG-REC-AUD-O4.yaml"
		scenario   = "scenarios/SDSR-LOG-AUD-001.yaml"
	)
	base := loaded(t, copyOf(t)).Digest
	for _, tt := range []struct {
		name, file, old, by string
		same                bool
	}{
		{"a scenario", scenario, "title: A log", "title: The log", false},
		{"a comment in a scenario", scenario, "title:", "# Why.\ntitle:", false},
		{"rules", rulesPath, "24h", "25h", false},
		{"an intent", intent, "name: Integrity", "name: Intactness", false},
		{"a comment in an intent", intent, "display:", "# How.\ndisplay:", true},
		{"acceptance", capability, "acceptance:\n", "acceptance:\n  - One more.\n", false},
		{"a note of what was observed", capability, "observation: null", "observation: ~", true},
		{"a schema", "schemas/intent.schema.json", "{", "{ ", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := copyOf(t)
			edit(t, files, tt.file, tt.old, tt.by)
			if got := loaded(t, files).Digest; (got == base) != tt.same {
				t.Errorf("the digest is the same: %v", got == base)
			}
		})
	}
	t.Run("a status", func(t *testing.T) {
		files := copyOf(t)
		observed(t, files)
		r := loaded(t, files)
		if r.Digest != base {
			t.Error("the digest changed with the status")
		}
		if diff := cmp.Diff(Observed, r.Capabilities[0].Status); diff != "" {
			t.Error(diff)
		}
	})
}

// observed makes logs.audit observed, as Apply does.
func observed(t *testing.T, files fstest.MapFS) {
	t.Helper()
	const file = "capabilities/AURORA_L2_CAPABILITY_logs.audit.yaml"
	digest := "sha256:" + strings.Repeat("ab", 32)
	edit(t, files, file, "status: DECLARED", "status: OBSERVED")
	edit(t, files, file, "observation: null", `observation:
  id: 00000000-0000-8000-8000-000000000001
  digest: `+digest+`
  registry: `+digest+`
  log: example.org/log/1
  leaf_index: 7
  observed_at: 2026-11-30T11:00:00.000000Z
  passed: true`)
	edit(t, files, file, "passing: null", "passing: {count: 1, since: 2026-11-30T11:00:00.000000Z}")
	edit(t, files, file, "history: []", `history:
  - at: 2026-11-30T11:00:00.000000Z
    from: DECLARED
    to: OBSERVED
    reason: 6 of 6 scenarios passed
    observation: `+digest)
	for file := range files {
		if strings.HasPrefix(file, "intents/AURORA_L2_INTENT_LOG-REC-AUD-") {
			edit(t, files, file, "status: DECLARED", "status: OBSERVED")
			edit(t, files, file, "verified: false", "verified: true")
		}
	}
}
