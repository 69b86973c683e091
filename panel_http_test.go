package plexauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G19: the panel works under any prefix, stripped or not, and sends the headers of a
// careful page.
func TestPanelMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := openPanel(t, w.PlexAuth).h
		mux := http.NewServeMux()
		mux.Handle("/a/b/", http.StripPrefix("/a/b", h))
		mux.Handle("/c/", h)
		panel := &browser{t, mux}
		for _, base := range []string{"/a/b/", "/c/"} {
			for path, kind := range map[string]string{"": "text/html; charset=utf-8", "panel.js": "text/javascript; charset=utf-8", "view.js": "text/javascript; charset=utf-8", "words.js": "text/javascript; charset=utf-8", "words.json": "application/json", "return": "text/html; charset=utf-8", "return.js": "text/javascript; charset=utf-8", "panel.css": "text/css; charset=utf-8", "status": "application/json"} {
				rec := panel.do(http.MethodGet, base+path, "")
				assert.Equal(t, http.StatusOK, rec.Code, path)
				assert.Equal(t, kind, rec.Header().Get("Content-Type"))
				assert.Equal(t, "nosniff", rec.Header().Get("X-Content-Type-Options"))
				assert.Equal(t, "no-referrer", rec.Header().Get("Referrer-Policy"))
				assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "default-src 'self'")
				assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "frame-ancestors")
				assert.Equal(t, http.StatusOK, panel.do(http.MethodHead, base+path, "").Code)
			}
		}
		for at, to := range map[string]string{"/d?x=1": "/d/?x=1", "/a/d": "/a/d/", "/a/d:8?": "/a/d:8/", "/a/d%3Fe": "/a/d%3Fe/"} { // relative links would miss
			u, err := url.Parse(at)
			require.NoError(t, err)
			rec := (&browser{t, http.StripPrefix(u.Path, h)}).do(http.MethodGet, at, "")
			assert.Equal(t, http.StatusPermanentRedirect, rec.Code)
			landed, err := u.Parse(rec.Header().Get("Location")) // as a browser does
			require.NoError(t, err)
			assert.Equal(t, to, landed.String())
		}
		for _, at := range []string{"/plex", "/admin/plex"} { // nothing of the path is stripped
			mux := http.NewServeMux()
			mux.Handle(at, h)
			panel := &browser{t, mux}
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				rec := panel.do(method, at+"?x=1", "")
				assert.Equal(t, http.StatusPermanentRedirect, rec.Code)
				assert.Equal(t, "./plex/?x=1", rec.Header().Get("Location"))
			}
			panel.refused(panel.do(http.MethodPost, at, ""), http.StatusNotFound, "not_found")
		}
		person := func(r *http.Request) { r.Header.Set("Accept", "text/html") } // the router does not say where the panel is
		assert.Equal(t, http.StatusPermanentRedirect, (&browser{t, h}).do(http.MethodGet, "/plex", "", person).Code)
		for prefix, path := range map[string]string{"/": "/", "/e/": "/e/?x=1"} { // all of the path is stripped
			panel := &browser{t, http.StripPrefix(prefix, h)}
			assert.Equal(t, http.StatusOK, panel.do(http.MethodGet, path, "").Code)
			assert.Equal(t, http.StatusOK, panel.do(http.MethodGet, prefix+"status", "").Code)
		}

		rec := panel.do(http.MethodGet, "/c/panel.js", "")
		tag := rec.Header().Get("ETag")
		require.NotEmpty(t, tag)
		rec = panel.do(http.MethodGet, "/c/panel.js", "", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
		assert.Equal(t, http.StatusNotModified, rec.Code)
	})
}

