package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a running server of ours.
type process struct {
	cmd *exec.Cmd
	url string // of OTLP over HTTP, without a path
}

// fleet is one deployment of ours: the servers that run on its store, and a key for
// each tenant of the measurement.
type fleet struct {
	bin     string
	env     []string // names the store, beside our own environment
	data    []string // a data directory for each server
	servers []*process
	keys    []string
	refused atomic.Int64 // requests that were answered 429 or 503
}

// build compiles the program into dir.
func build(ctx context.Context, dir string) string {
	bin := filepath.Join(dir, "runledger")
	cmd := exec.CommandContext(ctx, "go", "build", "-C", "..", "-o", bin, "./cmd/runledger")
	cmd.Stderr = os.Stderr
	check(cmd.Run())
	return bin
}

// startServer builds the program, starts it with a data directory, and makes
// as many tenants as asked for, each with a key.
func startServer(ctx context.Context, dir, data string, tenants int) *fleet {
	f := &fleet{bin: build(ctx, dir), data: []string{data}}
	f.start(ctx, 1)
	f.makeTenants(ctx, tenants)
	return f
}

// start starts servers until so many run, on free ports.
func (f *fleet) start(ctx context.Context, n int) {
	for len(f.servers) < n {
		f.servers = append(f.servers, launch(ctx, f.bin, f.env, "serve", "--data", f.data[len(f.servers)],
			"--listen", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "off"))
	}
}

// launch starts a server and waits until it is ready.
func launch(ctx context.Context, bin string, env []string, args ...string) *process {
	p := &process{cmd: exec.CommandContext(ctx, bin, args...)}
	p.cmd.Env = append(os.Environ(), env...)
	stderr, err := p.cmd.StderrPipe()
	check(err)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it shall not outlive a failed measurement
	check(p.cmd.Start())
	var said bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(stderr, &said))
	for p.url == "" && lines.Scan() {
		var line struct {
			Msg  string `json:"msg"`
			OTLP string `json:"otlp_http"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
			p.url = "http://" + line.OTLP
		}
	}
	if p.url == "" {
		check(fmt.Errorf("the server did not start:\n%s", &said))
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	return p
}

// makeTenants makes tenants that have nothing yet, through the first server.
func (f *fleet) makeTenants(ctx context.Context, n int) {
	for i := range n {
		name := fmt.Sprintf("bench-%d-%d", time.Now().UnixNano(), i)
		f.command(ctx, "tenants", "create", name)
		f.keys = append(f.keys, f.key(ctx, name, "producer"))
	}
}

// key makes a key of a tenant.
func (f *fleet) key(ctx context.Context, tenant, role string) string {
	var made struct {
		Key string `json:"key"`
	}
	out := f.command(ctx, "apikeys", "create", "--tenant", tenant, "--role", role, "--expires", "1d", "--json")
	check(json.Unmarshal(out, &made))
	return made.Key
}

func (f *fleet) command(ctx context.Context, args ...string) []byte {
	cmd := exec.CommandContext(ctx, f.bin, append(args, "--data", f.data[0])...)
	cmd.Env = append(os.Environ(), f.env...)
	out, err := cmd.Output()
	if failed, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, failed.Stderr)
	}
	check(err)
	return out
}

// stop stops all servers in order, as an operator does.
func (f *fleet) stop() {
	for _, p := range f.servers {
		check(p.cmd.Process.Signal(syscall.SIGTERM))
		check(p.cmd.Wait())
	}
	f.servers = nil
}

// used adds up what the servers have used of the processors, and their memory.
func (f *fleet) used() (cpu time.Duration, rss int64) {
	for _, p := range f.servers {
		s := readStat(p.cmd.Process.Pid)
		cpu += s.own
		rss += s.rss
	}
	return cpu, rss
}

// stat is what the system counts of a process.
type stat struct {
	own, reaped time.Duration // its own CPU time, and that of children that have ended
	rss         int64         // bytes
}

func readStat(pid int) (s stat) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(err)
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	var user, system, childUser, childSystem, pages int64
	_, err = fmt.Sscan(strings.Join([]string{f[11], f[12], f[13], f[14], f[21]}, " "), &user, &system, &childUser, &childSystem, &pages)
	check(err)
	const tick = 10 * time.Millisecond
	return stat{own: time.Duration(user+system) * tick, reaped: time.Duration(childUser+childSystem) * tick, rss: pages * int64(os.Getpagesize())}
}
