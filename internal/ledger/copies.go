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
	// minCopy is the length in bytes from which on a line of text is looked for within others: shorter ones ("assistant")
	// stand everywhere. Down to minWhole they are looked for as a text of their own.
	minCopy, minWhole = 12, 4
	// minDigits is how many a number has that is looked for.
	minDigits = 6
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
// what producers said about these. It looks for each line of it, also within JSON that is kept as text; for what is
// shorter than 12 bytes only as a whole, and not for less than 4; what is said in other words it does not find. With text
// it looks for that alone. Fields that are named themselves are not among them.
func (l *Ledger) Copies(ctx context.Context, tenant string, fields []ErasedField, text string) ([]Copy, error) {
	ctx = store.NoLag(ctx)
	c := copies{l: l, tenant: tenant, text: text, named: map[store.Position][]string{}, sought: map[string]*sought{}, seen: map[store.Position]bool{}}
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
	text   string                      // "": that of the fields
	named  map[store.Position][]string // paths; none: all of the record
	sought map[string]*sought          // by run
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
	records := func(fn func([]Fetched)) error {
		for some := range slices.Chunk(places, copyChunk) {
			list, err := c.l.Fetch(ctx, c.tenant, some, true)
			if err != nil {
				return err
			}
			fn(list)
		}
		return nil
	}
	if err := records(c.note); err != nil {
		return err
	}
	for _, s := range c.sought {
		s.part = c.text
	}
	return records(c.look)
}

// copyChunk is how many records are opened at once: content of one may have megabytes.
const copyChunk = 32

// note takes the texts of named fields.
func (c *copies) note(records []Fetched) {
	for i := range records {
		r := &records[i]
		s := c.sought[erasedRun(r.Leaf)]
		if s == nil {
			s = newSought()
			c.sought[erasedRun(r.Leaf)] = s
		}
		for path, o := range r.Open {
			if c.text == "" && c.isNamed(r.Position, path) && (len(c.named[r.Position]) > 0 || !beside[path]) {
				eachText(path, o.JSON, s.add)
			}
		}
	}
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
	for some := range slices.Chunk(places, copyChunk) {
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
			if path != "/actor" && (c.isNamed(r.Position, path) || c.sought[erasedRun(r.Leaf)].in(path, o.JSON)) {
				with(path)
			}
		}
		if len(paths) > 0 {
			slices.Sort(paths)
			c.found = append(c.found, Copy{Position: r.Position, ID: r.Leaf.ID, Kind: r.Kind, Log: r.Leaf.Log, Paths: paths})
		}
	}
}

// eachText calls fn for the texts of a JSON value: its strings and longer numbers, and those of JSON that a string is.
// Names of members are none; of attributes neither keys and types are, nor what says where a span comes from.
func eachText(path, text string, fn func(string)) {
	if path == "/attrs" {
		var attrs [][3]jsontext.Value
		if json.Unmarshal([]byte(text), &attrs) == nil {
			for _, a := range attrs {
				key, _ := jsontext.AppendUnquote(nil, a[0])
				if !slices.ContainsFunc(notSaid, func(p string) bool { return bytes.HasPrefix(key, []byte(p)) }) {
					eachText("", string(a[2]), fn)
				}
			}
			return
		}
	}
	d := jsontext.NewDecoder(strings.NewReader(text))
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return
		}
		if in, n := d.StackIndex(d.StackDepth()); tok.Kind() == '"' && in == '{' && n%2 == 1 {
			continue
		}
		switch s := strings.TrimSpace(tok.String()); {
		case tok.Kind() == '0' && len(s) >= minDigits:
			fn(s)
		case tok.Kind() != '"':
		case len(s) > 1 && (s[0] == '{' || s[0] == '[') && jsontext.Value(s).IsValid():
			eachText("", s, fn)
		default:
			fn(s)
		}
	}
}

// notSaid begin the keys of attributes that no agent has said.
var notSaid = []string{"resource.", "scope.", "otlp.", "span.", "link.", "log.", "event.time", "event.dropped"}

// sought are the texts that are looked for. Lines of minCopy bytes are found by their first bytes, so that it does not
// matter how many there are.
type sought struct {
	whole map[string]bool
	lines map[[minCopy]byte][]string
	part  string // one that was asked for, whatever its length; "" for none
}

func newSought() *sought {
	return &sought{whole: map[string]bool{}, lines: map[[minCopy]byte][]string{}}
}

func (s *sought) add(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case len(line) >= minCopy:
			key := [minCopy]byte([]byte(line))
			if !slices.Contains(s.lines[key], line) {
				s.lines[key] = append(s.lines[key], line)
			}
		case len(line) >= minWhole:
			s.whole[line] = true
		}
	}
}

// in reports whether one of them stands in a JSON value.
func (s *sought) in(path, text string) (found bool) {
	if s == nil || len(s.whole)+len(s.lines)+len(s.part) == 0 {
		return false
	}
	eachText(path, text, func(t string) {
		if !found {
			found = s.inText(t) || strings.Contains(t, `\`) && s.inText(unescape.Replace(t)) // JSON within a text
		}
	})
	return found
}

var unescape = strings.NewReplacer(`\n`, "\n", `\"`, `"`, `\/`, "/", `\t`, "\t", `\\`, `\`)

func (s *sought) inText(t string) bool {
	if s.part != "" && strings.Contains(t, s.part) {
		return true
	}
	for line := range strings.Lines(t) {
		if s.whole[strings.TrimSpace(line)] {
			return true
		}
	}
	if len(s.lines) == 0 {
		return false
	}
	for i := 0; i+minCopy <= len(t); i++ {
		for _, line := range s.lines[[minCopy]byte([]byte(t[i:i+minCopy]))] {
			if strings.HasPrefix(t[i:], line) {
				return true
			}
		}
	}
	return false
}
