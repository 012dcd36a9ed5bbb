package registry

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// rbac finds temporary rules of access that have expired.
func (c *fileCheck) rbac() {
	root, _ := c.value.(map[string]any)
	list, _ := root["rules"].([]any)
	for i, item := range list {
		rule, _ := item.(map[string]any)
		expires, ok := rule["expires"].(string)
		if !ok {
			continue
		}
		at := steps("rules", i, "expires")
		switch end, err := time.Parse(time.RFC3339, expires); {
		case err != nil:
			c.fail(at, "%s is no time such as 2027-01-31T00:00:00Z", plainName(expires))
		case !c.now.Before(end):
			c.fail(at, "the temporary rule %v expired on %s: remove it, or let it expire later", rule["id"], end.UTC().Format(time.RFC3339))
		}
	}
}

// gateway finds settings that stand twice under different spellings: otlp-http, and http
// below otlp.
func (c *fileCheck) gateway() {
	first := map[string]int{}
	var walk func(at []string, name string, value map[string]any)
	walk = func(at []string, name string, value map[string]any) {
		byLine := func(a, b string) int { return cmp.Compare(c.line(append(at, a)...), c.line(append(at, b)...)) }
		for _, key := range slices.SortedFunc(maps.Keys(value), byLine) {
			below := append(slices.Clone(at), key)
			full := name + strings.ReplaceAll(key, "_", "-")
			if inner, ok := value[key].(map[string]any); ok {
				walk(below, full+"-", inner)
				continue
			}
			if line := first[full]; line > 0 {
				c.fail(below, "%s stands twice, first in line %d", full, line)
				continue
			}
			first[full] = c.line(below...)
		}
	}
	root, _ := c.value.(map[string]any)
	walk(nil, "", root)
}
