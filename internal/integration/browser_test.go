package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// browser is a browser of one test: without cookies, cache or history, in a process that
// all tests share.
type browser struct {
	t       *testing.T
	engine  *engine
	process *process
	user    string // whose cookies these are
}

// newUser returns a new user context. Its tabs are closed when the test has ended.
func (b *browser) newUser() string {
	b.t.Helper()
	var r struct{ UserContext string }
	require.NoError(b.t, b.process.call(b.t.Context(), "browser.createUserContext", bidiParams{}, &r))
	b.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = b.process.call(ctx, "browser.removeUserContext", bidiParams{"userContext": r.UserContext}, nil)
	})
	return r.UserContext
}

// command sends a command that must succeed.
func (b *browser) command(method string, params bidiParams) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	require.NoError(b.t, b.process.call(ctx, method, params, nil))
}

// in returns the browser for a subtest.
func (b *browser) in(t *testing.T) *browser { return &browser{t, b.engine, b.process, b.user} }

// another returns a browser that shares nothing with b.
func (b *browser) another() *browser {
	c := b.in(b.t)
	c.user = c.newUser()
	return c
}

// tab is a page of the browser.
type tab struct {
	t  *testing.T
	b  *browser
	id string
	*record
}

// open opens a URL in a new tab.
func (b *browser) open(rawURL string) *tab {
	b.t.Helper()
	return b.openWith("", rawURL)
}

// openWith opens a URL in a new tab. source runs before the page's own scripts.
func (b *browser) openWith(source, rawURL string) *tab {
	b.t.Helper()
	p := b.tab()
	p.size(1000, 900)
	if source != "" {
		p.command("script.addPreloadScript", bidiParams{"functionDeclaration": "() => {" + source + "}", "contexts": []string{p.id}}, nil)
	}
	p.navigate(rawURL)
	return p
}

// tab opens an empty tab.
func (b *browser) tab() *tab {
	b.t.Helper()
	var r struct{ Context string }
	require.NoError(b.t, b.process.call(b.t.Context(), "browsingContext.create", bidiParams{"type": "tab", "userContext": b.user}, &r))
	return b.tabOf(r.Context)
}

// tabOf returns the tab with that ID.
func (b *browser) tabOf(id string) *tab {
	b.t.Helper()
	require.NoError(b.t, b.engine.listen(b.t.Context(), b.process, id))
	return &tab{b.t, b, id, b.process.record(id)}
}

// try sends a command about the tab, and decodes the answer into result.
func (p *tab) try(method string, params bidiParams, result any) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if _, ok := params["contexts"]; !ok {
		params["context"] = p.id
	}
	return p.b.process.call(ctx, method, params, result)
}

// command is try for a command that must succeed.
func (p *tab) command(method string, params bidiParams, result any) {
	p.t.Helper()
	if err := p.try(method, params, result); err != nil {
		require.NoError(p.t, err, "the page says: %s", p.failed())
	}
}

// in returns the tab for a subtest.
func (p *tab) in(t *testing.T) *tab { return &tab{t, p.b.in(t), p.id, p.record} }

// navigate goes to a URL, and waits until its page is loaded.
func (p *tab) navigate(rawURL string) {
	p.t.Helper()
	p.command("browsingContext.navigate", bidiParams{"url": rawURL, "wait": "complete"}, nil)
}

// pass goes to a URL whose page goes on to another one by itself, and waits for nothing.
func (p *tab) pass(rawURL string) {
	p.t.Helper()
	p.command("browsingContext.navigate", bidiParams{"url": rawURL, "wait": "none"}, nil)
}

// back goes back in the history, and waits for the page there.
func (p *tab) back() {
	p.t.Helper()
	before := eval[string](p, "location.href")
	p.command("browsingContext.traverseHistory", bidiParams{"delta": -1}, nil)
	p.until(fmt.Sprintf(`location.href !== %q && document.readyState === "complete"`, before))
}

