package plexauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// openProfiles opens the page with all profiles of p's document, which stops when the test
// ends.
func openProfiles(t *testing.T, p *plexauth.PlexAuth) *browser {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &browser{t, p.ProfilesHandler(ctx)}
}

// listedProfile is one profile in the answer to GET profiles.
type listedProfile struct {
	panelState
	Name    string
	Path    string
	Pending bool
}

// profiles reads the list. next is the path of the profile that may be added.
func (b *browser) profiles() (all map[string]listedProfile, next string) {
	b.t.Helper()
	rec := b.do(http.MethodGet, "/profiles", "")
	require.Equal(b.t, http.StatusOK, rec.Code, rec.Body.String())
	var answer struct {
		Profiles []listedProfile
		Next     *struct{ Path string }
	}
	require.NoError(b.t, json.Unmarshal(rec.Body.Bytes(), &answer))
	all = map[string]listedProfile{}
	for _, p := range answer.Profiles {
		all[p.Instance] = p
	}
	if answer.Next != nil {
		next = answer.Next.Path
	}
	return all, next
}

// goOn lets the list grow old, so that the next request reads the store.
func goOn() { time.Sleep(time.Second) }

// A person adds profiles, each with the next of CrossWatch's ids. Nothing is stored before
// a login starts.
func TestProfilesAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
		list := openProfiles(t, w.PlexAuth)
		all, next := list.profiles()
		assert.Len(t, all, 1)
		assert.False(t, all["default"].Connected)
		assert.Equal(t, "profile/default/", all["default"].Path)
		require.Equal(t, "profile/PLEX-P01/", next)

		assert.Equal(t, http.StatusOK, list.do(http.MethodGet, "/"+next, "").Code)
		assert.Equal(t, "PLEX-P01", list.get("/"+next+"status").Instance)
		list.post("/"+next+"cancel", "")
		list.post("/"+next+"disconnect", "")
		assert.Empty(t, w.doc(t), "nothing is stored")

		code := list.post("/"+next+"start", "").Extra.Pending.Code
		all, second := list.profiles()
		assert.Equal(t, "profile/PLEX-P02/", second)
		assert.True(t, all["PLEX-P01"].Pending)
		require.NoError(t, w.plex.Approve(code, w.bob))
		time.Sleep(time.Minute) // no browser is open
		all, _ = list.profiles()
		assert.Equal(t, "bob", all["PLEX-P01"].User)
		assert.True(t, all["PLEX-P01"].Connected)
		assert.False(t, all["PLEX-P01"].Pending)
		assert.NotEmpty(t, all["PLEX-P01"].Settings.MachineID, "the worker has found the server")
		assert.False(t, all["default"].Connected)

		w.plex.Revoke(w.bob)
		_ = errOf(w.Instance("PLEX-P01").Verify(t.Context()))
		goOn()
		all, _ = list.profiles()
		assert.True(t, all["PLEX-P01"].Extra.NeedsLogin)
		list.post("/"+next+"disconnect", "")
		all, next = list.profiles()
		assert.Contains(t, all, "PLEX-P01", "a profile stays, to be connected again")
		assert.Equal(t, second, next)
	})
}

// The list leaves out a profile of another program whose name is not valid here.
func TestProfilesOfBadNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		put(t, w.store, `{"instances":{"a\nb":{"account_token":"TEST_a"},"PLEX-P01":{"account_token":"TEST_b"}}}`)
		all, _ := openProfiles(t, w.PlexAuth).profiles()
		assert.Len(t, all, 2)
		assert.Contains(t, all, "default")
		assert.Contains(t, all, "PLEX-P01")
	})
}

// CrossWatch has nine profiles beside the default one. The page adds no more.
func TestProfilesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		list := openProfiles(t, w.PlexAuth)
		for n := 1; n <= 9; n++ {
			_, next := list.profiles()
			require.Equal(t, fmt.Sprintf("profile/PLEX-P%02d/", n), next)
			list.post("/"+next+"start", "")
		}
		_, next := list.profiles()
		assert.Empty(t, next)
		list.refused(list.do(http.MethodPost, "/profile/PLEX-P10/start", ""), http.StatusNotFound, "not_found")
	})
}

