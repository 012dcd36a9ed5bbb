package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Copy is a record of which other sealed fields hold some of the text that an erasure of single fields
// names: an agent says the same in one step after another, telemetry is kept verbatim beside what was
// read from it, and the end of a run repeats its first and last words.
type Copy struct {
	store.Position
	ID    evidence.ID
	Kind  evidence.Kind
	Log   string // its origin
	Paths []string
}

const (
	// minCopy is the length in bytes from which on a text is looked for: shorter ones ("assistant") stand
	// everywhere. Where nothing is as long, the longest is.
	minCopy = 12
	// maxSought bounds the texts that are looked for, the longest first.
	maxSought = 256
)

// digests are the sealed fields that are digests of others, by kind: of a short text it is the text.
var digests = map[evidence.Kind]map[string][]string{
	evidence.KindLLMRun:    {"/prompt": {"/prompt_hash"}, "/response": {"/response_hash"}},
	evidence.KindTraceStep: {"/params": {"/input_hash"}, "/prompt": {"/input_hash"}, "/outcome_data": {"/output_hash"}, "/response": {"/output_hash"}},
}

// beside are fields that say who, or repeat what is in others: where all of a record is named, nothing else is looked
// for because of them.
var beside = map[string]bool{
	"/actor": true, "/subject": true, "/attrs": true, "/prompt_hash": true, "/response_hash": true, "/input_hash": true, "/output_hash": true,
	"/rng_state_before": true,
}

// Copies returns where else the text of these fields stands: in the same records, in the others of their runs, and in
// what producers said about these. It compares texts, whole or as a part of another, also within JSON that is
// kept as text; what is said in other words it does not find. Fields that are named themselves are not among
// them.
func (l *Ledger) Copies(ctx context.Context, tenant string, fields []ErasedField) ([]Copy, error) {
	ctx = store.NoLag(ctx)
	c := copies{l: l, tenant: tenant, named: map[store.Position][]string{}, sought: map[string][]string{}, seen: map[store.Position]bool{}}
	if err := c.seek(ctx, fields); err != nil {
		return nil, fmt.Errorf("copies: %w", err)
	}
	for _, run := range slices.Sorted(maps.Keys(c.sought)) {
		if run == "" {
			continue // records without a run have copies in themselves alone
		}
		if err := c.run(ctx, run); err != nil {
			return nil, fmt.Errorf("copies of run %q: %w", run, err)
		}
	}
	slices.SortFunc(c.found, func(a, b Copy) int { return comparePositions(a.Position, b.Position) })
	return c.found, nil
}

// copies is one search.
type copies struct {
	l      *Ledger
	tenant string
	named  map[store.Position][]string // paths; none: all of the record
	sought map[string][]string         // texts by run
	seen   map[store.Position]bool
	found  []Copy
}

// seek gathers the texts that are looked for, and looks at the records themselves.
func (c *copies) seek(ctx context.Context, fields []ErasedField) error {
	var places []store.Found
	for _, f := range fields {
		c.named[f.Position] = f.Paths
		place, err := c.l.Place(ctx, c.tenant, f.Position)
		if errors.Is(err, evidence.ErrTampered) {
			continue // its row has gone, as Erase sees, too
		}
		if err != nil {
			return err
		}
		places = append(places, place)
	}
	records, err := c.l.Fetch(ctx, c.tenant, places, true)
	if err != nil {
		return err
	}
	for i := range records {
		r := &records[i]
		texts := c.sought[r.Leaf.Run]
		for path, o := range r.Open {
			switch {
			case !c.isNamed(r.Position, path):
			case path == "/attrs" && len(c.named[r.Position]) > 0:
				texts = attrTexts(texts, o.JSON)
			case len(c.named[r.Position]) > 0 || !beside[path]:
				texts = textsOf(texts, o.JSON)
			}
		}
		c.sought[r.Leaf.Run] = texts
	}
	for run, texts := range c.sought {
		c.sought[run] = choose(texts)
	}
	c.look(records)
	return nil
}

