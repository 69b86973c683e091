package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// scene is a state of the panel's page, of the list of profiles, or of signin's pages. All
// checks of what people see go through [scenes].
type scene struct {
	name string
	play func(s *stage) // until the page is in the state
}

// scenes are all states of all pages. To add one, add it to one of these tables. play must
// not look for a text, because it plays in every language.
func scenes() (all []scene) {
	for _, table := range [][]scene{loginScenes, problemScenes, serverScenes, userScenes, profileScenes, signinScenes} {
		all = append(all, table...)
	}
	return all
}

// stage is where a scene is played: a program of its own, and a page in one language.
type stage struct {
	*site
	b        *browser
	language string
	page     *tab
	signin   string // the URL of signin's page, after visit

	attic, cellar *plextest.MediaServer // a server that answers, and one that does not
}

// newStage returns a stage whose page is shown in a tab. The scenes share that, because
// tabs take long to open.
func newStage(p *tab, language string) *stage {
	s := &stage{site: &site{t: p.t}, b: p.b, language: language, page: p}
	s.begin()
	return s
}

// leave removes what a scene has left in the browser: cookies, and tabs other than p.
func (s *stage) leave(p *tab) {
	for id := range s.b.pages() {
		if id != p.id {
			s.b.command("browsingContext.close", bidiParams{"context": id})
		}
	}
	s.b.command("storage.deleteCookies", bidiParams{"partition": bidiParams{"type": "storageKey", "userContext": s.b.user}})
}

// begin makes another program, with other options.
func (s *stage) begin(change ...func(*plexauth.Options)) {
	s.t.Helper()
	s.site = newSite(s.t, append(change, func(o *plexauth.Options) { o.Language = s.language })...)
}

// open opens the page at a URL.
func (s *stage) open(rawURL string) *tab {
	s.t.Helper()
	s.page.size(1000, 900)
	s.page.navigate(rawURL)
	return s.page
}

// openWith opens the page at a URL in a new tab. source runs before its own scripts.
func (s *stage) openWith(source, rawURL string) *tab {
	s.t.Helper()
	s.page = s.b.openWith(source, rawURL)
	return s.page
}

// openWithoutScripts opens the page at a URL, whose own scripts do not run. Those of the test
// do afterwards, so that the browser would hide what is in a noscript: it is taken out of it.
func (s *stage) openWithoutScripts(rawURL string) *tab {
	s.t.Helper()
	s.page.scripts(false)
	s.page.navigate(rawURL)
	s.page.scripts(true)
	eval[any](s.page, `document.querySelectorAll("noscript").forEach((n) => n.replaceWith(...n.childNodes)); 0`)
	return s.page
}

// connect is setUp, and opens the panel.
func (s *stage) connect() *tab {
	s.t.Helper()
	s.setUp()
	p := s.open(s.url)
	p.state("connected")
	return p
}

// setUp signs the program in as alice, with her server.
func (s *stage) setUp() {
	s.t.Helper()
	s.attic = s.box(s.alice, "Attic", "192.168.1.5")
	s.signIn(s.alice)
}

// pend begins a login, and opens the panel.
func (s *stage) pend() *tab {
	s.t.Helper()
	_, err := s.auth.Start(s.t.Context(), plexauth.PinOptions{})
	require.NoError(s.t, err)
	p := s.open(s.url)
	p.state("pending")
	return p
}

// approve approves the pending login.
func (s *stage) approve(u *plextest.User) {
	s.t.Helper()
	require.NoError(s.t, s.plex.Approve(s.code(), u))
}

// problem is the box that says what is wrong.
const problem = `[data-part="problem"]`

// refusal is what the page says instead of the panel.
const refusal = ".plexauth-refusal"

