package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

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

// preferring serves h as to a browser that prefers a language.
func preferring(language string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Accept-Language", language+",en;q=0.5")
		h.ServeHTTP(w, r)
	})
}

// shows asserts that what is on the page is in the language, and fits a phone.
func (p speaker) shows(name string) {
	p.t.Helper()
	assert.Equal(p.t, p.language, eval[string](p.tab, "document.documentElement.lang"))
	for _, width := range []int{1280, 320} {
		p.size(width, 700)
		p.shot(fmt.Sprintf("%s-%s-%d-%s", p.language, name, width, p.b.engine.name))
	}
	p.fits(p.language + " " + name)
	cut := eval[[]string](p.tab, `[...document.querySelectorAll("button, a, h1, h2, h3, label, span, strong, p, li, summary")].filter(e => e.checkVisibility() && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1).map(e => e.id + e.className + ": " + e.textContent)`)
	assert.Empty(p.t, cut, "%s %s: texts that are cut", p.language, name)
	text := eval[string](p.tab, "document.body.innerText")
	for _, english := range []string{"Sign in", "sign-in", "server is", "the code", "Plex has", "Your ", "your ", "Try again", "connection was", "undefined", "{"} {
		assert.NotContains(p.t, text, english, "%s %s", p.language, name)
	}
}

// In each language, the panel and the pages of signin fit a phone, and nothing is left in
// English.
func TestWebLanguages(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		for _, language := range []string{"de", "fr", "es", "nl", "it"} {
			t.Run(language, func(t *testing.T) {
				s := newSite(t)
				s.box(s.alice, "Attic", "192.168.1.5")
				s.box(s.alice, "Cellar", "192.168.1.6")
				s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice, HomePIN: "4711"})
				p := speaker{b.in(t).open(s.serve(preferring(language, s.panel)) + "/"), language}
				p.panelStates(s)
				p.quiet()

				ctx, stop := context.WithCancel(context.Background())
				t.Cleanup(stop)
				p.navigate(s.serve(preferring(language, s.auth.ProfilesHandler(ctx))) + "/")
				p.sees(`[data-part="list"] li`)
				p.shows("profiles")
				p.signinPages(s)
			})
		}
	})
}

// panelStates leads the panel through its states.
func (p speaker) panelStates(s *site) {
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
	s.plex.Inject(plextest.Fault{Path: "/identity", Reset: true, Times: -1})
	p.click(`[data-part="test"]`)
	p.sees(`[data-part="results"] .bad`)
	p.shows("tested-unreachable")
	s.plex.ResetFaults()

	p.click("#plex_user_pick_btn")
	p.sees(`[data-part="user-list"] label`)
	p.click(`[data-part="user-list"] label:nth-child(2)`)
	p.enter("#plex_home_pin", "0000")
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
func (p speaker) signinPages(s *site) {
	p.t.Helper()
	h, err := signin.New(signin.Options{
		Product: "My App", Key: []byte(strings.Repeat("k", 32)), BaseURL: s.plex.URL(), HTTPClient: s.plex.Client(),
		Plex: s.auth, OnSignIn: func(http.ResponseWriter, *http.Request, plexauth.Account) {},
	})
	require.NoError(p.t, err)
	at := s.serve(preferring(p.language, h)) + "/"
	p.navigate(at)
	p.click("summary")
	p.shows("signin")
	p.navigate(at + "?return=https://elsewhere.example/")
	p.shows("signin-return")
	p.navigate(at + "callback")
	p.shows("signin-ended")
	p.navigate(at)
	p.click("button")
	p.approve("bob")
	p.until(`location.pathname.endsWith("/finish")`)
	p.shows("signin-failed")
}
