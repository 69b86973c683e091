package plexauth_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// A token that is good is read from the store once.
func TestTokenIsReadOnce(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T) *world{"long-lived": signedIn, "JWT": func(t *testing.T) *world { return newDeviceWorld(t) }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := begin(t)
				var reads atomic.Int64
				p := w.open(t, withStore(w.hooked(hooks{beforeLoad: does(func() { reads.Add(1) })})))
				tokenOf(t, p)
				assert.EqualValues(t, 1, reads.Load())
			})
		})
	}
}

// G10: a token that is known to be rejected causes no request and no write, so that this works
// with a store that cannot be written. The error that plex.tv's answer has caused has its code.
func TestRejectedTokenIsNotWritten(t *testing.T) {
	w := signedIn(t)
	w.plex.Revoke(w.alice)
	var e *plexauth.Error
	require.ErrorAs(t, errOf(w.Account(t.Context())), &e)
	assert.Equal(t, http.StatusUnauthorized, e.StatusCode)
	p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: fails(errReadOnly)})))
	asked := w.fromNow()
	_, err := p.Account(t.Context())
	require.ErrorIs(t, err, plexauth.ErrTokenRejected)
	assert.NotErrorIs(t, err, plexauth.ErrStore)
	assert.Empty(t, asked())
}

// G10: while a request is made, another process replaces the token. Its token counts: a rejection
// of it is saved, and one that is saved already is not saved again.
func TestTokenOfAnotherProcessIsRejected(t *testing.T) {
	for name, isSaved := range map[string]bool{"unknown": false, "saved": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				other := w.open(t)
				var writes atomic.Int64
				p := w.openInterrupted(t, "/api/v2/user", func() {
					w.signIn(t, other, w.alice, plexauth.PinOptions{})
					w.plex.Revoke(w.alice)
					if isSaved {
						require.ErrorIs(t, errOf(other.Verify(t.Context())), plexauth.ErrTokenRejected)
					}
				}, withStore(w.hooked(hooks{beforeUpdate: does(func() { writes.Add(1) })})))
				s, err := p.Verify(t.Context())
				require.ErrorIs(t, err, plexauth.ErrTokenRejected)
				assert.True(t, s.NeedsLogin)
				if isSaved {
					assert.Zero(t, writes.Load())
				}
			})
		})
	}
}

// G12: if a rejection cannot be saved before the caller's context ends, the error is the
// context's, and not the store's. A rejection that was saved all the same is no error of the
// context.
func TestLateRejection(t *testing.T) {
	for name, c := range map[string]struct {
		update  hooks
		isSaved bool
	}{
		"the store hangs":   {hooks{beforeUpdate: hang}, false},
		"the store is slow": {hooks{afterUpdate: does(func() { time.Sleep(3 * time.Second) })}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.plex.Revoke(w.alice)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := w.open(t, withStore(w.hooked(c.update))).Verify(ctx)
				require.ErrorIs(t, err, plexauth.ErrTokenRejected)
				assert.NotErrorIs(t, err, plexauth.ErrStore)
				assert.NotErrorIs(t, err, context.Canceled)
				assert.Equal(t, !c.isSaved, errors.Is(err, context.DeadlineExceeded))
				if c.isSaved {
					assert.True(t, must(w.Status(t.Context())).NeedsLogin)
				}
			})
		})
	}
}

// A login that ends while its identifier is made has no token.
func TestTokenIsGoneBeforeItsIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := foreignToken(t)
		p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: once(func() { require.NoError(t, errOf(w.Disconnect(t.Context()))) })})))
		token, err := p.Token(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNotConnected)
		assert.True(t, token.IsZero())
	})
}

// G24: a device's token that is rejected twice does not keep the next one from being renewed.
func TestRenewalAfterARejectedLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1001, Times: 2})
		require.ErrorIs(t, errOf(w.Account(t.Context())), plexauth.ErrTokenRejected)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 498, Code: 498, Message: "The token has expired", Times: 1})
		require.NoError(t, errOf(w.Account(t.Context())))
	})
}
