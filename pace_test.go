package plexauth_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// halfAMinute is the longest pause for a pending PIN, with a second for the look
// that waits for the PIN's end.
const halfAMinute = 31 * time.Second

// gaps asserts that no pause between looks is longer than half a minute.
func gaps(t *testing.T, at []time.Duration) {
	t.Helper()
	for i := 1; i < len(at); i++ {
		assert.LessOrEqual(t, at[i]-at[i-1], halfAMinute, "look %d", i)
	}
}

// G12: whatever Retry-After says, a pending PIN is looked at again within half a
// minute, and an approval is found.
func TestRetryAfterParksNoPIN(t *testing.T) {
	ahead := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for name, header := range map[string]func() http.Header{
		"seconds": func() http.Header { return http.Header{"Retry-After": {"900"}} },
		"huge":    func() http.Header { return http.Header{"Retry-After": {"1e300"}} },
		"date":    func() http.Header { return http.Header{"Retry-After": {ahead(time.Hour)}} },
		"date of another clock": func() http.Header {
			return http.Header{"Retry-After": {ahead(73 * time.Hour)}, "Date": {ahead(72 * time.Hour)}}
		},
		"several":         func() http.Header { return http.Header{"Retry-After": {"soon", "3600", "900"}} },
		"garbage":         func() http.Header { return http.Header{"Retry-After": {"after the break"}} },
		"on a 503":        func() http.Header { return http.Header{"Retry-After": {"3600"}, "X-Status": {"503"}} },
		"none, for years": func() http.Header { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				fault := plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Times: 12, Code: 1003, Header: header()}
				if fault.Header.Get("X-Status") != "" {
					fault.Code, fault.Status = 0, http.StatusServiceUnavailable
				}
				w.plex.Inject(fault)
				time.AfterFunc(20*time.Second, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
				s, err := w.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				at := w.looks(pin.CreatedAt)
				assert.Len(t, at, 13)
				gaps(t, at)
			})
		})
	}
}

// The date of a Retry-After counts from the date of its answer.
func TestRetryAfterByTheClockOfTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, skew := range []time.Duration{-72 * time.Hour, 72 * time.Hour} {
			w := newWorld(t)
			date := time.Now().Add(skew).UTC()
			w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Code: 1003, Times: -1, Header: http.Header{
				"Date": {date.Format(http.TimeFormat)}, "Retry-After": {date.Add(40 * time.Second).Format(http.TimeFormat)},
			}})
			_, err := w.Start(t.Context(), plexauth.PinOptions{})
			var e *plexauth.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, 40*time.Second, e.RetryAfter)
		}
	})
}

// G12: what other profiles are told again and again slows a pending PIN, but does not
// park it for longer than half a minute.
func TestOtherProfilesParkNoPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Times: -1, Code: 1003, Header: http.Header{"Retry-After": {"25"}}})
		var others sync.WaitGroup
		for i := range 10 {
			others.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Second)
				for time.Until(pin.ExpiresAt) > 0 {
					_, _ = w.Instance(fmt.Sprint("P", i)).Start(t.Context(), plexauth.PinOptions{})
					time.Sleep(7 * time.Second)
				}
			})
		}
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrPinExpired)
		others.Wait()
		at := w.looks(pin.CreatedAt)
		require.NotEmpty(t, at)
		gaps(t, append([]time.Duration{0}, at...))
	})
}
