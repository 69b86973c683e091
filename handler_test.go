package plexauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

// front is what a browser does with a panel.
type front struct {
	t *testing.T
	h http.Handler
}

// open makes the panel of p, which ends with the test.
func openPanel(t *testing.T, p *plexauth.PlexAuth) *front {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &front{t, p.Handler(ctx)}
}

func (f *front) do(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", "http://"+r.Host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, c := range change {
		c(r)
	}
	rec := httptest.NewRecorder()
	f.h.ServeHTTP(rec, r)
	return rec
}

// state is what status and the POSTs answer.
type state struct {
	Connected bool
	User      string
	Label     string
	Instance  string
	Extra     struct {
		Pending *struct {
			Code      string
			URL       string
			ExpiresIn int `json:"expires_in"`
		}
		NeedsLogin bool `json:"needs_login"`
	}
	Settings plexauth.Settings
	Finding  bool
	Problem  *trouble
	Seen     string
}

type trouble struct {
	Error      string
	Message    string
	Detail     string
	RetryAfter int `json:"retry_after"`
	Servers    []plexauth.Server
}

func (f *front) state(rec *httptest.ResponseRecorder) (s state) {
	f.t.Helper()
	require.Equal(f.t, http.StatusOK, rec.Code, rec.Body.String())
	assert.Equal(f.t, "application/json", rec.Header().Get("Content-Type"))
	assert.Equal(f.t, "no-store", rec.Header().Get("Cache-Control"))
	require.NoError(f.t, json.Unmarshal(rec.Body.Bytes(), &s))
	return s
}

func (f *front) get(path string) state { f.t.Helper(); return f.state(f.do(http.MethodGet, path, "")) }

func (f *front) post(path, body string) state {
	f.t.Helper()
	return f.state(f.do(http.MethodPost, path, body))
}

// refused asserts that an answer is an error with this status and word.
func (f *front) refused(rec *httptest.ResponseRecorder, status int, word string) (v trouble) {
	f.t.Helper()
	assert.Equal(f.t, status, rec.Code, rec.Body.String())
	require.NoError(f.t, json.Unmarshal(rec.Body.Bytes(), &v), rec.Body.String())
	assert.Equal(f.t, word, v.Error)
	assert.NotEmpty(f.t, v.Message)
	return v
}

func TestPanelLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
		f := openPanel(t, w.PlexAuth)
		s := f.get("/status")
		assert.False(t, s.Connected)
		assert.Nil(t, s.Extra.Pending)

		s = f.post("/start", "")
		require.NotNil(t, s.Extra.Pending)
		assert.Len(t, s.Extra.Pending.Code, 4)
		assert.Equal(t, "https://plex.tv/link/?pin="+s.Extra.Pending.Code, s.Extra.Pending.URL)
		assert.Equal(t, 900, s.Extra.Pending.ExpiresIn)
		qr := f.do(http.MethodGet, "/qr.svg", "")
		assert.Equal(t, "image/svg+xml", qr.Header().Get("Content-Type"))
		assert.Contains(t, qr.Body.String(), "<svg")
		assert.Equal(t, s.Extra.Pending.Code, f.post("/start", "{}").Extra.Pending.Code, "a second click is the same login")

		go func() {
			time.Sleep(12 * time.Second)
			assert.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		}()
		began := time.Now()
		s = f.get("/status?wait=25")
		assert.True(t, s.Connected)
		assert.Nil(t, s.Extra.Pending)
		assert.Less(t, time.Since(began), 15*time.Second)
		for s.Finding || s.Settings.MachineID == "" {
			s = f.get("/status?wait=25&seen=" + s.Seen)
		}
		assert.Equal(t, "alice", s.User)
		assert.Equal(t, box.MachineID, s.Settings.MachineID)
		assert.Equal(t, "1", s.Settings.AccountID)
		f.refused(f.do(http.MethodGet, "/qr.svg", ""), http.StatusNotFound, "no_login")

		s = f.post("/disconnect", "{}")
		assert.False(t, s.Connected)
		assert.Equal(t, box.MachineID, s.Settings.MachineID, "the server choice stays")
	})
}

