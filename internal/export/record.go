package export

import (
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/verify"
)

// shown is one record of an export, with what it discloses.
type shown struct {
	part   *logPart
	leaf   *evidence.Leaf
	raw    []byte // the leaf, verbatim
	fields []shownField
}

// shownField is a sealed field of a record: its JSON text, or why it is not
// disclosed.
type shownField struct {
	path, json string
	withheld   verify.Reason // "": it is disclosed
}

// field returns a sealed field; false where the record has none of that path.
func (s *shown) field(path string) (shownField, bool) {
	for _, f := range s.fields {
		if f.path == path {
			return f, true
		}
	}
	return shownField{}, false
}

// value returns the JSON text of a sealed field that is disclosed, else "".
func (s *shown) value(path string) string {
	f, _ := s.field(path)
	return f.json
}

// recordFiles writes the files of one log's records.
type recordFiles struct {
	j       *job
	part    *logPart
	counts  *logCompleteness
	records *fileWriter // nil: this format has no files
	sealed  discloser
	line    []byte
}

// recordFiles opens the files of one log. Formats that are no bundle have none; then
// the records only pass by.
func (j *job) recordFiles(part *logPart, counts *logCompleteness) (*recordFiles, error) {
	w := &recordFiles{j: j, part: part, counts: counts}
	w.sealed = discloser{choice: &j.choice, counts: counts}
	if j.single() {
		return w, nil
	}
	return w, j.writers(&w.records, &w.sealed.disclosed, &w.sealed.withheld)
}

// add writes a record, counts it, and shows it to the views. gone says why a field
// that cannot be opened any more is gone.
func (w *recordFiles) add(rec *ledger.ProvenRecord, gone func(path string) verify.Reason) error {
	w.j.counts.add(w.counts, rec.Leaf)
	if w.records != nil {
		out := verify.Record{Seq: rec.Seq, Leaf: rec.Raw, Proof: rec.Proof}
		w.line = out.Append(w.line[:0])
		if _, err := w.records.Write(w.line); err != nil {
			return err
		}
	}
	fields, err := w.sealed.record(rec.Leaf, rec.Open, gone)
	if err != nil {
		return err
	}
	s := shown{part: w.part, leaf: rec.Leaf, raw: rec.Raw, fields: fields}
	for _, v := range w.j.views {
		if err := v.record(&s); err != nil {
			return err
		}
	}
	w.j.progress(1)
	return nil
}

// finish adds the files to the bundle.
func (w *recordFiles) finish() {
	if w.records == nil {
		return
	}
	w.j.files = append(w.j.files, w.records.finish(w.part.dir+"/records.jsonl"),
		w.sealed.disclosed.finish(w.part.dir+"/disclosures.jsonl"), w.sealed.withheld.finish(w.part.dir+"/withheld.jsonl"))
}
