package plexauth_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
)

// witness keeps all output that can be seen from outside, each line once.
type witness struct {
	*canary.Set
	mu    sync.Mutex
	lines map[[2]string]string // sink and line, and the fault under which it came first
	under string               // the fault
	forms map[string]bool      // exported types of which a value was seen
	seen  map[string]bool      // values that were printed in every form
}

// see keeps the lines of a text from one sink.
func (w *witness) see(sink, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.SplitSeq(text, "\n") {
		if key := [2]string{sink, line}; w.lines[key] == "" {
			w.lines[key] = w.under
		}
	}
}

// form keeps a value or an error in every printed form.
func (w *witness) form(sink string, v any) {
	key := fmt.Sprintf("%T %+v", v, v)
	err, isError := v.(error)
	for e := err; e != nil; e = errors.Unwrap(e) {
		key += "\n" + e.Error()
	}
	if j, err := json.Marshal(v); err == nil {
		key += string(j)
	}
	typ := reflect.TypeOf(v)
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	w.mu.Lock()
	w.forms[typ.Name()] = true
	known := w.seen[key]
	w.seen[key] = true
	w.mu.Unlock()
	if !known {
		w.see(sink+" "+reflect.TypeOf(v).String(), canary.Forms(v))
	}
	if !isError {
		return
	}
	var e *plexauth.Error
	if errors.As(err, &e) && e != v {
		w.form(sink, e)
	}
	var choice *plexauth.ServerChoiceError
	if errors.As(err, &choice) && choice != v {
		w.form(sink, choice)
	}
}

// found returns where secrets were seen.
func (w *witness) found() (found []string) {
	s := w.Search()
	for key, under := range w.lines {
		for _, what := range s.In(key[1], key[0] == "log") {
			found = append(found, fmt.Sprintf("%s under %s: %s", key[0], under, what))
		}
	}
	slices.Sort(found)
	return found
}

// leaky is a world whose secrets are known, and whose output a witness sees. It passes
// functions to the library, so that no dump reaches them.
type leaky struct {
	*world
	*witness
	t      *testing.T
	device *plexauth.PlexAuth
	relink *plexauth.PlexAuth
	carol  plexauth.HomeUser
}

// writerFunc is a writer made of a function.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// write takes the log.
func (l *leaky) write(b []byte) (int, error) {
	l.see("log", string(b))
	return len(b), nil
}

// roundTrip sends requests, and shows their URLs to the witness without the secrets
// that plex.tv expects there.
func (l *leaky) roundTrip(r *http.Request) (*http.Response, error) {
	u := *r.URL
	q := u.Query()
	l.Add("device JWT", q.Get("deviceJWT"))
	q.Del("deviceJWT")
	if strings.HasSuffix(u.Path, "/switch") {
		q.Del("pin")
	}
	u.RawQuery = q.Encode()
	if strings.HasPrefix(u.Path, "/api/v2/pins/") {
		u.Path = "/api/v2/pins/{id}"
	}
	l.see("url", u.String())
	l.Add("sent token", r.Header.Get("X-Plex-Token"))
	quote := fmt.Sprintf("%s %s?%s %v", r.Method, r.URL.Path, r.URL.RawQuery, r.Header["X-Plex-Token"])
	if r.GetBody != nil {
		var sent struct {
			JWT string `json:"jwt"`
		}
		if body, err := r.GetBody(); err == nil && json.NewDecoder(body).Decode(&sent) == nil {
			l.Add("device JWT", sent.JWT)
			quote += " " + sent.JWT
		}
	}
	resp, err := l.plex.Client().Transport.RoundTrip(r)
	if err != nil { // as careless transports do
		return nil, fmt.Errorf("%s: %w", quote, err)
	}
	switch resp.StatusCode {
	case 400, 403, 404, 422, 498, 500: // and careless servers
		b, _ := io.ReadAll(resp.Body)
		text, _ := json.Marshal(quote)
		b = bytes.Replace(b, []byte(`"message":"`), append(append([]byte(`"message":`), bytes.TrimSuffix(text, []byte(`"`))...), ' '), 1)
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		resp.Header.Del("Content-Length")
	}
	return resp, nil
}

