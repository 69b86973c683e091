package plexauth_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// hop is a request as it left a Transport.
type hop struct{ method, url, token, product string }

// redirects answers with a redirect where it has one, and notes each hop.
type redirects struct {
	status int
	to     map[string]string // by URL
	hops   []hop
	silent bool // the answer does not say which request it is for
}

func (d *redirects) RoundTrip(r *http.Request) (*http.Response, error) {
	d.hops = append(d.hops, hop{r.Method, r.URL.String(), r.Header.Get("X-Plex-Token"), r.Header.Get("X-Plex-Product")})
	rec := httptest.NewRecorder()
	if to := d.to[r.URL.String()]; to != "" {
		rec.Header().Set("Location", to)
		rec.WriteHeader(d.status)
	}
	resp := rec.Result()
	if !d.silent {
		resp.Request = r
	}
	return resp, nil
}

// G14: what another host redirects to is asked for without credentials, however
// many hops later. Within one origin, and between plex.tv's API hosts, they stay.
func TestTransportHops(t *testing.T) {
	const account, server = "TEST_account-token", "TEST_server-token"
	for name, c := range map[string]struct {
		chain []string
		want  []string // the token of each hop
	}{
		"server to plex.tv":            {[]string{"https://plex.example.org/a", "https://plex.tv/api/v2/users/signout"}, []string{server, ""}},
		"server to clients.plex.tv":    {[]string{"https://plex.example.org/a", "https://clients.plex.tv/api/v2/resources"}, []string{server, ""}},
		"a foreign host to plex.tv":    {[]string{"https://posters.example/1", "https://plex.tv/api/v2/user"}, []string{"", ""}},
		"a foreign host to the server": {[]string{"https://posters.example/1", "https://plex.example.org/:/unscrobble"}, []string{"", ""}},
		"plex.tv to the server":        {[]string{"https://plex.tv/a", "https://plex.example.org/b"}, []string{account, ""}},
		"the page to the API":          {[]string{"https://app.plex.tv/a", "https://plex.tv/api/v2/user"}, []string{"", ""}},
		"another port of the server":   {[]string{"https://plex.example.org:8443/a", "https://plex.example.org/b"}, []string{"", ""}},
		"plain http to https":          {[]string{"http://plex.tv/a", "https://plex.tv/a"}, []string{"", ""}},
		"within plex.tv after another": {[]string{"https://posters.example/1", "https://plex.tv/a", "https://plex.tv/b", "https://clients.plex.tv/c"}, []string{"", "", "", ""}},
		"away and back":                {[]string{"https://plex.tv/a", "https://posters.example/1", "https://plex.tv/b"}, []string{account, "", ""}},
		"within the server":            {[]string{"https://plex.example.org/a", "https://PLEX.example.org:443/b"}, []string{server, server}},
		"within plex.tv":               {[]string{"https://plex.tv/a", "https://clients.plex.tv/b", "https://plex.tv/c"}, []string{account, account, account}},
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			for _, method := range []string{"GET", "DELETE"} {
				w := newWorld(t)
				put(t, w.store, `{"client_id":"my-client","account_token":"`+account+`","server_url":"https://plex.example.org","machine_id":"m","pms_token":"`+server+`","pms_token_server":"https://plex.example.org"}`)
				wire := &redirects{status: status, to: map[string]string{}}
				for i, u := range c.chain[1:] {
					wire.to[c.chain[i]] = u
				}
				resp, err := (&http.Client{Transport: w.Transport(wire)}).Do(request(t, method, c.chain[0], nil))
				require.NoError(t, err)
				resp.Body.Close()
				require.Len(t, wire.hops, len(c.chain), name)
				for i, h := range wire.hops {
					assert.Equal(t, c.want[i], h.token, "%s: %d %s, hop %d", name, status, method, i)
					assert.Equal(t, c.want[i] != "", h.product != "", "%s: the identity goes with the token", name)
				}
			}
		}
	}
}

