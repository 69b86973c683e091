package integration_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// G19, G8: a login needs no popup and no opener. Where the browser blocks the tab, a link
// opens it. It closes itself, or shows the panel where the browser does not let it.
func TestWebPopupsBlocked(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.openWith("window.open = () => null;", s.url)
		p.state("idle")
		p.click("#btn-connect-plex")
		p.state("pending")
		p.until(one("#plex_qc_help") + `.innerText.includes("blocked the new tab")`)
		assert.Equal(t, "Open Plex", p.text(openLink))
		link := p.opened(func() { p.click(openLink) }) // a link, not a popup
		link.approve("alice")
		p.state("connected")
		p.quiet()
		link.leavesPlex(s.url)
	})
}

// G8: without script in the tab, the page to which it comes back says that it can be closed.
// The login is finished even if the panel's page was closed before.
func TestWebTabWithoutScript(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.open(s.url)
		link := p.connect()
		link.sees("fieldset")
		p.close()
		link.scripts(false)
		link.approve("alice")
		eventually(t, "the tab comes back", func() bool { return b.pages()[link.id] == s.url+"return" })
		s.connected()
		assert.Contains(t, link.text(".plexauth-return"), "You can close this tab")
		link.scripts(true)
		link.click(".plexauth-return a")
		link.state("connected")
		assert.Equal(t, s.url, eval[string](link, "location.href"))
		link.calm()
	})
}

// G8: the person closes the tab. The panel goes on, and its link opens another one, which
// comes back and closes itself as well.
func TestWebTabClosedByThePerson(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.open(s.url)
		link := p.connect()
		link.sees("fieldset")
		link.close()
		p.front()
		p.state("pending")
		assert.Equal(t, "Open Plex again", p.text(openLink))
		p.sees(otherWay)
		again := p.opened(func() { p.click(openLink) })
		again.approve("alice")
		again.closes()
		p.state("connected")
		assert.Empty(t, s.plex.PendingCodes())
		p.quiet()
	})
}

// A phone may show Plex's page in the place of the panel. The page to which it comes back
// shows the panel then.
func TestWebTabReplacesThePanel(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.openWith("window.open = () => null;", s.url)
		p.state("idle")
		p.click("#btn-connect-plex")
		p.state("pending")
		p.pass(eval[string](p, one(openLink)+".href"))
		p.approve("alice")
		p.state("connected") // the browser did not let the page close itself
		assert.Equal(t, s.url, eval[string](p, "location.href"))
	})
}

// One login is pending at a time. Each change of the way supersedes the other login. The tab
// of a superseded one closes itself as well when it comes back.
func TestWebOtherWay(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.open(s.url)
		link := p.connect()
		link.sees("fieldset")
		strong := s.code()
		assert.Equal(t, "Use another device", p.text(otherWay))
		p.click(otherWay)
		p.sees("#plex_qc_code")
		assert.NotEqual(t, strong, s.code())
		assert.Equal(t, s.code(), p.text("#plex_qc_code"))
		link.approve("bob")
		link.closes()
		p.front()
		p.state("pending")

		p.until(one(otherWay) + `.innerText === "Use this browser"`)
		link = p.opened(func() { p.click(otherWay) })
		p.until("!" + one("#plex_qc_code") + ".checkVisibility()")
		link.approve("alice")
		link.closes()
		p.state("connected")
		assert.Equal(t, "alice", p.text(`[data-part="user"]`))
		p.quiet()
	})
}

// G8: the login is approved while the panel waits until it may begin one of the other way. The
// panel shows that, and begins none.
func TestWebApprovedDuringASwitch(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		for from, start := range map[string]func(p *tab){
			"in a tab":  func(p *tab) { p.connect() },
			"elsewhere": func(p *tab) { p.connectElsewhere() },
		} {
			t.Run(from, func(t *testing.T) {
				s := newSite(t)
				p := b.in(t).open(s.url)
				start(p)
				p.ready(otherWay)
				s.tooSoon()
				p.click(otherWay)
				p.until(one(otherWay) + `.hasAttribute("aria-disabled")`)
				require.NoError(t, s.plex.Approve(s.code(), s.alice))
				p.state("connected")
				p.until("!" + one(otherWay) + `.hasAttribute("aria-disabled")`)
				p.state("connected")
				assert.Empty(t, s.plex.PendingCodes(), "no other login was begun")
				p.quiet()
			})
		}
	})
}

// A login in front of the panel whose cookie is SameSite=Strict does not know a browser that
// comes from Plex, and shows its own page in the tab. The panel finishes, and closes the tab.
func TestWebStrictCookie(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		at := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := r.Cookie("session")
			switch {
			case r.URL.Path == "/login":
				http.SetCookie(w, &http.Cookie{Name: "session", Value: "TEST", Path: "/", SameSite: http.SameSiteStrictMode})
				http.Redirect(w, r, "/plex/", http.StatusSeeOther)
			case err != nil:
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, "<!doctype html><title>Company login</title>")
			default:
				http.StripPrefix("/plex", s.panel).ServeHTTP(w, r)
			}
		}))
		u, err := url.Parse(at)
		require.NoError(t, err)
		p := b.open("http://panel.lan:" + u.Port() + "/login")
		link := p.connect()
		link.approve("alice")
		link.closes()
		p.state("connected")
		p.calm()
	})
}

// If a proxy hides the page's origin from the program, the tab does not come back, and the panel
// finishes all the same.
func TestWebOriginIsHidden(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		at := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Origin")
			r.Host = "10.9.8.7:4711"
			http.StripPrefix("/plex", s.panel).ServeHTTP(w, r)
		}))
		p := b.open(strings.TrimSuffix(at, "/") + "/plex/")
		link := p.connect()
		link.sees("fieldset")
		assert.Empty(t, eval[string](link, "document.forms[0].elements.forwardUrl.value"))
		link.approve("alice")
		p.state("connected")
		assert.Contains(t, link.text(".done"), "You can close this page")
		p.quiet()
	})
}
