package server

import (
	"bytes"
	"net/http"
	"time"

	"github.com/runledger/runledger/internal/verifypage"
)

// verifyPage serves verify.html as it is released, to anyone: it holds no data, and
// what is checked with it stays in the browser. Its own policy allows no connection;
// no page of somebody else may frame it.
func verifyPage(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache") // asked for again with each use, by its tag
	h.Set("Etag", `"`+verifypage.SHA256()+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(verifypage.HTML()))
}
