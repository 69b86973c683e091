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
)

// seen records what reaches the wire, and answers 200.
type seen struct {
	mu   sync.Mutex
	reqs []*http.Request
}

func (s *seen) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reqs = append(s.reqs, r)
	rec := httptest.NewRecorder()
	return rec.Result(), nil
}

func (s *seen) last() *http.Request { return s.reqs[len(s.reqs)-1] }

// G14: the account token goes to plex.tv over https, the server token to the
// saved server's exact origin, nothing anywhere else.
func TestTransport(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	put(t, w.store, strings.Replace(w.doc(t), "{", `{"server_url":"https://Plex.Example.org:443/base/","machine_id":"m","pms_token_server":"https://Plex.Example.org:443/base","pms_token":"TEST_server-token",`, 1))
	account := mustSettings(t, w.PlexAuth).AccountToken.Secret()
	wire := &seen{}
	c := http.Client{Transport: w.open(t).Transport(wire)}
	for url, want := range map[string]string{
		"https://plex.tv/api/v2/user":                  account,
		"https://PLEX.TV/api/v2/user":                  account,
		"https://clients.plex.tv/api/v2/resources":     account,
		"https://discover.provider.plex.tv/library":    account,
		"https://plex.tv:443/":                         account,
		"https://plex.example.org/library/sections":    "TEST_server-token",
		"https://plex.example.org:443/":                "TEST_server-token",
		"http://plex.tv/api/v2/user":                   "",
		"https://plex.tv:8443/":                        "",
		"https://notplex.tv/":                          "",
		"https://plex.tv.evil.example/":                "",
		"https://1-2-3-4.abc.plex.direct:32400/":       "",
		"http://plex.example.org/":                     "",
		"https://plex.example.org:32400/":              "",
		"https://sub.plex.example.org/":                "",
		"https://elsewhere.example/?u=https://plex.tv": "",
	} {
		req, err := http.NewRequest("GET", url, nil)
		require.NoError(t, err)
		_, err = c.Do(req)
		require.NoError(t, err)
		assert.Equal(t, want, wire.last().Header.Get("X-Plex-Token"), url)
		assert.Empty(t, req.Header, "the caller's request is not changed")
		if want == "" {
			assert.Empty(t, wire.last().Header.Get("X-Plex-Client-Identifier"), "untouched: %s", url)
		} else {
			assert.Equal(t, "My App", wire.last().Header.Get("X-Plex-Product"))
			assert.NotEmpty(t, wire.last().Header.Get("X-Plex-Client-Identifier"))
		}
	}
	req, err := http.NewRequest("GET", "https://plex.tv/", nil)
	require.NoError(t, err)
	req.Header.Set("X-Plex-Token", "TEST_own")
	_, err = c.Do(req)
	require.NoError(t, err)
	assert.Equal(t, "TEST_own", wire.last().Header.Get("X-Plex-Token"), "the program's own header stays")
}

// G14: each hop of a redirect is judged by its own URL.
func TestTransportRedirect(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	var hops []string
	rt := w.Transport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
		hops = append(hops, r.URL.Host+" "+r.Header.Get("X-Plex-Token"))
		rec := httptest.NewRecorder()
		if len(hops) == 1 {
			http.Redirect(rec, r, "https://elsewhere.example/", http.StatusFound)
		}
		return rec.Result(), nil
	}))
	_, err := (&http.Client{Transport: rt}).Get("https://plex.tv/x")
	require.NoError(t, err)
	assert.Equal(t, []string{"plex.tv " + mustSettings(t, w.PlexAuth).AccountToken.Secret(), "elsewhere.example "}, hops)
}

func TestTransportNotConnected(t *testing.T) {
	w := newWorld(t)
	wire := &seen{}
	c := http.Client{Transport: w.Transport(wire)}
	body := &closed{Reader: strings.NewReader("x")}
	_, err := c.Post("https://plex.tv/", "text/plain", body)
	require.ErrorIs(t, err, plexauth.ErrNotConnected)
	assert.True(t, body.done, "a RoundTripper closes the body, also on errors")
	_, err = c.Get("https://elsewhere.example/")
	require.NoError(t, err)
	assert.Len(t, wire.reqs, 1)
}

type closed struct {
	io.Reader
	done bool
}

func (c *closed) Close() error { c.done = true; return nil }

// G22: a relink reaches every holder of a Transport, in this process at once,
// in another within two seconds; in between the store is not read again.
func TestTransportFollowsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		here, there := &seen{}, &seen{}
		reads := &countingStore{ConfigStore: w.store}
		mine := http.Client{Transport: w.Instance("default").Transport(here)}
		other := http.Client{Transport: w.open(t, func(o *plexauth.Options) { o.Store = reads }).Transport(there)}
		use := func() {
			for _, c := range []http.Client{mine, other} {
				_, err := c.Get("https://plex.tv/")
				require.NoError(t, err)
			}
		}
		for range 100 {
			use()
		}
		assert.Equal(t, 1, reads.loads)
		old := here.last().Header.Get("X-Plex-Token")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		fresh := mustSettings(t, w.PlexAuth).AccountToken.Secret()
		use()
		assert.Equal(t, fresh, here.last().Header.Get("X-Plex-Token"))
		time.Sleep(2 * time.Second)
		use()
		assert.Equal(t, fresh, there.last().Header.Get("X-Plex-Token"))
		assert.NotEqual(t, old, fresh)
		_, err := w.Disconnect(t.Context())
		require.NoError(t, err)
		_, err = mine.Get("https://plex.tv/")
		require.ErrorIs(t, err, plexauth.ErrNotConnected)
	})
}

type countingStore struct {
	plexauth.ConfigStore
	loads int
}

func (s *countingStore) Load(ctx ctx, ns string) (jsonRaw, error) {
	s.loads++
	return s.ConfigStore.Load(ctx, ns)
}
