package integration_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// The page gives up a long poll whose answer is lost, and notices a login all the same.
func TestWebLostPoll(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		proxy, at := s.behindProxy()
		p := b.openWith(shortLimits, at)
		p.state("idle")
		eval[any](p, shortLongPolls)
		var lost atomic.Int32
		proxy.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("wait") == "" {
				return false
			}
			lost.Add(1)
			return lose("status")(w, r)
		})
		p.click("#btn-connect-plex")
		p.state("pending")
		p.front()
		eventually(t, "a long poll is lost", func() bool { return lost.Load() > 0 })
		require.NoError(t, s.plex.Approve(s.code(), s.alice))
		p.state("connected")
		p.quiet()
	})
}

// If the answer to a press is lost, the panel says so beside the button, and the button
// works again.
func TestWebLostAnswers(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.box(s.alice, "Attic", "192.168.1.5")
		s.box(s.alice, "Cellar", "192.168.1.6")
		s.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: s.alice})
		proxy, at := s.behindProxy()
		p := b.openWith(shortLimits, at)
		p.state("idle")
		lost := func(name, button string) {
			t.Helper()
			p.until(fmt.Sprintf(`!document.querySelector(%q).hasAttribute("aria-disabled")`, button))
			proxy.answer(lose(name))
			eval[any](p, shortPresses)
			p.click(button)
			p.front()
			p.sees(problem)
			assert.Contains(t, p.text(problem), "No answer came from My App", name)
			p.inView(`[data-part="problem"]`)
			eval[any](p, shortNothing)
			proxy.passOn()
		}
		lost("start", "#btn-connect-plex")
		p.click("#btn-connect-plex")
		p.state("pending")
		p.front()
		lost("cancel", "#btn-plex-cancel")
		require.NoError(t, s.plex.Approve(s.code(), s.alice))
		p.state("connected")
		p.sees(`[data-part="server-list"] label`)
		p.click(`[data-part="server-list"] label`)
		lost("server", `[data-part="server-form"] [data-do]`)
		p.click(`[data-part="server-form"] [data-do]`)
		p.until(`!document.querySelector('[data-part="servers"]').checkVisibility()`)
		lost("probe", `[data-part="test"]`)
		p.click(`[data-part="test"]`)
		p.until(`document.querySelectorAll('[data-part="results"] li').length > 1`)
		lost("users", "#plex_user_pick_btn")
		p.click(`[data-part="problem-action"]`)
		p.sees(`[data-part="user-list"] label`)
		p.quiet()
	})
}

// A proxy cuts long polls short, in one way or another. The panel reports no problem and
// notices what happens.
func TestWebPollsAreCut(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		proxy, at := s.behindProxy()
		p := b.open(at)
		p.state("idle")
		alarms := p.alarms()
		var cuts atomic.Int32
		proxy.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if r.FormValue("wait") == "" {
				return false
			}
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			rec := httptest.NewRecorder()
			proxy.panel.ServeHTTP(rec, r.WithContext(ctx))
			if ctx.Err() == nil {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(rec.Body.Bytes())
				return true
			}
			switch status := []int{http.StatusGatewayTimeout, 0, http.StatusBadGateway, http.StatusServiceUnavailable, 524, http.StatusRequestTimeout}[cuts.Add(1)%6]; status {
			case 0:
				panic(http.ErrAbortHandler) // closes the connection
			default:
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "<html>upstream request timeout")
			}
			return true
		})
		for range 2 {
			before := cuts.Load()
			eventually(t, "four polls are cut", func() bool { return cuts.Load() >= before+4 })
			if eval[string](p, `document.querySelector("[data-plexauth]").dataset.state`) == "idle" {
				p.click("#btn-connect-plex")
				p.state("pending")
				p.front()
			}
		}
		require.NoError(t, s.plex.Approve(s.code(), s.alice))
		p.state("connected")
		assert.Empty(t, alarms(), "problems that the panel has reported")
		p.quiet()
	})
}

// When the browser says that the network is back, the page asks at once and removes
// its report. It does not wait for the end of its pause, which never comes here.
func TestWebBackOnline(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		proxy, at := s.behindProxy()
		p := b.openWith(noPauses, at)
		p.state("idle")
		proxy.answer(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
		_, err := s.auth.Start(t.Context(), plexauth.PinOptions{}) // ends the long poll
		require.NoError(t, err)
		p.sees(`[data-part="problem"]`)
		proxy.passOn()
		eval[any](p, `window.dispatchEvent(new Event("online")); 0`)
		p.until(`!document.querySelector('[data-part="problem"]').checkVisibility()`)
		p.state("pending")
		p.quiet()
	})
}

// A poll leaves no listener behind, however many polls there are.
func TestWebPollsLeaveNothing(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		proxy, at := s.behindProxy()
		p := b.openWith(`{
			window.added = 0;
			const real = EventTarget.prototype.addEventListener;
			EventTarget.prototype.addEventListener = function (...args) { window.added++; return real.apply(this, args); };
		}`, at)
		p.state("idle")
		proxy.answer(func(w http.ResponseWriter, r *http.Request) bool {
			q := r.URL.Query() // FormValue would keep the old query for the panel
			q.Del("wait")
			r.URL.RawQuery = q.Encode()
			return false
		})
		p.click("#btn-connect-plex")
		p.state("pending")
		p.front()
		before, polls := eval[int](p, "added"), proxy.polls.Load()
		eventually(t, "the page polls fifty times", func() bool { return proxy.polls.Load() >= polls+50 })
		assert.Less(t, eval[int](p, "added")-before, 10, "listeners that fifty polls have added")
		p.quiet()
	})
}

// Browsers allow six connections to a host. However many tabs show a pending login, only
// the visible one holds a connection. The others notice the end of the login too.
func TestWebManyTabs(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		proxy, at := s.behindProxy()
		var tabs []*tab
		front := func(visible *tab) {
			for _, p := range tabs {
				eval[any](p, fmt.Sprintf("hide(%t); 0", p != visible))
			}
			visible.front()
		}
		for range 7 { // all tabs of a headless browser are visible
			p := b.openWith(`{
				let hidden = false;
				Object.defineProperty(document, "hidden", { get: () => hidden });
				window.hide = (on) => { if (hidden !== on) { hidden = on; document.dispatchEvent(new Event("visibilitychange")); } };
			}`, at)
			p.state("idle")
			tabs = append(tabs, p)
			front(p)
		}
		front(tabs[0])
		eval[any](tabs[0], `document.querySelector("#btn-connect-plex").addEventListener("click", () => hide(true)); 0`) // as the tab of Plex does
		tabs[0].click("#btn-connect-plex")
		tabs[0].state("pending")
		eventually(t, "a PIN is pending", func() bool { return len(s.plex.PendingCodes()) == 1 })
		require.NoError(t, s.plex.Approve(s.plex.PendingCodes()[0], s.alice))
		tabs[0].state("connected") // though it is hidden
		_, err := s.auth.Disconnect(t.Context())
		require.NoError(t, err)
		_, err = s.auth.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		for _, p := range tabs {
			front(p)
			p.state("pending")
		}
		front(tabs[0])
		eventually(t, "hidden tabs hold no connection", func() bool { return proxy.underWay.Load() <= 1 })
		began := time.Now()
		tabs[0].click("#btn-plex-cancel")
		tabs[0].state("idle")
		assert.Less(t, time.Since(began), 20*time.Second, "Cancel waited for the end of a long poll, which takes 25 seconds")
		for _, p := range tabs {
			p.state("idle")
			p.calm()
		}
	})
}
