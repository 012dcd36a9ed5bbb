// Package mirror is to be written.
package mirror
