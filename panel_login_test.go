package plexauth_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// A person signs in, and the panel finds the media server.
func TestPanelLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
		panel := openPanel(t, w.PlexAuth)
		s := panel.get("/status")
		assert.False(t, s.Connected)
		assert.Nil(t, s.Extra.Pending)

		s = panel.post("/start", "")
		require.NotNil(t, s.Extra.Pending)
		assert.Len(t, s.Extra.Pending.Code, 4)
		assert.Equal(t, "https://plex.tv/link/?pin="+s.Extra.Pending.Code, s.Extra.Pending.URL)
		assert.Equal(t, 900, s.Extra.Pending.ExpiresIn)
		qr := panel.do(http.MethodGet, "/qr.svg", "")
		assert.Equal(t, "image/svg+xml", qr.Header().Get("Content-Type"))
		assert.Contains(t, qr.Body.String(), "<svg")
		assert.Equal(t, s.Extra.Pending.Code, panel.post("/start", "{}").Extra.Pending.Code, "a second click is the same login")

		go func() {
			time.Sleep(12 * time.Second)
			assert.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		}()
		began := time.Now()
		s = panel.get("/status?wait=25")
		assert.True(t, s.Connected)
		assert.Nil(t, s.Extra.Pending)
		assert.Less(t, time.Since(began), 15*time.Second)
		for s.Finding || s.Settings.MachineID == "" {
			s = panel.get("/status?wait=25&seen=" + s.Seen)
		}
		assert.Equal(t, "alice", s.User)
		assert.Equal(t, box.MachineID, s.Settings.MachineID)
		assert.Equal(t, "1", s.Settings.AccountID)
		panel.refused(panel.do(http.MethodGet, "/qr.svg", ""), http.StatusNotFound, "no_login")

		asked := w.fromNow()
		s = panel.post("/disconnect", "{}")
		assert.False(t, s.Connected)
		assert.Equal(t, box.MachineID, s.Settings.MachineID, "the server choice stays")
		assert.Empty(t, asked(), "the token stays valid at plex.tv, unless that is asked for")
	})
}

// G8: an approval is not lost when the tab is closed during a request.
func TestPanelTabClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		ctx, leave := context.WithCancel(t.Context())
		s := panel.post("/start", "")
		go panel.do(http.MethodGet, "/status?wait=25", "", func(r *http.Request) { *r = *r.WithContext(ctx) })
		time.Sleep(3 * time.Second)
		leave()
		time.Sleep(5 * time.Minute)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		time.Sleep(2 * time.Second)
		w.assertConnected(t)
	})
}

// assertConnected asserts that the profile is signed in.
func (w *world) assertConnected(t *testing.T) {
	t.Helper()
	s, err := w.Status(t.Context())
	require.NoError(t, err)
	assert.True(t, s.Connected)
}

// The panel of a new process finishes a login that the old one began, before any
// request.
func TestPanelResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		first := &browser{t, w.Handler(ctx)}
		s := first.post("/start", "")
		stop() // the process ends
		synctest.Wait()
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		openPanel(t, w.open(t)) // another one begins, and its panel gets no request
		time.Sleep(2 * time.Second)
		w.assertConnected(t)
	})
}

// G8: the panel also waits for a login that the program begins itself, without any
// request.
func TestPanelStartedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		openPanel(t, w.PlexAuth)
		openPanel(t, w.Instance("second"))
		synctest.Wait()
		for range 2 {
			pin, err := w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			time.Sleep(5 * time.Second)
			w.assertConnected(t)
			_, err = w.Disconnect(t.Context())
			require.NoError(t, err)
		}
	})
}

// The end of a login and the search for its server are reported together. No answer in
// between says that there is neither a server nor a search, even if another process
// has finished the login.
func TestPanelLoginAndSearch(t *testing.T) {
	for _, replica := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.replicas = true
			w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
			slow := w.hooked(hooks{})
			panel := openPanel(t, w.open(t, withStore(slow)))
			s := panel.post("/start", "")
			synctest.Wait() // the panel waits for the login
			require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
			if slow.set(hooks{afterLoad: dawdle, afterUpdate: dawdle}); replica {
				require.NoError(t, errOf(w.Finish(t.Context())))
			}
			searched := false
			for range 600 {
				time.Sleep(50 * time.Millisecond)
				if s = panel.state(panel.do(http.MethodGet, "/status", "", fromBrowser)); s.Connected && s.Extra.Pending == nil {
					searched = searched || s.Finding
					require.True(t, s.Finding || s.Settings.MachineID != "", "%+v", s)
				}
			}
			assert.True(t, searched)
			assert.NotEmpty(t, s.Settings.MachineID)
		})
	}
}

