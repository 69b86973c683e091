package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// G19: the panel works below a path, behind a proxy that ends TLS, and isolated from the
// tabs that it opens.
func TestWebProxy(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		proxy := httptest.NewTLSServer(isolated(s.proxied("/deep/er/", nil)))
		t.Cleanup(func() { end(proxy) })
		p := b.open(proxy.URL + "/deep/er/")
		link := p.connect()
		link.sees("fieldset")
		assert.Equal(t, proxy.URL+"/deep/er/return", eval[string](link, "document.forms[0].elements.forwardUrl.value"))
		link.approve("alice")
		p.front()
		p.state("connected")
		p.quiet()
		link.leavesPlex(proxy.URL + "/deep/er/")
	})
}

// leavesPlex waits until the tab has come back from Plex. A browser need not let it close
// itself if a link has opened it, or if the panel is isolated from it: then it shows the panel.
func (p *tab) leavesPlex(panel string) {
	p.t.Helper()
	eventually(p.t, "the tab closes itself, or shows the panel", func() bool {
		url, open := p.b.pages()[p.id]
		return !open || url == panel
	})
}

// isolated adds the headers that put a page into a browsing context group of its own.
func isolated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Cross-Origin-Embedder-Policy", "require-corp")
		h.ServeHTTP(w, r)
	})
}

// G19: with TrustedOrigins the panel works behind a proxy that rewrites Host.
func TestWebProxyRewritesHost(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		var s *site
		proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.proxied("/", func(r *httputil.ProxyRequest) { r.Out.Host = "10.9.8.7:4711" }).ServeHTTP(w, r)
		}))
		proxy.Start()
		t.Cleanup(func() { end(proxy) })
		u, err := url.Parse(proxy.URL)
		require.NoError(t, err)
		origin := "http://panel.lan:" + u.Port()
		s = newSite(t, func(o *plexauth.Options) { o.TrustedOrigins = []string{origin} })
		p := b.open(origin + "/")
		link := p.connect()
		link.sees("fieldset")
		assert.Equal(t, origin+"/return", eval[string](link, "document.forms[0].elements.forwardUrl.value"))
		link.approve("alice")
		link.closes()
		p.state("connected")
		p.quiet()
	})
}

// G19: the panel works over plain http in a LAN, where a browser says less about the
// origin of a request and offers no clipboard.
func TestWebPlainHTTP(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		p := b.open(strings.Replace(s.url, "127.0.0.1", "panel.lan", 1))
		p.state("idle")
		require.False(t, eval[bool](p, "isSecureContext"))
		code := p.connectElsewhere()
		p.front()
		eval[any](p, `document.addEventListener("copy", () => { window.copied = getSelection().toString() || document.activeElement.value }); 0`)
		labels := p.texts("#plex_qc_copy") // this one is there for a moment
		p.click("#plex_qc_copy")
		eventually(t, "the button says that it has copied", func() bool { return slices.Contains(labels(), "Copied") })
		assert.Equal(t, code, eval[string](p, "copied"))
		link := p.opened(func() { p.click(otherWay) }) // after some seconds
		link.approve("alice")
		link.closes()
		p.state("connected")
		p.quiet()
	})
}

// G19: the fragment works in a host's page that adds it late, under a strict policy, and
// in the host's theme.
func TestWebHostPage(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		mux := http.NewServeMux()
		mux.Handle("/plex/", http.StripPrefix("/plex", s.panel))
		mux.HandleFunc("/settings.js", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/javascript")
			fragment, _ := json.Marshal(plexauth.HTML())
			fmt.Fprintf(w, `setTimeout(() => { document.querySelector("#here").innerHTML = %s; }, 300);`, fragment)
		})
		mux.HandleFunc("/settings.css", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/css")
			_, _ = io.WriteString(w, `:root { --plexauth-accent: #3f51b5; --plexauth-on-accent: #ffffff; --plexauth-radius: 0; } body { margin: 0 auto; max-width: 60rem; font-family: serif; }`)
		})
		mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'")
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin-allow-popups")
			_, _ = io.WriteString(w, `<!doctype html><html lang="en" data-theme="dark"><title>Settings</title><link rel="stylesheet" href="/settings.css"><script type="module" src="/plex/panel.js"></script><script src="/settings.js" defer></script><h1>Settings</h1><main id="here"></main>`)
		})
		p := b.open(s.serve(mux))
		p.state("idle")
		p.until(`getComputedStyle(document.querySelector("#btn-connect-plex")).backgroundColor === "rgb(63, 81, 181)"`) // once the panel's style is loaded
		p.until(`getComputedStyle(document.querySelector(".plexauth")).colorScheme === "dark"`)
		link := p.connect()
		link.approve("alice")
		p.state("connected")
		assert.Equal(t, "alice", eval[string](p, `document.querySelector("#plex_username").value`))

		// The host removes the fragment, and adds another.
		eval[any](p, `document.querySelector("#here").replaceChildren(); 0`)
		eval[any](p, `const s = document.createElement("script"); s.src = "/settings.js"; document.head.append(s); 0`)
		p.state("connected")
		p.quiet()
	})
}

