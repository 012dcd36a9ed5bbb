// Package demo is what "runledger demo" shows: captures of real SDKs, a simulated
// incident, a player that sends both to a running server and looks at them, and the
// stops of a tour.
//
// It is a client like any other. All it does goes over HTTP with API keys, so what
// is on record afterwards is what a deployment would have on record, the reads
// included. It starts no server and prints nothing.
//
// The captures are those of testdata/captures, byte for byte; only their times are
// moved, all by as much, so that the newest is a minute old when it is sent. People
// of the incident are roles and no names.
package demo
