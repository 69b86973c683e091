package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
)

// Bodies of POST start. A browser at http://example.com sends them.
const (
	inTab    = `{"strong":true,"forward_url":"http://example.com/plex/return"}` // as the main button
	byDevice = `{}`                                                             // as "Use another device"
)

// forwardURL returns where a link to Plex's sign-in page sends the browser back to.
func forwardURL(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	require.NoError(t, err)
	assert.Equal(t, "https://app.plex.tv/auth", strings.TrimSuffix(u.Scheme+"://"+u.Host+u.Path, "/"))
	q, err := url.ParseQuery(strings.TrimPrefix(u.Fragment, "?"))
	require.NoError(t, err)
	return q.Get("forwardUrl")
}

// One click is enough: the link leads to Plex's sign-in page and from there to the return
// page. A second click, and another tab, find the same login.
func TestPanelStartInTab(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		panel := openPanel(t, w.PlexAuth)
		s := panel.post("/start", inTab)
		require.NotNil(t, s.Extra.Pending)
		assert.Len(t, s.Extra.Pending.Code, 25)
		assert.Equal(t, 1800, s.Extra.Pending.ExpiresIn)
		assert.Equal(t, "http://example.com/plex/return", forwardURL(t, s.Extra.Pending.URL))
		assert.Equal(t, s.Extra.Pending.Code, panel.post("/start", inTab).Extra.Pending.Code)
		assert.Equal(t, s.Extra.Pending.Code, openPanel(t, w.open(t)).post("/start", inTab).Extra.Pending.Code)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		s = panel.get("/status?wait=25")
		assert.True(t, s.Connected)
		assert.Nil(t, s.Problem)
	})
}

// G19: Plex sends a browser back only to a return page at the origin that it came from,
// whatever a proxy makes of Host.
func TestPanelForwardURL(t *testing.T) {
	type request struct{ forward, origin, host, site string }
	accepted := map[request]bool{
		{"http://nas:8080/plex/return", "http://nas:8080", "nas:8080", ""}:                                 true,
		{"https://nas.example/return", "https://nas.example", "nas.example", "same-origin"}:                true,
		{"https://app.example/a/b/return", "https://app.example", "10.0.0.3:4711", "same-origin"}:          true,
		{"https://app.example/profile/PLEX-P01/return", "https://app.example", "app.example", ""}:          true,
		{"http://[fd00::3]:8080/return", "http://[fd00::3]:8080", "[fd00::3]:8080", ""}:                    true,
		{"http://nas:8080/plex/return", "", "nas:8080", ""}:                                                true, // no browser
		{"https://nas/plex/return", "", "nas", ""}:                                                         true,
		{"https://evil.example/plex/return", "http://nas:8080", "nas:8080", ""}:                            false,
		{"https://evil.example/plex/return", "", "nas:8080", ""}:                                           false,
		{"http://nas:8081/plex/return", "http://nas:8080", "nas:8080", ""}:                                 false,
		{"https://nas:8080/plex/return", "http://nas:8080", "nas:8080", ""}:                                false,
		{"http://nas:8080@evil.example/return", "http://nas:8080", "nas:8080", ""}:                         false,
		{"http://user:pass@nas:8080/return", "http://nas:8080", "nas:8080", ""}:                            false,
		{"http://nas:8080/logout", "http://nas:8080", "nas:8080", ""}:                                      false,
		{"http://nas:8080/plex/return/", "http://nas:8080", "nas:8080", ""}:                                false,
		{"http://nas:8080/x?y=/return", "http://nas:8080", "nas:8080", ""}:                                 false,
		{"http://nas:8080/x#/return", "http://nas:8080", "nas:8080", ""}:                                   false,
		{`http://nas:8080\@evil.example/return`, "http://nas:8080", "nas:8080", ""}:                        false,
		{"//nas:8080/return", "http://nas:8080", "nas:8080", ""}:                                           false,
		{"/plex/return", "http://nas:8080", "nas:8080", ""}:                                                false,
		{"javascript:alert(1)/return", "http://nas:8080", "nas:8080", ""}:                                  false,
		{"app://nas:8080/return", "http://nas:8080", "nas:8080", ""}:                                       false,
		{"http://nas:8080/" + strings.Repeat("x", 1000) + "/return", "http://nas:8080", "nas:8080", ""}:    false,
		{"https://app.example.evil.example/return", "https://app.example", "10.0.0.3:4711", "same-origin"}: false,
	}
	for c, ok := range accepted {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			panel := openPanel(t, w.PlexAuth)
			ask := func(strong bool) (code int, link string) {
				rec := panel.do(http.MethodPost, "/start", jsonText(map[string]any{"strong": strong, "forward_url": c.forward}), func(r *http.Request) {
					r.Host = c.host
					for k, v := range map[string]string{"Origin": c.origin, "Sec-Fetch-Site": c.site} {
						if r.Header.Del(k); v != "" {
							r.Header.Set(k, v)
						}
					}
				})
				if rec.Code == http.StatusOK {
					link = panel.state(rec).Extra.Pending.URL
				} else {
					assert.Equal(t, "bad_request", panel.refused(rec, rec.Code, "bad_request").Error)
				}
				return rec.Code, link
			}
			code, _ := ask(false)
			assert.Equal(t, http.StatusBadRequest, code, "a code to type cannot bring a browser back")
			code, link := ask(true)
			if !ok {
				assert.Equal(t, http.StatusBadRequest, code, "%+v", c)
				assert.Empty(t, w.plex.Requests())
				return
			}
			require.Equal(t, http.StatusOK, code, "%+v", c)
			assert.Equal(t, c.forward, forwardURL(t, link))
		})
	}
}

