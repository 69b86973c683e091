package plexauth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// A Home user with a PIN is chosen with that PIN only.
func TestPanelUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice, HomePIN: "QXYZ"})
		baby := w.plex.AddUser(plextest.User{Title: "Baby", Restricted: true, HomeAdmin: w.alice})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)
		panel.post("/inspect", "")

		var list struct{ Users []plexauth.HomeUser }
		require.NoError(t, json.Unmarshal(panel.do(http.MethodGet, "/users", "").Body.Bytes(), &list))
		assert.Len(t, list.Users, 3)
		choose := func(u *plextest.User, pin string) *httptest.ResponseRecorder {
			return panel.do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q,"pin":%q}`, u.UUID, pin))
		}
		panel.refused(choose(kid, ""), http.StatusForbidden, "home_pin")
		panel.refused(choose(kid, "0000"), http.StatusForbidden, "home_pin")
		panel.refused(choose(w.bob, ""), http.StatusBadRequest, "bad_request")
		s := panel.state(choose(kid, "QXYZ"))
		assert.Equal(t, "Kid", s.Settings.Username)
		assert.Equal(t, fmt.Sprint(kid.ID), s.Settings.AccountID)
		assert.NotContains(t, w.doc(t), "QXYZ", "the PIN is kept nowhere")
		s = panel.state(choose(baby, ""))
		assert.Equal(t, "Baby", s.Settings.Username)
		panel.state(choose(w.alice, ""))
		time.Sleep(5 * time.Second)
		s = panel.get("/status")
		assert.Equal(t, "1", s.Settings.AccountID)
		assert.True(t, s.Connected)
		_, err := w.Verify(t.Context())
		assert.NoError(t, err, "the login is still alice's")
	})
}

// G23: a Home user of one account is not written into a login of another account that
// is linked during the choice.
func TestPanelUserOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)
		choose := func() <-chan *httptest.ResponseRecorder {
			w.plex.Inject(plextest.Fault{Path: "/api/v2/home/users", Delay: 8 * time.Second})
			answer := make(chan *httptest.ResponseRecorder, 1)
			go func() { answer <- panel.do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q}`, kid.UUID)) }()
			time.Sleep(time.Second)
			return answer
		}
		answer := choose()
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{}) // with another token
		assert.Equal(t, "Kid", panel.state(<-answer).Settings.Username, "it is the same account's")

		answer = choose()
		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
		panel.refused(<-answer, http.StatusConflict, "changed")
		s := panel.get("/status")
		assert.Equal(t, "bob", s.Settings.Username)
		assert.Empty(t, s.Settings.AccountID)
	})
}

// G23: the signed-in account and the chosen Home user are told apart, whichever
// program has made the choice.
func TestAccountAndHomeUser(t *testing.T) {
	apart := func(t *testing.T, w *world, user string) {
		t.Helper()
		st, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "alice", st.User)
		s := openPanel(t, w.PlexAuth).get("/status")
		assert.Equal(t, "alice", s.User)
		assert.Equal(t, user, s.Settings.Username)
	}
	setup := func(t *testing.T) (w *world, kid *plextest.User) {
		w = linked(t, false)
		kid = w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		return w, kid
	}
	t.Run("in the panel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, kid := setup(t)
			require.NoError(t, errOf(w.Inspect(t.Context())))
			panel := openPanel(t, w.PlexAuth)
			panel.chooseUser(kid, "")
			apart(t, w, "Kid")
			require.NoError(t, errOf(w.Verify(t.Context())))
			require.NoError(t, errOf(w.Inspect(t.Context())))
			apart(t, w, "Kid")
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			apart(t, w, "Kid")
			assert.Equal(t, fmt.Sprint(kid.ID), mustSettings(t, w.PlexAuth).AccountID)
			w.relink(t, w.bob)
			s := panel.get("/status")
			assert.Equal(t, "bob", s.User)
			assert.Equal(t, "bob", s.Settings.Username)
			w.relink(t, w.alice)
			apart(t, w, "alice")
		})
	})
	t.Run("before anything is known of the account", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, kid := setup(t)
			w.edit(t, map[string]any{"_cloud": nil, "username": ""})
			openPanel(t, w.PlexAuth).chooseUser(kid, "")
			apart(t, w, "Kid")
		})
	})
	t.Run("in CrossWatch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, kid := setup(t)
			require.NoError(t, errOf(w.Inspect(t.Context())))
			w.edit(t, map[string]any{"username": "Kid", "account_id": kid.ID})
			apart(t, w, "Kid")
		})
	})
	t.Run("in CrossWatch, before there was plexauth", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, kid := setup(t)
			w.edit(t, map[string]any{"username": "Kid", "account_id": kid.ID, "_cloud": map[string]any{"account_id": w.alice.ID}})
			st, err := w.Status(t.Context())
			require.NoError(t, err)
			assert.NotEqual(t, "Kid", st.User)
			require.NoError(t, errOf(w.Inspect(t.Context())))
			apart(t, w, "Kid")
		})
	})
}

