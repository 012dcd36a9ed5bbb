package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/signintech/gopdf"

	"github.com/runledger/runledger/evidence"
)

// Certificate is what the PDF of an erasure certificate shows. It is a view of the JSON
// form, which is what verifies. Equal models give equal bytes.
type Certificate struct {
	TenantID  string
	ErasureID string
	OrderedBy string // "" where it is not disclosed
	// ExecutedAt is the time of the erasure, RecordedAt that of the record that states it.
	ExecutedAt, RecordedAt evidence.Micros

	Records, Fields, Runs       int64
	KeysDestroyed, KeysToRetire int64
	Orders                      []CertificateOrder
	// Limits are what the erasure does not reach, a paragraph each.
	Limits []string

	Log        string // origin
	LeafIndex  int64  // of the statement
	Size       int64
	Root       string // hex, as verify says it
	Checkpoint string // verbatim
	File       string // name of the JSON form, in the commands
}

// CertificateOrder is one record that ordered the erasure.
type CertificateOrder struct {
	At        evidence.Micros
	RunID     string // "" where the records have no run
	Records   int64
	Fields    int64
	LeafIndex int64
	Log       string // origin, where it is not the certificate's log
	TargetLog string // origin of the log of the records, where it is not the order's
}

// maxOrders are listed; the JSON form has all.
const maxOrders = 400

// CertificatePDF writes an erasure certificate as PDF. It is drawn as [PDF] is.
func CertificatePDF(w io.Writer, c *Certificate) error {
	p := &writer{g: &gopdf.GoPdf{}, face: noFace, foot: "A view of the erasure certificate, for people. Its JSON form is what verifies."}
	p.g.Start(gopdf.Config{PageSize: gopdf.Rect{W: pageWidth, H: pageHeight}})
	id := oneLine(short(c.ErasureID, 200))
	p.g.SetInfo(gopdf.PdfInfo{
		Title: "Erasure certificate: " + id, Subject: "Tenant " + oneLine(short(c.TenantID, 100)), Creator: "runledger", Producer: "runledger",
		CreationDate: c.RecordedAt.Time(),
	})
	p.left, p.right = "Erasure certificate", id
	p.newPage()
	p.certificateHead(c)
	for _, b := range composeCertificate(c) {
		p.block(b)
	}
	p.pageNumbers()
	var out bytes.Buffer
	if p.err == nil {
		_, p.err = p.g.WriteTo(&out)
	}
	if p.err != nil {
		return fmt.Errorf("write certificate %s as PDF: %w", id, p.err)
	}
	_, err := w.Write(plainLetters(out.Bytes()))
	return err
}

// certificateHead is the top of the first page: what it is, and its numbers.
func (p *writer) certificateHead(c *Certificate) {
	p.text(pageLeft, 62, p.line("runledger", bold, 10, drawWidth), 10, accent)
	p.fill(pageLeft, 70, drawWidth, 3, accent)
	p.text(pageLeft, 118, p.line("Erasure certificate", bold, 27, drawWidth), 27, ink)
	p.text(pageLeft, 140, p.line("Sealed content of tenant "+oneLine(short(c.TenantID, 200))+" was erased", sans, 12, drawWidth), 12, grey)
	const top, height, gap = 162.0, 62.0, 10.0
	numbers := []Fact{
		{"records lost content", count(c.Records)},
		{"sealed fields erased", count(c.Fields)},
		{"runs concerned", count(c.Runs)},
		{"data keys destroyed", count(c.KeysDestroyed)},
	}
	width := (drawWidth - gap*float64(len(numbers)-1)) / float64(len(numbers))
	for i, n := range numbers {
		x := pageLeft + float64(i)*(width+gap)
		p.fill(x, top, width, height, pale)
		p.fill(x, top, width, 2, accent)
		p.text(x+10, top+34, p.line(n.Value, bold, 20, width-16), 20, ink)
		p.text(x+10, top+51, p.line(n.Name, sans, 8, width-16), 8, grey)
	}
	p.y = top + height + 20
}

// certificateFacts are the facts of the first page.
func certificateFacts(c *Certificate) (rows []Fact) {
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, Fact{name, oneLine(short(value, 300))})
		}
	}
	add("Erasure", c.ErasureID)
	add("Tenant", c.TenantID)
	add("Executed", Clock(c.ExecutedAt))
	by := c.OrderedBy
	if by == "" {
		by = "not disclosed here; it is sealed in the record"
	}
	add("Ordered by", by)
	add("Recorded", fmt.Sprintf("%s, leaf %d", Clock(c.RecordedAt), c.LeafIndex))
	keys := plural(c.KeysDestroyed, "key") + " destroyed"
	if c.KeysToRetire > 0 {
		keys += fmt.Sprintf("; %s to be destroyed once other content under them is sealed anew", count(c.KeysToRetire))
	}
	add("Data keys", keys)
	add("Log", c.Log)
	return rows
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

// composeCertificate returns the blocks below the numbers.
func composeCertificate(c *Certificate) []block {
	b := &composer{}
	b.add(facts{certificateFacts(c)})
	b.add(para{"The records themselves stay in the log, so that it can still be verified as a whole. Their sealed fields were removed, with every entry that could find them, " +
		"and the keys that opened nothing else were destroyed. What stays of a field is a commitment, from which it cannot be read back.", neutral})
	b.section("What it does not reach")
	for _, text := range c.Limits {
		b.add(notice{short(text, maxFact), warn})
	}
	b.section("How to verify")
	b.add(para{"This page proves nothing by itself. Its JSON form has the records with their proofs; ask the operator for the verifier key of the log by another way, and then:", neutral},
		verbatim{"runledger verify " + c.File + " --key \"$KEY\"", true},
		para{"That checks the log's signature, that its tree holds the statement and every order, that the numbers above are those of the orders, and that nothing in the certificate was altered.", neutral})
	b.facts([]Fact{{"Log", c.Log}, {"Size of the log", count(c.Size) + " records"}, {"Root hash", c.Root}})
	if c.Checkpoint != "" {
		b.add(heading{2, "Checkpoint, word for word", ""}, verbatim{short(strings.TrimRight(c.Checkpoint, "\n"), maxFact), false})
	}
	b.section("The orders")
	b.add(para{"Each line is a record of the log that ordered part of the erasure and names the fields of one run's records. " + plural(int64(len(c.Orders)), "order") + " in all.", quiet})
	if len(c.Orders) > maxOrders {
		b.add(notice{fmt.Sprintf("%s of %s orders are listed. The JSON form has them all.", count(maxOrders), count(int64(len(c.Orders)))), warn})
	}
	t := table{Columns: []column{
		{"Leaf", 52, true, true},
		{"Recorded, UTC", 84, false, true},
		{"Run", 240, false, false},
		{"Records", 54, true, true},
		{"Fields", 54, true, true},
	}}
	for _, o := range c.Orders[:min(len(c.Orders), maxOrders)] {
		run := cell{Text: oneLine(short(o.RunID, maxCell))}
		if o.RunID == "" {
			run.Text = "(records of no run)"
		}
		if o.Log != "" {
			run.Sub = "ordered in log " + oneLine(short(o.Log, 120))
		}
		if o.TargetLog != "" {
			run.Sub = joined(run.Sub, "records of log "+o.TargetLog)
		}
		t.Rows = append(t.Rows, []cell{{Text: fmt.Sprint(o.LeafIndex)}, timeCell(o.At), run, {Text: count(o.Records)}, {Text: count(o.Fields)}})
	}
	b.add(t)
	return b.blocks
}
