package evidence

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// MaxSealed is the greatest size of all sealed values of a record together.
const MaxSealed = 64 << 20

// SealedValue is one sealed field with its exact JSON text.
type SealedValue struct {
	Path string
	JSON []byte
}

// Record is a record on its way into a log: what its producer says, checked
// and with defaults, before it is sealed and sequenced. The zero value is
// not valid. A Record belongs to one goroutine at a time.
type Record struct {
	Kind       Kind
	ID         ID     // zero where NaturalKey makes it
	NaturalKey string // empty where the record has an id of its own
	OccurredAt Micros
	Run        string
	Pub        []Fact        // sorted by field; unfit names stand here as sent
	Sealed     []SealedValue // sorted by path
	// Content is what the content MAC of a conflicting record is made from:
	// protobuf bytes, or a native record's members in JCS order. Where it is
	// nil, [Record.ContentText] makes one from the record itself.
	Content []byte
	// ContentKey says that the natural key is the content MAC, which is made
	// when the record is appended; ContentOrdinal is k for the k-th record of
	// its request with that content, from 0.
	ContentKey     bool
	ContentOrdinal int
	// Said are the public fields (and occurred_at) and sealed paths, sorted,
	// that repeat what the producer sent; all others are the server's reading of it, which a newer
	// server may read otherwise. Only what was said decides whether a record is
	// the same as a stored one. Where it is nil, everything was said.
	Said []string
}

// Fact returns the fact of that name and whether the record has it.
func (r *Record) Fact(name string) (Fact, bool) { return findFact(r.Pub, name) }

// Text returns a text fact, or "".
func (r *Record) Text(name string) string {
	f, _ := r.Fact(name)
	return f.Str
}

// SealedJSON returns the JSON text of a sealed field, or nil.
func (r *Record) SealedJSON(path string) []byte {
	for i := range r.Sealed {
		if r.Sealed[i].Path == path {
			return r.Sealed[i].JSON
		}
	}
	return nil
}

// field panics on a name that the kind does not have: callers name fields
// by constants.
func (r *Record) field(name string) *Field {
	f := PublicField(r.Kind, name)
	if f == nil {
		panic("evidence: " + r.Kind.String() + " has no field " + name)
	}
	return f
}

// SetText sets a text fact. A name that is not fit to be public is sealed
// under its own path too, and its public place is filled when the record is
// sealed. An empty text removes nothing and sets nothing.
func (r *Record) SetText(name, value string) {
	if value == "" {
		return
	}
	f := r.field(name)
	switch {
	case f.Type != TypeName:
	case unfit(value):
		r.SetSealed("/"+name, QuoteJSON(value))
	default:
		r.dropSealed("/" + name) // of an unfit value set before
	}
	r.Pub = setFact(r.Pub, Fact{Field: f, Str: value})
}

// unfit reports whether a name must be sealed: it breaks the bounds of names,
// or has the form that stands for one that does.
func unfit(name string) bool { return !FitName(name) || IsReplacement(name) }

// SetInt sets an integer or time fact.
func (r *Record) SetInt(name string, value int64) {
	r.Pub = setFact(r.Pub, Fact{Field: r.field(name), Int: value})
}

// SetBool sets a bool fact.
func (r *Record) SetBool(name string, value bool) {
	f := Fact{Field: r.field(name)}
	if value {
		f.Int = 1
	}
	r.Pub = setFact(r.Pub, f)
}

// SetNames sets an array of names; unfit ones are treated as by SetText, the
// array being sealed whole.
func (r *Record) SetNames(name string, values []string) {
	f := r.field(name)
	if values == nil {
		values = []string{}
	}
	if slices.ContainsFunc(values, unfit) {
		text := []byte{'['}
		for i, v := range values {
			if i > 0 {
				text = append(text, ',')
			}
			text = append(text, QuoteJSON(v)...)
		}
		r.SetSealed("/"+name, append(text, ']'))
	} else {
		r.dropSealed("/" + name)
	}
	r.Pub = setFact(r.Pub, Fact{Field: f, List: values})
}

