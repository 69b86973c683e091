package plexauth_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G1: one identifier, however many processes and restarts, saved before the
// first request.
func TestOneIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 500})
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		saved, err := w.Settings(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, saved.ClientID, "saved although the first request failed")

		var wg sync.WaitGroup
		for i := range 4 {
			p := w.open(t).Instance([]string{"", "PLEX-P01", "PLEX-P02", "PLEX-P03"}[i])
			wg.Go(func() {
				_, err := p.Start(t.Context(), plexauth.PinOptions{})
				assert.NoError(t, err)
				_, err = p.Finish(t.Context())
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		_, err = w.Disconnect(t.Context())
		require.NoError(t, err)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		for _, r := range w.plex.Requests() {
			assert.Equal(t, saved.ClientID, r.Header.Get("X-Plex-Client-Identifier"), r)
		}
	})
}

// G1: processes that start together on an empty store agree on one, and two
// empty stores differ.
func TestIdentifierIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var wg sync.WaitGroup
		for range 8 {
			p := w.open(t)
			wg.Go(func() {
				_, err := p.Start(t.Context(), plexauth.PinOptions{})
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		ids := map[string]bool{}
		for _, r := range w.plex.Requests() {
			ids[r.Header.Get("X-Plex-Client-Identifier")] = true
		}
		assert.Len(t, ids, 1)
		other := newWorld(t)
		_, err := other.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		v, err := other.Settings(t.Context())
		require.NoError(t, err)
		assert.NotContains(t, ids, v.ClientID)
	})
}

// G1: a token and a PIN stay with the identifier they were made under when the
// program brings one of its own.
func TestIdentifierOfTheProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		before, err := w.Settings(t.Context())
		require.NoError(t, err)

		p := w.open(t, func(o *plexauth.Options) { o.ClientID = "my-own-id" })
		_, err = p.Verify(t.Context())
		require.NoError(t, err)
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = p.Verify(t.Context())
		require.NoError(t, err, "the old token goes with the old identifier while the new PIN is pending")
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		_, err = w.open(t).Wait(t.Context()) // another process, without that option
		require.NoError(t, err)
		after, err := p.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "my-own-id", after.ClientID)
		assert.NotEqual(t, before.ClientID, after.ClientID)
	})
}
