package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// artefacts is the directory of the screenshots, outside git.
const artefacts = "../../artefacts/web"

// shot saves a picture of the whole page, and returns it.
func (p *tab) shot(name string) []byte {
	p.t.Helper()
	var r struct{ Data []byte }
	err := errors.Join(p.try("browsingContext.activate", bidiParams{}, nil), p.try("browsingContext.captureScreenshot", bidiParams{"origin": "document"}, &r))
	if !assert.NoError(p.t, err) {
		return nil
	}
	require.NoError(p.t, os.MkdirAll(artefacts, 0o755))
	require.NoError(p.t, os.WriteFile(filepath.Join(artefacts, name+".png"), r.Data, 0o644))
	return r.Data
}

// shots saves pictures of a state in both themes, on a phone and on a desktop. It checks
// the width and the accessibility of each.
func (p *tab) shots(name string) {
	p.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		p.theme(theme)
		for _, width := range []int{320, 1280} {
			p.size(width, 700)
			p.shot(fmt.Sprintf("%s-%s-%d-%s", name, theme, width, p.b.engine.name))
			p.fits(name)
			p.accessible(fmt.Sprintf("%s, %s, %d px", name, theme, width))
		}
	}
}

// fits asserts that no element is wider than the page.
func (p *tab) fits(name string) {
	p.t.Helper()
	over := eval[[]string](p, `[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName + "#" + e.id + "." + e.className)`)
	assert.Empty(p.t, over, "%s: wider than the page", name)
}

// accessible asserts that axe finds no violation.
func (p *tab) accessible(name string) {
	p.t.Helper()
	source := axeSource(p.t)
	if source == "" {
		return
	}
	eval[any](p, source+"; 0") // not a script of the page: no policy forbids it
	raw := eval[string](p, `axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html)}))))`)
	var found []struct {
		ID, Impact, Help string
		Nodes            []string
	}
	require.NoError(p.t, json.Unmarshal([]byte(raw), &found))
	assert.Empty(p.t, found, "axe: %s", name)
}

// axeSource returns axe-core, or "" if it is not installed. With PLEXAUTH_CI=1 it must be.
func axeSource(t testing.TB) string {
	b, err := os.ReadFile(filepath.Join(nodeDir, "node_modules", "axe-core", "axe.min.js"))
	if err != nil && os.Getenv("PLEXAUTH_CI") == "1" {
		t.Fatalf("needs axe-core (npm ci in internal/integration/node): %v", err)
	}
	if err != nil {
		t.Logf("accessibility is not checked: %v", err)
	}
	return string(b)
}

// picture is the picture in the README. PLEXAUTH_WRITE=1 writes it.
func picture(t *testing.T, png []byte) {
	t.Helper()
	assert.Less(t, len(png), 150<<10, "bytes of the picture")
	if os.Getenv("PLEXAUTH_WRITE") == "1" {
		require.NoError(t, os.MkdirAll("../../docs", 0o755))
		require.NoError(t, os.WriteFile("../../docs/panel.png", png, 0o644))
	}
}
