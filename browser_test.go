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

// browser is what a browser does with a panel.
type browser struct {
	t *testing.T
	h http.Handler
}

// openPanel makes the panel of p, which ends with the test.
func openPanel(t *testing.T, p *plexauth.PlexAuth) *browser {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &browser{t, p.Handler(ctx)}
}

func (f *browser) do(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	f.t.Helper()
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
	f.h.ServeHTTP(rec, r)
	return rec
}

// panelState is what status and the POSTs answer.
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

type panelProblem struct {
	Error      string
	Message    string
	Detail     string
	RetryAfter int `json:"retry_after"`
	Servers    []plexauth.Server
}

func (f *browser) state(rec *httptest.ResponseRecorder) (s panelState) {
	f.t.Helper()
	require.Equal(f.t, http.StatusOK, rec.Code, rec.Body.String())
	assert.Equal(f.t, "application/json", rec.Header().Get("Content-Type"))
	assert.Equal(f.t, "no-store", rec.Header().Get("Cache-Control"))
	require.NoError(f.t, json.Unmarshal(rec.Body.Bytes(), &s))
	return s
}

func (f *browser) get(path string) panelState {
	f.t.Helper()
	return f.state(f.do(http.MethodGet, path, ""))
}

func (f *browser) post(path, body string) panelState {
	f.t.Helper()
	return f.state(f.do(http.MethodPost, path, body))
}

// refused asserts that an answer is an error with this status and word.
func (f *browser) refused(rec *httptest.ResponseRecorder, status int, word string) (v panelProblem) {
	f.t.Helper()
	assert.Equal(f.t, status, rec.Code, rec.Body.String())
	require.NoError(f.t, json.Unmarshal(rec.Body.Bytes(), &v), rec.Body.String())
	assert.Equal(f.t, word, v.Error)
	assert.NotEmpty(f.t, v.Message)
	return v
}

func (f *browser) chooseUser(u *plextest.User, pin string) panelState {
	f.t.Helper()
	return f.post("/user", fmt.Sprintf(`{"uuid":%q,"pin":%q}`, u.UUID, pin))
}

// probe is what POST probe says of the saved server.
func (f *browser) probe() (v struct {
	Server struct{ Problem *panelProblem }
}) {
	rec := f.do(http.MethodPost, "/probe", "{}")
	require.Equal(f.t, http.StatusOK, rec.Code)
	require.NoError(f.t, json.Unmarshal(rec.Body.Bytes(), &v))
	return v
}
