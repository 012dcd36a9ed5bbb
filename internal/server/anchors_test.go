package server

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// TestAnchorOfLostLog reads an anchor in which one log was lost as a whole, by an
// accepted rollback: it has no note, and verification still hears of it.
func TestAnchorOfLostLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "anchor")
	d, err := ledger.NewDirAnchor(dir)
	if err != nil {
		t.Fatal(err)
	}
	const kept, lost = "ledger.example/0123456789ab", "ledger.example/ba9876543210"
	for _, origin := range []string{kept, lost} {
		if err := d.Write(origin, []byte(origin+"\n1\nx\n")); err != nil {
			t.Fatal(err)
		}
	}
	note, err := d.Read(lost)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Accept(lost, note, nil); err != nil {
		t.Fatal(err)
	}
	a, err := readAnchors(dir)
	if err != nil {
		t.Fatal(err)
	}
	origins, err := a.Origins()
	if err != nil || len(origins) != 2 {
		t.Errorf("origins %v, %v", origins, err)
	}
	if got, err := a.Read(kept); err != nil || len(got) == 0 {
		t.Errorf("note of the log that is there: %q, %v", got, err)
	}
	if _, err := a.Read(lost); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("note of the lost log: %v", err)
	}
	if notes, err := a.Lost(lost); err != nil || len(notes) != 1 {
		t.Errorf("%d lost notes, %v", len(notes), err)
	}
}
