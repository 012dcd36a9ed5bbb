package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"
)

// TestHostile: whatever is sent, the answer is one of the statuses stated, what
// is good in it is kept, and the server serves on.
func TestHostile(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxBody = 16 << 20 })
	good := protoTraces(t, spans(1, 2))
	one := func(change func(s ptrace.Span)) []byte {
		td := spans(5, 2)
		change(td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1))
		return protoTraces(t, td)
	}
	nested := func(depth int) pcommon.Value {
		v := pcommon.NewValueStr("x")
		for range depth {
			w := pcommon.NewValueSlice()
			v.MoveTo(w.Slice().AppendEmpty())
			v = w
		}
		return v
	}
	zeros := bytes.Repeat([]byte{0}, 64<<20)
	for _, tc := range []struct {
		name     string
		body     []byte
		encoding string
		media    string
		want     []int
	}{
		{name: "truncated", body: good[:len(good)-3], want: []int{400, 200}},
		{name: "random", body: []byte("\xff\xfe\xfd not protobuf"), want: []int{400}},
		{name: "length beyond the end", body: binary.AppendUvarint([]byte{0x0a}, 1<<62), want: []int{400}},
		{name: "gzip bomb", body: gzipped(t, zeros), encoding: "gzip", want: []int{413}},
		{name: "truncated gzip", body: gzipped(t, good)[:40], encoding: "gzip", want: []int{400}},
		{name: "text after gzip", body: append(gzipped(t, good), "more"...), encoding: "gzip", want: []int{400}},
		{name: "large attribute", body: one(func(s ptrace.Span) { s.Attributes().PutStr("big", strings.Repeat("x", 17<<20)) }), want: []int{413}},
		{name: "deep protobuf", body: deepProtobuf(10_000), want: []int{200, 400}},
		{name: "nested values", body: one(func(s ptrace.Span) { nested(60).MoveTo(s.Attributes().PutEmpty("deep")) }), want: []int{200}},
		{name: "deep JSON", body: []byte(strings.Repeat(`{"resourceSpans":[`, 10_000)), media: typeJSON, want: []int{200, 400}},
		{name: "deep JSON value", body: deepJSON(10_000), media: typeJSON, want: []int{200, 400}},
		{name: "invalid UTF-8", body: one(func(s ptrace.Span) { s.SetName("a\xff"); s.Attributes().PutStr("b\xfe", "c\xfd") }), want: []int{200}},
		{name: "many attributes", body: one(func(s ptrace.Span) {
			for i := range 10_000 {
				s.Attributes().PutInt(fmt.Sprintf("k%d", i), int64(i))
			}
		}), want: []int{200}},
		{name: "ids of wrong length", body: append(rawSpan(5, 8, nil), good...), want: []int{200}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.media == "" {
				tc.media = typeProtobuf
			}
			got, err := r.try(call{path: "/v1/traces", contentType: tc.media, encoding: tc.encoding, body: tc.body})
			// A client that still writes may see the connection closed before the
			// answer; what comes after must be well all the same.
			ok := err != nil
			for _, want := range tc.want {
				ok = ok || got.status == want
			}
			if !ok {
				t.Errorf("status %d, want one of %v: %.300s", got.status, tc.want, got.body)
			}
			if after := r.traces("acme", spans(6, 1)); after.status != 200 {
				t.Errorf("afterwards: status %d", after.status)
			}
		})
	}
	r.roomBack()
}

// deepProtobuf is a span with an attribute of arrays in arrays.
func deepProtobuf(depth int) []byte {
	v := field(1, []byte("x")) // AnyValue.string_value
	for range depth {
		v = field(5, field(1, v)) // AnyValue.array_value.values
	}
	return rawSpan(16, 8, append(field(1, []byte("deep")), field(2, v)...))
}

func field(n protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
}

