package problem_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

type down struct{ error }

func (d down) Unwrap() []error { return []error{evidence.ErrUnavailable, d.error} }

func (down) ForClients() string { return "it is down" }

// What a client is told of a database that does not answer is not where it is.
func TestForClients(t *testing.T) {
	err := fmt.Errorf("append: %w", down{errors.New("dial 10.0.0.7 as runledger_app")})
	if k, p := problem.Answer(err); k.Status != http.StatusServiceUnavailable || p.Detail != "it is down" {
		t.Errorf("%d %q", k.Status, p.Detail)
	}
	// Where something else is the matter, the text is that of the matter.
	err = fmt.Errorf("%w: %w", evidence.ErrInvalid, err)
	if k, p := problem.Answer(err); k.Status != http.StatusUnprocessableEntity || p.Detail != err.Error() {
		t.Errorf("%d %q", k.Status, p.Detail)
	}
}