// size sets the size of the page.
func (p *tab) size(width, height int) {
	p.t.Helper()
	p.command("browsingContext.setViewport", bidiParams{"viewport": bidiParams{"width": width, "height": height}}, nil)
}

// scripts allows scripts in the next page, or forbids them.
func (p *tab) scripts(allowed bool) {
	p.t.Helper()
	require.NoError(p.t, p.b.engine.scripts(p.t.Context(), p.b.process, p.id, allowed))
}

// theme sets the colour scheme, "light" or "dark".
func (p *tab) theme(scheme string) {
	p.t.Helper()
	require.NoError(p.t, p.b.engine.theme(p.t.Context(), p.b.process, p.id, scheme))
}

// calm asserts that the page complains about nothing, such as an exception or a
// violation of its policy.
func (p *tab) calm() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	// Chromium's advice to use a form. The panel has none, because a host may put it
	// into a form of its own.
	complaints := slices.DeleteFunc(slices.Clone(p.log), func(s string) bool {
		return strings.Contains(s, "Password field is not contained in a form")
	})
	assert.Empty(p.t, complaints, "the page complains in its console")
}

// quiet asserts that the page complains about nothing and asks no other origin.
func (p *tab) quiet() {
	p.t.Helper()
	p.calm()
	p.mu.Lock()
	defer p.mu.Unlock()
	var own string
	for _, s := range p.sent {
		u, err := url.Parse(s)
		require.NoError(p.t, err)
		if u.Scheme == "data" {
			continue // Firefox counts a picture in a style sheet
		}
		if own == "" {
			own = u.Host
		}
		assert.Equal(p.t, own, u.Host, "the page requests %s", s)
	}
}

// failed keeps a picture of a page that failed its test, and returns its text.
func (p *tab) failed() string {
	p.t.Helper()
	p.save(artefacts, strings.ReplaceAll(p.t.Name(), "/", "-"))
	ctx, cancel := context.WithTimeout(context.Background(), slack)
	defer cancel()
	v, _ := p.b.process.evaluate(ctx, p.id, "document.body.innerText")
	return string(v.Value)
}

// eval returns the value of an expression. It waits for a promise.
func eval[T any](p *tab, js string) T {
	p.t.Helper()
	v, err := tryEval[T](p, js)
	if err != nil {
		require.NoError(p.t, err, "%s; the page says: %s", js, p.failed())
	}
	return v
}

func tryEval[T any](p *tab, js string) (v T, err error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	r, err := p.b.process.evaluate(ctx, p.id, js)
	if err != nil {
		return v, err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

// leaves reports whether err comes from a page that was about to leave for another one. The
// question can be asked again there.
func leaves(err error) bool {
	var refused *bidiError
	return errors.As(err, &refused)
}

// until waits until an expression is true.
func (p *tab) until(js string) {
	p.t.Helper()
	p.repeat(js, func() (bool, error) { return tryEval[bool](p, "Boolean("+js+")") })
}

// repeat calls done until it returns true.
func (p *tab) repeat(what string, done func() (bool, error)) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(30 * time.Millisecond) {
		ok, err := done()
		if ok {
			return
		}
		if err != nil && !leaves(err) {
			require.NoError(p.t, err, "%s; the page says: %s", what, p.failed())
		}
		if time.Now().After(end) {
			require.Fail(p.t, "never true", "%s (%v); the page says: %s", what, err, p.failed())
		}
	}
}

// one returns an expression for the element that a selector selects.
func one(selector string) string { return fmt.Sprintf("document.querySelector(%q)", selector) }

// state waits until the panel is in a state.
func (p *tab) state(want string) {
	p.t.Helper()
	p.until(one(`[data-plexauth][data-state="` + want + `"]`))
}

// sees waits until an element is visible.
func (p *tab) sees(selector string) {
	p.t.Helper()
	p.until(one(selector) + "?.checkVisibility()")
}

// ready waits until a button can be pressed. The page may show a new state before the request
// that has led to it is answered, and lets nothing be pressed until then.
func (p *tab) ready(button string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`%s?.checkVisibility() && %s.ariaDisabled !== "true"`, one(button), one(button)))
}

