package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/verify"
)

// newExports is a server with a run of acme's, and who exports it.
func newExports(t *testing.T) (r *reads, operator, narrow string) {
	t.Helper()
	r = newReads(t, nil)
	r.keys["producer@"+own] = r.newKey(t, own)
	r.newKey(t, foreign)
	r.run = r.nativeRun(t)
	operator = r.roleKey(t, own, "operator")
	narrow = r.narrowKey(t, own, "operator", "logs.read", "logs.export")
	r.used(t, r.keys["producer@"+own], operator, narrow)
	return r, operator, narrow
}

// bytesOf downloads what an export describes.
func (r *reads) bytesOf(t *testing.T, key, target string) []byte {
	t.Helper()
	status, header, body := r.get(t, key, target, nil)
	if status != http.StatusOK || header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment; ") {
		t.Fatalf("%s: %d %v %.300s", target, status, header, body)
	}
	return body
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// wantAdded compares what records a function adds to acme's audit.
func (r *reads) wantAdded(t *testing.T, what string, want map[string]int, f func()) {
	t.Helper()
	if diff := cmp.Diff(want, r.added(t, own, f)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

var oneExport, oneDenial = map[string]int{"LOG_EXPORT": 1}, map[string]int{"ACCESS_DECISION": 1}

// TestReadExport makes exports, downloads them, and has them verified.
func TestReadExport(t *testing.T) {
	t.Parallel()
	r, operator, narrow := newExports(t)
	target := "/api/v1/logs/llm-runs/" + r.run + "/export"
	var bundle, again object
	r.wantAdded(t, "an export", oneExport, func() { bundle = r.ask(t, operator, target, http.StatusOK) })
	r.wantAdded(t, "the same again", oneExport, func() { again = r.ask(t, operator, target+"?format=zip", http.StatusOK) })
	id := at(t, bundle, "export_id").(string)
	wantAt(t, bundle, object{
		"run_id": r.run, "format": "zip", "metadata.export_id": id, "metadata.tenant_id": own, "metadata.checksum": at(t, bundle, "checksum"),
		"download_url": "/api/v1/exports/" + id + "/content",
	})
	wantAt(t, again, object{"export_id": id, "checksum": at(t, bundle, "checksum")})
	if other := r.ask(t, narrow, target, http.StatusOK); at(t, other, "export_id") == id {
		t.Error("another credential was given the same export")
	}
	var z []byte
	r.wantAdded(t, "a download", oneExport, func() { z = r.bytesOf(t, operator, at(t, bundle, "download_url").(string)) })
	wantAt(t, bundle, object{"checksum": digestOf(z), "size_bytes": len(z)})
	if !bytes.Contains(z, []byte("secret-prompt")) || !bytes.Contains(z, []byte("secret-order")) {
		t.Error("the bundle lacks the content that its requester may read")
	}
	verified(t, r, z)
	// All of this is on record, with the digest of the bytes.
	auditor := r.roleKey(t, own, "auditor")
	list := r.ask(t, auditor, "/api/v1/logs/audit/access?entity_type=EXPORT&entity_id="+id, http.StatusOK)
	wantAt(t, list, object{"total": 3})
	for _, path := range []string{"access_events.0.", "access_events.1.", "access_events.2."} {
		wantAt(t, list, object{
			path + "event_type": "LOG_EXPORT", path + "about_run": r.run, path + "view_digest": digestOf(z), path + "byte_count": len(z),
			path + "record_count": at(t, bundle, "record_count"), path + "decision": "ALLOWED",
		})
	}
	wantAt(t, list, object{"access_events.0.route": "GET /api/v1/exports/:export_id/content", "access_events.1.route": "GET /api/v1/logs/llm-runs/:run_id/export"})
	states := r.ask(t, auditor, "/api/v1/logs/audit/exports?run_id="+r.run, http.StatusOK)
	wantAt(t, states, object{"total": 2, "exports.1.export_id": id, "exports.1.status": "completed", "exports.1.scope": "llm_run"})
}

// verified has the verifier check a bundle with the log's key alone.
func verified(t *testing.T, r *reads, z []byte) {
	t.Helper()
	tenants, err := r.control(t).Tenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, info := range tenants.Tenants {
		if info.Tenant == own {
			keys = append(keys, info.VKey)
		}
	}
	rep, err := verify.ZIP(t.Context(), bytes.NewReader(z), int64(len(z)), verify.Options{Keys: keys})
	if err != nil || rep.Verdict != verify.VerifiedWithLimits {
		t.Fatalf("%v %+v", err, rep)
	}
	at := bytes.Index(z, []byte("secret-prompt"))
	if at < 0 {
		return
	}
	z = bytes.Clone(z)
	z[at] ^= 1
	if rep, err := verify.ZIP(t.Context(), bytes.NewReader(z), int64(len(z)), verify.Options{Keys: keys}); err == nil && rep.Verdict != verify.Failed {
		t.Errorf("changed: %v %+v", err, rep)
	}
}

// TestReadExportNarrow: who may not read content exports none, and gets none that
// another exported.
func TestReadExportNarrow(t *testing.T) {
	r, operator, narrow := newExports(t)
	target := "/api/v1/logs/llm-runs/" + r.run + "/export"
	full := r.ask(t, operator, target, http.StatusOK)
	for _, format := range []string{"zip", "json"} {
		bundle := r.ask(t, narrow, target+"?format="+format, http.StatusOK)
		for _, url := range []string{at(t, bundle, "download_url").(string), at(t, bundle, "signed_url").(string)} {
			key := narrow
			if strings.Contains(url, "?") {
				key = ""
			}
			b := r.bytesOf(t, key, url)
			if digestOf(b) != at(t, bundle, "checksum") {
				t.Errorf("%s: the bytes are others than were described", url)
			}
			for _, sealed := range []string{"secret-prompt", "secret-response", "secret-order"} {
				if bytes.Contains(b, []byte(sealed)) {
					t.Errorf("%s of %s has %s", format, url, sealed)
				}
			}
			if !bytes.Contains(b, []byte("not_permitted")) {
				t.Errorf("%s does not say what is withheld", format)
			}
			if format == "zip" {
				verified(t, r, b)
			}
		}
		// What is disclosed on request is not what may not be read.
		asked := r.ask(t, narrow, target+"?disclose=*&format="+format, http.StatusOK)
		if b := r.bytesOf(t, narrow, at(t, asked, "download_url").(string)); bytes.Contains(b, []byte("secret-prompt")) {
			t.Errorf("%s: disclosed by asking", format)
		}
	}
	r.wantAdded(t, "content to who may not read it", oneDenial, func() {
		status, _, body := r.get(t, narrow, at(t, full, "download_url").(string), nil)
		if status != http.StatusForbidden || bytes.Contains(body, []byte("secret-")) {
			t.Errorf("%d %.300s", status, body)
		}
	})
}

// TestReadExportRefuses: exports are not made twice for one key, by accident, in
// advance, or for others.
func TestReadExportRefuses(t *testing.T) {
	r, operator, narrow := newExports(t)
	target := "/api/v1/logs/llm-runs/" + r.run + "/export"
	key := http.Header{"Idempotency-Key": {"k-1"}}
	first, _ := r.askWith(t, operator, target+"?format=json", http.StatusOK, key)
	same, _ := r.askWith(t, operator, target+"?format=json", http.StatusOK, key)
	wantAt(t, same, object{"export_id": at(t, first, "export_id")})
	out, _ := r.askWith(t, operator, target+"?format=zip", http.StatusConflict, key)
	wantAt(t, out, object{"code": "conflict"})
	if theirs, _ := r.askWith(t, narrow, target+"?format=zip", http.StatusOK, key); at(t, theirs, "export_id") == at(t, first, "export_id") {
		t.Error("a key counts for another credential")
	}
	exports := func() int {
		return len(listOf(t, r.ask(t, r.roleKey(t, own, "auditor"), "/api/v1/logs/audit/exports", http.StatusOK), "exports"))
	}
	before := exports()
	status, header, body := r.do(t, http.MethodHead, r.url+target, operator, "")
	if status != http.StatusMethodNotAllowed || header.Get("Allow") == "" || len(body) != 0 {
		t.Errorf("HEAD: %d %v", status, header)
	}
	for _, h := range []http.Header{{"Sec-Purpose": {"prefetch"}}, {"Sec-Purpose": {"prefetch;prerender"}}, {"Purpose": {"prefetch"}}} {
		r.wantAdded(t, "prefetch", oneDenial, func() { r.askWith(t, operator, target, http.StatusForbidden, h) })
	}
	viewer := r.roleKey(t, own, "viewer")
	r.used(t, viewer)
	r.wantAdded(t, "a viewer", oneDenial, func() { r.ask(t, viewer, target, http.StatusForbidden) })
	wantAt(t, r.ask(t, operator, target+"?format=exe", http.StatusUnprocessableEntity), object{"field": "format"})
	others := r.roleKey(t, foreign, "operator")
	unknown := r.ask(t, others, "/api/v1/logs/llm-runs/no-such-run/export", http.StatusNotFound)
	if diff := cmp.Diff(unknown, r.ask(t, others, target, http.StatusNotFound)); diff != "" {
		t.Errorf("a foreign run and an unknown one differ:\n%s", diff)
	}
	if after := exports(); after != before {
		t.Errorf("%d exports were made, %d before", after, before)
	}
}

// TestReadExportContent: the bytes go to who may have them, by key or link.
func TestReadExportContent(t *testing.T) {
	r, operator, narrow := newExports(t)
	target := "/api/v1/logs/llm-runs/" + r.run + "/export"
	one := r.ask(t, operator, target, http.StatusOK)
	two := r.ask(t, operator, target+"?format=json", http.StatusOK)
	others := r.roleKey(t, foreign, "operator")
	r.used(t, others)
	content, signed := at(t, one, "download_url").(string), at(t, one, "signed_url").(string)
	whole := r.bytesOf(t, operator, content)
	r.wantAdded(t, "by link", oneExport, func() {
		if b := r.bytesOf(t, "", signed); !bytes.Equal(b, whole) {
			t.Error("other bytes by the link")
		}
	})
	r.wantAdded(t, "of the other", oneExport, func() {
		if b := r.bytesOf(t, "", at(t, two, "signed_url").(string)); digestOf(b) != at(t, two, "checksum") || b[0] != '{' {
			t.Errorf("%.100s", b)
		}
	})
	r.ranges(t, operator, content, whole)
	link, err := url.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	token := link.Query().Get("link")
	broken := []byte(token)
	broken[len(broken)/2] ^= 1
	for name, tt := range map[string]struct {
		key, target string
		status      int
	}{
		"no credential":            {"", content, 401},
		"another tenant's key":     {others, content, 404},
		"unknown":                  {operator, "/api/v1/exports/no-such-export/content", 404},
		"link of another export":   {"", at(t, two, "download_url").(string) + "?link=" + token, 401},
		"link of an unknown one":   {"", "/api/v1/exports/no-such-export/content?link=" + token, 401},
		"broken link":              {"", content + "?link=" + url.QueryEscape(string(broken)), 401},
		"a link is no key":         {"", "/api/v1/logs/llm-runs?link=" + token, 401},
		"a link does not export":   {"", target + "?link=" + token, 401},
		"a link beside a good key": {others, content + "?link=" + url.QueryEscape(string(broken)), 401},
		"without content":          {narrow, content, 403},
	} {
		status, header, b := r.get(t, tt.key, tt.target, nil)
		if status != tt.status || header.Get("Content-Type") != "application/problem+json" || bytes.Contains(b, []byte("secret-")) {
			t.Errorf("%s: %d %s %.300s, want %d", name, status, header.Get("Content-Type"), b, tt.status)
		}
		if bytes.Contains(b, []byte(token)) {
			t.Errorf("%s: the token is repeated: %s", name, b)
		}
	}
	// An answer repeats the id that was asked for, and no more.
	_, _, a := r.get(t, others, content, nil)
	_, _, b := r.get(t, others, "/api/v1/exports/no-such-export/content", nil)
	if a := bytes.ReplaceAll(a, []byte(at(t, one, "export_id").(string)), []byte("no-such-export")); !bytes.Equal(a, b) {
		t.Errorf("a foreign export is told from an unknown one: %s and %s", a, b)
	}
	// No record has the token.
	list := r.ask(t, r.roleKey(t, own, "auditor"), "/api/v1/logs/audit/access?event_type=LOG_EXPORT", http.StatusOK)
	for _, query := range each(t, list, "access_events", "query") {
		if strings.Contains(query, token[:20]) {
			t.Errorf("a link stands in a record: %s", query)
		}
	}
}
