// Package export writes evidence bundles: a tenant's records with all that an
// auditor needs to check them offline, as a ZIP or as a directory of the same
// files (formats.md section 7), or, for programs and people, as a document. Package
// verify reads the first two.
//
// # Profiles
//
// log is every record of the tenant's logs. run is what there is of one run:
//
//   - its own records, of all kinds, from n = 0;
//   - audit entries that a correlation id of these records binds to it, also where
//     they are of another run;
//   - what happened within 30 s of its turning point: system records and entries about
//     policy that are of no other run, and the shared records of the system log;
//   - who looked at it, and the records of its exports, up to this one;
//   - where the run began in an older log, that log and the LOG_OPENED records that put
//     them in order;
//   - and what says by whose order something of all this was erased or has expired.
//
// period is all that was recorded in a time, of which only the kinds of a scope are
// disclosed, with both neighbours, so that nothing can have been left out. In runs and
// periods each record has its proof against its log's checkpoint.
//
// The checkpoints are cosigned by the witnesses, if any; time stamps are in the bundle
// with the proof that the log extends what was stamped: the last before the records,
// the first after them, and the newest.
//
// # Formats
//
// zip is the bundle, also as a directory, with report.html and report.pdf for people.
// json is its files as one document. csv, a table, and pdf, the report, are views that
// prove nothing by themselves; they are made of the same proven records in the same
// pass and never have more of their content than the bundle would disclose. What a
// report lists is bounded, and it says so.
//
// # An export is itself evidence
//
//	export, pending      appended before anything is read
//	checkpoint           published; the bundle holds the log up to it
//	files                read, checked against their commitments, spooled
//	export, completed    names the SHA-256 of manifest.json, or of csv and pdf that
//	                     of their bytes
//	receipt.*            that record, its proof, and the way from the bundle's
//	                     checkpoint to the one that covers it; of bundles
//	LOG_EXPORT           who got how many bytes and records, and their digest;
//	                     where the caller does not record that itself
//
// Only then does the first byte leave: what cannot be recorded is not given
// out. An export that fails appends the state failed. Of a run that the tenant
// does not have nothing is recorded.
//
// # What is checked on the way out
//
// The root that the leaves make is the signed one, or each leaf is proven under
// it; a run's records are numbered without a gap; and every sealed value opens
// its commitment. A store that was tampered with gives no bundle. Content that is
// gone without a record of its erasure is listed as erased: the verifier shall
// see that nothing says so.
//
// # Spool
//
// The manifest comes first in a ZIP and names the digest of everything after
// it. So the files are written once to unnamed temporary files, encrypted under
// keys that only this process has, and memory stays bounded. See [Spool].
//
// # Finished bundles
//
// [Exports] keeps the bytes of finished bundles in spools, for an hour at most
// and up to a size, so that they can be fetched after they were described; it
// gives the same export for the same request, and makes signed links. Nothing of
// it outlives the process: what the log knows and it does not is gone.
//
// # Several processes
//
// Each has the bytes of the exports that it made, under keys that nobody else has, and
// its own idempotency keys and limits. An export has a lease, from before its state
// pending until its bytes are dropped: so no process takes another's export for one that
// died, and one that is asked for bytes that another has says so (503, not gone). The
// state of an export is in the log, and any process tells it. A client that makes
// exports and fetches them should stay with one process, by affinity of the balancer;
// the same idempotency key at two processes makes two exports, each with its records.
// When a process has died, another records that what it left is failed, within
// minutes ([Exports.Recover]).
//
// It does not decide who may export.
package export
