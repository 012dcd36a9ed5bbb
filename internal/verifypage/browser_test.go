package verifypage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/runledger/runledger/internal/testneeds"
)

// chromium returns the path of a browser. Without one the tests are skipped, but
// not in CI.
func chromium(tb testing.TB) string {
	tb.Helper()
	return testneeds.Program(tb, "chromium", "chromium-browser", "google-chrome")
}

// tab is verify.html, opened from its file in a browser.
type tab struct {
	ctx context.Context

	mu       sync.Mutex
	requests []string // URLs that anything in the page asked for
}

// browser is one for all tests: to start it takes longer than most of them.
var browser struct {
	once sync.Once
	ctx  context.Context
	stop []func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, stop := range slices.Backward(browser.stop) {
		stop()
	}
	os.Exit(code)
}

func startBrowser(path string) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.WSURLReadTimeout(2*time.Minute),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // its sandbox does not work as root
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	browser.stop = append(browser.stop, cancel)
	browser.ctx, cancel = chromedp.NewContext(ctx)
	browser.stop = append(browser.stop, cancel)
	browser.err = chromedp.Do(browser.ctx)
}

// openTab opens the page in a tab of its own, for the time of a test.
func openTab(tb testing.TB) *tab {
	tb.Helper()
	path := chromium(tb)
	browser.once.Do(func() { startBrowser(path) })
	if browser.err != nil {
		tb.Fatal(browser.err)
	}
	ctx, cancel := chromedp.NewContext(browser.ctx)
	tb.Cleanup(cancel)
	t := &tab{ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.requests = append(t.requests, e.Request.URL)
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	path, err = filepath.Abs("verify.html")
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		tb.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+path)); err != nil {
		tb.Fatal(err)
	}
	return t
}

// eval runs an expression in the page, waits for its promise, and returns what it
// gives.
func eval[T any](tb testing.TB, t *tab, expression string) T {
	tb.Helper()
	out, err := chromedp.Run(t.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// question is a bundle with what an auditor knows.
type question struct {
	Bundle string   `json:"bundle"` // base64
	Keys   []string `json:"keys"`
	Policy *string  `json:"policy"`
	Since  *string  `json:"since"`
}

func ask(bundle, policy, since []byte, keys []string) question {
	text := func(b []byte) *string {
		if b == nil {
			return nil
		}
		s := string(b)
		return &s
	}
	return question{base64.StdEncoding.EncodeToString(bundle), keys, text(policy), text(since)}
}

// reply is what the page says of one.
type reply struct {
	Verdict string   `json:"verdict"`
	Codes   []string `json:"codes"` // sorted
	Error   string   `json:"error"` // where it was thrown
	Say     string   `json:"say"`   // the first findings
	// NotProven is what even a good verdict does not prove.
	NotProven []string `json:"not_proven"`
}

func (r reply) String() string { return fmt.Sprint(r.Verdict, " ", r.Codes, r.Error) }

// verify asks the page, many questions at once.
func (t *tab) verify(tb testing.TB, questions []question) []reply {
	tb.Helper()
	b, err := json.Marshal(questions)
	if err != nil {
		tb.Fatal(err)
	}
	replies := eval[[]reply](tb, t, `(async (questions) => {
		const replies = [];
		for (const q of questions) {
			const bytes = Uint8Array.from(atob(q.bundle), (c) => c.charCodeAt(0));
			try {
				const r = await runledgerVerify(bytes, q);
				replies.push({
					verdict: r.verdict, codes: [...new Set(r.findings.map((f) => f.code))].sort(),
					say: JSON.stringify(r.findings.slice(0, 4)), not_proven: r.not_proven,
				});
			} catch (err) {
				replies.push({error: String(err.stack)});
			}
		}
		return replies;
	})(`+string(b)+`)`)
	if len(replies) != len(questions) {
		tb.Fatalf("%d replies to %d questions", len(replies), len(questions))
	}
	return replies
}
