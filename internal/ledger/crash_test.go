package ledger_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/internal/testneeds"
)

// ack is a line of the acknowledgement log: written after Append returned,
// by the process that is then killed.
type ack struct {
	Tenant string
	ID     evidence.ID
	Log    string
	Index  int64
	Hash   evidence.Hash
	Fresh  bool // not a duplicate
}

const (
	crashDir  = "RUNLEDGER_CRASH_DIR"  // data directory of the child
	crashMode = "RUNLEDGER_CRASH_MODE" // load or churn
	crashSeed = "RUNLEDGER_CRASH_SEED" // makes the child's ids its own
)

// TestCrashChild is no test but the process that the tests below kill.
func TestCrashChild(t *testing.T) {
	if os.Getenv(crashDir) == "" {
		t.Skip("it is run by TestKill")
	}
	if err := crashChild(os.Getenv(crashDir), os.Getenv(crashMode), os.Getenv(crashSeed)); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(3)
	}
}

// openPlain opens a deployment as a program does, without a test around it.
func openPlain(dir string) (*rig, error) {
	ctx := context.Background()
	db, err := storerig.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	if err != nil {
		return nil, err
	}
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, db: db, sealer: seal.New(db, master), anchor: anchor}
	r.Ledger, err = ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: r.sealer, Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), PublishEvery: 10 * time.Millisecond,
	})
	return r, err
}

