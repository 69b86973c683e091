package plexauth_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// roundTripFunc is a transport made of a function.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// recordingTransport keeps the requests and answers 200 to each.
type recordingTransport struct {
	mu   sync.Mutex
	reqs []*http.Request
}

func (s *recordingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reqs = append(s.reqs, r)
	rec := httptest.NewRecorder()
	return rec.Result(), nil
}

func (s *recordingTransport) last() *http.Request { return s.reqs[len(s.reqs)-1] }

// recordedBody notes that it was closed.
type recordedBody struct {
	io.Reader
	done bool
}

func (c *recordedBody) Close() error { c.done = true; return nil }

// tampered changes the answers at one path, as long as change is set.
type tampered struct {
	http.RoundTripper
	path   string
	change func(body []byte) []byte
}

func (r *tampered) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err != nil || r.change == nil || !strings.HasPrefix(req.URL.Path, r.path) || resp.StatusCode >= 300 {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	body = r.change(body)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// tamper returns a transport that changes answers at path, and the option to use it.
func (w *world) tamper(path string) (*tampered, func(*plexauth.Options)) {
	r := &tampered{RoundTripper: w.plex.Client().Transport, path: path}
	return r, withTransport(r)
}

// openInterrupted opens a replica that does something else before its first request to
// path.
func (w *world) openInterrupted(t *testing.T, path string, do func(), change ...func(*plexauth.Options)) *plexauth.PlexAuth {
	var once sync.Once
	return w.open(t, append(change, func(o *plexauth.Options) {
		o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == path {
				once.Do(do)
			}
			return w.plex.Client().Transport.RoundTrip(r)
		})}
	})...)
}

// verdict gives its own answer to requests with one token, at all paths or at one.
type verdict struct {
	http.RoundTripper
	token  string
	path   string // empty: all
	status int
	body   string // JSON
	asked  int
}

func (v *verdict) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("X-Plex-Token") != v.token || v.path != "" && r.URL.Path != v.path {
		return v.RoundTripper.RoundTrip(r)
	}
	v.asked++
	return &http.Response{
		StatusCode: v.status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(v.body)), Request: r,
	}, nil
}

// sentBodies keeps the bodies of all requests.
type sentBodies struct {
	http.RoundTripper
	mu   sync.Mutex
	sent []string // paths and bodies in turn
}

func (b *sentBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	b.mu.Lock()
	b.sent = append(b.sent, r.URL.Path, string(body))
	b.mu.Unlock()
	return b.RoundTripper.RoundTrip(r)
}

func (b *sentBodies) all(path string) (sent []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := 0; i < len(b.sent); i += 2 {
		if b.sent[i] == path {
			sent = append(sent, b.sent[i+1])
		}
	}
	return sent
}

func (b *sentBodies) first(path string) string { return b.all(path)[0] }

func (b *sentBodies) last(path string) string { s := b.all(path); return s[len(s)-1] }

// dialFunc is the type of http.Transport.DialContext.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// countedConn counts itself down in open when it is closed.
type countedConn struct {
	net.Conn
	open   *atomic.Int32
	closed atomic.Bool
}

func (c *countedConn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// openOver opens a PlexAuth whose requests go through rt, once each.
func openOver(t testing.TB, rt http.RoundTripper, change ...func(*plexauth.Options)) *plexauth.PlexAuth {
	o := plexauth.Options{Product: "My App", HTTPClient: &http.Client{Transport: rt}, MaxRetries: -1}
	for _, f := range change {
		f(&o)
	}
	p, err := plexauth.New(o)
	require.NoError(t, err)
	return p
}

// bodies answers each request with the next body, with status 200.
func bodies(list ...[]byte) http.RoundTripper {
	return roundTripFunc(func(r *http.Request) (*http.Response, error) {
		body := list[0]
		if len(list) > 1 {
			list = list[1:]
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1, Request: r}, nil
	})
}

// Recorded answers, by httpmock.

// Addresses that tests with httpmock answer.
const (
	pinsURL      = "https://plex.tv/api/v2/pins"
	resourcesURL = "https://clients.plex.tv/api/v2/resources?includeHttps=1&includeRelay=1&includeIPv6=1"
)

// mocked returns a PlexAuth without a login, and the mock that answers its requests.
func mocked(t *testing.T) (*plexauth.PlexAuth, *httpmock.MockTransport) {
	t.Helper()
	mock := httpmock.NewMockTransport()
	return openOver(t, mock), mock
}

// linkedMock returns a PlexAuth with alice's login, and the mock that answers its
// requests.
func linkedMock(t *testing.T) (*plexauth.PlexAuth, *httpmock.MockTransport) {
	t.Helper()
	mock := httpmock.NewMockTransport()
	return openOver(t, mock, withLogin(t)), mock
}

// withLogin makes a new store with alice's login the store.
func withLogin(t *testing.T) func(*plexauth.Options) {
	t.Helper()
	store := plexauth.NewMemoryStore()
	put(t, store, `{"client_id":"0123456789abcdef01234567","account_token":"TEST_account-token","username":"alice","_cloud":{"account_id":12345}}`)
	return withStore(store)
}

// payload returns a recorded answer.
func payload(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return string(b)
}

// jsonAnswer answers a mocked request with JSON.
func jsonAnswer(status int, body string) httpmock.Responder {
	return httpmock.NewStringResponder(status, body).HeaderSet(http.Header{"Content-Type": {"application/json; charset=utf-8"}})
}
