package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G19: the whole login, through the fake's own page, without a request of the
// panel's page to anybody else, and without a complaint in its console.
func TestWebLogin(t *testing.T) {
	s := newSite(t)
	box := s.box(s.alice, "Box", "192.168.1.5")
	p := newBrowser(t).open(s.url)
	p.state("idle")
	eval[any](p, `window.heard = []; for (const e of ["pending", "connected", "disconnected", "problem"]) document.addEventListener("plexauth:" + e, ev => heard.push(e)); 0`)
	link := p.connect()
	code := s.plex.PendingCodes()[0]
	assert.Equal(t, code, p.text("#plex_qc_code"))
	assert.Equal(t, s.plex.URL()+"/link/?pin="+code, eval[string](p, `document.querySelector('[data-part="open"]').href`))
	p.until(`document.querySelector('[data-part="qr"]').naturalWidth > 0`)
	link.sees("fieldset")
	assert.Equal(t, s.plex.URL()+"/link/?pin="+code, eval[string](link, "location.href"), "the tab that the click opened shows Plex")
	assert.True(t, eval[bool](link, "window.opener === null"))
	link.approve("alice")
	p.state("connected")
	p.front()
	assert.Equal(t, "alice", p.text(`[data-part="user"]`))
	p.until(`document.querySelector('[data-part="server"]').textContent.startsWith("Box")`)
	assert.Contains(t, eval[string](p, "document.title"), "Connected")

	p.click(`[data-part="test"]`)
	p.until(`document.querySelectorAll('[data-part="results"] li').length === 2`)
	assert.Zero(t, eval[int](p, `document.querySelectorAll('[data-part="results"] .bad').length`))

	p.click("#btn-delete-plex")
	p.click(`[data-part="confirm"] button[value="no"]`)
	p.state("connected")
	p.click("#btn-delete-plex")
	p.click(`[data-part="confirm"] button[value="yes"]`)
	p.state("idle")
	assert.Equal(t, []string{"pending", "connected", "disconnected"}, eval[[]string](p, "heard"))
	settings, err := s.auth.Settings(t.Context())
	require.NoError(t, err)
	assert.True(t, settings.AccountToken.IsZero())
	assert.Equal(t, box.MachineID, settings.MachineID)
	assert.Empty(t, s.plex.Token(s.alice, settings.ClientID), "signed out at Plex, too")
	p.quiet()
	assert.Empty(t, s.plex.Violations())
}

// G19, G8: it needs no popup, and no opener.
func TestWebPopupsBlocked(t *testing.T) {
	s := newSite(t)
	p := newBrowser(t).tab()
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: "window.open = () => null"})
		return err
	}), chromedp.Navigate(s.url))
	p.state("idle")
	p.click("#btn-connect-plex")
	p.state("pending")
	assert.Contains(t, p.text("#plex_qc_help"), "blocked the new tab")
	link := p.opened(func() { p.click(`[data-part="open"]`) }) // a plain link
	link.approve("alice")
	p.state("connected")
	p.quiet()
}

// G8: the tab is closed before anybody approves.
func TestWebTabClosed(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	p := b.open(s.url)
	link := p.connect()
	p.close()
	link.approve("alice")
	s.connected()
	p = b.open(s.url)
	p.state("connected")
	p.quiet()
}

// Two tabs show one login.
func TestWebTwoTabs(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t)
	p := b.open(s.url)
	p.state("idle")
	q := b.open(s.url)
	q.state("idle")
	p.front()
	link := p.connect()
	q.front()
	q.state("pending")
	assert.Equal(t, p.text("#plex_qc_code"), q.text("#plex_qc_code"))
	link.front()
	link.approve("bob")
	p.front()
	p.state("connected")
	q.front()
	q.state("connected")
	p.quiet()
	q.quiet()
}

// G7: the countdown is the PIN's own, and at its end there is a new code to be
// had.
func TestWebExpiry(t *testing.T) {
	s := newSite(t)
	s.plex.SetPinLifetime(13*time.Second, 0)
	p := newBrowser(t).open(s.url)
	p.state("idle")
	began := time.Now()
	p.click("#btn-connect-plex")
	p.state("pending")
	assert.Regexp(t, `^0:1[0-3] left$`, p.text("#plex_qc_timer"))
	old := p.text("#plex_qc_code")
	p.state("expired")
	assert.InDelta(t, 13, time.Since(began).Seconds(), 3)
	assert.Contains(t, p.text(`[data-part="problem"]`), "expired")
	p.front()
	p.shots("expired")
	p.click("#btn-plex-restart")
	p.state("pending")
	assert.NotEqual(t, old, p.text("#plex_qc_code"))
	p.quiet()
}

