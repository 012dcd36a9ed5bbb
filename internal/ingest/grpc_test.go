package ingest

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/otlp"
)

func as(credential string) context.Context {
	ctx := context.Background()
	if credential == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+credential)
}

func (r *rig) exportRPC(credential string, td ptrace.Traces, opts ...grpc.CallOption) (ptraceotlp.ExportResponse, error) {
	return ptraceotlp.NewGRPCClient(r.rpc).Export(as(credential), ptraceotlp.NewExportRequestFromTraces(td), opts...)
}

func TestExportGRPC(t *testing.T) {
	r := newRig(t, nil)
	for _, opts := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
		resp, err := r.exportRPC("producer-acme", spans(1, 3), opts...)
		must(t, err)
		if resp.PartialSuccess().ErrorMessage() != "" {
			t.Errorf("partial success: %s", resp.PartialSuccess().ErrorMessage())
		}
	}
	_, err := plogotlp.NewGRPCClient(r.rpc).Export(as("producer-acme"), plogotlp.NewExportRequestFromLogs(logs(2)))
	must(t, err)
	_, err = pmetricotlp.NewGRPCClient(r.rpc).Export(as("producer-acme"), pmetricotlp.NewExportRequestFromMetrics(metricData()))
	must(t, err)
	// What came over HTTP is the same record.
	if got := r.traces("acme", spans(1, 3)); got.status != 200 {
		t.Errorf("status %d", got.status)
	}
	td := spans(2, 2)
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1).SetSpanID([8]byte{})
	resp, err := r.exportRPC("producer-acme", td)
	must(t, err)
	if n := resp.PartialSuccess().RejectedSpans(); n != 1 {
		t.Errorf("%d spans rejected, want 1", n)
	}
	want := map[string]int{"trace": 2, "trace_step": 4, "system": 2, "metric": 1}
	if diff := cmp.Diff(want, r.count("acme")); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestRefusedGRPC(t *testing.T) {
	var paused error
	r := newRig(t, func(c *Config) {
		c.MaxBody, c.MaxInFlight, c.QueueWait = 1<<20, 1<<20, 20*time.Millisecond
		c.Paused = func() error { return paused }
	})
	large := spans(1, 1)
	large.ResourceSpans().At(0).Resource().Attributes().PutStr("big", string(bytes.Repeat([]byte("x"), 2<<20)))
	check := func(what string, err error, code codes.Code, retry bool) {
		t.Helper()
		st := status.Convert(err)
		if st.Code() != code {
			t.Errorf("%s: %v, want %v: %s", what, st.Code(), code, st.Message())
		}
		has := false
		for _, d := range st.Details() {
			if info, ok := d.(*errdetails.RetryInfo); ok && info.GetRetryDelay().AsDuration() > 0 {
				has = true
			}
		}
		if has != retry {
			t.Errorf("%s: RetryInfo %t, want %t", what, has, retry)
		}
	}
	_, err := r.exportRPC("", spans(1, 1))
	check("no credential", err, codes.Unauthenticated, false)
	_, err = r.exportRPC("viewer-acme", spans(1, 1))
	check("no permission", err, codes.PermissionDenied, false)
	_, err = r.exportRPC("producer-acme", large)
	check("too large", err, codes.ResourceExhausted, false)
	_, err = r.exportRPC("producer-acme", large, grpc.UseCompressor(gzip.Name))
	check("bomb", err, codes.ResourceExhausted, false)
	_, err = r.sendRaw([]byte{0x0a, 0xff, 0x01})
	check("malformed", err, codes.InvalidArgument, false)
	_, err = r.sendRaw([]byte{0x1f, 0x8b, 0, 0})
	check("no gzip", err, codes.InvalidArgument, false)

	room, err := r.makeRoom(context.Background(), 1<<20)
	must(t, err)
	_, err = r.exportRPC("producer-acme", spans(1, 1))
	check("full", err, codes.ResourceExhausted, true)
	room.done()
	paused = fmt.Errorf("disk: %w", evidence.ErrUnavailable)
	_, err = r.exportRPC("producer-acme", spans(1, 1))
	check("paused", err, codes.Unavailable, true)
	paused = nil
	r.signals[0].decode = func(*otlp.Mapper, []byte, otlp.Encoding) (*otlp.Batch, int, error) { panic("a bug of ours") }
	_, err = r.exportRPC("producer-acme", spans(1, 1))
	check("panic", err, codes.Unavailable, true)
	r.roomBack()
}

// sendRaw calls with bytes that no client would make.
func (r *rig) sendRaw(b []byte) ([]byte, error) {
	codec := rawCodec{encoding.GetCodecV2("proto")}
	in, out := &rawMessage{mem.BufferSlice{mem.SliceBuffer(b)}}, &rawMessage{}
	err := r.rpc.Invoke(as("producer-acme"), "/"+r.signals[0].service+"/Export", in, out, grpc.ForceCodecV2(codec))
	return out.data.Materialize(), err
}

// TestSlowGRPC: a call whose message does not come ends, and its room with it.
func TestSlowGRPC(t *testing.T) {
	r := newRig(t, func(c *Config) { c.ReceiveTimeout = 50 * time.Millisecond })
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	ctx, cancel := context.WithTimeout(as("producer-acme"), 10*time.Second)
	defer cancel()
	stream, err := r.rpc.NewStream(ctx, desc, "/"+r.signals[0].service+"/Export")
	must(t, err)
	if err := stream.RecvMsg(&rawMessage{}); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	r.roomBack()
}
