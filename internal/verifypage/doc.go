// Package verifypage holds verify.html: one file that checks evidence bundles in
// a browser, for those who want to run nothing else. It is put together from the
// sources in src and from the field tables of package evidence; it loads nothing,
// sends nothing (its content security policy allows no connection), and needs no
// build step of whoever uses it.
//
// Its checks are those of package verify, rule by rule, written a second time in
// another language: the same bundle with the same keys gets the same verdict and
// the same codes from both. The one difference is RFC 3161 time stamps, which
// the page does not read (W_TIME_UNCHECKED). The tests hold the two against each
// other in a real browser.
//
// The page is not part of a bundle, since it would come from the party under
// audit: it is a file of the release with a published digest, verify.html.sha256.
package verifypage

//go:generate go test -count=1 -run ^TestPageIsCurrent$ . -update
