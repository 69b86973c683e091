package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// artefacts is the directory of the screenshots, outside git.
const artefacts = "../../artefacts/web"

// look sets the size and the theme in which the page is shown.
func (p *tab) look(width, height int64, theme string) {
	p.t.Helper()
	p.do(
		chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2)),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
			}})
			return err
		}),
	)
}

// shot saves a picture of the whole page, and returns it.
func (p *tab) shot(name string) []byte {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	yes := true
	png, err := chromedp.Run(ctx, chromedp.Action[[]byte](func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		if _, err := cdp.Call(ctx, t, page.BringToFront, cdp.Empty{}); err != nil {
			return nil, err
		}
		m, err := cdp.Call(ctx, t, page.GetLayoutMetrics, cdp.Empty{})
		if err != nil {
			return nil, err
		}
		r, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{
			CaptureBeyondViewport: &yes,
			Clip:                  &page.Viewport{Width: m.CSSContentSize.Width, Height: m.CSSContentSize.Height, Scale: 1},
		})
		return r.Data, err
	}))
	if !assert.NoError(p.t, err) {
		return nil
	}
	require.NoError(p.t, os.MkdirAll(artefacts, 0o755))
	require.NoError(p.t, os.WriteFile(filepath.Join(artefacts, name+".png"), png, 0o644))
	return png
}

// shots saves pictures of a state in both themes, on a phone and on a desktop. It checks
// the width and the accessibility of each.
func (p *tab) shots(name string) {
	p.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{320, 1280} {
			p.look(width, 700, theme)
			p.shot(fmt.Sprintf("%s-%s-%d", name, theme, width))
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
