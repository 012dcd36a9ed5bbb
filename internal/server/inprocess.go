package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
)

// inProcessAddress is the remote address of what inProcess asks. It is no address of a
// network, so nothing is taken for a request from this machine or from elsewhere.
const inProcessAddress = "in-process"

// inProcess is an http.RoundTripper that asks a handler of this process: whatever
// addresses the server listens at, and whether they speak TLS. It keeps the answer
// until it is whole. It may be used by several goroutines.
type inProcess struct {
	handler http.Handler
	working sync.WaitGroup // handlers that have not returned
	left    atomic.Int64   // how many
}

// RoundTrip implements http.RoundTripper. Where the context of the request ends first,
// that is the error, and the handler ends by itself: see wait.
func (p *inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	w := &answerWriter{header: http.Header{}}
	done := make(chan error, 1)
	p.left.Add(1)
	p.working.Go(func() {
		defer p.left.Add(-1)
		done <- p.serve(w, asServed(req))
	})
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	status := cmp.Or(w.status, http.StatusOK)
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(bytes.NewReader(w.body.Bytes())), ContentLength: int64(w.body.Len()), Request: req,
	}, nil
}

// asServed is a request of a client as a server would see it.
func asServed(req *http.Request) *http.Request {
	r := req.Clone(req.Context())
	r.Host = cmp.Or(req.Host, req.URL.Host)
	r.RequestURI, r.RemoteAddr = req.URL.RequestURI(), inProcessAddress
	r.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery}
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}

// serve calls the handler. One that breaks off is an error, as a connection that ends
// would be.
func (p *inProcess) serve(w *answerWriter, r *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errors.New("the handler broke off")
			if v != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				err = fmt.Errorf("the handler broke off: %v", v)
			}
		}
		_ = r.Body.Close()
	}()
	p.handler.ServeHTTP(w, r)
	return nil
}

// wait returns when all handlers have. Nobody may ask any more.
func (p *inProcess) wait() { p.working.Wait() }
