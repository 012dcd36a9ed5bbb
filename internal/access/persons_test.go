package access

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// TestPersonsInQueries: who looks for a person names them in the record of the look as the one it is about, so that an
// erasure of the person reaches it; and who looks for somebody erased, or unknown, does not name them at all.
func TestPersonsInQueries(t *testing.T) {
	t.Parallel()
	g := newGuardRig(t)
	key := g.make(t, "acme", "tenant_admin").Secret
	records, err := evidence.ParseNDJSON([]byte(
		`{"kind":"audit","id":"00000000-0000-4000-8001-000000000001","occurred_at":"2026-11-23T16:00:00Z","event_type":"PolicyChecked","entity_type":"POLICY_RULE","entity_id":"e",` +
			`"actor_type":"HUMAN","human_actor_id":"ada b@example.com","source_domain":"POLICY","source_component":"W"}` + "\n" +
			`{"kind":"audit","id":"00000000-0000-4000-8001-000000000002","occurred_at":"2026-11-23T16:00:00Z","event_type":"PolicyChecked","entity_type":"POLICY_RULE","entity_id":"e",` +
			`"actor_type":"HUMAN","human_actor_id":"bob","source_domain":"POLICY","source_component":"W"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.f.Append(t.Context(), "acme", records, ledger.AppendOptions{Producer: "test"}); err != nil {
		t.Fatal(err)
	}
	look := func(query string) (kept, subject string) {
		t.Helper()
		if w := g.ask("GET", "/api/v1/logs/audit?"+query, key); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		all := g.events(t, "acme")
		e := all[len(all)-1]
		if e.name != eventView {
			t.Fatalf("%s", e.name)
		}
		var asked struct{ Query string }
		if err := json.Unmarshal([]byte(e.sealed["/query"]), &asked); err != nil {
			t.Fatal(err)
		}
		return asked.Query, e.sealed["/subject"]
	}
	const ada = "actor_id=ada+b%40example.com"
	_, stands, err := g.f.KnownPerson(t.Context(), "acme", "ada b@example.com")
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][2]string{ // what is kept of the query, and whom it is about
		"limit=5":                   {"limit=5", ""},
		"limit=5&" + ada:            {"limit=5&" + ada, `"ada b@example.com"`},
		ada + "&" + ada:             {ada + "&" + ada, `"ada b@example.com"`},
		"human_actor_id=bob&" + ada: {"human_actor_id=bob&actor_id=" + stands, `"bob"`},
		"entity_type=LIMIT&entity_id=rule-1&%zz=1&actor_id=": {"entity_type=LIMIT&entity_id=rule-1&%zz=1&actor_id=", ""},
		"entity_id=hold-0123456789ab":                        {"entity_id=hold-0123456789ab", ""},
		"agent_id=bot&run_id=run-1":                          {"agent_id=bot&run_id=run-1", ""},
		"entity_id=ada+b@example.com":                        {"entity_id=ada+b@example.com", `"ada b@example.com"`},
	} {
		if kept, subject := look(query); kept != want[0] || subject != want[1] {
			t.Errorf("%s: %s about %s", query, kept, subject)
		}
	}
	for _, of := range []string{"actor_id", "human_actor_id", "entity_id", "entity_type=IDENTITY&entity_id", "agent_id"} {
		name := "nobody"
		if of == "agent_id" {
			name = "nobody, born 1990"
		}
		if kept, subject := look(of + "=" + url.QueryEscape(name)); strings.Contains(kept, "nobody") || !strings.HasPrefix(kept, of+"=h:") || subject != "" {
			t.Errorf("of nobody: %s about %s", kept, subject)
		}
	}
	if _, err := g.f.Erase(t.Context(), "acme", ledger.Erasure{Person: "ada b@example.com", Reason: "asked"}); err != nil {
		t.Fatal(err)
	}
	if kept, subject := look(ada); strings.Contains(kept, "ada+b") || !strings.Contains(kept, "actor_id="+stands) || subject != "" {
		t.Errorf("of one who was erased: %s about %s", kept, subject)
	}
	for _, e := range g.events(t, "acme") {
		for path, text := range e.sealed {
			if strings.Contains(text, "ada b") || strings.Contains(text, "ada+b") {
				t.Errorf("leaf %d, %s: %s", e.leaf.Seq, path, text)
			}
		}
	}
}

// TestPseudonymsWrapped: the database alone does not tell whose a pseudonym is, and what an earlier version kept in the
// open is wrapped.
func TestPseudonymsWrapped(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	ctx := t.Context()
	secret, err := pseudonyms(ctx, g.f, g.f)
	if err != nil || len(secret) != 32 {
		t.Fatal(secret, err)
	}
	for _, before := range []string{"", hex.EncodeToString(secret)} {
		if before != "" {
			if err := g.f.SetSetting(ctx, settingPseudonyms, before); err != nil {
				t.Fatal(err)
			}
		}
		again, err := pseudonyms(ctx, g.f, g.f)
		if err != nil || string(again) != string(secret) {
			t.Errorf("%x, %v; want %x", again, err, secret)
		}
		value, err := g.f.Setting(ctx, settingPseudonyms)
		if err != nil || !strings.HasPrefix(value, wrappedSecret) || strings.Contains(value, before) && before != "" {
			t.Errorf("%q is kept, %v", value, err)
		}
	}
	if err := g.f.SetSetting(ctx, settingPseudonyms, wrappedSecret+"AAAA"); err != nil {
		t.Fatal(err)
	}
	if _, err := pseudonyms(ctx, g.f, g.f); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("what does not open: %v", err)
	}
}
