package mediaserver_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
)

// hash is that of the plex.direct names here.
const hash = "0123456789abcdef0123456789abcdef"

// transport answers requests without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newProber returns a Prober whose requests rt answers.
func newProber(rt http.RoundTripper) *mediaserver.Prober {
	return mediaserver.NewProber(plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}}))
}

// response returns an answer to req.
func response(req *http.Request, status int, body string, h http.Header) *http.Response {
	if h == nil {
		h = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: req}
}

// identity returns the answer of a media server to GET /identity.
func identity(machineID string) string {
	return `{"MediaContainer":{"machineIdentifier":"` + machineID + `","version":"1.2"}}`
}

// anyServer expects no special server.
func anyServer(string) bool { return true }

// urls returns the addresses of candidates.
func urls(all []mediaserver.Candidate) (list []string) {
	for _, c := range all {
		list = append(list, c.URL)
	}
	return list
}

// findings returns what a probe of all finds where every request gets the error err.
func findings(t *testing.T, all []mediaserver.Candidate, err error) (list []string) {
	t.Helper()
	p := newProber(transport(func(*http.Request) (*http.Response, error) { return nil, err }))
	defer p.Close()
	for _, a := range p.Probe(t.Context(), all, anyServer) {
		list = append(list, a.Finding)
	}
	return list
}

// parse returns an URL.
func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u
}
