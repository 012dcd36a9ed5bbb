package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/runledger/runledger/verify"
)

// spoil fills every text below v with one that tries to be something else on a terminal.
func spoil(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x\x1b[2J\x1b[H\r\nVERIFIED\u202e\u009b1A")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		spoil(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		spoil(v.Index(0))
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				spoil(f)
			}
		}
	}
}

// TestNothingForged: what is verified comes from whom it is about, and must not write the verdict.
func TestNothingForged(t *testing.T) {
	t.Parallel()
	var bundle verify.Report
	var certificate verify.CertificateReport
	spoil(reflect.ValueOf(&bundle).Elem())
	spoil(reflect.ValueOf(&certificate).Elem())
	for _, f := range [][]verify.Finding{bundle.Findings, certificate.Findings} {
		f[0].Code = "E_" + f[0].Code
	}
	bundle.Verdict, certificate.Verdict = verify.VerifiedWithLimits, verify.VerifiedWithLimits
	bundle.Counts = map[string]int64{"leaves": 1}
	var live liveAnswer
	spoil(reflect.ValueOf(&live).Elem())
	for name, show := range map[string]func(e *env){
		"bundle": func(e *env) { e.printReport("a\nVERIFIED", &bundle) }, "certificate": func(e *env) { e.printCertificate("a\nVERIFIED", &certificate) },
		"deployment": func(e *env) { e.printLive(live) },
	} {
		var out bytes.Buffer
		show(&env{globals: &globals{}, stdout: &out, stderr: &out})
		if strings.Count(out.String(), "VERIFIED") < 8 {
			t.Errorf("%s: what is to be looked at is not there:\n%s", name, out.String())
		}
		for i, line := range strings.Split(out.String(), "\n") {
			if bad := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); bad >= 0 || i > 0 && strings.HasPrefix(line, "VERIFIED") {
				t.Errorf("%s: line %d is %q", name, i, line)
			}
		}
	}
}
