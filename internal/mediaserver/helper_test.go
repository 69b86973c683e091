package mediaserver_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
)

// hash is that of the plex.direct names here.
const hash = "0123456789abcdef0123456789abcdef"

// transport answers requests without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer is how a request to an address ends.
type answer struct {
	after time.Duration
	err   error // nil: a media server answers
	deaf  bool  // it comes even if the request has ended
}

// answering returns a transport with an answer for each address. other is that of those
// that are missing.
func answering(answers map[string]answer, other answer) transport {
	return func(req *http.Request) (*http.Response, error) {
		a, ok := answers[strings.TrimSuffix(req.URL.String(), "/identity")]
		if !ok {
			a = other
		}
		done := req.Context().Done()
		if a.deaf {
			done = nil
		}
		select {
		case <-time.After(a.after):
		case <-done:
			return nil, req.Context().Err()
		}
		if a.err != nil {
			return nil, a.err
		}
		return response(req, 200, identity("m1"), nil), nil
	}
}

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

// probeAll returns what a probe of all finds where a media server answers at each address.
func probeAll(t *testing.T, all []mediaserver.Candidate) []mediaserver.Address {
	t.Helper()
	p := newProber(transport(func(r *http.Request) (*http.Response, error) { return response(r, 200, identity("m1"), nil), nil }))
	defer p.Close()
	p.Patient = true
	return p.Probe(t.Context(), all, anyServer)
}

// parse returns an URL.
func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u
}
