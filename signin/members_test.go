package signin_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// household is an app with HomeMembers. Alice is the admin of a Plex Home.
type household struct {
	*world
	kid   *plextest.User // has no login
	teen  *plextest.User // has no login, but a PIN
	carol *plextest.User // has a login
}

func newHousehold(t *testing.T, change ...func(*household, *signin.Options)) *household {
	t.Helper()
	h := &household{}
	h.world = newWorld(t, func(w *world, o *signin.Options) {
		h.world = w
		h.kid = w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		h.teen = w.plex.AddUser(plextest.User{Title: "Teen", Restricted: true, HomeAdmin: w.alice, HomePIN: "4711"})
		h.carol = w.plex.AddUser(plextest.User{Username: "carol", HomeAdmin: w.alice})
		o.HomeMembers, o.Policy = true, signin.Home
		for _, f := range change {
			f(h, o)
		}
	})
	return h
}

// asked returns a browser that u has approved in and that is asked who it is, with the
// client identifier of its sign-in.
func (h *household) asked(u *plextest.User) (*browser, string) {
	h.t.Helper()
	b, q := h.approved(h, u)
	rec := b.post("/signin/finish")
	require.Equal(h.t, http.StatusOK, rec.Code)
	require.Contains(h.t, rec.Body.String(), "Who is signing in?")
	return b, q.Get("clientID")
}

// choose says that the visitor is u.
func (b *browser) choose(u *plextest.User, pin string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(http.MethodPost, "/signin/member", url.Values{"member": {u.UUID}, "pin": {pin}}, change...)
}

// ended asserts that no token of these users under the identifier is left.
func (h *household) ended(clientID string, users ...*plextest.User) {
	h.t.Helper()
	for _, u := range users {
		assert.Empty(h.t, h.plex.Token(u, clientID), "the token of %s is revoked", u.Title)
	}
}

// The admin of a Home signs in as a member who has no login. The app gets the member's
// account, and no token is left.
func TestHomeMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t)
		b, q := h.approved(h, h.alice)
		page := b.post("/signin/finish")
		require.Equal(t, http.StatusOK, page.Code)
		for _, name := range []string{">alice<", ">Kid<", ">Teen<", "PIN of Teen"} {
			assert.Contains(t, page.Body.String(), name)
		}
		assert.NotContains(t, page.Body.String(), "carol", "she has a login of her own")
		assert.NotContains(t, page.Body.String(), "PIN of Kid")
		assert.Empty(t, h.signedIn)

		rec := b.choose(h.kid, "")
		assert.Equal(t, http.StatusSeeOther, rec.Code)
		require.Len(t, h.signedIn, 1)
		assert.Equal(t, h.kid.ID, h.signedIn[0].ID)
		assert.True(t, h.signedIn[0].Restricted)
		h.ended(q.Get("clientID"), h.alice, h.kid)
		assert.Contains(t, h.log.b.String(), "approved_by")
		assert.Equal(t, http.StatusGone, b.choose(h.alice, "").Code, "a sign-in is finished once")
		assert.Len(t, h.signedIn, 1)

		b, clientID := h.asked(h.alice)
		assert.Equal(t, http.StatusSeeOther, b.choose(h.alice, "").Code)
		require.Len(t, h.signedIn, 2)
		assert.Equal(t, h.alice.ID, h.signedIn[1].ID)
		h.ended(clientID, h.alice)
	})
}

