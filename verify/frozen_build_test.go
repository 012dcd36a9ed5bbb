package verify

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/runledger/runledger/evidence"
)

// authority is a time-stamping authority with a root of its own. Its keys
// follow from its name, so that stamps can be made at any time.
type authority struct {
	tb   testing.TB
	root *x509.Certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func authorityKey(tb testing.TB, name string) *ecdsa.PrivateKey {
	tb.Helper()
	sum := sha256.Sum256([]byte(name))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// newAuthority makes the certificates of an authority, valid from 2026 to 2076.
func newAuthority(tb testing.TB, name string) *authority {
	tb.Helper()
	certificate := func(subject string, serial int64, parent *x509.Certificate, by, of *ecdsa.PrivateKey) *x509.Certificate {
		t := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"Example"}, CommonName: subject},
			NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2076, 1, 1, 0, 0, 0, 0, time.UTC),
			BasicConstraintsValid: true,
		}
		if parent == nil {
			parent, t.IsCA, t.KeyUsage = t, true, x509.KeyUsageCertSign
		} else {
			usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
			if err != nil {
				tb.Fatal(err)
			}
			t.KeyUsage = x509.KeyUsageDigitalSignature
			t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}
		}
		der, err := x509.CreateCertificate(rand.Reader, t, parent, of.Public(), by)
		if err != nil {
			tb.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			tb.Fatal(err)
		}
		return cert
	}
	rootKey := authorityKey(tb, name+" root")
	a := &authority{tb: tb, key: authorityKey(tb, name)}
	a.root = certificate(name+" root", 1, nil, rootKey, rootKey)
	a.cert = certificate(name, 2, a.root, rootKey, a.key)
	return a
}

// stamp returns the response over a message.
func (a *authority) stamp(message []byte, at evidence.Micros) []byte {
	a.tb.Helper()
	sum := sha256.Sum256(message)
	t := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: time.UnixMicro(int64(at)).UTC().Truncate(time.Second),
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 13762, 3}, Nonce: big.NewInt(0x5eed5eed5eed), AddTSACertificate: true,
	}
	der, err := t.CreateResponseWithOpts(a.cert, a.key, crypto.SHA256)
	if err != nil {
		a.tb.Fatal(err)
	}
	return der
}

// anchor puts the log's own note of that size into a directory, linked to its
// checkpoint, and a stamp over it where there is an authority.
func (b *bundle) anchor(k int, size int64, a *authority, at evidence.Micros) {
	b.tb.Helper()
	dir := fmt.Sprintf("logs/%d", k)
	note := b.logs[k].checkpoint(size)
	b.files[anchorPath(dir, size, "note")] = note
	if size < b.sizes[k] {
		b.files[consistencyName{size, b.sizes[k]}.path(dir)] = b.logs[k].consistency(size, b.sizes[k], b.files[dir+"/checkpoint"])
	}
	if a != nil {
		b.files[anchorPath(dir, size, "tsr")] = a.stamp(note, at)
	}
}

// witnessed has the directories' checkpoints cosigned by these witnesses, a
// second after the last leaf.
func (b *bundle) witnessed(names ...string) *bundle {
	for k, l := range b.logs {
		path := fmt.Sprintf("logs/%d/checkpoint", k)
		for _, name := range names {
			b.files[path] = cosign(b.tb, b.files[path], witness(b.tb, name), l.now)
		}
	}
	return b
}

const (
	witness1 = "witness.example/w1"
	witness2 = "witness.example/w2"
)

// periodBundle makes a bundle of profile period of those leaves of each log.
func periodBundle(tb testing.TB, kind, from, until string, logs []*testLog, seqs ...[]int64) *bundle {
	tb.Helper()
	b := newBundle(tb, logs...)
	b.man.Profile, b.man.Scope.Kind, b.man.Scope.From, b.man.Scope.Until = ProfilePeriod, kind, from, until
	for path := range b.files {
		if strings.Contains(path, "/tile/") {
			delete(b.files, path)
		}
	}
	b.disclose = map[string][]evidence.Kind{
		KindSystem:     {evidence.KindSystem, evidence.KindMetric},
		KindAudit:      {evidence.KindAudit, evidence.KindExport},
		KindCompliance: {evidence.KindAudit, evidence.KindExport, evidence.KindSystem, evidence.KindLLMRun, evidence.KindTrace},
	}[kind]
	for k := range logs {
		b.setRecords(k, seqs[k]...)
	}
	return b
}

