package api

import (
	"bytes"
	_ "embed" // the page
	"html/template"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// pageData is what the page shows.
type pageData struct {
	Version  string
	Intro    []string
	Sections []pageSection
	Shapes   []pageShape
}

type pageSection struct {
	Name, Description string
	Operations        []pageOperation
}

type pageOperation struct {
	ID, Method, Path, Summary, Description string
	Public                                 bool
	Parameters                             []pageField
	Answer, AnswerText                     string
}

type pageField struct {
	Name, In, Type, Ref, Doc string
	Required                 bool
}

type pageShape struct {
	Name, Doc string
	Fields    []pageField
}

// page makes the page: it stands alone, without scripts.
func (a *API) page() []byte {
	doc := a.huma.OpenAPI()
	data := pageData{Version: doc.Info.Version, Intro: strings.Split(doc.Info.Description, "\n\n")}
	for _, tag := range doc.Tags {
		s := pageSection{Name: tag.Name, Description: tag.Description, Operations: operationsOf(doc, tag.Name)}
		if len(s.Operations) > 0 {
			data.Sections = append(data.Sections, s)
		}
	}
	schemas := doc.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		data.Shapes = append(data.Shapes, shapeOf(name, schemas[name]))
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, data); err != nil {
		panic("api: " + err.Error()) // template and data are of the program
	}
	return out.Bytes()
}

func operationsOf(doc *huma.OpenAPI, tag string) []pageOperation {
	var ops []pageOperation
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil || !slices.Contains(op.Tags, tag) {
				continue
			}
			p := pageOperation{
				ID: op.OperationID, Method: op.Method, Path: path, Summary: op.Summary, Description: op.Description,
				Public: op.Security != nil && len(op.Security) == 0,
			}
			for _, q := range op.Parameters {
				f := fieldOf(q.Name, q.Schema)
				f.In, f.Required = q.In, q.Required
				if q.Description != "" {
					f.Doc = q.Description
				}
				p.Parameters = append(p.Parameters, f)
			}
			p.Answer, p.AnswerText = answerOf(op)
			ops = append(ops, p)
		}
	}
	sort.Slice(ops, func(i, j int) bool {
		if ops[i].Path != ops[j].Path {
			return ops[i].Path < ops[j].Path
		}
		return ops[i].Method < ops[j].Method
	})
	return ops
}

// answerOf returns the shape of an operation's good answer.
func answerOf(op *huma.Operation) (shape, text string) {
	for _, status := range []string{"200", "201", "202"} {
		r := op.Responses[status]
		if r == nil {
			continue
		}
		for _, m := range r.Content {
			if m.Schema != nil && m.Schema.Ref != "" {
				return refName(m.Schema.Ref), ""
			}
		}
		return "", r.Description
	}
	return "", ""
}

func refName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

func shapeOf(name string, s *huma.Schema) pageShape {
	shape := pageShape{Name: name, Doc: s.Description}
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		shape.Fields = append(shape.Fields, fieldOf(field, s.Properties[field]))
	}
	return shape
}

func fieldOf(name string, s *huma.Schema) pageField {
	f := pageField{Name: name}
	if s == nil {
		return f
	}
	f.Doc, f.Type = s.Description, s.Type
	switch {
	case s.Ref != "":
		f.Ref = refName(s.Ref)
	case s.Type == huma.TypeArray && s.Items != nil && s.Items.Ref != "":
		f.Type, f.Ref = "list of ", refName(s.Items.Ref)
	case s.Type == huma.TypeArray && s.Items != nil:
		f.Type = "list of " + s.Items.Type
	case s.Format != "":
		f.Type = s.Format
	}
	if len(s.Enum) > 0 {
		var values []string
		for _, v := range s.Enum {
			if text, ok := v.(string); ok {
				values = append(values, text)
			}
		}
		f.Type = strings.Join(values, " | ")
	}
	if s.Nullable {
		f.Type += " or null"
	}
	return f
}
