package integration_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// Parts of the panel that these tests look at.
const (
	serverList = `[data-part="server-list"] label`
	useServer  = `[data-part="server-form"] [data-do]`
	useAddress = `[data-part="address-form"] [data-do]`
	useUser    = `[data-part="user-form"] [data-do]`
	pinField   = "#plex_home_pin"
)

// withHome adds the members of alice's Plex Home.
func (s *site) withHome() {
	s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice, HomePIN: "4711"})
	s.plex.AddUser(plextest.User{Title: "Grandma", HomeAdmin: s.alice})
}

// linked is a site whose panel is connected, with a server.
func linked(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.box(s.alice, "Attic", "192.168.1.5")
	s.withHome()
	s.signIn(s.alice)
	return s
}

// wrong waits until the panel shows a problem of a field under it, in words that contain
// text, and can be read without scrolling.
func (p *tab) wrong(field, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`%s.checkVisibility() && %s.innerText.includes(%q)`, one(problem), one(problem), text))
	p.inView(problem)
	p.inView(field)
	assert.Equal(p.t, "true", eval[string](p, one(field)+`.getAttribute("aria-invalid")`))
	assert.Contains(p.t, eval[string](p, one(field)+`.getAttribute("aria-describedby").split(" ").map((id) => document.getElementById(id).textContent).join(" ")`), text)
	assert.True(p.t, eval[bool](p, one(field)+" === document.activeElement"), "the field has the focus")
	below := eval[float64](p, fmt.Sprintf(`%s.getBoundingClientRect().top - %s.getBoundingClientRect().bottom`, one(problem), one(field)))
	assert.GreaterOrEqual(p.t, below, 0.0)
	assert.Less(p.t, below, 24.0, "pixels between the field and its problem")
	p.once("")
}

// A wrong or empty Home PIN is told under its field, and forgotten once it is corrected.
func TestWebHomePIN(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := linked(t)
		p := b.open(s.url)
		p.size(320, 568)
		p.state("connected")
		p.click("#plex_user_pick_btn")
		p.sees(`[data-part="user-list"] label`)
		p.clickOn(`[...document.querySelectorAll('[data-part="user-list"] label')].find((l) => l.innerText.startsWith("Kid"))`)
		p.sees(pinField)
		p.click(useUser)
		p.wrong(pinField, "Enter the PIN of this user.")
		p.size(320, 568)
		p.press("0000")
		p.until("!" + one(problem) + ".checkVisibility()")
		assert.Empty(t, eval[string](p, one(pinField)+`.getAttribute("aria-invalid") ?? ""`))
		p.press(keyEnter)
		p.wrong(pinField, "Plex does not accept this PIN for this user.")
		p.press("4711" + keyEnter)
		p.until(one(`[data-part="works-for"]`) + `.innerText.includes("Kid")`)
		p.until("!" + one(`[data-part="users"]`) + ".checkVisibility()") // once the press is answered
		assert.Equal(t, "alice\nPlex account", p.text(`[data-part="account"] div`))
		assert.Equal(t, "Kid\na member of the Plex Home", p.text(`[data-part="works-for"]`))
		assert.False(t, eval[bool](p, one(problem)+".checkVisibility()"))
		p.once("a Home user")

		p.click("#plex_user_pick_btn")
		p.sees(`[data-part="users"] summary`)
		assert.False(t, eval[bool](p, one("#plex_account_id")+".checkVisibility()"), "the number is behind Details")
		p.click(`[data-part="users"] summary`)
		p.sees("#plex_username")
		p.sees("#plex_account_id")
		p.quiet()
	})
}

// A wrong or empty address is told under its field.
func TestWebAddress(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := linked(t)
		p := b.open(s.url)
		p.size(320, 568)
		p.state("connected")
		p.click(`[data-part="change-server"]`)
		p.sees(serverList)
		field := "#plex_server_url"
		eval[any](p, one(field)+`.value = ""; 0`)
		p.click(useAddress)
		p.wrong(field, "Enter the address of the server first.")
		p.press("http://192.168.1.77:32400")
		p.click(useAddress)
		p.wrong(field, "No media server could be reached at this address.")
		p.size(320, 568)
		p.enter(field, "?!")
		p.press(keyEnter)
		p.wrong(field, "This is not a server address.")
		p.quiet()
	})
}

// Whatever takes its time shows that it does, without motion too.
func TestWebBusy(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := linked(t)
		p := b.open(s.url)
		p.size(320, 568)
		p.state("connected")
		isBusy := func(button string) {
			t.Helper()
			p.until(one(button) + `.ariaBusy === "true"`)
			assert.Equal(t, "One moment…", p.text(button))
			assert.Equal(t, "true", eval[string](p, one(button)+`.getAttribute("aria-disabled")`))
			p.inView(button)
		}
		isDone := func(button, label string) {
			t.Helper()
			p.until(fmt.Sprintf(`%s.ariaBusy === null && %s.innerText === %q && !%s.ariaDisabled`, one(button), one(button), label, one(button)))
		}
		hold := func(f plextest.Fault) {
			f.Delay, f.Times = slack, -1
			s.plex.Inject(f)
		}
		const test = `[data-part="test"]`
		hold(plextest.Fault{Path: "/identity"})
		p.click(test)
		isBusy(test)
		p.size(320, 568)
		s.plex.ResetFaults()
		isDone(test, "Test connection")
		p.inView(`[data-part="results"]`)
		p.once("")

		hold(plextest.Fault{Path: "/api/home/users"})
		hold(plextest.Fault{Path: "/api/v2/home"})
		hold(plextest.Fault{Path: "/api/v2/home/users"})
		p.click("#plex_user_pick_btn")
		p.until(one(`[data-part="users-note"]`) + `.textContent.includes("Asking Plex")`)
		s.plex.ResetFaults()
		p.sees(`[data-part="user-list"] label`)
		assert.Empty(t, eval[string](p, one(`[data-part="users-note"]`)+".textContent"))
		p.quiet()
	})
}

