package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// proxy stands between the browser and the panel. What plays answers is not passed
// on.
type proxy struct {
	panel http.Handler
	plays atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	polls atomic.Int32 // so far
	held  atomic.Int32 // polls under way
}

func (p *proxy) play(f func(http.ResponseWriter, *http.Request) bool) { p.plays.Store(&f) }

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/status") {
		p.polls.Add(1)
		p.held.Add(1)
		defer p.held.Add(-1)
	}
	if f := p.plays.Load(); f != nil && (*f)(w, r) {
		return
	}
	p.panel.ServeHTTP(w, r)
}

// behind serves the site's panel behind a proxy, and returns the page's URL.
func (s *site) behind() (*proxy, string) {
	p := &proxy{panel: http.StripPrefix("/plex", s.panel)}
	return p, s.serve(p) + "/plex/"
}

// lose never answers a request of that name.
func lose(name string) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/"+name) {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // the server sees the end of the connection after that only
		<-r.Context().Done()
		return true
	}
}

// openWith opens a page in which a script runs first.
func (b *browser) openWith(source, rawURL string) *tab {
	b.t.Helper()
	p := b.tab()
	p.do(chromedp.EmulateViewport(1000, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: source})
		return err
	}), chromedp.Navigate(rawURL))
	return p
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	require.Eventually(t, done, time.Minute, 20*time.Millisecond)
}

// hurried makes the timers of a page run ten times as fast.
const hurried = `{ const real = setTimeout; window.setTimeout = (f, ms, ...args) => real(f, ms / 10, ...args); }`

// alarms notes what the panel reports, and returns how to read that.
func (p *tab) alarms() func() []string {
	p.t.Helper()
	eval[any](p, `window.alarms = []; setInterval(() => { const box = document.querySelector('[data-part="problem"]'); if (box.checkVisibility() && alarms.at(-1) !== box.innerText) alarms.push(box.innerText); }, 20); 0`)
	return func() []string { return eval[[]string](p, "alarms") }
}

// inView asserts that an element can be seen without scrolling.
func (p *tab) inView(selector string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`(() => { const e = document.querySelector(%q); const r = e.getBoundingClientRect(); return e.checkVisibility() && r.height > 0 && r.top >= -1 && r.bottom <= innerHeight + 1; })()`, selector))
}

// A long poll whose answer is lost is given up, and what it would have said is
// noticed all the same.
func TestWebLostPoll(t *testing.T) {
	s := newSite(t)
	way, at := s.behind()
	p := newBrowser(t).openWith(hurried, at)
	p.state("idle")
	way.play(lose("status"))
	p.click("#btn-connect-plex")
	p.state("pending")
	p.front()
	eventually(t, func() bool { return way.held.Load() > 0 })
	way.play(passOn)
	require.NoError(t, s.plex.Approve(p.text("#plex_qc_code"), s.alice))
	p.state("connected")
	p.quiet()
}

// passOn answers nothing itself.
func passOn(http.ResponseWriter, *http.Request) bool { return false }

// A button whose answer is lost says so, below itself, and works when it is
// pressed again.
func TestWebLostAnswers(t *testing.T) {
	s := newSite(t)
	s.box(s.alice, "Attic", "192.168.1.5")
	s.box(s.alice, "Cellar", "192.168.1.6")
	s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice})
	way, at := s.behind()
	p := newBrowser(t).openWith(hurried, at)
	p.state("idle")
	lost := func(name, button string) {
		t.Helper()
		p.until(fmt.Sprintf(`!document.querySelector(%q).hasAttribute("aria-disabled")`, button))
		way.play(lose(name))
		p.click(button)
		p.front()
		p.until(`document.querySelector('[data-part="problem-text"]').checkVisibility()`)
		assert.Contains(t, p.text(`[data-part="problem-text"]`), "No answer came from My App", name)
		p.inView(`[data-part="problem"]`)
		way.play(passOn)
	}
	lost("start", "#btn-connect-plex")
	p.click("#btn-connect-plex")
	p.state("pending")
	p.front()
	lost("cancel", "#btn-plex-cancel")
	require.NoError(t, s.plex.Approve(p.text("#plex_qc_code"), s.alice))
	p.state("connected")
	p.sees(`[data-part="server-list"] label`)
	p.click(`[data-part="server-list"] label`)
	lost("server", `[data-part="server-form"] [data-do]`)
	p.click(`[data-part="server-form"] [data-do]`)
	p.until(`!document.querySelector('[data-part="servers"]').checkVisibility()`)
	lost("probe", `[data-part="test"]`)
	p.click(`[data-part="test"]`)
	p.until(`document.querySelectorAll('[data-part="results"] li').length > 1`)
	lost("users", "#plex_user_pick_btn")
	p.click(`[data-part="problem-action"]`)
	p.sees(`[data-part="user-list"] label`)
	p.quiet()
}

