package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/witness"
	"github.com/runledger/runledger/verify"
)

type witnessCmd struct {
	Serve witnessRunCmd `cmd:"" name:"run" default:"withargs" help:"Cosign the checkpoints of logs."`
	Key   witnessKeyCmd `cmd:"" help:"Print the witness's verifier key, which is made where there is none."`
}

// Help implements kong.HelpProvider.
func (witnessCmd) Help() string {
	return `A witness (C2SP tlog-witness), to be run by somebody else than the log: it cosigns a checkpoint only if that extends what it last cosigned, so nobody can be shown another history under its signature. What a log signs against itself is kept as proof in DIR/forks.

    runledger witness --dir witness --name witness.example.org --listen 127.0.0.1:8081 --log "$VKEY"
    runledger witness key --dir witness --name witness.example.org

Tell the log's operator the key and the URL. The logs to accept are given by --log and by the log lines of a tlog-policy file, which is read again when it changes, or on SIGHUP.`
}

// witnessFlags are those of both commands.
type witnessFlags struct {
	Dir  string `help:"Its state: key, what it last cosigned of each log, proofs of forks." required:"" env:"RUNLEDGER_WITNESS_DIR" type:"path" placeholder:"DIR"`
	Name string `help:"Its key name, such as a domain; needed when the key is made." env:"RUNLEDGER_WITNESS_NAME" placeholder:"NAME"`
}

// keyError says what to do about a state that cannot be opened.
func (c *witnessFlags) keyError(err error) error {
	switch {
	case errors.Is(err, witness.ErrNoKey):
		return usage("there is no key in %s: give its --name to make one", c.Dir)
	case errors.Is(err, evidence.ErrInvalid):
		return &usageError{err.Error()}
	}
	return err
}

type witnessRunCmd struct {
	witnessFlags
	Listen  string   `help:"Address to listen on." default:"127.0.0.1:8081" env:"RUNLEDGER_WITNESS_LISTEN" placeholder:"HOST:PORT"`
	Log     []string `help:"Verifier key of a log to cosign. May be repeated." sep:"none" placeholder:"VKEY"`
	Policy  string   `help:"A tlog-policy file whose log lines are accepted too." env:"RUNLEDGER_WITNESS_LOGS" type:"path" placeholder:"FILE"`
	TLSCert string   `help:"Certificate chain, PEM." name:"tls-cert" env:"RUNLEDGER_WITNESS_TLS_CERT" type:"path" placeholder:"FILE"`
	TLSKey  string   `help:"Its private key, PEM." name:"tls-key" env:"RUNLEDGER_WITNESS_TLS_KEY" type:"path" placeholder:"FILE"`
}

// policyEvery is how often the policy file is looked at.
const policyEvery = 2 * time.Second

// Run is the witness until it is told to stop.
func (c *witnessRunCmd) Run(e *env) (err error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return usage("--tls-cert and --tls-key go together")
	}
	if len(c.Log) == 0 && c.Policy == "" {
		return usage("no logs to cosign: give --log VKEY or --policy FILE")
	}
	logs, err := c.logs()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(e.stderr, nil))
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	w, err := witness.NewServer(witness.ServerConfig{Dir: c.Dir, Name: c.Name, Logs: logs, Logger: log})
	if err != nil {
		return c.keyError(err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	srv := &http.Server{
		Handler: w, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() {
		if c.TLSCert != "" {
			failed <- srv.ServeTLS(ln, c.TLSCert, c.TLSKey)
			return
		}
		failed <- srv.Serve(ln)
	}()
	log.Info("ready", "listen", ln.Addr().String(), "key", w.VKey(), "logs", len(logs), "dir", c.Dir, "pid", os.Getpid())
	go c.follow(e.ctx, w, log)
	select {
	case err := <-failed:
		return err
	case <-e.ctx.Done():
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), 10*time.Second)
	defer cancel()
	err = srv.Shutdown(within)
	log.Info("stopped", "clean", err == nil)
	return err
}

// logs returns the keys of the flags and of the policy file.
func (c *witnessRunCmd) logs() ([]string, error) {
	logs := c.Log
	if c.Policy == "" {
		return logs, nil
	}
	b, err := os.ReadFile(c.Policy)
	if err != nil {
		return nil, err
	}
	p, err := verify.ParsePolicy(b)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("%s: %v", c.Policy, err)}
	}
	for _, l := range p.Logs {
		logs = append(logs, l.Key)
	}
	return logs, nil
}

// follow reads the policy file again when it changes. A log that is taken out of it
// stays until the next start: its state is there in any case.
func (c *witnessRunCmd) follow(ctx context.Context, w *witness.Server, log *slog.Logger) {
	if c.Policy == "" {
		return
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	was, _ := os.Stat(c.Policy) // read a moment ago
	tick := time.NewTicker(policyEvery)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			asked = true
		case <-tick.C:
		}
		now, err := os.Stat(c.Policy)
		if err == nil && !asked && was != nil && now.ModTime().Equal(was.ModTime()) && now.Size() == was.Size() {
			continue
		}
		var logs []string
		if err == nil {
			was = now
			if logs, err = c.logs(); err == nil {
				err = w.AddLogs(logs)
			}
		}
		if err != nil {
			log.Error("the policy file is not read again", "file", c.Policy, "err", err)
			continue
		}
		log.Info("logs", "count", len(logs))
	}
}

type witnessKeyCmd struct{ witnessFlags }

// Run prints the key.
func (c *witnessKeyCmd) Run(e *env) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	key, err := witness.OpenKey(c.Dir, c.Name)
	if err != nil {
		return c.keyError(err)
	}
	if e.JSON {
		return e.json(map[string]string{"vkey": key.VKey().String()})
	}
	e.printf("%s\n", key.VKey())
	return nil
}
