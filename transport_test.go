package plexauth_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G14: the account token goes to plex.tv over https, the server token to the saved
// server's exact origin, and nothing to any other host.
func TestTransport(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	put(t, w.store, strings.Replace(w.doc(t), "{", `{"server_url":"https://Plex.Example.org:443/base/","machine_id":"m","pms_token_server":"https://Plex.Example.org:443/base","pms_token":"TEST_server-token",`, 1))
	account := mustSettings(t, w.PlexAuth).AccountToken.Secret()
	wire := &recordingTransport{}
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

// Without a login, a request to plex.tv fails and closes its body. Other hosts are
// reached. Nothing is stored.
func TestTransportNotConnected(t *testing.T) {
	w := newWorld(t)
	wire := &recordingTransport{}
	c := http.Client{Transport: w.Transport(wire)}
	body := &recordedBody{Reader: strings.NewReader("x")}
	_, err := c.Post("https://plex.tv/", "text/plain", body)
	require.ErrorIs(t, err, plexauth.ErrNotConnected)
	assert.True(t, body.done, "a RoundTripper closes the body, also on errors")
	_, err = c.Get("https://elsewhere.example/")
	require.NoError(t, err)
	assert.Len(t, wire.reqs, 1)
	assert.Empty(t, w.doc(t))
}

// Requests that come while the store is being read share one read. G9: one whose context ends
// does not wait for it.
func TestTransportReadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		var reads atomic.Int64
		p := w.open(t, withStore(w.hooked(hooks{beforeLoad: func(ctx context.Context) error {
			reads.Add(1)
			return takes(1500 * time.Millisecond)(ctx)
		}})))
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { assert.NoError(t, requestCall(t.Context(), w, p)) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, requestCall(ctx, w, p), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(began))
		wg.Wait()
		assert.EqualValues(t, 1, reads.Load())
	})
}

// G22: a relink reaches every Transport, in this process at once, in another within
// two seconds. The store is not read in between.
func TestTransportFollowsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		here, there := &recordingTransport{}, &recordingTransport{}
		reads := 0
		mine := http.Client{Transport: w.Instance("default").Transport(here)}
		other := http.Client{Transport: w.open(t, withStore(w.hooked(hooks{beforeLoad: does(func() { reads++ })}))).Transport(there)}
		use := func() {
			for _, c := range []http.Client{mine, other} {
				_, err := c.Get("https://plex.tv/")
				require.NoError(t, err)
			}
		}
		for range 100 {
			use()
		}
		assert.Equal(t, 1, reads, "all of them go by one read")
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

// G10, G24: if plex.tv rejects a JWT early by its own 401, the JWT is renewed and the
// request repeated. Any other 401 is returned in full, and so is one whose request
// cannot be sent again.
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
				old := w.credentials(t).AccountToken
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
					assert.Equal(t, old, w.credentials(t).AccountToken)
					return
				}
				assert.NotEqual(t, 401, resp.StatusCode)
				assert.Equal(t, 2, w.count("PUT", "/api/v2/ping"))
				assert.NotEqual(t, old, w.credentials(t).AccountToken)
			})
		})
	}
}

// A base that breaks the rules of a RoundTripper does no harm.
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

// A Transport notices that its device was removed.
func TestTransportOfARemovedDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.forgive = "token"
		w.plex.RevokeDevice(w.credentials(t).Device.ClientID)
		get := func() *http.Request { return request(t, "GET", "https://plex.tv/api/v2/user", nil) }
		assert.Equal(t, 401, w.status(t, get()))
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.NeedsLogin)
		_, err = w.Transport(nil).RoundTrip(get())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
	})
}

// G12: a path that refuses every token costs plex.tv one exchange a minute, however
// often it is asked for.
func TestPathThatRefusesEveryToken(t *testing.T) {
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
				assert.LessOrEqual(t, w.count("POST", exchanges), 11, "one a minute")
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
		assert.Equal(t, 1, w.count("POST", exchanges), "one a minute")
		w.plex.ResetFaults()
		time.Sleep(8 * day)
		tokenOf(t, w.PlexAuth)
	})
}

// G22: a Transport notices a login that is made while it reads the store. The old data
// counts for that one request.
func TestRelinkWhileBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		wire := &recordingTransport{}
		c := &http.Client{Transport: p.Transport(wire)}
		get := func() string {
			resp, err := c.Get("https://plex.tv/api/v2/user")
			require.NoError(t, err)
			resp.Body.Close()
			return wire.last().Header.Get("X-Plex-Token")
		}
		store.set(hooks{afterLoad: once(func() { w.signIn(t, p, w.alice, plexauth.PinOptions{}) })})
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
			wire := &recordingTransport{}
			resp, err := (&http.Client{Transport: w.Transport(wire)}).Get("https://" + host + "/x")
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, goes, wire.last().Header.Get("X-Plex-Token") != "", host)
		}
	})
}

