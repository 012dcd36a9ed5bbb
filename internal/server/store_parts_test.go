package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func TestParseStore(t *testing.T) {
	for text, want := range map[string]StoreSpec{
		"data":                               {Data: "data"},
		"/srv/run=1":                         {Data: "/srv/run=1"},
		"sqlite:data":                        {Data: "data"},
		"postgres://u:p@db/x?sslmode=verify": {Store: "postgres://u:p@db/x?sslmode=verify"},
		"postgresql://db/x":                  {Store: "postgresql://db/x"},
		"host=db dbname=x user=u":            {Store: "host=db dbname=x user=u"},
		"user=u service=prod":                {Store: "user=u service=prod"},
	} {
		if got := ParseStore(text); got.Data != want.Data || got.Store != want.Store {
			t.Errorf("%q: %q, %q", text, got.Data, got.Store)
		}
	}
}

// What is shown of a store has no password, wherever in the DSN that is.
func TestDescribeStore(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                                           "sqlite",
		"postgres://u:secret@db:5433/x":              "postgres db:5433/x",
		"postgres://u:secret@/x?host=/run/pg":        "postgres /run/pg/x",
		"postgres://db/x?password=secret":            "postgres db/x",
		"host=db port=1 dbname=x password=secret":    "postgres host=db port=1 dbname=x",
		"host=db password='secret and host=secret2'": "postgres host=db",
		"host=db password=a\\ host=secret":           "postgres host=db",
		"host=db password='secret":                   "postgres host=db",
		"host = db dbname = 'a b'":                   "postgres host=db dbname=a b",
		"postgres://u:se%cret@db/x":                  "postgres",
	} {
		if got := DescribeStore(dsn); got != want {
			t.Errorf("%q: %q, want %q", dsn, got, want)
		}
	}
}

func FuzzDescribeStore(f *testing.F) {
	for _, s := range []string{"", "host=db password=SECRET", "host=db password='a SECRET' port=1", `password=\'SECRET host=x`, "=", "'", "a==", "host='"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range dsnPairs(s) {
			if p[0] == "" || strings.ContainsAny(p[0], space) {
				t.Errorf("%q has a key %q", s, p[0])
			}
		}
		// A password that is written as it should be is never shown, whatever stands before it.
		if !isURL(s) {
			if got := DescribeStore("password='SECRET' " + s); strings.Contains(got, "SECRET") && !strings.Contains(s, "SECRET") {
				t.Errorf("%q: %q", s, got)
			}
		}
	})
}

func TestConfigOfStore(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"no anchor": {Config{Data: dir, Store: "host=db"}, "an anchor must be given"},
		"name":      {Config{Data: dir, Process: "Not A Name"}, "must be 1 to 63 of"},
	} {
		if err := c.cfg.complete(); !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := Config{Data: dir, Store: "host=db", Anchor: "s3://bucket/x"}
	if err := cfg.complete(); err != nil || cfg.Master != filepath.Join(dir, masterName) || cfg.Anchor != "s3://bucket/x" {
		t.Errorf("%v: %+v", err, cfg)
	}
	for _, data := range []string{"/srv/Data 1", "/srv/ü", "/", "/srv/" + strings.Repeat("x", 300), "/srv/..-.."} {
		if name := defaultProcess(data); !validProcess(name) {
			t.Errorf("%s: %q is no name", data, name)
		}
	}
}

func FuzzAtLeast(f *testing.F) {
	for _, s := range []string{"", "primary", "a/0123456789ab:7", "a/0123456789ab:007", "a/0123456789ab:-1", "a/0123456789ab:9223372036854775807", ":", "a/0123456789ab:7:8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		origin, index, ok := parseAtLeast(s)
		if !ok {
			return
		}
		if index < 0 || index+1 < 0 || !evidence.ValidOrigin(origin) || s != fmt.Sprintf("%s:%d", origin, index) {
			t.Errorf("%q is read as %q, %d", s, origin, index)
		}
	})
}

