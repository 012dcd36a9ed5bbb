package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/prices"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/stream"
)

type serveCmd struct {
	openFlags
	Config kong.ConfigFlag `help:"A YAML file with any of these settings: a flag's name is its key, nested at will. Also RUNLEDGER_CONFIG." placeholder:"FILE"`

	Listen   string   `help:"Address of the API." default:"127.0.0.1:8080" env:"RUNLEDGER_LISTEN" placeholder:"HOST:PORT"`
	OTLPHTTP string   `help:"Address of OTLP/HTTP, which exporters expect on port 4318; the same routes as --listen. \"off\" for none." name:"otlp-http" default:"127.0.0.1:4318" env:"RUNLEDGER_OTLP_HTTP" placeholder:"HOST:PORT"`
	OTLPGRPC string   `help:"Address of OTLP/gRPC. \"off\" for none." name:"otlp-grpc" default:"127.0.0.1:4317" env:"RUNLEDGER_OTLP_GRPC" placeholder:"HOST:PORT"`
	Metrics  string   `help:"Address of /metrics alone, where it needs no credential. \"off\" for none: it is then on --listen only, for platform_admin." default:"off" env:"RUNLEDGER_METRICS" placeholder:"HOST:PORT"`
	Prefixes []string `help:"Further path prefixes of OTLP/HTTP, such as /api/public/otel." name:"otlp-prefix" env:"RUNLEDGER_OTLP_PREFIX" placeholder:"PATH"`
	MaxBody  size     `help:"Greatest size of an ingest request after decompression." name:"otlp-max-body" default:"64MiB" env:"RUNLEDGER_OTLP_MAX_BODY" placeholder:"SIZE"`
	InFlight size     `help:"Bytes of all ingest requests that are being worked on; more is answered with 429." name:"otlp-max-in-flight" default:"256MiB" env:"RUNLEDGER_OTLP_MAX_IN_FLIGHT" placeholder:"SIZE"`

	TLSCert string `help:"Certificate chain, PEM. With it all addresses speak TLS; a file that changes is read again." name:"tls-cert" env:"RUNLEDGER_TLS_CERT" type:"path" placeholder:"FILE"`
	TLSKey  string `help:"Its private key, PEM." name:"tls-key" env:"RUNLEDGER_TLS_KEY" type:"path" placeholder:"FILE"`

	Rules       string `help:"The rules of access, in place of the built-in ones." name:"rbac-rules" env:"RUNLEDGER_RBAC_RULES" type:"path" placeholder:"FILE"`
	Environment string `help:"Which of the rules count: production, preflight." enum:"production,preflight" default:"production" env:"RUNLEDGER_ENVIRONMENT"`
	OIDC        string `help:"A YAML file of identity providers whose bearer tokens are taken." name:"oidc" env:"RUNLEDGER_OIDC" type:"path" placeholder:"FILE"`

	RootQuiet     time.Duration `help:"A run ends when nothing has come for this long after its root span." name:"run-root-quiet" default:"2s" env:"RUNLEDGER_RUN_ROOT_QUIET" placeholder:"TIME"`
	Quiet         time.Duration `help:"The same without a root, after all top-level spans have ended." name:"run-quiet" default:"60s" env:"RUNLEDGER_RUN_QUIET" placeholder:"TIME"`
	Idle          time.Duration `help:"A run of which nothing has come for this long ends in any case." name:"run-idle" default:"10m" env:"RUNLEDGER_RUN_IDLE" placeholder:"TIME"`
	NearThreshold int           `help:"Percentage of a limit from which a run counts as near it." name:"run-near-threshold" default:"80" env:"RUNLEDGER_RUN_NEAR_THRESHOLD" placeholder:"PERCENT"`
	Prices        string        `help:"A file of prices that comes before the built-in ones." env:"RUNLEDGER_PRICES" type:"path" placeholder:"FILE"`
	Dialects      string        `help:"A file of dialects in place of the built-in ones." env:"RUNLEDGER_DIALECTS" type:"path" placeholder:"FILE"`

	Streams string `help:"A YAML file of streams and alarms: what records are passed on, and to where." env:"RUNLEDGER_STREAMS" type:"path" placeholder:"FILE"`

	WitnessPolicy  string `help:"A tlog-policy file of witnesses, with their URLs: they are asked to cosign every checkpoint, and at the start what they have seen." env:"RUNLEDGER_WITNESS_POLICY" type:"path" placeholder:"FILE"`
	TimestampURL   string `help:"A time-stamping authority (RFC 3161) that stamps checkpoints, each log at most once in 10 minutes." name:"timestamp-url" env:"RUNLEDGER_TIMESTAMP_URL" placeholder:"URL"`
	TimestampRoots string `help:"Root certificates, PEM, that its certificate must lead to. Default: any." env:"RUNLEDGER_TIMESTAMP_ROOTS" type:"path" placeholder:"FILE"`
	TimestampName  string `help:"Its name in records. Default: the subject of its certificate." env:"RUNLEDGER_TIMESTAMP_NAME" placeholder:"NAME"`

	Archive          string        `help:"Where evidence goes before it expires: a directory, s3://BUCKET/PREFIX, or \"off\". Default: the data directory with the suffix .archive; of PostgreSQL: off." env:"RUNLEDGER_ARCHIVE" placeholder:"DIR"`
	Every            time.Duration `help:"Time between two looks for what is due; 0: what is due stays until retention run. Default: 1h." name:"lifecycle-every" default:"1h" env:"RUNLEDGER_LIFECYCLE_EVERY" placeholder:"TIME"`
	MoveAfter        time.Duration `help:"How old leaves are before they leave the database for the archive; 0: never. Default: 8760h, a year." name:"lifecycle-move-after" default:"8760h" env:"RUNLEDGER_LIFECYCLE_MOVE_AFTER" placeholder:"TIME"`
	RetentionFloor   int           `help:"Days that a policy keeps a class at least. Default: 1." default:"1" env:"RUNLEDGER_RETENTION_FLOOR" placeholder:"DAYS"`
	RetentionCeiling int           `help:"Days that a policy keeps a class at most. Default: 3650." default:"3650" env:"RUNLEDGER_RETENTION_CEILING" placeholder:"DAYS"`
	HighRiskFloor    int           `help:"Days that runs marked high risk are kept at least, whatever the policy says. Default: 183." name:"retention-high-risk-floor" default:"183" env:"RUNLEDGER_RETENTION_HIGH_RISK_FLOOR" placeholder:"DAYS"`
	HighRiskPolicies []string      `help:"Ids of policies that mark a run as high risk: it names one of them. Default: high-risk." name:"high-risk-policies" default:"high-risk" env:"RUNLEDGER_HIGH_RISK_POLICIES" placeholder:"ID"`
	HighRiskAgents   []string      `help:"Agents whose runs are high risk." name:"high-risk-agents" env:"RUNLEDGER_HIGH_RISK_AGENTS" placeholder:"ID"`

	Process          string        `help:"Name of this process among those on one database, in records and metrics. Default: host and data directory." env:"RUNLEDGER_PROCESS" placeholder:"NAME"`
	Readers          int           `help:"Of PostgreSQL: most connections that read. Default: 16." name:"store-readers" env:"RUNLEDGER_STORE_READERS" placeholder:"N"`
	Writers          int           `help:"Of PostgreSQL: most connections that write. Default: 8." name:"store-writers" env:"RUNLEDGER_STORE_WRITERS" placeholder:"N"`
	StatementTimeout time.Duration `help:"Of PostgreSQL: bound of a statement; negative: none. Default: 1m." name:"store-statement-timeout" env:"RUNLEDGER_STORE_STATEMENT_TIMEOUT" placeholder:"TIME"`
	LockTimeout      time.Duration `help:"Of PostgreSQL: bound of waiting for a lock; negative: none. Default: 10s." name:"store-lock-timeout" env:"RUNLEDGER_STORE_LOCK_TIMEOUT" placeholder:"TIME"`
	Replicas         []string      `help:"Of PostgreSQL: a read replica that may answer reads, as the application's role. May be given more than once; in the environment with a semicolon between." name:"store-replica" env:"RUNLEDGER_STORE_REPLICAS" sep:";" placeholder:"DSN"`
	ReplicaLag       time.Duration `help:"Of PostgreSQL: how old what a read replica answers may be; negative: any age. Default: 10s." name:"store-replica-lag" env:"RUNLEDGER_STORE_REPLICA_LAG" placeholder:"TIME"`

	DiskReserve size          `help:"Ingest stops when less than this is free. Default: 5% of the disk, at most 256 MiB." env:"RUNLEDGER_DISK_RESERVE" placeholder:"SIZE"`
	Grace       time.Duration `help:"How long running requests may take to end when the server stops." default:"10s" env:"RUNLEDGER_GRACE" placeholder:"TIME"`
	ScrubRate   int           `help:"Leaves a second that continuous verification checks again, at most, for no more than a quarter of the time; negative: as fast as it can." default:"5000" env:"RUNLEDGER_SCRUB_RATE" placeholder:"N"`
	ScrubEvery  time.Duration `help:"Pause between two full verifications." default:"1h" env:"RUNLEDGER_SCRUB_EVERY" placeholder:"TIME"`
	SelfObserve time.Duration `help:"Time between two rounds in which the server runs all scenarios of the built-in registry against itself, in the tenant synthetic; at least 1m. Default: it does not." name:"self-observe" env:"RUNLEDGER_SELF_OBSERVE" placeholder:"TIME"`
	LogLevel    string        `help:"Least severity that is logged: debug, info, warn, error." enum:"debug,info,warn,error" default:"info" env:"RUNLEDGER_LOG_LEVEL"`
	LogFormat   string        `help:"Form of log lines: json, text." enum:"json,text" default:"json" env:"RUNLEDGER_LOG_FORMAT"`
	Dev         bool          `help:"For development: requests from this machine need no credential (tenant default), and a clock that jumps is only warned about." env:"RUNLEDGER_DEV"`
}