// G3: a login that the program has begun for the web page can be approved from
// the panel, and its long code is not shown to be typed.
func TestWebStrong(t *testing.T) {
	s := newSite(t)
	_, err := s.auth.Start(t.Context(), plexauth.PinOptions{Strong: true})
	require.NoError(t, err)
	p := newBrowser(t).open(s.url)
	p.state("pending")
	code := s.plex.PendingCodes()[0]
	assert.NotContains(t, eval[string](p, "document.body.innerText"), code)
	assert.NotContains(t, p.text("#plex_qc_help"), "plex.tv/link")
	link := p.opened(func() { p.click(`[data-part="open"]`) })
	link.approve("alice")
	p.state("connected")
	p.quiet()
}

// Cancel ends the login, and a new code is waited for, not refused.
func TestWebCancel(t *testing.T) {
	s := newSite(t)
	p := newBrowser(t).open(s.url)
	p.state("idle")
	p.click("#btn-connect-plex")
	p.state("pending")
	p.front()
	p.click("#btn-plex-cancel")
	p.state("idle")
	p.click("#btn-connect-plex")
	p.state("starting")
	p.state("pending")
	p.quiet()
}

// G19: under a sub-path, behind a proxy that ends TLS, isolated from whatever
// it opens.
func TestWebProxy(t *testing.T) {
	s := newSite(t)
	proxy := httptest.NewTLSServer(isolated(s.proxied("/deep/er/", nil)))
	t.Cleanup(func() { end(proxy) })
	p := newBrowser(t, chromedp.IgnoreCertErrors).open(proxy.URL + "/deep/er/")
	link := p.connect()
	link.approve("alice")
	p.state("connected")
	p.quiet()
}

// isolated puts a page into a browsing context group of its own.
func isolated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Cross-Origin-Embedder-Policy", "require-corp")
		h.ServeHTTP(w, r)
	})
}

// G19: the same behind one that rewrites Host, which TrustedOrigins is for.
func TestWebProxyRewritesHost(t *testing.T) {
	var s *site
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.proxied("/", func(r *httputil.ProxyRequest) { r.Out.Host = "10.9.8.7:4711" }).ServeHTTP(w, r)
	}))
	proxy.Start()
	t.Cleanup(func() { end(proxy) })
	u, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	origin := "http://panel.lan:" + u.Port()
	s = newSite(t, func(o *plexauth.Options) { o.TrustedOrigins = []string{origin} })
	p := newBrowser(t, chromedp.Flag("host-resolver-rules", "MAP panel.lan 127.0.0.1")).open(origin + "/")
	p.state("idle")
	p.click("#btn-connect-plex")
	p.state("pending")
	p.quiet()
}

// G19: on a plain-http LAN a browser says less of where a request comes from,
// and has no clipboard.
func TestWebPlainHTTP(t *testing.T) {
	s := newSite(t)
	b := newBrowser(t, chromedp.Flag("host-resolver-rules", "MAP panel.lan 127.0.0.1"))
	p := b.open(strings.Replace(s.url, "127.0.0.1", "panel.lan", 1))
	p.state("idle")
	require.False(t, eval[bool](p, "isSecureContext"))
	link := p.connect()
	p.front()
	eval[any](p, `document.addEventListener("copy", () => { window.copied = getSelection().toString() || document.activeElement.value }); 0`)
	p.click("#plex_qc_copy")
	p.until(`document.querySelector("#plex_qc_copy").textContent === "Copied"`)
	assert.Equal(t, p.text("#plex_qc_code"), eval[string](p, "copied"))
	link.approve("alice")
	p.state("connected")
	p.quiet()
}

