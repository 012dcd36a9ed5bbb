package export

import (
	"bytes"
	_ "embed" // controls.yaml
	"fmt"
	"slices"
	"strconv"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

//go:embed controls.yaml
var controlsText []byte

// control is a clause of a framework that an export supports.
type control struct {
	Framework string     `yaml:"framework"`
	ID        string     `yaml:"id"`
	Title     string     `yaml:"title"`
	Supports  string     `yaml:"supports"`
	Evidence  string     `yaml:"evidence"`
	Select    []selector `yaml:"select"`
}

// selector says which records count for a control.
type selector struct {
	Kinds  []string `yaml:"kinds"`
	Events []string `yaml:"events"` // none: all

	kinds []evidence.Kind
}

// controlCount is a control in completeness.json, with how many records of the period
// count for it.
type controlCount struct {
	Framework string `json:"framework"`
	ID        string `json:"id"`
	Title     string `json:"title"`
	Supports  string `json:"supports"`
	Evidence  string `json:"evidence"`
	Records   int64  `json:"records"`
}

// controls are those of controls.yaml, read once. The file is part of the program, so
// a mistake in it is one of the program.
var controls = sync.OnceValue(func() []control {
	list, err := parseControls(controlsText)
	if err != nil {
		panic("export: " + err.Error())
	}
	return list
})

// DefaultControls returns the YAML of the mapping of records to clauses.
func DefaultControls() []byte { return slices.Clone(controlsText) }

// CheckControls reads a mapping of that form. The error wraps evidence.ErrInvalid and
// names the entry at fault.
func CheckControls(text []byte) error {
	_, err := parseControls(text)
	return err
}

func parseControls(b []byte) ([]control, error) {
	var file struct {
		Controls []control `yaml:"controls"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("controls: %w: %w", evidence.ErrInvalid, err)
	}
	seen := map[[2]string]bool{}
	for i := range file.Controls {
		c := &file.Controls[i]
		name := [2]string{c.Framework, c.ID}
		if c.Framework == "" || c.ID == "" || c.Title == "" || c.Supports == "" || c.Evidence == "" || len(c.Select) == 0 || seen[name] {
			return nil, fmt.Errorf("controls: %w: entry %d lacks a member, or stands twice", evidence.ErrInvalid, i+1)
		}
		seen[name] = true
		for k := range c.Select {
			s := &c.Select[k]
			for _, kind := range s.Kinds {
				s.kinds = append(s.kinds, evidence.ParseKind(kind))
			}
			if len(s.kinds) == 0 || slices.Contains(s.kinds, 0) {
				return nil, fmt.Errorf("controls: %w: %s %s selects records of an unknown kind", evidence.ErrInvalid, c.Framework, c.ID)
			}
		}
	}
	return file.Controls, nil
}

// selects reports whether a record counts for a control.
func (c *control) selects(l *evidence.Leaf) bool {
	event := l.Text("event_type")
	if l.Kind == evidence.KindExport {
		event = l.Text("status")
	}
	return slices.ContainsFunc(c.Select, func(s selector) bool {
		return slices.Contains(s.kinds, l.Kind) && (len(s.Events) == 0 || slices.Contains(s.Events, event))
	})
}

// tally counts records by control. What counts follows from kind and event, of which
// there are few.
type tally struct {
	counts []controlCount
	of     map[tallyKey][]int // places in counts
}

type tallyKey struct {
	kind  evidence.Kind
	event string
}

// maxTally bounds the events that are remembered: producers have their own.
const maxTally = 4096

func newTally() *tally {
	t := &tally{of: map[tallyKey][]int{}}
	for _, c := range controls() {
		t.counts = append(t.counts, controlCount{c.Framework, c.ID, c.Title, c.Supports, c.Evidence, 0})
	}
	return t
}

// add counts a record; a nil tally counts nothing.
func (t *tally) add(l *evidence.Leaf) {
	if t == nil {
		return
	}
	key := tallyKey{l.Kind, l.Text("event_type")}
	if l.Kind == evidence.KindExport {
		key.event = l.Text("status")
	}
	at, ok := t.of[key]
	if !ok {
		for i, c := range controls() {
			if c.selects(l) {
				at = append(at, i)
			}
		}
		if len(t.of) < maxTally {
			t.of[key] = at
		}
	}
	for _, i := range at {
		t.counts[i].Records++
	}
}

// columnsControls are the columns of the rows that say which controls an export of
// scope compliance supports; in column record stands control.
var columnsControls = []string{"control_framework", "control_id", "control_title", "control_supports", "control_evidence", "control_records"}

// extraColumns are those that the export's table has beside its records'.
func (j *job) extraColumns() []string {
	if j.req.Scope == ScopeCompliance {
		return columnsControls
	}
	return nil
}

// controls writes a row for each control.
func (t *table) controls(list []controlCount) error {
	for _, c := range list {
		clear(t.row)
		t.set("record", "control")
		for i, text := range []string{c.Framework, c.ID, c.Title, c.Supports, c.Evidence, strconv.FormatInt(c.Records, 10)} {
			t.set(columnsControls[i], text)
		}
		t.set("verifiable_form", FormatZIP)
		if err := t.write(t.row); err != nil {
			return err
		}
	}
	return nil
}