// Profiles of other processes appear and disappear. A profile with any id has a panel, and
// what is not a profile has none.
func TestProfilesOfOtherProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		list := openProfiles(t, w.PlexAuth)
		list.profiles()
		ids := []string{"kids", "PLEX-P01", "a/b", "..", "~x", `"><script>`, "Дети и 子供", "%2F", "a b.c"}
		other := w.open(t)
		for _, id := range ids {
			w.signIn(t, other.Instance(id), w.alice, plexauth.PinOptions{})
		}
		goOn()
		all, next := list.profiles()
		assert.Len(t, all, len(ids)+1)
		assert.Equal(t, "profile/PLEX-P02/", next)
		for _, id := range ids {
			assert.Regexp(t, `^profile/~?[A-Za-z0-9_-][A-Za-z0-9._-]*/$`, all[id].Path, id)
			s := list.get("/" + all[id].Path + "status")
			assert.Equal(t, id, s.Instance)
			assert.True(t, s.Connected)
			page := list.do(http.MethodGet, "/"+all[id].Path, "").Body.String()
			assert.Contains(t, page, plexauth.HTML())
			assert.NotContains(t, page, `"><script>`)
		}
		assert.Equal(t, "a b.c", list.get("/profile/a%20b.c/status").Instance)

		for _, path := range []string{"PLEX-P03", "plex-p01", "KIDS", "~!", "~", "gone", "%00", strings.Repeat("x", 5000)} {
			for _, name := range []string{"status", "servers", "qr.svg", "nothing"} {
				list.refused(list.do(http.MethodGet, "/profile/"+path+"/"+name, ""), http.StatusNotFound, "not_found")
			}
			list.refused(list.do(http.MethodPost, "/profile/"+path+"/start", ""), http.StatusNotFound, "not_found")
			rec := list.do(http.MethodGet, "/profile/"+path+"/", "")
			assert.Equal(t, http.StatusNotFound, rec.Code)
			assert.Contains(t, rec.Body.String(), plexauth.HTML(), "a person gets a page that says so")
		}

		require.NoError(t, w.store.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), nil }))
		goOn()
		all, _ = list.profiles()
		assert.Len(t, all, 1)
		list.refused(list.do(http.MethodGet, "/profile/kids/status", ""), http.StatusNotFound, "not_found")
	})
}

// A profile that another replica has just added has a panel at once, and so has the next one.
func TestProfilesOfAnotherReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		here, there := openProfiles(t, w.PlexAuth), openProfiles(t, w.open(t))
		here.profiles()
		_, added := there.profiles()
		there.post("/"+added+"start", "")
		_, next := there.profiles()
		require.NotEqual(t, added, next)
		assert.Equal(t, http.StatusOK, here.do(http.MethodGet, "/"+next, "").Code)
		assert.NotNil(t, here.get("/"+added+"status").Extra.Pending)
	})
}

// G9: what the page does in the background ends with its context, or with the profile.
// Requests for ids that do not exist start nothing.
func TestProfilesLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		list := &browser{t, w.ProfilesHandler(ctx)}
		workers := func() int {
			synctest.Wait()
			stacks := make([]byte, 8<<20)
			return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "panel.(*Panel).Run(")
		}
		for n := range 1000 {
			list.do(http.MethodGet, fmt.Sprintf("/profile/x%d/", n), "")
			list.do(http.MethodPost, fmt.Sprintf("/profile/x%d/start", n), "")
		}
		list.profiles()
		assert.Zero(t, workers())
		for _, id := range []string{"a", "b", "c"} {
			w.signIn(t, w.Instance(id), w.alice, plexauth.PinOptions{})
			goOn()
			list.get("/profile/" + id + "/status")
		}
		assert.Equal(t, 3, workers())

		require.NoError(t, w.store.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), nil }))
		goOn()
		list.get("/profile/default/status")
		assert.Equal(t, 1, workers(), "the panels of profiles that are gone have ended")
		w.signIn(t, w.Instance("a"), w.alice, plexauth.PinOptions{})
		goOn()
		assert.True(t, list.get("/profile/a/status").Connected, "one that was made again has a new panel")

		list.post("/profile/default/start", "")
		var poll sync.WaitGroup
		poll.Go(func() {
			list.refused(list.do(http.MethodGet, "/profile/default/status?wait=25", ""), http.StatusServiceUnavailable, "stopped")
		})
		synctest.Wait()
		stop()
		poll.Wait()
		assert.Zero(t, workers())
		for _, path := range []string{"/", "/profiles", "/panel.css", "/profile/default/", "/profile/default/status", "/profile/x/panel.js"} {
			list.refused(list.do(http.MethodGet, path, ""), http.StatusServiceUnavailable, "stopped")
		}
	})
}

// G8: a login that was begun elsewhere, or before a restart, is taken up when a page shows
// it.
func TestProfilesTakeUpALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.open(t).Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		list := openProfiles(t, w.PlexAuth)
		all, _ := list.profiles()
		assert.True(t, all["PLEX-P01"].Pending)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		time.Sleep(time.Minute)
		s, err := w.Instance("PLEX-P01").Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G19: the list and its panels work under any prefix, stripped or not, and send the
