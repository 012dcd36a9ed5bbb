package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// TestAnchorUnreadable: that checkpoints cannot be given out is seen, and is over once
// they can.
func TestAnchorUnreadable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := openRig(t, dir)
	info := r.tenant(t, "acme")
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not within 20 s: %s", what)
			}
		}
	}
	until("published", func() bool {
		note, err := os.ReadFile(filepath.Join(dir+".anchor", info.Origin+".note"))
		return err == nil && strings.Contains(string(note), "\n1\n") && r.Publishing() == nil
	})
	path := filepath.Join(dir+".anchor", info.Origin+".note")
	// A link to itself can be neither read nor missed. It takes the place of the note in one
	// step: a note that is not there stops the log for good.
	if err := errors.Join(os.Link(path, path+".away"), os.Symlink(filepath.Base(path), path+".loop"), os.Rename(path+".loop", path)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // it looks once in PublishEvery, when what was under way is done
	if _, err := r.tryAppend(t, "acme", step(1, 1, "")); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("append: %v", err)
	}
	until("the anchor is missed", func() bool { return errors.Is(r.Publishing(), evidence.ErrUnavailable) })
	if i := r.Integrity("acme"); i.Status != ledger.StatusDegraded || !strings.Contains(i.Why, "not published") {
		t.Errorf("integrity %s, %q", i.Status, i.Why)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	until("it is there again", func() bool { return r.Publishing() == nil })
	r.append(t, "acme", step(1, 1, ""))
}
