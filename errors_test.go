package plexauth_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// An Error that a program has made prints like one of plexauth's.
func TestErrorOfAProgram(t *testing.T) {
	e := &plexauth.Error{Op: "check PIN", StatusCode: 503, Message: "in maintenance"}
	assert.Contains(t, e.Error(), "check PIN")
	assert.Contains(t, e.Error(), "503")
	for _, verb := range []string{"%v", "%+v", "%s", "%d"} {
		assert.Equal(t, e.Error(), fmt.Sprintf(verb, e), verb)
	}
}

// MaxRetries is how often a request is repeated.
func TestMaxRetries(t *testing.T) {
	for retries, want := range map[int]int{-1: 1, 0: 4, 1: 2} {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, false)
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: http.StatusServiceUnavailable, Times: -1})
			asked := w.fromNow()
			p := w.open(t, func(o *plexauth.Options) { o.MaxRetries = retries })
			require.ErrorIs(t, errOf(p.Account(t.Context())), plexauth.ErrUnavailable)
			assert.Len(t, asked(), want)
			time.Sleep(time.Minute)
		})
	}
}

// UseServer ignores space around an id, as it gets into a form.
func TestUseServerTrims(t *testing.T) {
	w := served(t, false)
	servers, err := w.Servers(t.Context())
	require.NoError(t, err)
	require.NoError(t, errOf(w.UseServer(t.Context(), " "+servers[0].MachineID+"\n")))
	assert.Equal(t, servers[0].MachineID, mustSettings(t, w.PlexAuth).MachineID)
}

// An origin that is no URL is an error of New.
func TestOriginIsNoURL(t *testing.T) {
	_, err := plexauth.New(plexauth.Options{Product: "Test", TrustedOrigins: []string{"https://[::1"}})
	require.ErrorContains(t, err, "TrustedOrigins")
}

// An error of the store that a call meets twice is said once, and is found by Is and As.
func TestStoreErrorIsSaidOnce(t *testing.T) {
	for name, call := range map[string]func(context.Context, *plexauth.PlexAuth) error{
		"Inspect":   func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.Inspect(ctx)) },
		"UseServer": func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.UseServer(ctx, "box")) },
		"SignOut":   func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.SignOut(ctx)) },
	} {
		for from := range 4 { // how often the store is read before it fails
			synctest.Test(t, func(t *testing.T) {
				w := served(t, true)
				reads := 0
				p := w.open(t, withStore(w.hooked(hooks{beforeLoad: func(context.Context) error {
					if reads++; reads <= from {
						return nil
					}
					return &fs.PathError{Op: "read", Path: "TEST_path", Err: errDisk}
				}})))
				err := call(t.Context(), p)
				if reads <= from {
					return
				}
				require.ErrorIs(t, err, plexauth.ErrStore, name)
				require.ErrorIs(t, err, errDisk, name)
				var cause *fs.PathError
				require.ErrorAs(t, err, &cause, name)
				assert.Equal(t, 1, strings.Count(err.Error(), "TEST_path"), "%s, from read %d: %s", name, from, err)
			})
		}
	}
}
