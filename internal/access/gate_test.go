package access

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

var errDisk = errors.New("the disk is gone")

// faults is a store and a ledger that fail when told to.
type faults struct {
	store.Store
	*ledger.Ledger
	put     func(k store.APIKey) error // before PutAPIKey
	read    atomic.Pointer[func()]     // after the next APIKey
	append  func(tenant string) error  // before Append
	appends atomic.Int64
	reads   atomic.Int64
}

func (f *faults) PutAPIKey(ctx context.Context, k store.APIKey) error {
	if f.put != nil {
		if err := f.put(k); err != nil {
			return err
		}
	}
	return f.Store.PutAPIKey(ctx, k)
}

func (f *faults) APIKey(ctx context.Context, id string) (store.APIKey, error) {
	f.reads.Add(1)
	k, err := f.Store.APIKey(ctx, id)
	if wait := f.read.Swap(nil); wait != nil {
		(*wait)()
	}
	return k, err
}

func (f *faults) Append(ctx context.Context, tenant string, records []*evidence.Record, opts ledger.AppendOptions) ([]ledger.Receipt, error) {
	if f.append != nil {
		if err := f.append(tenant); err != nil {
			return nil, err
		}
	}
	f.appends.Add(1)
	return f.Ledger.Append(ctx, tenant, records, opts)
}

func (f *faults) FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]store.Position, error) {
	return f.Ledger.FindIDs(ctx, tenant, ids)
}

func (f *faults) Logs(ctx context.Context, tenant string) ([]ledger.LogInfo, error) {
	return f.Ledger.Logs(ctx, tenant)
}

// rig is a gate on a real store and ledger.
type rig struct {
	*Gate
	f   *faults
	now atomic.Int64 // microseconds
}