// G21: the policy judges the chosen member, and not the admin who has approved.
func TestHomeMemberAndPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			policy func(*household) signin.Policy
			in     bool
		}{
			"owner":           {func(*household) signin.Policy { return signin.Owner }, false},
			"home":            {func(*household) signin.Policy { return signin.Home }, true},
			"shared":          {func(*household) signin.Policy { return signin.Shared }, true},
			"the admin alone": {func(h *household) signin.Policy { return signin.Accounts(h.alice.ID) }, false},
			"the member":      {func(h *household) signin.Policy { return signin.Accounts(h.kid.ID) }, true},
			"the app's own":   {func(h *household) signin.Policy { return restrictedWithServer(h.box) }, true},
			"the app's panics": {func(*household) signin.Policy {
				return func(context.Context, signin.Visitor) (bool, error) { panic("TEST") }
			}, false},
			"the app's refuses": {func(*household) signin.Policy {
				return func(context.Context, signin.Visitor) (bool, error) { return false, nil }
			}, false},
		} {
			h := newHousehold(t, func(h *household, o *signin.Options) { o.Policy = c.policy(h) })
			b, clientID := h.asked(h.alice)
			func() {
				defer func() { _ = recover() }()
				rec := b.choose(h.kid, "")
				assert.Equal(t, c.in, rec.Code == http.StatusSeeOther, name)
				if !c.in {
					assert.Contains(t, rec.Body.String(), "No access", name)
					assert.NotContains(t, rec.Body.String(), "Only you see this", "%s: the member is not the owner", name)
				}
			}()
			assert.Equal(t, c.in, len(h.signedIn) == 1, name)
			h.ended(clientID, h.alice, h.kid)
		}
	})
}

// restrictedWithServer lets in managed users who may use a server.
func restrictedWithServer(box *plextest.MediaServer) signin.Policy {
	return func(ctx context.Context, v signin.Visitor) (bool, error) {
		servers, err := v.Servers(ctx)
		return v.Account.Restricted && len(servers) == 1 && servers[0].MachineID == box.MachineID, err
	}
}

// G20: only the admin chooses, and only themselves or a member of their own Home without a
// login. No one is signed in as someone else instead.
func TestOutsideOfTheHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t)
		dave := h.plex.AddUser(plextest.User{Username: "dave"})
		daves := h.plex.AddUser(plextest.User{Title: "Dave's kid", Restricted: true, HomeAdmin: dave})
		for name, c := range map[string]struct{ approves, chosen *plextest.User }{
			"a member with a login":   {h.alice, h.carol},
			"a stranger":              {h.alice, h.eve},
			"another Home's member":   {h.alice, daves},
			"another Home's admin":    {h.alice, dave},
			"no admin: the admin":     {h.carol, h.alice},
			"no admin: a member":      {h.carol, h.kid},
			"no Home: a member":       {h.bob, h.kid},
			"no such user":            {h.alice, &plextest.User{UUID: "0123456789abcdef"}},
			"a path":                  {h.alice, &plextest.User{UUID: "../../users/account"}},
			"another admin: a member": {dave, h.kid},
		} {
			b, q := h.approved(h, c.approves)
			rec := b.choose(c.chosen, "")
			assert.Equal(t, http.StatusServiceUnavailable, rec.Code, name)
			assert.Empty(t, h.signedIn, name)
			h.ended(q.Get("clientID"), h.alice, h.bob, h.carol, h.kid, dave, daves)
		}
		for _, r := range h.plex.Requests() {
			assert.NotContains(t, r.Path, "/switch")
		}
	})
}

// No one is asked without need: an account that is no admin, a Home without a member to
// choose, an app without HomeMembers.
func TestNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t)
		assert.Equal(t, http.StatusSeeOther, h.signIn(h, h.carol).Code)
		assert.Equal(t, h.carol.ID, h.signedIn[0].ID)
		for _, r := range h.plex.Requests() {
			if strings.HasSuffix(r.Path, "/home/users") {
				assert.NotContains(t, r.Credential, "carol")
			}
		}

		w := newWorld(t, func(_ *world, o *signin.Options) { o.HomeMembers = true })
		w.plex.AddUser(plextest.User{Username: "carol", HomeAdmin: w.alice})
		assert.Equal(t, http.StatusSeeOther, w.signIn(w, w.alice).Code)

		h = newHousehold(t, func(_ *household, o *signin.Options) { o.HomeMembers = false })
		b, _ := h.approved(h, h.alice)
		assert.Equal(t, http.StatusNotFound, b.choose(h.kid, "").Code)
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		assert.Equal(t, h.alice.ID, h.signedIn[0].ID)
	})
}

