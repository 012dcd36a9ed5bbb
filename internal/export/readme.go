package export

import (
	"bytes"
	_ "embed" // templates of README.txt
	"fmt"
	"strings"
	"text/template"
)

//go:embed readme.tmpl
var readmeText string

//go:embed check.go.txt
var checkProgram string

//go:embed readme_run.tmpl
var readmeRunText string

//go:embed check_run.go.txt
var checkRunProgram string

var (
	readmeTemplate    = template.Must(template.New("README.txt").Parse(readmeText))
	readmeRunTemplate = template.Must(template.New("README.txt").Parse(readmeRunText))
)

// The checks by shell that README.txt names; a test runs them as printed.
const (
	sha256sumCheck = `    sed 's/},{/}\n{/g' manifest.json |
        sed -n 's/.*{"path":"\([^"]*\)","sha256":"\([0-9a-f]*\)".*/\2  \1/p' |
        sha256sum --check --quiet
`
	opensslCheck = `    head -n 3 logs/0/checkpoint > /tmp/body
    sed -n '5s/.* //p' logs/0/checkpoint | base64 -d | tail -c 64 > /tmp/sig
    { printf '\060\052\060\005\006\003\053\145\160\003\041\000'
      echo "$VKEY" | cut -d + -f 3- | base64 -d | tail -c 32; } > /tmp/key
    openssl pkeyutl -verify -pubin -keyform DER -inkey /tmp/key \
        -rawin -in /tmp/body -sigfile /tmp/sig
`
)

type readmeLog struct {
	Dir, Origin, Root string
	Size, Records     int64
}

// readme returns README.txt: what this is, and how to check it.
func (j *job) readme() ([]byte, error) {
	data := struct {
		ExportID, Tenant, Run       string
		Logs                        []readmeLog
		Sha256sum, OpenSSL, Program string
	}{j.req.ExportID, j.req.Tenant, j.req.Run, nil, sha256sumCheck, opensslCheck, checkProgram}
	for k, l := range j.logs {
		data.Logs = append(data.Logs, readmeLog{l.dir, l.Origin, l.head.Root.String(), l.head.Size, j.counts.Logs[k].Records})
	}
	tmpl := readmeTemplate
	if j.run != nil {
		tmpl, data.Program = readmeRunTemplate, checkRunProgram
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("README.txt: %w", err)
	}
	return b.Bytes(), nil
}

// policy returns the keys of the logs as a tlog-policy file. No witness is
// known yet, so it asks for none.
func (j *job) policy() []byte {
	var b strings.Builder
	b.WriteString("# What the exporter says of keys and witnesses: a hint. Take keys from the\n" +
		"# operator of the log by another way than this bundle.\n")
	for _, l := range j.logs {
		b.WriteString("log " + l.VKey + "\n")
	}
	b.WriteString("quorum none\n")
	return []byte(b.String())
}
