package plexauth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
)

// world is a program with its store, and a fake plex.tv with two accounts.
type world struct {
	*plexauth.PlexAuth
	t     *testing.T
	plex  *plextest.Server
	alice *plextest.User
	bob   *plextest.User
	store plexauth.ConfigStore
	log   *logText

	replicas bool   // several processes look at one PIN, so their looks may overlap
	forgive  string // part of a violation that the test itself provokes
}

// logText collects a log at Debug level.
type logText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newWorld returns a world without a login. When the test ends, it reports what the
// fake has seen that a client must never do.
func newWorld(t *testing.T, change ...func(*plexauth.Options)) *world {
	t.Helper()
	w := &world{t: t, plex: plextest.NewServer(), store: plexauth.NewMemoryStore(), log: &logText{}}
	w.alice = w.plex.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	w.bob = w.plex.AddUser(plextest.User{Username: "bob", Email: "bob@example.com"})
	w.PlexAuth = w.open(t, change...)
	t.Cleanup(func() {
		for _, v := range w.plex.Violations() {
			if (!w.replicas || !strings.Contains(v, "a PIN")) && (w.forgive == "" || !strings.Contains(v, w.forgive)) {
				t.Errorf("what a client must never do: %s", v)
			}
		}
		w.plex.Close()
	})
	return w
}

// open makes another PlexAuth over the same store, as after a restart or in a replica.
func (w *world) open(t *testing.T, change ...func(*plexauth.Options)) *plexauth.PlexAuth {
	t.Helper()
	o := plexauth.Options{
		Product: "My App", Store: w.store, HTTPClient: w.plex.Client(),
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	p, err := plexauth.New(o)
	require.NoError(t, err)
	return p
}

// Worlds in a certain state.

// signedIn returns a world in which alice has signed in at once.
func signedIn(t *testing.T) *world {
	w := newWorld(t)
	w.signInNow(t)
	return w
}

// linked returns a world in which alice has signed in with Wait. With network, the
// fake's resolver, addresses and TLS are used as well.
func linked(t *testing.T, network bool) *world {
	t.Helper()
	w := newWorld(t)
	if network {
		w.PlexAuth = w.onNetwork(t)
	}
	w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	return w
}

// onNetwork opens a PlexAuth that dials inside the fake's network.
func (w *world) onNetwork(t *testing.T) *plexauth.PlexAuth {
	rt := w.plex.Transport()
	t.Cleanup(rt.CloseIdleConnections)
	return w.open(t, withTransport(rt))
}

// newDeviceWorld returns a world in which alice has signed in with a device key.
func newDeviceWorld(t *testing.T, change ...func(*plexauth.Options)) *world {
	t.Helper()
	w := newWorld(t, append(change, deviceKey)...)
	w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	return w
}

// home returns a world with alice's Plex Home: a child, a guest, and carol with a
// Home PIN.
func home(t *testing.T) (w *world, kid, carol *plextest.User) {
	w = linked(t, false)
	kid = w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
	carol = w.plex.AddUser(plextest.User{Username: "carol", HomeAdmin: w.alice, HomePIN: "QXYZ"})
	w.plex.AddUser(plextest.User{Username: "guest", Guest: true, HomeAdmin: w.alice})
	return w, kid, carol
}

// served returns a world in which alice has a media server. Inspect has found it, if
// inspected is set.
func served(t *testing.T, inspected bool) *world {
	w := signedIn(t)
	w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{lan}})
	if inspected {
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
	}
	return w
}

// start begins a login in w.
func start(t *testing.T, w *world) *plexauth.Pin {
	t.Helper()
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	return pin
}

// approved begins a login in w, which alice approves.
func approved(t *testing.T, w *world) *world {
	t.Helper()
	require.NoError(t, w.plex.Approve(start(t, w).Code, w.alice))
	return w
}

// withStore makes s the store.
func withStore(s plexauth.ConfigStore) func(*plexauth.Options) {
	return func(o *plexauth.Options) { o.Store = s }
}

// withTransport sends requests through rt.
func withTransport(rt http.RoundTripper) func(*plexauth.Options) {
	return func(o *plexauth.Options) { o.HTTPClient = &http.Client{Transport: rt} }
}

// noRetries makes one attempt of each request.
func noRetries(o *plexauth.Options) { o.MaxRetries = -1 }

// deviceKey signs in with a device key.
func deviceKey(o *plexauth.Options) { o.DeviceKey = true }

