package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
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

// switched is how a login begins that another kind of login is pending beside.
var switched = plexauth.PinOptions{SwitchAccount: true}

// G8: an approved login that a Start replaces is finished first. If another process ends it
// at that moment, there is nothing to finish.
func TestStartOverAnApprovalThatEnds(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, w *world){
		"cancelled": func(t *testing.T, w *world) { require.NoError(t, w.open(t).Cancel(t.Context())) },
		"disconnected": func(t *testing.T, w *world) {
			require.NoError(t, errOf(w.open(t).Disconnect(t.Context())))
		},
		"replaced": func(t *testing.T, w *world) {
			doc := w.stored(t)["_pending_pin"].(map[string]any)
			doc["id"] = doc["id"].(float64) + 1
			delete(doc, "account_token")
			w.edit(t, map[string]any{"_pending_pin": doc})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := pendingBesideASibling(t)
				w.replicas = true
				ended := false
				p := w.openInterrupted(t, "/api/v2/user", func() {
					ended = true
					end(t, w)
				}, noRetries)
				pin, err := p.Start(t.Context(), switched)
				require.NoError(t, err)
				require.True(t, ended)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				s, err := p.Wait(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "bob", s.User)
			})
		})
	}
}

// A PIN that has expired is not asked for once more.
func TestExpiredPINIsNotAskedFor(t *testing.T) {
	for name, after := range map[string]time.Duration{"now": 0, "long ago": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.Instance("sibling"), w.alice, plexauth.PinOptions{})
				pin := start(t, w)
				time.Sleep(time.Until(pin.ExpiresAt) + after)
				asked := w.fromNow()
				require.NoError(t, errOf(w.Start(t.Context(), switched)))
				assert.Empty(t, only(asked(), "GET", "/api/v2/pins/{id}"))
			})
		})
	}
}

// G8: SignOut says that it had no time to look at the pending PIN, and if that is because
// plex.tv wants a pause.
func TestSignOutHasNoTimeForThePIN(t *testing.T) {
	t.Run("short context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			start(t, w)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_, err := w.SignOut(ctx)
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.ErrorContains(t, err, "may have been approved")
		})
	})
	t.Run("rate limit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, false)
			start(t, w)
			time.Sleep(time.Minute)
			p := w.open(t, noRetries)
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1003, Header: http.Header{"Retry-After": {"20"}}})
			require.ErrorIs(t, errOf(p.Verify(t.Context())), plexauth.ErrRateLimited)
			asked := w.fromNow()
			_, err := p.SignOut(t.Context())
			require.ErrorContains(t, err, "may have been approved")
			assert.ErrorContains(t, err, "check PIN: plex.tv answered 429", "why it was not asked")
			assert.Empty(t, only(asked(), "GET", "/api/v2/pins/{id}"))
		})
	})
}

// G12: a context that ends before the last look at the PIN ends Cancel, and the login stays.
// G9: no request comes after it.
func TestCancelWhoseContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.Instance("sibling"), w.alice, plexauth.PinOptions{})
		pin := start(t, w)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		p := w.open(t, withTransport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
			t.Errorf("a request after the end: %s", r.URL.Path)
			return nil, r.Context().Err()
		})))
		require.ErrorIs(t, p.Cancel(ctx), context.Canceled)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		require.NotNil(t, s.Pending)
		assert.Equal(t, pin.Code, s.Pending.Code)
	})
}

// G8, G12: a last poll that gets a 429 without a time is repeated after two seconds, as any
// other request is, and an approval is not lost. If another request got the 429, plex.tv is left
// alone.
func TestLastPollGetsA429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Code: 1003, Times: 1})
		began := time.Now()
		before := len(w.looks(began))
		require.NoError(t, w.Cancel(t.Context()))
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected, "the approved login is finished")
		looks := w.looks(began)[before:]
		require.Len(t, looks, 2)
		assert.GreaterOrEqual(t, looks[1]-looks[0], 2*time.Second)
	})
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1003, Times: 2})
		require.ErrorIs(t, errOf(w.Instance("sibling").Verify(t.Context())), plexauth.ErrRateLimited)
		asked := w.fromNow()
		require.NoError(t, w.Cancel(t.Context()))
		assert.Empty(t, only(asked(), "GET", "/api/v2/pins/{id}"))
	})
}

// G12: a SignOut that was told to slow down says for how long, as far as that is known.
func TestSignOutSaysForHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Code: 1003, Times: -1})
		var e *plexauth.Error
		require.ErrorAs(t, errOf(w.SignOut(t.Context())), &e)
		require.ErrorIs(t, e, plexauth.ErrRateLimited)
		w.plex.ResetFaults()
		time.Sleep(e.RetryAfter)
		require.NoError(t, errOf(w.Instance("other").Start(t.Context(), plexauth.PinOptions{})))
	})
}

// G6: looks that fail are repeated at the pace of any other look.
func TestLastLooksKeepThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		w.plex.Inject(plextest.Fault{Method: http.MethodGet, Path: "/api/v2/pins/*", Status: 502, Times: -1})
		began := time.Now()
		require.ErrorIs(t, errOf(w.SignOut(t.Context())), plexauth.ErrUnavailable)
		looks := w.looks(began)
		assert.LessOrEqual(t, len(looks), 4)
		for i := 1; i < len(looks); i++ {
			assert.GreaterOrEqual(t, looks[i]-looks[i-1], 900*time.Millisecond)
		}
	})
}

