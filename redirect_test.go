package plexauth_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// hop is a request as it left a Transport.
type hop struct{ method, url, token, product string }

// redirects answers some URLs with a redirect, and keeps each hop.
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

// G14: a request that another host redirects to carries no credentials, even many hops
// later. Within one origin, and between plex.tv's API hosts, it does.
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

// G14: the same holds over a base that does not set Response.Request.
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

// A hop without credentials is made even if the profile has no login.
func TestTransportHopWithoutLogin(t *testing.T) {
	w := newWorld(t)
	wire := &redirects{status: http.StatusFound, to: map[string]string{"https://posters.example/1": "https://plex.tv/a"}}
	resp, err := (&http.Client{Transport: w.Transport(wire)}).Get("https://posters.example/1")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "https://plex.tv/a", wire.hops[len(wire.hops)-1].url)
}

// G23: a cookie that plex.tv sets is not sent with any other request, nor put into the
// caller's jar.
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

// G14: no redirect carries a token to another origin or to http.
func TestRedirects(t *testing.T) {
	for to, followed := range map[string]bool{
		"https://clients.plex.tv/api/v2/user": true,
		"https://plex.tv:443/api/v2/user":     true,
		"https://elsewhere.example/user":      false,
		"http://plex.tv/api/v2/user":          false,
		"https://plex.tv:8443/api/v2/user":    false,
		"https://plex.tv.example/api/v2/user": false,
		"https://app.plex.tv/api/v2/user":     false,
	} {
		t.Run(to, func(t *testing.T) {
			p, mock := linkedMock(t)
			seen := map[string]string{}
			mock.RegisterNoResponder(func(r *http.Request) (*http.Response, error) {
				seen[r.URL.String()] = r.Header.Get("X-Plex-Token")
				if len(seen) == 1 {
					resp := httpmock.NewStringResponse(302, "")
					resp.Header.Set("Location", to)
					return resp, nil
				}
				return httpmock.NewStringResponse(200, payload(t, "user.json")), nil
			})
			_, err := p.Verify(t.Context())
			assert.Equal(t, followed, err == nil, err)
			assert.Equal(t, followed, seen[to] == "TEST_account-token")
			if !followed {
				assert.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.NotContains(t, seen, to)
			}
		})
	}
	t.Run("no end", func(t *testing.T) {
		p, mock := linkedMock(t)
		n := 0
		mock.RegisterNoResponder(func(r *http.Request) (*http.Response, error) {
			n++
			resp := httpmock.NewStringResponse(302, "")
			resp.Header.Set("Location", "https://plex.tv/api/v2/user")
			return resp, nil
		})
		_, err := p.Verify(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.LessOrEqual(t, n, 4)
	})
}

// G14: a look follows a redirect within plex.tv's API, and no other.
func TestLookRedirected(t *testing.T) {
	for to, ok := range map[string]bool{"https://clients.plex.tv/moved": true, "http://plex.tv/moved": false, "https://elsewhere.example/moved": false} {
		p, mock := mocked(t)
		mock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
		mock.RegisterResponder("GET", pinsURL+"/373040866", httpmock.NewStringResponder(307, "").HeaderSet(http.Header{"Location": {to}}))
		mock.RegisterResponder("GET", to, jsonAnswer(200, payload(t, "pin-approved.json")))
		mock.RegisterResponder("GET", "https://plex.tv/api/v2/user", jsonAnswer(200, payload(t, "user.json")))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		s, err := p.Finish(t.Context())
		assert.Equal(t, ok, s.Connected, to)
		assert.Equal(t, ok, err == nil, to)
	}
}

// G14: a redirected look is sent with the new host's name.
func TestHostOfARedirectedLook(t *testing.T) {
	var hosts []string
	p := openOver(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
		answer := &http.Response{StatusCode: http.StatusCreated, Header: http.Header{}, Request: r}
		answer.Body = io.NopCloser(strings.NewReader(`{"id":1,"code":"ABCD"}`))
		if r.Method != http.MethodGet {
			return answer, nil
		}
		host := r.Host // net/http sends this, or else the URL's
		if host == "" {
			host = r.URL.Host
		}
		hosts = append(hosts, host)
		answer.StatusCode = http.StatusOK
		if r.URL.Host == "plex.tv" {
			answer.StatusCode = http.StatusTemporaryRedirect
			answer.Header.Set("Location", "https://clients.plex.tv/moved")
		}
		return answer, nil
	}))
	_, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	_, err = p.Finish(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"plex.tv", "clients.plex.tv"}, hosts)
}

// G14: the token does not follow a redirect to another origin.
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
