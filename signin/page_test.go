package signin_test

import (
	"context"
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// ownPage is a page of an app. It has forms of its own.
var ownPage = template.Must(template.New("").Parse(`<html lang="{{.Language}}"><title>{{.Title}}</title>
<article id="{{.Name}}">{{.Text}} {{.Account}} {{.Detail}}</article>
{{range .Forms}}<form method="post" action="{{.Action}}"><input name="return" value="{{.Return}}"><input name="member" value="{{.Member}}">{{.PIN}}<button>{{.Label}}</button></form>
{{end}}<aside>{{.Help}} {{.HelpText}}</aside>
{{.Content}}`))

// walk goes through every page of an app, whose handler change edits. It returns the
// response of each by its name.
func walk(t *testing.T, change func(*household, *signin.Options)) map[string]*httptest.ResponseRecorder {
	t.Helper()
	h := newHousehold(t, func(h *household, o *signin.Options) {
		o.URL, o.MaxStarts = "http://app.example/signin/", 50
		change(h, o)
	})
	b := h.browser(h)
	all := map[string]*httptest.ResponseRecorder{
		"start": b.get("/signin/"), "not_found": b.get("/signin/nothing"), "return": b.get("/signin/?return=//evil.example"),
		"cross_origin": b.post("/signin/start", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site"); r.Header.Del("Origin") }),
		"host":         b.get("/signin/", func(r *http.Request) { r.Host = "evil.example" }),
		"ended":        b.get("/signin/callback"),
		"bad_request":  b.do(http.MethodPost, "/signin/start", url.Values{"x": {strings.Repeat("x", 100<<10)}}),
	}
	b.start(nil)
	all["checking"], all["waiting"] = b.get("/signin/callback"), b.post("/signin/finish")
	asked, _ := h.approved(h, h.alice)
	all["members"] = asked.post("/signin/finish")
	all["refused"] = h.signIn(h, h.bob)
	all["setup"] = h.signIn(h.handler(func(_ *world, o *signin.Options) { o.Plex = nil; change(h, o) }), h.bob)
	all["failed"] = h.signIn(h.handler(func(_ *world, o *signin.Options) {
		change(h, o)
		o.Policy = func(context.Context, signin.Visitor) (bool, error) { return false, errors.New("no database") }
	}), h.bob)
	for name, store := range map[string]*fallibleStore{"linked": {ConfigStore: storeOfAccount(h, h.eve)}, "not_kept": {ConfigStore: plexauth.NewMemoryStore()}} {
		if name == "not_kept" {
			store.update.Store(&errStoreDown)
		}
		target, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: h.plex.Client()})
		require.NoError(t, err)
		all[name] = h.signIn(h.handler(func(_ *world, o *signin.Options) {
			change(h, o)
			o.Policy, o.Link = signin.Accounts(h.bob.ID), func(plexauth.Account) *plexauth.PlexAuth { return target }
		}), h.bob)
	}
	h.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: http.StatusBadGateway})
	all["unavailable"] = h.browser(h).post("/signin/start")
	for range 50 {
		h.browser(h).post("/signin/start")
	}
	all["too_many"] = h.browser(h).post("/signin/start")
	return all
}

// storeOfAccount returns a store with a login of u.
func storeOfAccount(h *household, u *plextest.User) plexauth.ConfigStore {
	store := plexauth.NewMemoryStore()
	p, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: h.plex.Client()})
	require.NoError(h.t, err)
	_, err = p.Login(h.t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return h.plex.Approve(pin.Code, u) })
	require.NoError(h.t, err)
	return store
}

