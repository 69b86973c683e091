package crosswatch_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
)

// G13: printing a Store that checks a login, or a PlexAuth over it, shows neither the key nor
// any secret that was written or replaced.
func TestNothingLeaks(t *testing.T) {
	dir := directory(t, "{}", k1)
	synctest.Test(t, func(t *testing.T) {
		c := canary.New()
		c.Add("key", k1)
		plex := plextest.NewServer()
		defer plex.Close()
		alice := plex.AddUser(plextest.User{Username: "alice"})
		s := open(t, dir)
		auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: s, HTTPClient: c.Client(plex.Client())})
		require.NoError(t, err)
		for range 2 {
			_, err = auth.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(pin *plexauth.Pin) error {
				c.Learn([]byte(load(t, s)))
				return plex.Approve(pin.Code, alice)
			})
			require.NoError(t, err)
			c.Learn([]byte(load(t, s)))
		}
		_, err = auth.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		c.Learn([]byte(load(t, s)))
		require.GreaterOrEqual(t, len(c.Names()), 6, "a key, two tokens and three PINs")

		synctest.Wait() // until all goroutines wait for the clock
		for _, v := range []any{s, auth} {
			text := canary.Forms(v)
			require.Contains(t, text, "crosswatch.change", "a dump")
			assert.Empty(t, c.Search().In(text, false))
		}
	})

	c := canary.New()
	c.Add("ciphertext", ourToken)
	_, err := open(t, directory(t, `{"plex":{"account_token":"`+ourToken+`"}}`, phrase)).Load(t.Context(), "plex")
	require.Error(t, err)
	assert.Empty(t, c.Search().In(canary.Forms(err), true))
}