// A proxy that cuts long polls short, in whatever way, is no trouble, and what
// happens is noticed.
func TestWebPollsAreCut(t *testing.T) {
	s := newSite(t)
	way, at := s.behind()
	p := newBrowser(t).open(at)
	p.state("idle")
	alarms := p.alarms()
	var cuts atomic.Int32
	way.play(func(w http.ResponseWriter, r *http.Request) bool {
		if r.FormValue("wait") == "" {
			return false
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		rec := httptest.NewRecorder()
		way.panel.ServeHTTP(rec, r.WithContext(ctx))
		if ctx.Err() == nil {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(rec.Body.Bytes())
			return true
		}
		switch status := []int{http.StatusGatewayTimeout, 0, http.StatusBadGateway, http.StatusServiceUnavailable, 524, http.StatusRequestTimeout}[cuts.Add(1)%6]; status {
		case 0:
			panic(http.ErrAbortHandler) // closes the connection
		default:
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>upstream request timeout")
		}
		return true
	})
	for range 2 {
		before := cuts.Load()
		eventually(t, func() bool { return cuts.Load() >= before+4 })
		if eval[string](p, `document.querySelector("[data-plexauth]").dataset.state`) == "idle" {
			p.click("#btn-connect-plex")
			p.state("pending")
			p.front()
		}
	}
	require.NoError(t, s.plex.Approve(p.text("#plex_qc_code"), s.alice))
	p.state("connected")
	assert.Empty(t, alarms())
	p.quiet()
}

// A login in front of the panel that renews itself by a redirect lets the page go on
// without a person.
func TestWebLoginInFrontRenews(t *testing.T) {
	s := newSite(t)
	s.link(s.alice)
	way, at := s.behind()
	p := newBrowser(t).open(at)
	p.state("connected")
	var renewed atomic.Int32
	way.play(func(w http.ResponseWriter, r *http.Request) bool {
		if _, err := r.Cookie("session"); err == nil || r.Method != http.MethodGet {
			return false
		}
		renewed.Add(1)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "TEST", Path: "/"})
		http.Redirect(w, r, r.URL.RequestURI(), http.StatusFound)
		return true
	})
	_, err := s.auth.Disconnect(t.Context()) // ends the long poll
	require.NoError(t, err)
	p.state("idle")
	assert.Positive(t, renewed.Load())
	p.until(`!document.querySelector('[data-part="problem"]').checkVisibility()`)
	p.quiet()
}