// G8: an approval is not lost with the tab, nor with a request that is broken
// off, nor with the process.
func TestPanelTabClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		ctx, leave := context.WithCancel(t.Context())
		s := f.post("/start", "")
		go f.do(http.MethodGet, "/status?wait=25", "", func(r *http.Request) { *r = *r.WithContext(ctx) })
		time.Sleep(3 * time.Second)
		leave()
		time.Sleep(5 * time.Minute)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		time.Sleep(2 * time.Second)
		status, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, status.Connected)
	})
}

func TestPanelResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		first := &front{t, w.Handler(ctx)}
		s := first.post("/start", "")
		stop() // the process ends
		synctest.Wait()
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		openPanel(t, w.open(t)) // and another begins; nobody looks at its panel
		time.Sleep(2 * time.Second)
		status, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, status.Connected)
	})
}

// A login begun on one replica is waited for by another whose panel is open.
func TestPanelReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := openPanel(t, w.open(t))
		before := other.get("/status")
		ctx, stop := context.WithCancel(t.Context())
		s := (&front{t, w.Handler(ctx)}).post("/start", "")
		seen := other.get("/status?wait=25&seen=" + before.Seen)
		require.NotNil(t, seen.Extra.Pending)
		assert.Equal(t, s.Extra.Pending.Code, seen.Extra.Pending.Code)
		stop()
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		assert.True(t, other.get("/status?wait=25").Connected)
	})
}

// G7: the countdown goes by the PIN's true expiry, and the login ends then.
func TestPanelExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.SetPinLifetime(2*time.Minute, 0)
		f := openPanel(t, w.PlexAuth)
		began := time.Now()
		s := f.post("/start", "")
		assert.Equal(t, 120, s.Extra.Pending.ExpiresIn)
		time.Sleep(time.Minute)
		assert.Equal(t, 60, f.get("/status").Extra.Pending.ExpiresIn)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Delay: 4 * time.Second, Times: -1}) // the last look takes its time
		for s.Extra.Pending != nil {
			s = f.get("/status?wait=25")
		}
		assert.InDelta(t, 120, time.Since(began).Seconds(), 6)
		require.NotNil(t, s.Problem, "what it has come to is said at once")
		assert.Equal(t, "pin_expired", s.Problem.Error)
		assert.NotEmpty(t, s.Problem.Message)
		s = f.post("/start", "")
		assert.Nil(t, s.Problem)
	})
}

func TestPanelCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		f.post("/start", "")
		time.Sleep(3 * time.Second)
		s := f.post("/cancel", "")
		assert.Nil(t, s.Extra.Pending)
		assert.Nil(t, s.Problem)
		asked := len(w.plex.Requests())
		time.Sleep(time.Minute)
		assert.Len(t, w.plex.Requests(), asked, "nothing is asked any more")
	})
}

// G12: one live PIN, started from the web at most every ten seconds.
func TestPanelStartPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		var clicks sync.WaitGroup
		for range 10 {
			clicks.Go(func() { f.post("/start", "") })
		}
		clicks.Wait()
		assert.Len(t, w.plex.PendingCodes(), 1)
		f.post("/cancel", "")
		v := f.refused(f.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
		assert.Equal(t, 10, v.RetryAfter)
		time.Sleep(10 * time.Second)
		f.post("/start", "")
		assert.Len(t, w.plex.PendingCodes(), 2, "plex.tv keeps the cancelled one until it expires")

		rec := f.do(http.MethodPost, "/start", `{"switch_account":true}`)
		f.refused(rec, http.StatusTooManyRequests, "too_soon")
		assert.Equal(t, "10", rec.Header().Get("Retry-After"))
	})
}

