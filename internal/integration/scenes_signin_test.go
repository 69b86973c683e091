package integration_test

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// signinScenes are the pages that the visitors of a web app see.
var signinScenes = []scene{
	{"signin", func(s *stage) { s.visit() }},
	{"signin-begun", func(s *stage) {
		p := s.visit()
		s.goToPlex()
		p.navigate(s.signin)
	}},
	{"signin-checking", func(s *stage) { // without scripts the page does not go on by itself
		s.visit()
		s.goToPlex()
		s.openWithoutScripts(s.signin + "callback")
	}},
	{"signin-not-approved", func(s *stage) {
		p := s.visit()
		s.goToPlex()
		p.pass(s.signin + "callback")
		s.arrive("finish")
	}},
	{"signin-not-set-up", func(s *stage) { s.returnAs("bob") }},
	{"signin-no-access", func(s *stage) {
		s.setUp()
		s.returnAs("bob")
	}},
	{"signin-no-access-owner", func(s *stage) {
		s.setUp()
		s.returnAs("alice", func(o *signin.Options) {
			o.Policy = func(context.Context, signin.Visitor) (bool, error) { return false, nil }
		})
	}},
	{"signin-not-shared", func(s *stage) {
		s.setUp()
		s.returnAs("bob", func(o *signin.Options) { o.Policy = signin.Shared })
	}},
	{"signin-server-of-another", func(s *stage) { s.returnAs("bob", s.notOwned) }},
	{"signin-server-of-another-owner", func(s *stage) { s.returnAs("alice", s.notOwned) }},
	{"signin-no-server", func(s *stage) {
		s.servers() // of which none is chosen
		s.adopt(s.alice)
		s.returnAs("bob", func(o *signin.Options) { o.Policy = signin.Shared })
	}},
	{"signin-members", func(s *stage) { s.offerMembers() }},
	{"signin-members-pin-wrong", func(s *stage) {
		p := s.offerMembers()
		p.enter("input[name=pin]", "0000"+keyEnter)
		p.sees(".plexauth-error")
	}},
	{"signin-members-pin-too-many", func(s *stage) {
		p := s.offerMembers()
		for range 4 {
			p.enter("input[name=pin]", "0000"+keyEnter)
			p.until(`document.readyState === "complete" && document.querySelector("input[name=pin]")?.value === "" && document.querySelector(".plexauth-error")`)
		}
	}},
	{"signin-page-of-the-app", func(s *stage) {
		s.visit(func(o *signin.Options) {
			o.Page = func(w io.Writer, _ *http.Request, p signin.Page) error { return ownPage.Execute(w, p) }
		})
	}},
	{"signin-again", func(s *stage) { s.visit().navigate(s.signin + "callback") }},
	{"signin-link-not-allowed", func(s *stage) { s.visit().navigate(s.signin + "?return=https://evil.example/") }},
	{"signin-from-another-site", func(s *stage) {
		s.visit()
		s.open(s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `<!doctype html><form method="post" action="%sstart"><button>Win a prize</button></form>`, s.signin)
		}))).click("button")
		s.arrive("start")
	}},
	{"signin-wrong-address", func(s *stage) {
		s.visit(func(o *signin.Options) { o.URL = "https://app.example/signin/" }).navigate(strings.Replace(s.signin, "127.0.0.1", "app.lan", 1))
	}},
	{"signin-unreachable", func(s *stage) { s.failToStart(plextest.Fault{Status: http.StatusBadGateway}) }},
	{"signin-too-many", func(s *stage) {
		s.failToStart(plextest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"300"}}})
	}},
	{"signin-policy-fails", func(s *stage) {
		s.returnAs("bob", func(o *signin.Options) {
			o.Policy = func(context.Context, signin.Visitor) (bool, error) { return false, errors.New("no database") }
		})
	}},
	{"signin-not-kept", func(s *stage) {
		other := newSite(s.t, func(o *plexauth.Options) { o.Store = unwritableStore{o.Store} })
		s.returnAs("bob", letIn, keepIn(other))
	}},
	{"signin-another-linked", func(s *stage) {
		s.setUp()
		s.returnAs("bob", letIn, keepIn(s.site))
	}},
}

// ownPage is a page of an app around those of signin.
var ownPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="{{.Language}}">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<link rel="stylesheet" href="signin.css">
<script type="module" src="signin.js"></script>
<main>{{.Content}}</main>`))

// notOwned connects the app with alice's account, who does not own the app's server.
func (s *stage) notOwned(*signin.Options) {
	s.t.Helper()
	bobs := s.plex.AddMediaServer(s.bob, plextest.MediaServer{Name: "Bob's", SharedWith: []*plextest.User{s.alice}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	s.adopt(s.alice)
	_, err := s.auth.UseServer(s.t.Context(), bobs.MachineID)
	require.NoError(s.t, err)
}

// offerMembers returns from Plex as the admin of a Home, who chooses who signs in.
func (s *stage) offerMembers() *tab {
	s.t.Helper()
	s.setUp()
	s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice})
	s.plex.AddUser(plextest.User{Title: "Teen with a name that is longer than most", Restricted: true, HomeAdmin: s.alice, HomePIN: "4711"})
	s.returnAs("alice", func(o *signin.Options) { o.HomeMembers = true })
	return s.page
}

// letIn is a policy that lets every visitor in.
func letIn(o *signin.Options) {
	o.Policy = func(context.Context, signin.Visitor) (bool, error) { return true, nil }
}

// keepIn keeps the visitors' logins as the login of a program.
func keepIn(kept *site) func(*signin.Options) {
	return func(o *signin.Options) {
		o.Link = func(plexauth.Account) *plexauth.PlexAuth { return kept.auth }
	}
}

// visit opens the page with the button.
func (s *stage) visit(change ...func(*signin.Options)) *tab {
	s.t.Helper()
	s.signin = s.serve(s.app(append(change, func(o *signin.Options) { o.Language = s.language })...)) + "/signin/"
	return s.open(s.signin)
}

// goToPlex presses the button.
func (s *stage) goToPlex() {
	s.t.Helper()
	s.page.click("button")
	s.page.sees("fieldset")
}

// arrive waits for a page of signin.
func (s *stage) arrive(name string) {
	s.t.Helper()
	s.page.until(`location.pathname.endsWith("/signin/` + name + `") && document.readyState === "complete"`)
}

// returnAs signs in as a user of the fake, who is not let in.
func (s *stage) returnAs(name string, change ...func(*signin.Options)) {
	s.t.Helper()
	p := s.visit(change...)
	s.goToPlex()
	p.approve(name)
	s.arrive("finish")
}

// failToStart presses the button while plex.tv has that fault.
func (s *stage) failToStart(f plextest.Fault) {
	s.t.Helper()
	f.Method, f.Path = http.MethodPost, "/api/v2/pins"
	s.plex.Inject(f)
	s.visit().click("button")
	s.arrive("start")
}
