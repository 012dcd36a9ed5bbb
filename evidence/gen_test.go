package evidence

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Generators of valid leaves, shared by the property tests and the seeds of
// the fuzz targets.

const nameChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._:/@-"

func genName() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		n := rapid.OneOf(rapid.IntRange(1, 12), rapid.Just(MaxName)).Draw(t, "length")
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte(nameChars)), n, n).Draw(t, "name"))
	})
}

// genRunes draws text as a run id or text field may hold it, the characters
// that need escapes among them.
func genRunes(limit int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		r := rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune(`"\/é€😀`+"\u2028\u00a0\ufeff\uffff")))
		var b strings.Builder
		for _, c := range rapid.SliceOfN(r, 1, 40).Draw(t, "runes") {
			if !unicode.IsControl(c) && utf8.ValidRune(c) && b.Len()+utf8.RuneLen(c) <= limit {
				b.WriteRune(c)
			}
		}
		if b.Len() == 0 {
			return "x"
		}
		return b.String()
	})
}

func genHex(n int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte(hexDigits)), n, n).Draw(t, "hex"))
	})
}

func genMicros() *rapid.Generator[Micros] {
	return rapid.Map(rapid.Int64Range(int64(minMicros), int64(maxMicros)), func(v int64) Micros { return Micros(v) })
}

func genHash() *rapid.Generator[Hash] {
	return rapid.Map(rapid.SliceOfN(rapid.Byte(), 32, 32), func(b []byte) Hash { return Hash(b) })
}

func genFact(t *rapid.T, f *Field) Fact {
	fact := Fact{Field: f}
	switch f.Type {
	case TypeInt:
		fact.Int = rapid.Int64Range(-MaxInt, MaxInt).Draw(t, f.Name)
	case TypeCount:
		fact.Int = rapid.OneOf(rapid.Int64Range(0, MaxInt), rapid.Just[int64](0), rapid.Just[int64](MaxInt)).Draw(t, f.Name)
	case TypeBool:
		fact.Int = rapid.Int64Range(0, 1).Draw(t, f.Name)
	case TypeTime:
		fact.Int = int64(genMicros().Draw(t, f.Name))
	case TypeNames:
		fact.List = rapid.SliceOfN(genName(), 0, 4).Draw(t, f.Name)
	case TypeEnum:
		fact.Str = rapid.SampledFrom(f.Enum).Draw(t, f.Name)
	case TypeInteger:
		fact.Str = rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})`).Draw(t, f.Name)
	case TypeDecimal:
		fact.Str = rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,9})?`).Draw(t, f.Name)
	case TypeText:
		fact.Str = genRunes(maxText).Draw(t, f.Name)
	case TypeRun:
		fact.Str = genRunes(MaxRun).Draw(t, f.Name)
	case TypeTraceID:
		fact.Str = genHex(32).Draw(t, f.Name)
	case TypeSpanID:
		fact.Str = genHex(16).Draw(t, f.Name)
	default:
		fact.Str = genName().Draw(t, f.Name)
	}
	return fact
}

func genLeaf(kind Kind) *rapid.Generator[*Leaf] {
	return rapid.Custom(func(t *rapid.T) *Leaf {
		l := &Leaf{
			Log:        "log.example/" + genHex(12).Draw(t, "log"),
			Seq:        rapid.Int64Range(0, MaxInt).Draw(t, "seq"),
			ID:         ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			Kind:       kind,
			RecordedAt: genMicros().Draw(t, "t"),
			OccurredAt: genMicros().Draw(t, "et"),
			Pub:        []Fact{},
			H:          []Commitment{},
		}
		if kind.needsRun() || rapid.Bool().Draw(t, "has run") {
			l.Run = genRunes(MaxRun).Draw(t, "run")
			l.N = rapid.Int64Range(0, MaxInt).Draw(t, "n")
		}
		// Few leaves have most fields, so that even long names stay in 16 KiB.
		likely := rapid.IntRange(0, 3).Draw(t, "likely")
		with := func(name string) bool { return rapid.IntRange(0, 3).Draw(t, "has "+name) < likely }
		for _, f := range PublicFields(kind) {
			if !f.Optional || with(f.Name) {
				l.Pub = append(l.Pub, genFact(t, f))
			}
		}
		for _, s := range SealedFields(kind) {
			if s.Required || with(s.Path) {
				l.H = append(l.H, Commitment{s.Path, genHash().Draw(t, s.Path)})
			}
		}
		return l
	})
}

// benchLeaf is a step as ingest makes many of: about 900 bytes, four
// commitments.
const benchLeaf = `{"et":"2026-11-23T15:00:01.000000Z","h":{` +
	`"/actor":"GzAMq3YAT7HrxG2v5-gW8l04Ze438tgqBxMNcPtI2d4",` +
	`"/attrs":"SByv-8aiEz1uKwLy_0TACYWnptlNh8IrCj_ePD3u_hE",` +
	`"/params":"x4Zk-H0TerAn_e-6dXWthTszJ5sGJp6XDcZ4D0okimw",` +
	`"/response":"VTwMmN-uuozj_BVKWx6NEDMGtYU1txscPUGkqfj_RAQ"},` +
	`"id":"01980000-0000-8000-8000-000000000001","kind":"trace_step","log":"log.example/41a00944c12e","n":17,` +
	`"pub":{"actor_type":"AGENT","agent_id":"agent-7","duration_us":1500,"flags":[],"incident_ids":[],` +
	`"input_tokens":812,"is_synthetic":false,"late":false,"origin":"AGENT","outcome_category":"SUCCESS",` +
	`"policy_ids":[],"producer":"key-1","replay_behavior":"execute","retry_count":0,"skill_id":"tool",` +
	`"skill_name":"execute_tool get_weather","source_component":"TraceStore","source_domain":"ACTIVITY",` +
	`"span_id":"0000000000000001","status":"success","step_index":17,"step_kind":"tool",` +
	`"trace_id":"5b8efff798038103d269b633813fc60c"},"run":"5b8efff798038103d269b633813fc60c","seq":123456,` +
	`"t":"2026-11-23T16:00:01.000001Z","v":1}`
