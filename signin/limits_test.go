package signin_test

import (
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

	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// G6, G20: a request that waits for another one of the same sign-in returns before the
// sign-in ends, whatever the other request waits for. Afterwards plex.tv is not asked.
func TestWaitingEndsWithTheSignIn(t *testing.T) {
	for name, fault := range map[string]*plextest.Fault{
		"not approved":        nil,
		"plex.tv hangs":       {Path: "/api/v2/pins/*", Hang: true, Times: -1},
		"plex.tv fails":       {Path: "/api/v2/pins/*", Status: http.StatusBadGateway, Times: -1},
		"plex.tv answers 429": {Path: "/api/v2/pins/*", Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"8"}}, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				b := w.browser(w)
				q := b.start(nil)
				end := time.Now().Add(10 * time.Minute)
				if fault != nil {
					w.plex.Inject(*fault)
				}
				time.Sleep(8 * time.Minute)
				var waiting sync.WaitGroup
				for range 60 {
					tab := *b
					tab.cookies = map[string]*http.Cookie{"": b.cookie()}
					waiting.Go(func() {
						tab.post("/signin/finish")
						assert.False(t, time.Now().After(end), "answered %v after the end", time.Since(end))
					})
				}
				waiting.Wait()
				time.Sleep(time.Until(end))
				w.plex.ResetFaults()
				_ = w.plex.Approve(q.Get("code"), w.alice)
				assert.Equal(t, http.StatusGone, b.post("/signin/finish").Code)
				for _, r := range w.plex.Requests() {
					assert.False(t, r.Time.After(end), "%s %v after the end", r.Path, r.Time.Sub(end))
				}
				assert.Empty(t, w.signedIn)
			})
		})
	}
}

// The cookie is never larger than browsers accept. A request that would need a larger one
// is refused, and no PIN is made.
func TestCookieSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHousehold(t, func(_ *household, o *signin.Options) { o.ReturnTo = []string{"/", "https://other.example/"} })
		fill := func(prefix, with string, size int) string {
			return prefix + strings.Repeat(with, (size-len(prefix))/len(with))
		}
		accepted := 0
		for _, c := range []struct{ host, path, to string }{
			{to: fill("/?", "&", 1000)},
			{to: fill("/?", `"`, 1000)},
			{to: fill("/?", "é", 1000)},
			{to: fill("/?", "\u2028", 1000)},
			{to: fill("/?", "<%2F>", 1000)},
			{to: fill("https://other.example/?", "a", 1000)},
			{to: fill("/", "a", 1001)},
			{to: "/\xff"},
			{path: fill("/", "p", 460) + "/"},
			{path: fill("/", "p", 460) + "/", to: fill("/?", "&", 1000)},
			{path: fill("/", "%26", 460) + "/", to: fill("/?", "&", 1000)},
			{path: fill("/", "p", 3000) + "/"},
			{host: fill("a", ".a", 250), to: fill("/?", "&", 1000)},
			{host: fill("a", ".a", 3000)},
		} {
			b := w.browser(w)
			if c.host != "" {
				b.host = c.host
			}
			for n := range 5 { // because the cookie also holds earlier starts
				post := func(path string, form url.Values) *httptest.ResponseRecorder {
					rec := b.do(http.MethodPost, c.path+path, form)
					for _, line := range rec.Header().Values("Set-Cookie") {
						assert.LessOrEqual(t, len(line), 4096, "%.40s %.40s %.40q", c.host, c.path, c.to)
					}
					return rec
				}
				rec := post("/start", url.Values{"return": {c.to}})
				if rec.Code != http.StatusSeeOther {
					assert.Equal(t, http.StatusBadRequest, rec.Code)
					assert.Empty(t, rec.Header().Values("Set-Cookie"))
					assert.Empty(t, w.plex.PendingCodes())
					break
				}
				require.NoError(t, w.plex.Approve(w.plex.PendingCodes()[0], w.alice))
				require.Equal(t, http.StatusOK, post("/finish", nil).Code) // with a question, and the largest cookie
				require.Equal(t, http.StatusSeeOther, post("/member", url.Values{"member": {w.alice.UUID}}).Code)
				if n == 0 {
					accepted++
				}
			}
		}
		assert.Equal(t, 8, accepted)
	})
}

// A person can sign in to two apps of one host at the same time, although browsers send
// the cookies of one app to the other.
func TestNeighbours(t *testing.T) {
	const at, key = "http://nas.lan:8080/signin", testKey
	for name, c := range map[string]struct{ at, key string }{
		"another port and key":  {"http://nas.lan:9090/signin", "another key of at least 32 bytes"},
		"another port":          {"http://nas.lan:9090/signin", key},
		"another path and key":  {"http://nas.lan:8080/two/signin", "another key of at least 32 bytes"},
		"another path":          {"http://nas.lan:8080/two/signin", key},
		"another key":           {at, "another key of at least 32 bytes"},
		"another URL, same key": {"https://nas.lan/signin", key},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				open := func(at, key string) (*browser, string) {
					u, err := url.Parse(at)
					require.NoError(t, err)
					b := w.browser(w.handler(func(_ *world, o *signin.Options) {
						o.Key = []byte(key)
						if u.Scheme == "https" {
							o.URL = at
						}
					}))
					b.host = u.Host
					return b, u.Path
				}
				one, oneAt := open(at, key)
				two, twoAt := open(c.at, c.key)
				two.cookies = one.cookies
				scheme := func(r *http.Request) {
					if strings.HasPrefix(c.at, "https:") {
						r.Header.Set("Origin", "https://nas.lan")
					}
				}
				require.Equal(t, http.StatusSeeOther, one.post(oneAt+"/start").Code)
				require.Equal(t, http.StatusSeeOther, two.post(twoAt+"/start", scheme).Code)
				for _, code := range w.plex.PendingCodes() {
					require.NoError(t, w.plex.Approve(code, w.alice))
				}
				assert.Equal(t, http.StatusSeeOther, one.post(oneAt+"/finish").Code)
				assert.Equal(t, http.StatusSeeOther, two.post(twoAt+"/finish", scheme).Code)
				assert.Len(t, w.signedIn, 2)
			})
		})
	}
}