// fromBrowser marks a request as one of a browser.
func fromBrowser(r *http.Request) {
	*r = *r.WithContext(context.WithValue(r.Context(), byBrowser{}, true))
}

// byBrowser is the key of that mark in a context.
type byBrowser struct{}

// dawdle makes a call last for three seconds if no browser has asked for it.
func dawdle(ctx context.Context) error {
	if ctx.Value(byBrowser{}) == nil {
		time.Sleep(3 * time.Second)
	}
	return nil
}

// An open panel waits for a login that another replica has begun.
func TestPanelReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := openPanel(t, w.open(t))
		before := other.get("/status")
		ctx, stop := context.WithCancel(t.Context())
		s := (&browser{t, w.Handler(ctx)}).post("/start", "")
		seen := other.get("/status?wait=25&seen=" + before.Seen)
		require.NotNil(t, seen.Extra.Pending)
		assert.Equal(t, s.Extra.Pending.Code, seen.Extra.Pending.Code)
		stop()
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		assert.True(t, other.get("/status?wait=25").Connected)
	})
}

// G7: the countdown follows the PIN's true expiry, and the login ends then.
func TestPanelExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.SetPinLifetime(2*time.Minute, 0)
		panel := openPanel(t, w.PlexAuth)
		began := time.Now()
		s := panel.post("/start", "")
		assert.Equal(t, 120, s.Extra.Pending.ExpiresIn)
		time.Sleep(time.Minute)
		assert.Equal(t, 60, panel.get("/status").Extra.Pending.ExpiresIn)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Delay: 4 * time.Second, Times: -1}) // the last look takes its time
		for s.Extra.Pending != nil {
			s = panel.get("/status?wait=25")
		}
		assert.InDelta(t, 120, time.Since(began).Seconds(), 6)
		require.NotNil(t, s.Problem, "the end is reported at once")
		assert.Equal(t, "pin_expired", s.Problem.Error)
		assert.NotEmpty(t, s.Problem.Message)
		s = panel.post("/start", "")
		assert.Nil(t, s.Problem)
	})
}

// G6: plex.tv is not asked about an expired PIN any more, even if the store cannot
// delete it.
// G7: the panel tells that a PIN has expired for ten minutes. It says nothing of it to a
// person who opens the page half an hour later. It makes no difference whether the machine was suspended.
func TestPanelOldExpiry(t *testing.T) {
	for name, c := range map[string]struct {
		awake, asleep time.Duration // after the PIN has expired
		told          bool
	}{
		"a while later":              {9 * time.Minute, 0, true},
		"half an hour later":         {30 * time.Minute, 0, false},
		"the next day":               {24 * time.Hour, 0, false},
		"suspended for a while":      {2 * time.Minute, 5 * time.Minute, true},
		"suspended for half an hour": {2 * time.Minute, 30 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.SetPinLifetime(time.Minute, 0)
				panel := openPanel(t, w.PlexAuth)
				panel.post("/start", "")
				if c.asleep > 0 {
					plexauth.Suspend(t, c.asleep+time.Minute)
				} else {
					time.Sleep(time.Minute)
				}
				time.Sleep(c.awake)
				s := panel.get("/status")
				assert.Nil(t, s.Extra.Pending)
				if c.told {
					require.NotNil(t, s.Problem)
					assert.Equal(t, "pin_expired", s.Problem.Error)
				} else {
					assert.Nil(t, s.Problem)
				}
			})
		})
	}
}

// A page that stays open is told when the end of its PIN is no news any more.
func TestPanelExpiryIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.SetPinLifetime(time.Minute, 0)
		panel := openPanel(t, w.PlexAuth)
		panel.post("/start", "")
		time.Sleep(2 * time.Minute)
		s := panel.get("/status")
		require.NotNil(t, s.Problem)
		expired := time.Now()
		for s.Problem != nil {
			s = panel.get("/status?wait=25&seen=" + s.Seen)
		}
		assert.InDelta(t, 9*time.Minute, time.Since(expired), float64(time.Minute))
	})
}

func TestPanelExpiryUnsaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.SetPinLifetime(time.Minute, 0)
		store := w.hooked(hooks{})
		panel := openPanel(t, w.open(t, withStore(store)))
		s := panel.post("/start", "")
		store.set(hooks{refuse: quotes})
		for s.Extra.Pending != nil {
			s = panel.get("/status?wait=25")
		}
		assert.Equal(t, "pin_expired", s.Problem.Error)
		asked := w.fromNow()
		time.Sleep(10 * time.Minute)
		assert.Empty(t, asked())
		store.set(hooks{})
		time.Sleep(11 * time.Second)
		assert.NotContains(t, w.doc(t), "_pending_pin")
	})
}

