package plexauth_test

import (
	"context"
	"errors"
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

// G24, G10: whatever fails, the old credential stays and works. plex.tv is left alone
// for some minutes, and asked again later.
func TestFailedRefreshChangesNothing(t *testing.T) {
	nonceGone := &net.DNSError{Err: "no such host", Name: "clients.plex.tv", IsNotFound: true}
	for name, fault := range map[string]plextest.Fault{
		"422":           {Path: exchanges, Code: 1008},
		"1097":          {Path: exchanges, Code: 1097},
		"400":           {Path: exchanges, Code: 1004},
		"401 HTML":      {Path: exchanges, Status: 401, Body: "<html>", ContentType: "text/html"},
		"401 of others": {Path: exchanges, Status: 401, Code: 1029},
		"403":           {Path: exchanges, Code: 1013},
		"429":           {Path: exchanges, Code: 1003},
		"500":           {Path: exchanges, Status: 500},
		"498":           {Path: exchanges, Status: 498},
		"hang":          {Path: exchanges, Hang: true},
		"empty":         {Path: exchanges, Body: "{}", ContentType: "application/json"},
		"opaque":        {Path: exchanges, Body: `{"auth_token":"TEST_opaque-token"}`, ContentType: "application/json"},
		"nonce 429":     {Path: nonces, Code: 1003},
		"nonce 422":     {Path: nonces, Code: 1008},
		"no nonce":      {Path: nonces, Body: "{}", ContentType: "application/json"},
		"DNS":           {Path: nonces, Err: nonceGone},
		"keys 500":      {Path: keysPath, Status: 500},
		"no keys":       {Path: keysPath, Body: `{"keys":[]}`, ContentType: "application/json"},
		"an RSA key":    {Path: keysPath, Body: `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"x"},{"kty":"what"},7]}`, ContentType: "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				time.Sleep(6 * day) // it is due
				before, old := w.doc(t), w.credentials(t).AccountToken
				fault.Times = -1
				w.plex.Inject(fault)
				_, err := w.Refresh(t.Context())
				require.Error(t, err)
				var e *plexauth.Error
				require.ErrorAs(t, err, &e)
				assert.True(t, errors.Is(err, plexauth.ErrUnavailable) || errors.Is(err, plexauth.ErrRateLimited), err)
				assert.NotErrorIs(t, err, plexauth.ErrTokenRejected)
				assert.Equal(t, before, w.doc(t))
				s, err := w.Status(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.False(t, s.NeedsLogin)

				asked := w.fromNow()
				for range 100 {
					assert.Equal(t, old, tokenOf(t, w.PlexAuth), "the old one is good for another day")
				}
				assert.Empty(t, asked(), "plex.tv is not asked again at once")
				w.plex.ResetFaults()
				time.Sleep(20 * time.Minute)
				assert.NotEqual(t, old, tokenOf(t, w.PlexAuth))
				_, err = w.Verify(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

// G24: a day of failures costs plex.tv few nonces.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(5*day + 12*time.Hour)
		w.plex.Inject(plextest.Fault{Path: exchanges, Code: 1008, Times: -1})
		for range 24 * 60 {
			tokenOf(t, w.PlexAuth)
			time.Sleep(time.Minute)
		}
		assert.LessOrEqual(t, w.count("GET", nonces), 24*10, "ten an hour")
		assert.Equal(t, 1, strings.Count(w.log.String(), "could not be renewed"), "said once")
	})
}

// G12: callers whose contexts all end before plex.tv answers do not ask for a nonce
// each, one after the other or all at once.
func TestBackoffOfShortContexts(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 100 * time.Millisecond} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				time.Sleep(8 * day)
				w.plex.Inject(plextest.Fault{Path: exchanges, Hang: true, Times: -1})
				var wg sync.WaitGroup
				for range 10 * time.Minute / every {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						_, err := w.Token(ctx)
						assert.Error(t, err)
						if ctx.Err() == nil {
							assert.ErrorIs(t, err, plexauth.ErrTokenExpired)
							assert.ErrorIs(t, err, plexauth.ErrUnavailable)
							assert.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context has not ended")
						}
					})
					time.Sleep(every)
				}
				wg.Wait()
				assert.LessOrEqual(t, w.count("GET", nonces), 60, "one every ten seconds")
				w.plex.ResetFaults()
				time.Sleep(16 * time.Second)
				tokenOf(t, w.PlexAuth)
			})
		})
	}
}

