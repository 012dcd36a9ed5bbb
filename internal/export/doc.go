// Package export writes evidence bundles: a tenant's records with all that an
// auditor needs to check them offline, as a ZIP or as a directory of the same
// files (formats.md section 7). Package verify reads them.
//
// # An export is itself evidence
//
//	export, pending      appended before anything is read
//	checkpoint           published; the bundle holds the log up to it
//	files                read, checked against their commitments, spooled
//	export, completed    names the SHA-256 of manifest.json
//	receipt.*            that record, its proof, and the way from the bundle's
//	                     checkpoint to the one that covers it
//	LOG_EXPORT           who got how many bytes and records, and their digest
//
// Only then does the first byte leave: what cannot be recorded is not given
// out. An export that fails appends the state failed.
//
// # What is checked on the way out
//
// The root that the leaves make is the signed one, and every sealed value
// opens its commitment. A store that was tampered with gives no bundle.
//
// # Spool
//
// The manifest comes first in a ZIP and names the digest of everything after
// it. So the files are written once to unnamed temporary files, encrypted under
// keys that only this process has, and memory stays bounded. See [Spool].
//
// It does not decide who may export, and of the profiles it has log only.
package export
