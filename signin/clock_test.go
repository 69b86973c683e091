package signin_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/signin"
)

var clockSteps = []time.Duration{-72 * time.Hour, -5 * time.Minute, 5 * time.Minute, 72 * time.Hour}

// G7, G20: setting the clock during a sign-in neither ends nor prolongs it.
func TestClockSetDuringASignIn(t *testing.T) {
	for _, by := range clockSteps {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			b, late := w.browser(w), w.browser(w)
			q, lateQ := b.start(nil), late.start(nil)
			signin.SetClock(t, by)
			b.start(nil) // the same PIN again
			time.Sleep(7 * time.Minute)
			require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
			require.NoError(t, w.plex.Approve(lateQ.Get("code"), w.alice))
			assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code, by)
			time.Sleep(3 * time.Minute)
			assert.Equal(t, http.StatusGone, late.post("/signin/finish").Code, by)
			assert.Len(t, w.signedIn, 1)
		})
	}
}

// G7, G20: if the clock was set back before another replica takes over, a sign-in gets no more
// time there than a new one.
func TestClockSetBackOnAReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		b.start(nil)
		signin.SetClock(t, -72*time.Hour)
		b.Handler = w.handler()
		require.Equal(t, http.StatusAccepted, b.post("/signin/finish").Code)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, http.StatusGone, b.post("/signin/finish").Code)
	})
}

// G12: a limit on starts ends after ten minutes, whatever the clock was set to.
func TestClockSetBesideTheCaps(t *testing.T) {
	for _, by := range clockSteps {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser(w)
			for range 5 {
				q := b.start(nil)
				require.NoError(t, w.plex.Approve(q.Get("code"), w.eve))
				require.Equal(t, http.StatusForbidden, b.post("/signin/finish").Code)
				time.Sleep(time.Second)
			}
			for range 200 {
				w.browser(w).post("/signin/start")
			}
			assert.Equal(t, http.StatusTooManyRequests, w.browser(w).post("/signin/start").Code)
			signin.SetClock(t, by)
			time.Sleep(time.Second)
			assert.Equal(t, http.StatusTooManyRequests, w.browser(w).post("/signin/start").Code, "%s: the limit for all", by)
			time.Sleep(10 * time.Minute)
			assert.Equal(t, http.StatusSeeOther, w.browser(w).post("/signin/start").Code, "%s: the limit for all", by)
			time.Sleep(10 * time.Minute) // the browser's starts are dates in the cookie
			assert.Equal(t, http.StatusSeeOther, b.post("/signin/start").Code, "%s: the limit for the browser", by)
		})
	}
}
