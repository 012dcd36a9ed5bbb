package main

import (
	"fmt"
	"net/http"
	"path"
	"sync"
	"testing"

	"github.com/runledger/runledger/internal/anchor/s3test"
)

// bucket is an object storage in this process's memory. What it takes of the processors is
// on the same machine, and there is no network: it shows what the requests cost us.
type bucket struct {
	*s3test.Server
	harness

	mu   sync.Mutex
	sent map[string]int64 // bytes by ending
	all  int64
}

// harness is what a test would be.
type harness struct {
	testing.TB
	cleanups *[]func()
}

func (h harness) Helper()          {}
func (h harness) Cleanup(f func()) { *h.cleanups = append(*h.cleanups, f) }

func (h harness) Fatalf(format string, args ...any) { check(fmt.Errorf(format, args...)) }

func newBucket() *bucket {
	b := &bucket{harness: harness{cleanups: &[]func(){}}, sent: map[string]int64{}}
	b.Server = s3test.New(b.harness, s3test.Options{Bucket: "bench", Around: func(storage http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				b.mu.Lock()
				b.sent[path.Ext(r.URL.Path)] += r.ContentLength
				b.all += r.ContentLength
				b.mu.Unlock()
			}
			storage.ServeHTTP(w, r)
		})
	}})
	return b
}

func (b *bucket) env() []string {
	return []string{
		"RUNLEDGER_ARCHIVE=s3://bench/archive?region=us-east-1&endpoint=" + b.URL,
		"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench", "AWS_EC2_METADATA_DISABLED=true",
	}
}

func (b *bucket) sizes(records int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	printSizes(b.sent[".zip"], b.sent[".gz"], b.sent[".parquet"], b.all, records)
}

func (b *bucket) end() {
	for _, f := range *b.cleanups {
		f()
	}
}