// scopes asks for these claims in a JWT.
func scopes(s ...string) func(*plexauth.Options) { return func(o *plexauth.Options) { o.Scopes = s } }

// lan is an address of a media server in the home network.
var lan = plextest.Connection{Address: "192.168.1.5", Local: true}

// Signing in.

// signIn signs u in to p, waiting like a program.
func (w *world) signIn(t *testing.T, p *plexauth.PlexAuth, u *plextest.User, o plexauth.PinOptions) {
	t.Helper()
	pin, err := p.Start(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, u))
	s, err := p.Wait(t.Context())
	require.NoError(t, err)
	require.True(t, s.Connected)
}

// signInNow signs alice in without waiting, outside a synctest bubble.
func (w *world) signInNow(t *testing.T) {
	t.Helper()
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	s, err := w.Finish(t.Context())
	require.NoError(t, err)
	require.True(t, s.Connected)
}

// relink signs in as u, whatever account is linked.
func (w *world) relink(t *testing.T, u *plextest.User) {
	w.signIn(t, w.PlexAuth, u, plexauth.PinOptions{SwitchAccount: true})
}

// The stored document.

// jsonRaw shortens the signatures of stores.
type jsonRaw = json.RawMessage

// doc returns the stored document.
func (w *world) doc(t *testing.T) string {
	t.Helper()
	raw, err := w.store.Load(t.Context(), plexauth.Namespace)
	require.NoError(t, err)
	return string(raw)
}

// stored returns the members of the stored document.
func (w *world) stored(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(w.doc(t)), &m))
	return m
}

// credentials returns the stored credentials of the default profile.
func (w *world) credentials(t *testing.T) (b struct {
	ClientID     string `json:"client_id"`
	AccountToken string `json:"account_token"`
	Device       struct {
		ClientID string `json:"client_id"`
		Kid      string `json:"kid"`
		Secret   string `json:"secret"`
		Scope    string `json:"scope"`
	} `json:"_device"`
}) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(w.doc(t)), &b))
	return b
}

// put replaces the stored document.
func put(t *testing.T, s plexauth.ConfigStore, doc string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), plexauth.Namespace, func(jsonRaw) (jsonRaw, error) { return jsonRaw(doc), nil }))
}

// edit sets members of the stored document.
func (w *world) edit(t *testing.T, members map[string]any) {
	t.Helper()
	doc := w.stored(t)
	for k, v := range members {
		doc[k] = v
	}
	b, err := json.Marshal(doc)
	require.NoError(t, err)
	put(t, w.store, string(b))
}

// forgetAccount leaves only the name of the login's account in the stored document, as
// other programs write it, and sets more members.
func (w *world) forgetAccount(t *testing.T, more map[string]any) {
	t.Helper()
	doc := w.stored(t)
	delete(doc, "_cloud")
	maps.Copy(doc, more)
	raw, err := json.Marshal(doc)
	require.NoError(t, err)
	put(t, w.store, string(raw))
}

// Requests to plex.tv and the media servers.

// looks returns the times of the looks at PINs, counted from start.
func (w *world) looks(start time.Time) []time.Duration {
	var at []time.Duration
	for _, r := range w.plex.Requests() {
		if r.Method == http.MethodGet && r.Path == "/api/v2/pins/{id}" {
			at = append(at, r.Time.Sub(start))
		}
	}
	return at
}

// fromNow returns a function that lists what plex.tv and the media servers have
// been asked since.
func (w *world) fromNow() (asked func() []plextest.Request) {
	n := len(w.plex.Requests())
	return func() []plextest.Request { return w.plex.Requests()[n:] }
}

// only returns the requests with this method and path.
func only(requests []plextest.Request, method, path string) (some []plextest.Request) {
	for _, r := range requests {
		if r.Method == method && r.Path == path {
			some = append(some, r)
		}
	}
	return some
}

// count returns how many requests had this method and path.
func (w *world) count(method, path string) int { return len(only(w.plex.Requests(), method, path)) }

// media returns the requests that reached a media server, or were meant to.
func media(requests []plextest.Request) (some []plextest.Request) {
	for _, r := range requests {
		if !strings.HasPrefix(r.Path, "/api/") {
			some = append(some, r)
		}
	}
	return some
}

// mediaRequests returns all requests that reached a media server, or were meant to.
func (w *world) mediaRequests() []plextest.Request { return media(w.plex.Requests()) }