// Every page can be the app's own. It has the status and the headers of the built-in page,
// and knows its language. docs/web.md lists the pages.
func TestOwnPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		built := walk(t, func(*household, *signin.Options) {})
		var got []signin.Page
		own := walk(t, func(_ *household, o *signin.Options) {
			o.Page = func(w io.Writer, r *http.Request, p signin.Page) error {
				assert.NotNil(t, r)
				got = append(got, p)
				return ownPage.Execute(w, p)
			}
		})
		var documented []string
		b, err := os.ReadFile("../docs/web.md")
		require.NoError(t, err)
		_, rows, _ := strings.Cut(string(b), "| `Page.Name` |")
		rows, _, _ = strings.Cut(rows, "\n\n")
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(rows, -1) {
			documented = append(documented, m[1])
		}
		var names []string
		for name, rec := range own {
			names = append(names, name)
			body := rec.Body.String()
			assert.Contains(t, body, `<article id="`+name+`">`)
			assert.Contains(t, body, `<html lang="en">`, name)
			assert.Contains(t, body, `<div class="plexauth-signin">`, name)
			assert.Equal(t, built[name].Code, rec.Code, name)
			for _, header := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control", "Content-Type", "Vary", "Allow"} {
				assert.Equal(t, built[name].Header().Get(header), rec.Header().Get(header), "%s: %s", name, header)
			}
			assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'")
			assert.NotContains(t, built[name].Body.String(), "<article", name)
			assert.Contains(t, built[name].Body.String(), `<div class="plexauth-signin">`, name)
		}
		assert.ElementsMatch(t, documented, names)
		for _, p := range got {
			assert.NotEmpty(t, p.Title, p.Name)
			assert.NotEmpty(t, p.Text, p.Name)
			assert.Equal(t, "My App", p.Product)
			for i, f := range p.Forms {
				assert.NotEmpty(t, f.Label, p.Name)
				assert.Contains(t, p.Content, `action="`+f.Action+`"`, p.Name)
				assert.Contains(t, string(p.Content), f.Label, p.Name)
				assert.Equal(t, f.Action == "start", p.Help != "" && i == len(p.Forms)-1, "%s: the page that leads to Plex warns of phishing", p.Name)
			}
		}
	})
}

// The forms that an app's own page makes of Page.Forms sign a visitor in, with the place
// where they want to go.
func TestOwnForms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var page signin.Page
		h := newHousehold(t, func(_ *household, o *signin.Options) {
			o.ReturnTo = []string{"/", "/films"}
			o.Page = func(_ io.Writer, _ *http.Request, p signin.Page) error {
				page = p
				return nil
			}
		})
		b, pin := h.browser(h), ""
		press := func(label string) *httptest.ResponseRecorder {
			i := slices.IndexFunc(page.Forms, func(f signin.Form) bool { return f.Label == label })
			require.GreaterOrEqual(t, i, 0, "%v has no %s", page.Forms, label)
			f := page.Forms[i]
			form := url.Values{"return": {f.Return}, "member": {f.Member}}
			if f.PIN != "" {
				form.Set("pin", pin)
			}
			return b.do(http.MethodPost, "/signin/"+f.Action, form)
		}
		b.get("/signin/?return=/films")
		require.Len(t, page.Forms, 1)
		require.Equal(t, http.StatusSeeOther, press("Sign in with Plex").Code)
		require.NoError(t, h.plex.Approve(h.plex.PendingCodes()[0], h.alice))
		b.get("/signin/callback")
		assert.True(t, page.Forms[0].Auto)
		press("Continue")
		pin = "0000"
		press("Teen")
		for _, f := range page.Forms {
			assert.Equal(t, f.Member == h.teen.UUID, f.PINError == "That is not the PIN of Teen. Try again.", "%+v", f)
			assert.Equal(t, f.Member == h.teen.UUID, f.PINError != "", "%+v", f)
		}
		pin = "4711"
		rec := press("Teen")
		assert.Equal(t, http.StatusSeeOther, rec.Code)
		assert.Equal(t, "/films", rec.Header().Get("Location"))
		assert.Equal(t, h.teen.ID, h.signedIn[0].ID)
	})
}

// If the app's own page fails, the visitor gets the built-in page, whole and alone, and the
// log has the error.
func TestOwnPageFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := template.Must(template.New("").Parse(`<p>TEST_begun</p>{{.Nothing}}`))
		w := newWorld(t, func(_ *world, o *signin.Options) {
			o.Page = func(w io.Writer, _ *http.Request, p signin.Page) error { return broken.Execute(w, p) }
		})
		rec := w.signIn(w, w.eve)
		assert.Equal(t, http.StatusForbidden, rec.Code)
		assert.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"))
		body := rec.Body.String()
		assert.True(t, strings.HasPrefix(body, "<!doctype html>"), body)
		assert.Contains(t, body, "No access")
		assert.NotContains(t, body, "TEST_begun")
		assert.Contains(t, w.log.b.String(), "Nothing")
		assert.Contains(t, w.log.b.String(), "page=refused")
	})
}

