package export

import (
	"path"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// choice says which sealed paths are disclosed.
type choice struct {
	notPermitted       bool
	noAudit            bool     // as in Request
	synthetic          *bool    // as in Request
	disclose, withhold patterns // no disclose: all
}

func parseChoice(r *Request) (c choice, err error) {
	c.notPermitted, c.noAudit, c.synthetic = r.NotPermitted, r.NoAudit, r.Synthetic
	if c.disclose, err = parsePatterns("disclose", r.Disclose); err != nil {
		return c, err
	}
	c.withhold, err = parsePatterns("withhold", r.Withhold)
	return c, err
}

// reason returns why a sealed field that can be opened is not disclosed, or "".
func (c *choice) reason(l *evidence.Leaf, sealed string) verify.Reason {
	switch {
	case alwaysDisclosed(l, sealed):
		return ""
	case c.notPermitted || c.hides(l) || c.noAudit && ownAudit(l):
		return verify.NotPermitted
	case len(c.disclose) > 0 && !c.disclose.has(sealed) || c.withhold.has(sealed):
		return verify.Requested
	}
	return ""
}

// ownAudit reports an audit entry of the server's own, such as that of an erasure: its
// reason and actor are for who may read the audit topic. What producers say of a run
// is for who may read the run.
func ownAudit(l *evidence.Leaf) bool {
	return l.Kind == evidence.KindAudit && evidence.ServerOnly(l.Kind, l.Text("event_type"))
}

// hides reports whether a record is one of those that the requester may not see.
func (c *choice) hides(l *evidence.Leaf) bool {
	n, _ := l.Int("is_synthetic")
	return c.synthetic != nil && *c.synthetic != (n != 0)
}

// patterns are patterns of path.Match over sealed paths, without the leading
// slash.
type patterns []string

// parsePatterns reads patterns of path.Match over sealed paths. The leading
// slash may be left out, so "*" is every path.
func parsePatterns(field string, list []string) (patterns, error) {
	var out patterns
	for _, p := range list {
		p = strings.TrimPrefix(p, "/")
		if _, err := path.Match(p, "x"); err != nil || p == "" {
			return nil, invalid(field, "is not a pattern of sealed paths, such as /prompt or *")
		}
		if !matchesAny(p) {
			return nil, invalid(field, "matches no sealed path of any kind of record")
		}
		out = append(out, p)
	}
	return out, nil
}

// matchesAny tells a pattern from a typing error, which would disclose what
// was meant to be withheld.
func matchesAny(pattern string) bool {
	for _, k := range evidence.Kinds() {
		for _, f := range evidence.SealedFields(k) {
			if ok, _ := path.Match(pattern, strings.TrimPrefix(f.Path, "/")); ok {
				return true
			}
		}
	}
	return false
}

func (p patterns) has(sealed string) bool {
	for _, one := range p {
		if ok, _ := path.Match(one, strings.TrimPrefix(sealed, "/")); ok {
			return true
		}
	}
	return false
}

// alwaysDisclosed reports the targets of an erasure or expiry: without them
// nobody can tell what was erased by order from what was lost.
func alwaysDisclosed(l *evidence.Leaf, sealed string) bool {
	return sealed == pathTargets && coverReason(l) != ""
}

const pathTargets = "/targets"

// Events of the records that say what is gone.
const (
	eventErased  = "ErasureExecuted"
	eventExpired = "RetentionApplied"
)

// goneEvents holds for the records that say what is gone.
var goneEvents = store.Condition{Field: "event_type", Values: []string{eventErased, eventExpired}}

// coverReason returns why the fields that a record names are gone, or "" where
// it is no record of an erasure or expiry.
func coverReason(l *evidence.Leaf) verify.Reason {
	if l.Kind != evidence.KindAudit {
		return ""
	}
	switch l.Text("event_type") {
	case eventErased:
		return verify.Erased
	case eventExpired:
		return verify.Expired
	}
	return ""
}

// discloser writes what a bundle says of the sealed fields of one log.
type discloser struct {
	choice    *choice
	counts    *logCompleteness
	disclosed *fileWriter // nil, as withheld is: nothing is written
	withheld  *fileWriter
	fields    []shownField
	line      []byte
}

// record accounts for each sealed field of a record: its value, or why not.
// gone says why a field that cannot be opened any more is gone. The list that it
// returns is good until the next call.
func (d *discloser) record(l *evidence.Leaf, open map[string]ledger.Opened, gone func(path string) verify.Reason) ([]shownField, error) {
	d.fields = d.fields[:0]
	for _, h := range l.H { // sorted by path, as the lines must be
		o, ok := open[h.Path]
		if !ok {
			if err := d.withhold(l.Seq, h.Path, gone(h.Path)); err != nil {
				return nil, err
			}
			continue
		}
		// What was altered must not be passed off as a disclosure.
		if evidence.Commit(h.Path, o.Salt, []byte(o.JSON)) != h.Hash {
			return nil, tampered("the stored content of %s is not what the leaf commits to", h.Path)
		}
		if reason := d.choice.reason(l, h.Path); reason != "" {
			if err := d.withhold(l.Seq, h.Path, reason); err != nil {
				return nil, err
			}
			continue
		}
		d.fields = append(d.fields, shownField{path: h.Path, json: o.JSON})
		d.counts.Disclosed++
		if d.disclosed == nil {
			continue
		}
		line := verify.Disclosure{Seq: l.Seq, Path: h.Path, Salt: o.Salt, Value: []byte(o.JSON)}
		d.line = line.Append(d.line[:0])
		if _, err := d.disclosed.Write(d.line); err != nil {
			return nil, err
		}
	}
	return d.fields, nil
}

func (d *discloser) withhold(seq int64, path string, reason verify.Reason) error {
	d.fields = append(d.fields, shownField{path: path, withheld: reason})
	d.counts.Withheld[string(reason)]++
	if d.withheld == nil {
		return nil
	}
	w := verify.Withheld{Seq: seq, Path: path, Reason: reason}
	d.line = w.Append(d.line[:0])
	_, err := d.withheld.Write(d.line)
	return err
}
