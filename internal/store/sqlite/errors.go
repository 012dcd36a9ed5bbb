package sqlite

import (
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// fault gives an error of the database, in a transaction that has been rolled
// back, its sentinel.
//
// What fails before COMMIT is certainly undone: no commit record was written.
// A COMMIT that finds the disk full has not written its record either. One
// whose write or sync failed otherwise may have, and the next opening of the
// store may find it: store.ErrSync.
func fault(err error, committing bool) error {
	if err == nil {
		return nil
	}
	code := sqlite.ErrCode(err)
	switch code.ToPrimary() {
	case sqlite.ResultFull, sqlite.ResultNoMem, sqlite.ResultBusy, sqlite.ResultLocked, sqlite.ResultReadOnly, sqlite.ResultCantOpen:
		return fmt.Errorf("sqlite: %w: %w", evidence.ErrUnavailable, err)
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		return fmt.Errorf("sqlite: %w: %w", evidence.ErrTampered, err)
	case sqlite.ResultIOErr:
		switch {
		case code == sqlite.ResultIOErrNoMem:
			return fmt.Errorf("sqlite: %w: %w", evidence.ErrUnavailable, err)
		case code == sqlite.ResultIOErrFsync, code == sqlite.ResultIOErrDirFsync, committing:
			return fmt.Errorf("%w: %w", store.ErrSync, err)
		default:
			return fmt.Errorf("sqlite: %w: %w", evidence.ErrUnavailable, err)
		}
	}
	return err
}

// isUnique reports the violation of a unique index, not of a primary key.
func isUnique(err error) bool { return sqlite.ErrCode(err) == sqlite.ResultConstraintUnique }

func isKey(err error) bool {
	code := sqlite.ErrCode(err)
	return code == sqlite.ResultConstraintPrimaryKey || code == sqlite.ResultConstraintRowID
}

// isGuard reports that a trigger refused.
func isGuard(err error) bool { return sqlite.ErrCode(err) == sqlite.ResultConstraintTrigger }

// occupied is the error of an insert that appends behind the head of a log,
// where nothing can stand unless someone else wrote it.
func occupied(err error, what string) error {
	if isUnique(err) || isKey(err) || isGuard(err) {
		return fmt.Errorf("sqlite: %s is there already, behind the head of its log: %w: %w", what, evidence.ErrTampered, err)
	}
	return err
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("sqlite: %w: %w", evidence.ErrInvalid, fmt.Errorf(format, args...))
}
