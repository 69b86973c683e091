package plexauth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// clockSteps are the amounts by which a clock is set.
var clockSteps = []time.Duration{-365 * 24 * time.Hour, -72 * time.Hour, -10 * time.Minute, -30 * time.Second, 30 * time.Second, 10 * time.Minute, 72 * time.Hour, 365 * 24 * time.Hour}

// expiresIn returns the countdown in the JSON of a Status, or -1 without a pending
// PIN.
func expiresIn(t *testing.T, s plexauth.Status) time.Duration {
	t.Helper()
	b, err := json.Marshal(s)
	require.NoError(t, err)
	var v struct {
		Extra struct {
			Pending *struct {
				ExpiresIn int `json:"expires_in"`
			}
		}
	}
	require.NoError(t, json.Unmarshal(b, &v))
	if v.Extra.Pending == nil {
		return -1
	}
	return time.Duration(v.Extra.Pending.ExpiresIn) * time.Second
}

// G7: setting the clock neither shortens nor prolongs a login, at any moment and by
// any amount, whether plex.tv answers or not. The countdowns stay right.
func TestClockSetDuringALogin(t *testing.T) {
	for _, by := range clockSteps {
		for _, when := range []string{"while the PIN is made", "before Wait", "while it waits", "twice"} {
			for _, outage := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, %v", by, when, outage), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testClockSet(t, by, when, outage) })
				})
			}
		}
	}
}

// testClockSet sets the clock by so much at one moment of a login.
func testClockSet(t *testing.T, by time.Duration, when string, outage bool) {
	making := when == "while the PIN is made"
	w := newWorld(t, func(o *plexauth.Options) {
		next := o.HTTPClient.Transport
		o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if making {
				making = false
				plexauth.SetClock(t, by)
			}
			return resp, err
		})}
	})
	w.plex.SetQuirks(plextest.Quirks{OmitExpiresIn: true}) // so that plex.tv does not correct the expiry
	began := time.Now()
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	if outage {
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Status: 502, Times: -1})
	}
	if when == "before Wait" {
		plexauth.SetClock(t, by)
	}
	result := make(chan error, 1)
	go func() { result <- errOf(w.Wait(t.Context())) }()
	time.Sleep(2 * time.Minute)
	if when == "while it waits" || when == "twice" {
		plexauth.SetClock(t, by)
	}
	if when == "twice" {
		time.Sleep(time.Minute)
		plexauth.SetClock(t, -2*by)
	}
	synctest.Wait()
	require.Empty(t, result)
	left := 15*time.Minute - time.Since(began)
	s, err := w.Status(t.Context())
	require.NoError(t, err)
	assert.InDelta(t, left, expiresIn(t, s), float64(2*time.Second))
	panel := openPanel(t, w.PlexAuth)
	assert.InDelta(t, left.Seconds(), panel.get("/status").Extra.Pending.ExpiresIn, 2)
	again, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	assert.Equal(t, pin.ID, again.ID, "the pending PIN has minutes left")
	assert.ErrorIs(t, <-result, plexauth.ErrPinExpired)
	assert.InDelta(t, 15*time.Minute, time.Since(began), float64(2*time.Second))
	s, err = w.Status(t.Context())
	require.NoError(t, err)
	assert.Nil(t, s.Pending)
}

// G7: the stored expiry, which other processes read, is corrected after the clock was
// set.
func TestClockSetCorrectsTheStoredExpiry(t *testing.T) {
	for _, by := range clockSteps {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.replicas = true
			_, err := w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			go func() { _, _ = w.Wait(t.Context()) }()
			time.Sleep(time.Minute)
			plexauth.SetClock(t, by)
			time.Sleep(2 * time.Second)
			s, err := w.open(t).Status(t.Context())
			require.NoError(t, err)
			assert.InDelta(t, 14*time.Minute, expiresIn(t, s), float64(4*time.Second), by)
		})
	}
}

// G5, G7: after a restart with a clock that is far ahead, the PIN's stored expiry is
// in the past. An outage of a minute does not end the login all the same, and a PIN
// that plex.tv never answers for is given up.
func TestRestartUnderAClockAhead(t *testing.T) {
	for _, approved := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.replicas = true
			pin, err := w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			plexauth.SetClock(t, 72*time.Hour)
			p := w.open(t)
			w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Status: 502, Times: -1})
			if approved {
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				time.AfterFunc(time.Minute, w.plex.ResetFaults)
			}
			began := time.Now()
			_, err = p.Wait(t.Context())
			if approved {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, plexauth.ErrPinExpired)
			assert.Less(t, time.Since(began), 16*time.Minute)
		})
	}
}