// from and until: leaves 4 to 8 of officeLog.
const (
	periodFrom  = "2026-11-23T16:00:04.000000Z"
	periodUntil = "2026-11-23T16:00:09.000000Z"
)

// seqs returns from to to, both in it.
func seqs(from, to int64) (out []int64) {
	for ; from <= to; from++ {
		out = append(out, from)
	}
	return out
}

// officeLog is a tenant's log of a bit of everything, one leaf a second.
//
//	0 opened         1 startup         2 run-1 trace    3 run-1 step, prompt  4 run-1 tool step, fails
//	5 login          6 policy blocks   7 run-1 ends     8 error, of run-1     9 looked at run-1
//	10 export of it  11 run-1 erasure  12 limit, other run's, by correlation  13 metric
func officeLog(tb testing.TB, pre string) *testLog {
	tb.Helper()
	l := newLog(tb, testOrigin)
	var fs facts
	if pre != "" {
		fs = facts{"predecessor_log": pre}
	}
	l.opened(fs)
	l.event("", "STARTUP", nil, sealed{path: "/summary", value: `"worker 7 started"`}, sealed{path: "/details", value: `{"memory":"2 GiB","load":0.25}`})
	l.add(evidence.KindTrace, "run-1", facts{
		"trace_id": "5b8efff798038103d269b633813fc60c", "schema_version": "1", "started_at": (start + 1_000_000).String(), "producer": "key-1",
	}, sealed{path: "/plan", value: `{"steps":["look up","decide"]}`}, sealed{path: "/root_hash", value: `"77aa"`, reason: Requested})
	l.edit = func(leaf *evidence.Leaf) { setFacts(tb, leaf, facts{"correlation_id": "order-7"}) }
	l.step1("run-1", sealed{path: "/prompt", value: "\"Kredit 4711 f\u00fcr M\u00fcller? \\ud83d\\ude42 \u5ba1\u67e5\\n\""}, sealed{path: "/response", value: `"no"`, reason: NotPermitted},
		sealed{path: "/actor", value: `{"human_actor_id":"mira"}`})
	l.edit = func(leaf *evidence.Leaf) {
		setFacts(tb, leaf, facts{"status": "failure", "outcome_category": "FAILURE"})
	}
	l.step1("run-1", sealed{path: "/params", value: `{"x": 1.50, "big": 123456789012345678901234567890}`}, sealed{path: "/outcome_data", value: `"gone"`, reason: Erased})
	l.audit("", "LOGIN", facts{"entity_type": "IDENTITY", "entity_id": "h:0123456789abcdef"}, sealed{path: "/client", value: `{"address":"192.0.2.7"}`})
	l.audit("", "PolicyEvaluated", facts{"entity_type": "POLICY_RULE", "entity_id": "rule-9", "decision": "BLOCKED", "producer": "key-1", "correlation_id": "order-7"},
		sealed{path: "/action_reason", value: "\"score too low: \\u003c 600\""})
	l.ended("run-1", facts{"execution_status": "FAILED", "outcome": "failure", "inflection_at": (start + 4_000_000).String()})
	l.event("run-1", "ERROR", facts{"severity": "CRITICAL"}, sealed{path: "/summary", value: `"tool timed out"`})
	l.audit("", "LOG_VIEW", facts{"about_run": "run-1", "route": "/api/v1/logs/llm-runs/:run_id/trace"}, sealed{path: "/view_digest", value: `"` + strings.Repeat("ab", 32) + `"`})
	l.add(evidence.KindExport, "", facts{
		"export_id": "export-0", "scope": "llm_run", "format": "json", "status": "completed", "about_run": "run-1", "compliance_tags": []string{},
	}, sealed{path: "/requested_by", value: `"mira"`})
	l.audit("run-1", "ErasureExecuted", nil, sealed{path: "/targets", value: `{"ranges":[{"from":4,"to":5,"paths":["/outcome_data"]}]}`})
	l.audit("run-2", "LimitChecked", facts{"entity_type": "LIMIT", "entity_id": "limit-1", "producer": "key-1", "correlation_id": "order-7"})
	l.add(evidence.KindMetric, "", facts{"names": []string{"cpu"}, "from": start.String(), "until": (start + 9_000_000).String(), "point_count": 1},
		sealed{path: "/resource", value: "{}"}, sealed{path: "/points", value: "[[1,0.5]]"})
	return l
}

