// Package registry holds the registry of the product as it is shipped: what it claims
// it can do, and the scenarios that prove it. Package internal/registry reads it.
package registry

import "embed"

// Files is the whole definition with its schemas. Observations are no part of it.
//
//go:embed intents capabilities scenarios schemas *.yaml
var Files embed.FS
