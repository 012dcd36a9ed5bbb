package mirror

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/verify"
)

// Config says what to copy. URL, Keys and Dir are required.
type Config struct {
	// URL is the address of the server. Where it ends in the 12 hex digits of the
	// log, it is that of a directory as a mirror keeps it, and a successor stands
	// beside it.
	URL string
	// Keys are verifier keys of logs, as they came by another way than from the
	// server. The first is of the log to begin with.
	Keys []string
	Dir  string
	// APIKey is sent as a bearer token; Tenant only with a credential of the platform.
	APIKey, Tenant string
	// Policy is a tlog-policy file: witnesses and how many of them must have cosigned
	// a checkpoint before it is copied. nil: none are asked for.
	Policy []byte
	// RootCAs are those that the server's certificate is checked with. Default: the
	// system's.
	RootCAs *x509.CertPool
	// Timeout bounds one request. Default 60 s. Tries is how often it is made.
	// Default 4.
	Timeout time.Duration
	Tries   int
	// Report is told how far it has come; nil: nobody is.
	Report func(Progress)
	// Transport makes the requests. Default: one of its own.
	Transport http.RoundTripper
}

// Progress says how far a copy has come.
type Progress struct {
	Log  string `json:"log"`
	Size int64  `json:"size"` // leaves that are checked and written
	Of   int64  `json:"of"`   // leaves of the checkpoint that it goes to
	// Kept: all of the checkpoint is in the directory now.
	Kept       bool   `json:"kept"`
	Checkpoint string `json:"checkpoint,omitempty"`
	// Trouble is what a follower waits for to pass.
	Trouble string `json:"trouble,omitempty"`
}

// Mirror is a directory of copies, open. It is for one goroutine. Close it.
type Mirror struct {
	cfg       Config
	base      string // logs are below it, by name
	dir       *dir
	get       *fetcher
	keys      map[string]c2sp.VKey // by origin
	policy    *verify.Policy       // nil: none
	witnesses []c2sp.VKey
	chain     []*logCopy // from the log that the first key names to the newest that is known
	from      int        // where in the chain a sync begins
}

// Open opens a directory, makes it where it is not there, and checks what it has of
// the first log. One that another process holds is evidence.ErrUnavailable.
func Open(cfg Config) (_ *Mirror, err error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Tries <= 0 {
		cfg.Tries = 4
	}
	m := &Mirror{cfg: cfg, keys: map[string]c2sp.VKey{}, get: newFetcher(&cfg)}
	first, err := m.readKeys()
	if err != nil {
		return nil, err
	}
	if m.base, err = baseOf(cfg.URL, first.Name); err != nil {
		return nil, err
	}
	if m.dir, err = openDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	l, err := m.openLog(first)
	if err != nil {
		return nil, errors.Join(err, m.dir.close())
	}
	m.chain = []*logCopy{l}
	return m, nil
}

// readKeys reads keys and policy, and returns the key of the first log.
func (m *Mirror) readKeys() (first c2sp.VKey, err error) {
	if len(m.cfg.Keys) == 0 {
		return first, fmt.Errorf("mirror: %w: no verifier key given", evidence.ErrInvalid)
	}
	for i, text := range m.cfg.Keys {
		k, err := c2sp.ParseVKey(text)
		switch {
		case err != nil:
			return first, err
		case k.Alg != c2sp.Ed25519:
			return first, fmt.Errorf("key %s: %w: it is of a witness, which belongs in a policy", k.Name, evidence.ErrInvalid)
		case m.keys[k.Name] != c2sp.VKey{} && m.keys[k.Name] != k:
			return first, fmt.Errorf("two keys for the log %s: %w", k.Name, evidence.ErrInvalid)
		}
		m.keys[k.Name] = k
		if i == 0 {
			first = k
		}
	}
	if m.cfg.Policy == nil {
		return first, nil
	}
	if m.policy, err = verify.ParsePolicy(m.cfg.Policy); err != nil {
		return first, err
	}
	for _, w := range m.policy.Witnesses {
		k, err := c2sp.ParseVKey(w.Key)
		if err != nil {
			return first, err
		}
		m.witnesses = append(m.witnesses, k)
	}
	return first, nil
}

// served is where a server of runledger has its logs.
const served = "/api/v1/transparency/log"