// G19: the fragment in a host's own page, put there late, under a policy that
// allows nothing else, in the host's theme.
func TestWebHostPage(t *testing.T) {
	s := newSite(t)
	mux := http.NewServeMux()
	mux.Handle("/plex/", http.StripPrefix("/plex", s.panel))
	mux.HandleFunc("/settings.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fragment, _ := json.Marshal(plexauth.HTML())
		fmt.Fprintf(w, `setTimeout(() => { document.querySelector("#here").innerHTML = %s; }, 300);`, fragment)
	})
	mux.HandleFunc("/settings.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		_, _ = io.WriteString(w, `:root { --plexauth-accent: #3f51b5; --plexauth-on-accent: #ffffff; --plexauth-radius: 0; } body { margin: 0 auto; max-width: 60rem; font-family: serif; }`)
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'")
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin-allow-popups")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en" data-theme="dark"><title>Settings</title><link rel="stylesheet" href="/settings.css"><script type="module" src="/plex/panel.js"></script><script src="/settings.js" defer></script><h1>Settings</h1><main id="here"></main>`)
	})
	p := newBrowser(t).open(s.serve(mux))
	p.state("idle")
	assert.Equal(t, "rgb(63, 81, 181)", eval[string](p, `getComputedStyle(document.querySelector("#btn-connect-plex")).backgroundColor`))
	assert.Equal(t, "dark", eval[string](p, `getComputedStyle(document.querySelector(".plexauth")).colorScheme`))
	link := p.connect()
	p.shot("host-page")
	link.approve("alice")
	p.state("connected")
	assert.Equal(t, "alice", eval[string](p, `document.querySelector("#plex_username").value`))

	// The host takes the fragment away, and brings another.
	eval[any](p, `document.querySelector("#here").replaceChildren(); 0`)
	eval[any](p, `const s = document.createElement("script"); s.src = "/settings.js"; document.head.append(s); 0`)
	p.state("connected")
	p.quiet()
}

// By keyboard alone, with the focus never lost.
func TestWebKeyboard(t *testing.T) {
	s := newSite(t)
	s.box(s.alice, "Attic", "192.168.1.5")
	s.box(s.alice, "Cellar", "192.168.1.6")
	p := newBrowser(t).open(s.url)
	p.state("idle")
	press := func(keys ...string) {
		t.Helper()
		for _, k := range keys {
			p.do(chromedp.KeyEvent(k))
		}
	}
	focus := func(selector string) {
		t.Helper()
		p.until(fmt.Sprintf("document.activeElement.matches(%q)", selector))
	}
	reach := func(selector string) { // with Tab
		t.Helper()
		for range 40 {
			if eval[bool](p, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
				assert.NotEqual(t, "none", eval[string](p, `getComputedStyle(document.activeElement.type === "radio" ? document.activeElement.parentElement : document.activeElement).outlineStyle`), "the focus is seen")
				return
			}
			press(kb.Tab)
		}
		require.Fail(t, "not reached", selector)
	}
	reach("#btn-connect-plex")
	press(kb.Enter)
	p.state("pending")
	p.front()
	focus(`[data-part="open"]`)
	reach("#btn-plex-cancel")
	press(" ")
	p.state("idle")
	focus("#btn-connect-plex")
	press(kb.Enter)
	p.state("pending")
	require.NoError(t, s.plex.Approve(s.plex.PendingCodes()[1], s.alice))
	p.front()
	p.state("connected")
	p.sees(`[data-part="server-list"] label`)
	focus(`[data-part="test"]`)
	reach(`[data-part="server-list"] input`)
	press(kb.ArrowDown)
	reach(`[data-part="server-form"] button`)
	press(kb.Enter)
	p.until(`document.querySelector('[data-part="server"]').textContent.startsWith("Cellar")`)
	focus(`[data-part="change-server"]`)
	reach("#btn-delete-plex")
	press(kb.Enter)
	p.sees(`[data-part="confirm"]`)
	press(kb.Escape)
	focus("#btn-delete-plex")
	p.state("connected")
	p.quiet()
}

// What the panel looks like in each state: pictures of all of them in both
// themes, on a phone and on a desktop, none wider than the page, and axe finds
// nothing.
func TestWebStates(t *testing.T) {
	s := newSite(t)
	s.box(s.alice, "Attic", "192.168.1.5")
	s.box(s.alice, "Cellar", "192.168.1.6")
	s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice, HomePIN: "4711"})
	s.plex.AddUser(plextest.User{Title: "Grandma", HomeAdmin: s.alice})
	p := newBrowser(t).open(s.url)
	p.state("idle")
	p.shots("idle")

	s.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 502, Body: "<html>", ContentType: "text/html"})
	p.click("#btn-connect-plex")
	p.sees(`[data-part="problem"]`)
	p.shots("unreachable")

	link := p.connect()
	p.shots("pending")
	p.look(760, 560, "light")
	font := `document.documentElement.style.setProperty("--plexauth-font", %q); 0`
	eval[any](p, fmt.Sprintf(font, "Inter, system-ui, sans-serif")) // as most systems have it, or like it
	picture(t, p.shot("readme"))
	eval[any](p, fmt.Sprintf(font, ""))

	s.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: 503, Times: -1})
	p.sees(`[data-part="problem"]`)
	p.shots("pending-trouble")
	s.plex.ResetFaults()

	link.approve("alice")
	p.state("connected")
	p.sees(`[data-part="server-list"] label`)
	p.shots("server-choice")

	p.click(`[data-part="server-list"] label:nth-child(2)`)
	p.click(`[data-part="server-form"] button`)
	p.until(`document.querySelector('[data-part="server"]').title.includes("192-168-1-6")`)
	p.shots("connected")

	p.click(`[data-part="test"]`)
	p.until(`document.querySelectorAll('[data-part="results"] li').length > 1`)
	p.shots("tested")
	s.plex.Inject(plextest.Fault{Path: "/identity", Reset: true, Times: -1})
	p.click(`[data-part="test"]`)
	p.sees(`[data-part="results"] .bad`)
	p.shots("tested-unreachable")
	s.plex.ResetFaults()

	p.click("#plex_user_pick_btn")
	p.sees(`[data-part="user-list"] label`)
	p.click(`[data-part="user-list"] label:nth-child(2)`)
	p.sees("#plex_home_pin")
	p.do(chromedp.SendKeys(chromedp.CSS("#plex_home_pin"), "0000"))
	p.click(`[data-part="user-form"] button`)
	p.sees(`[data-part="problem"]`)
	p.shots("user-wrong-pin")
	p.do(chromedp.SendKeys(chromedp.CSS("#plex_home_pin"), "4711"))
	p.click(`[data-part="user-form"] button`)
	p.until(`document.querySelector('[data-part="works-for"]').textContent === "Kid"`)
	assert.Empty(t, eval[string](p, `document.querySelector("#plex_home_pin").value`))

	p.click("#btn-delete-plex")
	p.sees(`[data-part="confirm"]`)
	p.shots("disconnect")
	p.click(`[data-part="confirm"] button[value="no"]`)

	s.plex.Revoke(s.alice)
	_, err := s.auth.Verify(t.Context())
	require.Error(t, err)
	p.state("rejected")
	p.shots("rejected")

	// Approved by somebody else than before.
	p.click("#btn-connect-plex")
	p.state("pending")
	require.NoError(t, s.plex.Approve(p.text("#plex_qc_code"), s.bob))
	p.until(`document.querySelector('[data-part="problem-title"]').textContent.includes("another Plex account")`)
	p.shots("another-account")
	p.click(`[data-part="problem-action"]`)
	p.state("pending")
	require.NoError(t, s.plex.Approve(p.text("#plex_qc_code"), s.bob))
	p.state("connected")
	assert.Equal(t, "bob", p.text(`[data-part="user"]`))
	p.quiet()
}

// picture is the one of the README, and is written with PLEXAUTH_WRITE=1.
func picture(t *testing.T, png []byte) {
	t.Helper()
	assert.Less(t, len(png), 150<<10, "a small file")
	if os.Getenv("PLEXAUTH_WRITE") == "1" {
		require.NoError(t, os.MkdirAll("../../docs", 0o755))
		require.NoError(t, os.WriteFile("../../docs/panel.png", png, 0o644))
	}
}

// What is wrong with the program itself is said, and nothing is set up over it.
func TestWebStoreTrouble(t *testing.T) {
	t.Run("cannot be written", func(t *testing.T) {
		s := newSite(t, func(o *plexauth.Options) { o.Store = unwritable{o.Store} })
		p := newBrowser(t).open(s.url)
		p.state("idle")
		p.click("#btn-connect-plex")
		p.sees(`[data-part="problem"]`)
		assert.Contains(t, p.text(`[data-part="problem-title"]`), "cannot be read or saved")
		p.click(`[data-part="problem-more"] summary`)
		assert.Contains(t, p.text(`[data-part="problem-detail"]`), "read-only")
		p.shots("store-unwritable")
		assert.Empty(t, s.plex.PendingCodes())
		p.quiet()
	})
	t.Run("cannot be written any more", func(t *testing.T) {
		var store *filled
		s := newSite(t, func(o *plexauth.Options) {
			store = &filled{ConfigStore: o.Store}
			o.Store = store
		})
		p := newBrowser(t).open(s.url)
		link := p.connect()
		store.full.Store(true)
		link.approve("alice")
		p.front()
		p.state("saving")
		assert.Contains(t, p.text(`[data-part="problem-text"]`), "Plex has approved")
		assert.False(t, eval[bool](p, `document.querySelector("#plex_qc_code").checkVisibility()`), "there is nothing to confirm any more")
		assert.True(t, eval[bool](p, `document.activeElement.matches('[data-part="problem"]')`), "the focus is not lost")
		p.shots("saving")
		store.full.Store(false)
		p.state("connected")
		p.quiet()
	})
	// G18
	t.Run("cannot be read", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config.json")
		require.NoError(t, os.WriteFile(path, []byte(`{"plex": {"account_tok`), 0o600))
		s := newSite(t, func(o *plexauth.Options) { o.Store = plexauth.NewFileStore(path) })
		p := newBrowser(t).open(s.url)
		p.state("broken")
		assert.Contains(t, p.text(`[data-part="problem-title"]`), "cannot be read")
		assert.False(t, eval[bool](p, `document.querySelector("#btn-connect-plex").checkVisibility()`), "nothing can be begun")
		p.shots("store-corrupt")
		require.NoError(t, os.WriteFile(path, []byte(`{}`), 0o600))
		p.state("idle") // by itself
	})
	t.Run("the program stops", func(t *testing.T) {
		s := newSite(t)
		server := httptest.NewServer(s.panel)
		p := newBrowser(t).open(server.URL + "/")
		p.state("idle")
		end(server)
		p.until(`document.querySelector('[data-part="problem-title"]').textContent.includes("does not answer")`)
		p.shots("program-stopped")
	})
}

