package plexauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// twelve returns eleven silent addresses and a good one, which is the last.
func twelve(good plextest.Connection) []plextest.Connection {
	var all []plextest.Connection
	for i := range 11 {
		c := plextest.Connection{Address: fmt.Sprintf("10.9.0.%d", i+1), Local: true, BlackHole: true}
		switch {
		case i%4 == 1:
			c.Address, c.Local = fmt.Sprintf("203.0.113.%d", 100+i), false
		case i%4 == 2:
			c.Address, c.Local, c.Relay, c.Port = fmt.Sprintf("198.51.100.%d", i), false, true, 8443
		case i%4 == 3:
			c.Address = fmt.Sprintf("fd00::%d", i)
		}
		all = append(all, c)
	}
	return append(all, good)
}

// G25: one good address among eleven silent ones is found in under five seconds, with
// TLS verified.
func TestTwelveAddresses(t *testing.T) {
	for name, good := range map[string]plextest.Connection{
		"local":  {Address: "192.168.1.5", Local: true},
		"remote": {Address: "203.0.113.7", Latency: 1500 * time.Millisecond},
		"slow":   {Address: "203.0.113.7", Latency: 3900 * time.Millisecond},
		"relay":  {Address: "198.51.100.9", Port: 8443, Relay: true},
		"own":    {Address: "plex.example.org", Port: 443},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, true)
				box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: twelve(good)})
				start := time.Now()
				s, err := w.Inspect(t.Context())
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(start), 4*time.Second)
				assert.Equal(t, box.Connections[11].URI, s.ServerURL)
				assert.True(t, s.VerifySSL)
			})
		})
	}
}

// G25: a better kind of address is waited for, but not for long.
func TestTiers(t *testing.T) {
	const ms = time.Millisecond
	local := func(d time.Duration) plextest.Connection {
		return plextest.Connection{Address: "192.168.1.5", Local: true, Latency: d}
	}
	remote := func(d time.Duration) plextest.Connection {
		return plextest.Connection{Address: "203.0.113.7", Latency: d}
	}
	relay := func(d time.Duration) plextest.Connection {
		return plextest.Connection{Address: "198.51.100.9", Relay: true, Latency: d}
	}
	inner := func(d time.Duration) plextest.Connection {
		return plextest.Connection{Address: "172.18.0.3", Local: true, Latency: d}
	}
	broken := func(d time.Duration) plextest.Connection {
		return plextest.Connection{Address: "192.168.1.5", Local: true, BadCert: true, Latency: d}
	}
	for _, c := range []struct {
		name  string
		all   []plextest.Connection
		want  int // index; the URI of it
		takes time.Duration
	}{
		{"a remote one is a little faster", []plextest.Connection{remote(0), local(5 * ms)}, 1, 5 * ms},
		{"a remote one is much faster", []plextest.Connection{remote(0), local(1200 * ms)}, 0, time.Second},
		{"the relay is a second faster", []plextest.Connection{relay(0), remote(1500 * ms)}, 1, 1500 * ms},
		{"then a local one comes in", []plextest.Connection{relay(0), remote(1500 * ms), local(2400 * ms)}, 2, 2400 * ms},
		{"the relay alone answers", []plextest.Connection{relay(0), {Address: "203.0.113.7", BlackHole: true}}, 0, 2 * time.Second},
		{"inside a container comes last", []plextest.Connection{inner(0), local(20 * ms)}, 1, 20 * ms},
		{"but before a remote one", []plextest.Connection{remote(0), inner(20 * ms)}, 1, 20 * ms},
		{"plain http would hide a broken https", []plextest.Connection{broken(0), remote(0)}, 1, 0},
		{"which may be seen a little later", []plextest.Connection{broken(20 * ms), remote(0)}, 1, 20 * ms},
		{"not in the order of the list", []plextest.Connection{relay(0), remote(0), local(0)}, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, true)
				box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: c.all})
				start := time.Now()
				s, err := w.Inspect(t.Context())
				require.NoError(t, err)
				assert.Equal(t, c.takes, time.Since(start))
				assert.Equal(t, box.Connections[c.want].URI, s.ServerURL)
			})
		})
	}
}

