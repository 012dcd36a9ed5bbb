package prices

import (
	_ "embed"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"github.com/runledger/runledger/evidence"
)

//go:embed prices.yaml
var shipped []byte

// Table is a list of prices, dated. It may be used from several goroutines.
type Table struct {
	// layers are looked at in order: the first one that prices a call does it alone.
	layers []*layer
}

type layer struct {
	exact map[string][]*price // by model name
	globs []*price            // the most specific first
}

// price is one entry for one model name.
type price struct {
	providers []string
	pattern   string
	from      evidence.Micros
	rates     rates
	above     int64 // input tokens beyond which long counts, 0 for never
	long      rates
}

// rates are nano dollars for a million tokens; none where a class has no price.
type rates struct{ input, output, cached, write int64 }

const none = -1

// perTokens is the number of tokens that a price is for.
const perTokens = 1_000_000

// Usage is what a model call used, in tokens.
type Usage struct {
	Input      int64 // with cached and written ones
	Output     int64 // with reasoning ones
	Cached     int64 // read from a cache, part of Input
	CacheWrite int64 // written to a cache, part of Input
	// CachedKnown: the producer reports cached tokens, so that 0 means none.
	CachedKnown bool
	// CacheWriteUnknown: the producer cannot report written tokens, so that 0
	// means nothing. It matters only to models that have a price for them.
	CacheWriteUnknown bool
}

var parseShipped = sync.OnceValues(func() (*Table, error) { return Parse(shipped) })

// Default returns the table that ships with the program. A test makes sure
// that it parses.
func Default() *Table {
	t, err := parseShipped()
	if err != nil {
		panic("prices: the embedded table: " + err.Error())
	}
	return t
}

// DefaultFile returns the YAML of the table that ships with the program.
func DefaultFile() []byte { return slices.Clone(shipped) }

// With returns t with the entries of over in front of its own: a call that
// over prices has that cost, even where an entry of t is more specific.
func (t *Table) With(over *Table) *Table {
	if over == nil {
		return t
	}
	return &Table{layers: slices.Concat(over.layers, t.layers)}
}

// Cost returns what a call cost in US dollars * 1e9, and whether that is known.
//
// provider is a name of the semantic conventions, as package dialect returns
// them; where it is empty, every provider's price of the model counts if all
// are the same. Cached tokens cost the price of cached ones, else that of
// input; written ones likewise. The cost is unknown if the model is, or was at
// that time, if a class of tokens that was used has no price, if the producer
// cannot report cached tokens of a model that has a price for them, or if the
// counts contradict each other.
func (t *Table) Cost(provider, model string, at evidence.Micros, u Usage) (nanos int64, known bool) {
	if u.Input < 0 || u.Output < 0 || u.Cached < 0 || u.CacheWrite < 0 ||
		u.Cached > u.Input || u.CacheWrite > u.Input-u.Cached {
		return 0, false
	}
	for _, l := range t.layers {
		if found := l.find(strings.ToLower(provider), strings.ToLower(model), at); len(found) > 0 {
			return agreed(found, u)
		}
	}
	return 0, false
}

// agreed returns the cost if all prices give the same.
func agreed(found []*price, u Usage) (nanos int64, known bool) {
	for i, p := range found {
		n, ok := p.cost(u)
		if !ok || i > 0 && n != nanos {
			return 0, false
		}
		nanos = n
	}
	return nanos, true
}

func (p *price) cost(u Usage) (int64, bool) {
	r := p.rates
	if p.above > 0 && u.Input > p.above {
		r = p.long
	}
	if !u.CachedKnown && r.cached != none || u.CacheWriteUnknown && r.write != none {
		return 0, false
	}
	if r.cached == none {
		r.cached = r.input
	}
	if r.write == none {
		r.write = r.input
	}
	if r.output == none {
		if u.Output > 0 {
			return 0, false
		}
		r.output = 0
	}
	var s sum
	s.add(u.Input-u.Cached-u.CacheWrite, r.input)
	s.add(u.Cached, r.cached)
	s.add(u.CacheWrite, r.write)
	s.add(u.Output, r.output)
	return s.nanos()
}

// sum adds products of tokens and rates without overflow.
type sum struct {
	hi, lo uint64
	over   bool
}

func (s *sum) add(tokens, rate int64) {
	hi, lo := bits.Mul64(uint64(tokens), uint64(rate)) //nolint:gosec // neither is negative
	s.addWide(hi, lo)
}

func (s *sum) addWide(hi, lo uint64) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, carry = bits.Add64(s.hi, hi, carry)
	s.over = s.over || carry != 0
}

// nanos divides by the tokens of a price, half rounded up.
func (s *sum) nanos() (int64, bool) {
	s.addWide(0, perTokens/2)
	if s.over || s.hi >= perTokens {
		return 0, false
	}
	n, _ := bits.Div64(s.hi, s.lo, perTokens)
	if n > evidence.MaxInt {
		return 0, false
	}
	return int64(n), true //nolint:gosec // bounded just above
}

// find returns the newest prices, at that time, of the most specific name
// that matches: one for each provider that has any.
func (l *layer) find(provider, model string, at evidence.Micros) []*price {
	if model == "" {
		return nil
	}
	// The name itself, then the name without its date.
	for name, ok := model, true; ok; name, ok = undated(name) {
		if found := newest(l.exact[name], provider, at); len(found) > 0 {
			return found
		}
	}
	best := 0
	var candidates []*price
	for _, p := range l.globs {
		n := literals(p.pattern)
		if n < best {
			break
		}
		if p.sells(provider) && p.from <= at && matches(p.pattern, model) {
			best = n
			candidates = append(candidates, p)
		}
	}
	return newest(candidates, provider, at)
}

// newest returns the latest price that began at or before at; without a
// provider, that of each provider.
func newest(list []*price, provider string, at evidence.Micros) []*price {
	if len(list) == 0 {
		return nil
	}
	if provider != "" {
		if p := newestOf(list, provider, at); p != nil {
			return []*price{p}
		}
		return nil
	}
	var out []*price
	for _, p := range list {
		for _, name := range p.providers {
			if n := newestOf(list, name, at); n != nil && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

func newestOf(list []*price, provider string, at evidence.Micros) *price {
	var best *price
	for _, p := range list {
		if p.from <= at && p.sells(provider) && (best == nil || best.from < p.from) {
			best = p
		}
	}
	return best
}

func (p *price) sells(provider string) bool {
	return provider == "" || slices.Contains(p.providers, provider)
}

// undated cuts a date or "latest" off the end of a model's name:
// -2024-07-18, -20250929, @20250929, -latest, @latest.
func undated(model string) (string, bool) {
	i := strings.LastIndexAny(model, "-@")
	if i <= 0 {
		return "", false
	}
	tail := model[i+1:]
	if tail == "latest" || tail == "default" && model[i] == '@' {
		return model[:i], true
	}
	if len(tail) == 8 && allDigits(tail) {
		return model[:i], true
	}
	const date = len("-2024-07-18")
	if n := len(model); n > date {
		d := model[n-date:]
		if d[0] == '-' && d[5] == '-' && d[8] == '-' && allDigits(d[1:5]+d[6:8]+d[9:]) {
			return model[:n-date], true
		}
	}
	return "", false
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// literals returns how many bytes of a pattern are not *.
func literals(pattern string) int { return len(pattern) - strings.Count(pattern, "*") }

// matches reports whether text fits a pattern in which * stands for any text.
func matches(pattern, text string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for star {
		var part string
		part, rest, star = strings.Cut(rest, "*")
		if !star { // the last part ends the text
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return text == ""
}
