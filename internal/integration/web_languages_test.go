package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth"
)

// The panel, the list of profiles and the pages of signin are in the language that the browser
// prefers. The fragment of HTML is in that of the page around it, if the panel has it.
// TestScenes looks at each page in each language.
func TestWebLanguages(t *testing.T) {
	button := map[string]string{"it": "Collega Plex", "de": "Plex verbinden", "nl": "Plex verbinden"}
	inEachBrowser(t, func(t *testing.T, b *browser) {
		s := newSite(t)
		mux := http.NewServeMux()
		mux.Handle("/plex/", http.StripPrefix("/plex", s.panel))
		mux.Handle("/profiles/", s.auth.ProfilesHandler(t.Context()))
		mux.HandleFunc("/host/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, `<!doctype html><html lang="%s"><title>Host</title><main>%s</main><script type="module" src="/plex/panel.js"></script>`, r.FormValue("lang"), plexauth.HTML())
		})
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
		for page, panel := range map[string]string{"it": "it", "de-CH": "de", "pl": "nl", "": "nl"} { // the fragment in the page of a host
			p.navigate(server.URL + "/host/?lang=" + page)
			p.state("idle")
			assert.Equal(t, panel, eval[string](p, `document.querySelector("[data-plexauth]").lang`), page)
			assert.Equal(t, button[panel], p.text("#btn-connect-plex"), page)
		}
	})
}
