// Package control is how the commands reach the process that holds a data
// directory. It is HTTP: JSON in, JSON out, problems as RFC 9457 with a stable
// code. There is one handler and two ways to it:
//
//	DIR/control.sock   a Unix socket, mode 0600, of the server that holds DIR
//	in-process         where nobody holds DIR, the command opens it itself and
//	                   calls the handler through [Local]
//
// so that every command has one code path.
//
//	GET  /v1/version
//	GET  /v1/tenants                         POST /v1/tenants
//	POST /v1/tenants/{tenant}/records        NDJSON in, receipts out
//	GET  /v1/tenants/{tenant}/checkpoint
//	GET  /v1/tenants/{tenant}/proof          ?id= | ?seq=&log_no= | ?span=
//	POST /v1/tenants/{tenant}/exports        the bundle, streamed
//	GET  /v1/tenants/{tenant}/integrity
//	POST /v1/tenants/{tenant}/read           a GET of the read API
//	POST /v1/tenants/{tenant}/producers      who writes, and who has stopped
//	PUT  /v1/tenants/{tenant}/retention/{class}
//	POST /v1/tenants/{tenant}/retention/run
//	POST /v1/tenants/{tenant}/holds          POST …/holds/{hold}/release
//	POST /v1/tenants/{tenant}/archives       what is not archived yet
//	POST /v1/tenants/{tenant}/erasures
//	GET  /v1/keys                            ?tenant=
//	POST /v1/tenants/{tenant}/keys/rotate
//	GET  /v1/apikeys                         ?tenant=, empty for the platform's
//	POST /v1/apikeys                         DELETE /v1/apikeys/{id}
//	POST /v1/clock/confirm
//
// Whoever can open the socket is the operator: the mode of the socket and of
// the directory is all the access control there is. Who they are is asked of
// the kernel, not of them, and stands in what they append, read and export as
// cli:<name of the user>.
//
// It is not the API that producers and readers use.
package control
