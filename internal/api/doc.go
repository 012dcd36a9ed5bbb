// Package api is the HTTP of what is read: the facade under /api/v1/logs, its
// exports, the adapter under /guard/logs, the replay API under /api/v1/traces,
// and the OpenAPI 3.1 document of all routes with a page to read it.
//
// A handler here asks the facade and says what it discloses (access.View). It
// authenticates nobody and records nothing: access.Gate.Guard stands before the
// mux and does both.
//
// Parameters are checked against the document; one that is not in it is
// refused, and so is one that is given twice.
package api
