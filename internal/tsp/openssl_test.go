package tsp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/testneeds"
)

const opensslConf = `
[tsa]
default_tsa = here
[here]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384
accuracy = secs:1, millisecs:500
ess_cert_id_chain = yes
ess_cert_id_alg = ESS_ALG
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[stamping]
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[req]
distinguished_name = dn
[dn]
`

// TestOpenSSL: a real authority answers the request, and openssl agrees on the answer.
func TestOpenSSL(t *testing.T) {
	testneeds.Program(t, "openssl")
	for _, alg := range []string{"sha1", "sha256", "sha384"} {
		t.Run(alg, func(t *testing.T) { testOpenSSL(t, alg) })
	}
}

func testOpenSSL(t *testing.T, alg string) {
	dir := t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	write("conf", bytes.ReplaceAll([]byte(opensslConf), []byte("ESS_ALG"), []byte(alg)))
	write("serial", []byte("01\n"))
	write("message", message)
	run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-out", "root.pem", "-days", "30", "-subj", "/CN=Root", "-config", "conf", "-extensions", "root")
	run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Authority/O=Open", "-config", "conf")
	run("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-set_serial", "5", "-days", "30", "-out", "tsa.pem", "-extfile", "conf", "-extensions", "stamping")
	query, err := Request(message, nonce)
	if err != nil {
		t.Fatal(err)
	}
	write("query", query)
	run("ts", "-reply", "-config", "conf", "-section", "here", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-chain", "root.pem", "-out", "reply")
	run("ts", "-verify", "-queryfile", "query", "-in", "reply", "-CAfile", "root.pem")
	run("ts", "-verify", "-data", "message", "-in", "reply", "-CAfile", "root.pem")

	reply, err := os.ReadFile(filepath.Join(dir, "reply"))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ParseRoots(pem)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(reply, message, roots)
	if err != nil {
		t.Fatal(err)
	}
	if got.Nonce.Cmp(nonce) != 0 || got.Accuracy != 1500*time.Millisecond || time.Since(got.Time).Abs() > time.Hour || got.Authority != "CN=Authority,O=Open" {
		t.Errorf("%+v", got)
	}
	reply[len(reply)-1] ^= 1 // the signature stands last
	if _, err := Verify(reply, message, roots); err == nil {
		t.Error("a changed signature passes")
	}
}

// TestOpenSSLAgrees: openssl accepts what this test's own authority makes.
func TestOpenSSLAgrees(t *testing.T) {
	testneeds.Program(t, "openssl")
	a := newAuthority(t, nil)
	dir := t.TempDir()
	for name, b := range map[string][]byte{"message": message, "reply": a.stamp(message), "root.der": a.root.Raw} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"x509", "-inform", "DER", "-in", "root.der", "-out", "root.pem"},
		{"ts", "-verify", "-data", "message", "-in", "reply", "-CAfile", "root.pem", "-attime", "1795449602"},
	} {
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
}
