// Package access says who makes a request and what they may do, and keeps the
// evidence of it (contract section 8). Credentials are API keys and bearer
// tokens of identity providers; both make a [Principal]. RBAC_RULES.yaml says what
// a principal may ask for ([Rules]), and [Gate.Guard] stands before all routes.
//
// # Keys
//
//	rl_<id>_<secret>
//
// id is 16 characters of [a-z2-7]: public, a fit name, and what stands in
// evidence as credential_id. secret is 256 bits of crypto/rand in the same
// alphabet, 52 characters. Only SHA-256 of those characters is stored; a secret
// of that size needs no slow hash. A key belongs to one tenant or to the
// platform, has one role, may be narrowed to some of its permissions, may
// expire (it is valid before that microsecond, not at it), and may be revoked,
// which is final. What it may do never changes: who needs more gets another.
//
// A request presents it as one of
//
//	Authorization: Bearer <key>
//	Authorization: Basic base64(<user>:<password>)   either of them is the key
//	x-api-key: <key>
//
// Two different ones in a request are refused, as is one that does not parse:
// nothing is guessed. The tenant of a request is the credential's. A credential
// of the platform names it in X-Tenant-ID.
//
// # Tokens
//
// A bearer token that is no key is a JWT of one of the configured issuers. Its
// signature is checked by a [TokenVerifier]; audience, times, tenant and role by
// this package. A person's credential_id is
//
//	oidc:<first 16 hex digits of SHA-256(iss || 0x00 || sub)>
//
// and their name is in evidence only sealed, as the human actor.
//
// # Evidence
//
//	API_KEY_CREATED, API_KEY_REVOKED   audit, and AUTH_CHANGE in the system records
//	API_KEY_USED_FIRST                 audit, before the first request is let in
//	LOG_VIEW, LOG_EXPORT               audit: each request of a rule that records,
//	                                   with the digest of what was given out
//	LOGIN                              audit: the first request of a person's session
//	LOGIN_FAILED                       audit: a token that is signed and refused, once
//	                                   a person and minute
//	ACCESS_DECISION                    audit: each denial of a permission, and
//	                                   administration that has no event of its own
//	ACCESS_DENIED                      system record of component auth: requests
//	                                   without a valid credential, one record a
//	                                   source and minute
//
// A request is at most one record of LOG_VIEW, LOG_EXPORT and ACCESS_DECISION.
// They stand in the tenant's log, those of the platform's keys in the system
// tenant's. In the log of evidence.SyntheticTenant, and nowhere else, all of them are
// synthetic. What cannot be recorded is not allowed (evidence.ErrUnavailable),
// but for a revocation, which counts from when it is stored, and is recorded as
// soon as that is possible, by the next process if need be.
//
// The row is written first, then its records, whose natural keys and content
// follow from the row. So a crash in between leaves a credential that nobody
// has (its key was not given out), or a revocation in force, and [New] appends
// what is missing; a repeat appends nothing.
//
// # Several processes
//
// Those that share a store have the same keys, and each remembers a key that it has
// looked up for at most Config.CacheTTL, 5 s by default: a key that one of them revokes
// is refused by all of them that long after the revocation was stored, and one that is
// made counts at once everywhere. Whichever process comes first records a first use, a
// login or a revocation; the natural keys make the same of the others a duplicate. The
// requests without a valid credential are counted by each process for itself, and each
// makes records of its own. Rules and identity providers are each process's
// configuration, which its CONFIG_CHANGE names by digest.
//
// # What an attacker cannot do
//
// Grow anything: unauthenticated requests are counted in at most a fixed number
// of sources a minute, all others together. Learn ids by time: an unknown id is
// looked up, hashed and compared like a known one. Find a secret: secrets are
// not logged, not stored, and not part of errors.
package access
