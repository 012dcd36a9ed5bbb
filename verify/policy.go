package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/internal/c2sp"
)

// maxPolicy is the greatest size of a policy file in bytes.
const maxPolicy = 1 << 20

// Policy is a parsed tlog-policy file (c2sp.org/tlog-policy): logs,
// witnesses, and the quorum of witnesses that makes a checkpoint valid.
type Policy struct {
	Logs      []PolicyLog
	Witnesses []PolicyWitness

	groups map[string]*group // by name, witnesses too
	quorum *group            // nil for "quorum none"
}

// PolicyLog is a log line.
type PolicyLog struct {
	Key string // verifier key; its name is the log's origin
	URL string // empty where the line has none

	vkey c2sp.VKey
}

// PolicyWitness is a witness line.
type PolicyWitness struct {
	Name string // within the policy
	Key  string // verifier key, type 0x04
	URL  string // empty where the line has none

	vkey c2sp.VKey
}

// group is a witness (no members) or a group of witnesses and groups.
type group struct {
	vkey    c2sp.VKey
	members []*group
	need    int
	used    bool // is a member: a name may be one only once
}

// ParsePolicy reads a tlog-policy file. It is strict: unknown lines, names
// that are not defined before, duplicate names or keys, a name that is a
// member twice, and a missing or second quorum are errors that name the line
// and wrap evidence.ErrInvalid.
func ParsePolicy(b []byte) (*Policy, error) {
	if len(b) > maxPolicy {
		return nil, invalid("policy: over %d bytes", maxPolicy)
	}
	for i, c := range b {
		if c < 0x20 && c != '\t' && c != '\n' || c == 0x7f {
			return nil, invalid("policy: control character at byte %d", i)
		}
	}
	if n := len(b); n > 0 && b[n-1] != '\n' {
		return nil, invalid("policy: the last line does not end")
	}
	p := &policyParser{p: &Policy{groups: map[string]*group{}}, keys: map[string]bool{}}
	for i, line := range strings.Split(string(b), "\n") {
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if err := p.line(words); err != nil {
			return nil, fmt.Errorf("policy, line %d: %w", i+1, err)
		}
	}
	if !p.hasQuorum {
		return nil, invalid("policy: no quorum line")
	}
	return p.p, nil
}

type policyParser struct {
	p         *Policy
	keys      map[string]bool // public keys, apart for logs and witnesses
	hasQuorum bool
}

func (p *policyParser) line(words []string) error {
	switch words[0] {
	case "log":
		return p.log(words[1:])
	case "witness":
		return p.witness(words[1:])
	case "group":
		return p.group(words[1:])
	case "quorum":
		return p.quorum(words[1:])
	default:
		return invalid("unknown line %q", words[0])
	}
}

func (p *policyParser) log(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return invalid("must be: log <vkey> [<url>]")
	}
	k, err := p.key("log", args[0], c2sp.Ed25519)
	if err != nil {
		return err
	}
	l := PolicyLog{Key: args[0], vkey: k}
	if len(args) == 2 {
		l.URL = args[1]
	}
	p.p.Logs = append(p.p.Logs, l)
	return nil
}

func (p *policyParser) witness(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return invalid("must be: witness <name> <vkey> [<url>]")
	}
	k, err := p.key("witness", args[1], c2sp.Cosignature)
	if err != nil {
		return err
	}
	w := PolicyWitness{Name: args[0], Key: args[1], vkey: k}
	if len(args) == 3 {
		w.URL = args[2]
	}
	if err := p.define(args[0], &group{vkey: k}); err != nil {
		return err
	}
	p.p.Witnesses = append(p.p.Witnesses, w)
	return nil
}

func (p *policyParser) key(role, s string, alg c2sp.Alg) (c2sp.VKey, error) {
	k, err := c2sp.ParseVKey(s)
	if err != nil {
		return k, err
	}
	if k.Alg != alg {
		return k, invalid("the key of a %s must have type 0x%02x, not 0x%02x", role, byte(alg), byte(k.Alg))
	}
	if id := role + string(k.Public[:]); p.keys[id] {
		return k, invalid("the same public key for a second %s", role)
	} else {
		p.keys[id] = true
	}
	return k, nil
}

func (p *policyParser) define(name string, g *group) error {
	if name == "none" || p.p.groups[name] != nil {
		return invalid("name %q is taken", name)
	}
	p.p.groups[name] = g
	return nil
}

func (p *policyParser) group(args []string) error {
	if len(args) < 3 {
		return invalid("must be: group <name> all|any|<k> <name>…")
	}
	g := &group{}
	for _, name := range args[2:] {
		m := p.p.groups[name]
		switch {
		case m == nil:
			return invalid("member %q is not defined before", name)
		case m.used:
			return invalid("%q is a member twice", name)
		}
		m.used = true
		g.members = append(g.members, m)
	}
	switch args[1] {
	case "any":
		g.need = 1
	case "all":
		g.need = len(g.members)
	default:
		// Written again as the same text it has no sign and no leading zero.
		if n, err := fmt.Sscanf(args[1], "%d", &g.need); n != 1 || err != nil ||
			fmt.Sprint(g.need) != args[1] || g.need < 1 || g.need > len(g.members) {
			return invalid("threshold %q is not all, any or 1 to %d", args[1], len(g.members))
		}
	}
	return p.define(args[0], g)
}

func (p *policyParser) quorum(args []string) error {
	if len(args) != 1 {
		return invalid("must be: quorum <name>")
	}
	if p.hasQuorum {
		return invalid("a second quorum")
	}
	p.hasQuorum = true
	if args[0] == "none" {
		return nil
	}
	g := p.p.groups[args[0]]
	if g == nil {
		return invalid("%q is not defined before", args[0])
	}
	p.p.quorum = g
	return nil
}

// Met reports whether cosignatures by the witnesses with these verifier keys are a
// quorum.
func (p *Policy) Met(keys []string) bool {
	by := map[c2sp.VKey]bool{}
	for _, w := range p.Witnesses {
		by[w.vkey] = slices.Contains(keys, w.Key)
	}
	return p.met(by)
}

// met reports whether cosignatures by these keys are a quorum.
func (p *Policy) met(by map[c2sp.VKey]bool) bool {
	return p.quorum == nil || p.quorum.met(by)
}

func (g *group) met(by map[c2sp.VKey]bool) bool {
	if len(g.members) == 0 {
		return by[g.vkey]
	}
	n := 0
	for _, m := range g.members {
		if m.met(by) {
			n++
		}
	}
	return n >= g.need
}
