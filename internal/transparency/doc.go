// Package transparency is to be written.
package transparency
