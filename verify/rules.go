package verify

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// Events that open and close a log.
const (
	logOpened = "LOG_OPENED"
	logClosed = "LOG_CLOSED"
)

// place says where a leaf stands: what the leaf itself cannot know.
type place struct {
	origin string
	vkey   string // of the log
	seq    int64
	last   bool // no leaf follows
}

// check returns what is wrong with a leaf at its place, or "". It is the
// part of check 4 that needs one leaf only: its log and seq, LOG_OPENED
// first with the log's key and only there, LOG_CLOSED only last, facts of
// the server's own without a producer.
func (p *place) check(l *evidence.Leaf) string {
	if l.Log != p.origin {
		return "the leaf is of the log " + l.Log
	}
	if l.Seq != p.seq {
		return fmt.Sprintf("the leaf says seq %d", l.Seq)
	}
	event := ""
	switch l.Kind {
	case evidence.KindSystem, evidence.KindAudit:
		event = l.Text("event_type")
	case evidence.KindExport:
	default:
		if l.Seq == 0 {
			return "the first leaf is not LOG_OPENED"
		}
		return "" // other kinds are never the server's own facts
	}
	if evidence.ServerOnly(l.Kind, event) {
		if f, ok := l.Fact("producer"); ok {
			return "a fact that only the server may state has the producer " + f.Str
		}
	}
	opened := l.Kind == evidence.KindSystem && event == logOpened
	switch {
	case l.Seq == 0 && !opened:
		return "the first leaf is not LOG_OPENED"
	case l.Seq != 0 && opened:
		return "LOG_OPENED is not the first leaf"
	case opened && l.Text("vkey") != p.vkey:
		return "LOG_OPENED names another key than the log is signed with"
	case l.Kind == evidence.KindSystem && event == logClosed && !p.last:
		return "leaves follow LOG_CLOSED"
	}
	return ""
}

// firstLeaf is what LOG_OPENED says beyond its key.
type firstLeaf struct {
	predecessor *c2sp.Checkpoint // nil where the log has none
}

// parsePredecessor reads `<origin> <size> <base64 root>`.
func parsePredecessor(s string) (*c2sp.Checkpoint, bool) {
	words := strings.Split(s, " ")
	if len(words) != 3 || !evidence.ValidOrigin(words[0]) {
		return nil, false
	}
	c, err := c2sp.ParseCheckpointBody(strings.Join(words, "\n") + "\n")
	return &c, err == nil
}

// FormatPredecessor returns the text of the predecessor_log fact of
// LOG_OPENED: origin, size and root of the log before, as they stand in a
// checkpoint.
func FormatPredecessor(origin string, size int64, root evidence.Hash) string {
	return origin + " " + strconv.FormatInt(size, 10) + " " + base64.StdEncoding.EncodeToString(root[:])
}

// runs counts the records of each run of one log, check 9.
type runs struct {
	index    map[string]int
	states   []runState
	anyStart bool // the log has a predecessor, where runs may have begun
}

type runState struct {
	next  int64 // expected n
	ended bool  // an llm_run was seen
}

// span is a stretch of a run's records with consecutive n, in log order.
type span struct {
	run         string
	first, next int64 // n of the first, and after the last
	seq         int64 // of the first
	ended       bool
}

// add returns what is wrong where a span does not go on where the run was,
// or "". It goes on from the span in any case.
func (r *runs) add(s span) string {
	if r.index == nil {
		r.index = map[string]int{}
	}
	i, ok := r.index[s.run]
	if !ok {
		i = len(r.states)
		// The text is part of a whole leaf's memory.
		r.index[strings.Clone(s.run)] = i
		start := int64(0)
		if r.anyStart {
			start = s.first
		}
		r.states = append(r.states, runState{next: start})
	}
	st := &r.states[i]
	want := st.next
	st.next, st.ended = s.next, st.ended || s.ended
	if s.first != want {
		return gapMessage(s.run, want)
	}
	return ""
}

func gapMessage(run string, want int64) string {
	return fmt.Sprintf("run %q: record n = %d is missing here, or stands elsewhere", run, want)
}

// LogRules checks the rules of a whole log leaf by leaf, for callers that
// read it by other means than a bundle. The zero value with Origin and Key
// set stands before leaf 0. It is for one goroutine at a time. It does not
// remember ids: that they are unique is for the caller to check.
type LogRules struct {
	Origin string
	Key    string // verifier key of the log

	next   int64
	last   evidence.Micros
	closed bool
	runs   runs
}

// Next checks the next leaf: seq without gaps, t not decreasing, LOG_OPENED
// first and only there, LOG_CLOSED last, the server's facts without a
// producer, and n of its run without gaps. The error wraps
// evidence.ErrTampered; after it the rules go on from that leaf.
func (r *LogRules) Next(l *evidence.Leaf) error {
	p := place{origin: r.Origin, vkey: r.Key, seq: r.next, last: true}
	reason := p.check(l)
	switch {
	case reason != "":
	case r.closed:
		reason = "leaves follow LOG_CLOSED"
	case r.next > 0 && l.RecordedAt < r.last:
		reason = "t is smaller than that of the leaf before"
	}
	if r.next == 0 {
		r.runs.anyStart = l.Text("predecessor_log") != ""
	}
	r.closed = r.closed || l.Kind == evidence.KindSystem && l.Text("event_type") == logClosed
	r.next, r.last = l.Seq+1, max(r.last, l.RecordedAt)
	if l.Run != "" {
		if gap := r.runs.add(span{run: l.Run, first: l.N, next: l.N + 1}); reason == "" {
			reason = gap
		}
	}
	if reason == "" {
		reason = checkEnding(l)
	}
	if reason != "" {
		return fmt.Errorf("%s leaf %d: %s: %w", r.Origin, l.Seq, reason, evidence.ErrTampered)
	}
	return nil
}

// checkEnding returns what is wrong with the count in an llm_run, or "".
func checkEnding(l *evidence.Leaf) string {
	if l.Kind != evidence.KindLLMRun {
		return ""
	}
	if l.Run == "" {
		return "an llm_run without a run"
	}
	if n, _ := l.Int("record_count"); n != l.N+1 {
		return fmt.Sprintf("run %q: its llm_run counts %d records and is number %d itself", l.Run, n, l.N+1)
	}
	return ""
}
