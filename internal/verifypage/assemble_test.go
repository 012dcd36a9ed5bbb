package verifypage

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
)

var update = flag.Bool("update", false, "write verify.html and verify.html.sha256")

// sources are the scripts in the order in which they stand in the page: each uses
// only what stands before it, but for classes and functions.
var sources = []string{
	"bytes", "sha256", "json", "leaf", "zip", "c2sp", "policy", "manifest", "lines", "check", "pass", "complete", "links", "page",
}

// tableKind is one kind of the closed field tables, as the page has it.
type tableKind struct {
	Name   string        `json:"name"`
	Table  string        `json:"table"`
	Public []tablePublic `json:"public"`
	Sealed []tableSealed `json:"sealed"`
}

type tablePublic struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Enum     []string `json:"enum,omitempty"`
	Optional bool     `json:"optional,omitempty"`
}

type tableSealed struct {
	Path     string `json:"path"`
	Required bool   `json:"required,omitempty"`
}

var typeNames = map[evidence.Type]string{
	evidence.TypeName: "name", evidence.TypeNames: "names", evidence.TypeEnum: "enum", evidence.TypeInt: "int",
	evidence.TypeCount: "count", evidence.TypeBool: "bool", evidence.TypeTime: "time", evidence.TypeInteger: "integer",
	evidence.TypeDecimal: "decimal", evidence.TypeText: "text", evidence.TypeRun: "run", evidence.TypeTraceID: "trace_id",
	evidence.TypeSpanID: "span_id",
}

// tables returns the line that gives the page the fields of all kinds.
func tables(t *testing.T) string {
	t.Helper()
	var kinds []tableKind
	for _, k := range evidence.Kinds() {
		kind := tableKind{Name: k.String(), Table: k.Table()}
		for _, f := range evidence.PublicFields(k) {
			name, ok := typeNames[f.Type]
			if !ok {
				t.Fatalf("the page does not know the type of %s", f.Name)
			}
			kind.Public = append(kind.Public, tablePublic{f.Name, name, f.Enum, f.Optional})
		}
		for _, f := range evidence.SealedFields(k) {
			kind.Sealed = append(kind.Sealed, tableSealed{f.Path, f.Required})
		}
		kinds = append(kinds, kind)
	}
	b, err := json.Marshal(map[string]any{"kinds": kinds})
	if err != nil {
		t.Fatal(err)
	}
	return "// The fields of all kinds of records, from the table that the server has.\nconst tables = " + string(b) + ";\n"
}

func source(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("src", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// assemble puts the page together.
func assemble(t *testing.T) []byte {
	t.Helper()
	var script strings.Builder
	script.WriteString("\n(() => {\n'use strict';\n\n" + tables(t))
	for _, name := range sources {
		script.WriteString("\n" + source(t, name+".js"))
	}
	script.WriteString("})();\n")
	style := "\n" + source(t, "page.css")
	return []byte(strings.NewReplacer(
		"{{script-hash}}", cspHash(script.String()), "{{style-hash}}", cspHash(style),
		"{{script}}", script.String(), "{{style}}", style,
	).Replace(source(t, "page.html")))
}

// cspHash is the hash of an inline element's text in a content security policy.
func cspHash(text string) string {
	h := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(h[:]) + "'"
}

// TestPageIsCurrent: the committed page is what its sources make, with its digest.
func TestPageIsCurrent(t *testing.T) {
	want := assemble(t)
	h := sha256.Sum256(want)
	sum := hex.EncodeToString(h[:]) + "  verify.html\n"
	if *update {
		for name, data := range map[string][]byte{"verify.html": want, "verify.html.sha256": []byte(sum)} {
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	got, err := os.ReadFile("verify.html")
	if err != nil {
		t.Fatal(err)
	}
	gotSum, err := os.ReadFile("verify.html.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) || string(gotSum) != sum {
		t.Error("verify.html or its digest is not what src makes: go generate ./internal/verifypage")
	}
	if !bytes.Equal(HTML(), got) || SHA256() != hex.EncodeToString(h[:]) {
		t.Error("what is compiled in is another page")
	}
}

// TestPageIsSelfContained: nothing in the page names another file or host.
func TestPageIsSelfContained(t *testing.T) {
	text := string(assemble(t))
	for _, s := range []string{"http://", "https://", " src=", "url(", "@import", "fetch(", "XMLHttpRequest", "WebSocket", "innerHTML", "eval(", "import("} {
		if strings.Contains(text, s) {
			t.Errorf("the page has %q", s)
		}
	}
	if !strings.Contains(text, `content="default-src 'none'; `) {
		t.Error("the page has no content security policy, or another")
	}
}
