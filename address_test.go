package plexauth_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// withServers returns a signed-in PlexAuth whose plex.tv lists these servers. All
// other requests are answered as by a media server, and listed by urls.
func withServers(t *testing.T, list string) (p *plexauth.PlexAuth, urls func() []string) {
	t.Helper()
	p, mock := linkedMock(t)
	mock.RegisterResponder("GET", resourcesURL, httpmock.NewStringResponder(200, list))
	mock.RegisterResponder("GET", "https://plex.tv/api/v2/user", httpmock.NewStringResponder(200, payload(t, "user.json")))
	var mu sync.Mutex // addresses are tried at once
	var all []string
	mock.RegisterNoResponder(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r.Method+" "+r.URL.String())
		return httpmock.NewStringResponse(200, `{"MediaContainer":{"machineIdentifier":"another"}}`), nil
	})
	return p, func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { all = nil }()
		return all
	}
}

// listing returns plex.tv's list of one server with these addresses.
func listing(owned bool, uris ...string) string {
	var conns []string
	for _, u := range uris {
		conns = append(conns, fmt.Sprintf(`{"uri":%q,"address":"192.168.1.9","port":0,"local":true}`, u))
	}
	return fmt.Sprintf(`[{"name":"Box","clientIdentifier":"box","provides":"server","owned":%v,"accessToken":"TEST_server","connections":[%s]}]`, owned, strings.Join(conns, ","))
}

// G14: the owner of a server chooses its address. The path, query and user in that
// address are not used.
func TestListedAddressIsAnAddress(t *testing.T) {
	for _, uri := range []string{
		"http://192.168.1.9/apply?reboot=1", "http://192.168.1.9/apply?", "http://192.168.1.9/reboot#", "http://192.168.1.9/#x",
		"http://admin:admin@192.168.1.9", "http://admin@192.168.1.9/", "http://192.168.1.9\\apply", "http:192.168.1.9", "ftp://192.168.1.9", "//192.168.1.9",
		"http://192.168.1.9/reboot.cgi", "http://192.168.1.9/a/../b", "http://192.168.1.9/%3Freboot",
	} {
		p, urls := withServers(t, listing(false, uri))
		_, err := p.UseServer(t.Context(), "box")
		require.ErrorIs(t, err, plexauth.ErrUnavailable, uri)
		assert.ErrorContains(t, err, "not tried", uri)
		assert.Empty(t, urls(), uri)
	}
	p, urls := withServers(t, listing(false, "https://plex.example.org/"))
	_, _ = p.UseServer(t.Context(), "box")
	assert.Equal(t, []string{"GET https://plex.example.org/identity"}, urls())
	p, urls = withServers(t, listing(true, "https://example.org/plex"))
	_, _ = p.UseServer(t.Context(), "box")
	assert.Equal(t, []string{"GET https://example.org/plex/identity"}, urls(), "of one's own server")
}

// reservedHosts are spellings of addresses that no media server has.
var reservedHosts = []string{
	"169.254.169.254", "169.254.170.2", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518", "169.16689662", "169.254.169.254.",
	"[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[::ffff:0:a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "１６９.254。169.254",
	"169-254-169-254.0123456789abcdef0123456789abcdef.plex.direct", "fe80--1.0123456789abcdef0123456789abcdef.plex.direct",
	"[fd00:ec2::254]", "[fd20:ce::254]", "[fe80::1]", "[fe80::a9fe:a9fe%25eth0]", "100.100.100.200", "168.63.129.16", "192.0.0.192",
	"metadata.google.internal", "METADATA.google.internal.", "instance-data", "metadata.tencentyun.com", "api.metadata.cloud.ibm.com",
	"0.0.0.0", "0", "0x0", "[::]", "[::ffff:0.0.0.0]", "0.1.2.3", "224.0.0.1", "239.255.255.250", "[ff02::1]", "255.255.255.255", "4294967295",
}

// G14: addresses of one machine, one link or a cloud's credentials are never asked for
// anything. It does not matter who gives them or how they are spelled.
func TestReservedAddresses(t *testing.T) {
	for _, host := range reservedHosts {
		for _, address := range []string{"http://" + host + ":80", "https://" + host, host} {
			p, urls := withServers(t, listing(true, "http://"+host, "https://"+host+":443"))
			r, err := p.Probe(t.Context(), address)
			require.ErrorIs(t, err, plexauth.ErrUnavailable, address)
			for _, a := range r.Addresses {
				assert.Contains(t, a.Finding, "not tried: this address is reserved", address)
			}
			_, err = p.UseServer(t.Context(), address)
			require.Error(t, err, address)
			_, err = p.UseServer(t.Context(), "box")
			require.Error(t, err, address)
			assert.Empty(t, urls(), address)
		}
	}
	for _, host := range []string{"127.0.0.1", "10.0.0.1", "192.168.1.5", "[::1]", "[fd00::5]", "100.64.0.1", "100.101.102.103", "203.0.113.7", "1.2.3", "plex", "10.0.0.1.example", "[2001:db8::1]", "[64:ff9b::cb00:7107]", "169.254.1.2"} {
		p, urls := withServers(t, "[]")
		_, _ = p.Probe(t.Context(), "https://"+host)
		assert.NotEmpty(t, urls(), host)
	}
}

