//go:build race

package verify

// stride thins out the tests that alter every byte: the race detector makes
// signatures some twenty times slower, and finds races with fewer bytes too.
const stride = 41