// G7: after a restart with a clock that was set back, a PIN lives for an hour at most.
// Its expiry and its countdown agree.
func TestRestartUnderAClockSetBack(t *testing.T) {
	for back, left := range map[time.Duration]time.Duration{10 * time.Minute: 25 * time.Minute, 72 * time.Hour: time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			plexauth.SetClock(t, -back)
			s, err := w.open(t).Status(t.Context())
			require.NoError(t, err)
			require.NotNil(t, s.Pending)
			assert.InDelta(t, left, s.Pending.ExpiresAt.Sub(time.Now().Add(-back)), float64(2*time.Second))
			assert.InDelta(t, left, expiresIn(t, s), float64(2*time.Second))
		})
	}
}

// G7: a machine that was suspended past the PIN's end does not wait for that end
// again.
func TestSuspendedDuringALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Status: 502, Times: -1})
		result := make(chan error, 1)
		go func() { result <- errOf(w.Wait(t.Context())) }()
		time.Sleep(time.Minute)
		plexauth.Suspend(t, 10*time.Minute)
		time.Sleep(2 * time.Minute)
		require.Empty(t, result)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.InDelta(t, 2*time.Minute, expiresIn(t, s), float64(2*time.Second))
		plexauth.Suspend(t, time.Hour)
		time.Sleep(15 * time.Second)
		require.Len(t, result, 1)
		assert.ErrorIs(t, <-result, plexauth.ErrPinExpired)
	})
}

// G24: once plex.tv has told its time, a JWT expires by that time. It does not matter
// what this machine's clock is set to, even while plex.tv cannot be asked.
func TestClockSetBesideAJWT(t *testing.T) {
	for _, by := range clockSteps {
		synctest.Test(t, func(t *testing.T) {
			w := newDeviceWorld(t)
			before, err := w.Token(t.Context())
			require.NoError(t, err)
			asked := w.fromNow()
			plexauth.SetClock(t, by)
			w.plex.Inject(plextest.Fault{Status: 503, Times: -1})
			for range 8 {
				s, err := w.Status(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected && !s.NeedsLogin, by)
				now, err := w.Token(t.Context())
				require.NoError(t, err, by)
				assert.True(t, now.Equal(before), by)
				time.Sleep(12 * time.Hour)
			}
			assert.Empty(t, asked(), "%s: nothing is due", by)
			w.plex.ResetFaults()
			time.Sleep(36 * time.Hour)
			now, err := w.Token(t.Context())
			require.NoError(t, err)
			assert.False(t, now.Equal(before), "%s: renewed when it is due", by)
		})
	}
}

// G24: setting the clock does not change the pause after a failed renewal.
func TestClockSetDuringAPause(t *testing.T) {
	for _, by := range clockSteps {
		synctest.Test(t, func(t *testing.T) {
			w := newDeviceWorld(t)
			time.Sleep(8 * 24 * time.Hour) // it is over
			w.plex.Inject(plextest.Fault{Path: exchanges, Status: 403, Code: 1009, Times: -1})
			_, err := w.Token(t.Context())
			require.ErrorIs(t, err, plexauth.ErrTokenExpired)
			plexauth.SetClock(t, by)
			asked := w.fromNow()
			time.Sleep(50 * time.Second)
			_, err = w.Token(t.Context())
			require.ErrorIs(t, err, plexauth.ErrTokenExpired)
			assert.Empty(t, only(asked(), "POST", exchanges), "%s: the pause is not over", by)
			w.plex.ResetFaults()
			time.Sleep(14 * time.Second)
			_, err = w.Token(t.Context())
			require.NoError(t, err, by)
		})
	}
}

// G7: a clock that jumps two hours ahead during a login, as on a machine that has just
// found its time server, does not end the login. A clock that is set back by a day
// does not prolong it.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{2 * time.Hour, -24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				plexauth.SetClock(t, by)
				result := make(chan error, 1)
				go func() {
					_, err := w.Wait(t.Context())
					result <- err
				}()
				time.Sleep(time.Minute)
				require.Empty(t, result)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				time.Sleep(2 * time.Second)
				require.Len(t, result, 1)
				assert.NoError(t, <-result)
			})
		})
	}
}

// G7: the clock was set before a restart. plex.tv's next answer decides how long the
// PIN lives, and other processes see that.
func TestRestartWithAnotherClock(t *testing.T) {
	for name, shift := range map[string]time.Duration{"far behind": -365 * 24 * time.Hour, "far ahead": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				// The stored dates as another clock would have written them.
				moved := strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(pin.ExpiresAt.Add(shift).UnixMilli()), 1)
				put(t, w.store, moved)
				p := w.open(t)
				go func() { _, _ = p.Wait(t.Context()) }()
				time.Sleep(3 * time.Second)
				s, err := p.Status(t.Context())
				require.NoError(t, err)
				require.NotNil(t, s.Pending)
				assert.WithinDuration(t, pin.ExpiresAt, s.Pending.ExpiresAt, 3*time.Second)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				done, err := p.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, done.Connected)
			})
		})
	}
}
