package plexauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/plextest"
)

// What people and programs hand in: fuzz_test.go has the answers of plex.tv.

// panelPOSTs are all requests that change something in a panel.
var panelPOSTs = []string{"start", "cancel", "disconnect", "inspect", "server", "user", "probe"}

// G13, G18: no body of a POST to the panel makes it fail. What is not JSON is a bad
// request. No answer has a token, and the store can be read afterwards.
func FuzzPanelBodies(f *testing.F) {
	for n, body := range []string{
		`{"strong":true,"forward_url":"http://example.com/plex/return","switch_account":true}`, `{}`, `{"revoke":true}`, `{}`,
		`{"machine_id":"$BOX"}`, `{"uuid":"$KID","pin":"1234"}`, `{"url":"192.168.1.5:32400"}`,
	} {
		f.Add(uint8(n), false, []byte(body))
		f.Add(uint8(n), true, []byte(body))
	}
	f.Add(uint8(0), false, []byte(`{"strong":true,"forward_url":"http://example.com@evil.example/return"}`))
	f.Add(uint8(4), false, []byte(`{"url":"https://$BOX@evil.example:32400/\u0000#"}`))
	f.Add(uint8(4), true, []byte(`{"machine_id":7,"url":"http://[fe80::1%25lo]/"}`))
	f.Add(uint8(5), false, []byte(`{"uuid":"$CAROL","pin":"wrong"} `))
	f.Add(uint8(2), true, []byte("\tnull"))
	f.Fuzz(func(t *testing.T, n uint8, isListed bool, body []byte) {
		synctest.Test(t, func(t *testing.T) {
			w, kid, carol := home(t)
			box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
			names := strings.NewReplacer("$BOX", box.MachineID, "$KID", kid.UUID, "$CAROL", carol.UUID)
			sent := names.Replace(string(body))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h, base := w.Handler(ctx), "/"
			if isListed {
				h, base = w.ProfilesHandler(ctx), "/profile/default/"
			}
			held := canary.New()
			held.Learn([]byte(w.doc(t)))
			name := panelPOSTs[int(n)%len(panelPOSTs)]
			rec := postBody(h, base+name, sent)
			held.Learn([]byte(w.doc(t)))
			answer := fmt.Sprint(rec.Header(), rec.Body)
			var problem struct{ Error string }
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &problem), answer)
			require.Empty(t, held.Search().In(answer, false))
			require.NotContains(t, []string{"internal", "store", "store_corrupt", "stopped"}, problem.Error, answer)
			if trimmed := strings.TrimSpace(sent); trimmed != "" && !(trimmed[0] == '{' && json.Valid([]byte(trimmed))) {
				require.Equal(t, http.StatusBadRequest, rec.Code, "%s %q: %s", name, sent, answer)
			}
			if rec.Code >= http.StatusInternalServerError { // of what is asked
				require.Equal(t, http.StatusBadGateway, rec.Code, answer)
				require.Contains(t, []string{"server", "probe", "inspect"}, name, answer)
			}
			s, err := w.Status(t.Context())
			require.NoError(t, err)
			if s.Pending != nil {
				requireReturn(t, s.Pending.URL(), "http://example.com/")
			}
			rec = httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, base+"status", nil))
			require.Equal(t, http.StatusOK, rec.Code, rec.Body)
			require.Empty(t, held.Search().In(rec.Body.String(), false))
		})
	})
}

// postBody answers a POST of a browser.
func postBody(h http.Handler, path, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)) // to example.com
	r.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(rec, r)
	return rec
}

// requireReturn requires that a link to Plex leads back to nowhere or to an address that
// begins with prefix.
func requireReturn(t *testing.T, link, prefix string) {
	_, query, _ := strings.Cut(link, "#?")
	values, err := url.ParseQuery(query)
	require.NoError(t, err)
	if to := values.Get("forwardUrl"); to != "" {
		require.True(t, strings.HasPrefix(to, prefix), to)
	}
}

