package ledger

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestPacer has the full verification keep its rate, leave the machine alone where
// leaves take long, and make up for nothing.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pace := pacer(1000)
		took := func(leaves int, worked time.Duration) time.Duration {
			t.Helper()
			began := time.Now()
			time.Sleep(worked)
			if err := pace(t.Context(), leaves, worked); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		if got := took(100, 10*time.Millisecond); got != 100*time.Millisecond {
			t.Errorf("100 leaves at 1000 a second take %v", got)
		}
		if got := took(100, 200*time.Millisecond); got != 800*time.Millisecond {
			t.Errorf("leaves that take 200 ms to check take %v", got)
		}
		time.Sleep(time.Minute) // nothing was to be done
		took(100, time.Millisecond)
		if got := took(100, time.Millisecond); got != 100*time.Millisecond {
			t.Errorf("after a pause 100 leaves take %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := pace(ctx, 1000, 0); err == nil {
			t.Error("it goes on after its end")
		}
	})
	if pacer(-1) != nil {
		t.Error("without a rate it waits")
	}
}
