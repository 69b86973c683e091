package plexauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/internal/corpus"
)

// seed adds the recorded answers that match, and fails if there are none.
func seed(f *testing.F, patterns ...string) {
	f.Helper()
	n := 0
	for _, pattern := range patterns {
		names, err := filepath.Glob("testdata/" + pattern)
		require.NoError(f, err)
		for _, name := range names {
			b, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(b)
			f.Add(b[:len(b)/2])
			n++
		}
	}
	if n == 0 {
		f.Fatal("no seeds")
	}
}

// FuzzPIN feeds answers to Start and Finish. A PIN is complete or the error is typed,
// and a saved token fits into a header.
func FuzzPIN(f *testing.F) {
	seed(f, "pin-*.json", "pin-*.xml", "error-*", "jwt-*.json")
	created, err := os.ReadFile("testdata/pin-created.json")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, strong := range []bool{false, true} {
			pin, err := openOver(t, bodies(body)).Start(t.Context(), plexauth.PinOptions{Strong: strong})
			if err != nil {
				var e *plexauth.Error
				if !errors.As(err, &e) || !errors.Is(err, plexauth.ErrUnavailable) || strings.ContainsAny(err.Error(), "\n\r\x00") {
					t.Fatalf("not typed: %q", err)
				}
				continue
			}
			if pin.ID <= 0 || pin.Code == "" || strings.ContainsAny(pin.Code, " <>&?#/%\"") || (len(pin.Code) > 10) != strong {
				t.Fatalf("not a PIN: %d %q", pin.ID, pin.Code)
			}
			if life := pin.ExpiresAt.Sub(pin.CreatedAt); life < 10*time.Second || life > time.Hour {
				t.Fatalf("lives %s", life)
			}
		}
		p := openOver(t, bodies(created, body))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		s, err := p.Finish(t.Context())
		if s.Connected != !mustSettings(t, p).AccountToken.IsZero() {
			t.Fatalf("connected without a token: %v", err)
		}
		if tok := mustSettings(t, p).AccountToken.Secret(); strings.ContainsAny(tok, " \t\r\n\x00") || len(tok) > 4096 {
			t.Fatalf("a token that fits into no header: %q", tok)
		}
	})
}

// FuzzAccount feeds answers to Account. The account has a number or the error is
// typed.
func FuzzAccount(f *testing.F) {
	seed(f, "user*.json", "error-*", "home-users.json")
	f.Fuzz(func(t *testing.T, body []byte) {
		p := openOver(t, bodies(body), withLogin(t))
		a, err := p.Account(t.Context())
		var e *plexauth.Error
		switch {
		case err == nil && a.ID <= 0:
			t.Fatalf("an account without a number: %+v", a)
		case err != nil && (!errors.As(err, &e) || errors.Is(err, plexauth.ErrTokenRejected)):
			t.Fatalf("a 200 that rejects, or an error without a type: %v", err)
		}
	})
}

// FuzzServers feeds answers to Servers. No server lacks its identifier.
func FuzzServers(f *testing.F) {
	seed(f, "resources.json", "error-*")
	f.Fuzz(func(t *testing.T, body []byte) {
		p := openOver(t, bodies(body), withLogin(t))
		servers, err := p.Servers(t.Context())
		var e *plexauth.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("not typed: %v", err)
		}
		for _, s := range servers {
			if s.MachineID == "" {
				t.Fatal("a server without an identifier")
			}
		}
	})
}