// A bad request gets the right status and an explanation.
func TestPanelBadRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		for _, path := range []string{"/start", "/cancel", "/disconnect", "/inspect", "/server", "/user", "/probe"} {
			rec := panel.do(http.MethodGet, path, "")
			panel.refused(rec, http.StatusMethodNotAllowed, "method_not_allowed")
			assert.Equal(t, "POST", rec.Header().Get("Allow"))
			for _, body := range []string{"{", "[]", `"x"`, "null", "{} {}", "\x00"} {
				panel.refused(panel.do(http.MethodPost, path, body), http.StatusBadRequest, "bad_request")
			}
			panel.refused(panel.do(http.MethodPost, path, `{"url":"`+strings.Repeat("x", 64<<10)+`"}`), http.StatusRequestEntityTooLarge, "too_large")
			panel.refused(panel.do(http.MethodPost, path, "", func(r *http.Request) {
				r.Header.Set("Sec-Fetch-Site", "cross-site")
				r.Header.Set("Origin", "https://evil.example")
			}), http.StatusForbidden, "cross_origin")
			panel.refused(panel.do(http.MethodPost, path, "", func(r *http.Request) { // as a browser on a plain-http LAN
				r.Header.Del("Sec-Fetch-Site")
				r.Header.Set("Origin", "http://evil.example")
			}), http.StatusForbidden, "cross_origin")
		}
		for _, path := range []string{"/", "/panel.js", "/view.js", "/return", "/return.js", "/panel.css", "/qr.svg", "/status", "/servers", "/users"} {
			panel.refused(panel.do(http.MethodPost, path, ""), http.StatusMethodNotAllowed, "method_not_allowed")
			panel.refused(panel.do(http.MethodDelete, path, ""), http.StatusMethodNotAllowed, "method_not_allowed")
		}
		panel.refused(panel.do(http.MethodGet, "/nothing", ""), http.StatusNotFound, "not_found")
		panel.refused(panel.do(http.MethodPost, "/server", `{}`), http.StatusBadRequest, "bad_request")
		panel.refused(panel.do(http.MethodPost, "/server", `{"url":"ftp://x"}`), http.StatusBadRequest, "bad_request")
		panel.refused(panel.do(http.MethodPost, "/probe", `{"url":"file:///etc/passwd"}`), http.StatusBadRequest, "bad_request")
		panel.refused(panel.do(http.MethodGet, "/servers", ""), http.StatusConflict, "not_connected")
		panel.refused(panel.do(http.MethodGet, "/users", ""), http.StatusConflict, "not_connected")
		panel.refused(panel.do(http.MethodPost, "/inspect", ""), http.StatusConflict, "not_connected")
		assert.Empty(t, w.plex.Requests())
	})
}

// G12: another site cannot make the panel send requests to plex.tv. A link to the
// panel's page works from everywhere.
func TestPanelOtherSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.open(t, func(o *plexauth.Options) { o.TrustedOrigins = []string{"https://app.example"} }))
		asked := w.fromNow()
		ask := func(path, site, origin string) *httptest.ResponseRecorder {
			return panel.do(http.MethodGet, path, "", func(r *http.Request) {
				r.Host = "app.example"
				for k, v := range map[string]string{"Sec-Fetch-Site": site, "Origin": origin} {
					if v != "" {
						r.Header.Set(k, v)
					}
				}
			})
		}
		for _, path := range []string{"/status", "/servers", "/users"} {
			panel.refused(ask(path, "cross-site", ""), http.StatusForbidden, "cross_origin")
			panel.refused(ask(path, "same-site", ""), http.StatusForbidden, "cross_origin")
			panel.refused(ask(path, "cross-site", "https://evil.example"), http.StatusForbidden, "cross_origin")
			panel.refused(ask(path, "", "http://evil.example"), http.StatusForbidden, "cross_origin")
		}
		assert.Equal(t, http.StatusOK, ask("/", "cross-site", "").Code)
		assert.Empty(t, asked())
		for _, path := range []string{"/status", "/servers", "/users"} {
			for _, site := range []string{"", "none", "same-origin"} {
				assert.Equal(t, http.StatusOK, ask(path, site, "").Code, "%s %q", path, site)
			}
			assert.Equal(t, http.StatusOK, ask(path, "cross-site", "https://app.example").Code)
		}
	})
}

