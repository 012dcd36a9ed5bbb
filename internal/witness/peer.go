package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
)

const (
	// clockSkew is how far a witness's clock may be off: what is further would make
	// an auditor doubt the log's own times.
	clockSkew = 4 * time.Minute
	// After so many failures in a row a witness is left alone for a while.
	maxFailures    = 3
	backoffLeast   = 5 * time.Second
	backoffMost    = 5 * time.Minute
	refusalBackoff = time.Minute // of one log
)

// Errors of one request. What is neither is a failure of the witness.
var (
	errUnknownLog = errors.New("the witness does not know this log: its operator must add the log's verifier key")
	errRefused    = errors.New("the witness refuses")
)

// peer is a witness of the policy, as the client sees it.
type peer struct {
	name string // in the policy
	key  string // verifier key
	vkey c2sp.VKey
	url  string // prefix, without a slash at the end
	// secure: nobody between can answer in its place.
	secure bool
	http   *http.Client

	mu       sync.Mutex
	known    map[string]int64 // by origin: what it last cosigned
	failures int
	until    time.Time // it is left alone before
	lastErr  string
}

func newPeer(name, key, prefix string, client *http.Client) (*peer, error) {
	k, err := c2sp.ParseVKey(key)
	if err != nil {
		return nil, err
	}
	u, err := parseURL(prefix)
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", name, err)
	}
	return &peer{
		name: name, key: key, vkey: k, url: strings.TrimSuffix(u.String(), "/"), http: client,
		secure: u.Scheme == "https" || isLoopback(u.Hostname()), known: map[string]int64{},
	}, nil
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("%w: %q is not an http or https URL without query and user", evidence.ErrInvalid, s)
	}
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// resting reports whether the witness is left alone at present.
func (p *peer) resting(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.until)
}

// answered notes how a request ended.
func (p *peer) answered(err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || errors.Is(err, errUnknownLog) || errors.Is(err, errRefused) {
		p.failures, p.until, p.lastErr = 0, time.Time{}, ""
		return
	}
	p.failures++
	p.lastErr = err.Error()
	if over := p.failures - maxFailures; over >= 0 {
		wait := min(backoffMost, backoffLeast<<min(over, 10))
		p.until = now.Add(wait/2 + rand.N(wait/2)) //nolint:gosec // jitter
	}
}

func (p *peer) size(origin string) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.known[origin]
	return n, ok
}

func (p *peer) setSize(origin string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[origin] = n
}

// proveFunc proves that the head asked for extends an older tree of the log.
type proveFunc func(ctx context.Context, old int64) ([]evidence.Hash, error)

// cosigned is a cosignature that holds.
type cosigned struct {
	line []byte
	at   time.Time
}

// ask asks for a cosignature of a head. seen is not nil where the witness knows
// something that the head does not extend.
func (p *peer) ask(ctx context.Context, h ledger.SignedHead, prove proveFunc, now func() time.Time) (c cosigned, seen *ledger.Seen, err error) {
	old, known := p.size(h.Origin)
	if !known {
		old = 0 // it answers with its size
	}
	old = min(old, h.Size)
	const tries = 3 // another client may be faster
	for range tries {
		var hashes []evidence.Hash
		if old > 0 && old < h.Size {
			if prove == nil { // it is behind, which is all that was asked
				return cosigned{}, nil, nil
			}
			if hashes, err = prove(ctx, old); err != nil {
				return cosigned{}, nil, err
			}
		}
		req := c2sp.Consistency{Old: old, Hashes: hashes, Note: h.Note}
		a, err := p.post(ctx, req.Marshal())
		if err != nil {
			return cosigned{}, nil, err
		}
		switch {
		case a.status == http.StatusOK:
			c, err := p.check(a.body, h, now())
			if err == nil {
				p.setSize(h.Origin, h.Size)
			}
			return c, nil, err
		case a.status == http.StatusConflict && a.size >= 0 && a.size != old && a.size <= h.Size:
			old = a.size
			p.setSize(h.Origin, old)
			if prove == nil && old < h.Size {
				return cosigned{}, nil, nil
			}
			continue
		case a.status == http.StatusConflict && a.size > h.Size:
			return cosigned{}, &ledger.Seen{Origin: h.Origin, By: p.vkey.Name, Size: a.size, Says: a.text()}, nil
		case a.status == http.StatusConflict && old == h.Size && (a.size == old || a.size < 0),
			a.status == http.StatusUnprocessableEntity && old > 0 && old < h.Size:
			return cosigned{}, &ledger.Seen{Origin: h.Origin, By: p.vkey.Name, Size: old, Refuses: true, Says: a.text()}, nil
		}
		return cosigned{}, nil, a.failure()
	}
	return cosigned{}, nil, fmt.Errorf("the witness changes its size with every answer")
}

