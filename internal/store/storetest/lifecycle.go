package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// The database's own clock is real, so what is to expire was recorded long ago.
const (
	long evidence.Micros = 1_704_067_200_000_000 // 2024-01-01
	day  evidence.Micros = 86_400_000_000
)

// lifecycleTests are those of Expire, holds and archives.
var lifecycleTests = []struct {
	name string
	run  func(t *testing.T, s store.Store)
}{
	{"ExpiryOrders", testExpiryOrders},
	{"ExpiryRefused", testExpiryRefused},
	{"ExpiryAge", testExpiryAge},
	{"Expire", testExpire},
	{"ExpireRefused", testExpireRefused},
	{"ExpireSynthetic", testExpireSynthetic},
	{"ExpireRemoval", testExpireRemoval},
	{"ExpiredSpans", testExpiredSpans},
	{"Remove", testRemove},
	{"Holds", testHolds},
	{"HoldsRefused", testHoldsRefused},
	{"HoldsKeep", testHoldsKeep},
	{"HoldsForbid", testHoldsForbid},
	{"Archives", testArchives},
	{"ExpireLeaves", testExpireLeaves},
	{"SealedUnder", testSealedUnder},
	{"Marks", testMarks},
	{"RestoreLifecycle", testRestoreLifecycle},
	{"RestoreRefused", testRestoreRefused},
	{"LifecycleSnapshot", testLifecycleSnapshot},
	{"LifecycleClosed", testLifecycleClosed},
}

// recorded sets when a record was recorded, and that it occurred a second before.
func recorded(at evidence.Micros) func(*evidence.Leaf) {
	return func(l *evidence.Leaf) { l.RecordedAt, l.OccurredAt = at, at-1_000_000 }
}

func synthetic(l *evidence.Leaf) { integer("is_synthetic", 1)(l) }

// applied is a RetentionApplied record.
func (l *testLog) applied(table, rule string, until evidence.Micros, set ...func(*evidence.Leaf)) store.Entry {
	return l.entry(evidence.KindAudit, append([]func(*evidence.Leaf){
		text("event_type", "RetentionApplied"), text("entity_type", "RETENTION"), text("entity_id", table), text("rule_id", rule),
		integer("valid_from", int64(long)), integer("valid_until", int64(until)),
	}, set...)...)
}

// policy appends a RetentionPolicyChanged.
func (l *testLog) policy(class, days string) {
	l.t.Helper()
	l.append(l.entry(evidence.KindAudit, text("event_type", "RetentionPolicyChanged"), text("entity_type", "RETENTION"),
		text("entity_id", class), text("limit_value", days), text("limit_unit", "days")))
}

// ruleOf is the rule that an honest record of an expiry names.
func ruleOf(e *store.Expiry) string {
	switch {
	case e.Synthetic:
		return evidence.ClassSynthetic
	case e.Table == store.TableLeaves:
		return "moved"
	}
	return evidence.KindOfTable(e.Table).Class()
}

// tryExpiry commits an expiry with the record that orders it, which spoil may change
// both. It returns the expiry with its By.
func (l *testLog) tryExpiry(e store.Expiry, spoil ...func(*store.Entry, *store.Expiry)) (store.Expiry, error) {
	e.By = l.at(l.head.Size)
	if e.LogNo == 0 {
		e.LogNo = l.ref.No
	}
	record := l.applied(e.Table, ruleOf(&e), e.Before)
	for _, f := range spoil {
		f(&record, &e)
	}
	c := l.extend(record)
	c.Expiries = []store.Expiry{e}
	return e, l.commit(c)
}

// expiry orders an expiry.
func (l *testLog) expiry(table string, from, to int64, before evidence.Micros, set ...func(*store.Expiry)) store.Expiry {
	l.t.Helper()
	e := store.Expiry{Table: table, From: from, To: to, Before: before}
	for _, f := range set {
		f(&e)
	}
	e, err := l.tryExpiry(e)
	if err != nil {
		l.t.Fatalf("expiry of %s: %v", table, err)
	}
	return e
}

func onlySynthetic(e *store.Expiry) { e.Synthetic = true }

func expiries(t *testing.T, r store.Reader, tenant string) []store.Expiry {
	t.Helper()
	return collect(t, func(fn func(store.Expiry) error) error { return r.Expiries(ctx, tenant, fn) })
}

// seqs are the leaf indexes of the rows of a kind that are there.
func (l *testLog) seqs(kind evidence.Kind) []int64 {
	l.t.Helper()
	var list []int64
	for _, r := range l.rows(kind, 0, 1<<30) {
		list = append(list, r.Seq)
	}
	return list
}

