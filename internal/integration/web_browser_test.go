package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// artefacts is where screenshots are kept, outside git.
const artefacts = "../../artefacts/web"

// site is a program with a panel, and the fake plex.tv that it knows.
type site struct {
	t     *testing.T
	plex  *plextest.Server
	auth  *plexauth.PlexAuth
	store plexauth.ConfigStore
	alice *plextest.User
	bob   *plextest.User
	panel http.Handler
	url   string // of the panel's page
}

// newSite serves a panel at /plex/ of a loopback address.
func newSite(t *testing.T, change ...func(*plexauth.Options)) *site {
	t.Helper()
	s := &site{t: t, plex: plextest.NewServer(), store: plexauth.NewMemoryStore()}
	t.Cleanup(s.plex.Close)
	s.alice = s.plex.AddUser(plextest.User{Username: "alice"})
	s.bob = s.plex.AddUser(plextest.User{Username: "bob"})
	o := plexauth.Options{Product: "My App", Store: s.store, BaseURL: s.plex.URL(), HTTPClient: s.plex.Client()}
	for _, f := range change {
		f(&o)
	}
	var err error
	s.auth, err = plexauth.New(o)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	s.panel = s.auth.Handler(ctx)
	s.url = s.serve(http.StripPrefix("/plex", s.panel)) + "/plex/"
	return s
}

// serve makes an address at which h answers.
func (s *site) serve(h http.Handler) string {
	server := httptest.NewServer(h)
	s.t.Cleanup(func() { end(server) })
	return server.URL
}

// end closes a server under its long polls, too.
func end(server *httptest.Server) {
	server.CloseClientConnections()
	server.Close()
}

// proxied is the site behind a proxy, at path.
func (s *site) proxied(path string, change func(*httputil.ProxyRequest)) http.Handler {
	to, err := url.Parse(s.url)
	require.NoError(s.t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.URL.Path = "/plex/" + strings.TrimPrefix(r.In.URL.Path, path)
			r.Out.Host = r.In.Host
			if change != nil {
				change(r)
			}
		},
		FlushInterval: -1,
	}
	mux := http.NewServeMux()
	mux.Handle(path, proxy)
	return mux
}

// box gives u a media server that answers.
func (s *site) box(u *plextest.User, name, ip string) *plextest.MediaServer {
	return s.plex.AddMediaServer(u, plextest.MediaServer{Name: name, Connections: []plextest.Connection{{Address: ip, Local: true}}})
}

// link signs the site in without a browser.
func (s *site) link(u *plextest.User) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	_, err := s.auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return s.plex.Approve(pin.Code, u) })
	require.NoError(s.t, err)
}

// connected waits until the store holds a login.
func (s *site) connected() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		status, err := s.auth.Status(s.t.Context())
		return err == nil && status.Connected
	}, 15*time.Second, 50*time.Millisecond, "the token is in the store")
}

// browser is a Chromium. What its pages complain about fails the test.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// newBrowser starts one that knows nothing.
func newBrowser(t *testing.T, flags ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		lacks(t, "chromium")
	}
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("font-render-hinting", "none"),
		chromedp.WSURLReadTimeout(time.Minute),
	}, flags...)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() { // graceful: the user's directory is removed after this
		_ = chromedp.Cancel(ctx)
		cancel()
	})
	require.NoError(t, chromedp.Do(ctx))
	return &browser{t, ctx}
}

// tab is a page of the browser.
type tab struct {
	t    *testing.T
	b    *browser
	ctx  context.Context
	mu   sync.Mutex
	loud []string // what it complained about
	sent []string // the URLs it asked for
}

// open goes to a URL in a new tab.
func (b *browser) open(rawURL string) *tab {
	b.t.Helper()
	p := b.tab()
	p.do(chromedp.EmulateViewport(1000, 900), chromedp.Navigate(rawURL))
	return p
}

// tab is a page that is watched from its first moment.
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
			if m.Source != "network" { // a status of 4xx is no complaint
				p.mu.Lock()
				p.loud = append(p.loud, m.String())
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

func (p *tab) hear(event any) {
	if e, ok := event.(*network.EventRequestWillBeSent); ok {
		p.mu.Lock()
		p.sent = append(p.sent, e.Request.URL)
		p.mu.Unlock()
	}
}

// calm asserts that the page complained about nothing: a violation of its
// policy, an exception.
func (p *tab) calm() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	// A hint to authors of pages: the panel has no forms on purpose, for a host
	// may put it into its own.
	loud := slices.DeleteFunc(slices.Clone(p.loud), func(s string) bool {
		return strings.HasPrefix(s, "debug:") && strings.Contains(s, "Password field is not contained in a form")
	})
	assert.Empty(p.t, loud, "console")
}

// quiet is calm, and that the page asked nobody but its own origin.
func (p *tab) quiet() {
	p.t.Helper()
	p.calm()
	p.mu.Lock()
	defer p.mu.Unlock()
	var at string
	for _, s := range p.sent {
		u, err := url.Parse(s)
		require.NoError(p.t, err)
		if at == "" {
			at = u.Host
		}
		assert.Equal(p.t, at, u.Host, "%s is asked by the page", s)
	}
}

