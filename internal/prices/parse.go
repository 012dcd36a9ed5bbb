package prices

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"go.yaml.in/yaml/v3"
)

// file is the form of prices.yaml.
type file struct {
	Version int     `yaml:"version"`
	Prices  []entry `yaml:"prices"`
}

type entry struct {
	Providers  []string `yaml:"providers"`
	Models     []string `yaml:"models"`
	From       string   `yaml:"from"`
	ratesEntry `yaml:",inline"`
	Long       *longEntry `yaml:"long"`
}

type ratesEntry struct {
	Input  string `yaml:"input"`
	Output string `yaml:"output"`
	Cached string `yaml:"cached"`
	Write  string `yaml:"write"`
}

type longEntry struct {
	Above      int64 `yaml:"above"`
	ratesEntry `yaml:",inline"`
}

// Parse reads a table of the form that prices.yaml explains. The error names
// the entry at fault and wraps [evidence.ErrInvalid].
func Parse(data []byte) (*Table, error) {
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return nil, invalid("%w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, invalid("more than one document")
	}
	if f.Version != 1 {
		return nil, invalid("version is %d, not 1", f.Version)
	}
	l := &layer{exact: make(map[string][]*price)}
	seen := make(map[string]bool)
	for i := range f.Prices {
		e := &f.Prices[i]
		if err := l.add(e, seen); err != nil {
			return nil, invalid("prices[%d] (%s): %w", i, strings.Join(e.Models, ", "), err)
		}
	}
	slices.SortStableFunc(l.globs, func(a, b *price) int { return literals(b.pattern) - literals(a.pattern) })
	return &Table{layers: []*layer{l}}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("price table: %w: %w", fmt.Errorf(format, args...), evidence.ErrInvalid)
}

// add adds one entry; seen makes sure that no two contradict each other.
func (l *layer) add(e *entry, seen map[string]bool) error {
	if len(e.Providers) == 0 || len(e.Models) == 0 {
		return errors.New("needs providers and models")
	}
	day, err := time.Parse(time.DateOnly, e.From)
	if err != nil {
		return fmt.Errorf("from %q is no date like 2025-01-31", e.From)
	}
	p := price{from: evidence.MicrosOf(day)}
	if p.rates, err = e.rates(); err != nil {
		return err
	}
	if e.Long != nil {
		if e.Long.Above <= 0 {
			return errors.New("long: above is no number of tokens")
		}
		p.above = e.Long.Above
		if p.long, err = e.Long.rates(); err != nil {
			return fmt.Errorf("long: %w", err)
		}
	}
	for _, name := range e.Providers {
		if name == "" || name != strings.ToLower(name) {
			return fmt.Errorf("provider %q is not in lower case", name)
		}
		p.providers = append(p.providers, name)
	}
	for _, name := range e.Models {
		if literals(name) == 0 {
			return fmt.Errorf("model %q says nothing", name)
		}
		one := p
		one.pattern = strings.ToLower(name)
		for _, provider := range p.providers {
			key := provider + "\x00" + one.pattern + "\x00" + e.From
			if seen[key] {
				return fmt.Errorf("model %s of %s from %s stands twice", name, provider, e.From)
			}
			seen[key] = true
		}
		if strings.Contains(one.pattern, "*") {
			l.globs = append(l.globs, &one)
		} else {
			l.exact[one.pattern] = append(l.exact[one.pattern], &one)
		}
	}
	return nil
}

func (e *ratesEntry) rates() (r rates, err error) {
	for _, c := range []struct {
		name, text string
		to         *int64
	}{{"input", e.Input, &r.input}, {"output", e.Output, &r.output}, {"cached", e.Cached, &r.cached}, {"write", e.Write, &r.write}} {
		if c.text == "" {
			*c.to = none
			continue
		}
		n, ok := nanosOf(c.text)
		if !ok {
			return r, fmt.Errorf("%s %q is no price in dollars like \"0.15\", with at most nine decimals", c.name, c.text)
		}
		*c.to = n
	}
	if r.input == none {
		return r, errors.New("no price of input")
	}
	return r, nil
}

// nanosOf reads dollars as nano dollars, exactly.
func nanosOf(s string) (int64, bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if whole == "" || point && fraction == "" || len(fraction) > 9 || len(whole) > 9 || !allDigits(whole) || !allDigits(fraction) {
		return 0, false
	}
	n := int64(0)
	for _, c := range []byte(whole + fraction + strings.Repeat("0", 9-len(fraction))) {
		n = n*10 + int64(c-'0')
	}
	return n, n < math.MaxInt64/2
}