// loginScenes are what the panel shows on the way to a login.
var loginScenes = []scene{
	{"loading", func(s *stage) {
		proxy, at := s.behindProxy()
		proxy.answer(lose("status"))
		s.open(at).state("loading")
	}},
	{"no-scripts", func(s *stage) {
		s.openWithoutScripts(s.url).sees(".plexauth-noscript")
	}},
	{"idle", func(s *stage) { s.open(s.url).state("idle") }},
	{"starting", func(s *stage) {
		proxy, at := s.behindProxy()
		proxy.answer(lose("start"))
		p := s.open(at)
		p.state("idle")
		p.click("#btn-connect-plex")
		p.state("starting")
	}},
	{"starting-in-a-moment", func(s *stage) {
		p := s.openWith(noPauses, s.url) // the wait does not end
		p.state("idle")
		p.click("#btn-connect-plex")
		p.state("pending")
		p.click("#btn-plex-cancel")
		p.state("idle")
		p.ready("#btn-connect-plex")
		s.tooSoon()
		p.click("#btn-connect-plex")
		p.sees("#plex_msg_detail")
	}},
	{"pending", func(s *stage) { s.pend() }},
	{"pending-in-a-tab", func(s *stage) { s.open(s.url).connect() }},
	{"pending-tab-closed", func(s *stage) {
		p := s.open(s.url)
		p.connect().close()
		p.sees(openLink)
	}},
	{"pending-elsewhere", func(s *stage) { s.open(s.url).connectElsewhere() }},
	{"pending-tab-blocked", func(s *stage) {
		p := s.openWith("window.open = () => null;", s.url)
		p.state("idle")
		p.click("#btn-connect-plex")
		p.state("pending")
	}},
	{"back-from-plex", func(s *stage) { // with scripts the tab closes itself, or shows the panel
		s.openWithoutScripts(s.url + "return").sees(".plexauth-return")
	}},
	{"pending-last-minute", func(s *stage) {
		s.plex.SetPinLifetime(time.Minute, 0)
		_, err := s.auth.Start(s.t.Context(), plexauth.PinOptions{})
		require.NoError(s.t, err)
		s.openWith(noPauses, s.url).until(one(`[data-part="said"]`) + `.textContent !== ""`) // which stays
	}},
	{"pending-trouble", func(s *stage) {
		p := s.pend()
		s.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: http.StatusServiceUnavailable, Times: -1})
		p.sees(problem)
	}},
	{"expired", func(s *stage) {
		p := s.pend()
		require.NoError(s.t, s.plex.Expire(s.code()))
		p.state("expired")
	}},
	{"expired-in-a-tab", func(s *stage) {
		_, err := s.auth.Start(s.t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(s.t, err)
		p := s.open(s.url)
		p.state("pending")
		require.NoError(s.t, s.plex.Expire(s.code()))
		p.state("expired")
	}},
	{"saving", func(s *stage) {
		var store *filledStore
		s.begin(func(o *plexauth.Options) {
			store = &filledStore{ConfigStore: o.Store}
			o.Store = store
		})
		p := s.pend()
		store.full.Store(true)
		s.approve(s.alice)
		p.state("saving")
	}},
	{"looking-for-server", func(s *stage) {
		s.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Hang: true, Times: -1})
		p := s.pend()
		s.approve(s.alice)
		p.state("connected")
	}},
	{"connected", func(s *stage) { s.connect() }},
	{"connected-device-key", func(s *stage) {
		s.begin(func(o *plexauth.Options) { o.DeviceKey = true })
		p := s.pend()
		s.approve(s.alice)
		p.state("connected")
	}},
	{"pending-superseded", func(s *stage) { // by a login that another process has begun
		p := s.pend()
		_, err := s.auth.Start(s.t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(s.t, err)
		p.until(one("#plex_pin") + `.value === ""`)
	}},
	{"rejected", func(s *stage) { s.reject() }},
	{"rejected-after-wrong-pin", func(s *stage) {
		p := s.enterPIN("0000")
		p.sees(`#plex_home_pin[aria-invalid="true"]`)
		s.plex.Revoke(s.alice)
		_, err := s.auth.Verify(s.t.Context())
		require.Error(s.t, err)
		p.state("rejected")
	}},
	{"another-account", func(s *stage) {
		p := s.reject()
		p.click("#btn-connect-plex")
		p.state("pending")
		s.approve(s.bob)
		p.state("rejected")
	}},
	{"disconnect", func(s *stage) {
		p := s.connect()
		p.click("#btn-delete-plex")
		p.sees(`[data-part="confirm"]`)
	}},
	{"not-signed-out", func(s *stage) {
		p := s.connect()
		s.plex.Inject(plextest.Fault{Path: "/api/v2/users/signout", Status: http.StatusBadGateway, Times: -1})
		p.click("#btn-delete-plex")
		p.click(`[data-part="confirm"] button[value="yes"]`)
		p.sees(problem)
	}},
	{"in-a-page-of-a-host", func(s *stage) {
		mux := http.NewServeMux()
		mux.Handle("/plex/", http.StripPrefix("/plex", s.panel))
		mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `<!doctype html><html lang=%q><title>Settings</title><link rel="stylesheet" href="data:text/css,html{background:canvas;color:canvastext}"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><script type="module" src="/plex/panel.js"></script><main><h1>Settings</h1>%s</main>`, s.language, plexauth.HTML())
		})
		s.open(s.serve(mux)).state("idle")
	}},
}

