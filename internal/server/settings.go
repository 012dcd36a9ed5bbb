package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/store"
)

// Operational settings of the server in the store. Where there are several processes,
// each has both under its name too (Deployment.own).
const (
	settingConfig = "server_config" // what a server was last started with
	settingUp     = "server_up"     // "1" from its start to its stop in order
)

// settingRules is the digest of the rules of access, those of the program itself
// included.
const settingRules = "rbac_rules"

// settings is the configuration as records show it: names and values, no
// secrets.
type settings map[string]string

func (c *ServeConfig) settings() settings {
	all := settings{
		"listen": c.Listen, "otlp_http": c.OTLPHTTP, "otlp_grpc": c.OTLPGRPC, "otlp_prefixes": fmt.Sprint(c.Prefixes),
		"otlp_max_body": fmt.Sprint(c.MaxBody), "otlp_max_in_flight": fmt.Sprint(c.MaxInFlight),
		"tls": fmt.Sprint(c.TLSCert != ""), "dev": fmt.Sprint(c.Dev), "accept_rollback": fmt.Sprint(c.AcceptRollback),
		"run_root_quiet": c.RootQuiet.String(), "run_quiet": c.Quiet.String(), "run_idle": c.Idle.String(),
		"prices": cmp.Or(c.PricesDigest, "built-in"), "dialects": cmp.Or(c.DialectsDigest, "built-in"),
		"run_near_threshold": fmt.Sprint(c.NearThreshold),
		settingRules:         cmp.Or(c.RulesDigest, access.DefaultRules().Digest), "environment": cmp.Or(c.Environment, access.Production),
		"oidc": cmp.Or(c.OIDCDigest, "none"), "metrics": c.MetricsAddress, "streams": c.streamsDigest(),
		"witnesses": cmp.Or(c.WitnessesDigest, "none"), "timestamps": c.Stamps.String(),
		"disk_reserve": fmt.Sprint(c.DiskReserve), "grace": c.Grace.String(),
		"scrub_rate": fmt.Sprint(c.Watch.ScrubRate), "scrub_every": c.Watch.ScrubEvery.String(),
		"self_observe": c.SelfObserve.String(),
	}
	c.addLifecycle(all)
	if c.Store != "" {
		all["store"], all["anchor"] = DescribeStore(c.Store), c.Anchor
		all["store_readers"], all["store_writers"] = fmt.Sprint(c.Pool.Readers), fmt.Sprint(c.Pool.Writers)
		all["store_statement_timeout"], all["store_lock_timeout"] = c.Pool.StatementTimeout.String(), c.Pool.LockTimeout.String()
		var replicas []string
		for _, dsn := range c.Pool.Replicas {
			replicas = append(replicas, DescribeStore(dsn))
		}
		all["store_replicas"], all["store_replica_lag"] = strings.Join(replicas, ", "), c.Pool.ReplicaLag.String()
	}
	return all
}

// text returns the JSON text, whose keys are in order, and its digest, which
// lets two environments be compared without showing either.
func (s settings) text() (text, digest string, err error) {
	b, err := json.Marshal(s)
	if err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(b)
	return string(b), "sha256:" + hex.EncodeToString(sum[:]), nil
}

// readSettings returns what a server was last started with; nil where none was.
func readSettings(ctx context.Context, db store.Store, name string) (settings, error) {
	text, err := db.Setting(ctx, name)
	if errors.Is(err, evidence.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, fmt.Errorf("setting %s: %w", name, err)
	}
	return s, nil
}

// changed returns the settings that differ, each with its value before and
// after.
func (s settings) changed(now settings) map[string][2]string {
	out := map[string][2]string{}
	for name, v := range now {
		if s[name] != v {
			out[name] = [2]string{s[name], v}
		}
	}
	for name, v := range s {
		if _, ok := now[name]; !ok {
			out[name] = [2]string{v, ""}
		}
	}
	return out
}
