package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress is a bar on a terminal; elsewhere it shows nothing. It is for one
// goroutine at a time.
type progress struct {
	w     io.Writer // nil: show nothing
	what  string
	shown bool
	last  time.Time
}

// progressAfter keeps short work quiet.
const progressAfter = 300 * time.Millisecond

func (e *env) progress(what string) *progress {
	p := &progress{what: what, last: time.Now()}
	if isTerminal(e.stderr) && !e.JSON {
		p.w = e.stderr
	}
	return p
}

// set shows that done of total are done; a total of 0 is unknown.
func (p *progress) set(done, total int64) {
	if p.w == nil || time.Since(p.last) < progressAfter && !p.shown || time.Since(p.last) < progressAfter/3 {
		return
	}
	p.shown, p.last = true, time.Now()
	if total <= 0 {
		fmt.Fprintf(p.w, "\r%-12s %d\x1b[K", p.what, done)
		return
	}
	const width = 40
	full := int(min(done, total) * width / total)
	fmt.Fprintf(p.w, "\r%-12s [%s%s] %3d %%\x1b[K", p.what, strings.Repeat("=", full), strings.Repeat(" ", width-full), min(done, total)*100/total)
}

// end takes the bar away.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// reading counts what is read through it.
type reading struct {
	io.Reader
	p     *progress
	done  int64
	total int64
}

func (r *reading) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.done += int64(n)
	r.p.set(r.done, r.total)
	return n, err
}
