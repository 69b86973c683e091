package plexauth_test

import (
	"context"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G16: the lock is free while plex.tv or a media server is asked.
func TestNoLockAcrossTheNetwork(t *testing.T) {
	for name, byKey := range map[string]bool{"long-lived": false, "device key": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			var asked atomic.Int64
			w := newWorld(t)
			w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "203.0.113.7"}}})
			w.PlexAuth = w.open(t, func(o *plexauth.Options) {
				o.Store, o.DeviceKey = plexauth.NewFileStore(path), byKey
				o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
					asked.Add(1)
					lock := flock.New(path + ".lock")
					free, err := lock.TryLock()
					assert.NoError(t, err)
					assert.True(t, free, "%s %s", r.Method, r.URL.Path)
					assert.NoError(t, lock.Close())
					return w.plex.Transport().RoundTrip(r)
				})}
			})
			w.signInNow(t)
			if !byKey { // its JWT is not for a media server
				assert.NoError(t, errOf(w.Inspect(t.Context())))
			}
			for _, call := range []func(context.Context) (plexauth.Status, error){w.Verify, w.Refresh, w.UseDeviceKey, w.SignOut} {
				assert.NoError(t, errOf(call(t.Context())))
			}
			assert.Greater(t, asked.Load(), int64(6))
		})
	}
}
