package mediaserver_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
)

// G25: for each address that does not work there is an explanation, and what helps.
func TestExplanations(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	noRoute := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	reset := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	noName := &net.DNSError{Err: "no such host", Name: "x"}
	other := &x509.Certificate{DNSNames: []string{"nas.example"}}
	otherName := &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{other}, Err: x509.HostnameError{Certificate: other, Host: "plex"}}
	const address = "https://192.168.1.5:32400"
	for name, tc := range map[string]struct {
		address string
		err     error
		want    string // the finding at a typed address
		listed  string // the same at one that plex.tv lists, if it differs
	}{
		"no listener":               {address, refused, "nothing listens there: connection refused", ""},
		"no listener here":          {"https://127.0.0.1:32400", refused, "nothing listens there; inside a container this is the container itself, use the host's address or name", ""},
		"no route":                  {address, noRoute, "it cannot be reached from here: no route to host", ""},
		"reset":                     {address, reset, "the connection was interrupted (connection reset by peer): another program has this port, or the server takes https only", ""},
		"closed":                    {address, io.EOF, "the connection was interrupted (no answer): another program has this port, or the server takes https only", ""},
		"closed within":             {address, io.ErrUnexpectedEOF, "the connection was interrupted (no answer): another program has this port, or the server takes https only", ""},
		"gibberish":                 {address, errors.New("malformed HTTP response"), "no answer that can be read: malformed HTTP response", ""},
		"silence":                   {address, os.ErrDeadlineExceeded, "no answer within 4 seconds: another network, a firewall, or the server is off", ""},
		"no name":                   {"https://nas.local:32400", noName, "the name does not resolve here; inside a container only the container network's and public names do", ""},
		"a withheld private name":   {directLocal, noName, "the resolver withholds this name of a private address (DNS rebinding protection): allow plex.direct in the router or resolver", ""},
		"a withheld public name":    {directRemote, noName, "the name does not resolve here: check this machine's DNS, or allow plex.direct in the router or resolver", ""},
		"proxy":                     {address, &net.OpError{Op: "proxyconnect", Err: errors.New("Forbidden")}, "the proxy does not let this through: proxyconnect: Forbidden", ""},
		"handshake":                 {address, &net.OpError{Op: "remote error", Err: tls.AlertError(40)}, "could not make a secure connection: handshake failure", ""},
		"unknown authority":         {address, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "the certificate cannot be verified: certificate signed by unknown authority", ""},
		"out of date":               {address, &tls.CertificateVerificationError{Err: errors.New("out of date")}, "the certificate cannot be verified: out of date", ""},
		"a certificate, as text":    {address, errors.New("x509: out of date"), "the certificate cannot be verified: out of date", ""},
		"no TLS":                    {address, tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "this port speaks plain http, not https", ""},
		"no TLS, by net/http":       {address, errors.New("http: server gave HTTP response to HTTPS client"), "this port speaks plain http, not https", ""},
		"a certificate for another": {address, otherName, "the certificate is for another name: enter the address by the name that the certificate is for", "another machine answers here: its certificate is for another name"},
	} {
		t.Run(name, func(t *testing.T) {
			typed := findings(t, mediaserver.Typed(tc.address, true)[:1], tc.err)
			assert.Equal(t, tc.want, typed[0])
			listed := findings(t, mediaserver.Listed(with(ownServer, plextv.Connection{URI: tc.address})), tc.err)
			if tc.listed == "" {
				tc.listed = tc.want
			}
			assert.Equal(t, tc.listed, listed[0])
		})
	}
}

