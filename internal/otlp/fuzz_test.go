package otlp

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

// checkBatch holds what must be true of whatever was mapped.
func checkBatch(t *testing.T, m *Mapper, b *Batch) {
	t.Helper()
	if len(b.Errors) > maxErrors || b.Rejected > 0 && len(b.Errors) == 0 {
		t.Errorf("%d rejected, %q", b.Rejected, b.Errors)
	}
	for _, list := range [][]Item{b.Items, b.Traces} {
		for _, it := range list {
			r := it.Record
			if err := r.Complete(); err != nil {
				t.Fatalf("%s: %v", r.Kind, err)
			}
			if r.ContentKey == (r.NaturalKey != "") || r.Said == nil && r.Kind != evidence.KindAudit {
				t.Errorf("%s: key %q, content key %v, said %q", r.Kind, r.NaturalKey, r.ContentKey, r.Said)
			}
			for _, v := range r.Sealed {
				if err := evidence.CheckJSON(v.JSON); err != nil {
					t.Fatalf("%s %s: %v", r.Kind, v.Path, err)
				}
			}
			leafSize(t, r)
			if r.Kind != evidence.KindAudit {
				checkReread(t, m, it)
			}
		}
	}
}

func checkReread(t *testing.T, m *Mapper, it Item) {
	t.Helper()
	r := it.Record
	if r.Kind != evidence.KindTraceStep && r.Kind != evidence.KindTraceEvent {
		return
	}
	h, err := m.Reread(r.Kind, r.SealedJSON("/attrs"), r.SealedJSON("/body"))
	if err != nil {
		t.Fatalf("%s: %v", r.SealedJSON("/attrs"), err)
	}
	if diff := cmp.Diff(it.Hints, h); diff != "" {
		t.Errorf("hints (-mapped +read):\n%s", diff)
	}
}

func fuzzSeeds(f *testing.F, signal string) {
	for i, c := range captures(f, signal) {
		if i%8 == 0 && len(c.body) < 64<<10 {
			f.Add(c.body, c.enc == JSON)
		}
	}
	f.Add([]byte(nil), false)
	f.Add([]byte(`{}`), true)
	f.Add(inRequest(spanBytes("x\xff", id16, id8, nil), spanBytes("x", id16[:3], id8, id8)), false)
	f.Add(inRequest(appendMessage(appendMessage(spanBytes("k\xff", id16, id8, nil), 9, kvBytes("\xff", deepValue(20))), 9, kvBytes("k", nil))), false)
	f.Add(inRequest(appendMessage(appendMessage(nil, 5, deepValue(3)), 9, id16)), false)
}

func encodingOf(json bool) Encoding {
	if json {
		return JSON
	}
	return Protobuf
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, evidence.ErrInvalid) && !errors.Is(err, evidence.ErrTooLarge) {
		t.Errorf("error %v wraps no sentinel", err)
	}
}

func FuzzTraces(f *testing.F) {
	fuzzSeeds(f, "traces")
	f.Fuzz(func(t *testing.T, body []byte, json bool) {
		before := bytes.Clone(body)
		td, _, err := DecodeTraces(body, encodingOf(json))
		if err != nil {
			checkError(t, err)
			return
		}
		m := testMapper()
		b := m.Traces(td)
		checkBatch(t, m, b)
		if !bytes.Equal(before, body) {
			t.Error("the request was changed")
		}
	})
}

func FuzzLogs(f *testing.F) {
	fuzzSeeds(f, "logs")
	f.Fuzz(func(t *testing.T, body []byte, json bool) {
		ld, _, err := DecodeLogs(body, encodingOf(json))
		if err != nil {
			checkError(t, err)
			return
		}
		m := testMapper()
		checkBatch(t, m, m.Logs(ld))
	})
}

func FuzzMetrics(f *testing.F) {
	fuzzSeeds(f, "metrics")
	f.Fuzz(func(t *testing.T, body []byte, json bool) {
		md, err := DecodeMetrics(body, encodingOf(json))
		if err != nil {
			checkError(t, err)
			return
		}
		m := testMapper()
		checkBatch(t, m, m.Metrics(md))
	})
}

// FuzzReread reads /attrs and /body that this package did not write.
func FuzzReread(f *testing.F) {
	f.Add([]byte(`[["k","array",[["int","1"],["kvlist",null]]],["span.name","string","x"],["span.kind","string","client"]]`), []byte(nil))
	f.Add([]byte(`[["log.time_unix_nano","int","1"],["log.body","double",1.5]]`), []byte(`{"a":[1,2.0,null,true]}`))
	f.Fuzz(func(t *testing.T, attrs, body []byte) {
		m := testMapper()
		for _, k := range []evidence.Kind{evidence.KindTraceStep, evidence.KindTraceEvent, evidence.KindSystem} {
			if _, err := m.Reread(k, attrs, body); err != nil {
				checkError(t, err)
			}
		}
	})
}