// The program's own login, in front of the panel, runs out while its tab is open,
// and answers in the panel's place: that is said, and asked again at a slow pace
// until the panel answers.
func TestWebLoginInFrontRunsOut(t *testing.T) {
	elsewhere := loginPage(t)
	for name, gate := range map[string]struct {
		status int
		body   string
		to     string // where it redirects
	}{
		"an error of its own":                   {http.StatusUnauthorized, `{"ok":false,"error":"Unauthorized"}`, ""},
		"an error object":                       {http.StatusUnauthorized, `{"error":{"code":401,"message":"login required"}}`, ""},
		"an error of both":                      {http.StatusUnauthorized, `{"error":"Unauthorized","message":"Log in."}`, ""},
		"an error in our form":                  {http.StatusForbidden, `{"error":"forbidden","message":"No session."}`, ""},
		"JSON with 200":                         {http.StatusOK, `{"login":"required"}`, ""},
		"an error with 200":                     {http.StatusOK, `{"error":"login","message":"Sign in again."}`, ""},
		"nothing":                               {http.StatusUnauthorized, `null`, ""},
		"a page":                                {http.StatusOK, `<!doctype html><title>Sign in</title>`, ""},
		"a page with 403":                       {http.StatusForbidden, `<!doctype html><title>Sign in</title>`, ""},
		"a redirect to another origin":          {http.StatusFound, "", elsewhere},
		"a redirect that keeps the method":      {http.StatusTemporaryRedirect, "", elsewhere},
		"a redirect to a page of the same host": {http.StatusSeeOther, "", "/plex/"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.link(s.alice)
			var out atomic.Bool
			var asked atomic.Int32
			at := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !out.Load() || strings.HasSuffix(r.URL.Path, "/") || !strings.HasPrefix(r.URL.Path, "/plex/") {
					s.panel.ServeHTTP(w, r)
					return
				}
				asked.Add(1)
				w.Header().Set("Content-Type", "application/json")
				if gate.to != "" {
					w.Header().Set("Location", gate.to)
				}
				w.WriteHeader(gate.status)
				_, _ = io.WriteString(w, gate.body)
			}))
			p := newBrowser(t).open(at + "/plex/")
			p.state("connected")
			out.Store(true)
			_, err := s.auth.Disconnect(t.Context()) // ends the long poll
			require.NoError(t, err)
			said := func() {
				t.Helper()
				p.sees(`[data-part="problem"]`)
				assert.Equal(t, "Sign in to My App again", p.text(`[data-part="problem-title"]`))
				assert.Contains(t, strings.ToLower(p.text(`[data-part="problem-text"]`)), "sign in")
				assert.NotRegexp(t, "broken|stopped", p.text(`[data-part="problem"]`))
				assert.Equal(t, "Reload the page", p.text(`[data-part="problem-action"]`))
			}
			said()
			time.Sleep(2 * time.Second)
			assert.LessOrEqual(t, asked.Load(), int32(3))
			out.Store(false)
			p.until(`!document.querySelector('[data-part="problem"]').checkVisibility()`) // by itself
			p.state("idle")

			out.Store(true)
			p.click("#btn-connect-plex")
			said()
			out.Store(false)
			p.click("#btn-connect-plex")
			p.state("pending")
			p.calm()
		})
	}
}

// filled is a store whose disk can be full.
type filled struct {
	plexauth.ConfigStore
	full atomic.Bool
}

func (s *filled) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	if s.full.Load() {
		return errors.New("no space left on device")
	}
	return s.ConfigStore.Update(ctx, namespace, edit)
}

type unwritable struct{ plexauth.ConfigStore }

func (unwritable) Check(context.Context) error {
	return errors.New("/config/config.json: read-only file system (uid 1000, mode 0600); mount the directory, not the file")
}
