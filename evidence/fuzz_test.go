package evidence

import (
	"errors"
	"testing"
	"time"
)

// leafOf makes a leaf of a record as sealing and sequencing do: commitments,
// replacements for unfit names, and the server's own facts.
func leafOf(r *Record) *Leaf {
	l := &Leaf{
		Log: "log.example/41a00944c12e", ID: r.ID, Kind: r.Kind, RecordedAt: r.OccurredAt, OccurredAt: r.OccurredAt,
		Run: r.Run, Pub: append([]Fact(nil), r.Pub...),
	}
	for i := range l.Pub {
		f := &l.Pub[i]
		if r.SealedJSON("/"+f.Field.Name) == nil {
			continue
		}
		switch f.Field.Type {
		case TypeName:
			f.Str = "h:0123456789abcdef"
		case TypeNames:
			f.List = []string{"h:0123456789abcdef"}
		}
	}
	for _, f := range PublicFields(r.Kind) {
		if f.Owner == Server && !f.Optional {
			fact := Fact{Field: f}
			if f.Type == TypeEnum {
				fact.Str = f.Enum[0]
			}
			l.SetFact(fact)
		}
	}
	for _, v := range r.Sealed {
		l.H = append(l.H, Commitment{v.Path, Commit(v.Path, Salt{}, v.JSON)})
	}
	return l
}

// What ParseNative accepts becomes a leaf that Parse accepts, has an id, is
// the same record as its leaf, and is valid against the schema.
func FuzzParseNative(f *testing.F) {
	for _, k := range nativeKinds() {
		f.Add([]byte(native(k)))
		f.Add([]byte(native(k, `human_actor_id="h"`, `actor_type="HUMAN"`, `subject="s"`, `attrs=[["a","int",1]]`, `policy_ids=["ü","b"]`)))
	}
	f.Add([]byte(native(KindTraceStep, `agent_id="ü"`, `params={"a":[0.70,9007199254740993,-0]}`, `span_id="`+testSpan+`"`, `id=`)))
	f.Add([]byte(native(KindAudit, `entity_type="IDENTITY"`, `about_run="h:0123456789abcdef"`, `limit_value="-1.5"`)))
	f.Add([]byte(native(KindSystem, `component="ü"`, `vkey="a\"b"`, `occurred_at="2026-11-23T15:00:01.5+01:00"`)))
	root := loadSchema(f)
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseNative(line)
		if err != nil {
			var e *FieldError
			if !errors.As(err, &e) || e.Field == "" || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%v is no FieldError", err)
			}
			return
		}
		if err := r.AssignID("acme"); err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			r.ID = ID{1}
		}
		if r.ID == (ID{}) || len(r.Content) == 0 {
			t.Fatal("no id or no content")
		}
		l := leafOf(r)
		b, err := l.Append(nil)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		back, err := ParseLeaf(b)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, line, b)
		}
		sound(t, b)
		r.Pub = l.Pub // as sealed
		if !r.SameFacts(back) {
			t.Fatalf("not the same as its leaf\n%s\n%s", line, b)
		}
		v := validator{root: root}
		if v.check(root, decodeNumbers(t, line), ""); len(v.errs) > 0 {
			t.Fatalf("not valid against the schema: %v\n%s", v.errs, line)
		}
	})
}

func FuzzMicros(f *testing.F) {
	for s := range producerTimes {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, ok := ParseMicros(s); ok && (m.String() != s || !m.InRange()) {
			t.Fatalf("%q is read as %s", s, m)
		}
		m, err := parseProducerTime("t", s)
		if err != nil {
			return
		}
		if want, err := time.Parse(time.RFC3339Nano, s); err != nil || !want.Equal(m.Time()) || !m.InRange() {
			t.Fatalf("%q is read as %s, want %v (%v)", s, m, want, err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add(testID)
	f.Add("01980000-0000-7000-8000-00000000000A")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := ParseID(s); ok && id.String() != s {
			t.Fatalf("%q is read as %s", s, id)
		}
	})
}