// Behind a proxy that rewrites Host, the trusted origins count.
func TestPanelTrustedOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.open(t, func(o *plexauth.Options) {
			o.TrustedOrigins = []string{"https://app.example", "http://lan.example:8080"}
		}))
		ask := func(method, host, origin, site string) int {
			return panel.do(method, "/status", "", func(r *http.Request) {
				if method == http.MethodPost {
					r.URL.Path = "/cancel"
				}
				r.Host = host
				for k, v := range map[string]string{"Origin": origin, "Sec-Fetch-Site": site} {
					if r.Header.Del(k); v != "" {
						r.Header.Set(k, v)
					}
				}
			}).Code
		}
		for _, c := range []struct {
			method, host, origin, site string
			want                       int
		}{
			{"GET", "app.example", "", "", 200},
			{"GET", "lan.example:8080", "", "", 200},
			{"GET", "10.0.0.3:8080", "", "", 200},
			{"GET", "[fd00::3]:8080", "", "", 200},
			{"GET", "app:8080", "", "", 200},
			{"GET", "evil.example", "", "", 403},
			{"GET", "app.example.evil.example", "", "", 403},
			{"POST", "10.0.0.3:8080", "https://app.example", "same-origin", 200},
			{"POST", "10.0.0.3:8080", "https://app.example", "", 200},
			{"POST", "app:8080", "http://lan.example:8080", "", 200},
			{"POST", "10.0.0.3:8080", "", "", 200}, // no browser
			{"POST", "10.0.0.3:8080", "https://evil.example", "", 403},
			{"POST", "10.0.0.3:8080", "https://evil.example", "cross-site", 403},
			{"POST", "evil.example", "http://evil.example", "same-origin", 403}, // DNS rebinding
			{"POST", "evil.example", "http://evil.example", "", 403},
			{"POST", "10.0.0.3:8080", "http://10.0.0.3:8080", "same-origin", 403},
			{"POST", "10.0.0.3:8080", "null", "", 403},
		} {
			assert.Equal(t, c.want, ask(c.method, c.host, c.origin, c.site), "%+v", c)
		}
	})
	w := newWorld(t)
	idn := w.open(t, func(o *plexauth.Options) {
		o.TrustedOrigins, o.FrameAncestors = []string{"https://müller.example"}, []string{"https://dash.müller.example"}
	})
	rec := openPanel(t, idn).do(http.MethodPost, "/cancel", "", func(r *http.Request) {
		r.Host = "xn--mller-kva.example"
		r.Header.Set("Origin", "https://xn--mller-kva.example") // as a browser sends it
	})
	assert.Equal(t, http.StatusOK, rec.Code)
	assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "frame-ancestors 'self' https://dash.xn--mller-kva.example;")
	for _, bad := range []string{"app.example", "https://app.example/", "https://App.example", "https://app.example:443", "*", "null", "ftp://x", "https://u@app.example", ""} {
		_, err := plexauth.New(plexauth.Options{Product: "My App", TrustedOrigins: []string{bad}})
		assert.ErrorContains(t, err, "TrustedOrigins", "%q", bad)
	}
}

