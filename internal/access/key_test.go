package access

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

func TestNewKey(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		id, key, hash := newKey()
		gotID, secret, ok := splitKey(key.Reveal())
		if !ok || gotID != id || hashSecret(secret) != hash || seen[id] || seen[secret] {
			t.Fatalf("key with id %s is not what it should be", id)
		}
		seen[id], seen[secret] = true, true
		if !evidence.FitName(id) || KeyID(key.Reveal()) != id || KeyID(id) != id {
			t.Fatalf("id %s", id)
		}
	}
}

// TestHidden prints a key in every way there is.
func TestHidden(t *testing.T) {
	_, key, _ := newKey()
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "key", key, "list", []any{key})
	fmt.Fprintf(&b, "%v %+v %#v %s %q %v", key, key, key, key, key, struct{ C Credential }{key})
	if strings.Contains(b.String(), "rl_") {
		t.Errorf("a key shows in %s", b.String())
	}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestFromRequest(t *testing.T) {
	_, c1, _ := newKey()
	_, c2, _ := newKey()
	k1, k2 := c1.Reveal(), c2.Reveal()
	type header = [2]string
	const auth, api = "Authorization", "X-Api-Key"
	for _, tt := range []struct {
		name    string
		headers []header
		want    string
		why     reason
	}{
		{"none", nil, "", 0},
		{"bearer", []header{{auth, "Bearer " + k1}}, k1, 0},
		{"bearer in other case", []header{{auth, "bEARER  " + k1}}, k1, 0},
		{"api key", []header{{api, k1}}, k1, 0},
		{"password", []header{{auth, basic("public", k1)}}, k1, 0},
		{"user", []header{{auth, basic(k1, "")}}, k1, 0},
		{"user with a password", []header{{auth, basic(k1, "x")}}, k1, 0},
		{"password without a user", []header{{auth, basic("", k1)}}, k1, 0},
		{"user and password", []header{{auth, basic(k1, k1)}}, k1, 0},
		{"the same twice", []header{{auth, "Bearer " + k1}, {api, k1}}, k1, 0},
		{"two", []header{{auth, "Bearer " + k1}, {api, k2}}, "", reasonSeveral},
		{"two of one header", []header{{auth, "Bearer " + k1}, {auth, "Bearer " + k2}}, "", reasonSeveral},
		{"two in one", []header{{auth, basic(k1, k2)}}, "", reasonMalformed},
		{"good and bad", []header{{auth, "Bearer " + k1}, {api, "x"}}, "", reasonMalformed},
		{"empty", []header{{auth, ""}}, "", reasonMalformed},
		{"scheme only", []header{{auth, "Bearer"}}, "", reasonMalformed},
		{"key only", []header{{auth, k1}}, "", reasonMalformed},
		{"other scheme", []header{{auth, "Digest " + k1}}, "", reasonMalformed},
		{"tail", []header{{api, k1 + "a"}}, "", reasonMalformed},
		{"upper case", []header{{api, strings.ToUpper(k1)}}, "", reasonMalformed},
		{"no base64", []header{{auth, "Basic !"}}, "", reasonMalformed},
		{"base64 of anything", []header{{auth, basic("a", "b")}}, "", reasonMalformed},
		{"long", []header{{auth, "Basic " + strings.Repeat("QUJD", 2000)}}, "", reasonMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{}}
			md := map[string][]string{}
			for _, h := range tt.headers {
				r.Header.Add(h[0], h[1])
				md[strings.ToLower(h[0])] = append(md[strings.ToLower(h[0])], h[1])
			}
			for what, read := range map[string]func() (Credential, error){
				"request":  func() (Credential, error) { return FromRequest(r) },
				"metadata": func() (Credential, error) { return FromMetadata(func(k string) []string { return md[k] }) },
			} {
				got, err := read()
				var u *unauthenticated
				switch {
				case tt.why == 0 && err != nil, got.Reveal() != tt.want:
					t.Errorf("%s: %v", what, err)
				case tt.why != 0 && (!errors.As(err, &u) || u.why != tt.why || !errors.Is(err, ErrUnauthenticated)):
					t.Errorf("%s: %v, want reason %s", what, err, reasonNames[tt.why])
				}
			}
		})
	}
}

