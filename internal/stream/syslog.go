package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// syslogTime bounds connecting, writing and waiting for the receiver's kernel.
const syslogTime = 20 * time.Second

// maxDatagram is what a UDP datagram over IPv4 can hold. A larger message cannot be
// sent at all.
const maxDatagram = 65507

// syslogSink sends RFC 5424 messages whose text is the event.
type syslogSink struct {
	cfg      Syslog
	facility int
	host     string
	tls      *tls.Config
	conn     net.Conn // nil: not connected
}

func newSyslog(cfg *Syslog, host string) (*syslogSink, error) {
	s := &syslogSink{cfg: *cfg, facility: slices.Index(facilities, cfg.Facility), host: headerText(host, 255)}
	if cfg.Network == "tls" {
		roots, err := readRoots(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		name, _, err := net.SplitHostPort(cfg.Address)
		if err != nil {
			return nil, err
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: name}
	}
	return s, nil
}

// headerText makes printable US-ASCII without spaces of a text, "-" of nothing.
func headerText(s string, limit int) string {
	out := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if out == "" {
		return "-"
	}
	return out[:min(len(out), limit)]
}

func (s *syslogSink) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syslogTime)
	defer cancel()
	var err error
	switch s.cfg.Network {
	case "tls":
		s.conn, err = (&tls.Dialer{Config: s.tls}).DialContext(ctx, "tcp", s.cfg.Address)
	default:
		s.conn, err = (&net.Dialer{}).DialContext(ctx, s.cfg.Network, s.cfg.Address)
	}
	if err != nil {
		s.conn = nil
		return err
	}
	if s.cfg.Network != "udp" {
		// Nothing is expected to come; what comes (TLS has its own) is taken away, so
		// that the end of the connection can be seen. It ends when conn is closed.
		go func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }(s.conn)
	}
	return nil
}

// deliver implements sink. Over TCP and TLS a batch counts as delivered when the
// receiver's kernel has all of it and the connection stands: syslog has no answer
// that would say more. Over UDP it counts when it was sent.
func (s *syslogSink) deliver(ctx context.Context, b *batch) error {
	if s.conn != nil && s.cfg.Network != "udp" && closed(s.conn) {
		// The receiver went away while nothing was sent.
		_ = s.Close()
	}
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	conn := s.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Now()) })
	err := s.send(ctx, b)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

func (s *syslogSink) send(ctx context.Context, b *batch) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(syslogTime)); err != nil {
		return err
	}
	if s.cfg.Network == "udp" {
		for i := range b.events {
			m := s.message(nil, &b.events[i])
			if len(m) > maxDatagram {
				return &refusedError{split: true, err: fmt.Errorf("a message of %d bytes fits into no UDP datagram", len(m))}
			}
			if _, err := s.conn.Write(m); err != nil {
				return err
			}
		}
		return nil
	}
	var out, m []byte
	for i := range b.events {
		m = s.message(m[:0], &b.events[i])
		out = strconv.AppendInt(out, int64(len(m)), 10)
		out = append(append(out, ' '), m...)
	}
	if _, err := s.conn.Write(out); err != nil {
		return err
	}
	return received(ctx, s.conn)
}

// received waits until the other side's kernel has all that was written.
func received(ctx context.Context, conn net.Conn) error {
	deadline := time.Now().Add(syslogTime)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 50*time.Millisecond) {
		n, err := unacknowledged(conn)
		switch {
		case err != nil:
			return err
		case n == 0 && closed(conn):
			return errors.New("the receiver closed the connection")
		case n == 0:
			return nil
		case time.Now().After(deadline):
			return errors.New("the receiver does not take what is sent")
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// syslogSeverities are RFC 5424's of this product's three severities.
var syslogSeverities = map[string]int{severityInfo: 6, severityWarn: 4, severityCritical: 2}

// message appends one RFC 5424 message.
func (s *syslogSink) message(dst []byte, e *event) []byte {
	severity, ok := syslogSeverities[e.Severity]
	if !ok {
		severity = 6
	}
	dst = fmt.Appendf(dst, "<%d>1 %s %s %s %d %s [runledger@%d", s.facility*8+severity, e.At.String(), s.host, product, os.Getpid(),
		headerText(e.Type, 32), s.cfg.Enterprise)
	dst = appendParam(dst, "id", e.ID)
	dst = appendParam(dst, "tenant", e.Tenant)
	dst = appendParam(dst, "kind", e.Kind)
	dst = appendParam(dst, "event", e.Type)
	dst = appendParam(dst, "severity", e.Severity)
	if e.Log != "" {
		dst = appendParam(dst, "log", e.Log)
		dst = appendParam(dst, "leaf", strconv.FormatInt(e.Index, 10))
		dst = appendParam(dst, "hash", e.Hash)
	}
	dst = append(dst, "] \xef\xbb\xbf"...) // MSG-UTF8 begins with a byte order mark
	return append(dst, e.Body...)
}

// appendParam appends a parameter of structured data, with what RFC 5424 section
// 6.3.3 wants escaped.
func appendParam(dst []byte, name, value string) []byte {
	dst = append(append(append(dst, ' '), name...), `="`...)
	for i := range len(value) {
		if c := value[i]; c == '"' || c == '\\' || c == ']' {
			dst = append(dst, '\\')
		}
		dst = append(dst, value[i])
	}
	return append(dst, '"')
}

func (s *syslogSink) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