// G12: a program without a good token gets one soon, whatever Retry-After says. With a
// token that works it waits as long as it is told, within limits.
func TestBackoffByRetryAfter(t *testing.T) {
	for value, most := range map[string][2]time.Duration{
		"20":                            {22 * time.Second, 70 * time.Second},
		"300":                           {35 * time.Second, 6 * time.Minute},
		"999999":                        {35 * time.Second, 16 * time.Minute},
		"Fri, 31 Dec 2100 23:59:59 GMT": {35 * time.Second, 16 * time.Minute},
		"garbage":                       {7 * time.Second, 7 * time.Second},
		"-5":                            {7 * time.Second, 7 * time.Second},
	} {
		for i, age := range []time.Duration{8 * day, 6 * day} {
			t.Run(value+" after "+age.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newDeviceWorld(t)
					time.Sleep(age)
					old := w.credentials(t).AccountToken
					w.plex.Inject(plextest.Fault{Path: nonces, Code: 1003, Header: http.Header{"Retry-After": {value}}})
					began := time.Now()
					for w.credentials(t).AccountToken == old {
						_, _ = w.Token(t.Context())
						time.Sleep(time.Second)
					}
					assert.LessOrEqual(t, time.Since(began), most[i])
					assert.Equal(t, 2, w.count("GET", nonces), "plex.tv is left alone in between")
				})
			})
		}
	}
}

// An expired JWT is renewed within seconds after hours without a network. A proxy's
// page in between does not lengthen the pause.
func TestBackoffWhileOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(7*day - 3*time.Hour)
		down := plextest.Fault{Err: &net.OpError{Op: "dial", Err: errors.New("network is unreachable")}, Times: -1}
		w.plex.Inject(down)
		for range 6 * 60 * 6 {
			_, _ = w.Token(t.Context())
			time.Sleep(10 * time.Second)
		}
		w.plex.ResetFaults()
		back := func() (after time.Duration) {
			began := time.Now()
			for {
				if _, err := w.Token(t.Context()); err == nil {
					return time.Since(began)
				}
				time.Sleep(time.Second)
			}
		}
		assert.LessOrEqual(t, back(), 16*time.Second)

		time.Sleep(8 * day)
		w.plex.Inject(down)
		for range 6 * 60 {
			_, err := w.Token(t.Context())
			require.ErrorIs(t, err, plexauth.ErrTokenExpired)
			time.Sleep(10 * time.Second)
		}
		w.plex.ResetFaults()
		w.plex.Inject(plextest.Fault{Path: nonces, Body: "<html>", ContentType: "text/html", Times: 4})
		assert.LessOrEqual(t, back(), 90*time.Second)
	})
}

// G10, G11: an expired JWT while plex.tv is unavailable is reported as both, and
// nothing is lost.
func TestExpiredAndOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(8 * day)
		w.plex.Inject(plextest.Fault{Err: &net.OpError{Op: "dial", Err: errors.New("network is unreachable")}, Times: -1})
		c := &http.Client{Transport: w.Transport(w.plex.Client().Transport)}
		for range 3 {
			_, err := w.Token(t.Context())
			require.ErrorIs(t, err, plexauth.ErrTokenExpired)
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			_, err = c.Get("https://plex.tv/api/v2/user")
			require.ErrorIs(t, err, plexauth.ErrTokenExpired)
			s, err := w.Verify(t.Context())
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.True(t, s.Connected)
			assert.False(t, s.NeedsLogin)
		}
		w.plex.ResetFaults()
		time.Sleep(5 * time.Second)
		tokenOf(t, w.PlexAuth) // the network is back, and the pause is short
	})
}

// A Refresh after a failed one tries again.
func TestRefreshAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.Inject(plextest.Fault{Path: exchanges, Code: 1008, Times: 2})
		_, err := w.Refresh(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		_, err = w.Refresh(t.Context())
		require.NoError(t, err)
		asked := w.fromNow()
		_, err = w.Refresh(t.Context())
		require.NoError(t, err)
		assert.Empty(t, only(asked(), "POST", exchanges), "the token is new enough")
	})
}
