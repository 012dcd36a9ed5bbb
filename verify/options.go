package verify

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// Options say what the auditor knows and trusts. Nothing in a bundle is
// trusted that does not follow from it.
type Options struct {
	// Keys are the verifier keys of logs, name+hex+base64, as the auditor
	// got them from their operator by another way than the bundle.
	Keys []string
	// Policy is a tlog-policy file: witnesses, their quorum, and further
	// keys of logs. Nil: no witnesses are asked for.
	Policy []byte
	// TimeRoots are the root certificates, PEM, of the time-stamping authorities that
	// the auditor trusts. Nil: time stamps are not checked, which is said
	// (W_TIME_UNCHECKED).
	TimeRoots []byte
	// Since is a signed checkpoint that the auditor kept from an earlier
	// verification. Nil: none is compared.
	Since []byte
	// Progress, where not nil, is called now and then, by one goroutine at
	// a time.
	Progress func(Progress)
	// Workers is the number of leaves' bundles that are checked at the same
	// time. 0: one for each processor that Go may use.
	Workers int
}

// Progress says how far a verification has come.
type Progress struct {
	Stage string // "files", or the directory of a log, e.g. "logs/0"
	Done  int64  // bytes for files, leaves for a log
	Total int64
}

// trust is what Options say, parsed.
type trust struct {
	keys   map[string]c2sp.VKey // by origin
	policy *Policy              // nil where none is given
	since  *c2sp.Checkpoint     // nil where none is given, or its log has no key
	kept   *c2sp.Checkpoint     // the checkpoint of Since, verified or not
}

func (o *Options) parse() (*trust, error) {
	t := &trust{keys: map[string]c2sp.VKey{}}
	add := func(k c2sp.VKey) error {
		if k.Alg != c2sp.Ed25519 {
			return invalid("key %s is of a witness: it belongs in a policy", k.Name)
		}
		if !evidence.ValidOrigin(k.Name) {
			return invalid("key %s: its name is not the origin of a log", k.Name)
		}
		if old, ok := t.keys[k.Name]; ok && old != k {
			return invalid("two keys for the log %s", k.Name)
		}
		t.keys[k.Name] = k
		return nil
	}
	for _, s := range o.Keys {
		k, err := c2sp.ParseVKey(s)
		if err != nil {
			return nil, err
		}
		if err := add(k); err != nil {
			return nil, err
		}
	}
	if o.Policy != nil {
		p, err := ParsePolicy(o.Policy)
		if err != nil {
			return nil, err
		}
		for _, l := range p.Logs {
			// A policy may list logs of others; they are of no use here.
			if evidence.ValidOrigin(l.vkey.Name) {
				if err := add(l.vkey); err != nil {
					return nil, err
				}
			}
		}
		t.policy = p
	}
	if o.Since != nil {
		c, _, err := c2sp.ParseNote(o.Since)
		if err != nil {
			return nil, fmt.Errorf("the checkpoint that was kept: %w", err)
		}
		t.kept = &c
		if k, ok := t.keys[c.Origin]; ok {
			// ErrInvalid, not ErrTampered: it is the auditor's own file.
			if _, err := c2sp.Verify(o.Since, k); err != nil {
				return nil, invalid("the checkpoint that was kept: %v", err)
			}
			t.since = &c
		}
	}
	return t, nil
}