// G14: plain http in the server's own network is used if https cannot connect, but not
// if its certificate is bad.
func TestPlainHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.plex.SetRebindProtection(true)
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "http://192.168.1.5:32400", s.ServerURL)

		w.edit(t, map[string]any{"server_url": "", "pms_token": ""})
		w.plex.SetRebindProtection(false)
		w.plex.MoveServer(box, plextest.Connection{Address: "192.168.1.5", Local: true, BadCert: true})
		s, err = w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "http://192.168.1.5:32400 answers, but its https has a bad certificate")
		assert.Empty(t, s.ServerURL)
		assert.True(t, s.ServerToken.IsZero())
		r, err := w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Empty(t, r.MachineID, "the server is not reported as a wrong one")
		require.Len(t, r.Addresses, 2)
		assert.Error(t, r.Addresses[1].Err)
		assert.False(t, r.Addresses[1].OK)
	})
}

// Addresses that cannot work are not tried, and the error names all addresses.
func TestUnusableAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{
			{Address: "0.0.0.0", Local: true},
			{Address: "169.254.7.7", Local: true},
			{Address: "fe80::7", Local: true},
			{Address: "192.168.1.5", Local: true, URI: "http://192.168.1.5:32400"},
			{Address: "203.0.113.7", URI: "http://203.0.113.7:32400"},
			{Address: "172.17.0.2", Local: true, BlackHole: true},
			{Address: "172.24.0.2", Local: true, Refused: true},
		}})
		_, err := w.UseServer(t.Context(), box.MachineID)
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		for _, c := range box.Connections {
			assert.ErrorContains(t, err, c.URI)
		}
		tried := map[string]bool{}
		for _, r := range w.mediaRequests() {
			tried[r.Host] = true
		}
		assert.Empty(t, tried, "what was tried did not answer")
		r, err := w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		require.Len(t, r.Addresses, 7)
		for _, a := range r.Addresses {
			inner := strings.Contains(a.URL, "172-")
			assert.Equal(t, inner, a.Err != nil, a.URL)
			assert.Equal(t, !inner, strings.HasPrefix(a.Finding, "not tried"), a.Finding)
		}
	})
}

// At most forty of a server's addresses are tried.
func TestTooManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		var all []plextest.Connection
		for i := range 500 {
			all = append(all, plextest.Connection{Address: fmt.Sprintf("203.0.%d.%d", i/250, i%250), BlackHole: true})
		}
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: append(all, lan)})
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		tried := 0
		for _, r := range w.mediaRequests() {
			if r.Path == "/identity" {
				tried++
			}
		}
		assert.LessOrEqual(t, tried, 40)
	})
}

// G9: no dial and no connection of a probe outlives it.
func TestProbeLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: twelve(lan)})
		base := w.plex.Transport()
		defer base.CloseIdleConnections()
		dial := base.DialContext
		var dials, conns atomic.Int32
		base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, "plex.tv:443") {
				return dial(ctx, network, addr)
			}
			dials.Add(1)
			defer dials.Add(-1)
			var c net.Conn
			var err error
			if strings.HasPrefix(addr, "203-0-113-101.") { // takes the connection, and then is silent
				c, _ = net.Pipe()
			} else {
				c, err = dial(ctx, network, addr)
			}
			if err == nil {
				conns.Add(1)
				c = &countedConn{Conn: c, open: &conns}
			}
			return c, err
		}
		p := w.open(t, withTransport(base))
		for _, f := range []func(context.Context) error{
			func(ctx context.Context) error { return errOf(p.UseServer(ctx, box.MachineID)) },
			func(ctx context.Context) error { return errOf(p.Probe(ctx, "")) },
			func(ctx context.Context) error { return errOf(p.Probe(ctx, "10.9.0.1")) },
		} {
			_ = f(t.Context())
			synctest.Wait()
			assert.Zero(t, dials.Load())
			assert.Zero(t, conns.Load())
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_ = f(ctx)
			cancel()
			synctest.Wait()
			assert.Zero(t, dials.Load())
			assert.Zero(t, conns.Load())
		}
	})
}

