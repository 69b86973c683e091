package signin_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

func TestSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		page := b.get("/signin/")
		assert.Equal(t, http.StatusOK, page.Code)
		assert.Contains(t, page.Body.String(), `<form method="post" action="start">`)
		assert.Empty(t, b.cookies, "the page alone sets no cookie")

		q := b.start(nil)
		assert.Equal(t, "http://app.example/signin/callback", q.Get("forwardUrl"))
		assert.Equal(t, "My App", q.Get("context[device][product]"))
		assert.Len(t, q.Get("code"), 25)
		s, err := w.app.Settings(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, s.ClientID, q.Get("clientID"), "G1: a visitor's sign-in never uses the app's identifier")
		c := b.cookie()
		assert.True(t, c.HttpOnly)
		assert.Equal(t, http.SameSiteLaxMode, c.SameSite)
		assert.Equal(t, 600, c.MaxAge)
		assert.False(t, c.Secure, "C11: a cookie marked Secure is lost on a plain-http LAN")

		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		back := b.get("/signin/callback?anything")
		assert.Equal(t, http.StatusOK, back.Code)
		assert.Contains(t, back.Body.String(), "data-auto")
		assert.Empty(t, w.signedIn, "a GET changes nothing")

		last := b.post("/signin/finish")
		assert.Equal(t, http.StatusSeeOther, last.Code)
		assert.Equal(t, "/", last.Header().Get("Location"))
		require.Len(t, w.signedIn, 1)
		assert.Equal(t, w.alice.ID, w.signedIn[0].ID)
		assert.Equal(t, "alice@example.com", w.signedIn[0].Email)
		assert.Empty(t, w.plex.Token(w.alice, q.Get("clientID")), "the visitor's token is revoked")
		_, err = w.app.Verify(t.Context())
		assert.NoError(t, err, "the app's own token is not")
	})
}

// The browser can come back before plex.tv reports the approval.
func TestRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		q := b.start(nil)
		w.plex.SetQuirks(plextest.Quirks{ApprovalDelay: 4 * time.Second})
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		began := time.Now()
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		assert.Less(t, time.Since(began), 7*time.Second)
		assert.Len(t, w.signedIn, 1)
	})
}

// A visitor who comes back without having approved can still approve and continue.
func TestNotApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		q := b.start(nil)
		began := time.Now()
		rec := b.post("/signin/finish")
		assert.Equal(t, http.StatusAccepted, rec.Code)
		assert.Contains(t, rec.Body.String(), `action="finish"`)
		assert.NotContains(t, rec.Body.String(), "data-auto", "the page would press its own button again and again")
		assert.Equal(t, 10*time.Second, time.Since(began))
		again := b.get("/signin/").Body.String()
		assert.Contains(t, again, `action="finish"`)
		assert.Contains(t, again, "press Continue", "the page explains its two buttons")

		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		began = time.Now()
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		assert.Len(t, w.signedIn, 1)
		assert.Equal(t, time.Second, time.Since(began), "G6: never faster than a second")
	})
}

func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b, _ := w.approved(w, w.alice)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, http.StatusGone, b.get("/signin/callback").Code)
		assert.Equal(t, http.StatusGone, b.post("/signin/finish").Code)
		assert.Empty(t, w.signedIn)

		b = w.browser(w)
		q := b.start(nil)
		require.NoError(t, w.plex.Expire(q.Get("code")))
		assert.Equal(t, http.StatusGone, b.post("/signin/finish").Code)

		w.plex.SetPinLifetime(15*time.Minute, 5*time.Minute)
		b = w.browser(w)
		b.start(nil)
		time.Sleep(5 * time.Minute)
		asked := len(w.plex.Requests())
		assert.Equal(t, http.StatusGone, b.post("/signin/finish").Code, "a sign-in ends with its PIN")
		assert.Len(t, w.plex.Requests(), asked)
	})
}