// crashChild appends until it is killed.
func crashChild(dir, mode, seedText string) error {
	acks, err := os.OpenFile(dir+".acks", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	r, err := openPlain(dir)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	seed, err := strconv.Atoi(seedText)
	if err != nil {
		return err
	}
	c := &crasher{rig: r, acks: acks, seed: seed}
	failed := make(chan error)
	for worker := range 6 {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(seed), uint64(worker)))
			for n := 0; ; n++ {
				do := c.load
				if mode == "churn" {
					do = c.churn
				}
				if err := do(rng, worker, n); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

type crasher struct {
	*rig
	acks *os.File
	seed int
	mu   sync.Mutex
	sent [][]string // batches that were acknowledged, to be sent again
}

var crashTenants = []string{"alpha", "beta", "gamma"}

func (c *crasher) tenantOf(name string) error {
	_, err := c.CreateTenant(context.Background(), name)
	if errors.Is(err, evidence.ErrConflict) {
		return nil
	}
	return err
}

func (c *crasher) load(rng *rand.Rand, worker, n int) error {
	tenant := crashTenants[rng.IntN(len(crashTenants))]
	if n == 0 {
		for _, name := range crashTenants {
			if err := c.tenantOf(name); err != nil {
				return err
			}
		}
	}
	base := c.seed*10_000_000 + worker*1_000_000 + n*400
	switch k := rng.IntN(40); {
	case k == 0:
		_, err := c.Rollover(context.Background(), tenant)
		return err
	case k < 6: // what is stored already
		c.mu.Lock()
		var again []string
		if len(c.sent) > 0 {
			again = c.sent[rng.IntN(len(c.sent))]
		}
		c.mu.Unlock()
		if again == nil {
			return nil
		}
		return c.send(again[0], again[1:])
	case k < 8: // contradictions: of a span, and of an id
		if err := c.send(tenant, []string{step(base, 1, `,"params":1`), step(base, 1, `,"params":2`)}); err != nil {
			return err
		}
		if err := c.send(tenant, []string{event(base, "")}); err != nil {
			return err
		}
		err := c.send(tenant, []string{event(base, `,"severity":"ERROR"`)})
		if !errors.Is(err, evidence.ErrConflict) {
			return fmt.Errorf("contradiction of %s: %w", eventID(base), err)
		}
		return nil
	}
	size := []int{1, 1, 3, 20, 120, 300}[rng.IntN(6)]
	return c.send(tenant, mixed(base, size))
}

// churn makes tenants and rolls logs over, which is what a crash meets.
func (c *crasher) churn(rng *rand.Rand, worker, n int) error {
	name := fmt.Sprintf("t-%d-%d-%d", c.seed, worker, n/4)
	if err := c.tenantOf(name); err != nil {
		return err
	}
	if err := c.send(name, mixed(c.seed*10_000_000+worker*1_000_000+n*10, 1+rng.IntN(6))); err != nil {
		return err
	}
	_, err := c.Rollover(context.Background(), name)
	return err
}

func (c *crasher) send(tenant string, lines []string) error {
	var text bytes.Buffer
	for _, line := range lines {
		text.WriteString(line + "\n")
	}
	records, err := evidence.ParseNDJSON(text.Bytes())
	if err != nil {
		return err
	}
	receipts, err := c.Append(context.Background(), tenant, records, ledger.AppendOptions{Producer: "test"})
	if err != nil {
		return fmt.Errorf("append to %s: %w", tenant, err)
	}
	var out bytes.Buffer
	for _, rec := range receipts {
		line, err := json.Marshal(ack{tenant, rec.ID, rec.Log, rec.LeafIndex, rec.LeafHash, !rec.Duplicate})
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
	}
	if _, err := c.acks.Write(out.Bytes()); err != nil { // one write: it is whole or not there
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) < 200 {
		c.sent = append(c.sent, append([]string{tenant}, lines...))
	}
	return nil
}

// killed starts the child, lets it work for a while, counted from its start or
// from when it has opened the ledger, and kills it.
func killed(t *testing.T, dir, mode string, seed int, opening bool, work time.Duration) {
	t.Helper()
	if err := storerig.Make(dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashMode+"="+mode, fmt.Sprintf("%s=%d", crashSeed, seed))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		in := bufio.NewScanner(stdout)
		for in.Scan() {
			if in.Text() == "ready" {
				close(ready)
				break
			}
		}
		io.Copy(io.Discard, stdout)
	}()
	if opening {
		time.Sleep(work)
	} else {
		select {
		case <-ready:
			time.Sleep(work)
		case <-time.After(patience):
			t.Error("the child does not open")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed but ended: %v\n%s", err, stderr.String())
	}
}

func readAcks(t *testing.T, path string) []ack {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []ack
	for _, line := range bytes.SplitAfter(data, []byte("\n")) {
		var a ack
		if len(line) == 0 || line[len(line)-1] != '\n' {
			continue
		}
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// checkAcks opens the deployment, which must need no repair, and checks that
// all that was ever acknowledged is there, exactly once, that verification
// finds nothing, and that appends go on.
func checkAcks(t *testing.T, dir string, loop int) (acked int) {
	t.Helper()
	acks := readAcks(t, dir+".acks")
	// The anchor as the killed process left it: what it published then must
	// be part of what there is now.
	r := openRig(t, dir)
	defer r.close()
	byTenant := map[string][]ledger.Receipt{}
	fresh := map[evidence.ID]bool{}
	for _, a := range acks {
		byTenant[a.Tenant] = append(byTenant[a.Tenant], ledger.Receipt{ID: a.ID, Log: a.Log, LeafIndex: a.Index, LeafHash: a.Hash})
		if a.Fresh && fresh[a.ID] {
			t.Errorf("record %s was acknowledged twice as new", a.ID)
		}
		fresh[a.ID] = fresh[a.ID] || a.Fresh
	}
	for tenant, receipts := range byTenant {
		c := r.contents(t, tenant)
		c.holds(t, receipts)
		c.checkRuns(t)
	}
	r.verifyClean(t)
	r.checkAnchored(t)
	tenants, err := r.Tenants(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i, info := range tenants {
		if info.Tenant == evidence.SystemTenant || i > 8 {
			continue
		}
		if _, err := r.tryAppend(t, info.Tenant, event(900_000_000_000+loop, "")); err != nil {
			t.Errorf("append to %s after the crash: %v", info.Tenant, err)
		}
	}
	return len(acks)
}

// checkAnchored compares every anchored note, read with x/mod alone, with
// the log of that origin.
func (r *rig) checkAnchored(t *testing.T) {
	t.Helper()
	tenants, err := r.Tenants(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, tenant := range tenants {
		logs, err := r.Logs(context.Background(), tenant.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		for _, lg := range logs {
			text, err := r.anchor.Read(lg.Origin)
			if err != nil {
				t.Errorf("anchor: %v", err)
				continue
			}
			old := openNote(t, text, lg.VKey)
			_, now, err := r.PublishNow(context.Background(), lg.Tenant, lg.No)
			if err != nil {
				t.Errorf("publish %s: %v", lg.Origin, err)
				continue
			}
			r.checkConsistent(t, lg, old, openNote(t, now, lg.VKey))
			n++
		}
	}
	if n == 0 {
		t.Error("nothing is anchored")
	}
}

// TestKill kills the process under load, opens what it left, and does so
// again. RUNLEDGER_CRASH_LOOPS=N makes it a long run.
func TestKill(t *testing.T) {
	loops := 5
	if s := os.Getenv("RUNLEDGER_CRASH_LOOPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("RUNLEDGER_CRASH_LOOPS: %v", err)
		}
		loops = n
	}
	for _, mode := range []string{"load", "churn"} {
		t.Run(mode, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			acked := 0
			for loop := range loops {
				opening := loop%4 == 0
				work := time.Duration(50+rand.IntN(400)) * time.Millisecond
				killed(t, dir, mode, loop+1, opening, work)
				acked = checkAcks(t, dir, loop)
				if t.Failed() {
					t.Fatalf("loop %d, after %s of work", loop, work)
				}
				if loops > 20 && loop%20 == 19 { // a fresh one, or verification takes it all
					t.Logf("%d loops, %d acknowledged", loop+1, acked)
					dir = filepath.Join(t.TempDir(), "data")
				}
			}
			if acked == 0 { // the machine is slow: once more, with time to get somewhere
				killed(t, dir, mode, loops+1, false, patience/3)
				acked = checkAcks(t, dir, loops)
			}
			if acked == 0 {
				t.Error("nothing was ever acknowledged")
			}
			t.Logf("%d records acknowledged", acked)
		})
	}
}

// TestDiskFull fills a small file system under load. Appends are refused as
// unavailable, nothing that was acknowledged is lost, and once there is room
// they go on in the same process.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		testneeds.Missing(t, "only root can mount a tmpfs")
	}
	for _, where := range []string{"data and anchor", "data", "anchor"} {
		t.Run(where, func(t *testing.T) {
			if where != "anchor" {
				storerig.Only(t, storerig.SQLite, "the disk of PostgreSQL's data is its server's")
			}
			mnt := t.TempDir()
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", mnt).CombinedOutput(); err != nil {
				testneeds.Missing(t, "no tmpfs can be mounted: %v: %s", err, out)
			}
			t.Cleanup(func() {
				if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
					t.Errorf("umount: %v: %s", err, out)
				}
			})
			fullDisk(t, where, mnt)
		})
	}
}

func fullDisk(t *testing.T, where, mnt string) {
	dir := filepath.Join(mnt, "data")
	onDisk := filepath.Join(t.TempDir(), "data")
	switch where {
	case "data":
		if err := os.Mkdir(onDisk+".anchor", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(onDisk+".anchor", dir+".anchor"); err != nil {
			t.Fatal(err)
		}
	case "anchor":
		if err := os.Mkdir(dir+".anchor", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir+".anchor", onDisk+".anchor"); err != nil {
			t.Fatal(err)
		}
		dir = onDisk
	}
	ballast := filepath.Join(mnt, "ballast")
	fill := func(size int) {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(make([]byte, size))
		if cerr := f.Close(); err == nil && cerr != nil {
			err = cerr
		}
		if err != nil && size < 6<<20 {
			t.Fatal(err)
		}
	}
	fill(3 << 20)
	w := &world{rig: openRig(t, dir), acked: map[string][]ledger.Receipt{}}
	tenants := []string{"acme", "other"}
	for _, tenant := range tenants {
		w.tenant(t, tenant)
	}
	if where == "anchor" {
		fill(6 << 20) // all there is
	}
	// Four clients append until each has been refused ten times.
	var refused atomic.Int64
	var wg sync.WaitGroup
	var next atomic.Int64
	for client := range 4 {
		wg.Go(func() {
			mine := 0
			for n := 0; mine < 10 && n < 3000; n++ {
				if where == "anchor" && n == 20 {
					break // appends go on; only publication waits
				}
				err := w.add(t, tenants[client%2], mixed(int(next.Add(100)), 40)...)
				if err == nil {
					continue
				}
				if !errors.Is(err, evidence.ErrUnavailable) {
					t.Errorf("refused with %v", err)
					return
				}
				mine++
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if where != "anchor" && refused.Load() == 0 {
		t.Error("the disk never was full")
	}
	// Nothing that was acknowledged is lost while it is full.
	for _, tenant := range tenants {
		w.contents(t, tenant).holds(t, w.acked[tenant])
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for i, tenant := range tenants {
		// The first may meet what is left of before.
		var err error
		for range 3 {
			if err = w.add(t, tenant, mixed(5_000_000+i*1000, 40)...); err == nil {
				break
			}
			if !errors.Is(err, evidence.ErrUnavailable) {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err != nil {
			t.Fatalf("append once there is room: %v", err)
		}
		size := int64(len(w.contents(t, tenant).leaves))
		if _, err := w.WaitPublished(patient(t), tenant, 1, size); err != nil {
			t.Errorf("publication once there is room: %v", err)
		}
	}
	for range 2 {
		for _, tenant := range tenants {
			c := w.contents(t, tenant)
			c.holds(t, w.acked[tenant])
			c.checkRuns(t)
		}
		w.verifyClean(t)
		w.checkAnchored(t)
		w.close()
		w.rig = openRig(t, dir)
	}
	w.close()
}