// Help implements kong.HelpProvider.
func (serveCmd) Help() string {
	return `Takes OpenTelemetry (OTLP/HTTP and OTLP/gRPC) and native records, puts runs together, and keeps all of it as evidence. Holds the data directory, which it makes where there is none, answers the other commands through DIR/control.sock, verifies what it has without end, and logs to standard error. Stops in order on SIGTERM and on an interrupt.

    runledger serve --data runledger-data
    runledger serve --config /etc/runledger.yaml

Producers need a key: runledger apikeys create --tenant TENANT --role producer. With --dev none is needed from this machine.

GET /healthz answers while it lives, /readyz while evidence can be made durable, /metrics for Prometheus (a key of platform_admin, or --metrics HOST:PORT).`
}

// Run serves until it is told to stop.
func (c *serveCmd) Run(e *env) error {
	cfg := server.ServeConfig{
		Config:         c.config(e),
		MetricsAddress: c.Metrics,
		Listen:         c.Listen, OTLPHTTP: c.OTLPHTTP, OTLPGRPC: c.OTLPGRPC, Prefixes: c.Prefixes,
		MaxBody: int64(c.MaxBody), MaxInFlight: int64(c.InFlight),
		TLSCert: c.TLSCert, TLSKey: c.TLSKey,
		RootQuiet: c.RootQuiet, Quiet: c.Quiet, Idle: c.Idle, NearThreshold: c.NearThreshold,
		DiskReserve: int64(c.DiskReserve), Grace: c.Grace,
		Watch:       ledger.WatchConfig{ScrubRate: c.ScrubRate, ScrubEvery: c.ScrubEvery},
		SelfObserve: c.SelfObserve,
	}
	if c.SelfObserve != 0 && c.SelfObserve < server.LeastSelfObserve {
		return &usageError{fmt.Sprintf("--self-observe %s: must be at least %s, or 0 for never", c.SelfObserve, server.LeastSelfObserve)}
	}
	if c.Every < 0 || c.MoveAfter < 0 {
		return &usageError{"--lifecycle-every and --lifecycle-move-after must not be negative"}
	}
	if c.NearThreshold < 1 || c.NearThreshold > 100 {
		return &usageError{fmt.Sprintf("--run-near-threshold %d: must be 1 to 100", c.NearThreshold)}
	}
	if c.MaxBody > c.InFlight {
		return &usageError{"--otlp-max-body is more than --otlp-max-in-flight"}
	}
	if err := c.tables(&cfg); err != nil {
		return err
	}
	return server.Serve(e.ctx, cfg)
}

