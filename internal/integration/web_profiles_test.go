package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// profiles serves the list of the site's profiles at /settings/plex/ with its prefix, and
// returns the page's URL.
func (s *site) profiles() string {
	ctx, stop := context.WithCancel(context.Background())
	s.t.Cleanup(stop)
	mux := http.NewServeMux()
	mux.Handle("/settings/plex/", s.auth.ProfilesHandler(ctx))
	return s.serve(mux) + "/settings/plex/"
}

// row returns the selector of a profile's row, or of its pill.
func row(path, state string) string {
	return `li[data-state="` + state + `"] a[href="` + path + `"]`
}

// A person adds a profile, connects it in its panel and returns to the list. Nothing is
// stored before the login starts.
func TestWebProfiles(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		s.box(s.alice, "Attic", "192.168.1.5")
		p := b.open(s.profiles())
		p.sees(row("profile/default/", "idle"))

		before := storedText(t, s.store)
		p.click(`[data-part="add"]`)
		p.state("idle")
		assert.Equal(t, "Profile PLEX-P01", p.text("#plex_msg_detail"))
		assert.Equal(t, "PLEX-P01 · Plex · My App", eval[string](p, "document.title"))
		assert.Equal(t, before, storedText(t, s.store))

		link := p.connect()
		p.front()
		p.click(`nav a`)
		p.sees(row("profile/PLEX-P01/", "pending"))
		assert.NotContains(t, eval[string](p, `fetch("profiles").then(r => r.text())`), `"code"`)
		said := p.texts("[role=status]")
		eval[any](p, one(`a[href="profile/PLEX-P01/"]`)+".focus()")
		link.approve("alice")
		p.front()
		p.sees(row("profile/PLEX-P01/", "connected"))
		p.until(`document.querySelector('a[href="profile/PLEX-P01/"]').textContent.includes("alice · 192.168.1.5:32400")`)
		assert.Equal(t, "profile/PLEX-P01/", eval[string](p, `document.activeElement.getAttribute("href")`), "the focus stays")
		// The list may be asked for between the login and the end of its search for the server.
		changes := slices.DeleteFunc(said(), func(s string) bool { return s == "PLEX-P01: Not ready yet" })
		assert.Equal(t, []string{"PLEX-P01: Connected"}, changes)

		// Other processes add profiles. Their names are text.
		name := `<img src=x onerror="alert(1)"> / ` + strings.Repeat("long", 30)
		for _, id := range []string{"PLEX-P02", "kids", name} {
			other := s.auth.Instance(id)
			_, err := other.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			require.NoError(t, other.Cancel(t.Context()))
		}
		_, err := s.auth.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		p.until(`document.querySelectorAll("li").length === 5 && document.querySelector('li[data-state="pending"] a').getAttribute("href") === "profile/default/"`)
		p.until(`document.querySelectorAll('li[data-state="idle"]').length === 3`)
		assert.Equal(t, name, eval[string](p, `document.querySelector("li:last-child strong").textContent`))
		p.until(`document.querySelector('[data-part="add"]').getAttribute("href") === "profile/PLEX-P03/"`)

		// With the keyboard alone.
		eval[any](p, one("li:last-child a")+".focus()")
		p.press(keyEnter)
		p.state("idle")
		assert.Equal(t, "Profile "+name, p.text("#plex_msg_detail"))
		p.quiet()
	})
}

// storedText returns what the store holds.
func storedText(t *testing.T, store plexauth.ConfigStore) string {
	raw, err := store.Load(t.Context(), plexauth.Namespace)
	require.NoError(t, err)
	return string(raw)
}

// G19: the list and its panels work behind a proxy that ends TLS and changes the path, and
// say what is wrong if the store cannot be read.
func TestWebProfilesBehindAProxy(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		store := &unreadableStore{ConfigStore: plexauth.NewMemoryStore()}
		s := newSite(t, func(o *plexauth.Options) { o.Store = store })
		to, err := url.Parse(s.profiles())
		require.NoError(t, err)
		proxy := httptest.NewTLSServer(isolated(http.StripPrefix("/deep/er", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		}})))
		t.Cleanup(func() { end(proxy) })
		p := b.open(proxy.URL + "/deep/er/")
		p.click(`[data-part="add"]`)
		link := p.connect()
		link.approve("bob")
		p.front()
		p.state("connected")
		p.click(`nav a`)
		p.sees(row("profile/PLEX-P01/", "unfinished"))

		store.broken.Store(true)
		p.sees(`[data-part="problem"]`)
		assert.Contains(t, p.text(`[data-part="problem-title"]`), "cannot read or write its settings")
		p.sees(row("profile/PLEX-P01/", "unfinished"))
		p.navigate(proxy.URL + "/deep/er/")
		p.sees(`[data-part="problem"]`)
		assert.False(t, eval[bool](p, `document.querySelector('[data-part="add"]').checkVisibility()`), "it does not look like a first run")
		store.broken.Store(false)
		p.sees(row("profile/PLEX-P01/", "unfinished"))

		p.navigate(proxy.URL + "/deep/er/profile/gone/")
		p.state("broken")
		assert.Equal(t, "This profile was removed, or it never existed.", p.text(`[data-part="problem-title"]`))
		p.click(`nav a`)
		p.sees(row("profile/PLEX-P01/", "unfinished"))
		p.quiet()
	})
}

// unreadableStore is a store that can break.
type unreadableStore struct {
	plexauth.ConfigStore
	broken atomic.Bool
}

func (s *unreadableStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	if s.broken.Load() {
		return nil, errors.New("/config/config.json: permission denied (uid 1000, mode 0600)")
	}
	return s.ConfigStore.Load(ctx, namespace)
}

// A profile whose server does not answer after a login looks the same in the list as in its
// panel.
func TestWebProfilesServerProblem(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		attic := s.box(s.alice, "Attic", "192.168.1.5")
		s.adopt(s.alice)
		_, err := s.auth.UseServer(t.Context(), attic.MachineID)
		require.NoError(t, err)
		p := b.open(s.profiles())
		p.sees(row("profile/default/", "connected"))
		s.plex.Revoke(s.alice)
		_, err = s.auth.Verify(t.Context())
		require.Error(t, err)
		s.plex.Inject(plextest.Fault{Path: "/identity", Reset: true, Times: -1})
		p.click(`a[href="profile/default/"]`)
		p.state("rejected")
		p.click("#btn-connect-plex")
		p.state("pending")
		require.NoError(t, s.plex.Approve(s.code(), s.alice))
		p.front()
		p.until(`document.querySelector("#plex_msg").textContent === "Server problem"`)
		p.click(`nav a`)
		p.sees(row("profile/default/", "serverProblem"))
		assert.Contains(t, p.text(row("profile/default/", "serverProblem")), "Server problem")
	})
}
