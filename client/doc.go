// Package client sends evidence to a runledger server, reads what it keeps, and
// checks what it answers.
//
// The sending side is for producers that speak of themselves: a deployment tool
// that says what it deployed, a policy engine that says what it decided, a program
// without OpenTelemetry. A program that has OpenTelemetry needs nothing of this:
// its exporter is pointed at the server.
//
// # Sending
//
// [Client.Append] sends records in one request, all or nothing, and returns a
// receipt for each when it is durable and in the log. [Writer] collects records
// and sends them in batches. Both give every record that needs an id one before
// the first try, so that a request whose answer was lost can be repeated: the
// server knows the record by its id and answers with the receipt that it already
// has.
//
// Repeated is what may pass by itself: a failed connection, an answer that is cut
// off, and the statuses 408, 429, 502, 503 and 504. The pause doubles from
// [Config].MinBackoff to MaxBackoff, shortened at random by up to half, and is
// never shorter than the answer's Retry-After. An answer that does not account
// for every record that was sent counts as cut off: no record is taken for
// acknowledged that has no receipt.
//
// # Checking
//
// [Client.WaitReceipt] waits until a signed checkpoint covers a record. With the
// log's key in [Config].VerifierKeys it also checks, here and without trust in the
// server, that the record's leaf is in the tree that this key has signed (RFC
// 6962 section 2.1.1; C2SP tlog-proof, tlog-checkpoint and signed-note).
//
// # Reading
//
// There is a method for each route of /api/v1/logs: the lists [Client.Runs],
// [Client.System] and [Client.Audit], the depths of a run, of its environment and
// of the audit, and for what has pages an iterator that follows next_cursor, such
// as [Client.AllRuns]. Their answers are the types of package answer. A zero
// parameter is not sent. Every read is recorded in the log of the tenant, so a
// repeated one can be there twice.
//
// An answer is taken only if it is whole: JSON without duplicate names, with the
// metadata that the contract asks of it and of each of its items, and without a
// list that is null. Members that this client does not know are let be, for the
// contract lets fields be added.
//
// # Errors
//
// What the server refuses is an [*Error]. It wraps the sentinel of package
// evidence that fits, so that errors.Is(err, evidence.ErrConflict) works across
// the network; what may pass by itself is evidence.ErrUnavailable, also when no
// server answers at all.
package client