// config says what to open.
func (c *serveCmd) config(e *env) server.Config {
	cfg := e.config()
	cfg.Dev, cfg.AcceptRollback, cfg.ConfirmClock = c.Dev, c.AcceptRollback, c.ConfirmClock
	cfg.Logger, cfg.Environment, cfg.Process = c.logger(e), c.Environment, c.Process
	cfg.Archive = c.Archive
	cfg.Lifecycle = server.LifecycleConfig{
		Every: c.Every, MoveAfter: c.MoveAfter, FloorDays: c.RetentionFloor, CeilingDays: c.RetentionCeiling, HighRiskFloor: c.HighRiskFloor,
		HighRiskPolicies: c.HighRiskPolicies, HighRiskAgents: append([]string{}, c.HighRiskAgents...),
	}
	if c.MoveAfter == 0 {
		cfg.Lifecycle.MoveAfter = -1
	}
	// A server needs no right of the owner; one for development makes its schema.
	cfg.Migrate = c.Dev && e.Owner != ""
	cfg.Pool = server.PoolConfig{
		Readers: c.Readers, Writers: c.Writers, StatementTimeout: c.StatementTimeout, LockTimeout: c.LockTimeout,
		Replicas: c.Replicas, ReplicaLag: c.ReplicaLag,
	}
	return cfg
}