func (l *testLog) wantSeqs(kind evidence.Kind, want ...int64) {
	l.t.Helper()
	wantEqual(l.t, fmt.Sprintf("rows of %s in %v", kind, l.ref), l.seqs(kind), want)
}

// steps appends n old steps of a run, recorded a day apart from at on, and returns
// where the first stands.
func (l *testLog) steps(run int64, at evidence.Micros, n int) int64 {
	l.t.Helper()
	var list []store.Entry
	for i := range n {
		list = append(list, l.step(traceID(run), spanID(unique()), recorded(at+evidence.Micros(i)*day)))
	}
	return l.append(list...)
}

const (
	tableSteps = "aos_trace_steps"
	tableAudit = "audit_ledger"
)

func testExpiryOrders(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	wantEqual(t, "none", expiries(t, s, "a"), nil)
	wantEqual(t, "nobody's", expiries(t, s, "nobody"), nil)
	l.steps(1, long, 9)
	theirs := other.expiry(tableSteps, 0, 1, long)

	// Two ranges by one record, and others by their own; yielded by log, table and From.
	c := l.extend(l.applied(tableSteps, evidence.ClassLLMRuns, long+day))
	one := store.Expiry{By: l.at(l.head.Size), Table: tableSteps, LogNo: 1, From: 4, To: 6, Before: long + day}
	two := one
	two.From, two.To = 1, 3
	c.Expiries = []store.Expiry{one, two}
	l.mustCommit(c)
	events := l.expiry("aos_trace_events", 2, 5, long)
	synth := l.expiry(tableSteps, 3, 4, long, onlySynthetic)
	audit := l.expiry(tableAudit, 0, l.head.Size, long, onlySynthetic) // up to the record itself
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	first := second.expiry("aos_traces", 0, 5, long, func(e *store.Expiry) { e.LogNo = 1 }) // a log before
	next := second.expiry("aos_traces", 0, 1, long)

	want := []store.Expiry{events, two, synth, one, first, audit, next}
	slices.SortFunc(want, func(a, b store.Expiry) int {
		return cmp.Or(a.LogNo-b.LogNo, strings.Compare(a.Table, b.Table), int(a.From-b.From))
	})
	wantEqual(t, "expiries", expiries(t, s, "a"), want)
	wantEqual(t, "b's", expiries(t, s, "b"), []store.Expiry{theirs})

	// What is written down stays as it is.
	c = second.extend()
	again := two
	again.To = 4
	c.Expiries = []store.Expiry{again}
	wantErr(t, "another range from the same leaf", second.commit(c), evidence.ErrConflict)
	wantEqual(t, "expiries", expiries(t, s, "a"), want)
}