func TestAtLeast(t *testing.T) {
	if origin, index, ok := parseAtLeast("runledger-1/0123456789ab:7"); !ok || origin != "runledger-1/0123456789ab" || index != 7 {
		t.Errorf("%q %d %v", origin, index, ok)
	}
	for _, s := range []string{"primary", "runledger-1/0123456789ab", "runledger-1/0123456789ab:+7", "x:7", "runledger-1/0123456789ab:9223372036854775807"} {
		if _, _, ok := parseAtLeast(s); ok {
			t.Errorf("%q is read", s)
		}
	}
}

// A future that is short is told, with why.
func TestPartitionReason(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	s := &server{}
	for _, c := range []struct {
		until time.Time
		err   error
		want  string
	}{
		{time.Time{}, nil, ""}, // SQLite has none
		{now.Add(shortFuture), errors.New("x"), ""},
		{now.Add(shortFuture - 1), nil, "partitions end on 2027-01-06"},
		{now.Add(shortFuture - 1), errors.New("no right"), "partitions end on 2027-01-06: no right"},
		{now.Add(-time.Hour), nil, "partitions end on 2026-11-22"},
	} {
		s.state.until, s.state.upkeep = c.until, c.err
		if got := s.partitionReason(now); got != c.want {
			t.Errorf("%s: %q, want %q", c.until, got, c.want)
		}
	}
}

// Upkeep says what it learns, also where it fails.
func TestUpkeep(t *testing.T) {
	until := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	asked := make(chan struct{}, 1)
	b := &backend{
		upkeep: func(context.Context, time.Time) error { return errors.New("no right") },
		until:  func(context.Context) (time.Time, error) { asked <- struct{}{}; return until, nil },
	}
	s := &server{d: &Deployment{db: b}, log: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.upkeep(ctx) }()
	<-asked
	cancel()
	<-done
	if s.state.upkeep == nil || !s.state.until.Equal(until) {
		t.Errorf("%v, %s", s.state.upkeep, s.state.until)
	}
	if got := s.partitionReason(until.Add(-24 * time.Hour)); got != "partitions end on 2027-03-01: no right" {
		t.Error(got)
	}
}

func TestProbe(t *testing.T) {
	var p probe
	if p.err() != nil || p.taken() != "" {
		t.Error("a probe that has not asked knows something")
	}
	p.set(errors.New("connection refused"), "one", false)
	if err := p.err(); !errors.Is(err, evidence.ErrUnavailable) {
		t.Error(err)
	}
	p.set(nil, "one", true)
	if p.err() != nil || !strings.Contains(p.taken(), "the name one") {
		t.Errorf("%v, %q", p.err(), p.taken())
	}
	p.set(nil, "one", false)
	if p.taken() != "" {
		t.Error(p.taken())
	}
}

// twoWriters is a store that others write too, and nothing else of one.
type twoWriters struct{ store.Store }

func (twoWriters) SingleWriter() bool { return false }

// Degraded and whole are each told once, with all reasons.
func TestDegradedIsTold(t *testing.T) {
	s := &server{log: slog.New(slog.DiscardHandler), d: &Deployment{process: "one"}}
	s.d.db = &backend{Store: twoWriters{}}
	h := &health{s: s}
	now := time.Now()
	said := func() (list []string) {
		for _, e := range h.owed {
			list = append(list, e.severity+" "+e.summary)
		}
		h.owed = nil
		return list
	}
	h.degraded(now)
	s.state.reasons = []reason{{reasonReplicas, "it is down"}, {reasonIntegrity, "has records of its own"}}
	h.degraded(now)
	h.degraded(now)
	if got := said(); !slices.Equal(got, []string{"WARN The server is degraded: replicas. It is the process one."}) {
		t.Errorf("%q", got)
	}
	s.state.reasons = append(s.state.reasons, reason{reasonPartitions, "they end"})
	h.degraded(now)
	s.state.reasons = nil
	h.degraded(now)
	if got := said(); !slices.Equal(got, []string{
		"ERROR The server is degraded: replicas, partitions. It is the process one.", "INFO The server is not degraded any more. It is the process one.",
	}) {
		t.Errorf("%q", got)
	}
}