// officeRun are the leaves of officeLog that a bundle of run-1 holds.
var officeRun = []int64{1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12}

// event appends a system record.
func (l *testLog) event(run, event string, fs facts, fields ...sealed) {
	all := facts{"component": "worker", "event_type": event, "severity": "INFO", "visibility": "tenant"}
	for name, v := range fs {
		all[name] = v
	}
	l.add(evidence.KindSystem, run, all, fields...)
}

// systemLog is the system's log; leaves 2 and 4 are shared.
func systemLog(tb testing.TB) *testLog {
	tb.Helper()
	l := newLog(tb, "log.example/ccccccccccccccc"[:len("log.example/")+12])
	l.opened(nil)
	l.event("", "STARTUP", nil, sealed{path: "/summary", value: `"own"`})
	l.event("", "DEPLOY", facts{"visibility": "shared", "version": "1.2.3"}, sealed{path: "/summary", value: `"deployed 1.2.3"`})
	l.event("", "HEALTH_CHECK", nil, sealed{path: "/summary", value: `"own"`})
	l.event("", "ERROR", facts{"visibility": "shared", "severity": "WARN"}, sealed{path: "/summary", value: `"disk is slow"`}, sealed{path: "/details", value: `{"ms":250}`, reason: Requested})
	return l
}

// oldLog is the log before: a run begins in it, and it is closed.
func oldLog(tb testing.TB) *testLog {
	tb.Helper()
	l := newLog(tb, "log.example/aaaaaaaaaaaa")
	l.now = start - 10_000_000
	l.opened(nil)
	l.step1("run-0", sealed{path: "/prompt", value: `"begun before"`})
	l.event("", "DEPLOY", nil, sealed{path: "/summary", value: `"1.2.2"`})
	l.audit("", "LOGIN", facts{"entity_type": "IDENTITY", "entity_id": "h:0123456789abcdef"})
	l.opened(facts{"event_type": "LOG_CLOSED", "successor_log": testOrigin})
	return l
}

// expiredLog has a run whose content has expired from those tables, by a record each.
//
//	0 opened  1 step  2 event  3 login, which stays  4 run ends  5 … RetentionApplied
func expiredLog(tb testing.TB, from ...evidence.Kind) *testLog {
	tb.Helper()
	return expiredAs(tb, evidence.ClassLLMRuns, from...)
}

// expiredAs is expiredLog whose records name a class.
func expiredAs(tb testing.TB, class string, from ...evidence.Kind) *testLog {
	tb.Helper()
	l := newLog(tb, testOrigin)
	l.opened(nil)
	expired := sealed{path: "/actor", value: "{}", reason: Expired}
	l.step1("run-1", expired, sealed{path: "/prompt", value: `"gone"`, reason: Expired})
	l.add(evidence.KindTraceEvent, "run-1", facts{"event_name": "note", "producer": "key-1"}, expired, sealed{path: "/body", value: `"gone"`, reason: Expired})
	l.audit("", "LOGIN", facts{"entity_type": "IDENTITY", "entity_id": "h:0123456789abcdef"})
	l.ended("run-1", nil, expired)
	for _, k := range from {
		l.audit("", "RetentionApplied", facts{
			"entity_type": "RETENTION", "entity_id": k.Table(), "rule_id": class, "limit_value": "90", "limit_unit": "days",
			"valid_from": start.String(), "valid_until": (start + 5_000_000).String(), "record_count": 1,
		}, sealed{path: "/targets", value: `{"ranges":[{"from":1,"to":5}]}`})
	}
	return l
}

// policyLog has a run whose content has expired, in a log that says by which policies its
// tenant lives: the defaults, or that of llm_runs that is given. Days pass between the run and the
// records of the expiry, which let go what is older than some days by their time.
//
//	0 opened  1 acknowledged  2 policy  3 step  4 run ends  5 the end expires  6 the step expires
func policyLog(tb testing.TB, policy string, pass, old int) *testLog {
	tb.Helper()
	return policyLogBut(tb, policy, pass, old, nil)
}

