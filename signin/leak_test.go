package signin_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// G13: printing a Handler or a Visitor, during a sign-in and after it, shows no token, no
// PIN and no key. The log, the pages and the cookie do not show them either. With the key,
// anyone could make a cookie.
func TestNothingLeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := canary.New()
		c.Add("key", testKey)
		shown := ""
		w := newWorld(t, func(w *world, o *signin.Options) {
			o.HTTPClient = c.Client(w.plex.Client())
			store := plexauth.NewMemoryStore()
			var err error
			o.Plex, err = plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: o.HTTPClient})
			require.NoError(t, err)
			_, err = o.Plex.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, w.alice) })
			require.NoError(t, err)
			doc, err := store.Load(t.Context(), plexauth.Namespace)
			require.NoError(t, err)
			c.Learn(doc)
			o.Policy = func(_ context.Context, v signin.Visitor) (bool, error) {
				shown += canary.Forms(v)
				return v.Account.ID == w.bob.ID, nil
			}
		})
		for _, u := range []*plextest.User{w.eve, w.bob} { // eve is refused, bob is let in
			b := w.browser(w)
			code := b.start(nil).Get("code")
			shown += canary.Forms(w.Handler)
			require.NoError(t, w.plex.Approve(code, u))
			for _, rec := range []*httptest.ResponseRecorder{b.get("/signin/callback"), b.post("/signin/finish")} {
				shown += fmt.Sprint(rec.Header(), rec.Body)
			}
		}
		require.Len(t, w.signedIn, 1)
		shown += canary.Forms(w.Handler) + w.log.b.String()
		require.GreaterOrEqual(t, len(c.Names()), 7, "a key, three PINs, three tokens")
		require.Contains(t, shown, "signin.Handler")
		require.Contains(t, shown, "signin.Visitor")
		assert.Empty(t, c.Search().In(shown, true))
		assert.NotContains(t, shown, "aes.Block", "it would print a key derived from the key")
	})
}
