package answer

import (
	"bytes"
	"encoding/json"
)

// Reasons why sealed content is not shown.
const (
	NotPermitted = "not_permitted"
	Erased       = "erased"
	Expired      = "expired"
	NotCaptured  = "not_captured"
)

// Content is a sealed value: its exact JSON text, or why it is not shown. The
// zero value is content that was not captured.
type Content struct {
	Value    json.RawMessage // nil where withheld
	Withheld *Withheld
}

// Withheld stands in the place of sealed content (contract section 3). It is
// never an empty value.
type Withheld struct {
	Withheld   bool    `json:"withheld" doc:"Always true."`
	Commitment *string `json:"commitment" doc:"The commitment in the leaf; null where nothing was captured."`
	Reason     string  `json:"reason" enum:"not_permitted,erased,expired,not_captured"`
}

// Shown returns content that is shown.
func Shown(value []byte) Content { return Content{Value: value} }

// WithheldFor returns content that is not shown. commitment is "" where there
// is none.
func WithheldFor(reason, commitment string) Content {
	w := &Withheld{Withheld: true, Reason: reason}
	if commitment != "" {
		w.Commitment = &commitment
	}
	return Content{Withheld: w}
}

// Text returns the text of content that is a JSON string, or "".
func (c Content) Text() string {
	var s string
	if c.Value == nil || json.Unmarshal(c.Value, &s) != nil {
		return ""
	}
	return s
}

// MarshalJSON writes the value verbatim, or the withheld form.
func (c Content) MarshalJSON() ([]byte, error) {
	switch {
	case c.Value != nil:
		return c.Value, nil
	case c.Withheld != nil:
		return json.Marshal(c.Withheld)
	}
	return json.Marshal(Withheld{Withheld: true, Reason: NotCaptured})
}

// UnmarshalJSON reads either form. A value that has exactly the members of the
// withheld form is read as one: who must tell them apart looks at the leaf.
func (c *Content) UnmarshalJSON(b []byte) error {
	*c = Content{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var w Withheld
	if err := d.Decode(&w); err == nil && w.Withheld && w.Reason != "" {
		c.Withheld = &w
		return nil
	}
	c.Value = append(json.RawMessage(nil), b...)
	return nil
}
