package otlp

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"encoding/binary"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/prices"
)

func zzMapper() *Mapper {
	m := New(Config{Dialects: dialect.Default(), Prices: prices.Default()})

	return m
}
func zzmsg(num protowire.Number, parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts { b = append(b, p...) }
	return appendMessage(nil, num, b)
}
func zzstr(num protowire.Number, s string) []byte { return appendMessage(nil, num, []byte(s)) }
func zzspan(i int, extra ...[]byte) []byte {
	tid := make([]byte, 16); tid[0] = 1
	sid := make([]byte, 8); binary.BigEndian.PutUint64(sid, uint64(i+1))
	parts := append([][]byte{appendMessage(nil, 1, tid), appendMessage(nil, 2, sid)}, extra...)
	return zzmsg(2, parts...)
}
func zzreq(spans ...[]byte) []byte { return zzmsg(1, zzmsg(2, spans...)) }

func zzrun(t *testing.T, name string, body []byte) {
	m := zzMapper()
	var before, after runtime.MemStats
	runtime.GC(); runtime.ReadMemStats(&before)
	start := time.Now()
	td, rej, err := DecodeTraces(body, Protobuf)
	if err != nil { t.Logf("%s: %d bytes: %v", name, len(body), err); return }
	dec := time.Since(start)
	b := m.Traces(td)
	el := time.Since(start)
	runtime.GC(); runtime.ReadMemStats(&after)
	t.Logf("%s: %d bytes: dec %v total %v items %d rejected %d+%d heap %d MiB alloc %d MiB", name, len(body), dec, el, len(b.Items), rej, b.Rejected, (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>20, (after.TotalAlloc-before.TotalAlloc)>>20)
	runtime.KeepAlive(b); runtime.KeepAlive(td)
}
func zzattr(k string, v []byte) []byte { return zzmsg(9, zzstr(1, k), appendMessage(nil, 2, v)) }

func TestZZTiny(t *testing.T) {
	var spans [][]byte
	for i := 0; i < 200000; i++ { spans = append(spans, zzspan(i)) }
	zzrun(t, "tiny", zzreq(spans...))
	spans = nil
	for i := 0; i < 500000; i++ { spans = append(spans, zzmsg(2)) }
	zzrun(t, "empty", zzreq(spans...))
}
func TestZZPolicies(t *testing.T) {
	for _, n := range []int{10000, 40000} {
		var list [][]byte
		for i := 0; i < n; i++ { list = append(list, zzmsg(1, zzstr(1, fmt.Sprintf("%x", i)))) }
		v := zzmsg(5, list...)
		zzrun(t, fmt.Sprint("policies ", n), zzreq(zzspan(1, zzattr("runledger.policy_ids", v))))
	}
}
func TestZZParts(t *testing.T) {
	for _, n := range []int{10000, 40000} {
		var list [][]byte
		list = append(list, zzattr("openinference.span.kind", zzstr(1, "LLM")))
		for i := 0; i < n; i++ { list = append(list, zzattr(fmt.Sprintf("llm.input_messages.0.message.contents.%d.message_content.text", i), zzstr(1, "x"))) }
		zzrun(t, fmt.Sprint("parts ", n), zzreq(zzspan(1, list...)))
		list = list[:1]
		for i := 0; i < n; i++ { list = append(list, zzattr(fmt.Sprintf("llm.input_messages.0.message.tool_calls.%d.tool_call.id", i), zzstr(1, "x"))) }
		zzrun(t, fmt.Sprint("calls ", n), zzreq(zzspan(1, list...)))
		list = list[:1]
		for i := 0; i < n; i++ { list = append(list, zzattr(fmt.Sprintf("llm.input_messages.0.message.contents.0.message_content.y%d", i), zzstr(1, "x"))) }
		zzrun(t, fmt.Sprint("other ", n), zzreq(zzspan(1, list...)))
	}
}
func TestZZEvents(t *testing.T) {
	for _, n := range []int{10000, 40000} {
		var list [][]byte
		for i := 0; i < n; i++ { list = append(list, zzmsg(11, zzmsg(3, zzstr(1, "runledger.policy_id"), appendMessage(nil, 2, zzstr(1, fmt.Sprintf("%x", i)))))) }
		zzrun(t, fmt.Sprint("events ", n), zzreq(zzspan(1, list...)))
	}
}
func TestZZPacked(t *testing.T) {
	packed := make([]byte, 20<<20)
	buckets := zzmsg(8, appendMessage(nil, 2, packed))
	metric := zzmsg(2, zzstr(1, "x"), zzmsg(10, zzmsg(1, buckets)))
	body := zzmsg(1, zzmsg(2, metric))
	m := zzMapper()
	var before, after runtime.MemStats
	runtime.GC(); runtime.ReadMemStats(&before)
	start := time.Now()
	md, err := DecodeMetrics(body, Protobuf)
	if err != nil { t.Log(err); return }
	b := m.Metrics(md)
	runtime.ReadMemStats(&after)
	t.Logf("packed %d: %v items %d rejected %d alloc %d MiB %v", len(body), time.Since(start), len(b.Items), b.Rejected, (after.TotalAlloc-before.TotalAlloc)>>20, b.Errors)
}
