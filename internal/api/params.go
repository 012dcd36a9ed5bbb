package api

import (
	"errors"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
)

func parseTime(s string) (evidence.Micros, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, err
	}
	m := evidence.MicrosOf(t)
	if !m.InRange() {
		return 0, errors.New("out of range")
	}
	return m, nil
}

// The parameters that several routes have are exported types: huma reads the
// fields of an embedded struct only where its name is exported.

// PageParams are those of every answer with many entries.
type PageParams struct {
	Cursor string `query:"cursor" maxLength:"2048" doc:"next_cursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" doc:"entries of a page; at most what the rules of access allow"`
}

func (p *PageParams) paging() facade.Paging { return facade.Paging{Cursor: p.Cursor, Limit: p.Limit} }

// RangeParams are those of lists.
type RangeParams struct {
	After  string `query:"occurred_after" format:"date-time" doc:"from this time on"`
	Before string `query:"occurred_before" format:"date-time" doc:"before this time"`
}

func (p *RangeParams) window() (w facade.Window, err error) {
	if w.After, err = timeParam("occurred_after", p.After); err != nil {
		return w, err
	}
	w.Before, err = timeParam("occurred_before", p.Before)
	return w, err
}

// SyntheticParam is a boolean that may be absent.
type SyntheticParam struct {
	Synthetic string `query:"is_synthetic" enum:"true,false" doc:"synthetic records, where the rules of access show them"`
}

func (p *SyntheticParam) value() *bool {
	if p.Synthetic == "" {
		return nil
	}
	v := p.Synthetic == "true"
	return &v
}

// RunPath is the run that a route is about.
type RunPath struct {
	RunID string `path:"run_id" maxLength:"512" doc:"the run's id, its run_alias, or its trace id"`
}