func FuzzFromRequest(f *testing.F) {
	_, k, _ := newKey()
	f.Add("Bearer "+k.Reveal(), "")
	f.Add(basic(k.Reveal(), k.Reveal()), k.Reveal())
	f.Add("Basic Og==", "rl_")
	f.Fuzz(func(t *testing.T, authorization, apiKey string) {
		got, err := FromMetadata(func(name string) []string {
			return map[string][]string{"authorization": {authorization}, "x-api-key": {apiKey}}[name]
		})
		if (err == nil) != (got != "") {
			t.Fatal("an empty credential, or one beside an error")
		}
		if err == nil {
			if id, secret, ok := splitKey(string(got)); !ok || "rl_"+id+"_"+secret != string(got) || string(got) != apiKey {
				t.Fatal("accepted what is no key")
			}
		} else if strings.Contains(err.Error(), "rl_") {
			t.Fatal("the error shows what was sent")
		}
	})
}

func TestParseExpiry(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 1500, time.UTC)
	for in, want := range map[string]string{
		"":                                  "1970-01-01T00:00:00.000000Z",
		"1h":                                "2026-11-24T13:00:00.000001Z",
		"90d":                               "2027-02-22T12:00:00.000001Z",
		"36500d":                            "2126-10-31T12:00:00.000001Z",
		"2027-01-31T00:00:00Z":              "2027-01-31T00:00:00.000000Z",
		"2027-01-31T00:00:00.0000019+02:00": "2027-01-30T22:00:00.000001Z",
	} {
		if got, err := ParseExpiry(in, now); err != nil || got.String() != want {
			t.Errorf("%q is %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{
		"0d", "-1d", "+1d", "1.5h", "d", "36501d", "99999999999d", "1w", "90", "tomorrow", "2027-01-31", "2020-01-01T00:00:00Z",
		"2026-11-24T12:00:00.000001Z", " 1d", "1d ",
	} {
		var f *evidence.FieldError
		if got, err := ParseExpiry(in, now); !errors.As(err, &f) || f.Field != "expires" || got != 0 {
			t.Errorf("%q is %s, %v", in, got, err)
		}
	}
}

func FuzzParseExpiry(f *testing.F) {
	for _, s := range []string{"", "90d", "12h", "2027-01-31T00:00:00Z"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseExpiry(s, now)
		if err == nil && s != "" && (got <= evidence.MicrosOf(now) || !got.InRange()) {
			t.Fatalf("%q expires at %s", s, got)
		}
	})
}

func TestRoles(t *testing.T) {
	for role, want := range map[string]string{
		RoleViewer: "logs.read", RoleOperator: "logs.read,logs.read_content,logs.export",
		RoleAuditor:  "logs.read,logs.read_content,logs.export,audit.read",
		RoleObserver: "logs.read,logs.read_content,logs.export,audit.read",
		RoleProducer: "ingest.write", RoleTenantAdmin: "logs.read,audit.read,tenant.admin",
		RolePlatformAdmin: "tenant.admin,platform.admin", "boss": "", "": "",
	} {
		if got := permissionsOf(role, nil).String(); got != want {
			t.Errorf("%q may %s, want %s", role, got, want)
		}
	}
	for want, scopes := range map[string][]string{
		"logs.read": {"logs.read", "ingest.write", "x"}, "": {"!["}, "logs.read,logs.export": {"logs.export", "logs.read"},
	} {
		if got := permissionsOf(RoleOperator, scopes).String(); got != want {
			t.Errorf("narrowed to %q: %s, want %s", scopes, got, want)
		}
	}
	if Set(0).Has(0) || Set(0xffff).Has(0) || Set(LogsRead).Has(LogsExport) || !Set(LogsRead|LogsExport).Has(LogsExport) {
		t.Error("Has")
	}
}

func TestRouteName(t *testing.T) {
	for in, want := range map[string]string{
		"GET /api/v1/logs/llm-runs/{run_id}/envelope": "GET /api/v1/logs/llm-runs/:run_id/envelope",
		"GET /files/{path...}":                        "GET /files/:path",
		"GET /{$}":                                    "GET /",
		"/opentelemetry.proto.collector.trace.v1.TraceService/Export": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
		"": "unknown", "GET /ü": "unknown", "GET /" + strings.Repeat("x", 200): "unknown",
	} {
		if got := RouteName(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