// A Home PIN is asked for, also where plex.tv does not say so before, and also from the
// admin. A wrong one signs no one in, and the right one does. No page, cookie or log shows it.
func TestHomePIN(t *testing.T) {
	for name, hidden := range map[string]bool{"": false, "not said before": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHousehold(t, func(h *household, o *signin.Options) {
					h.plex.ChangeUser(h.alice, func(u *plextest.User) { u.HomePIN = "9753" })
					if hidden {
						o.HTTPClient = replacing(h.plex.Client(), "/api/v2/home/users", `"protected":true`, `"protected":false`)
					}
				})
				shown := ""
				try := func(b *browser, u *plextest.User, pin string) int {
					rec := b.choose(u, pin)
					shown += rec.Body.String() + rec.Header().Get("Set-Cookie") + h.log.b.String()
					if rec.Code != http.StatusSeeOther {
						assertPINError(t, rec.Body.String(), u.Title)
					}
					return rec.Code
				}
				b, clientID := h.asked(h.alice)
				assert.Equal(t, http.StatusOK, try(b, h.teen, ""))
				assert.Equal(t, http.StatusForbidden, try(b, h.teen, "8642"))
				assert.Empty(t, h.signedIn)
				assert.Equal(t, http.StatusSeeOther, try(b, h.teen, " 4711 "))
				h.ended(clientID, h.alice, h.teen)

				if !hidden {
					b, clientID = h.asked(h.alice)
					assert.Equal(t, http.StatusOK, try(b, h.alice, ""), "a child may use the browser of the admin")
					assert.Equal(t, http.StatusForbidden, try(b, h.alice, "8642"))
					assert.Len(t, h.signedIn, 1)
					assert.Equal(t, http.StatusSeeOther, try(b, h.alice, "9753"))
					h.ended(clientID, h.alice)
				}
				for _, pin := range []string{"4711", "8642", "9753"} {
					assert.NotContains(t, shown, pin)
				}
			})
		})
	}
}

// assertPINError asserts that a page says below the field of a member's PIN what is wrong with
// it, and nowhere else, and that the field has the focus.
func assertPINError(t *testing.T, page, name string) {
	t.Helper()
	form := regexp.MustCompile(`(?s)<label>PIN of ` + name + ` <input ([^>]*)></label>\s*<p class="plexauth-error" id="plexauth-pin-error">([^<]*)</p>`).FindStringSubmatch(page)
	require.NotNil(t, form, page)
	assert.Contains(t, form[1], `autofocus aria-invalid="true" aria-describedby="plexauth-pin-error"`)
	assert.Contains(t, form[2], name)
	assert.Equal(t, 1, strings.Count(page, form[2]), "it is said once")
	assert.Equal(t, 1, strings.Count(page, "aria-invalid"), "the other fields are fine")
	assert.Contains(t, page, `<p class="plexauth-text" role="status">Choose yourself`)
}