// carelessStore quotes what it cannot write. The witness learns every secret that is
// stored.
type carelessStore struct {
	plexauth.ConfigStore
	learn func(doc []byte)
	fail  bool
}

func (s *carelessStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	var last jsonRaw
	err := s.ConfigStore.Update(ctx, ns, func(current jsonRaw) (jsonRaw, error) {
		s.learn(current)
		next, err := edit(current)
		s.learn(next)
		if last = next; err == nil && s.fail {
			err = errors.New("disk full")
		}
		return next, err
	})
	if err != nil && s.fail {
		return fmt.Errorf("cannot write %s: %w", last, err)
	}
	return err
}

// homePIN is a Home PIN that appears nowhere by chance.
const homePIN = "HOMEPIN 83951&"

// newLeaky returns a world with three profiles: alice, bob with a device key, and bob
// with an approved login whose account could not be read.
func newLeaky(t *testing.T, wit *witness, store plexauth.ConfigStore) *leaky {
	l := &leaky{world: newWorld(t), witness: wit, t: t}
	l.replicas = true                       // several PlexAuths look at one PIN
	l.forgive = "after plex.tv rejected it" // a damaged answer hides the rejection
	l.Add("home PIN", homePIN)
	l.store = &carelessStore{ConfigStore: store, learn: l.Learn}
	open := func(change ...func(*plexauth.Options)) *plexauth.PlexAuth {
		return l.open(t, append(change, func(o *plexauth.Options) {
			o.HTTPClient, o.MaxRetries = &http.Client{Transport: roundTripFunc(l.roundTrip)}, -1
			log, debug := writerFunc(l.write), &slog.HandlerOptions{Level: slog.LevelDebug}
			o.Logger = slog.New(slog.NewMultiHandler(slog.NewTextHandler(log, debug), slog.NewJSONHandler(log, debug),
				plexauth.NewLogHandler(func(level, module, m string) { l.see("log", level+module+m) })))
		})...)
	}
	carol := l.plex.AddUser(plextest.User{Username: "carol", HomeAdmin: l.alice, HomePIN: homePIN})
	l.plex.AddMediaServer(l.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{lan}})
	l.plex.AddMediaServer(l.bob, plextest.MediaServer{HTTPSRequired: true, AcceptsJWT: true, Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})

	l.PlexAuth = open()
	l.signIn(t, l.PlexAuth, l.alice, plexauth.PinOptions{})
	l.carol = homeUser(t, l.world, carol)
	_, err := l.Inspect(t.Context())
	require.NoError(t, err)

	l.device = open(deviceKey, scopes("username"), func(o *plexauth.Options) { o.Instance = "PLEX-P01" })
	l.signIn(t, l.device, l.bob, plexauth.PinOptions{Strong: true})
	_, _ = l.device.Inspect(t.Context()) // a JWT does not serve as a server's token

	l.relink = l.Instance("PLEX-P02")
	l.signIn(t, l.relink, l.bob, plexauth.PinOptions{})
	pin, err := l.relink.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	require.NoError(t, l.plex.Approve(pin.Code, l.bob))
	l.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1042, Status: 403})
	_, err = l.relink.Finish(t.Context())
	require.Error(t, err)
	require.Contains(t, l.doc(t), pin.Code)
	return l
}

// keep shows the results of a call to the witness.
func (l *leaky) keep(v any, err error) {
	if v != nil {
		l.form("value", v)
	}
	if err != nil {
		l.form("error", err)
	}
}

