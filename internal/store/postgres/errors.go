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
//
// What an error means, and what is to be done about it:
//
//	SQLSTATE                        before COMMIT            of COMMIT itself
//	40001 40P01                     lost against another transaction: it is run again,
//	                                a commit says ErrHeadMoved
//	23505                           ErrDuplicate, ErrHeadMoved or ErrConflict, by where
//	                                it comes from: read anew and try again, or refuse
//	23514                           no partition: make it and try again
//	22021 22P05 54000               ErrInvalid: it cannot be stored
//	42501 RL001 RL002 RL005         ErrForbidden: the database's own guards
//	RL006                           ErrHeld: a legal hold is in force
//	RL003                           ErrConflict: taken or removed
//	RL004                           ErrTampered: the head would go back
//	XX001 XX002                     ErrTampered: a damaged page or index. Stop.
//	25006                           ErrUnavailable: the primary has become a standby;
//	                                the pools look for the new one
//	08 53 55 57 58, 25P03, or no    ErrUnavailable: nothing     unknown, but for an
//	answer (connection lost)        is stored, try later        ERROR of class 23, 40, 53
//	any other                       no sentinel: a mistake      unknown
//
// A server that cannot sync its log panics: its sessions end, and what they were
// about to commit is unknown until it has recovered and the head has been read.
const (
	codeUnique         = "23505"
	codeCheck          = "23514" // also: no partition for this row
	codeSerialization  = "40001"
	codeDeadlock       = "40P01"
	codeUndefinedTable = "42P01"
	codeNoRight        = "42501"
	codeReadOnly       = "25006" // a standby
	codeLocked         = "55P03" // lock_timeout
	codeStandstill     = "25P03" // idle_in_transaction_session_timeout
	codeTooComplex     = "54000" // above all: too long for an index
	codeBadText        = "22021" // NUL, or no UTF-8
	codeBadJSONText    = "22P05"

	codeAppendOnly = "RL001" // of the guards: migrations/0004
	codeNoOrder    = "RL002"
	codeFixed      = "RL003"
	codeShrinks    = "RL004"
	codeYoung      = "RL005"
	codeHeld       = "RL006"
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
	case codeNoRight, codeAppendOnly, codeNoOrder, codeYoung:
		return fmt.Errorf("postgres: %w: %w", evidence.ErrForbidden, err)
	case codeHeld:
		return fmt.Errorf("%w: %w", store.ErrHeld, err)
	case codeFixed:
		return fmt.Errorf("postgres: %w: %w", evidence.ErrConflict, err)
	case codeShrinks:
		return fmt.Errorf("postgres: %w: %w", evidence.ErrTampered, err)
	case codeBadText, codeBadJSONText, codeTooComplex:
		return fmt.Errorf("postgres: %w: %w", evidence.ErrInvalid, err)
	case codeSerialization, codeDeadlock, codeReadOnly, codeStandstill:
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
	if errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR" {
		switch pg.Code[:2] {
		case "23", "40", "53":
			return fault(err)
		}
	}
	return fmt.Errorf("postgres: outcome of a commit is unknown: %s", err.Error())
}

// lost reports a transaction that lost against another one: nothing of it is
// stored, and it may be run again.
func lost(err error) bool {
	code := sqlState(err)
	return code == codeSerialization || code == codeDeadlock
}

// retried marks a commit that lost. Whoever commits takes that like a moved head:
// reads it anew and tries again.
func retried(err error) error {
	if lost(err) {
		return fmt.Errorf("%w: %s", store.ErrHeadMoved, err.Error())
	}
	return err
}

// hasSentinel reports an error that its place in the code has given a meaning.
func hasSentinel(err error) bool {
	for _, s := range []error{
		store.ErrDuplicate, store.ErrHeadMoved, store.ErrKeyGone, evidence.ErrInvalid, evidence.ErrConflict, evidence.ErrForbidden,
		evidence.ErrNotFound, evidence.ErrTampered, evidence.ErrUnavailable,
	} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

func unavailable(err error) error { return &downError{err} }

// downError wraps evidence.ErrUnavailable. Its text may name the server and the role,
// which are no business of those who send requests.
type downError struct{ cause error }

func (e *downError) Error() string { return "postgres: unavailable: " + e.cause.Error() }

func (e *downError) Unwrap() []error { return []error{evidence.ErrUnavailable, e.cause} }

// ForClients is what a client is told of it (package problem).
func (*downError) ForClients() string { return "the database does not answer, or takes nothing now" }

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
