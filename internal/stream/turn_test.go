package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// shared is the configuration of one of several processes; its lease fails while down is
// set.
func (r *rig) shared(process string, down *atomic.Bool) *Config {
	c := r.config()
	c.Process = process
	c.tempo.lease = 400 * time.Millisecond
	c.Lease = func(ctx context.Context, name, holder string, ttl time.Duration) (bool, error) {
		if down.Load() {
			return false, errors.New("the store does not answer")
		}
		return r.db.Lease(ctx, name, holder, ttl)
	}
	return c
}

// TestOneProcessStreams runs a stream in two processes: one delivers, each record once
// and in order, and when it stops, or cannot reach the store any more, the other goes on
// behind what is stored.
func TestOneProcessStreams(t *testing.T) {
	r := newRig(t)
	want := r.systems("acme", 20)
	var cut atomic.Bool
	var never atomic.Bool
	one, two := &fakeSink{}, &fakeSink{}
	first := newWorker(r.shared("one", &cut), systemStream(FromStart), one, newMetrics(prometheus.NewRegistry()))
	r.run(func(ctx context.Context) { first.turn.during(ctx, first.run) })
	eventually(t, "delivery", func() bool { return holds(one.ids("acme"), want) })
	second := newWorker(r.shared("two", &never), systemStream(FromStart), two, newMetrics(prometheus.NewRegistry()))
	stopSecond := r.run(func(ctx context.Context) { second.turn.during(ctx, second.run) })
	want = append(want, r.systems("acme", 20)...)
	eventually(t, "delivery by the first", func() bool { return holds(one.ids("acme"), want) })
	time.Sleep(time.Second) // leases are extended meanwhile
	if got := two.ids("acme"); len(got) != 0 {
		t.Errorf("the second process delivers %d records too", len(got))
	}
	// The first cannot extend its lease: it stops by itself.
	cut.Store(true)
	eventually(t, "the end of the first", func() bool { return !first.turn.mine() })
	more := r.systems("acme", 20)
	eventually(t, "delivery by the second", func() bool {
		got := two.ids("acme")
		return len(got) >= len(more) && holds(got[len(got)-len(more):], more)
	})
	delivered := len(one.ids("acme"))
	r.systems("acme", 5)
	time.Sleep(300 * time.Millisecond)
	if n := len(one.ids("acme")); n != delivered {
		t.Errorf("the first delivers on: %d records more", n-delivered)
	}
	// A stop in order gives the turn up at once.
	stopSecond()
	if held, err := r.db.Lease(context.Background(), "stream/siem", "another", time.Minute); !held || err != nil {
		t.Errorf("the stream is still somebody's: %v %v", held, err)
	}
}

// TestEachProcessTellsOfItself: of a process that cannot write tells that process, also
// where another one tells of records.
func TestEachProcessTellsOfItself(t *testing.T) {
	r := newRig(t)
	var never atomic.Bool
	alarm := &Alarm{Name: "duty", Format: FormatCloudEvents}
	start := func(process string, ready func() error) (*fakeSink, *alarmer) {
		out := &fakeSink{}
		cfg := r.shared(process, &never)
		cfg.Ready = ready
		a := newAlarmer(cfg, alarm, out, newMetrics(prometheus.NewRegistry()), nil)
		r.run(func(ctx context.Context) { a.turn.during(ctx, a.run) })
		return out, a
	}
	one, first := start("one", r.Writable)
	eventually(t, "the turn of the first", func() bool { return first.turn.mine() })
	two, _ := start("two", func() error { return errors.New("the disk is gone") })
	said := func(s *fakeSink) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		var b strings.Builder
		for _, e := range s.got {
			b.Write(e.Body)
		}
		return b.String()
	}
	eventually(t, "the alarm of the second", func() bool {
		return strings.Contains(said(two), "not_writable") && strings.Contains(said(two), "process/two")
	})
	if text := said(one); strings.Contains(text, "not_writable") {
		t.Errorf("the first tells of the second: %s", text)
	}
}

// TestFileOfTwo has two processes write one file, which is rotated meanwhile: each line
// is whole, and none is lost.
func TestFileOfTwo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	const each = 100
	var writing sync.WaitGroup
	for w := range 3 {
		writing.Go(func() {
			s, err := newFileSink(&LogFile{Path: path, MaxBytes: 20 << 10, Keep: 50})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for n := range each {
				line := fmt.Sprintf(`{"n":"%d-%d","text":%q}`, w, n, strings.Repeat("x", 900))
				if err := s.deliver(t.Context(), fileBatch(line)); err != nil {
					t.Error(err)
				}
				if n%20 == 19 { // it dies and comes back
					_ = s.Close()
				}
			}
		})
	}
	writing.Wait()
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
			var event struct{ N string }
			if err := json.Unmarshal([]byte(line), &event); err != nil {
				t.Fatalf("%s: %.60q: %v", name, line, err)
			}
			seen[event.N]++
		}
	}
	if len(seen) != 3*each || len(names) < 5 {
		t.Errorf("%d lines in %d files", len(seen), len(names))
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("line %s is there %d times", n, times)
		}
	}
}