// callAll calls every method, on every profile.
func (l *leaky) callAll(fault int) {
	profiles := []*plexauth.PlexAuth{l.PlexAuth, l.device, l.relink}
	if fault == 0 {
		profiles = append(profiles, l.Instance("PLEX-P03"))
	}
	for _, p := range profiles {
		ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Minute)
		l.keep(pair(p.Start(ctx, plexauth.PinOptions{})))
		l.keep(pair(p.Start(ctx, plexauth.PinOptions{Strong: true, ForwardURL: "https://app.example/back"})))
		l.keep(pair(p.Finish(ctx)))
		short, stop := context.WithTimeout(ctx, 5*time.Second)
		l.keep(pair(p.Wait(short)))
		stop()
		l.keep(pair(p.Status(ctx)))
		l.keep(pair(p.Settings(ctx)))
		l.keep(pair(p.Instances(ctx)))
		l.keep(pair(p.Token(ctx)))
		l.keep(pair(p.Verify(ctx)))
		l.keep(pair(p.Account(ctx)))
		l.keep(pair(p.HomeUsers(ctx)))
		l.keep(pair(p.SwitchHomeUser(ctx, l.carol, homePIN)))
		l.keep(pair(p.SwitchHomeUser(ctx, l.carol, "WRONG")))
		servers, err := p.Servers(ctx)
		l.keep(servers, err)
		for _, s := range servers {
			l.keep(s, nil)
			for _, c := range s.Connections {
				l.keep(c, nil)
			}
		}
		result, err := p.Probe(ctx, "")
		l.keep(result, err)
		for _, a := range result.Addresses {
			l.keep(a, a.Err)
		}
		l.keep(pair(p.Probe(ctx, "192.168.1.5")))
		l.keep(pair(p.Inspect(ctx)))
		l.keep(pair(p.UseServer(ctx, "no such server")))
		if len(servers) > 0 {
			l.keep(pair(p.UseServer(ctx, servers[0].MachineID)))
		}
		short, stop = context.WithTimeout(ctx, 5*time.Second)
		l.keep(pair(p.Login(short, plexauth.PinOptions{SwitchAccount: true}, func(pin *plexauth.Pin) error { l.keep(pin, nil); return nil })))
		stop()
		l.keep(pair(p.Refresh(ctx)))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://plex.tv/api/v2/user", nil)
		require.NoError(l.t, err)
		req.Header.Set("Accept", "application/json")
		resp, err := p.Transport(l.plex.Client().Transport).RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		l.keep(nil, err)
		l.panel(p)
		adopted := l.plex.IssueToken(l.alice, "other-program")
		l.Add("adopted token", adopted)
		short, stop = context.WithTimeout(ctx, 5*time.Second)
		l.keep(pair(p.Adopt(short, plexauth.NewToken(adopted), plexauth.AdoptOptions{ClientID: "other-program"})))
		stop()
		l.keep(nil, p.Cancel(ctx))
		l.keep(p, nil)
		cancel()
	}
	l.keep(l.Manifest(), nil)
	l.keep(l.Capabilities(), nil)
	l.keep(l.Capabilities().Features.Watchlist, nil)
	l.keep(plexauth.PinOptions{Strong: true}, nil)
	l.keep(plexauth.AdoptOptions{ClientID: "other-program"}, nil)
	l.keep(plexauth.Options{Store: l.store}, nil)
}

// pair passes two results to keep.
func pair[T any](v T, err error) (any, error) { return v, err }

// panel sends every request to a profile's panel.
func (l *leaky) panel(p *plexauth.PlexAuth) {
	ctx, cancel := context.WithCancel(l.t.Context())
	h := p.Handler(ctx)
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/", ""}, {"GET", "/qr.svg", ""}, {"GET", "/status", ""}, {"GET", "/status?wait=1", ""},
		{"GET", "/servers", ""}, {"GET", "/users", ""}, {"POST", "/start", "{}"}, {"GET", "/status", ""}, {"GET", "/return", ""}, {"POST", "/probe", "{}"},
		{"POST", "/probe", `{"url":"https://192.168.1.5:32400"}`}, {"POST", "/inspect", "{}"}, {"POST", "/server", `{"machine_id":"none"}`},
		{"POST", "/user", fmt.Sprintf(`{"uuid":%q,"pin":%q}`, l.carol.UUID, homePIN)}, {"POST", "/user", fmt.Sprintf(`{"uuid":%q,"pin":"WRONG"}`, l.carol.UUID)},
		{"POST", "/cancel", "{}"}, {"GET", "/nothing", ""}, {"POST", "/start", "not JSON"},
	} {
		req := httptest.NewRequestWithContext(l.t.Context(), r.method, r.path, strings.NewReader(r.body))
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		l.see("panel", fmt.Sprintf("%s %s: %d %v %s", r.method, r.path, rec.Code, rec.Result().Header, rec.Body))
	}
	cancel()
	synctest.Wait()
}