// G13, G19: the return page works without script and opener, below any prefix, and holds
// nothing of the login.
func TestPanelReturnPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *plexauth.Options) { o.Product = `<b>"My" & 'App'` })
		list := openProfiles(t, w.PlexAuth)
		mux := http.NewServeMux()
		mux.Handle("/a/b/", http.StripPrefix("/a/b", list.h))
		mux.Handle("/c/", openPanel(t, w.PlexAuth).h)
		panel := &browser{t, mux}
		pending := panel.post("/c/start", inTab).Extra.Pending
		fromPlex := func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
		}
		held := canary.New()
		held.Learn([]byte(w.doc(t)))
		for _, path := range []string{"/c/return", "/a/b/profile/default/return", "/a/b/profile/PLEX-P01/return"} {
			rec := panel.do(http.MethodGet, path, "", fromPlex)
			require.Equal(t, http.StatusOK, rec.Code, path)
			assert.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"))
			assert.Equal(t, "no-store", rec.Header().Get("Cache-Control"))
			assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "default-src 'self'")
			page := rec.Body.String()
			assert.Contains(t, page, "You can close this tab")
			assert.Contains(t, page, `href="./"`)
			assert.NotContains(t, page, "<b>\"My")
			assert.NotContains(t, page, "needs JavaScript")
			assert.NotContains(t, page, pending.Code)
			assert.Empty(t, held.Search().In(fmt.Sprint(rec.Header(), page), true))
			script := panel.do(http.MethodGet, strings.Replace(path, "return", "return.js", 1), "")
			assert.Equal(t, "text/javascript; charset=utf-8", script.Header().Get("Content-Type"))
			panel.refused(panel.do(http.MethodPost, path, ""), http.StatusMethodNotAllowed, "method_not_allowed")
		}
	})
}

// G8: the return page is enough to finish a login: without script, without the page where it
// began, and after a restart.
func TestPanelReturnPageFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		first := &browser{t, w.ProfilesHandler(ctx)}
		pending := first.post("/profile/default/start", inTab).Extra.Pending
		stop()
		synctest.Wait()
		list := openProfiles(t, w.open(t)) // no one has opened a panel of it
		require.NoError(t, w.plex.Approve(pending.Code, w.alice))
		time.Sleep(time.Minute)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		require.False(t, s.Connected)
		assert.Equal(t, http.StatusOK, list.do(http.MethodGet, "/profile/default/return", "").Code)
		time.Sleep(2 * time.Second)
		w.assertConnected(t)
	})
}

