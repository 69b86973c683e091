package plexauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// A login is cancelled even if plex.tv does not answer, and without a request if there
// is nothing to lose.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		asked, began := w.fromNow(), time.Now()
		require.NoError(t, w.Cancel(t.Context()))
		assert.Empty(t, asked())
		assert.Zero(t, time.Since(began))

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		for _, f := range []plextest.Fault{{Hang: true}, {Reset: true}, {Status: 503}, {Code: 1003}} {
			_, err = w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			w.plex.Inject(f)
			began = time.Now()
			require.NoError(t, w.Cancel(t.Context()))
			assert.LessOrEqual(t, time.Since(began), 4*time.Second)
			s, err := w.Status(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
			assert.Nil(t, s.Pending)
			time.Sleep(time.Minute)
		}

		// Login cancels when its PIN cannot be shown, and has little time for that.
		for _, after := range []time.Duration{0, 5 * time.Second} {
			w.plex.Inject(plextest.Fault{Method: http.MethodGet, Path: "/api/v2/pins/*", Hang: true})
			_, err = w.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(*plexauth.Pin) error {
				time.Sleep(after)
				return errors.New("no screen")
			})
			require.ErrorContains(t, err, "no screen")
			s, err := w.Status(t.Context())
			require.NoError(t, err)
			assert.Nil(t, s.Pending)
			w.plex.ResetFaults()
		}
	})
}

// G8: an approval has ended the profile's token before anyone has looked. Cancelling
// the login or starting another one does not lose that approval.
func TestGivenUpAfterTheApproval(t *testing.T) {
	for name, giveUp := range map[string]func(t *testing.T, w *world) error{
		"Cancel": func(t *testing.T, w *world) error { return w.Cancel(t.Context()) },
		"Start": func(t *testing.T, w *world) error {
			_, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
			return err
		},
		"another process": func(t *testing.T, w *world) error { return w.open(t).Cancel(t.Context()) },
		"the panel": func(t *testing.T, w *world) error {
			rec := httptest.NewRecorder()
			w.Handler(t.Context()).ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/cancel", nil))
			assert.Equal(t, http.StatusOK, rec.Code)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				old := mustSettings(t, w.PlexAuth).AccountToken
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				require.NoError(t, giveUp(t, w))
				s, err := w.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.False(t, old.Equal(mustSettings(t, w.PlexAuth).AccountToken))
			})
		})
	}
}

// G8: cancelling a login finds its approval, even if plex.tv has rejected the old
// token in the meantime and the first looks fail.
func TestGivenUpAfterARejection(t *testing.T) {
	for name, giveUp := range givingUp {
		for _, f := range []plextest.Fault{{}, {Reset: true}, {Status: 502, Body: "<html>", Times: 2}, {Status: 503}} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					time.Sleep(time.Minute)
					pin, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					require.ErrorIs(t, errOf(w.Verify(t.Context())), plexauth.ErrTokenRejected)
					if f.Reset || f.Status != 0 {
						f.Method, f.Path = http.MethodGet, "/api/v2/pins/*"
						w.plex.Inject(f)
					}
					began := time.Now()
					require.NoError(t, giveUp(t.Context(), w.PlexAuth))
					assert.LessOrEqual(t, time.Since(began), 4*time.Second)
					s, err := w.Verify(t.Context())
					require.NoError(t, err)
					assert.True(t, s.Connected)
				})
			})
		}
	}
}

// G8: a caller who cancels within two seconds of the last look still gives plex.tv
// time to report an approval.
func TestGivenUpInAHurry(t *testing.T) {
	for name, giveUp := range givingUp {
		for _, limit := range []time.Duration{1500 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					time.Sleep(time.Minute)
					pin, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					time.Sleep(5 * time.Second)
					require.NoError(t, errOf(w.Finish(t.Context())))
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					w.plex.Inject(plextest.Fault{Path: "/api/v2/*", Delay: 100 * time.Millisecond, Times: -1})
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					require.NoError(t, giveUp(ctx, w.PlexAuth))
					require.NoError(t, errOf(w.Verify(t.Context())))
				})
			})
		}
	}
}

// G8, G22: an approval ends the token of every profile of that account. It is not
// given up by a profile that has no token, either.
func TestGivenUpBesideASibling(t *testing.T) {
	for name, giveUp := range map[string]func(p *plexauth.PlexAuth, ctx context.Context) error{
		"Cancel": (*plexauth.PlexAuth).Cancel,
		"Start": func(p *plexauth.PlexAuth, ctx context.Context) error {
			return errOf(p.Start(ctx, plexauth.PinOptions{Strong: true}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				other := w.Instance("second")
				pin, err := other.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				require.NoError(t, giveUp(other, t.Context()))
				s, err := w.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// G8, G22: one account approves the PINs of two profiles that have no login yet, and the second
// approval ends the token of the first. It is not lost when no one has looked at it.
func TestGivenUpBesideAPendingSibling(t *testing.T) {
	for name, giveUp := range map[string]func(context.Context, *plexauth.PlexAuth) error{
		"Start": loginCalls["Start"], "Cancel": loginCalls["Cancel"],
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p2 := w.Instance("P2")
				for _, p := range []*plexauth.PlexAuth{w.PlexAuth, p2} {
					pin, err := p.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				}
				require.NoError(t, giveUp(t.Context(), p2))
				s, err := p2.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// G12: a Start or Cancel during a rate limit makes no last look.
func TestNoLastLookDuringA429(t *testing.T) {
	for name, end := range givingUp {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signInNow(t)
				_, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1003, Header: http.Header{"Retry-After": {"20"}}})
				_, err = w.Account(t.Context())
				require.ErrorIs(t, err, plexauth.ErrRateLimited)
				time.Sleep(2 * time.Second)
				asked := w.fromNow()
				_ = end(t.Context(), w.PlexAuth)
				assert.Empty(t, asked())
			})
		})
	}
}
