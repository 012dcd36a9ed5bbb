package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

// TestAll follows the pages of each list to the end, with the filters of the
// first.
func TestAll(t *testing.T) {
	filters := client.RunFilter{Status: "FAILED"}
	var asked []url.Values
	answers := []*answer.RunList{
		{Items: []answer.RunEnvelope{envelope("a"), envelope("b")}, Page: page("1")},
		{Items: []answer.RunEnvelope{}, Page: page("2")},
		{Items: []answer.RunEnvelope{envelope("c")}, Page: page("")},
	}
	c := reader(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query())
		fmt.Fprintln(w, text(t, answers[len(asked)-1]))
	})
	var got []string
	for r, err := range c.AllRuns(t.Context(), filters) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.RunID)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
		t.Error(diff)
	}
	want := []url.Values{{"status": {"FAILED"}}, {"status": {"FAILED"}, "cursor": {"1"}}, {"status": {"FAILED"}, "cursor": {"2"}}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}

	// Who stops early asks no more.
	asked = nil
	for r, err := range c.AllRuns(t.Context(), filters) {
		if err != nil {
			t.Fatal(err)
		}
		if r.RunID == "b" {
			break
		}
	}
	if len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
}

// TestAllRoutes: each iterator asks its own route and takes its own entries.
func TestAllRoutes(t *testing.T) {
	ctx := t.Context()
	iterators := map[string]func(c *client.Client) (int, error){
		"Runs":       func(c *client.Client) (int, error) { return drain(c.AllRuns(ctx, client.RunFilter{})) },
		"Trace":      func(c *client.Client) (int, error) { return drain(c.AllSteps(ctx, run)) },
		"Governance": func(c *client.Client) (int, error) { return drain(c.GovernancePages(ctx, run, client.Paging{})) },
		"Replay": func(c *client.Client) (int, error) {
			return drain(c.ReplayPages(ctx, run, client.ReplayOptions{}, client.Paging{}))
		},
		"System": func(c *client.Client) (int, error) { return drain(c.AllSystem(ctx, client.SystemFilter{})) },
		"Events": func(c *client.Client) (int, error) { return drain(c.AllEvents(ctx, run)) },
		"SystemReplay": func(c *client.Client) (int, error) {
			return drain(c.SystemReplayPages(ctx, run, client.ReplayOptions{}, client.Paging{}))
		},
		"Audit":         func(c *client.Client) (int, error) { return drain(c.AllAudit(ctx, client.AuditFilter{})) },
		"Identity":      func(c *client.Client) (int, error) { return drain(c.AllIdentity(ctx, client.AuditFilter{})) },
		"Authorization": func(c *client.Client) (int, error) { return drain(c.AllAuthorization(ctx, client.AuditFilter{})) },
		"Access":        func(c *client.Client) (int, error) { return drain(c.AllAccess(ctx, client.AuditFilter{})) },
		"Exports":       func(c *client.Client) (int, error) { return drain(c.AllExports(ctx, client.ExportFilter{})) },
	}
	for _, test := range readings() {
		all, ok := iterators[test.name]
		if !ok {
			continue
		}
		delete(iterators, test.name)
		path, _, _ := strings.Cut(test.want, "?")
		if test.name == "Trace" {
			path = "/llm-runs/" + run + "/trace"
		}
		n := 0
		c := reader(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/behind/api/v1/logs"+path {
				t.Errorf("%s asked %s", test.name, r.URL.Path)
			}
			body := text(t, test.answer)
			if n++; n == 1 { // two pages of the same
				body = strings.Replace(body, `"has_more":false,"next_cursor":null`, `"has_more":true,"next_cursor":"n"`, 1)
			} else if r.URL.RawQuery != "cursor=n" {
				t.Errorf("%s asked with %s", test.name, r.URL.RawQuery)
			}
			fmt.Fprintln(w, body)
		})
		if got, err := all(c); err != nil || got != 2 || n != 2 {
			t.Errorf("%s: %d of %d pages, %v", test.name, got, n, err)
		}
	}
	for name := range iterators {
		t.Errorf("%s was not tried", name)
	}
}

func drain[E any](seq func(func(E, error) bool)) (n int, err error) {
	for _, err := range seq {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestAllEnds(t *testing.T) {
	first := text(t, &answer.RunList{Items: []answer.RunEnvelope{envelope("a")}, Page: page("1")})
	tests := []struct {
		name   string
		second func(w http.ResponseWriter)
		want   error
	}{
		{"an error", func(w http.ResponseWriter) { problem(w, 422, map[string]any{"code": "invalid", "field": "cursor"}) }, evidence.ErrInvalid},
		{"the same cursor", func(w http.ResponseWriter) { fmt.Fprintln(w, first) }, evidence.ErrUnavailable},
		{"no cursor", func(w http.ResponseWriter) {
			p := page("")
			p.HasMore = true
			fmt.Fprintln(w, text(t, &answer.RunList{Items: []answer.RunEnvelope{}, Page: p}))
		}, evidence.ErrUnavailable},
	}
	for _, test := range tests {
		n := 0
		c := reader(t, func(w http.ResponseWriter, _ *http.Request) {
			if n++; n == 1 {
				fmt.Fprintln(w, first)
				return
			}
			test.second(w)
		})
		if _, err := drain(c.AllRuns(t.Context(), client.RunFilter{})); !errors.Is(err, test.want) || n != 2 {
			t.Errorf("%s: %v after %d requests", test.name, err, n)
		}
	}
}