// replacing returns a client that replaces a text in plex.tv's answers to a path.
func replacing(c *http.Client, path, from, to string) *http.Client {
	return &http.Client{Transport: hook(func(r *http.Request) (*http.Response, error) {
		resp, err := c.Transport.RoundTrip(r)
		if err != nil || r.URL.Path != path {
			return resp, err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		body = bytes.ReplaceAll(body, []byte(from), []byte(to))
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		resp.Header.Del("Content-Length")
		return resp, err
	})}
}

// After three wrong PINs of a user every try has to wait, in whichever browser, and also
// with the right PIN. plex.tv is not asked meanwhile. Other users do not have to wait.
func TestWrongHomePINs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t)
		switches := func() (n int) {
			for _, r := range h.plex.Requests() {
				if strings.HasSuffix(r.Path, "/switch") {
					n++
				}
			}
			return n
		}
		b, _ := h.asked(h.alice)
		other, _ := h.asked(h.alice)
		var tries sync.WaitGroup
		for _, each := range []*browser{b, b, other, other, other} { // at once
			tries.Go(func() {
				r := httptest.NewRequest(http.MethodPost, "/signin/member", strings.NewReader(url.Values{"member": {h.teen.UUID}, "pin": {"0000"}}.Encode()))
				r.Host = each.host
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.AddCookie(each.cookie())
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				assert.Contains(t, []int{http.StatusForbidden, http.StatusTooManyRequests}, rec.Code)
			})
		}
		tries.Wait()
		assert.Equal(t, 3, switches())
		rec := other.choose(h.teen, "4711")
		assert.Equal(t, http.StatusTooManyRequests, rec.Code)
		assert.NotEmpty(t, rec.Header().Get("Retry-After"))
		assertPINError(t, rec.Body.String(), "Teen")
		assert.Regexp(t, `Too many wrong PINs of Teen were entered\. Try again in \d+ seconds\.`, rec.Body.String())
		assert.Equal(t, 3, switches())
		assert.Equal(t, http.StatusSeeOther, other.choose(h.kid, "").Code, "another user")

		time.Sleep(30 * time.Second)
		assert.Equal(t, http.StatusForbidden, b.choose(h.teen, "0001").Code)
		assert.Equal(t, http.StatusTooManyRequests, b.choose(h.teen, "4711").Code)
		time.Sleep(59 * time.Second) // the pause has doubled
		assert.Equal(t, http.StatusSeeOther, b.choose(h.teen, "4711").Code)
		assert.Len(t, h.signedIn, 2)

		b, _ = h.asked(h.alice)
		assert.Equal(t, http.StatusForbidden, b.choose(h.teen, "0002").Code, "the right PIN has ended the count")
	})
}

// G20: the choice belongs to the browser that began the sign-in, is a POST of the app's own
// site, is made once, and ends with the sign-in. A replica may serve it.
func TestChoiceIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t)
		b, _ := h.asked(h.alice)
		assert.Equal(t, http.StatusGone, h.browser(h).choose(h.kid, "").Code, "another browser")
		attacker, _ := h.asked(h.bobsHome())
		assert.NotEqual(t, http.StatusSeeOther, attacker.choose(h.kid, "").Code, "another browser with a sign-in of its own")
		assert.Equal(t, http.StatusForbidden, b.choose(h.kid, "", func(r *http.Request) {
			r.Header.Set("Origin", "http://evil.example")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}).Code)
		assert.Equal(t, http.StatusMethodNotAllowed, b.get("/signin/member?member="+h.kid.UUID).Code)
		inURL := b.do(http.MethodPost, "/signin/member?member="+h.kid.UUID+"&pin=4711", nil)
		assert.Contains(t, inURL.Body.String(), "Who is signing in?", "only the body counts")
		assert.Empty(t, h.signedIn)

		time.Sleep(time.Second) // the replica does not know of the last poll
		b.Handler = h.handler(func(_ *world, o *signin.Options) { o.HomeMembers, o.Policy = true, signin.Home })
		copied := *b
		copied.cookies = map[string]*http.Cookie{"x": b.cookie()}
		var both sync.WaitGroup
		codes := make(chan int, 2)
		for _, tab := range []*browser{b, &copied} {
			both.Go(func() { codes <- tab.choose(h.kid, "").Code })
		}
		both.Wait()
		assert.ElementsMatch(t, []int{http.StatusSeeOther, http.StatusGone}, []int{<-codes, <-codes})
		assert.Len(t, h.signedIn, 1)

		b, _ = h.asked(h.alice)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, http.StatusGone, b.choose(h.kid, "").Code)
		assert.Len(t, h.signedIn, 1)
	})
}

// bobsHome makes bob the admin of another Home.
func (h *household) bobsHome() *plextest.User {
	h.plex.AddUser(plextest.User{Title: "Bob's kid", Restricted: true, HomeAdmin: h.bob})
	return h.bob
}

// A visitor who is asked who they are can sign in with another account instead.
func TestAnotherAccountInstead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t)
		b, _ := h.asked(h.alice)
		again := b.get("/signin/").Body.String()
		assert.Contains(t, again, `action="finish"`, "or go on")
		assert.Contains(t, b.post("/signin/finish").Body.String(), "Who is signing in?")
		q := b.start(nil) // a PIN of its own: the first one is alice's
		require.NoError(t, h.plex.Approve(q.Get("code"), h.carol))
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		assert.Equal(t, h.carol.ID, h.signedIn[0].ID)
	})
}