// A browser whose request is refused shows a page that says why, in its language, with the
// status of the refusal. The page needs no other answer, and does not name the product.
func TestPanelRefusalPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		trust := func(o *plexauth.Options) { o.TrustedOrigins = []string{"https://app.example"} }
		stopped, stop := context.WithCancel(t.Context())
		stop()
		form := func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		under := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
		for name, c := range map[string]struct {
			panel        *browser
			method, path string
			change       func(*http.Request)
			status       int
			kind         string
			title, text  string
		}{
			"another host":               {openPanel(t, w.open(t, trust)), http.MethodGet, "/", under("nas.example"), http.StatusForbidden, "host", "Unter diesem Namen ist das Programm nicht bekannt", "in TrustedOrigins aufnehmen."},
			"another host, the list":     {openProfiles(t, w.open(t, trust)), http.MethodGet, "/", under("nas.example"), http.StatusForbidden, "host", "Unter diesem Namen ist das Programm nicht bekannt", "in TrustedOrigins aufnehmen."},
			"another host, a profile":    {openProfiles(t, w.open(t, trust)), http.MethodGet, "/profile/default/", under("nas.example"), http.StatusForbidden, "host", "Unter diesem Namen ist das Programm nicht bekannt", "in TrustedOrigins aufnehmen."},
			"another host, the way back": {openPanel(t, w.open(t, trust)), http.MethodGet, "/return", under("nas.example"), http.StatusForbidden, "host", "Unter diesem Namen ist das Programm nicht bekannt", "in TrustedOrigins aufnehmen."},
			"a form of another site":     {openPanel(t, w.PlexAuth), http.MethodPost, "/start", form, http.StatusForbidden, "cross_origin", "Die Anfrage kam von einer anderen Website und wurde nicht ausgeführt", "muss TrustedOrigins gesetzt sein."},
			"no such page":               {openPanel(t, w.PlexAuth), http.MethodPost, "/nothing", func(*http.Request) {}, http.StatusNotFound, "not_found", "Diese Seite gibt es nicht", ""},
			"after the end":              {&browser{t, w.Handler(stopped)}, http.MethodGet, "/", func(*http.Request) {}, http.StatusServiceUnavailable, "stopped", "Das Programm wird gerade beendet", "Lade diese Seite neu"},
		} {
			ask := func(accept string) *httptest.ResponseRecorder {
				return c.panel.do(c.method, c.path, "", c.change, func(r *http.Request) {
					r.Header.Set("Accept", accept)
					r.Header.Set("Accept-Language", "de")
				})
			}
			rec := ask("text/html,application/xhtml+xml,*/*;q=0.8")
			page := rec.Body.String()
			assert.Equal(t, c.status, rec.Code, name)
			assert.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"), name)
			assert.Contains(t, page, `<html lang="de">`, name)
			assert.Contains(t, page, "<title>"+c.title+"</title>", name)
			assert.Contains(t, page, "<h1>"+c.title+"</h1>", name)
			assert.Contains(t, page, c.text, name)
			assert.NotContains(t, page, "My App", name)
			assert.NotRegexp(t, `<script|<link| src=`, page, name)
			_, style, _ := strings.Cut(page, "<style>")
			style, _, _ = strings.Cut(style, "</style>")
			assert.NotEmpty(t, style, name)
			sum := sha256.Sum256([]byte(style))
			assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'", name)
			assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "default-src 'self'; ", name)
			assert.Equal(t, "no-store", rec.Header().Get("Cache-Control"), name)
			for _, accept := range []string{"", "*/*", "application/json"} {
				rec := ask(accept)
				assert.Equal(t, "application/json", rec.Header().Get("Content-Type"), name)
				c.panel.refused(rec, c.status, c.kind)
			}
		}
	})
}

// Only the panel's own pages, and those of FrameAncestors, may show the panel in a frame.
func TestPanelFrameAncestors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		policy := func(ancestors ...string) string {
			panel := openPanel(t, w.open(t, func(o *plexauth.Options) { o.FrameAncestors = ancestors }))
			return panel.do(http.MethodGet, "/", "").Header().Get("Content-Security-Policy")
		}
		assert.Contains(t, policy(), "frame-ancestors 'self';")
		assert.Contains(t, policy("https://dash.example", "http://nas.lan:8080"), "frame-ancestors 'self' https://dash.example http://nas.lan:8080;")
	})
	for _, bad := range []string{"dash.example", "https://dash.example/", "*", "https://*.example", "https://a;script-src", "'none'", ""} {
		_, err := plexauth.New(plexauth.Options{Product: "My App", FrameAncestors: []string{bad}})
		assert.ErrorContains(t, err, "FrameAncestors", "%q", bad)
	}
}

