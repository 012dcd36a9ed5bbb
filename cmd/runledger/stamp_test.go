package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/internal/testneeds"
	"github.com/runledger/runledger/verify"
)

const authorityConf = `[here]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256
signer_digest = sha256
[root]
basicConstraints = critical, CA:TRUE
[stamping]
extendedKeyUsage = critical, timeStamping
[req]
distinguished_name = dn
[dn]
`

// TestStamp: a checkpoint is stamped on request by a real authority, a bundle carries
// the stamp, and both this program and openssl find it good.
func TestStamp(t *testing.T) {
	testneeds.Program(t, "openssl")
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s %v: %v\n%s%s", name, args, err, out, stderr.Bytes())
		}
		return out
	}
	write("conf", []byte(authorityConf))
	write("serial", []byte("01\n"))
	ec := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "conf"}
	run("openssl", append([]string{"req", "-x509", "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Root", "-extensions", "root"}, ec...)...)
	run("openssl", append([]string{"req", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Stamps"}, ec...)...)
	run("openssl", "x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-set_serial", "5", "-out", "tsa.pem", "-extfile", "conf", "-extensions", "stamping")
	authority := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		write("query", body)
		run("openssl", "ts", "-reply", "-config", "conf", "-section", "here", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "reply")
		b, _ := os.ReadFile(path("reply"))
		_, _ = w.Write(b)
	}))
	defer authority.Close()

	run("runledger", "init", "--data", "data")
	run("runledger", "tenants", "create", "acme", "--data", "data")
	vkey := string(bytes.TrimSpace(run("runledger", "keys", "list", "--tenant", "acme", "--data", "data", "--vkey")))
	s := background(t, "serve", "--data", path("data"), "--listen", "127.0.0.1:0", "--otlp-http", "off", "--otlp-grpc", "off",
		"--timestamp-url", authority.URL, "--timestamp-roots", path("root.pem"))
	var c struct {
		Size  int64 `json:"size"`
		Stamp struct {
			Authority string `json:"authority"`
		} `json:"stamp"`
	}
	if err := json.Unmarshal(run("runledger", "checkpoint", "--tenant", "acme", "--data", "data", "--stamp", "--json"), &c); err != nil || c.Size == 0 || c.Stamp.Authority != "CN=Stamps" {
		t.Fatalf("%+v %v", c, err)
	}
	run("runledger", "export", "--tenant", "acme", "--data", "data", "--out", "acme/")
	stop(t, s)

	cmd := exec.Command("runledger", "verify", path("acme"), "--key", vkey, "--time-roots", path("root.pem"), "--json")
	out, _ := cmd.Output() // the exit status says that there are no witnesses
	var rep verify.Report
	if err := json.Unmarshal(out, &rep); err != nil || rep.Verdict != verify.VerifiedWithLimits || rep.Has(verify.WNoTime) || len(rep.Logs[0].Timestamps) == 0 {
		t.Fatalf("%v: %s", err, out)
	}
	stamps, err := filepath.Glob(path("acme/logs/0/anchors/*.tsr"))
	if err != nil || len(stamps) == 0 {
		t.Fatal("no stamp in the bundle")
	}
	for _, tsr := range stamps {
		run("openssl", "ts", "-verify", "-data", tsr[:len(tsr)-len("tsr")]+"note", "-in", tsr, "-CAfile", "root.pem")
	}
}