// Only a login that has a server looks finished: in the panel and in the list of profiles.
func TestWebNotReadyWithoutServer(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.box(s.alice, "Attic", "192.168.1.5")
		cellar := s.box(s.alice, "Cellar", "192.168.1.6")
		s.adopt(s.alice)
		p := b.open(s.url)
		p.size(320, 568)
		p.state("connected")
		p.sees(serverList)
		assert.Equal(t, "Not ready yet", p.text("#plex_msg"))
		assert.Equal(t, "plexauth-warn", "plexauth-"+eval[string](p, one("#plex_msg")+".className"))
		assert.Contains(t, p.text(`[data-part="next"]`), "One more step: choose your server.")
		p.once("")
		p.click("#btn-plex-auto")
		p.until(one(problem) + `.innerText.includes("Choose which media server to use.")`)
		p.inView(problem)
		assert.False(t, eval[bool](p, one(`[data-part="next"]`)+".checkVisibility()"), "the problem says it")

		list := b.open(s.serve(s.auth.ProfilesHandler(t.Context())) + "/")
		assert.Equal(t, "Not ready yet", list.text(`[data-part="list"] li .plexauth-pill`))

		_, err := s.auth.UseServer(t.Context(), cellar.MachineID)
		require.NoError(t, err)
		list.until(one(`[data-part="list"] li .plexauth-pill.ok`) + `?.textContent === "Connected"`)
		p.front()
		p.until(one("#plex_msg.ok") + `?.textContent === "Connected"`)
		p.quiet()
	})
}

// The two causes of no access each have a way out: a device key on the account's own server,
// and a share that was withdrawn.
func TestWebNoAccess(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		t.Run("a share withdrawn", func(t *testing.T) {
			s := newSite(t)
			bobs := s.plex.AddMediaServer(s.bob, plextest.MediaServer{Name: "Bob's", SharedWith: []*plextest.User{s.alice}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
			s.box(s.alice, "Cellar", "192.168.1.6")
			s.adopt(s.alice)
			_, err := s.auth.UseServer(t.Context(), bobs.MachineID)
			require.NoError(t, err)
			s.plex.ChangeMediaServer(bobs, func(m *plextest.MediaServer) { m.SharedWith = nil })
			p := b.in(t).open(s.url)
			p.size(320, 568)
			p.state("connected")
			p.click(`[data-part="test"]`)
			p.until(one(`[data-part="results"]`) + `.innerText.includes("not shared with your account, or not any more. Ask its owner")`)
		})
		t.Run("a device key", func(t *testing.T) {
			s := newSite(t, func(o *plexauth.Options) { o.DeviceKey = true })
			s.box(s.alice, "Attic", "192.168.1.5")
			p := b.in(t).open(s.url)
			p.size(320, 568)
			link := p.connect()
			link.approve("alice")
			p.front()
			p.state("connected")
			p.until(one(problem) + `.innerText.includes("without a device key")`)
			p.size(320, 568)
			p.click(`[data-part="problem-action"]`)
			p.sees(serverList)
			p.inView(`[data-part="change-server"]`)
		})
	})
}

// Without script the card says what it needs, and while it loads what it does.
func TestWebBeforeTheFirstStatus(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		for lost, c := range map[string]struct {
			h    http.Handler
			says string
		}{
			"status":   {s.panel, "Checking whether Plex is connected…"},
			"profiles": {s.auth.ProfilesHandler(t.Context()), "Loading the profiles…"},
		} {
			proxy := &testProxy{panel: c.h}
			proxy.answer(lose(lost))
			at := s.serve(proxy) + "/"
			p := b.open(at)
			p.size(320, 568)
			const shown = ".checkVisibility({ visibilityProperty: true })"
			p.until(one(".plexauth-loading p") + shown)
			assert.Equal(t, c.says, p.text(".plexauth-loading p"))
			p.inView(".plexauth-loading p")
			p.until(one(".plexauth-loading p + p") + shown) // after a while
			p.inView(".plexauth-loading p + p")

			p.scripts(false)
			p.navigate(at)
			p.scripts(true) // for those of the test
			assert.Contains(t, p.text(".plexauth-noscript"), "Allow JavaScript for this page in your browser")
			p.inView(".plexauth-noscript")
			assert.False(t, eval[bool](p, one(".plexauth-loading")+".checkVisibility()"))

			proxy.passOn()
			p.navigate(at)
			p.until("!" + one(".plexauth-loading") + ".checkVisibility()")
			p.quiet()
		}
	})
}