// G9: after the end of ctx every answer is 503, and nothing runs any more.
func TestPanelStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		panel := &browser{t, w.Handler(ctx)}
		panel.post("/start", "")
		var poll sync.WaitGroup
		poll.Go(func() {
			panel.refused(panel.do(http.MethodGet, "/status?wait=25", ""), http.StatusServiceUnavailable, "stopped")
		})
		time.Sleep(5 * time.Second)
		stop()
		poll.Wait()
		asked := w.fromNow()
		for _, path := range []string{"/", "/status", "/panel.js", "/servers"} {
			panel.refused(panel.do(http.MethodGet, path, ""), http.StatusServiceUnavailable, "stopped")
		}
		panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusServiceUnavailable, "stopped")
		time.Sleep(time.Minute)
		assert.Empty(t, asked())
	})
}

// G13: no answer of the panel and no line of the log holds a secret.
func TestPanelSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice, HomePIN: "Q-XYZ-4711"})
		panel := openPanel(t, w.PlexAuth)
		var all strings.Builder
		see := func(method, path, body string) {
			rec := panel.do(method, path, body)
			all.WriteString(rec.Body.String())
			_ = rec.Result().Header.Write(&all)
		}
		visit := func() {
			for _, path := range []string{"/", "/status", "/status?wait=5", "/servers", "/users", "/qr.svg"} {
				see(http.MethodGet, path, "")
			}
			for _, path := range []string{"/start", "/inspect", "/probe", "/server", "/user", "/cancel"} {
				see(http.MethodPost, path, fmt.Sprintf(`{"uuid":%q,"pin":"Q-XYZ-4711","machine_id":"x"}`, kid.UUID))
			}
		}
		visit()
		time.Sleep(10 * time.Second)
		s := panel.post("/start", "")
		var stored struct {
			Pending struct{ ID json.Number } `json:"_pending_pin"`
		}
		require.NoError(t, json.Unmarshal([]byte(w.doc(t)), &stored))
		visit()
		time.Sleep(10 * time.Second)
		s = panel.post("/start", "")
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		panel.get("/status?wait=25")
		time.Sleep(10 * time.Second)
		visit()
		see(http.MethodPost, "/disconnect", `{"revoke":true}`)
		for name, text := range map[string]string{"answers": all.String(), "log": w.log.String()} {
			assert.NotContains(t, text, "FAKE_", name)
			assert.NotContains(t, text, "Q-XYZ-4711", name)
			assert.NotContains(t, text, stored.Pending.ID.String(), name)
		}
	})
}

// A request for the status waits for news as long as it asks to.
func TestPanelLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		took := func(path string) time.Duration {
			began := time.Now()
			panel.get(path)
			return time.Since(began)
		}
		s := panel.get("/status")
		assert.Zero(t, took("/status?wait=25"), "nothing is pending: nothing to wait for")
		assert.Equal(t, 25*time.Second, took("/status?wait=25&seen="+s.Seen))
		assert.Zero(t, took("/status?wait=25&seen=old"))
		s = panel.post("/start", "")
		assert.Equal(t, 25*time.Second, took("/status?wait=25"))
		assert.Equal(t, 25*time.Second, took("/status?wait=25&seen="+s.Seen))
		assert.Equal(t, 30*time.Second, took("/status?wait=99999999"))
		assert.Zero(t, took("/status?wait=0"))
		for _, bad := range []string{"-1", "x", "1.5"} {
			panel.refused(panel.do(http.MethodGet, "/status?wait="+bad, ""), http.StatusBadRequest, "bad_request")
		}
	})
}

