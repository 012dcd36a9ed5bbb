package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/replay"
)

var update = flag.Bool("update", false, "write the golden file anew")

func newAPI(t *testing.T) (*API, *http.ServeMux) {
	t.Helper()
	mux := http.NewServeMux()
	return New(mux, Config{Facade: &facade.Facade{}, Exports: &export.Exports{}, Replay: &replay.Replay{}, Lifecycle: &lifecycle.Service{}, Version: "0.0.0-golden"}), mux
}

// TestDocument: the document is what it was, so that every change of the API is
// seen in a review.
func TestDocument(t *testing.T) {
	a, mux := newAPI(t)
	const golden = "testdata/openapi.json"
	if *update {
		if err := os.WriteFile(golden, a.Document(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if !bytes.Equal(w.Body.Bytes(), want) {
		t.Errorf("the document is another than in %s; go test ./internal/api -update writes it anew", golden)
	}
	if !bytes.Equal(Describe("0.0.0-golden"), want) {
		t.Error("Describe has another document than a server")
	}
	if w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type %q", w.Header().Get("Content-Type"))
	}
}

// TestDocumentIsComplete: the contract's routes are in it, all schemas compile, every
// reference leads somewhere, and nothing under /api/v1/logs is anything but GET.
func TestDocumentIsComplete(t *testing.T) {
	a, _ := newAPI(t)
	var doc struct {
		OpenAPI    string                                `json:"openapi"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	text := a.Document()
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi %q", doc.OpenAPI)
	}
	const logs = "/api/v1/logs"
	for _, path := range []string{
		logs + "/llm-runs", logs + "/llm-runs/{run_id}/envelope", logs + "/llm-runs/{run_id}/trace", logs + "/llm-runs/{run_id}/governance",
		logs + "/llm-runs/{run_id}/replay", logs + "/llm-runs/{run_id}/export",
		logs + "/system", logs + "/system/{run_id}/snapshot", logs + "/system/{run_id}/telemetry", logs + "/system/{run_id}/events",
		logs + "/system/{run_id}/replay", logs + "/system/audit",
		logs + "/audit", logs + "/audit/identity", logs + "/audit/authorization", logs + "/audit/access", logs + "/audit/integrity", logs + "/audit/exports",
		"/guard/logs", "/guard/logs/{run_id}", "/guard/logs/export",
	} {
		if doc.Paths[path]["get"] == nil {
			t.Errorf("%s is not in the document", path)
		}
	}
	facadeRoutes := 0
	for path, methods := range doc.Paths {
		if !strings.HasPrefix(path, logs) {
			continue
		}
		facadeRoutes++
		for method := range methods {
			if method != "get" {
				t.Errorf("%s %s: there is no way to change a log", method, path)
			}
		}
	}
	if facadeRoutes != 18 {
		t.Errorf("%d routes under %s, want 18", facadeRoutes, logs)
	}
	const url = "https://runledger.test/openapi.json"
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(url, v); err != nil {
		t.Fatal(err)
	}
	for name := range doc.Components.Schemas {
		if _, err := c.Compile(url + "#/components/schemas/" + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPage: the page to read the document shows every operation and shape, and
// loads nothing.
func TestPage(t *testing.T) {
	a, mux := newAPI(t)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/docs", nil))
	page := w.Body.String()
	for _, item := range a.huma.OpenAPI().Paths {
		if item.Get != nil && !strings.Contains(page, `id="`+item.Get.OperationID+`"`) {
			t.Errorf("%s is not on the page", item.Get.OperationID)
		}
	}
	for name := range a.huma.OpenAPI().Components.Schemas.Map() {
		if !strings.Contains(page, `id="`+name+`"`) {
			t.Errorf("shape %s is not on the page", name)
		}
	}
	for _, bad := range []string{"<script", "http://", "https://", "<link", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("policy %q", w.Header().Get("Content-Security-Policy"))
	}
}