// testExpiryRefused takes an expiry that is good and spoils one thing of it.
func testExpiryRefused(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	second := func() store.Expiry { return store.Expiry{Table: tableSteps, From: 1, To: 5, Before: long + 5*day} }
	l.steps(1, long, 9)
	other.steps(1, long, 9)
	type record = store.Entry
	type expiry = store.Expiry
	fact := func(set func(*evidence.Leaf)) func(*record, *expiry) {
		return func(r *record, _ *expiry) { set(r.Leaf) }
	}
	tests := []struct {
		what  string
		spoil func(*record, *expiry)
		want  error
	}{
		{"of another table", fact(text("entity_id", "aos_traces")), evidence.ErrForbidden},
		{"of another event", fact(text("event_type", "ErasureExecuted")), evidence.ErrForbidden},
		{"about something else", fact(text("entity_type", "LOG")), evidence.ErrForbidden},
		{"with a later time", func(_ *record, e *expiry) { e.Before++ }, evidence.ErrForbidden},
		{"with an earlier time", func(_ *record, e *expiry) { e.Before-- }, evidence.ErrForbidden},
		{"of synthetic records, by a record about all", func(_ *record, e *expiry) { e.Synthetic = true }, evidence.ErrForbidden},
		{"of all records, by a record about synthetic ones", fact(text("rule_id", "synthetic")), evidence.ErrForbidden},
		{"of the audit ledger", func(r *record, e *expiry) {
			e.Table = tableAudit
			text("entity_id", tableAudit)(r.Leaf)
			e.Before = 0
			integer("valid_until", 0)(r.Leaf)
		}, evidence.ErrForbidden},
		{"of what comes after the record", func(_ *record, e *expiry) { e.To = e.By.Seq + 1 }, evidence.ErrForbidden},
		{"by no record", func(_ *record, e *expiry) { e.By.Seq += 1000 }, evidence.ErrForbidden},
		{"by a record before", func(_ *record, e *expiry) { e.By.Seq-- }, evidence.ErrForbidden},
		{"of a log that is not there", func(_ *record, e *expiry) { e.LogNo = 2 }, evidence.ErrNotFound},
		{"of nothing", func(_ *record, e *expiry) { e.To = e.From }, evidence.ErrInvalid},
		{"below nothing", func(_ *record, e *expiry) { e.From = -1 }, evidence.ErrInvalid},
		{"of no table", func(r *record, e *expiry) {
			e.Table = "settings"
			text("entity_id", "settings")(r.Leaf)
		}, evidence.ErrInvalid},
		{"of leaves that are in no archive", func(r *record, e *expiry) {
			e.Table, e.From = store.TableLeaves, 0
			text("entity_id", store.TableLeaves)(r.Leaf)
		}, evidence.ErrForbidden},
	}
	for _, test := range tests {
		_, err := l.tryExpiry(second(), test.spoil)
		wantErr(t, "an expiry "+test.what, err, test.want)
		l.wantHead()
	}
	wantEqual(t, "expiries", expiries(t, s, "a"), nil)
	if _, err := l.tryExpiry(second()); err != nil {
		t.Errorf("the same unspoiled: %v", err)
	}
	// The same place in another tenant's log is another record.
	for other.head.Size < l.head.Size {
		other.append(other.entry(evidence.KindSystem))
	}
	c := other.extend()
	e := second()
	e.LogNo, e.By = 1, l.at(l.head.Size-1)
	c.Expiries = []store.Expiry{e}
	wantErr(t, "an expiry by another tenant's record", other.commit(c), evidence.ErrForbidden)
	wantEqual(t, "b's expiries", expiries(t, s, "b"), nil)
}

// testExpiryAge sees that the database asks its own clock and the tenant's policy.
func testExpiryAge(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	now := evidence.MicrosOf(time.Now()) - 1_000_000 // a database may ask in whole seconds
	try := func(l *testLog, table string, days int, synthetic bool) error {
		_, err := l.tryExpiry(store.Expiry{Table: table, From: 0, To: 1, Before: now - evidence.Micros(days)*day, Synthetic: synthetic})
		return err
	}
	ages := func(l *testLog, table string, days int, synthetic bool) {
		t.Helper()
		wantErr(t, fmt.Sprintf("%s younger than %d days", table, days), try(l, table, days-1, synthetic), evidence.ErrForbidden)
		if err := try(l, table, days, synthetic); err != nil {
			t.Errorf("%s of %d days: %v", table, days, err)
		}
	}
	for _, kind := range evidence.Kinds() {
		if kind != evidence.KindAudit {
			ages(l, kind.Table(), evidence.RetentionDays(kind.Class()), false)
		}
	}
	ages(l, tableAudit, 7, true)
	ages(l, tableSteps, 7, true)

	l.policy(evidence.ClassLLMRuns, "200")
	ages(l, tableSteps, 200, false)
	ages(l, "aos_traces", 200, false)
	ages(l, "system_records", 30, false)
	ages(l, "aos_traces", 7, true)
	ages(other, tableSteps, 90, false) // another tenant has its own
	l.policy(evidence.ClassLLMRuns, "40")
	ages(l, tableSteps, 40, false)
	l.policy(evidence.ClassSynthetic, "3")
	ages(l, tableSteps, 3, true)
	ages(l, tableSteps, 40, false)
	// A limit that is no number of days is no permission, nor is one of none.
	long := 1_000_000 // days
	for _, limit := range []string{"", "-5", "+5", "0.5", "1e0", " 5", "5 ", "5\n", "0x5", "\u0665", "five", "0000005", "1000000", "0", "000000"} {
		l.policy(evidence.ClassLLMRuns, limit)
		wantErr(t, fmt.Sprintf("a limit of %q days", limit), try(l, tableSteps, 80, false), evidence.ErrForbidden)
		wantErr(t, fmt.Sprintf("a limit of %q days, of what is old", limit), try(l, tableSteps, long, false), evidence.ErrForbidden)
	}
	for limit, days := range map[string]int{"1": 1, "007": 7, "000040": 40, "20000": 20000} {
		l.policy(evidence.ClassLLMRuns, limit)
		ages(l, tableSteps, days, false)
	}
}