// Probe reports which address answers, and whether the token is accepted there.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		_, err := w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrServerChoice)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan, {Address: "203.0.113.7", BlackHole: true}, {Address: "198.51.100.9", Relay: true}}})
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})

		anothers := w.plex.AddMediaServer(w.bob, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.7", Local: true}}})

		// No server is chosen yet, so any server is accepted.
		for _, typed := range []string{"192.168.1.5", "192.168.1.5:32400", " http://192.168.1.5:32400/ "} {
			r, err := w.Probe(t.Context(), typed)
			require.NoError(t, err, typed)
			assert.Equal(t, "http://192.168.1.5:32400", r.URL, "the certificate is for the name alone")
			assert.Equal(t, box.MachineID, r.MachineID)
			assert.NotEmpty(t, r.Version)
			assert.True(t, r.Local)
			assert.False(t, r.TokenAccepted)
		}
		r, err := w.Probe(t.Context(), "https://192.168.1.5:32400")
		require.NoError(t, err, "plex.tv lists its certificate")
		assert.Equal(t, "https://192.168.1.5:32400", r.URL)
		r, err = w.Probe(t.Context(), "https://192.168.1.7:32400")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Contains(t, r.Addresses[0].Finding, "use "+anothers.Connections[0].URI)

		_, err = w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		r, err = w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.Equal(t, box.Connections[0].URI, r.URL)
		assert.True(t, r.TokenAccepted)
		assert.False(t, r.Relay)
		require.Len(t, r.Addresses, 4, "three, one of them saved, and one plain")
		for _, a := range r.Addresses {
			assert.NotEmpty(t, a.Finding)
		}
		b, err := json.Marshal(r)
		require.NoError(t, err)
		assert.NotContains(t, string(b), mustSettings(t, w.PlexAuth).ServerToken.Secret())

		// A typed address gets no token, whether or not the server is the right one.
		asked := w.fromNow()
		r, err = w.Probe(t.Context(), "http://192.168.1.5:32400")
		require.NoError(t, err)
		assert.False(t, r.TokenAccepted)
		r, err = w.Probe(t.Context(), "https://192-168-1-6."+strings.SplitN(box.Connections[0].URI, ".", 2)[1])
		require.Error(t, err)
		assert.Empty(t, r.URL)
		for _, q := range media(asked()) {
			assert.Empty(t, q.Credential)
		}

		refused := payload(t, "pms-401.html")
		for i, f := range []plextest.Fault{
			{Status: 401, Body: refused, ContentType: "text/html"},
			{Status: 401, Body: refused, Header: http.Header{"WWW-Authenticate": {"Basic"}}},
			{Status: 401},
			{Status: 403, Header: http.Header{"X-Plex-Protocol": {"1.0"}}},
		} {
			f.Path = "/"
			w.plex.Inject(f)
			r, err = w.Probe(t.Context(), "")
			require.ErrorIs(t, err, plexauth.ErrServerToken, "%d: the server is reachable, and refuses the token", i)
			assert.Equal(t, box.Connections[0].URI, r.URL)
			assert.False(t, r.TokenAccepted)
		}
		for i, f := range []plextest.Fault{
			{Status: 401, Header: http.Header{"WWW-Authenticate": {"Basic"}}},
			{Status: 401, Body: "<!DOCTYPE html><html><head><title>401 Authorization Required</title>"},
			{Status: 403},
			{Status: 403, Body: "<html><title>403 Forbidden</title>"},
		} {
			f.Path = "/"
			w.plex.Inject(f)
			_, err = w.Probe(t.Context(), "")
			require.ErrorIs(t, err, plexauth.ErrUnavailable, "%d: that was a proxy", i)
			assert.NotErrorIs(t, err, plexauth.ErrServerToken, "%d", i)
		}

		for _, bad := range []string{"ftp://x", "http://", "a b", "://", "http://[::1", "\x00", "https://u@plex"} {
			_, err = w.Probe(t.Context(), bad)
			require.Error(t, err, bad)
		}
	})
}

// Probe reports on all addresses that fail soon, though the best has answered. Inspect
// does not wait for them.
func TestProbeShowsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{
			{Address: "192.168.1.5", Local: true, Latency: 2 * time.Millisecond}, {Address: "203.0.113.7", BadCert: true, Latency: 20 * time.Millisecond},
			{Address: "203.0.113.8", Refused: true}, {Address: "203.0.113.9", BlackHole: true}, {Address: "198.51.100.9", Relay: true, Latency: 80 * time.Millisecond},
		}})
		start := time.Now()
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2*time.Millisecond, time.Since(start))
		start = time.Now()
		r, err := w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.Equal(t, time.Second+2*time.Millisecond, time.Since(start))
		assert.True(t, r.TokenAccepted)
		want := []string{"answers", "the certificate cannot be verified", "nothing listens there", "not waited for, since another address answers", "answers"}
		require.Len(t, r.Addresses, len(want))
		for i, a := range r.Addresses {
			assert.Contains(t, a.Finding, want[i], a.URL)
		}
	})
}

