package registry

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// The elements of JUnit's XML, in the form that build servers agree on. Times are
// seconds.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		ClassName string        `xml:"classname,attr"`
		Time      string        `xml:"time,attr"`
		Failure   *junitFailure `xml:"failure"`
		Out       string        `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit returns an observation as JUnit XML: a suite for each capability and a test case
// for each scenario. The type of a failure is its reason, such as invariant_violated;
// advisory invariants that did not hold are in system-out. What XML cannot hold becomes
// U+FFFD.
func JUnit(o *Observation) []byte {
	doc := junitSuites{Name: "runledger registry", Tests: len(o.Scenarios), Time: junitTime(int64(o.FinishedAt-o.StartedAt) / 1000)}
	for _, sum := range o.sums() {
		suite := junitSuite{
			Name: sum.capability, Tests: sum.total, Failures: len(sum.failed), Time: junitTime(sum.ms),
			Timestamp: o.StartedAt.Time().Format("2006-01-02T15:04:05"),
			Properties: []junitProperty{
				{"observation", o.Digest()},
				{"registry", o.Registry},
				{"program", o.Program},
				{"server", o.Server},
				{"tenant", o.Tenant},
			},
		}
		for i := range o.Scenarios {
			if s := &o.Scenarios[i]; s.Capability == sum.capability {
				suite.Cases = append(suite.Cases, s.junit())
			}
		}
		doc.Failures += len(sum.failed)
		doc.Suites = append(doc.Suites, suite)
	}
	text, err := xml.MarshalIndent(&doc, "", "  ")
	if err != nil {
		panic("registry: JUnit: " + err.Error()) // nothing in it can fail to be written
	}
	return append([]byte(xml.Header), append(text, '\n')...)
}

func (s *ScenarioResult) junit() junitCase {
	c := junitCase{Name: s.ID, ClassName: s.Capability, Time: junitTime(s.DurationMS), Out: strings.Join(s.advice(), "\n")}
	if f := s.Failure; f != nil {
		c.Failure = &junitFailure{Type: f.Reason, Message: f.short(), Text: f.Detail}
	}
	return c
}

func junitTime(ms int64) string { return fmt.Sprintf("%.3f", float64(ms)/1000) }
