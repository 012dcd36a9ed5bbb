package export_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/testneeds"
	"github.com/runledger/runledger/verify"
)

// authority is a time-stamping authority that openssl plays.
type authority struct {
	t   testing.TB
	dir string
}

const authorityConf = `
[tsa]
default_tsa = here
[here]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamping]
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[req]
distinguished_name = dn
[dn]
`

// newAuthority skips the test where there is no openssl.
func newAuthority(t testing.TB) *authority {
	t.Helper()
	testneeds.Program(t, "openssl")
	a := &authority{t, t.TempDir()}
	a.write("conf", []byte(authorityConf))
	a.write("serial", []byte("01\n"))
	curve := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "conf"}
	a.openssl(append([]string{"req", "-x509", "-keyout", "root.key", "-out", "root.pem", "-days", "30", "-subj", "/CN=Root", "-extensions", "root"}, curve...)...)
	a.openssl(append([]string{"req", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Authority"}, curve...)...)
	a.openssl("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-set_serial", "5", "-days", "30",
		"-out", "tsa.pem", "-extfile", "conf", "-extensions", "stamping")
	return a
}

func (a *authority) write(name string, b []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) openssl(args ...string) {
	a.t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = a.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
}

// roots is the file with the authority's root certificate.
func (a *authority) roots() string { return filepath.Join(a.dir, "root.pem") }

func (a *authority) pem() []byte {
	a.t.Helper()
	b, err := os.ReadFile(a.roots())
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// stamp stamps the newest head of a tenant's newest log, and returns its size.
func (a *authority) stamp(r *rig, tenant string) int64 {
	a.t.Helper()
	ctx := context.Background()
	at, err := r.End(ctx, tenant)
	if err != nil {
		a.t.Fatal(err)
	}
	head, note, err := r.PublishNow(ctx, tenant, at.LogNo)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("note", note)
	a.openssl("ts", "-query", "-data", "note", "-sha256", "-cert", "-out", "query")
	a.openssl("ts", "-reply", "-config", "conf", "-section", "here", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "reply")
	reply, err := os.ReadFile(filepath.Join(a.dir, "reply"))
	if err != nil {
		a.t.Fatal(err)
	}
	err = r.Attest(ctx, tenant, at.LogNo, []ledger.Attestation{{
		Size: head.Size, Kind: ledger.AttestTimestamp, By: "here", At: evidence.MicrosOf(time.Now()), Note: note, Data: reply,
	}})
	if err != nil {
		a.t.Fatal(err)
	}
	return head.Size
}

// anchorsIn returns the files of anchors/ and consistency/ of a bundle.
func anchorsIn(t testing.TB, z []byte) (list []string) {
	t.Helper()
	for _, name := range names(t, z) {
		if strings.Contains(name, "/anchors/") || strings.Contains(name, "/consistency/") {
			list = append(list, name)
		}
	}
	return list
}

// TestRunStamped: of many stamps a bundle has the last before the run's records, the
// first after them, and the newest; each is linked to the checkpoint, and holds.
func TestRunStamped(t *testing.T) {
	r := newRig(t)
	a := newAuthority(t)
	var sizes []int64
	for i := range 6 { // the run's records stand between the second and the third
		if i == 2 {
			r.steps(1, 100, 3)
			r.append("acme", end("run-1", 1, ""))
		}
		r.steps(2, 10*i, 2)
		sizes = append(sizes, a.stamp(r, "acme"))
	}
	b := r.exportRun(export.Request{Run: "run-1"})
	z := zipOf(t, b)
	var want []string
	for _, size := range []int64{sizes[1], sizes[2], sizes[5]} {
		want = append(want, fmt.Sprintf("logs/0/anchors/%d.note", size), fmt.Sprintf("logs/0/anchors/%d.tsr", size))
	}
	for _, size := range []int64{sizes[1], sizes[2], sizes[5]} {
		want = append(want, fmt.Sprintf("logs/0/consistency/%d-%d.add-checkpoint", size, b.Size))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, anchorsIn(t, z)); diff != "" {
		t.Error(diff)
	}
	rep := r.good(z, verify.Options{TimeRoots: a.pem()})
	if rep.Has(verify.WNoTime) || rep.Has(verify.WTimeUnchecked) {
		t.Errorf("%v", rep.Findings)
	}
	if rep := r.verify(z, verify.Options{}); !rep.Has(verify.WTimeUnchecked) {
		t.Errorf("without roots: %v", rep.Findings)
	}
	doc := string(bytesOf(t, r.exportRun(export.Request{Run: "run-1", Format: export.FormatJSON})))
	if n := strings.Count(doc, `.tsr":{"base64":"MII`); n != 3 {
		t.Errorf("%d time stamps in the JSON form", n)
	}
	html := string(fileOf(t, z, "report.html"))
	if !strings.Contains(html, fmt.Sprintf("over the first %d records", sizes[2])) {
		t.Error("report.html does not name the time stamp")
	}
	// A whole log has more of them.
	z = zipOf(t, r.export(export.Request{}))
	if n := len(anchorsIn(t, z)); n != 3*len(sizes) {
		t.Errorf("%d files of time stamps in the whole log", n)
	}
	r.good(z, verify.Options{TimeRoots: a.pem()})
}

// TestCosigned: the bundle's checkpoint is the one that witnesses have cosigned, also
// where the log grew while they were asked.
func TestCosigned(t *testing.T) {
	for name, grow := range map[string]int{"as it is": 0, "it grew": 3} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			w, err := c2sp.NewCosigner("witness.example", bytes.Repeat([]byte{7}, 32))
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			e := export.New(export.Config{Ledger: r.Ledger, SpoolDir: r.spool, Cosign: func(ctx context.Context, tenant string, logNo int) error {
				asked++
				if grow > 0 {
					r.steps(2, 1000, grow)
				}
				return cosign(ctx, r, w, tenant, logNo)
			}})
			r.steps(1, 0, 3)
			r.append("acme", end("run-1", 1, ""))
			b, err := e.Export(context.Background(), export.Request{
				Tenant: "acme", Profile: export.ProfileRun, Run: "run-1", By: export.Requester{Name: "cli:test"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			policy := fmt.Appendf(nil, "log %s\nwitness w %s\nquorum w\n", r.keys[0], w.VKey())
			rep := r.verify(zipOf(t, b), verify.Options{Policy: policy})
			if rep.Verdict != verify.Verified || len(rep.Logs[0].Witness) != 1 || asked != 1 {
				t.Errorf("%s after %d questions: %v", rep.Verdict, asked, rep.Findings)
			}
		})
	}
}

// cosign lets a witness sign the newest published checkpoint.
func cosign(ctx context.Context, r *rig, w *c2sp.Cosigner, tenant string, logNo int) error {
	head, note, err := r.PublishNow(ctx, tenant, logNo)
	if err != nil {
		return err
	}
	at := time.Now()
	sig, err := w.Cosign(head, at.Unix())
	if err != nil {
		return err
	}
	return r.Attest(ctx, tenant, logNo, []ledger.Attestation{{
		Size: head.Size, Kind: ledger.AttestCosignature, By: w.VKey().Name, Key: fmt.Sprintf("%08x", w.VKey().ID()),
		At: evidence.MicrosOf(at), Note: note, Data: sig.AppendLine(nil),
	}})
}

// TestUncosigned: witnesses that do not answer keep nobody from exporting.
func TestUncosigned(t *testing.T) {
	r := newRig(t)
	r.exporter = export.New(export.Config{Ledger: r.Ledger, SpoolDir: r.spool, Cosign: func(context.Context, string, int) error {
		return errors.New("no answer")
	}})
	r.steps(1, 0, 3)
	r.append("acme", end("run-1", 1, ""))
	r.good(zipOf(t, r.exportRun(export.Request{Run: "run-1"})), verify.Options{})
}
