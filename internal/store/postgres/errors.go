package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// SQLSTATEs that are told apart. Names of tables and constraints are not: a
// distributed database adds the number of a shard to them.
const (
	codeUnique         = "23505"
	codeCheck          = "23514" // also: no partition for this row
	codeSerialization  = "40001"
	codeDeadlock       = "40P01"
	codeUndefinedTable = "42P01"
	codeNoRight        = "42501"
	codeReadOnly       = "25006" // a standby
	codeTooComplex     = "54000" // above all: too long for an index
	codeBadText        = "22021" // NUL, or no UTF-8
	codeBadJSONText    = "22P05"

	codeAppendOnly = "RL001" // of the guards: migrations/0004
	codeNoOrder    = "RL002"
	codeFixed      = "RL003"
	codeShrinks    = "RL004"
)

// sqlState returns the SQLSTATE of an error of the database, or "".
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

func isUnique(err error) bool { return sqlState(err) == codeUnique }

// isTaken reports that what an insert brings is there already, or was removed.
func isTaken(err error) bool { return isUnique(err) || sqlState(err) == codeFixed }

// fault gives an error of the database its sentinel. It is for what reads, and
// for transactions that certainly have not been committed.
func fault(err error) error {
	if err == nil || hasSentinel(err) {
		return err
	}
	code := sqlState(err)
	switch code {
	case "":
		if isConnection(err) {
			return unavailable(err)
		}
		return err
	case codeNoRight, codeAppendOnly, codeNoOrder:
		return fmt.Errorf("postgres: %w: %w", evidence.ErrForbidden, err)
	case codeFixed:
		return fmt.Errorf("postgres: %w: %w", evidence.ErrConflict, err)
	case codeShrinks:
		return fmt.Errorf("postgres: %w: %w", evidence.ErrTampered, err)
	case codeBadText, codeBadJSONText, codeTooComplex:
		return fmt.Errorf("postgres: %w: %w", evidence.ErrInvalid, err)
	case codeSerialization, codeDeadlock, codeReadOnly:
		return unavailable(err)
	}
	switch code[:2] {
	case "08", "53", "55", "57", "58": // connection, resources, locks, shutdown, files
		return unavailable(err)
	case "XX":
		if code == "XX001" || code == "XX002" { // a damaged page or index
			return fmt.Errorf("postgres: %w: %w", evidence.ErrTampered, err)
		}
	}
	return fmt.Errorf("postgres: %w", err)
}

// commitFault is the error of a COMMIT. The server's own refusal means that
// nothing is stored. Whatever ends the session at that moment, or is no answer
// of the server's, leaves it unknown: such an error has no sentinel, so that
// its caller reads the head back.
func commitFault(err error) error {
	if errors.Is(err, pgx.ErrTxCommitRollback) {
		return unavailable(err)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Severity == "ERROR" {
		switch pg.Code[:2] {
		case "23", "40", "53":
			return retried(fault(err))
		}
	}
	return fmt.Errorf("postgres: outcome of a commit is unknown: %s", err.Error())
}

// retried marks a transaction that lost against another one. Whoever commits
// takes that like a moved head: reads it anew and tries again.
func retried(err error) error {
	if code := sqlState(err); code == codeSerialization || code == codeDeadlock {
		return fmt.Errorf("%w: %s", store.ErrHeadMoved, err.Error())
	}
	return err
}

// hasSentinel reports an error that its place in the code has given a meaning.
func hasSentinel(err error) bool {
	for _, s := range []error{
		store.ErrDuplicate, store.ErrHeadMoved, evidence.ErrInvalid, evidence.ErrConflict, evidence.ErrForbidden,
		evidence.ErrNotFound, evidence.ErrTampered, evidence.ErrUnavailable,
	} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

func unavailable(err error) error {
	return fmt.Errorf("postgres: %w: %w", evidence.ErrUnavailable, err)
}

// isConnection reports that the connection failed, and not the statement.
func isConnection(err error) bool {
	var opErr *net.OpError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &opErr), errors.As(err, &connect), pgconn.SafeToRetry(err), pgconn.Timeout(err):
		return true
	}
	for _, target := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, syscall.ECONNRESET, syscall.EPIPE, context.DeadlineExceeded,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// occupied is the error of an insert that appends behind the head of a log,
// where nothing can stand unless someone else wrote it.
func occupied(err error, what string) error {
	if isUnique(err) {
		return fmt.Errorf("postgres: %s is there already, behind the head of its log: %w: %w", what, evidence.ErrTampered, err)
	}
	return err
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("postgres: %w: %w", evidence.ErrInvalid, fmt.Errorf(format, args...))
}
