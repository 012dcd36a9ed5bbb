package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/tsp"
)

// tolerance is how far clocks may be apart, in microseconds: 5 minutes.
const tolerance = evidence.Micros(5 * 60 * 1_000_000)

// quorum is check 6: enough witnesses of the policy have cosigned the
// directory's checkpoint.
func (c *checker) quorum(l *logState) {
	path := l.Dir + "/checkpoint"
	p := c.trust.policy
	if p == nil {
		c.rep.add(Finding{Code: WNoQuorum, Log: l.Origin, Dir: l.Dir, Path: path, Message: "no witness policy was given: nobody else is known to have seen this log"})
		return
	}
	keys := []c2sp.VKey{l.key}
	names := map[c2sp.VKey]string{}
	for _, w := range p.Witnesses {
		keys = append(keys, w.vkey)
		names[w.vkey] = w.Name
	}
	v, err := c2sp.Verify(l.note, keys...)
	if err != nil {
		c.rep.add(Finding{Code: EQuorum, Log: l.Origin, Dir: l.Dir, Path: path, Message: err.Error()})
		return
	}
	by := map[c2sp.VKey]bool{}
	for _, s := range v.Cosignatures {
		by[s.Witness] = true
		l.report.Witness = append(l.report.Witness, CosignedBy{Name: names[s.Witness], Key: s.Witness.String(), Time: unixTime(s.Time)})
	}
	l.head = v
	if !p.met(by) {
		c.rep.add(Finding{
			Code: EQuorum, Log: l.Origin, Dir: l.Dir, Path: path,
			Expected: "the policy's quorum", Found: fmt.Sprintf("%d cosignatures by its witnesses", len(by)),
			Message: "too few witnesses have cosigned the checkpoint",
		})
	}
}

// stampTime is the time of a stamp that holds.
type stampTime struct {
	size int64
	at   evidence.Micros
	who  string
}

// times is check 7: what others say of the time agrees with the leaves'
// own t.
func (c *checker) times(l *logState) error {
	path := l.Dir + "/checkpoint"
	head := &mark{}
	if l.report.Records > 0 {
		head.before, _ = evidence.ParseMicros(l.report.LastAt)
		head.early, head.beforeSeq = true, l.last()
	}
	for _, s := range l.head.Cosignatures {
		c.time(l, l.Size, head, cosignedAt(s), path, s.Witness.Name)
	}
	checked := len(l.head.Cosignatures)
	if n := len(l.files.stamps); n > 0 && c.trust.roots == nil {
		c.rep.add(Finding{
			Code: WTimeUnchecked, Log: l.Origin, Dir: l.Dir, Path: anchorPath(l.Dir, l.files.stamps[0], "tsr"),
			Message: stampsText(n) + " not checked: no root certificates of their authorities were given",
		})
	} else {
		if err := c.stamps(l, head); err != nil {
			return err
		}
		checked += n
	}
	if checked == 0 {
		c.rep.add(Finding{Code: WNoTime, Log: l.Origin, Dir: l.Dir, Message: "no time from outside was checked: when records were made is known from the server's clock only"})
	}
	return nil
}

func stampsText(n int) string {
	if n == 1 {
		return "1 RFC 3161 time stamp was"
	}
	return fmt.Sprintf("%d RFC 3161 time stamps were", n)
}

// maxBadStamps bounds the stamps of a log that do not hold: to find that can take long,
// as long as whoever makes them wants.
const maxBadStamps = 16

// stamps checks the time stamps of a log.
func (c *checker) stamps(l *logState, head *mark) error {
	for i, size := range l.files.stamps {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if i-len(l.stamps) >= maxBadStamps {
			c.rep.add(Finding{
				Code: ETime, Log: l.Origin, Dir: l.Dir, Path: anchorPath(l.Dir, size, "tsr"),
				Message: fmt.Sprintf("this and further time stamps were not checked, as %d before did not hold", maxBadStamps),
			})
			return nil
		}
		if err := c.stamp(l, size, head); err != nil {
			return err
		}
	}
	return nil
}

// stamp checks the time stamp over the anchor of that size.
func (c *checker) stamp(l *logState, size int64, head *mark) error {
	path := anchorPath(l.Dir, size, "tsr")
	note, err := c.src.read(anchorPath(l.Dir, size, "note"), c2sp.MaxNoteSize)
	var response []byte
	if err == nil {
		response, err = c.src.read(path, maxSmall)
	}
	var s *tsp.Stamp
	if err == nil {
		s, err = tsp.Verify(response, note, c.trust.roots)
	}
	if err != nil {
		if !broken(err) && !errors.Is(err, evidence.ErrInvalid) && !errors.Is(err, evidence.ErrTampered) {
			return err
		}
		c.rep.add(Finding{Code: ETime, Log: l.Origin, Dir: l.Dir, Path: path, Message: err.Error()})
		return nil
	}
	l.report.Timestamps = append(l.report.Timestamps, StampReport{Size: size, Time: s.Time.UTC().Format(time.RFC3339Nano), Authority: s.Authority})
	at := evidence.Micros(s.Time.UnixMicro())
	l.stamps = append(l.stamps, stampTime{size, at, s.Authority})
	m := l.marks[size]
	if m == nil { // newer than the directory: it covers all that is there
		m = head
	}
	c.time(l, size, m, at, path, s.Authority)
	return nil
}

func cosignedAt(s c2sp.Cosigned) evidence.Micros {
	return evidence.Micros(min(s.Time, 1<<40)) * 1_000_000
}

// time compares one time, at which the tree of size leaves existed.
func (c *checker) time(l *logState, size int64, m *mark, at evidence.Micros, path, who string) {
	f := Finding{Code: ETime, Log: l.Origin, Dir: l.Dir, Path: path}
	switch {
	case !at.InRange():
		f.Message = fmt.Sprintf("the time of %s is out of range", who)
	case m.early && m.before > at+tolerance:
		f.From, f.To = m.beforeSeq, m.beforeSeq+1
		f.Expected, f.Found = "t not after "+(at+tolerance).String(), m.before.String()
		f.Message = fmt.Sprintf("the leaf says it was recorded after %s saw the log with it, at %d leaves", who, size)
	case m.late && m.after < at-tolerance:
		f.From, f.To = m.afterSeq, m.afterSeq+1
		f.Expected, f.Found = "t not before "+(at-tolerance).String(), m.after.String()
		f.Message = fmt.Sprintf("the leaf says it was recorded before %s saw the log without it, at %d leaves", who, size)
	default:
		return
	}
	c.rep.add(f)
}
