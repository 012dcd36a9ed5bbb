package client

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

// derived are the fields that no type has, because the client or the server
// makes them from others.
var derived = []string{"actor_type", "started_at", "sealed_by"}

// TestFields compares the types with the field table: every field that a producer
// may send is there, and nothing else is.
func TestFields(t *testing.T) {
	for _, r := range []Record{Step{}, Event{}, Trace{}, Run{}, System{}, Audit{}} {
		kind := evidence.ParseKind(r.kind())
		want := []string{"id", "occurred_at", "run_id", "human_actor_id"}
		if kind == evidence.KindSystem {
			// Facts about logs, which only the server states.
			want = append(want, "-predecessor_log", "-successor_log", "-vkey")
		}
		for _, f := range evidence.PublicFields(kind) {
			if f.Owner == evidence.Producer && !slices.Contains(derived, f.Name) && !slices.Contains(want, "-"+f.Name) {
				want = append(want, f.Name)
			}
		}
		for _, s := range evidence.SealedFields(kind) {
			if s.UnfitOf == "" && s.Shape != evidence.ShapeActor {
				want = append(want, s.NativeName())
			}
		}
		want = slices.DeleteFunc(want, func(s string) bool { return s[0] == '-' })
		got := tags(reflect.TypeOf(r))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%T has the fields\n%v, want\n%v", r, got, want)
		}
	}
}

func tags(typ reflect.Type) (names []string) {
	for i := range typ.NumField() {
		if f := typ.Field(i); f.Anonymous {
			names = append(names, tags(f.Type)...)
		} else {
			names = append(names, f.Tag.Get("native"))
		}
	}
	return names
}

// TestEncode fills every field and reads the record back with the server's
// parser: names, types and units are right.
func TestEncode(t *testing.T) {
	enums := map[string]string{
		"step_kind": "tool", "status": "success", "replay_behavior": "skip", "execution_status": "FAILED",
		"executor_type": "human", "outcome": "failure", "source": "SDK", "inflection_kind": "breach",
		"severity": "WARN", "caused_by": "HUMAN", "visibility": "shared", "entity_type": "LIMIT",
		"decision": "BREACHED", "source_domain": "LOGS", "origin": "REPLAY", "seed": "123",
		"limit_value": "1.5", "observed_value": "2", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
		"span_id": "00f067aa0ba902b7", "parent_span_id": "00f067aa0ba902b8", "id": "",
	}
	for _, zero := range []Record{Step{}, Event{}, Trace{}, Run{}, System{}, Audit{}} {
		v := reflect.New(reflect.TypeOf(zero)).Elem()
		fill(v, enums)
		r := v.Interface().(Record)
		c := &Client{cfg: Config{Component: "c"}}
		it, err := c.encode(r)
		if err != nil {
			t.Errorf("%T: %v", r, err)
			continue
		}
		rec, err := evidence.ParseNative(it.json)
		if err != nil {
			t.Errorf("%T: %v\n%s", r, err, it.json)
			continue
		}
		if got := rec.HumanActor(); got != "x <y>" {
			t.Errorf("%T: actor %q", r, got)
		}
		if got := rec.OccurredAt; got != 1_790_000_000_123_456 {
			t.Errorf("%T: occurred_at %s", r, got)
		}
		if f, ok := rec.Fact("duration_us"); ok && f.Int != 1500 {
			t.Errorf("%T: duration_us %d", r, f.Int)
		}
		if got, want := string(rec.SealedJSON("/attrs")), `[["k","int","12"]]`; got != want {
			t.Errorf("%T: attrs %s", r, got)
		}
		if got, want := string(rec.SealedJSON("/summary")), `{"a": 1.0}`; zero.kind() == "system" && got != want {
			t.Errorf("summary %s is not verbatim", got)
		}
	}
}

func fill(v reflect.Value, enums map[string]string) {
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Tag.Get("native")
		switch value := f.Interface().(type) {
		case Common, Tokens:
			fill(f, enums)
		case string:
			text, ok := enums[name]
			if !ok {
				text = "x <y>" // unfit as a name, so it is sealed
			}
			f.SetString(text)
		case time.Time:
			f.Set(reflect.ValueOf(time.UnixMicro(1_790_000_000_123_456)))
		case time.Duration:
			f.Set(reflect.ValueOf(1500 * time.Microsecond))
		case *int64:
			f.Set(reflect.ValueOf(new(int64(7))))
		case bool:
			f.SetBool(true)
		case []string:
			f.Set(reflect.ValueOf([]string{"a", "b"}))
		case []Attr:
			f.Set(reflect.ValueOf([]Attr{{"k", "int", "12"}}))
		case nil: // any
			f.Set(reflect.ValueOf(json.RawMessage(`{"a": 1.0}`)))
		default:
			panic(value)
		}
	}
}