// reply is an answer of a witness.
type reply struct {
	status int
	size   int64 // of a conflict, where it says so; else -1
	body   []byte
}

func (a *reply) text() string {
	return fmt.Sprintf("status %d: %s", a.status, strings.TrimSpace(strings.ToValidUTF8(string(a.body[:min(len(a.body), 200)]), "?")))
}

func (a *reply) failure() error {
	switch a.status {
	case http.StatusNotFound:
		return errUnknownLog
	case http.StatusBadRequest, http.StatusForbidden, http.StatusConflict, http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s", errRefused, a.text())
	}
	return errors.New(a.text())
}

func (p *peer) post(ctx context.Context, body []byte) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	return p.do(req)
}

func (p *peer) do(req *http.Request) (*reply, error) {
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	a := &reply{status: resp.StatusCode, size: -1}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, c2sp.MaxNoteSize+1)); err != nil {
		return nil, err
	}
	if len(a.body) > c2sp.MaxNoteSize {
		return nil, fmt.Errorf("an answer over %d bytes", c2sp.MaxNoteSize)
	}
	if kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); a.status == http.StatusConflict && kind == sizeType {
		digits, ok := strings.CutSuffix(string(a.body), "\n")
		n, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || n < 0 || n > c2sp.MaxSize || strconv.FormatInt(n, 10) != digits {
			return nil, fmt.Errorf("a conflict whose size cannot be read: %s", a.text())
		}
		a.size = n
	}
	return a, nil
}

// check finds the witness's own cosignature among the lines of an answer.
func (p *peer) check(lines []byte, h ledger.SignedHead, now time.Time) (cosigned, error) {
	sigs, err := c2sp.ParseSignatures(lines)
	if err != nil {
		return cosigned{}, err
	}
	log, err := c2sp.ParseVKey(h.VKey)
	if err != nil {
		return cosigned{}, err
	}
	for _, s := range sigs {
		if s.Name != p.vkey.Name || s.KeyID != p.vkey.ID() {
			continue
		}
		line := s.AppendLine(nil)
		v, err := c2sp.Verify(append(bytes.Clone(h.Note), line...), log, p.vkey)
		if err != nil {
			return cosigned{}, err
		}
		at := time.Unix(v.Cosignatures[0].Time, 0)
		if off := at.Sub(now); off.Abs() > clockSkew {
			return cosigned{}, fmt.Errorf("%w: its clock is %s off ours", errRefused, off.Round(time.Second))
		}
		return cosigned{line, at}, nil
	}
	return cosigned{}, errors.New("the answer has no cosignature by the key of the policy")
}

// show asks for the checkpoint that a witness has seen. Nil where it shows none that
// the log has signed; not every witness can.
func (p *peer) show(ctx context.Context, h ledger.SignedHead) []byte {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/checkpoint?origin="+url.QueryEscape(h.Origin), nil)
	if err != nil {
		return nil
	}
	a, err := p.do(req)
	if err != nil || a.status != http.StatusOK {
		return nil
	}
	log, err := c2sp.ParseVKey(h.VKey)
	if err != nil {
		return nil
	}
	if v, err := c2sp.Verify(a.body, log); err != nil || v.Origin != h.Origin {
		return nil
	}
	return a.body
}
