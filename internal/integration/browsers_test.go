package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// engine is a browser that the tests of the pages run in. Both do all that these tests
// need. Where WebDriver BiDi has no command for something yet, or the browser does not have
// the command, it does it in its own way: see theme and scripts.
type engine struct {
	name     string
	programs map[string]string // what it consists of, with Debian's package

	// start starts the browser, with its profile in dir, and returns the URL of its BiDi.
	start func(ctx context.Context, dir string) (url string, err error)
	// begun follows the start.
	begun func(ctx context.Context, p *process) error
	// theme sets the colour scheme that a page is told, "light" or "dark".
	theme func(ctx context.Context, p *process, tab, scheme string) error
	// scripts allows scripts in a tab, or forbids them.
	scripts func(ctx context.Context, p *process, tab string, allowed bool) error
	// listen records also what log.entryAdded does not tell, such as violations of a policy.
	listen func(ctx context.Context, p *process, tab string) error

	once    sync.Once
	process *process
	err     error // why it could not be started
}

var engines = []*engine{chromium, firefox}

// process is a running browser. All tests share it, and each one has cookies and tabs of its own.
type process struct {
	*bidi
	window string // Firefox's own window, whose scripts may do everything
}

// startPatience bounds the start of a browser on a busy machine.
const startPatience = time.Minute

// stopBrowsers ends what the tests have started.
var stopBrowsers []func()

// run returns the browser, and starts it if it does not run yet.
func (e *engine) run() (*process, error) {
	e.once.Do(func() {
		dir, err := os.MkdirTemp("", "plexauth-"+e.name)
		if err != nil {
			e.err = err
			return
		}
		ctx, stop := context.WithCancel(context.Background())
		stopBrowsers = append(stopBrowsers, func() {
			stop()
			for end := time.Now().Add(slack); os.RemoveAll(dir) != nil && time.Now().Before(end); { // it writes until it has ended
				time.Sleep(50 * time.Millisecond)
			}
		})
		e.process, e.err = e.connect(ctx, dir)
	})
	return e.process, e.err
}

func (e *engine) connect(ctx context.Context, dir string) (*process, error) {
	url, err := e.start(ctx, dir)
	if err != nil {
		return nil, err
	}
	c, err := dialBiDi(ctx, url)
	if err != nil {
		return nil, err
	}
	p := &process{bidi: c}
	if err := e.begun(ctx, p); err != nil {
		return nil, err
	}
	return p, p.call(ctx, "session.subscribe", bidiParams{"events": []string{"log.entryAdded", "network.beforeRequestSent"}}, nil)
}

// endWithParent lets a command end with this process, however that ends.
var endWithParent = func(*exec.Cmd) {}

// output starts a command, and returns what follows prefix in its standard output or error.
func output(c *exec.Cmd, prefix string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	c.Stdout, c.Stderr = w, w
	endWithParent(c)
	if err := c.Start(); err != nil {
		return "", err
	}
	go func() { _ = c.Wait() }()
	w.Close()
	found := make(chan string)
	go func() {
		defer r.Close()
		defer close(found)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if _, rest, ok := strings.Cut(lines.Text(), prefix); ok {
				found <- rest
				break
			}
		}
		_, _ = io.Copy(io.Discard, r) // or it would block one day
	}()
	select {
	case s, ok := <-found:
		if !ok {
			return "", fmt.Errorf("%s ended", c.Path)
		}
		return s, nil
	case <-time.After(startPatience):
		return "", fmt.Errorf("%s does not start", c.Path)
	}
}

