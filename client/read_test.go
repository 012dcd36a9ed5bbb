package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

// TestRead: each route is asked as the contract says, and its answer is what the
// server's own type says.
func TestRead(t *testing.T) {
	all := readings()
	if len(all) != 18 {
		t.Errorf("%d routes, the contract has 18", len(all))
	}
	for _, test := range all {
		t.Run(test.name, func(t *testing.T) {
			body := text(t, test.answer)
			c := reader(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.URL.RequestURI(); got != "/behind/api/v1/logs"+test.want || r.Method != http.MethodGet {
					t.Errorf("%s %s\nwant %s", r.Method, got, test.want)
				}
				if r.Header.Get("Authorization") != "Bearer secret" || (r.Header.Get("Idempotency-Key") == "") != (test.name != "ExportRun") {
					t.Errorf("headers %v", r.Header)
				}
				fmt.Fprintln(w, body)
			})
			got, err := test.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(body, text(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadBroken spoils an answer of each route in each way. None is taken.
func TestReadBroken(t *testing.T) {
	ways := []struct{ name, old, with string }{
		{"no metadata", `"metadata":`, `"meta_data":`},
		{"another case", `"metadata":`, `"Metadata":`},
		{"no tenant", `"tenant_id":"acme"`, `"tenant_id":""`},
		{"mutable", `"immutable":true`, `"immutable":false`},
		{"another time zone", `"timezone":"UTC"`, `"timezone":"CET"`},
		{"null ids", `"policy_ids":[]`, `"policy_ids":null`},
		{"not recorded", `"recorded_at":"2`, `"recorded_at_":"2`},
		{"a name twice", `"tenant_id":`, `"tenant_id":"x","tenant_id":`},
		{"a bad time", `"recorded_at":"2`, `"recorded_at":"x2`},
		{"another type", `"tenant_id":"acme"`, `"tenant_id":["acme"]`},
	}
	for _, test := range readings() {
		body := text(t, test.answer)
		for _, way := range ways {
			for n := range strings.Count(body, way.old) { // each place of it
				t.Run(fmt.Sprintf("%s/%s/%d", test.name, way.name, n), func(t *testing.T) {
					refused(t, test, nth(body, way.old, way.with, n))
				})
			}
		}
		for name, bad := range map[string]string{"empty": "", "null": "null", "a list": "[]", "cut off": body[:len(body)-1], "more": body + "{}", "a page": "<html>"} {
			t.Run(test.name+"/"+name, func(t *testing.T) { refused(t, test, bad) })
		}
	}
}

func nth(s, old, with string, n int) string {
	parts := strings.Split(s, old)
	return strings.Join(parts[:n+1], old) + with + strings.Join(parts[n+1:], old)
}

func refused(t *testing.T, test reading, body string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		c := reader(t, func(w http.ResponseWriter, _ *http.Request) {
			requests++
			fmt.Fprintln(w, body)
		})
		if got, err := test.call(t.Context(), c); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("%v, answer %s", err, text(t, got))
		}
		if requests != 9 {
			t.Errorf("%d requests", requests)
		}
	})
}

// TestReadLists: no list of an answer may be null or missing.
func TestReadLists(t *testing.T) {
	tests := []struct {
		name, list string
		of         any
	}{
		{"Runs", "items", answer.RunList{}},
		{"Runs", "filters_applied", answer.RunList{Items: []answer.RunEnvelope{}}},
		{"Trace", "steps", answer.RunTrace{Metadata: meta()}},
		{"Replay", "policy_events", answer.ReplayWindow{LLMEvents: []answer.ReplayEvent{}, SystemEvents: []answer.ReplayEvent{}, Metadata: meta()}},
		{"Integrity", "anomalies", answer.AuditIntegrity{Metadata: meta()}},
	}
	for _, test := range tests {
		for _, r := range readings() {
			if r.name != test.name {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				c := reader(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text(t, test.of)) })
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := r.call(ctx, c); err == nil || !strings.Contains(err.Error(), "answer."+test.list+" is missing or null") {
					t.Errorf("%s without %s: %v", test.name, test.list, err)
				}
			})
		}
	}
}

// TestReadUnknownMember: the contract lets fields be added.
func TestReadUnknownMember(t *testing.T) {
	for _, test := range readings() {
		body := strings.Replace(text(t, test.answer), `"metadata":{`, `"added":{"x":[1]},"metadata":{"added":null,`, 1)
		c := reader(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, body) })
		if _, err := test.call(t.Context(), c); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	tests := []struct {
		status int
		code   string
		field  string
		want   error
	}{
		{400, "malformed", "colour", evidence.ErrInvalid},
		{401, "unauthenticated", "", evidence.ErrForbidden},
		{403, "forbidden", "human_actor_id", evidence.ErrForbidden},
		{404, "not_found", "", evidence.ErrNotFound},
		{405, "method_not_allowed", "", nil},
		{410, "gone", "", nil},
		{422, "invalid", "occurred_after", evidence.ErrInvalid},
		{500, "tampered", "", evidence.ErrTampered},
	}
	for _, test := range tests {
		for _, r := range readings() {
			c := reader(t, func(w http.ResponseWriter, _ *http.Request) {
				problem(w, test.status, map[string]any{"code": test.code, "field": test.field, "detail": "because", "status": test.status})
			})
			_, err := r.call(t.Context(), c)
			var e *client.Error
			if !errors.As(err, &e) || e.Status != test.status || e.Code != test.code || e.Field != test.field || e.Detail != "because" {
				t.Errorf("%s: %v", r.name, err)
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%s: %v does not wrap %v", r.name, err, test.want)
			}
		}
	}
}

// TestReadRetried: what may pass by itself is repeated, and an export keeps its
// key meanwhile.
func TestReadRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range readings() {
			var keys []string
			c := reader(t, func(w http.ResponseWriter, r *http.Request) {
				keys = append(keys, r.Header.Get("Idempotency-Key"))
				switch len(keys) {
				case 1:
					problem(w, 503, map[string]any{"code": "unavailable"})
				case 2:
					panic(http.ErrAbortHandler)
				default:
					fmt.Fprintln(w, text(t, test.answer))
				}
			})
			if _, err := test.call(t.Context(), c); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			if len(keys) != 3 || len(slices.Compact(keys)) != 1 {
				t.Errorf("%s: requests with the keys %q", test.name, keys)
			}
		}
	})
}

func TestReadParameters(t *testing.T) {
	c := reader(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was made") })
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"no run":     func() error { _, err := c.Run(ctx, ""); return err },
		"dots":       func() error { _, err := c.Snapshot(ctx, ".."); return err },
		"dot":        func() error { _, err := c.ExportRun(ctx, ".", client.ExportOptions{}); return err },
		"limit":      func() error { _, err := c.Audit(ctx, client.AuditFilter{}, client.Paging{Limit: -1}); return err },
		"since_size": func() error { _, err := c.ExportRun(ctx, run, client.ExportOptions{SinceSize: -1}); return err },
		"time": func() error {
			_, err := c.System(ctx, client.SystemFilter{Window: client.Window{After: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}}, client.Paging{})
			return err
		},
	} {
		var f *evidence.FieldError
		if err := call(); !errors.Is(err, evidence.ErrInvalid) || !errors.As(err, &f) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