// G29, G13: any token and any identifier are adopted as they are, or an error says why not
// and nothing is stored. No error quotes the token, and no request goes anywhere but to
// plex.tv.
func FuzzAdopt(f *testing.F) {
	f.Add("TEST_token-of-another-program", "other-program", uint8(0))
	f.Add("TEST_token-of-another-program", "", uint8(1))
	f.Add(" TEST_token ", "other\nprogram", uint8(0))
	f.Add("eyJhbGciOiJFZERTQSJ9.eyJhdWQiOlsicGxleC50diIsImRldiJdLCJleHAiOjF9.c2ln", "other-program", uint8(0))
	f.Add("TEST_\x00", "\xff", uint8(2))
	f.Add("TEST_"+strings.Repeat("x", 4092), strings.Repeat("i", 256), uint8(3))
	user := payload(f, "user.json")
	f.Fuzz(func(t *testing.T, token, clientID string, answer uint8) {
		store := plexauth.NewMemoryStore()
		p := openOver(t, adoptNetwork(t, token, user, answer), withStore(store))
		s, err := p.Adopt(t.Context(), plexauth.NewToken(token), plexauth.AdoptOptions{ClientID: clientID})
		raw, loadErr := store.Load(t.Context(), plexauth.Namespace)
		require.NoError(t, loadErr)
		var stored struct {
			ClientID     string `json:"client_id"`
			AccountToken string `json:"account_token"`
		}
		if raw != nil {
			require.NoError(t, json.Unmarshal(raw, &stored))
		}
		require.Equal(t, err == nil, s.Connected || s.NeedsLogin, "%v", err) // plex.tv may take a JWT whose time is over
		if err == nil {
			require.Equal(t, token, stored.AccountToken)
			require.Equal(t, token, mustSettings(t, p).AccountToken.Secret())
			require.True(t, clientID == "" || clientID == stored.ClientID || strings.Count(token, ".") == 2, stored.ClientID)
			return
		}
		require.Empty(t, stored.AccountToken)
		require.True(t, len(token) < 8 || !strings.Contains(string(raw), token), "stored: %s", raw)
		// A text is not secret if the error for an ordinary token has it, too.
		usual := ""
		for _, other := range []string{"", "a b", "TEST_ordinary", token[:len(token)/2]} {
			_, err := openOver(t, adoptNetwork(t, other, user, answer)).Adopt(t.Context(), plexauth.NewToken(other), plexauth.AdoptOptions{ClientID: clientID})
			usual += fmt.Sprint(err, "\n")
		}
		if text := canary.Forms(err); len(token) >= 8 && !strings.Contains(usual, token) {
			require.NotContains(t, text, token)
		}
	})
}

// adoptNetwork is plex.tv, which gets requests with this token alone. Some of its answers and
// errors quote the request.
func adoptNetwork(t *testing.T, token, user string, answer uint8) http.RoundTripper {
	return roundTripFunc(func(r *http.Request) (*http.Response, error) {
		require.Equal(t, "https://plex.tv/api/v2/user", r.URL.String())
		require.Equal(t, []string{token}, r.Header["X-Plex-Token"])
		status, body := http.StatusOK, user
		switch answer % 4 {
		case 1:
			status, body = http.StatusUnauthorized, fmt.Sprintf(`{"errors":[{"code":1001,"message":%q}]}`, "no user has "+token)
		case 2:
			return nil, fmt.Errorf("cannot send %v", r.Header)
		case 3:
			status, body = http.StatusInternalServerError, "<html>"+token
		}
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: r}, nil
	})
}

// G14, G25: whatever a person types as the address of their server, only hosts in it are
// asked. If it is saved, it reads as it was saved, and the server's token goes there alone.
func FuzzUseServer(f *testing.F) {
	for _, typed := range []string{
		"plex.example", "http://192.168.1.5:32400/web/index.html#!/", "https://plex.example:443/sub/", "https://müller.example", "fd12::5", "http://plex.example",
		"https://plex.example@evil.example", "https://evil.example\\@plex.example/", "http://10.0.0.1%2fevil.example", "5f1c0e6f2a8c4b1fae53f2bb3c1d9a7e0b6c8d42", "https://plex.tv", "http://localhost.",
	} {
		f.Add(typed)
	}
	const box = "5f1c0e6f2a8c4b1fae53f2bb3c1d9a7e0b6c8d42"
	listed := fmt.Sprintf(`[{"name":"Box","provides":"server","owned":true,"clientIdentifier":%q,"accessToken":"TEST_server-token-01","connections":[{"protocol":"https","address":"192.168.1.9","port":32400,"uri":"https://192.168.1.9:32400","local":true}]}]`, box)
	user := payload(f, "user.json")
	f.Fuzz(func(t *testing.T, typed string) {
		store := plexauth.NewMemoryStore()
		put(t, store, `{"client_id":"my-app-1","account_token":"TEST_account-token02","_cloud":{"account_id":12345}}`)
		rt := &addressNetwork{t: t, typed: typed, listed: listed, user: user, identity: fmt.Sprintf(`{"MediaContainer":{"machineIdentifier":%q,"version":"1.41"}}`, box)}
		p := openOver(t, rt, withStore(store))
		_, err := p.UseServer(t.Context(), typed)
		saved := mustSettings(t, p).ServerURL
		if err != nil || saved == "" {
			require.Empty(t, saved, "%q: %v", typed, err)
			return
		}
		u, err := url.Parse(saved)
		require.NoError(t, err, "%q", typed)
		require.True(t, u.User == nil && u.RawQuery == "" && u.Fragment == "" && u.Opaque == "", "%q was saved as %q", typed, saved)
		if rt.saved = u; typed != box {
			rt.typed = saved
			_, err = p.UseServer(t.Context(), saved)
			require.NoError(t, err, "%q was saved as %q", typed, saved)
			require.Equal(t, saved, mustSettings(t, p).ServerURL, "%q", typed)
		}
		client := &http.Client{Transport: p.Transport(rt)}
		for _, at := range []string{saved + "/library", u.Scheme + "://" + u.Host + ".evil.example/", u.Scheme + "://" + u.Hostname() + ":1/", u.Scheme + "://" + url.PathEscape(u.Host) + "@evil.example/", "https://evil.example/" + u.Host} {
			if resp, err := client.Get(at); err == nil {
				resp.Body.Close()
			}
		}
	})
}