// G20: a sign-in is finished only by the browser that began it.
func TestOtherBrowser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		victim, attacker := w.browser(w), w.browser(w)
		q := victim.start(nil)
		attacker.start(nil)
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))

		for name, b := range map[string]*browser{
			"no cookie":   w.browser(w),
			"another one": attacker,
			"a made-up one": {t: t, Handler: w, host: "app.example", cookies: map[string]*http.Cookie{
				"x": {Name: victim.cookie().Name, Value: base64.RawURLEncoding.EncodeToString(make([]byte, 200))}}},
			"a broken one": {t: t, Handler: w, host: "app.example", cookies: map[string]*http.Cookie{
				"x": {Name: victim.cookie().Name, Value: strings.ToUpper(victim.cookie().Value)}}},
		} {
			rec := b.post("/signin/finish")
			assert.Contains(t, []int{http.StatusGone, http.StatusAccepted}, rec.Code, name)
			assert.Empty(t, w.signedIn, name)
		}
		assert.Equal(t, http.StatusSeeOther, victim.post("/signin/finish").Code, "the victim's own sign-in still works")
		assert.Len(t, w.signedIn, 1)
	})
}

// G20: a sign-in is finished only once.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b, q := w.approved(w, w.alice)
		kept := b.cookie()
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Delay: 2 * time.Second}) // so the first request is still running when the others come
		var done sync.WaitGroup
		codes := make([]int, 3)
		for i := range codes {
			c := &browser{t: t, Handler: w, host: b.host, cookies: map[string]*http.Cookie{"x": kept}}
			done.Go(func() { codes[i] = c.post("/signin/finish").Code })
		}
		done.Wait()
		assert.ElementsMatch(t, []int{http.StatusSeeOther, http.StatusGone, http.StatusGone}, codes)
		assert.Len(t, w.signedIn, 1)

		b.cookies[kept.Name] = kept
		assert.Equal(t, http.StatusGone, b.post("/signin/finish").Code, "a copy of the cookie cannot be used again")
		assert.Equal(t, http.StatusGone, b.get("/signin/callback").Code)
		assert.Len(t, w.signedIn, 1)
		assert.NotEqual(t, q.Get("code"), b.start(nil).Get("code"), "nor its PIN")
	})
}

// A visitor who reloads the page while plex.tv is slow gets the result.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		q := b.start(nil)
		ctx, leave := context.WithCancel(t.Context())
		var first sync.WaitGroup
		first.Go(func() { b.post("/signin/finish", func(r *http.Request) { *r = *r.WithContext(ctx) }) })
		time.Sleep(2 * time.Second)
		leave()
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		second := &browser{t: t, Handler: w, host: b.host, cookies: b.cookies}
		assert.Equal(t, http.StatusSeeOther, second.post("/signin/finish").Code)
		first.Wait()
		assert.Len(t, w.signedIn, 1)
	})
}

// G20: state changes are POST and of the same origin.
func TestOtherSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, path := range []string{"/signin/start", "/signin/finish"} {
			rec := w.browser(w).get(path)
			assert.Equal(t, http.StatusMethodNotAllowed, rec.Code)
			assert.Equal(t, "POST", rec.Header().Get("Allow"))
			for name, change := range map[string]func(http.Header){
				"another origin": func(h http.Header) { h.Set("Origin", "https://evil.example"); h.Set("Sec-Fetch-Site", "cross-site") },
				"no fetch header, as on a plain-http LAN": func(h http.Header) { h.Set("Origin", "https://evil.example"); h.Del("Sec-Fetch-Site") },
				"another site of the domain":              func(h http.Header) { h.Set("Origin", "http://other.app.example"); h.Set("Sec-Fetch-Site", "same-site") },
				"a hidden origin":                         func(h http.Header) { h.Set("Origin", "null"); h.Del("Sec-Fetch-Site") },
			} {
				rec := w.browser(w).post(path, func(r *http.Request) { change(r.Header) })
				assert.Equal(t, http.StatusForbidden, rec.Code, name)
				assert.Empty(t, rec.Result().Cookies(), name)
			}
		}
		assert.Empty(t, w.plex.PendingCodes())
	})
}

