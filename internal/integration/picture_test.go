package integration_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/words"
)

// artefacts is the folder for pictures of pages that failed a test, outside git.
const artefacts = "../../artefacts/failed"

// png returns a picture of the whole page.
func (p *tab) png() ([]byte, error) {
	var r struct{ Data []byte }
	err := errors.Join(p.try("browsingContext.activate", bidiParams{}, nil), p.try("browsingContext.captureScreenshot", bidiParams{"origin": "document"}, &r))
	return r.Data, err
}

// save saves a picture of the whole page in a folder.
func (p *tab) save(dir, name string) {
	p.t.Helper()
	b, err := p.png()
	if assert.NoError(p.t, err) {
		require.NoError(p.t, os.MkdirAll(dir, 0o755))
		require.NoError(p.t, os.WriteFile(filepath.Join(dir, name+".png"), b, 0o644))
	}
}

// screenshots is the folder for a picture of each state, language, width and colour scheme.
var screenshots = flag.String("screenshots", "", "the folder for pictures of all states of all pages")

// TestScenes plays each state of each page. It must fit a phone and a desktop, be
// usable with a finger, say nothing twice, and axe must find nothing, in light and in dark. To save time, other languages than English are checked
// on a phone, in one of the browsers.
//
// With -screenshots each language is checked in all ways, and each state saved as a picture.
func TestScenes(t *testing.T) {
	if *screenshots != "" {
		t.Cleanup(func() { writeIndex(t, *screenshots) })
	}
	inEachBrowser(t, func(t *testing.T, b *browser) {
		p := b.tab()
		b.command("script.addPreloadScript", bidiParams{"functionDeclaration": "() => {" + axeSource(t) + "}", "contexts": []string{p.id}})
		for _, scene := range scenes() {
			t.Run(scene.name, func(t *testing.T) {
				for i, language := range words.Tags() {
					if language != "en" && *screenshots == "" && engines[i%len(engines)] != b.engine {
						continue
					}
					t.Run(language, func(t *testing.T) {
						p := p.in(t)
						s := newStage(p, language)
						defer s.leave(p)
						scene.play(s)
						s.page.looks(scene.name, language)
					})
				}
			})
		}
	})
}

// looks checks a state on a phone and on a desktop, in light and in dark.
func (p *tab) looks(name, language string) {
	p.t.Helper()
	p.front()
	p.speaks(language)
	for _, width := range []int{320, 1280} {
		if language != "en" && width != 320 && *screenshots == "" {
			continue
		}
		p.size(width, 700)
		p.fits(name)
		p.touchable(name)
		p.once(name)
		p.saysWhy(name)
		for _, scheme := range []string{"light", "dark"} {
			p.theme(scheme)
			if *screenshots != "" {
				p.save(*screenshots, fmt.Sprintf("%s-%s-%d-%s-%s", name, language, width, scheme, p.b.engine.name))
			}
			p.accessible(fmt.Sprintf("%s, %s, %d px", name, scheme, width), scheme == "light")
		}
	}
}

// fits asserts that no element is wider than the page, and no text than its element.
func (p *tab) fits(name string) {
	p.t.Helper()
	over := eval[[]string](p, `[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName + "#" + e.id + "." + e.className)`)
	assert.Empty(p.t, over, "%s: wider than the page", name)
	cut := eval[[]string](p, `[...document.querySelectorAll("button, a, h1, h2, h3, label, span, strong, p, li, summary")].filter(e => e.checkVisibility() && !e.matches(".plexauth-said") && getComputedStyle(e).display !== "inline" && getComputedStyle(e).textOverflow !== "ellipsis" && e.scrollWidth > e.clientWidth + 1).map(e => e.tagName + "#" + e.id + "." + e.className + ": " + e.textContent)`)
	assert.Empty(p.t, cut, "%s: texts that are cut", name)
	assert.False(p.t, eval[bool](p, "document.documentElement.scrollWidth > innerWidth"), "%s: scrolls sideways", name)
}

// once asserts that the page says nothing twice.
func (p *tab) once(name string) {
	p.t.Helper()
	twice := eval[[]string](p, `(() => {
		const said = new Map();
		const words = document.createTreeWalker(document.querySelector("dialog[open]") ?? document.body, NodeFilter.SHOW_TEXT);
		const normal = (s) => s.trim().replace(/[.…:]+$/, "").toLowerCase();
		for (let n; (n = words.nextNode());) {
			const e = n.parentElement;
			if (!e.checkVisibility({ visibilityProperty: true }) || e.closest("noscript, script, option, button, summary, small, .plexauth-said, .plexauth-choices, .plexauth-profiles")) continue;
			for (const s of n.data.split(/(?<=[.!?…])\s+/)) {
				if (normal(s).length > 5) said.set(normal(s), (said.get(normal(s)) ?? 0) + 1);
			}
		}
		return [...said].filter(([, n]) => n > 1).map(([s]) => s);
	})()`)
	assert.Empty(p.t, twice, "%s: said twice", name)
}

