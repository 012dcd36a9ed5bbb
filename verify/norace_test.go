//go:build !race

package verify

const stride = 1