// G20: return URLs come from the allow-list only.
func TestReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) {
			o.ReturnTo = []string{"/home", "/app/", "https://other.example/x/"}
		})
		b := w.browser(w)
		for to, ok := range map[string]bool{
			"": true, "/home": true, "/home?tab=1#top": true, "/app/": true, "/app/deep/er": true, "https://other.example/x/1": true, "HTTPS://OTHER.example/x/1": true,
			"/": false, "/homestead": false, "/app": false, "/app/../admin": false, "/app/%2e%2e/admin": false, "/app//evil.example": false,
			"//evil.example": false, "/\\evil.example": false, "/app/\\..\\..": false, "\t//evil.example": false, "https://evil.example/x/": false, "http://other.example/x/": false,
			"https://other.example/": false, "https://other.example@evil.example/x/": false, "https://other.example.evil.example/x/": false, "javascript:alert(1)": false, "app://x/": false,
			"///app/deep": false, "/app/x y": false, "/app/?\\": false, "/app/%5C..%5C": false, "https://eve@other.example/x/": false, "https:other.example/x/": false,
			"/app/" + strings.Repeat("a", 2000): false,
		} {
			want := http.StatusSeeOther
			if !ok {
				want = http.StatusBadRequest
			}
			rec := b.do(http.MethodPost, "/signin/start", url.Values{"return": {to}})
			assert.Equal(t, want, rec.Code, "%q", to)
			if rec = b.get("/signin/?return=" + url.QueryEscape(to)); ok {
				assert.Equal(t, http.StatusOK, rec.Code, "%q", to)
			} else {
				assert.Equal(t, http.StatusBadRequest, rec.Code, "%q", to)
			}
		}
		assert.Len(t, w.plex.PendingCodes(), 1, "one browser, one PIN")

		q := b.start(url.Values{"return": {"/app/deep?a=1"}})
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		assert.Equal(t, "/app/deep?a=1", b.post("/signin/finish").Header().Get("Location"))
		b, _ = w.approved(w, w.alice)
		assert.Equal(t, "/home", b.post("/signin/finish").Header().Get("Location"), "the first is the default")
	})
}

// The place where a visitor wants to go is kept on the pages that report an error or
// ask to wait.
func TestReturnKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) { o.ReturnTo = []string{"/home", "/app/"} })
		b := w.browser(w)
		kept := func(rec *httptest.ResponseRecorder, status int) {
			t.Helper()
			assert.Equal(t, status, rec.Code)
			assert.Contains(t, rec.Body.String(), `name="return" value="/app/deep"`)
		}
		to := url.Values{"return": {"/app/deep"}}
		kept(b.get("/signin/?return=/app/deep"), http.StatusOK)
		w.plex.Inject(plextest.Fault{Status: 502, Times: -1})
		kept(b.do(http.MethodPost, "/signin/start", to), http.StatusBadGateway)
		w.plex.ResetFaults()
		q := b.start(to)
		kept(b.post("/signin/finish"), http.StatusAccepted)
		kept(b.get("/signin/"), http.StatusOK)
		w.plex.Inject(plextest.Fault{Status: 502, Times: -1})
		kept(b.post("/signin/finish"), http.StatusBadGateway)
		w.plex.ResetFaults()
		require.NoError(t, w.plex.Expire(q.Get("code")))
		kept(b.post("/signin/finish"), http.StatusGone)
	})
}