// tables reads the files of prices and dialects. What they say decides costs
// and readings, so their digests are among the settings that are recorded.
func (c *serveCmd) tables(cfg *server.ServeConfig) error {
	if c.Prices != "" {
		b, err := os.ReadFile(c.Prices)
		if err != nil {
			return err
		}
		table, err := prices.Parse(b)
		if err != nil {
			return &usageError{fmt.Sprintf("%s: %v", c.Prices, err)}
		}
		cfg.Prices, cfg.PricesDigest = prices.Default().With(table), digest(b)
	}
	if c.Dialects != "" {
		b, err := os.ReadFile(c.Dialects)
		if err != nil {
			return err
		}
		if cfg.Dialects, err = dialect.Parse(b); err != nil {
			return &usageError{fmt.Sprintf("%s: %v", c.Dialects, err)}
		}
		cfg.DialectsDigest = digest(b)
	}
	if c.Streams != "" {
		var err error
		if cfg.Streams, err = stream.Load(c.Streams); errors.Is(err, evidence.ErrInvalid) {
			return &usageError{err.Error()}
		} else if err != nil {
			return err
		}
	}
	if err := c.outside(cfg); err != nil {
		return err
	}
	return c.access(cfg)
}

// access reads the files of rules and identity providers.
func (c *serveCmd) access(cfg *server.ServeConfig) error {
	if c.Rules != "" {
		b, err := os.ReadFile(c.Rules)
		if err != nil {
			return err
		}
		if cfg.Rules, err = access.ParseRules(b); err != nil {
			return &usageError{fmt.Sprintf("%s: %v", c.Rules, err)}
		}
		cfg.RulesDigest = digest(b)
	}
	if c.OIDC != "" {
		b, err := os.ReadFile(c.OIDC)
		if err != nil {
			return err
		}
		if cfg.OIDC, err = access.ParseIssuers(b); err != nil {
			return &usageError{fmt.Sprintf("%s: %v", c.OIDC, err)}
		}
		cfg.OIDCDigest = digest(b)
	}
	return nil
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func (c *serveCmd) logger(e *env) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // the flag's enum
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(e.stderr, opts))
	}
	return slog.New(slog.NewJSONHandler(e.stderr, opts))
}
