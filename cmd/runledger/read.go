package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
)

// readFlags say where to read.
type readFlags struct {
	URL    string `help:"Ask the server at this address, with --key, instead of a data directory." name:"url" env:"RUNLEDGER_URL" placeholder:"URL"`
	Key    string `help:"An API key for --url; better in the environment." env:"RUNLEDGER_KEY,RUNLEDGER_API_KEY" placeholder:"KEY"`
	Tenant string `help:"The tenant, where there are several. With --url: only for keys of the platform." placeholder:"NAME"`
}

// localURL stands for the deployment at hand.
const localURL = "http://runledger"

// readAPI is a way to the read API of one tenant.
type readAPI struct {
	*client.Client
	e      *env
	answer keeper
}

// with reads from a server, or from the data directory: through the server that
// holds it, or by opening it. There the read is on record as the operator's.
func (f *readFlags) with(e *env, read func(r *readAPI) error) error {
	if f.URL != "" {
		r := &readAPI{e: e, answer: keeper{next: http.DefaultTransport}}
		cfg := client.Config{BaseURL: f.URL, Key: f.Key, Tenant: f.Tenant, MaxRetries: 2, MaxBackoff: 2 * time.Second}
		if err := r.connect(cfg); err != nil {
			return err
		}
		return f.unanswered(readError(read(r)))
	}
	return e.with(func(s *session) error {
		tenant, err := f.tenant(e, s)
		if err != nil {
			return err
		}
		r := &readAPI{e: e, answer: keeper{next: s.Reader(tenant)}}
		if err := r.connect(client.Config{BaseURL: localURL, MaxRetries: -1}); err != nil {
			return err
		}
		return readError(read(r))
	})
}

// unanswered says where nothing answered, and what to do.
func (f *readFlags) unanswered(err error) error {
	var u *url.Error
	if !errors.As(err, &u) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("no runledger server answers at %s: %w (%w): see whether it runs, and whether --url is right", f.URL, evidence.ErrUnavailable, u.Err)
}

func (r *readAPI) connect(cfg client.Config) (err error) {
	cfg.HTTPClient = &http.Client{Transport: &r.answer}
	cfg.UserAgent = "runledger-cli"
	r.Client, err = client.New(cfg)
	var fe *evidence.FieldError
	if errors.As(err, &fe) {
		return usage("--url and --key: %s %s", strings.TrimPrefix(fe.Field, "client: "), fe.Reason)
	}
	return err
}

// tenant is the one that was named, or the only one.
func (f *readFlags) tenant(e *env, s *session) (string, error) {
	if f.Tenant != "" {
		return f.Tenant, nil
	}
	list, err := s.Tenants(e.ctx)
	if err != nil {
		return "", err
	}
	var names []string
	for _, info := range list.Tenants {
		if info.Tenant != evidence.SystemTenant {
			names = append(names, info.Tenant)
		}
	}
	switch len(names) {
	case 0:
		return "", usage("there is no tenant yet (runledger tenants create makes one)")
	case 1:
		e.notef("tenant %s\n", names[0])
		return names[0], nil
	}
	return "", usage("--tenant is required: there are %s", strings.Join(names, ", "))
}

// keeper keeps the body of the last answer, so that --json can show it as it
// came.
type keeper struct {
	next http.RoundTripper
	body bytes.Buffer
}

// RoundTrip implements http.RoundTripper.
func (k *keeper) RoundTrip(req *http.Request) (*http.Response, error) {
	k.body.Reset()
	resp, err := k.next.RoundTrip(req)
	if err == nil {
		resp.Body = &kept{io.TeeReader(resp.Body, &k.body), resp.Body}
	}
	return resp, err
}

type kept struct {
	io.Reader
	io.Closer
}

// verbatim prints the last answer in the API's own words.
func (r *readAPI) verbatim() error {
	_, err := r.e.stdout.Write(append(bytes.TrimRight(r.answer.body.Bytes(), "\n"), '\n'))
	return err
}

// show prints an answer: as it came, or by f.
func (r *readAPI) show(f func()) error {
	if r.e.JSON {
		return r.verbatim()
	}
	f()
	return nil
}

// listFlags say how much of a list is shown.
type listFlags struct {
	Limit int  `help:"Show at most this many. Default: 50." placeholder:"N" xor:"much"`
	All   bool `help:"Show all." xor:"much"`
}

const defaultLimit = 50

