package panel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/panel"
)

// askWithBody sends a POST with a body as the panel's own page does.
func askWithBody(h http.Handler, path, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return rec
}

// statusOf is a part of the answer to GET status.
type statusOf struct {
	Finding bool
	Problem *panel.Problem
	Seen    string
}

// status asks for the status.
func status(t *testing.T, p *panel.Panel) (s statusOf) {
	rec := ask(p, http.MethodGet, "/status")
	require.Equal(t, http.StatusOK, rec.Code)
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &s))
	return s
}

// failedSearch returns a host of which a search for the server has just found nothing.
func failedSearch(kind panel.Kind) *host {
	return &host{pending: oneLogin(), findServer: func() *panel.Problem { return &panel.Problem{Kind: kind} }}
}

var storeFails = panel.Problem{Status: http.StatusServiceUnavailable, Kind: panel.Store}

// A problem stays until something else has happened that is of use.
func TestHowLongAProblemStays(t *testing.T) {
	fails := func() *panel.Problem { p := storeFails; return &p }
	notRevoked := func() *panel.Problem { return &panel.Problem{Status: http.StatusBadGateway, Kind: panel.NotRevoked} }
	answers := func(accepted bool, problem *panel.Problem) func() (panel.ProbeResult, *panel.Problem) {
		return func() (panel.ProbeResult, *panel.Problem) { return panel.ProbeResult{TokenAccepted: accepted}, problem }
	}
	for name, tc := range map[string]struct {
		path, body string
		act        func() *panel.Problem
		probe      func() (panel.ProbeResult, *panel.Problem)
		before     panel.Kind
		code       int
		after      panel.Kind // "": no problem
	}{
		"start":                         {"/start", "", nil, nil, "server_unreachable", 200, ""},
		"start fails":                   {"/start", "", fails, nil, "server_unreachable", 503, "server_unreachable"},
		"cancel":                        {"/cancel", "", nil, nil, "server_unreachable", 200, ""},
		"cancel fails":                  {"/cancel", "", fails, nil, "server_unreachable", 503, "server_unreachable"},
		"disconnect":                    {"/disconnect", "", nil, nil, "server_unreachable", 200, ""},
		"disconnect fails":              {"/disconnect", "", fails, nil, "server_unreachable", 503, "server_unreachable"},
		"disconnect without a revoking": {"/disconnect", "", notRevoked, nil, "server_unreachable", 200, panel.NotRevoked},
		"inspect":                       {"/inspect", "", nil, nil, "server_unreachable", 200, ""},
		"a server":                      {"/server", `{"machine_id":"m1"}`, nil, nil, "server_unreachable", 200, ""},
		"a test":                        {"/probe", "", nil, answers(true, nil), "server_unreachable", 200, ""},
		"a test that says too little":   {"/probe", "", nil, answers(false, nil), "server_unreachable", 200, "server_unreachable"},
		"a test that fails":             {"/probe", "", nil, answers(true, fails()), "server_unreachable", 200, "server_unreachable"},
		"a test, of another problem":    {"/probe", "", nil, answers(true, nil), "status", 200, "status"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := failedSearch(tc.before)
				h.act, h.probe = tc.act, tc.probe
				p := open(t, h)
				time.Sleep(2 * time.Second)
				require.NotNil(t, status(t, p).Problem)
				rec := askWithBody(p, tc.path, tc.body)
				assert.Equal(t, tc.code, rec.Code)
				assert.Empty(t, rec.Header().Get("Retry-After"))
				if tc.probe != nil {
					assert.Contains(t, rec.Body.String(), `"addresses":[]`)
				}
				after := status(t, p).Problem
				assert.Equal(t, tc.after == "", after == nil)
				if after != nil {
					assert.Equal(t, tc.after, after.Kind)
				}
			})
		})
	}
}

// An action that has succeeded is answered with the problem of the store, if its state cannot
// be read.
func TestStateCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{state: func() (*panel.State, *panel.Problem) { p := storeFails; return nil, &p }}
		p := open(t, h)
		for _, rec := range []*httptest.ResponseRecorder{askWithBody(p, "/cancel", ""), ask(p, http.MethodGet, "/qr.svg"), ask(p, http.MethodGet, "/servers")} {
			assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
			assert.Contains(t, rec.Body.String(), `"error":"store"`)
		}
	})
}

// A new user's number is looked for if it is not known. The last problem is over then.
func TestChosenUser(t *testing.T) {
	for _, complete := range []bool{true, false} {
		t.Run(fmt.Sprintf("complete=%t", complete), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var searches atomic.Int64
				h := &host{pending: oneLogin(), findServer: func() *panel.Problem {
					if searches.Add(1) == 1 {
						return &panel.Problem{Kind: "server_choice"}
					}
					time.Sleep(5 * time.Second)
					return nil
				}}
				h.chooseUser = func() (bool, *panel.Problem) { return complete, nil }
				p := open(t, h)
				time.Sleep(2 * time.Second)
				rec := askWithBody(p, "/user", `{"uuid":"u1"}`)
				require.Equal(t, http.StatusOK, rec.Code)
				s := status(t, p)
				assert.Equal(t, !complete, s.Finding)
				assert.Equal(t, complete, s.Problem != nil)
				time.Sleep(time.Minute)
				assert.Equal(t, !complete, searches.Load() == 2)
				assert.False(t, status(t, p).Finding)
			})
		})
	}
}