// do carries steps out, each in its time.
func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	_ = value(p, chromedp.Steps(steps...))
}

// value is what an action finds.
func value[T any](p *tab, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 40*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		p.shot("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
		ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
		defer cancel()
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
		require.NoError(p.t, err, "the page says: %s", text)
	}
	return v
}

// eval is the value of an expression, or of what it promises.
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

func (p *tab) text(selector string) string {
	p.t.Helper()
	return strings.TrimSpace(value(p, chromedp.Text(chromedp.CSS(selector))))
}

// sees waits until an element is seen.
func (p *tab) sees(selector string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// until waits until an expression is true.
func (p *tab) until(js string) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); !eval[bool](p, "Boolean("+js+")"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.shot("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
			require.Fail(p.t, "never true", "%s; the page says: %s", js, eval[string](p, "document.body.innerText"))
		}
	}
}

// front shows the tab before the others of its browser.
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

// opened waits for the tab that an act in p opens to show a page, and takes
// it. Before that it may still be moved to another process.
func (p *tab) opened(act func()) *tab {
	p.t.Helper()
	pages := func() map[target.ID]string {
		ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
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
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for id, at := range pages() {
			if _, old := before[id]; !old && strings.HasPrefix(at, "http") {
				return p.b.tab(chromedp.WithTargetID(id))
			}
		}
	}
	require.Fail(p.t, "no tab was opened")
	return nil
}

// connect presses the panel's button, and returns the tab of Plex's page.
func (p *tab) connect() *tab {
	p.t.Helper()
	p.state("idle")
	link := p.opened(func() { p.click("#btn-connect-plex") })
	p.state("pending")
	return link
}

// approve does what a person does on the fake's own page, where p shows it.
func (p *tab) approve(name string) {
	p.t.Helper()
	p.sees("fieldset")
	p.do(chromedp.Click(chromedp.Search(fmt.Sprintf(`//label[starts-with(normalize-space(), %q)]`, name))))
	p.click("button[type=submit]")
}

// look sets how wide the page is shown, and in which theme.
func (p *tab) look(width, height int64, theme string) {
	p.t.Helper()
	p.do(
		chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2)),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
			}})
			return err
		}),
	)
}

// shot keeps a picture of the whole page.
func (p *tab) shot(name string) []byte {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	yes := true
	png, err := chromedp.Run(ctx, chromedp.Action[[]byte](func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		if _, err := cdp.Call(ctx, t, page.BringToFront, cdp.Empty{}); err != nil {
			return nil, err
		}
		m, err := cdp.Call(ctx, t, page.GetLayoutMetrics, cdp.Empty{})
		if err != nil {
			return nil, err
		}
		r, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{
			CaptureBeyondViewport: &yes,
			Clip:                  &page.Viewport{Width: m.CSSContentSize.Width, Height: m.CSSContentSize.Height, Scale: 1},
		})
		return r.Data, err
	}))
	if !assert.NoError(p.t, err) {
		return nil
	}
	require.NoError(p.t, os.MkdirAll(artefacts, 0o755))
	require.NoError(p.t, os.WriteFile(filepath.Join(artefacts, name+".png"), png, 0o644))
	return png
}

// shots keeps pictures of a state in both themes and two widths, and has axe
// and a ruler look at each.
func (p *tab) shots(name string) {
	p.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 1000} {
			p.look(width, 700, theme)
			p.shot(fmt.Sprintf("%s-%s-%d", name, theme, width))
			p.fits(name)
			p.accessible(fmt.Sprintf("%s, %s, %d px", name, theme, width))
		}
	}
}

// fits asserts that nothing is wider than the page.
func (p *tab) fits(name string) {
	p.t.Helper()
	over := eval[[]string](p, `[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName + "#" + e.id + "." + e.className)`)
	assert.Empty(p.t, over, "%s: wider than the page", name)
}

// accessible asserts that axe finds nothing serious.
func (p *tab) accessible(name string) {
	p.t.Helper()
	source := axeSource(p.t)
	if source == "" {
		return
	}
	eval[any](p, source+"; 0") // not a script of the page: no policy forbids it
	raw := eval[string](p, `axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html)}))))`)
	var found []struct {
		ID, Impact, Help string
		Nodes            []string
	}
	require.NoError(p.t, json.Unmarshal([]byte(raw), &found))
	assert.Empty(p.t, found, "axe: %s", name)
}

// axeSource is axe-core, which must be there where all must be.
func axeSource(t testing.TB) string {
	b, err := os.ReadFile(filepath.Join(nodeDir, "node_modules", "axe-core", "axe.min.js"))
	if err != nil && os.Getenv("PLEXAUTH_CI") == "1" {
		t.Fatalf("needs axe-core (npm ci in internal/integration/node): %v", err)
	}
	if err != nil {
		t.Logf("not looked at by axe: %v", err)
	}
	return string(b)
}
