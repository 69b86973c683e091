package plexauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// browser sends requests to a panel as a browser does.
type browser struct {
	t *testing.T
	h http.Handler
}

// openPanel opens p's panel, which stops when the test ends.
func openPanel(t *testing.T, p *plexauth.PlexAuth) *browser {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &browser{t, p.Handler(ctx)}
}

// do sends a request. A POST comes from the panel's own page, unless change says more.
func (b *browser) do(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", "http://"+r.Host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, c := range change {
		c(r)
	}
	rec := httptest.NewRecorder()
	b.h.ServeHTTP(rec, r)
	return rec
}

// panelState is the answer to GET status and to most POSTs.
type panelState struct {
	Connected bool
	User      string
	Label     string
	Instance  string
	Extra     struct {
		Pending *struct {
			Code      string
			URL       string
			ExpiresIn int `json:"expires_in"`
		}
		NeedsLogin bool `json:"needs_login"`
	}
	Settings plexauth.Settings
	Finding  bool
	Problem  *panelProblem
	Seen     string
}

// panelProblem is an error in an answer of the panel.
type panelProblem struct {
	Error      string
	Message    string
	Detail     string
	RetryAfter int `json:"retry_after"`
	Servers    []plexauth.Server
}

// state reads the state from an answer.
func (b *browser) state(rec *httptest.ResponseRecorder) (s panelState) {
	b.t.Helper()
	require.Equal(b.t, http.StatusOK, rec.Code, rec.Body.String())
	assert.Equal(b.t, "application/json", rec.Header().Get("Content-Type"))
	assert.Equal(b.t, "no-store", rec.Header().Get("Cache-Control"))
	require.NoError(b.t, json.Unmarshal(rec.Body.Bytes(), &s))
	return s
}

// get sends a GET, and returns the state that is answered.
func (b *browser) get(path string) panelState {
	b.t.Helper()
	return b.state(b.do(http.MethodGet, path, ""))
}

// post sends a POST, and returns the state that is answered.
func (b *browser) post(path, body string) panelState {
	b.t.Helper()
	return b.state(b.do(http.MethodPost, path, body))
}

// refused asserts that an answer is an error with this status and word, and returns it.
func (b *browser) refused(rec *httptest.ResponseRecorder, status int, word string) (v panelProblem) {
	b.t.Helper()
	assert.Equal(b.t, status, rec.Code, rec.Body.String())
	require.NoError(b.t, json.Unmarshal(rec.Body.Bytes(), &v), rec.Body.String())
	assert.Equal(b.t, word, v.Error)
	assert.NotEmpty(b.t, v.Message)
	return v
}

// chooseUser chooses a Home user with a Home PIN.
func (b *browser) chooseUser(u *plextest.User, pin string) panelState {
	b.t.Helper()
	return b.post("/user", fmt.Sprintf(`{"uuid":%q,"pin":%q}`, u.UUID, pin))
}

// probe tests the saved server.
func (b *browser) probe() (v struct {
	Server struct{ Problem *panelProblem }
}) {
	rec := b.do(http.MethodPost, "/probe", "{}")
	require.Equal(b.t, http.StatusOK, rec.Code)
	require.NoError(b.t, json.Unmarshal(rec.Body.Bytes(), &v))
	return v
}
