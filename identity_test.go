package plexauth_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G1: a device key takes over an identifier under which another profile's token lives.
// That token keeps it, whatever is started and cancelled afterwards, and no new login
// gets it.
func TestIdentifierStaysWithItsToken(t *testing.T) {
	for name, begin := range map[string]func(w *world) *plexauth.PlexAuth{
		"on the same profile": func(w *world) *plexauth.PlexAuth { return w.PlexAuth },
		"on a third one":      func(w *world) *plexauth.PlexAuth { return w.Instance("third") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
				moved := w.Instance("moved")
				w.signIn(t, moved, w.alice, plexauth.PinOptions{})
				before := mustSettings(t, w.PlexAuth)
				require.NoError(t, errOf(moved.UseDeviceKey(t.Context())))

				p := begin(w)
				time.Sleep(time.Minute)
				require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
				require.NoError(t, p.Cancel(t.Context()))
				after := mustSettings(t, w.PlexAuth)
				assert.Equal(t, before.ClientID, after.ClientID)
				assert.True(t, before.AccountToken.Equal(after.AccountToken))
				require.NoError(t, errOf(w.Verify(t.Context())))

				w.signIn(t, p, w.bob, plexauth.PinOptions{})
				next := mustSettings(t, p).ClientID
				assert.NotEqual(t, before.ClientID, next)
				w.signIn(t, w.Instance("fourth"), w.alice, plexauth.PinOptions{})
				assert.Equal(t, next, mustSettings(t, w.Instance("fourth")).ClientID, "one for all new logins")
				for _, p := range []*plexauth.PlexAuth{w.PlexAuth, moved, p} {
					require.NoError(t, errOf(p.Verify(t.Context())))
				}
				require.NoError(t, errOf(moved.Refresh(t.Context())))
			})
		})
	}
}

// G1, G23: a PIN that was replaced, was cancelled or has expired can still be
// approved. That takes nothing from the login that came after it.
func TestPINsShareNoKey(t *testing.T) {
	for name, row := range map[string]struct {
		before func(w *world, t *testing.T)
		drop   func(w *world, t *testing.T)
	}{
		"replaced": {drop: func(*world, *testing.T) {}},
		"cancelled": {drop: func(w *world, t *testing.T) {
			require.NoError(t, w.Cancel(t.Context()))
		}},
		"forgotten": {drop: func(w *world, t *testing.T) {
			require.NoError(t, errOf(w.Disconnect(t.Context())))
		}},
		"replaced, over a dead login": {
			before: func(w *world, t *testing.T) {
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.Revoke(w.alice)
				require.Error(t, errOf(w.Verify(t.Context())))
			},
			drop: func(*world, *testing.T) {},
		},
		"cancelled, over a dead login": {
			before: func(w *world, t *testing.T) {
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.Revoke(w.alice)
				require.Error(t, errOf(w.Verify(t.Context())))
			},
			drop: func(w *world, t *testing.T) { require.NoError(t, w.Cancel(t.Context())) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deviceKey)
				if row.before != nil {
					row.before(w, t)
				}
				old, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
				require.NoError(t, err)
				time.Sleep(time.Minute)
				row.drop(w, t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				require.NoError(t, w.plex.Approve(old.Code, w.bob))
				require.NoError(t, errOf(w.Refresh(t.Context())))
				time.Sleep(8 * day)
				a, err := w.Account(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "alice", a.Username)
			})
		})
	}
}

// G1: a device key takes over the program's own identifier, too. The logins of other
// profiles use the store's identifier then.
func TestProgramsIdentifierIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *plexauth.Options) { o.ClientID = "my-own-id" })
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		time.Sleep(time.Minute)
		require.NoError(t, errOf(w.UseDeviceKey(t.Context())))
		ids := map[string]bool{}
		for _, p := range []*plexauth.PlexAuth{w.Instance("second"), w.Instance("third")} {
			w.signIn(t, p, w.alice, plexauth.PinOptions{})
			ids[mustSettings(t, p).ClientID] = true
		}
		assert.Len(t, ids, 1)
		assert.NotContains(t, ids, "my-own-id")
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.Instance("second"), w.Instance("third")} {
			require.NoError(t, errOf(p.Verify(t.Context())))
		}
		require.NoError(t, errOf(w.Refresh(t.Context())))
	})
}

// G1: there is one identifier over any number of processes and restarts, saved before
// the first request.
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