// addressNetwork is plex.tv, and the account's media server at every other address. It
// reports tokens that are sent where they do not belong.
type addressNetwork struct {
	t                             *testing.T
	typed, listed, user, identity string
	saved                         *url.URL // the address of the server; nil while it is looked for
}

func (n *addressNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	body := n.identity
	if isPlexTV := r.URL.Scheme == "https" && (r.URL.Host == "plex.tv" || r.URL.Host == "clients.plex.tv"); !isPlexTV {
		n.judge(r.URL, fmt.Sprint(r.Header["X-Plex-Token"]))
	} else if r.URL.Path == "/api/v2/resources" {
		body = n.listed
	} else if r.URL.Path == "/api/v2/user" {
		body = n.user
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: r}, nil
}

// judge reports a request that must not go to u, or not with these tokens.
func (n *addressNetwork) judge(u *url.URL, tokens string) {
	mayHaveToken := n.isNamed(u)
	if n.saved != nil {
		mayHaveToken = u.Scheme == n.saved.Scheme && u.Host == n.saved.Host
	}
	switch {
	case strings.Contains(tokens, "TEST_account"), tokens != "[]" && !mayHaveToken:
		n.t.Errorf("%q: %s goes to %s", n.typed, tokens, u)
	case tokens != "[]" && u.Scheme == "http" && !netaddr.IsPrivateHost(u):
		n.t.Errorf("%q: %s goes in clear to %s", n.typed, tokens, u)
	case n.saved == nil && !n.isNamed(u):
		n.t.Errorf("%q asks %s", n.typed, u)
	}
}

// isNamed reports whether plex.tv or the person has named the host.
func (n *addressNetwork) isNamed(u *url.URL) bool {
	return (&panelNetwork{listed: n.listed, place: strings.ToLower(n.typed)}).names(strings.ToLower(u.Hostname()))
}

// G8: any address to come back to is refused before a PIN is made, or is in the link as it
// was given, also after a restart.
func FuzzForwardURL(f *testing.F) {
	for _, forward := range []string{"https://app.example/callback?a=1&b=%20#x", "http://[::1]:8080/", "javascript:alert(1)", "https://user@app.example", "https://app.example/&code=x#?y", "HTTPS://APP.example/\u00e9"} {
		f.Add(forward)
	}
	const pin = `{"id":4711,"code":"abcdefghijklmnopqrstuvwxy","expiresIn":900}`
	f.Fuzz(func(t *testing.T, forward string) {
		store, made := plexauth.NewMemoryStore(), 0
		rt := roundTripFunc(func(r *http.Request) (*http.Response, error) {
			made++
			return bodies([]byte(pin)).RoundTrip(r)
		})
		options := plexauth.PinOptions{Strong: true, ForwardURL: forward}
		first, err := openOver(t, rt, withStore(store)).Start(t.Context(), options)
		if err != nil {
			require.Zero(t, made, "%q: %v", forward, err)
			return
		}
		query, ok := strings.CutPrefix(first.AuthURL(), "https://app.plex.tv/auth#?")
		require.True(t, ok, first.AuthURL())
		values, err := url.ParseQuery(query)
		require.NoError(t, err)
		require.Equal(t, forward, values.Get("forwardUrl"))
		require.Equal(t, []string{"abcdefghijklmnopqrstuvwxy"}, values["code"])
		require.Len(t, values["clientID"], 1)
		again, err := openOver(t, rt, withStore(store)).Start(t.Context(), options)
		require.NoError(t, err)
		require.Equal(t, first.AuthURL(), again.AuthURL())
		require.Equal(t, 1, made, "%q", forward)
	})
}