// reject connects alice, and lets plex.tv end her sign-in.
func (s *stage) reject() *tab {
	s.t.Helper()
	p := s.connect()
	s.plex.Revoke(s.alice)
	_, err := s.auth.Verify(s.t.Context())
	require.Error(s.t, err)
	p.state("rejected")
	return p
}

// problemScenes are what the panel says if a login cannot begin or cannot be kept.
var problemScenes = []scene{
	{"plex-unreachable", startFault(plextest.Fault{Reset: true})},
	{"plex-error", startFault(plextest.Fault{Status: http.StatusBadGateway, Body: "<html>", ContentType: "text/html"})},
	{"plex-not-plex", startFault(plextest.Fault{Status: http.StatusOK, Body: "<html>", ContentType: "text/html"})},
	{"plex-rate-limited", startFault(plextest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"300"}}})},
	{"store-unwritable", func(s *stage) {
		s.begin(func(o *plexauth.Options) { o.Store = unwritableStore{o.Store} })
		p := s.open(s.url)
		p.state("idle")
		p.click("#btn-connect-plex")
		p.sees(problem)
		p.click(`[data-part="problem-more"] summary`)
		p.sees(`[data-part="problem-detail"]`)
	}},
	{"store-corrupt", func(s *stage) {
		file := filepath.Join(s.t.TempDir(), "config.json")
		require.NoError(s.t, os.WriteFile(file, []byte(`{"plex": {"account_tok`), 0o600))
		s.begin(func(o *plexauth.Options) { o.Store = plexauth.NewFileStore(file) })
		s.open(s.url).state("broken")
	}},
	{"store-breaks", func(s *stage) {
		store := &unreadableStore{}
		s.begin(func(o *plexauth.Options) {
			store.ConfigStore = o.Store
			o.Store = store
		})
		p := s.connect()
		store.broken.Store(true)
		p.state("broken")
	}},
	{"program-stopped", func(s *stage) {
		server := httptest.NewServer(s.panel)
		p := s.open(server.URL + "/")
		p.state("idle")
		end(server)
		p.sees(problem)
	}},
	{"answer-lost", func(s *stage) {
		proxy, at := s.behindProxy()
		p := s.open(at)
		p.state("idle")
		proxy.answer(broken("start"))
		p.click("#btn-connect-plex")
		p.sees(problem)
	}},
	{"wrong-host", func(s *stage) {
		s.begin(func(o *plexauth.Options) { o.TrustedOrigins = []string{"http://panel.lan"} })
		s.open(strings.Replace(s.url, "127.0.0.1", "app.lan", 1)).sees(refusal)
	}},
	{"wrong-host-profiles", func(s *stage) {
		s.begin(func(o *plexauth.Options) { o.TrustedOrigins = []string{"http://panel.lan"} })
		s.open(strings.Replace(s.profiles(), "127.0.0.1", "app.lan", 1)).sees(refusal)
	}},
	{"from-another-site", func(s *stage) {
		p := s.open(s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `<!doctype html><form method="post" action="%sstart"><button>Win a prize</button></form>`, s.url)
		})))
		p.click("button")
		p.sees(refusal)
	}},
	{"program-stopping", func(s *stage) {
		ctx, stop := context.WithCancel(s.t.Context())
		stop()
		s.open(s.serve(s.auth.Handler(ctx)) + "/").sees(refusal)
	}},
	{"login-in-front", func(s *stage) {
		proxy, at := s.behindProxy()
		p := s.open(at)
		p.state("idle")
		proxy.answer(func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		})
		p.click("#btn-connect-plex")
		p.sees(`[data-part="problem-action"]`)
	}},
}