// signOutAll ends all logins, with a store that fails at first.
func (l *leaky) signOutAll() {
	store := l.store.(*carelessStore)
	for _, fail := range []bool{true, false} {
		store.fail = fail
		for _, p := range []*plexauth.PlexAuth{l.PlexAuth, l.device, l.relink} {
			ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
			l.keep(pair(p.Start(ctx, plexauth.PinOptions{SwitchAccount: fail})))
			l.keep(pair(p.UseDeviceKey(ctx)))
			l.keep(pair(p.Refresh(ctx)))
			l.keep(pair(p.SignOut(ctx)))
			l.keep(pair(p.Disconnect(ctx)))
			cancel()
		}
	}
}

// plantLeaks puts a secret into every sink.
func (l *leaky) plantLeaks() {
	token := mustSettings(l.t, l.PlexAuth).AccountToken.Secret()
	require.NotEmpty(l.t, token)
	l.see("log", "<"+token+">")
	for _, code := range l.Codes() {
		l.see("log", "confirm "+code)
	}
	l.see("panel", `{"token":"`+token+`"}`)
	l.see("url", "https://plex.tv/?X-Plex-Token="+url.QueryEscape(token))
	l.keep(nil, errors.New("no "+token))
	l.keep(struct{ b []byte }{[]byte(token)}, nil)
	fmt.Println(token)
	println(token)
	log.Print(hex.EncodeToString([]byte(token)))
	require.NoError(l.t, os.WriteFile("plexauth.log", []byte(token), 0o600))
	f, err := os.CreateTemp("", "")
	require.NoError(l.t, err)
	_, err = f.WriteString(token)
	require.NoError(l.t, err)
	require.NoError(l.t, f.Close())
}

// leakReport is the result that the harness passes to the process that watches it.
type leakReport struct {
	Secrets map[string]string
	Found   []string // "sink: secret"
	Forms   []string
	Faults  int
}

// leakEnv and plantEnv tell the harness where to report, and whether to plant leaks.
const leakEnv, plantEnv = "PLEXAUTH_TEST_LEAKS", "PLEXAUTH_TEST_PLANT"

// TestLeakHarness runs in a process of its own, which TestNothingLeaks starts.
func TestLeakHarness(t *testing.T) {
	path, plant := os.Getenv(leakEnv), os.Getenv(plantEnv) != ""
	if path == "" {
		t.Skip("is run by TestNothingLeaks")
	}
	wit := &witness{Set: canary.New(), lines: map[[2]string]string{}, forms: map[string]bool{}, seen: map[string]bool{}}
	faults := append([]wireFault{{name: "none"}}, wireFaults...)
	if plant {
		faults = faults[:1]
	}
	for i, f := range faults {
		wit.under = f.name
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var store plexauth.ConfigStore = plexauth.NewMemoryStore()
				if i == 0 {
					store = plexauth.NewFileStore("config.json")
				}
				l := newLeaky(t, wit, store)
				if i > 0 {
					f.strike(l.world, plextest.Fault{})
				}
				if plant {
					l.plantLeaks()
				}
				l.callAll(i)
				l.keep(store, nil)
				l.signOutAll()
			})
		})
	}
	report := leakReport{Secrets: wit.Names(), Found: wit.found(), Forms: slices.Sorted(maps.Keys(wit.forms)), Faults: len(faults)}
	b, err := json.Marshal(report)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))
}