// However many tabs wait for a login, plex.tv is asked once an interval.
func TestPanelManyTabs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &tallyStore{ConfigStore: w.store}
		f := openPanel(t, w.open(t, func(o *plexauth.Options) { o.Store = store }))
		code := f.post("/start", "").Extra.Pending.Code
		var tabs sync.WaitGroup
		for range 1000 {
			tabs.Go(func() {
				for s := (state{}); !s.Connected; {
					s = f.get("/status?wait=25")
				}
			})
		}
		time.Sleep(30 * time.Second)
		require.NoError(t, w.plex.Approve(code, w.alice))
		tabs.Wait()
		looks := 0
		for _, r := range w.plex.Requests() {
			if r.Path == "/api/v2/pins/{id}" {
				looks++
			}
		}
		assert.LessOrEqual(t, looks, 31)
		assert.Less(t, store.loads, 31*4, "nor is the store")
	})
}

type tallyStore struct {
	plexauth.ConfigStore
	mu    sync.Mutex
	loads int
}

func (s *tallyStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	s.mu.Lock()
	s.loads++
	s.mu.Unlock()
	return s.ConfigStore.Load(ctx, namespace)
}

// Nor for its list of servers.
func TestPanelManyLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)
		asked := len(w.plex.Requests())
		var tabs sync.WaitGroup
		for range 100 {
			tabs.Go(func() { assert.Equal(t, http.StatusOK, f.do(http.MethodGet, "/servers", "").Code) })
		}
		tabs.Wait()
		assert.Len(t, w.plex.Requests(), asked+1)
	})
}

// The long poll.
func TestPanelLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		took := func(path string) time.Duration {
			began := time.Now()
			f.get(path)
			return time.Since(began)
		}
		s := f.get("/status")
		assert.Zero(t, took("/status?wait=25"), "nothing is pending: nothing to wait for")
		assert.Equal(t, 25*time.Second, took("/status?wait=25&seen="+s.Seen))
		assert.Zero(t, took("/status?wait=25&seen=old"))
		s = f.post("/start", "")
		assert.Equal(t, 25*time.Second, took("/status?wait=25"))
		assert.Equal(t, 25*time.Second, took("/status?wait=25&seen="+s.Seen))
		assert.Equal(t, 30*time.Second, took("/status?wait=99999999"))
		assert.Zero(t, took("/status?wait=0"))
		for _, bad := range []string{"-1", "x", "1.5"} {
			f.refused(f.do(http.MethodGet, "/status?wait="+bad, ""), http.StatusBadRequest, "bad_request")
		}
	})
}

// G9: after ctx everything is 503, and nothing runs any more.
func TestPanelStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		f := &front{t, w.Handler(ctx)}
		f.post("/start", "")
		var poll sync.WaitGroup
		poll.Go(func() {
			f.refused(f.do(http.MethodGet, "/status?wait=25", ""), http.StatusServiceUnavailable, "stopped")
		})
		time.Sleep(5 * time.Second)
		stop()
		poll.Wait()
		asked := len(w.plex.Requests())
		for _, path := range []string{"/", "/status", "/panel.js", "/servers"} {
			f.refused(f.do(http.MethodGet, path, ""), http.StatusServiceUnavailable, "stopped")
		}
		f.refused(f.do(http.MethodPost, "/start", ""), http.StatusServiceUnavailable, "stopped")
		time.Sleep(time.Minute)
		assert.Len(t, w.plex.Requests(), asked)
	})
}

