package server_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// ranges downloads parts of what an export describes: each is a record of its own, with
// the digest and size of the part.
func (r *reads) ranges(t *testing.T, key, target string, whole []byte) {
	t.Helper()
	n := len(whole)
	tag := `"` + digestOf(whole) + `"`
	auditor := r.roleKey(t, own, "auditor")
	for _, tt := range []struct {
		header   string
		ifRange  string
		status   int
		from, to int
	}{
		{"bytes=10-19", "", 206, 10, 20},
		{"bytes=0-", tag, 206, 0, n},
		{fmt.Sprintf("bytes=%d-", n-1), "", 206, n - 1, n},
		{fmt.Sprintf("bytes=5-%d", 10*n), "", 206, 5, n},
		{"bytes=5-99999999999999999999999", "", 206, 5, n},
		{"bytes=-7", "", 206, n - 7, n},
		{fmt.Sprintf("bytes=-%d", 10*n), "", 206, 0, n},
		{"BYTES=3-4", "", 206, 3, 5},
		// Not what is answered in part.
		{"bytes=1-2,4-5", "", 200, 0, n},
		{"bytes=2-1", "", 200, 0, n},
		{"bytes=+1-2", "", 200, 0, n},
		{"items=1-2", "", 200, 0, n},
		{"bytes", "", 200, 0, n},
		{"bytes=-", "", 200, 0, n},
		{"bytes=1-2", `"sha256:other"`, 200, 0, n},
		{"bytes=1-2", "W/" + tag, 200, 0, n},
		// Not there.
		{fmt.Sprintf("bytes=%d-", n), "", 416, 0, 0},
		{"bytes=99999999999999999999999-", "", 416, 0, 0},
		{"bytes=-0", "", 416, 0, 0},
	} {
		header := http.Header{"Range": {tt.header}}
		if tt.ifRange != "" {
			header.Set("If-Range", tt.ifRange)
		}
		status, got, b := r.get(t, key, target, header)
		if status != tt.status {
			t.Errorf("%s: %d, want %d", tt.header, status, tt.status)
			continue
		}
		content := ""
		switch status {
		case http.StatusPartialContent:
			content = fmt.Sprintf("bytes %d-%d/%d", tt.from, tt.to-1, n)
		case http.StatusRequestedRangeNotSatisfiable:
			if !bytes.Contains(b, []byte(`"range_not_satisfiable"`)) || got.Get("Content-Range") != fmt.Sprintf("bytes */%d", n) {
				t.Errorf("%s: %v %s", tt.header, got, b)
			}
			continue
		}
		if !bytes.Equal(b, whole[tt.from:tt.to]) || got.Get("Content-Range") != content || got.Get("Etag") != tag || got.Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s: %v, %d bytes", tt.header, got, len(b))
		}
		list := r.ask(t, auditor, "/api/v1/logs/audit/access?event_type=LOG_EXPORT&limit=1", http.StatusOK)
		wantAt(t, list, object{
			"access_events.0.byte_count": tt.to - tt.from, "access_events.0.view_digest": digestOf(b), "access_events.0.status_code": tt.status,
		})
	}
}

// newPeriod is a server with something recorded, and the body of a request for it.
func newPeriod(t *testing.T) (r *reads, auditor, operator string, body object) {
	t.Helper()
	r, operator, _ = newExports(t)
	auditor = r.roleKey(t, own, "auditor")
	r.used(t, auditor)
	return r, auditor, operator, object{
		"scope": "compliance", "from": time.Now().Add(-time.Hour).Format(time.RFC3339), "until": time.Now().Add(time.Hour).Format(time.RFC3339Nano),
		"compliance_tags": []string{"SOC2"},
	}
}

// with is a body with other members.
func with(body, more object) object {
	out := maps.Clone(body)
	maps.Copy(out, more)
	return out
}

