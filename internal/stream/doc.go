// Package stream is to be written.
package stream
