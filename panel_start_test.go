package plexauth_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
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

// G12: there is one live PIN, and the panel starts one every ten seconds at most.
func TestPanelStartPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		var clicks sync.WaitGroup
		for range 10 {
			clicks.Go(func() { panel.post("/start", "") })
		}
		clicks.Wait()
		assert.Len(t, w.plex.PendingCodes(), 1)
		panel.post("/cancel", "")
		v := panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
		assert.Equal(t, 10, v.RetryAfter)
		time.Sleep(10 * time.Second)
		panel.post("/start", "")
		assert.Len(t, w.plex.PendingCodes(), 2, "plex.tv keeps the cancelled one until it expires")

		rec := panel.do(http.MethodPost, "/start", `{"switch_account":true}`)
		panel.refused(rec, http.StatusTooManyRequests, "too_soon")
		assert.Equal(t, "10", rec.Header().Get("Retry-After"))
	})
}

// G12: the ten seconds count for the profile, over all its handlers.
func TestPanelStartsPerProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, second := openPanel(t, w.PlexAuth), openPanel(t, w.PlexAuth)
		first.post("/start", "")
		first.post("/cancel", "")
		second.refused(second.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
		time.Sleep(11 * time.Second)
		second.post("/start", "")
	})
}

// G12: the ten seconds count over all processes.
func TestPanelStartsPerStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, second := openPanel(t, w.PlexAuth), openPanel(t, w.open(t))
		first.post("/start", "")
		time.Sleep(time.Second)
		first.post("/cancel", "")
		v := second.refused(second.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
		assert.Equal(t, 9, v.RetryAfter)
		time.Sleep(9 * time.Second)
		second.post("/start", "")
		time.Sleep(time.Minute)
		second.post("/cancel", "")
		assert.NotContains(t, w.doc(t), "cancelled", "the time of an old start is not kept")
		first.post("/start", "")
	})
}

// G12: the ten seconds count however and wherever the last login has ended.
func TestPanelStartsAfterAnyEnd(t *testing.T) {
	approve := func(u *plextest.User) func(*world, *browser, *plexauth.PlexAuth) {
		return func(w *world, panel *browser, _ *plexauth.PlexAuth) {
			require.NoError(w.t, w.plex.Approve(w.plex.PendingCodes()[0], u))
			time.Sleep(2 * time.Second)
			panel.post("/disconnect", "")
		}
	}
	for name, end := range map[string]func(w *world, panel *browser, other *plexauth.PlexAuth){
		"cancelled":    func(_ *world, panel *browser, _ *plexauth.PlexAuth) { panel.post("/cancel", "") },
		"disconnected": func(_ *world, panel *browser, _ *plexauth.PlexAuth) { panel.post("/disconnect", "") },
		"signed out":   func(_ *world, panel *browser, _ *plexauth.PlexAuth) { panel.post("/disconnect", `{"revoke":true}`) },
		"cancelled by a program": func(w *world, _ *browser, other *plexauth.PlexAuth) {
			require.NoError(w.t, other.Cancel(w.t.Context()))
		},
		"disconnected by a program": func(w *world, _ *browser, other *plexauth.PlexAuth) {
			require.NoError(w.t, errOf(other.Disconnect(w.t.Context())))
		},
		"approved and disconnected": func(w *world, panel *browser, other *plexauth.PlexAuth) { approve(w.alice)(w, panel, other) },
		"approved by another":       func(w *world, panel *browser, other *plexauth.PlexAuth) { approve(w.bob)(w, panel, other) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, c := range []struct {
					keys    bool
					profile string
				}{{}, {keys: true}, {profile: "PLEX-P01"}} {
					w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey, o.Instance = c.keys, c.profile })
					open := func() *plexauth.PlexAuth {
						return w.open(t, func(o *plexauth.Options) { o.DeviceKey, o.Instance = c.keys, c.profile })
					}
					if name == "approved by another" {
						w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
						time.Sleep(10 * time.Second)
					}
					panel := openPanel(t, w.PlexAuth)
					panel.post("/start", "")
					asked := w.fromNow()
					end(w, panel, open())
					other := openPanel(t, open())
					other.refused(other.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
					assert.Empty(t, only(asked(), http.MethodPost, "/api/v2/pins"), "no second PIN is made")
					time.Sleep(10 * time.Second)
					other.post("/start", "")
				}
			})
		})
	}
}

// A start also counts for a replica whose clock is behind.
func TestPanelStartsWithAnotherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		for ahead, soon := range map[time.Duration]bool{5 * time.Second: true, time.Hour: false} {
			put(t, w.store, fmt.Sprintf(`{"_cancelled_pin":%d}`, time.Now().Add(ahead).Unix()))
			rec := panel.do(http.MethodPost, "/start", "")
			if soon {
				assert.Equal(t, 10, panel.refused(rec, http.StatusTooManyRequests, "too_soon").RetryAfter)
			} else {
				panel.state(rec)
				time.Sleep(time.Minute)
			}
		}
	})
}