// The browser tells when the network is back. The report is gone at once then,
// however long the pauses have become.
func TestWebBackOnline(t *testing.T) {
	s := newSite(t)
	way, at := s.behind()
	p := newBrowser(t).open(at)
	p.state("idle")
	way.play(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	_, err := s.auth.Start(t.Context(), plexauth.PinOptions{}) // ends the long poll
	require.NoError(t, err)
	p.sees(`[data-part="problem"]`)
	before := way.polls.Load()
	eventually(t, func() bool { return way.polls.Load() >= before+3 })
	way.play(passOn)
	eval[any](p, `window.dispatchEvent(new Event("online")); 0`)
	began := time.Now()
	p.until(`!document.querySelector('[data-part="problem"]').checkVisibility()`)
	assert.Less(t, time.Since(began), 3*time.Second)
	p.state("pending")
	p.quiet()
}

// Nothing is left behind by a poll, however many there are.
func TestWebPollsLeaveNothing(t *testing.T) {
	s := newSite(t)
	way, at := s.behind()
	p := newBrowser(t).openWith(`{
		window.added = 0;
		const real = EventTarget.prototype.addEventListener;
		EventTarget.prototype.addEventListener = function (...args) { window.added++; return real.apply(this, args); };
	}`, at)
	p.state("idle")
	way.play(func(w http.ResponseWriter, r *http.Request) bool {
		q := r.URL.Query() // and not FormValue, which the panel would read again
		q.Del("wait")
		r.URL.RawQuery = q.Encode()
		return false
	})
	p.click("#btn-connect-plex")
	p.state("pending")
	p.front()
	before, polls := eval[int](p, "added"), way.polls.Load()
	eventually(t, func() bool { return way.polls.Load() >= polls+50 })
	assert.Less(t, eval[int](p, "added")-before, 10)
	p.quiet()
}

// Browsers keep six connections to a host. However many tabs show a pending login,
// only the one that is seen holds one, and the others notice its end.
func TestWebManyTabs(t *testing.T) {
	s := newSite(t)
	way, at := s.behind()
	b := newBrowser(t)
	var tabs []*tab
	front := func(seen *tab) {
		for _, p := range tabs {
			eval[any](p, fmt.Sprintf("hide(%t); 0", p != seen))
		}
		seen.front()
	}
	for range 7 { // a headless browser takes all its tabs for visible
		p := b.openWith(`{
			let hidden = false;
			Object.defineProperty(document, "hidden", { get: () => hidden });
			window.hide = (on) => { if (hidden !== on) { hidden = on; document.dispatchEvent(new Event("visibilitychange")); } };
		}`, at)
		p.state("idle")
		tabs = append(tabs, p)
		front(p)
	}
	front(tabs[0])
	eval[any](tabs[0], `document.querySelector("#btn-connect-plex").addEventListener("click", () => hide(true)); 0`) // the tab of Plex does
	tabs[0].click("#btn-connect-plex")
	tabs[0].state("pending")
	eventually(t, func() bool { return len(s.plex.PendingCodes()) == 1 })
	require.NoError(t, s.plex.Approve(s.plex.PendingCodes()[0], s.alice))
	tabs[0].state("connected") // though it is hidden
	_, err := s.auth.Disconnect(t.Context())
	require.NoError(t, err)
	_, err = s.auth.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	for _, p := range tabs {
		front(p)
		p.state("pending")
	}
	front(tabs[0])
	require.Eventually(t, func() bool { return way.held.Load() <= 1 }, 5*time.Second, 10*time.Millisecond)
	began := time.Now()
	tabs[0].click("#btn-plex-cancel")
	tabs[0].state("idle")
	assert.Less(t, time.Since(began), 5*time.Second)
	for _, p := range tabs {
		p.state("idle")
		p.calm()
	}
}

// At 320 x 640 a failure can be read without scrolling, wherever the button is.
func TestWebFailureBesideItsButton(t *testing.T) {
	s := newSite(t)
	for i := range 9 {
		s.box(s.alice, fmt.Sprint("Server ", i), fmt.Sprintf("192.168.1.%d", i+10))
	}
	off := s.box(s.alice, "Zzz", "192.168.1.99")
	s.link(s.alice)
	p := newBrowser(t).open(s.url)
	p.do(chromedp.EmulateViewport(320, 640))
	p.state("connected")
	use := `[data-part="server-form"] [data-do]`
	p.sees(use)
	seen := func(text string) {
		t.Helper()
		p.until(fmt.Sprintf(`document.querySelector('[data-part="problem"]').textContent.includes(%q)`, text))
		p.inView(`[data-part="problem-text"]`)
	}
	p.click(use)
	seen("Choose one of the servers first")
	s.plex.ChangeMediaServer(off, func(m *plextest.MediaServer) { m.Offline, m.Connections[0].BlackHole = true, true })
	p.click(`[data-part="server-list"] label:last-child`)
	p.click(use)
	seen("does not answer")
	assert.True(t, eval[bool](p, `document.querySelector('[data-part="server-form"] [data-do]').nextElementSibling.matches('[data-part="problem"]')`))
	p.fits("a failure beside its button")

	p.do(chromedp.SendKeys(chromedp.CSS("#plex_server_url"), "http://192.168.1.77:32400"))
	p.click(`[data-part="address-form"] [data-do]`)
	seen("does not answer")
	p.fits("a failure beside a field")
	p.quiet()
}

// An account with several servers, none chosen yet, is not all there is to do: a
// sentence on the first screen says so. It goes with the choice, wherever that is
// made, and so does the list that has opened by itself.
func TestWebServerToBeChosen(t *testing.T) {
	s := newSite(t)
	s.box(s.alice, "Attic", "192.168.1.5")
	cellar := s.box(s.alice, "Cellar", "192.168.1.6")
	s.link(s.alice)
	p := newBrowser(t).open(s.url)
	p.do(chromedp.EmulateViewport(320, 640))
	p.state("connected")
	p.sees(`[data-part="server-list"] label`)
	assert.Contains(t, p.text(`[data-part="next"]`), "One more step: choose your server")
	p.inView(`[data-part="next"]`)
	_, err := s.auth.UseServer(t.Context(), cellar.MachineID)
	require.NoError(t, err)
	p.until(`!document.querySelector('[data-part="next"]').checkVisibility() && !document.querySelector('[data-part="servers"]').checkVisibility()`)
	p.quiet()
}

// A script that does what CrossWatch's own does can drive the fragment, without
// panel.js: it shows and hides by the class alone, and what is not hidden from the
// start it never shows.
func TestWebUnderTheScriptOfCrossWatch(t *testing.T) {
	for name, head := range map[string]string{"the host's style": `<link rel="stylesheet" href="/host.css">`, "both styles": `<link rel="stylesheet" href="/host.css"><link rel="stylesheet" href="/plex/panel.css">`} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			mux := http.NewServeMux()
			mux.Handle("/plex/", http.StripPrefix("/plex", s.panel))
			mux.HandleFunc("/host.css", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/css")
				_, _ = io.WriteString(w, `.hidden { display: none !important; }`)
			})
			mux.HandleFunc("/auth.js", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/javascript")
				fragment, _ := json.Marshal(plexauth.HTML())
				fmt.Fprintf(w, `document.querySelector("main").innerHTML = %s;
const el = (id) => document.getElementById(id);
const show = (id, on) => el(id).classList.toggle("hidden", !on);
const flow = (waiting, over) => { show("btn-connect-plex", !waiting && !over); show("btn-plex-cancel", waiting); show("btn-plex-restart", over); show("plex_qc_state", waiting || over); };
el("btn-connect-plex").addEventListener("click", () => { el("plex_qc_code").textContent = "TEST"; flow(true, false); });
el("btn-plex-cancel").addEventListener("click", () => flow(false, false));
window.expire = () => flow(false, true);
window.connected = () => { flow(false, false); el("plex_msg").textContent = "Connected"; el("plex_msg").className = "ok"; el("btn-connect-plex").disabled = true; };`, fragment)
			})
			mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>Settings</title>`+head+`<main></main><script src="/auth.js"></script>`)
			})
			p := newBrowser(t).open(s.serve(mux))
			seen := func(want map[string]bool) {
				t.Helper()
				for id, on := range want {
					assert.Equal(t, on, eval[bool](p, fmt.Sprintf(`document.getElementById(%q).checkVisibility({ visibilityProperty: true })`, id)), id)
				}
			}
			p.sees("#btn-connect-plex")
			seen(map[string]bool{"plex_qc_state": false, "btn-plex-cancel": false, "btn-plex-restart": false, "plex_msg": false, "btn-delete-plex": true})
			p.click("#btn-connect-plex")
			seen(map[string]bool{"plex_qc_state": true, "plex_qc_code": true, "btn-plex-cancel": true, "btn-connect-plex": false})
			p.click("#btn-plex-cancel")
			seen(map[string]bool{"plex_qc_state": false, "btn-connect-plex": true})
			eval[any](p, "expire(); 0")
			seen(map[string]bool{"plex_qc_state": true, "btn-plex-restart": true, "btn-plex-cancel": false})
			eval[any](p, "connected(); 0")
			seen(map[string]bool{"plex_msg": true, "btn-delete-plex": true, "plex_server_url": true, "btn-plex-auto": true})
			p.quiet()
		})
	}
}

// loginPage is a login in front of the panel at another origin, as a single sign-on
// has it.
func loginPage(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>Company login</title>")
	}))
	t.Cleanup(func() { end(server) })
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	u.Path = "/login"
	return u.String()
}
