package plexauth_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G10: the error of a call whose token plex.tv has refused tells what keeps it from getting
// another one.
func TestRefusedAndNotRenewed(t *testing.T) {
	lapsed := plextest.Fault{Path: "/api/v2/user", Status: 498, Times: -1}
	rejected := plextest.Fault{Path: "/api/v2/user", Status: 401, Code: 1001}
	damagedKey := func(t *testing.T, w *world) {
		put(t, w.store, strings.Replace(w.doc(t), `"secret":`, `"sacred":`, 1))
	}
	noNonce := func(_ *testing.T, w *world) {
		w.plex.Inject(plextest.Fault{Path: nonces, Status: 502, Times: -1})
	}
	removed := func(t *testing.T, w *world) { w.plex.RevokeDevice(w.credentials(t).Device.ClientID) }
	for name, c := range map[string]struct {
		refusal plextest.Fault
		prepare func(t *testing.T, w *world)
		is      []error
		isNot   []error
	}{
		"expired, and the key is damaged": {
			lapsed, damagedKey,
			[]error{plexauth.ErrTokenExpired, plexauth.ErrCorruptConfig}, []error{plexauth.ErrTokenRejected},
		},
		"expired, and plex.tv gives no nonce": {
			lapsed, noNonce,
			[]error{plexauth.ErrTokenExpired, plexauth.ErrUnavailable}, []error{plexauth.ErrTokenRejected},
		},
		"expired, and the device was removed": {
			lapsed, removed,
			[]error{plexauth.ErrTokenRejected}, []error{plexauth.ErrTokenExpired},
		},
		"rejected, and the key is damaged": {
			rejected, damagedKey,
			[]error{plexauth.ErrTokenRejected}, []error{plexauth.ErrStore},
		},
		"rejected, and plex.tv gives no nonce": {
			rejected, noNonce,
			[]error{plexauth.ErrUnavailable}, []error{plexauth.ErrTokenRejected, plexauth.ErrTokenExpired},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				c.prepare(t, w)
				w.plex.Inject(c.refusal)
				_, err := w.Account(t.Context())
				for _, want := range c.is {
					assert.ErrorIs(t, err, want)
				}
				for _, not := range c.isNot {
					assert.NotErrorIs(t, err, not)
				}
			})
		})
	}
}

// G10: a 401 counts only once the device key was tried, also in the minute after 498s that a
// new token did not cure.
func TestRejectionAfterFutileRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 498, Times: -1})
		require.ErrorIs(t, errOf(w.Account(t.Context())), plexauth.ErrTokenExpired)
		w.plex.ResetFaults()
		time.Sleep(2 * time.Second)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 401, Code: 1001})
		require.NoError(t, errOf(w.Account(t.Context())))
		assert.True(t, must(w.Status(t.Context())).Connected)
	})
}

// G10: a store that cannot be read when plex.tv refuses the token is the error of the call. The
// login stays.
func TestRefusalWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		store := w.hooked(hooks{})
		p := w.openInterrupted(t, "/api/v2/user", func() {
			store.set(hooks{beforeLoad: calls(1, 1, fails(errDisk))})
		}, withStore(store))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 498})
		err := errOf(p.Account(t.Context()))
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.NotErrorIs(t, err, plexauth.ErrTokenExpired)
		require.NoError(t, errOf(p.Account(t.Context())))
	})
}

// G10: a device that was removed is told as such, although the clock is ahead and the JWT only
// seems to have expired.
func TestRemovedDeviceAndAClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(10 * day)
		w.plex.SetClock(-10 * day)
		w.plex.RevokeDevice(w.credentials(t).Device.ClientID)
		require.ErrorIs(t, errOf(w.open(t).Token(t.Context())), plexauth.ErrTokenRejected)
	})
}

// A login that plex.tv has rejected is reported by Refresh as rejected, also if the store cannot
// be written.
func TestRefreshOfARejectedLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.RevokeDevice(w.credentials(t).Device.ClientID)
		require.ErrorIs(t, errOf(w.Refresh(t.Context())), plexauth.ErrTokenRejected)
		p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: fails(errReadOnly)})))
		s, err := p.Refresh(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.NotErrorIs(t, err, plexauth.ErrStore)
		assert.True(t, s.NeedsLogin)
	})
}

