package verify_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/runledger/runledger/verify"
)

// Verify a bundle that an operator handed over. The key is known from
// elsewhere: the contract, an earlier audit, the operator's web site.
func ExampleZIP() {
	f, err := os.Open("bundle.zip")
	if err != nil {
		log.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		log.Fatal(err)
	}
	report, err := verify.ZIP(context.Background(), f, info.Size(), verify.Options{
		Keys: []string{"log.example/41a00944c12e+b0ac319b+AaCVcFl+vg2dtEe/NFrJRtyGHbLG6xrfME85daxlK/HK"},
	})
	_ = f.Close()
	if err != nil {
		log.Fatal(err) // the file could not be read: no verdict
	}
	fmt.Println(report.Verdict)
	for _, finding := range report.Findings {
		fmt.Println(finding.Error())
	}
	os.Exit(report.ExitStatus())
}

// Verify a log that is too large for a ZIP, with witnesses, and with the
// checkpoint that was kept from the last time.
func ExampleDir() {
	policy, err := os.ReadFile("witnesses.policy")
	if err != nil {
		log.Fatal(err)
	}
	kept, err := os.ReadFile("last-year.checkpoint")
	if err != nil {
		log.Fatal(err)
	}
	report, err := verify.Dir(context.Background(), os.DirFS("bundle"), verify.Options{
		Keys:   []string{"log.example/41a00944c12e+b0ac319b+AaCVcFl+vg2dtEe/NFrJRtyGHbLG6xrfME85daxlK/HK"},
		Policy: policy,
		Since:  kept,
		Progress: func(p verify.Progress) {
			fmt.Fprintf(os.Stderr, "\r%s %d/%d", p.Stage, p.Done, p.Total)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Verdict, report.Counts["leaves"], "leaves")
}

// The verdict follows from the codes of the findings.
func ExampleReport_ExitStatus() {
	for _, v := range []verify.Verdict{verify.Verified, verify.Failed, verify.CouldNotCheck, verify.VerifiedWithLimits} {
		fmt.Println(v, (&verify.Report{Verdict: v}).ExitStatus())
	}
	// Output:
	// VERIFIED 0
	// FAILED 1
	// COULD-NOT-CHECK 4
	// VERIFIED-WITH-LIMITS 10
}

// Disclosures and manifests are written by the same package that reads
// them.
func ExampleDisclosure_Append() {
	d := verify.Disclosure{Seq: 7, Path: "/prompt", Value: []byte(`"Approve loan 4711?"`)}
	fmt.Print(string(d.Append(nil)))
	// Output:
	// {"path":"/prompt","salt":"AAAAAAAAAAAAAAAAAAAAAA","seq":7,"value":"\"Approve loan 4711?\""}
}
