package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
)

func certificateModel(orders int) *Certificate {
	at, _ := evidence.ParseMicros("2026-11-23T16:00:02.000000Z")
	c := &Certificate{
		TenantID: "acme", ErasureID: "erasure-0123456789ab", OrderedBy: "ines@acme.example", ExecutedAt: at, RecordedAt: at + 1200,
		Records: 10432, Fields: 31296, Runs: 37, KeysDestroyed: 2, KeysToRetire: 3, Log: "ledger.example/4f1c09a2b7de", LeafIndex: 48201, Size: 48213,
		Root:       "deadbeef000000000000000000000000000000000000000000000000deadbeef",
		Checkpoint: "ledger.example/4f1c09a2b7de\n48213\n3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— ledger.example/4f1c09a2b7de kz8mYpN0vHn2xq3b7QmYdF5cYx0c3q2+7wAA\n",
		File:       "erasure-0123456789ab.json",
		Limits: []string{
			"Copies of the database that were made before 2026-11-23T16:00:02.000000Z (backups, snapshots, write-ahead logs that were kept) may hold what was erased together with its keys, wrapped: until the last of them is deleted, whoever has one, and the master keyset, can read it.",
			"What was exported, answered or sent on before the erasure is out of its reach.",
		},
	}
	for i := range orders {
		o := CertificateOrder{At: at, RunID: fmt.Sprintf("booking-%04d", i), Records: 282, Fields: 846, LeafIndex: int64(48100 + i)}
		switch i {
		case 1:
			o.RunID = ""
		case 2:
			o.TargetLog = "ledger.example/000000000000"
		case 3:
			o.RunID = "Reise ü\u202e/\n" + strings.Repeat("lang ", 30)
		}
		c.Orders = append(c.Orders, o)
	}
	return c
}

func TestCertificatePDF(t *testing.T) {
	for name, m := range map[string]*Certificate{"certificate": certificateModel(37), "certificate-long": certificateModel(maxOrders + 5), "certificate-empty": {}} {
		t.Run(name, func(t *testing.T) {
			var a, b bytes.Buffer
			if err := CertificatePDF(&a, m); err != nil {
				t.Fatal(err)
			}
			if err := CertificatePDF(&b, m); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Error("the same model gave other bytes")
			}
			if *keep != "" {
				os.WriteFile(filepath.Join(*keep, name+".pdf"), a.Bytes(), 0o600)
			}
			text := squeeze(pdfText(t, a.Bytes()))
			want := []string{"Erasure certificate", "Its JSON form is what verifies", m.ErasureID, m.Log, m.Root, count(m.Records), count(m.Fields), m.OrderedBy}
			want = append(want, m.Limits...)
			for i, o := range m.Orders {
				if i != 3 && i < maxOrders {
					want = append(want, o.RunID, fmt.Sprint(o.LeafIndex))
				}
			}
			for _, w := range want {
				if !strings.Contains(text, squeeze(w)) {
					t.Errorf("the PDF does not say %q", w)
				}
			}
			if strings.Contains(text, "\u202e") {
				t.Error("a control turns text around")
			}
		})
	}
}