// G12: a start counts even if its answer never came, since plex.tv may have made a
// PIN.
func TestPanelStartLost(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"the connection breaks": {ResetAfter: true},
		"the browser goes away": {Drip: 10 * time.Millisecond},
		"an error behind a 502": {Status: http.StatusBadGateway},
		"an answer of no use":   {Status: http.StatusOK, Body: "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				panel := openPanel(t, w.PlexAuth)
				fault.Method, fault.Path, fault.Times = http.MethodPost, "/api/v2/pins", -1
				w.plex.Inject(fault)
				for range 6 {
					ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
					panel.do(http.MethodPost, "/start", "", func(r *http.Request) { *r = *r.WithContext(ctx) })
					leave()
				}
				assert.Len(t, w.plex.Requests(), 1, "plex.tv may have made one PIN, and is asked for no other")
				w.plex.ResetFaults()
				panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
				time.Sleep(10 * time.Second)
				panel.post("/start", "")
			})
		})
	}
}

// G12: the ten seconds count from when the PIN was made. A second click finds the same login,
// and does not prolong them.
func TestPanelSecondClick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		code := panel.post("/start", "").Extra.Pending.Code
		time.Sleep(9 * time.Second)
		assert.Equal(t, code, panel.post("/start", "").Extra.Pending.Code)
		panel.post("/cancel", "")
		time.Sleep(time.Second)
		panel.post("/start", "")
	})
}

// G12: a login of another kind, which takes the place of a pending one, is a start as well. So
// is one that takes the place of a PIN which is about to expire.
func TestPanelStartsInsteadOfAPending(t *testing.T) {
	for name, c := range map[string]struct {
		life time.Duration // of the first PIN
		body string        // of the second start
	}{
		"of another kind":     {15 * time.Minute, `{"switch_account":true}`},
		"for a PIN that ends": {50 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.SetPinLifetime(c.life, 0)
				panel := openPanel(t, w.PlexAuth)
				first := panel.post("/start", "").Extra.Pending.Code
				panel.refused(panel.do(http.MethodPost, "/start", c.body), http.StatusTooManyRequests, "too_soon")
				time.Sleep(10 * time.Second)
				assert.NotEqual(t, first, panel.post("/start", c.body).Extra.Pending.Code)
				panel.post("/cancel", "")
				panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
			})
		})
	}
}

// G12: the store does not take the time of a start. The login goes on, and the ten seconds count
// in this process.
func TestPanelStartTimeUnsaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{refuse: func(next jsonRaw) error {
			if strings.Contains(string(next), "_cancelled_pin") {
				return errDisk
			}
			return nil
		}})
		panel := openPanel(t, w.open(t, withStore(store)))
		require.NotNil(t, panel.post("/start", "").Extra.Pending)
		assert.Contains(t, w.log.String(), "could not save when the PIN was made")
		assert.Contains(t, w.log.String(), "no space left on device")
		store.set(hooks{})
		put(t, w.store, "{}") // what the store says of the PIN is gone
		panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
	})
}

// A start does not count if there certainly is no PIN.
func TestPanelStartRefused(t *testing.T) {
	for name, c := range map[string]struct {
		fault plextest.Fault
		word  string
	}{
		"no connection":   {plextest.Fault{Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}, "connect"},
		"plex.tv refuses": {plextest.Fault{Status: http.StatusForbidden, Code: 1009}, "status"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, noRetries)
				panel := openPanel(t, w.PlexAuth)
				c.fault.Method, c.fault.Path = http.MethodPost, "/api/v2/pins"
				w.plex.Inject(c.fault)
				v := panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusBadGateway, c.word)
				assert.NotContains(t, v.Message, "Try again", "that does not help")
				panel.post("/start", "")
			})
		})
	}
	t.Run("the store cannot take it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			store := &checkedStore{w.store, errDisk}
			panel := openPanel(t, w.open(t, withStore(store)))
			panel.refused(panel.do(http.MethodPost, "/start", ""), http.StatusServiceUnavailable, "store")
			store.err = nil
			panel.post("/start", "")
		})
	})
}

// The time of the last start is forgotten with the credentials, and when a login
// succeeds.
func TestPanelStartTimeIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, keys := range []bool{false, true} {
			w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey = keys })
			panel := openPanel(t, w.PlexAuth)
			cancelled := func() {
				panel.post("/start", "")
				panel.post("/cancel", "")
				require.Contains(t, w.doc(t), "_cancelled_pin")
				time.Sleep(10 * time.Second)
			}
			cancelled()
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			assert.NotContains(t, w.doc(t), "_cancelled_pin")
			cancelled()
			_, err := w.Disconnect(t.Context())
			require.NoError(t, err)
			assert.NotContains(t, w.doc(t), "_cancelled_pin")
		}
	})
}