// headers of a careful page.
func TestProfilesMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *plexauth.Options) { o.Product = `<b>"My" & 'App'` })
		h := openProfiles(t, w.PlexAuth).h
		mux := http.NewServeMux()
		mux.Handle("/a/b/", http.StripPrefix("/a/b", h))
		mux.Handle("/c/", h)
		mux.Handle("/profile/", h)
		list := &browser{t, mux}
		const js, html, css = "text/javascript; charset=utf-8", "text/html; charset=utf-8", "text/css; charset=utf-8"
		for _, base := range []string{"/a/b/", "/c/", "/profile/"} {
			for path, kind := range map[string]string{
				"": html, "profiles.js": js, "request.js": js, "view.js": js, "words.js": js, "words.json": "application/json", "panel.css": css, "profiles": "application/json",
				"profile/default/": html, "profile/PLEX-P01/": html, "profile/default/panel.js": js, "profile/default/panel.css": css, "profile/default/words.json": "application/json", "profile/default/status": "application/json",
			} {
				rec := list.do(http.MethodGet, base+path, "")
				assert.Equal(t, http.StatusOK, rec.Code, base+path)
				header := rec.Header()
				assert.Equal(t, kind, header.Get("Content-Type"), base+path)
				assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
				assert.Contains(t, header.Get("Content-Security-Policy"), "default-src 'self'")
				if kind == js || kind == css || strings.HasSuffix(path, "words.json") {
					assert.Equal(t, "no-cache", header.Get("Cache-Control"))
					assert.Equal(t, http.StatusNotModified, list.do(http.MethodGet, base+path, "", func(r *http.Request) { r.Header.Set("If-None-Match", header.Get("ETag")) }).Code)
				} else {
					assert.Equal(t, "no-store", header.Get("Cache-Control"))
				}
				assert.Equal(t, http.StatusOK, list.do(http.MethodHead, base+path, "").Code)
				if kind == html {
					page := rec.Body.String()
					assert.NotContains(t, page, "<b>\"My")
					for _, u := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
						assert.NotRegexp(t, `^(/|http://|javascript:)`, u[1])
					}
				}
			}
		}
		person := func(r *http.Request) { r.Header.Set("Accept", "text/html") }
		for at, to := range map[string]string{"/c/profile/default": "./default/", "/a/b/profile/PLEX-P01?x=1": "./PLEX-P01/?x=1"} {
			rec := list.do(http.MethodGet, at, "", person)
			assert.Equal(t, http.StatusPermanentRedirect, rec.Code)
			assert.Equal(t, to, rec.Header().Get("Location"))
		}
		list.refused(list.do(http.MethodGet, "/c/nothing", ""), http.StatusNotFound, "not_found")
		list.refused(list.do(http.MethodGet, "/c/status", ""), http.StatusNotFound, "not_found")
		list.refused(list.do(http.MethodPost, "/c/profiles", ""), http.StatusMethodNotAllowed, "method_not_allowed")
		list.refused(list.do(http.MethodPost, "/c/profile/default/", ""), http.StatusMethodNotAllowed, "method_not_allowed")
		script := list.do(http.MethodGet, "/c/profiles.js", "").Body.String()
		assert.NotContains(t, script, "innerHTML")
	})
}

// A mount point may have the name of a route: without its final slash it leads to the page,
// and the page finds its route below it.
func TestMountNamedLikeARoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for at, h := range map[string]http.Handler{"/profiles": openProfiles(t, w.PlexAuth).h, "/a/status": openPanel(t, w.PlexAuth).h} {
			mux := http.NewServeMux()
			mux.Handle(at, h)
			mux.Handle(at+"/", h)
			b := &browser{t, mux}
			name := at[strings.LastIndex(at, "/")+1:]
			for _, accept := range []string{"", "*/*", "text/html,*/*;q=0.8"} {
				rec := b.do(http.MethodGet, at+"?x=1", "", func(r *http.Request) { r.Header.Set("Accept", accept) })
				assert.Equal(t, http.StatusPermanentRedirect, rec.Code, at)
				assert.Equal(t, "./"+name+"/?x=1", rec.Header().Get("Location"))
			}
			asks := func(r *http.Request) { r.Header.Set("Accept", "application/json") }
			assert.Equal(t, http.StatusOK, b.do(http.MethodGet, at, "", asks).Code, "a program")
			assert.Equal(t, http.StatusMethodNotAllowed, b.do(http.MethodPost, at, "").Code)
			for path, kind := range map[string]string{"/": "text/html; charset=utf-8", "/" + name: "application/json"} {
				rec := b.do(http.MethodGet, at+path, "")
				assert.Equal(t, http.StatusOK, rec.Code, at+path)
				assert.Equal(t, kind, rec.Header().Get("Content-Type"), at+path)
			}
		}
	})
}