// What is wrong with a request is told, with the right status.
func TestPanelBadRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		for _, path := range []string{"/start", "/cancel", "/disconnect", "/inspect", "/server", "/user", "/probe"} {
			rec := f.do(http.MethodGet, path, "")
			f.refused(rec, http.StatusMethodNotAllowed, "method_not_allowed")
			assert.Equal(t, "POST", rec.Header().Get("Allow"))
			for _, body := range []string{"{", "[]", `"x"`, "null", "{} {}", "\x00"} {
				f.refused(f.do(http.MethodPost, path, body), http.StatusBadRequest, "bad_request")
			}
			f.refused(f.do(http.MethodPost, path, `{"url":"`+strings.Repeat("x", 64<<10)+`"}`), http.StatusRequestEntityTooLarge, "too_large")
			f.refused(f.do(http.MethodPost, path, "", func(r *http.Request) {
				r.Header.Set("Sec-Fetch-Site", "cross-site")
				r.Header.Set("Origin", "https://evil.example")
			}), http.StatusForbidden, "cross_origin")
			f.refused(f.do(http.MethodPost, path, "", func(r *http.Request) { // as a browser on a plain-http LAN
				r.Header.Del("Sec-Fetch-Site")
				r.Header.Set("Origin", "http://evil.example")
			}), http.StatusForbidden, "cross_origin")
		}
		for _, path := range []string{"/", "/panel.js", "/panel.css", "/qr.svg", "/status", "/servers", "/users"} {
			f.refused(f.do(http.MethodPost, path, ""), http.StatusMethodNotAllowed, "method_not_allowed")
			f.refused(f.do(http.MethodDelete, path, ""), http.StatusMethodNotAllowed, "method_not_allowed")
		}
		f.refused(f.do(http.MethodGet, "/nothing", ""), http.StatusNotFound, "not_found")
		f.refused(f.do(http.MethodPost, "/server", `{}`), http.StatusBadRequest, "bad_request")
		f.refused(f.do(http.MethodPost, "/server", `{"url":"ftp://x"}`), http.StatusBadRequest, "bad_request")
		f.refused(f.do(http.MethodPost, "/probe", `{"url":"file:///etc/passwd"}`), http.StatusBadRequest, "bad_request")
		f.refused(f.do(http.MethodGet, "/servers", ""), http.StatusConflict, "not_connected")
		f.refused(f.do(http.MethodGet, "/users", ""), http.StatusConflict, "not_connected")
		f.refused(f.do(http.MethodPost, "/inspect", ""), http.StatusConflict, "not_connected")
		assert.Empty(t, w.plex.Requests())
	})
}

// Under any prefix, stripped or not, with the headers of a careful page.
func TestPanelMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := openPanel(t, w.PlexAuth).h
		mux := http.NewServeMux()
		mux.Handle("/a/b/", http.StripPrefix("/a/b", h))
		mux.Handle("/c/", h)
		mux.Handle("/d", http.StripPrefix("/d", h))
		f := &front{t, mux}
		for _, base := range []string{"/a/b/", "/c/"} {
			for path, kind := range map[string]string{"": "text/html; charset=utf-8", "panel.js": "text/javascript; charset=utf-8", "panel.css": "text/css; charset=utf-8", "status": "application/json"} {
				rec := f.do(http.MethodGet, base+path, "")
				assert.Equal(t, http.StatusOK, rec.Code, path)
				assert.Equal(t, kind, rec.Header().Get("Content-Type"))
				assert.Equal(t, "nosniff", rec.Header().Get("X-Content-Type-Options"))
				assert.Equal(t, "no-referrer", rec.Header().Get("Referrer-Policy"))
				assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "default-src 'self'")
				assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "frame-ancestors")
				assert.Equal(t, http.StatusOK, f.do(http.MethodHead, base+path, "").Code)
			}
		}
		rec := f.do(http.MethodGet, "/d?x=1", "")
		assert.Equal(t, http.StatusPermanentRedirect, rec.Code)
		assert.Equal(t, "/d/", rec.Header().Get("Location"))

		rec = f.do(http.MethodGet, "/c/panel.js", "")
		tag := rec.Header().Get("ETag")
		require.NotEmpty(t, tag)
		rec = f.do(http.MethodGet, "/c/panel.js", "", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
		assert.Equal(t, http.StatusNotModified, rec.Code)
	})
}

// Behind a proxy that rewrites Host.
func TestPanelTrustedOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.open(t, func(o *plexauth.Options) {
			o.TrustedOrigins = []string{"https://app.example", "http://lan.example:8080"}
		}))
		ask := func(method, host, origin, site string) int {
			return f.do(method, "/status", "", func(r *http.Request) {
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
			{"POST", "evil.example", "http://evil.example", "same-origin", 403}, // a name that was pointed here
			{"POST", "evil.example", "http://evil.example", "", 403},
			{"POST", "10.0.0.3:8080", "http://10.0.0.3:8080", "same-origin", 403},
			{"POST", "10.0.0.3:8080", "null", "", 403},
		} {
			assert.Equal(t, c.want, ask(c.method, c.host, c.origin, c.site), "%+v", c)
		}
	})
	for _, bad := range []string{"app.example", "https://app.example/", "https://App.example", "https://app.example:443", "*", "null", "ftp://x", "https://u@app.example", ""} {
		_, err := plexauth.New(plexauth.Options{Product: "My App", TrustedOrigins: []string{bad}})
		assert.ErrorContains(t, err, "TrustedOrigins", "%q", bad)
	}
}

