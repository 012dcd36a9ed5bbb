package prices

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

func day(s string) evidence.Micros {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return evidence.MicrosOf(t)
}

const table = `
version: 1
prices:
  - {providers: [p], models: [m, "m-x*"], from: 2025-01-01, input: "1", output: "4", cached: "0.5", write: "1.25"}
  - {providers: [p], models: [m], from: 2025-06-01, input: "2", output: "8"}
  - {providers: [p], models: ["m-*"], from: 2020-01-01, input: "0.000000001"}
  - {providers: [p], models: [m-2025-05-05], from: 2025-05-05, input: "7"}
  - {providers: [p, q], models: [both], from: 2025-01-01, input: "3"}
  - {providers: [r], models: [both, differ], from: 2025-01-01, input: "3"}
  - {providers: [s], models: [differ], from: 2025-01-01, input: "4"}
  - {providers: [p], models: ["*.a.*-v1"], from: 2025-01-01, input: "5"}
  - {providers: [p], models: [long], from: 2025-01-01, input: "1", output: "1", long: {above: 100, input: "2", output: "3", cached: "1"}}
`

func TestCost(t *testing.T) {
	tab, err := Parse([]byte(table))
	if err != nil {
		t.Fatal(err)
	}
	known := Usage{Input: 1_000_000, CachedKnown: true}
	for _, tt := range []struct {
		name, provider, model, at string
		u                         Usage
		want                      int64 // -1 for unknown
	}{
		{"input", "p", "m", "2025-02-01", known, 1e9},
		{"case", "P", "M", "2025-02-01", known, 1e9},
		{"all classes", "p", "m", "2025-02-01", Usage{Input: 1000, Cached: 400, CacheWrite: 100, Output: 10, CachedKnown: true}, 500*1000 + 400*500 + 100*1250 + 10*4000},
		{"first day", "p", "m", "2025-01-01", known, 1e9},
		{"before it", "p", "m", "2024-12-31", known, -1},
		{"later price", "p", "m", "2025-06-01", known, 2e9},
		{"last day of the earlier one", "p", "m", "2025-05-31", known, 1e9},
		{"cached at the input price", "p", "m", "2025-06-01", Usage{Input: 10, Cached: 10}, 20_000},
		{"cached not known, but priced", "p", "m", "2025-02-01", Usage{Input: 10}, -1},
		{"written not known, but priced", "p", "m", "2025-02-01", Usage{Input: 10, CachedKnown: true, CacheWriteUnknown: true}, -1},
		{"written not known nor priced", "p", "m", "2025-06-01", Usage{Input: 10, CacheWriteUnknown: true}, 20_000},
		{"a date behind the name", "p", "m-20250101", "2025-02-01", known, 1e9},
		{"a date with hyphens", "p", "m-2025-01-01", "2025-02-01", known, 1e9},
		{"the dated name itself", "p", "m-2025-05-05", "2025-05-06", known, 7e9},
		{"latest", "p", "m-latest", "2025-02-01", known, 1e9},
		{"pattern", "p", "m-xy", "2025-02-01", known, 1e9},
		{"the longer pattern was not valid yet", "p", "m-xy", "2024-01-01", known, 1},
		{"inner pattern", "p", "eu.a.model-v1", "2025-02-01", known, 5e9},
		{"inner pattern, no match", "p", "eu.a.model-v2", "2025-02-01", known, -1},
		{"no price of output", "p", "m-z", "2025-02-01", Usage{Output: 1, CachedKnown: true}, -1},
		{"another provider", "q", "m", "2025-02-01", known, -1},
		{"no provider", "", "m", "2025-02-01", known, 1e9},
		{"no provider, same prices", "", "both", "2025-02-01", known, 3e9},
		{"no provider, other prices", "", "differ", "2025-02-01", known, -1},
		{"no model", "p", "", "2025-02-01", known, -1},
		{"unknown model", "p", "nope", "2025-02-01", known, -1},
		{"nothing used", "p", "m", "2025-02-01", Usage{CachedKnown: true}, 0},
		{"short of long", "p", "long", "2025-02-01", Usage{Input: 100, Output: 1}, 101_000},
		{"long", "p", "long", "2025-02-01", Usage{Input: 101, Output: 1, Cached: 1, CachedKnown: true}, 200_000 + 1000 + 3000},
		{"long prices cached", "p", "long", "2025-02-01", Usage{Input: 101}, -1},
		{"half rounded up", "p", "m-z", "2025-02-01", Usage{Input: 500_000, CachedKnown: true}, 1},
		{"below half", "p", "m-z", "2025-02-01", Usage{Input: 499_999, CachedKnown: true}, 0},
		{"negative", "p", "m", "2025-02-01", Usage{Input: -1, CachedKnown: true}, -1},
		{"more cached than input", "p", "m", "2025-02-01", Usage{Input: 1, Cached: 2, CachedKnown: true}, -1},
		{"cached and written above input", "p", "m", "2025-02-01", Usage{Input: 3, Cached: 2, CacheWrite: 2, CachedKnown: true}, -1},
		{"too much", "p", "m", "2025-02-01", Usage{Input: evidence.MaxInt, CachedKnown: true}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, ok := tab.Cost(tt.provider, tt.model, day(tt.at), tt.u)
			if !ok {
				n = -1
			}
			if n != tt.want {
				t.Errorf("got %d, want %d", n, tt.want)
			}
		})
	}
}

