package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func pgError(severity, code string) error {
	return fmt.Errorf("exec: %w", &pgconn.PgError{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: "m"})
}

// TestFaults sees what each class of error says before a COMMIT.
func TestFaults(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{
		"08006": evidence.ErrUnavailable, "53100": evidence.ErrUnavailable, "53300": evidence.ErrUnavailable,
		"55P03": evidence.ErrUnavailable, "57014": evidence.ErrUnavailable, "57P01": evidence.ErrUnavailable,
		"57P03": evidence.ErrUnavailable, "58030": evidence.ErrUnavailable, "25006": evidence.ErrUnavailable,
		"40001": evidence.ErrUnavailable, "40P01": evidence.ErrUnavailable, "25P03": evidence.ErrUnavailable,
		"57P02": evidence.ErrUnavailable, "53200": evidence.ErrUnavailable,
		"42501": evidence.ErrForbidden, "RL001": evidence.ErrForbidden, "RL002": evidence.ErrForbidden,
		"RL003": evidence.ErrConflict, "RL004": evidence.ErrTampered, "XX001": evidence.ErrTampered, "XX002": evidence.ErrTampered,
		"22021": evidence.ErrInvalid, "54000": evidence.ErrInvalid,
	} {
		err := fault(pgError("ERROR", code))
		if !errors.Is(err, want) || sqlState(err) != code {
			t.Errorf("%s: %v, want %v", code, err, want)
		}
	}
	for _, cause := range []error{io.ErrUnexpectedEOF, &net.OpError{Op: "read", Err: errors.New("reset")}, context.DeadlineExceeded} {
		if err := fault(fmt.Errorf("receive: %w", cause)); !errors.Is(err, evidence.ErrUnavailable) || !errors.Is(err, cause) {
			t.Errorf("%v: %v", cause, err)
		}
	}
	// What is wrong with the program is not retried as if it passed.
	for _, err := range []error{fault(pgError("ERROR", "42601")), fault(errors.New("cannot encode")), fault(pgError("ERROR", "XX000"))} {
		if hasSentinel(err) {
			t.Errorf("an error of the program has a sentinel: %v", err)
		}
	}
	// What lost is run again, and a commit takes it like a moved head.
	for _, code := range []string{codeSerialization, codeDeadlock} {
		for _, err := range []error{fault(pgError("ERROR", code)), commitFault(pgError("ERROR", code))} {
			if again := retried(err); !lost(err) || !errors.Is(again, store.ErrHeadMoved) || lost(again) || errors.Is(again, evidence.ErrUnavailable) {
				t.Errorf("%v becomes %v", err, again)
			}
		}
	}
	for _, err := range []error{nil, fault(pgError("ERROR", codeUnique)), commitFault(io.ErrUnexpectedEOF), store.ErrHeadMoved} {
		if again := retried(err); lost(err) || err != nil && !errors.Is(again, err) || err == nil && again != nil || sqlState(again) != sqlState(err) {
			t.Errorf("%v is run again", err)
		}
	}
}

// TestCommitFaults sees which errors of COMMIT say that nothing is stored. All
// others must have no sentinel: a caller would write the commit again.
func TestCommitFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want error // nil: unknown
	}{
		{pgx.ErrTxCommitRollback, evidence.ErrUnavailable},
		{pgError("ERROR", "40001"), evidence.ErrUnavailable}, // and run again, see lost
		{pgError("ERROR", "53100"), evidence.ErrUnavailable},
		{pgError("FATAL", "53100"), nil},
		{pgError("FATAL", "57P01"), nil},
		{pgError("ERROR", "57014"), nil},
		{pgError("PANIC", "58030"), nil},
		{pgError("ERROR", "XX000"), nil},
		{io.ErrUnexpectedEOF, nil},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, nil},
		{context.DeadlineExceeded, nil},
	} {
		err := commitFault(test.err)
		if test.want == nil && hasSentinel(err) || test.want != nil && !errors.Is(err, test.want) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: %v, want %v", test.err, err, test.want)
		}
	}
}
