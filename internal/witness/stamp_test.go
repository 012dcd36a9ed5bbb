package witness_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/testneeds"
	"github.com/runledger/runledger/internal/tsp"
	"github.com/runledger/runledger/internal/witness"
)

// stamper is an authority on the network.
type stamper struct {
	*httptest.Server
	roots *x509.CertPool
	asked atomic.Int64
	// change is what it does to the stamp that was asked for.
	change func(*timestamp.Timestamp)
	status int
}

func newAuthority(t *testing.T) *stamper {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority"}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := &stamper{roots: x509.NewCertPool()}
	s.roots.AddCert(cert)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		body, err := io.ReadAll(r.Body)
		req, err2 := timestamp.ParseRequest(body)
		if err = errors.Join(err, err2); err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
			t.Errorf("request: %v", err)
		}
		ts := &timestamp.Timestamp{
			HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Nonce: req.Nonce, Time: time.Now().UTC().Truncate(time.Second),
			Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true,
		}
		if s.change != nil {
			s.change(ts)
		}
		out, err := ts.CreateResponseWithOpts(cert, key, crypto.SHA256)
		if err != nil {
			t.Errorf("stamp: %v", err)
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		if s.status != 0 {
			w.WriteHeader(s.status)
		}
		_, _ = w.Write(out)
	}))
	t.Cleanup(s.Close)
	return s
}

func (r *rig) stamper(cfg witness.StampConfig) *witness.Stamper {
	r.t.Helper()
	s, err := witness.NewStamper(r.Ledger, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// run lets a stamper run until the test ends.
func run(t *testing.T, s *witness.Stamper) (stop func()) {
	c, done := newRun(s.Run)
	var once atomic.Bool
	stop = func() {
		if !once.Swap(true) {
			c()
			<-done
		}
	}
	t.Cleanup(stop)
	return stop
}

func stamps(t *testing.T, r *rig) []ledger.Attestation {
	t.Helper()
	list, err := r.Stamps(ctx, "acme", 1, 0, 1<<40, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestStamp: the newest head is stamped, kept, and recorded for the tenant.
func TestStamp(t *testing.T) {
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), nil)
	info := r.tenant("acme")
	r.mustAdd(3)
	a := newAuthority(t)
	s := r.stamper(witness.StampConfig{URL: a.URL, Roots: a.roots, Name: "the authority"})
	if _, _, err := s.Stamp(ctx, "acme", 1); err != nil {
		t.Fatal(err)
	}
	list := stamps(t, r)
	if len(list) != 1 || list[0].Size != 4 || list[0].By != "the authority" {
		t.Fatalf("%+v", list)
	}
	if v, err := c2sp.Verify(list[0].Note, vkey(t, info.VKey)); err != nil || v.Size != 4 {
		t.Errorf("%+v, %v", v, err)
	}
	if got, err := tsp.Verify(list[0].Data, list[0].Note, a.roots); err != nil || evidence.MicrosOf(got.Time) != list[0].At {
		t.Errorf("%+v, %v", got, err)
	}
	p, err := r.ProveSeq(ctx, "acme", 1, 4)
	for errors.Is(err, ledger.ErrNotPublished) {
		p, err = r.ProveSeq(ctx, "acme", 1, 4)
	}
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := evidence.ParseLeaf(p.Leaf)
	if err != nil || leaf.Text("event_type") != "CHECKPOINT_ANCHORED" || leaf.Text("visibility") != "tenant" {
		t.Errorf("%s, %v", p.Leaf, err)
	}
	if newest, err := r.Newest(ctx, "acme", 1); err != nil || len(newest) != 1 || newest[0].Size != 4 {
		t.Errorf("%+v, %v", newest, err)
	}
	report, err := ledger.Verify(ctx, ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor})
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("live verification: %v, %v", report, err)
	}
}

// TestStampPace: a log is stamped when it changed, not because it was stamped, and
// not more often than is set; also after a restart.
func TestStampPace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := mustRig(t, dir, nil)
	r.tenant("acme")
	r.mustAdd(1)
	a := newAuthority(t)
	var ahead atomic.Int64
	cfg := witness.StampConfig{URL: a.URL, Roots: a.roots, Look: 5 * time.Millisecond, Every: time.Minute, Now: func() time.Time {
		return time.Now().Add(time.Duration(ahead.Load()))
	}}
	count := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d stamps", want), func() bool { return len(stamps(t, r)) >= want })
	}
	// The stamp's time is the machine's; the stamper is told another by less than it
	// tolerates.
	stop := run(t, r.stamper(cfg))
	count(1)
	ahead.Add(int64(90 * time.Second))
	time.Sleep(50 * time.Millisecond)
	if n := len(stamps(t, r)); n != 1 {
		t.Errorf("%d stamps of a log that has not changed", n)
	}
	r.mustAdd(1)
	count(2)
	r.mustAdd(1)
	time.Sleep(50 * time.Millisecond)
	if n := len(stamps(t, r)); n != 2 {
		t.Errorf("%d stamps within a minute", n)
	}
	ahead.Add(int64(90 * time.Second))
	count(3)
	stop()
	before := a.asked.Load()
	r.close()
	r = mustRig(t, dir, nil)
	if _, err := r.Checkpoint(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	s := r.stamper(cfg)
	stop = run(t, s)
	ahead.Add(int64(30 * time.Second))
	time.Sleep(50 * time.Millisecond)
	stop()
	if n := a.asked.Load() - before; n > 1 { // the system log has a record of nothing new
		t.Errorf("asked %d times after a restart", n)
	}
	if n := len(stamps(t, r)); n != 3 {
		t.Errorf("%d stamps after a restart", n)
	}
}