// FuzzConfig feeds stored documents to a login. It ends without a panic, leaves valid
// JSON, and keeps the members of other programs.
func FuzzConfig(f *testing.F) {
	corpus.Require(f)
	var config map[string]json.RawMessage
	require.NoError(f, json.Unmarshal([]byte(payload(f, "crosswatch-config.json")), &config))
	require.NotEmpty(f, config["plex"])
	f.Add([]byte(config["plex"]))
	created, err := os.ReadFile("testdata/pin-created.json")
	require.NoError(f, err)
	approved, err := os.ReadFile("testdata/pin-approved.json")
	require.NoError(f, err)
	user, err := os.ReadFile("testdata/user.json")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, doc []byte) {
		store := &looseStore{doc: doc}
		for _, instance := range []string{"default", "P"} {
			p := openOver(t, bodies(created, approved, user), func(o *plexauth.Options) { o.Store, o.Instance = store, instance })
			if _, err := p.Status(t.Context()); err != nil {
				require.ErrorIs(t, err, plexauth.ErrCorruptConfig)
				continue
			}
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			if err != nil {
				continue // a pending PIN whose account the mock does not know
			}
			_, _ = p.Finish(t.Context())
			_, err = p.Disconnect(t.Context())
			require.NoError(t, err)
			if !json.Valid(store.doc) {
				t.Fatalf("damaged: %q became %q", doc, store.doc)
			}
			var before, after map[string]json.RawMessage
			if json.Unmarshal(doc, &before) == nil && json.Unmarshal(store.doc, &after) == nil {
				for key, value := range before {
					if strings.HasPrefix(key, "x") && !bytes.Equal(value, after[key]) {
						t.Fatalf("lost %q", key)
					}
				}
			}
		}
	})
}

// looseStore keeps whatever it is given.
type looseStore struct{ doc []byte }

func (s *looseStore) Load(context.Context, string) (jsonRaw, error) { return bytes.Clone(s.doc), nil }
func (s *looseStore) Update(_ context.Context, _ string, edit func(jsonRaw) (jsonRaw, error)) error {
	next, err := edit(bytes.Clone(s.doc))
	if err == nil {
		s.doc = bytes.Clone(next)
	}
	return err
}

// G12: no Retry-After is taken for longer than an hour or for less than nothing.
func FuzzRetryAfter(f *testing.F) {
	corpus.Require(f)
	f.Fuzz(func(t *testing.T, value string) {
		rt := roundTripFunc(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {value}}, Body: http.NoBody, Request: r}, nil
		})
		_, err := openOver(t, rt).Start(t.Context(), plexauth.PinOptions{})
		var e *plexauth.Error
		if !errors.As(err, &e) || !errors.Is(err, plexauth.ErrRateLimited) || e.RetryAfter < 0 || e.RetryAfter > time.Hour {
			t.Fatalf("%q: %v", value, err)
		}
	})
}

// FuzzInstance feeds names of profiles. Each names one profile, always the same, or
// every call says why it is refused.
func FuzzInstance(f *testing.F) {
	corpus.Require(f)
	f.Fuzz(func(t *testing.T, id string) {
		p := openOver(t, bodies(nil))
		s, err := p.Instance(id).Status(t.Context())
		if err != nil {
			if utf8.ValidString(id) && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
				t.Fatalf("%q: %v", id, err)
			}
			return
		}
		if s.Instance == "" || strings.TrimSpace(s.Instance) != s.Instance {
			t.Fatalf("%q became %q", id, s.Instance)
		}
	})
}