// baseOf returns the URL below which logs stand by name.
func baseOf(address, origin string) (string, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return "", fmt.Errorf("URL %q: %w: must begin with http:// or https:// and name a host", address, evidence.ErrInvalid)
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return "", fmt.Errorf("URL: %w: must hold no credential, query or fragment", evidence.ErrInvalid)
	}
	_, name, _ := strings.Cut(origin, "/")
	u.Path = strings.TrimRight(u.Path, "/")
	if path.Base(u.Path) == name {
		u.Path = strings.TrimRight(path.Dir(u.Path), "/")
		return u.String(), nil
	}
	return u.String() + served, nil
}

// Close gives the directory back.
func (m *Mirror) Close() error { return m.dir.close() }

func (m *Mirror) report(p Progress) {
	if m.cfg.Report != nil {
		m.cfg.Report(p)
	}
}

// met reports whether cosignatures are the quorum that the policy asks for.
func (m *Mirror) met(cosigned []c2sp.Cosigned) bool {
	return m.policy == nil || m.policy.Met(keysOf(cosigned))
}

// vouched reports whether witnesses stand for a checkpoint: where a policy asks for
// none, they do not.
func (m *Mirror) vouched(c signed) bool {
	if m.policy == nil || m.policy.Met(nil) {
		return false
	}
	// By a known witness only: the log's own signature was checked.
	v, err := c2sp.Verify(c.note, append([]c2sp.VKey{m.keys[c.Origin]}, m.witnesses...)...)
	return err == nil && m.policy.Met(keysOf(v.Cosignatures))
}

func keysOf(cosigned []c2sp.Cosigned) []string {
	var keys []string
	for _, s := range cosigned {
		keys = append(keys, s.Witness.String())
	}
	return keys
}

// Sync brings the copies to what the server shows now: the log of the first key, and
// where that is closed its successors. A [*Failure] is what may not be; an error that
// wraps evidence.ErrUnavailable may pass.
func (m *Mirror) Sync(ctx context.Context) error {
	for {
		l := m.chain[m.from]
		if err := l.sync(ctx); err != nil {
			return err
		}
		origin, vkey, closed := l.state.successor()
		if !closed {
			return nil
		}
		if m.from+1 == len(m.chain) {
			next, err := m.successor(l, origin, vkey)
			if err != nil {
				return err
			}
			m.chain = append(m.chain, next)
		}
		l.state.ids = nil // it grows no more
		m.from++
	}
}

// successor opens the copy of the log that goes on where another was closed.
func (m *Mirror) successor(l *logCopy, origin, vkey string) (*logCopy, error) {
	wrong := func(code verify.Code, message string) error {
		return &Failure{Code: code, Log: l.key.Name, From: l.kept.Size - 1, To: l.kept.Size, Message: message}
	}
	key, err := c2sp.ParseVKey(vkey)
	if err != nil || key.Name != origin || key.Alg != c2sp.Ed25519 || origin == l.key.Name {
		return nil, wrong(verify.ELeaf, "LOG_CLOSED names no successor with its key")
	}
	for _, earlier := range m.chain {
		if earlier.key.Name == origin {
			return nil, wrong(verify.ELeaf, "LOG_CLOSED names a log that came before")
		}
	}
	switch pinned, ok := m.keys[origin]; {
	case ok && pinned != key:
		return nil, wrong(verify.EFork, "LOG_CLOSED names another key for its successor "+origin+" than was given")
	case !ok && !m.vouched(l.kept):
		return nil, wrong(verify.WNoKey, "it is closed and was copied to its end; its successor is "+origin+" with the key "+vkey+
			", for which no witnesses vouch: give that key once you have it by another way")
	}
	m.keys[origin] = key
	next, err := m.openLog(key)
	if err != nil {
		return nil, err
	}
	next.before = verify.FormatPredecessor(l.key.Name, l.kept.Size, l.kept.Root)
	if next.state.first != nil && next.state.first.Text("predecessor_log") != next.before {
		return nil, wrong(verify.ELeaf, "the log "+origin+" does not name its last tree")
	}
	return next, nil
}

// maxPause bounds the pause of a follower in trouble.
const maxPause = 5 * time.Minute

// Follow syncs again and again until ctx is done, which is no error. It waits for
// what may pass, and ends with what does not.
func (m *Mirror) Follow(ctx context.Context, interval time.Duration) error {
	wait := interval
	for {
		err := m.Sync(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			wait = interval
		case passes(err):
			m.report(Progress{Log: m.chain[m.from].key.Name, Size: m.chain[m.from].kept.Size, Trouble: err.Error()})
			wait = min(2*wait, max(maxPause, interval))
		default:
			return err
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// passes reports whether what went wrong may pass by itself.
func passes(err error) bool {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f.Code == verify.EQuorum
	}
	return errors.Is(err, evidence.ErrUnavailable)
}
