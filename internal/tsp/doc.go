// Package tsp asks for RFC 3161 time stamps and checks them.
//
// A time stamp says that an authority saw the SHA-256 digest of some bytes at a
// time. It is a CMS SignedData (RFC 5652) over a TSTInfo, within a TimeStampResp. The
// check is stricter than most: one signer, whose certificate is embedded, is bound by
// a signing-certificate attribute (RFC 5035), has timeStamping as its sole and
// critical extended key usage, and leads to given roots at the time of the stamp; the
// signed attributes name the content's type and digest; a nonce is there; digests are
// of the SHA-2 family; everything is DER. What this package accepts, `openssl ts
// -verify` accepts too.
//
// It does not ask whether a certificate was revoked: an offline check cannot. And it
// does not use a CMS library: those at hand read BER by recursion, which hostile bytes
// can drive out of bounds.
package tsp