// finished waits until an export is no longer pending.
func (r *reads) finished(t *testing.T, key, target string) object {
	t.Helper()
	for range 600 {
		s := r.ask(t, key, target, http.StatusOK)
		if at(t, s, "status") != "pending" {
			return s
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s is pending for ever", target)
	return nil
}

// TestPeriodExport asks for a period, waits, downloads in two parts, and verifies.
func TestPeriodExport(t *testing.T) {
	t.Parallel()
	r, auditor, operator, body := newPeriod(t)
	var first object
	r.wantAdded(t, "asking", oneExport, func() { first = r.send(t, auditor, "/api/v1/exports", http.StatusAccepted, body) })
	id := at(t, first, "export_id").(string)
	wantAt(t, first, object{"status_url": "/api/v1/exports/" + id, "scope": "compliance", "format": "zip", "metadata.export_id": id, "compliance_tags.0": "SOC2"})
	if again := r.send(t, auditor, "/api/v1/exports", http.StatusAccepted, body); at(t, again, "export_id") != id {
		t.Error("the same request gives another export")
	}
	state := r.finished(t, auditor, "/api/v1/exports/"+id)
	r.wantAdded(t, "asking for its state", map[string]int{"LOG_VIEW": 1}, func() { r.ask(t, auditor, "/api/v1/exports/"+id, http.StatusOK) })
	wantAt(t, state, object{
		"status": "completed", "retention_class": "hot", "download_url": "/api/v1/exports/" + id + "/content", "reason": nil,
		"from": at(t, first, "from"), "until": at(t, first, "until"),
	})
	target := at(t, state, "download_url").(string)
	_, _, begin := r.get(t, auditor, target, http.Header{"Range": {"bytes=0-999"}})
	status, _, rest := r.get(t, auditor, target, http.Header{"Range": {"bytes=1000-"}, "If-Range": {`"` + at(t, state, "checksum").(string) + `"`}})
	z := slices.Concat(begin, rest)
	wantAt(t, state, object{"checksum": digestOf(z), "size_bytes": len(z)})
	if status != http.StatusPartialContent {
		t.Errorf("the rest: %d", status)
	}
	verified(t, r, z)
	if b := r.bytesOf(t, "", at(t, state, "signed_url").(string)); !bytes.Equal(b, z) {
		t.Error("other bytes by the link")
	}
	if !bytes.Contains(z, []byte("secret-prompt")) {
		t.Error("the content of runs is not disclosed")
	}
	states := r.ask(t, auditor, "/api/v1/logs/audit/exports", http.StatusOK)
	wantAt(t, states, object{"exports.0.export_id": id, "exports.0.status": "completed", "exports.0.scope": "compliance", "exports.0.compliance_tags.0": "SOC2"})
	// An operator may export runs, and knows nothing of this.
	for _, path := range []string{"/api/v1/exports/" + id, target} {
		r.wantAdded(t, path, oneDenial, func() {
			if status, _, b := r.get(t, operator, path, nil); status != http.StatusForbidden || bytes.Contains(b, []byte("secret-")) {
				t.Errorf("%s: %d %.300s", path, status, b)
			}
		})
	}
	// Nor does another tenant.
	others := r.roleKey(t, foreign, "auditor")
	for _, path := range []string{"/api/v1/exports/" + id, target} {
		if status, _, _ := r.get(t, others, path, nil); status != http.StatusNotFound {
			t.Errorf("%s of another tenant: %d", path, status)
		}
	}
}

// TestPeriodExportForms makes the other forms, and runs in them.
func TestPeriodExportForms(t *testing.T) {
	t.Parallel()
	r, auditor, operator, body := newPeriod(t)
	for format, want := range map[string]struct{ media, begin string }{
		"csv": {"text/csv; charset=utf-8; header=present", "record,log,leaf_index"}, "pdf": {"application/pdf", "%PDF-"}, "json": {"application/json", `{"format":"json"`},
	} {
		asked := r.send(t, auditor, "/api/v1/exports", http.StatusAccepted, with(body, object{"format": format}))
		period := r.finished(t, auditor, at(t, asked, "status_url").(string))
		run := r.ask(t, operator, "/api/v1/logs/llm-runs/"+r.run+"/export?format="+format, http.StatusOK)
		for key, s := range map[string]object{auditor: period, operator: run} {
			status, header, b := r.get(t, key, at(t, s, "download_url").(string), nil)
			if status != http.StatusOK || header.Get("Content-Type") != want.media || !strings.HasPrefix(string(b), want.begin) {
				t.Errorf("%s: %d %s %.100q", format, status, header.Get("Content-Type"), b)
			}
			wantAt(t, s, object{"checksum": digestOf(b), "format": format})
		}
		// That of the operator has no audit entries of others in it; of the auditor's
		// they may not know.
		theirs := r.ask(t, auditor, "/api/v1/logs/llm-runs/"+r.run+"/export?format="+format, http.StatusOK)
		if status, _, _ := r.get(t, operator, at(t, theirs, "download_url").(string), nil); status != http.StatusForbidden {
			t.Errorf("%s: an operator gets the auditor's export: %d", format, status)
		}
		state := r.ask(t, operator, "/api/v1/exports/"+at(t, theirs, "export_id").(string), http.StatusOK)
		wantAt(t, state, object{"status": "completed", "run_id": r.run, "download_url": nil, "signed_url": nil})
	}
}

// TestPeriodExportRefuses: who may not, and what may not be asked for.
func TestPeriodExportRefuses(t *testing.T) {
	t.Parallel()
	r, auditor, operator, body := newPeriod(t)
	r.newKey(t, synthetic)
	observer := r.roleKey(t, synthetic, "observer")
	narrow := r.narrowKey(t, own, "auditor", "logs.export", "logs.read")
	blind := r.narrowKey(t, own, "auditor", "logs.export", "logs.read", "audit.read")
	r.used(t, observer, narrow, blind)
	for name, key := range map[string]string{"operator": operator, "without audit.read": narrow} {
		r.wantAdded(t, name, oneDenial, func() { r.send(t, key, "/api/v1/exports", http.StatusForbidden, body) })
	}
	if got := r.added(t, synthetic, func() { r.send(t, observer, "/api/v1/exports", http.StatusForbidden, body) }); !maps.Equal(got, oneDenial) {
		t.Errorf("observer: %v", got)
	}
	for name, tt := range map[string]struct {
		change object
		status int
		field  string
	}{
		"scope":         {object{"scope": "llm_run"}, 422, "scope"},
		"no scope":      {object{"scope": ""}, 422, "scope"},
		"from":          {object{"from": "yesterday"}, 422, "from"},
		"no until":      {object{"until": ""}, 422, "until"},
		"backwards":     {object{"until": "2001-01-01T00:00:00Z"}, 422, "until"},
		"format":        {object{"format": "exe"}, 422, "format"},
		"tag":           {object{"compliance_tags": []string{"a\nb"}}, 422, "compliance_tags"},
		"withhold":      {object{"withhold": []string{"/promt"}}, 422, "withhold"},
		"patterns":      {object{"disclose": make([]string, 65)}, 422, "disclose"},
		"since":         {object{"since_size": -1}, 422, "since_size"},
		"type":          {object{"since_size": "1"}, 422, "since_size"},
		"unknown":       {object{"run_id": r.run}, 422, "run_id"},
		"unknown, ugly": {object{"\n": 1}, 422, `"\n"`},
	} {
		out := r.send(t, auditor, "/api/v1/exports", tt.status, with(body, tt.change))
		if at(t, out, "field") != tt.field {
			t.Errorf("%s: field %v, want %s", name, at(t, out, "field"), tt.field)
		}
	}
	for name, tt := range map[string]struct {
		body, media string
		status      int
	}{
		"no JSON": {"scope=audit", "application/json", 400}, "a list": {"[]", "application/json", 400}, "nothing": {"", "application/json", 400},
		"twice": {`{"scope":"audit","scope":"audit"}`, "application/json", 422}, "form": {"scope=audit", "application/x-www-form-urlencoded", 415},
		"large": {`{"scope":"` + strings.Repeat("a", 1<<17) + `"}`, "application/json", 413},
	} {
		if status, text := r.post(t, r.url+"/api/v1/exports", tt.media, auditor, []byte(tt.body)); status != tt.status {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	r.ask(t, auditor, "/api/v1/exports/no-such-export", http.StatusNotFound)
	if states := listOf(t, r.ask(t, auditor, "/api/v1/logs/audit/exports", http.StatusOK), "exports"); len(states) != 0 {
		t.Errorf("%d exports were begun", len(states))
	}
	// Without the right to content there is none.
	asked := r.send(t, blind, "/api/v1/exports", http.StatusAccepted, body)
	state := r.finished(t, blind, at(t, asked, "status_url").(string))
	z := r.bytesOf(t, blind, at(t, state, "download_url").(string))
	if bytes.Contains(z, []byte("secret-")) || !bytes.Contains(z, []byte("not_permitted")) {
		t.Error("content goes to who may not read it")
	}
	verified(t, r, z)
	// A failure says why.
	asked = r.send(t, auditor, "/api/v1/exports", http.StatusAccepted, with(body, object{"since_size": 1 << 30}))
	state = r.finished(t, auditor, at(t, asked, "status_url").(string))
	if reason, _ := at(t, state, "reason").(string); at(t, state, "status") != "failed" || !strings.Contains(reason, "since_size") {
		t.Errorf("%v", state)
	}
}
