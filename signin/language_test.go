package signin_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

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