// Each kind of failure has its own word, at the start of a login and while it waits.
func TestPanelTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 502, Body: "<html></html>", ContentType: "text/html"})
		panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusBadGateway, "status")
		time.Sleep(10 * time.Second)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Reset: true})
		panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusBadGateway, "connect")
		time.Sleep(10 * time.Second)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 200, Body: "<html></html>", ContentType: "text/html"})
		panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusBadGateway, "content")
		panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon") // that start may have made a PIN
		time.Sleep(10 * time.Second)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Hang: true, Times: 2})
		panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusBadGateway, "timeout")
		w.plex.ResetFaults()
		time.Sleep(10 * time.Second)

		s := panel.post("/start", "")
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: 503, Times: -1})
		s = panel.get("/status?wait=25&seen=" + s.Seen)
		require.NotNil(t, s.Problem)
		assert.Equal(t, "status", s.Problem.Error)
		assert.Contains(t, s.Problem.Message, "sign-in is still pending")
		assert.NotContains(t, s.Problem.Message, "Try again", "the panel tries again itself")
		require.NotNil(t, s.Extra.Pending)
		w.plex.ResetFaults()
		s = panel.get("/status?wait=25&seen=" + s.Seen)
		assert.Nil(t, s.Problem, "the end of the failure is reported")

		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		s = panel.get("/status?wait=25")
		require.True(t, s.Connected)
		time.Sleep(time.Minute)
		w.plex.Revoke(w.alice)
		panel.refused(panel.do(http.MethodGet, "/servers", ""), http.StatusConflict, "rejected")
		assert.True(t, panel.get("/status").Extra.NeedsLogin)
	})
}

// G8, G11: Plex has approved, and the store cannot save the token. The panel says so
// as long as that lasts, even after the PIN's end, without the store's own words.
func TestPanelSaveFails(t *testing.T) {
	for name, c := range map[string]struct {
		linked bool          // before, so that the account decides
		after  time.Duration // the approval, until the store fails
	}{
		"a first login":            {},
		"another login":            {linked: true},
		"once the account is read": {linked: true, after: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if c.linked {
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				}
				w.plex.SetPinLifetime(2*time.Minute, 0)
				store := w.hooked(hooks{})
				panel := openPanel(t, w.open(t, withStore(store)))
				s := panel.post("/start", "")
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Delay: 2 * c.after})
				require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
				time.Sleep(c.after)
				store.set(hooks{refuse: quotes})
				for _, later := range []time.Duration{0, 3 * time.Minute} {
					time.Sleep(later)
					s = panel.get("/status?wait=25&seen=" + s.Seen)
					require.NotNil(t, s.Extra.Pending, "it is not over")
					require.NotNil(t, s.Problem, "the failure is reported")
					assert.Equal(t, "store", s.Problem.Error)
					assert.Contains(t, s.Problem.Message, "Plex has approved")
					assert.Contains(t, s.Problem.Message, "keeps trying")
					assert.Empty(t, s.Problem.Detail, "G13: a store's text may hold secrets")
				}
				store.set(hooks{})
				for s.Extra.Pending != nil {
					s = panel.get("/status?wait=25&seen=" + s.Seen)
				}
				assert.True(t, s.Connected)
				assert.Nil(t, s.Problem)
			})
		})
	}
}

// A slow save is not reported as a failure.
func TestPanelSavesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		panel := openPanel(t, w.open(t, withStore(store)))
		s := panel.post("/start", "")
		store.set(hooks{beforeUpdate: calls(1, 4, fails(errDisk))}) // for a second and a half
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		for s.Extra.Pending != nil {
			assert.Nil(t, s.Problem)
			s = panel.get("/status?wait=1&seen=" + s.Seen)
		}
		assert.True(t, s.Connected)
	})
}

// G18: a store that cannot be read is an error, and never looks like a first run.
func TestPanelFailsClosed(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "truncated": `{"plex": {"account_tok`, "no object": `{"plex": 7}`, "no JSON": "plex = 1"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			w := newWorld(t)
			panel := openPanel(t, w.open(t, withStore(plexauth.NewFileStore(path))))
			panel.refused(panel.do(http.MethodGet, "/status?wait=25", ""), http.StatusServiceUnavailable, "store_corrupt")
			panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusServiceUnavailable, "store_corrupt")
			panel.refused(panel.do(http.MethodPost, "/disconnect", ""), http.StatusServiceUnavailable, "store_corrupt")
			assert.Equal(t, http.StatusServiceUnavailable, panel.do(http.MethodGet, "/", "").Code)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, content, string(after))
			assert.Empty(t, w.plex.Requests())
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.open(t, withStore(w.hooked(hooks{beforeLoad: fails(errReadOnly), beforeUpdate: fails(errReadOnly)}))))
		v := panel.refused(panel.do(http.MethodGet, "/status", ""), http.StatusServiceUnavailable, "store")
		assert.Contains(t, v.Detail, "read-only file system")
		time.Sleep(time.Hour)
	})
}

