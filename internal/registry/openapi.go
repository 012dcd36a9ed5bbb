package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/runledger/runledger/evidence"
)

const (
	documentPath = "/openapi.json"
	typeJSON     = "application/json"
	// documentURL names the document within the compiler. Nothing is fetched from it.
	documentURL = "https://runledger.invalid/openapi.json"
)

// served is what a server says that it answers to GET: its OpenAPI document. It is not
// changed after it was read.
type served struct {
	version string // of the server
	paths   map[string]bool
	schemas map[string]*jsonschema.Schema // of the answer with status 200, by path
}

// readServed reads an OpenAPI document (a JSON value), and compiles the schemas of these paths where it
// has them. Its errors wrap evidence.ErrInvalid.
func readServed(document any, paths []string) (*served, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("%w: OpenAPI document: %w", evidence.ErrInvalid, err)
	}
	var doc struct {
		Info  struct{ Version string }
		Paths map[string]struct {
			Get *struct {
				Responses map[string]struct {
					Content map[string]struct{ Schema json.RawMessage }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%w: OpenAPI document: %w", evidence.ErrInvalid, err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(nothingElse{})
	if err := c.AddResource(documentURL, document); err != nil {
		return nil, fmt.Errorf("%w: OpenAPI document: %w", evidence.ErrInvalid, err)
	}
	s := &served{version: doc.Info.Version, paths: map[string]bool{}, schemas: map[string]*jsonschema.Schema{}}
	for path, item := range doc.Paths {
		s.paths[path] = item.Get != nil
	}
	for _, path := range paths {
		if !s.paths[path] || doc.Paths[path].Get.Responses["200"].Content[typeJSON].Schema == nil {
			continue
		}
		if s.schemas[path], err = c.Compile(documentURL + pointer("paths", path, "get", "responses", "200", "content", typeJSON, "schema")); err != nil {
			return nil, fmt.Errorf("%w: OpenAPI document: schema of %s: %w", evidence.ErrInvalid, path, err)
		}
	}
	return s, nil
}

// nothingElse is a loader for documents of others: a reference that leads out of them,
// such as to a file, leads nowhere.
type nothingElse struct{}

func (nothingElse) Load(string) (any, error) {
	return nil, errors.New("a reference that leads out of the document")
}

// pointer returns the fragment of a URL that is a JSON Pointer.
func pointer(tokens ...string) string {
	var b strings.Builder
	b.WriteByte('#')
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(t)))
	}
	return b.String()
}

// mismatch says in which way an answer is not as the document says, "" where it is.
// Nothing of the answer but names of members is in it.
func (s *served) mismatch(path string, a *reply) string {
	media, _, _ := mime.ParseMediaType(a.contentType)
	switch {
	case a.status != http.StatusOK:
		return fmt.Sprintf("the status is %d, and not 200", a.status)
	case media != typeJSON:
		return fmt.Sprintf("Content-Type is %q, and not %s", cut(a.contentType), typeJSON)
	case a.notJSON != nil:
		return "the answer is no JSON"
	case s.schemas[path] == nil:
		return "the server's OpenAPI document has no schema of the answer"
	}
	return safely(func() string {
		err := s.schemas[path].Validate(a.value)
		if err == nil {
			return ""
		}
		if ve := (*jsonschema.ValidationError)(nil); errors.As(err, &ve) {
			return atFault(ve)
		}
		return "the answer is not as its schema says"
	})
}

// atFault says where an answer breaks its schema, by the first of the causes.
func atFault(ve *jsonschema.ValidationError) string {
	for len(ve.Causes) > 0 {
		ve = ve.Causes[0]
	}
	place := placeOf(ve.InstanceLocation)
	switch k := ve.ErrorKind.(type) {
	case *kind.Required:
		return cut(fmt.Sprintf("%s has no %s", place, strings.Join(k.Missing, ", ")))
	case *kind.AdditionalProperties:
		return cut(fmt.Sprintf("%s has %s, which the schema does not know", place, strings.Join(k.Properties, ", ")))
	case *kind.Type:
		return cut(fmt.Sprintf("%s is %s, and not %s", place, k.Got, strings.Join(k.Want, " or ")))
	}
	return cut(fmt.Sprintf("%s breaks %s", place, strings.Join(ve.ErrorKind.KeywordPath(), "/")))
}

// placeOf writes tokens of a JSON Pointer as a path: $.items[3].name.
func placeOf(tokens []string) string {
	var b strings.Builder
	b.WriteByte('$')
	for _, t := range tokens {
		if _, err := strconv.ParseUint(t, 10, 64); err == nil {
			b.WriteString("[" + t + "]")
			continue
		}
		b.WriteString(member(t))
	}
	return b.String()
}