// C8: Plex sends the browser back to the right address behind every kind of proxy.
// X-Forwarded-Host is ignored.
func TestCallbackURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name, host, path, url, want string
			header                      http.Header
		}{
			{"plain", "app.example", "/signin/start", "", "http://app.example/signin/callback", nil},
			{"odd port", "app.example:8080", "/signin/start", "", "http://app.example:8080/signin/callback", nil},
			{"IPv6", "[fd00::5]:8080", "/signin/start", "", "http://[fd00::5]:8080/signin/callback", nil},
			{"escaped", "app.example", "/deep%2Fer/sign%20in/start", "", "http://app.example/deep%2Fer/sign%20in/callback", nil},
			{"sub-path", "app.example", "/deep/er/signin/start", "", "http://app.example/deep/er/signin/callback", nil},
			{"TLS proxy", "app.example", "/signin/start", "", "https://app.example/signin/callback", http.Header{"X-Forwarded-Proto": {"https, http"}}},
			{"TLS proxy that sets no header", "app.example", "/signin/start", "", "https://app.example/signin/callback", http.Header{"Origin": {"https://app.example"}}},
			{"rewritten Host", "10.0.0.3:8080", "/start", "https://app.example/sub/signin", "https://app.example/sub/signin/callback", http.Header{"Origin": {"https://app.example"}}},
			{"evil X-Forwarded-Host", "app.example", "/signin/start", "", "http://app.example/signin/callback", http.Header{"X-Forwarded-Host": {"evil.example"}, "Forwarded": {"host=evil.example"}}},
		} {
			w := newWorld(t, func(_ *world, o *signin.Options) { o.URL = c.url })
			b := w.browser(w)
			b.host = c.host
			rec := b.post(c.path, func(r *http.Request) {
				r.Header.Set("Origin", "http://"+c.host)
				r.Header.Del("Sec-Fetch-Site")
				if c.name == "TLS proxy" {
					r.Header.Set("Sec-Fetch-Site", "same-origin")
				}
				for k, v := range c.header {
					r.Header[k] = v
				}
			})
			require.Equal(t, http.StatusSeeOther, rec.Code, c.name)
			assert.Contains(t, rec.Header().Get("Location"), "&forwardUrl="+url.QueryEscape(c.want), c.name)
			secure := strings.HasPrefix(c.want, "https:")
			for _, cookie := range b.cookies {
				assert.Equal(t, secure, cookie.Secure, c.name)
				assert.Equal(t, secure, strings.HasPrefix(cookie.Name, "__Host-"), c.name)
				assert.Equal(t, "/", cookie.Path)
			}
		}
	})
}

// Behind a proxy that ends TLS and sets no header, only the POSTs show the scheme.
func TestSilentProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		tls := func(r *http.Request) { r.Header.Set("Origin", "https://app.example") }
		q := b.start(nil, tls)
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		assert.Equal(t, http.StatusOK, b.get("/signin/callback").Code)
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish", tls).Code)

		// A cookie without the prefix may be an attacker's: with https it is ignored.
		b, _ = w.approved(w, w.eve)
		require.NotContains(t, b.cookie().Name, "__Host-")
		assert.Equal(t, http.StatusGone, b.post("/signin/finish", tls).Code)
		b.cookie().Name = "__Host-" + b.cookie().Name
		assert.Equal(t, http.StatusGone, b.post("/signin/finish", tls).Code, "under another name it is not valid")

		// A PIN sends the browser back to the address under which it was made.
		b = w.browser(w)
		require.Equal(t, "https://app.example/signin/callback", b.start(nil, tls).Get("forwardUrl"))
		assert.Equal(t, "http://app.example/signin/callback", b.start(nil).Get("forwardUrl"))
	})
}

