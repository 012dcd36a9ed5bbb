package verifypage

import (
	_ "embed"
	"strings"
)

//go:embed verify.html
var page []byte

//go:embed verify.html.sha256
var sum string

// HTML returns the page. Not to be changed.
func HTML() []byte { return page }

// SHA256 returns the published digest of the page, lower-case hex: the first word
// of verify.html.sha256, which sha256sum -c reads.
func SHA256() string {
	digest, _, _ := strings.Cut(sum, " ")
	return digest
}
