// Package stream passes records of the logs on to other systems while they come:
// audit entries and system records to a SIEM (a stream), and what needs a person at
// once to whoever is on duty (an alarm).
//
// It is a reader. It appends nothing, so that passing records on never makes more of
// them, and it never stands in the way of ingest: each stream and each alarm has one
// goroutine, holds one batch, and waits when its sink does not take it.
//
// # Delivery
//
// A stream delivers each record that it selects at least once, and those of one log
// in the order of the log. What it has delivered is kept in the store as a position
// (log number and leaf index) per stream and tenant, and moves only once the sink has
// confirmed. After a crash what was delivered since is delivered again, with the same
// record id; a receiver that cannot bear that drops ids it has seen. Two sinks
// confirm less than they seem to: syslog has no answer, so over TCP and TLS the
// confirmation is that of the receiver's kernel, and over UDP there is none.
//
// A sink that does not answer is asked again for ever, with growing pauses. A sink
// that refuses a record (HTTP 4xx) blocks the records of that tenant behind it:
// nothing is skipped. The batch is made smaller first, so that what stands before the
// refused record gets through. Metrics, the log and the alarms say what is blocked.
//
// Of several processes on one store one runs a stream, as long as it extends its lease;
// another takes over within 15 s of its death, from the position that is stored, so what
// was delivered since is delivered again. The same is true of an alarm, but each process
// tells for itself that it cannot write, and of the streams that it runs. A log file may
// be written by several processes of one machine; on two machines it is two files.
//
// A record is read, proven to be in its signed tree and encoded anew for each attempt.
// So what was erased between two attempts is not delivered, and what does not match
// what was signed is never passed on as a record.
//
// # Forms
//
// Events are OCSF 1.3.0 (https://schema.ocsf.io/1.3.0) or CloudEvents 1.0 JSON. Both
// carry the record's id, the log, the leaf index, the leaf hash, and the leaf
// verbatim: SHA-256 of a zero byte and the leaf is the leaf hash, for which the
// server gives an inclusion proof. Sealed fields are passed on only where the
// configuration names them.
//
// Webhooks are signed as Standard Webhooks 1.0 says; syslog is RFC 5424 with the
// framing of RFC 6587 section 3.4.1 (octet counting), over TLS RFC 5425.
package stream