func (c *copies) isNamed(at store.Position, path string) bool {
	paths, ok := c.named[at]
	return ok && (len(paths) == 0 || slices.Contains(paths, path))
}

// run looks at all records of a run, and at what was said about it.
func (c *copies) run(ctx context.Context, run string) error {
	var places []store.Found
	err := c.l.store.RunRecords(ctx, c.tenant, run, func(r store.RunRecord) error {
		places = append(places, store.Found{Kind: r.Kind, Position: r.Position, Segment: r.Segment, ActorSegment: r.ActorSegment})
		return nil
	})
	if err != nil {
		return err
	}
	q := store.Query{Tenant: c.tenant, Kind: evidence.KindAudit, Limit: aboutPage, Where: []store.Condition{{Field: "about_run", Values: []string{run}}}}
	for {
		page, err := c.l.Find(ctx, q)
		if err != nil {
			return err
		}
		places = append(places, page...)
		if len(page) < q.Limit {
			break
		}
		q.After = &page[len(page)-1].Position
	}
	for some := range slices.Chunk(places, readChunk) {
		records, err := c.l.Fetch(ctx, c.tenant, some, true)
		if err != nil {
			return err
		}
		c.look(slices.DeleteFunc(records, func(f Fetched) bool { return f.Leaf.Run != run && !quoting(f.Leaf) || namesTargets(f.Leaf) }))
	}
	return nil
}

// look notes the copies in records.
func (c *copies) look(records []Fetched) {
	for i := range records {
		r := &records[i]
		if c.seen[r.Position] {
			continue
		}
		c.seen[r.Position] = true
		var paths []string
		with := func(path string) { // and its digests
			for _, p := range append([]string{path}, digests[r.Kind][path]...) {
				if _, there := r.Open[p]; there && !c.isNamed(r.Position, p) && !slices.Contains(paths, p) {
					paths = append(paths, p)
				}
			}
		}
		for path, o := range r.Open {
			if path != "/actor" && (c.isNamed(r.Position, path) || holds(o.JSON, c.sought[erasedRun(r.Leaf)])) {
				with(path)
			}
		}
		if len(paths) > 0 {
			slices.Sort(paths)
			c.found = append(c.found, Copy{Position: r.Position, ID: r.Leaf.ID, Kind: r.Kind, Log: r.Leaf.Log, Paths: paths})
		}
	}
}

// textsOf adds the texts of a JSON value: itself where it is none, the strings in it, and those of JSON that a string
// is. Names of members are none.
func textsOf(dst []string, text string) []string {
	if len(text) > 0 && text[0] != '"' {
		dst = append(dst, text)
	}
	d := jsontext.NewDecoder(strings.NewReader(text))
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return dst
		}
		if tok.Kind() != '"' {
			continue
		}
		if in, n := d.StackIndex(d.StackDepth()); in == '{' && n%2 == 1 {
			continue
		}
		s := strings.TrimSpace(tok.String())
		if len(s) > 1 && (s[0] == '{' || s[0] == '[') && jsontext.Value(s).IsValid() {
			dst = textsOf(dst, s)
		} else if s != "" {
			dst = append(dst, s)
		}
	}
}

// attrTexts is textsOf of attributes: keys and types are not what was said.
func attrTexts(dst []string, text string) []string {
	var attrs [][3]jsontext.Value
	if err := json.Unmarshal([]byte(text), &attrs); err != nil {
		return dst
	}
	for _, a := range attrs {
		dst = textsOf(dst, string(a[2]))
	}
	return dst
}

// choose keeps those that are worth looking for.
func choose(texts []string) []string {
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) })
	texts = slices.Compact(texts)
	n := 0
	for n < len(texts) && n < maxSought && (len(texts[n]) >= minCopy || n == 0) {
		n++
	}
	return texts[:n]
}

// holds reports whether a JSON value has one of these texts in it.
func holds(text string, sought []string) bool {
	if len(sought) == 0 {
		return false
	}
	all := []byte(strings.Join(textsOf(nil, text), "\x00"))
	return slices.ContainsFunc(sought, func(s string) bool { return bytes.Contains(all, []byte(s)) })
}
