package plextest_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

func TestResources(t *testing.T) {
	h := newHousehold(t)
	box := h.srv.AddMediaServer(h.alice, plextest.MediaServer{Name: "Box", PublicAddressMatches: true, SharedWith: []*plextest.User{h.bob}, Connections: []plextest.Connection{
		{Address: "192.168.1.5", Local: true},
		{Address: "plex.example.org", Port: 443},
		{Address: "2001:db8::7"},
		{Address: "198.51.100.9", Port: 8443, Relay: true},
		{Address: "192.168.1.6", Unlisted: true},
	}})
	h.srv.AddMediaServer(h.alice, plextest.MediaServer{Name: "Asleep", Offline: true, HTTPSRequired: true})
	h.srv.AddMediaServer(h.alice, plextest.MediaServer{Name: "TV", Provides: "client,player", Connections: []plextest.Connection{{Address: "192.168.1.20", Port: 8324, URI: "http://192.168.1.20:8324", Local: true}}})
	h.srv.AddMediaServer(h.bob, plextest.MediaServer{Name: "Bob's"})

	status, body := h.a.do(t, "GET", allKinds, "")
	require.Equal(t, http.StatusOK, status)
	got := decode[[]resource](t, body)
	require.Len(t, got, 3)
	assert.Equal(t, box.MachineID, got[0].ClientIdentifier)
	assert.Regexp(t, `^[0-9a-f]{40}$`, box.MachineID)
	assert.True(t, got[0].Owned)
	assert.Nil(t, got[0].OwnerID)
	assert.True(t, got[0].Presence)
	assert.True(t, got[0].Relay)
	assert.Equal(t, h.srv.ServerToken(h.alice, box), *got[0].AccessToken)
	require.Len(t, got[0].Connections, 4)
	assert.Regexp(t, `^https://192-168-1-5\.[0-9a-f]{32}\.plex\.direct:32400$`, got[0].Connections[0].URI)
	assert.True(t, got[0].Connections[0].Local)
	assert.Equal(t, "https://plex.example.org:443", got[0].Connections[1].URI)
	assert.True(t, got[0].Connections[2].IPv6)
	assert.Regexp(t, `^https://2001-db8--7\.`, got[0].Connections[2].URI)
	assert.True(t, got[0].Connections[3].Relay)
	assert.Empty(t, got[1].Connections)
	assert.Contains(t, body, `"connections":[]`)
	assert.False(t, got[1].Presence)
	assert.True(t, got[1].HTTPSRequired)
	assert.Nil(t, got[2].AccessToken, "players have no token")
	assert.Equal(t, "http", got[2].Connections[0].Protocol)

	_, body = h.a.do(t, "GET", "/api/v2/resources", "")
	got = decode[[]resource](t, body)
	require.Len(t, got[0].Connections, 2, "relays and IPv6 addresses are listed only on request")
	assert.Equal(t, "http://192.168.1.5:32400", got[0].Connections[0].URI)

	// Kids sees the servers of the home, and bob those that are shared with him.
	_, body = h.a.as(h.srv.IssueToken(h.kid, h.a.clientID)).do(t, "GET", allKinds, "")
	got = decode[[]resource](t, body)
	assert.False(t, got[0].Owned)
	assert.True(t, got[0].Home)
	_, body = h.a.as(h.srv.IssueToken(h.bob, h.a.clientID)).do(t, "GET", allKinds, "")
	got = decode[[]resource](t, body)
	require.Len(t, got, 2)
	assert.False(t, got[0].Owned)
	assert.False(t, got[0].Home)
	assert.Equal(t, h.alice.ID, *got[0].OwnerID)
	assert.Equal(t, "alice", *got[0].SourceTitle)
	assert.Equal(t, h.srv.ServerToken(h.bob, box), *got[0].AccessToken)
	assert.True(t, got[1].Owned)

	h.srv.SetQuirks(plextest.Quirks{OwnedTokenIsAccountToken: true})
	_, body = h.a.as(h.srv.Token(h.bob, h.a.clientID)).do(t, "GET", allKinds, "")
	got = decode[[]resource](t, body)
	assert.NotEqual(t, *got[0].AccessToken, *got[1].AccessToken)
	assert.Equal(t, h.srv.Token(h.bob, h.a.clientID), *got[1].AccessToken)

	h.a.accept = "-"
	_, body = h.a.do(t, "GET", allKinds, "")
	var inXML struct {
		XMLName   xml.Name `xml:"resources"`
		Resources []struct {
			Connections []struct {
				IPv6 int `xml:"IPv6,attr"`
			} `xml:"connections>connection"`
		} `xml:"resource"`
	}
	require.NoError(t, xml.Unmarshal([]byte(body), &inXML))
	assert.Equal(t, 1, inXML.Resources[0].Connections[2].IPv6)
}