// G18: a store that cannot be read is an error, and never looks like a first
// run.
func TestPanelFailsClosed(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "truncated": `{"plex": {"account_tok`, "no object": `{"plex": 7}`, "no JSON": "plex = 1"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			w := newWorld(t)
			f := openPanel(t, w.open(t, func(o *plexauth.Options) { o.Store = plexauth.NewFileStore(path) }))
			f.refused(f.do(http.MethodGet, "/status?wait=25", ""), http.StatusServiceUnavailable, "store_corrupt")
			f.refused(f.do(http.MethodPost, "/start", ""), http.StatusServiceUnavailable, "store_corrupt")
			f.refused(f.do(http.MethodPost, "/disconnect", ""), http.StatusServiceUnavailable, "store_corrupt")
			assert.Equal(t, http.StatusServiceUnavailable, f.do(http.MethodGet, "/", "").Code)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, content, string(after))
			assert.Empty(t, w.plex.Requests())
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.open(t, func(o *plexauth.Options) { o.Store = brokenStore{} }))
		v := f.refused(f.do(http.MethodGet, "/status", ""), http.StatusServiceUnavailable, "store")
		assert.Contains(t, v.Detail, "read-only file system")
		time.Sleep(time.Hour)
	})
}

// Each kind of trouble has its word, while a login waits and when it begins.
func TestPanelTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 502, Body: "<html></html>", ContentType: "text/html"})
		f.refused(f.do(http.MethodPost, "/start", ""), http.StatusBadGateway, "status")
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Reset: true})
		f.refused(f.do(http.MethodPost, "/start", ""), http.StatusBadGateway, "connect")
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 200, Body: "<html></html>", ContentType: "text/html"})
		f.refused(f.do(http.MethodPost, "/start", ""), http.StatusBadGateway, "content")
		f.refused(f.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon") // that may have made a PIN
		time.Sleep(2 * time.Second)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Hang: true, Times: 2})
		f.refused(f.do(http.MethodPost, "/start", ""), http.StatusBadGateway, "timeout")
		w.plex.ResetFaults()

		s := f.post("/start", "")
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: 503, Times: -1})
		s = f.get("/status?wait=25&seen=" + s.Seen)
		require.NotNil(t, s.Problem)
		assert.Equal(t, "status", s.Problem.Error)
		assert.Contains(t, s.Problem.Message, "code stays good")
		require.NotNil(t, s.Extra.Pending)
		w.plex.ResetFaults()
		s = f.get("/status?wait=25&seen=" + s.Seen)
		assert.Nil(t, s.Problem, "and it is told when it is over")

		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		s = f.get("/status?wait=25")
		require.True(t, s.Connected)
		time.Sleep(time.Minute)
		w.plex.Revoke(w.alice)
		f.refused(f.do(http.MethodGet, "/servers", ""), http.StatusConflict, "rejected")
		assert.True(t, f.get("/status").Extra.NeedsLogin)
	})
}

// A login approved by another account is refused, and then accepted on demand.
func TestPanelSwitchAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)
		s := f.post("/start", "")
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.bob))
		s = f.get("/status?wait=25")
		require.NotNil(t, s.Problem)
		assert.Equal(t, "account_mismatch", s.Problem.Error)
		assert.Equal(t, "alice", s.User)
		time.Sleep(10 * time.Second)
		s = f.post("/start", `{"switch_account":true}`)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.bob))
		s = f.get("/status?wait=25")
		assert.Nil(t, s.Problem)
		assert.Equal(t, "bob", s.User)
	})
}

