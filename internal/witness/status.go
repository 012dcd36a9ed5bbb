package witness

import (
	"fmt"
	"time"
)

// degradedAfter is how long a log may be without a quorum before its integrity is
// called degraded.
const degradedAfter = 10 * time.Minute

// Status is what the client knows of one witness and one log.
type Status struct {
	Name, Key, URL string
	Size           int64     // of the newest tree that it cosigned; 0: none
	At             time.Time // when it says that it did
	Error          string    // why it does not at present
}

// Status returns what each witness has said of a tenant's newest log that was asked
// about, and why that is too little, where it has been for ten minutes.
func (c *Client) Status(tenant string) (list []Status, why string) {
	c.mu.Lock()
	var l *logState
	no := 0
	for ref, s := range c.logs {
		if ref.tenant == tenant && ref.no > no {
			l, no = s, ref.no
		}
	}
	c.mu.Unlock()
	for _, p := range c.peers {
		s := Status{Name: p.name, Key: p.key, URL: p.url}
		if l != nil {
			l.mu.Lock()
			s.Size, s.At, s.Error = l.signed[p].size, l.signed[p].at, l.refused[p].why
			l.mu.Unlock()
		}
		if s.Error == "" {
			p.mu.Lock()
			s.Error = p.lastErr
			p.mu.Unlock()
		}
		list = append(list, s)
	}
	if l == nil {
		return list, ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.unmet.IsZero() && c.cfg.Now().Sub(l.unmet) > degradedAfter {
		why = fmt.Sprintf("too few witnesses have cosigned log %d since %s", no, l.unmet.UTC().Format(time.RFC3339))
	}
	return list, why
}

func (c *Client) withoutQuorum() int {
	c.mu.Lock()
	logs := make([]*logState, 0, len(c.logs))
	for _, l := range c.logs {
		logs = append(logs, l)
	}
	c.mu.Unlock()
	n := 0
	for _, l := range logs {
		l.mu.Lock()
		if !l.unmet.IsZero() {
			n++
		}
		l.mu.Unlock()
	}
	return n
}