// An app's own page gets the texts of other people unescaped, as data, and escaped in
// Content.
func TestNamesOnOwnPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = `<script>alert("eve")</script>`
		var page signin.Page
		w := newWorld(t, func(w *world, o *signin.Options) {
			w.plex.ChangeUser(w.eve, func(u *plextest.User) { u.Username = name })
			o.Page = func(_ io.Writer, _ *http.Request, p signin.Page) error {
				page = p
				return nil
			}
		})
		w.signIn(w, w.eve)
		assert.Equal(t, name, page.Account)
		assert.NotContains(t, string(page.Content), "<script")
		assert.Contains(t, string(page.Content), "&lt;script")
	})
}

// G13: no page that an app gets has a token, a PIN or the key, and no page shows a Home PIN.
func TestOwnPagesHaveNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := canary.New()
		c.Add("key", testKey)
		shown := ""
		h := newHousehold(t, func(h *household, o *signin.Options) {
			o.HTTPClient = c.Client(h.plex.Client())
			o.Page = func(_ io.Writer, _ *http.Request, p signin.Page) error {
				shown += canary.Forms(p)
				return nil
			}
		})
		for _, u := range []*plextest.User{h.eve, h.alice} {
			b := h.browser(h)
			b.get("/signin/")
			require.NoError(t, h.plex.Approve(b.start(nil).Get("code"), u))
			b.get("/signin/callback")
			b.post("/signin/finish")
			b.choose(h.teen, "")
			b.choose(h.teen, "8642")
			b.choose(h.kid, "")
		}
		require.Len(t, h.signedIn, 1)
		require.Contains(t, shown, "signin.Page")
		require.GreaterOrEqual(t, len(c.Names()), 6, "a key, two PINs, three tokens")
		assert.Empty(t, c.Search().In(shown+h.log.b.String(), true))
		assert.NotContains(t, shown, "8642")
	})
}

// The custom properties that signin.css takes are those that docs/web.md lists, and each has
// a value of its own.
func TestCustomProperties(t *testing.T) {
	css, err := os.ReadFile("pages/signin.css")
	require.NoError(t, err)
	docs, err := os.ReadFile("../docs/web.md")
	require.NoError(t, err)
	var taken, listed []string
	for _, m := range regexp.MustCompile(`--_([a-z-]+): var\(--plexauth-([a-z-]+), .+\);`).FindAllStringSubmatch(string(css), -1) {
		assert.Equal(t, m[2], m[1])
		taken = append(taken, "--plexauth-"+m[2])
	}
	assert.Equal(t, len(taken), strings.Count(string(css), "var(--plexauth-"), "each is taken once, at the top")
	for _, m := range regexp.MustCompile(`var\((--_[a-z-]+)\)`).FindAllStringSubmatch(string(css), -1) {
		assert.Contains(t, taken, strings.Replace(m[1], "--_", "--plexauth-", 1))
	}
	_, section, ok := strings.Cut(string(docs), "### Pages in your own design")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n### ")
	for _, m := range regexp.MustCompile("`(--plexauth-[a-z-]+)`").FindAllStringSubmatch(section, -1) {
		listed = append(listed, m[1])
	}
	assert.ElementsMatch(t, taken, listed)
}