// G23: account_id is the chosen user's number on the server: 1 for its owner,
// plex.tv's number for others, on each server that is chosen.
func TestHomeUserAccountID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		me := w.plex.AddUser(plextest.User{Username: "me", HomeAdmin: w.alice})
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		mine := w.plex.AddMediaServer(me, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		w.signIn(t, w.PlexAuth, me, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)
		id := func(u *plextest.User) string { return strconv.FormatInt(u.ID, 10) }
		number := func(want, user string) {
			t.Helper()
			time.Sleep(5 * time.Second)
			for range 2 {
				s := mustSettings(t, w.PlexAuth)
				assert.Equal(t, want, s.AccountID)
				assert.Equal(t, user, s.Username)
				require.NoError(t, errOf(w.Inspect(t.Context())))
			}
		}
		require.NoError(t, errOf(w.UseServer(t.Context(), box.MachineID)))
		number(id(me), "me")
		assert.Equal(t, "1", panel.chooseUser(w.alice, "").Settings.AccountID)
		number("1", "alice")
		assert.Equal(t, id(kid), panel.chooseUser(kid, "").Settings.AccountID)
		number(id(kid), "Kid")
		require.NoError(t, errOf(w.UseServer(t.Context(), mine.MachineID)))
		number(id(kid), "Kid")
		panel.chooseUser(w.alice, "")
		number(id(w.alice), "alice")
		require.NoError(t, errOf(w.UseServer(t.Context(), box.MachineID)))
		number("1", "alice")
		panel.chooseUser(me, "")
		number(id(me), "me")
		require.NoError(t, errOf(w.UseServer(t.Context(), mine.MachineID)))
		number("1", "me")

		// The user is chosen before the server, or by an older version.
		require.NoError(t, errOf(w.Disconnect(t.Context())))
		w.signIn(t, w.PlexAuth, me, plexauth.PinOptions{})
		time.Sleep(time.Minute) // in which the panel finds a server by itself
		w.edit(t, map[string]any{"machine_id": "", "server_url": "", "server_url_found": nil, "_server_account": nil})
		panel.chooseUser(w.alice, "")
		require.NoError(t, errOf(w.UseServer(t.Context(), box.MachineID)))
		number("1", "alice")
		w.edit(t, map[string]any{"_server_account": me.ID})
		panel.chooseUser(kid, "")
		assert.Equal(t, "1", panel.chooseUser(w.alice, "").Settings.AccountID)
	})
}