// startFault presses the button while plex.tv has that fault.
func startFault(f plextest.Fault) func(*stage) {
	return func(s *stage) {
		f.Method, f.Path, f.Times = http.MethodPost, "/api/v2/pins", -1
		s.plex.Inject(f)
		p := s.open(s.url)
		p.state("idle")
		p.click("#btn-connect-plex")
		p.sees(problem)
	}
}

// broken breaks the connection of requests of that name.
func broken(name string) answerFunc {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if path.Base(r.URL.Path) == name {
			panic(http.ErrAbortHandler)
		}
		return false
	}
}

// serverScenes are the choice of a media server, and its test.
var serverScenes = []scene{
	{"server-none", func(s *stage) {
		s.adopt(s.alice)
		p := s.open(s.url)
		p.state("connected")
		p.sees(`[data-part="address-form"]`)
	}},
	{"server-one", func(s *stage) {
		p := s.connect()
		p.click(`[data-part="change-server"]`)
		p.sees(`[data-part="server-list"] label`)
	}},
	{"server-choice", func(s *stage) { s.offerServers() }},
	{"server-choice-missing", func(s *stage) {
		p := s.offerServers()
		p.click(`[data-part="server-form"] [data-do]`)
		p.sees(problem)
	}},
	{"server-unreachable", func(s *stage) {
		p := s.offerServers()
		p.click(`[data-part="server-list"] label:nth-child(2)`)
		p.click(`[data-part="server-form"] [data-do]`)
		p.sees(problem)
	}},
	{"server-starting", func(s *stage) {
		p := s.offerServers()
		s.plex.Inject(plextest.Fault{Path: "/identity", Status: http.StatusServiceUnavailable, Times: -1})
		p.click(`[data-part="server-list"] label`)
		p.click(`[data-part="server-form"] [data-do]`)
		p.sees(problem)
	}},
	{"server-another", func(s *stage) {
		p := s.connect()
		s.plex.ChangeMediaServer(s.attic, func(m *plextest.MediaServer) { m.Connections[0].Impostor = true })
		p.click(`[data-part="change-server"]`)
		p.click("#btn-plex-auto")
		p.sees(problem)
	}},
	{"server-not-found", func(s *stage) { // after the login
		s.plex.AddMediaServer(s.alice, plextest.MediaServer{Name: "Attic", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true, Refused: true}}})
		p := s.pend()
		s.approve(s.alice)
		p.state("connected")
		p.sees(problem)
	}},
	{"server-list-fails", func(s *stage) {
		s.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Status: http.StatusBadGateway, Times: -1})
		s.adopt(s.alice)
		p := s.open(s.url)
		p.state("connected")
		p.sees(problem)
	}},
	{"server-using", func(s *stage) {
		proxy, at := s.behindProxy()
		proxy.answer(lose("server"))
		s.servers()
		s.adopt(s.alice)
		p := s.open(at)
		p.click(`[data-part="server-list"] label`)
		p.click(`[data-part="server-form"] [data-do]`)
		p.sees(`[data-part="server-form"] [aria-disabled="true"]`)
	}},
	{"server-address-missing", func(s *stage) {
		s.adopt(s.alice)
		p := s.open(s.url)
		p.click(`[data-part="address-form"] [data-do]`)
		p.sees(problem)
	}},
	{"server-address-bad", func(s *stage) {
		s.adopt(s.alice)
		p := s.open(s.url)
		p.enter("#plex_server_url", "attic"+keyTab)
		p.sees("#plexauth-address-note")
		p.click(`[data-part="address-form"] [data-do]`)
		p.sees(problem)
	}},
	{"server-address-wrong", func(s *stage) {
		p := s.connect()
		p.click(`[data-part="change-server"]`)
		eval[any](p, one("#plex_server_url")+`.value = ""`)
		p.enter("#plex_server_url", "http://192.168.1.77:32400"+keyEnter)
		p.sees(problem)
	}},
	{"server-address-checked", func(s *stage) {
		s.box(s.alice, "Attic", "192.168.1.5")
		s.adopt(s.alice)
		p := s.open(s.url)
		p.enter("#plex_server_url", "192.168.1.5:32400"+keyTab)
		p.sees("#plexauth-address-note")
	}},
	{"server-certificate-unchecked", func(s *stage) {
		s.adopt(s.alice)
		require.NoError(s.t, s.store.Update(s.t.Context(), plexauth.Namespace, func(current json.RawMessage) (json.RawMessage, error) {
			all := map[string]json.RawMessage{}
			err := json.Unmarshal(current, &all)
			all["verify_ssl"] = json.RawMessage("false")
			b, _ := json.Marshal(all)
			return b, err
		}))
		s.open(s.url).sees(`[data-part="verify"]`)
	}},
	{"testing", func(s *stage) {
		s.connect()
		proxy, at := s.behindProxy()
		proxy.answer(lose("probe"))
		p := s.open(at)
		p.click(`[data-part="test"]`)
		p.sees(`[data-part="test"][aria-busy="true"]`)
	}},
	{"no-access-share", func(s *stage) {
		p := s.withdrawShare()
		p.click(`[data-part="test"]`)
		p.sees(`[data-part="results"] .bad`)
	}},
	{"no-access-share-find", func(s *stage) {
		p := s.withdrawShare()
		p.click(`[data-part="change-server"]`)
		p.click("#btn-plex-auto")
		p.sees(problem)
	}},
	{"no-access-device-key", func(s *stage) {
		s.begin(func(o *plexauth.Options) { o.DeviceKey = true })
		s.box(s.alice, "Attic", "192.168.1.5")
		p := s.pend()
		s.approve(s.alice)
		p.state("connected")
		p.sees(problem)
	}},
	{"tested", func(s *stage) {
		p := s.connect()
		p.click(`[data-part="test"]`)
		p.sees(`[data-part="results"] li:nth-child(2)`)
	}},
	{"tested-unreachable", func(s *stage) {
		p := s.connect()
		s.plex.Inject(plextest.Fault{Path: "/identity", Reset: true, Times: -1})
		p.click(`[data-part="test"]`)
		p.sees(`[data-part="results"] .bad`)
	}},
	{"tested-again", func(s *stage) { // the server answers now
		p := s.withdrawShare()
		p.click(`[data-part="test"]`)
		p.sees(`[data-part="results"] .bad`)
		s.plex.ChangeMediaServer(s.attic, func(m *plextest.MediaServer) { m.SharedWith = []*plextest.User{s.alice} })
		p.click(`[data-part="test"]`)
		p.sees(`[data-part="results"] li:nth-child(2):not(.bad)`)
	}},
	{"tested-no-plex", func(s *stage) {
		p := s.connect()
		s.plex.Inject(plextest.Fault{Path: "/api/v2/*", Status: http.StatusBadGateway, Times: -1})
		p.click(`[data-part="test"]`)
		p.sees(`[data-part="results"] .bad`)
	}},
}

