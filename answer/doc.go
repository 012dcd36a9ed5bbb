// Package answer holds the shapes of what runledger answers under
// /api/v1/logs and /api/v1/traces: the contract's section 3 as Go types. The
// server writes them, package client reads them, and the OpenAPI document is
// made from them.
//
// JSON: every field is always present; a nil pointer is null, a list is never
// null. Times are RFC 3339 UTC with six decimals ([evidence.Micros]). Every
// answer and every item of a list carries [evidence.Metadata].
//
// It is pure: no clock, no I/O, and no rule of who may see what.
package answer