// G10: a JWT that works, but cannot be renewed now, is used as it was read: no read of the store
// that fails later does harm, and none is made without need.
func TestDueTokenIsReadOnce(t *testing.T) {
	refused := plextest.Fault{Path: nonces, Code: 1004, Times: -1}
	hangs := plextest.Fault{Path: exchanges, Hang: true}
	nothing := func(*testing.T, *world, *plexauth.PlexAuth) {}
	useIt := func(t *testing.T, _ *world, p *plexauth.PlexAuth) { tokenOf(t, p) }
	for name, c := range map[string]struct {
		fault plextest.Fault
		first func(t *testing.T, w *world, p *plexauth.PlexAuth)
		reads int64 // before the store fails
		all   int64 // with those of a renewal
	}{
		"plex.tv has asked to wait": {
			plextest.Fault{Path: nonces, Code: 1003, Header: http.Header{"Retry-After": {"25"}}}, useIt, 1, 1,
		},
		"a renewal has just failed":          {refused, useIt, 1, 1},
		"another caller renews":              {hangs, useIt, 1, 1},
		"the renewal is slow":                {hangs, nothing, 2, 2},
		"the store fails before the renewal": {hangs, nothing, 1, 2},
		"it only seems to have expired": {refused, func(_ *testing.T, w *world, _ *plexauth.PlexAuth) {
			time.Sleep(4 * day)
			w.plex.SetClock(-10 * day)
		}, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				time.Sleep(6 * day)
				old := w.credentials(t).AccountToken
				w.plex.Inject(c.fault)
				c.first(t, w, p)
				var reads atomic.Int64
				store.set(hooks{beforeLoad: func(context.Context) error {
					if reads.Add(1) > c.reads {
						return errDisk
					}
					return nil
				}})
				assert.Equal(t, old, tokenOf(t, p))
				assert.Equal(t, c.all, reads.Load())
			})
		})
	}
}

// G12: a JWT that is due as soon as it was got, as from a cache before plex.tv, is not renewed by each
// call.
func TestNewTokenThatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		answers, client := w.tamper(exchanges)
		var kept []byte
		answers.change = func(body []byte) []byte {
			if kept == nil {
				kept = body
			}
			return kept
		}
		p := w.open(t, client)
		require.NoError(t, errOf(p.Refresh(t.Context())))
		time.Sleep(6 * day)
		asked := w.fromNow()
		for range 10 {
			tokenOf(t, p)
			time.Sleep(50 * time.Millisecond)
		}
		assert.Len(t, only(asked(), http.MethodPost, exchanges), 1)
	})
}

// While the JWT works, no call waits for another process that renews it, nor again for a store that
// did not let it be renewed in time.
func TestNoWaitWithAGoodToken(t *testing.T) {
	took := func(t *testing.T, p *plexauth.PlexAuth) time.Duration {
		began := time.Now()
		tokenOf(t, p)
		return time.Since(began)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(6 * day)
		w.lease(t, time.Now().Add(20*time.Second))
		assert.Zero(t, took(t, w.PlexAuth))
	})
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: hang})))
		time.Sleep(6 * day)
		assert.Equal(t, 800*time.Millisecond, took(t, p))
		time.Sleep(9300 * time.Millisecond)
		assert.Zero(t, took(t, p))
	})
}

// G9: the end of its context ends a call that waits for another process to renew, also if the store
// does not notice it.
func TestWaitForAnotherProcessEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		p := w.open(t, withStore(&deafStore{ConfigStore: w.store}))
		time.Sleep(8 * day)
		w.lease(t, time.Now().Add(20*time.Second))
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		require.ErrorIs(t, errOf(p.Token(ctx)), context.DeadlineExceeded)
		assert.Equal(t, 2*time.Second, time.Since(began))
	})
}

// G9: the context of a call ends while plex.tv gives it another account's token. The call is told
// that its context has ended, whatever else has gone wrong.
func TestContextEndsBesideAWrongToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		p := w.open(t, w.signing(t, func(_, claims map[string]any) {
			claims["user"] = map[string]any{"id": 999, "uuid": "ffff", "username": "bob"}
			cancel()
		}))
		assert.ErrorIs(t, errOf(p.Refresh(ctx)), context.Canceled)
	})
}

