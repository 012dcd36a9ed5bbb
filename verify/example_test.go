package verify_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/runledger/runledger/verify"
)

// The key of a log, as its operator states it: in the contract, on a web site, in
// an earlier audit. Never one out of the bundle.
const logKey = "log.example/0123456789ab+d8c4b45c+Af23xRbTQzevLf9L0skMisOoNsUOJ6fMGfqRHnykdjtb"

// Verify a bundle that an operator handed over.
func ExampleZIP() {
	f, err := os.Open("../testdata/bundles/run.zip")
	if err != nil {
		log.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		log.Fatal(err)
	}
	report, err := verify.ZIP(context.Background(), f, info.Size(), verify.Options{Keys: []string{logKey}})
	_ = f.Close()
	if err != nil {
		log.Fatal(err) // the file could not be read: no verdict
	}
	fmt.Println(report.Verdict, "exit status", report.ExitStatus())
	fmt.Printf("run %s: %d records, revision %d counts %d\n",
		report.Run.RunID, report.Run.Records, report.Run.Revision, report.Run.RecordCount)
	for _, finding := range report.Findings {
		fmt.Println(finding.Code)
	}
	// Output:
	// VERIFIED-WITH-LIMITS exit status 10
	// run run-1: 6 records, revision 2 counts 5
	// W_NO_QUORUM
	// W_NO_TIME
}

// With the witnesses that the auditor relies on, the roots of the time-stamping
// authority, and so without limits.
func ExampleZIP_policy() {
	const dir = "../testdata/bundles/"
	policy, err := os.ReadFile(dir + "one.policy")
	if err != nil {
		log.Fatal(err)
	}
	roots, err := os.ReadFile(dir + "time-roots.pem")
	if err != nil {
		log.Fatal(err)
	}
	f, err := os.Open(dir + "log-stamped.zip")
	if err != nil {
		log.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		log.Fatal(err)
	}
	report, err := verify.ZIP(context.Background(), f, info.Size(), verify.Options{
		Keys: []string{logKey}, Policy: policy, TimeRoots: roots,
	})
	_ = f.Close()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Verdict)
	for _, w := range report.Logs[0].Witness {
		fmt.Println("cosigned by", w.Name, w.Time)
	}
	for _, s := range report.Logs[0].Timestamps {
		fmt.Println("stamped", s.Size, "leaves", s.Time)
	}
	// Output:
	// VERIFIED
	// cosigned by w1 2026-11-23T16:00:08Z
	// stamped 4 leaves 2026-11-23T16:00:04Z
	// stamped 8 leaves 2026-11-23T16:00:08Z
}

// Verify a log that is too large for a ZIP, with the checkpoint that was kept
// from the last time.
func ExampleDir() {
	kept, err := os.ReadFile("last-year.checkpoint")
	if err != nil {
		log.Fatal(err)
	}
	report, err := verify.Dir(context.Background(), os.DirFS("bundle"), verify.Options{
		Keys:  []string{logKey},
		Since: kept,
		Progress: func(p verify.Progress) {
			fmt.Fprintf(os.Stderr, "\r%s %d/%d", p.Stage, p.Done, p.Total)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Verdict, report.Counts["leaves"], "leaves")
}

// A policy says which witnesses make a checkpoint valid: here both of them.
func ExampleParsePolicy() {
	const w1 = "witness.example/w1+d7ec3267+BO2NXp96io5WwyFvQUEMfhRIAsqSo9DZ83HT1Nfgqy6k"
	const w2 = "witness.example/w2+c51d4644+BAyLrFfpWkbdxCk8Il2ZFW3dXnEgZxwnPrMl/5NUG/3w"
	policy, err := verify.ParsePolicy([]byte("witness w1 " + w1 + "\nwitness w2 " + w2 + "\ngroup both all w1 w2\nquorum both\n"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(policy.Met([]string{w1}), policy.Met([]string{w1, w2}))
	// Output: false true
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
