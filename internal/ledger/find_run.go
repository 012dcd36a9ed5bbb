package ledger

import (
	"context"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// ResolveRun returns the run that an id of a request names: the run itself, if
// it has records, else the newest run of that run_alias, fit or not, else the
// newest run of that trace id. The error wraps evidence.ErrNotFound where there
// is none.
//
// A miss has made the same queries whatever else knows the id, another tenant or
// a record that only speaks of it. An id that no run can have is a miss without
// any.
func (l *Ledger) ResolveRun(ctx context.Context, tenant, id string) (string, error) {
	missed := fmt.Errorf("run: %w in this tenant", evidence.ErrNotFound)
	if !validRun(id) {
		return "", missed
	}
	steps := []func(ctx context.Context, tenant, id string) (string, error){
		l.runOfID, l.store.RunOfAlias, l.runOfSealedAlias, l.runOfTrace,
	}
	for _, step := range steps {
		run, err := step(ctx, tenant, id)
		if err == nil || !errors.Is(err, evidence.ErrNotFound) {
			return run, err
		}
	}
	return "", missed
}

// validRun reports whether an id has the shape of a run id (fields.md). An alias
// that has not cannot be asked for.
func validRun(id string) bool {
	if id == "" || len(id) > evidence.MaxRun || !utf8.ValidString(id) {
		return false
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func (l *Ledger) runOfID(ctx context.Context, tenant, id string) (string, error) {
	s, err := l.RunState(ctx, tenant, id)
	if err == nil && s.NextN == 0 {
		err = evidence.ErrNotFound
	}
	return id, err
}

// runOfSealedAlias finds an alias that is not fit to be public. The index says
// which record has it; the record says which run it is of.
func (l *Ledger) runOfSealedAlias(ctx context.Context, tenant, alias string) (string, error) {
	const field = "run_alias"
	term, err := l.IndexTerm(ctx, tenant, field, alias)
	if err != nil {
		return "", err
	}
	entries, err := l.store.FindIndex(ctx, tenant, term.Name, term.MAC, 1)
	if err != nil {
		return "", err
	}
	if len(entries) == 0 {
		return "", evidence.ErrNotFound
	}
	stands, err := l.sealer.Replacement(ctx, tenant, field, alias)
	if err != nil {
		return "", err
	}
	records, err := l.Fetch(ctx, tenant, []store.Found{{Position: entries[0].Position}}, false)
	if err != nil {
		return "", err
	}
	leaf := records[0].Leaf
	if leaf.Run == "" || leaf.Text(field) != stands {
		return "", fmt.Errorf("leaf %d of %s: %w: the sealed index finds it by an alias that it does not have", leaf.Seq, leaf.Log, evidence.ErrTampered)
	}
	return leaf.Run, nil
}

// runOfTrace asks only for what can be a trace id; the shape of an id is no
// secret to who sent it.
func (l *Ledger) runOfTrace(ctx context.Context, tenant, id string) (string, error) {
	if len(id) != 32 {
		return "", evidence.ErrNotFound
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", evidence.ErrNotFound
		}
	}
	return l.store.RunOfTrace(ctx, tenant, id)
}