// The log tells that a renewal has failed, and that other processes wait because the store did not
// take that.
func TestFailedRenewalIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: calls(2, 2, fails(errDisk))})))
		w.plex.Inject(plextest.Fault{Path: nonces, Code: 1004})
		err := errOf(p.Refresh(t.Context()))
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.NotErrorIs(t, err, plexauth.ErrStore)
		assert.Contains(t, w.log.String(), "the token could not be renewed")
		assert.Contains(t, w.log.String(), "the outcome of a renewal was not saved")
	})
}

// An expired JWT that has no device key needs a new login, and the error says so.
func TestExpiredWithoutAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		put(t, w.store, jsonText(map[string]any{"client_id": "0123456789abcdef01234567", "account_token": w.credentials(t).AccountToken}))
		time.Sleep(8 * day)
		err := errOf(w.Token(t.Context()))
		require.ErrorIs(t, err, plexauth.ErrTokenExpired)
		assert.EqualError(t, err, plexauth.ErrTokenExpired.Error()+", and there is no device key to renew it: sign in again")
	})
}

// G24: a new token whose answer takes longer than the lease is kept: plex.tv may have ended the old
// one.
func TestLateAnswerToAnExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.SetQuirks(plextest.Quirks{RefreshEndsJWT: true})
		answers, client := w.tamper(exchanges)
		answers.change = func(body []byte) []byte {
			time.Sleep(26 * time.Second)
			return body
		}
		p := w.open(t, client)
		time.Sleep(8 * day)
		tokenOf(t, p)
		require.NoError(t, errOf(p.Verify(t.Context())))
		assert.Equal(t, 1, w.count("POST", exchanges))
	})
}

// G18: while the store cannot be read, no token is renewed. Once it can be, that is done at once.
func TestNoRenewalWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{beforeLoad: calls(2, 2, fails(errDisk))})))
		time.Sleep(8 * day)
		asked := w.fromNow()
		err := errOf(p.Token(t.Context()))
		require.ErrorIs(t, err, plexauth.ErrStore)
		require.ErrorIs(t, err, plexauth.ErrTokenExpired)
		assert.Empty(t, asked())
		tokenOf(t, p)
	})
}

// G24: a Transport finds the token that another process got at once, also if plex.tv did not answer
// this one a moment ago.
func TestRenewedElsewhereAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(8 * day)
		w.plex.Inject(plextest.Fault{Path: nonces, Code: 1004})
		rt := w.Transport(nil)
		get := func() error {
			resp, err := rt.RoundTrip(request(t, http.MethodGet, "https://plex.tv/api/v2/user", nil))
			if err == nil {
				resp.Body.Close()
			}
			return err
		}
		for range 2 { // the second time the store is not read again
			require.ErrorIs(t, get(), plexauth.ErrTokenExpired)
		}
		tokenOf(t, w.open(t))
		require.NoError(t, get())
	})
}

// G9: calls that end before plex.tv is asked keep no other call from renewing.
func TestRenewalAfterCallsThatGaveUp(t *testing.T) {
	for name, c := range map[string]struct {
		begin, end func(t *testing.T, w *world, store *hookedStore)
	}{
		"the store hangs": {
			func(_ *testing.T, _ *world, store *hookedStore) { store.set(hooks{beforeUpdate: hang}) },
			func(_ *testing.T, _ *world, store *hookedStore) { store.set(hooks{}) },
		},
		"another process renews": {
			func(t *testing.T, w *world, _ *hookedStore) { w.lease(t, time.Now().Add(20*time.Second)) },
			func(t *testing.T, w *world, _ *hookedStore) { w.lease(t, time.Now()) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				time.Sleep(8 * day)
				c.begin(t, w, store)
				for range 3 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					err := errOf(p.Token(ctx))
					cancel()
					require.ErrorIs(t, err, context.DeadlineExceeded)
					assert.NotErrorIs(t, err, plexauth.ErrTokenExpired)
				}
				c.end(t, w, store)
				tokenOf(t, p)
			})
		})
	}
}

// lease makes the login look as if another process had the right to renew it until then.
func (w *world) lease(t *testing.T, until time.Time) {
	t.Helper()
	device := w.stored(t)["_device"].(map[string]any)
	device["leased_until_ms"] = until.UnixMilli()
	w.edit(t, map[string]any{"_device": device})
}
