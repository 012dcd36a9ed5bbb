package verifypage

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// Pictures of the page in its states are for people to look at.
var screens = flag.String("screens", "", "directory to write screenshots of the page to")

// use does what a person does: fills the form from files, presses the button, and
// reads the heading of the answer.
func (t *tab) use(tb testing.TB, bundle string, f *frozen) (heading string) {
	tb.Helper()
	set := func(id, value string) {
		b, err := json.Marshal([]string{id, value})
		if err != nil {
			tb.Fatal(err)
		}
		eval[bool](tb, t, `(([id, value]) => { document.getElementById(id).value = value; return true; })(`+string(b)+`)`)
	}
	if err := chromedp.Do(t.ctx, chromedp.SetUploadFiles(chromedp.ID("bundle"), []string{bundle})); err != nil {
		tb.Fatal(err)
	}
	// As they are pasted: with blank lines and comments.
	set("keys", "# from the contract\n\n  "+strings.Join(f.Keys, "  \n")+"\n")
	set("policy", string(f.policy))
	set("since", strings.TrimSpace(string(f.since)))
	return eval[string](tb, t, `(async () => {
		document.getElementById('check').click();
		for (;;) {
			const heading = document.querySelector('#result .verdict h2');
			if (heading !== null && !document.getElementById('check').disabled) return heading.textContent;
			await new Promise((go) => setTimeout(go, 20));
		}
	})()`)
}

func (t *tab) screenshot(tb testing.TB, name string) {
	tb.Helper()
	if *screens == "" {
		return
	}
	png, err := chromedp.Run(t.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(*screens, name+".png"), png, 0o644)
	}
	if err != nil {
		tb.Error(err)
	}
}

// TestPage: a person gets the verdict in words, and nothing of a bundle becomes part
// of the page but as text.
func TestPage(t *testing.T) {
	page := openTab(t)
	page.screenshot(t, "empty")
	heading := map[string]string{
		"VERIFIED": "Verified", "VERIFIED-WITH-LIMITS": "Verified, with limits", "FAILED": "Failed", "COULD-NOT-CHECK": "Could not be checked",
	}
	left := []string{"log-witnessed", "log-since", "run-window", "run-withheld", "period-compliance", "commit-value", "container-truncated", "leaf-null", "since-not-linked"}
	shown := map[string]bool{}
	for _, f := range frozenSet(t) {
		verdict := f.want().Verdict
		if i := slices.Index(left, f.Name); i < 0 && shown[verdict] {
			continue
		}
		shown[verdict] = true
		// A name that would be markup if it were put into the page as such.
		bundle := filepath.Join(t.TempDir(), `<img src=x onerror=document.title='taken'>.zip`)
		if err := os.WriteFile(bundle, f.bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := page.use(t, bundle, f); got != heading[verdict] {
			t.Errorf("%s: the page says %q, want %q", f.Name, got, heading[verdict])
		}
		text := eval[string](t, page, `document.getElementById('result').innerText`)
		for _, c := range f.want().Codes {
			if !strings.Contains(text, c) {
				t.Errorf("%s: the answer does not name %s", f.Name, c)
			}
		}
		page.screenshot(t, f.Name)
		if title := eval[string](t, page, `document.title + document.querySelectorAll('#result img').length`); title != "Check an evidence bundle0" {
			t.Errorf("%s: the name of the file became part of the page: %s", f.Name, title)
		}
	}
	if len(shown) != len(heading) {
		t.Errorf("only %v were shown", shown)
	}
}

// TestPageRefuses: what an auditor gave wrongly is said, and is no verdict.
func TestPageRefuses(t *testing.T) {
	page := openTab(t)
	f := frozenSet(t)[0]
	bundle := filepath.Join(t.TempDir(), "bundle.zip")
	if err := os.WriteFile(bundle, f.bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, given := range map[string]*frozen{
		"no key id":       {Keys: []string{"log.example/0123456789ab"}},
		"another key id":  {Keys: []string{strings.Replace(f.Keys[0], "+", "+0", 1)}},
		"unclear policy":  {Keys: f.Keys, policy: []byte("quorum all of them\n")},
		"no checkpoint":   {Keys: f.Keys, since: []byte("the one of May\n")},
		"key of no log":   {Keys: []string{"example+0c1f1b7d+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}},
		"policy one word": {Keys: f.Keys, policy: []byte("quorum\n")},
	} {
		if got := page.use(t, bundle, given); got != "Could not be checked" {
			t.Errorf("%s: the page says %q", name, got)
		}
		if n := eval[int](t, page, `document.querySelectorAll('#result .checks').length`); n != 0 {
			t.Errorf("%s: there is a verdict", name)
		}
	}
	page.screenshot(t, "refused")
}

// TestNothingLeaves: the page asks for nothing while it checks, and could not if it
// wanted to.
func TestNothingLeaves(t *testing.T) {
	var hits atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer elsewhere.Close()
	page := openTab(t)
	f := frozenSet(t)[0]
	if got := page.verify(t, []question{f.question()}); got[0].String() != f.want().String() {
		t.Errorf("the page says %v, want %v", got[0], f.want())
	}
	page.mu.Lock()
	for _, url := range page.requests {
		if !strings.HasPrefix(url, "file://") || !strings.HasSuffix(url, "/verify.html") {
			t.Errorf("the page asked for %s", url)
		}
	}
	if len(page.requests) != 1 {
		t.Errorf("%d requests, want one, of the page itself: %v", len(page.requests), page.requests)
	}
	page.mu.Unlock()
	tried := eval[[]string](t, page, `(async (url) => {
		const done = [];
		const attempt = async (name, f) => {
			try {
				await f();
				done.push(name);
			} catch { /* as it must */ }
		};
		const load = (tag, attribute) => new Promise((ok, no) => {
			const e = document.createElement(tag);
			e.onload = ok;
			e.onerror = no;
			e.setAttribute(attribute, url + tag);
			if (tag === 'link') e.rel = 'stylesheet';
			document.head.append(e);
			setTimeout(no, 500);
		});
		await attempt('fetch', () => fetch(url));
		await attempt('no-cors', () => fetch(url, {mode: 'no-cors'}));
		await attempt('beacon', () => { if (!navigator.sendBeacon(url, 'x')) throw 0; });
		await attempt('socket', () => new Promise((ok, no) => { const s = new WebSocket(url.replace('http', 'ws')); s.onopen = ok; s.onerror = no; }));
		for (const [tag, attribute] of [['img', 'src'], ['link', 'href'], ['iframe', 'src'], ['audio', 'src']]) await attempt(tag, () => load(tag, attribute));
		await attempt('script', () => { const e = document.createElement('script'); e.textContent = 'globalThis.taken = true'; document.head.append(e); if (!globalThis.taken) throw 0; });
		await attempt('markup', () => { document.createElement('div').innerHTML = '<b>x</b>'; });
		const form = document.createElement('form');
		form.action = url + 'form';
		document.body.append(form);
		form.submit();
		await new Promise((go) => setTimeout(go, 200));
		return done;
	})('`+elsewhere.URL+`/')`)
	for _, name := range tried {
		if name != "beacon" && name != "iframe" { // which do not say that they were refused
			t.Errorf("%s was let through", name)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests reached a server", n)
	}
}
