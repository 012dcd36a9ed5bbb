package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/replay"
)

// Document returns the OpenAPI 3.1 document, indented.
func (a *API) Document() []byte {
	compact, err := a.huma.OpenAPI().MarshalJSON()
	if err != nil {
		panic("api: " + err.Error()) // made from types of the program
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		panic("api: " + err.Error())
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// Describe returns the document of a program of that version, without a deployment
// behind it.
func Describe(version string) []byte {
	return New(http.NewServeMux(), Config{
		Facade: &facade.Facade{}, Exports: &export.Exports{}, Replay: &replay.Replay{}, Lifecycle: &lifecycle.Service{}, Version: version,
	}).Document()
}

// finish makes good what the generator of schemas does not know.
func (a *API) finish() {
	for _, s := range a.huma.OpenAPI().Components.Schemas.Map() {
		for name, p := range s.Properties {
			if p.Nullable && len(p.Enum) > 0 && p.Enum[len(p.Enum)-1] != nil {
				p.Enum = append(p.Enum, nil)
			}
			if name == "divergence" && p.Ref != "" {
				s.Properties[name] = &huma.Schema{AnyOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}, Description: p.Description}
			}
		}
	}
}

// contentSchema is the schema of answer.Content.
type contentSchema struct{}

// Schema implements huma.SchemaProvider.
func (contentSchema) Schema(r huma.Registry) *huma.Schema {
	const name = "Content"
	if r.Map()[name] == nil {
		withheld := r.Schema(reflect.TypeFor[answer.Withheld](), true, "")
		r.Map()[name] = &huma.Schema{
			Description: "Sealed content: any JSON value as it was recorded, or, where it is not shown, the withheld form.",
			AnyOf:       []*huma.Schema{withheld, {}},
		}
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// document serves the document and its page. They are made when somebody asks: no
// command does, and making them takes longer than most commands do.
func (a *API) document() {
	a.finish()
	doc, page := sync.OnceValue(a.Document), sync.OnceValue(a.page)
	a.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc()) // a client that is gone needs no answer
	})
	a.mux.HandleFunc("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		_, _ = w.Write(page())
	})
}