// G14: a base that does not say whose answer a redirect is changes nothing of that.
func TestTransportHopsOverACarelessBase(t *testing.T) {
	w := newWorld(t)
	put(t, w.store, `{"client_id":"my-client","account_token":"TEST_account-token"}`)
	wire := &redirects{status: http.StatusFound, silent: true, to: map[string]string{
		"https://posters.example/1": "https://plex.tv/a", "https://plex.tv/b": "https://plex.tv/c",
	}}
	c := &http.Client{Transport: w.Transport(wire)}
	for _, u := range []string{"https://posters.example/1", "https://plex.tv/b"} {
		resp, err := c.Get(u)
		require.NoError(t, err)
		resp.Body.Close()
	}
	var tokens []string
	for _, h := range wire.hops {
		tokens = append(tokens, h.token)
	}
	assert.Equal(t, []string{"", "", "TEST_account-token", "TEST_account-token"}, tokens)
}

// A hop without credentials is made although the profile has no login to add.
func TestTransportHopWithoutLogin(t *testing.T) {
	w := newWorld(t)
	wire := &redirects{status: http.StatusFound, to: map[string]string{"https://posters.example/1": "https://plex.tv/a"}}
	resp, err := (&http.Client{Transport: w.Transport(wire)}).Get("https://posters.example/1")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Len(t, wire.hops, 2)
}

// G13: the request of an answer is the caller's, with nothing added, also where it
// was made once more with a new token.
func TestRequestOfTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		put(t, w.store, strings.Replace(w.doc(t), "{", `{"server_url":"https://plex.example.org","machine_id":"m","pms_token":"TEST_server-token","pms_token_server":"https://plex.example.org",`, 1))
		n := 0
		rt := w.Transport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			if n++; r.URL.Path == "/refused" && n == 1 {
				rec.WriteHeader(498)
			}
			resp := rec.Result()
			resp.Request = r
			return resp, nil
		}))
		for _, u := range []string{"https://plex.tv/refused", "https://plex.tv/a", "https://plex.example.org/b", "https://elsewhere.example/c"} {
			req := request(t, "GET", u, nil)
			resp, err := rt.RoundTrip(req)
			require.NoError(t, err)
			assert.Same(t, req, resp.Request, u)
			assert.Equal(t, http.Header{"Accept": {"application/json"}}, req.Header, u)
		}
		assert.Equal(t, 5, n)
	})
}

// A request that is made once more has the new token with the identifier that it
// was made under, unless the program has set one itself.
func TestRepeatedWithOneIdentity(t *testing.T) {
	for name, own := range map[string]string{"ours": "", "the program's": "my-own-id"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				old := mustSettings(t, w.PlexAuth)
				var sent []http.Header
				rt := w.Transport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
					rec := httptest.NewRecorder()
					if sent = append(sent, r.Header); len(sent) == 1 {
						other := w.open(t) // signs in without a device key
						w.signIn(t, other, w.alice, plexauth.PinOptions{})
						rec.WriteHeader(http.StatusUnauthorized)
					}
					return rec.Result(), nil
				}))
				req := request(t, "PUT", "https://plex.tv/api/v2/ping", strings.NewReader("x=1"))
				if own != "" {
					req.Header.Set("X-Plex-Client-Identifier", own)
				}
				resp, err := rt.RoundTrip(req)
				require.NoError(t, err)
				assert.Equal(t, 200, resp.StatusCode)
				require.Len(t, sent, 2)
				now := mustSettings(t, w.PlexAuth)
				require.NotEqual(t, old.ClientID, now.ClientID)
				for i, s := range []plexauth.Settings{old, now} {
					assert.Equal(t, s.AccountToken.Secret(), sent[i].Get("X-Plex-Token"))
					want := s.ClientID
					if own != "" {
						want = own
					}
					assert.Equal(t, want, sent[i].Get("X-Plex-Client-Identifier"))
				}
			})
		})
	}
}