// While the store cannot be read, the return page says so by its status, and a profile that
// is gone has a page, too.
func TestPanelReturnPageFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.open(t, withStore(w.hooked(hooks{beforeLoad: fails(errReadOnly)}))))
		assert.Equal(t, http.StatusServiceUnavailable, panel.do(http.MethodGet, "/return", "").Code)
		rec := openProfiles(t, w.PlexAuth).do(http.MethodGet, "/profile/gone/return", "")
		assert.Equal(t, http.StatusNotFound, rec.Code)
		assert.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"))
	})
}

// One login is pending at a time. After a switch only the new way signs in.
func TestPanelSwitchSupersedes(t *testing.T) {
	for from, to := range map[string]string{inTab: byDevice, byDevice: inTab} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			panel := openPanel(t, w.PlexAuth)
			old := panel.post("/start", from).Extra.Pending
			panel.refused(panel.do(http.MethodPost, "/start", to), http.StatusTooManyRequests, "too_soon")
			assert.Equal(t, old.Code, panel.get("/status").Extra.Pending.Code, "it is still pending")
			time.Sleep(10 * time.Second)
			s := panel.post("/start", to)
			require.NotNil(t, s.Extra.Pending)
			assert.NotEqual(t, old.Code, s.Extra.Pending.Code)
			assert.Equal(t, to == inTab, len(s.Extra.Pending.Code) > 4)
			assert.Nil(t, s.Problem, "to be superseded is no problem")
			asked := w.fromNow()
			require.NoError(t, w.plex.Approve(old.Code, w.bob))
			time.Sleep(10 * time.Second)
			assert.NotNil(t, panel.get("/status").Extra.Pending, "the old one counts no more")
			assert.LessOrEqual(t, len(only(asked(), http.MethodGet, "/api/v2/pins/{id}")), 11, "one PIN is asked about")
			require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
			s = panel.get("/status?wait=25")
			assert.Equal(t, "alice", s.User)
			assert.Nil(t, s.Problem)
		})
	}
}

// G8: an approval that comes just before a switch, or while plex.tv makes the PIN of the
// other way, is not lost. It ends the login, and no code is shown.
func TestPanelSwitchKeepsAnApproval(t *testing.T) {
	directions := map[string]string{inTab: byDevice, byDevice: inTab}
	for name, c := range map[string]struct {
		linked, keys bool
	}{"a first login": {}, "another login": {linked: true}, "with a device key": {keys: true}, "another with a device key": {linked: true, keys: true}} {
		for _, during := range []time.Duration{0, 300 * time.Millisecond, 3 * time.Second} {
			for from, to := range directions {
				t.Run(fmt.Sprintf("%s, %s, %s", name, during, from), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						assertSwitchKeepsApproval(t, c.linked, c.keys, during, from, to)
					})
				})
			}
		}
	}
}

// assertSwitchKeepsApproval approves a login that has begun in one way just before the switch to
// the other, or while plex.tv makes the PIN of that.
func assertSwitchKeepsApproval(t *testing.T, linked, keys bool, during time.Duration, from, to string) {
	t.Helper()
	w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey = keys })
	if !keys { // a media server takes no JWT
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	}
	if linked {
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	}
	panel := openPanel(t, w.PlexAuth)
	time.Sleep(20 * time.Second)
	code := panel.post("/start", from).Extra.Pending.Code
	time.Sleep(10*time.Second + 500*time.Millisecond) // between two polls
	if during == 0 {
		require.NoError(t, w.plex.Approve(code, w.alice))
	} else {
		w.plex.Inject(plextest.Fault{Method: http.MethodPost, Path: "/api/v2/pins", Delay: 2 * during})
		time.AfterFunc(during, func() { assert.NoError(t, w.plex.Approve(code, w.alice)) })
	}
	asked := w.fromNow()
	s := panel.post("/start", to)
	if during == 0 && linked && !keys { // the approval may have ended the token, so it is looked for first
		assert.Empty(t, pinsMade(asked()))
	}
	assert.Nil(t, s.Extra.Pending, "nothing is left to approve")
	assert.Nil(t, s.Problem)
	assert.True(t, s.Connected)
	time.Sleep(time.Minute)
	s = panel.get("/status")
	assert.Equal(t, "alice", s.User)
	assert.Equal(t, keys, s.Settings.MachineID == "", "the worker has found the server")
	status, err := w.Verify(t.Context())
	require.NoError(t, err)
	assert.True(t, status.Connected)
	assert.Nil(t, status.Pending)
}

