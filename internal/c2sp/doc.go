// Package c2sp reads and writes the transparency-log formats that runledger
// takes from C2SP, each in one strict form: what is parsed and written again
// is the same bytes, or it is refused.
//
//	checkpoint   c2sp.org/tlog-checkpoint and signed-note:
//	             <origin>\n<tree size>\n<base64 root>\n\n and signature lines
//	cosignature  c2sp.org/tlog-cosignature, cosignature/v1, key type 0x04
//	proof        c2sp.org/tlog-proof@v1, inclusion of one leaf
//	consistency  the request body of c2sp.org/tlog-witness add-checkpoint
//	tiles        c2sp.org/tlog-tiles: tile/<L>/<N>[.p/<W>], entry bundles
//
// It also holds the Merkle arithmetic that both sides need: [Frontier], the
// compact range of a growing tree, and the checks of inclusion and
// consistency proofs (RFC 6962 section 2.1, computed by
// golang.org/x/mod/sumdb/tlog).
//
// It is narrower than C2SP where formats.md is: checkpoints have no extension
// lines, proofs no extra line, and tree sizes stay within 2^53−1, since a
// leaf index must fit a JSON integer. It is pure: no clock, no randomness, no
// I/O. Errors wrap [evidence.ErrInvalid] for bytes that are not in the
// format, and [evidence.ErrTampered] for signatures and proofs that do not
// hold.
package c2sp