// The owner of the app's media server, and no one else, reads why they were refused and what
// they can do about it.
func TestOwnerIsTold(t *testing.T) {
	no := func(context.Context, signin.Visitor) (bool, error) { return false, nil }
	for _, c := range []struct {
		name   string
		policy signin.Policy
		change func(*world, *signin.Options)
		who    func(*world) *plextest.User
		says   string // "" if nothing
		log    string
	}{
		{name: "not in the list", policy: signin.Accounts(1), says: "The number of your account, 7001", log: "not in the app's list"},
		{name: "the app's own policy", policy: no, says: "has rules of its own", log: "the app's own policy refuses"},
		{name: "it asks Owner first", policy: func(ctx context.Context, v signin.Visitor) (bool, error) {
			in, err := signin.Owner(ctx, v)
			return in && v.Account.PlexPass, err
		}, says: "has rules of its own", log: "the app's own policy refuses"},
		{name: "not the server's owner", change: func(w *world, o *signin.Options) { o.Plex = w.link(w.bob, w.box.MachineID) }, who: func(w *world) *plextest.User { return w.bob },
			says: "owns no media server, or not the one", log: "does not own its media server"},
		{name: "the app's login is rejected", change: func(w *world, o *signin.Options) {
			w.plex.RevokeDevice(settings(w, w.app).ClientID)
		}, says: "Plex does not accept the login of My App any more", log: "sign in again"},
		{name: "the app's error", policy: func(context.Context, signin.Visitor) (bool, error) {
			return false, errors.New("TEST_password of the database")
		},
			says: "The log of My App says", log: "TEST_password"},
		{name: "the store of Link", change: func(w *world, o *signin.Options) {
			o.Link = func(plexauth.Account) *plexauth.PlexAuth {
				store := &fallibleStore{ConfigStore: plexauth.NewMemoryStore()}
				store.update.Store(&errStoreDown)
				p, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: w.plex.Client()})
				assert.NoError(w.t, err)
				return p
			}
		}, says: "the database is down", log: "the database is down"},
		{name: "a stranger, not in the list", policy: signin.Accounts(1), who: func(w *world) *plextest.User { return w.eve }, log: "not in the app's list"},
		{name: "a stranger", who: func(w *world) *plextest.User { return w.eve }, log: "does not own the app's media server"},
		{name: "a stranger, home", policy: signin.Home, who: func(w *world) *plextest.User { return w.eve }, log: "not in the Plex Home"},
		{name: "a stranger, shared", policy: signin.Shared, who: func(w *world) *plextest.User { return w.eve }, log: "is not shared with the account"},
		{name: "no server is chosen", policy: signin.Shared, change: func(w *world, o *signin.Options) { o.Plex = w.link(w.alice, "") }, who: func(w *world) *plextest.User { return w.bob }, log: "no media server has been chosen"},
		{name: "a stranger, not connected", change: func(w *world, o *signin.Options) { o.Plex = unlinked(w.t, w) }, who: func(w *world) *plextest.User { return w.eve }, log: "not connected to Plex yet"},
		{name: "a stranger, no login configured", change: func(_ *world, o *signin.Options) { o.Plex = nil }, who: func(w *world) *plextest.User { return w.eve }, log: "not connected to Plex yet"},
		{name: "the app's error, a stranger", policy: func(context.Context, signin.Visitor) (bool, error) {
			return false, errors.New("TEST_password of the database")
		},
			who: func(w *world) *plextest.User { return w.eve }, log: "TEST_password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.handler(func(w *world, o *signin.Options) {
					o.Policy = c.policy
					if c.change != nil {
						c.change(w, o)
					}
				})
				who := w.alice
				if c.who != nil {
					who = c.who(w)
				}
				rec := w.signIn(h, who)
				assert.GreaterOrEqual(t, rec.Code, 400)
				assert.Empty(t, w.signedIn)
				assert.Contains(t, w.log.b.String(), c.log)
				assert.Equal(t, c.says != "", strings.Contains(rec.Body.String(), "Only you see this"), rec.Body.String())
				assert.Contains(t, rec.Body.String(), c.says)
				assert.NotContains(t, rec.Body.String(), "TEST_password")
			})
		})
	}
}

func settings(w *world, p *plexauth.PlexAuth) plexauth.Settings {
	w.t.Helper()
	s, err := p.Settings(w.t.Context())
	require.NoError(w.t, err)
	return s
}

// An outage of plex.tv is told to everyone alike.
func TestOutageForTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b, _ := w.approved(w, w.alice)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Status: http.StatusBadGateway, Times: -1})
		rec := b.post("/signin/finish")
		assert.Equal(t, http.StatusBadGateway, rec.Code)
		assert.NotContains(t, rec.Body.String(), "Only you see this")
	})
}
