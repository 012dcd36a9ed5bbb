package sqlite

import (
	"context"
	"errors"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/internal/store"
)

// due says whether something was removed that is to be scrubbed. The setting says so in the
// database: whoever removes is not sure to live until the scrub.
type due struct {
	kept    bool  // store.SettingScrub is "1"
	removed int64 // transactions that removed
	now     bool  // this one does
	over    bool  // this one takes the note back
}

func (d *due) settle() {
	if d.now {
		d.kept = true
		d.removed++
	}
	if d.over {
		d.kept = false
	}
	d.undo()
}

func (d *due) undo() { d.now, d.over = false, false }

// seeDue reads what a process before has left.
func (w *writer) seeDue() error {
	return w.query(sqlSetting, func(s *sqlite.Stmt) { w.due.kept = s.ColumnText(0) == "1" }, store.SettingScrub)
}

// removing notes, in the transaction that removes, that there is something to scrub.
func (w *writer) removing() error {
	first := !w.due.kept && !w.due.now
	w.due.now = true
	if !first {
		return nil
	}
	return w.putSetting(store.SettingScrub, "1")
}

// scrubbed takes the note back, unless there were removals after the first n.
func (w *writer) scrubbed(ctx context.Context, n int64) error {
	err := w.transact(ctx, func() error {
		if !w.due.kept || w.due.removed != n {
			return errDue
		}
		w.due.over = true
		return w.putSetting(store.SettingScrub, "")
	})
	if errors.Is(err, errDue) {
		return nil
	}
	return err
}

var errDue = errors.New("nothing to take back")
