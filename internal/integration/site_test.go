package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// site is a program with a panel, and the fake plex.tv that it uses.
type site struct {
	t     *testing.T
	plex  *plextest.Server
	auth  *plexauth.PlexAuth
	store plexauth.ConfigStore
	alice *plextest.User
	bob   *plextest.User
	panel http.Handler
	url   string // of the panel's page
}

// newSite serves a panel at /plex/ on a loopback address.
func newSite(t *testing.T, change ...func(*plexauth.Options)) *site {
	t.Helper()
	s := &site{t: t, plex: plextest.NewServer(), store: plexauth.NewMemoryStore()}
	t.Cleanup(s.plex.Close)
	s.alice = s.plex.AddUser(plextest.User{Username: "alice"})
	s.bob = s.plex.AddUser(plextest.User{Username: "bob"})
	o := plexauth.Options{Product: "My App", Store: s.store, BaseURL: s.plex.URL(), HTTPClient: s.plex.Client()}
	for _, f := range change {
		f(&o)
	}
	var err error
	s.auth, err = plexauth.New(o)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	s.panel = s.auth.Handler(ctx)
	s.url = s.serve(http.StripPrefix("/plex", s.panel)) + "/plex/"
	return s
}

// serve serves h on a loopback address, and returns its URL.
func (s *site) serve(h http.Handler) string {
	server := httptest.NewServer(h)
	s.t.Cleanup(func() { end(server) })
	return server.URL
}

// end closes a server without waiting for its long polls. Its listener is closed first, or
// a browser would repeat a long poll that was cut.
func end(server *httptest.Server) {
	_ = server.Listener.Close()
	server.CloseClientConnections()
	server.Close()
}

// proxied returns a proxy that serves the panel at path. change may be nil.
func (s *site) proxied(path string, change func(*httputil.ProxyRequest)) http.Handler {
	to, err := url.Parse(s.url)
	require.NoError(s.t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.URL.Path = "/plex/" + strings.TrimPrefix(r.In.URL.Path, path)
			r.Out.Host = r.In.Host
			if change != nil {
				change(r)
			}
		},
		FlushInterval: -1,
	}
	mux := http.NewServeMux()
	mux.Handle(path, proxy)
	return mux
}

// box adds a media server of u that answers.
func (s *site) box(u *plextest.User, name, ip string) *plextest.MediaServer {
	return s.plex.AddMediaServer(u, plextest.MediaServer{Name: name, Connections: []plextest.Connection{{Address: ip, Local: true}}})
}

// adopt signs the site in without a PIN, so that the panel does not look for the server.
func (s *site) adopt(u *plextest.User) {
	s.t.Helper()
	const id = "TEST-client"
	_, err := s.auth.Adopt(s.t.Context(), plexauth.NewToken(s.plex.IssueToken(u, id)), plexauth.AdoptOptions{ClientID: id})
	require.NoError(s.t, err)
}

// signIn is adopt, and finds the server of u.
func (s *site) signIn(u *plextest.User) {
	s.t.Helper()
	s.adopt(u)
	_, err := s.auth.Inspect(s.t.Context())
	require.NoError(s.t, err)
}

// tooSoon makes the panel wait before its next PIN, as if one had just been made. Browsers may
// be so slow that the time since the last one does not.
func (s *site) tooSoon() {
	s.t.Helper()
	require.NoError(s.t, s.store.Update(s.t.Context(), plexauth.Namespace, func(current json.RawMessage) (json.RawMessage, error) {
		all := map[string]json.RawMessage{}
		err := json.Unmarshal(current, &all)
		all["_cancelled_pin"], _ = json.Marshal(time.Now().Unix() + 1)
		b, _ := json.Marshal(all)
		return b, err
	}))
}

// code returns the code of the latest PIN.
func (s *site) code() string {
	s.t.Helper()
	codes := s.plex.PendingCodes()
	require.NotEmpty(s.t, codes)
	return codes[len(codes)-1]
}

// connected waits until the store holds a login.
func (s *site) connected() {
	s.t.Helper()
	eventually(s.t, "the store holds a login", func() bool {
		status, err := s.auth.Status(s.t.Context())
		return err == nil && status.Connected
	})
}

// filledStore is a store whose disk can be full.
type filledStore struct {
	plexauth.ConfigStore
	full atomic.Bool
}

func (s *filledStore) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	if s.full.Load() {
		return errors.New("no space left on device")
	}
	return s.ConfigStore.Update(ctx, namespace, edit)
}

// unwritableStore is a store that says what is wrong before anything is written.
type unwritableStore struct{ plexauth.ConfigStore }

func (unwritableStore) Check(context.Context) error {
	return errors.New("/config/config.json: read-only file system (uid 1000, mode 0600); mount the directory, not the file")
}