// chromium is Chromium. ChromeDriver translates what it is told.
var chromium = &engine{
	name:     "chromium",
	programs: map[string]string{"chromium": "chromium", "chromedriver": "chromium-driver"},
	start: func(ctx context.Context, dir string) (string, error) {
		listens, err := output(exec.CommandContext(ctx, "chromium", "--headless", "--remote-debugging-port=0", "--user-data-dir="+dir, "--no-sandbox", "--no-first-run", "--no-default-browser-check",
			"--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
			"--hide-scrollbars", "--font-render-hinting=none", "--force-prefers-reduced-motion", "--ignore-certificate-errors",
			"--host-resolver-rules=MAP *.lan 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", // nothing leaves the machine
		), "DevTools listening on ws://")
		if err != nil {
			return "", err
		}
		address, _, _ := strings.Cut(listens, "/")
		port, err := output(exec.CommandContext(ctx, "chromedriver", "--port=0"), "started successfully on port ")
		if err != nil {
			return "", err
		}
		body, _ := json.Marshal(bidiParams{"capabilities": bidiParams{"alwaysMatch": bidiParams{"webSocketUrl": true, "goog:chromeOptions": bidiParams{"debuggerAddress": address}}}})
		r, err := http.Post("http://127.0.0.1:"+strings.TrimSuffix(port, ".")+"/session", "application/json", strings.NewReader(string(body)))
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		var session struct {
			Value struct {
				Capabilities struct{ WebSocketURL string }
				Message      string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&session); err != nil {
			return "", err
		}
		if session.Value.Message != "" {
			return "", errors.New(session.Value.Message)
		}
		return session.Value.Capabilities.WebSocketURL, nil
	},
	begun: func(ctx context.Context, p *process) error {
		return p.call(ctx, "session.subscribe", bidiParams{"events": []string{"goog:cdp.Log.entryAdded"}}, nil)
	},
	listen: func(ctx context.Context, p *process, tab string) error {
		var s struct{ Session string }
		if err := p.call(ctx, "goog:cdp.getSession", bidiParams{"context": tab}, &s); err != nil {
			return err
		}
		p.alias(s.Session, tab)
		return p.call(ctx, "goog:cdp.sendCommand", bidiParams{"session": s.Session, "method": "Log.enable"}, nil)
	},
	theme: func(ctx context.Context, p *process, tab, scheme string) error {
		return p.call(ctx, "emulation.setMediaFeaturesOverride", bidiParams{"contexts": []string{tab}, "features": bidiParams{"prefers-color-scheme": scheme}}, nil)
	},
	scripts: func(ctx context.Context, p *process, tab string, allowed bool) error {
		var enabled any = false
		if allowed {
			enabled = nil // BiDi has no true
		}
		return p.call(ctx, "emulation.setScriptingEnabled", bidiParams{"contexts": []string{tab}, "enabled": enabled}, nil)
	},
}

// firefox is Firefox. Version 153 has no command for the colour scheme (159 has) and for
// scripts, but lets a script in its own window do both.
var firefox = &engine{
	name:     "firefox",
	programs: map[string]string{"firefox-esr": "firefox-esr"},
	start: func(ctx context.Context, dir string) (string, error) {
		if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
			return "", err
		}
		url, err := output(exec.CommandContext(ctx, "firefox-esr", "--headless", "--no-remote", "--remote-debugging-port=0", "--remote-allow-system-access", "--profile", dir), "WebDriver BiDi listening on ")
		return url + "/session", err
	},
	begun: func(ctx context.Context, p *process) error {
		if err := p.call(ctx, "session.new", bidiParams{"capabilities": bidiParams{"alwaysMatch": bidiParams{"acceptInsecureCerts": true}}}, nil); err != nil {
			return err
		}
		var tree struct{ Contexts []struct{ Context string } }
		if err := p.call(ctx, "browsingContext.getTree", bidiParams{"moz:scope": "chrome", "maxDepth": 0}, &tree); err != nil {
			return err
		}
		p.window = tree.Contexts[0].Context
		return nil
	},
	listen: func(ctx context.Context, p *process, tab string) error { return nil },
	theme: func(ctx context.Context, p *process, tab, scheme string) error {
		return p.setInFirefox(ctx, tab, fmt.Sprintf("prefersColorSchemeOverride = %q", scheme))
	},
	scripts: func(ctx context.Context, p *process, tab string, allowed bool) error {
		return p.setInFirefox(ctx, tab, fmt.Sprintf("allowJavascript = %t", allowed))
	},
}

// setInFirefox sets a property of a tab, as Firefox's own tools for developers do.
func (p *process) setInFirefox(ctx context.Context, tab, assignment string) error {
	_, err := p.evaluate(ctx, p.window, fmt.Sprintf(`ChromeUtils.importESModule("chrome://remote/content/shared/NavigableManager.sys.mjs").NavigableManager.getBrowsingContextById(%q).%s; 0`, tab, assignment))
	return err
}

// firefoxPrefs makes the names of these tests lead to this machine, and lets nothing leave it.
const firefoxPrefs = `
user_pref("network.dns.localDomains", "panel.lan,app.lan");
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.proxy.no_proxies_on", "127.0.0.1, localhost, .lan");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("ui.prefersReducedMotion", 1);
user_pref("ui.useOverlayScrollbars", 1);
`

// inEachBrowser runs a test in Chromium and in Firefox at the same time.
func inEachBrowser(t *testing.T, test func(t *testing.T, b *browser)) {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes too long for -short")
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, newBrowser(t, e))
		})
	}
}

// newBrowser returns a browser without cookies, cache or history.
func newBrowser(t *testing.T, e *engine) *browser {
	t.Helper()
	for program, debian := range e.programs {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, program+" (Debian's package "+debian+")")
		}
	}
	p, err := e.run()
	require.NoError(t, err)
	b := &browser{t: t, engine: e, process: p}
	b.user = b.newUser()
	return b
}

// A page's complaints and requests are recorded, or the other tests would notice none.
func TestWebComplaints(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "img-src 'none'")
			_, _ = io.WriteString(w, `<!doctype html><title>Page</title><img src="/picture"><script>fetch("/data"); console.warn("a warning"); undefined.field;</script>`)
		}))
		t.Cleanup(func() { end(server) })
		p := b.open(server.URL)
		heard := func(what string, record *[]string, part string) {
			t.Helper()
			eventually(t, what, func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return slices.ContainsFunc(*record, func(s string) bool { return strings.Contains(s, part) })
			})
		}
		heard("a warning is recorded", &p.log, "a warning")
		heard("an exception is recorded", &p.log, "undefined")
		heard("a violation of the policy is recorded", &p.log, "img-src 'none'")
		heard("a request is recorded", &p.sent, "/data")
	})
}