// A script like CrossWatch's own can drive the fragment without panel.js. It shows and
// hides elements by their class, and expects some to be visible from the start.
func TestWebUnderTheScriptOfCrossWatch(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		for name, head := range map[string]string{"the host's style": `<link rel="stylesheet" href="/host.css">`, "both styles": `<link rel="stylesheet" href="/host.css"><link rel="stylesheet" href="/plex/panel.css">`} {
			t.Run(name, func(t *testing.T) {
				s := newSite(t)
				mux := http.NewServeMux()
				mux.Handle("/plex/", http.StripPrefix("/plex", s.panel))
				mux.HandleFunc("/host.css", func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/css")
					_, _ = io.WriteString(w, `.hidden { display: none !important; }`)
				})
				mux.HandleFunc("/auth.js", func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/javascript")
					fragment, _ := json.Marshal(plexauth.HTML())
					fmt.Fprintf(w, `document.querySelector("main").innerHTML = %s;
	const el = (id) => document.getElementById(id);
	const show = (id, on) => el(id).classList.toggle("hidden", !on);
	const flow = (waiting, over) => { show("btn-connect-plex", !waiting && !over); show("btn-plex-cancel", waiting); show("btn-plex-restart", over); show("plex_qc_state", waiting || over); };
	el("btn-connect-plex").addEventListener("click", () => { el("plex_qc_code").textContent = "TEST"; flow(true, false); });
	el("btn-plex-cancel").addEventListener("click", () => flow(false, false));
	window.expire = () => flow(false, true);
	window.connected = () => { flow(false, false); el("plex_msg").textContent = "Connected"; el("plex_msg").className = "ok"; el("btn-connect-plex").disabled = true; };`, fragment)
				})
				mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>Settings</title>`+head+`<main></main><script src="/auth.js"></script>`)
				})
				p := b.in(t).open(s.serve(mux))
				seen := func(want map[string]bool) {
					t.Helper()
					for id, on := range want {
						assert.Equal(t, on, eval[bool](p, fmt.Sprintf(`document.getElementById(%q).checkVisibility({ visibilityProperty: true })`, id)), id)
					}
				}
				p.sees("#btn-connect-plex")
				seen(map[string]bool{"plex_qc_state": false, "btn-plex-cancel": false, "btn-plex-restart": false, "plex_msg": false, "btn-delete-plex": true})
				p.click("#btn-connect-plex")
				seen(map[string]bool{"plex_qc_state": true, "plex_qc_code": true, "btn-plex-cancel": true, "btn-connect-plex": false})
				p.click("#btn-plex-cancel")
				seen(map[string]bool{"plex_qc_state": false, "btn-connect-plex": true})
				eval[any](p, "expire(); 0")
				seen(map[string]bool{"plex_qc_state": true, "btn-plex-restart": true, "btn-plex-cancel": false})
				eval[any](p, "connected(); 0")
				seen(map[string]bool{"plex_msg": true, "btn-delete-plex": true, "plex_server_url": true, "btn-plex-auto": true})
				p.quiet()
			})
		}
	})
}

// A page of FrameAncestors shows the panel in a frame, in which one click signs in. A page of
// another origin does not show it.
func TestWebFrame(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		var s *site
		dashboard := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<!doctype html><title>Dashboard</title><iframe src="%s" width="700" height="800"></iframe>`, s.url)
		}))
		t.Cleanup(func() { end(dashboard) })
		trusted := strings.Replace(dashboard.URL, "127.0.0.1", "panel.lan", 1)
		s = newSite(t, func(o *plexauth.Options) { o.FrameAncestors = []string{trusted} })
		p := b.open(trusted)
		frame := p.frame()
		frame.state("idle")
		link := p.opened(func() { frame.pressInFrame("#btn-connect-plex") })
		link.approve("alice")
		link.closes()
		frame.state("connected")

		other := b.open(strings.Replace(dashboard.URL, "127.0.0.1", "app.lan", 1)).frame()
		assert.False(t, eval[bool](other, `!!document.querySelector("[data-plexauth]")`))
	})
}

// frame returns the only frame of a page.
func (p *tab) frame() *tab {
	p.t.Helper()
	var tree struct {
		Contexts []struct{ Children []struct{ Context string } }
	}
	p.repeat("the page has a frame", func() (bool, error) {
		err := p.b.process.call(p.t.Context(), "browsingContext.getTree", bidiParams{"root": p.id}, &tree)
		return err == nil && len(tree.Contexts) == 1 && len(tree.Contexts[0].Children) == 1, err
	})
	return &tab{p.t, p.b, tree.Contexts[0].Children[0].Context, p.record}
}

// pressInFrame presses an element in a frame, to which the mouse has no way. To the page it is
// a person's click.
func (p *tab) pressInFrame(selector string) {
	p.t.Helper()
	require.NoError(p.t, p.b.process.call(p.t.Context(), "script.evaluate", bidiParams{
		"expression": one(selector) + ".click()", "awaitPromise": false, "target": bidiParams{"context": p.id}, "userActivation": true,
	}, nil))
}
