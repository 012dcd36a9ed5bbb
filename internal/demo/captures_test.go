package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

func captures(t *testing.T) []Capture {
	t.Helper()
	list, err := Captures()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 6 {
		t.Fatalf("%d captures", len(list))
	}
	return list
}

// TestCapturesAreOriginal holds the embedded captures to testdata/captures.
func TestCapturesAreOriginal(t *testing.T) {
	for _, c := range captures(t) {
		original, err := os.ReadFile(filepath.Join("../../testdata/captures", c.SDK, c.Name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.Body, original) {
			t.Errorf("%s/%s is not what the SDK sent", c.SDK, c.Name)
		}
	}
}

func timesOf(t *testing.T, list []Capture) []pcommon.Timestamp {
	t.Helper()
	var all []pcommon.Timestamp
	for i := range list {
		r, err := decode(&list[i])
		if err != nil {
			t.Fatal(err)
		}
		r.times(func(at pcommon.Timestamp, _ func(pcommon.Timestamp)) { all = append(all, at) })
	}
	return all
}

func TestShift(t *testing.T) {
	list := captures(t)
	last := time.Date(2027, 3, 4, 5, 6, 7, 8000, time.UTC)
	moved, err := Shift(list, last)
	if err != nil {
		t.Fatal(err)
	}
	before, after := timesOf(t, list), timesOf(t, moved)
	if len(before) != len(after) || len(before) < 100 {
		t.Fatalf("%d times, then %d", len(before), len(after))
	}
	if got := slices.Max(after).AsTime(); !got.Equal(last) {
		t.Errorf("the newest is %v", got)
	}
	by := int64(slices.Max(after)) - int64(slices.Max(before))
	for i := range before {
		if int64(after[i])-int64(before[i]) != by {
			t.Fatalf("time %d moved by %d and not by %d", i, int64(after[i])-int64(before[i]), by)
		}
	}
	// Moved back they are what they were: nothing but times has changed.
	back, err := Shift(moved, slices.Max(before).AsTime())
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		r, err := decode(&list[i])
		if err != nil {
			t.Fatal(err)
		}
		if want, err := r.encode(); err != nil || !bytes.Equal(back[i].Body, want) {
			t.Errorf("%s/%s: something else changed (%v)", list[i].SDK, list[i].Name, err)
		}
		if bytes.Equal(moved[i].Body, list[i].Body) {
			t.Errorf("%s/%s was not moved", list[i].SDK, list[i].Name)
		}
	}
}

// TestNoOtherTimes finds times in the captures that Shift does not know.
func TestNoOtherTimes(t *testing.T) {
	for _, c := range captures(t) {
		if c.Signal != signalMetrics {
			continue
		}
		r, err := decode(&c)
		if err != nil {
			t.Fatal(err)
		}
		for _, rm := range r.metrics.Metrics().ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					if len(points(m)) == 0 {
						t.Errorf("%s: the points of %s, a %s, are not moved", c.Name, m.Name(), m.Type())
					}
					if m.Type() == pmetric.MetricTypeHistogram {
						for _, p := range m.Histogram().DataPoints().All() {
							if p.Exemplars().Len() > 0 {
								t.Errorf("%s: the exemplars of %s are not moved", c.Name, m.Name())
							}
						}
					}
				}
			}
		}
	}
}

func TestRunIDs(t *testing.T) {
	ids, err := runIDs(captures(t))
	if err != nil || len(ids) != 8 || !slices.Contains(ids, "a3fd711135e5f5dbe7c930e3033e69a2") {
		t.Errorf("%q, %v", ids, err)
	}
	if _, err := runIDs([]Capture{{SDK: "x", Name: "y.traces.pb", Signal: signalTraces, Body: []byte{0xff}}}); err == nil {
		t.Error("what is no request was read")
	}
}