// A test of an address says one word, unless the store fails.
func TestProbedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, other := storeFails, panel.Problem{Status: http.StatusBadGateway, Kind: "server_unreachable"}
		for name, tc := range map[string]struct {
			found   panel.ProbeResult
			problem *panel.Problem
			code    int
			want    string
		}{
			"it answers":         {panel.ProbeResult{URL: "https://plex"}, nil, 200, `{"result":"ok"}`},
			"another server":     {panel.ProbeResult{MachineID: "m2"}, &other, 200, `{"result":"wrong_server"}`},
			"nothing":            {panel.ProbeResult{}, &other, 200, `{"result":"unreachable"}`},
			"nothing, no reason": {panel.ProbeResult{}, nil, 200, `{"result":"unreachable"}`},
			"the store fails":    {panel.ProbeResult{}, &store, 503, `"error":"store"`},
		} {
			p := panel.New(t.Context(), &host{probe: func() (panel.ProbeResult, *panel.Problem) { return tc.found, tc.problem }}, panel.Config{})
			rec := askWithBody(p, "/probe", `{"url":"https://plex"}`)
			assert.Equal(t, tc.code, rec.Code, name)
			assert.Contains(t, rec.Body.String(), tc.want, name)
		}
	})
}

// A browser that goes while its request waits for another one is not kept waiting, and starts
// nothing.
func TestBrowserGoes(t *testing.T) {
	for path, code := range map[string]int{"/start": 200, "/user": 200, "/servers": 503, "/status": 503} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				slow := func() {
					calls.Add(1)
					time.Sleep(10 * time.Second)
				}
				h := &host{
					act:        func() *panel.Problem { slow(); return nil },
					chooseUser: func() (bool, *panel.Problem) { slow(); return true, nil },
					servers:    func() ([]panel.Server, *panel.Problem) { slow(); return nil, nil },
				}
				if path == "/status" {
					h.state = func() (*panel.State, *panel.Problem) { slow(); return &panel.State{}, nil }
				}
				p := panel.New(t.Context(), h, panel.Config{})
				method := http.MethodPost
				if code == 503 {
					method = http.MethodGet
				}
				go ask(p, method, path)
				synctest.Wait()
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				rec := httptest.NewRecorder()
				p.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, method, path, nil))
				assert.Equal(t, time.Second, time.Since(began))
				assert.Equal(t, code, rec.Code)
				if code == 503 {
					assert.Contains(t, rec.Body.String(), `"detail":"context deadline exceeded"`)
				}
				assert.EqualValues(t, 1, calls.Load())
				time.Sleep(time.Minute)
			})
		})
	}
}

// A list is kept for a moment, but only for the token that it was read with.
func TestListOfNoToken(t *testing.T) {
	for token, want := range map[string]int64{"": 2, "t1": 1} {
		synctest.Test(t, func(t *testing.T) {
			var asked atomic.Int64
			p := panel.New(t.Context(), &host{
				state:   func() (*panel.State, *panel.Problem) { return &panel.State{TokenID: token}, nil },
				servers: func() ([]panel.Server, *panel.Problem) { asked.Add(1); return nil, nil },
			}, panel.Config{})
			for range 2 {
				assert.Contains(t, ask(p, http.MethodGet, "/servers").Body.String(), `{"servers":[]}`, "token %q", token)
			}
			assert.Equal(t, want, asked.Load(), "token %q", token)
		})
	}
}

