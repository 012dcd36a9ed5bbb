package evidence

import "testing"

// general is the check without the fast paths.
func general(s *SealedField, v []byte) error {
	if err := CheckJSON(v); err != nil {
		return err
	}
	switch s.Shape {
	case ShapeText:
		if t, ok := unquote(v); !ok || t == "" {
			return invalid(s.NativeName(), "must be a string that is not empty")
		}
	case ShapeActor:
		_, err := generalActor(v)
		return err
	case ShapeAttrs:
		return checkAttrs(v)
	}
	return nil
}

var plainSeeds = []string{
	`{}`, `{"human_actor_id":"u-1"}`, `{"human_actor_id":""}`, `{"human_actor_id":"a\"b"}`, `{"human_actor_id":"a"} `, `{"human_actor_id":"ü"}`,
	`{"human_actor_id":"a","human_actor_id":"b"}`, `""`, `"a"`, `"a"b"`, `"a\"`, `"ü"`, "\"\x7f\"", "\"\x1f\"", `[]`, `[["k","string","v"]]`,
	`[["k","string","v"],["k","int","7"],["k","bool",true],["k","double",0],["k","double",10]]`, `[["k","string","v"],]`, `[,["k","string","v"]]`,
	`[["k","text","v"]]`, `[["k","string"]]`, `[["k","string","v","w"]]`, `[["k","double",01]]`, `[["k","double",-1]]`, `[["k","double",1e5]]`,
	`[["k","string","\u0041"]]`, `[["k","string","\ud800"]]`, `[["k","string","\q"]]`, "[[\"k\",\"string\",\"\xff\"]]", `[["ü","string","\n\"\\"]]`,
	`[["k","double",-0.50],["k","array",[["string","a"],[]]]]`, `[["k","double",1.]]`, `[["k","double",-]]`, `[["k","double",.5]]`, `[["k","array",[,]]]`, `[["k","array",["a",]]]`,
	`[["k","kvlist",[["a","string","b"]]]]`, `[["k","bool",truefalse]]`, `[["k","str\u0069ng","v"]]`, `[["k","string","v"]]]`,
}

// FuzzPlain: nothing is recognised as plain that the general check refuses.
func FuzzPlain(f *testing.F) {
	for _, s := range plainSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		for _, shape := range []Shape{ShapeAny, ShapeText, ShapeActor, ShapeAttrs} {
			s := &SealedField{Path: "/x", Shape: shape}
			if !s.isPlain(v) {
				continue
			}
			if err := general(s, v); err != nil {
				t.Errorf("shape %d: %q is taken for plain: %v", shape, v, err)
			}
			if shape == ShapeActor {
				fast, _ := plainActor(v)
				if slow, _ := generalActor(v); fast != slow {
					t.Errorf("%q: person %q, not %q", v, fast, slow)
				}
			}
		}
	})
}

func TestPlain(t *testing.T) {
	for v, shape := range map[string]Shape{
		`{}`: ShapeActor, `{"human_actor_id":"u-1"}`: ShapeActor, `"text, of any length"`: ShapeText, `""`: ShapeAny,
		`[]`: ShapeAttrs, `[["k","string","v\n"],["ü","int","7"],["k","bool",true],["k","double",10],["k","double",-0.25],["k","array",[["string","a"],["int","1"]]]]`: ShapeAttrs,
	} {
		if s := (&SealedField{Path: "/x", Shape: shape}); !s.isPlain([]byte(v)) {
			t.Errorf("%s is not taken the fast way", v)
		}
	}
}

func BenchmarkCheckAttrs(b *testing.B) {
	v := []byte(`[["gen_ai.system","string","openai"],["gen_ai.usage.input_tokens","int","4096"],["text","string","a sentence of some length, as they are"]]`)
	s := &SealedField{Path: "/attrs", Shape: ShapeAttrs}
	b.SetBytes(int64(len(v)))
	for b.Loop() {
		if err := s.checkShape(v); err != nil {
			b.Fatal(err)
		}
	}
}