// The handler works under any prefix, stripped or not.
func TestMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		mux := http.NewServeMux()
		mux.Handle("/a/b/", http.StripPrefix("/a/b", w))
		b := w.browser(mux)
		rec := b.post("/a/b/start")
		assert.Contains(t, rec.Header().Get("Location"), "&forwardUrl=http%3A%2F%2Fapp.example%2Fa%2Fb%2Fcallback")
		for at, to := range map[string]string{"/c": "/c/", "/a/c?return=%2F": "/a/c/?return=%2F", "/a/c:8?": "/a/c:8/", "/a/c%3Fd": "/a/c%3Fd/"} { // without the slash, relative links would be wrong
			u, err := url.Parse(at)
			require.NoError(t, err)
			rec := w.browser(http.StripPrefix(u.Path, w)).get(at)
			assert.Equal(t, http.StatusPermanentRedirect, rec.Code)
			landed, err := u.Parse(rec.Header().Get("Location")) // as a browser does
			require.NoError(t, err)
			assert.Equal(t, to, landed.String())
		}
		for pattern, at := range map[string]string{"/f": "/f", "/f/{rest...}": "/f", "GET /g/f": "/g/f"} { // nothing of the path is stripped
			mux := http.NewServeMux()
			mux.Handle(pattern, w)
			rec := w.browser(mux).get(at + "?return=%2F")
			assert.GreaterOrEqual(t, rec.Code, 300)
			landed, err := (&url.URL{Path: at}).Parse(rec.Header().Get("Location"))
			require.NoError(t, err)
			assert.Equal(t, at+"/?return=%2F", landed.String())
		}
		for prefix, path := range map[string]string{"/": "/", "/e/": "/e/?return=/"} { // all of the path is stripped
			b := w.browser(http.StripPrefix(prefix, w))
			assert.Equal(t, http.StatusOK, b.get(path).Code)
			assert.Equal(t, http.StatusSeeOther, b.post(prefix+"start").Code)
		}
		for _, path := range []string{"/a/b/", "/a/b/signin.css", "/a/b/signin.js", "/a/b/callback"} {
			rec := b.get(path)
			assert.Equal(t, http.StatusOK, rec.Code, path)
			assert.Equal(t, "nosniff", rec.Header().Get("X-Content-Type-Options"))
			assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "default-src 'self'")
			assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'")
			assert.NotRegexp(t, `(?:href|src|action)="(/|https?:)`, rec.Body.String())
		}
		assert.Equal(t, http.StatusNotFound, b.get("/a/b/nothing").Code)
		assert.Equal(t, http.StatusOK, b.do(http.MethodHead, "/a/b/", nil).Code)
	})
}

// A request that is too large is refused before plex.tv is asked.
func TestLargeRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rec := w.browser(w).do(http.MethodPost, "/signin/start", url.Values{"other": {strings.Repeat("a", 100_000)}})
		assert.Equal(t, http.StatusBadRequest, rec.Code)
		assert.Empty(t, w.plex.PendingCodes())
	})
}

// G10: an outage of plex.tv is not a refusal: the sign-in can be finished afterwards.
func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		w.plex.Inject(plextest.Fault{Status: 502, Body: "<html>", ContentType: "text/html", Times: -1})
		assert.Equal(t, http.StatusBadGateway, b.post("/signin/start").Code)
		w.plex.ResetFaults()
		q := b.start(nil)
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: 503, Times: -1})
		asked := len(w.plex.Requests())
		rec := b.post("/signin/finish")
		assert.Equal(t, http.StatusBadGateway, rec.Code)
		assert.Contains(t, rec.Body.String(), `action="finish"`)
		assert.Less(t, len(w.plex.Requests()), asked+5, "polls are less frequent after errors")
		w.plex.ResetFaults()
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)

		q = b.start(nil)
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Status: 503, Times: -1})
		assert.Equal(t, http.StatusBadGateway, b.post("/signin/finish").Code, "no one gets in while the policy cannot be asked")
		assert.Len(t, w.signedIn, 1)
		assert.Empty(t, w.plex.Token(w.alice, q.Get("clientID")))
	})
}

// G3: no part of a malformed response reaches a browser.
func TestMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, body := range []string{"", "{}", "<pin/>", `{"id":0,"code":"abcdefghijklmnopqrstuvwxy"}`, `{"id":7,"code":"ABCD"}`, `{"errors":[{"code":1,"message":"x"}]}`} {
			w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 200, Body: body, ContentType: "application/json"})
			b := w.browser(w)
			rec := b.post("/signin/start")
			assert.Equal(t, http.StatusBadGateway, rec.Code, body)
			assert.Empty(t, rec.Header().Get("Location"), body)
			assert.Equal(t, http.StatusGone, b.get("/signin/callback").Code, body)
		}
	})
}

// Replicas need to share only the key.
func TestReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b, _ := w.approved(w, w.alice)
		b.Handler = w.handler(func(_ *world, o *signin.Options) { o.Key = []byte(strings.Repeat("another key ", 4)) })
		assert.Equal(t, http.StatusGone, b.post("/signin/finish").Code)
		b.Handler = w.handler()
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		assert.Len(t, w.signedIn, 1)
	})
}

