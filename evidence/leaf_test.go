package evidence

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var leafEqual = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b *Field) bool { return a == b }),
}

// canonical returns the RFC 8785 form that the JSON library gives, an
// implementation of its own.
func canonical(b []byte) ([]byte, error) {
	v := jsontext.Value(b).Clone()
	err := v.Canonicalize()
	return v, err
}

func TestLeafRoundTrip(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			gen := genLeaf(kind)
			var reused Leaf
			rapid.Check(t, func(t *rapid.T) {
				want := gen.Draw(t, "leaf")
				b, err := want.Append(nil)
				if errors.Is(err, ErrTooLarge) {
					t.Skip("over 16 KiB")
				}
				if err != nil {
					t.Fatal(err)
				}
				c, err := canonical(b)
				if err != nil || !bytes.Equal(b, c) {
					t.Fatalf("not canonical: %v\n got %s\nwant %s", err, b, c)
				}
				if err := reused.Parse(b); err != nil {
					t.Fatalf("%v\n%s", err, b)
				}
				if diff := cmp.Diff(want, &reused, leafEqual); diff != "" {
					t.Fatalf("changed on the way (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// sound fails if bytes that Parse accepts are not what Append and the JSON
// library would write for them.
func sound(t testing.TB, b []byte) {
	t.Helper()
	l, err := ParseLeaf(b)
	if err != nil {
		var e *LeafError
		if !errors.As(err, &e) || !errors.Is(err, ErrInvalid) {
			t.Errorf("%v is no LeafError", err)
		}
		return
	}
	if again, err := l.Append(nil); err != nil || !bytes.Equal(again, b) {
		t.Errorf("Parse accepts what Append does not write: %v\n got %s\nfrom %s", err, again, b)
	}
	if c, err := canonical(b); err != nil || !bytes.Equal(c, b) {
		t.Errorf("Parse accepts what is not canonical: %v\n%s", err, b)
	}
}

func TestLeafMutations(t *testing.T) {
	leaves := []string{benchLeaf, escapedLeaf}
	for _, leaf := range leaves {
		if _, err := ParseLeaf([]byte(leaf)); err != nil {
			t.Fatalf("%v\n%s", err, leaf)
		}
		b := []byte(leaf)
		for i := range b {
			old := b[i]
			for v := range 256 {
				b[i] = byte(v)
				sound(t, b)
			}
			b[i] = old
			sound(t, append(bytes.Clone(b[:i]), b[i+1:]...)) // a byte less
			sound(t, append(append(bytes.Clone(b[:i]), '0'), b[i:]...))
			if _, err := ParseLeaf(b[:i]); err == nil {
				t.Errorf("accepts the first %d bytes", i)
			}
		}
	}
}

// escapedLeaf has every form of string and number that a leaf can hold.
const escapedLeaf = `{"et":"0001-01-01T00:00:00.000000Z","h":{` +
	`"/actor":"GzAMq3YAT7HrxG2v5-gW8l04Ze438tgqBxMNcPtI2d4"},"id":"01980000-0000-7000-8000-000000000001",` +
	`"kind":"audit","log":"a/41a00944c12e","n":0,"pub":{"about_run":"a\"b\\c é😀","actor_type":"SYSTEM",` +
	`"entity_id":"x","entity_type":"LIMIT","event_type":"LimitChecked","incident_ids":["a","b"],` +
	`"is_synthetic":true,"limit_value":"-0.50","origin":"SYSTEM","policy_ids":[],"roles":["r"],` +
	`"source_component":"c","source_domain":"POLICY","status_code":9007199254740991,` +
	`"valid_from":"9999-12-31T23:59:59.999999Z"},"run":"\\\"€","seq":0,"t":"2024-02-29T00:00:00.000000Z","v":1}`

func TestParseLeafRefuses(t *testing.T) {
	const step, audit = benchLeaf, escapedLeaf
	long := strings.Repeat("x", 129)
	tests := []struct{ name, from, old, new, reason string }{
		{"float", step, `"duration_us":1500`, `"duration_us":1500.0`, "expected"},
		{"exponent", step, `"duration_us":1500`, `"duration_us":1e3`, "expected"},
		{"minus zero", step, `"retry_count":0`, `"retry_count":-0`, "canonical integer"},
		{"leading zero", step, `"seq":123456`, `"seq":0123456`, "canonical integer"},
		{"negative count", step, `"retry_count":0`, `"retry_count":-1`, "negative"},
		{"beyond 2^53-1", audit, `9007199254740991`, `9007199254740992`, "beyond"},
		{"far beyond", audit, `9007199254740991`, `99999999999999999999999999`, "beyond"},
		{"null", step, `"late":false`, `"late":null`, "expected"},
		{"missing field", step, `"late":false,`, ``, `"late" is missing`},
		{"missing last field", step, `,"trace_id":"5b8efff798038103d269b633813fc60c"}`, `}`, `"trace_id" is missing`},
		{"unknown field", step, `"late":false`, `"kate":1,"late":false`, `"kate" is unknown`},
		{"field of another kind", step, `"late":false`, `"late":false,"names":[]`, `"names" is unknown`},
		{"unknown last field", step, `"trace_id":"5b8efff798038103d269b633813fc60c"`, `"trace_id":"5b8efff798038103d269b633813fc60c","z":1`, `"z" is unknown`},
		{"field twice", step, `"late":false`, `"late":false,"late":false`, `"late" is out of order or twice`},
		{"fields out of order", step, `"late":false,"origin":"AGENT"`, `"origin":"AGENT","late":false`, `"late" is missing`},
		{"unfit name", step, `"agent-7"`, `"agent_7#"`, "character outside"},
		{"long name", step, `"agent-7"`, `"` + long + `"`, "128"},
		{"empty name", step, `"agent-7"`, `""`, "empty"},
		{"enum", step, `"status":"success"`, `"status":"SUCCESS"`, "must be one of"},
		{"trace id in capitals", step, `"trace_id":"5b8e`, `"trace_id":"5B8E`, "hex"},
		{"unneeded escape", audit, `"x"`, `"\u0078"`, "character outside"},
		{"unneeded escape in text", audit, `€`, `\u20ac`, "escape"},
		{"solidus escaped", audit, `€`, `\/`, "escape"},
		{"control character", audit, `€`, "\x01", "control"},
		{"DEL", audit, `€`, "\x7f", "control"},
		{"C1 control", audit, `€`, "\u0085", "control"},
		{"NUL", audit, `€`, "\x00", "control"},
		{"invalid UTF-8", audit, `€`, "\xff", "UTF-8"},
		{"surrogate in UTF-8", audit, `€`, "\xed\xa0\x80", "UTF-8"},
		{"overlong UTF-8", audit, `€`, "\xc0\xaf", "UTF-8"},
		{"decimal without digits", audit, `"-0.50"`, `"-0."`, "decimal"},
		{"decimal with exponent", audit, `"-0.50"`, `"1e2"`, "decimal"},
		{"leap second", audit, `2024-02-29T00:00:00`, `2024-02-29T23:59:60`, "time"},
		{"no leap year", audit, `2024-02-29`, `2023-02-29`, "time"},
		{"year 0", audit, `0001-01-01`, `0000-01-01`, "time"},
		{"paths out of order", step, `"/actor":"GzAMq3YAT7HrxG2v5-gW8l04Ze438tgqBxMNcPtI2d4","/attrs"`, `"/attrs":"GzAMq3YAT7HrxG2v5-gW8l04Ze438tgqBxMNcPtI2d4","/actor"`, "order"},
		{"path twice", step, `"/attrs"`, `"/actor"`, "order"},
		{"unknown path", step, `"/attrs"`, `"/actors"`, "unknown sealed path"},
		{"path of another kind", step, `"/attrs"`, `"/body"`, "unknown sealed path"},
		{"no actor", step, `"/actor":"GzAMq3YAT7HrxG2v5-gW8l04Ze438tgqBxMNcPtI2d4",`, ``, "/actor"},
		{"spare bits", step, `PtI2d4"`, `PtI2d5"`, "base64url"},
		{"plain base64", step, `GzAMq3YAT7HrxG2v5-gW`, `GzAMq3YAT7HrxG2v5+gW`, "base64url"},
		{"line break in base64", step, `GzAMq3YAT7HrxG2v5-gW`, "GzAMq3YAT7HrxG2v5\ngW", "base64url"},
		{"origin", step, `log.example/`, `LOG.example/`, "origin"},
		{"kind", step, `trace_step`, `tracestep`, "kind"},
		{"n without run", step, `"run":"5b8efff798038103d269b633813fc60c",`, ``, `"run"`},
		{"run without n", step, `"n":17,`, ``, `expected ,"seq":`},
		{"empty run", audit, `\\\"€`, ``, "empty"},
		{"long run", audit, `\\\"€`, long, "long"},
		{"negative n", step, `"n":17`, `"n":-17`, "negative"},
		{"version", step, `"v":1}`, `"v":2}`, `"v":1`},
		{"after the end", step, `"v":1}`, `"v":1} `, "after the end"},
		{"upper-case id", audit, `"01980000-0000-7000-8000-000000000001"`, `"01980000-0000-7000-8000-00000000000A"`, "UUID"},
		{"too large", audit, `["r"]`, `["` + strings.Repeat(`r","`, 5000) + `r"]`, "16 KiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.from, tt.old) {
				t.Fatalf("the leaf has no %s", tt.old)
			}
			b := []byte(strings.Replace(tt.from, tt.old, tt.new, 1))
			_, err := ParseLeaf(b)
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want an error that says %q", err, tt.reason)
			}
			sound(t, b)
		})
	}
}

// A leaf that is reused keeps nothing of the one before.
func TestParseLeafReuse(t *testing.T) {
	var l Leaf
	if err := l.Parse([]byte(escapedLeaf)); err != nil {
		t.Fatal(err)
	}
	noRun := strings.Replace(strings.Replace(escapedLeaf, `"n":0,`, ``, 1), `"run":"\\\"€",`, ``, 1)
	if err := l.Parse([]byte(noRun)); err != nil {
		t.Fatal(err)
	}
	want, err := ParseLeaf([]byte(noRun))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, &l, leafEqual); diff != "" {
		t.Errorf("(-fresh +reused):\n%s", diff)
	}
}

func TestLeafAccess(t *testing.T) {
	l, err := ParseLeaf([]byte(benchLeaf))
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Text("agent_id"); got != "agent-7" {
		t.Errorf("agent_id %q", got)
	}
	if got, ok := l.Int("duration_us"); got != 1500 || !ok {
		t.Errorf("duration_us %d %v", got, ok)
	}
	if _, ok := l.Int("first_token_us"); ok {
		t.Error("first_token_us is not in the leaf")
	}
	if _, ok := l.Commitment("/params"); !ok {
		t.Error("no /params")
	}
	if _, ok := l.Commitment("/prompt"); ok {
		t.Error("/prompt is not in the leaf")
	}
	l.SetFact(Fact{Field: PublicField(l.Kind, "step_index"), Int: 5})
	l.SetFact(Fact{Field: PublicField(l.Kind, "conflict_of"), Str: "x"})
	b, err := l.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(benchLeaf, `"step_index":17`, `"step_index":5`, 1)
	want = strings.Replace(want, `"duration_us"`, `"conflict_of":"x","duration_us"`, 1)
	if string(b) != want {
		t.Errorf("got %s\nwant %s", b, want)
	}
}

func TestAppendTooLarge(t *testing.T) {
	l, err := ParseLeaf([]byte(escapedLeaf))
	if err != nil {
		t.Fatal(err)
	}
	l.SetFact(Fact{Field: PublicField(l.Kind, "roles"), List: slicesOf(strings.Repeat("r", 128), 200)})
	b, err := l.Append([]byte("kept"))
	if !errors.Is(err, ErrTooLarge) || string(b) != "kept" {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
}

func slicesOf(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func FuzzParseLeaf(f *testing.F) {
	f.Add([]byte(benchLeaf))
	f.Add([]byte(escapedLeaf))
	v := loadVectors(f)
	for _, l := range v.Leaves {
		f.Add([]byte(l))
	}
	for _, l := range v.BadLeaves {
		f.Add([]byte(l.Leaf))
	}
	for _, k := range Kinds() {
		if b, err := genLeaf(k).Example(int(k)).Append(nil); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { sound(t, b) })
}

var sink []byte

func BenchmarkParseLeaf(b *testing.B) {
	data := []byte(benchLeaf)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var l Leaf
	for b.Loop() {
		if err := l.Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendLeaf(b *testing.B) {
	l, err := ParseLeaf([]byte(benchLeaf))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(benchLeaf)))
	b.ReportAllocs()
	for b.Loop() {
		if sink, err = l.Append(sink[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLeafHash(b *testing.B) {
	data := []byte(benchLeaf)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		LeafHash(data)
	}
}

func BenchmarkSeedSalt(b *testing.B) {
	b.ReportAllocs()
	var seed Seed
	for b.Loop() {
		seed.Salt("/response")
	}
}

func BenchmarkCommit(b *testing.B) {
	value := []byte(`{"city":"Vienna","units":"metric","days":[1,2,3]}`)
	b.ReportAllocs()
	for b.Loop() {
		Commit("/params", Salt{}, value)
	}
}
