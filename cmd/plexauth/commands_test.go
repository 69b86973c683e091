package main

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// servers lists the account's servers and marks the chosen one, for people and as JSON.
func TestServers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		assert.Equal(t, 3, w.run(t, t.Context(), "servers").status)
		require.Equal(t, 0, w.login(t).status)
		assert.Contains(t, w.run(t, t.Context(), "servers").out, "This account may use no media server.")
		assert.Equal(t, "[]\n", w.run(t, t.Context(), "servers", "-json").out)

		box := w.addServer("Box\x1b[2J", "192.168.1.5")
		bob := w.plex.AddUser(plextest.User{Username: "bob"})
		w.plex.AddMediaServer(bob, plextest.MediaServer{Name: "Bob's", Offline: true, SharedWith: []*plextest.User{w.alice}})
		require.Equal(t, 0, w.run(t, t.Context(), "use", box.MachineID).status)
		r := w.run(t, t.Context(), "servers")
		assert.Equal(t, 0, r.status)
		assert.Regexp(t, `^  NAME +OWNER +STATE +MACHINE ID\n\* Box \[2J +you +online +`+box.MachineID+`\n  Bob's +bob +offline +\w+\n$`, r.out)

		r = w.run(t, t.Context(), "servers", "-json")
		assert.Equal(t, 0, r.status)
		assert.NotContains(t, r.out, "\x1b")
		var listed []struct {
			Name      string
			MachineID string `json:"machine_id"`
			Chosen    bool
		}
		require.NoError(t, json.Unmarshal([]byte(r.out), &listed), r.out)
		require.Len(t, listed, 2)
		assert.Equal(t, "Box\x1b[2J", listed[0].Name)
		assert.True(t, listed[0].Chosen)
		assert.False(t, listed[1].Chosen)
	})
}

// use takes a name, a machine id or an address, and asks where it gets none.
func TestUse(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		attic := w.addServer("Attic", "192.168.1.5")
		room := w.addServer("Living room", "192.168.1.6")
		require.Equal(t, 0, w.login(t).status)
		chosen := func() string {
			t.Helper()
			var v struct{ Settings plexauth.Settings }
			require.NoError(t, json.Unmarshal([]byte(w.run(t, t.Context(), "status", "-json").out), &v))
			return v.Settings.MachineID
		}
		for _, row := range []struct {
			args []string
			in   string
			want *plextest.MediaServer
		}{
			{[]string{"use", "living ROOM"}, "", room},
			{[]string{"use", attic.MachineID}, "", attic},
			{[]string{"use", "http://192.168.1.6:32400"}, "", room},
			{[]string{"use"}, "1\n", attic},
		} {
			w.in = row.in
			r := w.run(t, t.Context(), row.args...)
			assert.Equal(t, 0, r.status, r)
			assert.Contains(t, r.out, "Media server ")
			assert.Equal(t, row.want.MachineID, chosen(), row.args)
		}

		w.in = "0\n"
		r := w.run(t, t.Context(), "use")
		assert.Equal(t, 1, r.status)
		assert.Equal(t, "Not chosen.\n", r.err)
		r = w.run(t, t.Context(), "use", "Atic")
		assert.Equal(t, 1, r.status, "plex.tv is not to blame")
		assert.Equal(t, "plexauth: there is no server \"Atic\", neither in the account nor at an address with that name\nThe account may use: Attic, Living room\n", r.err)
		r = w.run(t, t.Context(), "use", "192.168.1.99")
		assert.Equal(t, 1, r.status)
		assert.Contains(t, r.err, "the media server answers at none of its addresses")
		other := w.addServer("attic", "192.168.1.7")
		r = w.run(t, t.Context(), "use", "Attic")
		assert.Equal(t, 1, r.status)
		assert.Contains(t, r.err, `several servers have the name "Attic": give the machine id of one, `+attic.MachineID+" or "+other.MachineID)
		w.plex.ChangeMediaServer(room, func(m *plextest.MediaServer) { m.Offline = true })
		assert.Equal(t, 1, w.run(t, t.Context(), "use", room.MachineID).status)
		assert.Equal(t, attic.MachineID, chosen())
	})
}

