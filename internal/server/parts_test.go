package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

func TestDiskReserve(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		name                string
		reserve, free, size int64
		err                 error
		full                bool
	}{
		{name: "small disk, 5 percent", free: 50 * mib, size: 1000 * mib},
		{name: "small disk, less", free: 50*mib - 1, size: 1000 * mib, full: true},
		{name: "large disk, 256 MiB", free: 256 * mib, size: 1 << 40},
		{name: "large disk, less", free: 256*mib - 1, size: 1 << 40, full: true},
		{name: "configured", reserve: mib, free: mib, size: 1 << 40},
		{name: "configured, less", reserve: mib, free: mib - 1, size: 1 << 40, full: true},
		{name: "unknown", free: 1 << 40, size: 1 << 40, err: errors.New("no such disk"), full: true},
	} {
		d := disk{reserve: test.reserve, stat: func(string) (int64, int64, error) { return test.free, test.size, test.err }}
		if err := d.full(); (err != nil) != test.full || (err != nil && !errors.Is(err, evidence.ErrUnavailable)) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if free, size, err := statDisk(t.TempDir()); err != nil || free <= 0 || size < free {
		t.Errorf("a real disk: %d of %d, %v", free, size, err)
	}
}

func TestSettingsChanged(t *testing.T) {
	a := settings{"listen": "x", "dev": "false", "gone": "1"}
	b := settings{"listen": "y", "dev": "false", "new": "2"}
	got := a.changed(b)
	want := map[string][2]string{"listen": {"x", "y"}, "gone": {"1", ""}, "new": {"", "2"}}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %v, want %v", k, got[k], v)
		}
	}
	_, one, err := a.text()
	_, two, err2 := b.text()
	if err != nil || err2 != nil || one == two || !strings.HasPrefix(one, "sha256:") || !evidence.FitName(one) {
		t.Errorf("digests %s %s %v %v", one, two, err, err2)
	}
}

// writePair makes a self-signed pair and returns its serial number.
func writePair(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kb}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLSReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if c, err := newTLS("", ""); c != nil || err != nil {
		t.Errorf("none: %v %v", c, err)
	}
	if _, err := newTLS(cert, ""); err == nil {
		t.Error("a certificate without key is taken")
	}
	if _, err := newTLS(cert, key); err == nil {
		t.Error("files that are not there are taken")
	}
	writePair(t, cert, key, 1)
	if _, err := newTLS(cert, key); err != nil {
		t.Fatal(err)
	}
	c := &certificate{cert: cert, key: key}
	serial := func() int64 {
		t.Helper()
		p, err := c.get(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Leaf.SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("serial %d", got)
	}
	writePair(t, cert, key, 2)
	at := time.Now().Add(time.Minute) // whatever the file system's clock counts in
	if err := os.Chtimes(cert, at, at); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("after a renewal: serial %d", got)
	}
	if err := os.WriteFile(cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("a broken file replaced the certificate: serial %d", got)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("a missing file replaced the certificate: serial %d", got)
	}
}

// TestSlowBody: who announces a body and sends none is answered and let go,
// whether or not anybody reads it.
func TestSlowBody(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/reads", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			t.Error("a body that did not come was read")
		}
		w.WriteHeader(http.StatusBadRequest)
	})
	mux.HandleFunc("/leaves", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	srv := httptest.NewServer(limitBodies(mux, 50*time.Millisecond))
	defer srv.Close()
	for _, path := range []string{"/reads", "/leaves"} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		// It ends: an answer, and then the connection is closed.
		if b, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 40") {
			t.Errorf("%s: %q %v", path, b, err)
		}
		_ = conn.Close()
	}
}