// The method, the origin, the host and the body of a request are checked.
func TestUnusualRequests(t *testing.T) {
	p := panel.New(t.Context(), &host{}, panel.Config{TrustedOrigins: []string{"https://a b", "https://trusted.example"}})
	request := func(method, path string, body string, edit func(*http.Request)) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "https://trusted.example"+path, strings.NewReader(body))
		if edit != nil {
			edit(r)
		}
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, r)
		return rec
	}
	foreign := func(r *http.Request) { r.Header.Set("Origin", "https://other.example") }
	html := func(r *http.Request) { r.Header.Set("Accept", "text/html") }
	for name, tc := range map[string]struct {
		method, path, body string
		edit               func(*http.Request)
		code               int
		want               string // part of the answer
	}{
		"HEAD for a POST":          {"HEAD", "/cancel", "", nil, 405, ""},
		"a page of another origin": {"GET", "/panel.js", "", foreign, 200, ""},
		"only its header":          {"HEAD", "/panel.js", "", foreign, 200, ""},
		"another origin":           {"POST", "/cancel", "", foreign, 403, ""},
		"another host":             {"GET", "/panel.js", "", func(r *http.Request) { r.Host = "other.example" }, 403, ""},
		"space around the body":    {"POST", "/cancel", "\n {} ", nil, 200, ""},
		"only space":               {"POST", "/cancel", "\n ", nil, 200, ""},
		"no object":                {"POST", "/cancel", "[]", nil, 400, "must be a JSON object"},
		"an interrupted body":      {"POST", "/cancel", "", func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(errors.New("gone"))) }, 400, "was interrupted"},
		"a browser, wrong method":  {"GET", "/cancel", "", html, 405, `"error":"method_not_allowed"`},
		"a browser, another host":  {"GET", "/", "", func(r *http.Request) { html(r); r.Host = "other.example" }, 403, "<html"},
		"the longest return page":  {"POST", "/start", forward(1000), nil, 200, ""},
		"one that is longer":       {"POST", "/start", forward(1001), nil, 400, "forward_url"},
		"one without a path":       {"POST", "/start", `{"strong":true,"forward_url":"https://trusted.example"}`, nil, 400, "forward_url"},
	} {
		rec := request(tc.method, tc.path, tc.body, tc.edit)
		assert.Equal(t, tc.code, rec.Code, name)
		assert.Contains(t, rec.Body.String(), tc.want, name)
	}
}

// forward returns the body of a start with a return page whose address has so many bytes.
func forward(size int) string {
	const start, end = "https://trusted.example/", "/return"
	return `{"strong":true,"forward_url":"` + start + strings.Repeat("x", size-len(start)-len(end)) + end + `"}`
}

// The page of a profile names it, and leads back to the list.
func TestPageOfAProfile(t *testing.T) {
	for profile, want := range map[string]bool{"PLEX-P01": true, "": false} {
		body := ask(panel.New(t.Context(), &host{}, panel.Config{Product: "Demo", Profile: profile}), http.MethodGet, "/").Body.String()
		assert.Equal(t, want, strings.Contains(body, "<title>PLEX-P01 · Plex · Demo</title>"))
		assert.Equal(t, want, strings.Contains(body, `<a href="../../">`))
	}
}

// A QR code that cannot be drawn is a problem with its reason.
func TestNoQRCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{state: func() (*panel.State, *panel.Problem) {
			return &panel.State{Pending: &panel.Pending{Ends: elapsed.Now().Add(time.Minute), QRCode: func() ([]byte, error) { return nil, errors.New("too long") }}}, nil
		}}
		rec := ask(panel.New(t.Context(), h, panel.Config{}), http.MethodGet, "/qr.svg")
		assert.Equal(t, http.StatusInternalServerError, rec.Code)
		assert.Contains(t, rec.Body.String(), `"detail":"too long"`)
	})
}

// A login is shown until its last poll is over, and longer if Plex has approved it.
func TestShownLogin(t *testing.T) {
	for name, tc := range map[string]struct {
		pending panel.Pending
		left    time.Duration
		want    bool
	}{
		"just expired":            {panel.Pending{}, -15*time.Second + 1, true},
		"expired":                 {panel.Pending{}, -15 * time.Second, false},
		"approved":                {panel.Pending{Approved: true}, -time.Hour, true},
		"approved, but not saved": {panel.Pending{Unsaved: true}, -time.Hour, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &host{state: func() (*panel.State, *panel.Problem) {
				pending := tc.pending
				pending.Code, pending.Ends = "ABCD", elapsed.Now().Add(tc.left)
				return &panel.State{Pending: &pending}, nil
			}}
			body := ask(panel.New(t.Context(), h, panel.Config{}), http.MethodGet, "/status").Body.String()
			assert.Equal(t, tc.want, strings.Contains(body, "ABCD"), name)
		})
	}
}

// Seen changes with the code, the end and the problem of a login, and with the server.
func TestSeenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]string{}
		for name, state := range map[string]panel.State{
			"nothing":         {},
			"a code":          {Pending: &panel.Pending{Code: "ABCD", Approved: true}},
			"another code":    {Pending: &panel.Pending{Code: "EFGH", Approved: true}},
			"a later end":     {Pending: &panel.Pending{Code: "EFGH", Approved: true, ExpiresAt: time.Unix(1, 0)}},
			"a problem":       {Pending: &panel.Pending{Code: "ABCD", Approved: true, Problem: &panel.Problem{Kind: "dns"}}},
			"another one":     {Pending: &panel.Pending{Code: "ABCD", Approved: true, Problem: &panel.Problem{Kind: "tls"}}},
			"a server":        {Settings: panel.Settings{ServerURL: "https://plex"}},
			"it is connected": {Status: panel.Status{Connected: true}},
		} {
			p := panel.New(t.Context(), &host{state: func() (*panel.State, *panel.Problem) { return &state, nil }}, panel.Config{})
			s := status(t, p).Seen
			assert.Empty(t, seen[s], name)
			seen[s] = name
		}
	})
}