// Addresses that are not tried do not count towards the limit of those that are.
func TestSkippedAddressesDoNotCount(t *testing.T) {
	var uris []string
	for i := range 45 {
		uris = append(uris, fmt.Sprintf("https://fe80--%x.0123456789abcdef0123456789abcdef.plex.direct:32400", i+1), fmt.Sprintf("http://192.168.1.9/?%d", i))
	}
	p, urls := withServers(t, listing(true, append(uris, "https://plex.example.org")...))
	_, _ = p.Inspect(t.Context())
	assert.Equal(t, []string{"GET https://plex.example.org/identity"}, urls())
}

// A host name outside ASCII is the same name in all its spellings. It is saved in
// ASCII, which all programs understand.
func TestInternationalNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{
			{Address: "plex.xn--mller-kva.example", URI: "https://plex.xn--mller-kva.example:32400", IP: "192.168.1.7", Unlisted: true},
		}})
		const ascii = "http://plex.xn--mller-kva.example:32400"
		for _, typed := range []string{"http://plex.müller.example:32400", "http://PLEX.MÜLLER.example:32400/", "http://plex.mu\u0308ller.example:32400", "http://plex.m%C3%BCller.example:32400"} {
			s, err := w.UseServer(t.Context(), typed)
			require.NoError(t, err, typed)
			assert.Equal(t, ascii, strings.TrimSuffix(s.ServerURL, "/"), typed)
		}
		for _, saved := range []string{ascii, "http://plex.müller.example:32400", "http://plex.m%C3%BCller.example:32400"} {
			w.edit(t, map[string]any{"server_url": saved, "pms_token_server": ascii})
			rt := w.plex.Transport()
			client := &http.Client{Transport: w.open(t).Transport(rt)}
			for _, at := range []string{ascii, "http://plex.müller.example:32400", "http://Plex.Müller.Example:32400"} {
				resp, err := client.Get(at + "/library/sections")
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, http.StatusOK, resp.StatusCode, "%s for %s", at, saved)
			}
			client.CloseIdleConnections()
			rt.CloseIdleConnections()
		}
		assert.Equal(t, box.MachineID, mustSettings(t, w.PlexAuth).MachineID)
	})
}

// longBody counts how many bytes are read from it.
type longBody struct {
	io.Reader
	n int
}

func (b *longBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.n += n
	return n, err
}

// A server's answer about itself is read up to 64 KiB, the list of servers up to 8
// MiB.
func TestServerAnswerLimits(t *testing.T) {
	for _, status := range []int{200, 503} {
		for _, first := range []string{`{"MediaContainer":{"x":"`, `<MediaContainer x="`} {
			body := &longBody{Reader: io.MultiReader(strings.NewReader(first), strings.NewReader(strings.Repeat("x", 900<<10)))}
			p, mock := mocked(t)
			mock.RegisterResponder("GET", "https://pms.example/identity", func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
			})
			_, err := p.Probe(t.Context(), "https://pms.example")
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.LessOrEqual(t, body.n, 64<<10+1)
		}
	}
	device := `{"name":"Box %d","clientIdentifier":"m%d","provides":"server","connections":[{"uri":"https://` + strings.Repeat("a", 2000) + `"}]}`
	for n, fits := range map[int]bool{600: true, 3900: true, 4200: false} {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(device, i, i))
		}
		p, mock := linkedMock(t)
		mock.RegisterResponder("GET", resourcesURL, httpmock.NewStringResponder(200, "["+strings.Join(all, ",")+"]"))
		servers, err := p.Servers(t.Context())
		if fits {
			require.NoError(t, err)
			assert.Len(t, servers, n)
		} else {
			assert.ErrorIs(t, err, plexauth.ErrUnavailable)
		}
	}
}

// An error is short enough to read and log, however many servers and addresses there
// are.
func TestErrorsAreShort(t *testing.T) {
	var servers, uris []string
	for i := range 300 {
		servers = append(servers, fmt.Sprintf(`{"name":"%s%d","clientIdentifier":"m%d","provides":"server","sourceTitle":"%s"}`, strings.Repeat("n", i), i, i, strings.Repeat("o", i)))
		uris = append(uris, fmt.Sprintf("https://%s%d.example", strings.Repeat("x", i%60), i))
	}
	p, mock := linkedMock(t)
	mock.RegisterResponder("GET", "https://plex.tv/api/v2/user", httpmock.NewStringResponder(200, payload(t, "user.json")))
	mock.RegisterResponder("GET", resourcesURL, httpmock.NewStringResponder(200, "["+strings.Join(servers, ",")+"]"))
	for _, call := range []func() error{
		func() error { return errOf(p.Inspect(t.Context())) },
		func() error { return errOf(p.UseServer(t.Context(), "nowhere")) },
		func() error { return errOf(p.UseServer(t.Context(), strings.Repeat("x", 5000))) },
	} {
		err := call()
		var choice *plexauth.ServerChoiceError
		require.ErrorAs(t, err, &choice)
		assert.Len(t, choice.Servers, 300)
		assert.LessOrEqual(t, len(err.Error()), 2048)
		assert.ErrorContains(t, err, " more")
	}
	mock.RegisterResponder("GET", resourcesURL, httpmock.NewStringResponder(200, listing(true, uris...)))
	err := errOf(p.Inspect(t.Context()))
	require.ErrorIs(t, err, plexauth.ErrUnavailable)
	assert.LessOrEqual(t, len(err.Error()), 2048)
	assert.ErrorContains(t, err, " more")
}