// G23: checking a Home PIN leaves no token behind, and ends no token that a profile
// lives on.
func TestHomePINCheckEndsItsToken(t *testing.T) {
	for name, trouble := range map[string]plextest.Fault{
		"at once":              {Host: "unused.example"},
		"plex.tv has trouble":  {Path: "/api/v2/users/signout", Status: 502, Times: 3},
		"plex.tv is too slow":  {Path: "/api/v2/users/signout", Hang: true, Times: 2},
		"plex.tv asks to wait": {Path: "/api/v2/users/signout", Code: 1003, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _, carol := home(t)
				w.plex.Inject(trouble)
				panel := openPanel(t, w.PlexAuth)
				panel.chooseUser(carol, "QXYZ")
				synctest.Wait() // the trouble meets the token of the check first
				panel.post("/disconnect", `{"revoke":true}`)
				time.Sleep(5 * time.Minute)
				assert.Empty(t, w.plex.Token(carol, mustSettings(t, w.PlexAuth).ClientID))
				assert.Equal(t, name != "at once", strings.Contains(w.log.String(), "could not revoke the token of a Home PIN check at plex.tv yet"))
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w, _, carol := home(t)
		theirs := w.Instance("carol")
		w.signIn(t, theirs, carol, plexauth.PinOptions{})
		openPanel(t, w.PlexAuth).chooseUser(carol, "QXYZ")
		time.Sleep(time.Minute)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, theirs} {
			require.NoError(t, errOf(p.Verify(t.Context())))
		}
	})
	synctest.Test(t, func(t *testing.T) { // the account's own, with a device key
		w := newDeviceWorld(t)
		w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		w.plex.ChangeUser(w.alice, func(u *plextest.User) { u.HomePIN = "QXYZ" })
		openPanel(t, w.PlexAuth).chooseUser(w.alice, "QXYZ")
		time.Sleep(time.Minute)
		assert.Empty(t, w.plex.Token(w.alice, mustSettings(t, w.PlexAuth).ClientID))
		require.NoError(t, errOf(w.Verify(t.Context())))
	})
}

// G12: wrong Home PINs are followed by pauses that grow. Neither a new sign-in nor
// another profile or replica ends them.
func TestHomePINPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, kid, carol := home(t)
		w.signIn(t, w.Instance("second"), w.alice, plexauth.PinOptions{})
		fronts := []*browser{openPanel(t, w.PlexAuth), openPanel(t, w.open(t)), openPanel(t, w.Instance("second"))}
		path := "/api/v2/home/users/" + carol.UUID + "/switch"
		try := func(i int, pin string) int {
			return fronts[i%len(fronts)].do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q,"pin":%q}`, carol.UUID, pin)).Code
		}
		for i := range 40 {
			try(i, fmt.Sprintf("%04d", i))
		}
		assert.LessOrEqual(t, w.count("POST", path), 3, "a few PINs are tried at once")
		v := fronts[0].refused(fronts[0].do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q,"pin":"QXYZ"}`, carol.UUID)), http.StatusTooManyRequests, "too_soon")
		assert.InDelta(t, 30, v.RetryAfter, 1)
		assert.Contains(t, v.Message, "wrong PINs")
		fronts[0].chooseUser(kid, "") // other users do not have to wait
		for i := range 24 * 60 {
			time.Sleep(time.Minute)
			try(i, "0000")
		}
		assert.LessOrEqual(t, w.count("POST", path), 110, "in a day")
		time.Sleep(15 * time.Minute)
		assert.Equal(t, http.StatusOK, try(0, "QXYZ"))
		assert.Equal(t, http.StatusForbidden, try(0, "0000"), "the right one has ended the count")
		assert.NotContains(t, w.doc(t), "QXYZ")
	})
	synctest.Test(t, func(t *testing.T) { // many at the same time
		w, _, carol := home(t)
		panel := openPanel(t, w.PlexAuth)
		for i := range 20 {
			go panel.do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q,"pin":"%04d"}`, carol.UUID, i))
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		assert.LessOrEqual(t, w.count("POST", "/api/v2/home/users/"+carol.UUID+"/switch"), 3)
	})
	synctest.Test(t, func(t *testing.T) { // missing PINs and failures of plex.tv do not count
		w, _, carol := home(t)
		panel := openPanel(t, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/home/users/*/switch", Status: 500, Times: 5})
		for i := range 10 {
			panel.do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q,"pin":%q}`, carol.UUID, []string{"", "QXYZ"}[i%2]))
		}
		panel.chooseUser(carol, "QXYZ")
	})
}
