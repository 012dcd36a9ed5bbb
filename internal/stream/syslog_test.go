package stream

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
)

var syslogBatch = &batch{events: []event{
	{
		ID: "0190-a", Tenant: "acme", Log: "test.example/0123456789ab", Index: 7, Hash: "sha256:ab", Kind: "audit", Type: `LOG "VIEW]\`,
		Severity: severityWarn, At: evidence.Micros(1_800_000_000_123456), Body: []byte(`{"é":1}`),
	},
	{ID: "0190-b", Tenant: "acme", Kind: "condition", Type: "", Severity: "?", Body: []byte(`{}`)},
}}

// rfc5424 is the grammar of RFC 5424 section 6, as far as messages here use it.
var rfc5424 = regexp.MustCompile(`(?s)^<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) ` +
	`(\[[!-<>-Z^-~]{1,32}(?: [!-<>-Z^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\]) \x{FEFF}(.*)$`)

// frames reads octet counted messages (RFC 6587 section 3.4.1).
func frames(r io.Reader, out chan<- string) {
	b := bufio.NewReader(r)
	for {
		text, err := b.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(text, " "))
		if err != nil || n <= 0 || text[0] == '0' {
			out <- fmt.Sprintf("bad length %q", text)
			return
		}
		m := make([]byte, n)
		if _, err := io.ReadFull(b, m); err != nil {
			return
		}
		out <- string(m)
	}
}

func checkMessages(t *testing.T, got <-chan string) {
	t.Helper()
	m := rfc5424.FindStringSubmatch(<-got)
	if m == nil {
		t.Fatal("no RFC 5424 message")
	}
	// audit is facility 13, WARN severity 4.
	if m[1] != "108" || m[2] != "2027-01-15T08:00:00.123456Z" || m[3] != "a.host" || m[4] != "runledger" || m[6] != `LOG_"VIEW]\` || m[8] != `{"é":1}` {
		t.Errorf("message %q", m)
	}
	want := `[runledger@32473 id="0190-a" tenant="acme" kind="audit" event="LOG \"VIEW\]\\" severity="WARN" ` +
		`log="test.example/0123456789ab" leaf="7" hash="sha256:ab"]`
	if m[7] != want {
		t.Errorf("structured data %s, want %s", m[7], want)
	}
	if m := rfc5424.FindStringSubmatch(<-got); len(m) != 9 || m[6] != "-" || m[1] != "110" || strings.Contains(m[7], "log=") {
		t.Errorf("message %q", m)
	}
}

func syslogTarget(network, address string) *Syslog {
	return &Syslog{Address: address, Network: network, Facility: "audit", Enterprise: exampleEnterprise}
}

// ends waits until the sink sees that the receiver closed the connection.
func ends(t *testing.T, s *syslogSink) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the end of a connection is seen before a write on Linux only")
	}
	eventually(t, "the end of the connection", func() bool { return closed(s.conn) })
}

func TestSyslogTCP(t *testing.T) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	got := make(chan string, 10)
	conns := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- conn
			go frames(conn, got)
		}
	}()
	s := must(newSyslog(syslogTarget("tcp", ln.Addr().String()), "a.host"))
	defer s.Close()
	if err := s.deliver(t.Context(), syslogBatch); err != nil {
		t.Fatal(err)
	}
	checkMessages(t, got)
	// The receiver closes the connection: the next batch takes another one.
	_ = (<-conns).Close()
	ends(t, s)
	if err := s.deliver(t.Context(), syslogBatch); err != nil {
		t.Fatal(err)
	}
	checkMessages(t, got)
	// It is gone altogether: nothing counts as delivered.
	_ = ln.Close()
	_ = (<-conns).Close()
	ends(t, s)
	if err := s.deliver(t.Context(), syslogBatch); err == nil {
		t.Error("delivered to nobody")
	}
}

// A receiver that never reads has nothing confirmed, and does not hold the stream for
// longer than it is asked to.
func TestSyslogDoesNotRead(t *testing.T) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	s := must(newSyslog(syslogTarget("tcp", ln.Addr().String()), ""))
	defer s.Close()
	big := &batch{}
	for range 12 {
		big.events = append(big.events, event{Body: []byte(strings.Repeat("x", 1<<20))})
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- s.deliver(ctx, big) }()
	conn := must(ln.Accept())
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-failed; err == nil {
		t.Error("a batch that was not read counts as delivered")
	}
}

func TestSyslogTLS(t *testing.T) {
	rc := newReceiver(t) // its certificate
	cert := rc.TLS.Certificates[0]
	ln := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
	defer ln.Close()
	got := make(chan string, 10)
	conns := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- conn
			go frames(conn, got)
		}
	}()
	target := syslogTarget("tls", ln.Addr().String())
	if err := must(newSyslog(target, "a.host")).deliver(t.Context(), syslogBatch); err == nil {
		t.Error("an unknown certificate is taken")
	} else if unknown := (x509.UnknownAuthorityError{}); !errors.As(err, &unknown) {
		t.Error(err)
	}
	_ = (<-conns).Close()
	target.CAFile = writeFile(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rc.Certificate().Raw})))
	s := must(newSyslog(target, "a.host"))
	defer s.Close()
	if err := s.deliver(t.Context(), syslogBatch); err != nil {
		t.Fatal(err)
	}
	checkMessages(t, got)
	_ = (<-conns).Close()
	ends(t, s)
	if err := s.deliver(t.Context(), syslogBatch); err != nil {
		t.Fatal(err)
	}
	checkMessages(t, got)
}

func TestSyslogUDP(t *testing.T) {
	conn := must(net.ListenPacket("udp", "127.0.0.1:0"))
	defer conn.Close()
	s := must(newSyslog(syslogTarget("udp", conn.LocalAddr().String()), "a.host"))
	defer s.Close()
	if err := s.deliver(t.Context(), syslogBatch); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 2)
	for range 2 {
		buf := make([]byte, 1<<16)
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		got <- string(buf[:n])
	}
	checkMessages(t, got)
	err := s.deliver(t.Context(), &batch{events: []event{{Body: make([]byte, maxDatagram)}}})
	if refused := (*refusedError)(nil); !errors.As(err, &refused) || !refused.split {
		t.Errorf("a message that fits into no datagram: %v", err)
	}
}

func FuzzSyslogMessage(f *testing.F) {
	f.Add("LOG_VIEW", "acme", "a.host")
	f.Add("]\"\\", "é\n", "a host\x00")
	f.Fuzz(func(t *testing.T, kind, tenant, host string) {
		if strings.ToValidUTF8(tenant+kind, "") != tenant+kind {
			t.Skip() // records hold valid UTF-8
		}
		s := must(newSyslog(syslogTarget("udp", "127.0.0.1:1"), host))
		m := s.message(nil, &event{ID: "x", Type: kind, Tenant: tenant, Severity: severityInfo, Body: []byte("{}")})
		if !rfc5424.Match(m) {
			t.Fatalf("%q", m)
		}
	})
}