// A visitor who leaves in the middle leaves no token behind.
func TestVisitorLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b, q := w.approved(w, w.alice)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Delay: 2 * time.Second, Times: 2})
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		b.post("/signin/finish", func(r *http.Request) { *r = *r.WithContext(ctx) })
		assert.Empty(t, w.plex.Token(w.alice, q.Get("clientID")))
	})
}

// A policy that panics lets no one in, and leaves no token behind.
func TestPolicyPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) {
			o.Policy = func(context.Context, signin.Visitor) (bool, error) { panic(http.ErrAbortHandler) }
		})
		b, q := w.approved(w, w.alice)
		assert.Panics(t, func() { b.post("/signin/finish") })
		assert.Empty(t, w.signedIn)
		assert.Empty(t, w.plex.Token(w.alice, q.Get("clientID")))
	})
}

// A visitor's token is revoked, however long the policy takes.
func TestRevokedLate(t *testing.T) {
	slow := func(ctx context.Context, _ signin.Visitor) (bool, error) {
		<-ctx.Done()
		return true, ctx.Err()
	}
	for name, fault := range map[string]plextest.Fault{
		"a slow policy":  {},
		"a slow plex.tv": {Hang: true, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_ *world, o *signin.Options) { o.Policy = slow })
				b, q := w.approved(w, w.alice)
				fault.Path = "/api/v2/user"
				w.plex.Inject(fault)
				assert.NotEqual(t, http.StatusSeeOther, b.post("/signin/finish").Code)
				assert.Empty(t, w.signedIn)
				assert.Empty(t, w.plex.Token(w.alice, q.Get("clientID")))
			})
		})
	}
}

// OnSignIn may write the response.
func TestOwnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) {
			o.OnSignIn = func(w http.ResponseWriter, r *http.Request, a plexauth.Account) {
				http.SetCookie(w, &http.Cookie{Name: "session", Value: "TEST_session"})
				http.Error(w, "not before tomorrow", http.StatusTeapot)
			}
		})
		rec := w.signIn(w, w.alice)
		assert.Equal(t, http.StatusTeapot, rec.Code)
		assert.Len(t, rec.Result().Cookies(), 2)
	})
}

// OnSignIn may take longer than claims are remembered, while other visitors sign in.
func TestSlowOnSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) {
			o.OnSignIn = func(http.ResponseWriter, *http.Request, plexauth.Account) { time.Sleep(30 * time.Minute) }
		})
		b, _ := w.approved(w, w.alice)
		var slow sync.WaitGroup
		slow.Go(func() { assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code) })
		time.Sleep(25 * time.Minute)
		w.browser(w).start(nil)
		slow.Wait()
	})
}

// G13: no page, cookie or log line contains a secret.
func TestSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		var all strings.Builder
		see := func(rec *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			all.WriteString(rec.Body.String())
			for k, v := range rec.Header() {
				all.WriteString(k + strings.Join(v, "\n"))
			}
			for _, c := range rec.Result().Cookies() {
				plain, _ := base64.RawURLEncoding.DecodeString(c.Value)
				all.Write(plain)
			}
			return rec
		}
		see(b.post("/signin/start"))
		code := w.plex.PendingCodes()[0]
		require.NoError(t, w.plex.Approve(code, w.alice))
		see(b.get("/signin/callback"))
		see(b.post("/signin/finish"))
		require.Len(t, w.signedIn, 1)
		assert.NotContains(t, all.String(), "FAKE_")
		assert.NotRegexp(t, `"id"|pending|authToken`, all.String())
		assert.NotContains(t, w.log.b.String(), "FAKE_")
	})
}

func TestNew(t *testing.T) {
	_, err := signin.New(signin.Options{URL: "https://app.example/" + strings.Repeat("a", 500)})
	require.ErrorContains(t, err, "URL is too long")
	_, err = signin.New(signin.Options{Key: []byte("short"), ReturnTo: []string{"home", "javascript:x"}, URL: "app.example", MaxStarts: -1, BaseURL: "ftp://x"})
	require.Error(t, err)
	for _, word := range []string{"Product", "BaseURL", "OnSignIn", "Key", `"home"`, "javascript", "URL must be", "MaxStarts"} {
		assert.ErrorContains(t, err, word)
	}
}