// text returns the text of an element, once it is visible.
func (p *tab) text(selector string) (text string) {
	p.t.Helper()
	p.repeat(selector, func() (bool, error) {
		found, err := tryEval[*string](p, fmt.Sprintf("(() => { const e = %s; return e?.checkVisibility() ? e.innerText : null; })()", one(selector)))
		if found != nil {
			text = strings.TrimSpace(*found)
		}
		return found != nil, err
	})
	return text
}

// click presses an element with the mouse, once it is visible and the page lets it be pressed.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.clickOn(one(selector))
}

// clickOn is click for the element that an expression finds.
func (p *tab) clickOn(js string) {
	p.t.Helper()
	p.front()
	p.repeat(js, func() (bool, error) {
		node, err := p.b.process.evaluate(p.t.Context(), p.id, fmt.Sprintf(`(() => {
			const e = %s;
			if (!e?.checkVisibility() || e.closest('[aria-disabled="true"]')) return null;
			const r = e.getBoundingClientRect();
			if (r.top < 0 || r.bottom > innerHeight) e.scrollIntoView({ block: "center", behavior: "instant" });
			return e;
		})()`, js))
		if err != nil || node.SharedID == "" {
			return false, err
		}
		middle := bidiParams{"type": "element", "element": bidiParams{"sharedId": node.SharedID}}
		err = p.try("input.performActions", bidiParams{"actions": []bidiParams{{"type": "pointer", "id": "mouse", "actions": []bidiParams{
			{"type": "pointerMove", "x": 0, "y": 0, "origin": middle}, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0},
		}}}}, nil)
		return err == nil, err
	})
}

// The keys that have no letter, as WebDriver names them.
const (
	keyTab       = "\ue004"
	keyEnter     = "\ue007"
	keyEscape    = "\ue00c"
	keyArrowDown = "\ue015"
	keyShift     = "\ue008"
)

// press presses keys, one after the other. It holds keyShift until the others are up.
func (p *tab) press(keys string) {
	p.t.Helper()
	p.front()
	var actions []bidiParams
	rest, shift := strings.CutPrefix(keys, keyShift)
	if shift {
		actions = append(actions, bidiParams{"type": "keyDown", "value": keyShift})
	}
	for _, k := range rest {
		actions = append(actions, bidiParams{"type": "keyDown", "value": string(k)}, bidiParams{"type": "keyUp", "value": string(k)})
	}
	if shift {
		actions = append(actions, bidiParams{"type": "keyUp", "value": keyShift})
	}
	p.command("input.performActions", bidiParams{"actions": []bidiParams{{"type": "key", "id": "keyboard", "actions": actions}}}, nil)
}

// enter types text into a field.
func (p *tab) enter(selector, text string) {
	p.t.Helper()
	p.sees(selector)
	eval[any](p, one(selector)+".focus()")
	p.press(text)
}

// front brings the tab to the front.
func (p *tab) front() {
	p.t.Helper()
	p.command("browsingContext.activate", bidiParams{}, nil)
}

// close closes it.
func (p *tab) close() {
	p.t.Helper()
	p.command("browsingContext.close", bidiParams{}, nil)
}

// opened returns the tab that act opens, once it shows a page.
func (p *tab) opened(act func()) *tab {
	p.t.Helper()
	before := p.b.pages()
	act()
	var id string
	p.repeat("a tab is opened", func() (bool, error) {
		for context, url := range p.b.pages() {
			if _, old := before[context]; !old && strings.HasPrefix(url, "http") {
				id = context
			}
		}
		return id != "", nil
	})
	return p.b.tabOf(id)
}

