package mirror_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/mirror"
	"github.com/runledger/runledger/verify"
)

// TestBackdatedLeaves: who has the key of a log cannot add leaves that say they are older
// than the time at which a witness saw the log without them.
func TestBackdatedLeaves(t *testing.T) {
	f := newForger(t)
	w, err := c2sp.NewCosigner("witness.example", make([]byte, 32))
	must(t, err)
	r := &rig{server: f.server, cfg: mirror.Config{
		URL: f.server.URL, Keys: []string{f.key.String()}, Dir: filepath.Join(t.TempDir(), "copy"), Tries: 1, Timeout: 10 * time.Second,
		Policy: []byte("witness w " + w.VKey().String() + "\nquorum w\n"),
	}}
	leaves := f.good(t, 12) // all of one time
	recorded := time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	show := func(n int, seen time.Time) {
		t.Helper()
		f.sign(t, leaves[:n])
		c, _, err := c2sp.ParseNote(f.files["checkpoint"])
		must(t, err)
		line, err := w.Cosign(c, seen.Unix())
		must(t, err)
		f.files["checkpoint"] = line.AppendLine(f.files["checkpoint"])
	}
	show(5, recorded.Add(4*time.Minute))
	must(t, r.sync(t))
	show(8, recorded.Add(time.Hour)) // within the tolerance
	must(t, r.sync(t))
	show(10, recorded.Add(2*time.Hour))
	failed(t, r.sync(t), verify.ETime)
	if got := failed(t, r.sync(t), verify.ETime); got.From != 8 || got.Kept == "" {
		t.Errorf("%+v", got)
	}
	m, err := mirror.Open(r.cfg)
	must(t, err)
	err = m.Sync(t.Context())
	must(t, errors.Join(m.Close()))
	failed(t, err, verify.ETime)
}