// withdrawShare connects alice to a server of bob's, which he then shares no more.
func (s *stage) withdrawShare() *tab {
	s.t.Helper()
	s.attic = s.plex.AddMediaServer(s.bob, plextest.MediaServer{Name: "Bob's", SharedWith: []*plextest.User{s.alice}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	s.box(s.alice, "Cellar", "192.168.1.6")
	s.adopt(s.alice)
	_, err := s.auth.UseServer(s.t.Context(), s.attic.MachineID)
	require.NoError(s.t, err)
	s.plex.ChangeMediaServer(s.attic, func(m *plextest.MediaServer) { m.SharedWith = nil })
	p := s.open(s.url)
	p.state("connected")
	return p
}

// servers gives alice servers of all kinds.
func (s *stage) servers() {
	s.attic = s.box(s.alice, "Attic", "192.168.1.5")
	s.cellar = s.plex.AddMediaServer(s.alice, plextest.MediaServer{Name: "Cellar", Offline: true, Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true, Refused: true}}})
	s.plex.AddMediaServer(s.alice, plextest.MediaServer{Name: "No address"})
	s.plex.AddMediaServer(s.bob, plextest.MediaServer{Name: "A long name of the server of a friend " + strings.Repeat("x", 40), SharedWith: []*plextest.User{s.alice}, Connections: []plextest.Connection{{Address: "203.0.113.7"}}})
}