// G20: if URL is set, no visitor is signed in under a host name that a stranger has pointed
// at the app. A proxy may use another name for the app.
func TestOtherNames(t *testing.T) {
	for _, c := range []struct {
		name, host, origin string
		known              bool
		header             string // X-Forwarded-Host
	}{
		{name: "the app's name", host: "app.example", origin: "https://app.example", known: true},
		{name: "with a final dot", host: "app.example.", origin: "https://app.example.", known: true},
		{name: "in capitals, with a port", host: "APP.example:443", origin: "https://app.example", known: true},
		{name: "a stranger's", host: "evil.example", origin: "https://evil.example"},
		{name: "a stranger's, by http", host: "evil.example", origin: "http://evil.example"},
		{name: "a stranger's, without Origin", host: "evil.example"},
		{name: "a stranger's, rewritten by a proxy", host: "10.0.0.3:8080", origin: "https://evil.example"},
		{name: "a stranger's that looks like it", host: "app.example.evil.example", origin: "https://app.example.evil.example"},
		{name: "the parent domain", host: "example", origin: "https://example"},
		{name: "a subdomain", host: "x.app.example", origin: "https://x.app.example"},
		{name: "an IP address", host: "198.51.100.7", origin: "http://198.51.100.7"},
		{name: "a hidden origin", host: "evil.example", origin: "null"},
		{name: "a proxy's address", host: "10.0.0.3:8080", origin: "https://app.example", known: true},
		{name: "a proxy's IPv6 address", host: "[fd00::3]:8080", origin: "https://app.example", known: true},
		{name: "a proxy's name", host: "backend:8080", origin: "https://app.example", known: true},
		{name: "a proxy's long name", host: "backend.internal:8080", origin: "https://app.example", known: true, header: "app.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_ *world, o *signin.Options) { o.URL = "https://app.example/signin/" })
				b := w.browser(w)
				b.host = c.host
				as := func(r *http.Request) {
					r.Header.Set("Origin", c.origin)
					if c.origin == "" {
						r.Header.Del("Origin")
					}
					if c.header != "" {
						r.Header.Set("X-Forwarded-Host", c.header)
					}
				}
				rec := b.post("/signin/start", as)
				if !c.known {
					assert.Equal(t, http.StatusForbidden, rec.Code)
					assert.Empty(t, w.plex.PendingCodes())
					assert.Empty(t, b.cookies)

					b.host = "app.example" // start under the right name, finish under the other
					q := b.start(nil, func(r *http.Request) { r.Header.Set("Origin", "https://app.example") })
					require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
					b.host = c.host
					assert.Equal(t, http.StatusForbidden, b.post("/signin/finish", as).Code)
					assert.Empty(t, w.signedIn)
					return
				}
				require.Equal(t, http.StatusSeeOther, rec.Code)
				require.NoError(t, w.plex.Approve(w.plex.PendingCodes()[0], w.alice))
				get := func(r *http.Request) { as(r); r.Header.Del("Origin") }
				assert.Equal(t, http.StatusOK, b.get("/signin/", get).Code)
				assert.Equal(t, http.StatusOK, b.get("/signin/callback", get).Code)
				assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish", as).Code)
				assert.Len(t, w.signedIn, 1)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a page under another name shows the right address
		w := newWorld(t, func(_ *world, o *signin.Options) { o.URL = "https://app.example/signin/" })
		b := w.browser(w)
		b.host = "evil.example"
		rec := b.get("/signin/")
		assert.Equal(t, http.StatusForbidden, rec.Code)
		assert.Equal(t, http.StatusOK, b.get("/signin/signin.css").Code, "its style")
		assert.Contains(t, rec.Body.String(), "https://app.example/signin/")
		assert.NotContains(t, rec.Body.String(), "<form")
	})
}

// The app's name may be an international one: browsers send it in ASCII, and so does Plex.
func TestInternationalURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) { o.URL = "https://bücher.example/signin/" })
		b := w.browser(w)
		b.host = "xn--bcher-kva.example"
		as := func(r *http.Request) { r.Header.Set("Origin", "https://xn--bcher-kva.example") }
		q := b.start(nil, as)
		assert.Equal(t, "https://xn--bcher-kva.example/signin/callback", q.Get("forwardUrl"))
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		assert.Equal(t, http.StatusOK, b.get("/signin/callback").Code)
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish", as).Code)
		assert.Len(t, w.signedIn, 1)
		b.host = "xn--bcher-0ta.example" // another name
		as = func(r *http.Request) { r.Header.Set("Origin", "https://xn--bcher-0ta.example") }
		assert.Equal(t, http.StatusForbidden, b.post("/signin/start", as).Code)
	})
}

// G20: a host that is longer than any name is not the app's. To put a long one in ASCII, as
// is done with international names, would take many seconds.
func TestLongHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) { o.URL = "https://app.example/signin/" })
		for ignored, want := range map[int]int{0: http.StatusOK, 10: http.StatusOK, 1000: http.StatusForbidden} {
			rec := w.browser(w.Handler).do(http.MethodGet, "/signin/", nil, func(r *http.Request) {
				r.Header.Set("Origin", "https://app"+strings.Repeat("\u00ad", ignored)+".example") // soft hyphens do not count
			})
			assert.Equal(t, want, rec.Code, ignored)
		}
	})
}
