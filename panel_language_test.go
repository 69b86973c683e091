package plexauth_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/words"
	"github.com/plexauth/plexauth/plextest"
)

// wordsIn returns the texts that the panel's script gets for a page in the language lang.
func (b *browser) wordsIn(lang string, edits ...func(*http.Request)) (answer struct {
	Language, Product string
	Texts             map[string]string
}) {
	b.t.Helper()
	rec := b.do(http.MethodGet, "/words.json?lang="+lang, "", edits...)
	require.Equal(b.t, http.StatusOK, rec.Code)
	require.NoError(b.t, json.Unmarshal(rec.Body.Bytes(), &answer))
	return answer
}

// prefers makes a request say which languages the browser prefers.
func prefers(languages string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Accept-Language", languages) }
}

// Page and script are in one language: Options.Language, or the one that the browser
// prefers.
func TestPanelLanguage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		for header, want := range map[string]string{
			"": "en", "pl": "en", "en-US,en;q=0.9": "en", "de-AT,de;q=0.9": "de", "fr": "fr", "es-MX": "es", "nl": "nl", "pt,it;q=0.5": "it",
		} {
			page := panel.do(http.MethodGet, "/", "", prefers(header))
			assert.Contains(t, page.Body.String(), `<html lang="`+want+`">`)
			assert.Contains(t, page.Header().Values("Vary"), "Accept-Language")
			answer := panel.wordsIn(want, prefers("de,en"))
			assert.Equal(t, want, answer.Language)
			assert.Equal(t, "My App", answer.Product)
			assert.Contains(t, page.Body.String(), ">"+answer.Texts["panel.connect"]+"</button>")
			assert.Equal(t, answer.Texts, panel.wordsIn("pl", prefers(header)).Texts, "for a host's page in another language")
		}
		rec := panel.do(http.MethodGet, "/words.json", "")
		assert.Equal(t, "no-cache", rec.Header().Get("Cache-Control"))
		tag := rec.Header().Get("ETag")
		rec = panel.do(http.MethodGet, "/words.json", "", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
		assert.Equal(t, http.StatusNotModified, rec.Code)

		fixed := openPanel(t, w.open(t, func(o *plexauth.Options) { o.Language = "fr" }))
		page := fixed.do(http.MethodGet, "/", "", prefers("de"))
		assert.NotContains(t, page.Header().Values("Vary"), "Accept-Language")
		assert.Contains(t, page.Body.String(), `<html lang="fr">`)
		assert.Equal(t, "fr", fixed.wordsIn("de", prefers("de")).Language)
	})
	for _, bad := range []string{"xx", "EN", "en-US", "../en", " "} {
		_, err := plexauth.New(plexauth.Options{Product: "My App", Language: bad})
		assert.ErrorContains(t, err, "Language", "%q", bad)
	}
}

// The message of a problem is in English for programs. The keys beside it let the page say
// the same in its own language.
func TestPanelProblemWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		panel := openPanel(t, w.PlexAuth)
		for path, body := range map[string]string{"/inspect": "", "/server": `{"url":"ftp://x"}`} {
			var v struct {
				Message string
				Words   []struct{ Key string }
			}
			require.NoError(t, json.Unmarshal(panel.do(http.MethodPost, path, body, prefers("de")).Body.Bytes(), &v))
			var said []string
			for _, s := range v.Words {
				said = append(said, panel.wordsIn("en").Texts[s.Key])
			}
			require.NotEmpty(t, said)
			assert.Equal(t, strings.Join(said, " "), v.Message)
		}
	})
}

// What was found at an address is in English for programs too, with the keys beside it.
func TestPanelFindingWords(t *testing.T) {
	for says, f := range map[string]plextest.Fault{
		"the media server is starting (Tidying): try again in a minute": {Status: 503, Body: `{"errors":[{"code":503,"message":"Tidying"}]}`},
		"what answers is not a Plex media server (status 404)":          {Status: 404},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, false)
			w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "plex.example.org", Port: 443}}})
			_, err := w.Inspect(t.Context())
			require.NoError(t, err)
			f.Path, f.Times = "/identity", -1
			w.plex.Inject(f)
			panel := openPanel(t, w.PlexAuth)
			var answer struct {
				Server struct {
					Addresses []struct {
						Finding string
						Words   words.Sentences
					}
				}
			}
			require.NoError(t, json.Unmarshal(panel.do(http.MethodPost, "/probe", "{}").Body.Bytes(), &answer))
			require.NotEmpty(t, answer.Server.Addresses)
			for _, a := range answer.Server.Addresses {
				assert.Equal(t, says, a.Finding)
				assert.Equal(t, says, words.English.Say(a.Words))
				assert.NotEqual(t, says, words.Find("de").Say(a.Words))
			}
		})
	}
}
