package integration_test

import (
	"context"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// app returns a web app whose visitors sign in with Plex at /signin/.
func (s *site) app(change ...func(*signin.Options)) http.Handler {
	o := signin.Options{
		Product: "My App", Plex: s.auth, Key: []byte("TEST_a key of at least 32 bytes ....."),
		ReturnTo: []string{"/home"}, BaseURL: s.plex.URL(), HTTPClient: s.plex.Client(),
		OnSignIn: func(w http.ResponseWriter, _ *http.Request, a plexauth.Account) {
			// A browser does not send a strict cookie on the way back from another site.
			http.SetCookie(w, &http.Cookie{Name: "session", Value: a.Username, Path: "/", SameSite: http.SameSiteStrictMode, HttpOnly: true})
		},
	}
	for _, f := range change {
		f(&o)
	}
	h, err := signin.New(o)
	require.NoError(s.t, err)
	mux := http.NewServeMux()
	mux.Handle("/signin/", http.StripPrefix("/signin", h))
	mux.HandleFunc("/home", func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if c, err := r.Cookie("session"); err == nil {
			name = c.Value
		}
		fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Home</title><h1>Hello, %s</h1>`, name)
	})
	return mux
}

// A visitor presses the button, approves on Plex's page, comes back and is signed in, over
// plain http in a LAN and over https.
func TestWebSignin(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		for _, scheme := range []string{"http", "https"} {
			t.Run(scheme, func(t *testing.T) {
				s := newSite(t)
				s.box(s.alice, "Box", "192.168.1.5")
				s.signIn(s.alice)
				begin := httptest.NewServer
				if scheme == "https" {
					begin = httptest.NewTLSServer
				}
				server := begin(s.app())
				t.Cleanup(func() { end(server) })
				u, err := url.Parse(server.URL)
				require.NoError(t, err)
				at := scheme + "://app.lan:" + u.Port()
				p := b.in(t).open(at + "/signin/")
				p.click("button")
				p.approve("alice")
				p.sees("h1")
				p.until(`location.pathname === "/home"`)
				assert.Equal(t, "Hello, alice", p.text("h1"))

				p.navigate(at + "/signin/") // and another person
				p.click("button")
				p.approve("bob")
				p.until(`document.querySelector("h1")?.textContent === "No access"`)
				assert.Equal(t, "bob", p.text(".plexauth-who"))
				p.calm()
				assert.Empty(t, s.plex.Violations())
			})
		}
	})
}

// G20: another browser cannot finish a sign-in. Going back and forth in the same browser
// does no harm.
func TestWebSigninOtherBrowser(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		var signedIn atomic.Int32
		s := newSite(t)
		s.box(s.alice, "Box", "192.168.1.5")
		s.signIn(s.alice)
		at := s.serve(s.app(func(o *signin.Options) {
			o.OnSignIn = func(http.ResponseWriter, *http.Request, plexauth.Account) { signedIn.Add(1) }
		}))
		p := b.open(at + "/signin/")
		p.click("button")
		p.sees("fieldset")
		page := eval[string](p, "location.href")

		other := b.another().tab()
		other.navigate(page) // another person gets the link, and approves
		other.approve("alice")
		other.until(`document.querySelector("h1")?.textContent === "Start again"`)
		assert.Zero(t, signedIn.Load())

		p.front()
		p.pass(at + "/signin/callback") // the sign-in still belongs to the first browser
		p.until(`location.pathname === "/home"`)
		assert.EqualValues(t, 1, signedIn.Load())
		p.back()
		p.navigate(at + "/signin/callback")
		p.until(`document.querySelector("h1")?.textContent === "Start again"`)
		assert.EqualValues(t, 1, signedIn.Load())
	})
}

// The admin of a Home signs in as a member who has a PIN, and reads what is wrong with the
// app.
func TestWebSigninMembers(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.box(s.alice, "Box", "192.168.1.5")
		s.signIn(s.alice)
		s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice})
		s.plex.AddUser(plextest.User{Title: "Teen with a name that is longer than most", Restricted: true, HomeAdmin: s.alice, HomePIN: "4711"})
		var in []string
		at := s.serve(s.app(func(o *signin.Options) {
			o.HomeMembers = true
			o.Policy = func(_ context.Context, v signin.Visitor) (bool, error) { return v.Account.Restricted, nil }
			o.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, a plexauth.Account) {
				in = append(in, a.FriendlyName+a.Title)
			}
		}))
		p := b.open(at + "/signin/")
		p.click("button")
		p.approve("alice")
		p.until(`document.querySelector("h1")?.textContent === "Who is signing in?"`)
		p.enter("input[name=pin]", "0000")
		p.click("form:has(input[name=pin]) button")
		p.until(`document.querySelector("#plexauth-pin-error")?.textContent.startsWith("That is not the PIN of Teen")`)
		assert.Empty(t, in)
		p.until(`document.activeElement.matches("input[name=pin][aria-invalid=true][aria-describedby=plexauth-pin-error]")`)
		assert.True(t, eval[bool](p, `document.querySelector("#plexauth-pin-error").getBoundingClientRect().top >= document.activeElement.getBoundingClientRect().bottom`), "it is below the field")
		p.press("4711" + keyEnter)
		p.until(`location.pathname === "/home"`)
		require.Len(t, in, 1)
		assert.Contains(t, in[0], "Teen")

		p.navigate(at + "/signin/")
		p.click("button")
		p.approve("alice")
		p.until(`document.querySelector("h1")?.textContent === "Who is signing in?"`)
		p.click("form button") // alice herself
		p.until(`document.querySelector("h1")?.textContent === "No access"`)
		p.sees(".plexauth-detail")
		p.calm()
		assert.Empty(t, s.plex.Violations())
	})
}

// An app's own page works under the policy of the handler, in the app's colors and theme.
// The script leaves the app's other forms alone.
func TestWebSigninOwnPage(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		pages := template.Must(template.New("").Parse(`<!doctype html>
<html lang="{{.Language}}" data-theme="dark">
<title>{{.Title}}</title>
<link rel="stylesheet" href="signin.css">
<link rel="stylesheet" href="/app.css">
<script type="module" src="signin.js"></script>
<header><form action="/search"><button id="search">Search</button></form></header>
<main>{{.Content}}</main>`))
		s := newSite(t)
		s.box(s.alice, "Box", "192.168.1.5")
		s.signIn(s.alice)
		mux := http.NewServeMux()
		mux.Handle("/", s.app(func(o *signin.Options) {
			o.Page = func(w io.Writer, _ *http.Request, p signin.Page) error { return pages.Execute(w, p) }
		}))
		mux.HandleFunc("/app.css", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/css")
			_, _ = io.WriteString(w, `:root { --plexauth-accent: #3f51b5; --plexauth-on-accent: #ffffff; --plexauth-radius: 0px; --plexauth-font: serif; } body { margin: 0; color: #102030; } main { max-width: 30rem; margin: 0 auto; }`)
		})
		p := b.open(s.serve(mux) + "/signin/")
		style := func(of, property string) string {
			return eval[string](p, fmt.Sprintf(`getComputedStyle(document.querySelector(%q)).%s`, of, property))
		}
		p.sees(".plexauth-primary")
		assert.Equal(t, "rgb(63, 81, 181)", style(".plexauth-primary", "backgroundColor"))
		assert.Equal(t, "rgb(255, 255, 255)", style(".plexauth-primary", "color"))
		assert.Equal(t, "0px", style(".plexauth-signin", "borderTopLeftRadius"))
		assert.Equal(t, "serif", style(".plexauth-signin", "fontFamily"))
		assert.Equal(t, "dark", style(".plexauth-signin", "colorScheme"))
		assert.Equal(t, "rgb(16, 32, 48)", style("body", "color"), "signin.css does not touch the app's own elements")
		assert.False(t, eval[bool](p, `document.querySelector(".plexauth-primary").click(), document.querySelector("#search").hasAttribute("aria-disabled")`), "signin.js leaves the app's own forms alone")
		p.approve("alice")
		p.until(`location.pathname === "/home"`) // the page in between has sent its form by itself
		p.calm()
	})
}

