package ledger

import (
	"testing"
	"time"
)

// TestPauses: there is no pause while appends take no longer beside the work than without it, half of the work
// where they take twice as long, and half as long as nothing is known of them.
func TestPauses(t *testing.T) {
	const work = 40 * time.Millisecond
	begin := time.Unix(1000, 0)
	for _, c := range []struct {
		name         string
		appends      int
		calm, beside time.Duration
		took, want   time.Duration
	}{
		{"nothing is known", 0, 0, 0, work, work / 2},
		{"too little is known", paceLeast - 1, time.Millisecond, time.Millisecond, work, work / 2},
		{"as fast as ever", 20, 5 * time.Millisecond, 5 * time.Millisecond, work, 0},
		{"faster", 20, 5 * time.Millisecond, 3 * time.Millisecond, work, 0},
		{"twice as long", 20, 5 * time.Millisecond, 10 * time.Millisecond, work, work / 2},
		{"in between", 20, 4 * time.Millisecond, 5800 * time.Microsecond, work, work / 4},
		{"twice as long, beside much work", 20, 5 * time.Millisecond, 10 * time.Millisecond, time.Second, paceMost},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, now := &producerWaits{}, begin
			var got time.Duration
			for range max(c.appends, 1) {
				if c.appends > 0 { // one before the work, and one that begins beside it and ends after it
					w.appended(now, now.Add(c.calm))
				}
				now = now.Add(time.Second)
				end := now.Add(c.took)
				if c.appends > 0 {
					w.appended(now, now.Add(c.beside))
				}
				got, now = w.worked(c.took, end), end.Add(time.Second)
			}
			if d := got - c.want; d < -time.Millisecond || d > time.Millisecond {
				t.Errorf("a pause of %v after %v, want %v", got, c.took, c.want)
			}
		})
	}
}

// TestPausesCountWhatGoesOn: an append that outlasts the work beside which it began is none of the time without.
func TestPausesCountWhatGoesOn(t *testing.T) {
	w, now := &producerWaits{}, time.Unix(1000, 0)
	for range 20 {
		w.appended(now, now.Add(5*time.Millisecond))
		end := now.Add(time.Second)
		w.worked(100*time.Millisecond, end)
		w.appended(end.Add(-time.Millisecond), end.Add(50*time.Millisecond))
		now = end.Add(time.Second)
	}
	if got := time.Duration(w.calm.mean * 1e9); got != 5*time.Millisecond {
		t.Errorf("without work an append takes %v, want 5 ms", got)
	}
	if got := time.Duration(w.strain.mean * 1e9); got != 51*time.Millisecond {
		t.Errorf("beside work an append takes %v, want 51 ms", got)
	}
}

// TestManyAppends: of more appends than are remembered the newest count.
func TestManyAppends(t *testing.T) {
	w, now := &producerWaits{}, time.Unix(1000, 0)
	for i := range 10 * waitsSeen {
		w.appended(now, now.Add(time.Duration(i+1)*time.Microsecond))
		now = now.Add(time.Millisecond)
	}
	if n := len(w.seen); n > waitsSeen {
		t.Fatalf("%d are remembered", n)
	}
	w.worked(time.Millisecond, now.Add(time.Hour))
	if least := (10*waitsSeen - waitsSeen) * int(time.Microsecond); int(w.calm.mean*1e9) < least {
		t.Errorf("their mean is %v s", w.calm.mean)
	}
}