// SetSealed sets a sealed field to an exact JSON text, which the record
// keeps.
func (r *Record) SetSealed(path string, text []byte) {
	if Sealed(r.Kind, path) == nil {
		panic("evidence: " + r.Kind.String() + " has no sealed field " + path)
	}
	i, found := slices.BinarySearchFunc(r.Sealed, path, func(v SealedValue, p string) int { return strings.Compare(v.Path, p) })
	if found {
		r.Sealed[i].JSON = text
		return
	}
	r.Sealed = slices.Insert(r.Sealed, i, SealedValue{path, text})
}

func (r *Record) dropSealed(path string) {
	r.Sealed = slices.DeleteFunc(r.Sealed, func(v SealedValue) bool { return v.Path == path })
}

// SetHumanActor sets the sealed actor; an empty id means that no person
// acted.
func (r *Record) SetHumanActor(id string) {
	text := []byte("{}")
	if id != "" {
		text = append(append([]byte(`{"human_actor_id":`), QuoteJSON(id)...), '}')
	}
	r.SetSealed("/actor", text)
}

// HumanActor returns the person who acted, or "".
func (r *Record) HumanActor() string { return ActorOf(r.SealedJSON("/actor")) }

// ActorOf returns the human actor in the JSON text of /actor, or "".
func ActorOf(actorJSON []byte) string {
	if len(actorJSON) <= len("{}") {
		return ""
	}
	v, err := decodeActor(actorJSON)
	if err != nil {
		return ""
	}
	return v
}

// Complete puts in the defaults and checks the record against the field
// table. After it the record is valid but for the server's facts, which
// sequencing sets. Errors are [*FieldError]s.
func (r *Record) Complete() error {
	if r.Kind == 0 {
		return invalid("kind", "is required")
	}
	if !r.OccurredAt.InRange() {
		return invalid("occurred_at", "is outside the years 0001 to 9999")
	}
	if r.Run != "" {
		if reason := checkRun(r.Run); reason != "" {
			return invalid("run_id", "%s", reason)
		}
	} else if r.Kind.needsRun() {
		return invalid("run_id", "is required")
	}
	r.defaults()
	if err := r.checkFacts(); err != nil {
		return err
	}
	if err := r.checkSealed(); err != nil {
		return err
	}
	return r.identify()
}

func (r *Record) has(name string) bool {
	_, ok := r.Fact(name)
	return ok
}

func (r *Record) setDefault(name, value string) {
	if !r.has(name) {
		r.SetText(name, value)
	}
}

func (r *Record) defaults() {
	if r.SealedJSON("/actor") == nil {
		r.SetHumanActor("")
	}
	if r.Kind == KindSystem {
		r.setDefault("system_id", r.Text("component"))
	}
	r.setDefault("actor_type", ActingType(r.HumanActor(), r.Text("agent_id")))
	r.setDefault("origin", r.Text("actor_type"))
	switch r.Kind {
	case KindTraceStep:
		r.setDefault("skill_id", r.Text("step_kind"))
		r.setDefault("outcome_category", strings.ToUpper(r.Text("status")))
	case KindTrace, KindLLMRun:
		if !r.has("started_at") {
			r.SetInt("started_at", int64(r.OccurredAt))
		}
		if r.Kind == KindLLMRun {
			r.defaultsOfRun()
		}
	}
	r.fieldDefaults()
}

// fieldDefaults puts in what the fields have for a default. Facts have the order of the
// fields, so it goes through both at once.
func (r *Record) fieldDefaults() {
	at := 0
	for _, f := range PublicFields(r.Kind) {
		if at < len(r.Pub) && r.Pub[at].Field == f {
			at++
			continue
		}
		switch {
		case f.Type == TypeNames:
			r.SetNames(f.Name, nil)
		case f.Default == "":
			continue
		case f.Type == TypeBool:
			r.SetBool(f.Name, f.Default == "true")
		case f.Type.IsText():
			r.SetText(f.Name, f.Default)
		default:
			n, _ := strconv.ParseInt(f.Default, 10, 64)
			r.SetInt(f.Name, n)
		}
		at++
	}
}