// Transport(nil) sends as Options.HTTPClient does, which may change, and else as
// http.DefaultTransport does; also where the client's transport is that very one.
func TestTransportWithoutBase(t *testing.T) {
	saved := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = saved })
	by := ""
	way := func(name string) http.RoundTripper {
		return roundTripFunc(func(r *http.Request) (*http.Response, error) {
			by = name
			return httptest.NewRecorder().Result(), nil
		})
	}
	hc := &http.Client{Transport: way("first")}
	w := newWorld(t, func(o *plexauth.Options) { o.HTTPClient = hc })
	put(t, w.store, `{"client_id":"my-client","account_token":"TEST_account-token","server_url":"https://plex.example.org","machine_id":"m","pms_token":"TEST_server-token","pms_token_server":"https://plex.example.org"}`)
	http.DefaultTransport = way("default")
	rt := w.Transport(nil)
	for _, c := range []struct {
		set  http.RoundTripper
		want string
	}{{hc.Transport, "first"}, {way("second"), "second"}, {nil, "default"}, {rt, "default"}} {
		hc.Transport = c.set
		for _, u := range []string{"https://plex.tv/a", "https://plex.example.org/b", "https://elsewhere.example/c"} {
			by = ""
			resp, err := rt.RoundTrip(request(t, "GET", u, nil))
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, c.want, by, u)
		}
	}
	none := w.open(t, func(o *plexauth.Options) { o.HTTPClient = nil }).Transport(nil)
	resp, err := none.RoundTrip(request(t, "GET", "https://plex.tv/a", nil))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "default", by)
}

// G2: plex.tv and the media server are asked for JSON where the request has no
// Accept of its own. Another host is not.
func TestTransportAccept(t *testing.T) {
	w := newWorld(t)
	put(t, w.store, `{"client_id":"my-client","account_token":"TEST_account-token","server_url":"https://plex.example.org","machine_id":"m","pms_token":"TEST_server-token","pms_token_server":"https://plex.example.org"}`)
	wire := &seen{}
	rt := w.Transport(wire)
	for u, ours := range map[string]bool{"https://plex.tv/a": true, "https://discover.provider.plex.tv/a": true, "https://plex.example.org/b": true, "https://elsewhere.example/c": false} {
		for _, accept := range []string{"", "text/plain", "application/xml, */*"} {
			req, want := request(t, "GET", u, nil), []string{accept}
			req.Header.Del("Accept")
			switch {
			case accept != "":
				req.Header.Set("Accept", accept)
			case ours:
				want = []string{"application/json"}
			default:
				want = nil
			}
			resp, err := rt.RoundTrip(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, want, wire.last().Header["Accept"], u)
		}
	}
}

// G23: a cookie that plex.tv sets for one account goes along with no request of
// another, nor into the caller's jar.
func TestNoCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		w := newWorld(t)
		p := w.open(t, func(o *plexauth.Options) {
			o.HTTPClient = &http.Client{Jar: jar, Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				assert.Empty(t, r.Cookies(), "%s %s", r.Method, r.URL.Path)
				resp, err := w.plex.Client().Transport.RoundTrip(r)
				if err == nil {
					resp.Header.Add("Set-Cookie", "session=one; Path=/; Domain=plex.tv; Secure")
				}
				return resp, err
			})}
		})
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		w.signIn(t, p.Instance("PLEX-P01"), w.bob, plexauth.PinOptions{})
		_, err = p.Servers(t.Context())
		require.NoError(t, err)
		_, err = p.SignOut(t.Context())
		require.NoError(t, err)
		assert.Empty(t, jar.Cookies(request(t, "GET", "https://plex.tv/", nil).URL))
	})
}

// A token that stands in the store without an identifier gets one, and both are of
// one moment: a login that comes between them is not torn apart.
func TestIdentifierForATokenByHand(t *testing.T) {
	w := newWorld(t)
	put(t, w.store, `{"account_token":"TEST_first"}`)
	store := &betweenStore{ConfigStore: w.store}
	store.after = func() {
		put(t, w.store, `{"client_id":"second-client","account_token":"TEST_second"}`)
	}
	wire := &seen{}
	p := w.open(t, func(o *plexauth.Options) { o.Store, o.HTTPClient = store, &http.Client{Transport: wire} })
	resp, err := p.Transport(wire).RoundTrip(request(t, "GET", "https://plex.tv/a", nil))
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, resp.Body)
	assert.Equal(t, "TEST_second second-client", wire.last().Header.Get("X-Plex-Token")+" "+wire.last().Header.Get("X-Plex-Client-Identifier"))

	put(t, w.store, `{"account_token":"TEST_first"}`)
	store.after = func() {
		put(t, w.store, `{"client_id":"second-client","account_token":"TEST_second"}`)
	}
	_, _ = p.HomeUsers(t.Context())
	assert.Equal(t, "TEST_second second-client", wire.last().Header.Get("X-Plex-Token")+" "+wire.last().Header.Get("X-Plex-Client-Identifier"))
}