// Several servers are never picked from silently.
func TestPanelServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		at := func(ip string) []plextest.Connection { return []plextest.Connection{{Address: ip, Local: true}} }
		attic := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Attic", Connections: at("192.168.1.5")})
		cellar := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Cellar", Connections: at("192.168.1.6")})
		bobs := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Bob's", Connections: at("192.168.1.7")})
		off := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Off", Offline: true, Connections: []plextest.Connection{{Address: "192.168.1.8", Local: true, BlackHole: true}}})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)

		rec := f.do(http.MethodGet, "/servers", "")
		var list struct{ Servers []plexauth.Server }
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &list))
		assert.Len(t, list.Servers, 3)
		v := f.refused(f.do(http.MethodPost, "/inspect", ""), http.StatusConflict, "server_choice")
		assert.Len(t, v.Servers, 3)

		s := f.post("/server", fmt.Sprintf(`{"machine_id":%q}`, cellar.MachineID))
		assert.Equal(t, cellar.MachineID, s.Settings.MachineID)
		assert.Contains(t, s.Settings.ServerURL, "192-168-1-6")
		f.refused(f.do(http.MethodPost, "/server", fmt.Sprintf(`{"machine_id":%q}`, bobs.MachineID)), http.StatusConflict, "server_choice")
		f.refused(f.do(http.MethodPost, "/server", fmt.Sprintf(`{"machine_id":%q}`, off.MachineID)), http.StatusBadGateway, "server_unreachable")

		probe := func(body string) (v struct {
			Result  string
			Account struct {
				OK      bool
				Problem *trouble
			}
			Server struct {
				OK            bool
				Problem       *trouble
				URL           string
				TokenAccepted bool `json:"token_accepted"`
			}
		}) {
			rec := f.do(http.MethodPost, "/probe", body)
			require.Equal(t, http.StatusOK, rec.Code, rec.Body.String())
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &v))
			if v.Result != "" {
				assert.JSONEq(t, fmt.Sprintf(`{"result":%q}`, v.Result), rec.Body.String(), "and no more")
			}
			return v
		}
		all := probe("{}")
		assert.True(t, all.Account.OK)
		assert.True(t, all.Server.OK)
		assert.True(t, all.Server.TokenAccepted)
		assert.Equal(t, "ok", probe(`{"url":"http://192.168.1.6:32400"}`).Result)
		assert.Equal(t, "wrong_server", probe(`{"url":"http://192.168.1.5:32400"}`).Result)
		assert.Equal(t, "unreachable", probe(`{"url":"http://192.168.1.77:32400"}`).Result)

		s = f.post("/server", `{"url":"192.168.1.5"}`)
		assert.Equal(t, attic.MachineID, s.Settings.MachineID, "an address does, as a person types it")
		assert.Equal(t, "http://192.168.1.5:32400", s.Settings.ServerURL)

		w.plex.ChangeMediaServer(attic, func(m *plextest.MediaServer) { m.Connections = nil })
		w.plex.MoveServer(attic, plextest.Connection{Address: "192.168.1.55", Local: true})
		w.plex.Revoke(w.alice)
		all = probe("")
		assert.False(t, all.Account.OK)
		assert.Equal(t, "rejected", all.Account.Problem.Error)
		assert.False(t, all.Server.OK)
	})
}