// G12: each list is read once for all tabs, and again for another account. G10: once the token
// is rejected, there is no list.
func TestPanelManyLists(t *testing.T) {
	for _, path := range []string{"/servers", "/users"} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Alice's", Offline: true})
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				panel := openPanel(t, w.PlexAuth)
				asked := w.fromNow()
				var tabs sync.WaitGroup
				for range 100 {
					tabs.Go(func() {
						rec := panel.do(http.MethodGet, path, "")
						assert.Equal(t, http.StatusOK, rec.Code)
						assert.Contains(t, strings.ToLower(rec.Body.String()), "alice")
					})
				}
				tabs.Wait()
				assert.Len(t, asked(), 1, "once for all tabs")

				w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
				rec := panel.do(http.MethodGet, path, "")
				assert.Equal(t, http.StatusOK, rec.Code)
				assert.NotContains(t, strings.ToLower(rec.Body.String()), "alice")
				time.Sleep(15 * time.Second)
				asked = w.fromNow()
				panel.do(http.MethodGet, path, "")
				assert.NotEmpty(t, asked(), "it is not kept for long")

				w.plex.Revoke(w.bob)
				require.ErrorIs(t, errOf(w.Verify(t.Context())), plexauth.ErrTokenRejected)
				panel.refused(panel.do(http.MethodGet, path, ""), http.StatusConflict, "rejected")
			})
		})
	}
}

// GET status answers with the fields of Status, in each state of a profile.
func TestPanelStatusFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey, o.Scopes = true, []string{"username"} })
		p := openPanel(t, w.PlexAuth)
		same := func() {
			t.Helper()
			s, err := w.Status(t.Context())
			require.NoError(t, err)
			b, err := json.Marshal(s)
			require.NoError(t, err)
			var want, got map[string]any
			require.NoError(t, json.Unmarshal(b, &want))
			require.NoError(t, json.Unmarshal(p.do(http.MethodGet, "/status", "").Body.Bytes(), &got))
			for name, value := range want {
				assert.Equal(t, value, got[name], name)
			}
		}
		same()
		code := p.post("/start", "").Extra.Pending.Code
		same()
		require.NoError(t, w.plex.Approve(code, w.alice))
		time.Sleep(time.Minute)
		same()
		w.plex.Revoke(w.alice)
		_ = errOf(w.Verify(t.Context()))
		time.Sleep(time.Second)
		same()
	})
}

// An invalid profile name is an error, not a loop. G9: it has no worker.
func TestPanelBadInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.Instance("a\nb"))
		synctest.Wait()
		assert.Zero(t, plexauth.ProfilesInUse(w.PlexAuth))
		panel.refused(panel.do(http.MethodGet, "/status", ""), http.StatusInternalServerError, "internal")
		time.Sleep(time.Hour)
	})
}

// The page shows the product's name as text, and loads its files by relative URLs.
func TestPanelPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.open(t, func(o *plexauth.Options) { o.Product = `<b>"My" & 'App'` }))
		page := panel.do(http.MethodGet, "/", "").Body.String()
		assert.Contains(t, page, plexauth.HTML())
		assert.Contains(t, page, "<title>Plex · &lt;b&gt;&#34;My&#34; &amp; &#39;App&#39;</title>")
		assert.NotContains(t, page, "<b>\"My")
		assert.Contains(t, page, `<html lang="en">`)
		assert.Contains(t, page, "<noscript>")
		for _, u := range regexp.MustCompile(`<(?:script|link)[^>]* (?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			assert.NotRegexp(t, `^(/|https?:)`, u[1])
		}
		for _, path := range []string{"/panel.js", "/view.js"} {
			script := panel.do(http.MethodGet, path, "").Body.String()
			assert.NotContains(t, script, "innerHTML", "plex.tv's texts are never markup")
			assert.NotContains(t, script, "localStorage")
		}
	})
}
