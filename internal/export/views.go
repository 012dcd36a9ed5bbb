package export

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/report"
)

// view is made of an export's records beside the bundle's files: it has no more of
// their content than the files disclose. It sees all records of a log in order of
// seq, and the logs in the order in which they are read. The record and what it
// points to are its own to keep, but for the list of fields.
type view interface {
	record(*shown) error
}

// modelView makes the model of a report.
type modelView interface {
	view
	model() (*report.Model, error)
}

// openViews makes the views of the export's format, empty: the report of m, or the
// table of those records of some kinds that are wanted.
func (j *job) openViews(m modelView, wanted func(*shown) bool, kinds ...evidence.Kind) error {
	j.views, j.table, j.model = nil, nil, nil
	if j.reports() {
		j.model = m
		j.views = append(j.views, m)
	}
	if j.req.Format != FormatCSV {
		return nil
	}
	var w *fileWriter
	if err := j.writers(&w); err != nil {
		return err
	}
	t, err := newTable(w, wanted, kinds, j.salt, j.extraColumns()...)
	j.table = t
	j.views = append(j.views, t)
	return err
}

// closeViews finishes the views: into the bundle's files, or the one document of
// the export.
func (j *job) closeViews() error {
	if j.table != nil {
		f := j.table.finish()
		j.doc = &f
		return nil
	}
	if j.model == nil {
		return nil
	}
	m, err := j.model.model()
	if err != nil {
		return err
	}
	var w *fileWriter
	if err := j.writers(&w); err != nil {
		return err
	}
	if err := report.PDF(w, m); err != nil {
		return fmt.Errorf("report.pdf: %w", err)
	}
	pdf := w.finish("report.pdf")
	if j.single() {
		j.doc = &pdf
		return nil
	}
	if err := report.HTML(w, m); err != nil {
		return fmt.Errorf("report.html: %w", err)
	}
	j.files = append(j.files, pdf, w.finish("report.html"))
	return nil
}