// A visitor who is not let in can try again from each page. TestScenes looks at each one.
func TestWebSigninStates(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.box(s.alice, "Box", "192.168.1.5")
		at := s.serve(s.app())
		p := b.open(at + "/signin/")
		p.click("button") // before the app itself is connected
		p.approve("bob")
		p.until(`document.querySelector("h1")?.textContent === "Not set up yet"`)
		s.signIn(s.alice)
		p.navigate(at + "/signin/")
		s.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 502})
		p.click("button")
		p.until(`document.querySelector("h1")?.textContent === "Could not connect to Plex"`)
		p.click("button")
		p.approve("bob")
		p.until(`document.querySelector("h1")?.textContent === "No access"`)
		p.navigate(at + "/signin/?return=https://evil.example/")
		assert.Equal(t, "Link not allowed", p.text("h1"))
		p.navigate(at + "/signin/callback")
		assert.Equal(t, "Start again", p.text("h1"))

		// The visitor comes back without an approval.
		p.navigate(at + "/signin/")
		p.click("button")
		p.sees("fieldset")
		p.pass(at + "/signin/callback")
		p.until(`document.querySelector("h1")?.textContent === "Not approved yet"`)
		assert.Equal(t, 2, strings.Count(eval[string](p, "document.body.innerHTML"), "<form"))
	})
}
