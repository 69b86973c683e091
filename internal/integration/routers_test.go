package integration_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// routers mount h at /plex and at /admin/plex, as docs/web.md says.
var routers = map[string]func(h http.Handler) http.Handler{
	"net/http": func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/plex/", h)
		mux.Handle("/admin/plex/", h)
		return mux
	},
	"net/http, stripped": func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/plex/", http.StripPrefix("/plex", h))
		mux.Handle("/admin/plex/", http.StripPrefix("/admin/plex", h))
		return mux
	},
	"net/http, both patterns": func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		for _, pattern := range []string{"/plex", "/plex/", "/admin/plex", "/admin/plex/"} {
			mux.Handle(pattern, h)
		}
		return mux
	},
	"chi": func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Mount("/plex", h)
		r.Route("/admin", func(r chi.Router) { r.Mount("/plex", h) })
		return r
	},
	"chi, stripped": func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Mount("/plex", http.StripPrefix("/plex", h))
		r.Mount("/admin/plex", http.StripPrefix("/admin/plex", h))
		return r
	},
	"chi in net/http": func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Mount("/plex", h)
		r.Mount("/admin/plex", h)
		mux := http.NewServeMux()
		mux.Handle("/", r)
		return mux
	},
	"gin": func(h http.Handler) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		r := gin.New()
		r.Any("/plex/*any", gin.WrapH(h))
		r.Group("/admin").Any("/plex/*any", gin.WrapH(h))
		return r
	},
	"echo": func(h http.Handler) http.Handler {
		e := echo.New()
		e.Any("/plex*", echo.WrapHandler(h))
		e.Group("/admin").Any("/plex*", echo.WrapHandler(h))
		return e
	},
}

// inRouters runs a test for each router and each path of h in it. browse sends a request as
// a browser does, keeps cookies, and follows redirects within the app.
func inRouters(t *testing.T, h http.Handler, test func(t *testing.T, at string, browse func(method, path string) *http.Response)) {
	for name, router := range routers {
		for _, at := range []string{"/plex", "/admin/plex"} {
			t.Run(name+at, func(t *testing.T) {
				app := httptest.NewServer(router(h))
				t.Cleanup(app.Close)
				jar, err := cookiejar.New(nil)
				require.NoError(t, err)
				client := app.Client()
				client.Jar = jar
				client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
					if r.URL.Host != strings.TrimPrefix(app.URL, "http://") || len(via) > 3 {
						return http.ErrUseLastResponse
					}
					return nil
				}
				test(t, at, func(method, path string) *http.Response {
					req, err := http.NewRequestWithContext(t.Context(), method, app.URL+at+path, nil)
					require.NoError(t, err)
					req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
					if method == http.MethodPost {
						req.Header.Set("Origin", app.URL)
						req.Header.Set("Sec-Fetch-Site", "same-origin")
					}
					resp, err := client.Do(req)
					require.NoError(t, err)
					t.Cleanup(func() { _ = resp.Body.Close() })
					return resp
				})
			})
		}
	}
}

// G19: the panel works in common routers. Its address leads to it without the final slash
// too.
func TestPanelInRouters(t *testing.T) {
	plex := plextest.NewServer()
	t.Cleanup(plex.Close)
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	inRouters(t, auth.Handler(ctx), func(t *testing.T, at string, browse func(method, path string) *http.Response) {
		resp := browse(http.MethodGet, "?x=1")
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, at+"/?x=1", resp.Request.URL.RequestURI())
		assert.Contains(t, resp.Header.Get("Content-Type"), "text/html")
		for path, kind := range map[string]string{"/": "text/html", "/panel.js": "text/javascript", "/status": "application/json"} {
			resp := browse(http.MethodGet, path)
			assert.Equal(t, http.StatusOK, resp.StatusCode, path)
			assert.Contains(t, resp.Header.Get("Content-Type"), kind)
		}
		assert.Equal(t, http.StatusOK, browse(http.MethodPost, "/cancel").StatusCode)
	})
}

// G19: the list of profiles and their panels work under each router.
func TestProfilesInRouters(t *testing.T) {
	plex := plextest.NewServer()
	t.Cleanup(plex.Close)
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	for _, id := range []string{"a/b", ".."} {
		_, err = auth.Instance(id).Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
	}
	inRouters(t, auth.ProfilesHandler(ctx), func(t *testing.T, at string, browse func(method, path string) *http.Response) {
		assert.Equal(t, at+"/", browse(http.MethodGet, "").Request.URL.Path)
		var list struct {
			Profiles []struct{ Instance, Path string }
		}
		require.NoError(t, json.NewDecoder(browse(http.MethodGet, "/profiles").Body).Decode(&list))
		assert.Len(t, list.Profiles, 3)
		for _, p := range list.Profiles {
			assert.Contains(t, browse(http.MethodGet, "/"+p.Path).Header.Get("Content-Type"), "text/html")
			var status struct{ Instance string }
			require.NoError(t, json.NewDecoder(browse(http.MethodGet, "/"+p.Path+"status").Body).Decode(&status))
			assert.Equal(t, p.Instance, status.Instance)
			assert.Equal(t, http.StatusOK, browse(http.MethodPost, "/"+p.Path+"cancel").StatusCode)
		}
		assert.Equal(t, at+"/profile/default/", browse(http.MethodGet, "/profile/default").Request.URL.Path)
		assert.Equal(t, http.StatusNotFound, browse(http.MethodGet, "/profile/gone/status").StatusCode)
	})
}

// Visitors can sign in under each router. They begin at the address without the final slash.
func TestSignInInRouters(t *testing.T) {
	plex := plextest.NewServer()
	t.Cleanup(plex.Close)
	alice := plex.AddUser(plextest.User{Username: "alice"})
	h, err := signin.New(signin.Options{
		Product: "My App", Policy: signin.Accounts(alice.ID), Key: []byte("TEST_a key of at least 32 bytes ....."), HTTPClient: plex.Client(),
		OnSignIn: func(w http.ResponseWriter, _ *http.Request, a plexauth.Account) { _, _ = w.Write([]byte(a.Username)) },
	})
	require.NoError(t, err)
	inRouters(t, h, func(t *testing.T, at string, browse func(method, path string) *http.Response) {
		resp := browse(http.MethodGet, "")
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, at+"/", resp.Request.URL.Path)

		resp = browse(http.MethodPost, "/start")
		require.Equal(t, http.StatusSeeOther, resp.StatusCode)
		to, err := resp.Location()
		require.NoError(t, err)
		q, err := url.ParseQuery(strings.TrimPrefix(to.Fragment, "?"))
		require.NoError(t, err)
		back, err := url.Parse(q.Get("forwardUrl"))
		require.NoError(t, err)
		assert.Equal(t, at+"/callback", back.Path)
		require.NoError(t, plex.Approve(q.Get("code"), alice))
		assert.Equal(t, http.StatusOK, browse(http.MethodGet, "/callback").StatusCode)
		assert.Equal(t, http.StatusOK, browse(http.MethodPost, "/finish").StatusCode)
	})
}