func TestMediaServer(t *testing.T) {
	h := newHousehold(t)
	box := h.srv.AddMediaServer(h.alice, plextest.MediaServer{Name: "Box", SharedWith: []*plextest.User{h.bob}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	uri := box.Connections[0].URI
	require.NotEmpty(t, uri, "AddMediaServer fills in the URI")
	stranger := newAPI(h.srv)

	status, body := stranger.do(t, "GET", uri+"/identity", "")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"MediaContainer":{"size":0,"claimed":true,"machineIdentifier":"`+box.MachineID+`","version":"1.43.2.10687-563d026ea"}}`, body)
	stranger.accept = "-"
	_, body = stranger.do(t, "GET", "http://192.168.1.5:32400/identity", "")
	assert.Contains(t, body, `<MediaContainer size="0" claimed="1" machineIdentifier="`+box.MachineID+`"`)
	resp, body := stranger.send(t, stranger.new(t, "GET", uri+"/library/sections", ""))
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Equal(t, "text/html", resp.Header.Get("Content-Type"))
	assert.Equal(t, "<html><head><title>Unauthorized</title></head><body><h1>401 Unauthorized</h1></body></html>", body)

	own := h.a.as(h.srv.ServerToken(h.alice, box))
	status, body = own.do(t, "GET", uri+"/accounts", "")
	assert.Equal(t, http.StatusOK, status)
	type accounts struct {
		MediaContainer struct {
			Size    int
			Account []struct {
				ID   int64
				Name string
			}
		}
	}
	got := decode[accounts](t, body).MediaContainer
	require.Equal(t, 5, got.Size)
	assert.Equal(t, []int64{0, 1, h.kid.ID, h.carol.ID, h.bob.ID}, []int64{got.Account[0].ID, got.Account[1].ID, got.Account[2].ID, got.Account[3].ID, got.Account[4].ID})
	assert.Equal(t, "alice", got.Account[1].Name)
	own.accept = "-"
	_, body = own.do(t, "GET", uri+"/accounts", "")
	assert.Contains(t, body, `<Account id="1" key="/accounts/1" name="alice"`)
	status, _ = h.a.do(t, "GET", uri+"/accounts", "")
	assert.Equal(t, http.StatusOK, status, "the server also accepts its owner's account token")

	shared := h.a.as(h.srv.ServerToken(h.bob, box))
	status, _ = shared.do(t, "GET", uri+"/library/sections", "")
	assert.Equal(t, http.StatusOK, status)
	status, _ = shared.do(t, "GET", uri+"/accounts", "")
	assert.Equal(t, http.StatusUnauthorized, status, "the server accepts only its owner's account token")
	assert.Empty(t, h.srv.Violations())
}

func TestTokensInTheWrongPlace(t *testing.T) {
	h := newHousehold(t)
	box := h.srv.AddMediaServer(h.alice, plextest.MediaServer{Name: "Box", SharedWith: []*plextest.User{h.bob}, Connections: []plextest.Connection{
		{Address: "192.168.1.5", Local: true}, {Address: "203.0.113.9"}, {Address: "192.168.1.66", Impostor: true},
	}})
	other := h.srv.AddMediaServer(h.alice, plextest.MediaServer{Name: "Other", Connections: []plextest.Connection{{Address: "192.168.1.7"}}})
	bobs := h.a.as(h.srv.IssueToken(h.bob, h.a.clientID))
	status, _ := bobs.do(t, "GET", "http://192.168.1.5:32400/library/sections", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, _ = h.a.as(h.srv.ServerToken(h.alice, other)).do(t, "GET", box.Connections[0].URI+"/", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	own := h.a.as(h.srv.ServerToken(h.alice, box))
	own.do(t, "GET", "http://203.0.113.9:32400/", "")
	_, body := own.do(t, "GET", "http://192.168.1.66:32400/identity", "")
	assert.NotContains(t, body, box.MachineID)
	own.do(t, "GET", "/api/v2/user", "")
	h.a.as("").do(t, "GET", "http://192.168.1.5:32400/?X-Plex-Token="+own.token, "")
	assert.Equal(t, []string{
		"GET 192.168.1.5:32400/library/sections: an account token is sent to another user's media server",
		"GET " + box.Connections[0].URI[len("https://"):] + "/: the token of another media server is sent to this one",
		"GET 203.0.113.9:32400/: a token is sent over plain http to a public address",
		"GET 192.168.1.66:32400/identity: a token is sent to an impostor",
		"GET plex.tv/api/v2/user: the token of a media server is sent to plex.tv",
		"GET 192.168.1.5:32400/: a token is in the URL",
	}, h.srv.Violations())
}

// Client and Transport see the same network.
func TestNetwork(t *testing.T) {
	for name, transport := range map[string]func(*plextest.Server) http.RoundTripper{
		"in process": func(s *plextest.Server) http.RoundTripper { return s.Client().Transport },
		"pipes":      func(s *plextest.Server) http.RoundTripper { return s.Transport() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := plextest.NewServer()
				defer srv.Close()
				alice := srv.AddUser(plextest.User{Username: "alice"})
				client := &http.Client{Transport: transport(srv), Timeout: 5 * time.Second}
				get := func(url string) (string, error) {
					resp, err := client.Get(url)
					if err != nil {
						return "", err
					}
					_, body := readPage(t, resp, nil)
					return body, nil
				}
				box := srv.AddMediaServer(alice, plextest.MediaServer{Connections: []plextest.Connection{
					{Address: "192.168.1.5", Local: true},
					{Address: "172.18.0.3", BlackHole: true},
					{Address: "203.0.113.7", Refused: true},
					{Address: "203.0.113.8", Latency: 2 * time.Second},
					{Address: "192.168.1.66", Impostor: true},
					{Address: "192.168.1.67", BadCert: true},
					{Address: "plex.example.org", Port: 443},
					{Address: "2001:db8::7"},
				}})
				uri := func(i int) string { return box.Connections[i].URI + "/identity" }
				for _, good := range []string{uri(0), "http://192.168.1.5:32400/identity", uri(6), uri(7), "http://[2001:db8::7]:32400/identity"} {
					body, err := get(good)
					require.NoError(t, err, good)
					assert.Contains(t, body, box.MachineID)
				}

				start := time.Now()
				_, err := get(uri(1))
				var timeout net.Error
				require.ErrorAs(t, err, &timeout)
				assert.True(t, timeout.Timeout())
				assert.Equal(t, 5*time.Second, time.Since(start))
				_, err = get(uri(2))
				assert.ErrorIs(t, err, syscall.ECONNREFUSED)
				start = time.Now()
				_, err = get(uri(3))
				require.NoError(t, err)
				assert.Equal(t, 2*time.Second, time.Since(start))

				var badCert *tls.CertificateVerificationError
				_, err = get(uri(4))
				require.ErrorAs(t, err, &badCert, "an impostor has no certificate of that name")
				body, err := get("http://192.168.1.66:32400/identity")
				require.NoError(t, err)
				assert.NotContains(t, body, box.MachineID)
				_, err = get(uri(5))
				require.ErrorAs(t, err, &badCert)
				assert.ErrorAs(t, err, new(x509.UnknownAuthorityError))
				_, err = get("https://192.168.1.5:32400/identity")
				assert.ErrorAs(t, err, new(x509.HostnameError), "certificates are for names, not addresses")

				srv.SetRebindProtection(true)
				client.CloseIdleConnections()
				_, err = get(uri(0))
				var dns *net.DNSError
				require.ErrorAs(t, err, &dns)
				assert.True(t, dns.IsNotFound)
				_, err = get(uri(3))
				require.NoError(t, err, "names of public addresses still resolve")
				_, err = get("https://example.com/")
				assert.ErrorContains(t, err, "has no such host")

				srv.MoveServer(box, plextest.Connection{Address: "192.168.1.50", Local: true})
				client.CloseIdleConnections()
				_, err = get("http://192.168.1.5:32400/identity")
				assert.ErrorIs(t, err, syscall.ECONNREFUSED)
				body, err = get("http://192.168.1.50:32400/identity")
				require.NoError(t, err)
				assert.Contains(t, body, box.MachineID)

				srv.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.Offline = true })
				client.CloseIdleConnections()
				_, err = get("http://192.168.1.50:32400/identity")
				assert.ErrorIs(t, err, syscall.ECONNREFUSED)

				strict := srv.AddMediaServer(alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.80"}}})
				_, err = get("http://192.168.1.80:32400/identity")
				assert.Error(t, err)
				srv.SetRebindProtection(false)
				_, err = get(strict.Connections[0].URI + "/identity")
				assert.NoError(t, err)
			})
		})
	}
}

func TestTransportLooksLikeANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		alice := srv.AddUser(plextest.User{Username: "alice"})
		box := srv.AddMediaServer(alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "nas.example.org", IP: "192.168.1.5"}}})
		transport := srv.Transport()
		a := newAPI(srv)
		a.client = &http.Client{Transport: transport}

		conn, err := transport.DialContext(t.Context(), "tcp", "nas.example.org:32400")
		require.NoError(t, err)
		assert.Equal(t, "192.168.1.5:32400", conn.RemoteAddr().String(), "the remote address is the dialled one")
		require.NoError(t, conn.Close())

		// plex.tv over TLS, with a fault and a login.
		srv.Inject(plextest.Fault{Truncate: true})
		resp, err := a.client.Do(a.new(t, "POST", "/api/v2/pins", ""))
		require.NoError(t, err)
		resp.Body.Close()
		srv.Inject(plextest.Fault{Reset: true})
		_, err = a.client.Do(a.new(t, "POST", "/api/v2/pins", ""))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		p := a.createPin(t)
		require.NoError(t, srv.Approve(p.Code, alice))
		resp, err = a.client.Get("https://app.plex.tv/auth")
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, "app.plex.tv", resp.TLS.PeerCertificates[0].DNSNames[0])
		resp.Body.Close()
		_, err = a.client.Get("http://plex.tv/")
		assert.Error(t, err)
		_, err = (&http.Client{Transport: &http.Transport{DialContext: transport.DialContext}}).Get("https://plex.tv/")
		assert.ErrorAs(t, err, new(x509.UnknownAuthorityError), "only clients with the CA certificate trust the fake")
		status, _ := a.as(srv.ServerToken(alice, box)).do(t, "GET", box.Connections[0].URI+"/library/sections", "")
		assert.Equal(t, http.StatusOK, status)
		assert.Empty(t, srv.Violations())
	})
}

// Two users can have media servers at the same private address, in two houses.
func TestSameAddressTwice(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice, bob := srv.AddUser(plextest.User{Username: "alice"}), srv.AddUser(plextest.User{Username: "bob"})
	bobs := srv.AddMediaServer(bob, plextest.MediaServer{SharedWith: []*plextest.User{alice}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true, BlackHole: true}}})
	srv.AddMediaServer(alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	for _, transport := range []http.RoundTripper{srv.Client().Transport, srv.Transport()} {
		_, err := (&http.Client{Transport: transport}).Get(bobs.Connections[0].URI + "/identity")
		assert.ErrorAs(t, err, new(x509.HostnameError), "alice's server answers, without a certificate for bob's name")
	}
}

func TestMediaServerOverASocket(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice"})
	box := srv.AddMediaServer(alice, plextest.MediaServer{})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", srv.TLSConfig())
	require.NoError(t, err)
	server := &http.Server{Handler: box.Handler()}
	go server.Serve(listener)
	defer server.Close()
	base := "https://" + listener.Addr().String()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(srv.CACertificate()))
	a := newAPI(srv)
	a.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer a.client.CloseIdleConnections()
	_, body := a.do(t, "GET", base+"/identity", "")
	assert.Contains(t, body, box.MachineID)
	status, _ := a.as(srv.ServerToken(alice, box)).do(t, "GET", base+"/library/sections", "")
	assert.Equal(t, http.StatusOK, status)
}
