package plexauth_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G25: none of several servers is chosen silently, nor is a server of another owner.
// The choice is saved by machine.
func TestServerChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		_, err := w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrServerChoice)
		assert.ErrorContains(t, err, "may use none")

		theirs := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Bob's", SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "203.0.113.8"}}})
		_, err = w.Inspect(t.Context())
		var choice *plexauth.ServerChoiceError
		require.ErrorAs(t, err, &choice)
		require.Len(t, choice.Servers, 1)
		assert.Equal(t, theirs.MachineID, choice.Servers[0].MachineID)

		one := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "One", Connections: []plextest.Connection{lan}})
		two := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Two", Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		s, err := w.Inspect(t.Context())
		require.ErrorAs(t, err, &choice)
		require.ErrorIs(t, err, plexauth.ErrServerChoice)
		require.Len(t, choice.Servers, 3)
		assert.ErrorContains(t, err, `"One", "Two", "Bob's" of bob`)
		assert.Empty(t, s.ServerURL)
		assert.Empty(t, s.MachineID)
		assert.Empty(t, w.mediaRequests(), "no server is asked before the choice")

		s, err = w.UseServer(t.Context(), two.MachineID)
		require.NoError(t, err)
		assert.Equal(t, two.MachineID, s.MachineID)
		assert.Equal(t, w.plex.ServerToken(w.alice, two), s.ServerToken.Secret())
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, two.MachineID, s.MachineID)

		// Another choice replaces everything of the old one.
		s, err = w.UseServer(t.Context(), one.MachineID)
		require.NoError(t, err)
		assert.Equal(t, one.Connections[0].URI, s.ServerURL)
		assert.Equal(t, w.plex.ServerToken(w.alice, one), s.ServerToken.Secret())

		before := w.doc(t)
		s, err = w.UseServer(t.Context(), "no-such-machine")
		require.ErrorIs(t, err, plexauth.ErrServerChoice)
		assert.Equal(t, one.MachineID, s.MachineID)
		_, err = w.UseServer(t.Context(), " ")
		require.Error(t, err)
		assert.Equal(t, before, w.doc(t))
	})
}

// A server that does not answer does not replace another one.
func TestUseServerThatIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		on := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "On", Connections: []plextest.Connection{lan}})
		off := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Off", Offline: true, Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		empty := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Empty"})
		s, err := w.UseServer(t.Context(), off.MachineID)
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, off.Connections[0].URI)
		assert.Equal(t, off.MachineID, s.MachineID, "the choice is kept, for when it is back")
		assert.Empty(t, s.ServerURL)
		assert.True(t, s.ServerToken.IsZero(), "no token before the server has answered")

		s, err = w.UseServer(t.Context(), on.MachineID)
		require.NoError(t, err)
		require.Equal(t, on.Connections[0].URI, s.ServerURL)
		before := w.doc(t)
		for _, m := range []*plextest.MediaServer{off, empty} {
			_, err = w.UseServer(t.Context(), m.MachineID)
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.Equal(t, before, w.doc(t))
		}
	})
}

// G25: a server that has moved is found again. A saved address that answers is kept.
func TestMovedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true, URI: "http://192.168.1.5:32400"}}})
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		require.Equal(t, "http://192.168.1.5:32400", s.ServerURL)
		w.plex.MoveServer(box, plextest.Connection{Address: "192.168.1.77", Local: true})
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, box.Connections[0].URI, s.ServerURL)
		assert.Contains(t, s.ServerURL, "192-168-1-77")
		assert.Equal(t, s.ServerURL, w.stored(t)["pms_token_server"])

		// A better address does not replace a saved one that answers.
		w.plex.MoveServer(box, plextest.Connection{Address: "192.168.1.77"}, lan)
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Contains(t, s.ServerURL, "192-168-1-77")
	})
}

