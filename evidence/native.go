package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// member is one member of a native record, its value verbatim.
type member struct {
	name  string
	value jsontext.Value
}

// ParseNative reads one native record: a flat JSON object (contract.md
// section 10), with defaults put in and everything checked. The record is
// for a tenant's log; facts that only the server may state are refused.
// Errors are [*FieldError]s that name the field.
func ParseNative(line []byte) (*Record, error) {
	members, err := readMembers(line)
	if err != nil {
		return nil, err
	}
	r := &Record{}
	kind := ""
	for _, m := range members {
		if m.name == "kind" {
			if kind, err = m.text(); err != nil {
				return nil, err
			}
		}
	}
	if kind == "" {
		return nil, invalid("kind", "is required")
	}
	r.Kind = ParseKind(kind)
	if r.Kind == 0 || r.Kind == KindExport {
		return nil, invalid("kind", "%q is not a kind that can be appended", kind)
	}
	occurred := false
	for _, m := range members {
		if err := r.setMember(m); err != nil {
			return nil, err
		}
		occurred = occurred || m.name == "occurred_at"
	}
	if !occurred {
		return nil, invalid("occurred_at", "is required")
	}
	for _, f := range PublicFields(r.Kind) {
		if f.Required && !r.has(f.Name) {
			return nil, invalid(f.Name, "is required")
		}
	}
	if ServerOnly(r.Kind, r.Text("event_type")) {
		return nil, invalid("event_type", "%s is a fact that only the server may state", r.Text("event_type"))
	}
	if r.isIdentity() {
		for _, m := range members {
			if m.name == "entity_id" {
				r.SetSealed("/entity_id", m.value) // verbatim
			}
		}
	}
	if err := r.Complete(); err != nil {
		return nil, err
	}
	r.Content = content(members)
	return r, nil
}

func readMembers(line []byte) ([]member, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(line))
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, syntaxError(err)
	}
	if tok.Kind() != '{' {
		return nil, invalid("record", "must be a JSON object")
	}
	var members []member
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, syntaxError(err)
		}
		name := tok.String()
		v, err := dec.ReadValue()
		if err != nil {
			return nil, invalid(quoteField(name), "%s", syntaxReason(err))
		}
		members = append(members, member{name, v.Clone()})
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntaxError(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, invalid("record", "has text after its JSON object")
	}
	return members, nil
}

// quoteField keeps a producer's odd field name harmless in messages.
func quoteField(name string) string {
	if FitName(name) {
		return name
	}
	return strconv.Quote(name)
}

func syntaxError(err error) error {
	var at *jsontext.SyntacticError
	if errors.As(err, &at) && errors.Is(at.Err, jsontext.ErrDuplicateName) {
		return invalid(quoteField(at.JSONPointer.LastToken()), "stands twice")
	}
	return invalid("record", "%s", syntaxReason(err))
}

func syntaxReason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return "is not complete JSON"
	}
	return "is not valid JSON: " + strings.TrimPrefix(err.Error(), "jsontext: ")
}

// content is the text of the content MAC: the members verbatim in JCS order.
func content(members []member) []byte {
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	out := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, QuoteJSON(m.name)...)
		out = append(append(out, ':'), m.value...)
	}
	return append(out, '}')
}

func (r *Record) setMember(m member) error {
	switch m.name {
	case "kind":
		return nil
	case "id":
		s, err := m.text()
		if err != nil {
			return err
		}
		id, ok := ParseID(s)
		if !ok || id == (ID{}) { // a zero ID stands for none
			return invalid("id", "must be a UUID in lower case, not all zeros")
		}
		r.ID = id
		return nil
	case "occurred_at":
		t, err := m.time()
		r.OccurredAt = t
		return err
	case "run_id":
		s, err := m.text()
		r.Run = s
		if err == nil && s == "" {
			err = invalid("run_id", "must not be empty")
		}
		return err
	case "human_actor_id":
		s, err := m.text()
		if err != nil {
			return err
		}
		if s == "" {
			return invalid("human_actor_id", "must not be empty")
		}
		r.SetHumanActor(s) // written anew, so that a person is found whatever the escapes
		return nil
	case "log", "seq", "n":
		return setByServer(m.name)
	}
	if f := PublicField(r.Kind, m.name); f != nil {
		return r.setNativeFact(f, m)
	}
	if s := Sealed(r.Kind, "/"+m.name); s != nil && s.Shape != ShapeActor {
		r.SetSealed(s.Path, m.value)
		return nil
	}
	return invalid(quoteField(m.name), "is not a field of %s records", r.Kind)
}

