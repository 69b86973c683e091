package integration_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// A login in front of the panel ends while the page is open, and answers in the panel's
// place. The page says so, and asks again, not too often, until the panel answers.
func TestWebLoginInFrontRunsOut(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		elsewhere := loginPage(t)
		for name, login := range map[string]struct {
			status int
			body   string
			to     string // where it redirects to
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
				s.adopt(s.alice)
				var ended atomic.Bool
				var asked moments
				at := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if !ended.Load() || strings.HasSuffix(r.URL.Path, "/") || !strings.HasPrefix(r.URL.Path, "/plex/") {
						s.panel.ServeHTTP(w, r)
						return
					}
					if strings.HasSuffix(r.URL.Path, "/status") { // the list of servers may be asked for at the same time
						asked.note()
					}
					w.Header().Set("Content-Type", "application/json")
					if login.to != "" {
						w.Header().Set("Location", login.to)
					}
					w.WriteHeader(login.status)
					_, _ = io.WriteString(w, login.body)
				}))
				p := b.in(t).open(at + "/plex/")
				p.state("connected")
				ended.Store(true)
				_, err := s.auth.Disconnect(t.Context()) // ends the long poll
				require.NoError(t, err)
				asksToSignIn := func() {
					t.Helper()
					p.sees(`[data-part="problem"]`)
					assert.Contains(t, p.text(`[data-part="problem-title"]`), "Your sign-in to My App has ended")
					assert.Contains(t, strings.ToLower(p.text(`[data-part="problem-text"]`)), "sign in")
					assert.NotRegexp(t, "broken|stopped", p.text(`[data-part="problem"]`))
					assert.Equal(t, "Reload the page", p.text(`[data-part="problem-action"]`))
				}
				asksToSignIn()
				eventually(t, "the page asks again", func() bool { return asked.count() >= 2 })
				assert.GreaterOrEqual(t, asked.closest(), time.Second, "the page asks too often")
				ended.Store(false)
				p.until(`!document.querySelector('[data-part="problem"]').checkVisibility()`)
				p.state("idle")

				ended.Store(true)
				p.click("#btn-connect-plex")
				asksToSignIn()
				ended.Store(false)
				p.click("#btn-connect-plex")
				p.state("pending")
				p.calm()
			})
		}
	})
}

// If a login in front of the panel renews itself by a redirect, the page goes on and a
// person notices nothing.
func TestWebLoginInFrontRenews(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.adopt(s.alice)
		proxy, at := s.behindProxy()
		p := b.open(at)
		p.state("connected")
		var renewed atomic.Int32
		proxy.answer(func(w http.ResponseWriter, r *http.Request) bool {
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
		eventually(t, "the next request is redirected", func() bool { return renewed.Load() > 0 })
		_, err = s.auth.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		p.state("pending")
		p.until(`!document.querySelector('[data-part="problem"]').checkVisibility()`)
		p.quiet()
	})
}

// loginPage serves the page of a single sign-on at an origin of its own, and returns its
// URL.
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