// G13, G14: the panel of a profile that is signed in gets arbitrary POSTs. It answers
// in JSON with a status that fits, shows no secret, and sends requests only where it
// may.
func FuzzPanel(f *testing.F) {
	corpus.Require(f)
	const box = "172-18-0-3.0123456789abcdef0123456789abcdef.plex.direct:32400"
	const doc = `{"client_id":"my-app-1","account_token":"TEST_account-token02","pms_token":"TEST_server-token-01","server_url":"https://` + box +
		`","machine_id":"5f1c0e6f2a8c4b1fae53f2bb3c1d9a7e0b6c8d42","cloud_account_id":"12345"}`
	c := canary.New()
	c.Learn([]byte(doc))
	c.Add("PIN id", "373040866")
	c.Add("account token", "TEST_account-token01")
	secrets := c.Search()
	listed := payload(f, "resources.json")
	answers := map[string]string{
		"/api/v2/pins": payload(f, "pin-created.json"), "/api/v2/pins/373040866": payload(f, "pin-approved.json"),
		"/api/v2/user": payload(f, "user.json"), "/api/v2/home/users": payload(f, "home-users.json"), "/api/v2/resources": listed,
	}
	f.Fuzz(func(t *testing.T, route, body string) {
		if strings.ContainsAny(route, "/?#%") || url.PathEscape(route) != route {
			return
		}
		var typed struct {
			MachineID string `json:"machine_id"`
			URL       string
		}
		_ = json.Unmarshal([]byte(body), &typed) // the panel cannot read the rest, either
		place, _, _ := strings.Cut(typed.MachineID+" "+typed.URL, "#")
		rt := &panelNetwork{t: t, secrets: secrets, answers: answers, listed: listed, place: place, post: fmt.Sprintf("POST %s %q", route, body)}
		synctest.Test(t, func(t *testing.T) {
			store := plexauth.NewMemoryStore()
			put(t, store, doc)
			p := openOver(t, rt, withStore(store))
			ctx, cancel := context.WithCancel(t.Context())
			h := p.Handler(ctx)
			for _, ask := range [][2]string{{"POST", route}, {"GET", "status"}, {"GET", "servers"}} {
				rec := httptest.NewRecorder()
				req := httptest.NewRequest(ask[0], "http://app.example/"+ask[1], strings.NewReader(body))
				req.Header.Set("Content-Type", "application/json")
				h.ServeHTTP(rec, req)
				var e struct{ Error, Message string }
				err := json.Unmarshal(rec.Body.Bytes(), &e)
				if err != nil || rec.Code >= 400 != (e.Error != "" && e.Message != "") || secrets.In(fmt.Sprint(rec.Header(), rec.Body), false) != nil {
					t.Errorf("after POST %s %q, %s: %d %s", route, body, ask, rec.Code, rec.Body)
				}
			}
			cancel()
		})
	})
}

// panelNetwork is the network of a fuzzed panel. It reports secrets that are sent where
// they do not belong, and hosts that no one has named.
type panelNetwork struct {
	t       *testing.T
	secrets *canary.Search
	answers map[string]string // of plex.tv, by path
	listed  string            // plex.tv's list of servers
	place   string            // the POST names this server
	post    string            // the POST, for reports
}

func (n *panelNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, sent := "", r.URL.String()
	switch {
	case r.URL.Scheme == "https" && (r.URL.Host == "plex.tv" || r.URL.Host == "clients.plex.tv"):
		answer = n.answers[r.URL.Path]
		sent = strings.Replace(sent, "/api/v2/pins/373040866", "", 1)
	case strings.Contains(n.listed, r.URL.Scheme+"://"+r.URL.Host+`"`):
		answer = payload(n.t, "pms-identity.json")
		if r.Header.Get("X-Plex-Token") != "TEST_server-token-01" { // the server's own token
			sent += fmt.Sprint(r.Header)
		}
	default:
		answer = `{"MediaContainer":{"machineIdentifier":"another"}}`
		sent += fmt.Sprint(r.Header)
		if !n.names(r.URL.Hostname()) {
			n.t.Errorf("%s asks %s", n.post, r.URL.Host)
		}
	}
	if found := n.secrets.In(sent, false); found != nil {
		n.t.Errorf("%s sends %s %s", n.post, r.URL.Host, found)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), ContentLength: -1, Request: r}, nil
}

// names reports whether plex.tv or the POST names host. Names outside ASCII are
// converted on the way, and not compared.
func (n *panelNetwork) names(host string) bool {
	unescaped, _ := url.PathUnescape(n.place)
	for _, r := range unescaped {
		if r >= utf8.RuneSelf {
			return true
		}
	}
	return strings.Contains(n.listed+n.place+unescaped, host)
}
