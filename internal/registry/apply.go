package registry

import (
	"bytes"
	"fmt"
	"io/fs"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
)

// Outcome is what Apply did.
type Outcome struct {
	Digest       string   `json:"digest"`       // of the observation
	Capabilities []Change `json:"capabilities"` // those that it says something of, by id
}

// Change is what an observation made of a capability.
type Change struct {
	ID      string `json:"id"`
	From    string `json:"from"`
	To      string `json:"to"`
	Reason  string `json:"reason"`
	Changed bool   `json:"changed"` // something was written, be it only a count
}

// Apply changes the status of capabilities in the registry below dir by what was
// observed, and the intents that they back. now is the time by which the registry is
// read (see [Load]).
//
// It refuses what [File.Verify] does; an observation of another tenant than the one that
// scenarios run in, or of scenarios not all of which was checked; one of another definition than the
// registry's, or one that is older than the newest applied to a capability (both
// evidence.ErrConflict); a registry that is not well formed, or that another process is
// changing (evidence.ErrUnavailable). Then nothing is changed. The same observation
// again changes nothing and is no error.
//
// Files are replaced one by one, a capability's own after those of its intents. Where
// the process dies in between, the same call again does the rest.
func Apply(dir string, f *File, keys []string, now time.Time) (*Outcome, error) {
	leaf, err := f.verify(keys)
	if err != nil {
		return nil, err
	}
	d, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	defer d.close()
	out, err := d.apply(f, leaf, now)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return out, nil
}

func (d *registryDir) apply(f *File, leaf *evidence.Leaf, now time.Time) (*Outcome, error) {
	p := plan{fsys: d.root.FS(), files: map[string][]byte{}}
	if err := p.mend(); err != nil {
		return nil, err
	}
	reg, err := Load(overlay{p.fsys, p.files}, now)
	if err != nil {
		return nil, err
	}
	o := &f.Observation
	if o.Tenant != evidence.SyntheticTenant {
		return nil, fmt.Errorf("the observation is of tenant %q, and scenarios run in %s: %w", o.Tenant, evidence.SyntheticTenant, evidence.ErrInvalid)
	}
	if reg.Digest != o.Registry {
		return nil, fmt.Errorf("the observation is of the definition %s, and the registry is %s: observe again: %w", o.Registry, reg.Digest, evidence.ErrConflict)
	}
	if err := reg.knows(o); err != nil {
		return nil, err
	}
	a := Applied{ID: f.Receipt.ID, Digest: o.Digest(), Registry: o.Registry, Log: leaf.Log, LeafIndex: leaf.Seq, ObservedAt: leaf.RecordedAt}
	p.outcome = Outcome{Digest: a.Digest, Capabilities: []Change{}}
	if err := p.decide(reg, o, a); err != nil {
		return nil, err
	}
	if err := p.check(reg, now); err != nil {
		return nil, err
	}
	return &p.outcome, d.replace(p.order, p.files)
}

// plan gathers what will be written.
type plan struct {
	fsys    fs.FS
	files   map[string][]byte // new content of files
	order   []string          // in which they are written
	want    []*Capability     // as they must be read afterwards
	outcome Outcome
}

// read returns a file as it will be.
func (p *plan) read(name string) ([]byte, error) {
	if text, ok := p.files[name]; ok {
		return text, nil
	}
	return fs.ReadFile(p.fsys, name)
}

// write plans the new content of a file, unless it has it already.
func (p *plan) write(name string, text []byte) error {
	old, err := p.read(name)
	if err != nil || bytes.Equal(old, text) {
		return err
	}
	if _, planned := p.files[name]; !planned {
		p.order = append(p.order, name)
	}
	p.files[name] = text
	return nil
}

// follow plans what intents say of their capability and themselves.
func (p *plan) follow(file, status string, verified bool) error {
	text, err := p.read(file)
	if err == nil {
		text, err = setWord(text, status, "capability", "status")
	}
	if err == nil {
		text, err = setWord(text, strconv.FormatBool(verified), "sdsr", "verified")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return p.write(file, text)
}

// mend lets intents say what their capability does. They differ where an earlier Apply
// died in between. A file that cannot be read so is left to Load.
func (p *plan) mend() error {
	status := map[string]string{}
	err := eachYAML(p.fsys, "capabilities/*.yaml", func(_ string, c *Capability) { status[c.ID] = c.Status })
	if err != nil {
		return err
	}
	return eachYAML(p.fsys, "intents/*.yaml", func(file string, i *Intent) {
		if s, ok := status[i.Capability.ID]; ok {
			_ = p.follow(file, s, i.verifiedBy(s, verdict{}))
		}
	})
}

// eachYAML decodes the files of a pattern that can be.
func eachYAML[T any](fsys fs.FS, pattern string, do func(file string, v *T)) error {
	names, err := fs.Glob(fsys, pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		v := new(T)
		if yaml.Unmarshal(text, v) == nil {
			do(name, v)
		}
	}
	return nil
}

// decide plans what the observation makes of each capability.
func (p *plan) decide(reg *Registry, o *Observation, a Applied) error {
	for _, c := range reg.Capabilities {
		v := o.judge(c)
		if len(v.ran) == 0 {
			continue
		}
		if a.isOlder(c.Observation) {
			return fmt.Errorf("the observation was recorded at %s, before the newest that was applied to %s (%s, at %s): %w",
				a.ObservedAt, c.ID, c.Observation.Digest, c.Observation.ObservedAt, evidence.ErrConflict)
		}
		n, change := c.next(v, a, reg.Rules.Trusted)
		p.outcome.Capabilities = append(p.outcome.Capabilities, change)
		if !change.Changed {
			continue
		}
		for _, i := range reg.Intents {
			if i.Capability.ID != c.ID {
				continue
			}
			if err := p.follow(i.File, n.Status, i.verifiedBy(n.Status, v)); err != nil {
				return err
			}
		}
		if err := p.rewrite(c, n); err != nil {
			return fmt.Errorf("%s: %w", c.File, err)
		}
		p.want = append(p.want, n)
	}
	return nil
}

// rewrite plans the file of a capability.
func (p *plan) rewrite(was, is *Capability) error {
	text, err := p.read(was.File)
	if err != nil {
		return err
	}
	if text, err = setWord(text, is.Status, "status"); err != nil {
		return err
	}
	passing := setNull
	if is.Passing != nil {
		passing = setMapping(is.Passing)
	}
	for _, m := range []struct {
		name   string
		change func(*yaml.Node) error
	}{
		{"observation", setMapping(is.Observation)},
		{"passing", passing},
		{"history", setHistory(was.History, is.History)},
	} {
		if m.name == "history" && len(is.History) == 0 {
			continue
		}
		if text, err = setMember(text, m.name, m.change); err != nil {
			return err
		}
	}
	return p.write(was.File, text)
}

// check reads the registry as it will be, and looks whether it says just what it should.
func (p *plan) check(was *Registry, now time.Time) error {
	is, err := Load(overlay{p.fsys, p.files}, now)
	if err != nil {
		return fmt.Errorf("what would be written is not well formed: %w", err)
	}
	if is.Digest != was.Digest {
		return fmt.Errorf("what would be written is another definition: %w", evidence.ErrInvalid)
	}
	for _, want := range p.want {
		for _, c := range is.Capabilities {
			if c.ID == want.ID && !reflect.DeepEqual(c, want) {
				return fmt.Errorf("%s cannot be edited in the form that it has: write observation, passing and history as in the other files: %w", c.File, evidence.ErrInvalid)
			}
		}
	}
	return nil
}