// G8: the store fails once while plex.tv makes the PIN of the other way, and the login is
// approved in the meantime. No code replaces it, and it is finished.
func TestPanelSwitchWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		code := ""
		p := w.open(t, withStore(store), func(o *plexauth.Options) {
			next := o.HTTPClient.Transport
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(r)
				if r.Method == http.MethodPost && code != "" {
					assert.NoError(t, w.plex.Approve(code, w.alice))
					store.set(hooks{beforeLoad: calls(1, 1, fails(errDisk))})
				}
				return resp, err
			})}
		})
		panel := openPanel(t, p)
		code = panel.post("/start", byDevice).Extra.Pending.Code
		time.Sleep(10*time.Second + 500*time.Millisecond)
		rec := panel.do(http.MethodPost, "/start", inTab)
		assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
		s := panel.get("/status?wait=25")
		assert.Equal(t, "alice", s.User)
		assert.True(t, s.Connected)
	})
}

// An approval by the linked account is not what a person wants who asks for another account a
// moment later. It is kept, and a code is shown.
func TestPanelSwitchToAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)
		time.Sleep(10 * time.Second)
		code := panel.post("/start", byDevice).Extra.Pending.Code
		time.Sleep(10*time.Second + 500*time.Millisecond)
		require.NoError(t, w.plex.Approve(code, w.alice))
		s := panel.post("/start", `{"switch_account":true}`)
		require.NotNil(t, s.Extra.Pending)
		assert.True(t, s.Connected)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.bob))
		s = panel.get("/status?wait=25")
		assert.Nil(t, s.Problem)
		assert.Equal(t, "bob", s.User)
	})
}

// G12: a switch that finds an approval, and cannot finish it, makes no PIN. The approval stays.
func TestPanelSwitchCannotFinishAnApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		panel := openPanel(t, w.PlexAuth)
		time.Sleep(20 * time.Second)
		code := panel.post("/start", inTab).Extra.Pending.Code
		time.Sleep(10*time.Second + 500*time.Millisecond)
		require.NoError(t, w.plex.Approve(code, w.alice))
		w.plex.Inject(outageOfAccounts)
		asked := w.fromNow()
		panel.refused(panel.do(http.MethodPost, "/start", byDevice), http.StatusBadGateway, "status")
		assert.Empty(t, only(asked(), http.MethodPost, "/api/v2/pins"))
		w.plex.ResetFaults()
		require.NoError(t, errOf(w.Verify(t.Context())))
		assert.Nil(t, panel.get("/status").Extra.Pending)
	})
}

// An approval by another account does not end the switch. The person sees the way that they
// asked for.
func TestPanelSwitchAfterAMismatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)
		time.Sleep(10 * time.Second)
		code := panel.post("/start", inTab).Extra.Pending.Code
		time.Sleep(10*time.Second + 500*time.Millisecond)
		require.NoError(t, w.plex.Approve(code, w.bob))
		s := panel.post("/start", byDevice)
		require.NotNil(t, s.Extra.Pending)
		assert.Equal(t, "alice", s.User)
	})
}

// A switch to the other way keeps what the login was begun for: another account.
func TestPanelSwitchKeepsItsAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)
		time.Sleep(10 * time.Second)
		panel.post("/start", `{"strong":true,"switch_account":true}`)
		time.Sleep(10 * time.Second)
		s := panel.post("/start", byDevice)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.bob))
		s = panel.get("/status?wait=25")
		assert.Nil(t, s.Problem)
		assert.Equal(t, "bob", s.User)

		time.Sleep(10 * time.Second)
		panel.post("/start", `{"strong":true,"switch_account":true}`)
		time.Sleep(10 * time.Second)
		s = panel.post("/start", `{"switch_account":false}`)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		s = panel.get("/status?wait=25")
		require.NotNil(t, s.Problem)
		assert.Equal(t, "account_mismatch", s.Problem.Error)
	})
}