// What answers is explained by its status, its form and its content.
func TestExplainedAnswers(t *testing.T) {
	own := http.Header{"X-Plex-Protocol": {"1.0"}}
	for name, tc := range map[string]struct {
		status int
		header http.Header
		body   string
		want   string
	}{
		"the server":            {200, nil, identity("m1"), "answers"},
		"the server, in XML":    {200, nil, `<MediaContainer machineIdentifier="m1"/>`, "answers"},
		"another server":        {200, nil, identity("m2"), "another media server answers here"},
		"other JSON":            {200, nil, `{}`, "what answers is not a Plex media server"},
		"other XML":             {200, nil, `<html machineIdentifier="m1"/>`, "what answers is not a Plex media server"},
		"starting":              {503, own, "", "the media server is starting: try again in a minute"},
		"starting, in words":    {503, own, `<Response code="503" title="x" status="Tidying up."/>`, "the media server is starting (Tidying up): try again in a minute"},
		"failing":               {500, own, "", "the media server answers with an error (status 500): its own log says more"},
		"failing, in words":     {500, own, `<Response code="500" title="x" status="No room."/>`, "the media server answers with an error (status 500) (No room): its own log says more"},
		"nothing":               {200, nil, "", "what answers is not a Plex media server"},
		"half of the XML":       {200, nil, `<MediaContainer machineIdentifier="m1">`, "what answers is not a Plex media server"},
		"a bad request":         {400, nil, "<html>", "what answers is not a Plex media server (status 400)"},
		"a proxy":               {502, nil, "<html>", "a proxy answers, but the server behind it does not (status 502): check that the server runs and where the proxy leads"},
		"a redirect":            {302, nil, "", "it redirects elsewhere (302): enter the address that it leads to"},
		"a page that is absent": {404, nil, "<html>", "what answers is not a Plex media server (status 404)"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProber(transport(func(req *http.Request) (*http.Response, error) {
				assert.Equal(t, "/identity", req.URL.Path)
				assert.Empty(t, req.Header.Get("X-Plex-Token"))
				return response(req, tc.status, tc.body, tc.header), nil
			}))
			defer p.Close()
			found := p.Probe(t.Context(), mediaserver.Typed("https://192.168.1.5:32400", true), func(id string) bool { return id == "m1" })
			require.Len(t, found, 1)
			assert.Equal(t, tc.want, found[0].Finding)
			assert.Equal(t, tc.want == "answers", found[0].OK)
			assert.Equal(t, found[0].OK, found[0].Err == nil)
		})
	}
}

// An address at which nothing can be asked is explained as well.
func TestUnusableAddress(t *testing.T) {
	got := findings(t, []mediaserver.Candidate{{URL: "https://a b"}}, errors.New("asked"))
	assert.Equal(t, []string{"plexauth: probe server: the address could not be used"}, got)
}

// People see the host of an address, and the address in a plex.direct name.
func TestHostOfAddress(t *testing.T) {
	for address, want := range map[string]string{
		"https://plex.example:8443/x":                "plex.example:8443",
		directLocal:                                  "192.168.1.5:32400",
		"https://fd12--5." + hash + ".plex.direct":   "[fd12::5]:443",
		"https://nas." + hash + ".plex.direct:32400": "nas." + hash + ".plex.direct:32400",
		"plex":        "plex",
		"https://a b": "https://a b",
	} {
		assert.Equal(t, want, (&mediaserver.Address{URL: address}).Host())
	}
}

// The error names each address with its finding, as many as a text holds, and matches
// what went wrong at one of them.
func TestUnreachableError(t *testing.T) {
	dns := &net.DNSError{Err: "no such host"}
	err := mediaserver.Unreachable([]mediaserver.Address{{URL: "https://a", Finding: "is off", Err: dns}, {URL: "https://b", Finding: "is closed", Err: fault.ErrServerToken}})
	assert.EqualError(t, err, "plexauth: the media server answers at none of its addresses: https://a is off; https://b is closed")
	assert.ErrorIs(t, err, fault.ErrUnavailable)
	assert.NotErrorIs(t, err, fault.ErrServerToken)
	assert.ErrorAs(t, err, new(*net.DNSError))
	assert.False(t, errors.As(err, new(*net.OpError)))
	assert.EqualError(t, mediaserver.Unreachable(nil), "plexauth: the media server answers at none of its addresses: plex.tv lists none, the server may be off")
	long := make([]mediaserver.Address, 20)
	for i := range long {
		long[i] = mediaserver.Address{URL: "https://a", Finding: strings.Repeat("x", 200)}
	}
	text := mediaserver.Unreachable(long).Error()
	assert.Less(t, len(text), 1400)
	assert.Regexp(t, `; and \d+ more$`, text)
	long = long[:6]
	room := 1300 - len(mediaserver.Unreachable(long[:5]).Error()) - len("https://a ")
	long[5].Finding = strings.Repeat("y", room)
	assert.Contains(t, mediaserver.Unreachable(long).Error(), "; https://a "+long[5].Finding)
	long[5].Finding += "y"
	assert.Regexp(t, "; and 1 more$", mediaserver.Unreachable(long).Error())
	assert.ErrorAs(t, mediaserver.Entered(err), new(mediaserver.EnteredError))
	assert.ErrorAs(t, mediaserver.Entered(err), new(*mediaserver.UnreachableError))
}
