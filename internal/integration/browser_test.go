package integration_test

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// browser is a running Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// browserLife bounds the life of one browser.
const browserLife = 10 * time.Minute

// newBrowser starts a browser without cookies, cache or history.
func newBrowser(t *testing.T, flags ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "chromium (Debian's package chromium)")
	}
	if testing.Short() {
		t.Skip("a browser takes too long for -short")
	}
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("font-render-hinting", "none"),
		chromedp.WSURLReadTimeout(patience),
	}, flags...)
	ctx, cancel := context.WithTimeout(context.Background(), browserLife)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() { // Chromium must have ended before its directory is removed
		_ = chromedp.Cancel(ctx)
		cancel()
	})
	require.NoError(t, chromedp.Do(ctx))
	return &browser{t, ctx}
}

// in returns the browser for a subtest.
func (b *browser) in(t *testing.T) *browser { return &browser{t, b.ctx} }

// tab is a page of the browser.
type tab struct {
	t    *testing.T
	b    *browser
	ctx  context.Context
	mu   sync.Mutex
	log  []string // its console
	sent []string // the URLs that it requested
}

// open opens a URL in a new tab.
func (b *browser) open(rawURL string) *tab {
	b.t.Helper()
	p := b.tab()
	p.do(chromedp.EmulateViewport(1000, 900), chromedp.Navigate(rawURL))
	return p
}

// tab opens a tab and records its console and its requests from the beginning.
func (b *browser) tab(options ...chromedp.ContextOption) *tab {
	b.t.Helper()
	p := &tab{t: b.t, b: b}
	ctx, cancel := chromedp.NewContext(b.ctx, append(options, chromedp.WithListener(p.hear))...)
	b.t.Cleanup(cancel)
	p.ctx = ctx
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Source != "network" { // an answer of 4xx does not count
				p.mu.Lock()
				p.log = append(p.log, m.String())
				p.mu.Unlock()
			}
		}
	}()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{})
		return err
	})))
	return p
}

// openWith opens a URL in a new tab. source runs before the page's own scripts.
func (b *browser) openWith(source, rawURL string) *tab {
	b.t.Helper()
	p := b.tab()
	p.do(chromedp.EmulateViewport(1000, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: source})
		return err
	}), chromedp.Navigate(rawURL))
	return p
}

func (p *tab) hear(event any) {
	if e, ok := event.(*network.EventRequestWillBeSent); ok {
		p.mu.Lock()
		p.sent = append(p.sent, e.Request.URL)
		p.mu.Unlock()
	}
}

// calm asserts that the page complains about nothing, such as an exception or a
// violation of its policy.
func (p *tab) calm() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	// Chromium's advice to use a form. The panel has none, because a host may put it
	// into a form of its own.
	complaints := slices.DeleteFunc(slices.Clone(p.log), func(s string) bool {
		return strings.HasPrefix(s, "debug:") && strings.Contains(s, "Password field is not contained in a form")
	})
	assert.Empty(p.t, complaints, "the page complains in its console")
}

// quiet asserts that the page complains about nothing and asks no other origin.
func (p *tab) quiet() {
	p.t.Helper()
	p.calm()
	p.mu.Lock()
	defer p.mu.Unlock()
	var own string
	for _, s := range p.sent {
		u, err := url.Parse(s)
		require.NoError(p.t, err)
		if own == "" {
			own = u.Host
		}
		assert.Equal(p.t, own, u.Host, "the page requests %s", s)
	}
}

// do carries out steps, one after the other.
func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	_ = value(p, chromedp.Steps(steps...))
}

// value returns what an action finds.
func value[T any](p *tab, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		require.NoError(p.t, err, "the page says: %s", p.failed())
	}
	return v
}