func TestWith(t *testing.T) {
	base, err := Parse([]byte(table))
	if err != nil {
		t.Fatal(err)
	}
	over, err := Parse([]byte(`{version: 1, prices: [{providers: [p], models: ["m*"], from: 2025-03-01, input: "9"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	tab := base.With(over)
	u := Usage{Input: 1_000_000, CachedKnown: true}
	for _, tt := range []struct {
		model, at string
		want      int64
	}{{"m", "2025-02-01", 1e9}, {"m", "2025-03-01", 9e9}, {"m-2025-05-05", "2025-06-01", 9e9}, {"both", "2025-06-01", 3e9}} {
		if n, ok := tab.Cost("p", tt.model, day(tt.at), u); !ok || n != tt.want {
			t.Errorf("%s at %s: got %d, %v, want %d", tt.model, tt.at, n, ok, tt.want)
		}
	}
	if n, _ := base.Cost("p", "m", day("2025-03-01"), u); n != 1e9 {
		t.Errorf("With changed the table itself: %d", n)
	}
	if base.With(nil) != base {
		t.Error("With nothing is another table")
	}
}

func TestShipped(t *testing.T) {
	tab, err := Parse(shipped)
	if err != nil {
		t.Fatal(err)
	}
	at := day("2026-11-23")
	for _, tt := range []struct {
		provider, model string
		u               Usage
		want            int64
	}{
		{"openai", "gpt-4o-mini-2024-07-18", Usage{Input: 23, Output: 11, CachedKnown: true}, 10_050},
		{"openai", "gpt-4o-mini", Usage{Input: 149, Cached: 64, Output: 23, CachedKnown: true}, 85*150 + 64*75 + 23*600},
		{"openai", "gpt-4o-2024-11-20", Usage{Input: 1000, CachedKnown: true}, 2_500_000},
		{"openai", "gpt-4o-2024-05-13", Usage{Input: 1000}, 5_000_000},
		{"openai", "o3-2025-04-16", Usage{Input: 1000, CachedKnown: true}, 2_000_000},
		{"openai", "text-embedding-3-small", Usage{Input: 1000}, 20_000},
		{"", "gpt-4o-mini-2024-07-18", Usage{Input: 23, Output: 11, CachedKnown: true}, 10_050},
		{"anthropic", "claude-sonnet-4-5-20250929", Usage{Input: 2051, CacheWrite: 2048, Output: 11, CachedKnown: true}, 3*3000 + 2048*3750 + 11*15000},
		{"anthropic", "claude-sonnet-4-5", Usage{Input: 200_001, CachedKnown: true}, 200_001 * 6000},
		{"anthropic", "claude-opus-4-20250514", Usage{Input: 10, CachedKnown: true}, 150_000},
		{"anthropic", "claude-opus-4-5-20251101", Usage{Input: 10, CachedKnown: true}, 50_000},
		{"aws.bedrock", "us.anthropic.claude-3-7-sonnet-20250219-v1:0", Usage{Input: 10, CachedKnown: true}, 30_000},
		{"aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", Usage{Input: 10, CachedKnown: true}, 33_000},
		{"aws.bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", Usage{Input: 10, CachedKnown: true}, 30_000},
		{"gcp.gemini", "gemini-2.5-pro", Usage{Input: 10, CachedKnown: true}, 12_500},
		{"mistral_ai", "mistral-large-latest", Usage{Input: 10}, 20_000},
	} {
		if n, ok := tab.Cost(tt.provider, tt.model, at, tt.u); !ok || n != tt.want {
			t.Errorf("%s %s: got %d, %v, want %d", tt.provider, tt.model, n, ok, tt.want)
		}
	}
	for _, unknown := range [][2]string{
		{"openai", "gpt-4o-mini-audio-preview"},
		{"openai", "gpt-4o-realtime"},
		{"openai", "ft:gpt-4o-mini:acme::1"},
		{"openai", "gpt-9"},
		{"ollama", "gpt-4o-mini"},
		{"anthropic", "claude-opus-9"},
	} {
		if n, ok := tab.Cost(unknown[0], unknown[1], at, Usage{Input: 1, CachedKnown: true}); ok {
			t.Errorf("%s has a price: %d", unknown, n)
		}
	}
	if _, ok := tab.Cost("openai", "gpt-4o-mini", at, Usage{Input: 1}); ok {
		t.Error("a model with cached prices has a cost without cached tokens")
	}
}

func TestParseErrors(t *testing.T) {
	one := func(entry string) string { return "version: 1\nprices:\n  - {" + entry + "}\n" }
	for _, tt := range []struct{ name, yaml, want string }{
		{"empty", "", "it is empty"},
		{"no YAML", "[", "yaml"},
		{"version", "version: 2", "version is 2"},
		{"two documents", "version: 1\n---\nversion: 1", "more than one document"},
		{"unknown member", one("provider: p"), "provider"},
		{"nothing", one("from: 2025-01-01"), "prices[0] (): needs providers and models"},
		{"no models", one("providers: [p], from: 2025-01-01, input: '1'"), "needs providers and models"},
		{"no date", one("providers: [p], models: [m], input: '1'"), `prices[0] (m): from ""`},
		{"bad date", one("providers: [p], models: [m], from: 2025-02-30, input: '1'"), `from "2025-02-30"`},
		{"no input", one("providers: [p], models: [m], from: 2025-01-01, output: '1'"), "no price of input"},
		{"negative", one("providers: [p], models: [m], from: 2025-01-01, input: '-1'"), `input "-1"`},
		{"exponent", one("providers: [p], models: [m], from: 2025-01-01, input: '1e3'"), `input "1e3"`},
		{"ten decimals", one("providers: [p], models: [m], from: 2025-01-01, input: '0.1234567891'"), "at most nine decimals"},
		{"no digits", one("providers: [p], models: [m], from: 2025-01-01, input: '1.'"), `input "1."`},
		{"huge", one("providers: [p], models: [m], from: 2025-01-01, input: '9999999999'"), "is no price"},
		{"star alone", one("providers: [p], models: ['*'], from: 2025-01-01, input: '1'"), `model "*" says nothing`},
		{"provider in capitals", one("providers: [OpenAI], models: [m], from: 2025-01-01, input: '1'"), "not in lower case"},
		{"long", one("providers: [p], models: [m], from: 2025-01-01, input: '1', long: {input: '1'}"), "long: above"},
		{"long without input", one("providers: [p], models: [m], from: 2025-01-01, input: '1', long: {above: 1}"), "long: no price of input"},
		{"twice", one("providers: [p], models: [m, M], from: 2025-01-01, input: '1'"), "stands twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.yaml))
			if err == nil || !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("version: 1\nprices:\n  - {providers: [p], models: [m], from: 2025-01-01, input: '1.5', long: {above: 9, input: '2'}}\n"), "p", "m-2025-01-01")
	f.Add([]byte(`{version: 1, prices: [{providers: [p], models: ["a*b*"], from: 2025-03-01, input: "9"}]}`), "", "aabb")
	f.Fuzz(func(t *testing.T, data []byte, provider, model string) {
		tab, err := Parse(data)
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Fatalf("no sentinel: %v", err)
			}
			return
		}
		n, ok := tab.Cost(provider, model, day("2026-01-01"), Usage{Input: 1000, Cached: 10, CacheWrite: 3, Output: 7, CachedKnown: true})
		if n < 0 || !ok && n != 0 {
			t.Fatalf("cost %d, %v", n, ok)
		}
	})
}

// FuzzSum compares the arithmetic with that of math/big.
func FuzzSum(f *testing.F) {
	f.Add(int64(1), int64(150_000_000), int64(3), int64(5))
	f.Add(int64(evidence.MaxInt), int64(1e18), int64(evidence.MaxInt), int64(1e18))
	f.Fuzz(func(t *testing.T, a, x, b, y int64) {
		if a < 0 || x < 0 || b < 0 || y < 0 {
			return
		}
		var s sum
		s.add(a, x)
		s.add(b, y)
		n, ok := s.nanos()
		want := new(big.Int).Mul(big.NewInt(a), big.NewInt(x))
		want.Add(want, new(big.Int).Mul(big.NewInt(b), big.NewInt(y)))
		want.Add(want, big.NewInt(perTokens/2))
		want.Div(want, big.NewInt(perTokens))
		if fits := want.Cmp(big.NewInt(evidence.MaxInt)) <= 0; fits != ok || ok && want.Int64() != n {
			t.Fatalf("got %d, %v, want %v", n, ok, want)
		}
	})
}

func BenchmarkCost(b *testing.B) {
	tab := Default()
	at := day("2026-11-23")
	for _, m := range []string{"gpt-4o-mini-2024-07-18", "no-such-model"} {
		b.Run(m, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tab.Cost("openai", m, at, Usage{Input: 100, Output: 10, CachedKnown: true})
			}
		})
	}
}