// G1: processes that start together on an empty store agree on one identifier. Two
// empty stores have different ones.
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

// G1: a token and a PIN keep the identifier they were made under when the program
// brings one of its own.
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

// G1: when the document's identifier changes, a profile keeps the one that its token
// was made under.
func TestIdentifierOfOtherProfiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		theirs := w.plex.IssueToken(w.bob, "their-id")
		put(t, w.store, `{"client_id":"their-id","instances":{"P1":{"account_token":"`+theirs+`"},"P2":{"account_token":""},"P3":{"account_token":"TEST_x","client_id":"own-id"}}}`)
		p := w.open(t, func(o *plexauth.Options) { o.ClientID = "program-id" })
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		assert.Equal(t, "program-id", mustSettings(t, p).ClientID)
		assert.Equal(t, "their-id", mustSettings(t, p.Instance("P1")).ClientID)
		assert.Equal(t, "program-id", mustSettings(t, p.Instance("P2")).ClientID, "nothing was made under the old one")
		assert.Equal(t, "own-id", mustSettings(t, p.Instance("P3")).ClientID)
		s, err := p.Instance("P1").Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", s.User)
	})
}

// A token that was stored without an identifier gets one. A login that comes in
// between replaces both, not one of them.
func TestTokenWithoutIdentifier(t *testing.T) {
	w := newWorld(t)
	put(t, w.store, `{"account_token":"TEST_first"}`)
	another := func() { put(t, w.store, `{"client_id":"second-client","account_token":"TEST_second"}`) }
	store := w.hooked(hooks{afterLoad: once(another)})
	wire := &recordingTransport{}
	p := w.open(t, func(o *plexauth.Options) { o.Store, o.HTTPClient = store, &http.Client{Transport: wire} })
	resp, err := p.Transport(wire).RoundTrip(request(t, "GET", "https://plex.tv/a", nil))
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, resp.Body)
	assert.Equal(t, "TEST_second second-client", wire.last().Header.Get("X-Plex-Token")+" "+wire.last().Header.Get("X-Plex-Client-Identifier"))

	put(t, w.store, `{"account_token":"TEST_first"}`)
	store.set(hooks{afterLoad: once(another)})
	_, _ = p.HomeUsers(t.Context())
	assert.Equal(t, "TEST_second second-client", wire.last().Header.Get("X-Plex-Token")+" "+wire.last().Header.Get("X-Plex-Client-Identifier"))
}

// G2: headers are exact, and safe to send whatever the product or the host is called.
func TestHeaders(t *testing.T) {
	names := map[string]string{
		"plain": "My App", "curly": "Jesse’s “Mac”", "CJK": "客厅电视", "injection": "App\r\nX-Evil: 1", "long": strings.Repeat("é", 5000),
		"broken": "App \xff\xfe name", "NUL": "App\x00", "nbsp control": "App\u0085x", "quotes": `"App"`,
	}
	for name, value := range names {
		t.Run(name, func(t *testing.T) {
			var seen []http.Header
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Header)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(201)
				io.WriteString(w, `{"id":1,"code":"ABCD","expiresIn":900}`)
			}))
			defer srv.Close()
			p, err := plexauth.New(plexauth.Options{
				Product: value, Version: value, Platform: value, PlatformVersion: value, Device: value, DeviceName: value, Model: value, BaseURL: srv.URL,
			})
			require.NoError(t, err)
			_, err = p.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			h := seen[0]
			assert.Equal(t, []string{"application/json"}, h["Accept"], "exactly, or plex.tv answers XML")
			for _, field := range []string{"Product", "Version", "Platform", "Platform-Version", "Device", "Device-Name", "Model", "Client-Identifier"} {
				v := h["X-Plex-"+field]
				require.Len(t, v, 1, field)
				assert.NotEmpty(t, v[0])
				assert.LessOrEqual(t, len(v[0]), 255)
				assert.Equal(t, strings.ToValidUTF8(v[0], ""), v[0])
			}
			assert.Empty(t, h["X-Evil"])
			assert.Empty(t, h["X-Plex-Token"])
		})
	}
}

// G2: the library fills in the parts of the identity that the program leaves out.
func TestIdentityIsComplete(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	for _, r := range w.plex.Requests() {
		for _, field := range []string{"Product", "Version", "Platform", "Device", "Device-Name", "Client-Identifier"} {
			assert.NotEmpty(t, r.Header.Get("X-Plex-"+field), "%s %s", r.Path, field)
		}
	}
}
