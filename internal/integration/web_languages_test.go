package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// speaker is a tab of a browser that prefers one language.
type speaker struct {
	*tab
	language string
}

// prefer makes the browser of a tab prefer a language.
func (p *tab) prefer(language string) *speaker {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": language + ";q=0.9"}})
		return err
	}))
	return &speaker{p, language}
}

// visit opens a page.
func (p *speaker) visit(rawURL string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(320, 700), chromedp.Navigate(rawURL))
}

// shows asserts that what is on the page is in the language, and fits a phone.
func (p *speaker) shows(name string) {
	p.t.Helper()
	assert.Equal(p.t, p.language, eval[string](p.tab, "document.documentElement.lang"))
	p.look(1280, 700, "light")
	p.shot(fmt.Sprintf("%s-%s-1280", p.language, name))
	p.look(320, 700, "light")
	p.shot(fmt.Sprintf("%s-%s-320", p.language, name))
	p.fits(p.language + " " + name)
	cut := eval[[]string](p.tab, `[...document.querySelectorAll("button, a, h1, h2, h3, label, span, strong, p, li, summary")].filter(e => e.checkVisibility() && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1).map(e => e.id + e.className + ": " + e.textContent)`)
	assert.Empty(p.t, cut, "%s %s: texts that are cut", p.language, name)
	text := eval[string](p.tab, "document.body.innerText")
	for _, english := range []string{"Sign in", "sign-in", "server is", "the code", "Plex has", "Your ", "your ", "Try again", "undefined", "{"} {
		assert.NotContains(p.t, text, english, "%s %s", p.language, name)
	}
}

// In each language, the panel and the pages of signin fit a phone and hold no other one.
func TestWebLanguages(t *testing.T) {
	b := newBrowser(t)
	for _, language := range []string{"de", "fr", "es", "nl", "it"} {
		t.Run(language, func(t *testing.T) {
			b := b.in(t)
			s := newSite(t)
			s.box(s.alice, "Attic", "192.168.1.5")
			s.box(s.alice, "Cellar", "192.168.1.6")
			s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice, HomePIN: "4711"})
			p := b.tab().prefer(language)
			p.visit(s.url)
			p.panelStates(s)
			p.quiet()

			ctx, stop := context.WithCancel(t.Context())
			t.Cleanup(stop)
			p.visit(s.serve(s.auth.ProfilesHandler(ctx)) + "/")
			p.sees(`[data-part="list"] li`)
			p.shows("profiles")

			p.signinPages(s)
		})
	}
}

// panelStates leads the panel through its states.
func (p *speaker) panelStates(s *site) {
	p.t.Helper()
	p.state("idle")
	p.shows("idle")
	s.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 502, Body: "<html>", ContentType: "text/html"})
	p.click("#btn-connect-plex")
	p.sees(`[data-part="problem"]`)
	p.shows("unreachable")

	link := p.connect()
	p.shows("pending")
	s.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: 503, Times: -1})
	p.sees(`[data-part="problem"]`)
	p.shows("pending-trouble")
	s.plex.ResetFaults()
	link.approve("alice")
	p.state("connected")
	p.sees(`[data-part="server-list"] label`)
	p.shows("server-choice")

	p.click(`[data-part="server-list"] label:nth-child(2)`)
	p.click(`[data-part="server-form"] button`)
	p.until(`document.querySelector('[data-part="server"]').title.includes("192-168-1-6")`)
	p.click(`[data-part="test"]`)
	p.until(`document.querySelectorAll('[data-part="results"] li').length > 1`)
	p.shows("tested")

	p.click("#plex_user_pick_btn")
	p.sees(`[data-part="user-list"] label`)
	p.click(`[data-part="user-list"] label:nth-child(2)`)
	p.do(chromedp.SendKeys(chromedp.CSS("#plex_home_pin"), "0000"))
	p.click(`[data-part="user-form"] button`)
	p.sees(`[data-part="problem"]`)
	p.shows("wrong-pin")

	p.click("#btn-delete-plex")
	p.sees(`[data-part="confirm"]`)
	p.shows("disconnect")
	p.click(`[data-part="confirm"] button[value="no"]`)
	s.plex.Revoke(s.alice)
	_, err := s.auth.Verify(p.t.Context())
	require.Error(p.t, err)
	p.state("rejected")
	p.shows("rejected")
}

// signinPages visits pages of signin.
func (p *speaker) signinPages(s *site) {
	p.t.Helper()
	h, err := signin.New(signin.Options{
		Product: "My App", Key: []byte(strings.Repeat("k", 32)), BaseURL: s.plex.URL(), HTTPClient: s.plex.Client(),
		Plex: s.auth, OnSignIn: func(http.ResponseWriter, *http.Request, plexauth.Account) {},
	})
	require.NoError(p.t, err)
	at := s.serve(http.StripPrefix("/signin", h)) + "/signin/"
	p.visit(at)
	p.click("summary")
	p.shows("signin")
	p.visit(at + "?return=https://elsewhere.example/")
	p.shows("signin-return")
	p.visit(at + "callback")
	p.shows("signin-ended")
	p.visit(at)
	p.click("button")
	p.approve("bob")
	p.until(`document.querySelector("p.who, h1")?.textContent && document.documentElement.lang === ` + fmt.Sprintf("%q", p.language) + ` && location.pathname.endsWith("finish")`)
	p.shows("signin-not-set-up")
}