// policyLogBut is policyLog with other facts in the records of the expiry; nil: none.
func policyLogBut(tb testing.TB, policy string, pass, old int, but facts) *testLog {
	tb.Helper()
	l := newLog(tb, testOrigin)
	l.opened(nil)
	l.acknowledged()
	if policy == "" {
		l.policy(evidence.ClassLogExports, "400")
	} else {
		l.policy(evidence.ClassLLMRuns, policy)
	}
	l.runExpires(cmp.Or(policy, "90"), pass, old, but)
	return l
}

func (l *testLog) acknowledged() {
	l.tb.Helper()
	l.event("", "LIFECYCLE_ACKNOWLEDGED", facts{"component": "lifecycle"}, sealed{path: "/summary", value: `"how long evidence is kept"`})
}

func (l *testLog) policy(class, days string) {
	l.tb.Helper()
	l.audit("", "RetentionPolicyChanged", facts{"entity_type": "RETENTION", "entity_id": class, "limit_value": days, "limit_unit": "days"})
}

// runExpires adds a run, as leaves 3 and 4, and after some days the records of its expiry.
func (l *testLog) runExpires(limit string, pass, old int, but facts) {
	l.tb.Helper()
	l.step1("run-1", sealed{path: "/prompt", value: `"gone"`, reason: Expired})
	l.ended("run-1", nil, sealed{path: "/actor", value: "{}", reason: Expired})
	l.now += evidence.Micros(pass) * day
	for _, k := range []evidence.Kind{evidence.KindLLMRun, evidence.KindTraceStep} {
		all := facts{
			"entity_type": "RETENTION", "entity_id": k.Table(), "rule_id": evidence.ClassLLMRuns, "limit_value": limit, "limit_unit": "days",
			"valid_until": (l.now - evidence.Micros(old)*day).String(), "record_count": 1,
		}
		maps.Copy(all, but)
		maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
		l.audit("", "RetentionApplied", all, sealed{path: "/targets", value: `{"ranges":[{"from":3,"to":5}]}`})
	}
}

// lateLog has its policy of 30 days on record before the acknowledgement, and a run that has expired by it.
// The time is that of the run's first record.
//
//	0 opened  1 policy  2 acknowledged  3 step  4 run ends  5 the end expires  6 the step expires
func lateLog(tb testing.TB) (l *testLog, run evidence.Micros) {
	tb.Helper()
	l = newLog(tb, testOrigin)
	l.opened(nil)
	l.policy(evidence.ClassLLMRuns, "30")
	l.acknowledged()
	run = l.now
	l.runExpires("30", 31, 30, nil)
	return l, run
}

// movedLog goes on with what the lifecycle says of things that are no records.
func movedLog(tb testing.TB) *testLog {
	tb.Helper()
	l := policyLog(tb, "30", 31, 30)
	until := (l.now - 30*day).String()
	l.audit("", "RetentionApplied", facts{
		"entity_type": "RETENTION", "entity_id": "leaf_segments", "rule_id": "moved", "limit_value": "0", "limit_unit": "days", "valid_until": until, "record_count": 3,
	}, sealed{path: "/after_state", value: `{"archive":[]}`})
	l.audit("", "RetentionApplied", facts{
		"entity_type": "RETENTION", "entity_id": "data_keys", "rule_id": "retired", "valid_until": until, "record_count": 1,
	}, sealed{path: "/after_state", value: `{"days":["2026-11-23"],"persons":0}`})
	return l
}

func (l *testLog) predecessor() string {
	return FormatPredecessor(l.origin(), l.size(), l.root(l.size()))
}

// nextLog follows a log, and goes on with its run-0.
func nextLog(tb testing.TB, pre string) *testLog {
	tb.Helper()
	l := newLog(tb, testOrigin)
	l.opened(facts{"predecessor_log": pre})
	l.n["run-0"] = 1
	l.step1("run-0", sealed{path: "/prompt", value: `"went on after"`})
	l.ended("run-0", nil)
	return l
}
