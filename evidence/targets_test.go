package evidence_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

func TestTargets(t *testing.T) {
	want := &evidence.Targets{Log: "log.example/41a00944c12e", Ranges: []evidence.TargetRange{
		{From: 3, To: 9, Paths: []string{"/prompt", "/response"}}, {From: 12, To: 13},
	}}
	got, err := evidence.ParseTargets(want.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{
		``, `[]`, `{"ranges":[{"from":3,"to":3}]}`, `{"ranges":[{"from":-1,"to":3}]}`, `{"Ranges":[{"from":1,"to":3}]}`,
		`{"ranges":[{"from":1,"to":3,"path":"/prompt"}]}`, `{"ranges":[{"from":1,"to":3,"paths":["prompt"]}]}`,
		`{"log":"acme","ranges":[]}`, `{"ranges":[]} x`, `{"ranges":[],"ranges":[]}`, `{"ranges":[{"from":1,"to":9007199254740993}]}`,
	} {
		if got, err := evidence.ParseTargets([]byte(bad)); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %+v, %v", bad, got, err)
		}
	}
}