// pages returns the URLs of the tabs, by the ID of each.
func (b *browser) pages() map[string]string {
	b.t.Helper()
	var tree struct {
		Contexts []struct{ Context, URL, UserContext string }
	}
	require.NoError(b.t, b.process.call(b.t.Context(), "browsingContext.getTree", bidiParams{"maxDepth": 0}, &tree))
	urls := map[string]string{}
	for _, c := range tree.Contexts {
		if c.UserContext == b.user {
			urls[c.Context] = c.URL
		}
	}
	return urls
}

// closes waits until the tab closes itself.
func (p *tab) closes() {
	p.t.Helper()
	eventually(p.t, "the tab closes itself", func() bool {
		_, open := p.b.pages()[p.id]
		return !open
	})
}

// connect presses "Connect Plex" and returns the tab that shows Plex's page.
func (p *tab) connect() *tab {
	p.t.Helper()
	p.state("idle")
	link := p.opened(func() { p.click("#btn-connect-plex") })
	p.state("pending")
	return link
}

// connectElsewhere presses "Use another device", and returns the code.
func (p *tab) connectElsewhere() (code string) {
	p.t.Helper()
	p.state("idle")
	p.click(otherWay)
	p.state("pending")
	return p.text("#plex_qc_code")
}

// Parts of the panel that change between the two ways to approve, and open Plex's page.
const (
	otherWay = `[data-part="other-way"]`
	openLink = `[data-part="open"]`
)

// approve chooses a user on the fake's page and approves, as a person does.
func (p *tab) approve(name string) {
	p.t.Helper()
	p.sees("fieldset")
	p.clickOn(fmt.Sprintf(`[...document.querySelectorAll("label")].find((l) => l.innerText.trim().startsWith(%q))`, name))
	p.click("button[type=submit]")
}

// alarms records each problem that the panel shows from now on. It returns a function
// that reads the record.
func (p *tab) alarms() func() []string {
	p.t.Helper()
	eval[any](p, `window.alarms = []; setInterval(() => { const box = document.querySelector('[data-part="problem"]'); if (box.checkVisibility() && alarms.at(-1) !== box.innerText) alarms.push(box.innerText); }, 20); 0`)
	return func() []string { return eval[[]string](p, "alarms") }
}

// texts records each text that an element has from now on. It returns a function that reads
// the record.
func (p *tab) texts(selector string) func() []string {
	p.t.Helper()
	eval[any](p, fmt.Sprintf(`(() => { window.said = []; const e = %s; new MutationObserver(() => said.push(e.textContent)).observe(e, { childList: true, characterData: true, subtree: true }); })()`, one(selector)))
	return func() []string { return eval[[]string](p, "said") }
}

// inView waits until an element can be seen without scrolling.
func (p *tab) inView(selector string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`(() => { const e = document.querySelector(%q); const r = e.getBoundingClientRect(); return e.checkVisibility() && r.height > 0 && r.top >= -1 && r.bottom <= innerHeight + 1; })()`, selector))
}

// shortLimits cuts the page's limits on requests to a second where window.shortened says
// so: see shortLongPolls and shortPresses. Other limits stay, since a busy machine may need them.
const (
	shortLimits = `{
		window.shortened = () => false;
		const real = setTimeout;
		window.setTimeout = (f, ms, ...args) => real(f, window.shortened(ms) ? 1000 : ms, ...args);
	}`
	shortLongPolls = "shortened = (ms) => ms > 20000 && ms < 40000; 0"
	shortPresses   = "shortened = (ms) => ms >= 40000; 0"
	shortNothing   = "shortened = () => false; 0"
)

// noPauses lets no timer of a second or more end in a page.
const noPauses = `{
	const real = setTimeout;
	window.setTimeout = (f, ms, ...args) => ms < 1000 ? real(f, ms, ...args) : 0;
}`
