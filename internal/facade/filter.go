package facade

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// filters collects the conditions of a list from its parameters.
type filters struct {
	f       *Facade
	r       Reader
	ctx     context.Context
	where   []store.Condition
	applied map[string]any
	err     error
}

func (f *Facade) filters(ctx context.Context, r Reader) *filters {
	return &filters{f: f, r: r, ctx: ctx, applied: map[string]any{}}
}

// name filters a public name, which may stand under its replacement. param is
// the request's, field the column's. An empty value is no filter.
func (q *filters) name(param, field, value string) {
	if value == "" || q.err != nil {
		return
	}
	text, err := q.f.cfg.Ledger.AskedName(q.ctx, q.r.Tenant, field, value)
	if err != nil {
		q.err = err
		return
	}
	q.equal(param, value, store.Condition{Field: field, Values: []string{text}})
	if evidence.FitName(value) || q.err != nil {
		return
	}
	// What stands for the name stays in public when the name is erased: then it is found no more.
	term, err := q.f.cfg.Ledger.IndexTerm(q.ctx, q.r.Tenant, field, value)
	if err != nil {
		q.err = err
		return
	}
	q.where = append(q.where, store.Condition{Index: &term})
}

// enum filters one of a closed set.
func (q *filters) enum(param, field, value string, allowed []string) {
	if value == "" || q.err != nil {
		return
	}
	if !slices.Contains(allowed, value) {
		q.err = problem.Invalid(param, fmt.Sprintf("must be one of %v", allowed))
		return
	}
	q.equal(param, value, store.Condition{Field: field, Values: []string{value}})
}

// exact filters an id as it stands.
func (q *filters) exact(param, field, value string) {
	if value != "" && q.err == nil {
		q.equal(param, value, store.Condition{Field: field, Values: []string{value}})
	}
}

// sealed filters a value that is sealed: who may not read it may not guess it.
func (q *filters) sealed(param, index, value string) {
	if value == "" || q.err != nil {
		return
	}
	if !q.r.Content {
		q.err = &evidence.FieldError{Field: param, Reason: "is sealed: the filter needs logs.read_content", Err: evidence.ErrForbidden}
		return
	}
	term, err := q.f.cfg.Ledger.IndexTerm(q.ctx, q.r.Tenant, index, value)
	if err != nil {
		q.err = err
		return
	}
	q.equal(param, value, store.Condition{Index: &term})
}

// synthetic filters synthetic records: hidden unless they are asked for and the
// rules allow it.
func (q *filters) synthetic(asked *bool) {
	if q.err != nil {
		return
	}
	want := false
	switch {
	case q.r.SyntheticOnly:
		want = true
		if asked != nil && !*asked {
			q.err = problem.Invalid("is_synthetic", "this credential sees synthetic records only")
			return
		}
	case asked == nil && q.r.IncludeSynthetic:
		return
	case asked != nil && *asked:
		if !q.r.IncludeSynthetic {
			q.err = &evidence.FieldError{Field: "is_synthetic", Reason: "the rules do not show synthetic records to this credential", Err: evidence.ErrForbidden}
			return
		}
		want = true
	}
	q.where = append(q.where, store.Condition{Field: "is_synthetic", Values: []string{strconv.FormatBool(want)}})
	q.applied["is_synthetic"] = want
}

func (q *filters) equal(param, value string, c store.Condition) {
	q.where = append(q.where, c)
	q.applied[param] = value
}
