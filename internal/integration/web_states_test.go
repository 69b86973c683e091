package integration_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

// One page goes through a failed start, a login with trouble, a choice of server and user, a
// rejected token and a switch of accounts. TestScenes looks at each state.
func TestWebStates(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.box(s.alice, "Attic", "192.168.1.5")
		s.box(s.alice, "Cellar", "192.168.1.6")
		s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice, HomePIN: "4711"})
		s.plex.AddUser(plextest.User{Title: "Grandma", HomeAdmin: s.alice})
		p := b.open(s.url)
		p.state("idle")

		s.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 502, Body: "<html>", ContentType: "text/html"})
		p.click("#btn-connect-plex")
		p.sees(`[data-part="problem"]`)

		link := p.connect()
		s.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: 503, Times: -1})
		p.sees(`[data-part="problem"]`)
		s.plex.ResetFaults()

		link.approve("alice")
		p.state("connected")
		p.sees(`[data-part="server-list"] label`)

		p.click(`[data-part="server-list"] label:nth-child(2)`)
		p.click(`[data-part="server-form"] button`)
		p.until(`document.querySelector('[data-part="server"]').title.includes("192-168-1-6")`)

		p.click(`[data-part="test"]`)
		p.until(`document.querySelectorAll('[data-part="results"] li').length > 1`)
		s.plex.Inject(plextest.Fault{Path: "/identity", Reset: true, Times: -1})
		p.click(`[data-part="test"]`)
		p.sees(`[data-part="results"] .bad`)
		s.plex.ResetFaults()

		p.click("#plex_user_pick_btn")
		p.sees(`[data-part="user-list"] label`)
		p.click(`[data-part="user-list"] label:nth-child(2)`)
		p.sees("#plex_home_pin")
		p.enter("#plex_home_pin", "0000")
		p.click(`[data-part="user-form"] button`)
		p.sees(`[data-part="problem"]`)
		p.enter("#plex_home_pin", "4711")
		p.click(`[data-part="user-form"] button`)
		p.until(`document.querySelector('[data-part="works-for"]').innerText === "Kid\na member of the Plex Home"`)
		p.until(`document.querySelector("#plex_home_pin").value === ""`) // once the press is answered

		p.click("#btn-delete-plex")
		p.sees(`[data-part="confirm"]`)
		p.click(`[data-part="confirm"] button[value="no"]`)

		s.plex.Revoke(s.alice)
		_, err := s.auth.Verify(t.Context())
		require.Error(t, err)
		p.state("rejected")

		// Another account approves than before.
		p.click("#btn-connect-plex")
		p.state("pending")
		require.NoError(t, s.plex.Approve(s.code(), s.bob))
		p.until(`document.querySelector('[data-part="problem-title"]').textContent.includes("a different Plex account")`)
		p.click(`[data-part="problem-action"]`)
		p.state("pending")
		require.NoError(t, s.plex.Approve(s.code(), s.bob))
		p.state("connected")
		assert.Equal(t, "bob", p.text(`[data-part="user"]`))
		p.quiet()
	})
}

// A person can use the panel by keyboard alone, and always sees the focus.
func TestWebKeyboard(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.box(s.alice, "Attic", "192.168.1.5")
		s.box(s.alice, "Cellar", "192.168.1.6")
		p := b.open(s.url)
		p.state("idle")
		focus := func(selector string) {
			t.Helper()
			p.until(fmt.Sprintf("document.activeElement.matches(%q)", selector))
		}
		reach := func(keys, selector string) {
			t.Helper()
			for range 40 {
				if eval[bool](p, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
					assert.NotEqual(t, "none", eval[string](p, `getComputedStyle(document.activeElement.type === "radio" ? document.activeElement.parentElement : document.activeElement).outlineStyle`), "the focus is not visible")
					return
				}
				p.press(keys)
			}
			require.Fail(t, "the keys do not reach it", selector)
		}
		reach(keyTab, "#btn-connect-plex")
		p.press(keyEnter)
		p.state("pending")
		p.front()
		focus(`[data-part="open"]`)
		reach(keyTab, "#btn-plex-cancel")
		p.ready("#btn-plex-cancel")
		p.press(" ")
		p.state("idle")
		focus("#btn-connect-plex")
		p.ready("#btn-connect-plex")
		p.press(keyEnter)
		p.state("pending")
		require.NoError(t, s.plex.Approve(s.code(), s.alice))
		p.front()
		p.state("connected")
		p.sees(`[data-part="server-list"] label`)
		focus(`[data-part="test"]`)
		reach(keyTab, `[data-part="server-list"] input`)
		p.press(keyArrowDown)
		reach(keyTab, `[data-part="server-form"] button`)
		p.press(keyEnter)
		p.until(`document.querySelector('[data-part="server"]').textContent.startsWith("Cellar")`)
		focus(`[data-part="change-server"]`)
		reach(keyShift+keyTab, "#btn-delete-plex")
		p.press(keyEnter)
		p.sees(`[data-part="confirm"]`)
		p.press(keyEscape)
		focus("#btn-delete-plex")
		p.state("connected")
		p.quiet()
	})
}

