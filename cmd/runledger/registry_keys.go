package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/registry"
)

// keyMaker is a way to make what scenarios need.
type keyMaker interface {
	// createTenant wraps evidence.ErrConflict where it is there already.
	createTenant(ctx context.Context, tenant string) error
	createKey(ctx context.Context, tenant, role, name string) (registry.Key, error)
	revokeKey(ctx context.Context, tenant, id string) error
}

// makeKeys makes the tenant, if there is none, and keys that are revoked at the end.
func (t *target) makeKeys(ctx context.Context, by keyMaker) error {
	const tenant = evidence.SyntheticTenant
	if err := by.createTenant(ctx, tenant); err != nil && !errors.Is(err, evidence.ErrConflict) {
		return fmt.Errorf("tenant %s: %w", tenant, err)
	}
	for _, k := range []struct {
		to   *registry.Key
		role string
	}{{&t.producer, access.RoleProducer}, {&t.observer, access.RoleObserver}} {
		key, err := by.createKey(ctx, tenant, k.role, "registry observe")
		if err != nil {
			return fmt.Errorf("key of role %s in tenant %s: %w", k.role, tenant, err)
		}
		*k.to = key
		t.undo = append(t.undo, func(ctx context.Context) error {
			if err := by.revokeKey(ctx, tenant, key.ID); err != nil {
				return fmt.Errorf("key %s counts until it expires: revoke it: %w", key.ID, err)
			}
			return nil
		})
	}
	return nil
}

// controlAPI makes keys over the control socket.
type controlAPI struct{ *control.Client }

func (a *controlAPI) createTenant(ctx context.Context, tenant string) error {
	_, err := a.CreateTenant(ctx, tenant)
	return err
}

func (a *controlAPI) createKey(ctx context.Context, tenant, role, name string) (registry.Key, error) {
	made, err := a.CreateAPIKey(ctx, control.NewAPIKey{TenantID: tenant, Role: role, Name: name, Expires: keyLife})
	return registry.Key{ID: made.ID, Secret: made.Secret.Reveal()}, err
}

func (a *controlAPI) revokeKey(ctx context.Context, _, id string) error {
	_, err := a.RevokeAPIKey(ctx, id)
	return err
}

// adminAPI makes keys over HTTP, with a key of the platform.
type adminAPI struct {
	*target
	key string
}

func (a *adminAPI) do(ctx context.Context, method, path, tenant string, in, out any) error {
	header := http.Header{"X-Api-Key": {a.key}}
	if tenant != "" {
		header.Set("X-Tenant-Id", tenant)
	}
	return a.call(ctx, method, path, header, in, out)
}

func (a *adminAPI) createTenant(ctx context.Context, tenant string) error {
	return a.do(ctx, http.MethodPost, "/api/v1/tenants", "", access.TenantRequest{TenantID: tenant}, nil)
}

func (a *adminAPI) createKey(ctx context.Context, tenant, role, name string) (registry.Key, error) {
	var made struct {
		ID  string `json:"id"`
		Key string `json:"key"`
	}
	err := a.do(ctx, http.MethodPost, "/api/v1/apikeys", tenant, access.KeyRequest{Role: role, Name: name, Expires: keyLife}, &made)
	return registry.Key{ID: made.ID, Secret: made.Key}, err
}

func (a *adminAPI) revokeKey(ctx context.Context, tenant, id string) error {
	return a.do(ctx, http.MethodDelete, "/api/v1/apikeys/"+url.PathEscape(id), tenant, nil, nil)
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// call asks the server once; in and out are JSON, and may be nil. An error of the
// server is a *control.Problem, so that it wraps the sentinel of its code.
func (t *target) call(ctx context.Context, method, path string, header http.Header, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.url+path, body)
	if err != nil {
		return err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := t.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // it repeats the address
			err = u.Err
		}
		return err
	}
	defer resp.Body.Close()
	answer := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= http.StatusMultipleChoices {
		p := &control.Problem{}
		if err := answer.Decode(p); err != nil || p.Code == "" {
			return fmt.Errorf("%s %s: status %d", method, path, resp.StatusCode)
		}
		return p
	}
	if out == nil {
		return nil
	}
	return answer.Decode(out)
}
