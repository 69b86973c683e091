package plexauth_test

import (
	"context"
	"fmt"
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

// G26: each document has a login, profiles and a client identifier of its own. Two people who
// sign in with one Plex account keep their tokens.
func TestNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *plexauth.Options) { o.ClientID = "the-program" })
		one, two := w.Namespace("plex/1"), w.Namespace("plex/2")
		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
		w.signIn(t, one, w.alice, plexauth.PinOptions{})
		w.signIn(t, two, w.alice, plexauth.PinOptions{})
		w.signIn(t, two.Instance("PLEX-P01"), w.bob, plexauth.PinOptions{})

		ids := map[string]bool{}
		tokens := map[string]bool{}
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, one, two} {
			s, err := p.Verify(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
			v := mustSettings(t, p)
			ids[v.ClientID] = true
			tokens[v.AccountToken.Secret()] = true
		}
		assert.Len(t, ids, 3)
		assert.Len(t, tokens, 3)
		assert.Contains(t, ids, "the-program", "Options.ClientID is for the document of the options")
		instances, err := one.Instances(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"default"}, instances)
		assert.Equal(t, mustSettings(t, one), mustSettings(t, w.PlexAuth.Namespace("plex/2").Namespace("plex/1")))
		assert.Equal(t, mustSettings(t, w.PlexAuth), mustSettings(t, one.Namespace("")))

		require.NoError(t, errOf(one.SignOut(t.Context())))
		for p, connected := range map[*plexauth.PlexAuth]bool{one: false, two: true, two.Instance("PLEX-P01"): true, w.PlexAuth: true} {
			s, err := p.Verify(t.Context())
			assert.Equal(t, connected, s.Connected)
			assert.Equal(t, connected, err == nil, "%v", err)
		}
	})
}

// A document of Options.Namespace is the same as that of the method.
func TestNamespaceOption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, func(o *plexauth.Options) { o.Namespace, o.Instance = "plex/1", "PLEX-P01" })
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		assert.Equal(t, mustSettings(t, p), mustSettings(t, w.Namespace("plex/1").Instance("PLEX-P01")))
		assert.True(t, mustSettings(t, w.PlexAuth).AccountToken.IsZero())
		assert.Contains(t, w.log.String(), "namespace=plex/1")
	})
}

func TestNamespaceNames(t *testing.T) {
	w := newWorld(t)
	for _, good := range []string{"plex/user 1", "ünï", strings.Repeat("x", 200), "{", `"`, "default"} {
		_, err := w.Namespace(good).Status(t.Context())
		assert.NoError(t, err, good)
	}
	for _, bad := range []string{"a\nb", "\x00", "\xff", strings.Repeat("x", 201)} {
		p := w.Namespace(bad)
		calls := map[string]error{
			"Start":                errOf(p.Start(t.Context(), plexauth.PinOptions{})),
			"Finish":               errOf(p.Finish(t.Context())),
			"Wait":                 errOf(p.Wait(t.Context())),
			"Cancel":               p.Cancel(t.Context()),
			"Disconnect":           errOf(p.Disconnect(t.Context())),
			"Status":               errOf(p.Status(t.Context())),
			"Settings":             errOf(p.Settings(t.Context())),
			"Instance":             errOf(p.Instance("PLEX-P01").Status(t.Context())),
			"Options":              errOf(plexauth.New(plexauth.Options{Product: "My App", Namespace: bad})),
			"Login":                errOf(p.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })),
			"Adopt":                errOf(p.Adopt(t.Context(), plexauth.NewToken("TEST_token"), plexauth.AdoptOptions{})),
			"Verify":               errOf(p.Verify(t.Context())),
			"Refresh":              errOf(p.Refresh(t.Context())),
			"SignOut":              errOf(p.SignOut(t.Context())),
			"UseDeviceKey":         errOf(p.UseDeviceKey(t.Context())),
			"Token":                errOf(p.Token(t.Context())),
			"Account":              errOf(p.Account(t.Context())),
			"Instances":            errOf(p.Instances(t.Context())),
			"HomeUsers":            errOf(p.HomeUsers(t.Context())),
			"SwitchHomeUser":       errOf(p.SwitchHomeUser(t.Context(), plexauth.HomeUser{UUID: "TEST-uuid"}, "")),
			"Servers":              errOf(p.Servers(t.Context())),
			"Inspect":              errOf(p.Inspect(t.Context())),
			"UseServer":            errOf(p.UseServer(t.Context(), "192.168.1.5:32400")),
			"Probe":                errOf(p.Probe(t.Context(), "http://192.168.1.5:32400")),
			"Watch":                p.Watch(t.Context(), nil),
			"a request to plex.tv": errOf(p.Transport(nil).RoundTrip(mustRequest(t, "https://plex.tv/api/v2/user"))),
		}
		for name, err := range calls {
			assert.ErrorContains(t, err, "Namespace", "%s of %q", name, bad)
		}
	}
	assert.Empty(t, w.plex.Requests())
}

func mustRequest(t *testing.T, url string) *http.Request {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	return req
}

// G26: a server that serves one person after the other keeps nothing of them.
func TestIdleDocumentsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 30 {
			p := w.Namespace(fmt.Sprint("plex/", i))
			w.signIn(t, p, w.alice, plexauth.PinOptions{})
			resp, err := p.Transport(nil).RoundTrip(mustRequest(t, "https://plex.tv/api/v2/user"))
			require.NoError(t, err)
			resp.Body.Close()
			_ = (&browser{t, p.Handler(ctx)}).do(http.MethodGet, "/status", "")
		}
		cancel()
		time.Sleep(time.Minute)
		assert.Zero(t, plexauth.ProfilesInUse(w.PlexAuth))
	})
}

// G12: a 429 that one person gets slows down the requests of all.
func TestRateLimitIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, two := w.Namespace("plex/1"), w.Namespace("plex/2")
		w.signIn(t, one, w.alice, plexauth.PinOptions{})
		w.signIn(t, two, w.bob, plexauth.PinOptions{})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 429, Header: http.Header{"Retry-After": {"20"}}})
		require.ErrorIs(t, errOf(one.Verify(t.Context())), plexauth.ErrRateLimited)
		requests := len(w.plex.Requests())
		require.ErrorIs(t, errOf(two.Verify(t.Context())), plexauth.ErrRateLimited)
		assert.Len(t, w.plex.Requests(), requests, "no request was made")
		time.Sleep(20 * time.Second)
		require.NoError(t, errOf(two.Verify(t.Context())))
	})
}