// watch runs the harness, and searches its output and the files that it has left.
func watch(t *testing.T, plant string) leakReport {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir, tmp := t.TempDir(), t.TempDir()
	path := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestLeakHarness$")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), leakEnv+"="+path, plantEnv+"="+plant, "TMPDIR="+tmp, "TMP="+tmp, "TEMP="+tmp, "GOCOVERDIR="+t.TempDir())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s%s", &stdout, &stderr)

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var report leakReport
	require.NoError(t, json.Unmarshal(b, &report))
	c := canary.New()
	for secret, name := range report.Secrets {
		c.Add(name, secret)
	}
	s := c.Search()
	look := func(sink, text string) {
		for _, found := range s.In(text, false) {
			report.Found = append(report.Found, sink+": "+found)
		}
	}
	look("stdout", stdout.String())
	look("stderr", stderr.String())
	for _, root := range []string{dir, tmp} {
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if filepath.Base(path) == "config.json" {
				assert.Contains(t, string(text), `"plex"`, "the store")
				return err
			}
			look("file "+filepath.Base(path), filepath.Base(path)+string(text))
			return err
		}))
	}
	return report
}

// G13: no secret leaves, whatever fails.
func TestNothingLeaks(t *testing.T) {
	report := watch(t, "")
	assert.Empty(t, report.Found)
	assert.Equal(t, len(wireFaults)+1, report.Faults)
	kinds := slices.Compact(slices.Sorted(maps.Values(report.Secrets)))
	assert.Subset(t, kinds, []string{"account token", "adopted token", "device JWT", "home PIN", "PIN id", "parked token", "private key", "server token"})

	// Every exported type was looked at.
	api, err := os.ReadFile("testdata/api.txt")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`(?m)^type (\w+)$`).FindAllStringSubmatch(string(api), -1) {
		if m[1] != "ConfigStore" && m[1] != "LogFunc" { // an interface and a function
			assert.Contains(t, report.Forms, m[1])
		}
	}
}

// The harness finds a secret that is planted in each of its sinks.
func TestLeaksAreFound(t *testing.T) {
	all := strings.Join(watch(t, "yes").Found, "\n")
	for _, want := range []string{
		"log under none: account token", "log under none: PIN code", "panel under none: account token", "url under none: account token",
		"error *errors.errorString under none: account token", "value struct { b []uint8 } under none: account token",
		"stdout: account token", "file plexauth.log: account token",
	} {
		assert.Contains(t, all, want)
	}
	assert.Equal(t, 2, strings.Count(all, "stderr: account token"), "by println and by package log")
	assert.Equal(t, 2, strings.Count(all, "\nfile "), "the temporary one as well")
}

// G13: the library runs no command, so that no secret can be an argument.
func TestNoCommandIsRun(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	assert.NotContains(t, strings.Fields(string(out)), "os/exec")
}

// G13: a failing test that dumps a PlexAuth inside other structs shows no secret of
// its logins.
func TestDumpOfPlexAuth(t *testing.T) {
	synctest.Test(t, testDumpOfPlexAuth) // so that no timer runs beside the dump, which takes no locks
}

func testDumpOfPlexAuth(t *testing.T) {
	httpmock.Activate(t)
	p, err := plexauth.New(plexauth.Options{Product: "My App"})
	require.NoError(t, err)
	httpmock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
	httpmock.RegisterResponder("GET", pinsURL+"/373040866", jsonAnswer(200, payload(t, "pin-approved.json")))
	httpmock.RegisterResponder("GET", "https://plex.tv/api/v2/user", jsonAnswer(200, payload(t, "user.json")))
	c := canary.New()
	for _, answer := range []string{"pin-approved.json", "pin-pending.json"} {
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		httpmock.RegisterResponder("GET", pinsURL+"/373040866", jsonAnswer(200, payload(t, answer)))
		_, err = p.Finish(t.Context())
		require.NoError(t, err)
	}
	resp, err := p.Transport(nil).RoundTrip(request(t, "GET", "https://plex.tv/api/v2/user", nil))
	require.NoError(t, err)
	resp.Body.Close()
	c.Add("account token", mustSettings(t, p).AccountToken.Secret())
	c.Add("PIN id", "373040866")
	require.Len(t, c.Names(), 2)

	type app struct {
		name string
		auth *plexauth.PlexAuth
	}
	rec := &recorder{}
	assert.Equal(rec, &app{"a", p}, &app{"b", p})
	assert.ElementsMatch(rec, []any{p}, []any{1})
	assert.Equal(rec, []any{p}, []any{nil})
	require.Contains(t, rec.text, "plexauth.shared")
	assert.Empty(t, c.Search().In(rec.text, false))
}
