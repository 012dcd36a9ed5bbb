package server_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store/storerig"
)

// TestGuardDropped: a trigger that is dropped while a server runs is seen without a
// restart, evidence is taken on, and the server is well again when it is back.
func TestGuardDropped(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	r := serve(t, dir, func(c *server.ServeConfig) { c.Watch.GuardsEvery = 200 * time.Millisecond })
	wait := func(what string, is bool) {
		t.Helper()
		var body string
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			status, text := get(t, r.url+"/readyz")
			var answer struct{ Reasons []string }
			if err := json.Unmarshal([]byte(text), &answer); err != nil || status != http.StatusOK {
				t.Fatalf("/readyz: %d %s", status, text)
			}
			if body = text; slices.Contains(answer.Reasons, "guards") == is {
				return
			}
		}
		t.Fatalf("%s: %s", what, body)
	}
	wait("at first", false)
	var mend []string
	err := storerig.Attack(dir, func(a *storerig.Attacker) error {
		rows, err := a.Rows(storerig.Pick(`SELECT sql FROM temp.guards WHERE tbl_name = ?1`,
			`SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = ?1::text::regclass AND NOT tgisinternal
				UNION ALL SELECT format('ALTER TABLE tiles ENABLE ALWAYS TRIGGER %I', tgname) FROM pg_trigger
				WHERE tgrelid = ?1::text::regclass AND NOT tgisinternal`), storerig.Table("tiles"))
		for _, row := range rows {
			mend = append(mend, row[0].(string))
		}
		if err != nil {
			return err
		}
		return a.DropTriggers("tiles")
	})
	if err != nil || len(mend) == 0 {
		t.Fatal(mend, err)
	}
	wait("a trigger is gone", true)
	if got := r.metric(t, `runledger_degraded{reason="guards"}`); got != "1" {
		t.Errorf("degraded is %q", got)
	}
	if got := r.metric(t, "runledger_guards_broken"); got == "0" {
		t.Error("the metric says that all guards are whole")
	}
	r.newKey(t, "acme") // which appends
	err = storerig.Attack(dir, func(a *storerig.Attacker) error {
		for _, sql := range mend {
			if err := a.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wait("it is mended", false)
	if got := r.metric(t, "runledger_guards_broken"); got != "0" {
		t.Errorf("%s guards are broken", got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	events := systemEvents(t, dir)
	for _, want := range []string{"ledger INTEGRITY_ANOMALY", "api HEALTH_CHECK"} {
		if !slices.Contains(events, want) {
			t.Errorf("no record %s: %q", want, events)
		}
	}
}
