package access

import (
	"bytes"
	"strings"
	"testing"
)

// TestCrossSite: what a page of another site makes a browser ask for is not the
// developer's own request, though it comes from their machine.
func TestCrossSite(t *testing.T) {
	for site, want := range map[string]bool{"": true, "none": true, "same-origin": true, "same-site": false, "cross-site": false} {
		c := call{remote: "127.0.0.1:4", host: "127.0.0.1:8080"}
		if site != "" {
			c.crossSite = crossSite([]string{site})
		}
		if got := c.isLocal(); got != want {
			t.Errorf("Sec-Fetch-Site %q: local %v", site, got)
		}
	}
}

func TestShort(t *testing.T) {
	if s := strings.Repeat("a", maxQuery); short(s) != s {
		t.Error("what fits was cut")
	}
	a, b := short(strings.Repeat("ü", maxQuery)), short(strings.Repeat("ü", maxQuery)+"x")
	if a == b || len(a) > maxQuery+200 || !strings.Contains(a, "sha256:") {
		t.Errorf("%d bytes, the same %v", len(a), a == b)
	}
}

// TestPseudonym: a person's public id follows from who they are only with the
// deployment's secret.
func TestPseudonym(t *testing.T) {
	one, other := []byte("secret one"), []byte("secret two")
	id := personID(one, "https://idp.example", "ada")
	if id != personID(one, "https://idp.example", "ada") || id == personID(other, "https://idp.example", "ada") ||
		id == personID(one, "https://idp.example", "bob") {
		t.Errorf("%s", id)
	}
	if bytes.Equal(pseudonym(one, "a", "bc"), pseudonym(one, "ab", "c")) {
		t.Error("parts run into one another")
	}
}
