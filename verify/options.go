package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
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
	roots  *x509.CertPool       // nil where none are given
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
	if o.TimeRoots != nil {
		var err error
		if t.roots, err = parseRoots(o.TimeRoots); err != nil {
			return nil, err
		}
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

// parseRoots reads certificates in PEM: at least one, and nothing else but
// text between them.
func parseRoots(b []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	n := 0
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != "CERTIFICATE" {
			return nil, invalid("time roots: a PEM block of type %.50q", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, invalid("time roots: certificate %d: %v", n+1, err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 || bytes.Contains(b, []byte("-----BEGIN")) {
		return nil, invalid("time roots: no certificate in PEM, or one that is cut")
	}
	return pool, nil
}
