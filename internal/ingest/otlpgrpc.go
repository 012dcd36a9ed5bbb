package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	_ "google.golang.org/grpc/encoding/proto" // the codec of all other services
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/runledger/runledger/internal/otlp"
)

// rpcRoom is reserved for a message before it is read.
const rpcRoom = 4 << 20

// rawMessage is the bytes of a message, compressed or not. Whoever receives
// one frees it.
type rawMessage struct{ data mem.BufferSlice }

// rawCodec hands the bytes of a rawMessage through and leaves all else to the
// codec for protobuf.
type rawCodec struct{ proto encoding.CodecV2 }

// Name implements encoding.CodecV2.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*rawMessage); ok {
		return m.data, nil
	}
	return c.proto.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*rawMessage); ok {
		data.Ref()
		m.data = data
		return nil
	}
	return c.proto.Unmarshal(data, v)
}

// stillCompressed stands in for grpc's decompressor and leaves gzip as it is:
// export decompresses within bounds that all requests share, and that grpc does
// not know. No protobuf message begins with gzip's magic number (0x1f would be
// field 3 with wire type 7, which does not exist), so that nothing is mistaken.
type stillCompressed struct{}

// Do implements grpc.Decompressor.
func (stillCompressed) Do(r io.Reader) ([]byte, error) { return io.ReadAll(r) }

// Type implements grpc.Decompressor.
func (stillCompressed) Type() string { return gzip.Name }

var gzipMagic = []byte{0x1f, 0x8b}

// ServerOptions are the options that a grpc.Server needs for RegisterGRPC.
func (h *Handler) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2("proto")}),
		grpc.RPCDecompressor(stillCompressed{}), //nolint:staticcheck // the other way is global, for clients too
		grpc.MaxRecvMsgSize(int(h.cfg.MaxBody)),
		// What waits unread in windows is not reserved, so they are small and fixed.
		grpc.InitialWindowSize(256 << 10),
		grpc.InitialConnWindowSize(1 << 20),
		grpc.MaxConcurrentStreams(100),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 15 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// RegisterGRPC registers the three OTLP services. The server must have been
// made with ServerOptions.
func (h *Handler) RegisterGRPC(server *grpc.Server) {
	for _, s := range h.signals {
		server.RegisterService(&grpc.ServiceDesc{
			ServiceName: s.service,
			HandlerType: (*any)(nil),
			Streams: []grpc.StreamDesc{{
				StreamName: "Export", ClientStreams: true, ServerStreams: true,
				Handler: func(_ any, stream grpc.ServerStream) error { return h.exportRPC(s, stream) },
			}},
		}, h)
	}
}

// exportRPC answers one call.
func (h *Handler) exportRPC(s *signal, stream grpc.ServerStream) (err error) {
	start, route := time.Now(), "/"+s.service+"/Export"
	defer func() {
		h.metrics.request(s.name, "grpc", strconv.Itoa(int(status.Code(err))), start)
	}()
	out, err := h.takeRPC(s, stream, route)
	if err != nil {
		return h.rpcStatus(stream.Context(), route, err)
	}
	return stream.SendMsg(&rawMessage{mem.BufferSlice{mem.SliceBuffer(exportResponse(out))}})
}

func (h *Handler) takeRPC(s *signal, stream grpc.ServerStream, route string) (outcome, error) {
	ctx := stream.Context()
	c, err := h.admitRPC(ctx, route)
	if err != nil {
		return outcome{}, err
	}
	if err := h.cfg.Paused(); err != nil {
		return outcome{}, err
	}
	room, err := h.makeRoom(ctx, min(rpcRoom, h.cfg.MaxBody))
	if err != nil {
		return outcome{}, err
	}
	body, err := h.receive(stream, room)
	if err != nil {
		room.done()
		return outcome{}, err
	}
	room.shrink(int64(cap(body)))
	return h.export(ctx, c, s, otlp.Protobuf, body, room)
}

func (h *Handler) admitRPC(ctx context.Context, route string) (Caller, error) {
	var addr net.Addr
	if p, ok := peer.FromContext(ctx); ok {
		addr = p.Addr
	}
	md, _ := metadata.FromIncomingContext(ctx)
	c, err := h.cfg.Gate.AuthenticateRPC(ctx, addr, md.Get)
	if err != nil {
		return Caller{}, denied(err)
	}
	return c, h.require(ctx, c, permIngest, route)
}

// receive reads the one message of a call, decompressed.
func (h *Handler) receive(stream grpc.ServerStream, room *room) ([]byte, error) {
	var msg rawMessage
	done := make(chan error, 1)
	go func() { done <- stream.RecvMsg(&msg) }()
	timer := time.NewTimer(h.cfg.ReceiveTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: a call without a message", errMalformed)
		}
		if err != nil {
			return nil, err
		}
	case <-timer.C:
		// RecvMsg ends when the call does; its buffers are the collector's.
		return nil, fmt.Errorf("%w: not complete after %s", errTooSlow, h.cfg.ReceiveTimeout)
	}
	defer msg.data.Free()
	size := int64(msg.data.Len())
	if err := room.grow(stream.Context(), size); err != nil {
		return nil, err
	}
	head := make([]byte, len(gzipMagic))
	msg.data[:min(1, len(msg.data))].CopyTo(head)
	if !bytes.Equal(head, gzipMagic) {
		return msg.data.Materialize(), nil
	}
	src := msg.data.Reader()
	defer src.Close()
	return h.readAll(stream.Context(), room, src, true, -1)
}

// rpcStatus returns an error as a gRPC status.
func (h *Handler) rpcStatus(ctx context.Context, route string, err error) error {
	if st, ok := status.FromError(err); ok { // grpc's own: too large, a bad frame, canceled
		return st.Err()
	}
	k := kindOf(err)
	if k.rpc == codes.Unavailable {
		h.log(ctx, route, err)
	}
	st := status.New(k.rpc, strings.ToValidUTF8(k.detail(err), "\uFFFD"))
	if k.retry > 0 {
		retry := &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(k.retry) * time.Second)}
		if with, derr := st.WithDetails(retry); derr == nil {
			st = with
		}
	}
	return st.Err()
}
