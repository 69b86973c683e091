package signin_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/signin"
)

// The pages are in the language that the browser prefers, or in Options.Language.
func TestLanguage(t *testing.T) {
	visit := func(language, header, path string) *httptest.ResponseRecorder {
		h, err := signin.New(signin.Options{
			Product: "My App", Key: make([]byte, 32), Language: language, OnSignIn: func(http.ResponseWriter, *http.Request, plexauth.Account) {},
		})
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept-Language", header)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	for _, c := range []struct{ language, header, lang, button, missing string }{
		{"", "", "en", "Sign in with Plex", "Page not found"},
		{"", "en-US,en;q=0.9,de;q=0.8", "en", "Sign in with Plex", "Page not found"},
		{"", "pl,de-AT;q=0.8", "de", "Mit Plex anmelden", "Seite nicht gefunden"},
		{"", "fr", "fr", "Se connecter avec Plex", "Page introuvable"},
		{"it", "fr", "it", "Accedi con Plex", "Pagina non trovata"},
	} {
		page := visit(c.language, c.header, "/")
		assert.Contains(t, page.Body.String(), `<html lang="`+c.lang+`">`)
		assert.Contains(t, page.Body.String(), ">"+c.button+"</button>")
		assert.NotContains(t, page.Body.String(), "{product}")
		assert.Equal(t, c.language == "", page.Header().Get("Vary") == "Accept-Language")
		assert.Contains(t, visit(c.language, c.header, "/nothing").Body.String(), "<h1>"+c.missing+"</h1>")
	}
	_, err := signin.New(signin.Options{Product: "My App", Key: make([]byte, 32), Language: "xx", OnSignIn: func(http.ResponseWriter, *http.Request, plexauth.Account) {}})
	assert.ErrorContains(t, err, "Language")
}

// Every language says in words for how long to wait: a number, or one.
func TestLanguageOfAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) { o.MaxStarts = 2 })
		began := time.Now()
		w.browser(w).start(nil)
		w.browser(w).start(nil)
		for _, says := range []struct {
			left time.Duration
			in   map[string]string
		}{
			{10 * time.Minute, map[string]string{"en": "in 10 minutes.", "de": "in 10 Minuten noch", "fr": "dans 10 minutes.", "es": "en 10 minutos.", "nl": "over 10 minuten opnieuw.", "it": "tra 10 minuti."}},
			{29 * time.Second, map[string]string{"en": "in 29 seconds.", "de": "in 29 Sekunden noch", "fr": "dans 29 secondes.", "es": "en 29 segundos.", "nl": "over 29 seconden opnieuw.", "it": "tra 29 secondi."}},
			{time.Second, map[string]string{"en": "in one second.", "de": "in einer Sekunde noch", "fr": "dans une seconde.", "es": "en un segundo.", "nl": "over een seconde opnieuw.", "it": "tra un secondo."}},
		} {
			time.Sleep(10*time.Minute - says.left - time.Since(began))
			for language, text := range says.in {
				rec := w.browser(w).post("/signin/start", func(r *http.Request) { r.Header.Set("Accept-Language", language) })
				assert.Equal(t, http.StatusTooManyRequests, rec.Code)
				assert.Contains(t, rec.Body.String(), text)
			}
		}
	})
}
