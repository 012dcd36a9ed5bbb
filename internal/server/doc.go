// Package server joins the parts. [Open] opens a data directory with all that
// stands on it, for a server and for a command alike; [Serve] runs a server
// until it is told to stop; [VerifyLive] checks a data directory beside
// whoever holds it.
//
//	DIR/runledger.db          the store
//	DIR/lock                  held by the one process that writes
//	DIR/master.keyset.json    wraps all other keys; to be backed up apart
//	DIR/control.sock          the server's, see package control
//	DIR.anchor/               the newest signed heads, best on another disk
//
// A server starts in this order, and stops in the reverse one: lock and store,
// keys, anchor, ledger, STARTUP record, sockets, continuous verification. So
// nothing is accepted that cannot be recorded, and SHUTDOWN is the last record.
package server
