// Package verifypage is to be written.
package verifypage
