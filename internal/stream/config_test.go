package stream

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

const goodConfig = `
streams:
  - name: siem
    tenants: [acme, system]
    records: [audit, system]
    format: ocsf
    min_severity: WARN
    event_types: [LOG_VIEW, ERROR]
    disclose: [/actor, /summary]
    from: start
    synthetic: true
    to:
      webhook:
        url: https://siem.example/in?source=runledger
        secret_file: secret
        headers: {X-Source: runledger}
        header_files: {Authorization: token}
        ca_file: ca.pem
  - name: local
    tenants: "*"
    records: [audit]
    format: cloudevents
    to: {file: {path: events.ndjson}}
alarms:
  - name: duty
    to: {syslog: {address: "siem.example:6514"}}
  - name: drill
    synthetic: true
    to: {file: {path: drills.ndjson}}
`

func TestParse(t *testing.T) {
	f, err := Parse([]byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	want := []Stream{
		{
			Name: "siem", Tenants: []string{"acme", "system"}, Kinds: []evidence.Kind{evidence.KindAudit, evidence.KindSystem}, Format: FormatOCSF,
			MinSeverity: "WARN", EventTypes: []string{"LOG_VIEW", "ERROR"}, Synthetic: true, Disclose: []string{"/actor", "/summary"}, From: FromStart,
			To: Target{Webhook: &Webhook{
				URL: "https://siem.example/in?source=runledger", SecretFile: "secret", Headers: map[string]string{"X-Source": "runledger"},
				HeaderFiles: map[string]string{"Authorization": "token"}, CAFile: "ca.pem",
			}},
		},
		{
			Name: "local", Kinds: []evidence.Kind{evidence.KindAudit}, Format: FormatCloudEvents, MinSeverity: "INFO", From: FromNow,
			To: Target{File: &LogFile{Path: "events.ndjson", MaxBytes: 100 << 20, Keep: 10}},
		},
	}
	if diff := cmp.Diff(want, f.Streams); diff != "" {
		t.Error(diff)
	}
	alarms := []Alarm{{
		Name: "duty", Format: FormatCloudEvents,
		To: Target{Syslog: &Syslog{Address: "siem.example:6514", Network: "tls", Facility: "audit", Enterprise: 32473}},
	}, {
		Name: "drill", Format: FormatCloudEvents, Synthetic: true,
		To: Target{File: &LogFile{Path: "drills.ndjson", MaxBytes: 100 << 20, Keep: 10}},
	}}
	if diff := cmp.Diff(alarms, f.Alarms); diff != "" {
		t.Error(diff)
	}
	other, err := Parse([]byte(goodConfig + "\n# another comment\n"))
	if err != nil || other.Digest == f.Digest || !strings.HasPrefix(f.Digest, "sha256:") {
		t.Errorf("digests %q and %q, %v", f.Digest, other.Digest, err)
	}
	if f, err := Parse(nil); err != nil || len(f.Streams)+len(f.Alarms) != 0 {
		t.Errorf("an empty file: %+v, %v", f, err)
	}
}

func TestParseRefuses(t *testing.T) {
	stream := func(lines string) string {
		return "streams:\n- name: a\n  tenants: '*'\n  records: [audit]\n  format: ocsf\n  to: {file: {path: x}}\n" + lines
	}
	to := func(target string) string {
		return "streams:\n- name: a\n  tenants: '*'\n  records: [audit]\n  format: ocsf\n  to: " + target + "\n"
	}
	hook := func(more string) string {
		return to("{webhook: {url: 'https://a.example', secret_file: s" + more + "}}")
	}
	tests := map[string]struct{ text, want string }{
		"unknown key":          {stream("  colour: red\n"), "line 7: field colour not found"},
		"unknown key below":    {hook(", colour: red"), "line 6: field colour not found"},
		"key twice":            {stream("  name: b\n"), "line 7"},
		"two documents":        {stream("---\nstreams: []\n"), "second document"},
		"no YAML":              {"streams: [", "line 1"},
		"wrong type":           {"streams: {name: a}", "line 1"},
		"name":                 {strings.Replace(stream(""), "name: a", "name: A b", 1), "name"},
		"no name":              {strings.Replace(stream(""), "name: a", "name: ''", 1), "name"},
		"name twice":           {stream("alarms:\n- name: a\n  to: {file: {path: y}}\n"), "stands twice"},
		"file twice":           {stream("alarms:\n- name: b\n  to: {file: {path: x}}\n"), `that of "a" too`},
		"no tenants":           {strings.Replace(stream(""), "  tenants: '*'\n", "", 1), "tenants"},
		"empty tenants":        {strings.Replace(stream(""), "'*'", "[]", 1), "tenants"},
		"a tenant":             {strings.Replace(stream(""), "'*'", "acme", 1), "tenants"},
		"bad tenant":           {strings.Replace(stream(""), "'*'", "[acme, A]", 1), `"A"`},
		"tenant twice":         {strings.Replace(stream(""), "'*'", "[acme, acme]", 1), "twice"},
		"tenants map":          {strings.Replace(stream(""), "'*'", "{a: b}", 1), "tenants"},
		"no records":           {strings.Replace(stream(""), "[audit]", "[]", 1), "records"},
		"content":              {strings.Replace(stream(""), "[audit]", "[trace_step]", 1), "trace_step"},
		"records twice":        {strings.Replace(stream(""), "[audit]", "[audit, audit]", 1), "audit"},
		"no format":            {strings.Replace(stream(""), "  format: ocsf\n", "", 1), "format"},
		"format":               {strings.Replace(stream(""), "ocsf", "cef", 1), "cef"},
		"severity":             {stream("  min_severity: warn\n"), "min_severity"},
		"from":                 {stream("  from: yesterday\n"), "from"},
		"event type":           {stream("  event_types: ['']\n"), "event_types"},
		"path":                 {stream("  disclose: [actor]\n"), "disclose"},
		"path of another kind": {stream("  disclose: [/summary]\n"), "/summary"},
		"path twice":           {stream("  disclose: [/actor, /actor]\n"), "twice"},
		"synthetic":            {stream("  synthetic: some\n"), "line 7"},
		"synthetic alarm":      {stream("alarms:\n- name: b\n  synthetic: 1\n  to: {file: {path: y}}\n"), "line 9"},
		"no target":            {strings.Replace(stream(""), "  to: {file: {path: x}}\n", "", 1), "to is missing"},
		"empty target":         {to("{}"), "exactly one"},
		"two targets":          {to("{file: {path: x}, syslog: {address: 'a:1'}}"), "exactly one"},
		"http":                 {to("{webhook: {url: 'http://siem.example', secret_file: s}}"), "https"},
		"http to loopback":     {to("{webhook: {url: 'http://127.0.0.1.example', secret_file: s}}"), "https"},
		"ftp":                  {to("{webhook: {url: 'ftp://127.0.0.1', secret_file: s}}"), "https"},
		"no URL":               {to("{webhook: {secret_file: s}}"), "url"},
		"user in URL":          {to("{webhook: {url: 'https://u:p@siem.example', secret_file: s}}"), "user"},
		"no secret":            {to("{webhook: {url: 'https://siem.example'}}"), "secret_file"},
		"own header":           {hook(", headers: {webhook-signature: x}"), "webhook-signature"},
		"host header":          {hook(", headers: {host: x}"), "host"},
		"no header":            {hook(`, headers: {"a b": x}`), "a b"},
		"header value":         {hook(`, headers: {A: "x\ny"}`), "control"},
		"header file":          {hook(`, header_files: {Content-Type: x}`), "Content-Type"},
		"header twice":         {hook(`, headers: {A: x}, header_files: {A: y}`), "header_files"},
		"no path":              {to("{file: {}}"), "path"},
		"small file":           {to("{file: {path: x, max_bytes: 1}}"), "max_bytes"},
		"keep":                 {to("{file: {path: x, keep: -1}}"), "keep"},
		"no address":           {to("{syslog: {}}"), "address"},
		"no port":              {to("{syslog: {address: siem.example}}"), "address"},
		"port":                 {to("{syslog: {address: 'siem.example:0'}}"), "address"},
		"network":              {to("{syslog: {address: 'a:1', network: unix}}"), "network"},
		"facility":             {to("{syslog: {address: 'a:1', facility: local8}}"), "facility"},
		"CA without TLS":       {to("{syslog: {address: 'a:1', network: udp, ca_file: x}}"), "ca_file"},
		"enterprise":           {to("{syslog: {address: 'a:1', enterprise: -1}}"), "enterprise"},
		"alarm name":           {"alarms:\n- to: {file: {path: x}}\n", "name"},
		"alarm format":         {"alarms:\n- name: a\n  format: x\n  to: {file: {path: x}}\n", "format"},
		"alarm path":           {"alarms:\n- name: a\n  disclose: [/before_state]\n  to: {file: {path: x}}\n", "/before_state"},
		"alarm target":         {"alarms:\n- name: a\n", "to is missing"},
		"alarm key":            {"alarms:\n- name: a\n  tenants: '*'\n", "line 3: field tenants not found"},
		"too many":             {"alarms: [" + strings.Repeat("{}, ", 65) + "]", "more than 64"},
		"too long":             {strings.Repeat("#", maxFile+1), "bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(test.text))
			if !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v: it should say %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "stream.") {
				t.Errorf("%v: it names a type of the program", err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	path := filepath.Join(dir, "streams.yaml")
	for text, want := range map[string]bool{goodConfig: true, "a: b": false} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Load(path)
		if (err == nil) != want || want && len(f.Streams) != 2 || err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%+v, %v", f, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("streams: &a [*a]"))
	f.Add([]byte("a: &a [x,x]\nb: &b [*a,*a]\nstreams: [*b,*b]"))
	f.Add([]byte("streams: [{name: a, tenants: !!binary aGk=, to: null}]"))
	f.Add([]byte("streams: [{<<: {name: a}}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse(text)
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		names := map[string]bool{}
		for _, s := range file.Streams {
			names[s.Name] = true
			if !validName.MatchString(s.Name) || len(s.Kinds) == 0 || s.Format == "" || s.From == "" || s.MinSeverity == "" {
				t.Fatalf("incomplete: %+v", s)
			}
			checkTargetOf(t, s.To)
		}
		for _, a := range file.Alarms {
			names[a.Name] = true
			checkTargetOf(t, a.To)
		}
		if len(names) != len(file.Streams)+len(file.Alarms) || len(names) > maxTargets {
			t.Fatalf("names %v", names)
		}
	})
}

func checkTargetOf(t *testing.T, to Target) {
	t.Helper()
	switch {
	case to.Webhook != nil && to.File == nil && to.Syslog == nil:
		if !strings.HasPrefix(strings.ToLower(to.Webhook.URL), "https://") && !strings.HasPrefix(strings.ToLower(to.Webhook.URL), "http://") {
			t.Fatalf("URL %q", to.Webhook.URL)
		}
	case to.File != nil && to.Webhook == nil && to.Syslog == nil && to.File.Path != "" && to.File.Keep > 0:
	case to.Syslog != nil && to.Webhook == nil && to.File == nil && to.Syslog.Network != "" && to.Syslog.Enterprise > 0:
	default:
		t.Fatalf("target %+v", to)
	}
}