func newRig(t testing.TB, set ...func(*Config)) *rig {
	t.Helper()
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "data")
	db, err := storerig.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ctx, ledger.Config{Store: db, Sealer: seal.New(db, master), Anchor: anchor, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{f: &faults{Store: db, Ledger: l}}
	r.now.Store(int64(evidence.MicrosOf(time.Now())))
	t.Cleanup(func() {
		r.f.append = nil
		if err := errors.Join(r.Close(), l.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, tenant := range []string{"acme", "other"} {
		if _, err := l.CreateTenant(ctx, tenant); err != nil {
			t.Fatal(err)
		}
	}
	r.reopen(t, set...)
	return r
}

// reopen stands for another process: it knows only what is stored.
func (r *rig) reopen(t testing.TB, set ...func(*Config)) {
	t.Helper()
	cfg := Config{
		Store: r.f, Ledger: r.f, CacheTTL: time.Hour, Tick: time.Hour,
		Now: func() time.Time { return evidence.Micros(r.now.Load()).Time() },
	}
	for _, f := range set {
		f(&cfg)
	}
	if r.Gate != nil {
		close(r.Gate.stop) // dies: nothing is flushed
		r.stopOnce.Do(func() {})
	}
	g, err := New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Gate = g
}

var ada = Actor{Human, "cli:ada"}

func (r *rig) make(t testing.TB, tenant, role string, scopes ...string) MadeKey {
	t.Helper()
	made, err := r.Create(context.Background(), ada, NewKey{Tenant: tenant, Role: role, Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func request(key Credential, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://localhost:8080/x", nil)
	r.RemoteAddr, r.Pattern = "192.0.2.7:1234", "GET /x/{id}"
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key.Reveal())
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func (r *rig) try(key Credential, header ...string) (Principal, error) {
	return r.Authenticate(request(key, header...))
}

func (r *rig) wantWhy(t testing.TB, key Credential, want reason) {
	t.Helper()
	var u *unauthenticated
	if _, err := r.try(key); !errors.As(err, &u) || u.why != want {
		t.Errorf("%v, want %s", err, reasonNames[want])
	}
}

// event is a record of a log, opened.
type event struct {
	name   string
	leaf   *evidence.Leaf
	sealed map[string]string
}

// events returns the records of this package in a tenant's log.
func (r *rig) events(t testing.TB, tenant string) []event {
	t.Helper()
	var list []event
	head, _, err := r.f.PublishNow(context.Background(), tenant, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = r.f.Records(context.Background(), tenant, 1, 0, head.Size, func(lr ledger.LogRecord) error {
		leaf, err := evidence.ParseLeaf(lr.Raw)
		if err != nil {
			return err
		}
		e := event{name: leaf.Text("event_type"), leaf: leaf, sealed: map[string]string{}}
		for path, o := range lr.Open {
			e.sealed[path] = o.JSON
		}
		if e.name != "LOG_OPENED" {
			list = append(list, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (r *rig) names(t testing.TB, tenant string) string {
	t.Helper()
	var names []string
	for _, e := range r.events(t, tenant) {
		names = append(names, e.name)
		if of := e.leaf.Text("conflict_of"); of != "" {
			t.Errorf("%s contradicts %s", e.name, of)
		}
	}
	return strings.Join(names, " ")
}

func (r *rig) wantNames(t testing.TB, tenant, want string) {
	t.Helper()
	if got := r.names(t, tenant); got != want {
		t.Errorf("the log of %s holds %s\nwant %s", tenant, got, want)
	}
}

const (
	created = eventCreated + " " + eventChange
	revoked = eventRevoked + " " + eventChange
)

func TestLife(t *testing.T) {
	r := newRig(t)
	made := r.make(t, "acme", RoleOperator, "logs.read")
	want := Principal{Tenant: "acme", Credential: made.ID, Role: RoleOperator, Permissions: Set(LogsRead), ActorKind: System}
	for range 3 {
		for _, header := range [][]string{
			{"Authorization", "Bearer " + made.Secret.Reveal()},
			{"Authorization", basic("anyone", made.Secret.Reveal())},
			{"X-Api-Key", made.Secret.Reveal()},
			{"X-Api-Key", made.Secret.Reveal(), "X-Tenant-ID", "acme"},
		} {
			if got, err := r.try("", header...); err != nil || got != want {
				t.Fatalf("%+v, %v", got, err)
			}
		}
	}
	p, err := r.AuthenticateCall(t.Context(), func(k string) []string {
		return map[string][]string{"x-api-key": {made.Secret.Reveal()}}[k]
	}, "192.0.2.7:1", "/service/Export")
	if err != nil || p != want {
		t.Fatalf("call: %+v, %v", p, err)
	}
	r.wantNames(t, "acme", created+" "+eventUsed)
	key, err := r.Revoke(t.Context(), Actor{System, "k2"}, "acme", made.ID)
	if err != nil || key.Status != "revoked" {
		t.Fatal(key, err)
	}
	if again, err := r.Revoke(t.Context(), ada, AllTenants, made.ID); err != nil || *again.RevokedAt != *key.RevokedAt {
		t.Fatal(again, err)
	}
	r.wantWhy(t, made.Secret, reasonRevoked)
	r.wantNames(t, "acme", created+" "+eventUsed+" "+revoked)

	all := r.events(t, "acme")
	for i, want := range []string{
		`{"human_actor_id":"cli:ada"}`, `{"human_actor_id":"cli:ada"}`, `{}`, `{}`, `{}`,
	} {
		e := all[i]
		if got := e.sealed["/actor"]; got != want {
			t.Errorf("%s: actor %s, want %s", e.name, got, want)
		}
		raw, _ := e.leaf.Append(nil)
		for _, text := range append([]string{string(raw)}, values(e.sealed)...) {
			if _, secret, _ := splitKey(made.Secret.Reveal()); strings.Contains(text, secret) {
				t.Errorf("%s holds the secret", e.name)
			}
		}
		if e.leaf.Kind == evidence.KindAudit {
			roles, _ := e.leaf.Fact("roles")
			if e.leaf.Text("credential_id") != made.ID || e.leaf.Text("entity_type") != "IDENTITY" || !slices.Equal(roles.List, []string{RoleOperator}) ||
				!evidence.IsReplacement(e.leaf.Text("entity_id")) {
				t.Errorf("%s", raw)
			}
		} else if e.leaf.Text("component") != "auth" || e.leaf.Text("source_component") != "SystemRecordWriter" || e.leaf.Text("severity") != "INFO" {
			t.Errorf("%s", raw)
		}
	}
	if got := all[3].leaf.Text("system_id"); got != "k2" {
		t.Errorf("revoked by %s", got)
	}
	if got := all[2].sealed["/client"]; got != `{"address":"192.0.2.7:1234"}` {
		t.Errorf("first used from %s", got)
	}
	// Another process reads the same and adds nothing.
	r.reopen(t)
	r.wantWhy(t, made.Secret, reasonRevoked)
	r.wantNames(t, "acme", created+" "+eventUsed+" "+revoked)
}

func values(m map[string]string) (list []string) {
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

func TestPlatform(t *testing.T) {
	r := newRig(t)
	made := r.make(t, "", RolePlatformAdmin)
	p, err := r.try(made.Secret)
	if err != nil || !p.Platform || p.Tenant != "" || p.NeedTenant() == nil {
		t.Fatalf("%+v %v", p, err)
	}
	p, err = r.try(made.Secret, "X-Tenant-ID", "other")
	if err != nil || p.Tenant != "other" || p.NeedTenant() != nil {
		t.Fatalf("%+v %v", p, err)
	}
	for _, name := range []string{"nobody", "", "Acme", strings.Repeat("x", 99)} {
		if _, err := r.try(made.Secret, "X-Tenant-ID", name); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("tenant %q: %v", name, err)
		}
	}
	if _, err := r.try(made.Secret, "X-Tenant-ID", "acme", "X-Tenant-ID", "other"); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("two tenants: %v", err)
	}
	r.wantNames(t, evidence.SystemTenant, created+" "+eventUsed)
}

// TestTenants has a credential reach for what is another's.
func TestTenants(t *testing.T) {
	r := newRig(t)
	a, b := r.make(t, "acme", RoleTenantAdmin), r.make(t, "other", RoleTenantAdmin)
	for _, name := range []string{"other", "nobody", "", "system"} {
		if _, err := r.try(a.Secret, "X-Tenant-ID", name); !errors.Is(err, evidence.ErrForbidden) {
			t.Errorf("tenant %q: %v", name, err)
		}
	}
	for tenant, want := range map[string]int{"acme": 1, "other": 1, "": 0, AllTenants: 2} {
		if keys, err := r.List(t.Context(), tenant); err != nil || len(keys) != want {
			t.Errorf("list of %q: %d, %v", tenant, len(keys), err)
		}
	}
	for _, tenant := range []string{"acme", ""} {
		if _, err := r.Revoke(t.Context(), ada, tenant, b.ID); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("revoked for %q: %v", tenant, err)
		}
	}
	// The secret of one with the id of the other.
	_, secret, _ := splitKey(a.Secret.Reveal())
	r.wantWhy(t, Credential("rl_"+b.ID+"_"+secret), reasonWrong)
	r.wantNames(t, "other", created)
	denied := strings.Repeat(" "+eventDecision, 4)
	r.wantNames(t, "acme", created+" "+eventUsed+denied)
	e := r.events(t, "acme")[3]
	raw, _ := e.leaf.Append(nil)
	for _, want := range []string{`"decision":"DENIED"`, `"route":"GET /x/:id"`, `"credential_id":"` + a.ID + `"`, `"status_code":403`, `"entity_id":"tenant"`} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("%s lacks %s", raw, want)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	r := newRig(t)
	now := evidence.Micros(r.now.Load())
	for field, list := range map[string][]NewKey{
		"role":      {{Tenant: "acme"}, {Tenant: "acme", Role: "dev"}, {Tenant: "acme", Role: RolePlatformAdmin}, {Role: RoleTenantAdmin}, {Tenant: "acme", Role: RoleObserver}, {Role: RoleObserver}},
		"scopes":    {{Tenant: "acme", Role: RoleViewer, Scopes: []string{"logs.export"}}, {Tenant: "acme", Role: RoleViewer, Scopes: []string{""}}, {Tenant: "acme", Role: RoleViewer, Scopes: slices.Repeat([]string{"logs.read"}, 5000)}},
		"expires":   {{Tenant: "acme", Role: RoleAuditor}, {Tenant: "acme", Role: RoleAuditor, ExpiresAt: now + maxAuditor + 1}, {Tenant: "acme", Role: RoleViewer, ExpiresAt: now}, {Tenant: "acme", Role: RoleViewer, ExpiresAt: -1}},
		"name":      {{Tenant: "acme", Role: RoleViewer, Name: "a\nb"}, {Tenant: "acme", Role: RoleViewer, Name: "\xff"}, {Tenant: "acme", Role: RoleViewer, Name: strings.Repeat("x", 129)}, {Tenant: "acme", Role: RoleViewer, Name: "of rl_" + strings.Repeat("a", idSize) + "_" + strings.Repeat("b", secretSize)}},
		"tenant_id": {{Tenant: "system", Role: RoleViewer}, {Tenant: "*", Role: RoleViewer}},
	} {
		for _, n := range list {
			var f *evidence.FieldError
			if _, err := r.Create(t.Context(), ada, n); !errors.As(err, &f) || f.Field != field {
				t.Errorf("%+v: %v, want a complaint about %s", n, err, field)
			}
		}
	}
	if _, err := r.Create(t.Context(), ada, NewKey{Tenant: "nobody", Role: RoleViewer}); !errors.Is(err, evidence.ErrNotFound) {
		t.Error(err)
	}
	if keys, err := r.List(t.Context(), AllTenants); err != nil || len(keys) != 0 || r.names(t, "acme") != "" {
		t.Errorf("left behind: %v %v", keys, err)
	}
}

// TestExpiry goes over the very microsecond.
func TestExpiry(t *testing.T) {
	r := newRig(t)
	at := evidence.Micros(r.now.Load()) + 1_000_000
	made, err := r.Create(t.Context(), ada, NewKey{Tenant: "acme", Role: RoleAuditor, ExpiresAt: at})
	if err != nil {
		t.Fatal(err)
	}
	r.now.Store(int64(at) - 1)
	if _, err := r.try(made.Secret); err != nil {
		t.Errorf("a microsecond before: %v", err)
	}
	r.now.Store(int64(at))
	r.wantWhy(t, made.Secret, reasonExpired)
	if keys, _ := r.List(t.Context(), "acme"); keys[0].Status != "expired" {
		t.Errorf("status %s", keys[0].Status)
	}
	r.now.Store(int64(at) - 1)
	if _, err := r.try(made.Secret); err != nil {
		t.Errorf("once more before: %v", err)
	}
}

// TestAuditorExpiry has an auditor's key that was made before they had a limit.
func TestAuditorExpiry(t *testing.T) {
	r := newRig(t)
	now := evidence.Micros(r.now.Load())
	if _, err := r.Create(t.Context(), ada, NewKey{Tenant: "acme", Role: RoleAuditor, ExpiresAt: now + maxAuditor}); err != nil {
		t.Errorf("for 366 days: %v", err)
	}
	id, secret, hash := newKey()
	err := r.f.Store.PutAPIKey(t.Context(), store.APIKey{
		ID: id, Tenant: "acme", Role: RoleAuditor, Hash: hash, CreatedAt: now, CreatedBy: ada.String(), ExpiresAt: now + 9*maxAuditor,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.now.Store(int64(now+maxAuditor) - 1)
	if _, err := r.try(secret); err != nil {
		t.Errorf("a microsecond before: %v", err)
	}
	r.now.Store(int64(now + maxAuditor))
	r.wantWhy(t, secret, reasonExpired)
}

// TestRevokedAtOnce revokes while many authenticate: whoever begins after
// Revoke has returned is refused, also where another load is on its way.
func TestRevokedAtOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CacheTTL = 1 }) // every lookup loads
	for range 20 {
		made := r.make(t, "acme", RoleProducer)
		if _, err := r.try(made.Secret); err != nil {
			t.Fatal(err)
		}
		var over atomic.Bool
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 200 {
					after := over.Load()
					_, err := r.try(made.Secret)
					if after && err == nil {
						t.Error("let in after its revocation")
						return
					}
					if err != nil {
						return
					}
				}
			})
		}
		if _, err := r.Revoke(t.Context(), ada, "acme", made.ID); err != nil {
			t.Fatal(err)
		}
		over.Store(true)
		group.Wait()
		r.wantWhy(t, made.Secret, reasonRevoked)
	}
}

// TestRevokedWhileLoading revokes a key whose row has been read just before:
// nobody new may join that load, and what it read may not be remembered.
func TestRevokedWhileLoading(t *testing.T) {
	r := newRig(t)
	made := r.make(t, "acme", RoleProducer)
	if _, err := r.try(made.Secret); err != nil {
		t.Fatal(err)
	}
	r.reopen(t)
	reading, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	wait := func() {
		close(reading)
		<-goOn
	}
	r.f.read.Store(&wait)
	go func() {
		defer close(done)
		_, _ = r.try(made.Secret) // began before: either outcome is right
	}()
	<-reading
	if _, err := r.Revoke(t.Context(), ada, "acme", made.ID); err != nil {
		t.Error(err)
	}
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		r.wantWhy(t, made.Secret, reasonRevoked)
	}()
	select {
	case <-joined:
	case <-time.After(2 * time.Second):
		t.Error("a request waits for a load that began before the revocation")
	}
	r.forget(made.ID) // what the second load remembers would hide what the first does
	close(goOn)
	<-done
	<-joined
	r.wantWhy(t, made.Secret, reasonRevoked)
}

// TestFirstUseOnce lets many use a new key at the same time.
func TestFirstUseOnce(t *testing.T) {
	r := newRig(t)
	made := r.make(t, "acme", RoleProducer)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if _, err := r.try(made.Secret); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	r.wantNames(t, "acme", created+" "+eventUsed)
}

// TestOtherProcess revokes behind the back of a gate.
func TestOtherProcess(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CacheTTL = 50 * time.Millisecond })
	made := r.make(t, "acme", RoleProducer)
	if _, err := r.try(made.Secret); err != nil {
		t.Fatal(err)
	}
	k, err := r.f.APIKey(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	k.RevokedAt = 1
	if err := r.f.Store.PutAPIKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	time.Sleep(60 * time.Millisecond)
	r.wantWhy(t, made.Secret, reasonRevoked)
}

// TestCrash stops between row and record, and goes on in another process.
func TestCrash(t *testing.T) {
	dead := func(string) error { return fmt.Errorf("%w: died", evidence.ErrUnavailable) }
	for name, tt := range map[string]struct {
		run  func(t *testing.T, r *rig)
		want string
	}{
		"create": {func(t *testing.T, r *rig) {
			r.f.append = dead
			r.f.put = func(k store.APIKey) error { // it dies before it can discard
				if k.RevokedAt != 0 {
					return errDisk
				}
				return nil
			}
			_, err := r.Create(t.Context(), ada, NewKey{Tenant: "acme", Role: RoleViewer, Name: "n", Scopes: []string{"logs.read"}})
			if !errors.Is(err, evidence.ErrUnavailable) {
				t.Error(err)
			}
		}, created},
		"discarded": {func(t *testing.T, r *rig) {
			r.f.append = dead
			if _, err := r.Create(t.Context(), ada, NewKey{Tenant: "acme", Role: RoleViewer}); !errors.Is(err, evidence.ErrUnavailable) {
				t.Error(err)
			}
		}, created + " " + revoked},
		"first use": {func(t *testing.T, r *rig) {
			made := r.make(t, "acme", RoleViewer)
			r.f.append = dead
			for range 2 {
				if _, err := r.try(made.Secret); !errors.Is(err, evidence.ErrUnavailable) {
					t.Error(err)
				}
			}
		}, created + " " + eventUsed},
		"revoke": {func(t *testing.T, r *rig) {
			made := r.make(t, "acme", RoleViewer)
			r.f.append = dead
			if _, err := r.Revoke(t.Context(), ada, "acme", made.ID); !errors.Is(err, evidence.ErrUnavailable) {
				t.Error(err)
			}
			r.wantWhy(t, made.Secret, reasonRevoked)
		}, created + " " + revoked},
		"revoke, recorded but not marked": {func(t *testing.T, r *rig) {
			made := r.make(t, "acme", RoleViewer)
			r.f.put = func(k store.APIKey) error {
				if k.Recorded {
					return errDisk
				}
				return nil
			}
			if _, err := r.Revoke(t.Context(), ada, "acme", made.ID); !errors.Is(err, evidence.ErrUnavailable) {
				t.Error(err)
			}
		}, created + " " + revoked},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			tt.run(t, r)
			r.f.put, r.f.append = nil, nil
			r.now.Add(5_000_000)
			for range 2 {
				r.reopen(t)
				r.wantNames(t, "acme", tt.want)
			}
			for _, e := range r.events(t, "acme") {
				want := `{"human_actor_id":"cli:ada"}`
				if e.name == eventUsed || name == "discarded" && e.leaf.OccurredAt > 0 && strings.Contains(e.name, "REVOKED") {
					want = `{}`
				}
				if e.leaf.Kind == evidence.KindAudit && e.sealed["/actor"] != want {
					t.Errorf("%s by %s, want %s", e.name, e.sealed["/actor"], want)
				}
			}
			before := r.f.appends.Load()
			r.reopen(t)
			if n := r.f.appends.Load() - before; n != 0 {
				t.Errorf("%d more appends", n)
			}
		})
	}
}

// TestLater has a ledger that takes nothing at the start.
func TestLater(t *testing.T) {
	r := newRig(t)
	made := r.make(t, "acme", RoleViewer)
	r.f.append = func(string) error { return evidence.ErrUnavailable }
	if _, err := r.Revoke(t.Context(), ada, "acme", made.ID); !errors.Is(err, evidence.ErrUnavailable) {
		t.Fatal(err)
	}
	r.reopen(t)
	r.wantWhy(t, made.Secret, reasonRevoked)
	r.f.append = nil
	r.reopen(t, func(c *Config) { c.Tick = time.Millisecond }) // and in the background
	r.wantNames(t, "acme", created+" "+revoked)
}

// TestOneTable sees that errors of this package are answered as package problem
// has it.
func TestOneTable(t *testing.T) {
	for err, want := range map[error]int{
		refuse(reasonWrong): 401, fmt.Errorf("x: %w", ErrUnauthenticated): 401, notRecorded(evidence.ErrNotFound): 503,
		notRecorded(errDisk): 503, notRecorded(evidence.ErrTampered): 500, Principal{}.NeedTenant(): 422,
	} {
		if k := problem.Of(err); k.Status != want {
			t.Errorf("%v: %d, want %d", err, k.Status, want)
		}
	}
}

func TestFailClosed(t *testing.T) {
	r := newRig(t)
	made := r.make(t, "acme", RoleViewer)
	p, err := r.try(made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	r.f.append = func(string) error { return errDisk }
	for what, err := range map[string]error{
		"a denial":       r.Require(t.Context(), p, LogsExport, "GET /x"),
		"administration": r.Allow(t.Context(), p, LogsRead, "GET /x", "apikeys"),
	} {
		if !errors.Is(err, evidence.ErrUnavailable) || errors.Is(err, evidence.ErrForbidden) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := r.Require(t.Context(), p, LogsRead, "GET /x"); err != nil {
		t.Errorf("what is permitted: %v", err)
	}
	r.f.append = nil
	if err := r.Require(t.Context(), p, LogsExport, "GET /x"); !errors.Is(err, evidence.ErrForbidden) {
		t.Error(err)
	}
	r.wantNames(t, "acme", created+" "+eventUsed+" "+eventDecision)
}

// TestUnknown sees that what is no key of ours is compared like one, and never
// equal, and that a stranger's row cannot be matched by having no secret.
func TestUnknown(t *testing.T) {
	r := newRig(t)
	_, stranger, _ := newKey()
	r.wantWhy(t, stranger, reasonUnknown)
	_, secret, _ := splitKey(stranger.Reveal())
	r.nobody = hashSecret(secret) // even then
	r.wantWhy(t, stranger, reasonUnknown)
	made := r.make(t, "acme", RoleViewer)
	for i := range secretSize { // any character counts
		b := []byte(made.Secret.Reveal())
		at := len(b) - 1 - i
		if b[at]++; b[at] == 'z'+1 || b[at] == '8' {
			b[at] = 'a'
		}
		r.wantWhy(t, Credential(b), reasonWrong)
	}
	if _, err := r.try(made.Secret); err != nil {
		t.Error(err)
	}
	for _, why := range []reason{reasonUnknown, reasonWrong, reasonMalformed, reasonToken} {
		if got := refuse(why).Error(); got != ErrUnauthenticated.Error() {
			t.Errorf("%s tells %q", reasonNames[why], got)
		}
	}
}

func TestCacheBounds(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CacheSize = 10 })
	var keys []Credential
	for range 15 {
		keys = append(keys, r.make(t, "acme", RoleViewer).Secret)
	}
	for range 2 {
		for _, k := range keys {
			if _, err := r.try(k); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := len(r.cache.known)
	for range 50 {
		_, k, _ := newKey()
		r.wantWhy(t, k, reasonUnknown)
	}
	if known, unknown := len(r.cache.known), len(r.cache.unknown); known != before || known > 10 || unknown > 10 {
		t.Errorf("%d known and %d unknown ids are remembered", known, unknown)
	}
	// In memory, the database is not asked.
	reads := r.f.reads.Load()
	for id := range r.cache.known {
		if e, err := r.lookup(t.Context(), id); err != nil || e.key.ID != id {
			t.Error(err)
		}
	}
	if n := r.f.reads.Load() - reads; n != 0 {
		t.Errorf("%d reads", n)
	}
}

func TestHotPath(t *testing.T) {
	r := newRig(t)
	req := request(r.make(t, "acme", RoleProducer).Secret)
	if _, err := r.Authenticate(req); err != nil {
		t.Fatal(err)
	}
	reads, appends := r.f.reads.Load(), r.f.appends.Load()
	n := testing.AllocsPerRun(1000, func() {
		p, err := r.Authenticate(req)
		if err == nil {
			err = r.Require(req.Context(), p, IngestWrite, req.Pattern)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if n > 0 || r.f.reads.Load() != reads || r.f.appends.Load() != appends {
		t.Errorf("%v allocations, %d reads, %d appends", n, r.f.reads.Load()-reads, r.f.appends.Load()-appends)
	}
}

func TestDev(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Dev = true })
	_, bad, _ := newKey()
	for _, tt := range []struct {
		name, remote, host string
		key                Credential
		header             []string
		want               bool
	}{
		{"local", "127.0.0.1:5", "localhost:8080", "", nil, true},
		{"local, IPv6", "[::1]:5", "[::1]:8080", "", nil, true},
		{"mapped", "[::ffff:127.0.0.1]:5", "127.0.0.1", "", nil, true},
		{"own page", "127.0.0.1:5", "localhost:8080", "", []string{"Origin", "http://localhost:3000"}, true},
		{"elsewhere", "192.0.2.7:5", "localhost:8080", "", nil, false},
		{"no address", "", "localhost:8080", "", nil, false},
		{"through a proxy", "127.0.0.1:5", "localhost:8080", "", []string{"X-Forwarded-For", "127.0.0.1"}, false},
		{"another name", "127.0.0.1:5", "rebound.example:8080", "", nil, false},
		{"page of another site", "127.0.0.1:5", "localhost:8080", "", []string{"Origin", "https://site.example"}, false},
		{"page without an origin", "127.0.0.1:5", "localhost:8080", "", []string{"Origin", "null"}, false},
		{"bad key", "127.0.0.1:5", "localhost:8080", bad, nil, false},
	} {
		req := request(tt.key, tt.header...)
		req.RemoteAddr, req.Host = tt.remote, tt.host
		p, err := r.Authenticate(req)
		if (err == nil) != tt.want || !tt.want && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.want && (p.Tenant != DevTenant || p.Credential != "dev" || p.Permissions != devPermissions || p.Platform) {
			t.Errorf("%s: %+v", tt.name, p)
		}
	}
	if _, err := r.f.Logs(t.Context(), DevTenant); err != nil {
		t.Error(err)
	}
	r.reopen(t) // without Dev
	req := request("")
	req.RemoteAddr = "127.0.0.1:5"
	if _, err := r.Authenticate(req); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("without Dev: %v", err)
	}
}

// TestDenied counts requests from more sources than there is room for.
func TestDenied(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxSources = 3 })
	start := evidence.Micros(r.now.Load()) / minute * minute
	r.now.Store(int64(start))
	hit := func(remote string, n int) {
		for range n {
			req := request("")
			req.RemoteAddr = remote
			if _, err := r.Authenticate(req); !errors.Is(err, ErrUnauthenticated) {
				t.Fatal(err)
			}
			r.now.Add(1)
		}
	}
	hit("192.0.2.1:1", 2)
	hit("192.0.2.1:2", 1)
	hit("[2001:db8::1]:1", 1)
	hit("[2001:db8::ffff]:1", 1)
	hit("@", 1)
	for i := range 200 {
		hit(fmt.Sprintf("198.51.100.%d:1", i), 1)
	}
	if err := r.flush(t.Context(), false); err != nil || r.names(t, "system") != "" {
		t.Fatalf("recorded before the minute is over: %v", err)
	}
	r.now.Store(int64(start + minute))
	r.f.append = func(string) error { return errDisk }
	hit("192.0.2.9:1", 1) // the next minute
	for range 3 {
		if err := r.flush(t.Context(), true); err == nil {
			t.Fatal("flushed to a disk that is gone")
		}
	}
	for i := range 500 { // which lasts
		hit(fmt.Sprintf("203.0.113.%d:1", i%250), 1)
		r.now.Add(int64(minute))
	}
	if n := len(r.denied.current.sources) + len(r.denied.due.sources); n > 6 {
		t.Errorf("%d sources are kept", n)
	}
	r.f.append = nil
	if err := r.flush(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	var got []string
	total := 0
	for _, e := range r.events(t, evidence.SystemTenant) {
		var d struct {
			Source      string
			Count       int
			First, Last evidence.Micros
			Reasons     map[string]int
		}
		if err := json.Unmarshal([]byte(e.sealed["/details"]), &d); err != nil {
			t.Fatal(err)
		}
		if e.name != eventDenied || e.leaf.Text("severity") != "WARN" || e.leaf.Text("component") != "auth" ||
			d.Reasons["missing"] != d.Count || d.First != e.leaf.OccurredAt || d.Last < d.First {
			t.Errorf("%s %+v", e.name, d)
		}
		got = append(got, fmt.Sprint(d.Source, " ", d.Count))
		total += d.Count
	}
	want := "192.0.2.1 3, 2001:db8::/64 2, unknown 1, others 200, 192.0.2.9 1, 203.0.113.0 2, 203.0.113.1 2, others 496"
	if list := strings.Join(got, ", "); list != want || total != 707 {
		t.Errorf("%d in all: %s\nwant %s", total, list, want)
	}
	if r.denied.due != nil || !r.denied.current.empty() {
		t.Error("something is left")
	}
}

// TestDeniedOnce repeats a flush whose outcome was not known.
func TestDeniedOnce(t *testing.T) {
	r := newRig(t)
	r.wantWhy(t, "", reasonMissing)
	w := r.denied.take(r.Gate.now(), true)
	if err := r.append(t.Context(), evidence.SystemTenant, w.records()...); err != nil {
		t.Fatal(err)
	}
	if err := r.flush(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.wantNames(t, evidence.SystemTenant, eventDenied)
	r.wantWhy(t, "", reasonMissing)
	if err := r.Close(); err != nil { // flushes
		t.Fatal(err)
	}
	r.wantNames(t, evidence.SystemTenant, eventDenied+" "+eventDenied)
}
