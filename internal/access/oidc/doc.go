// Package oidc checks bearer tokens of an identity provider: that one of the
// provider's keys signed them, with an asymmetric algorithm, in its name. What
// their claims mean is decided by package access.
//
// The provider's discovery document (OpenID Connect Discovery 1.0) is fetched
// when the first token comes, and again after a while if that fails. Its keys
// are kept, and fetched again when a token names one that is not among them.
// What is fetched is kept for a short time, failures too: whoever sends bad
// tokens cannot make this server ask the provider at their pace.
//
// Only https is spoken, but to this machine where that is allowed, and no
// redirect is followed.
package oidc