// An approval by another account is refused, and accepted on demand.
func TestPanelSwitchAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)
		s := panel.post("/start", "")
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.bob))
		s = panel.get("/status?wait=25")
		require.NotNil(t, s.Problem)
		assert.Equal(t, "account_mismatch", s.Problem.Error)
		assert.Equal(t, "alice", s.User)
		time.Sleep(10 * time.Second)
		s = panel.post("/start", `{"switch_account":true}`)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.bob))
		s = panel.get("/status?wait=25")
		assert.Nil(t, s.Problem)
		assert.Equal(t, "bob", s.User)
	})
}

// Cancelling in the panel ends all requests about the PIN.
func TestPanelCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		panel.post("/start", "")
		time.Sleep(3 * time.Second)
		s := panel.post("/cancel", "")
		assert.Nil(t, s.Extra.Pending)
		assert.Nil(t, s.Problem)
		asked := w.fromNow()
		time.Sleep(time.Minute)
		assert.Empty(t, asked(), "nothing is asked any more")
	})
}

// Disconnect works offline. With revoke, the panel says that plex.tv could not be
// told.
func TestPanelDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Status: 502, Times: -1})
		s := panel.post("/disconnect", `{"revoke":true}`)
		assert.False(t, s.Connected)
		require.NotNil(t, s.Problem)
		assert.Equal(t, "not_revoked", s.Problem.Error)
	})
}

// G12: the panel says how long to wait after a rate limit.
func TestPanelSaysForHowLong(t *testing.T) {
	for after, says := range map[string]string{"30": "Try again in 30 seconds.", "600": "Try again in 10 minutes.", "": "Try again in 5 seconds."} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.plex.Inject(plextest.Fault{Path: "/api/v2/pins", Times: -1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {after}}})
			panel := openPanel(t, w.PlexAuth)
			v := panel.refused(panel.do(http.MethodPost, "/start", "{}"), http.StatusTooManyRequests, "rate_limited")
			assert.Contains(t, v.Message, says)
			assert.Positive(t, v.RetryAfter)
		})
	}
}

// The panel says that an approved token cannot be saved, as long as that lasts and however often it is
// tried.
func TestPanelTokenIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		panel := openPanel(t, w.open(t, withStore(store)))
		s := panel.post("/start", "")
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		store.set(hooks{beforeUpdate: fails(errDisk)})
		time.Sleep(5 * time.Second)
		for range 12 * 60 {
			s = panel.get("/status")
			require.NotNil(t, s.Problem)
			require.Equal(t, "store", s.Problem.Error)
			time.Sleep(time.Second)
		}
		store.set(hooks{})
		time.Sleep(10 * time.Second)
		assert.True(t, panel.get("/status").Connected)
	})
}

// A token that two calls could not save in their time is not shown as unsaved while only its account is
// not known.
func TestPanelAfterSavesThatWereGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.park(t, p, w.alice, plexauth.PinOptions{})
		store.set(hooks{beforeUpdate: hang})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				assert.ErrorIs(t, errOf(p.Verify(ctx)), context.DeadlineExceeded)
			})
		}
		wg.Wait()
		store.set(hooks{})
		w.plex.Inject(outageOfAccounts)
		panel := openPanel(t, p)
		panel.get("/status")
		time.Sleep(5 * time.Second)
		s := panel.get("/status")
		require.NotNil(t, s.Problem)
		assert.Equal(t, "status", s.Problem.Error)
	})
}

// A login expires while the store cannot be written. It is removed once that is possible, so
// that no other process asks plex.tv about it.
func TestPanelRemovesAnExpiredLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		panel := openPanel(t, w.open(t, withStore(store)))
		code := panel.post("/start", byDevice).Extra.Pending.Code
		time.Sleep(time.Minute)
		require.Contains(t, w.doc(t), code)
		store.set(hooks{beforeUpdate: fails(errDisk)})
		time.Sleep(time.Hour)
		require.Contains(t, w.doc(t), code)
		asked := w.fromNow()
		store.set(hooks{})
		time.Sleep(5 * time.Minute)
		assert.NotContains(t, w.doc(t), code)
		assert.Empty(t, asked(), "plex.tv has told already")
	})
}