func setByServer(name string) error {
	return invalid(name, "is set by the server and cannot be sent")
}

func (r *Record) setNativeFact(f *Field, m member) error {
	if f.Owner == Server {
		return setByServer(f.Name)
	}
	switch f.Type {
	case TypeInt, TypeCount:
		n, err := m.integer()
		if err != nil {
			return err
		}
		r.SetInt(f.Name, n)
	case TypeBool:
		if k := m.value.Kind(); k != 't' && k != 'f' {
			return invalid(f.Name, "must be true or false")
		}
		r.SetBool(f.Name, m.value.Kind() == 't')
	case TypeTime:
		t, err := m.time()
		if err != nil {
			return err
		}
		r.SetInt(f.Name, int64(t))
	case TypeNames:
		return r.setNativeNames(f, m)
	default:
		s, err := m.text()
		if err != nil {
			return err
		}
		if s == "" {
			return invalid(f.Name, "must not be empty")
		}
		r.SetText(f.Name, s)
		if r.SealedJSON("/"+f.Name) != nil {
			r.SetSealed("/"+f.Name, m.value) // verbatim
		}
	}
	return nil
}

func (r *Record) setNativeNames(f *Field, m member) error {
	bad := invalid(f.Name, "must be an array of strings that are not empty")
	dec := jsontext.NewDecoder(bytes.NewReader(m.value))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '[' {
		return bad
	}
	names := []string{}
	for dec.PeekKind() != ']' {
		tok, err := dec.ReadToken()
		if err != nil || tok.Kind() != '"' || tok.String() == "" {
			return bad
		}
		if strings.IndexByte(tok.String(), 0) >= 0 {
			return hasNUL(f.Name)
		}
		names = append(names, tok.String())
	}
	r.SetNames(f.Name, names)
	if r.SealedJSON("/"+f.Name) != nil {
		r.SetSealed("/"+f.Name, m.value)
	}
	return nil
}

func (m *member) text() (string, error) {
	s, ok := unquote(m.value)
	if !ok {
		return "", invalid(m.name, "must be a string")
	}
	if strings.IndexByte(s, 0) >= 0 {
		return "", hasNUL(m.name)
	}
	return s, nil
}

func hasNUL(name string) error { return invalid(name, "has a NUL character") }

func (m *member) time() (Micros, error) {
	s, ok := unquote(m.value)
	if !ok {
		return 0, invalid(m.name, "must be a time in a string, in RFC 3339 form")
	}
	return parseProducerTime(m.name, s)
}

func (m *member) integer() (int64, error) {
	if m.value.Kind() != '0' {
		return 0, invalid(m.name, "must be an integer")
	}
	n, err := strconv.ParseInt(string(m.value), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, invalid(m.name, "must be an integer without fraction or exponent")
	}
	if err != nil || n > MaxInt || n < -MaxInt {
		return 0, invalid(m.name, "is beyond ±(2^53−1)")
	}
	return n, nil
}

// LineError is an error at one line of NDJSON input, counted from 1.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the error of the line.
func (e *LineError) Unwrap() error { return e.Err }

// ParseNDJSON reads native records, one a line; empty lines are skipped. It
// returns all records, or all the errors ([*LineError]) joined, so that a
// producer can mend a batch in one go.
func ParseNDJSON(data []byte) ([]*Record, error) {
	var records []*Record
	var errs []error
	for n := 1; len(data) > 0; n++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		r, err := ParseNative(line)
		if err != nil {
			errs = append(errs, &LineError{n, err})
			continue
		}
		records = append(records, r)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return records, nil
}
