package evidence

import (
	"errors"
	"fmt"
)

// Sentinel errors. Every error that crosses a package border of runledger
// wraps at most one of them; what wraps none is an internal error.
var (
	// ErrNotFound: no such record, run, log or tenant (for this tenant).
	ErrNotFound = errors.New("not found")
	// ErrConflict: the id is taken by a record with other content.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the input breaks a rule; see [FieldError].
	ErrInvalid = errors.New("invalid")
	// ErrForbidden: the caller may not do or see this.
	ErrForbidden = errors.New("forbidden")
	// ErrTooLarge: a record, field or leaf is over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrUnavailable: evidence cannot be made durable now; retry later.
	ErrUnavailable = errors.New("unavailable")
	// ErrTampered: stored evidence does not match what was signed.
	ErrTampered = errors.New("tampered")
)

// FieldError names the field at fault. It wraps one of the sentinels.
type FieldError struct {
	Field  string // as the producer wrote it, e.g. "duration_us"
	Reason string // what is wrong, for people
	Err    error  // ErrInvalid, ErrTooLarge or ErrForbidden
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// Unwrap returns the sentinel.
func (e *FieldError) Unwrap() error { return e.Err }

func invalid(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...), Err: ErrInvalid}
}

func tooLarge(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...), Err: ErrTooLarge}
}