// failed keeps a picture of a page that failed its test, and returns its text.
func (p *tab) failed() string {
	p.t.Helper()
	p.shot("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
	ctx, cancel := context.WithTimeout(p.ctx, slack)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	return text
}

// eval returns the value of an expression. It waits for a promise.
func eval[T any](p *tab, js string) T {
	p.t.Helper()
	return value(p, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
}

// state waits until the panel is in a state.
func (p *tab) state(want string) {
	p.t.Helper()
	p.do(chromedp.WaitReady(chromedp.CSS(`[data-plexauth][data-state="` + want + `"]`)))
}

func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// text returns the text of an element, once it is visible. If the page leaves for another
// one in the same moment, it is the text there.
func (p *tab) text(selector string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for {
		text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(selector)))
		if err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "No node with given id") {
			continue
		}
		if err != nil {
			require.NoError(p.t, err, "the page says: %s", p.failed())
		}
		return strings.TrimSpace(text)
	}
}

// sees waits until an element is visible.
func (p *tab) sees(selector string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// until waits until an expression is true.
func (p *tab) until(js string) {
	p.t.Helper()
	for end := time.Now().Add(patience); !eval[bool](p, "Boolean("+js+")"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			require.Fail(p.t, "never true", "%s; the page says: %s", js, p.failed())
		}
	}
}

// front brings the tab to the front.
func (p *tab) front() {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.BringToFront, cdp.Empty{})
		return err
	}))
}

// close closes it.
func (p *tab) close() {
	p.t.Helper()
	require.NoError(p.t, chromedp.Cancel(p.ctx))
}

// opened returns the tab that act opens in p, once it shows a page. Before that
// Chromium may still move it to another process.
func (p *tab) opened(act func()) *tab {
	p.t.Helper()
	pages := func() map[target.ID]string {
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		defer cancel()
		all, err := chromedp.Targets(ctx)
		require.NoError(p.t, err)
		urls := map[target.ID]string{}
		for _, info := range all {
			if info.Type == "page" {
				urls[info.TargetID] = info.URL
			}
		}
		return urls
	}
	before := pages()
	act()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for id, url := range pages() {
			if _, old := before[id]; !old && strings.HasPrefix(url, "http") {
				return p.b.tab(chromedp.WithTargetID(id))
			}
		}
	}
	require.Fail(p.t, "no tab was opened", "the page says: %s", p.failed())
	return nil
}

// connect presses "Connect Plex" and returns the tab that shows Plex's page.
func (p *tab) connect() *tab {
	p.t.Helper()
	p.state("idle")
	link := p.opened(func() { p.click("#btn-connect-plex") })
	p.state("pending")
	return link
}

// approve chooses a user on the fake's page and approves, as a person does.
func (p *tab) approve(name string) {
	p.t.Helper()
	p.sees("fieldset")
	p.do(chromedp.Click(chromedp.Search(fmt.Sprintf(`//label[starts-with(normalize-space(), %q)]`, name))))
	p.click("button[type=submit]")
}

// alarms records each problem that the panel shows from now on. It returns a function
// that reads the record.
func (p *tab) alarms() func() []string {
	p.t.Helper()
	eval[any](p, `window.alarms = []; setInterval(() => { const box = document.querySelector('[data-part="problem"]'); if (box.checkVisibility() && alarms.at(-1) !== box.innerText) alarms.push(box.innerText); }, 20); 0`)
	return func() []string { return eval[[]string](p, "alarms") }
}

// inView waits until an element can be seen without scrolling.
func (p *tab) inView(selector string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`(() => { const e = document.querySelector(%q); const r = e.getBoundingClientRect(); return e.checkVisibility() && r.height > 0 && r.top >= -1 && r.bottom <= innerHeight + 1; })()`, selector))
}

// shortLimits cuts the page's limits on requests to a second where window.shortened says
// so: see shortLongPolls and shortPresses. Other limits stay, since a busy machine may need them.
const (
	shortLimits = `{
		window.shortened = () => false;
		const real = setTimeout;
		window.setTimeout = (f, ms, ...args) => real(f, window.shortened(ms) ? 1000 : ms, ...args);
	}`
	shortLongPolls = "shortened = (ms) => ms > 20000 && ms < 40000; 0"
	shortPresses   = "shortened = (ms) => ms >= 40000; 0"
	shortNothing   = "shortened = () => false; 0"
)

// noPauses lets no timer of a second or more end in a page.
const noPauses = `{
	const real = setTimeout;
	window.setTimeout = (f, ms, ...args) => ms < 1000 ? real(f, ms, ...args) : 0;
}`
