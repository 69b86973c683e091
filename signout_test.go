package plexauth_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// SignOut ends every token of the account, also one that is parked elsewhere.
func TestSignOutEndsParkedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p1 := w.Instance("P1")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, p1, w.alice, plexauth.PinOptions{})
		id := mustSettings(t, w.PlexAuth).ClientID
		pin, err := p1.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
		_, err = p1.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		_, err = w.SignOut(t.Context())
		require.NoError(t, err)
		assert.Empty(t, w.plex.Token(w.alice, id))
	})
}

// G22: unlinking and cancelling wait for nobody, whatever plex.tv does to the
// request that is under way.
func TestDisconnectWhileTheAccountHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Hang: true, Times: -1})
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		ended := make(chan error, 1)
		go func() {
			_, err := w.Wait(t.Context())
			ended <- err
		}()
		time.Sleep(3 * time.Second)
		began := time.Now()
		_, err = w.Disconnect(t.Context())
		require.NoError(t, err)
		assert.Less(t, time.Since(began), 2*time.Second)
		assert.ErrorIs(t, <-ended, plexauth.ErrNoPendingPin)
		assert.True(t, mustSettings(t, w.PlexAuth).AccountToken.IsZero())
	})
}

// G23: where the store fails, and another process unlinks this profile at the
// same time, the token stays with those who live on it.
func TestSignOutNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p1 := w.Instance("P1")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, p1, w.alice, plexauth.PinOptions{})
		store := &failing{ConfigStore: w.store, fault: &storeFault{update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
			_, err := unwritten(s, ctx, ns, edit)
			return errors.Join(err, second(w.Disconnect(ctx)), errDisk)
		}}}
		_, err := w.open(t, func(o *plexauth.Options) { o.Store = store }).SignOut(t.Context())
		require.ErrorIs(t, err, plexauth.ErrStore)
		_, err = p1.Verify(t.Context())
		require.NoError(t, err)
	})
}
