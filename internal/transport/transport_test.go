package transport_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/credential"
	"github.com/plexauth/plexauth/internal/devicekey"
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
}

// token returns the JWT number n, which is good for a week.
func token(n int) string {
	e := base64.RawURLEncoding.EncodeToString
	now := time.Now().Unix()
	return e([]byte(`{"alg":"EdDSA"}`)) + "." + e(fmt.Appendf(nil, `{"iat":%d,"exp":%d,"user":{"id":1},"n":%d}`, now, now+7*24*3600, n)) + ".c2ln"
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
	return c, nil
}

func (l *login) MayRenew(c *credential.Credential) bool { return c.Life.Renewable() && !l.refused }

func (l *login) Renew(context.Context, *credential.Credential) error {
	if len(l.tokens) == 1 {
		return errors.New("not renewed")
	}
	l.tokens = l.tokens[1:]
	return nil
}

func (l *login) Refused() { l.refused = true }

func (l *login) Reread() {
	if l.stored != nil {
		l.tokens = l.stored
	}
}

// wire answers requests without a network, and keeps what it got.
type wire struct {
	answer func(token string) (status int, body string)
	sent   []string // the token of each request, and its body
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		r.Body.Close()
	}
	t := r.Header.Get("X-Plex-Token")
	w.sent = append(w.sent, t+body)
	status, text := w.answer(t)
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
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
	}
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
		"good":                           {answer: ok, sent: []string{first}, status: 200},
		"expired":                        {answer: refuse(498, "", first), sent: []string{first, second}, status: 200},
		"rejected":                       {answer: refuse(401, rejection, first), sent: []string{first, second}, status: 200},
		"with a body":                    {answer: refuse(498, "", first), body: strings.NewReader("body"), sent: []string{first + "body", second + "body"}, status: 200},
		"with a body that is gone":       {answer: refuse(498, "", first), body: stream(), sent: []string{first + "body"}, status: 498},
		"rejected, the body is gone":     {answer: refuse(401, rejection, first), body: stream(), sent: []string{first + "body"}, status: 401, kept: true},
		"the next one is refused, too":   {answer: refuse(498, "", first, second), sent: []string{first, second}, status: 498, refused: true},
		"not renewed":                    {login: login{tokens: []string{first}}, answer: refuse(498, "", first), sent: []string{first}, status: 498},
		"renewed in vain just now":       {login: login{refused: true}, answer: refuse(498, "", first), sent: []string{first}, status: 498, refused: true},
		"a 401 that is ambiguous":        {answer: refuse(401, notPlexTV, first), sent: []string{first}, status: 401},
		"another process has renewed":    {login: login{stored: []string{second}}, answer: refuse(401, notPlexTV, first), sent: []string{first, second}, status: 200},
		"no key":                         {login: login{noKey: true}, answer: refuse(498, "", first), sent: []string{first}, status: 498},
		"forbidden":                      {answer: refuse(403, rejection, first), sent: []string{first}, status: 403},
		"the program's own token":        {answer: refuse(498, "", "TEST_own"), header: http.Header{"X-Plex-Token": {"TEST_own"}}, sent: []string{"TEST_own"}, status: 498},
		"the server refuses its token":   {answer: refuse(401, rejection, "TEST_s"), url: server, sent: []string{"TEST_s"}, status: 401},
		"another server refuses nothing": {answer: refuse(401, rejection, ""), url: elsewhere, sent: []string{""}, status: 401},
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

// G14: what cannot tell where it sends to sends no token in clear to a name.
func TestInClear(t *testing.T) {
	l := named{&login{tokens: []string{token(1)}}}
	w := &wire{answer: ok}
	body := &closed{Reader: strings.NewReader("x")}
	_, err := do(t, l, w, http.MethodPost, "http://box:32400/x", body, nil)
	assert.Error(t, err)
	assert.Empty(t, w.sent)
	assert.True(t, body.isClosed, "as every RoundTripper does")
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