// A Transport sends nothing to its server while the store cannot be read, even after
// it has been idle.
func TestTransportRemembersItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signInNow(t)
		w.edit(t, map[string]any{"server_url": "https://10.0.0.2:32400", "machine_id": "m1", "pms_token": "TEST_pms", "pms_token_server": "https://10.0.0.2:32400"})
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		sent := false
		rt := p.Transport(roundTripFunc(func(*http.Request) (*http.Response, error) {
			sent = true
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		}))
		ask := func() error {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://10.0.0.2:32400/identity", nil)
			require.NoError(t, err)
			return errOf(rt.RoundTrip(req))
		}
		require.NoError(t, ask())
		require.True(t, sent)
		sent = false
		time.Sleep(time.Hour)
		store.set(hooks{beforeLoad: hang})
		require.ErrorIs(t, ask(), plexauth.ErrStore)
		assert.False(t, sent)
	})
}

// G24: after plex.tv's 498 the token is renewed and the request repeated, if its body
// can be sent again.
func TestTransport498(t *testing.T) {
	type body struct {
		reader io.Reader
		again  bool // it can be sent
	}
	for name, body := range map[string]func() body{
		"none":        func() body { return body{nil, true} },
		"http.NoBody": func() body { return body{http.NoBody, true} },
		"bytes":       func() body { return body{strings.NewReader("code=ABCD"), true} },
		"a stream":    func() body { return body{io.MultiReader(strings.NewReader("code=ABCD")), false} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				w.plex.Inject(plextest.Fault{Path: "/api/v2/ping", Status: 498})
				old := tokenOf(t, w.PlexAuth)
				b := body()
				req := request(t, "PUT", "https://plex.tv/api/v2/ping", b.reader)
				status := w.status(t, req)
				assert.NotEqual(t, old, tokenOf(t, w.PlexAuth), "renewed in any case")
				if b.again {
					assert.NotEqual(t, 498, status)
					assert.Equal(t, 2, w.count("PUT", "/api/v2/ping"))
				} else {
					assert.Equal(t, 498, status)
					assert.Equal(t, 1, w.count("PUT", "/api/v2/ping"))
				}
				assert.Equal(t, 1, w.count("POST", exchanges))
				assert.Empty(t, req.Header.Get("X-Plex-Token"), "the caller's request is not written to")
			})
		})
	}
}

// A request is repeated once at most. It is not if the renewal fails or the token is
// the program's own.
func TestTransport498Ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		get := func() *http.Request { return request(t, "GET", "https://plex.tv/api/v2/ping", nil) }
		w.plex.Inject(plextest.Fault{Path: "/api/v2/ping", Status: 498, Times: -1})
		asked := w.fromNow()
		assert.Equal(t, 498, w.status(t, get()))
		assert.Len(t, only(asked(), "GET", "/api/v2/ping"), 2)

		own := get()
		own.Header.Set("X-Plex-Token", tokenOf(t, w.PlexAuth))
		time.Sleep(time.Minute)
		asked = w.fromNow()
		assert.Equal(t, 498, w.status(t, own))
		assert.Len(t, asked(), 1, "neither renewed nor repeated")

		w.plex.Inject(plextest.Fault{Path: nonces, Code: 1003, Times: -1})
		asked = w.fromNow()
		assert.Equal(t, 498, w.status(t, get()))
		assert.Len(t, only(asked(), "GET", "/api/v2/ping"), 1)

		plain := newWorld(t)
		plain.signIn(t, plain.PlexAuth, plain.alice, plexauth.PinOptions{})
		plain.plex.Inject(plextest.Fault{Path: "/api/v2/ping", Status: 498})
		assert.Equal(t, 498, plain.status(t, get()))
	})
}

// A JWT without its key cannot be renewed. plex.tv's 498 reaches the program, and nothing is
// attempted that could fail.
func TestTransport498WithoutAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.credentials(t)
		put(t, w.store, jsonText(map[string]any{"client_id": b.Device.ClientID, "account_token": b.AccountToken}))
		w.PlexAuth = w.open(t, withStore(w.hooked(hooks{beforeUpdate: fails(errReadOnly)})))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/ping", Status: 498})
		assert.Equal(t, 498, w.status(t, request(t, "GET", "https://plex.tv/api/v2/ping", nil)))
		assert.NotContains(t, w.log.String(), "level=WARN")
	})
}

// A Transport finds the token that another process got, even if plex.tv has ended the
// old one.
func TestTransportFollowsAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.SetQuirks(plextest.Quirks{RefreshEndsJWT: true})
		get := func() *http.Request { return request(t, "GET", "https://plex.tv/api/v2/user", nil) }
		assert.Equal(t, 200, w.status(t, get()))
		_, err := w.open(t).Refresh(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 200, w.status(t, get()))
		_, err = w.open(t).Refresh(t.Context())
		require.NoError(t, err)
		_, err = w.Account(t.Context())
		require.NoError(t, err)
	})
}