func (f *listFlags) want() int {
	switch {
	case f.All:
		return everything
	case f.Limit != 0:
		return f.Limit
	}
	return defaultLimit
}

// everything is no limit.
const everything = 0

// runFlags name a run, and how much is shown of what belongs to it.
type runFlags struct {
	RunID string `arg:"" name:"run" help:"Its id, its alias or its trace id."`
}

type runPageFlags struct {
	runFlags
	Limit int `help:"Show at most this many entries. Default: all." placeholder:"N"`
}

// turn is what a page says about the next.
type turn struct {
	entries int
	more    bool
	cursor  *string
}

// take asks for pages until it has want entries. With --json it prints each.
func take[P any](r *readAPI, want int, ask func(client.Paging) (*P, error), look func(*P) turn) ([]*P, error) {
	if want < 0 {
		return nil, usage("--limit must be at least 1")
	}
	var got []*P
	var p client.Paging
	for n := 0; ; {
		// A longer page than usual is not asked for: it may not be allowed.
		if left := want - n; want != everything && left < defaultLimit {
			p.Limit = left
		}
		page, err := ask(p)
		if err != nil {
			return nil, err
		}
		if r.e.JSON {
			if err := r.verbatim(); err != nil {
				return nil, err
			}
		}
		got = append(got, page)
		t := look(page)
		n += t.entries
		if !t.more || want != everything && n >= want {
			return got, nil
		}
		if t.cursor == nil || *t.cursor == p.Cursor {
			return nil, fmt.Errorf("%w: there is more, and no cursor to it", evidence.ErrUnavailable)
		}
		p.Cursor = *t.cursor
	}
}

// listed says how much of a list is shown, and under which filters.
func (r *readAPI) listed(what string, shown int, more bool, total int64, exact bool, filters map[string]any) {
	text := fmt.Sprintf("%d of %s%d %s", shown, map[bool]string{false: "more than "}[exact], total, what)
	names := slices.Sorted(maps.Keys(filters))
	for i, name := range names {
		names[i] = clean(fmt.Sprintf("%s %v", name, filters[name]))
	}
	if len(names) > 0 {
		text += " with " + strings.Join(names, ", ")
	}
	if more {
		text += " (--all shows all)"
	}
	r.e.notef("%s\n", text)
}

// cutOff says that not all entries of a run are shown.
func (r *readAPI) cutOff(more bool) {
	if more {
		r.e.notef("there is more: --limit cut it off\n")
	}
}

// windowFlags are a range of time.
type windowFlags struct {
	After  instant `help:"From this time on: 2026-11-23T16:00:00Z, or how long ago: 90m, 24h, 7d." name:"occurred-after" placeholder:"TIME"`
	Before instant `help:"Before this time." name:"occurred-before" placeholder:"TIME"`
}

func (f *windowFlags) window() client.Window {
	return client.Window{After: f.After.Time, Before: f.Before.Time}
}

// instant is a time on the command line.
type instant struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *instant) UnmarshalText(b []byte) (err error) {
	s := string(b)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			s = fmt.Sprintf("%dh", 24*n)
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		t.Time = time.Now().Add(-d)
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t.Time, err = time.Parse(layout, s); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%q is no time such as 2026-11-23T16:00:00Z, and not how long ago, such as 24h", s)
}

// refusal is an error answer of the read API.
type refusal struct {
	problem *control.Problem
	err     *client.Error
}

// Error implements error.
func (r *refusal) Error() string { return r.problem.Detail }

// Unwrap returns the problem, for --json, and the client's error, which wraps
// the sentinel.
func (r *refusal) Unwrap() []error { return []error{r.problem, r.err} }

// readError says what the API has against a request in the form that commands
// show errors in.
func readError(err error) error {
	var e *client.Error
	if u := (*url.Error)(nil); errors.As(err, &u) && strings.HasPrefix(u.URL, localURL) {
		return u.Err // no such address: it went through the control socket
	}
	if !errors.As(err, &e) || e.Status == 0 {
		return err
	}
	p := &control.Problem{
		Type: "about:blank", Title: http.StatusText(e.Status), Status: e.Status, Code: e.Code,
		Detail: clean(e.Detail), Field: clean(e.Field),
	}
	switch {
	case e.Status == http.StatusUnauthorized:
		p.Detail += " (set --key, or RUNLEDGER_KEY)"
	case e.Code == "":
		p.Code, p.Detail = "unexpected", fmt.Sprintf("status %d: %s", e.Status, p.Detail)
	}
	return &refusal{p, e}
}