func (r *Record) defaultsOfRun() {
	if r.Text("agent_id") != "" {
		r.setDefault("executor_type", "agent")
	}
	r.setDefault("executor_type", "LLM")
	switch r.Text("execution_status") {
	case "SUCCEEDED":
		r.setDefault("outcome", "success")
	case "FAILED":
		r.setDefault("outcome", "failure")
	default:
		r.setDefault("outcome", "terminated")
	}
}

// ActingType returns the type of the acting actor: the first present of
// human, agent, system (INV-LOG-META-001).
func ActingType(human, agent string) string {
	switch {
	case human != "":
		return "HUMAN"
	case agent != "":
		return "AGENT"
	default:
		return "SYSTEM"
	}
}

func (r *Record) checkFacts() error {
	at := 0
	for _, f := range PublicFields(r.Kind) {
		if at == len(r.Pub) || r.Pub[at].Field != f {
			if !f.Optional && f.Owner != Server {
				return invalid(f.Name, "is required")
			}
			continue
		}
		if err := r.checkFact(&r.Pub[at]); err != nil {
			return err
		}
		at++
	}
	return r.checkTogether()
}

func (r *Record) checkFact(fact *Fact) error {
	f := fact.Field
	switch f.Type {
	case TypeInt, TypeCount:
		if fact.Int > MaxInt || fact.Int < -MaxInt {
			return invalid(f.Name, "is beyond ±(2^53−1)")
		}
		if f.Type == TypeCount && fact.Int < 0 {
			return invalid(f.Name, "must not be negative")
		}
	case TypeTime:
		if !Micros(fact.Int).InRange() {
			return invalid(f.Name, "is outside the years 0001 to 9999")
		}
	case TypeBool, TypeNames: // unfit names of an array are replaced
	case TypeName: // an unfit one is replaced
		if r.SealedJSON("/"+f.Name) != nil {
			return nil
		}
		fallthrough
	default:
		if reason := f.check(fact.Str); reason != "" {
			return invalid(f.Name, "%s", reason)
		}
	}
	return nil
}

// checkTogether holds the rules that concern more than one field.
func (r *Record) checkTogether() error {
	human, agent := r.HumanActor(), r.Text("agent_id")
	if r.Kind == KindAudit {
		switch r.Text("actor_type") {
		case "HUMAN":
			if human == "" {
				return invalid("human_actor_id", "is required of an audit entry whose actor_type is HUMAN")
			}
		case "AGENT":
			if agent == "" {
				return invalid("agent_id", "is required of an audit entry whose actor_type is AGENT")
			}
		}
	}
	if want := ActingType(human, agent); (human != "" || agent != "") && r.Text("actor_type") != want {
		return invalid("actor_type", "must be %s: the acting actor is the first present of human, agent, system", want)
	}
	switch o := r.Text("origin"); o {
	case "MIGRATION", "REPLAY", r.Text("actor_type"):
	default:
		return invalid("origin", "must follow the acting actor (%s), or be MIGRATION or REPLAY", r.Text("actor_type"))
	}
	if r.Kind == KindTrace || r.Kind == KindLLMRun {
		if f, _ := r.Fact("started_at"); f.Int != int64(r.OccurredAt) {
			return invalid("started_at", "must equal occurred_at")
		}
	}
	if r.Kind == KindLLMRun {
		if f, _ := r.Fact("revision"); f.Int < 1 {
			return invalid("revision", "counts from 1")
		}
	}
	if r.Kind == KindMetric {
		f, _ := r.Fact("from")
		if f.Int != int64(r.OccurredAt) {
			return invalid("from", "must equal occurred_at")
		}
		if f, _ := r.Fact("names"); len(f.List) > 64 {
			return invalid("names", "has over 64 metric names; send several records")
		}
	}
	return nil
}

// isIdentity reports whether the record's entity_id names a person.
func (r *Record) isIdentity() bool {
	return r.Kind == KindAudit && r.Text("entity_type") == "IDENTITY"
}