// The request that notices a due renewal waits for it briefly. No other request does.
func TestTransportDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(6 * day)
		w.plex.Inject(plextest.Fault{Path: exchanges, Delay: 3 * time.Second})
		var wg sync.WaitGroup
		var mu sync.Mutex
		waited := map[time.Duration]int{}
		for range 50 {
			wg.Go(func() {
				began := time.Now()
				assert.Equal(t, 200, w.status(t, request(t, "GET", "https://plex.tv/api/v2/user", nil)))
				mu.Lock()
				defer mu.Unlock()
				waited[time.Since(began)]++
			})
		}
		wg.Wait()
		assert.Equal(t, map[time.Duration]int{0: 49, 800 * time.Millisecond: 1}, waited)
		old := w.credentials(t).AccountToken
		time.Sleep(3 * time.Second)
		assert.NotEqual(t, old, w.credentials(t).AccountToken, "the renewal went on")

		time.Sleep(6 * day)
		w.plex.Inject(plextest.Fault{Path: nonces, Hang: true, Times: -1})
		began := time.Now()
		assert.Equal(t, 200, w.status(t, request(t, "GET", "https://plex.tv/api/v2/user", nil)))
		assert.Equal(t, 800*time.Millisecond, time.Since(began))
		time.Sleep(10 * time.Second)
		assert.NotContains(t, w.doc(t), "leased", "the lease was given back")
	})
}

// G24: a JWT still works when it is due. A request goes on with it, although the store fails as
// the renewal begins.
func TestTransportRenewsOverAFailingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(6 * day)
		store := w.hooked(hooks{})
		store.set(hooks{beforeUpdate: func(context.Context) error {
			store.set(hooks{beforeLoad: fails(errDisk), beforeUpdate: fails(errDisk)})
			return errDisk
		}})
		w.PlexAuth = w.open(t, withStore(store))
		assert.Equal(t, 200, w.status(t, request(t, "GET", "https://plex.tv/api/v2/user", nil)))
	})
}

// Transport(nil) sends through the transport of Options.HTTPClient, which may change,
// or else through http.DefaultTransport.
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

// G2: a request to plex.tv or the media server without an Accept asks for JSON. A
// request to another host does not.
func TestTransportAccept(t *testing.T) {
	w := newWorld(t)
	put(t, w.store, `{"client_id":"my-client","account_token":"TEST_account-token","server_url":"https://plex.example.org","machine_id":"m","pms_token":"TEST_server-token","pms_token_server":"https://plex.example.org"}`)
	wire := &recordingTransport{}
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

// G13: an answer's Request is the caller's, with nothing added, even if it was
// repeated with a new token.
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
		assert.Greater(t, n, 4, "one was made once more")
	})
}

// A repeated request has the new token and its identifier, unless the program has set
// an identifier itself.
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

// G14: over plain http the server token is sent to a private address only, as dialled.
func TestTransportInClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{
			{Address: "192.168.1.5", Local: true, URI: "http://192.168.1.5:32400"},
			{Address: "plex.lan", IP: "192.168.1.9", URI: "http://plex.lan:32400", Unlisted: true},
			{Address: "plex.example.org", IP: "203.0.113.9", URI: "http://plex.example.org:32400", Unlisted: true},
			{Address: "203.0.113.7", URI: "http://203.0.113.7:32400"},
			{Address: "fd00::5", Local: true, URI: "http://[fd00::5]:32400"},
		}})
		token := w.plex.ServerToken(w.alice, box)
		base := w.plex.Transport()
		base.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.example:3128") }
		defer base.CloseIdleConnections()
		for _, c := range []struct {
			url           string
			direct, other bool // over an http.Transport, over another RoundTripper
		}{
			{"http://192.168.1.5:32400", true, true},
			{"http://[fd00::5]:32400", true, true},
			{"http://plex.lan:32400", true, false},
			{"http://plex.example.org:32400", false, false},
			{"http://203.0.113.7:32400", false, false},
		} {
			w.edit(t, map[string]any{"server_url": c.url, "pms_token": token, "pms_token_server": c.url, "machine_id": box.MachineID})
			for over, ok := range map[http.RoundTripper]bool{base: c.direct, w.plex.Client().Transport: c.other} {
				client := &http.Client{Transport: w.open(t).Transport(over)}
				asked := w.fromNow()
				resp, err := client.Get(c.url + "/library/sections")
				if ok {
					require.NoError(t, err, "%s %T", c.url, over)
					assert.Equal(t, http.StatusOK, resp.StatusCode)
					resp.Body.Close()
				} else {
					require.ErrorIs(t, err, plexauth.ErrServerToken, "%s %T", c.url, over)
					assert.NotContains(t, err.Error(), token)
					assert.Empty(t, asked(), "nothing is sent")
				}
				client.CloseIdleConnections()
			}
		}
	})
}