// offerServers opens the panel of an account with several servers.
func (s *stage) offerServers() *tab {
	s.t.Helper()
	s.servers()
	s.adopt(s.alice)
	p := s.open(s.url)
	p.sees(`[data-part="server-list"] label`)
	return p
}

// userScenes are the choice of a member of the Plex Home.
var userScenes = []scene{
	{"user-choice", func(s *stage) { s.offerUsers() }},
	{"user-choice-missing", func(s *stage) {
		p := s.offerUsers()
		eval[any](p, `document.querySelectorAll('[data-part="user-list"] input').forEach((i) => { i.checked = false; }); 0`)
		p.click(`[data-part="user-form"] [data-do]`)
		p.sees(problem)
	}},
	{"user-with-pin", func(s *stage) {
		p := s.offerUsers()
		p.clickOn(userWithPIN)
		p.sees("#plex_home_pin")
	}},
	{"user-pin-empty", func(s *stage) { s.enterPIN("").sees(problem) }},
	{"user-pin-wrong", func(s *stage) { s.enterPIN("0000").sees(problem) }},
	{"user-pin-too-many", func(s *stage) {
		p := s.enterPIN("0000")
		for range 3 {
			p.sees(`#plex_home_pin[aria-invalid="true"]`)
			p.enter("#plex_home_pin", "0")
			p.sees(`#plex_home_pin:not([aria-invalid])`)
			p.click(`[data-part="user-form"] [data-do]`)
		}
		p.sees(`#plex_home_pin[aria-invalid="true"]`)
	}},
	{"user-chosen", func(s *stage) {
		s.enterPIN("4711").until(`document.querySelector("#plex_home_pin").value === "" && document.querySelector('[data-part="works-for"] b')?.textContent === "Kid"`)
	}},
	{"user-details", func(s *stage) {
		p := s.offerUsers()
		p.click(`[data-part="users"] summary`)
		p.sees("#plex_account_id")
	}},
	{"user-list-loading", func(s *stage) {
		s.connect()
		proxy, at := s.behindProxy()
		proxy.answer(lose("users"))
		p := s.open(at)
		p.click("#plex_user_pick_btn")
		p.until(one(`[data-part="users-note"]`) + `.textContent !== ""`)
	}},
	{"user-list-fails", func(s *stage) {
		p := s.connect()
		s.plex.Inject(plextest.Fault{Path: "/api/v2/home/users", Status: http.StatusBadGateway, Times: -1})
		p.click("#plex_user_pick_btn")
		p.sees(problem)
	}},
}

// userWithPIN is an expression for the member of the Home who has a PIN.
const userWithPIN = `[...document.querySelectorAll('[data-part="user-list"] label')].find((l) => l.innerText.startsWith("Kid"))`

// offerUsers opens the list of the members of alice's Home.
func (s *stage) offerUsers() *tab {
	s.t.Helper()
	s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice, HomePIN: "4711"})
	s.plex.AddUser(plextest.User{Title: "Grandma with a long name " + strings.Repeat("x", 40), HomeAdmin: s.alice})
	s.plex.AddUser(plextest.User{Username: "carol", HomeAdmin: s.alice, Guest: true})
	p := s.connect()
	p.click("#plex_user_pick_btn")
	p.sees(`[data-part="user-list"] label`)
	return p
}