// A Home user with a PIN is chosen with that PIN only.
func TestPanelUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice, HomePIN: "4711"})
		baby := w.plex.AddUser(plextest.User{Title: "Baby", Restricted: true, HomeAdmin: w.alice})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)
		f.post("/inspect", "")

		var list struct{ Users []plexauth.HomeUser }
		require.NoError(t, json.Unmarshal(f.do(http.MethodGet, "/users", "").Body.Bytes(), &list))
		assert.Len(t, list.Users, 3)
		choose := func(u *plextest.User, pin string) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q,"pin":%q}`, u.UUID, pin))
		}
		f.refused(choose(kid, ""), http.StatusForbidden, "home_pin")
		f.refused(choose(kid, "0000"), http.StatusForbidden, "home_pin")
		f.refused(choose(w.bob, ""), http.StatusBadRequest, "bad_request")
		s := f.state(choose(kid, "4711"))
		assert.Equal(t, "Kid", s.Settings.Username)
		assert.Equal(t, fmt.Sprint(kid.ID), s.Settings.AccountID)
		assert.NotContains(t, w.doc(t), "4711", "the PIN is kept nowhere")
		s = f.state(choose(baby, ""))
		assert.Equal(t, "Baby", s.Settings.Username)
		f.state(choose(w.alice, ""))
		time.Sleep(5 * time.Second)
		s = f.get("/status")
		assert.Equal(t, "1", s.Settings.AccountID)
		assert.True(t, s.Connected)
		_, err := w.Verify(t.Context())
		assert.NoError(t, err, "the login is still alice's")
	})
}

// G13: no answer of the panel and no line of the log holds a secret.
func TestPanelSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice, HomePIN: "4711"})
		f := openPanel(t, w.PlexAuth)
		var all strings.Builder
		see := func(method, path, body string) {
			rec := f.do(method, path, body)
			all.WriteString(rec.Body.String())
			_ = rec.Result().Header.Write(&all)
		}
		visit := func() {
			for _, path := range []string{"/", "/status", "/status?wait=5", "/servers", "/users", "/qr.svg"} {
				see(http.MethodGet, path, "")
			}
			for _, path := range []string{"/start", "/inspect", "/probe", "/server", "/user", "/cancel"} {
				see(http.MethodPost, path, fmt.Sprintf(`{"uuid":%q,"pin":"4711","machine_id":"x"}`, kid.UUID))
			}
		}
		visit()
		time.Sleep(10 * time.Second)
		s := f.post("/start", "")
		var stored struct {
			Pending struct{ ID json.Number } `json:"_pending_pin"`
		}
		require.NoError(t, json.Unmarshal([]byte(w.doc(t)), &stored))
		visit()
		time.Sleep(10 * time.Second)
		s = f.post("/start", "")
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		f.get("/status?wait=25")
		time.Sleep(10 * time.Second)
		visit()
		see(http.MethodPost, "/disconnect", `{"revoke":true}`)
		for name, text := range map[string]string{"answers": all.String(), "log": w.log.String()} {
			assert.NotContains(t, text, "FAKE_", name)
			assert.NotContains(t, text, "4711", name)
			assert.NotContains(t, text, stored.Pending.ID.String(), name)
		}
	})
}

// Disconnect works offline; with revoke it says what plex.tv was not told.
func TestPanelDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Status: 502, Times: -1})
		s := f.post("/disconnect", `{"revoke":true}`)
		assert.False(t, s.Connected)
		require.NotNil(t, s.Problem)
		assert.Equal(t, "not_revoked", s.Problem.Error)
	})
}

// A profile of a name that cannot be is an error, not a loop.
func TestPanelBadInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.Instance("a\nb"))
		f.refused(f.do(http.MethodGet, "/status", ""), http.StatusInternalServerError, "internal")
		time.Sleep(time.Hour)
	})
}

// A host may put the fragment into a form of its own, and forms do not nest.
func TestHTMLHasNoForm(t *testing.T) {
	assert.NotContains(t, plexauth.HTML(), "<form")
	assert.NotContains(t, plexauth.HTML(), `type="submit"`)
}

// G12: the ten seconds are the profile's, however many handlers it has.
func TestPanelStartsPerProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c, cancel := context.WithCancel(t.Context())
		defer cancel()
		post := func(h http.Handler, route string) int {
			rec := httptest.NewRecorder()
			req := httptest.NewRequest("POST", "http://app.example/"+route, strings.NewReader("{}"))
			req.Header.Set("Content-Type", "application/json")
			h.ServeHTTP(rec, req)
			return rec.Code
		}
		first, second := w.Handler(c), w.Handler(c)
		require.Equal(t, http.StatusOK, post(first, "start"))
		require.Equal(t, http.StatusOK, post(first, "cancel"))
		assert.Equal(t, http.StatusTooManyRequests, post(second, "start"))
		time.Sleep(11 * time.Second)
		assert.Equal(t, http.StatusOK, post(second, "start"))
	})
}
