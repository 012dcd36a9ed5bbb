package verify

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
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

// times is check 7: what others say of the time agrees with the leaves'
// own t.
func (c *checker) times(l *logState) {
	path := l.Dir + "/checkpoint"
	head := mark{root: l.head.Root}
	head.before, _ = evidence.ParseMicros(l.report.LastAt)
	for _, s := range l.head.Cosignatures {
		c.time(l, l.Size, &head, s.Time, path, s.Witness.Name)
	}
	for _, size := range l.files.stamps {
		c.rep.add(Finding{
			Code: WTimeUnchecked, Log: l.Origin, Dir: l.Dir, Path: anchorPath(l.Dir, size, "tsr"),
			Message: "this version does not check RFC 3161 time stamps; other tools do (see README.txt of the bundle)",
		})
	}
	if len(l.head.Cosignatures) == 0 {
		c.rep.add(Finding{Code: WNoTime, Log: l.Origin, Dir: l.Dir, Message: "no time from outside was checked: when records were made is known from the server's clock only"})
	}
}

// time compares one time, in seconds since 1970, at which the tree of size
// leaves existed.
func (c *checker) time(l *logState, size int64, m *mark, unix int64, path, who string) {
	f := Finding{Code: ETime, Log: l.Origin, Dir: l.Dir, Path: path}
	at := evidence.Micros(min(unix, 1<<40)) * 1_000_000
	switch {
	case !at.InRange():
		f.Message = fmt.Sprintf("the time of %s is out of range", who)
	case m.before > at+tolerance:
		f.From, f.To = size-1, size
		f.Expected, f.Found = "t not after "+(at+tolerance).String(), m.before.String()
		f.Message = fmt.Sprintf("the leaf says it was recorded after %s saw it", who)
	case size < l.Size && m.after < at-tolerance:
		f.From, f.To = size, size+1
		f.Expected, f.Found = "t not before "+(at-tolerance).String(), m.after.String()
		f.Message = fmt.Sprintf("the leaf says it was recorded before %s saw the log without it", who)
	default:
		return
	}
	c.rep.add(f)
}
