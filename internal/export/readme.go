package export

import (
	"bytes"
	_ "embed" // templates of README.txt
	"fmt"
	"strings"
	"text/template"

	"github.com/runledger/runledger/evidence"
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
	stampsCheck = `    for stamp in logs/*/anchors/*.tsr; do
        [ ! -e "$stamp" ] || openssl ts -verify -CAfile "$ROOTS" \
            -in "$stamp" -data "${stamp%.tsr}.note" || exit 1
    done
`
)

type readmeLog struct {
	Dir, Origin, Root string
	Size, Records     int64
	System            bool // of the system tenant, in the bundle of another
}

// readme returns README.txt: what this is, and how to check it.
func (j *job) readme() ([]byte, error) {
	data := struct {
		ExportID, Tenant, Run, Scope        string
		From, Until                         evidence.Micros
		Logs                                []readmeLog
		Sha256sum, OpenSSL, Stamps, Program string
	}{
		ExportID: j.req.ExportID, Tenant: j.req.Tenant, Run: j.req.Run, Scope: j.req.Scope, From: j.req.From, Until: j.req.Until,
		Sha256sum: sha256sumCheck, OpenSSL: opensslCheck, Stamps: stampsCheck, Program: checkProgram,
	}
	for k, l := range j.logs {
		data.Logs = append(data.Logs, readmeLog{
			l.dir, l.Origin, l.head.Root.String(), l.head.Size, j.counts.Logs[k].Records, l.system(&j.req),
		})
	}
	tmpl := readmeTemplate
	if j.req.Profile != ProfileLog {
		tmpl, data.Program = readmeRunTemplate, checkRunProgram
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("README.txt: %w", err)
	}
	return b.Bytes(), nil
}

// policy returns the keys of the logs as a tlog-policy file. It asks for no witness:
// whom to trust is for the reader to say.
func (j *job) policy() []byte {
	var b strings.Builder
	b.WriteString("# What the exporter says of keys: a hint. Take keys, and the witnesses whom you\n" +
		"# trust, by another way than this bundle.\n")
	for _, l := range j.logs {
		b.WriteString("log " + l.VKey + "\n")
	}
	b.WriteString("quorum none\n")
	return []byte(b.String())
}