func (r *Record) checkSealed() error {
	if r.isIdentity() && r.SealedJSON("/entity_id") == nil {
		// A person's id is never public, however fit it is as a name.
		r.SetSealed("/entity_id", QuoteJSON(r.Text("entity_id")))
	}
	total := 0
	for _, v := range r.Sealed {
		total += len(v.JSON)
		if total > MaxSealed {
			return tooLarge(strings.TrimPrefix(v.Path, "/"), "takes the sealed content of the record over %d MiB", MaxSealed>>20)
		}
		s := Sealed(r.Kind, v.Path)
		if err := s.checkShape(v.JSON); err != nil {
			return err
		}
	}
	for _, s := range SealedFields(r.Kind) {
		if s.Required && r.SealedJSON(s.Path) == nil {
			return invalid(s.NativeName(), "is required")
		}
	}
	return nil
}

// identify derives the natural key where the kind has one.
func (r *Record) identify() error {
	key := r.NaturalKey
	switch {
	case key != "":
	case r.Kind == KindTraceStep && r.has("span_id"):
		key = SpanKey(r.Text("trace_id"), r.Text("span_id"))
	case r.Kind == KindTrace:
		key = r.Text("trace_id")
	case r.Kind == KindLLMRun:
		f, _ := r.Fact("revision")
		key = RunKey(r.Run, f.Int)
	}
	r.NaturalKey = key
	if r.ContentKey && key == "" {
		return nil // made from the content MAC, which needs the tenant's key
	}
	if key == "" && r.ID == (ID{}) {
		return invalid("id", "is required: this record has no natural key to make one from")
	}
	if key == "" && r.ID.Version() == 8 {
		return invalid("id", "must not be a UUID of version 8: those are made from natural keys")
	}
	return nil
}

// RunKey returns the natural key of a revision of a run.
func RunKey(run string, revision int64) string { return run + ":" + strconv.FormatInt(revision, 10) }

// AssignID sets the id from the natural key, which needs the tenant. An id
// that the producer sent must be that one.
func (r *Record) AssignID(tenant string) error {
	if r.NaturalKey == "" {
		return nil
	}
	id := NaturalID(tenant, r.Kind, r.NaturalKey)
	if r.ID != (ID{}) && r.ID != id {
		return invalid("id", "must be %s, which follows from the record's natural key, or be left out", id)
	}
	r.ID = id
	return nil
}

// ContentText returns the text of the content MAC.
func (r *Record) ContentText() []byte {
	if r.Content != nil {
		return r.Content
	}
	var b []byte
	b = append(b, r.OccurredAt.String()...)
	b = append(b, 0)
	b = append(b, r.Run...)
	for i := range r.Pub {
		if r.Pub[i].Field.Owner == Server {
			continue
		}
		b = append(append(b, 0), r.Pub[i].Field.Name...)
		b = r.Pub[i].AppendJSON(append(b, '='))
	}
	for _, v := range r.Sealed {
		b = append(append(b, 0), v.Path...)
		b = append(append(b, '='), v.JSON...)
	}
	return b
}

// WasSaid reports whether a public field or sealed path counts when the record
// is compared with a stored one.
func (r *Record) WasSaid(name string) bool {
	if r.Said == nil {
		return true
	}
	_, ok := slices.BinarySearch(r.Said, name)
	return ok
}

// SameFacts reports whether a stored leaf says the same in public as the
// record, which must have been sealed (names replaced). The server's own
// facts, and what the producer has not said itself, do not count.
func (r *Record) SameFacts(l *Leaf) bool {
	if r.Kind != l.Kind || r.Run != l.Run || (r.OccurredAt != l.OccurredAt && r.WasSaid("occurred_at")) {
		return false
	}
	var a, b []byte
	for _, v := range r.Sealed {
		if r.WasSaid(v.Path) {
			a = append(append(a, v.Path...), 0)
		}
	}
	for _, c := range l.H {
		if r.WasSaid(c.Path) {
			b = append(append(b, c.Path...), 0)
		}
	}
	return bytes.Equal(r.appendSaid(a, r.Pub), r.appendSaid(b, l.Pub))
}

func (r *Record) appendSaid(dst []byte, pub []Fact) []byte {
	for i := range pub {
		if f := pub[i].Field; f.Owner != Server && r.WasSaid(f.Name) {
			dst = pub[i].AppendJSON(append(append(dst, f.Name...), '='))
		}
	}
	return dst
}

// PutFact sets a public fact as it is; the field must be of the record's
// kind.
func (r *Record) PutFact(f Fact) { r.Pub = setFact(r.Pub, f) }
