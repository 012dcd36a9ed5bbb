package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// sqlHoldSettings lets commits that open a log pass each other, and whoever sets a
// setting wait for them. It needs the right to update settings, which the application
// has. Nobody who holds it waits for a setting to be set.
const sqlHoldSettings = `LOCK TABLE settings IN SHARE MODE`

// queueFence asks, as a statement of a batch, for what store.MoveMark.Fence decides
// on. It has to stand behind the lock of a head, or of the settings.
func queueFence(b *pgx.Batch, text *string) {
	b.Queue(sqlSetting, store.SettingMove).Query(func(rows pgx.Rows) error {
		for rows.Next() { // none where the store was never part of a copy
			if err := rows.Scan(text); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// fenced refuses a commit to a store that is not, or no longer, in service. A mark
// that cannot be read is a refusal too.
func fenced(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	m, err := store.ParseMoveMark(text)
	if err != nil {
		return &movedError{"what it says of a move cannot be read: " + err.Error()}
	}
	why := m.Fence()
	if why == "" || m.State == store.MoveArriving && store.IsCopying(ctx) {
		return nil
	}
	return &movedError{why}
}

// movedError wraps evidence.ErrUnavailable: nothing is stored, and a producer keeps
// what it has until it is pointed to the store that is in service. Its text may name
// servers, which are no business of those who send requests.
type movedError struct{ why string }

func (e *movedError) Error() string { return "postgres: nothing was stored: " + e.why }

func (*movedError) Unwrap() error { return evidence.ErrUnavailable }

// ForClients is what a client is told of it (package problem).
func (*movedError) ForClients() string {
	return "the store of this server is not in service: it was copied to another one, or is such a copy"
}
