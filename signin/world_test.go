package signin_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

const testKey = "TEST_key-of-32-bytes-or-a-little-more"

// world is a web app whose own login is alice's, who owns a server.
type world struct {
	*signin.Handler
	t     *testing.T
	plex  *plextest.Server
	app   *plexauth.PlexAuth
	alice *plextest.User
	bob   *plextest.User // shares alice's server
	eve   *plextest.User // a stranger
	box   *plextest.MediaServer
	log   *lockedText

	browsers atomic.Int32

	mu       sync.Mutex
	signedIn []plexauth.Account // for whom OnSignIn was called
}

type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newWorld(t *testing.T, change ...func(*world, *signin.Options)) *world {
	t.Helper()
	w := &world{t: t, plex: plextest.NewServer(), log: &lockedText{}}
	w.alice = w.plex.AddUser(plextest.User{Username: "alice"})
	w.bob = w.plex.AddUser(plextest.User{Username: "bob"})
	w.eve = w.plex.AddUser(plextest.User{Username: "eve"})
	w.box = w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", SharedWith: []*plextest.User{w.bob}})
	w.plex.AddMediaServer(w.eve, plextest.MediaServer{Name: "Eve's own"})
	t.Cleanup(func() {
		assert.Empty(t, w.plex.Violations(), "what a client must never do")
		w.plex.Close()
	})
	w.app = w.link(w.alice, w.box.MachineID)
	w.Handler = w.handler(change...)
	return w
}

// handler makes another Handler of the same app, as after a restart or on a replica.
func (w *world) handler(change ...func(*world, *signin.Options)) *signin.Handler {
	w.t.Helper()
	o := signin.Options{
		Product: "My App", Plex: w.app, Key: []byte(testKey), HTTPClient: w.plex.Client(),
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
		OnSignIn: func(_ http.ResponseWriter, _ *http.Request, a plexauth.Account) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.signedIn = append(w.signedIn, a)
		},
	}
	for _, f := range change {
		f(w, &o)
	}
	h, err := signin.New(o)
	require.NoError(w.t, err)
	return h
}

// link signs the app itself in.
func (w *world) link(u *plextest.User, machineID string) *plexauth.PlexAuth {
	w.t.Helper()
	store := plexauth.NewMemoryStore()
	p, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: w.plex.Client()})
	require.NoError(w.t, err)
	_, err = p.Login(w.t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, u) })
	require.NoError(w.t, err)
	require.NoError(w.t, store.Update(w.t.Context(), plexauth.Namespace, func(doc json.RawMessage) (json.RawMessage, error) {
		var fields map[string]any
		require.NoError(w.t, json.Unmarshal(doc, &fields))
		fields["machine_id"] = machineID
		return json.Marshal(fields)
	}))
	return p
}

// browser is a visitor's browser, with its cookies and the headers that it sends.
type browser struct {
	t *testing.T
	http.Handler
	host    string
	address string // with a port, as in http.Request.RemoteAddr
	cookies map[string]*http.Cookie
}

// browser returns a new browser with an address of its own.
func (w *world) browser(h http.Handler) *browser {
	n := w.browsers.Add(1)
	return &browser{t: w.t, Handler: h, host: "app.example", address: fmt.Sprintf("203.0.%d.%d:40000", n>>8, n&255), cookies: map[string]*http.Cookie{}}
}

// cookie returns the only cookie that b has.
func (b *browser) cookie() *http.Cookie {
	b.t.Helper()
	require.Len(b.t, b.cookies, 1)
	for _, c := range b.cookies {
		return c
	}
	return nil
}

func (b *browser) do(method, path string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode())).WithContext(b.t.Context())
	r.Host = b.host
	if b.address != "" {
		r.RemoteAddr = b.address
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://"+b.host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, f := range change {
		f(r)
	}
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	b.ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		b.cookies[c.Name] = c
	}
	return rec
}

func (b *browser) get(path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, change...)
}

func (b *browser) post(path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(http.MethodPost, path, nil, change...)
}

// start presses the button and returns the parameters in the address of Plex's page.
func (b *browser) start(form url.Values, change ...func(*http.Request)) url.Values {
	b.t.Helper()
	rec := b.do(http.MethodPost, "/signin/start", form, change...)
	require.Equal(b.t, http.StatusSeeOther, rec.Code, rec.Body.String())
	query, ok := strings.CutPrefix(rec.Header().Get("Location"), "https://app.plex.tv/auth#?")
	require.True(b.t, ok, rec.Header().Get("Location"))
	q, err := url.ParseQuery(query)
	require.NoError(b.t, err)
	return q
}

// approved returns a browser whose sign-in u has approved, and the parameters in the
// address of Plex's page.
func (w *world) approved(h http.Handler, u *plextest.User) (*browser, url.Values) {
	w.t.Helper()
	b := w.browser(h)
	q := b.start(nil)
	require.NoError(w.t, w.plex.Approve(q.Get("code"), u))
	return b, q
}

// signIn signs in as u with a new browser, and returns the response to the last request.
func (w *world) signIn(h http.Handler, u *plextest.User) *httptest.ResponseRecorder {
	w.t.Helper()
	b, _ := w.approved(h, u)
	require.Equal(w.t, http.StatusOK, b.get("/signin/callback").Code)
	return b.post("/signin/finish")
}
