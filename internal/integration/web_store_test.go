package integration_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// The panel says what is wrong with the program's store, and starts nothing that the
// store could not keep.
func TestWebStoreTrouble(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		t.Run("cannot be written", func(t *testing.T) {
			s := newSite(t, func(o *plexauth.Options) { o.Store = unwritableStore{o.Store} })
			p := b.in(t).open(s.url)
			p.state("idle")
			p.click("#btn-connect-plex")
			p.sees(`[data-part="problem"]`)
			assert.Contains(t, p.text(`[data-part="problem-title"]`), "cannot read or write its settings")
			p.click(`[data-part="problem-more"] summary`)
			assert.Contains(t, p.text(`[data-part="problem-detail"]`), "read-only")
			assert.Empty(t, s.plex.PendingCodes(), "PINs that could not be kept")
			p.quiet()
		})
		t.Run("can no longer be written", func(t *testing.T) {
			var store *filledStore
			s := newSite(t, func(o *plexauth.Options) {
				store = &filledStore{ConfigStore: o.Store}
				o.Store = store
			})
			p := b.in(t).open(s.url)
			link := p.connect()
			store.full.Store(true)
			link.approve("alice")
			p.front()
			p.state("saving")
			assert.Contains(t, p.text(problem), "Plex has approved")
			assert.False(t, eval[bool](p, `document.querySelector("#plex_qc_code").checkVisibility()`), "nothing is left to confirm")
			assert.True(t, eval[bool](p, `document.activeElement.matches('[data-part="problem"]')`), "the focus is lost")
			store.full.Store(false)
			p.state("connected")
			p.quiet()
		})
		// G18
		t.Run("cannot be read", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			require.NoError(t, os.WriteFile(path, []byte(`{"plex": {"account_tok`), 0o600))
			s := newSite(t, func(o *plexauth.Options) { o.Store = plexauth.NewFileStore(path) })
			p := b.in(t).open(s.url)
			p.state("broken")
			assert.Contains(t, p.text(`[data-part="problem-title"]`), "settings cannot be read")
			assert.False(t, eval[bool](p, `document.querySelector("#btn-connect-plex").checkVisibility()`), "no login can be started")
			require.NoError(t, os.WriteFile(path, []byte(`{}`), 0o600))
			p.state("idle") // without a press
		})
		t.Run("the program stops", func(t *testing.T) {
			s := newSite(t)
			server := httptest.NewServer(s.panel)
			p := b.in(t).open(server.URL + "/")
			p.state("idle")
			end(server)
			p.until(`document.querySelector('[data-part="problem-title"]').textContent.includes("has stopped, or the connection to it is broken")`)
		})
	})
}
