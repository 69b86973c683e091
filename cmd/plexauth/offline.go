package main

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/plexauth/plexauth/plextest"
)

// approveAfter is how long the person at the fake plex.tv takes to approve a login.
const approveAfter = 4 * time.Second

// fakePlex is a fake plex.tv with an account, alice, and her two media servers.
type fakePlex struct {
	*plextest.Server
	alice *plextest.User
	media []*httptest.Server
}

// startFake starts a fake plex.tv. The caller closes it.
func startFake() *fakePlex {
	f := &fakePlex{Server: plextest.NewServer()}
	f.Randomize()
	f.alice = f.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	for _, name := range []string{"Living room", "Attic"} {
		f.addMediaServer(name)
	}
	return f
}

// addMediaServer adds a media server of alice, at a loopback address.
func (f *fakePlex) addMediaServer(name string) {
	listener := httptest.NewUnstartedServer(nil)
	at := listener.Listener.Addr().(*net.TCPAddr)
	media := f.AddMediaServer(f.alice, plextest.MediaServer{Name: name, Connections: []plextest.Connection{
		{Address: at.IP.String(), Port: at.Port, URI: "http://" + at.String(), Local: true},
	}})
	listener.Config.Handler = media.Handler()
	listener.Start()
	f.media = append(f.media, listener)
}

// close ends the fake plex.tv and its media servers.
func (f *fakePlex) close() {
	for _, m := range f.media {
		m.Close()
	}
	f.Server.Close()
}

// baseURL returns the URL of the fake, "" for none.
func (f *fakePlex) baseURL() string {
	if f == nil {
		return ""
	}
	return f.URL()
}

// approve approves each code for alice a few seconds after it was made, until ctx ends.
func (f *fakePlex) approve(ctx context.Context) {
	seen := map[string]time.Time{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, code := range f.PendingCodes() {
				if seen[code].IsZero() {
					seen[code] = now
				}
				if now.Sub(seen[code]) >= approveAfter {
					_ = f.Approve(code, f.alice) // fails if another person has approved it in the browser
				}
			}
		}
	}
}

// runOffline signs in at a fake plex.tv.
func (s *signIn) runOffline(ctx context.Context) (err error) {
	s.fake = startFake()
	defer s.fake.close()
	approving, stop := context.WithCancel(ctx)
	defer stop()
	go s.fake.approve(approving)

	if s.p.place.config == "" && s.p.place.crosswatch == "" {
		dir, mkdirErr := os.MkdirTemp("", "plexauth-offline-")
		if mkdirErr != nil {
			return mkdirErr
		}
		defer func() {
			if err != nil {
				_ = os.RemoveAll(dir)
			}
		}()
		s.p.place.config = filepath.Join(dir, "plexauth.json")
	}
	fmt.Fprintln(s.p.stdout, "Offline: a fake plex.tv runs until this program ends.\nA fake person approves the login in a few seconds.")
	if err = s.run(ctx); err != nil {
		return err
	}
	fmt.Fprintln(s.p.stdout, "The fake plex.tv ends now, and this login with it.\nTo sign in at the real one, run this again without -offline.")
	return nil
}

// forgetFake removes the login of an earlier run with -offline, whose fake no longer
// exists. It returns an error if there is a real login, so that a fake one does not
// replace it.
func (s *signIn) forgetFake(ctx context.Context) error {
	settings, err := s.login.Settings(ctx)
	if err != nil {
		return err
	}
	status, err := s.login.Status(ctx)
	if err != nil {
		return err
	}
	switch isFake := strings.HasPrefix(settings.AccountToken.Secret(), "FAKE_"); {
	case isFake:
		_, err = s.login.Disconnect(ctx)
	case !settings.AccountToken.IsZero() || status.Pending != nil:
		err = fmt.Errorf("%s holds a real login: give another file, or none, with -offline", s.login.path)
	}
	return err
}