// enterPIN chooses the member who has a PIN, and enters one.
func (s *stage) enterPIN(pin string) *tab {
	s.t.Helper()
	p := s.offerUsers()
	p.clickOn(userWithPIN)
	if pin != "" {
		p.enter("#plex_home_pin", pin)
	}
	p.click(`[data-part="user-form"] [data-do]`)
	return p
}

// profileScenes are the list of the profiles, and the panel of one.
var profileScenes = []scene{
	{"profiles-none", func(s *stage) { s.open(s.profiles()).sees("li a") }},
	{"profiles-loading", func(s *stage) {
		proxy := &testProxy{panel: s.auth.ProfilesHandler(s.t.Context())}
		proxy.answer(lose("profiles"))
		s.open(s.serve(proxy) + "/").sees(".plexauth-loading")
	}},
	{"profiles-no-scripts", func(s *stage) {
		s.openWithoutScripts(s.profiles()).sees(".plexauth-noscript")
	}},
	{"profiles-unfinished", func(s *stage) {
		s.adopt(s.alice)
		s.open(s.profiles()).sees(row("profile/default/", "unfinished"))
	}},
	{"profiles-many", func(s *stage) {
		s.connect()
		s.fill(3)
		_, err := s.auth.Instance("PLEX-P01").Start(s.t.Context(), plexauth.PinOptions{})
		require.NoError(s.t, err)
		s.open(s.profiles()).sees(row("profile/PLEX-P01/", "pending"))
	}},
	{"profiles-rejected", func(s *stage) {
		s.reject()
		s.open(s.profiles()).sees(row("profile/default/", "rejected"))
	}},
	{"profiles-server-problem", func(s *stage) {
		s.servers()
		s.adopt(s.alice)
		_, err := s.auth.UseServer(s.t.Context(), s.cellar.MachineID)
		require.Error(s.t, err)
		s.open(s.profiles()).sees(row("profile/default/", "serverProblem"))
	}},
	{"profiles-full", func(s *stage) {
		s.fill(9)
		s.open(s.profiles()).sees(`[data-part="full"]`)
	}},
	{"profiles-store-breaks", func(s *stage) {
		store := &unreadableStore{}
		s.begin(func(o *plexauth.Options) {
			store.ConfigStore = o.Store
			o.Store = store
		})
		s.fill(2)
		p := s.open(s.profiles())
		p.sees("li a")
		store.broken.Store(true)
		p.sees(problem)
	}},
	{"profiles-store-broken", func(s *stage) {
		store := &unreadableStore{}
		s.begin(func(o *plexauth.Options) {
			store.ConfigStore = o.Store
			o.Store = store
		})
		store.broken.Store(true)
		s.open(s.profiles()).sees(problem)
	}},
	{"profile", func(s *stage) { s.open(s.profiles() + "profile/PLEX-P01/").state("idle") }},
	{"profile-long-name", func(s *stage) {
		s.fill(1)
		p := s.open(s.profiles())
		p.clickOn(`[...document.querySelectorAll("li a")].find((a) => a.innerText.includes("longlong"))`)
		p.state("idle")
	}},
	{"profile-gone", func(s *stage) { s.open(s.profiles() + "profile/gone/").state("broken") }},
}

// fill adds profiles to the store, the last one under a long name.
func (s *stage) fill(n int) {
	s.t.Helper()
	ids := []string{strings.Repeat("long", 30)}
	for i := range n {
		ids = append(ids, fmt.Sprintf("PLEX-P%02d", i+1))
	}
	for _, id := range ids {
		p := s.auth.Instance(id)
		_, err := p.Start(s.t.Context(), plexauth.PinOptions{})
		require.NoError(s.t, err)
		require.NoError(s.t, p.Cancel(s.t.Context()))
	}
}
