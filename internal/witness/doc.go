// Package witness is to be written.
package witness