// rawSpan is a request with one span, with ids of these lengths and one
// attribute.
func rawSpan(traceID, spanID int, attribute []byte) []byte {
	span := append(field(1, bytes.Repeat([]byte{1}, traceID)), field(2, bytes.Repeat([]byte{1}, spanID))...)
	if attribute != nil {
		span = append(span, field(9, attribute)...)
	}
	return field(1, field(2, field(2, span)))
}

func deepJSON(depth int) []byte {
	v := strings.Repeat(`{"arrayValue":{"values":[`, depth) + `{"stringValue":"x"}` + strings.Repeat(`]}}`, depth)
	return []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"01010101010101010101010101010101","spanId":"0101010101010101","attributes":[{"key":"deep","value":` + v + `}]}]}]}]}`)
}

// dial opens a connection for a request that net/http would not send.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.http.URL, "http://"))
	must(r.t, err)
	must(r.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

const rawHead = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer producer-acme\r\nContent-Type: application/x-protobuf\r\n"

func statusOf(t *testing.T, c net.Conn) int {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestSlowClient: who sends too slowly is cut off, and holds no room for what
// it only announces.
func TestSlowClient(t *testing.T) {
	r := newRig(t, func(c *Config) { c.ReadGrace, c.MinRate = 300*time.Millisecond, 1000 })
	c := r.dial()
	_, err := io.WriteString(c, rawHead+"Content-Length: 60000000\r\n\r\n")
	must(t, err)
	start := time.Now()
	go func() {
		for range 100 { // a byte now and then does not help
			if _, err := c.Write([]byte{0}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	time.Sleep(50 * time.Millisecond)
	if !r.bytes.TryAcquire(r.cfg.MaxInFlight - firstRoom) {
		t.Error("a slow client holds more than the first MiB")
	} else {
		r.bytes.Release(r.cfg.MaxInFlight - firstRoom)
	}
	if got := statusOf(t, c); got != 503 {
		t.Errorf("status %d, want 503", got)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	r.roomBack()
}

// TestUnauthenticatedBody: a body of nobody is not read.
func TestUnauthenticatedBody(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	_, err := io.WriteString(c, strings.Replace(rawHead, "producer-acme", "nobody", 1)+"Content-Length: 60000000\r\n\r\n")
	must(t, err)
	if got := statusOf(t, c); got != 401 {
		t.Errorf("status %d, want 401", got)
	}
}

// endless is a body that never ends.
type endless struct{ n atomic.Int64 }

func (e *endless) Read(b []byte) (int, error) {
	e.n.Add(int64(len(b)))
	return len(b), nil
}

func TestEndlessBody(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxBody = 1 << 20 })
	body := &endless{}
	got, err := r.try(call{path: "/v1/traces", contentType: typeProtobuf, reader: body})
	if err == nil && got.status != 413 {
		t.Errorf("status %d, want 413", got.status)
	}
	if n := body.n.Load(); n > 64<<20 {
		t.Errorf("%d bytes were taken", n)
	}
	r.roomBack()
	if _, err := io.WriteString(r.dial(), rawHead+"Transfer-Encoding: chunked\r\n\r\nzz\r\n"); err != nil {
		t.Fatal(err)
	}
}

// TestAbort: a client that goes away in the middle of its body leaves nothing.
func TestAbort(t *testing.T) {
	r := newRig(t, nil)
	for range 20 {
		c := r.dial()
		_, err := io.WriteString(c, rawHead+"Content-Length: 1000\r\n\r\nabc")
		must(t, err)
		must(t, c.Close())
	}
	r.roomBack()
}

// TestFlood: more than there is room for gets 429 and a time to come again;
// what is taken is kept.
func TestFlood(t *testing.T) {
	body := protoTraces(t, spans(1, 50))
	r := newRig(t, func(c *Config) {
		c.MaxInFlight, c.QueueWait = int64(2*len(body)), time.Millisecond
	})
	var taken, full atomic.Int64
	var wg sync.WaitGroup
	for i := range 200 {
		body := protoTraces(t, spans(byte(i), 50))
		wg.Go(func() {
			got, err := r.try(call{path: "/v1/traces", contentType: typeProtobuf, body: body})
			switch {
			case err != nil:
				t.Error(err)
			case got.status == 200:
				taken.Add(1)
			case got.status == 429 && got.header.Get("Retry-After") != "":
				full.Add(1)
			default:
				t.Errorf("status %d: %s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if taken.Load() == 0 || full.Load() == 0 {
		t.Errorf("%d taken, %d refused", taken.Load(), full.Load())
	}
	// What the last ones held is given back behind their answers.
	got := r.traces("acme", spans(250, 50))
	for end := time.Now().Add(10 * time.Second); got.status == 429 && time.Now().Before(end); got = r.traces("acme", spans(250, 50)) {
		time.Sleep(10 * time.Millisecond)
	}
	if got.status != 200 {
		t.Errorf("afterwards: status %d", got.status)
	}
	if n := r.count("acme")["trace"]; int64(n) != taken.Load()+1 {
		t.Errorf("%d traces, want %d", n, taken.Load()+1)
	}
}

// TestWrongIDs: over both transports a span with ids of a wrong length is
// refused alone; pdata's own codec would refuse the request.
func TestWrongIDs(t *testing.T) {
	r := newRig(t, nil)
	body := append(rawSpan(5, 8, nil), protoTraces(t, spans(1, 2))...)
	check := func(what string, answer []byte) {
		t.Helper()
		resp := ptraceotlp.NewExportResponse()
		must(t, resp.UnmarshalProto(answer))
		if n := resp.PartialSuccess().RejectedSpans(); n != 1 {
			t.Errorf("%s: %d spans rejected, want 1", what, n)
		}
	}
	got := r.do(call{path: "/v1/traces", contentType: typeProtobuf, body: body})
	if got.status != 200 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	check("http", got.body)
	answer, err := r.sendRaw(body)
	must(t, err)
	check("grpc", answer)
	if n := r.count("acme")["trace_step"]; n != 2 {
		t.Errorf("%d steps, want 2", n)
	}
}

// TestRoomOfRecords: what becomes of a body holds room, not its bytes alone.
func TestRoomOfRecords(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxInFlight, c.MaxBody, c.QueueWait = 16<<20, 4<<20, time.Millisecond })
	td := ptrace.NewTraces()
	list := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for i := range 5000 {
		s := list.AppendEmpty()
		s.SetTraceID([16]byte{1})
		s.SetSpanID([8]byte{byte(i >> 8), byte(i), 1})
	}
	room, err := r.makeRoom(context.Background(), 8<<20)
	must(t, err)
	if got := r.traces("acme", td); got.status != 429 {
		t.Errorf("while half is taken: status %d", got.status)
	}
	if n := r.count("acme"); len(n) != 0 {
		t.Errorf("records: %v", n)
	}
	room.done()
	r.roomBack()
	if got := r.traces("acme", td); got.status != 200 || len(got.body) != 0 {
		t.Errorf("alone: status %d %q", got.status, got.body)
	}
	r.roomBack()
}

// TestNativePanic: a bug of ours costs the request and not the room.
func TestNativePanic(t *testing.T) {
	r := newRig(t, nil)
	mapper := r.cfg.Mapper
	r.cfg.Mapper = nil
	record := `{"kind":"trace_event","id":"00000000-0000-4000-8000-000000000001","occurred_at":"2026-11-23T12:00:00Z","source_domain":"ACTIVITY",` +
		`"source_component":"x","run_id":"r","event_name":"x","attrs":[["log.time_unix_nano","int","1"]]}`
	got, err := r.try(call{path: "/api/v1/ingest/records", contentType: typeJSON, body: []byte(record)})
	if err != nil || got.status != 500 {
		t.Errorf("%v, status %d: %s", err, got.status, got.body)
	}
	r.roomBack()
	r.cfg.Mapper = mapper
	got, err = r.try(call{path: "/api/v1/ingest/records", contentType: typeJSON, body: []byte(record)})
	if err != nil || got.status != 200 {
		t.Errorf("%v, status %d: %s", err, got.status, got.body)
	}
}
