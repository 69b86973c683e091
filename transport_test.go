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

// G14: the token does not follow a redirect elsewhere.
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

// G10, G24: a JWT that plex.tv rejects by its own 401 before its time is renewed and
// the request made once more. Any other 401 is the program's to deal with, and so is
// one whose request cannot be sent again. Its body is there in full.
func TestTransport401(t *testing.T) {
	long := `{"errors":[{"code":1001,"message":"` + strings.Repeat("x", 5<<10) + `","status":401}]}`
	for name, c := range map[string]struct {
		fault plextest.Fault
		body  io.Reader
		want  string // of the answer; empty: it is made once more
	}{
		"code 1001":              {fault: plextest.Fault{Status: 401, Code: 1001}},
		"no code":                {fault: plextest.Fault{Status: 401, Body: `{"errors":[{"message":"no"}]}`}},
		"XML":                    {fault: plextest.Fault{Status: 401, Body: `<errors><error>Invalid token.</error></errors>`}},
		"with a body":            {fault: plextest.Fault{Status: 401, Code: 1001}, body: strings.NewReader("x=1")},
		"a stream":               {fault: plextest.Fault{Status: 401, Body: `{"errors":[{"code":1001}]}`}, body: io.MultiReader(strings.NewReader("x=1")), want: `{"errors":[{"code":1001}]}`},
		"another code":           {fault: plextest.Fault{Status: 401, Body: `{"errors":[{"code":1029}]}`}, want: `{"errors":[{"code":1029}]}`},
		"HTML":                   {fault: plextest.Fault{Status: 401, Body: "<html>x</html>"}, want: "<html>x</html>"},
		"empty":                  {fault: plextest.Fault{Status: 401, Body: " "}, want: " "},
		"more than is looked at": {fault: plextest.Fault{Status: 401, Body: long}, want: long},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				old := w.block(t).AccountToken
				c.fault.Path = "/api/v2/ping"
				w.plex.Inject(c.fault)
				resp, err := w.Transport(w.plex.Client().Transport).RoundTrip(request(t, "PUT", "https://plex.tv/api/v2/ping", c.body))
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				if c.want != "" {
					assert.Equal(t, 401, resp.StatusCode)
					assert.Equal(t, c.want, string(body))
					assert.Equal(t, 1, w.count("PUT", "/api/v2/ping"))
					assert.Equal(t, old, w.block(t).AccountToken)
					return
				}
				assert.NotEqual(t, 401, resp.StatusCode)
				assert.Equal(t, 2, w.count("PUT", "/api/v2/ping"))
				assert.NotEqual(t, old, w.block(t).AccountToken)
			})
		})
	}
}

// A base that is careless about what a RoundTripper returns does no harm.
func TestTransportOverACarelessBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		for _, resp := range []*http.Response{nil, {StatusCode: 401}, {StatusCode: 498}} {
			got, err := w.Transport(roundTripFunc(func(*http.Request) (*http.Response, error) { return resp, nil })).RoundTrip(request(t, "GET", "https://plex.tv/api/v2/user", nil))
			require.NoError(t, err)
			assert.Equal(t, resp, got)
		}
	})
}

// A removed device is found out by a Transport as well.
func TestTransportOfARemovedDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.forgive = "token"
		w.plex.RevokeDevice(w.block(t).Device.ClientID)
		get := func() *http.Request { return request(t, "GET", "https://plex.tv/api/v2/user", nil) }
		assert.Equal(t, 401, w.status(t, get()))
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.NeedsLogin)
		_, err = w.Transport(nil).RoundTrip(get())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
	})
}

// G12: a path that refuses every token costs plex.tv an exchange a minute, however
// often it is asked for, and whichever way.
func TestRefusedInVain(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{"498": {Status: 498}, "401": {Status: 401, Code: 1001}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				w.forgive = "token"
				fault.Path, fault.Times = "/api/v2/home/users", -1
				w.plex.Inject(fault)
				for range 10 * 60 {
					assert.Equal(t, fault.Status, w.status(t, request(t, "GET", "https://plex.tv/api/v2/home/users", nil)))
					assert.Equal(t, 200, w.status(t, request(t, "GET", "https://plex.tv/api/v2/user", nil)))
					if fault.Status == 498 {
						_, err := w.HomeUsers(t.Context())
						require.ErrorIs(t, err, plexauth.ErrTokenExpired)
					}
					time.Sleep(time.Second)
				}
				assert.InDelta(t, 10, w.count("POST", exchanges), 1)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // by the library's own requests alone
		w := newDeviceWorld(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/home/users", Status: 498, Times: -1})
		for range 60 {
			_, err := w.HomeUsers(t.Context())
			require.ErrorIs(t, err, plexauth.ErrTokenExpired)
			time.Sleep(time.Second)
		}
		assert.Equal(t, 1, w.count("POST", exchanges))
		w.plex.ResetFaults()
		time.Sleep(8 * day)
		tokenOf(t, w.PlexAuth)
	})
}

// G22: a login that is made while a Transport reads the store is not missed: what
// was read before it is good for that one request only.
func TestRelinkWhileBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &betweenStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = store })
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		wire := &seen{}
		c := &http.Client{Transport: p.Transport(wire)}
		get := func() string {
			resp, err := c.Get("https://plex.tv/api/v2/user")
			require.NoError(t, err)
			resp.Body.Close()
			return wire.last().Header.Get("X-Plex-Token")
		}
		store.after = func() { w.signIn(t, p, w.alice, plexauth.PinOptions{}) }
		get()
		assert.Equal(t, mustSettings(t, p).AccountToken.Secret(), get())
	})
}

// The account token goes to plex.tv's API, not to the page for people.
func TestTransportLeavesThePageAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		for host, goes := range map[string]bool{
			"plex.tv": true, "clients.plex.tv": true, "metadata.provider.plex.tv": true,
			"app.plex.tv": false, "notplex.tv": false, "plex.tv.example": false, "plex.tv:8443": false,
		} {
			wire := &seen{}
			resp, err := (&http.Client{Transport: w.Transport(wire)}).Get("https://" + host + "/x")
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, goes, wire.last().Header.Get("X-Plex-Token") != "", host)
		}
	})
}
