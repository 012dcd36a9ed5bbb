// Package zipstore writes and reads the one ZIP form that evidence bundles
// have, formats.md section 7. The same entries always give the same bytes,
// and a reader accepts exactly the bytes that the writer makes.
//
//	local header, data    for each entry, contiguous from byte 0
//	central directory     one header for each entry, in the same order
//	end record            the last 22 bytes
//
// Everything is stored (method 0), with sizes and CRC-32 in the headers and
// no data descriptors; the date and time fields are zero; versions are 10
// (1.0), flags, attributes and disk numbers 0; there are no extra fields, no
// comments and no ZIP64. Names are ASCII of [A-Za-z0-9._/-], relative and
// clean. An archive has at most 65,535 entries and is under 4 GiB. Source:
// PKWARE APPNOTE 6.3.3 sections 4.3.7, 4.3.12 and 4.3.16.
//
// It is not a general ZIP library: archive/zip and unzip open its archives,
// it opens only its own.
package zipstore
