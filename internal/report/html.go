package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the style sheet and the templates
	"encoding/base64"
	"fmt"
	"html"
	"html/template"
)

//go:embed page.css
var style string

//go:embed page.tmpl
var templates string

// blocks has one template for each kind of block; html/template escapes what they say.
var blockTemplates = template.Must(template.New("page").Parse(templates))

// policy allows this style sheet and nothing else: no script, no request, no frame.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}()

func writeHTML(m *Model) ([]byte, error) {
	blocks := compose(m)
	title, subtitle, rows := cover(m)
	var out bytes.Buffer
	fmt.Fprintf(&out, `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="%s">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>%s</title>
<style>%s</style>
</head>
<body>
`, html.EscapeString(policy), html.EscapeString(title+": "+subtitle), style)
	front := struct {
		Title, Subtitle, Checkpoint, Export string
		Rows                                []Fact
		Contents                            []heading
	}{Title: title, Subtitle: subtitle, Checkpoint: short(m.Checkpoint, maxFact), Export: oneLine(short(m.ExportID, 200)), Rows: rows}
	for _, b := range blocks {
		if h, ok := b.(heading); ok && h.Level == 1 {
			front.Contents = append(front.Contents, h)
		}
	}
	if err := blockTemplates.ExecuteTemplate(&out, "front", front); err != nil {
		return nil, err
	}
	open := false
	for _, b := range blocks {
		if h, ok := b.(heading); ok && h.Level == 1 {
			if open {
				out.WriteString("</section>\n")
			}
			out.WriteString("<section>\n")
			open = true
		}
		if err := blockTemplates.ExecuteTemplate(&out, kind(b), b); err != nil {
			return nil, err
		}
	}
	if open {
		out.WriteString("</section>\n")
	}
	if err := blockTemplates.ExecuteTemplate(&out, "back", front); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// kind is the name of a block's template.
func kind(b block) string {
	switch b.(type) {
	case heading:
		return "heading"
	case para:
		return "para"
	case notice:
		return "notice"
	case facts:
		return "facts"
	case verbatim:
		return "verbatim"
	case table:
		return "table"
	case field:
		return "field"
	default:
		return "picture"
	}
}

// The rest is what the template of the drawing asks for.

func (d *drawing) Width() float64  { return drawWidth }
func (d *drawing) Bottom() float64 { return round(d.Height - axisHeight) }
func (d *drawing) Top() float64    { return topHeight }

// Points is the outline of a moment.
func (b bar) Points() string {
	return fmt.Sprintf("%g,%g %g,%g %g,%g %g,%g", round(b.X+b.W/2), round(b.Y), round(b.X+b.W), round(b.Y+b.H/2),
		round(b.X+b.W/2), round(b.Y+b.H), round(b.X), round(b.Y+b.H/2))
}

// TitleY is the baseline of a lane's title.
func (l lane) TitleY() float64 { return round(l.Y + lanePad + 8) }

// TextX keeps the text of an outer tick inside the drawing.
func (t tick) TextX() float64 { return clamp(t.X, 14, drawWidth-14) }

// CenterX does so for the text of the center line.
func (d *drawing) CenterX() float64 { return round(clamp(d.Center, 90, drawWidth-90)) }

// Percent are the widths of the columns.
func (t table) Percent() []float64 {
	out := spread(t.Columns)
	for i := range out {
		out[i] = round(out[i] / drawWidth * 100)
	}
	return out
}

// Class is the style of the column of cell i.
func (t table) Class(i int) string {
	c := t.Columns[i]
	switch {
	case c.Right && c.Whole:
		return "right whole"
	case c.Right:
		return "right"
	case c.Whole:
		return "whole"
	default:
		return ""
	}
}

// Top is the upper edge of the label's ground.
func (l label) Top() float64 { return round(l.Y - 6) }