// G25: an address that a person typed is a choice, and is kept.
func TestTypedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{
			{Address: "203.0.113.7"}, {Address: "plex.lan", IP: "192.168.1.9", URI: "http://plex.lan:32400", Unlisted: true},
		}})
		other := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Other", Connections: []plextest.Connection{lan}})
		w.edit(t, map[string]any{"server_url": "http://plex.lan:32400/"})
		s, err := w.Inspect(t.Context())
		require.NoError(t, err, "a typed address is a choice")
		assert.Equal(t, "http://plex.lan:32400/", s.ServerURL, "as it was typed")
		assert.Equal(t, box.MachineID, s.MachineID)
		assert.Equal(t, w.plex.ServerToken(w.alice, box), s.ServerToken.Secret())
		assert.Equal(t, "http://plex.lan:32400", w.stored(t)["pms_token_server"], "as CrossWatch writes it")

		// It survives a failure, even if the server answers elsewhere, and keeps its
		// token.
		w.plex.Inject(plextest.Fault{Host: "plex.lan", Times: -1, Status: 502})
		s, err = w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "server_url")
		assert.Equal(t, "http://plex.lan:32400/", s.ServerURL)
		assert.Equal(t, w.plex.ServerToken(w.alice, box), s.ServerToken.Secret())
		w.plex.ResetFaults()

		// The address of another server is typed: the old token is not for it.
		w.edit(t, map[string]any{"server_url": other.Connections[0].URI})
		assert.True(t, mustSettings(t, w.PlexAuth).ServerToken.IsZero())
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, other.Connections[0].URI, s.ServerURL)
		assert.Equal(t, other.MachineID, s.MachineID)
		assert.Equal(t, w.plex.ServerToken(w.alice, other), s.ServerToken.Secret())
	})
}

// G25: a plex.direct address that a person typed is kept like any other.
func TestTypedDirectAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan, {Address: "203.0.113.7"}}})
		typed := box.Connections[1].URI
		s, err := w.UseServer(t.Context(), typed)
		require.NoError(t, err)
		assert.Equal(t, typed, s.ServerURL)
		for range 2 {
			w.plex.Inject(plextest.Fault{Host: strings.TrimPrefix(typed, "https://"), Times: -1, Status: 502})
			s, err = w.Inspect(t.Context())
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.Equal(t, typed, s.ServerURL)
			w.plex.ResetFaults()
			_, err = w.Inspect(t.Context())
			require.NoError(t, err)
		}
		// CrossWatch saves only addresses that it has found, so this one follows the server.
		doc := w.stored(t)
		delete(doc, "server_url_found")
		b, err := json.Marshal(doc)
		require.NoError(t, err)
		put(t, w.store, string(b))
		w.plex.MoveServer(box, lan)
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, box.Connections[0].URI, s.ServerURL)
	})
}

// UseServer takes an address as a person types it.
func TestUseServerByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{
			lan, {Address: "plex", IP: "172.18.0.3", URI: "http://plex:32400", Unlisted: true},
		}})
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Other", Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		strange := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Strange", Connections: []plextest.Connection{{Address: "203.0.113.99"}}})
		s, err := w.UseServer(t.Context(), "http://plex:32400")
		require.NoError(t, err)
		assert.Equal(t, "http://plex:32400", s.ServerURL)
		assert.Equal(t, box.MachineID, s.MachineID)

		// Choosing the same server from the list keeps the address.
		s, err = w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		assert.Equal(t, "http://plex:32400", s.ServerURL)

		// The bare name of a host is an address, too, if something answers there.
		s, err = w.UseServer(t.Context(), "plex")
		require.NoError(t, err)
		assert.Equal(t, "https://plex:32400", s.ServerURL)
		var choice *plexauth.ServerChoiceError
		_, err = w.UseServer(t.Context(), "attic")
		require.ErrorAs(t, err, &choice)
		assert.Len(t, choice.Servers, 2)
		require.ErrorIs(t, err, plexauth.ErrServerChoice)
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "https://attic:32400")

		// The scheme may be left out.
		s, err = w.UseServer(t.Context(), "plex:32400")
		require.NoError(t, err)
		assert.Equal(t, "https://plex:32400", s.ServerURL)

		before := w.doc(t)
		_, err = w.UseServer(t.Context(), "plex.nowhere.example")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		_, err = w.UseServer(t.Context(), strange.Connections[0].URI)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		for _, bad := range []string{"ftp://plex", "http://", "http://u:p@plex:32400", "http://plex:32400/?X-Plex-Token=TEST_x", "https://192.168.1.250:32400"} {
			_, err = w.UseServer(t.Context(), bad)
			require.Error(t, err, bad)
			assert.NotContains(t, err.Error(), "TEST_x")
		}
		assert.Equal(t, before, w.doc(t))
	})
}