// The relay is used only if no direct address answers.
func TestProbeRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "198.51.100.9", Relay: true}, {Address: "203.0.113.7", Refused: true}}})
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, box.Connections[0].URI, s.ServerURL)
		r, err := w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.True(t, r.Relay, "which is slow, and should be seen")

		// G25: it is the last resort, saved or not. The first direct address that
		// answers replaces it.
		w.plex.MoveServer(box, box.Connections[0], lan)
		r, err = w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.Equal(t, box.Connections[1].URI, r.URL)
		assert.False(t, r.Relay)
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, box.Connections[1].URI, s.ServerURL)

		// A relay address that a person has entered stays.
		s, err = w.UseServer(t.Context(), box.Connections[0].URI)
		require.NoError(t, err)
		assert.Equal(t, box.Connections[0].URI, s.ServerURL)
		r, err = w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.Equal(t, s.ServerURL, r.URL)
		assert.False(t, r.Relay)
	})
}

// G25: a saved server is found while plex.tv is silent. Without one the call ends in
// time.
func TestProbeWithoutPlexTV(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Hang: true, Times: -1})
		start := time.Now()
		r, err := w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.Equal(t, 4*time.Second, time.Since(start))
		assert.Equal(t, box.Connections[0].URI, r.URL)
		assert.True(t, r.TokenAccepted)

		w.edit(t, map[string]any{"server_url": ""})
		start = time.Now()
		_, err = w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		require.ErrorAs(t, err, new(*plexauth.Error))
		assert.Equal(t, 10*time.Second, time.Since(start))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.Probe(ctx, "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// Another server at the probed address is named as such.
func TestProbeWrongServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		other := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		_, err := w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		r, err := w.Probe(t.Context(), "192.168.1.6")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "another media server")
		assert.Empty(t, r.URL)
		assert.Equal(t, other.MachineID, r.MachineID, "a wrong server is told from none at all")
		r, err = w.Probe(t.Context(), "192.168.1.7")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Empty(t, r.MachineID)
	})
}

// A transport with the deprecated Dial uses it, and one with neither dial function
// dials as net/http does.
func TestServerOverOldDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<MediaContainer machineIdentifier="m"/>`)
	})}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	dialled := ""
	//lint:ignore SA1019 this is what is tested
	old := &http.Transport{Dial: func(network, addr string) (net.Conn, error) {
		dialled = addr
		return net.Dial(network, l.Addr().String())
	}}
	for rt, url := range map[*http.Transport]string{old: "http://nowhere.invalid:1", {}: "http://" + l.Addr().String()} {
		p, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: &http.Client{Transport: rt}})
		require.NoError(t, err)
		r, err := p.Probe(t.Context(), url)
		require.NoError(t, err)
		assert.Equal(t, "m", r.MachineID)
	}
	assert.Equal(t, "nowhere.invalid:1", dialled)
}

// A server's identity is read from JSON and XML.
func TestIdentityForms(t *testing.T) {
	for body, id := range map[string]string{
		payload(t, "pms-identity.xml"):                                           "5f1c0e6f2a8c4b1fae53f2bb3c1d9a7e0b6c8d42",
		payload(t, "pms-identity.json"):                                          "5f1c0e6f2a8c4b1fae53f2bb3c1d9a7e0b6c8d42",
		`{"MediaContainer":{"machineIdentifier":"m","claimed":"x","size":null}}`: "m",
		`{"MediaContainer":{"machineIdentifier":null}}`:                          "",
		`{"MediaContainer":[]}`:                                                  "",
		`{"MediaContainer":null}`:                                                "",
		`<Other machineIdentifier="m"/>`:                                         "",
		`<MediaContainer machineIdentifier="m"`:                                  "",
		``:                                                                       "",
		`null`:                                                                   "",
	} {
		p, mock := mocked(t)
		mock.RegisterResponder("GET", "https://pms.example:32400/identity", httpmock.NewStringResponder(200, body))
		r, err := p.Probe(t.Context(), "https://pms.example:32400")
		assert.Equal(t, id, r.MachineID, body)
		assert.Equal(t, id == "", err != nil, body)
	}
}
