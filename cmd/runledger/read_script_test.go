package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Commands of the scripts that read:
//
//	freeport NAME         sets $NAME to a TCP port that nobody listens on
//	capture URL FILE      sends one of testdata/captures to an OTLP route
//	until REGEXP CMD...   runs CMD again until its output has that
func readScriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"freeport": cmdFreePort, "capture": cmdCapture, "until": cmdUntil,
	}
}

func cmdFreePort(ts *testscript.TestScript, _ bool, args []string) {
	address, err := freePort()
	ts.Check(err)
	_, port, err := net.SplitHostPort(address)
	ts.Check(err)
	ts.Setenv(args[0], port)
}

func cmdCapture(ts *testscript.TestScript, _ bool, args []string) {
	body, err := os.ReadFile(filepath.Join(ts.Getenv("CAPTURES"), args[1]))
	ts.Check(err)
	var last string
	for range 100 { // the control socket may answer before the port does
		resp, err := http.Post(args[0], "application/x-protobuf", bytes.NewReader(body))
		if err == nil {
			last = resp.Status
			ts.Check(resp.Body.Close())
			if resp.StatusCode == http.StatusOK {
				return
			}
		} else {
			last = err.Error()
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s: %s", args[1], last)
}

func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for range 100 {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("no %s", args[0])
}
