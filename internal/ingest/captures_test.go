package ingest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCaptures: what real SDKs send is taken whole, and sent again it changes
// nothing.
func TestCaptures(t *testing.T) {
	files, err := filepath.Glob("../../testdata/captures/*/*")
	must(t, err)
	r := newRig(t, nil)
	sent := 0
	for try := range 2 {
		before := len(r.leaves("acme"))
		for _, file := range files {
			media := map[string]string{".pb": typeProtobuf, ".bin": typeProtobuf, ".json": typeJSON}[filepath.Ext(file)]
			signal := ""
			for _, s := range r.signals {
				if strings.Contains(filepath.Base(file), s.name) {
					signal = s.name
				}
			}
			if media == "" || signal == "" {
				continue
			}
			body, err := os.ReadFile(file)
			must(t, err)
			got := r.do(call{path: "/v1/" + signal, contentType: media, body: body})
			if got.status != 200 || (media == typeProtobuf && len(got.body) > 0) {
				t.Errorf("%s: status %d: %s", file, got.status, got.body)
			}
			sent++
		}
		if after := len(r.leaves("acme")); try == 1 && after != before {
			t.Errorf("sent again: %d records, then %d", before, after)
		}
	}
	if sent == 0 {
		t.Fatal("no captures found")
	}
	t.Logf("%d requests, %v", sent, r.count("acme"))
}