// A PIN that another process has made while Start looked at the one before is shared.
func TestStartSharesThePINOfAnotherProcess(t *testing.T) {
	for nth := int64(1); nth <= 2; nth++ { // reads of the store
		t.Run(fmt.Sprintf("read %d", nth), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.replicas = true
				w.signIn(t, w.Instance("sibling"), w.alice, plexauth.PinOptions{})
				start(t, w)
				time.Sleep(time.Minute)
				var theirs *plexauth.Pin
				p := w.open(t, withStore(w.hooked(hooks{beforeLoad: calls(nth, nth, does(func() { theirs = must(w.open(t).Start(t.Context(), switched)) }))})))
				pin, err := p.Start(t.Context(), switched)
				require.NoError(t, err)
				require.NotNil(t, theirs)
				assert.Equal(t, theirs.Code, pin.Code)
			})
		})
	}
}

// A login that could not be replaced goes on: with the pace of the look that was made, with the
// corrected expiry, and to its end if plex.tv does not know the PIN any more.
func TestLoginThatCouldNotBeReplaced(t *testing.T) {
	begin := func(t *testing.T) (w *world, waited func() error) {
		w = newWorld(t)
		w.signIn(t, w.Instance("sibling"), w.alice, plexauth.PinOptions{})
		start(t, w)
		var err error
		var waits sync.WaitGroup
		waits.Go(func() { err = errOf(w.Wait(t.Context())) })
		time.Sleep(10500 * time.Millisecond)
		w.plex.Inject(plextest.Fault{Method: http.MethodPost, Path: "/api/v2/pins", Status: 422, Code: 1009, Times: -1})
		return w, func() error {
			waits.Wait()
			return err
		}
	}
	t.Run("approved later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, waited := begin(t)
			require.Error(t, errOf(w.Start(t.Context(), switched)))
			began := time.Now()
			time.Sleep(30 * time.Second)
			s := must(w.Status(t.Context()))
			require.NotNil(t, s.Pending)
			require.NoError(t, w.plex.Approve(s.Pending.Code, w.alice))
			require.NoError(t, waited())
			looks := w.looks(began)
			for i := 1; i < len(looks); i++ {
				assert.GreaterOrEqual(t, looks[i]-looks[i-1], 900*time.Millisecond)
			}
		})
	})
	t.Run("corrected expiry", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, waited := begin(t)
			seconds := 120
			w.plex.SetQuirks(plextest.Quirks{ExpiresIn: &seconds})
			require.Error(t, errOf(w.Start(t.Context(), switched)))
			s := must(w.open(t).Status(t.Context()))
			require.NotNil(t, s.Pending)
			assert.LessOrEqual(t, time.Until(s.Pending.ExpiresAt), 2*time.Minute, "another process sees it")
			require.ErrorIs(t, waited(), plexauth.ErrPinExpired)
			assert.NotContains(t, w.stored(t), "_pending_pin")
		})
	})
	t.Run("gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, waited := begin(t)
			w.plex.Inject(plextest.Fault{Method: http.MethodGet, Path: "/api/v2/pins/*", Code: 1020, Times: -1})
			_ = errOf(w.Start(t.Context(), switched))
			require.ErrorIs(t, waited(), plexauth.ErrPinExpired)
			assert.NotContains(t, w.stored(t), "_pending_pin")
		})
	})
	t.Run("down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, waited := begin(t)
			w.plex.Inject(plextest.Fault{Method: http.MethodGet, Path: "/api/v2/pins/*", Status: 502, Times: -1, For: 20 * time.Second})
			require.Error(t, errOf(w.Start(t.Context(), switched)))
			ended, asked := time.Now(), w.fromNow()
			require.ErrorIs(t, errOf(w.Finish(t.Context())), plexauth.ErrUnavailable, "the look was just made")
			time.Sleep(time.Minute)
			s := must(w.Status(t.Context()))
			require.NotNil(t, s.Pending)
			require.NoError(t, w.plex.Approve(s.Pending.Code, w.alice))
			require.NoError(t, waited())
			looks := only(asked(), "GET", "/api/v2/pins/{id}")
			require.NotEmpty(t, looks)
			assert.GreaterOrEqual(t, looks[0].Time.Sub(ended), 900*time.Millisecond, "a pause after the failure")
		})
	})
}

// SignOut returns the store's error if it cannot find out whether the login was removed.
func TestSignOutIsNotKnown(t *testing.T) {
	w := signedIn(t)
	store := w.hooked(hooks{})
	store.set(hooks{refuse: func(jsonRaw) error {
		store.set(hooks{beforeLoad: fails(errDisk)})
		return errDisk
	}})
	_, err := w.open(t, withStore(store)).SignOut(t.Context())
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.False(t, mustSettings(t, w.PlexAuth).AccountToken.IsZero())
}

// G8: if an approved token cannot be stored beside its PIN, Start fails, and does not go on with it.
func TestStartCannotKeepAnApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		p := w.open(t, withStore(w.hooked(hooks{refuse: func(next jsonRaw) error {
			if pin, ok := membersOf(t, next)["_pending_pin"].(map[string]any); ok && pin["account_token"] != nil {
				return errors.New("no space left")
			}
			return nil
		}})))
		_, err := p.Start(t.Context(), switched)
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.True(t, mustSettings(t, w.PlexAuth).AccountToken.IsZero())
	})
}

// membersOf returns the members of a document.
func membersOf(t *testing.T, doc jsonRaw) (m map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(doc, &m))
	return m
}
