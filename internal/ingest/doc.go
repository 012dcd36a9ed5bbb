// Package ingest is where evidence comes in: OTLP over HTTP and gRPC, and
// native records over HTTP.
//
// # Order of things
//
// A request is authenticated, then given room (a share of the bytes that all
// requests may hold), then read, decompressed and decoded within bounds, then
// appended. It is answered when its records are durable, never earlier, and
// only then the tracker of runs is told of them. Once records are with the
// ledger neither a client that goes away nor a time-out takes them back: the
// append goes on by itself, keeps its room, and tells the tracker. So what a
// client repeats because it got no answer is a duplicate and changes nothing.
//
// # OTLP
//
// POST <prefix>/v1/{traces,logs,metrics}, protobuf or JSON, identity or gzip,
// and the three gRPC services. Both share one path from the raw bytes on, that
// of package otlp: pdata's own gRPC codec would decode before anything could
// be checked. Answers follow the OTLP specification 1.x: an
// Export*ServiceResponse in the encoding of the request, with partial_success
// where something was refused for good; else a google.rpc.Status. A status
// that tells an exporter to drop its data (400, INVALID_ARGUMENT …) is given
// only where no retry could help: even what is not understood on our side is
// 503, UNAVAILABLE.
//
// The gRPC methods are registered as streams. On the wire a unary call is a
// stream with one message each way; but a stream's handler runs before the
// message is read, so that who is not let in is not read either.
//
// A trace gets its `trace` record before its first step. Which traces are
// known is remembered; what is not is looked up; and where two requests race
// for it the ledger makes the second record a duplicate.
//
// # Native records
//
// POST /api/v1/ingest/records takes a JSON array, one object, or NDJSON. GET
// /api/v1/receipts/{id} gives a record's place and proof, GET
// /schemas/record.json their JSON Schema. Errors are RFC 9457 problems.
//
// # Bounds
//
// A body is at most Config.MaxBody after decompression, all bodies together
// Config.MaxInFlight. The first MiB of a body is reserved before it is read, by
// its length where that is known; what is longer is reserved as it comes, so
// that nobody holds room for what they only say they will send. Who sends
// slower than Config.MinRate is cut off. Over gRPC, where a message is handed
// over whole, 4 MiB are reserved before it is read and the rest when it is
// there: a known hole, bounded by the number of streams of authenticated
// clients. What a body is decoded to and the records that are made of it are
// reserved too, as an estimate, before they are made: both can be many times
// its size. A request never reserves more than Config.MaxInFlight, so that
// the largest ones come through one at a time.
package ingest
