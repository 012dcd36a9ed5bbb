package client

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/runledger/runledger/evidence"
)

// item is a record that is ready to be sent.
type item struct {
	json []byte
	id   string // empty where the server makes it from the natural key
}

// encode returns the native form of a record, with an id if it needs one.
func (c *Client) encode(r Record) (item, error) {
	switch r := r.(type) {
	case nil:
		return item{}, errors.New("the record is nil")
	case Raw:
		return encodeRaw(r)
	case *Raw:
		return encodeRaw(*r)
	default:
		return c.encodeTyped(r)
	}
}

// encodeRaw checks the text as far as the batch around it needs: a record that
// is not one JSON object would spoil the others. What it says is the server's to
// judge.
func encodeRaw(r Raw) (item, error) {
	text := bytes.TrimSpace(r)
	if len(text) == 0 || text[0] != '{' {
		return item{}, errors.New("must be a JSON object")
	}
	if err := evidence.CheckJSON(text); err != nil {
		return item{}, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return item{}, err
	}
	if id, ok := members["id"]; ok {
		return item{json: text, id: text1(id)}, nil
	}
	_, hasSpan := members["span_id"]
	if natural(text1(members["kind"]), hasSpan) {
		return item{json: text}, nil
	}
	id := newID(time.Now())
	out := append([]byte(`{"id":"`), id...)
	out = append(out, '"')
	if rest := bytes.TrimSpace(text[1:]); rest[0] != '}' {
		out = append(out, ',')
	}
	return item{json: append(out, text[1:]...), id: id}, nil
}

// text1 returns the content of a JSON string, or "".
func text1(v json.RawMessage) string {
	var s string
	_ = json.Unmarshal(v, &s) // not a string: the server says so
	return s
}

// natural reports whether the id of such a record follows from its natural key,
// so that no other may be sent (fields.md, "Natural ids").
func natural(kind string, hasSpan bool) bool {
	switch evidence.ParseKind(kind) {
	case evidence.KindTrace, evidence.KindLLMRun:
		return true
	case evidence.KindTraceStep:
		return hasSpan
	default:
		return false
	}
}

// newID returns a UUID of version 7 (RFC 9562): a time, so that ids of one time
// lie together in the server's index, and 74 random bits.
func newID(now time.Time) string {
	var id evidence.ID
	_, _ = rand.Read(id[:]) // it never fails
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

func (c *Client) encodeTyped(r Record) (item, error) {
	v := reflect.ValueOf(r)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return item{}, errors.New("the record is nil")
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || v.Type().PkgPath() != reflect.TypeFor[Common]().PkgPath() {
		return item{}, fmt.Errorf("%T only embeds a record", r)
	}
	common := v.FieldByName("Common").Interface().(Common)
	w := nativeWriter{buf: []byte(`{"kind":"` + r.kind() + `"`)}
	if common.ID == "" {
		span := v.FieldByName("SpanID")
		if !natural(r.kind(), span.IsValid() && !span.IsZero()) {
			common.ID = newID(time.Now())
			w.put("id", common.ID)
		}
	}
	if common.OccurredAt.IsZero() {
		w.put("occurred_at", evidence.MicrosOf(time.Now()))
	}
	if common.SourceDomain == "" {
		w.put("source_domain", domainOf(r))
	}
	if common.SourceComponent == "" {
		w.put("source_component", c.cfg.Component)
	}
	if r.kind() == evidence.KindAudit.String() {
		w.put("actor_type", evidence.ActingType(common.HumanActorID, common.AgentID))
	}
	w.putStruct(v)
	if w.err != nil {
		return item{}, w.err
	}
	return item{json: append(w.buf, '}'), id: common.ID}, nil
}

func domainOf(r Record) string {
	switch r.kind() {
	case evidence.KindSystem.String():
		return "SYSTEM"
	case evidence.KindAudit.String():
		return "POLICY"
	default:
		return "ACTIVITY"
	}
}

// nativeWriter writes the members of a native record. Its first error stays.
type nativeWriter struct {
	buf []byte
	err error
}

// putStruct writes the fields that have a native name and are not zero.
func (w *nativeWriter) putStruct(v reflect.Value) {
	for i := range v.NumField() {
		f, field := v.Type().Field(i), v.Field(i)
		if f.Anonymous {
			w.putStruct(field)
			continue
		}
		if name := f.Tag.Get("native"); !field.IsZero() {
			w.put(name, field.Interface())
		}
	}
}

func (w *nativeWriter) put(name string, value any) {
	var text []byte
	var err error
	switch v := value.(type) {
	case time.Time:
		text, err = marshal(evidence.MicrosOf(v))
	case time.Duration:
		text = strconv.AppendInt(nil, v.Microseconds(), 10)
	case json.RawMessage:
		text = slices.Clone(bytes.TrimSpace(v))
	default:
		text, err = marshal(v)
	}
	if err == nil {
		err = evidence.CheckJSON(text)
	}
	if err != nil && w.err == nil {
		w.err = &evidence.FieldError{Field: name, Reason: err.Error(), Err: evidence.ErrInvalid}
	}
	w.buf = append(w.buf, `,"`+name+`":`...)
	w.buf = append(w.buf, text...)
}

// marshal is json.Marshal without escapes for HTML, which would only make sealed
// texts longer.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
