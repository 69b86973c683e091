package transport_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/credential"
	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/internal/transport"
)

const (
	plexTV    = "https://plex.tv/api/v2/x"
	server    = "http://192.168.1.5:32400"
	elsewhere = "https://example.org/x"

	// notPlexTV is the body of a 401 that is not plex.tv's own, rejection one that is.
	notPlexTV = `no`
	rejection = `{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`
)

var errStore = errors.New("the store has failed")

// login is a profile whose device key brings one token after another.
type login struct {
	tokens  []string // that it has in turn: the present one first
	stored  []string // those that another process stores, seen after Reread
	noKey   bool
	err     error // of the store
	refused bool  // Refused was called

	fresh     func(*credential.Credential) (*credential.Credential, error) // Fresh; nil: all are fresh
	onRenewal func()                                                       // is called by Renew and Reread
	rereads   int
}

var began = time.Now().Unix()

// token returns the JWT number n, which is good for a week.
func token(n int) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{"alg":"EdDSA"}`)) + "." + e(fmt.Appendf(nil, `{"iat":%d,"exp":%d,"user":{"id":1},"n":%d}`, began, began+7*24*3600, n)) + ".c2ln"
}

func (l *login) Credential(context.Context) (*credential.Credential, error) {
	if l.err != nil {
		return nil, l.err
	}
	stored, err := profile.Parse([]byte(`{"server_url":"` + server + `","pms_token":"TEST_s","pms_token_server":"` + server + `"}`))
	if err != nil {
		return nil, err
	}
	p := stored.Document().Profile("default")
	c := profile.Credential{Token: secret.New(l.tokens[0]), ClientID: "app"}
	if !l.noKey {
		if c.Device, err = devicekey.New("app"); err != nil {
			return nil, err
		}
	}
	p.SignIn(c)
	p.SetServerToken(secret.New("TEST_s"))
	return credential.New(p, nil, time.Now()), nil
}

func (l *login) Fresh(_ context.Context, c *credential.Credential) (*credential.Credential, error) {
	if l.fresh != nil {
		return l.fresh(c)
	}
	return c, nil
}

func (l *login) MayRenew(c *credential.Credential) bool { return c.Life.Renewable() && !l.refused }

func (l *login) Renew(context.Context, *credential.Credential) error {
	if l.onRenewal != nil {
		l.onRenewal()
	}
	if len(l.tokens) == 1 {
		return errors.New("not renewed")
	}
	l.tokens = l.tokens[1:]
	return nil
}

func (l *login) Refused() { l.refused = true }

func (l *login) Reread() {
	l.rereads++
	if l.onRenewal != nil {
		l.onRenewal()
	}
	if l.stored != nil {
		l.tokens = l.stored
	}
}

// wire answers requests without a network, and keeps what it got.
type wire struct {
	answer func(token string) (status int, body string)
	sent   []string    // the token of each request, and its body
	header http.Header // of the last request
	bodies []*closed   // of the answers
	err    error       // of all requests after the first one
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		r.Body.Close()
	}
	t := r.Header.Get("X-Plex-Token")
	w.sent, w.header = append(w.sent, t+body), r.Header
	if len(w.sent) > 1 && w.err != nil {
		return nil, w.err
	}
	status, text := w.answer(t)
	answer := &closed{Reader: strings.NewReader(text)}
	w.bodies = append(w.bodies, answer)
	return &http.Response{StatusCode: status, Body: answer, Request: r}, nil
}

// freesConnections asserts that all answers but the last one, which is the caller's, were read
// and closed, so that their connections can be used again.
func (w *wire) freesConnections(t *testing.T) {
	t.Helper()
	for _, answer := range w.bodies[:len(w.bodies)-1] {
		assert.True(t, answer.isClosed)
		rest, err := io.ReadAll(answer.Reader)
		assert.NoError(t, err)
		assert.Empty(t, rest)
	}
}

func ok(string) (int, string) { return http.StatusOK, "" }

// do sends a request by a Transport of l over w.
func do(t *testing.T, l transport.Login, w http.RoundTripper, method, url string, body io.Reader, header http.Header) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := transport.New(plextv.New(plextv.Config{}), l, w).RoundTrip(req)
	if err == nil {
		t.Cleanup(func() { resp.Body.Close() })
		assert.Same(t, req, resp.Request, "it has no token")
	}
	return resp, err
}

// G14: each origin gets its own token. A store that has failed stops only requests that
// would get one.
func TestWhichToken(t *testing.T) {
	for url, want := range map[string]string{plexTV: token(1), server + "/library": "TEST_s", elsewhere: ""} {
		w := &wire{answer: ok}
		_, err := do(t, &login{tokens: []string{token(1)}}, w, http.MethodGet, url, nil, nil)
		require.NoError(t, err, url)
		assert.Equal(t, []string{want}, w.sent, url)
		assert.Equal(t, want != "", w.header.Get("X-Plex-Client-Identifier") != "", "%s: nothing of ours is added elsewhere", url)
	}
}

// plex.tv's own requests are not those of a media server, whatever its origin is in a test.
func TestPlexTVByHTTP(t *testing.T) {
	w := &wire{answer: ok}
	rt := transport.New(plextv.New(plextv.Config{BaseURL: "http://plex.example"}), &login{tokens: []string{token(1)}}, w)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://plex.example/x", nil)
	require.NoError(t, err)
	resp, err := rt.RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, []string{token(1)}, w.sent)
}

// G14: a request to which another origin has led gets no token.
func TestRedirectedAway(t *testing.T) {
	w := &wire{answer: ok}
	before, err := http.NewRequestWithContext(t.Context(), http.MethodGet, elsewhere, nil)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plexTV, nil)
	require.NoError(t, err)
	req.Response = &http.Response{Request: before}
	resp, err := transport.New(plextv.New(plextv.Config{}), &login{tokens: []string{token(1)}}, w).RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, []string{""}, w.sent)
}

// An account token that is due is renewed before the request, and what the renewal brings is
// sent. A server's own token is not.
func TestFresh(t *testing.T) {
	next := &login{tokens: []string{token(2)}}
	l := &login{tokens: []string{token(1)}, fresh: func(*credential.Credential) (*credential.Credential, error) {
		return next.Credential(t.Context())
	}}
	w := &wire{answer: ok}
	_, err := do(t, l, w, http.MethodGet, plexTV, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{token(2)}, w.sent)

	l.fresh = func(*credential.Credential) (*credential.Credential, error) { return nil, errStore }
	_, err = do(t, l, w, http.MethodGet, plexTV, nil, nil)
	assert.ErrorIs(t, err, errStore)
	_, err = do(t, l, w, http.MethodGet, server, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{token(2), "TEST_s"}, w.sent)
}

// A token that cannot be sent is an error, and not a request without one.
func TestNoToken(t *testing.T) {
	w := &wire{answer: ok}
	_, err := do(t, named{&login{}}, w, http.MethodGet, plexTV, nil, nil)
	assert.ErrorIs(t, err, fault.ErrNotConnected)
	assert.Empty(t, w.sent)
}

func TestStoreFails(t *testing.T) {
	l := &login{tokens: []string{token(1)}}
	w := &wire{answer: ok}
	rt := transport.New(plextv.New(plextv.Config{}), l, w)
	send := func(url string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("body"))
		require.NoError(t, err)
		_, err = rt.RoundTrip(req)
		return err
	}
	l.err = errStore
	assert.NoError(t, send(server), "it is not known to be the server")
	l.err = nil
	require.NoError(t, send(server))
	l.err = errStore
	assert.ErrorIs(t, send(server), errStore)
	assert.ErrorIs(t, send(plexTV), errStore)
	assert.NoError(t, send(elsewhere))
	assert.Equal(t, []string{"body", "TEST_sbody", "body"}, w.sent)
}

// A token that plex.tv refuses is renewed, and the request sent once more if that can be
// done: not for an answer that may be about something else.
func TestRefused(t *testing.T) {
	first, second := token(1), token(2)
	refuse := func(status int, body string, refused ...string) func(string) (int, string) {
		return func(t string) (int, string) {
			for _, r := range refused {
				if t == r {
					return status, body
				}
			}
			return http.StatusOK, ""
		}
	}
	stream := func() io.Reader { return struct{ io.Reader }{strings.NewReader("body")} }
	for name, c := range map[string]struct {
		login  login
		answer func(string) (int, string)
		url    string
		body   io.Reader
		header http.Header

		sent    []string
		status  int
		refused bool // the renewal was in vain
		kept    bool // the token was not renewed, because that would not help this request
	}{
		"good":                             {answer: ok, sent: []string{first}, status: 200},
		"expired":                          {answer: refuse(498, "", first), sent: []string{first, second}, status: 200},
		"expired, with a text":             {answer: refuse(498, "expired", first), sent: []string{first, second}, status: 200},
		"rejected":                         {answer: refuse(401, rejection, first), sent: []string{first, second}, status: 200},
		"with a body":                      {answer: refuse(498, "", first), body: strings.NewReader("body"), sent: []string{first + "body", second + "body"}, status: 200},
		"with a body that is gone":         {answer: refuse(498, "", first), body: stream(), sent: []string{first + "body"}, status: 498},
		"rejected, the body is gone":       {answer: refuse(401, rejection, first), body: stream(), sent: []string{first + "body"}, status: 401, kept: true},
		"the next one is refused, too":     {answer: refuse(498, "", first, second), sent: []string{first, second}, status: 498, refused: true},
		"not renewed":                      {login: login{tokens: []string{first}}, answer: refuse(498, "", first), sent: []string{first}, status: 498},
		"renewed in vain just now":         {login: login{refused: true}, answer: refuse(498, "", first), sent: []string{first}, status: 498, refused: true},
		"a 401 that is ambiguous":          {answer: refuse(401, notPlexTV, first), sent: []string{first}, status: 401},
		"another process has renewed":      {login: login{stored: []string{second}}, answer: refuse(401, notPlexTV, first), sent: []string{first, second}, status: 200},
		"it has, and that is refused, too": {login: login{stored: []string{second}}, answer: refuse(401, notPlexTV, first, second), sent: []string{first, second}, status: 401},
		"no key":                           {login: login{noKey: true}, answer: refuse(498, "", first), sent: []string{first}, status: 498},
		"forbidden":                        {answer: refuse(403, rejection, first), sent: []string{first}, status: 403},
		"the program's own token":          {answer: refuse(498, "", "TEST_own"), header: http.Header{"X-Plex-Token": {"TEST_own"}}, sent: []string{"TEST_own"}, status: 498},
		"the server refuses its token":     {answer: refuse(401, rejection, "TEST_s"), url: server, sent: []string{"TEST_s"}, status: 401},
		"another server refuses nothing":   {answer: refuse(401, rejection, ""), url: elsewhere, sent: []string{""}, status: 401},
	} {
		t.Run(name, func(t *testing.T) {
			if c.login.tokens == nil {
				c.login.tokens = []string{first, second}
			}
			if c.url == "" {
				c.url = plexTV
			}
			w := &wire{answer: c.answer}
			resp, err := do(t, &c.login, w, http.MethodPut, c.url, c.body, c.header)
			require.NoError(t, err)
			assert.Equal(t, c.status, resp.StatusCode)
			assert.Equal(t, c.sent, w.sent)
			assert.Equal(t, c.refused, c.login.refused)
			if c.status < 400 && len(c.sent) == 1 || c.status == 403 {
				assert.Zero(t, c.login.rereads, "no token was refused")
			}
			w.freesConnections(t)
			if c.kept {
				assert.Equal(t, first, c.login.tokens[0])
			}
			if c.status == 401 { // what decides on an answer has read a part of it
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				_, want := c.answer(strings.TrimSuffix(w.sent[0], "body"))
				assert.Equal(t, want, string(body))
			}
		})
	}
}

// A long-lived token has no successor, and none is looked for.
func TestLongLivedTokenIsRefused(t *testing.T) {
	l := &login{tokens: []string{"TEST_long"}, noKey: true}
	w := &wire{answer: func(string) (int, string) { return http.StatusUnauthorized, rejection }}
	resp, err := do(t, l, w, http.MethodGet, plexTV, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Len(t, w.sent, 1)
	assert.Zero(t, l.rereads)
}

// A RoundTripper may be of a type that cannot be compared.
func TestFunctionAsBase(t *testing.T) {
	w := &wire{answer: ok}
	rt := transport.New(plextv.New(plextv.Config{}), &login{tokens: []string{token(1)}}, roundTripper(w.RoundTrip))
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server, nil)
		require.NoError(t, err)
		resp, err := rt.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
	}
	assert.Equal(t, []string{"TEST_s", "TEST_s"}, w.sent)
}

// The answer stands if there is no successor of the token, or if the request cannot be sent
// again.
func TestRefusedForGood(t *testing.T) {
	first, second := token(1), token(2)
	for name, spoil := range map[string]func(*login, *http.Request){
		"the store fails":            func(l *login, _ *http.Request) { l.onRenewal = func() { l.err = errStore } },
		"signed out":                 func(l *login, _ *http.Request) { l.onRenewal = func() { l.tokens = []string{"", ""} } },
		"renewed by another, failed": func(l *login, _ *http.Request) { l.onRenewal = func() { l.tokens = []string{second} } },
		"the body fails":             func(_ *login, r *http.Request) { r.GetBody = func() (io.ReadCloser, error) { return nil, errStore } },
	} {
		t.Run(name, func(t *testing.T) {
			l, w := &login{tokens: []string{first, second}}, &wire{answer: func(string) (int, string) { return plextv.StatusJWTExpired, "" }}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, plexTV, strings.NewReader("x"))
			require.NoError(t, err)
			spoil(l, req)
			resp, err := transport.New(plextv.New(plextv.Config{}), l, w).RoundTrip(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, plextv.StatusJWTExpired, resp.StatusCode)
			assert.Equal(t, []string{first + "x"}, w.sent)
		})
	}
}

// A body without bytes can always be sent again.
func TestRefusedWithoutABody(t *testing.T) {
	first, second := token(1), token(2)
	w := &wire{answer: func(token string) (int, string) {
		if token == first {
			return plextv.StatusJWTExpired, ""
		}
		return http.StatusOK, ""
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, plexTV, nil)
	require.NoError(t, err)
	req.Body, req.GetBody = http.NoBody, nil
	resp, err := transport.New(plextv.New(plextv.Config{}), &login{tokens: []string{first, second}}, w).RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, []string{first, second}, w.sent)
}

// An error of the base is the caller's, of the first request and of the one with the next token.
func TestBaseFails(t *testing.T) {
	errDown := errors.New("down")
	_, err := do(t, &login{tokens: []string{token(1)}}, roundTripper(func(*http.Request) (*http.Response, error) { return nil, errDown }), http.MethodGet, plexTV, nil, nil)
	assert.ErrorIs(t, err, errDown)

	l := &login{tokens: []string{token(1), token(2)}}
	w := &wire{answer: func(string) (int, string) { return plextv.StatusJWTExpired, "" }, err: errDown}
	_, err = do(t, l, w, http.MethodGet, plexTV, nil, nil)
	assert.ErrorIs(t, err, errDown)
	assert.Len(t, w.sent, 2)
	assert.False(t, l.refused)
}

// A RoundTripper of a test may answer without a body.
func TestAnswerWithoutABody(t *testing.T) {
	none := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusUnauthorized}, nil
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plexTV, nil)
	require.NoError(t, err)
	resp, err := transport.New(plextv.New(plextv.Config{}), &login{tokens: []string{token(1), token(2)}}, none).RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// G14: what cannot tell where it sends to sends no token in clear to a name.
func TestInClear(t *testing.T) {
	l := named{&login{tokens: []string{token(1)}}}
	w := &wire{answer: ok}
	body := &closed{Reader: strings.NewReader("x")}
	_, err := do(t, l, w, http.MethodPost, "http://box:32400/x", body, nil)
	assert.Error(t, err)
	assert.Empty(t, w.sent)
	assert.True(t, body.isClosed, "as every RoundTripper does")
	_, err = do(t, l, w, http.MethodGet, "http://box:32400/x", nil, nil)
	assert.Error(t, err)
}

// named is a login whose server has a name.
type named struct{ *login }

func (n named) Credential(ctx context.Context) (*credential.Credential, error) {
	stored, err := profile.Parse([]byte(`{"server_url":"http://box:32400","pms_token":"TEST_s","pms_token_server":"http://box:32400"}`))
	return credential.New(stored.Document().Profile("default"), nil, time.Now()), err
}

type closed struct {
	io.Reader
	isClosed bool
}

func (c *closed) Close() error {
	c.isClosed = true
	return nil
}

// Without a base, the client's transport sends. It may be this very one: then the standard
// one does.
func TestSender(t *testing.T) {
	w := &wire{answer: ok}
	program := &http.Client{Transport: w}
	rt := transport.New(plextv.New(plextv.Config{HTTPClient: program}), &login{tokens: []string{token(1)}}, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plexTV, nil)
	require.NoError(t, err)
	_, err = rt.RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, []string{token(1)}, w.sent)

	program.Transport = rt
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // so that nothing is sent
	_, err = rt.RoundTrip(req.WithContext(ctx))
	assert.ErrorIs(t, err, context.Canceled)
}

// Another Transport of the program is used as it is: it has a base, or another client.
func TestSenderIsAnotherTransport(t *testing.T) {
	for _, ofTheSameClient := range []bool{true, false} {
		w := &wire{answer: ok}
		program := &http.Client{}
		client := plextv.New(plextv.Config{HTTPClient: program})
		l := &login{tokens: []string{token(1)}}
		if ofTheSameClient {
			program.Transport = transport.New(client, l, w)
		} else {
			program.Transport = transport.New(plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: w}}), l, nil)
		}
		_, err := do(t, l, transport.New(client, l, nil), http.MethodGet, plexTV, nil, nil)
		require.NoError(t, err)
		assert.Equal(t, []string{token(1)}, w.sent)
	}
}

// mediaServer is a media server at a real address, and the login that has it.
type mediaServer struct {
	*httptest.Server
	login
	opened, closed atomic.Int64 // connections
}

func newMediaServer(t *testing.T) *mediaServer {
	s := &mediaServer{login: login{tokens: []string{token(1)}}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Plex-Token"))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.opened.Add(1)
		case http.StateClosed:
			s.closed.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *mediaServer) Credential(context.Context) (*credential.Credential, error) {
	stored, err := profile.Parse([]byte(`{"server_url":"` + s.URL + `","pms_token":"TEST_s","pms_token_server":"` + s.URL + `"}`))
	return credential.New(stored.Document().Profile("default"), nil, time.Now()), err
}

func (s *mediaServer) get(t *testing.T, rt http.RoundTripper) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	require.NoError(t, err)
	resp, err := rt.RoundTrip(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "TEST_s", string(body))
}

func (s *mediaServer) closes(t *testing.T, connections int64) {
	t.Helper()
	assert.Eventually(t, func() bool { return s.closed.Load() == connections }, 5*time.Second, time.Millisecond)
}

// The server's connections are used again, and closed with the idle ones of the base.
func TestCloseIdleConnections(t *testing.T) {
	s := newMediaServer(t)
	rt := transport.New(plextv.New(plextv.Config{}), s, &http.Transport{})
	rt.CloseIdleConnections() // it has no open connections
	s.get(t, rt)
	s.get(t, rt)
	assert.Equal(t, int64(1), s.opened.Load())
	rt.CloseIdleConnections()
	s.closes(t, 1)

	base := &closer{}
	transport.New(plextv.New(plextv.Config{}), s, base).CloseIdleConnections()
	assert.True(t, base.isClosed)
	transport.New(plextv.New(plextv.Config{}), s, &wire{}).CloseIdleConnections() // it has none to close
}

type closer struct {
	http.RoundTripper
	isClosed bool
}

func (c *closer) CloseIdleConnections() { c.isClosed = true }

// A program may replace the transport of its client: the new one is used, and the connections
// of the old one are closed.
func TestClientsTransportIsReplaced(t *testing.T) {
	s := newMediaServer(t)
	program := &http.Client{Transport: &http.Transport{}}
	rt := transport.New(plextv.New(plextv.Config{HTTPClient: program}), s, nil)
	s.get(t, rt)
	dialled := 0
	program.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled++
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	s.get(t, rt)
	assert.Equal(t, 1, dialled)
	s.closes(t, 1)
	rt.CloseIdleConnections()
	s.closes(t, 2)
}