// G10, G12: an outage or a 429 while the members are read or chosen is no refusal: the
// visitor can go on afterwards.
func TestChoiceSurvivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t)
		b, _ := h.approved(h, h.alice)
		h.plex.Inject(plextest.Fault{Path: "/api/v2/home/users", Status: http.StatusBadGateway, Times: -1})
		rec := b.post("/signin/finish")
		assert.Equal(t, http.StatusBadGateway, rec.Code)
		assert.Contains(t, rec.Body.String(), `action="finish"`)
		h.plex.ResetFaults()
		assert.Contains(t, b.post("/signin/finish").Body.String(), "Who is signing in?")

		h.plex.Inject(plextest.Fault{Path: "/api/v2/home/users/*/switch", Code: 1003, Times: -1})
		rec = b.choose(h.kid, "")
		assert.Equal(t, http.StatusTooManyRequests, rec.Code)
		assert.Contains(t, rec.Body.String(), `action="finish"`)
		asked := len(h.plex.Requests())
		assert.Equal(t, http.StatusTooManyRequests, h.browser(h).post("/signin/start").Code, "all visitors wait")
		assert.Len(t, h.plex.Requests(), asked)
		h.plex.ResetFaults()
		time.Sleep(time.Minute)
		assert.Equal(t, http.StatusSeeOther, b.choose(h.kid, "").Code)
		assert.Equal(t, h.kid.ID, h.signedIn[0].ID)
	})
}

// A visitor who leaves while plex.tv switches to the member leaves no token behind.
func TestVisitorLeavesDuringTheChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t)
		b, clientID := h.asked(h.alice)
		h.plex.Inject(plextest.Fault{Path: "/api/v2/home/users/*/switch", Delay: 5 * time.Second})
		ctx, leave := context.WithTimeout(t.Context(), 3*time.Second)
		defer leave()
		b.choose(h.kid, "", func(r *http.Request) { *r = *r.WithContext(ctx) })
		h.ended(clientID, h.alice, h.kid)
	})
}

// G21: if plex.tv gives the token of another account than the chosen one, no one gets in.
func TestAnotherMembersToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHousehold(t, func(h *household, o *signin.Options) {
			plain := h.plex.Client()
			o.HTTPClient = &http.Client{Transport: hook(func(r *http.Request) (*http.Response, error) {
				if !strings.HasSuffix(r.URL.Path, "/switch") {
					return plain.Transport.RoundTrip(r)
				}
				body := `{"authToken": "` + h.plex.IssueToken(h.teen, r.Header.Get("X-Plex-Client-Identifier")) + `"}`
				return &http.Response{StatusCode: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
			})}
		})
		b, clientID := h.asked(h.alice)
		assert.Equal(t, http.StatusServiceUnavailable, b.choose(h.kid, "").Code)
		assert.Empty(t, h.signedIn)
		h.ended(clientID, h.alice, h.teen)
	})
}

// G29: with Link the app keeps the login of the member, and never that of the admin.
func TestLinkOfAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kid *plextest.User
		k := newKeeper(t, func(k *keeper, o *signin.Options) {
			kid = k.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: k.alice})
			o.HomeMembers = true
		})
		b, q := k.approved(k, k.alice)
		require.Equal(t, http.StatusOK, b.post("/signin/finish").Code)
		require.Equal(t, http.StatusSeeOther, b.choose(kid, "").Code)
		assert.Equal(t, kid.ID, k.signedIn[0].ID)
		status, err := k.of(kid.ID).Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, status.Connected)
		settings, err := k.of(kid.ID).Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, k.plex.Token(kid, q.Get("clientID")), settings.AccountToken.Secret())
		assert.Empty(t, k.plex.Token(k.alice, q.Get("clientID")))
		alices, err := k.of(k.alice.ID).Status(t.Context())
		require.NoError(t, err)
		assert.Equal(t, plexauth.Status{Instance: alices.Instance, Label: alices.Label}, alices)
	})
}
