package server

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/verifypage"
)

// TestVerifyPage: the page is served whole, as released, once for each version.
func TestVerifyPage(t *testing.T) {
	get := func(tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/verify", nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		verifyPage(w, r)
		return w
	}
	w := get("")
	sum := sha256.Sum256(w.Body.Bytes())
	if w.Code != http.StatusOK || hex.EncodeToString(sum[:]) != verifypage.SHA256() {
		t.Errorf("status %d, another page than verify.html.sha256 says", w.Code)
	}
	if got := w.Header().Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	if !strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Error("others may frame the page")
	}
	if w = get(w.Header().Get("Etag")); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("the same page again: status %d, %d bytes", w.Code, w.Body.Len())
	}
}
