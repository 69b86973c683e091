package integration_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The panel, the list of profiles and the pages of signin are in the language that the browser
// prefers. TestScenes looks at each page in each language.
func TestWebLanguages(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		mux := http.NewServeMux()
		mux.Handle("/plex/", http.StripPrefix("/plex", s.panel))
		mux.Handle("/profiles/", s.auth.ProfilesHandler(t.Context()))
		mux.Handle("/", s.app())
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Accept-Language", "nl-BE,en;q=0.5")
			mux.ServeHTTP(w, r)
		}))
		t.Cleanup(func() { end(server) })
		p := b.tab()
		for path, loaded := range map[string]string{"/plex/": `[data-state="idle"]`, "/profiles/": "li a", "/signin/": "button"} {
			p.navigate(server.URL + path)
			p.sees(loaded)
			assert.Equal(t, "nl", eval[string](p, "document.documentElement.lang"), path)
			p.speaks("nl")
		}
	})
}