// saysWhy asserts that a page that has no scripts says that it needs them.
func (p *tab) saysWhy(name string) {
	p.t.Helper()
	for _, text := range eval[[]string](p, `[...document.querySelectorAll(".plexauth-noscript")].map((e) => e.checkVisibility() ? e.innerText : "")`) {
		assert.Contains(p.t, text, "JavaScript", name)
	}
}

// touchable asserts that a finger hits whatever there is to press in the panel and in signin's
// pages.
func (p *tab) touchable(name string) {
	p.t.Helper()
	small := eval[[]string](p, `[...document.querySelectorAll(":is(.plexauth, .plexauth-above, .plexauth-signin) :is(button, a, summary, input, label:has(input))")].filter((e) => e.checkVisibility() && !e.closest("label label") && !(e.matches("input") && e.closest("label")))
		.map((e) => [e, e.getBoundingClientRect()]).filter(([, r]) => r.width < 44 || r.height < 44)
		.map(([e, r]) => (e.id || e.textContent.trim()) + ": " + r.width + " x " + r.height)`)
	assert.Empty(p.t, small, "%s: smaller than 44 pixels", name)
}

// speaks asserts that the page is in a language, and that nothing is left in English.
func (p *tab) speaks(language string) {
	p.t.Helper()
	assert.Equal(p.t, language, eval[string](p, "document.documentElement.lang"))
	text := eval[string](p, "document.body.innerText")
	assert.NotRegexp(p.t, `undefined|[{}]`, text, "a text that could not be filled in")
	if language != "en" {
		assert.NotRegexp(p.t, `Sign in|sign-in|server is (not|starting|running)|the code|Plex has|[Yy]our |Try again|connection was`, text, "English in a page in %s", language)
	}
}

// accessible asserts that axe finds no violation. all false leaves out what does not depend
// on colours.
func (p *tab) accessible(name string, all bool) {
	p.t.Helper()
	if !eval[bool](p, `"axe" in window`) { // as in a page without scripts
		eval[any](p, axeSource(p.t)+"; 0")
	}
	if !eval[bool](p, `"axe" in window`) {
		return // it is not installed
	}
	only := `runOnly: ["cat.color"]`
	if all {
		only = `rules: {"target-size": {enabled: true}}`
	}
	raw := eval[string](p, `axe.run(document, {resultTypes: ["violations"], `+only+`}).then(r => JSON.stringify(r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html)}))))`)
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

// index is a page with all pictures of a folder.
var index = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>All states</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; background: #808080; }
div { display: flex; flex-wrap: wrap; gap: 1rem; align-items: start; }
figure { margin: 0; }
figcaption { font-size: 0.8rem; }
img { display: block; max-width: 40rem; }
</style>
<nav>{{range $state, $_ := .}}<a href="#{{$state}}">{{$state}}</a> {{end}}</nav>
{{range $state, $files := .}}<h2 id="{{$state}}">{{$state}}</h2>
<div>{{range $files}}<figure><a href="{{.}}"><img src="{{.}}" loading="lazy" alt=""></a><figcaption>{{.}}</figcaption></figure>{{end}}</div>
{{end}}`))

// writeIndex writes index.html, on which a person can look at all pictures of a folder.
func writeIndex(t *testing.T, dir string) {
	t.Helper()
	states := map[string][]string{}
	for _, s := range scenes() {
		for _, language := range words.Tags() {
			files, err := filepath.Glob(filepath.Join(dir, s.name+"-"+language+"-*.png"))
			require.NoError(t, err)
			for _, f := range files {
				states[s.name] = append(states[s.name], filepath.Base(f))
			}
		}
	}
	f, err := os.Create(filepath.Join(dir, "index.html"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, index.Execute(f, states))
}

// TestReadmePicture takes the picture in the README, in Chromium alone. PLEXAUTH_WRITE=1
// writes it.
func TestReadmePicture(t *testing.T) {
	s := newSite(t)
	p := newBrowser(t, chromium).open(s.url)
	p.connect()
	p.theme("light")
	p.size(760, 560)
	p.command("browsingContext.setViewport", bidiParams{"devicePixelRatio": 2}, nil)
	eval[any](p, `document.documentElement.style.setProperty("--plexauth-font", "Inter, system-ui, sans-serif"); 0`) // most systems have one like it
	b, err := p.png()
	require.NoError(t, err)
	assert.Less(t, len(b), 150<<10, "bytes of the picture")
	if os.Getenv("PLEXAUTH_WRITE") == "1" {
		require.NoError(t, os.WriteFile("../../docs/panel.png", b, 0o644))
	}
}