// TestStampRefused: what is not a stamp of just this head, now, is not kept.
func TestStampRefused(t *testing.T) {
	other := newAuthority(t)
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), nil)
	r.tenant("acme")
	for what, c := range map[string]struct {
		set  func(a *stamper, cfg *witness.StampConfig)
		says string
	}{
		"another nonce": {func(a *stamper, _ *witness.StampConfig) {
			a.change = func(ts *timestamp.Timestamp) { ts.Nonce = big.NewInt(5) }
		}, "nonce"},
		"no nonce": {func(a *stamper, _ *witness.StampConfig) { a.change = func(ts *timestamp.Timestamp) { ts.Nonce = nil } }, "nonce"},
		"other bytes": {func(a *stamper, _ *witness.StampConfig) {
			a.change = func(ts *timestamp.Timestamp) { ts.HashedMessage = make([]byte, 32) }
		}, "other bytes"},
		"an early time": {func(a *stamper, _ *witness.StampConfig) {
			a.change = func(ts *timestamp.Timestamp) { ts.Time = ts.Time.Add(-5 * time.Minute) }
		}, "clock"},
		"a late time": {func(a *stamper, _ *witness.StampConfig) {
			a.change = func(ts *timestamp.Timestamp) { ts.Time = ts.Time.Add(5 * time.Minute) }
		}, "clock"},
		"no certificate": {func(a *stamper, _ *witness.StampConfig) {
			a.change = func(ts *timestamp.Timestamp) { ts.AddTSACertificate = false }
		}, "not embedded"},
		"another root": {func(_ *stamper, cfg *witness.StampConfig) { cfg.Roots = other.roots }, "given root"},
		"an error":     {func(a *stamper, _ *witness.StampConfig) { a.status = http.StatusInternalServerError }, "status 500"},
		"a late answer": {func(_ *stamper, cfg *witness.StampConfig) {
			var calls atomic.Int64
			cfg.Now = func() time.Time { return time.Now().Add(time.Duration(calls.Add(1)) * 5 * time.Minute) }
		}, "discarded"},
		"nobody": {func(_ *stamper, cfg *witness.StampConfig) { cfg.URL = "http://127.0.0.1:1/" }, "refused"},
	} {
		t.Run(what, func(t *testing.T) {
			a := newAuthority(t)
			cfg := witness.StampConfig{URL: a.URL, Roots: a.roots}
			c.set(a, &cfg)
			if _, _, err := r.stamper(cfg).Stamp(ctx, "acme", 1); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error that says %q", err, c.says)
			}
			if list := stamps(t, r); len(list) > 0 {
				t.Errorf("kept %+v", list)
			}
		})
	}
	if _, err := witness.NewStamper(r.Ledger, witness.StampConfig{URL: "ldap://x"}); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// TestAuthorityDown: it is left alone for a while.
func TestAuthorityDown(t *testing.T) {
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), nil)
	r.tenant("acme")
	a := newAuthority(t)
	a.status = http.StatusServiceUnavailable
	stop := run(t, r.stamper(witness.StampConfig{URL: a.URL, Look: time.Millisecond}))
	eventually(t, "asked", func() bool { return a.asked.Load() > 0 })
	time.Sleep(50 * time.Millisecond)
	stop()
	if n := a.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

const opensslConf = `
[here]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[root]
basicConstraints = critical, CA:TRUE
[stamping]
extendedKeyUsage = critical, timeStamping
[req]
distinguished_name = dn
[dn]
`

// TestOpenSSLAuthority: a real authority, and openssl's own check of what is kept.
func TestOpenSSLAuthority(t *testing.T) {
	testneeds.Program(t, "openssl")
	dir := t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openssl := func(args ...string) error {
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("openssl %v: %w\n%s", args, err, out)
		}
		return err
	}
	write("conf", []byte(opensslConf))
	write("serial", []byte("01\n"))
	for _, args := range [][]string{
		{"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Root", "-config", "conf", "-extensions", "root"},
		{"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=OpenSSL", "-config", "conf"},
		{"x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-set_serial", "5", "-out", "tsa.pem", "-extfile", "conf", "-extensions", "stamping"},
	} {
		if err := openssl(args...); err != nil {
			t.Fatal(err)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		write("query", body)
		if err := openssl("ts", "-reply", "-config", "conf", "-section", "here", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "reply"); err != nil {
			t.Error(err)
		}
		b, _ := os.ReadFile(filepath.Join(dir, "reply"))
		_, _ = w.Write(b)
	}))
	defer srv.Close()
	pem, err := os.ReadFile(filepath.Join(dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := tsp.ParseRoots(pem)
	if err != nil {
		t.Fatal(err)
	}
	r := mustRig(t, filepath.Join(t.TempDir(), "data"), nil)
	r.tenant("acme")
	r.mustAdd(2)
	if _, _, err := r.stamper(witness.StampConfig{URL: srv.URL, Roots: roots}).Stamp(ctx, "acme", 1); err != nil {
		t.Fatal(err)
	}
	kept := stamps(t, r)[0]
	if kept.By != "CN=OpenSSL" {
		t.Errorf("by %q", kept.By)
	}
	write("3.note", kept.Note)
	write("3.tsr", kept.Data)
	if err := openssl("ts", "-verify", "-data", "3.note", "-in", "3.tsr", "-CAfile", "root.pem"); err != nil {
		t.Error(err)
	}
}
