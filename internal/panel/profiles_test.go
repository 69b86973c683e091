package panel_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/panel"
)

// document has the profiles with these ids.
type document struct {
	ids   []string
	takes time.Duration // how long a store takes
	read  atomic.Int64  // how often the list was read
	made  atomic.Int64  // how many panels were made
}

func (d *document) Profiles(context.Context) (all []*panel.State, _ *panel.Problem) {
	d.read.Add(1)
	time.Sleep(d.takes)
	for _, id := range d.ids {
		all = append(all, &panel.State{Status: panel.Status{Instance: id}})
	}
	return all, nil
}

func (d *document) Profile(context.Context, string) panel.Host {
	d.made.Add(1)
	return &host{}
}

// askList sends a request to the list of profiles. path need not begin with a slash.
func askList(p *panel.Profiles, method, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(method, "/", nil)
	r.URL.Path = path
	p.ServeHTTP(rec, r)
	return rec
}

// A path leads to the panel of a profile, to what all profiles share, or to a page that says
// that there is no such profile.
func TestPathsOfProfiles(t *testing.T) {
	const html, inJSON = "text/html; charset=utf-8", "application/json"
	p := panel.NewProfiles(t.Context(), &document{ids: []string{"default", "a/b", "abc"}}, panel.Config{Product: "Demo"})
	for _, tc := range []struct {
		method, path string
		code         int
		content      string
		part         string // of the answer
	}{
		{"GET", "/profiles", 200, inJSON, `"name":"Default profile"`},
		{"GET", "/profiles", 200, inJSON, `"name":"a/b"`},
		{"GET", "/profile/default/status", 200, inJSON, ""},
		{"GET", "profile/default/status", 200, inJSON, ""},
		{"GET", "/profile/~YS9i/status", 200, inJSON, ""},
		{"GET", "/profile/~YWJj!/status", 404, inJSON, `"error":"not_found"`},
		{"GET", "/profile/default/", 200, html, "<title>Default profile · Plex · Demo</title>"},
		{"GET", "/profile/~YS9i/", 200, html, "<title>a/b · Plex · Demo</title>"},
		{"GET", "/profile/gone/", 404, html, "<title>gone · Plex · Demo</title>"},
		{"GET", "/profile/gone/return", 404, html, "panel.js"},
		{"HEAD", "/profile/gone/", 404, html, ""},
		{"POST", "/profile/gone/", 404, inJSON, `"error":"not_found"`},
		{"GET", "/profile/gone/status", 404, inJSON, `"error":"not_found"`},
		{"GET", "/profile/gone/words.json", 200, inJSON, `"texts"`},
		{"GET", "/profile/gone/panel.css", 200, "text/css; charset=utf-8", ""},
	} {
		rec := askList(p, tc.method, tc.path)
		assert.Equal(t, tc.code, rec.Code, tc.path)
		assert.Equal(t, tc.content, rec.Header().Get("Content-Type"), tc.path)
		assert.Contains(t, rec.Body.String(), tc.part, tc.path)
	}
	assert.NotContains(t, askList(p, "GET", "/profile//").Body.String(), "panel.js", "an id is not empty")
}

// The list is read again after a change, and not otherwise within a second. A profile has one
// panel.
func TestListOfProfilesIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &document{ids: []string{"default"}}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		p := panel.NewProfiles(ctx, d, panel.Config{})
		for range 3 {
			require.Equal(t, http.StatusOK, askList(p, "GET", "/profile/default/status").Code)
		}
		assert.EqualValues(t, 1, d.read.Load())
		assert.EqualValues(t, 1, d.made.Load())
		require.Equal(t, http.StatusOK, askList(p, "POST", "/profile/default/cancel").Code)
		require.Equal(t, http.StatusOK, askList(p, "GET", "/profiles").Code)
		assert.EqualValues(t, 2, d.read.Load())
		stop()
		synctest.Wait()
	})
}

// The list tells where a panel reports that the server cannot be used, and only there.
func TestListTellsServerProblems(t *testing.T) {
	for kind, want := range map[panel.Kind]bool{"server_unreachable": true, "server_token": true, "other_server": true, "timeout": false, "": false} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				found := func() *panel.Problem {
					if kind == "" {
						return nil
					}
					return &panel.Problem{Kind: kind}
				}
				ctx, stop := context.WithCancel(t.Context())
				d := &searching{document{ids: []string{"default", "other"}}, &host{pending: oneLogin(), findServer: found}}
				p := panel.NewProfiles(ctx, d, panel.Config{})
				require.Equal(t, http.StatusOK, askList(p, "GET", "/profile/default/status").Code)
				time.Sleep(time.Minute)
				rec := askList(p, "GET", "/profiles")
				assert.Equal(t, want, strings.Contains(rec.Body.String(), `"server_problem":true`))
				assert.Equal(t, want, strings.Count(rec.Body.String(), `"server_problem":false`) == 1, "the other profile")
				require.Equal(t, http.StatusOK, askList(p, "POST", "/profile/default/cancel").Code)
				assert.NotContains(t, askList(p, "GET", "/profiles").Body.String(), `"server_problem":true`, "a person has done something")
				stop()
				synctest.Wait()
			})
		})
	}
}

// searching is a document whose profiles are all the same one.
type searching struct {
	document
	host *host
}

func (s *searching) Profile(context.Context, string) panel.Host { return s.host }

// A browser that goes while the list is read is not kept waiting.
func TestBrowserLeavesTheList(t *testing.T) {
	for _, path := range []string{"/profiles", "/profile/default/status"} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := panel.NewProfiles(t.Context(), &document{ids: []string{"default"}, takes: 10 * time.Second}, panel.Config{})
				go askList(p, "GET", "/profiles")
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				rec := httptest.NewRecorder()
				p.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
				assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
				assert.Contains(t, rec.Body.String(), "deadline exceeded")
				assert.Equal(t, time.Second, time.Since(began))
				time.Sleep(time.Minute)
			})
		})
	}
}