// verify tells a login that has ended from a plex.tv that is down.
func TestVerify(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		assert.Equal(t, 3, w.run(t, t.Context(), "verify").status)
		require.Equal(t, 0, w.login(t).status)
		r := w.run(t, t.Context(), "verify")
		assert.Equal(t, 0, r.status, r)
		assert.Equal(t, "Plex accepts the login of alice.\n", r.out)

		for _, f := range []plextest.Fault{{Status: 503, Times: -1}, {Status: 429, Times: -1}, {Reset: true, Times: -1}} {
			w.plex.Inject(f)
			for _, command := range []string{"verify", "servers", "use"} {
				r = w.run(t, t.Context(), command)
				assert.Equal(t, 4, r.status, "%s %+v", command, f)
				assert.Empty(t, r.out)
				assert.NotEmpty(t, r.err)
			}
			assert.Equal(t, 0, w.run(t, t.Context(), "token").status, "needs no plex.tv")
			w.plex.ResetFaults()
			time.Sleep(time.Hour) // the rate limit ends
		}

		w.plex.Revoke(w.alice)
		for range 2 {
			r = w.run(t, t.Context(), "verify")
			assert.Equal(t, 3, r.status)
			assert.Contains(t, r.err, "\nSign in with: plexauth login -config ")
		}
		assert.Equal(t, 3, w.run(t, t.Context(), "token").status)
		r = w.run(t, t.Context(), "status")
		assert.Equal(t, 3, r.status)
		assert.Contains(t, r.out, "The login of alice has ended. Sign in again with: plexauth login")
		r = w.login(t)
		assert.Equal(t, 0, r.status, r)
		assert.Contains(t, r.out, "Signed in as alice.\n", "no -again is needed")
	})
}

// logout ends the login at plex.tv too, with -local only here.
func TestLogout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		r := w.run(t, t.Context(), "logout")
		assert.Equal(t, 0, r.status, "there is nothing to do")
		assert.Equal(t, "No one was signed in.\n", r.out)
		assert.NoFileExists(t, filepath.Join(w.dir, "plexauth.json"))

		require.Equal(t, 0, w.login(t).status)
		require.Equal(t, 0, w.run(t, t.Context(), "logout").status)
		assert.Equal(t, 3, w.run(t, t.Context(), "status").status)
		last := w.plex.Requests()[len(w.plex.Requests())-1]
		assert.Equal(t, "/api/v2/users/signout", last.Path)

		require.Equal(t, 0, w.login(t).status)
		requests := len(w.plex.Requests())
		r = w.run(t, t.Context(), "logout", "-local")
		assert.Equal(t, 0, r.status)
		assert.Contains(t, r.out, "The token stays valid")
		assert.Len(t, w.plex.Requests(), requests)
		assert.Equal(t, 3, w.run(t, t.Context(), "token").status)

		require.Equal(t, 0, w.login(t).status)
		w.plex.Inject(plextest.Fault{Status: 503, Times: -1})
		r = w.run(t, t.Context(), "logout")
		assert.Equal(t, 4, r.status)
		assert.Contains(t, r.err, "plexauth: signed out here, but the token may still be valid at plex.tv: ")
		assert.Equal(t, 3, w.run(t, t.Context(), "status").status)
	})
}

// A JWT that is due is renewed before it is printed; one that cannot be is not printed.
func TestTokenIsRenewed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		auth, err := plexauth.New(plexauth.Options{
			Product: "My App", DeviceKey: true, HTTPClient: w.plex.Client(),
			Store: plexauth.NewFileStore(filepath.Join(w.dir, "plexauth.json")),
		})
		require.NoError(t, err)
		_, err = auth.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, w.alice) })
		require.NoError(t, err)
		before := w.run(t, t.Context(), "token")
		require.Equal(t, 0, before.status, before)
		assert.Contains(t, w.run(t, t.Context(), "status").out, "token until:")

		time.Sleep(8 * 24 * time.Hour)
		w.plex.Inject(plextest.Fault{Status: 503, Times: -1})
		r := w.run(t, t.Context(), "token")
		assert.Equal(t, 4, r.status, r)
		assert.Empty(t, r.out)
		w.plex.ResetFaults()
		time.Sleep(time.Hour)
		after := w.run(t, t.Context(), "token")
		assert.Equal(t, 0, after.status, after)
		assert.NotEqual(t, before.out, after.out)
	})
}

// Another account is refused with advice that a person can follow in a terminal.
func TestAnotherAccount(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		require.Equal(t, 0, w.login(t).status)
		w.alice = w.plex.AddUser(plextest.User{Username: "bob"}) // who approves from now on
		r := w.login(t, "-again")
		assert.Equal(t, 1, r.status, r)
		assert.Equal(t, "plexauth: approved by another Plex account than the one linked: bob\n"+
			"Nothing was changed. To use the other account, first sign out with: plexauth logout -config "+filepath.Join(w.dir, "plexauth.json")+"\n", r.err)
		assert.Contains(t, w.run(t, t.Context(), "status").out, "Signed in as alice.\n")
	})
}

// The name of no stored field is shown if plex.tv does not say whose the login is.
func TestUnknownAccount(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.addServer("Box", "192.168.1.5")
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
		r := w.login(t)
		assert.Contains(t, r.err, "\nplexauth: read account: ")
		assert.NotContains(t, r.err+r.out, "account_id")
	})
}
