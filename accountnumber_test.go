package plexauth_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G25: account_id is 1 for the owner of a media server and plex.tv's number for
// others. A server shows its accounts to the owner alone, so a friend's choice does
// not depend on them.
func TestAccountNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{lan}})
		id := fmt.Sprint(w.alice.ID)
		page := "<html><body>Forbidden</body></html>"
		for name, f := range map[string]plextest.Fault{
			"the server's own page": {Host: "unused.example"},
			"401 without a page":    {Status: 401},
			"403 of a proxy":        {Status: 403, ContentType: "text/html", Body: page},
			"403 in Plex's form":    {Status: 403, Header: http.Header{"X-Plex-Protocol": {"1.0"}}, ContentType: "text/xml", Body: `<Response code="403" status="no"/>`},
			"404":                   {Status: 404, ContentType: "text/html", Body: page},
			"500":                   {Status: 500},
			"hangs":                 {Hang: true},
			"without the account":   {Body: `{"MediaContainer":{"Account":[{"id":1,"name":"alice"}]}}`, ContentType: "application/json"},
		} {
			w.plex.ResetFaults()
			f.Path, f.Times = "/accounts", -1
			w.plex.Inject(f)
			for _, stored := range []any{"", 1, "1", nil} {
				w.edit(t, map[string]any{"account_id": stored})
				s, err := w.UseServer(t.Context(), box.MachineID)
				require.NoError(t, err, name)
				assert.Equal(t, id, s.AccountID, name)
				assert.Equal(t, float64(w.alice.ID), w.stored(t)["account_id"])
				s, err = w.Inspect(t.Context())
				require.NoError(t, err, name)
				assert.Equal(t, id, s.AccountID, name)
			}
		}
		w.edit(t, map[string]any{"account_id": 42})
		s, err := w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		assert.Equal(t, "42", s.AccountID, "a choice of another user stays")
	})
}

// G23: account_id is plex.tv's number on another account's server, where 1 is the
// owner. It is 1 on an own server.
func TestAccountNumberPerServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		shared := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{lan}})
		w.edit(t, map[string]any{"account_id": 1, "machine_id": shared.MachineID, "server_url": shared.Connections[0].URI})
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprint(w.alice.ID), s.AccountID)
	})
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		own := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.edit(t, map[string]any{"account_id": w.alice.ID, "machine_id": own.MachineID, "server_url": own.Connections[0].URI})
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "1", s.AccountID)
	})
}

// A Home user's number in account_id is a choice. Inspect keeps it, even if it was
// made during that Inspect. Another server has its own number.
func TestAccountNumberOfAnotherUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true, Latency: time.Second}}})
		w.edit(t, map[string]any{"username": "Kid", "account_id": kid.ID}) // before the first
		for range 2 {
			s, err := w.Inspect(t.Context())
			require.NoError(t, err)
			require.Equal(t, box.MachineID, s.MachineID)
			assert.Equal(t, "Kid", s.Username)
			assert.Equal(t, fmt.Sprint(kid.ID), s.AccountID)
		}

		w.edit(t, map[string]any{"account_id": ""})
		errs := make(chan error)
		go func() { errs <- errOf(w.Inspect(t.Context())) }()
		time.Sleep(500 * time.Millisecond)
		w.edit(t, map[string]any{"account_id": kid.ID})
		require.NoError(t, <-errs)
		assert.Equal(t, fmt.Sprint(kid.ID), mustSettings(t, w.PlexAuth).AccountID)

		attic := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Attic", Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		s, err := w.UseServer(t.Context(), attic.MachineID)
		require.NoError(t, err)
		assert.Equal(t, "1", s.AccountID)
	})
}

// A member of a Home chooses the admin's server, and gets a token of their own.
func TestHomeServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.signIn(t, w.PlexAuth, kid, plexauth.PinOptions{})
		_, err := w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrServerChoice)
		s, err := w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprint(kid.ID), s.AccountID)
		assert.Equal(t, w.plex.ServerToken(kid, box), s.ServerToken.Secret())
		assert.Equal(t, "Kid", s.Username)
	})
}