// On a phone a failure can be read without scrolling, wherever the button is.
func TestWebFailureBesideItsButton(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		for i := range 9 {
			s.box(s.alice, fmt.Sprint("Server ", i), fmt.Sprintf("192.168.1.%d", i+10))
		}
		off := s.box(s.alice, "Zzz", "192.168.1.99")
		s.adopt(s.alice)
		p := b.open(s.url)
		p.size(320, 640)
		p.state("connected")
		use := `[data-part="server-form"] [data-do]`
		p.sees(use)
		seen := func(text string) {
			t.Helper()
			p.until(fmt.Sprintf(`document.querySelector('[data-part="problem"]').textContent.includes(%q)`, text))
			p.inView(problem)
		}
		p.click(use)
		seen("Choose one of the servers first")
		s.plex.ChangeMediaServer(off, func(m *plextest.MediaServer) { m.Offline, m.Connections[0].BlackHole = true, true })
		p.click(`[data-part="server-list"] label:last-child`)
		p.click(use)
		seen("does not answer")
		assert.True(t, eval[bool](p, `document.querySelector('[data-part="server-form"] [data-do]').nextElementSibling.matches('[data-part="problem"]')`))
		p.fits("a failure beside its button")

		p.enter("#plex_server_url", "http://192.168.1.77:32400")
		p.click(`[data-part="address-form"] [data-do]`)
		seen("No media server could be reached")
		p.fits("a failure beside a field")
		p.quiet()
	})
}

// If the account has several servers, a sentence on the first screen asks for a choice. It
// disappears with the choice, wherever that is made. So does the list that opened by
// itself.
func TestWebServerToBeChosen(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.box(s.alice, "Attic", "192.168.1.5")
		cellar := s.box(s.alice, "Cellar", "192.168.1.6")
		s.adopt(s.alice)
		p := b.open(s.url)
		p.size(320, 640)
		p.state("connected")
		p.sees(`[data-part="server-list"] label`)
		assert.Contains(t, p.text(`[data-part="next"]`), "One more step: choose your server")
		p.inView(`[data-part="next"]`)
		_, err := s.auth.UseServer(t.Context(), cellar.MachineID)
		require.NoError(t, err)
		p.until(`!document.querySelector('[data-part="next"]').checkVisibility() && !document.querySelector('[data-part="servers"]').checkVisibility()`)
		p.quiet()
	})
}

// The pill says how a login stands with its server. A failure of another server than the chosen
// one, or of plex.tv, does not count.
func TestWebServerProblem(t *testing.T) {
	bad, good := "Server problem", "Connected"
	pills := map[string]string{
		"server-unreachable": bad, "server-starting": bad, "server-another": bad, "server-not-found": bad,
		"no-access-share": bad, "no-access-share-find": bad, "no-access-device-key": bad, "tested-unreachable": bad,
		"connected": good, "tested": good, "tested-again": good, "tested-no-plex": good, "server-address-wrong": good,
		"server-none": "Not ready yet", "looking-for-server": "Looking for your server",
	}
	inEachBrowser(t, func(t *testing.T, b *browser) {
		p := b.tab()
		for _, scene := range scenes() {
			pill, ok := pills[scene.name]
			if !ok {
				continue
			}
			t.Run(scene.name, func(t *testing.T) {
				p := p.in(t)
				s := newStage(p, "en")
				defer s.leave(p)
				scene.play(s)
				s.page.until(fmt.Sprintf(`document.querySelector("#plex_msg").textContent === %q`, pill))
				assert.Equal(t, pill != good && pill != "Looking for your server", eval[bool](s.page, `document.querySelector("#plex_msg").matches(".warn:not(.ok)")`))
				assert.Equal(t, pill == good, eval[bool](s.page, `document.querySelector("#plex_msg").matches(".ok:not(.warn)")`))
			})
		}
	})
}

// A problem of a field goes when the state changes: the field cannot be seen any more.
func TestWebProblemOfAnotherState(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newStage(b.tab(), "en")
		p := s.enterPIN("0000")
		p.until(`document.querySelector('[data-part="problem-title"]').textContent === "Plex does not accept this PIN for this user."`)
		s.plex.Revoke(s.alice)
		_, err := s.auth.Verify(t.Context())
		require.Error(t, err)
		p.state("rejected")
		p.until(`document.querySelector('[data-part="problem-title"]').textContent.startsWith("Plex does not accept this sign-in any more")`)
		p.quiet()
	})
}

// The result of a test stays until the program uses another server.
func TestWebTestIsOver(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		attic, cellar := s.box(s.alice, "Attic", "192.168.1.5"), s.box(s.alice, "Cellar", "192.168.1.6")
		grandma := s.plex.AddUser(plextest.User{Title: "Grandma", HomeAdmin: s.alice})
		s.adopt(s.alice)
		_, err := s.auth.UseServer(t.Context(), attic.MachineID)
		require.NoError(t, err)
		p := b.open(s.url)
		p.state("connected")
		const lines = `document.querySelectorAll('[data-part="results"] li').length`
		p.click(`[data-part="test"]`)
		p.until(lines + " > 1")

		// Another tab chooses a user: that says nothing against the test.
		choose := fmt.Sprintf(`fetch("user", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({uuid: %q})}).then((r) => r.status)`, grandma.UUID)
		require.Equal(t, 200, eval[int](p, choose))
		p.until(`document.querySelector('[data-part="works-for"]').innerText.includes("Grandma")`)
		assert.Greater(t, eval[int](p, lines), 1)

		_, err = s.auth.UseServer(t.Context(), cellar.MachineID)
		require.NoError(t, err)
		p.until(`document.querySelector('[data-part="server"]').title.includes("192-168-1-6")`)
		assert.Zero(t, eval[int](p, lines), "it was another server's")
	})
}
