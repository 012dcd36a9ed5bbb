package ledger

import "errors"

// quietError keeps from clients what an error says of the machines behind: addresses,
// paths, buckets, roles. Its text is for the operator's log; ForClients is what a client
// is told (package problem).
type quietError struct {
	error
	clients string
}

func (e quietError) Unwrap() error { return e.error }

// ForClients implements what package problem looks for.
func (e quietError) ForClients() string { return e.clients }

const (
	quietAnchor  = "checkpoints are not published: the anchor of the log cannot be read or written now"
	quietKept    = "checkpoints are not published: the database does not keep them now"
	quietOutcome = "whether it was stored is not known; a repeat is harmless"
)

func quiet(err error, clients string) error {
	if err == nil {
		return nil
	}
	return quietError{err, clients}
}

// forClients is the text of an error as clients may read it.
func forClients(err error) string {
	if q := (interface{ ForClients() string })(nil); errors.As(err, &q) {
		return q.ForClients()
	}
	return err.Error()
}