// A program finds a route below a mount point of that name that the router strips.
func TestStrippedMountNamedLikeARoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for at, h := range map[string]http.Handler{"/profiles": openProfiles(t, w.PlexAuth).h, "/status": openPanel(t, w.PlexAuth).h} {
			mux := http.NewServeMux()
			mux.Handle(at+"/", http.StripPrefix(at, h))
			for path, kind := range map[string]string{"/": "text/html; charset=utf-8", at: "application/json"} {
				rec := (&browser{t, mux}).do(http.MethodGet, at+path, "")
				assert.Equal(t, http.StatusOK, rec.Code, at+path)
				assert.Equal(t, kind, rec.Header().Get("Content-Type"), at+path)
			}
		}
	})
}

// Other sites, and names that the program does not have, see and change nothing.
func TestProfilesOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		list := openProfiles(t, w.open(t, func(o *plexauth.Options) { o.TrustedOrigins = []string{"https://app.example"} }))
		ask := func(method, path, host, origin, site string) *httptest.ResponseRecorder {
			return list.do(method, path, "", func(r *http.Request) {
				r.Host = host
				r.Header.Set("Origin", origin)
				r.Header.Set("Sec-Fetch-Site", site)
			})
		}
		for _, path := range []string{"/", "/profiles", "/profile/default/", "/profile/gone/", "/profile/default/status"} {
			list.refused(ask(http.MethodGet, path, "evil.example", "", "none"), http.StatusForbidden, "host")
			assert.NotEqual(t, http.StatusForbidden, ask(http.MethodGet, path, "app.example", "", "same-origin").Code, path)
		}
		for _, path := range []string{"/profiles", "/profile/default/status"} {
			list.refused(ask(http.MethodGet, path, "app.example", "https://evil.example", "cross-site"), http.StatusForbidden, "cross_origin")
		}
		for _, path := range []string{"/profile/default/start", "/profile/PLEX-P01/start", "/profile/gone/start"} {
			list.refused(ask(http.MethodPost, path, "app.example", "https://evil.example", "cross-site"), http.StatusForbidden, "cross_origin")
			list.refused(ask(http.MethodPost, path, "10.0.0.3", "http://10.0.0.3", "same-origin"), http.StatusForbidden, "cross_origin")
		}
		assert.Empty(t, w.plex.Requests())
		assert.Empty(t, w.doc(t))
		assert.Equal(t, http.StatusOK, ask(http.MethodPost, "/profile/PLEX-P01/start", "10.0.0.3", "https://app.example", "same-origin").Code)
	})
}

// G18: while the store cannot be read, nothing looks like a first run.
func TestProfilesFailClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var broken atomic.Bool
		store := w.hooked(hooks{beforeLoad: func(context.Context) error {
			if broken.Load() {
				return errReadOnly
			}
			return nil
		}})
		list := openProfiles(t, w.open(t, withStore(store)))
		list.get("/profile/default/status")
		broken.Store(true)
		goOn()
		for _, path := range []string{"/profiles", "/profile/default/status", "/profile/PLEX-P01/status"} {
			list.refused(list.do(http.MethodGet, path, ""), http.StatusServiceUnavailable, "store")
		}
		for _, path := range []string{"/", "/profile/default/", "/profile/PLEX-P01/"} {
			rec := list.do(http.MethodGet, path, "")
			assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
			assert.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"), "the page says what is wrong")
		}
		assert.Equal(t, http.StatusOK, list.do(http.MethodGet, "/profile/default/panel.js", "").Code)
	})
}

// G12: the store is read once a second for the list, however many pages are open.
func TestProfilesManyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		reads := &loadCounter{ConfigStore: w.store}
		list := openProfiles(t, w.open(t, func(o *plexauth.Options) { o.Store = reads }))
		for range 10 {
			var pages sync.WaitGroup
			for range 100 {
				pages.Go(func() { list.profiles() })
			}
			pages.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, reads.loads.Load(), int32(2))
	})
}

// G13: neither the list nor its answers hold a token, a code or the number of a PIN.
func TestProfilesSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		list := openProfiles(t, w.PlexAuth)
		all := list.do(http.MethodGet, "/", "").Body.String() + list.do(http.MethodGet, "/profiles", "").Body.String()
		assert.Contains(t, all, "alice")
		assert.NotContains(t, all, "FAKE_")
		assert.NotContains(t, all, pin.Code)
		assert.NotContains(t, all, fmt.Sprint(pin.ID))
	})
}
