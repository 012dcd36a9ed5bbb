package ledger_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// secrets are what the records below hold sealed. Each is distinctive, long
// enough that chance does not make it, and stands alone in its field.
var secrets = map[string]string{
	"prompt":           "Prompt-secret-Qx7Zp2",
	"response":         "Response-secret-Lw9Rt4",
	"params":           "Params-secret-Bn5Kd8",
	"attr key":         "Attr-key-secret-Vc3Hs6",
	"attr value":       "Attr-value-secret-Jm1Gf0",
	"actor":            "Actor-secret-Ty6Ue2",
	"subject":          "Subject-secret-Ia4Po7",
	"unfit name":       "Ünfit-name-secret-Xz8Cv5★",
	"unfit in array":   "Ünfit-flag-secret-Nq2Wm9★",
	"identity":         "Identity-secret-Er5Ty1",
	"summary":          "Summary-secret-Da7Sg3",
	"details":          "Details-secret-Hk6Lj8",
	"status message":   "Status-secret-Zu2Ib5",
	"body":             "Body-secret-Om9Nv4",
	"plan":             "Plan-secret-Fg3Xc6",
	"root hash":        "Roothash-secret-Rp8Qa2",
	"input hash":       "Inputhash-secret-Kd1Yw7",
	"before state":     "Before-secret-Us4Ve9",
	"erasure reason":   "Reason-secret-Wb6Tn3",
	"erasure operator": "Operator-secret-Ch5Mz0",
	"refused":          "Refused-secret-Gi7Jx4",
	"contradiction":    "Contradiction-secret-Ol2Ps8",
}

// forms returns how a secret could stand in a file.
func forms(s string) map[string][]byte {
	out := map[string][]byte{"plain": []byte(s), "hex": []byte(hex.EncodeToString([]byte(s))), "HEX": []byte(strings.ToUpper(hex.EncodeToString([]byte(s))))}
	for shift := range 3 { // base64 of a longer text that has it somewhere
		padded := append(bytes.Repeat([]byte{0}, shift), s...)
		padded = padded[:len(padded)/3*3]
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := enc.EncodeToString(padded)
			out[fmt.Sprintf("%s+%d", name, shift)] = []byte(text[4 : len(text)-4])
		}
	}
	units := utf16.Encode([]rune(s))
	out["utf-16le"], out["utf-16be"] = nil, nil
	escaped := ""
	for _, u := range units {
		out["utf-16le"] = binary.LittleEndian.AppendUint16(out["utf-16le"], u)
		out["utf-16be"] = binary.BigEndian.AppendUint16(out["utf-16be"], u)
		if u < 0x80 {
			escaped += string(rune(u))
		} else {
			escaped += fmt.Sprintf(`\u%04x`, u)
		}
	}
	out["JSON"] = []byte(escaped)
	quoted := bytes.Trim(evidence.QuoteJSON(s), `"`)
	out["JSON twice"] = bytes.Trim(evidence.QuoteJSON(string(quoted)), `"`)
	// Part of it is enough.
	half := []byte(s)[len(s)/3:]
	out["half"] = half
	return out
}

// trail is what a server leaves behind.
type trail struct {
	dir string
	mu  sync.Mutex
	log bytes.Buffer
	reg *prometheus.Registry
}

func (l *trail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(b)
}

