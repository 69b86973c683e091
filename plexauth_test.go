package plexauth_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// world is a program, its store and a fake plex.tv.
type world struct {
	*plexauth.PlexAuth
	t     *testing.T
	plex  *plextest.Server
	alice *plextest.User
	bob   *plextest.User
	store plexauth.ConfigStore
	log   *logText

	replicas bool   // several processes look at one PIN, each at its own pace
	forgive  string // a violation that the test itself provokes
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

// open makes another PlexAuth over the same store: a restart, a replica.
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

// doc is the stored namespace as text.
func (w *world) doc(t *testing.T) string {
	t.Helper()
	raw, err := w.store.Load(t.Context(), plexauth.Namespace)
	require.NoError(t, err)
	return string(raw)
}

// put replaces the stored namespace.
func put(t *testing.T, s plexauth.ConfigStore, doc string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), plexauth.Namespace, func(jsonRaw) (jsonRaw, error) { return jsonRaw(doc), nil }))
}

type jsonRaw = json.RawMessage

// signIn goes through a whole login as u.
func (w *world) signIn(t *testing.T, p *plexauth.PlexAuth, u *plextest.User, o plexauth.PinOptions) {
	t.Helper()
	pin, err := p.Start(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, u))
	s, err := p.Wait(t.Context())
	require.NoError(t, err)
	require.True(t, s.Connected)
}

// signInNow signs alice in without waiting.
func (w *world) signInNow(t *testing.T) {
	t.Helper()
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	s, err := w.Finish(t.Context())
	require.NoError(t, err)
	require.True(t, s.Connected)
}

func mustSettings(t *testing.T, p *plexauth.PlexAuth) plexauth.Settings {
	t.Helper()
	v, err := p.Settings(t.Context())
	require.NoError(t, err)
	return v
}

func second[T any](_ T, err error) error { return err }

// looks are the times of the looks at PINs, counted from start.
func (w *world) looks(start time.Time) []time.Duration {
	var at []time.Duration
	for _, r := range w.plex.Requests() {
		if r.Method == http.MethodGet && r.Path == "/api/v2/pins/{id}" {
			at = append(at, r.Time.Sub(start))
		}
	}
	return at
}

// count is the number of requests with this method and path.
func (w *world) count(method, path string) int {
	n := 0
	for _, r := range w.plex.Requests() {
		if r.Method == method && r.Path == path {
			n++
		}
	}
	return n
}
