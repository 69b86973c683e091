package integration_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// G19: a whole login on the fake's own page, with one click in the panel. The tab comes back
// and closes itself. The panel's page asks no other site and complains about nothing.
func TestWebLogin(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		box := s.box(s.alice, "Box", "192.168.1.5")
		p := b.open(s.url)
		p.state("idle")
		eval[any](p, `window.heard = []; for (const e of ["pending", "connected", "disconnected", "problem"]) document.addEventListener("plexauth:" + e, ev => heard.push(e)); 0`)
		link := p.connect()
		code := s.plex.PendingCodes()[0]
		assert.Len(t, code, 25)
		assert.NotContains(t, eval[string](p, "document.body.innerText"), code)
		assert.False(t, eval[bool](p, `document.querySelector('[data-part="scan"]').checkVisibility()`))
		link.sees("fieldset")
		assert.Equal(t, eval[string](p, one(openLink)+".href"), eval[string](link, "location.href"), "the tab that the click opened shows Plex")
		assert.Equal(t, s.url+"return", eval[string](link, "document.forms[0].elements.forwardUrl.value"))
		assert.True(t, eval[bool](link, "window.opener === null"))
		link.approve("alice")
		link.closes()
		p.state("connected")
		p.front()
		assert.Equal(t, "alice", p.text(`[data-part="user"]`))
		p.until(`document.querySelector('[data-part="server"]').textContent.startsWith("Box")`)
		assert.Contains(t, eval[string](p, "document.title"), "Connected")

		p.click(`[data-part="test"]`)
		p.until(`document.querySelectorAll('[data-part="results"] li').length === 2`)
		assert.Zero(t, eval[int](p, `document.querySelectorAll('[data-part="results"] .bad').length`))

		p.click("#btn-delete-plex")
		p.click(`[data-part="confirm"] button[value="no"]`)
		p.state("connected")
		p.click("#btn-delete-plex")
		p.click(`[data-part="confirm"] button[value="yes"]`)
		p.state("idle")
		p.ready("#btn-connect-plex")
		assert.Equal(t, []string{"pending", "connected", "disconnected"}, eval[[]string](p, "heard"))
		settings, err := s.auth.Settings(t.Context())
		require.NoError(t, err)
		assert.True(t, settings.AccountToken.IsZero())
		assert.Equal(t, box.MachineID, settings.MachineID)
		assert.Empty(t, s.plex.Token(s.alice, settings.ClientID), "signed out at Plex, too")
		p.quiet()
		assert.Empty(t, s.plex.Violations())
	})
}

// A login with a code for another device, and a QR code, is one click as well. It opens no tab.
func TestWebLoginElsewhere(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.open(s.url)
		p.state("idle")
		tabs := len(b.pages())
		code := p.connectElsewhere()
		assert.Equal(t, s.plex.PendingCodes(), []string{code})
		assert.Equal(t, s.plex.URL()+"/link/?pin="+code, eval[string](p, one(openLink)+".href"))
		p.until(`document.querySelector('[data-part="qr"]').naturalWidth > 0`)
		assert.Len(t, b.pages(), tabs)
		phone := b.another().open(s.plex.URL() + "/link/?pin=" + code)
		phone.approve("alice")
		p.front()
		p.state("connected")
		p.quiet()
	})
}

// G8: the login goes on if the tab is closed before the approval.
func TestWebTabClosed(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.open(s.url)
		link := p.connect()
		p.close()
		link.approve("alice")
		s.connected()
		link.closes()
		p = b.open(s.url)
		p.state("connected")
		p.quiet()
	})
}

// Two tabs show the same login.
func TestWebTwoTabs(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.open(s.url)
		p.state("idle")
		q := b.open(s.url)
		q.state("idle")
		p.front()
		link := p.connect()
		q.front()
		q.state("pending")
		assert.Equal(t, eval[string](p, one(openLink)+".href"), eval[string](q, one(openLink)+".href"))
		link.front()
		link.approve("bob")
		p.front()
		p.state("connected")
		q.front()
		q.state("connected")
		p.quiet()
		q.quiet()
	})
}

// G7: the countdown is the PIN's own, and the panel offers a new code at its end.
func TestWebExpiry(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		const lifetime = 15 * time.Second
		s := newSite(t)
		s.plex.SetPinLifetime(lifetime, 0)
		p := b.open(s.url)
		began := time.Now()
		old := p.connectElsewhere()
		// The program is asked between two looks at the countdown, however long that takes.
		left := eval[[]int](p, `(async () => {
			const seconds = () => { const [, m, s] = document.querySelector("#plex_qc_timer").textContent.match(/(\d+):(\d+)/); return 60 * m + Number(s); };
			const before = seconds();
			const status = await (await fetch("status")).json();
			return [before, status.extra.pending.expires_in, seconds()];
		})()`)
		assert.GreaterOrEqual(t, left[0]+3, left[1], "the countdown is behind the PIN's expiry: %v", left)
		assert.LessOrEqual(t, left[2]-3, left[1], "the countdown is ahead of the PIN's expiry: %v", left)
		p.state("expired")
		assert.GreaterOrEqual(t, time.Since(began), lifetime-time.Second, "the code was given up too early")
		assert.Less(t, time.Since(began), lifetime+slack, "the end of the code was noticed too late")
		assert.Contains(t, p.text(problem), "not approved at Plex in time")
		p.front()
		p.click("#btn-plex-restart")
		p.state("pending")
		assert.NotEqual(t, old, p.text("#plex_qc_code"))
		p.quiet()
	})
}

// G3: a login that the program has started for Plex's web page can be approved from the
// panel. Its code is too long to type, and is not shown.
func TestWebStrongPIN(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		_, err := s.auth.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		p := b.open(s.url)
		p.state("pending")
		code := s.plex.PendingCodes()[0]
		assert.NotContains(t, eval[string](p, "document.body.innerText"), code)
		assert.NotContains(t, p.text("#plex_qc_help"), "plex.tv/link")
		link := p.opened(func() { p.click(`[data-part="open"]`) })
		link.approve("alice")
		p.state("connected")
		p.quiet()
	})
}

// Cancel ends the login. If it is too soon for a new code, the panel waits for it.
func TestWebCancel(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.open(s.url)
		p.state("idle")
		p.click("#btn-connect-plex")
		p.state("pending")
		p.front()
		p.click("#btn-plex-cancel")
		p.state("idle")
		p.ready("#btn-connect-plex")
		s.tooSoon()
		p.click("#btn-connect-plex")
		p.state("starting")
		p.state("pending")
		p.quiet()
	})
}