// G25: an address works as it was copied or typed. Its origin is saved.
func TestAddressAsTyped(t *testing.T) {
	const plain = "http://192.168.1.5:32400"
	for typed, want := range map[string]string{
		plain + "/web/index.html":                plain,
		plain + "/web/index.html#!/settings?x=1": plain,
		plain + "/web#!/":                        plain,
		"192.168.1.5:32400/web/":                 plain,
		" 192.168.1.5 ":                          plain,
		"HTTP://192.168.1.5:32400//":             plain,
		"http://192.168.1.5":                     plain,
		"http://192.168.1.5:":                    plain,
		"https://plex.example/base/web":          "https://plex.example/base",
		"https://plex.example/webserver":         "https://plex.example/webserver",
		"plex.example":                           "https://plex.example",
	} {
		t.Run(typed, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{
					lan, {Address: "plex.example", IP: "203.0.113.7", Port: 443, URI: "https://plex.example"},
				}})
				if strings.Contains(want, "example/") {
					w.plex.Inject(plextest.Fault{Host: "plex.example", Path: strings.TrimPrefix(want, "https://plex.example") + "/identity", Body: payload(t, "pms-identity.json"), ContentType: "application/json"})
					r, err := w.Probe(t.Context(), typed)
					require.NoError(t, err)
					assert.Equal(t, want, r.URL)
					return
				}
				s, err := w.UseServer(t.Context(), typed)
				require.NoError(t, err)
				assert.Equal(t, want, s.ServerURL)
			})
		})
	}
}

// A saved address is not completed with another scheme or port.
func TestSavedAddressIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan, {Address: "192.168.1.5", Port: 80, URI: "http://192.168.1.5", Unlisted: true}}})
		s, err := w.UseServer(t.Context(), "http://192.168.1.5")
		require.NoError(t, err)
		require.Equal(t, "http://192.168.1.5", s.ServerURL)
		w.plex.MoveServer(box, lan)
		s, err = w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Equal(t, "http://192.168.1.5", s.ServerURL)
	})
}

// listOnly makes plex.tv list only these of alice's servers, once.
func (w *world) listOnly(servers ...*plextest.MediaServer) {
	list := []map[string]any{}
	for _, s := range servers {
		list = append(list, map[string]any{"name": s.Name, "provides": "server", "clientIdentifier": s.MachineID, "owned": true, "accessToken": w.plex.ServerToken(w.alice, s),
			"connections": []map[string]any{{"uri": s.Connections[0].URI, "address": s.Connections[0].Address, "port": 32400, "local": true}}})
	}
	b, _ := json.Marshal(list) // strings and numbers
	w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Body: string(b), ContentType: "application/json"})
}

// G10, G22: a server that plex.tv leaves out once stays chosen, even if no token is
// saved for it, as with a device key.
func TestServerMissingFromTheListOnce(t *testing.T) {
	for name, device := range map[string]bool{"no token": false, "device key": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey = device })
				chosen := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Chosen", NoAccessToken: !device, Connections: []plextest.Connection{lan}})
				other := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Other", NoAccessToken: !device, Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				want, err := w.UseServer(t.Context(), chosen.MachineID)
				require.ErrorIs(t, err, plexauth.ErrServerToken)
				require.True(t, want.ServerToken.IsZero())
				before := w.doc(t)
				for _, rest := range [][]*plextest.MediaServer{{other}, nil} {
					w.listOnly(rest...)
					_, err = w.Inspect(t.Context())
					var choice *plexauth.ServerChoiceError
					require.ErrorAs(t, err, &choice)
					assert.Len(t, choice.Servers, len(rest))
					assert.Equal(t, before, w.doc(t))
				}
				_, err = w.Disconnect(t.Context())
				require.NoError(t, err)
				assert.NotContains(t, w.stored(t), "_server_account")
			})
		})
	}
}

// G22, G23: nothing stays of a choice that is known to be another account's, not even
// its token.
func TestChoiceOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		own := w.plex.AddMediaServer(w.bob, plextest.MediaServer{NoAccessToken: true, Connections: []plextest.Connection{{Address: "192.168.1.7", Local: true}}})
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		bobs := w.plex.IssueToken(w.bob, s.ClientID)
		w.edit(t, map[string]any{"account_token": bobs, "username": "bob", "_cloud": map[string]any{"account_id": w.bob.ID}, "account_id": w.alice.ID}) // by another program
		s, err = w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.Equal(t, own.MachineID, s.MachineID)
		assert.Equal(t, "1", s.AccountID)
		assert.Empty(t, w.stored(t)["pms_token"])
	})
}

