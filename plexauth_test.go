package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// world is a program, its store and a fake plex.tv.
type world struct {
	*plexauth.PlexAuth
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
	w := &world{plex: plextest.NewServer(), store: plexauth.NewMemoryStore(), log: &logText{}}
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

func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var shown *plexauth.Pin
		s, err := w.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			shown = pin
			time.AfterFunc(20*time.Second, func() { _ = w.plex.Approve(pin.Code, w.alice) })
			return nil
		})
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Equal(t, "alice", s.User)
		assert.Nil(t, s.Pending)
		assert.Len(t, shown.Code, 4)
		v, err := w.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, w.plex.Token(w.alice, v.ClientID), v.AccountToken.Secret())
		assert.Regexp(t, `^[0-9a-f]{24}$`, v.ClientID)
	})
}

func TestLoginShowFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		oops := errors.New("no screen")
		_, err := w.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return oops })
		require.ErrorIs(t, err, oops)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.Nil(t, s.Pending)
		_, err = w.Wait(context.Background())
		assert.ErrorIs(t, err, plexauth.ErrNoPendingPin)
	})
}

type jsonRaw = json.RawMessage