// assertHidden asserts that neither the log nor err shows a secret that the store holds
// now or held before.
func (w *world) assertHidden(t *testing.T, held *canary.Set, err error) {
	t.Helper()
	held.Learn([]byte(w.doc(t)))
	shown := w.log.String()
	if err != nil {
		shown += canary.Forms(err)
	}
	assert.Empty(t, held.Search().In(shown, true))
}

// Paths of plex.tv's API for device keys.
const (
	nonces    = "/api/v2/auth/nonce"
	exchanges = "/api/v2/auth/token"
	keysPath  = "/api/v2/auth/keys"
)

// Calls.

// mustSettings returns p's settings.
func mustSettings(t *testing.T, p *plexauth.PlexAuth) plexauth.Settings {
	t.Helper()
	v, err := p.Settings(t.Context())
	require.NoError(t, err)
	return v
}

// tokenOf returns p's account token, renewed if it is due.
func tokenOf(t *testing.T, p *plexauth.PlexAuth) string {
	t.Helper()
	tok, err := p.Token(t.Context())
	require.NoError(t, err)
	return tok.Secret()
}

// homeUser returns the Home user with u's account.
func homeUser(t *testing.T, w *world, u *plextest.User) plexauth.HomeUser {
	t.Helper()
	users, err := w.HomeUsers(t.Context())
	require.NoError(t, err)
	for _, have := range users {
		if have.ID == u.ID {
			return have
		}
	}
	require.Fail(t, "no such user")
	return plexauth.HomeUser{}
}

// request returns a request that a program makes itself.
func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	req.Header.Set("Accept", "application/json")
	return req
}

// status sends a program's request through w's Transport and returns the status.
func (w *world) status(t *testing.T, req *http.Request) int {
	t.Helper()
	resp, err := w.Transport(w.plex.Client().Transport).RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode
}

// errOf returns the error of a call with two results.
func errOf[T any](_ T, err error) error { return err }

// must returns the value of a call that cannot fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Values and texts.

const day = 24 * time.Hour

// jsonText returns v as JSON.
func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// memberNames returns the names of a JSON object's members, in order.
func memberNames(t *testing.T, doc string) []string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(doc))
	_, err := dec.Token()
	require.NoError(t, err)
	var names []string
	for dec.More() {
		k, err := dec.Token()
		require.NoError(t, err)
		names = append(names, k.(string))
		var v any
		require.NoError(t, dec.Decode(&v))
	}
	return names
}

// jwtPart returns the decoded nth part of a JWT.
func jwtPart(t *testing.T, jwt string, n int) []byte {
	t.Helper()
	parts := strings.Split(jwt, ".")
	require.Len(t, parts, 3)
	b, err := base64.RawURLEncoding.DecodeString(parts[n])
	require.NoError(t, err)
	return b
}

// forge returns jwt with a changed header and claims, signed with a key that is not
// plex.tv's.
func forge(t *testing.T, jwt string, change func(header, claims map[string]any)) string {
	t.Helper()
	var header, claims map[string]any
	require.NoError(t, json.Unmarshal(jwtPart(t, jwt, 0), &header))
	require.NoError(t, json.Unmarshal(jwtPart(t, jwt, 1), &claims))
	change(header, claims)
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	signed := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(make([]byte, 32)), []byte(signed)))
}

// recorder collects testify's failures.
type recorder struct{ text string }

func (r *recorder) Errorf(format string, args ...any) { r.text += fmt.Sprintf(format, args...) }

// loginCalls are calls that can meet at one pending login.
var loginCalls = map[string]func(context.Context, *plexauth.PlexAuth) error{
	"Start": func(ctx context.Context, p *plexauth.PlexAuth) error {
		_, err := p.Start(ctx, plexauth.PinOptions{SwitchAccount: true})
		return err
	},
	"Finish": func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.Finish(ctx)) },
	"Wait":   func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.Wait(ctx)) },
	"Cancel": func(ctx context.Context, p *plexauth.PlexAuth) error { return p.Cancel(ctx) },
	"Verify": func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.Verify(ctx)) },
}

// get sends a program's request to a media server, through a Transport on the fake's
// network, and returns the status. It returns 0 if there was no answer.
func (w *world) get(t *testing.T, at string) int {
	t.Helper()
	rt := w.plex.Transport()
	defer rt.CloseIdleConnections()
	c := &http.Client{Transport: w.open(t).Transport(rt)}
	defer c.CloseIdleConnections()
	resp, err := c.Get(at + "/library/sections")
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}
