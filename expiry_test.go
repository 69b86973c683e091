package plexauth_test

import (
	"fmt"
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

// G7: a login ends when its PIN does, whatever form the expiry has.
func TestTrueExpiry(t *testing.T) {
	ptr := func(n int) *int { return &n }
	for name, tc := range map[string]struct {
		quirks   plextest.Quirks
		clock    time.Duration
		lifetime time.Duration
		end      time.Duration // when the login must have ended
	}{
		"404/1020":              {lifetime: time.Minute, end: time.Minute},
		"200 with null":         {quirks: plextest.Quirks{Expire200Null: true}, lifetime: time.Minute, end: time.Minute},
		"absent":                {quirks: plextest.Quirks{OmitExpiresIn: true}, end: 15 * time.Minute},
		"absent, expires soon":  {quirks: plextest.Quirks{OmitExpiresIn: true}, lifetime: time.Minute, end: time.Minute},
		"absent, never expires": {quirks: plextest.Quirks{OmitExpiresIn: true, Expire200Null: true}, lifetime: time.Minute, end: 15 * time.Minute},
		"negative":              {quirks: plextest.Quirks{ExpiresIn: ptr(-1)}, end: 10 * time.Second},
		"zero":                  {quirks: plextest.Quirks{ExpiresIn: ptr(0)}, end: 10 * time.Second},
		"huge":                  {quirks: plextest.Quirks{ExpiresIn: ptr(1_000_000_000), Expire200Null: true}, end: time.Hour},
		"huge, expires":         {quirks: plextest.Quirks{ExpiresIn: ptr(1_000_000_000)}, end: 15 * time.Minute},
		"clock ahead":           {clock: 72 * time.Hour, lifetime: time.Minute, end: time.Minute},
		"clock behind":          {clock: -72 * time.Hour, lifetime: time.Minute, end: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.SetQuirks(tc.quirks)
				w.plex.SetClock(tc.clock)
				w.plex.SetPinLifetime(tc.lifetime, 0)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				_, err = w.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrPinExpired)
				took := time.Since(pin.CreatedAt)
				assert.GreaterOrEqual(t, took, tc.end)
				assert.LessOrEqual(t, took, tc.end+1100*time.Millisecond)
				looks := len(w.looks(pin.CreatedAt))
				time.Sleep(time.Hour)
				assert.Len(t, w.looks(pin.CreatedAt), looks, "none after")
				s, err := w.Status(t.Context())
				require.NoError(t, err)
				assert.Nil(t, s.Pending, "a dead PIN is cleared away")
			})
		})
	}
}

// G7: a token counts even if the answer says that the PIN has expired.
func TestApprovedAndExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.SetQuirks(plextest.Quirks{ClaimedExpired: true})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	})
}

// G5, G7: what such an answer says of the expiry does not count. A Start that gets it, and cannot
// read the account, shortens neither the countdown nor the login of those who wait.
func TestStartFindsApprovedAndExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.SetQuirks(plextest.Quirks{ClaimedExpired: true})
		pin := start(t, w)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: accountPath, Status: http.StatusServiceUnavailable, Times: -1, For: time.Minute})
		var waits sync.WaitGroup
		defer waits.Wait()
		waits.Go(func() { assert.NoError(t, errOf(w.Wait(t.Context()))) })
		synctest.Wait()
		require.ErrorIs(t, errOf(w.Start(t.Context(), switched)), plexauth.ErrUnavailable)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.open(t)} {
			s := must(p.Status(t.Context()))
			require.NotNil(t, s.Pending)
			assert.WithinDuration(t, pin.ExpiresAt, s.Pending.ExpiresAt, time.Second)
		}
	})
}

// G6: an approval in the last second is found.
func TestApprovedAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.AfterFunc(time.Until(pin.ExpiresAt)-200*time.Millisecond, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
		s, err := w.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G7: plex.tv's 410 ends a login as its 404 does. A proxy's 410 does not.
func TestGoneMeansExpired(t *testing.T) {
	for name, tc := range map[string]struct {
		fault plextest.Fault
		want  error
	}{
		"plex.tv":  {plextest.Fault{Status: http.StatusGone, Code: 1020}, plexauth.ErrPinExpired},
		"no code":  {plextest.Fault{Status: http.StatusGone, Body: `{"errors":[{"message":"gone"}]}`, ContentType: "application/json"}, plexauth.ErrPinExpired},
		"a portal": {plextest.Fault{Status: http.StatusGone, Body: "<html>gone</html>", ContentType: "text/html"}, plexauth.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				_, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				tc.fault.Method, tc.fault.Path = "GET", "/api/v2/pins/*"
				w.plex.Inject(tc.fault)
				_, err = w.Finish(t.Context())
				require.ErrorIs(t, err, tc.want)
				if tc.want == plexauth.ErrUnavailable {
					assert.NotErrorIs(t, err, plexauth.ErrPinExpired)
				}
			})
		})
	}
}

// G7: a last look finds that the PIN lives longer than stored. The stored expiry is
// corrected, since the PIN stays pending.
func TestLastLookMovesTheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		began := time.Now()
		put(t, w.store, strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(began.Add(5*time.Minute).UnixMilli()), 1))
		p := w.open(t)
		_, err = p.Finish(t.Context()) // to resume the login
		require.NoError(t, err)
		put(t, w.store, strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(began.Add(5*time.Minute).UnixMilli()), 1))
		plexauth.MoveDeadline(p, 5*time.Minute) // the process believes the same
		time.Sleep(2 * time.Second)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 503, Times: -1})
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		s, err := p.Status(t.Context())
		require.NoError(t, err)
		assert.InDelta(t, 30*time.Minute, s.Pending.ExpiresAt.Sub(began), float64(2*time.Second))
	})
}
