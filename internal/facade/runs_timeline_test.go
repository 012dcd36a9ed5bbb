package facade

import (
	"errors"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// FuzzReplayCursor: whatever a client makes of a cursor is answered, or refused as
// malformed.
func FuzzReplayCursor(f *testing.F) {
	r := newRig(f)
	r.add("acme", r.simpleRun(1, 0)...)
	r.settle()
	name := digest("replay", traceID(1), false, (*evidence.Micros)(nil), 60, r.reader().where())
	q := ReplayParams{Paging: Paging{Limit: 1}}
	first, err := parseCursor(*r.replay(r.reader(), traceID(1), q).NextCursor, name)
	r.must(err)
	f.Add(first.Below[0], first.Below[1], first.Extra)
	f.Add(int64(1), int64(0), `{"m":[[1,2],[1,-2,-3],[],null,[1,2,3]],"c":-5,"o":"x"}`)
	f.Add(int64(9), int64(-1), `{"s":[-9,9],"m":null}`)
	f.Add(int64(1)<<62, int64(1)<<62, `{"s":[4611686018427387904,1],"m":[[9223372036854775807,9223372036854775807,9223372036854775807]],"c":253402300799999999,"o":"x"}`)
	f.Fuzz(func(t *testing.T, logNo, seq int64, extra string) {
		q.Cursor = *cursor{Query: name, Below: [2]int64{logNo, seq}, Extra: extra}.encode()
		w, err := r.Replay(r.ctx, r.reader(), traceID(1), q)
		if err != nil {
			if !errors.Is(err, problem.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if !w.WindowStart.InRange() || !w.WindowEnd.InRange() || len(w.LLMEvents) > 1 {
			t.Fatalf("%+v", w)
		}
	})
}