// all returns every byte: files of the data and anchor directories, what a database
// elsewhere holds in rows, the log, the metrics. What PostgreSQL keeps of rows that
// were deleted is its operator's to remove (see postgres.DB.Scrub).
func (l *trail) all(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, dir := range []string{l.dir, l.dir + ".anchor"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			out["file "+path] = b
			out["name "+path] = []byte(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rows, err := storerig.Dump(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for table, b := range rows {
		out["table "+table] = b
	}
	l.mu.Lock()
	out["log"] = bytes.Clone(l.log.Bytes())
	l.mu.Unlock()
	families, err := l.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		b.WriteString(f.String())
	}
	out["metrics"] = b.Bytes()
	if b.Len() == 0 {
		t.Error("no metrics")
	}
	return out
}

func (l *trail) search(t testing.TB, when string) {
	t.Helper()
	for where, b := range l.all(t) {
		for name, s := range secrets {
			for form, text := range forms(s) {
				if bytes.Contains(b, text) {
					t.Errorf("%s: the %s stands in %s as %s", when, name, where, form)
				}
			}
		}
	}
}

// TestSecrecy: nothing sealed is found by searching every byte that a server
// writes, before and after erasure.
func TestSecrecy(t *testing.T) {
	t.Parallel()
	l := &trail{dir: filepath.Join(t.TempDir(), "data"), reg: prometheus.NewRegistry()}
	open := func() *rig {
		l.reg = prometheus.NewRegistry()
		return openRig(t, l.dir, func(c *ledger.Config) {
			c.Metrics = l.reg
			c.Logger = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
	}
	r := open()
	r.tenant(t, "acme")
	for form, text := range forms(secrets["unfit name"]) { // a test that cannot fail is none
		probe := append(append([]byte("xx"), text...), "yy"...)
		if !bytes.Contains(probe, text) || len(text) < 8 {
			t.Fatalf("form %s: %q", form, text)
		}
	}
	q := func(name string) string { return string(evidence.QuoteJSON(secrets[name])) }
	full := fmt.Sprintf(`,"prompt":%s,"response":[%s],"params":{"k":%s},"attrs":[[%s,"string",%s]],"human_actor_id":%s,"subject":%s,"outcome_code":%s,"flags":["fit",%s],"status_message":%s,"input_hash":%s`,
		q("prompt"), q("response"), q("params"), q("attr key"), q("attr value"), q("actor"), q("subject"), q("unfit name"), q("unfit in array"), q("status message"), q("input hash"))
	ordinary := fmt.Sprintf(`,"prompt":%s,"params":{"k":%s}`, q("prompt"), q("params"))
	var steps []ledger.Receipt
	for i := range 8 {
		steps = append(steps, r.append(t, "acme", step(1, i+1, full), step(2, i+1, ordinary))...)
	}
	id := func(text string) string { return fixedID(text).String() }
	r.append(t, "acme",
		fmt.Sprintf(`{"kind":"audit","id":"%s","occurred_at":"2026-11-23T15:00:00Z","event_type":"MemberAdded","entity_type":"IDENTITY","entity_id":%s,"actor_type":"HUMAN","human_actor_id":%s,"before_state":%s,"source_domain":"LOGS","source_component":"AuditLedgerWriter"}`,
			id("a"), q("identity"), q("actor"), q("before state")),
		fmt.Sprintf(`{"kind":"system","id":"%s","occurred_at":"2026-11-23T15:00:00Z","component":"c","event_type":"DEPLOYED","severity":"INFO","summary":%s,"details":{"x":%s},"source_domain":"SYSTEM","source_component":"W"}`, id("b"), q("summary"), q("details")),
		fmt.Sprintf(`{"kind":"trace_event","id":"%s","occurred_at":"2026-11-23T15:00:00Z","event_name":"e","run_id":"r","body":%s,"source_domain":"ACTIVITY","source_component":"W"}`, id("c"), q("body")),
		fmt.Sprintf(`{"kind":"trace","occurred_at":"2026-11-23T15:00:00Z","run_id":"r","trace_id":"%032x","plan":%s,"root_hash":%s,"source_domain":"ACTIVITY","source_component":"W"}`, 77, q("plan"), q("root hash")),
	)
	// What goes wrong must tell nothing either: a contradiction, a taken id,
	// a duplicate.
	r.append(t, "acme", step(2, 1, fmt.Sprintf(`,"prompt":%s`, q("contradiction"))))
	r.append(t, "acme", step(2, 2, ordinary))
	taken := native(t, fmt.Sprintf(`{"kind":"system","id":"%s","occurred_at":"2026-11-23T15:00:00Z","component":"c","event_type":"DEPLOYED","severity":"INFO","summary":%s,"source_domain":"SYSTEM","source_component":"W"}`, id("b"), q("refused")))
	if _, err := r.Append(context.Background(), "acme", taken, ledger.AppendOptions{Producer: "k"}); !errors.Is(err, evidence.ErrConflict) || strings.Contains(err.Error(), secrets["refused"]) {
		t.Fatal(err)
	}
	l.search(t, "server running")
	public := false
	for _, b := range l.all(t) { // the search sees what is not sealed
		public = public || bytes.Contains(b, forms("execute_tool get_weather")["plain"])
	}
	if !public {
		t.Fatal("the search does not see a public name")
	}
	for i := range 3 { // leaves are compressed on disk
		err := r.Leaves(context.Background(), "acme", 1, 0, r.Integrity("acme").TreeSize, func(seq int64, leaf []byte) error {
			for name, s := range secrets {
				if bytes.Contains(leaf, []byte(s)[:8+i]) {
					t.Errorf("the %s stands in leaf %d: %s", name, seq, leaf)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	// What there is of the erased scopes now must be nowhere afterwards.
	type part struct{ name, hex string }
	var doomed []part
	(&deployment{dir: l.dir}).tamper(t, func(e *evil) {
		note := func(name, sql string, args ...any) {
			rows := e.rows(sql, args...)
			for _, row := range rows {
				doomed = append(doomed, part{name, string(row[0].([]byte))})
			}
			if len(rows) == 0 {
				t.Fatalf("no %s", name)
			}
		}
		const persons = `(SELECT id FROM data_keys WHERE scope = 'person')`
		note("wrapped key of a person", `SELECT wrapped FROM data_keys WHERE scope = 'person'`)
		note("content under a person's key", `SELECT data FROM sealed_segments WHERE key_id IN `+persons)
		note("content under the day's key", `SELECT data FROM sealed_segments WHERE row = ?1`, storerig.Log{Tenant: "acme", No: 1}.Row(steps[1].LeafIndex<<4))
		note("index MAC", `SELECT mac FROM sealed_index WHERE `+storerig.Pick(`name_no IN (SELECT name_no FROM names WHERE text`, `(name`)+` IN ('subject', 'outcome_code', 'flags'))`)
	})
	present := func() (n int) {
		for _, b := range l.all(t) {
			for _, p := range doomed {
				// A long blob lies over several pages: its pieces must be gone too.
				for piece := []byte(p.hex); len(piece) >= 16; piece = piece[min(len(piece), 64):] {
					if bytes.Contains(b, piece[:16]) {
						n++
					}
				}
			}
		}
		return n
	}
	if present() < len(doomed) {
		t.Fatal("the search does not find what is there")
	}
	for _, who := range []string{"subject", "actor"} {
		r.erase(t, "acme", ledger.Erasure{Person: secrets[who], Reason: secrets["erasure reason"], By: secrets["erasure operator"]})
	}
	r.erase(t, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: steps[1].LeafIndex}}}})
	r.opens(t, "acme", 1, steps[0].LeafIndex)
	r.opens(t, "acme", 1, steps[1].LeafIndex)
	gone := func(when string) {
		t.Helper()
		for where, b := range l.all(t) {
			for _, p := range doomed {
				for piece, at := []byte(p.hex), 0; len(piece) >= 16; piece, at = piece[min(len(piece), 64):], at+64 {
					if bytes.Contains(b, piece[:16]) {
						t.Errorf("%s: %s still stands in %s (from byte %d of it)", when, p.name, where, at)
						break
					}
				}
			}
		}
	}
	gone("server running, after erasure")
	l.search(t, "server running, after erasure")
	r.sound(t)
	r.close()
	gone("server closed")
	l.search(t, "server closed")
	r = open()
	r.append(t, "acme", step(3, 1, ordinary))
	gone("server opened again")
	l.search(t, "server opened again")
}