// G22: relinking to another account keeps the server only if that account can see it.
func TestRelinkAndServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		common := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Common", SharedWith: []*plextest.User{w.bob}, Connections: []plextest.Connection{lan}})
		private := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Private", Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		own := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Own", Connections: []plextest.Connection{{Address: "192.168.1.7", Local: true}}})

		s, err := w.UseServer(t.Context(), common.MachineID)
		require.NoError(t, err)
		url := s.ServerURL
		w.relink(t, w.bob)
		s = mustSettings(t, w.PlexAuth)
		assert.Equal(t, common.MachineID, s.MachineID)
		assert.True(t, s.ServerToken.IsZero(), "alice's token is gone")
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, common.MachineID, s.MachineID)
		assert.Equal(t, url, s.ServerURL)
		assert.Equal(t, w.plex.ServerToken(w.bob, common), s.ServerToken.Secret())
		assert.Equal(t, fmt.Sprint(w.bob.ID), s.AccountID)

		w.relink(t, w.alice)
		_, err = w.UseServer(t.Context(), private.MachineID)
		require.NoError(t, err)
		w.relink(t, w.bob)
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, own.MachineID, s.MachineID)
		assert.Equal(t, own.Connections[0].URI, s.ServerURL)
		assert.Equal(t, w.plex.ServerToken(w.bob, own), s.ServerToken.Secret())
		assert.Equal(t, "1", s.AccountID)

		// The old choice is dropped even if the new account has no server.
		carol := w.plex.AddUser(plextest.User{Username: "carol"})
		w.relink(t, carol)
		s, err = w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrServerChoice)
		assert.Empty(t, s.MachineID)
		assert.Empty(t, s.ServerURL)
	})
}

// G23: a relink ends the token that plex.tv has listed for a server a moment ago. That
// token does not replace the new one.
func TestRelinkDuringInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.SetQuirks(plextest.Quirks{OwnedTokenIsAccountToken: true})
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true, Latency: 3 * time.Second}}})
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		errs := make(chan error)
		go func() { errs <- errOf(w.Inspect(t.Context())) }()
		time.Sleep(100 * time.Millisecond)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		require.NoError(t, <-errs)
		s := mustSettings(t, w.PlexAuth)
		assert.Equal(t, w.plex.Token(w.alice, s.ClientID), s.ServerToken.Secret())
	})
}

// G22: where plex.tv gives the account's token for an own server, a relink replaces
// the server token, too.
func TestRelinkRenewsServerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.SetQuirks(plextest.Quirks{OwnedTokenIsAccountToken: true})
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		second := w.Instance("second")
		w.signIn(t, second, w.alice, plexauth.PinOptions{})
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, second} {
			_, err := p.Inspect(t.Context())
			require.NoError(t, err)
		}
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, second} {
			s := mustSettings(t, p)
			assert.Equal(t, w.plex.Token(w.alice, s.ClientID), s.ServerToken.Secret())
			r, err := p.Probe(t.Context(), "")
			require.NoError(t, err)
			assert.True(t, r.TokenAccepted)
		}
	})
}

// G22: disconnecting and relinking keeps the choice of the server.
func TestDisconnectAndServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		want, err := w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		_, err = w.Disconnect(t.Context())
		require.NoError(t, err)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		got, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want.ServerURL, got.ServerURL)
		assert.Equal(t, want.MachineID, got.MachineID)
		assert.Equal(t, want.ServerToken.Secret(), got.ServerToken.Secret())
		assert.Equal(t, want.AccountID, got.AccountID)
	})
}

// G22, G25: after a Disconnect it is still known that the address was found, not
// typed. It follows the server, and is replaced by another account's.
func TestDisconnectAndFoundServer(t *testing.T) {
	for _, address := range []string{"192.168.1.5", "plex.example.org"} {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, false)
			box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: address}}})
			_, err := w.Inspect(t.Context())
			require.NoError(t, err)
			_, err = w.Disconnect(t.Context())
			require.NoError(t, err)
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			w.plex.MoveServer(box, plextest.Connection{Address: "192.168.1.77", Local: true})
			s, err := w.Inspect(t.Context())
			require.NoError(t, err)
			assert.Equal(t, box.MachineID, s.MachineID)
			assert.Contains(t, s.ServerURL, "192-168-1-77")

			own := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.9", Local: true}}})
			_, err = w.Disconnect(t.Context())
			require.NoError(t, err)
			w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
			s, err = w.Inspect(t.Context())
			require.NoError(t, err)
			assert.Equal(t, own.MachineID, s.MachineID)
			assert.Equal(t, w.plex.ServerToken(w.bob, own), s.ServerToken.Secret())
		})
	}
}
